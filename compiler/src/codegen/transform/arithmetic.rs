//! What tiles are computed in: the additions and multiplications that a [`Product`](super::product::Product) is made of.
//!
//! Integers are multiplied by whole numbers bit by bit: `5 x` is `x + (x << 2)`, and what is to be shifted alike is added
//! first.

use kiln_targets::simd::{Lane, Op1, Op2, R, Simd, Src, V};

/// The numbers of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// f32.
    Floats,
    /// i32, which wrap.
    Integers,
    /// i16, which wrap: the low halves of what the others would be, twice as many.
    Words,
}

/// The most bits of a whole factor.
const BITS: u8 = 8;

impl Arithmetic {
    pub(super) fn add<S: Simd>(self, s: &mut S, d: &V, x: &V) -> R {
        match self {
            Self::Floats => s.op2(Op2::Add, d, Src::Reg(x)),
            Self::Integers => s.op2_as(Lane::I32, Op2::Add, d, Src::Reg(x)),
            Self::Words => s.add_words(d, x, false),
        }
    }

    pub(super) fn sub<S: Simd>(self, s: &mut S, d: &V, x: &V) -> R {
        match self {
            Self::Floats => s.op2(Op2::Sub, d, Src::Reg(x)),
            Self::Integers => s.op2_as(Lane::I32, Op2::Sub, d, Src::Reg(x)),
            Self::Words => s.add_words(d, x, true),
        }
    }

    fn shift<S: Simd>(self, s: &mut S, d: &V, by: u8) -> R {
        match self {
            _ if by == 0 => Ok(()),
            Self::Words => s.shift_words(d, by),
            Self::Floats | Self::Integers => s.op1_as(Lane::I32, Op1::Shl(by), d),
        }
    }

    /// `sum(row[i] * x[i])`.
    pub(super) fn combine<S: Simd>(self, s: &mut S, row: &[f32], x: &[V]) -> R<V> {
        if self == Self::Floats { floats(s, row, x) } else { self.integers(s, row, x) }
    }

    fn integers<S: Simd>(self, s: &mut S, row: &[f32], x: &[V]) -> R<V> {
        // By the bit of the factor: what is added and what is subtracted.
        let mut groups: Vec<(u8, Vec<(usize, bool)>)> = Vec::new();
        for bit in 0..BITS {
            let has = |a: f32| a.abs() as u32 >> bit & 1 == 1;
            let mut terms: Vec<(usize, bool)> =
                (0..row.len()).filter(|&i| has(row[i])).map(|i| (i, row[i] < 0.0)).collect();
            terms.sort_by_key(|(_, minus)| *minus);
            if !terms.is_empty() {
                groups.push((bit, terms));
            }
        }
        // What begins with something that is added comes first, and of these what needs no shift.
        groups.sort_by_key(|(bit, terms)| (terms[0].1, *bit));
        let mut sum: Option<V> = None;
        for (bit, terms) in groups {
            if let (Some(sum), 0) = (&sum, bit) {
                for (i, minus) in terms {
                    if minus { self.sub(s, sum, &x[i])? } else { self.add(s, sum, &x[i])? }
                }
                continue;
            }
            let (first, minus) = terms[0];
            let group = s.copy(&x[first])?;
            for (i, other) in &terms[1..] {
                if *other == minus { self.add(s, &group, &x[*i])? } else { self.sub(s, &group, &x[*i])? }
            }
            self.shift(s, &group, bit)?;
            sum = Some(match (sum, minus) {
                (None, false) => group,
                (None, true) => {
                    let negative = s.splat(0.0)?;
                    self.sub(s, &negative, &group)?;
                    s.free(group);
                    negative
                }
                (Some(sum), minus) => {
                    if minus {
                        self.sub(s, &sum, &group)?
                    } else {
                        self.add(s, &sum, &group)?
                    }
                    s.free(group);
                    sum
                }
            });
        }
        sum.map_or_else(|| s.splat(0.0), Ok)
    }
}

fn floats<S: Simd>(s: &mut S, row: &[f32], x: &[V]) -> R<V> {
    let first = row.iter().position(|a| *a == 1.0).or_else(|| row.iter().position(|a| *a != 0.0));
    let Some(first) = first else { return s.splat(0.0) };
    let sum = s.copy(&x[first])?;
    if row[first] != 1.0 {
        s.op2(Op2::Mul, &sum, Src::Const(row[first]))?;
    }
    for (i, (&a, x)) in row.iter().zip(x).enumerate() {
        if i == first || a == 0.0 {
            continue;
        }
        match a {
            1.0 => s.op2(Op2::Add, &sum, Src::Reg(x))?,
            -1.0 => s.op2(Op2::Sub, &sum, Src::Reg(x))?,
            _ => s.fma(&sum, x, Src::Const(a))?,
        }
    }
    Ok(sum)
}
