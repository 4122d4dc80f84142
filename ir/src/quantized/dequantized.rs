//! DequantizeLinear and its operands; nodes of a patch.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Patch, PatchValue, ValueId};
use crate::op::{Attr, Attrs, NEWEST_OPSET, NodeProto, Op};
use crate::ops;
use crate::tensor::Tensor;
use crate::types::DType;

/// The operator's name.
pub(super) const DEQUANTIZE: &str = "DequantizeLinear";

/// The operands of a DequantizeLinear to f32 whose scales are constant and no blocks.
pub(super) struct Dequantized<'g> {
    pub(super) node: &'g Node,
    /// The integers.
    pub(super) x: ValueId,
    pub(super) scales: Vec<f32>,
    /// The zero point, an operand of the node.
    pub(super) zero: Option<ValueId>,
    /// The axis of scales that are several.
    axis: i64,
}

impl<'g> Dequantized<'g> {
    /// What makes a value, if it is one.
    pub(super) fn of(graph: &'g Graph, value: ValueId) -> Option<Self> {
        let node = graph.node(graph.producer(value)?);
        if node.op.name() != DEQUANTIZE {
            return None;
        }
        let attrs = node.op.attrs();
        let int = |name: &str, default| match attrs.get(name) {
            Some(Attr::Int(value)) => *value,
            _ => default,
        };
        let input = |i: usize| node.inputs.get(i).copied().flatten();
        let scale = graph.constant(input(1)?)?;
        if int("block_size", 0) != 0 || int("output_dtype", 0) != 0 || scale.dtype != DType::F32 {
            return None;
        }
        let scales = scale.as_slice::<f32>().ok()?.to_vec();
        (scale.shape.len() <= 1 && scales.iter().all(|s| s.is_finite())).then_some(Self {
            node,
            x: input(0)?,
            scales,
            zero: input(2),
            axis: int("axis", 1),
        })
    }

    /// The scale of all elements, if there is but one.
    pub(super) fn scale(&self) -> Option<f32> {
        match self.scales[..] {
            [scale] => Some(scale),
            _ => None,
        }
    }

    /// The scales, one or one for each of the `extent` positions of an axis out of `rank`.
    pub(super) fn along(&self, axis: i64, rank: usize, extent: usize) -> Option<&[f32]> {
        let own = if self.axis < 0 { self.axis + rank as i64 } else { self.axis };
        (self.scales.len() == 1 || own == axis && self.scales.len() == extent).then_some(&self.scales)
    }

    /// The same of other integers: with this one's scale, zero point and attributes.
    pub(super) fn again(&self, patch: &mut Patch, name: &str, x: PatchValue) -> PatchValue {
        let mut inputs: Vec<Option<PatchValue>> =
            self.node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
        inputs[0] = Some(x);
        patch.untyped_node(name, self.node.op.clone(), &inputs, 1)[0]
    }
}

/// An operator of the default domain with operands where `inputs` says so.
fn operator(name: &str, mut attrs: Attrs, inputs: &[bool]) -> Result<Arc<dyn Op>> {
    let def = ops::find("", name).ok_or_else(|| Error::internal(format!("there is no operator {name}")))?;
    let mut node = NodeProto { attrs: &mut attrs, opset: NEWEST_OPSET, inputs, outputs: 1 };
    Ok(Arc::from((def.parse)(&mut node)?))
}

/// Adds a node with one result.
pub(super) fn add(
    patch: &mut Patch,
    name: &str,
    op: &str,
    attrs: Attrs,
    inputs: &[Option<PatchValue>],
) -> Result<PatchValue> {
    let present: Vec<bool> = inputs.iter().map(Option::is_some).collect();
    let op = operator(op, attrs, &present)?;
    Ok(patch.untyped_node(name, op, inputs, 1)[0])
}

/// Adds a conversion.
pub(super) fn cast(patch: &mut Patch, name: &str, x: PatchValue, to: DType) -> Result<PatchValue> {
    let attrs = Attrs::from([("to".to_owned(), Attr::Int(to.to_onnx().into()))]);
    add(patch, name, "Cast", attrs, &[Some(x)])
}

/// Adds a product with a constant.
pub(super) fn times(patch: &mut Patch, name: &str, x: PatchValue, factors: Tensor) -> Result<PatchValue> {
    let factors = patch.constant(&format!("{name}.scale"), factors);
    add(patch, name, "Mul", Attrs::new(), &[Some(x), Some(factors)])
}
