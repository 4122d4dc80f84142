//! Padding of a convolution whose input is quantised by its range.
//!
//! The zero point of such an input, which its padding has, is known when the model runs only. But it is what 0.0 is quantised
//! to, so that the numbers can be padded instead:
//!
//! ```text
//!   %q, %s, %z = DynamicQuantizeLinear(%x)            %q, %s, %z = DynamicQuantizeLinear(%x)
//!                                                     %p = QuantizeLinear(Pad(%x), %s, %z)
//!   %y = ConvInteger(%q, @w, %z) {pads = ..}          %y = ConvInteger(%p, @w, %z)
//! ```
//!
//! What the range says of other numbers does not change: it is that of %x without its padding. All places of the window then
//! have a number less its zero point to multiply, as those of a product of matrices have.

use super::dequantized::add;
use crate::error::Result;
use crate::graph::{Graph, Node, Patch};
use crate::op::{Attr, Attrs};
use crate::tensor::Tensor;

/// The operator that quantises by range.
pub(super) const DYNAMIC: &str = "DynamicQuantizeLinear";
/// The convolution of integers.
pub(super) const CONVOLUTION: &str = "ConvInteger";

/// The convolution of padded numbers.
pub(super) fn before(graph: &Graph, node: &Node) -> Result<Option<Patch>> {
    let input = |i: usize| node.inputs.get(i).copied().flatten();
    let (Some(q), Some(zero)) = (input(0), input(2)) else { return Ok(None) };
    let mut attrs = node.op.attrs();
    let Some(Attr::Ints(pads)) = attrs.get("pads").cloned() else { return Ok(None) };
    let Some(id) = graph.producer(q) else { return Ok(None) };
    let source = graph.node(id);
    let [quantised, scale, own] = source.outputs[..] else { return Ok(None) };
    let Some(x) = source.inputs.first().copied().flatten() else { return Ok(None) };
    if source.op.name() != DYNAMIC || (quantised, own) != (q, zero) || pads.iter().all(|p| *p == 0) {
        return Ok(None);
    }
    // Before all axes, then behind them: batch and channels have no padding.
    let (begin, end) = pads.split_at(pads.len() / 2);
    let all = [&[0, 0], begin, &[0, 0], end].concat();
    let name = |suffix: &str| format!("{}.{suffix}", node.name);
    let mut patch = Patch::new();
    let list = patch.constant(&name("pads"), Tensor::from_vec(&[all.len()], all));
    let padded = add(&mut patch, &name("padded"), "Pad", Attrs::new(), &[Some(x.into()), Some(list)])?;
    let operands = [padded, scale.into(), own.into()].map(Some);
    let bytes = add(&mut patch, &name("quantized"), "QuantizeLinear", Attrs::new(), &operands)?;
    attrs.remove("pads");
    let mut operands: Vec<_> = node.inputs.iter().map(|v| v.map(Into::into)).collect();
    operands[0] = Some(bytes);
    let y = add(&mut patch, &node.name, CONVOLUTION, attrs, &operands)?;
    patch.replace(node.outputs[0], y);
    Ok(Some(patch))
}
