//! Resizing axes whose extents are known at run time alone.
//!
//! Where each element is repeated as often, that is a copy with a loop more, as for extents that are known. Else indices and
//! weights of an axis are computed by kernels, with the formulas of `axis`, before anything reads them.

use super::axis::{self, Axis, Coordinates, Mode, Nearest};
use super::{NUDGE, Policy, Resize, numbers};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar, Store, UnaryOp,
};
use crate::op::Fact;
use crate::ops::nest::{NestBuilder, add, constant, div, mul, sub};
use crate::ops::{movement, operand};
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// What becomes of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Each element is there so often.
    Repeat(i64),
    /// Elements are chosen and weighed at run time; without a scale it is the ratio of the extents.
    Computed(Option<f64>),
}

/// An axis that changes: its extent afterwards, and how it comes about.
pub(super) type Changed = (Dim, Change);

/// Places that tell whether elements are only repeated: they are the same everywhere.
const PROBE: i64 = 8;

impl Resize {
    /// What becomes of each axis where one that changes is open; nothing where all of those are known.
    pub(super) fn open(&self, x: &Shape, inputs: &[Option<&Fact>]) -> Result<Option<Vec<Option<Changed>>>> {
        let given = |i: usize| {
            let fact = inputs.get(i).copied().flatten();
            fact.filter(|fact| !fact.shape.elements().is(0))
        };
        let named = self.named_axes(x)?;
        let scales = given(self.scales).map(|fact| numbers(fact, "scales")).transpose()?;
        let sizes = given(3).map(|fact| operand::dims(fact, "the list of sizes")).transpose()?;
        let count = scales.as_ref().map_or(0, Vec::len) + sizes.as_ref().map_or(0, Vec::len);
        if count != named.len() || scales.is_some() == sizes.is_some() {
            return Ok(None);
        }
        let is_open = |(i, axis): (usize, &usize)| match (&scales, &sizes) {
            (Some(scales), _) => scales[i] != 1.0 && x[*axis].as_const().is_none(),
            (_, Some(sizes)) => {
                sizes[i] != x[*axis] && (x[*axis].as_const().is_none() || sizes[i].as_const().is_none())
            }
            _ => false,
        };
        if !named.iter().enumerate().any(is_open) {
            return Ok(None);
        }
        let mut all: Vec<Option<Changed>> = vec![None; x.rank()];
        for (i, &axis) in named.iter().enumerate() {
            let from = &x[axis];
            all[axis] = match (&scales, &sizes) {
                (Some(scales), _) if scales[i] == 1.0 => None,
                (Some(scales), _) => Some((self.scaled(from, scales[i])?, self.change(scales[i]))),
                (_, Some(sizes)) if sizes[i] == *from => None,
                (_, Some(sizes)) => Some((sizes[i].clone(), Change::Computed(None))),
                _ => None,
            };
        }
        if self.policy != Policy::Stretch
            || self.sampling.antialias
            || self.sampling.coordinates == Coordinates::TfCropAndResize
        {
            bail_unsupported!(
                "open extents are not resized with antialias, by a region or with the aspect ratio of {x}: bind \
                 them with --dim"
            );
        }
        Ok(Some(all))
    }

    /// The extent behind a scale.
    fn scaled(&self, from: &Dim, scale: f64) -> Result<Dim> {
        // As many binary digits as products of extents have room for in f32.
        const PARTS: f64 = 256.0;
        if let Some(from) = from.as_const() {
            return Ok(Dim::Const((from as f32 * scale as f32).floor() as i64));
        }
        let parts = scale * PARTS;
        if !(scale > 0.0 && parts.fract() == 0.0 && parts < 1e6) {
            bail_unsupported!(
                "the open extent {from} is not resized by the scale {scale}: bind it with --dim"
            );
        }
        let product = from.clone() * Dim::Const(parts as i64);
        product
            .floor_div(&Dim::Const(PARTS as i64))
            .ok_or_else(|| Error::internal("an extent that is divided by nothing"))
    }

    fn change(&self, scale: f64) -> Change {
        let (Mode::Nearest(nearest), times) = (self.sampling.mode, scale as i64) else {
            return Change::Computed(Some(scale));
        };
        let moves = matches!(
            self.sampling.coordinates,
            Coordinates::HalfPixel
                | Coordinates::HalfPixelSymmetric
                | Coordinates::PytorchHalfPixel
                | Coordinates::Asymmetric
        );
        let axis = Axis { from: 2 * PROBE, to: 2 * PROBE * times, scale, region: (0.0, 1.0) };
        let source = |i: i64| axis::nearest(axis.place(i, self.sampling.coordinates), nearest);
        let repeats = (0..times).all(|r| source(PROBE * times + r) == PROBE);
        match moves && times as f64 == scale && times > 1 && repeats {
            true => Change::Repeat(times),
            false => Change::Computed(Some(scale)),
        }
    }

    /// The shape with its axes changed.
    pub(super) fn open_target(x: &Shape, axes: &[Option<Changed>]) -> Shape {
        let extent = |(own, axis): (&Dim, &Option<Changed>)| axis.as_ref().map_or(own, |(to, _)| to).clone();
        x.iter().zip(axes).map(extent).collect()
    }

    /// Emits the kernels.
    pub(super) fn lower_open(&self, cx: &mut Lowering<'_>, axes: &[Option<Changed>]) -> Result<()> {
        if matches!(self.sampling.mode, Mode::Nearest(_)) {
            self.copy(cx, axes)
        } else {
            self.blend(cx, axes)
        }
    }

    fn copy(&self, cx: &mut Lowering<'_>, axes: &[Option<Changed>]) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let own = cx.ty(x).shape.clone();
        let mut nest = NestBuilder::default();
        let (mut from, mut to): (Vec<Index>, Vec<Index>) = (Vec::new(), Vec::new());
        for (axis, change) in axes.iter().enumerate() {
            match change {
                None => {
                    let l = nest.parallel(format!("i{axis}"), &own[axis]);
                    from.push(l.into());
                    to.push(l.into());
                }
                Some((_, Change::Repeat(times))) => {
                    let l = nest.parallel(format!("i{axis}"), &own[axis]);
                    let again = nest.parallel(format!("r{axis}"), &Dim::Const(*times));
                    from.push(l.into());
                    to.push(Affine::of(again).plus(l, *times).into());
                }
                Some((extent, Change::Computed(scale))) => {
                    let l = nest.parallel(format!("i{axis}"), extent);
                    let table = self.sources(cx, &own[axis], extent, *scale)?.remove(0).0;
                    from.push(Index::Gathered(Box::new(Access::new(table, vec![l.into()]))));
                    to.push(l.into());
                }
            }
        }
        cx.copy(nest.loops, Access::new(x, from), Access::new(y, to));
        Ok(())
    }

    fn blend(&self, cx: &mut Lowering<'_>, axes: &[Option<Changed>]) -> Result<()> {
        let (mut from, y) = (cx.input(0)?, cx.output(0)?);
        let dtype = cx.ty(from).dtype;
        let carrier = Self::carrier(dtype);
        let list: Vec<(usize, &Changed)> =
            axes.iter().enumerate().filter_map(|(axis, c)| Some((axis, c.as_ref()?))).collect();
        for (n, (axis, (extent, change))) in list.iter().enumerate() {
            let last = n + 1 == list.len();
            let mut shape = cx.ty(from).shape.clone();
            let Change::Computed(scale) = change else {
                bail_invalid!("elements that are blended are not repeated");
            };
            let tables = self.sources(cx, &shape[*axis].clone(), extent, *scale)?;
            shape.0[*axis] = extent.clone();
            let to = if last { y } else { cx.temp("axis", carrier, shape.clone()) };
            let (loops, ids) = Lowering::loops_over(&shape);
            let l = ids[*axis];
            let mut sum: Option<Expr> = None;
            for (sources, weights) in tables {
                let mut index = movement::each(&ids);
                index[*axis] = Index::Gathered(Box::new(Access::new(sources, vec![l.into()])));
                let element = Expr::Load(Access::new(from, index));
                let element =
                    if cx.ty(from).dtype == carrier { element } else { Expr::cast(carrier, element) };
                let weights = weights.ok_or_else(|| Error::internal("taps without weights"))?;
                let weight = Expr::Load(Access::new(weights, vec![l.into()]));
                let weight = if carrier == DType::F64 { weight } else { Expr::cast(carrier, weight) };
                let product = mul(element, weight);
                sum = Some(match sum {
                    Some(sum) => add(sum, product),
                    None => product,
                });
            }
            let mut value = sum.ok_or_else(|| Error::internal("an axis without taps"))?;
            if last && dtype != carrier {
                let nudged = if dtype.is_int() { mul(value, constant(carrier, NUDGE)) } else { value };
                value = Expr::cast(dtype, nudged);
            }
            let to_access = Access::new(to, movement::each(&ids));
            cx.emit(loops, Form::Map { stores: vec![Store { to: to_access, value }] });
            from = to;
        }
        Ok(())
    }

    /// Tables of the taps of an axis: the element of the source for each position, and its weight in f64.
    fn sources(
        &self,
        cx: &mut Lowering<'_>,
        from: &Dim,
        to: &Dim,
        scale: Option<f64>,
    ) -> Result<Vec<(BufferId, Option<BufferId>)>> {
        let extents = Extents {
            from: Expr::cast(DType::F64, Expr::size(DType::I64, from)),
            to: Expr::cast(DType::F64, Expr::size(DType::I64, to)),
            scale,
        };
        let l = LoopId(0);
        let place = extents.place(Expr::cast(DType::F64, Expr::Loop(l)), self.sampling.coordinates);
        let last = Expr::binary(BinaryOp::Sub, Expr::size(DType::I64, from), int(1));
        let clamped = |at: Expr| {
            let low = Expr::binary(BinaryOp::Max, at, int(0));
            Expr::binary(BinaryOp::Min, low, last.clone())
        };
        let shape = || Shape(vec![to.clone()]);
        let mut emit = |suffix: &str, dtype: DType, value: Expr| {
            let table = cx.temp(suffix, dtype, shape());
            let (loops, ids) = Lowering::loops_over(&shape());
            let store = Store { to: Access::new(table, movement::each(&ids)), value };
            cx.emit(loops, Form::Map { stores: vec![store] });
            table
        };
        if let Mode::Nearest(nearest) = self.sampling.mode {
            let value = clamped(Expr::cast(DType::I64, chosen(place, nearest)));
            return Ok(vec![(emit("index", DType::I64, value), None)]);
        }
        let reach = if self.sampling.mode == Mode::Linear { 1 } else { 2 };
        let place = Expr::Load(Access::new(emit("place", DType::F64, place), vec![l.into()]));
        let below = Expr::unary(UnaryOp::Floor, place.clone());
        let first = add(Expr::cast(DType::I64, below), int(1 - reach));
        let at = |tap: i64| add(first.clone(), int(tap));
        let mut weights = Vec::new();
        for tap in 0..2 * reach {
            let distance = Expr::unary(UnaryOp::Abs, sub(Expr::cast(DType::F64, at(tap)), place.clone()));
            let weight = weight(self.sampling.mode, distance);
            weights.push(match self.sampling.exclude_outside {
                true => {
                    let inside = Expr::binary(BinaryOp::Eq, clamped(at(tap)), at(tap));
                    Expr::select(inside, weight, constant(DType::F64, 0.0))
                }
                false => weight,
            });
        }
        let tables: Vec<BufferId> = weights.into_iter().map(|w| emit("weight", DType::F64, w)).collect();
        let load = |table: &BufferId| Expr::Load(Access::new(*table, vec![l.into()]));
        let tables: Vec<BufferId> = if self.sampling.exclude_outside {
            let sum = tables.iter().map(load).reduce(add).ok_or_else(|| Error::internal("no taps"))?;
            tables.iter().map(|table| emit("part", DType::F64, div(load(table), sum.clone()))).collect()
        } else {
            tables
        };
        let taps = tables.into_iter().zip(0..);
        Ok(taps.map(|(weight, tap)| (emit("index", DType::I64, clamped(at(tap))), Some(weight))).collect())
    }
}

fn int(n: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I64, n))
}

/// The extents of an axis as numbers.
struct Extents {
    from: Expr,
    to: Expr,
    scale: Option<f64>,
}

impl Extents {
    /// See [`Axis::place`].
    fn place(&self, i: Expr, coordinates: Coordinates) -> Expr {
        let number = |v: f64| constant(DType::F64, v);
        let scale = match self.scale {
            Some(scale) => number(scale),
            None => div(self.to.clone(), self.from.clone()),
        };
        let scaled = match self.scale {
            Some(scale) => mul(number(scale), self.from.clone()),
            None => self.to.clone(),
        };
        let single = Expr::binary(BinaryOp::Eq, scaled.clone(), number(1.0));
        let half_pixel = sub(div(add(i.clone(), number(0.5)), scale.clone()), number(0.5));
        match coordinates {
            Coordinates::HalfPixelSymmetric => {
                let missing = sub(number(1.0), div(self.to.clone(), scaled));
                add(mul(mul(self.from.clone(), number(0.5)), missing), half_pixel)
            }
            Coordinates::PytorchHalfPixel => Expr::select(single, number(-0.5), half_pixel),
            Coordinates::AlignCorners => {
                let part = div(mul(i, sub(self.from.clone(), number(1.0))), sub(scaled, number(1.0)));
                Expr::select(single, number(0.0), part)
            }
            Coordinates::Asymmetric => div(i, scale),
            Coordinates::HalfPixel | Coordinates::TfCropAndResize => half_pixel,
        }
    }
}

/// The element that is nearest to a place.
fn chosen(x: Expr, nearest: Nearest) -> Expr {
    let floor = Expr::unary(UnaryOp::Floor, x.clone());
    let ceil = Expr::unary(UnaryOp::Ceil, x.clone());
    let above = sub(x, floor.clone());
    let half = constant(DType::F64, 0.5);
    let up = match nearest {
        Nearest::Floor => return floor,
        Nearest::Ceil => return ceil,
        Nearest::RoundPreferFloor => Expr::binary(BinaryOp::Lt, half, above),
        Nearest::RoundPreferCeil => Expr::binary(BinaryOp::Le, half, above),
    };
    Expr::select(up, ceil, floor)
}

/// The weight of an element at a distance.
fn weight(mode: Mode, x: Expr) -> Expr {
    let number = |v: f64| constant(DType::F64, v);
    let Mode::Cubic(a) = mode else {
        return Expr::binary(BinaryOp::Max, sub(number(1.0), x), number(0.0));
    };
    let a = f64::from(a);
    let square = mul(x.clone(), x.clone());
    let near = add(mul(sub(mul(number(a + 2.0), x.clone()), number(a + 3.0)), square), number(1.0));
    let far = sub(mul(sub(mul(number(a), x.clone()), number(5.0 * a)), x.clone()), number(-8.0 * a));
    let far = sub(mul(far, x.clone()), number(4.0 * a));
    let inside = |end: f64, value: Expr, otherwise: Expr| {
        Expr::select(Expr::binary(BinaryOp::Le, x.clone(), number(end)), value, otherwise)
    };
    inside(1.0, near, inside(2.0, far, number(0.0)))
}
