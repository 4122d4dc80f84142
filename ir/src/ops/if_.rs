//! `If`: one of two graphs, by a condition.
//!
//! Spec: ONNX If, versions 1 to 24. The branches take no inputs; outer values that they read are further inputs of the
//! node, behind the condition, and all inputs of both branches. Each branch has as many results as the node.
//!
//! A condition that is known puts the nodes of its branch in the node's place. Another puts the nodes of both branches
//! there, before an `If` whose branches hand values on:
//!
//! ```text
//!   y = If(c, x) {then = Neg(x), else = x}        t = Neg(x)    y = If(c, t, x) {then = first, else = second}
//! ```
//!
//! So everything that looks at a graph sees what is in branches. What one branch alone needs is computed only where that
//! is taken: it is lowered into a region. A branch that does not accept the operands' shapes may be in a model that never takes
//! it with these: the other takes the node's place, and a run whose condition chooses it ends with the status of an index
//! outside of its axis. Unsupported: branches that give different types; sequences and optional values.

use std::sync::Arc;

use super::identity::Identity;
use super::loop_::operator;
use super::{body, cast, gather, operand, reshape, squeeze, unary};
use crate::bail_invalid;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Graph, Patch, PatchValue};
use crate::op::{Attr, Attrs, Fact, Flow, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `If`.
#[derive(Clone, Debug, PartialEq)]
pub struct If {
    /// What a true condition chooses.
    pub then_branch: Arc<Graph>,
    /// What a false condition chooses.
    pub else_branch: Arc<Graph>,
    /// The value of the condition whose branch does not accept the operands.
    pub refuses: Option<bool>,
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
    let (then_branch, else_branch) = (branch("then_branch")?, branch("else_branch")?);
    Ok(Box::new(If { then_branch, else_branch, refuses: None }))
}

/// `If`.
pub const DEF: OpDef = OpDef {
    name: "If",
    domain: "",
    since: (1, 24),
    parse,
    unsupported: "branches that give different types",
};

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

    /// Whether the branches hand values on: first those of the one, then those of the other.
    fn is_choice(&self) -> bool {
        let n = self.then_branch.outputs().len();
        let hands_on = |branch: &Graph, first: usize| {
            branch.node_count() == 0
                && branch.inputs().len() == 2 * n
                && branch.outputs() == &branch.inputs()[first..first + n]
        };
        hands_on(&self.then_branch, 0) && hands_on(&self.else_branch, n)
    }

    /// The `If` that hands one of two lists of values on.
    fn choice(types: &[Fact]) -> Result<Self> {
        let branch = |name: &str, second: bool| {
            let mut graph = Graph::new(name);
            let mut arguments = Vec::new();
            for (i, fact) in types.iter().chain(types).enumerate() {
                arguments.push(graph.add_input(&format!("x{i}"), fact.clone())?);
            }
            let n = types.len();
            for value in &arguments[if second { n } else { 0 }..][..n] {
                graph.add_output(*value);
            }
            Ok(Arc::new(graph))
        };
        let (then_branch, else_branch) = (branch("then", false)?, branch("else", true)?);
        Ok(Self { then_branch, else_branch, refuses: None })
    }

    /// The results of the branch that accepts the operands; they are read by an index that is outside of its axis where the
    /// condition chooses the other.
    fn checked(&self, node: &NodeView<'_>, refused: bool, captured: &[PatchValue]) -> Result<Patch> {
        let mut patch = Patch::new();
        let mut wrong: PatchValue = node.inputs[0].ok_or_else(|| Error::internal("no condition"))?.into();
        let name = format!("{}/branch", node.name);
        if !refused {
            wrong = patch.untyped_node(&name, operator(&unary::NOT, &[], 1)?, &[Some(wrong)], 1)[0];
        }
        let to = [("to", Attr::Int(DType::I64.to_onnx().into()))];
        let index = patch.untyped_node(&name, operator(&cast::DEF, &to, 1)?, &[Some(wrong)], 1)[0];
        let scalar = patch.constant(&name, Tensor::from_vec(&[0], Vec::<i64>::new()));
        let reshape = operator(&reshape::DEF, &[], 2)?;
        let index = patch.untyped_node(&name, reshape, &[Some(index), Some(scalar)], 1)[0];
        let first = patch.constant(&name, Tensor::from_vec(&[1], vec![0i64]));
        let branch = if refused { &self.else_branch } else { &self.then_branch };
        let results = patch.splice(branch, captured, node.name)?;
        for (old, result) in node.outputs.iter().zip(results) {
            let rows = operator(&squeeze::UNSQUEEZE, &[], 2)?;
            let rows = patch.untyped_node(node.name, rows, &[Some(result), Some(first)], 1)[0];
            let gather = operator(&gather::DEF, &[], 2)?;
            let checked = patch.untyped_node(node.name, gather, &[Some(rows), Some(index)], 1)[0];
            patch.replace(*old, checked);
        }
        Ok(patch)
    }
}

/// The results of two branches, which must be of one type.
fn agreed(taken: Vec<Fact>, other: &[Fact]) -> Result<Vec<Fact>> {
    for (i, (a, b)) in taken.iter().zip(other).enumerate() {
        if a.ty() != b.ty() {
            return Err(Error::unsupported(format!(
                "result {i} is {} in one branch and {} in the other, which is not supported",
                a.ty(),
                b.ty()
            ))
            .hint(
                "a condition that follows from constants and from the extents of the inputs may choose types",
            ));
        }
    }
    Ok(taken.into_iter().map(|fact| Fact { known: None, ..fact }).collect())
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
        let known = self.known(operand::fact(inputs, 0)?)?;
        let arguments = (1..inputs.len()).map(|i| operand::fact(inputs, i).cloned());
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        match known {
            Some(branch) => body::infer(branch, arguments),
            None => {
                let taken = body::infer(&self.then_branch, arguments.clone())?;
                agreed(taken, &body::infer(&self.else_branch, arguments)?)
            }
        }
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let branch = self.branch(operand::tensor(inputs, 0)?)?;
        let taken = std::ptr::eq(branch, &self.then_branch);
        if self.is_choice() {
            // The values of the other branch need not be there.
            let n = branch.outputs().len();
            let first = if taken { 1 } else { 1 + n };
            return (first..first + n).map(|i| operand::tensor(inputs, i).cloned()).collect();
        }
        let arguments: Vec<Tensor> =
            (1..inputs.len()).map(|i| operand::tensor(inputs, i).cloned()).collect::<Result<_>>()?;
        body::run(branch, &arguments)
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let captured: Vec<PatchValue> = node.inputs[1..].iter().flatten().map(|v| (*v).into()).collect();
        let mut patch = Patch::new();
        let Some(branch) = self.known(node.fact(0)?)? else {
            if self.is_choice() {
                return Ok(None);
            }
            if let Some(refused) = self.refuses {
                return self.checked(node, refused, &captured).map(Some);
            }
            let condition = node.inputs[0].ok_or_else(|| Error::internal("no condition"))?;
            let mut inputs = vec![Some(condition.into())];
            for (branch, stem) in [(&self.then_branch, "then"), (&self.else_branch, "else")] {
                let results = patch.splice(branch, &captured, &format!("{}/{stem}", node.name))?;
                inputs.extend(results.into_iter().map(Some));
            }
            // Types are left to the next inference, which sees both branches.
            let types = vec![Fact::new(DType::F32, Shape::default()); node.outputs.len()];
            let choice = Arc::new(Self::choice(&types)?);
            let results = patch.untyped_node(node.name, choice, &inputs, node.outputs.len());
            node.outputs.iter().zip(results).for_each(|(old, new)| patch.replace(*old, new));
            return Ok(Some(patch));
        };
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

    fn possible(
        &self,
        inputs: &[Option<&Fact>],
        accept: &mut dyn FnMut(Graph) -> Result<()>,
    ) -> Result<Option<Arc<dyn Op>>> {
        if self.is_choice() || self.known(operand::fact(inputs, 0)?)?.is_some() {
            return Ok(None);
        }
        let facts =
            (1..inputs.len()).map(|i| operand::fact(inputs, i).cloned()).collect::<Result<Vec<_>>>()?;
        let mut accepts = |branch: &Graph| match accept(body::typed(branch, &facts)) {
            Err(e) if e.kind == ErrorKind::Invalid => Ok(false),
            other => other.map(|()| true),
        };
        let refuses = match (accepts(&self.then_branch)?, accepts(&self.else_branch)?) {
            (true, true) => return Ok(None),
            (then, _) => Some(!then),
        };
        Ok(Some(Arc::new(Self { refuses, ..self.clone() })))
    }

    fn flow(&self) -> Option<Flow<'_>> {
        self.is_choice().then_some(Flow::Choice)
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
    fn both_branches_of_a_condition_of_run_time_are_in_the_graph() {
        let mut graph = parse(&model("input %c: bool[]")).unwrap();
        let node = graph.node(graph.node_ids().next().unwrap()).clone();
        let view = NodeView { graph: &graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
        let patch = node.op.decompose(&view).unwrap().unwrap();
        graph.apply(patch).unwrap();
        assert!(graph.node_ids().any(|n| graph.node(n).op.name() == "Neg"), "{graph}");
        assert_eq!(parse(&graph.to_string()).unwrap(), graph);
        let x = Tensor::from_vec(&[2], vec![1f32, 2.0]);
        for (value, a, b) in [(true, [-1f32, -2.0], [-1f32, -2.0]), (false, [1.0, 2.0], [3.0, 4.0])] {
            let inputs = [x.clone(), Tensor::from_bools(&[], [value])];
            let expected = [Tensor::from_vec(&[2], a.to_vec()), Tensor::from_vec(&[2], b.to_vec())];
            assert_eq!(eval::graph::run(&graph, &inputs).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_no_bool_is_invalid_and_branches_of_different_types_are_unsupported() {
        let graph = parse(&model("input %c: bool[]")).unwrap();
        let op = &graph.node(graph.node_ids().next().unwrap()).op;
        let fact = |dtype| Fact::new(dtype, Shape::of(&[]));
        let kind = |dtype| op.infer(&[Some(&fact(dtype)), Some(&fact(crate::DType::F32))]).unwrap_err().kind;
        assert_eq!(kind(crate::DType::Bool), ErrorKind::Unsupported);
        assert_eq!(kind(crate::DType::F32), ErrorKind::Invalid);
    }
}
