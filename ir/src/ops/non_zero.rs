//! `NonZero`: where elements are not zero.
//!
//! Spec: ONNX NonZero, versions 9 and 13. Indices of the elements in row-major order, a row for each axis; how many there are
//! is counted when the model runs, and is at most the number of elements, or what is given as a bound. NaN is not zero.
//! Made of `Positions`.
//!
//! Unsupported: a scalar.

use super::counted::{self, Chain, Positions};
use super::operand;
use crate::bail_unsupported;
use crate::counts::Counts;
use crate::error::{Error, Result};
use crate::graph::{PatchValue, ValueId};
use crate::op::{Attrs, Fact, Graph, Node, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// `NonZero`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonZero;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    Ok(Box::new(NonZero))
}

/// `NonZero`.
pub const DEF: OpDef = OpDef { name: "NonZero", domain: "", since: (9, 13), parse, unsupported: "a scalar" };

impl Op for NonZero {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if x.shape.rank() == 0 {
            bail_unsupported!("a scalar has no axes along which it could be found");
        }
        let Some(known) = x.tensor() else {
            bail_unsupported!(
                "what is not zero is counted at run time, which a body of control flow does not support"
            );
        };
        Ok(vec![Fact::new(DType::I64, Shape::of(&[x.shape.rank(), counted::found(known)?.len()]))])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let found = counted::found(x)?;
        let rows = (0..x.shape.len()).flat_map(|axis| found.iter().map(move |place| place[axis])).collect();
        Ok(vec![Tensor::from_vec(&[x.shape.len(), found.len()], rows)])
    }

    fn count(&self, node: &NodeView<'_>, counts: &mut Counts<'_>) -> Result<Option<Patch>> {
        let x = node.fact(0)?;
        if x.tensor().is_some() || x.shape.rank() == 0 {
            return Ok(None);
        }
        let value = node.inputs[0].ok_or_else(|| Error::internal("an operand is left out"))?;
        if let Some(same) = counted_already(node.graph, origin(node.graph, value), node.outputs[0]) {
            let mut patch = Patch::new();
            patch.replace(node.outputs[0], same);
            return Ok(Some(patch));
        }
        let result = &node.graph.value(node.outputs[0]).name;
        let all = counts.most(&x.shape.elements())?;
        let most = counts.given(&node.told(0), 1).map_or(all, |most| most.min(all));
        let mut chain = Chain::new(node);
        let data = chain.input(0)?;
        let (places, n) = positions(&mut chain, counts, data, result, most);
        let y = chain.prefix(places, n, 1);
        Ok(Some(chain.finish(&[y])))
    }
}

/// What a value is a copy of.
fn origin(graph: &Graph, value: ValueId) -> ValueId {
    let ty = |v: ValueId| graph.value(v).fact.as_ref().map(Fact::ty);
    let mut at = value;
    while let Some(node) = graph.producer(at).map(|id| graph.node(id)) {
        match node.inputs.first().copied().flatten() {
            Some(source)
                if node.op.hands_on()
                    && node.outputs[0] == at
                    && ty(at).is_some()
                    && ty(source) == ty(at) =>
            {
                at = source;
            }
            _ => break,
        }
    }
    at
}

/// The result of another node that asks for the same, so that both have one size: one before it, or what was made of one.
fn counted_already(graph: &Graph, of: ValueId, own: ValueId) -> Option<ValueId> {
    let reads =
        |node: &Node| node.inputs.first().copied().flatten().filter(|v| origin(graph, *v) == of).is_some();
    let mut before = true;
    for id in graph.node_ids() {
        let node = graph.node(id);
        before &= !node.outputs.contains(&own);
        let found = match node.op.name() {
            "NonZero" => before && reads(node),
            "Prefix" => {
                let from = node.inputs.first().copied().flatten().and_then(|v| graph.producer(v));
                from.is_some_and(|id| graph.node(id).op.name() == "Positions" && reads(graph.node(id)))
            }
            _ => false,
        };
        if found {
            return node.outputs.first().copied();
        }
    }
    None
}

/// Where `x` is not zero, with room for `most`, and how many there are, as a size that is called after `result`.
pub(super) fn positions(
    chain: &mut Chain<'_>,
    counts: &mut Counts<'_>,
    x: PatchValue,
    result: &str,
    most: i64,
) -> (PatchValue, PatchValue) {
    let found = chain.node(Positions { most }, &[x], 2);
    let n = chain.sizes(counts, found[1], &[(format!("{result}_count"), most)]);
    (found[0], n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dim::Dim;
    use crate::ops::testing::{parse, run};

    #[test]
    fn indices_in_row_major_order() {
        let x = Tensor::from_vec(&[2, 3], vec![1f32, 0.0, f32::NAN, -0.0, 0.0, 5.0]);
        let y = NonZero.eval(&[Some(&x)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2, 3], vec![0i64, 0, 1, 0, 2, 2]));
        let none = NonZero.eval(&[Some(&Tensor::from_bools(&[4], [false; 4]))]).unwrap();
        assert_eq!(none[0].shape, [1, 0]);
    }

    #[test]
    fn positions_of_several_types_and_what_is_too_much() {
        let most = |n: i64| Positions { most: n };
        for dtype in [DType::F32, DType::F64, DType::I8, DType::U8, DType::I32, DType::I64, DType::Bool] {
            let values = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0].to_vec();
            let x = super::super::values::from_f64s(dtype, &[2, 3], values).unwrap();
            let y = run(&most(6), &[&x], &[]).unwrap();
            assert_eq!(y[1].to_i64s().unwrap(), [3]);
        }
        let x = Tensor::from_vec(&[2, 3, 2], (0..12i32).map(|i| i % 3).collect());
        let y = run(&most(8), &[&x], &[]).unwrap();
        assert_eq!(y[1].to_i64s().unwrap(), [8]);
    }

    #[test]
    fn a_size_takes_the_place_of_what_is_counted() {
        let text = "graph @g opset(17) { dim n = 1..4 input %x: f32[n, 3] %y = NonZero(%x) output %y }";
        let graph = crate::graph::parse(text).unwrap();
        let id = graph.node_ids().next().unwrap();
        let node = graph.node(id);
        let view = NodeView { graph: &graph, name: &node.name, inputs: &node.inputs, outputs: &node.outputs };
        let mut counts = Counts::new(&graph.bounds, &graph.counted, &graph.most);
        assert!(NonZero.count(&view, &mut counts).unwrap().is_some());
        let made = counts.made();
        assert_eq!(made.get("y_count").map(|b| (b.lo, b.hi)), Some((0, 12)));
        assert_eq!(Dim::symbol("y_count").most(&made), Some(12));
        assert!(parse("NonZero", 13, &[], 1, 1).is_ok());
    }
}
