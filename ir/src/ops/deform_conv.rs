//! `DeformConv`: a convolution whose window's elements are moved by offsets that are computed at run time.
//!
//! Spec: ONNX DeformConv, versions 19 and 22. `x` `[N, C, H, W]`, `w` `[M, C / group, kH, kW]`, `offset`
//! `[N, offset_group * kH * kW * 2, oH, oW]` (rows, then columns, of each element), bias `[M]`, and a factor for each element
//! `mask` `[N, offset_group * kH * kW, oH, oW]`. Elements are read by linear interpolation, zeros outside. Made of other
//! operators: the elements of all windows, then one matrix product for each group.
//!
//! Unsupported: other than two spatial axes.

use super::composed::{Composed, Composer, Value, composed, required};
use super::matmul;
use super::sampling::{Corners, linear, read, zero_outside};
use super::spatial::Spatial;
use super::values::from_f64s;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, bail_unsupported};

/// `DeformConv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeformConv {
    spatial: Spatial,
    group: i64,
    offset_group: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=5, 1..=1)?;
    let (group, offset_group) = (node.int("group")?.unwrap_or(1), node.int("offset_group")?.unwrap_or(1));
    if group < 1 || offset_group < 1 {
        bail_invalid!("groups must be at least 1, found {group} and {offset_group}");
    }
    Ok(Box::new(DeformConv { spatial: Spatial::parse(node)?, group, offset_group }))
}

/// `DeformConv`.
pub const DEF: OpDef = OpDef {
    name: "DeformConv",
    domain: "",
    since: (19, 22),
    parse,
    unsupported: "other than 2 spatial axes",
};

impl Op for DeformConv {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.spatial.attrs();
        attrs.insert("group".to_owned(), Attr::Int(self.group));
        attrs.insert("offset_group".to_owned(), Attr::Int(self.offset_group));
        attrs
    }

    composed!(product);
}

impl Composed for DeformConv {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let [x, w, offset] = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
        let (bias, mask) = (inputs.get(3).copied().flatten(), inputs.get(4).copied().flatten());
        let (shape, weights) = (cx.extents(x, "an image")?, cx.extents(w, "weights")?);
        let ([n, c, h, width], [m, per_group, kh, kw]) = (&shape[..], &weights[..]) else {
            bail_unsupported!("images of shape {shape:?} are not supported, only [N, C, H, W]")
        };
        let (n, c, m, per_group, kernel) = (*n, *c, *m, *per_group, kh.saturating_mul(*kw));
        let (group, offsets) = (self.group, self.offset_group);
        if c != per_group * group || m % group != 0 || c % offsets != 0 {
            bail_invalid!(
                "weights {weights:?} in {group} groups do not fit {shape:?} with {offsets} groups of offsets"
            );
        }
        if *h == 0 || *width == 0 {
            bail_invalid!("the image {shape:?} has no pixels");
        }
        let axes = self.spatial.axes(&cx.fact(x).shape[2..], &[*kh, *kw])?;
        let open = || crate::Error::internal("open extents of constant shapes");
        let axes = axes.iter().map(|a| a.fixed().ok_or_else(open)).collect::<Result<Vec<_>>>()?;
        let (oh, ow) = (axes[0].output as i64, axes[1].output as i64);
        let (places, all) = (oh * ow, offsets * kernel);
        let expected = |channels: i64| [n, channels, oh, ow];
        if cx.extents(offset, "offsets")? != expected(2 * all) {
            bail_invalid!("offsets {} must have the shape {:?}", cx.fact(offset).shape, expected(2 * all));
        }
        if let Some(mask) = mask
            && cx.extents(mask, "a mask")? != expected(all)
        {
            bail_invalid!("the mask {} must have the shape {:?}", cx.fact(mask).shape, expected(all));
        }
        let offset = cx.widened(offset)?;
        let split = cx.reshape(offset, &[n * offsets, kernel, 2, places])?;
        let mut taps = Vec::with_capacity(2);
        for (axis, fixed) in axes.iter().enumerate() {
            let moved = cx.slice(split, 2, (axis as i64, axis as i64 + 1), 1)?;
            let moved = cx.reshape(moved, &[n * offsets, kernel * places])?;
            let mut still = Vec::with_capacity((kernel * places) as usize);
            for k in 0..kernel {
                for place in 0..places {
                    let (o, k) = if axis == 0 { (place / ow, k / kw) } else { (place % ow, k % kw) };
                    still.push(fixed.raw(o as usize, k as usize) as f64);
                }
            }
            let still = cx.constant(from_f64s(cx.dtype(offset), &[1, (kernel * places) as usize], still)?);
            let at = cx.add(moved, still)?;
            let pixels = linear(cx, at)?.into_iter().map(|tap| zero_outside(cx, tap, fixed.input as i64));
            taps.push(pixels.collect::<Result<Vec<_>>>()?);
        }
        let images = cx.reshape(x, &[n * offsets, c / offsets, *h, *width])?;
        let image = cx.constant(Tensor::from_vec(&[(n * offsets) as usize, 1], (0..n * offsets).collect()));
        let mut elements = read(cx, images, image, &taps, Corners::Sum)?;
        elements = cx.reshape(elements, &[n * offsets, kernel, places, c / offsets])?;
        if let Some(mask) = mask {
            let mask = cx.reshape(mask, &[n * offsets, kernel, places, 1])?;
            elements = cx.mul(elements, mask)?;
        }
        // [N, group, channels * kernel, places]
        let elements = cx.transpose(elements, &[0, 3, 1, 2])?;
        let elements = cx.reshape(elements, &[n, group, per_group * kernel, places])?;
        let w = cx.reshape(w, &[group, m / group, per_group * kernel])?;
        let y = cx.apply(&matmul::DEF, &[], &[w, elements])?;
        let mut y = cx.reshape(y, &[n, m, oh, ow])?;
        if let Some(bias) = bias {
            let bias = cx.reshape(bias, &[m, 1, 1])?;
            y = cx.add(y, bias)?;
        }
        Ok(vec![y])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, run, sample};

    #[test]
    fn groups_masks_and_bias() {
        let list = [
            ("kernel_shape", ints(&[3, 2])),
            ("pads", ints(&[1, 0, 1, 1])),
            ("strides", ints(&[2, 1])),
            ("group", Attr::Int(2)),
            ("offset_group", Attr::Int(2)),
        ];
        let op = parse("DeformConv", 22, &list, 5, 1).unwrap();
        let (x, w) = (sample(&[2, 4, 5, 6], 3), sample(&[6, 2, 3, 2], 7));
        let (offset, mask) = (sample(&[2, 24, 3, 6], 5), sample(&[2, 12, 3, 6], 11));
        run(&*op, &[&x, &w, &offset, &sample(&[6], 3), &mask], &[1, 3]).unwrap();
    }

    #[test]
    fn without_offsets_a_convolution() {
        let op = parse("DeformConv", 19, &[("pads", ints(&[1, 1, 1, 1]))], 3, 1).unwrap();
        let (x, w) = (sample(&[1, 2, 4, 5], 3), sample(&[3, 2, 3, 3], 7));
        let offset = Tensor::zeros(crate::types::DType::F32, &[1, 18, 4, 5]);
        let y = run(&*op, &[&x, &w, &offset], &[]).unwrap();
        let conv = parse("Conv", 11, &[("pads", ints(&[1, 1, 1, 1]))], 2, 1).unwrap();
        let want = run(&*conv, &[&x, &w], &[]).unwrap();
        crate::ops::testing::assert_close(&y[0], &want[0], 1e-5);
    }
}
