//! Averages of dequantised elements.

use super::dequantized::{Dequantized, add, cast, times};
use crate::error::Result;
use crate::graph::{Graph, Node, Patch, PatchValue};
use crate::op::Attrs;
use crate::tensor::Tensor;
use crate::types::DType;

/// The average of `f32(x - zero)`, integers whose sum f32 holds, then the scale. A pool's padding counts as 0 in both.
pub(super) fn average(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let operand = node.inputs.first().copied().flatten().and_then(|v| Dequantized::of(graph, v));
    let Some((operand, scale)) = operand.and_then(|o| o.scale().map(|s| (o, s))) else { return Ok(None) };
    let mut patch = Patch::new();
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let mut x = cast(&mut patch, &name("x"), operand.x.into(), DType::F32)?;
    if let Some(zero) = operand.zero {
        let zero = match graph.constant(zero) {
            // A scalar, whatever shape the only zero point has.
            Some(zero) => {
                let value = zero.to_f64s()?.first().copied().unwrap_or(0.0);
                patch.constant(&name("zero"), Tensor::scalar(value as f32))
            }
            None => cast(&mut patch, &name("zero"), zero.into(), DType::F32)?,
        };
        x = add(&mut patch, &name("less"), "Sub", Attrs::new(), &[Some(x), Some(zero)])?;
    }
    let mut inputs: Vec<Option<PatchValue>> = node.inputs.iter().map(|v| v.map(PatchValue::from)).collect();
    inputs[0] = Some(x);
    let average = patch.untyped_node(&node.name, node.op.clone(), &inputs, 1)[0];
    let y = times(&mut patch, &name("scaled"), average, Tensor::scalar(scale))?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}
