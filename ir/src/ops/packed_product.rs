//! A product of a few rows with weights of 2, 4 or 8 bits that stay as short as they are.
//!
//! Each weight is read once for a row or two, so that what its bytes take to come from memory is what the product takes.
//! Lanes are bytes: as many weights as a byte holds are in step with as many parts of the left operand.
//!
//! ```text
//!   rearrange { %parts[m, b, p, i] = %a[m, block b + P i + p] else 0 }                           P weights a byte
//!   reduce [m, n | b, i] { acc = sum(((q0 - zero[n, b]) * %parts[m, b, 0, i] + ..) * scale[n, b])
//!     %y[m, n] = acc + bias[n] }                              q0, q1, ..: parts of the byte @q[n, b, i], low bits first
//! ```

use super::nest::{NestBuilder, add, mul, sub};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BinaryOp, Expr, Form, Index, LoopId, Lowering, ReduceOp, Scalar, Store};
use crate::op::Fact;
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// Rows for which weights are read from memory as they are; for more they are dequantised once.
const MOST_ROWS: i64 = 2;
/// Rows for which weights of eight bits are, where these lie in a cache: a row of numbers in digits takes two thirds of what it takes in
/// floats. The weights, and their columns, of which panels are whole.
const NEAR_ROWS: i64 = 256;
const NEAR_WEIGHTS: i64 = 1 << 20;
const NEAR_COLUMNS: i64 = 16;

/// A product with weights in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// Columns of the left operand.
    pub(super) k: i64,
    /// Columns of the result.
    pub(super) n: i64,
    /// Of a weight: 2, 4 or 8.
    pub(super) bits: i64,
    /// Weights that share a scale.
    pub(super) block: i64,
}

impl Packed {
    /// Blocks of a column of weights.
    pub(super) fn blocks(&self) -> i64 {
        (self.k + self.block - 1) / self.block
    }
}

/// Whether a node has this form, in f32: few rows, weights and their zero points known. `optional` gives its inputs' facts.
pub(super) fn fits<'f>(op: &Packed, optional: impl Fn(usize) -> Option<&'f Fact>) -> bool {
    let (Some(a), Some(q), Some(scales)) = (optional(0), optional(1), optional(2)) else { return false };
    let leading = a.shape.rank().saturating_sub(1);
    let rows = a.shape[..leading].iter().try_fold(1i64, |n, d| d.as_const().and_then(|d| n.checked_mul(d)));
    let near = op.bits == 8
        && op.k.checked_mul(op.n).is_some_and(|n| n <= NEAR_WEIGHTS)
        && op.n % NEAR_COLUMNS == 0
        && op.blocks() > 1
        && optional(3).is_none()
        && scales.tensor().is_some();
    let most = if near { NEAR_ROWS } else { MOST_ROWS };
    let few = rows.is_some_and(|n| (1..=most).contains(&n));
    let number = |f: &Fact| matches!(f.dtype, DType::F32 | DType::F16 | DType::BF16);
    let zeros = optional(3).is_none_or(|z| number(z) || z.tensor().is_some());
    let floats = [Some(a), Some(scales), optional(5)].into_iter().flatten().all(number);
    let whole = a.shape.rank() > 0 && a.shape[leading].is(op.k);
    few && floats && whole && zeros && q.dtype == DType::U8 && q.tensor().is_some()
}

/// Emits the kernels.
pub(super) fn lower(op: &Packed, cx: &mut Lowering<'_>) -> Result<()> {
    let (a, y) = (cx.input(0)?, cx.output(0)?);
    let of_a = cx.ty(a).shape.clone();
    let leading: Shape = of_a[..of_a.rank() - 1].iter().cloned().collect();
    let (blocks, parts) = (op.blocks(), 8 / op.bits);
    let bytes = op.block / parts;
    let known = |cx: &Lowering<'_>, i: usize| -> Result<Option<Tensor>> {
        Ok(if cx.has_input(i) { cx.fact(i)?.tensor().cloned() } else { None })
    };
    let q = known(cx, 1)?.ok_or_else(|| Error::internal("weights that are not known"))?;
    let shape = [op.n as usize, blocks as usize, bytes as usize];
    // Weights that several products share stay one constant.
    let q = match q.shape == shape {
        true => cx.input(1)?,
        false => cx.constant("bytes", q.reshaped(&shape)?),
    };
    // Weights of a byte lie side by side in the left operand: one kind of them after the other, beside the bytes.
    let mut shape = leading.clone();
    shape.0.extend([blocks, parts, bytes].map(Dim::from));
    let split = cx.temp("parts", DType::F32, shape.clone());
    let (loops, ids) = Lowering::loops_over(&shape);
    let [rows @ .., b, p, i] = &ids[..] else { return Err(Error::internal("three loops")) };
    let mut from: Vec<Index> = rows.iter().copied().map(Index::from).collect();
    from.push(Affine::constant(0i64).plus(*b, op.block).plus(*i, parts).plus(*p, 1i64).into());
    let mut from = Access::new(a, from);
    if blocks * op.block != op.k {
        from.otherwise = Some(Scalar::f32(0.0));
    }
    cx.copy(loops, from, Access::new(split, ids.iter().copied().map(Index::from).collect()));
    let mut nest = NestBuilder::default();
    let rows: Vec<LoopId> =
        leading.iter().enumerate().map(|(j, d)| nest.parallel(format!("m{j}"), d)).collect();
    let n = nest.parallel("n", &op.n.into());
    let (b, i) = (nest.reduce("b", &blocks.into()), nest.reduce("i", &bytes.into()));
    let less = zero_points(op, cx, known(cx, 3)?, n, b)?;
    let scale = by_block(cx, 2, n, b, blocks)?;
    let byte = || Expr::Load(Access::new(q, [n, b, i].map(Index::from).to_vec()));
    let mut sum: Option<Expr> = None;
    for part in 0..parts {
        let weight = Expr::cast(DType::F32, bits(byte(), part * op.bits, op.bits));
        let mut at: Vec<Index> = rows.iter().copied().map(Index::from).collect();
        at.extend([Index::from(b), Affine::constant(part).into(), i.into()]);
        let product = mul(sub(weight, less.clone()), Expr::Load(Access::new(split, at)));
        sum = Some(match sum {
            Some(sum) => add(sum, product),
            None => product,
        });
    }
    let value = mul(sum.ok_or_else(|| Error::internal("a byte without weights"))?, scale);
    let mut to: Vec<Index> = rows.iter().copied().map(Index::from).collect();
    to.push(n.into());
    let result = match cx.has_input(5) {
        true => add(Expr::Acc, Expr::Load(Access::new(cx.input(5)?, vec![n.into()]))),
        false => Expr::Acc,
    };
    let store = Store { to: Access::new(y, to), value: result };
    cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value, store });
    Ok(())
}

/// So many bits of a byte, from one on.
fn bits(byte: Expr, from: i64, count: i64) -> Expr {
    let number = |v: i64| Expr::Const(Scalar::int(DType::U8, v));
    let low = if from > 0 { Expr::binary(BinaryOp::Shr, byte, number(from)) } else { byte };
    match from + count < 8 {
        true => Expr::binary(BinaryOp::BitAnd, low, number((1 << count) - 1)),
        false => low,
    }
}

/// The element of an input of `N` times `blocks` numbers, whose rows may be an axis or not.
fn by_block(cx: &Lowering<'_>, i: usize, n: LoopId, b: LoopId, blocks: i64) -> Result<Expr> {
    let shape = &cx.fact(i)?.shape;
    let flat = Affine::constant(0i64).plus(n, blocks).plus(b, 1i64);
    let index = match shape.rank() {
        1 => vec![flat.into()],
        2 if shape[1].is(blocks) => vec![n.into(), b.into()],
        rank => {
            return Err(Error::unsupported(format!(
                "scales and zero points of {rank} axes, as in {shape}, are not supported"
            )));
        }
    };
    Ok(Expr::Load(Access::new(cx.input(i)?, index)))
}

/// Zero points as f32.
fn zero_points(
    op: &Packed,
    cx: &mut Lowering<'_>,
    known: Option<Tensor>,
    n: LoopId,
    b: LoopId,
) -> Result<Expr> {
    let blocks = op.blocks();
    if !cx.has_input(3) {
        return Ok(Expr::f32((1 << (op.bits - 1)) as f32));
    }
    if cx.fact(3)?.dtype == DType::F32 {
        return by_block(cx, 3, n, b, blocks);
    }
    // Rows begin with a new byte.
    let packed = known.ok_or_else(|| Error::internal("zero points that are not known"))?;
    let (per, row) = (8 / op.bits, (blocks * op.bits + 7) / 8);
    let at = |i: i64| {
        let (n, b) = (i / blocks, i % blocks);
        packed.data[(n * row + b / per) as usize] >> (b % per * op.bits) & (0xff >> (8 - op.bits)) as u8
    };
    let zeros: Vec<u8> = (0..op.n * blocks).map(at).collect();
    let zeros = cx.constant("zeros", Tensor::from_vec(&[op.n as usize, blocks as usize], zeros));
    Ok(Expr::cast(DType::F32, Expr::Load(Access::new(zeros, vec![n.into(), b.into()]))))
}
