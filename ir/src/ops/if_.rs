//! `If`: one of two graphs, by a condition.
//!
//! Spec: ONNX If, versions 1 to 24. The branches take no inputs; outer values that they read are further inputs of the
//! node, behind the condition, and all inputs of both branches. Each branch has as many results as the node.
//!
//! A condition that is known puts the nodes of its branch in the node's place. Unsupported: a condition that is computed
//! at run time; sequences and optional values.

use std::collections::HashMap;
use std::sync::Arc;

use super::identity::Identity;
use super::operand;
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::eval;
use crate::graph::{Graph, Patch, PatchValue, Source, ValueId};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `If`.
#[derive(Clone, Debug, PartialEq)]
pub struct If {
    /// What a true condition chooses.
    pub then_branch: Arc<Graph>,
    /// What a false condition chooses.
    pub else_branch: Arc<Graph>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=usize::MAX, 1..=usize::MAX)?;
    let mut branch = |name: &str| {
        let graph =
            node.graph(name)?.ok_or_else(|| Error::invalid(format!("attribute '{name}' is missing")))?;
        let (inputs, outputs) = (graph.inputs().len(), graph.outputs().len());
        if inputs + 1 != node.inputs.len() {
            bail_invalid!(
                "attribute '{name}' is a graph of {inputs} inputs, of which {} are values from outside; a branch has \
                 none of its own",
                node.inputs.len() - 1
            );
        }
        if outputs != node.outputs {
            bail_invalid!("attribute '{name}' has {outputs} results, the node {}", node.outputs);
        }
        Ok(graph)
    };
    Ok(Box::new(If { then_branch: branch("then_branch")?, else_branch: branch("else_branch")? }))
}

/// `If`.
pub const DEF: OpDef =
    OpDef { name: "If", domain: "", since: (1, 24), parse, unsupported: "conditions computed at run time" };

impl If {
    fn branch(&self, condition: &Tensor) -> Result<&Arc<Graph>> {
        match (condition.dtype, &condition.data[..]) {
            (DType::Bool, [value]) => Ok(if *value != 0 { &self.then_branch } else { &self.else_branch }),
            _ => bail_invalid!("the condition must be one bool, found {}", condition.ty()),
        }
    }

    /// The branch that is taken, where that is known.
    fn known(&self, condition: &Fact) -> Result<Option<&Arc<Graph>>> {
        if condition.dtype != DType::Bool
            || condition.shape.as_const().is_some_and(|s| s.iter().product::<usize>() != 1)
        {
            bail_invalid!("the condition must be one bool, found {}", condition.ty());
        }
        condition.tensor().map(|c| self.branch(c)).transpose()
    }
}

impl Op for If {
    fn name(&self) -> &'static str {
        "If"
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([
            ("then_branch".to_owned(), Attr::Graph(self.then_branch.clone())),
            ("else_branch".to_owned(), Attr::Graph(self.else_branch.clone())),
        ])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let Some(branch) = self.known(operand::fact(inputs, 0)?)? else {
            return Err(Error::unsupported("a condition that is computed at run time is not supported")
                .hint("the condition must follow from constants and from the extents of the inputs"));
        };
        let arguments = (1..inputs.len()).map(|i| operand::fact(inputs, i).cloned());
        let mut facts: HashMap<ValueId, Fact> =
            branch.inputs().iter().copied().zip(arguments.collect::<Result<Vec<_>>>()?).collect();
        for (id, value) in branch.values() {
            if let Source::Const(tensor) = &value.source {
                facts.insert(id, Fact::of(tensor));
            }
        }
        for id in branch.topological_order()? {
            let node = branch.node(id);
            let operands: Vec<_> = node.inputs.iter().map(|v| v.and_then(|v| facts.get(&v))).collect();
            let results = node.op.infer(&operands).map_err(|e| e.at(&node.name, node.op.name()))?;
            facts.extend(node.outputs.iter().copied().zip(results));
        }
        let result = |id| facts.get(id).cloned().ok_or_else(|| Error::internal("a result without a type"));
        branch.outputs().iter().map(result).collect()
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let mut branch = Graph::clone(self.branch(operand::tensor(inputs, 0)?)?);
        let arguments: Vec<Tensor> =
            (1..inputs.len()).map(|i| operand::tensor(inputs, i).cloned()).collect::<Result<_>>()?;
        for (id, argument) in branch.inputs().to_vec().into_iter().zip(&arguments) {
            branch.set_fact(id, Fact { known: None, ..Fact::of(argument) });
        }
        eval::graph::run(&branch, &arguments)
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let Some(branch) = self.known(node.fact(0)?)? else { return Ok(None) };
        let captured: Vec<PatchValue> = node.inputs[1..].iter().flatten().map(|v| (*v).into()).collect();
        let mut patch = Patch::new();
        let results = patch.splice(branch, &captured, node.name)?;
        let mut seen: Vec<PatchValue> = Vec::new();
        for (i, (&old, &result)) in node.outputs.iter().zip(&results).enumerate() {
            let made = branch.producer(branch.outputs()[i]).is_some() && !seen.contains(&result);
            // Results that are captured, constant or given twice: each value of the node keeps one that makes it.
            let new = match made {
                true => result,
                false => {
                    patch.untyped_node(&format!("{}/{i}", node.name), Arc::new(Identity), &[Some(result)], 1)
                        [0]
                }
            };
            seen.push(result);
            patch.replace(old, new);
        }
        Ok(Some(patch))
    }

    fn subgraphs(&self) -> Vec<Arc<Graph>> {
        vec![self.then_branch.clone(), self.else_branch.clone()]
    }
}

#[cfg(test)]
mod tests {
    use crate::eval;
    use crate::graph::parse;
    use crate::{ErrorKind, Fact, NodeView, Shape, Tensor, graph};

    /// A branch that computes, and one that hands a captured value and a constant on.
    fn model(condition: &str) -> String {
        format!(
            "graph @m opset(17) {{
              input %x: f32[2]
              {condition}
              %a, %b = If(%c, %x) {{else_branch = graph @e opset(17) {{
                  input %x: f32[]
                  const @k: f32[2] = [3, 4]
                  output %x
                  output @k
                }}, then_branch = graph @t opset(17) {{
                  input %x: f32[]
                  %n: f32[2] = Neg(%x) \"neg\"
                  output %n
                  output %n
                }}}} \"if\"
              output %a
              output %b
            }}"
        )
    }

    #[test]
    fn the_branch_of_a_known_condition_takes_the_place() {
        let x = Tensor::from_vec(&[2], vec![1f32, 2.0]);
        for (value, a, b) in [("true", [-1f32, -2.0], [-1f32, -2.0]), ("false", [1.0, 2.0], [3.0, 4.0])] {
            let text = model(&format!("const @c: bool[] = [{value}]")).replace("If(%c", "If(@c");
            let mut graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            assert_eq!(parse(&graph.to_string()).unwrap(), graph);
            let expected = [Tensor::from_vec(&[2], a.to_vec()), Tensor::from_vec(&[2], b.to_vec())];
            assert_eq!(eval::graph::run(&graph, std::slice::from_ref(&x)).unwrap(), expected);
            let node = graph.node(graph.node_ids().next().unwrap()).clone();
            let view =
                NodeView { graph: &graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
            let patch = node.op.decompose(&view).unwrap().unwrap();
            graph.apply(patch).unwrap();
            assert!(graph.node_ids().all(|n| graph.node(n).op.name() != "If"));
            graph::verify(&graph).unwrap();
            assert_eq!(graph.output_names(), ["a", "b"]);
            assert_eq!(eval::graph::run(&graph, std::slice::from_ref(&x)).unwrap(), expected);
        }
    }

    #[test]
    fn a_condition_of_run_time_is_unsupported_and_no_bool_is_invalid() {
        let graph = parse(&model("input %c: bool[]")).unwrap();
        let op = &graph.node(graph.node_ids().next().unwrap()).op;
        let fact = |dtype| Fact::new(dtype, Shape::of(&[]));
        let kind = |dtype| op.infer(&[Some(&fact(dtype)), Some(&fact(crate::DType::F32))]).unwrap_err().kind;
        assert_eq!(kind(crate::DType::Bool), ErrorKind::Unsupported);
        assert_eq!(kind(crate::DType::F32), ErrorKind::Invalid);
    }
}
