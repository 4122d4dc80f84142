//! Sums of products: the one loop that must not be slow.

use std::borrow::Cow;

use super::code::{Flat, Loops, Storage, for_each, get};
use super::scalar::cast;
use crate::error::Result;
use crate::tensor::Element;
use crate::types::DType;

/// Calls `finish` with every iteration of the parallel loops and the bits, of type `acc`, of the sum over the
/// reduced loops of `lhs * rhs`. Floats are added in f64 and rounded once; integers wrap.
pub(super) fn contract(
    loops: &Loops,
    acc: DType,
    lhs: &Flat,
    rhs: &Flat,
    memory: &[Storage],
    mut finish: impl FnMut(&[i64], u64),
) -> Result<()> {
    if acc == DType::F32 && lhs.dtype == DType::F32 && rhs.dtype == DType::F32 {
        let from_bits = |bits: u64| f32::from_bits(bits as u32);
        let (a, b) = (view::<f32>(&memory[lhs.buffer]), view::<f32>(&memory[rhs.buffer]));
        let (a, b) = (
            Operand { flat: lhs, values: a, otherwise: from_bits(lhs.otherwise) },
            Operand { flat: rhs, values: b, otherwise: from_bits(rhs.otherwise) },
        );
        run(loops, &a, &b, memory, |iteration, sum| finish(iteration, (sum as f32).to_bits().into()));
    } else if acc.is_float() {
        let round = cast(DType::F64, acc)?;
        let (a, b) = (widened(lhs, acc, DType::F64, memory)?, widened(rhs, acc, DType::F64, memory)?);
        let (a, b) = (a.map(f64::from_bits), b.map(f64::from_bits));
        run(loops, &a, &b, memory, |iteration, sum: f64| finish(iteration, round(sum.to_bits())));
    } else {
        let round = cast(DType::I64, acc)?;
        let (a, b) = (widened(lhs, acc, DType::I64, memory)?, widened(rhs, acc, DType::I64, memory)?);
        let (a, b) = (a.map(|bits| bits as i64), b.map(|bits| bits as i64));
        run(loops, &a, &b, memory, |iteration, sum: i64| finish(iteration, round(sum as u64)));
    }
    Ok(())
}

/// One factor, with the whole buffer's elements.
struct Operand<'a, T: Copy> {
    flat: &'a Flat,
    values: Cow<'a, [T]>,
    otherwise: T,
}

impl<'a> Operand<'a, u64> {
    fn map<T: Copy>(self, f: impl Fn(u64) -> T) -> Operand<'a, T> {
        let values = self.values.iter().map(|&bits| f(bits)).collect();
        Operand { flat: self.flat, values: Cow::Owned(values), otherwise: f(self.otherwise) }
    }
}

impl<T: Copy> Operand<'_, T> {
    /// The part of `0..extent` in which loop `l` keeps this access inside, given the other counters.
    fn inside(&self, l: usize, extent: i64, iteration: &[i64]) -> (i64, i64) {
        let (mut lo, mut hi) = (0, extent);
        for (line, end) in &self.flat.guards {
            // iteration[l] is 0 here: 0 <= first + step * i < end.
            let (first, step) = (line.at(iteration), line.coefficients[l]);
            match step {
                0 if (0..*end).contains(&first) => {}
                0 => return (0, 0),
                1.. => {
                    lo = lo.max(div_ceil(-first, step));
                    hi = hi.min(div_ceil(end - first, step));
                }
                _ => {
                    lo = lo.max((first - end).div_euclid(-step) + 1);
                    hi = hi.min(first.div_euclid(-step) + 1);
                }
            }
        }
        (lo.min(extent), hi.max(lo).min(extent))
    }
}

fn div_ceil(a: i64, b: i64) -> i64 {
    -(-a).div_euclid(b)
}

/// A number that contractions multiply and add.
trait Number: Copy {
    type Sum: Default;
    fn mac(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
}

impl Number for f32 {
    type Sum = f64;
    fn mac(sum: f64, a: f32, b: f32) -> f64 {
        sum + f64::from(a) * f64::from(b)
    }
}

impl Number for f64 {
    type Sum = f64;
    fn mac(sum: f64, a: f64, b: f64) -> f64 {
        sum + a * b
    }
}

impl Number for i64 {
    type Sum = i64;
    fn mac(sum: i64, a: i64, b: i64) -> i64 {
        sum.wrapping_add(a.wrapping_mul(b))
    }
}

fn run<T: Number>(
    loops: &Loops,
    lhs: &Operand<'_, T>,
    rhs: &Operand<'_, T>,
    memory: &[Storage],
    mut finish: impl FnMut(&[i64], T::Sum),
) {
    // The longest reduced loop that no gather follows goes innermost: the order carries no meaning.
    let straight = |&&l: &&usize| !lhs.flat.gathers_along(l) && !rhs.flat.gathers_along(l);
    let inner = loops.reduced.iter().filter(straight).max_by_key(|&&l| loops.extents[l]).copied();
    let outer: Vec<usize> = loops.reduced.iter().copied().filter(|l| Some(*l) != inner).collect();
    let mut iteration = vec![0; loops.extents.len()];
    let (left, right): (&[T], &[T]) = (&lhs.values, &rhs.values);
    for_each(&loops.parallel, &loops.extents, &mut iteration, |iteration| {
        let mut sum = T::Sum::default();
        for_each(&outer, &loops.extents, iteration, |iteration| {
            let extent = inner.map_or(1, |l| loops.extents[l]);
            if let Some(l) = inner {
                iteration[l] = 0;
            }
            let piece = |o: &Operand<'_, T>| {
                let start = o.flat.start(iteration) + o.flat.gathered(iteration, memory);
                let stride = inner.map_or(0, |l| o.flat.element.coefficients[l]);
                // Without an inner loop the single iteration is inside or not: any loop's counter tells.
                let (lo, hi) = match inner {
                    Some(l) => o.inside(l, extent, iteration),
                    None => (0, i64::from(o.flat.locate(iteration, memory).is_some())),
                };
                (start, stride, lo, hi)
            };
            let (a0, a_step, a_lo, a_hi) = piece(lhs);
            let (b0, b_step, b_lo, b_hi) = piece(rhs);
            let take = |o: &Operand<'_, T>, i: i64, start: i64, step: i64, lo: i64, hi: i64| {
                if (lo..hi).contains(&i) { o.values[(start + step * i) as usize] } else { o.otherwise }
            };
            let (lo, hi) = (a_lo.max(b_lo), a_hi.min(b_hi));
            let mut total = std::mem::take(&mut sum);
            // Where either is padding, then where both are inside.
            for i in (0..lo.max(0)).chain(hi.max(lo)..extent) {
                let (a, b) = (take(lhs, i, a0, a_step, a_lo, a_hi), take(rhs, i, b0, b_step, b_lo, b_hi));
                total = T::mac(total, a, b);
            }
            for i in lo..hi {
                let (a, b) = ((a0 + a_step * i) as usize, (b0 + b_step * i) as usize);
                total = T::mac(total, left[a], right[b]);
            }
            sum = total;
        });
        finish(iteration, sum);
    });
}

/// A buffer's elements without a copy, where alignment allows it.
fn view<T: Element>(storage: &Storage) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(storage.bytes()) {
        Ok(slice) => Cow::Borrowed(slice),
        Err(_) => Cow::Owned(bytemuck::allocation::pod_collect_to_vec(storage.bytes())),
    }
}

/// A buffer's elements converted to the accumulator's type and from there to the type that is added in.
fn widened<'a>(flat: &'a Flat, acc: DType, wide: DType, memory: &[Storage]) -> Result<Operand<'a, u64>> {
    let (to_acc, to_wide) = (cast(flat.dtype, acc)?, cast(acc, wide)?);
    let bytes = memory[flat.buffer].bytes();
    let bits = flat.dtype.size() * 8;
    let values = (0..bytes.len() * 8 / bits).map(|i| to_wide(to_acc(get(bytes, bits, i)))).collect();
    Ok(Operand { flat, values: Cow::Owned(values), otherwise: to_wide(to_acc(flat.otherwise)) })
}
