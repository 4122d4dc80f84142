//! `RoiAlign`: regions of images as images of one size.
//!
//! Spec: ONNX RoiAlign, versions 10, 16 and 22. `x` `[N, C, H, W]`, `rois` `[R, 4]` as x1, y1, x2, y2, `batch_indices` `[R]`. Each of
//! `output_height` by `output_width` bins is the mean (`avg`) of `sampling_ratio` squared samples, read by linear interpolation,
//! or (`max`) the largest of all weighted pixels. Samples more than a pixel outside are 0, others outside are at the border.
//!
//! Unsupported: `sampling_ratio` 0, with which the number of samples depends on the regions.

use super::composed::{Composed, Composer, Value, composed, required};
use super::reduce;
use super::sampling::{Corners, Tap, read};
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// `RoiAlign`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlign {
    /// Pixels are half a pixel from their corner; regions may have less than a pixel.
    half_pixel: bool,
    max: bool,
    output: [i64; 2],
    sampling_ratio: i64,
    spatial_scale: f32,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=3, 1..=1)?;
    let by_default = if node.opset >= 16 { "half_pixel" } else { "output_half_pixel" };
    let half_pixel = match node.string("coordinate_transformation_mode")?.as_deref().unwrap_or(by_default) {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => bail_invalid!("attribute 'coordinate_transformation_mode' is '{other}'"),
    };
    let max = match node.string("mode")?.as_deref() {
        None | Some("avg") => false,
        Some("max") => true,
        Some(other) => bail_invalid!("attribute 'mode' must be avg or max, found '{other}'"),
    };
    let output = [node.int("output_height")?.unwrap_or(1), node.int("output_width")?.unwrap_or(1)];
    let sampling_ratio = node.int("sampling_ratio")?.unwrap_or(0);
    if output.iter().any(|n| !(1..=1 << 16).contains(n)) || !(0..=1 << 10).contains(&sampling_ratio) {
        bail_invalid!("an output of {output:?} with a sampling_ratio of {sampling_ratio} is out of range");
    }
    let spatial_scale = node.float("spatial_scale")?.unwrap_or(1.0);
    Ok(Box::new(RoiAlign { half_pixel, max, output, sampling_ratio, spatial_scale }))
}

/// `RoiAlign`.
pub const DEF: OpDef =
    OpDef { name: "RoiAlign", domain: "", since: (10, 22), parse, unsupported: "a sampling_ratio of 0" };

impl Op for RoiAlign {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let text = |name: &str, value: &str| (name.to_owned(), Attr::Str(value.to_owned()));
        let int = |name: &str, value| (name.to_owned(), Attr::Int(value));
        Attrs::from([
            text(
                "coordinate_transformation_mode",
                if self.half_pixel { "half_pixel" } else { "output_half_pixel" },
            ),
            text("mode", if self.max { "max" } else { "avg" }),
            int("output_height", self.output[0]),
            int("output_width", self.output[1]),
            int("sampling_ratio", self.sampling_ratio),
            ("spatial_scale".to_owned(), Attr::Float(self.spatial_scale)),
        ])
    }

    composed!();
}

impl Composed for RoiAlign {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let [x, rois, batch] = [required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?];
        let (shape, regions) = (cx.extents(x, "an image")?, cx.extents(rois, "regions")?);
        let [_, channels, height, width] = shape[..] else {
            bail_invalid!("the image must have 4 axes, found shape {shape:?}")
        };
        if regions.len() != 2 || regions[1] != 4 || cx.extents(batch, "an index")? != [regions[0]] {
            bail_invalid!("regions of shape {regions:?} must be [R, 4], with R batch indices");
        }
        if cx.dtype(batch) != DType::I64 || cx.dtype(rois) != cx.dtype(x) || !cx.dtype(x).is_float() {
            bail_invalid!("the image and the regions must be floats of one type, and batch indices i64");
        }
        if height == 0 || width == 0 {
            bail_invalid!("the image {shape:?} has no pixels");
        }
        let samples = self.sampling_ratio;
        if samples == 0 {
            bail_unsupported!(
                "a sampling_ratio of 0 is not supported: the number of samples depends on the regions"
            );
        }
        let count = regions[0];
        let rois = cx.widened(rois)?;
        let scaled = cx.times(rois, self.spatial_scale.into())?;
        let scaled = cx.plus(scaled, if self.half_pixel { -0.5 } else { 0.0 })?;
        let mut axes = Vec::with_capacity(2);
        for (axis, extent) in [height, width].into_iter().enumerate() {
            // x comes first.
            let column = 1 - axis as i64;
            let start = cx.slice(scaled, 1, (column, column + 1), 1)?;
            let end = cx.slice(scaled, 1, (column + 2, column + 3), 1)?;
            let mut size = cx.sub(end, start)?;
            if !self.half_pixel {
                let one = cx.number_like(size, 1.0)?;
                size = cx.apply(&super::variadic::MAX, &[], &[size, one])?;
            }
            let bins = self.output[axis];
            let bin = cx.times(size, 1.0 / bins as f64)?;
            let places = (0..bins * samples).map(|i| (i as f64 + 0.5) / samples as f64).collect();
            let places = super::values::from_f64s(cx.dtype(rois), &[1, (bins * samples) as usize], places)?;
            let places = cx.constant(places);
            let offset = cx.mul(bin, places)?;
            let at = cx.add(start, offset)?;
            let places = bins * samples;
            let at = cx.reshape(at, &if axis == 0 { [count, places, 1] } else { [count, 1, places] })?;
            axes.push(taps(cx, at, extent)?);
        }
        let image = cx.reshape(batch, &[count, 1, 1])?;
        let corners = if self.max { Corners::Max } else { Corners::Sum };
        let y = read(cx, x, image, &axes, corners)?;
        let y = cx.reshape(y, &[count, self.output[0], samples, self.output[1], samples, channels])?;
        let y = cx.reduce(if self.max { &reduce::MAX } else { &reduce::MEAN }, y, &[2, 4])?;
        Ok(vec![cx.transpose(y, &[0, 3, 1, 2])?])
    }
}

/// The two pixels beside a sample.
fn taps(cx: &mut Composer<'_>, at: Value, extent: i64) -> Result<Vec<Tap>> {
    let inside = Some(cx.within(at, -1.0, extent as f64)?);
    let at = cx.clamp(at, 0.0, (extent - 1) as f64)?;
    let low = cx.floor(at)?;
    let part = cx.sub(at, low)?;
    let (rest, high) = (cx.number_less(1.0, part)?, cx.plus(low, 1.0)?);
    let tap = |at, weight| Tap { at, weight: Some(weight), inside };
    Ok(vec![tap(low, rest), tap(high, part)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};
    use crate::tensor::Tensor;

    #[test]
    fn every_mode() {
        let x = sample(&[2, 3, 8, 9], 5);
        let rois = Tensor::from_vec(&[3, 4], vec![0f32, 0., 7., 7., 1.5, 2., 3., 9., -3., 2., 12., 5.]);
        let batch = Tensor::from_vec(&[3], vec![0i64, 1, 1]);
        for mode in ["avg", "max"] {
            for transform in ["half_pixel", "output_half_pixel"] {
                let list = [
                    ("mode", Attr::Str(mode.into())),
                    ("coordinate_transformation_mode", Attr::Str(transform.into())),
                    ("output_height", Attr::Int(2)),
                    ("output_width", Attr::Int(3)),
                    ("sampling_ratio", Attr::Int(2)),
                    ("spatial_scale", Attr::Float(0.75)),
                ];
                let op = parse("RoiAlign", 22, &list, 3, 1).unwrap();
                run(&*op, &[&x, &rois, &batch], &[]).unwrap();
            }
        }
    }

    #[test]
    fn refusals() {
        let op = parse("RoiAlign", 22, &[], 3, 1).unwrap();
        let batch = crate::op::Fact::new(DType::I64, crate::types::Shape::of(&[3]));
        let fact = |shape: &[usize]| crate::op::Fact::new(DType::F32, crate::types::Shape::of(shape));
        let refused = |x: &[usize], rois: &[usize]| {
            op.infer(&[Some(&fact(x)), Some(&fact(rois)), Some(&batch)]).unwrap_err().message
        };
        assert!(refused(&[1, 1, 4, 4], &[3, 4]).contains("sampling_ratio of 0"));
        assert!(refused(&[1, 1, 4, 4], &[3, 5]).contains("must be [R, 4]"));
        assert!(refused(&[1, 4, 4], &[3, 4]).contains("4 axes"));
    }
}
