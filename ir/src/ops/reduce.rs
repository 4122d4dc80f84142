//! `ReduceMean`, `ReduceSum`, `ReduceMax`, `ReduceMin`, `ReduceProd`, `ReduceL1`, `ReduceL2`, `ReduceLogSum`,
//! `ReduceLogSumExp`, `ReduceSumSquare`: one number per group of elements (ONNX, since 1, 11, 13, 18 and 20).
//!
//! The axes to reduce are an attribute before opset 18 (`ReduceSum`: before 13) and an input since; none of them
//! means all axes, or nothing at all with `noop_with_empty_axes`. With `keepdims` reduced axes stay with extent 1.
//!
//! Numerics: in the element type, in any order; integers wrap, and their mean is rounded towards zero. The empty
//! reduction gives the neutral element: 0, 1, the least or the greatest value, for logarithms -inf.
//! `ReduceLogSumExp` subtracts the maximum first, so it overflows only where its result does.
//!
//! Lowering: a `Reduce` with the operator's function of an element as value and its function of the total as
//! epilogue.
//!
//! Unsupported: axes computed at run time; f16 and bf16 are computed in f32, roots and logarithms of
//! integers in f64.

use super::declared;
use super::nest::{NestBuilder, add, div, indices_except, mul, reciprocal, sub};
use super::operand::{fact, ints, tensor};
use super::values::{from_f64s, from_i128s, to_i128s};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, BufferId, Expr, Form, Index, Lowering, ReduceOp, Scalar, Store, UnaryOp};
use crate::op::{Attr, Attrs, Check, Declared, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};

/// Which reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Arithmetic mean.
    Mean,
    /// Sum.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
    /// Product.
    Prod,
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials.
    LogSumExp,
    /// Sum of squares.
    SumSquare,
}

/// One of the `Reduce*` operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Which one.
    pub kind: Reduction,
    /// Axes given as attribute; empty for all or where they are an input.
    pub axes: Vec<i64>,
    /// Reduced axes stay with extent 1.
    pub keep: bool,
    /// Without axes nothing is reduced.
    pub noop: bool,
}

macro_rules! defs {
    ($($def:ident $kind:ident $name:literal $input_since:literal $newest:literal;)*) => {
        $(
            #[doc = concat!("The definition of `", $name, "`.")]
            pub const $def: OpDef = OpDef {
                name: $name,
                domain: "",
                since: (1, $newest),
                parse: |node| parse(node, Reduction::$kind, $input_since),
                unsupported: "axes computed at run time",
            };
        )*

        impl Reduction {
            fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}
defs! {
    L1 L1 "ReduceL1" 18 18;
    L2 L2 "ReduceL2" 18 18;
    LOG_SUM LogSum "ReduceLogSum" 18 18;
    LOG_SUM_EXP LogSumExp "ReduceLogSumExp" 18 18;
    MAX Max "ReduceMax" 18 20;
    MEAN Mean "ReduceMean" 18 18;
    MIN Min "ReduceMin" 18 20;
    PROD Prod "ReduceProd" 18 18;
    SUM Sum "ReduceSum" 13 13;
    SUM_SQUARE SumSquare "ReduceSumSquare" 18 18;
}

fn parse(node: &mut NodeProto<'_>, kind: Reduction, input_since: i64) -> Result<Box<dyn Op>> {
    node.arity(if node.opset < input_since { 1..=1 } else { 1..=2 }, 1..=1)?;
    let axes = node.ints("axes")?.unwrap_or_default();
    if !axes.is_empty() && node.inputs.get(1) == Some(&true) {
        bail_invalid!("axes {axes:?} are given as attribute and as input");
    }
    let (keep, noop) = (node.flag("keepdims", true)?, node.flag("noop_with_empty_axes", false)?);
    Ok(Box::new(Reduce { kind, axes, keep, noop }))
}

impl Reduce {
    /// Which axes are reduced.
    fn reduced(&self, rank: usize, input: Option<&Fact>) -> Result<Vec<bool>> {
        let axes = match input {
            Some(fact) => ints(fact, "the axes")?,
            None => self.axes.clone(),
        };
        let mut reduced = vec![axes.is_empty() && !self.noop; rank];
        for axis in axes {
            let i = crate::types::axis_of(axis, rank)?;
            if std::mem::replace(&mut reduced[i], true) {
                bail_invalid!("axis {axis} occurs twice");
            }
        }
        Ok(reduced)
    }
}

impl Reduction {
    /// The function of each element, for `eval`.
    fn value(self, x: f64) -> f64 {
        match self {
            Self::L1 => x.abs(),
            Self::L2 | Self::SumSquare => x * x,
            _ => x,
        }
    }

    fn op(self) -> ReduceOp {
        match self {
            Self::Max => ReduceOp::Max,
            Self::Min => ReduceOp::Min,
            Self::Prod => ReduceOp::Prod,
            _ => ReduceOp::Sum,
        }
    }

    fn accepts(self, dtype: DType) -> bool {
        let number = dtype.is_float() || matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64);
        let small = matches!(dtype, DType::I8 | DType::U8 | DType::Bool);
        number || (matches!(self, Self::Max | Self::Min) && small)
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        if !self.axes.is_empty() {
            attrs.insert("axes".into(), Attr::Ints(self.axes.clone()));
        }
        if !self.keep {
            attrs.insert("keepdims".into(), Attr::Int(0));
        }
        if self.noop {
            attrs.insert("noop_with_empty_axes".into(), Attr::Int(1));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        if !self.kind.accepts(x.dtype) {
            bail_invalid!("elements of type {} cannot be reduced", x.dtype);
        }
        let reduced = self.reduced(x.shape.rank(), inputs.get(1).copied().flatten())?;
        let kept = |(i, d): (usize, &Dim)| match (reduced[i], self.keep) {
            (false, _) => Some(d.clone()),
            (true, true) => Some(Dim::Const(1)),
            (true, false) => None,
        };
        Ok(vec![Fact::new(x.dtype, x.shape.iter().enumerate().filter_map(kept).collect())])
    }

    fn declared(&self, inputs: &[Option<&Fact>], outputs: &[Option<&Fact>]) -> Option<Declared> {
        let (x, axes) = (inputs.first().copied().flatten()?, inputs.get(1).copied().flatten()?);
        let from: Vec<i64> = x.shape.as_const()?.into_iter().map(|n| n as i64).collect();
        let (to, count) = (declared::extents(outputs, 0)?, axes.shape.elements().as_usize()?);
        let reduced: Vec<usize> = match self.keep {
            true if to.len() == from.len() => (0..from.len()).filter(|i| to[*i] == 1).collect(),
            true => return None,
            false => declared::removed(&from, &to, count)?,
        };
        let marked: Vec<bool> = (0..from.len()).map(|i| reduced.contains(&i) || from[i] == 1).collect();
        // Of as many axes as there are all are reduced; fewer leave out extents of 1.
        let large = reduced.iter().filter(|i| from[**i] != 1).count();
        let value = reduced.iter().map(|i| *i as i64).collect::<Vec<i64>>();
        let fits =
            large == count && count > 0 || self.keep && (large..=reduced.len()).contains(&count) && count > 0;
        fits.then(|| Declared {
            operand: 1,
            value: Tensor::from_vec(&[value.len()], value),
            check: Check::Axes(marked),
        })
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let axes = inputs.get(1).copied().flatten().map(Fact::of);
        let reduced = self.reduced(x.shape.len(), axes.as_ref())?;
        let kept: Vec<usize> = (0..x.shape.len())
            .filter(|&i| self.keep || !reduced[i])
            .map(|i| if reduced[i] { 1 } else { x.shape[i] })
            .collect();
        Ok(vec![reduce(self.kind, x, &reduced)?.reshaped(&kept)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let shape = cx.fact(0)?.shape.clone();
        let axes = if cx.has_input(1) { Some(cx.fact(1)?.clone()) } else { None };
        let reduced = self.reduced(shape.rank(), axes.as_ref())?;
        lower(cx, self.kind, &reduced, self.keep)
    }
}

/// The reduction of `x` with the reduced axes kept as extents of 1.
pub(super) fn reduce(kind: Reduction, x: &Tensor, reduced: &[bool]) -> Result<Tensor> {
    let shape: Vec<usize> = x.shape.iter().zip(reduced).map(|(&e, &r)| if r { 1 } else { e }).collect();
    let groups = groups(&x.shape, &shape);
    let total: usize = shape.iter().product();
    let count: usize = x.shape.iter().zip(reduced).filter(|(_, r)| **r).map(|(e, _)| e).product();
    let roots = matches!(kind, Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp);
    if !x.dtype.is_float() && !roots {
        return reduce_ints(kind, x, &shape, &groups, count);
    }
    let mut values = x.to_f64s()?;
    let mut offsets = vec![0.0; total];
    if kind == Reduction::LogSumExp {
        let mut max = vec![f64::NEG_INFINITY; total];
        values.iter().zip(&groups).for_each(|(v, &g)| max[g] = max[g].max(*v));
        offsets = max.into_iter().map(|m| if m.is_finite() { m } else { 0.0 }).collect();
        values.iter_mut().zip(&groups).for_each(|(v, &g)| *v = (*v - offsets[g]).exp());
    }
    let start = match kind {
        Reduction::Prod => 1.0,
        Reduction::Max => f64::NEG_INFINITY,
        Reduction::Min => f64::INFINITY,
        _ => 0.0,
    };
    let mut acc = vec![start; total];
    for (v, &g) in values.iter().zip(&groups) {
        let (a, v) = (&mut acc[g], kind.value(*v));
        match kind {
            Reduction::Prod => *a *= v,
            Reduction::Max if v > *a || v.is_nan() => *a = v,
            Reduction::Min if v < *a || v.is_nan() => *a = v,
            Reduction::Max | Reduction::Min => {}
            _ => *a += v,
        }
    }
    for (a, offset) in acc.iter_mut().zip(offsets) {
        *a = match kind {
            Reduction::Mean => *a / count as f64,
            Reduction::L2 => a.sqrt(),
            Reduction::LogSum | Reduction::LogSumExp => a.ln() + offset,
            _ => *a,
        };
    }
    from_f64s(x.dtype, &shape, acc)
}

fn reduce_ints(
    kind: Reduction,
    x: &Tensor,
    shape: &[usize],
    groups: &[usize],
    count: usize,
) -> Result<Tensor> {
    let bits = x.dtype.bits() as u32;
    let (least, greatest) = match (x.dtype, x.dtype.is_signed_int()) {
        (DType::Bool, _) => (0, 1),
        (_, true) => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        (_, false) => (0, (1i128 << bits) - 1),
    };
    let start = match kind {
        Reduction::Prod => 1,
        Reduction::Max => least,
        Reduction::Min => greatest,
        _ => 0,
    };
    let mut acc = vec![start; shape.iter().product()];
    for (&v, &g) in to_i128s(x)?.iter().zip(groups) {
        let a: &mut i128 = &mut acc[g];
        *a = match kind {
            Reduction::Prod => a.wrapping_mul(v),
            Reduction::Max => v.max(*a),
            Reduction::Min => v.min(*a),
            Reduction::L1 => a.wrapping_add(v.abs()),
            Reduction::SumSquare => a.wrapping_add(v.wrapping_mul(v)),
            _ => a.wrapping_add(v),
        };
    }
    if kind == Reduction::Mean {
        // The sum wraps before it is divided.
        acc = to_i128s(&from_i128s(x.dtype, shape, acc)?)?;
        acc.iter_mut().for_each(|a| *a = a.checked_div(count as i128).unwrap_or(0));
    }
    from_i128s(x.dtype, shape, acc)
}

/// For each element of a tensor of shape `shape` the position in `kept`, whose reduced axes have extent 1.
pub(super) fn groups(shape: &[usize], kept: &[usize]) -> Vec<usize> {
    let (positions, strides) = (row_major(shape), row_major(kept));
    (0..shape.iter().product())
        .map(|p: usize| (0..shape.len()).map(|i| p / positions[i] % shape[i] % kept[i] * strides[i]).sum())
        .collect()
}

/// Emits the reduction of input 0 into output 0.
pub(super) fn lower(cx: &mut Lowering<'_>, kind: Reduction, reduced: &[bool], keep: bool) -> Result<()> {
    let x = cx.fact(0)?.clone();
    let dtype = x.dtype;
    let (nest, ids) = NestBuilder::over(&x.shape, reduced);
    let element = Expr::Load(Access::new(cx.input(0)?, ids.iter().copied().map(Index::from).collect()));
    let through_floats =
        dtype.is_int() && matches!(kind, Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp);
    let convert = |to: DType, e: Expr| if through_floats { Expr::cast(to, e) } else { e };
    let element = convert(DType::F64, element);
    let kept = indices_except(&ids, reduced);
    let index = if keep {
        kept.clone()
    } else {
        kept.iter().zip(reduced).filter(|(_, r)| !**r).map(|(i, _)| i.clone()).collect()
    };
    let to = Access::new(cx.output(0)?, index);
    let count =
        x.shape.iter().zip(reduced).filter(|(_, r)| **r).fold(Dim::Const(1), |n, (d, _)| n * d.clone());
    let acc = || Expr::Acc;
    let unary = |op, a| Expr::unary(op, a);
    let (value, total) = match kind {
        Reduction::Mean if dtype.is_float() => (element, mul(acc(), reciprocal(cx, dtype, &count)?)),
        Reduction::Mean => (element, div(acc(), Expr::Const(int_count(dtype, &count)?))),
        Reduction::Max | Reduction::Min if dtype == DType::Bool => {
            (Expr::cast(DType::U8, element), Expr::cast(DType::Bool, acc()))
        }
        Reduction::Sum | Reduction::Prod | Reduction::Max | Reduction::Min => (element, acc()),
        Reduction::L1 if dtype.is_unsigned_int() => (element, acc()),
        Reduction::L1 => (unary(UnaryOp::Abs, element), acc()),
        Reduction::SumSquare => (mul(element.clone(), element), acc()),
        Reduction::L2 => (mul(element.clone(), element), unary(UnaryOp::Sqrt, acc())),
        Reduction::LogSum => (element, unary(UnaryOp::Log, acc())),
        Reduction::LogSumExp => {
            let max = lower_max(cx, dtype, &x.shape, reduced, dtype.is_float())?;
            let max = convert(DType::F64, Expr::Load(Access::new(max, kept)));
            let value = unary(UnaryOp::Exp, sub(element, max.clone()));
            (value, add(unary(UnaryOp::Log, acc()), max))
        }
    };
    cx.emit(
        nest.loops,
        Form::Reduce { op: kind.op(), value, store: Store { to, value: convert(dtype, total) } },
    );
    Ok(())
}

fn int_count(dtype: DType, count: &Dim) -> Result<Scalar> {
    match count.as_const() {
        Some(count) => Ok(Scalar::int(dtype, count)),
        None => {
            Err(Error::unsupported(format!("the mean of {count} integers, an open number, is not supported"))
                .hint("bind the dimension with --dim"))
        }
    }
}

/// Emits the maximum of input 0 over the reduced axes, kept with extent 1, into a temporary. With `finite` an
/// infinite maximum becomes 0, which makes it safe to subtract.
pub(super) fn lower_max(
    cx: &mut Lowering<'_>,
    dtype: DType,
    shape: &Shape,
    reduced: &[bool],
    finite: bool,
) -> Result<BufferId> {
    let kept: Shape =
        shape.iter().zip(reduced).map(|(d, r)| if *r { Dim::Const(1) } else { d.clone() }).collect();
    let to = cx.temp("max", dtype, kept);
    let (nest, ids) = NestBuilder::over(shape, reduced);
    let value = Expr::Load(Access::new(cx.input(0)?, ids.iter().copied().map(Index::from).collect()));
    let total = if finite {
        let zero = Expr::Const(Scalar::of(dtype, 0.0));
        Expr::select(Expr::unary(UnaryOp::IsInf, Expr::Acc), zero, Expr::Acc)
    } else {
        Expr::Acc
    };
    let store = Store { to: Access::new(to, indices_except(&ids, reduced)), value: total };
    cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Max, value, store });
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, ints as list, parse, refusal, run, sample};

    const ALL: [Reduction; 10] = [
        Reduction::Mean,
        Reduction::Sum,
        Reduction::Max,
        Reduction::Min,
        Reduction::Prod,
        Reduction::L1,
        Reduction::L2,
        Reduction::LogSum,
        Reduction::LogSumExp,
        Reduction::SumSquare,
    ];

    #[test]
    fn kernels_agree_with_the_formula() {
        let x = sample(&[2, 3, 4], 5);
        for kind in ALL {
            for axes in [&[][..], &[1], &[-1, 0]] {
                for keep in [0, 1] {
                    let op =
                        parse(kind.name(), 11, &[("axes", list(axes)), ("keepdims", Attr::Int(keep))], 1, 1);
                    run(&*op.unwrap(), &[&x], &[]).unwrap();
                }
            }
        }
    }

    #[test]
    fn by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![1f32, -2.0, 3.0, 4.0]);
        let expected = [
            (Reduction::Mean, [-0.5, 3.5]),
            (Reduction::Sum, [-1.0, 7.0]),
            (Reduction::Max, [1.0, 4.0]),
            (Reduction::Min, [-2.0, 3.0]),
            (Reduction::Prod, [-2.0, 12.0]),
            (Reduction::L1, [3.0, 7.0]),
            (Reduction::L2, [5f32.sqrt(), 5.0]),
            (Reduction::SumSquare, [5.0, 25.0]),
            (Reduction::LogSumExp, [1.0485873, 4.3132615]),
        ];
        for (kind, expected) in expected {
            let op = parse(kind.name(), 18, &[("keepdims", Attr::Int(0))], 2, 1).unwrap();
            let y = run(&*op, &[&x, &Tensor::from_vec(&[1], vec![1i64])], &[1]).unwrap();
            assert_close(&y[0], &Tensor::from_vec(&[2], expected.to_vec()), 1e-6);
        }
    }

    #[test]
    fn log_sum_exp_does_not_overflow() {
        let op = parse("ReduceLogSumExp", 11, &[("keepdims", Attr::Int(0))], 1, 1).unwrap();
        let y = run(&*op, &[&Tensor::from_vec(&[2], vec![1000f32, 1000.0])], &[]).unwrap();
        assert_close(&y[0], &Tensor::scalar(1000.6931f32), 1e-6);
        let y = run(&*op, &[&Tensor::from_vec(&[2], vec![f32::NEG_INFINITY; 2])], &[]).unwrap();
        assert_eq!(y[0], Tensor::scalar(f32::NEG_INFINITY));
    }

    #[test]
    fn empty_groups_give_the_neutral_element() {
        let x = Tensor::from_vec::<f32>(&[2, 0], vec![]);
        for kind in ALL {
            let op = parse(kind.name(), 11, &[("axes", list(&[1]))], 1, 1).unwrap();
            run(&*op, &[&x], &[]).unwrap();
        }
    }

    #[test]
    fn integers_and_bools() {
        for kind in ALL {
            let op = parse(kind.name(), 11, &[], 1, 1).unwrap();
            run(&*op, &[&Tensor::from_vec(&[3], vec![7i32, -9, i32::MAX])], &[]).unwrap();
            run(&*op, &[&Tensor::from_vec(&[3], vec![7u64, 9, u64::MAX])], &[]).unwrap();
        }
        let bools = Tensor::from_bools(&[2, 2], [true, false, false, false]);
        let op = parse("ReduceMax", 20, &[("keepdims", Attr::Int(0))], 2, 1).unwrap();
        let y = run(&*op, &[&bools, &Tensor::from_vec(&[1], vec![1i64])], &[1]).unwrap();
        assert_eq!(y[0], Tensor::from_bools(&[2], [true, false]));
    }

    #[test]
    fn axes() {
        let x = sample(&[2, 3], 5);
        let none = Tensor::from_vec::<i64>(&[0], vec![]);
        let noop = parse("ReduceSum", 13, &[("noop_with_empty_axes", Attr::Int(1))], 2, 1).unwrap();
        assert_eq!(run(&*noop, &[&x, &none], &[1]).unwrap()[0], x);
        let all = parse("ReduceSum", 13, &[], 2, 1).unwrap();
        assert_eq!(run(&*all, &[&x, &none], &[1]).unwrap()[0].shape, [1, 1]);
        assert!(parse("ReduceSum", 11, &[], 2, 1).is_err());
        let outside = parse("ReduceMax", 11, &[("axes", list(&[i64::MIN]))], 1, 1).unwrap();
        assert!(refusal(&*outside, &[&[2, 3]]).contains("is outside"));
        let twice = parse("ReduceMax", 11, &[("axes", list(&[0, -2]))], 1, 1).unwrap();
        assert!(refusal(&*twice, &[&[2, 3]]).contains("occurs twice"));
    }
}
