//! Numbers of about 100 bits, as sums of two: T. J. Dekker, "A floating-point technique for extending the available
//! precision", 1971; D. E. Knuth's exact sum. In f64.

use super::arithmetic::Arithmetic;
use crate::simd::Op2;

/// From here on a product has no second part.
const BEYOND: f64 = 746.0;

/// A sum of two numbers, the second of which is below half a unit in the last place of the first.
pub(super) type Pair<V> = (V, V);

pub(super) fn pair<L: Arithmetic>(l: &mut L, (high, low): (f64, f64)) -> Pair<L::V> {
    (l.c(high), l.c(low))
}

/// `a + b`, exactly.
pub(super) fn sum<L: Arithmetic>(l: &mut L, a: L::V, b: L::V) -> Pair<L::V> {
    let s = l.add(a, b);
    let of_b = l.sub(s, a);
    let of_a = l.sub(s, of_b);
    let (lost_a, lost_b) = (l.sub(a, of_a), l.sub(b, of_b));
    (s, l.add(lost_a, lost_b))
}

/// `a + b`, exactly, where `a` is the larger.
pub(super) fn sum_of_falling<L: Arithmetic>(l: &mut L, a: L::V, b: L::V) -> Pair<L::V> {
    let s = l.add(a, b);
    let of_b = l.sub(s, a);
    (s, l.sub(b, of_b))
}

/// The first 26 bits and the rest.
pub(super) fn halves<L: Arithmetic>(l: &mut L, a: L::V) -> Pair<L::V> {
    let mask = l.int(0xffff_ffff_f800_0000);
    let high = l.op2(Op2::And, a, mask);
    (high, l.sub(a, high))
}

/// `a * b`, exactly.
pub(super) fn product<L: Arithmetic>(l: &mut L, a: L::V, b: L::V) -> Pair<L::V> {
    let p = l.mul(a, b);
    let ((ah, al), (bh, bl)) = (halves(l, a), halves(l, b));
    let parts = [(ah, bh), (ah, bl), (al, bh), (al, bl)].map(|(a, b)| l.mul(a, b));
    let lost = l.sub(parts[0], p);
    let lost = parts[1..].iter().fold(lost, |lost, part| l.add(lost, *part));
    (p, lost)
}

pub(super) fn plus<L: Arithmetic>(l: &mut L, a: Pair<L::V>, b: Pair<L::V>) -> Pair<L::V> {
    let (s, lost) = sum(l, a.0, b.0);
    let low = l.add(a.1, b.1);
    let low = l.add(lost, low);
    sum_of_falling(l, s, low)
}

/// `a * b`. Where the product is beyond all exponents it has no second part, which could not be had.
pub(super) fn times<L: Arithmetic>(l: &mut L, a: Pair<L::V>, b: L::V) -> Pair<L::V> {
    let (p, lost) = product(l, a.0, b);
    let low = l.mul(a.1, b);
    let low = l.add(lost, low);
    let size = l.abs(p);
    let near = l.is(Op2::Lt, size, BEYOND);
    let none = l.c(0.0);
    let low = l.select(near, low, none);
    sum_of_falling(l, p, low)
}

pub(super) fn times_pair<L: Arithmetic>(l: &mut L, a: Pair<L::V>, b: Pair<L::V>) -> Pair<L::V> {
    let (p, lost) = product(l, a.0, b.0);
    let (left, right) = (l.mul(a.0, b.1), l.mul(a.1, b.0));
    let cross = l.add(left, right);
    let low = l.add(lost, cross);
    sum_of_falling(l, p, low)
}

/// `a / b` of a number and a pair.
pub(super) fn quotient<L: Arithmetic>(l: &mut L, a: L::V, b: Pair<L::V>) -> Pair<L::V> {
    let q = l.div(a, b.0);
    let (p, lost) = product(l, b.0, q);
    let low = l.mul(b.1, q);
    let rest = l.sub(a, p);
    let rest = l.sub(rest, lost);
    let rest = l.sub(rest, low);
    let low = l.div(rest, b.0);
    sum_of_falling(l, q, low)
}
