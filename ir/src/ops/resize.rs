//! `Resize`: makes axes longer or shorter by interpolation.
//!
//! Spec: ONNX Resize, versions 10 to 24. Where a position of the result lies in the source and which elements it is made of
//! is the subject of [`axis`]; axes are independent, so that a result is made one axis after the other. Version 10 has
//! `scales` as second input, floors coordinates and knows neither `sizes` nor `roi`. Scales, sizes and the region are
//! constants or follow from extents.
//!
//! Numerics: floats are interpolated in their own type, those of 16 bits in f32, integers in f64; weights are computed in
//! f64. Integers are truncated towards zero at the end, as the reference does, but for what is nearer to the next one than
//! 2^-40 of its value: the roundings of weights decide nothing.
//!
//! Lowering: `nearest` is one copy, an axis of it with a step where sources are evenly spaced, a loop more where each
//! element is repeated, else with a table of indices. `linear` and `cubic` take one `Map` per axis that changes, first
//! those that become shorter.
//!
//! Unsupported: scales, sizes or a region computed at run time; open extents of axes that change; more than 2^24 taps.

mod axis;
mod lowering;

pub use axis::{Coordinates, Mode, Nearest, Sampling};

use axis::{Axis, Taps};

use super::elements::Elements;
use super::values::from_f64s;
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Lowering, Scalar};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// Elements of tables at most, those of all taps of an axis.
const MOST_TAPS: usize = 1 << 24;

/// By what integers are multiplied before they are truncated.
const NUDGE: f64 = 1.0 + 1.0 / (1u64 << 40) as f64;

/// Which of two scales all axes have, where their ratio is kept.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// `Resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How elements are chosen and weighed.
    pub sampling: Sampling,
    /// The axes that scales, sizes and region are of; all where there is none.
    pub axes: Option<Vec<i64>>,
    /// What `sizes` means.
    pub policy: Policy,
    /// The value of positions that lie outside of the source.
    pub extrapolation: f32,
    /// Position of the scales among the inputs.
    pub scales: usize,
}

/// A name of an attribute's value.
type Names<T> = &'static [(&'static str, T)];

const COORDINATES: Names<Coordinates> = &[
    ("half_pixel", Coordinates::HalfPixel),
    ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
    ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
    ("align_corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
    ("tf_crop_and_resize", Coordinates::TfCropAndResize),
];
const NEAREST: Names<Nearest> = &[
    ("round_prefer_floor", Nearest::RoundPreferFloor),
    ("round_prefer_ceil", Nearest::RoundPreferCeil),
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
];
const POLICIES: Names<Policy> =
    &[("stretch", Policy::Stretch), ("not_larger", Policy::NotLarger), ("not_smaller", Policy::NotSmaller)];

/// What an attribute says by name, `default` where it is missing.
fn named<T: Copy>(node: &mut NodeProto<'_>, attribute: &str, names: Names<T>, default: T) -> Result<T> {
    let Some(text) = node.string(attribute)? else { return Ok(default) };
    match names.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            bail_invalid!("attribute '{attribute}' must be {}, found '{text}'", known.join(", "))
        }
    }
}

/// The name of a value.
fn name_of<T: PartialEq>(names: Names<T>, value: &T) -> Attr {
    let name = names.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name);
    Attr::Str(name.to_owned())
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=4, 1..=1)?;
    let old = node.opset < 11;
    let coordinates = if old { Coordinates::Asymmetric } else { Coordinates::HalfPixel };
    let nearest = if old { Nearest::Floor } else { Nearest::RoundPreferFloor };
    let coordinates = named(node, "coordinate_transformation_mode", COORDINATES, coordinates)?;
    let nearest = named(node, "nearest_mode", NEAREST, nearest)?;
    let policy = named(node, "keep_aspect_ratio_policy", POLICIES, Policy::Stretch)?;
    let a = node.float("cubic_coeff_a")?.unwrap_or(-0.75);
    let mode = match node.string("mode")?.as_deref() {
        None | Some("nearest") => Mode::Nearest(nearest),
        Some("linear" | "bilinear") => Mode::Linear,
        Some("cubic") => Mode::Cubic(a),
        Some(other) => bail_invalid!("attribute 'mode' must be nearest, linear or cubic, found '{other}'"),
    };
    let antialias = node.int("antialias")?.unwrap_or(0) != 0;
    if antialias && matches!(mode, Mode::Nearest(_)) {
        bail_invalid!("attribute 'antialias' needs mode linear or cubic");
    }
    let exclude_outside = node.int("exclude_outside")?.unwrap_or(0) != 0;
    Ok(Box::new(Resize {
        sampling: Sampling { mode, coordinates, antialias, exclude_outside },
        axes: node.ints("axes")?,
        policy,
        extrapolation: node.float("extrapolation_value")?.unwrap_or(0.0),
        scales: if node.inputs.len() == 2 { 1 } else { 2 },
    }))
}

/// `Resize`.
pub const DEF: OpDef = OpDef {
    name: "Resize",
    domain: "",
    since: (10, 19),
    parse,
    unsupported: "scales, sizes or a region computed at run time",
};

/// The numbers of a constant.
fn numbers(fact: &Fact, what: &str) -> Result<Vec<f64>> {
    match fact.tensor() {
        Some(tensor) => tensor.to_f64s(),
        None => Err(Error::unsupported(format!("{what} computed at run time are not supported"))
            .hint("a constant can be resized by; --bind-inputs takes inputs as constants")),
    }
}

impl Resize {
    /// The axes that are named.
    fn named_axes(&self, x: &Shape) -> Result<Vec<usize>> {
        let Some(axes) = &self.axes else { return Ok((0..x.rank()).collect()) };
        let mut named = Vec::with_capacity(axes.len());
        for axis in axes {
            let axis = x.axis(*axis)?;
            if named.contains(&axis) {
                bail_invalid!("axis {axis} occurs twice in {axes:?}");
            }
            named.push(axis);
        }
        Ok(named)
    }

    /// What becomes of each axis; `None` for those that stay.
    fn axes_of(&self, x: &Shape, inputs: &[Option<&Fact>]) -> Result<Vec<Option<Axis>>> {
        let given = |i: usize| {
            let fact = inputs.get(i).copied().flatten();
            fact.filter(|fact| !fact.shape.elements().is(0))
        };
        let named = self.named_axes(x)?;
        let extent = |axis: usize| {
            x[axis].as_const().ok_or_else(|| {
                Error::unsupported(format!(
                    "the open extent {} cannot be resized: bind it with --dim",
                    x[axis]
                ))
            })
        };
        let scales = match given(self.scales) {
            Some(fact) => Some(numbers(fact, "scales")?),
            None => None,
        };
        let sizes = match given(3) {
            Some(fact) => Some(operand::dims(fact, "the list of sizes")?),
            None => None,
        };
        let count = scales.as_ref().map_or(0, Vec::len) + sizes.as_ref().map_or(0, Vec::len);
        match (&scales, &sizes) {
            (Some(_), Some(_)) => bail_invalid!("has both scales and sizes"),
            (None, None) => bail_invalid!("has neither scales nor sizes"),
            _ if count != named.len() => {
                bail_invalid!("{count} scales or sizes do not fit {} axes", named.len())
            }
            _ => {}
        }
        let region = match given(1).filter(|_| self.scales != 1) {
            Some(fact) if self.sampling.coordinates == Coordinates::TfCropAndResize => {
                numbers(fact, "the values of 'roi'")?
            }
            _ => [vec![0.0; named.len()], vec![1.0; named.len()]].concat(),
        };
        if region.len() != 2 * named.len() {
            bail_invalid!("{} values of 'roi' do not fit {} axes", region.len(), named.len());
        }
        let mut all = vec![None; x.rank()];
        let mut ratios = Vec::new();
        for (i, &axis) in named.iter().enumerate() {
            let region = (region[i], region[named.len() + i]);
            let whole = region == (0.0, 1.0) || self.sampling.coordinates != Coordinates::TfCropAndResize;
            let same = scales.as_ref().is_some_and(|s| s[i] == 1.0)
                || sizes.as_ref().is_some_and(|s| s[i] == x[axis]) && self.policy == Policy::Stretch;
            if same && whole {
                continue;
            }
            let from = extent(axis)?;
            let (to, scale) = match (&scales, &sizes) {
                // As ONNX's own inference computes it.
                (Some(scales), _) => ((from as f32 * scales[i] as f32).floor() as i64, scales[i]),
                (_, Some(sizes)) => {
                    let to = sizes[i].as_const().ok_or_else(|| {
                        Error::unsupported(format!(
                            "the open size {} is not supported: bind it with --dim",
                            sizes[i]
                        ))
                    })?;
                    (to, to as f64 / from as f64)
                }
                _ => (from, 1.0),
            };
            if !(scale > 0.0 && scale.is_finite()) || to < 0 || from == 0 {
                bail_invalid!(
                    "axis {axis} of {from} elements cannot be resized to {to} by the scale {scale}"
                );
            }
            ratios.push(scale);
            all[axis] = Some(Axis { from, to, scale, region });
        }
        if sizes.is_some() && self.policy != Policy::Stretch {
            let larger = |a: f64, b: f64| if self.policy == Policy::NotLarger { a.min(b) } else { a.max(b) };
            let scale = ratios.into_iter().reduce(larger).unwrap_or(1.0);
            for axis in all.iter_mut().flatten() {
                axis.scale = scale;
                axis.to = (scale * axis.from as f64 + 0.5) as i64;
            }
        }
        Ok(all.into_iter().map(|axis| axis.filter(|axis| !axis.is_same(&self.sampling))).collect())
    }

    fn target(x: &Shape, axes: &[Option<Axis>]) -> Result<Shape> {
        let extent = |(own, axis): (&Dim, &Option<Axis>)| axis.map_or(own.clone(), |axis| axis.to.into());
        operand::checked(x.iter().zip(axes).map(extent).collect())
    }

    /// The taps of each axis that changes, those that become shorter first.
    fn taps(&self, axes: &[Option<Axis>]) -> Result<Vec<(usize, Taps)>> {
        let mut list: Vec<(usize, Axis)> =
            axes.iter().enumerate().filter_map(|(i, axis)| Some((i, (*axis)?))).collect();
        list.sort_by(|(_, a), (_, b)| a.scale.total_cmp(&b.scale));
        let make = |(i, axis): (usize, Axis)| {
            let width = if self.sampling.antialias { 4.0 / axis.scale.min(1.0) } else { 4.0 };
            if axis.to as f64 * width > MOST_TAPS as f64 {
                bail_unsupported!("axis {i} of {} elements would need more than {MOST_TAPS} taps", axis.to);
            }
            Ok((i, axis.taps(&self.sampling)))
        };
        list.into_iter().map(make).collect()
    }

    /// The type that elements are interpolated in.
    fn carrier(dtype: DType) -> DType {
        if dtype == DType::F32 { DType::F32 } else { DType::F64 }
    }
}

impl Op for Resize {
    fn name(&self) -> &'static str {
        "Resize"
    }

    fn attrs(&self) -> Attrs {
        let Sampling { mode, coordinates, antialias, exclude_outside } = self.sampling;
        let mut attrs = Attrs::new();
        let mut set = |name: &str, value: Attr| attrs.insert(name.to_owned(), value);
        set("coordinate_transformation_mode", name_of(COORDINATES, &coordinates));
        let name = match mode {
            Mode::Nearest(nearest) => {
                set("nearest_mode", name_of(NEAREST, &nearest));
                "nearest"
            }
            Mode::Linear => "linear",
            Mode::Cubic(a) => {
                set("cubic_coeff_a", Attr::Float(a));
                "cubic"
            }
        };
        set("mode", Attr::Str(name.to_owned()));
        if antialias {
            set("antialias", Attr::Int(1));
        }
        if exclude_outside {
            set("exclude_outside", Attr::Int(1));
        }
        if self.extrapolation != 0.0 {
            set("extrapolation_value", Attr::Float(self.extrapolation));
        }
        if self.policy != Policy::Stretch {
            set("keep_aspect_ratio_policy", name_of(POLICIES, &self.policy));
        }
        if let Some(axes) = &self.axes {
            set("axes", Attr::Ints(axes.clone()));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        if !matches!(self.sampling.mode, Mode::Nearest(_)) && !x.dtype.is_float() && !x.dtype.is_int() {
            bail_invalid!("elements of type {} cannot be interpolated", x.dtype);
        }
        let axes = self.axes_of(&x.shape, inputs)?;
        self.taps(&axes)?;
        Ok(vec![Fact::new(x.dtype, Self::target(&x.shape, &axes)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let facts: Vec<Option<Fact>> = inputs.iter().map(|t| t.map(Fact::of)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let axes = self.axes_of(&Shape::of(&x.shape), &facts)?;
        let taps = self.taps(&axes)?;
        let fill = Scalar::of(x.dtype, self.extrapolation.into()).bits.to_le_bytes();
        if matches!(self.sampling.mode, Mode::Nearest(_)) {
            let shape = operand::constant(Self::target(&Shape::of(&x.shape), &axes)?)?;
            let strides = row_major(&x.shape);
            let y = movement::gather(x, &shape, &fill[..x.dtype.size()], |index| {
                let mut from = index.to_vec();
                for (axis, taps) in &taps {
                    if !taps.inside[index[*axis]] {
                        return Ok(None);
                    }
                    from[*axis] = taps.sources[0][index[*axis]] as usize;
                }
                Ok(Some(from.iter().zip(&strides).map(|(i, stride)| i * stride).sum()))
            })?;
            return Ok(vec![y]);
        }
        let elements = Elements::new(x)?;
        let mut values: Vec<f64> = (0..x.elements()).map(|i| elements.number(i).float()).collect();
        let mut shape = x.shape.clone();
        for (axis, taps) in &taps {
            values = along(&values, &shape, *axis, taps, self.extrapolation.into());
            shape[*axis] = taps.inside.len();
        }
        if x.dtype.is_int() {
            values.iter_mut().for_each(|v| *v *= NUDGE);
        }
        Ok(vec![from_f64s(x.dtype, &shape, values)?])
    }

    fn takes_short_floats(&self) -> bool {
        matches!(self.sampling.mode, Mode::Nearest(_))
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let ty = cx.ty(x).clone();
        let facts = operand::facts(cx)?;
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let axes = self.axes_of(&ty.shape, &facts)?;
        let taps = self.taps(&axes)?;
        if taps.is_empty() {
            movement::copy_to(cx, y, x, movement::each);
        } else if matches!(self.sampling.mode, Mode::Nearest(_)) {
            self.nearest(cx, &taps)?;
        } else {
            self.interpolate(cx, &taps)?;
        }
        Ok(())
    }
}

/// Elements of a tensor resized along one axis.
fn along(values: &[f64], shape: &[usize], axis: usize, taps: &Taps, outside: f64) -> Vec<f64> {
    let (outer, own) = (shape[..axis].iter().product::<usize>(), shape[axis]);
    let inner: usize = shape[axis + 1..].iter().product();
    let mut out = Vec::with_capacity(outer * taps.inside.len() * inner);
    for o in 0..outer {
        for (i, inside) in taps.inside.iter().enumerate() {
            for j in 0..inner {
                let of = |(sources, weights): (&Vec<i64>, &Vec<f64>)| {
                    values[(o * own + sources[i] as usize) * inner + j] * weights[i]
                };
                let sum = || taps.sources.iter().zip(&taps.weights).map(of).sum();
                out.push(if *inside { sum() } else { outside });
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};

    fn scales(list: &[f32]) -> Tensor {
        Tensor::from_vec(&[list.len()], list.to_vec())
    }

    /// `[1, 1, 2, 2]` times 2 along both of its last axes.
    fn doubled(list: &[(&str, Attr)]) -> Vec<f64> {
        let op = parse("Resize", 19, list, 3, 1).unwrap();
        let x = Tensor::from_vec(&[1, 1, 2, 2], vec![1.0f32, 2.0, 3.0, 4.0]);
        let (roi, scales) = (scales(&[]), scales(&[1.0, 1.0, 2.0, 2.0]));
        run(&*op, &[&x, &roi, &scales], &[1, 2]).unwrap()[0].to_f64s().unwrap()
    }

    fn text(value: &str) -> Attr {
        Attr::Str(value.to_owned())
    }

    #[test]
    fn the_examples_of_the_specification() {
        let nearest = doubled(&[("mode", text("nearest"))]);
        assert_eq!(nearest, [1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4.]);
        let linear = doubled(&[("mode", text("linear"))]);
        assert_eq!(linear[..8], [1.0, 1.25, 1.75, 2.0, 1.5, 1.75, 2.25, 2.5]);
        let corners = [("mode", text("linear")), ("coordinate_transformation_mode", text("align_corners"))];
        let corners = doubled(&corners);
        for (got, want) in corners.iter().zip([1.0, 4.0 / 3.0, 5.0 / 3.0, 2.0, 5.0 / 3.0]) {
            assert!((got - want).abs() < 1e-6, "{corners:?}");
        }
    }

    #[test]
    fn every_mode_is_the_same_at_every_point() {
        let modes = ["nearest", "linear", "cubic"];
        let coordinates: Vec<&str> = COORDINATES.iter().map(|(name, _)| *name).collect();
        let x = sample(&[2, 3, 5, 4], 7);
        let roi = scales(&[0.0, 0.0, 0.2, -0.1, 1.0, 1.0, 0.9, 1.2]);
        for mode in modes {
            for coordinates in &coordinates {
                for (antialias, factors) in [(0, [1.0, 1.0, 2.0, 2.5]), (1, [1.0, 1.0, 0.6, 1.5])] {
                    let antialias = if mode == "nearest" { 0 } else { antialias };
                    let list = [
                        ("mode", text(mode)),
                        ("coordinate_transformation_mode", text(coordinates)),
                        ("antialias", Attr::Int(antialias)),
                        ("exclude_outside", Attr::Int(antialias)),
                        ("extrapolation_value", Attr::Float(10.0)),
                    ];
                    let op = parse("Resize", 19, &list, 3, 1).unwrap();
                    run(&*op, &[&x, &roi, &scales(&factors)], &[1, 2]).unwrap();
                }
            }
        }
    }

    #[test]
    fn sizes_may_keep_the_ratio() {
        let x = sample(&[1, 1, 4, 8], 3);
        let sizes = Tensor::from_vec(&[2], vec![6i64, 6]);
        for (policy, want) in [("stretch", [6, 6]), ("not_larger", [3, 6]), ("not_smaller", [6, 12])] {
            let list = [("axes", Attr::Ints(vec![2, -1])), ("keep_aspect_ratio_policy", text(policy))];
            let op = parse("Resize", 19, &list, 4, 1).unwrap();
            let none = scales(&[]);
            let y = run(&*op, &[&x, &none, &none, &sizes], &[1, 2, 3]).unwrap();
            assert_eq!(y[0].shape, [1, 1, want[0], want[1]], "{policy}");
        }
    }

    #[test]
    fn the_version_before_floors() {
        let op = parse("Resize", 10, &[], 2, 1).unwrap();
        let x = Tensor::from_vec(&[4], vec![1i8, 2, 3, 4]);
        let y = run(&*op, &[&x, &scales(&[0.6])], &[1]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[2], vec![1i8, 2]));
    }

    #[test]
    fn integers_are_truncated() {
        let op = parse("Resize", 13, &[("mode", text("linear"))], 3, 1).unwrap();
        let x = Tensor::from_vec(&[2], vec![0u8, 255]);
        let y = run(&*op, &[&x, &scales(&[]), &scales(&[2.0])], &[1, 2]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[4], vec![0u8, 63, 191, 255]));
    }

    #[test]
    fn what_does_not_fit_is_invalid() {
        let op = parse("Resize", 19, &[], 4, 1).unwrap();
        let x = Fact::of(&sample(&[4, 4], 3));
        let list = |n: usize, value: f32| Fact::of(&scales(&vec![value; n]));
        let sizes = Fact::of(&Tensor::from_vec(&[2], vec![2i64, 2]));
        let none = list(0, 1.0);
        for (scales, sizes) in [
            (&list(3, 2.0), &none),
            (&list(2, 0.0), &none),
            (&list(2, f32::NAN), &none),
            (&list(2, 1e30), &none),
            (&list(2, 2.0), &sizes),
            (&none, &none),
        ] {
            assert!(op.infer(&[Some(&x), None, Some(scales), Some(sizes)]).is_err(), "{scales:?}");
        }
    }
}
