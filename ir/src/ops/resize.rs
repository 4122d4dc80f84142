//! `Resize`: makes axes longer or shorter by interpolation.
//!
//! Spec: ONNX Resize, versions 10 to 24. Where a position of the result lies in the source and which elements it is made of
//! is the subject of `resize::axis`; axes are independent, so that a result is made one axis after the other. Version 10 has
//! `scales` as second input, floors coordinates and knows neither `sizes` nor `roi`. Scales, sizes and the region are
//! constants or follow from extents.
//!
//! Numerics: floats are interpolated in their own type, those of 16 bits in f32, integers in f64; weights are computed in
//! f64. Integers are truncated towards zero at the end, as the reference does, but for what is nearer to the next one than
//! 2^-40 of its value: the roundings of weights decide nothing.
//!
//! Lowering: `nearest` is one copy, an axis of it with a step where sources are evenly spaced, a loop more where each
//! element is repeated, else with a table of indices. `linear` and `cubic` take one `Map` per axis that changes, first
//! those that become shorter, and of axes that become as much longer the last one first. Where the extent of an axis that
//! changes is open, or its size is computed at run time, so are the tables (`open`).
//!
//! Unsupported: scales or a region computed at run time; open extents with antialias, a region, another policy than `stretch`
//! or scales that are no multiple of 1 / 256; more than 2^24 taps.

mod axis;
mod lowering;
mod names;
mod open;

pub use axis::{Coordinates, Mode, Nearest, Sampling};
pub use names::Policy;

use std::cmp::Ordering;

use axis::{Axis, Taps};
use names::{COORDINATES, NEAREST, POLICIES, name_of, named};

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
    unsupported: "scales or a region computed at run time",
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

    /// Refuses axes that would need too many taps.
    fn check(&self, axes: &[Option<Axis>]) -> Result<()> {
        for (i, axis) in axes.iter().enumerate() {
            let Some(axis) = axis else { continue };
            let width = if self.sampling.antialias { 4.0 / axis.scale.min(1.0) } else { 4.0 };
            if axis.to as f64 * width > MOST_TAPS as f64 {
                bail_unsupported!("axis {i} of {} elements would need more than {MOST_TAPS} taps", axis.to);
            }
        }
        Ok(())
    }

    /// The taps of each axis that changes, those that become shorter first; of equal ones that become longer the last.
    fn taps(&self, axes: &[Option<Axis>]) -> Result<Vec<(usize, Taps)>> {
        let mut list: Vec<(usize, Axis)> =
            axes.iter().enumerate().filter_map(|(i, axis)| Some((i, (*axis)?))).collect();
        // The last axis takes single elements where others take rows: it goes when there are fewest.
        list.sort_by(|(i, a), (j, b)| match a.scale.total_cmp(&b.scale) {
            Ordering::Equal if a.scale > 1.0 => j.cmp(i),
            order => order,
        });
        self.check(axes)?;
        Ok(list.into_iter().map(|(i, axis)| (i, axis.taps(&self.sampling))).collect())
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

    fn shape_operands(&self) -> &'static [usize] {
        &[3]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        let number = x.dtype.is_float() || x.dtype.is_int() && !x.dtype.is_small();
        if !matches!(self.sampling.mode, Mode::Nearest(_)) && !number {
            bail_invalid!("elements of type {} cannot be interpolated", x.dtype);
        }
        if let Some(axes) = self.open(&x.shape, inputs)? {
            return Ok(vec![Fact::new(x.dtype, Self::open_target(&x.shape, &axes))]);
        }
        let axes = self.axes_of(&x.shape, inputs)?;
        self.check(&axes)?;
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
        if let Some(axes) = self.open(&ty.shape, &facts)? {
            return self.lower_open(cx, &axes);
        }
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
mod tests;
