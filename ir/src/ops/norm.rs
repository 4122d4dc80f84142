//! Normalisation of groups of elements to mean 0 and variance 1: what `LayerNormalization`,
//! `InstanceNormalization`, `GroupNormalization` and `RMSNormalization` share.
//!
//! ```text
//! mean = sum x / count        inv = 1 / sqrt(sum (x - mean)^2 / count + epsilon)        (x - mean) * inv
//! ```
//!
//! The variance is summed from differences in a second pass: the difference of the mean of squares and the square
//! of the mean would cancel. `RMSNormalization` has no mean.

use super::nest::{NestBuilder, add, constant, indices_except, mul, reciprocal, rsqrt, sub};
use super::operand::fact;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, BufferId, Expr, Form, Index, LoopId, Lowering, ReduceOp, Store};
use crate::op::Fact;
use crate::types::{DType, Shape, broadcast};
use crate::{bail_invalid, bail_unsupported};

/// Mean and reciprocal of the standard deviation of each group, for interpreters. `groups` gives each element's.
pub(super) fn statistics(
    values: &[f64],
    groups: &[usize],
    total: usize,
    epsilon: f32,
    centred: bool,
) -> (Vec<f64>, Vec<f64>) {
    let (mut counts, mut mean, mut inv) = (vec![0.0; total], vec![0.0; total], vec![0.0; total]);
    for (v, &g) in values.iter().zip(groups) {
        counts[g] += 1.0;
        mean[g] += if centred { *v } else { 0.0 };
    }
    mean.iter_mut().zip(&counts).for_each(|(m, n)| *m /= n);
    values.iter().zip(groups).for_each(|(v, &g)| inv[g] += (v - mean[g]).powi(2));
    inv.iter_mut().zip(&counts).for_each(|(v, n)| *v = 1.0 / (*v / n + f64::from(epsilon)).sqrt());
    (mean, inv)
}

/// A normalisation to be lowered.
pub(super) struct Norm<'a> {
    /// Extents of the loops over all elements.
    pub(super) shape: Shape,
    /// Which of these loops run inside a group.
    pub(super) reduced: Vec<bool>,
    /// The index of an element of input 0 and output 0.
    pub(super) index: &'a dyn Fn(&[LoopId]) -> Vec<Index>,
    /// Element type.
    pub(super) dtype: DType,
    /// Added to the variance.
    pub(super) epsilon: f32,
    /// Whether the mean is subtracted.
    pub(super) centred: bool,
}

/// The statistics of each group in temporaries, reduced axes having extent 1.
pub(super) struct Statistics {
    /// The mean, if it is subtracted.
    pub(super) mean: Option<BufferId>,
    /// The reciprocal of the standard deviation.
    pub(super) inv: BufferId,
}

impl Norm<'_> {
    /// Emits the kernels. `finish` scales and shifts the normalised element.
    pub(super) fn lower(
        &self,
        cx: &mut Lowering<'_>,
        finish: impl FnOnce(&Lowering<'_>, &[LoopId], Expr) -> Result<Expr>,
    ) -> Result<Statistics> {
        let kept: Shape = self
            .shape
            .iter()
            .zip(&self.reduced)
            .map(|(d, r)| if *r { Dim::Const(1) } else { d.clone() })
            .collect();
        let inside = self.shape.iter().zip(&self.reduced).filter(|(_, r)| **r);
        let count = inside.fold(Dim::Const(1), |n, (d, _)| n * d.clone());
        let factor = reciprocal(cx, self.dtype, &count)?;
        let input = cx.input(0)?;
        let (nest, ids) = NestBuilder::over(&self.shape, &self.reduced);
        let element = |ids: &[LoopId]| Expr::Load(Access::new(input, (self.index)(ids)));
        let statistic = |b, ids: &[LoopId]| Access::new(b, indices_except(ids, &self.reduced));

        let mean = self.centred.then(|| cx.temp("mean", self.dtype, kept.clone()));
        if let Some(mean) = mean {
            let store = Store { to: statistic(mean, &ids), value: mul(Expr::Acc, factor.clone()) };
            let form = Form::Reduce { op: ReduceOp::Sum, value: element(&ids), store };
            cx.emit(nest.loops.clone(), form);
        }
        let centred = |ids: &[LoopId]| match mean {
            Some(mean) => sub(element(ids), Expr::Load(statistic(mean, ids))),
            None => element(ids),
        };
        let inv = cx.temp("inv", self.dtype, kept);
        let variance = add(mul(Expr::Acc, factor), constant(self.dtype, self.epsilon.into()));
        let store = Store { to: statistic(inv, &ids), value: rsqrt(self.dtype, variance) };
        let value = mul(centred(&ids), centred(&ids));
        cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value, store });

        let (loops, ids) = Lowering::loops_over(&self.shape);
        let value = finish(cx, &ids, mul(centred(&ids), Expr::Load(statistic(inv, &ids))))?;
        let store = Store { to: Access::new(cx.output(0)?, (self.index)(&ids)), value };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(Statistics { mean, inv })
    }
}

/// Checks inputs `first..` of a normalisation over the last axes: each broadcasts to the input's shape.
pub(super) fn check_broadcast(inputs: &[Option<&Fact>], first: usize) -> Result<()> {
    let x = fact(inputs, 0)?;
    for (i, operand) in inputs.iter().enumerate().skip(first) {
        let Some(operand) = operand else { continue };
        if !operand.dtype.is_float() {
            bail_invalid!("input {i} must be floating-point, found {}", operand.dtype);
        }
        if operand.dtype != x.dtype {
            bail_unsupported!(
                "input {i} of type {} beside an input of type {} is not supported: both must have one type",
                operand.dtype,
                x.dtype
            );
        }
        let fits = operand.shape.rank() <= x.shape.rank() && broadcast(&operand.shape, &x.shape)? == x.shape;
        if !fits {
            bail_invalid!("input {i} of shape {} does not broadcast to the input {}", operand.shape, x.shape);
        }
    }
    Ok(())
}

/// Checks inputs 1 and 2 of a normalisation by channel: vectors of the input's type.
pub(super) fn check_vectors(inputs: &[Option<&Fact>], lengths: &[Dim]) -> Result<()> {
    let x = fact(inputs, 0)?;
    for i in 1..3 {
        let operand = fact(inputs, i)?;
        if operand.dtype != x.dtype {
            bail_invalid!(
                "input {i} is {} and input 0 is {}; they must have one type",
                operand.dtype,
                x.dtype
            );
        }
        let length = operand.shape.first().filter(|_| operand.shape.rank() == 1);
        let fits = |d: &Dim| lengths.iter().any(|l| l == d || l.as_const().is_none());
        if !length.is_some_and(fits) {
            bail_invalid!("input {i} must be a vector of length {lengths:?}, found shape {}", operand.shape);
        }
    }
    Ok(())
}
