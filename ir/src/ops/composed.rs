//! Operators that are made of others, written once: [`Composed::compose`] names them in order, and inference, evaluation
//! and decomposition follow from it.

use std::sync::Arc;

use super::made::operator;
use super::values::from_f64s;
use super::{cast, reshape, squeeze, transpose};
use crate::error::{Error, Result};
use crate::graph::{Graph, Patch, PatchValue, ValueId};
use crate::op::{Attr, Fact, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// An operator whose meaning is that of others.
pub(super) trait Composed {
    /// The results, made of the inputs; those left out are `None`. Checks what the operators that it is made of do not.
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>>;
}

/// The methods of [`Op`] that follow from [`Composed`]; with `product` an element of the result takes many multiplications.
macro_rules! composed {
    () => {
        fn infer(
            &self,
            inputs: &[Option<&$crate::op::Fact>],
        ) -> $crate::error::Result<Vec<$crate::op::Fact>> {
            $crate::ops::composed::infer(self, inputs)
        }

        fn eval(
            &self,
            inputs: &[Option<&$crate::tensor::Tensor>],
        ) -> $crate::error::Result<Vec<$crate::tensor::Tensor>> {
            $crate::ops::composed::eval(self, inputs)
        }

        fn decompose(
            &self,
            node: &$crate::op::NodeView<'_>,
        ) -> $crate::error::Result<Option<$crate::graph::Patch>> {
            $crate::ops::composed::decompose(self, node)
        }
    };
    (product) => {
        $crate::ops::composed::composed!();

        fn work(&self, operand: u128, results: u128) -> u128 {
            operand.saturating_mul(results)
        }
    };
}
pub(super) use composed;

/// An operand or a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value(usize);

/// An input that must be there.
pub(super) fn required(inputs: &[Option<Value>], i: usize) -> Result<Value> {
    inputs.get(i).copied().flatten().ok_or_else(|| Error::invalid(format!("input {i} is left out")))
}

/// What the operators are made for.
enum Way<'a> {
    /// Facts alone.
    Infer,
    /// The elements of each value.
    Eval(Vec<Tensor>),
    /// Nodes of a patch.
    Patch { node: &'a NodeView<'a>, patch: Patch, values: Vec<PatchValue> },
    /// Nodes of a body.
    Body { graph: Box<Graph>, values: Vec<ValueId>, failed: Option<Error> },
}

/// Applies operators to values, in one of three ways.
pub(super) struct Composer<'a> {
    facts: Vec<Fact>,
    way: Way<'a>,
    made: usize,
}

impl Composer<'_> {
    /// What is known of a value.
    pub(super) fn fact(&self, value: Value) -> &Fact {
        &self.facts[value.0]
    }

    /// A constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> Value {
        self.facts.push(Fact::of(&tensor));
        match &mut self.way {
            Way::Infer => {}
            Way::Eval(tensors) => tensors.push(tensor),
            Way::Patch { node, patch, values } => {
                let name = format!("{}.constant{}", node.name, self.made);
                values.push(patch.constant(&name, tensor));
            }
            Way::Body { graph, values, failed } => {
                let made = graph.add_const(&format!("constant{}", self.made), tensor);
                match made {
                    Ok(id) => values.push(id),
                    // Told of when the body is finished.
                    Err(error) => {
                        *failed = Some(error);
                        values.extend(values.first().copied());
                    }
                }
            }
        }
        self.made += 1;
        Value(self.facts.len() - 1)
    }

    /// A single number of a type.
    pub(super) fn number(&mut self, dtype: DType, value: f64) -> Result<Value> {
        Ok(self.constant(from_f64s(dtype, &[], vec![value])?))
    }

    /// Integers: axes, ends, orders.
    pub(super) fn integers(&mut self, values: &[i64]) -> Value {
        self.constant(Tensor::from_vec(&[values.len()], values.to_vec()))
    }

    /// The results of an operator.
    pub(super) fn node(&mut self, op: Arc<dyn Op>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let facts: Vec<Option<&Fact>> = inputs.iter().map(|v| v.map(|v| &self.facts[v.0])).collect();
        let results = op.infer(&facts)?;
        match &mut self.way {
            Way::Infer => {}
            Way::Eval(tensors) => {
                let operands: Vec<Option<&Tensor>> =
                    inputs.iter().map(|v| v.map(|v| &tensors[v.0])).collect();
                let made = op.eval(&operands)?;
                tensors.extend(made);
            }
            Way::Patch { node, patch, values } => {
                let operands: Vec<_> = inputs.iter().map(|v| v.map(|v| values[v.0])).collect();
                let name = format!("{}.{}{}", node.name, op.name(), self.made);
                values.extend(patch.shared_node(node.graph, &name, op, &operands)?);
            }
            Way::Body { graph, values, .. } => {
                let operands = inputs.iter().map(|v| v.map(|v| values[v.0])).collect();
                let name = format!("{}{}", op.name(), self.made);
                let names = (0..results.len()).map(|i| format!("{name}.{i}")).collect::<Vec<_>>();
                let id = graph.add_node(&name, op, operands, &names)?;
                for (value, fact) in graph.node(id).outputs.clone().into_iter().zip(&results) {
                    graph.set_fact(value, fact.clone());
                    values.push(value);
                }
            }
        }
        self.made += 1;
        let first = self.facts.len();
        self.facts.extend(results);
        Ok((first..self.facts.len()).map(Value).collect())
    }

    /// The only result of an operator of the default domain, with attributes.
    pub(super) fn apply(&mut self, def: &OpDef, list: &[(&str, Attr)], inputs: &[Value]) -> Result<Value> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        self.apply_optional(def, list, &inputs)
    }

    /// [`Composer::apply`] where inputs may be left out.
    pub(super) fn apply_optional(
        &mut self,
        def: &OpDef,
        list: &[(&str, Attr)],
        inputs: &[Option<Value>],
    ) -> Result<Value> {
        let count = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let present: Vec<bool> = inputs[..count].iter().map(Option::is_some).collect();
        let op = operator(def, list, &present, 1)?;
        self.node(op, &inputs[..count])?
            .first()
            .copied()
            .ok_or_else(|| Error::internal("operator without a result"))
    }

    /// A value in another element type.
    pub(super) fn cast(&mut self, value: Value, to: DType) -> Result<Value> {
        if self.fact(value).dtype == to {
            return Ok(value);
        }
        self.apply(&cast::DEF, &[("to", Attr::Int(to.to_onnx().into()))], &[value])
    }

    /// A value under another shape.
    pub(super) fn reshape(&mut self, value: Value, shape: &[i64]) -> Result<Value> {
        let shape = self.integers(shape);
        self.apply(&reshape::DEF, &[], &[value, shape])
    }

    /// A value with further axes of extent 1.
    pub(super) fn unsqueeze(&mut self, value: Value, axes: &[i64]) -> Result<Value> {
        let axes = self.integers(axes);
        self.apply(&squeeze::UNSQUEEZE, &[], &[value, axes])
    }

    /// A value with its axes in another order.
    pub(super) fn transpose(&mut self, value: Value, perm: &[i64]) -> Result<Value> {
        self.apply(&transpose::DEF, &[("perm", Attr::Ints(perm.to_vec()))], &[value])
    }
}

impl Composer<'static> {
    /// What makes a body of so many arguments, the first values.
    pub(super) fn of_body(name: &str, arguments: &[Fact]) -> Result<Self> {
        let (mut graph, mut values) = (Graph::new(name), Vec::new());
        for (i, fact) in arguments.iter().enumerate() {
            values.push(graph.add_input(&format!("argument{i}"), fact.clone())?);
        }
        let way = Way::Body { graph: Box::new(graph), values, failed: None };
        Ok(Self { facts: arguments.to_vec(), way, made: 0 })
    }

    /// The arguments of a body, in order.
    pub(super) fn arguments(&self) -> Vec<Value> {
        match &self.way {
            Way::Body { graph, .. } => (0..graph.inputs().len()).map(Value).collect(),
            _ => Vec::new(),
        }
    }

    /// The body with these results.
    pub(super) fn finish_body(self, results: &[Value]) -> Result<Graph> {
        let Way::Body { mut graph, values, failed } = self.way else {
            return Err(Error::internal("a body became something else"));
        };
        if let Some(error) = failed {
            return Err(error);
        }
        for (i, result) in results.iter().enumerate() {
            graph.add_output_named(values[result.0], &format!("result{i}"));
        }
        Ok(*graph)
    }
}

/// Which inputs are there, as values in order.
fn values<T>(inputs: &[Option<T>]) -> Vec<Option<Value>> {
    let mut next = 0;
    let number = |input: &Option<T>| {
        input.as_ref().map(|_| {
            next += 1;
            Value(next - 1)
        })
    };
    inputs.iter().map(number).collect()
}

/// `Op::infer`.
pub(super) fn infer(op: &impl Composed, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
    let facts = inputs.iter().flatten().map(|f| (*f).clone()).collect();
    let mut cx = Composer { facts, way: Way::Infer, made: 0 };
    let results = op.compose(&mut cx, &values(inputs))?;
    Ok(results.into_iter().map(|v| Fact::new(cx.facts[v.0].dtype, cx.facts[v.0].shape.clone())).collect())
}

/// `Op::eval`.
pub(super) fn eval(op: &impl Composed, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let tensors: Vec<Tensor> = inputs.iter().flatten().map(|t| (*t).clone()).collect();
    let facts = tensors.iter().map(Fact::of).collect();
    let mut cx = Composer { facts, way: Way::Eval(tensors), made: 0 };
    let results = op.compose(&mut cx, &values(inputs))?;
    let Way::Eval(tensors) = cx.way else { return Err(Error::internal("evaluation became something else")) };
    Ok(results.into_iter().map(|v| tensors[v.0].clone()).collect())
}

/// `Op::decompose`.
pub(super) fn decompose(op: &impl Composed, node: &NodeView<'_>) -> Result<Option<Patch>> {
    decompose_with(node, &mut |cx, inputs| op.compose(cx, inputs)).map(Some)
}

/// Makes a node's results, of its operands.
type Compose<'a> = &'a mut dyn FnMut(&mut Composer<'_>, &[Option<Value>]) -> Result<Vec<Value>>;

/// A patch that replaces a node by what `compose` makes.
pub(super) fn decompose_with(node: &NodeView<'_>, compose: Compose<'_>) -> Result<Patch> {
    let present: Vec<_> = node.inputs.iter().flatten().map(|id| PatchValue::from(*id)).collect();
    let facts = (0..node.inputs.len()).filter(|i| node.inputs[*i].is_some());
    let facts = facts.map(|i| node.fact(i).cloned()).collect::<Result<_>>()?;
    let way = Way::Patch { node, patch: Patch::new(), values: present };
    let mut cx = Composer { facts, way, made: 0 };
    let results = compose(&mut cx, &values(node.inputs))?;
    let Way::Patch { mut patch, values, .. } = cx.way else {
        return Err(Error::internal("decomposition became something else"));
    };
    for (old, new) in node.outputs.iter().zip(results) {
        patch.replace(*old, values[new.0]);
    }
    Ok(patch)
}
