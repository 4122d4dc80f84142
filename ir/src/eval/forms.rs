//! What each form computes, once for both interpreters of kernels.
//!
//! The accumulator of a window has the type of [`WindowOp::accumulator`]; floats are summed in f64 and
//! rounded once to the accumulator's type, integers wrap in it.

use super::code::{Code, Flat, Loops, Storage, for_each};
use super::contract::contract;
use super::level::{Level, Sink, code, dtype_of};
use super::procedure;
use super::scalar::{self, cast};
use crate::error::{Error, Result};
use crate::kernel::{BinaryOp, Expr, Form, ReduceOp, Scalar, Side, Store, WindowOp};
use crate::types::DType;

/// Runs one kernel's form.
pub(super) fn run<L: Level>(form: &Form<L::Access>, loops: &Loops, level: &mut L) -> Result<()> {
    let parts = form.parts();
    for value in parts.reduced.into_iter().chain(parts.terms).chain(parts.stores.iter().map(|s| &s.value)) {
        counters(value, loops.extents.len())?;
    }
    match form {
        Form::Map { stores } => {
            let compiled = stores.iter().map(|s| store(level, s, None, false)).collect::<Result<Vec<_>>>()?;
            each(loops, level, |iteration, memory, sink| {
                for (to, value) in &compiled {
                    write(sink, to, iteration, value.eval(iteration, 0, memory), memory);
                }
            });
            Ok(())
        }
        Form::Rearrange { from, to } => {
            let (from, to) = (level.load(from)?, level.store(to, false)?);
            if from.dtype != to.dtype {
                return Err(Error::internal(format!("copies {} to {}", from.dtype, to.dtype)));
            }
            each(loops, level, |iteration, memory, sink| {
                write(sink, &to, iteration, from.load(iteration, memory), memory);
            });
            Ok(())
        }
        Form::Contract { acc, lhs, rhs, store: to } => {
            let (lhs, rhs) = (level.load(lhs)?, level.rhs(rhs)?);
            products(level, loops, *acc, &lhs, &rhs, to)
        }
        Form::Window { op: WindowOp::Dot, input, weight, store: to } => {
            let weight =
                weight.as_ref().ok_or_else(|| Error::internal("a window of products needs weights"))?;
            let (lhs, rhs) = (level.load(input)?, level.load(weight)?);
            products(level, loops, WindowOp::Dot.accumulator(lhs.dtype), &lhs, &rhs, to)
        }
        Form::Window { op, input, store: to, .. } => {
            let value = level.load(input)?;
            let acc = op.accumulator(value.dtype);
            let op = if *op == WindowOp::Max { ReduceOp::Max } else { ReduceOp::Sum };
            let widen = cast(value.dtype, acc)?;
            reduce(level, loops, op, acc, &Code::Unary(widen, Box::new(Code::Load(value))), to)
        }
        Form::Reduce { op, value, store: to } => {
            let dtype = dtype_of(level, value, None)?;
            let value = code(level, value, None)?;
            reduce(level, loops, *op, dtype, &value, to)
        }
        Form::Transform { left, right, from, store: to } => transform(level, loops, [left, right], from, to),
        Form::Procedure(p) => procedure::run(p, loops, level),
    }
}

/// Sums of floats in f64, rounded once; of integers, which wrap.
fn transform<L: Level>(
    level: &mut L,
    loops: &Loops,
    sides: [&Side; 2],
    from: &L::Access,
    to: &Store<L::Access>,
) -> Result<()> {
    let from = level.load(from)?;
    let acc = Side::accumulator(from.dtype);
    let acc = acc.ok_or_else(|| Error::internal(format!("transforms {}", from.dtype)))?;
    let (to, value) = store(level, to, Some(acc), true)?;
    let (left, right) = (sides[0].rows()?, sides[1].rows()?);
    let wide = if acc.is_int() { DType::I64 } else { DType::F64 };
    let (widen, round) = (cast(from.dtype, wide)?, cast(wide, acc)?);
    let [i, k, j, l] = [sides[0].to, sides[0].over, sides[1].to, sides[1].over].map(|l| l.0 as usize);
    each(loops, level, |iteration, memory, sink| {
        let (mut sum, mut whole) = (0.0, 0i64);
        for_each(&loops.reduced, &loops.extents, iteration, |at| {
            let (a, b) = (left[at[i] as usize][at[k] as usize], right[at[j] as usize][at[l] as usize]);
            if a != 0.0 && b != 0.0 {
                let x = widen(from.load(at, memory));
                if acc.is_int() {
                    whole = whole.wrapping_add((a * b) as i64 * x as i64);
                } else {
                    sum += f64::from(a) * f64::from(b) * f64::from_bits(x);
                }
            }
        });
        let acc = round(if acc.is_int() { whole as u64 } else { sum.to_bits() });
        write(sink, &to, iteration, value.eval(iteration, acc, memory), memory);
    });
    Ok(())
}

fn products<L: Level>(
    level: &mut L,
    loops: &Loops,
    acc: DType,
    lhs: &Flat,
    rhs: &Flat,
    to: &Store<L::Access>,
) -> Result<()> {
    let (to, value) = store(level, to, Some(acc), false)?;
    let (memory, sink) = level.parts();
    contract(loops, acc, lhs, rhs, memory, |iteration, sum| {
        write(sink, &to, iteration, value.eval(iteration, sum, memory), memory);
    })
}

fn reduce<L: Level>(
    level: &mut L,
    loops: &Loops,
    op: ReduceOp,
    dtype: DType,
    value: &Code,
    to: &Store<L::Access>,
) -> Result<()> {
    let index = matches!(op, ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. });
    let (to, epilogue) = store(level, to, Some(if index { DType::I64 } else { dtype }), false)?;
    // Float sums and products are carried in f64.
    let wide =
        if dtype.is_float() && matches!(op, ReduceOp::Sum | ReduceOp::Prod) { DType::F64 } else { dtype };
    let (widen, round) = (cast(dtype, wide)?, cast(wide, dtype)?);
    let combine = match op {
        ReduceOp::Sum => scalar::binary(BinaryOp::Add, wide)?,
        ReduceOp::Prod => scalar::binary(BinaryOp::Mul, wide)?,
        ReduceOp::Max => scalar::binary(BinaryOp::Max, wide)?,
        ReduceOp::Min => scalar::binary(BinaryOp::Min, wide)?,
        ReduceOp::ArgMax { last: true } | ReduceOp::ArgMin { last: true } => {
            scalar::binary(BinaryOp::Le, wide)?
        }
        ReduceOp::ArgMax { .. } | ReduceOp::ArgMin { .. } => scalar::binary(BinaryOp::Lt, wide)?,
    };
    let start = identity(op, wide);
    let counter = match loops.reduced[..] {
        [l] => l,
        _ if index => return Err(Error::internal("an arg-reduction has exactly one reduced loop")),
        _ => 0,
    };
    each(loops, level, |iteration, memory, sink| {
        let (mut acc, mut best) = (start, None);
        for_each(&loops.reduced, &loops.extents, iteration, |iteration| {
            let v = widen(value.eval(iteration, 0, memory));
            if !index {
                acc = combine(acc, v);
                return;
            }
            let better = best.is_none_or(|(_, old)| match op {
                ReduceOp::ArgMin { .. } => combine(v, old) != 0,
                _ => combine(old, v) != 0,
            });
            if better {
                best = Some((iteration[counter] as u64, v));
            }
        });
        let acc = if index { best.map_or(0, |b| b.0) } else { round(acc) };
        write(sink, &to, iteration, epilogue.eval(iteration, acc, memory), memory);
    });
    Ok(())
}

/// Calls `f` with every iteration of the parallel loops.
fn each<L: Level>(loops: &Loops, level: &mut L, mut f: impl FnMut(&mut [i64], &[Storage], &mut dyn Sink)) {
    let (memory, sink) = level.parts();
    let mut iteration = vec![0; loops.extents.len()];
    for_each(&loops.parallel, &loops.extents, &mut iteration, |iteration| f(iteration, memory, &mut *sink));
}

fn write(sink: &mut dyn Sink, to: &Flat, iteration: &[i64], bits: u64, memory: &[Storage]) {
    if let Some(element) = to.locate(iteration, memory) {
        sink.put(to, element, iteration, bits);
    }
}

/// A store's target and what is written there.
fn store<L: Level>(
    level: &mut L,
    store: &Store<L::Access>,
    acc: Option<DType>,
    clipped: bool,
) -> Result<(Flat, Code)> {
    let to = level.store(&store.to, clipped)?;
    let dtype = dtype_of(level, &store.value, acc)?;
    if dtype != to.dtype {
        return Err(Error::internal(format!("stores {dtype} to {}", to.dtype)));
    }
    Ok((to, code(level, &store.value, acc)?))
}

/// Refuses counters of loops that do not exist.
fn counters<A>(e: &Expr<A>, loops: usize) -> Result<()> {
    match e {
        Expr::Loop(l) if l.0 as usize >= loops => {
            Err(Error::internal(format!("loop {} does not exist", l.0)))
        }
        _ => e.children().into_iter().try_for_each(|c| counters(c, loops)),
    }
}

/// The bits that a reduction starts from.
fn identity(op: ReduceOp, dtype: DType) -> u64 {
    let (bits, signed) = (dtype.bits() as u32, dtype.is_signed_int());
    let all = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    match op {
        ReduceOp::Prod => Scalar::of(dtype, 1.0).bits,
        ReduceOp::Max if dtype.is_float() => Scalar::of(dtype, f64::NEG_INFINITY).bits,
        ReduceOp::Max if signed => 1 << (bits - 1),
        ReduceOp::Min if dtype.is_float() => Scalar::of(dtype, f64::INFINITY).bits,
        ReduceOp::Min if signed => all >> 1,
        ReduceOp::Min if dtype == DType::Bool => 1,
        ReduceOp::Min => all,
        _ => 0,
    }
}
