//! The loops of a resized tensor.

use super::axis::Taps;
use super::{NUDGE, Resize};
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar, Store};
use crate::ops::movement;
use crate::ops::nest::{NestBuilder, add, constant, mul};
use crate::tensor::{Element, Tensor};
use crate::types::DType;

/// A table with an entry for each position of an axis.
fn table<T: Element>(cx: &mut Lowering<'_>, suffix: &str, list: Vec<T>) -> BufferId {
    cx.constant(suffix, Tensor::from_vec(&[list.len()], list))
}

/// Positions along an axis as an index of the source, which is read from a table unless it is a multiple of the loop's.
fn source(cx: &mut Lowering<'_>, l: LoopId, sources: &[i64]) -> Index {
    let first = sources.first().copied().unwrap_or(0);
    let step = sources.get(1).map_or(0, |second| second - first);
    if sources.iter().zip(0i64..).all(|(at, i)| *at == first + step * i) {
        return Affine::constant(first).plus(l, step).into();
    }
    let narrow: Option<Vec<i32>> = sources.iter().map(|at| i32::try_from(*at).ok()).collect();
    let table = match narrow {
        Some(list) => table(cx, "index", list),
        None => table(cx, "index", sources.to_vec()),
    };
    Index::Gathered(Box::new(Access::new(table, vec![l.into()])))
}

/// How often each element of the source is repeated, where all are equally often.
fn repeats(sources: &[i64], from: Option<i64>) -> Option<i64> {
    let from = from.filter(|from| *from > 0 && sources.len() as i64 % from == 0)?;
    let times = sources.len() as i64 / from;
    (times > 1 && sources.iter().zip(0i64..).all(|(at, i)| *at == i / times)).then_some(times)
}

impl Resize {
    /// Emits a copy, or a map where some positions lie outside.
    pub(super) fn nearest(&self, cx: &mut Lowering<'_>, taps: &[(usize, Taps)]) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let (own, all, dtype) = (cx.ty(x).shape.clone(), cx.ty(y).shape.clone(), cx.ty(x).dtype);
        let mut nest = NestBuilder::default();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let mut inside: Option<Expr> = None;
        for (axis, extent) in all.iter().enumerate() {
            let Some((_, taps)) = taps.iter().find(|(changed, _)| *changed == axis) else {
                let l = nest.parallel(format!("i{axis}"), extent);
                from.push(l.into());
                to.push(l.into());
                continue;
            };
            let sources = &taps.sources[0];
            if let Some(times) = repeats(sources, own[axis].as_const()) {
                let l = nest.parallel(format!("i{axis}"), &own[axis]);
                let again = nest.parallel(format!("r{axis}"), &times.into());
                from.push(l.into());
                to.push(Affine::of(again).plus(l, times).into());
                continue;
            }
            let l = nest.parallel(format!("i{axis}"), extent);
            from.push(source(cx, l, sources));
            to.push(l.into());
            if taps.inside.contains(&false) {
                let flags = cx.constant("inside", Tensor::from_bools(&[sources.len()], taps.inside.clone()));
                let flag = Expr::Load(Access::new(flags, vec![l.into()]));
                inside = Some(match inside {
                    Some(others) => Expr::binary(BinaryOp::And, others, flag),
                    None => flag,
                });
            }
        }
        let (from, to) = (Access::new(x, from), Access::new(y, to));
        let Some(inside) = inside else {
            cx.copy(nest.loops, from, to);
            return Ok(());
        };
        let outside = Expr::Const(Scalar::of(dtype, self.extrapolation.into()));
        let value = Expr::select(inside, Expr::Load(from), outside);
        cx.emit(nest.loops, Form::Map { stores: vec![Store { to, value }] });
        Ok(())
    }

    /// Emits a map for each axis that changes.
    pub(super) fn interpolate(&self, cx: &mut Lowering<'_>, list: &[(usize, Taps)]) -> Result<()> {
        let (mut from, y) = (cx.input(0)?, cx.output(0)?);
        let dtype = cx.ty(from).dtype;
        let carrier = Self::carrier(dtype);
        for (n, (axis, taps)) in list.iter().enumerate() {
            let last = n + 1 == list.len();
            let mut shape = cx.ty(from).shape.clone();
            shape.0[*axis] = taps.inside.len().into();
            let to = if last { y } else { cx.temp("axis", carrier, shape.clone()) };
            let (loops, ids) = Lowering::loops_over(&shape);
            let l = ids[*axis];
            let mut sum: Option<Expr> = None;
            for (sources, weights) in taps.sources.iter().zip(&taps.weights) {
                let mut index = movement::each(&ids);
                index[*axis] = source(cx, l, sources);
                let element = Expr::Load(Access::new(from, index));
                let element =
                    if cx.ty(from).dtype == carrier { element } else { Expr::cast(carrier, element) };
                let weights = match carrier {
                    DType::F32 => table(cx, "weight", weights.iter().map(|w| *w as f32).collect()),
                    _ => table(cx, "weight", weights.clone()),
                };
                let product = mul(element, Expr::Load(Access::new(weights, vec![l.into()])));
                sum = Some(match sum {
                    Some(sum) => add(sum, product),
                    None => product,
                });
            }
            let mut value = sum.ok_or_else(|| Error::internal("an axis without taps"))?;
            if taps.inside.contains(&false) {
                let flags = Tensor::from_bools(&[taps.inside.len()], taps.inside.clone());
                let flag = Expr::Load(Access::new(cx.constant("inside", flags), vec![l.into()]));
                value = Expr::select(flag, value, constant(carrier, self.extrapolation.into()));
            }
            if last && dtype != carrier {
                value = Expr::cast(dtype, mul(value, constant(carrier, NUDGE)));
            }
            let to_access = Access::new(to, movement::each(&ids));
            cx.emit(loops, Form::Map { stores: vec![Store { to: to_access, value }] });
            from = to;
        }
        Ok(())
    }
}
