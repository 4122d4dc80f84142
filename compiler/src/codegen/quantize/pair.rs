//! Sums of two dequantised bytes that are quantised again, such as those of residual connections.
//!
//! ```text
//!   round(max(a s + b t, 0) / u)   =   round(a f + (b g + c))      for all 65,536 pairs of bytes, which are tried
//! ```
//!
//! `a` and `b` are differences of a byte and its zero point: the right side takes the bytes themselves. The left side rounds
//! three times before it rounds to an integer, so near halves `f`, `g` and `c` must be found for which the right side goes
//! the same way. Where there are none the expression is computed as it is written.

use kiln_ir::DType;
use kiln_ir::kernel::BinaryOp;

use super::super::vexpr::{Dag, Node, VectorKind};
use super::known::{Leaf, Pair};
use super::parts::{Quantized, range};
use super::quotient::around;

/// Steps of f32 that factors are moved by at most.
const MOVES: i32 = 3;
/// How close to a half pairs are that may go either way.
const CLOSE: f32 = 1.0 / 1024.0;
/// Sums further from 0 than that are not what these integers are for.
const MOST: f64 = 65536.0;

/// A product of a byte's difference and a scale.
#[derive(Clone, Copy, Debug)]
struct Term {
    leaf: Leaf,
    scale: f32,
    /// What the leaf may be.
    least: i32,
    most: i32,
    /// What is subtracted from it.
    minus: i32,
}

impl Term {
    fn of(dag: &Dag, n: usize) -> Option<Self> {
        let Node::Binary(BinaryOp::Mul, a, b) = dag.nodes[n] else { return None };
        let (difference, scale) = match (dag.constant(a), dag.constant(b)) {
            (None, Some(scale)) => (a, scale),
            (Some(scale), None) => (b, scale),
            _ => return None,
        };
        if dag.uses[n] != 1 || dag.uses[difference] != 1 || !(scale.is_normal() && scale > 0.0) {
            return None;
        }
        let found = dag.difference(difference)?;
        let VectorKind::Number(ty @ (DType::U8 | DType::I8)) = dag.kinds[found.of] else { return None };
        if let Node::Load(_) = dag.nodes[found.of] {
            let (least, most) = range(ty);
            let (least, most) = (least as i32, most as i32);
            return Some(Self { leaf: Leaf::Loaded(found.of), scale, least, most, minus: found.minus });
        }
        let q = dag.quantization(found.of).filter(|q| ty == DType::U8 && q.to == ty)?;
        let (least, most) = q.range();
        let (least, most) = (least as i32, most as i32);
        let minus = found.minus - q.zero as i32;
        (dag.uses[found.of] == 1).then_some(Self { leaf: Leaf::Rounded(found.of), scale, least, most, minus })
    }

    fn numbers(&self) -> impl Iterator<Item = f32> + use<> {
        (self.least..=self.most).map(|i| i as f32)
    }

    /// What the terms are, as they are written.
    fn values(&self) -> Vec<f32> {
        (self.least..=self.most).map(|i| (i - self.minus) as f32 * self.scale).collect()
    }
}

/// The pairs of a sum and what becomes of them.
struct Table {
    terms: [Term; 2],
    values: [Vec<f32>; 2],
    positive: bool,
    fuses: bool,
    /// The integers.
    least: f32,
    most: f32,
    /// The least sums that become `least + 1`, `least + 2`, ..
    steps: Vec<f32>,
}

/// The function of two bytes that a quantised value is, if it is one and factors are found for it. `fuses`: multiply-adds
/// round once.
pub(super) fn find(dag: &Dag, q: &Quantized, fuses: bool) -> Option<Pair> {
    let (mut sum, mut positive) = (q.x, false);
    if !matches!(q.to, DType::U8 | DType::I8) {
        return None;
    }
    if let Node::Binary(BinaryOp::Max, a, b) = dag.nodes[sum]
        && dag.uses[sum] == 1
        && dag.constant(b) == Some(0.0)
    {
        (sum, positive) = (a, true);
    }
    let Node::Binary(BinaryOp::Add, a, b) = dag.nodes[sum] else { return None };
    if dag.uses[sum] != 1 || a == b {
        return None;
    }
    let mut terms = [Term::of(dag, a)?, Term::of(dag, b)?];
    if let Leaf::Loaded(_) = terms[0].leaf {
        terms.swap(0, 1);
    }
    let (least, most) = q.range();
    let scale = q.unit();
    let table = Table {
        values: [terms[0].values(), terms[1].values()],
        steps: steps(scale, least as i32, most as i32)?,
        terms,
        positive,
        fuses,
        least,
        most,
    };
    table.search(scale)
}

/// The least numbers whose quotients become `least + 1`, .., `most`.
fn steps(scale: f32, least: i32, most: i32) -> Option<Vec<f32>> {
    (least..most)
        .map(|k| {
            let near = around(f64::from(k) + 0.5, scale);
            let above = |x: &f32| (*x / scale).round_ties_even() > k as f32;
            let first = near.iter().position(above).filter(|i| *i > 0)?;
            Some(near[first])
        })
        .collect()
}

impl Table {
    /// Factors for which all pairs are right, from the nearest to the quotients of the scales on.
    fn search(&self, scale: f32) -> Option<Pair> {
        let exact = self.terms.map(|t| f64::from(t.scale) / f64::from(scale));
        let reach: f64 =
            self.terms.iter().zip(exact).map(|(t, f)| f * f64::from(t.most - t.least + t.minus.abs())).sum();
        if !(reach < MOST && exact.iter().all(|f| *f > 1e-6)) {
            return None;
        }
        let mut moves: Vec<[i32; 3]> = Vec::new();
        for f in -MOVES..=MOVES {
            for g in -MOVES..=MOVES {
                moves.extend((-MOVES..=MOVES).map(|c| [f, g, c]));
            }
        }
        moves.sort_by_key(|m| m.iter().map(|m| m * m).sum::<i32>());
        let close = self.close(exact);
        moves.into_iter().map(|m| self.pair(exact, m)).find(|pair| {
            close.iter().all(|[i, j]| self.is_right(pair, *i, *j))
                && (0..self.values[0].len())
                    .all(|i| (0..self.values[1].len()).all(|j| self.is_right(pair, i, j)))
        })
    }

    /// Factors that were moved by so many steps.
    fn pair(&self, exact: [f64; 2], moves: [i32; 3]) -> Pair {
        let moved = |x: f64, by: i32| {
            let x = x as f32;
            if x == 0.0 { by as f32 * f32::EPSILON } else { f32::from_bits((x.to_bits() as i32 + by) as u32) }
        };
        let factors = [moved(exact[0], moves[0]), moved(exact[1], moves[1])];
        let minus = |i: usize| f64::from(factors[i]) * f64::from(self.terms[i].minus);
        Pair {
            leaves: self.terms.map(|t| t.leaf),
            factors,
            constant: moved(-(minus(0) + minus(1)), moves[2]),
            positive: self.positive,
        }
    }

    /// The pairs that are near a half.
    fn close(&self, exact: [f64; 2]) -> Vec<[usize; 2]> {
        let pair = self.pair(exact, [0; 3]);
        let mut list = Vec::new();
        for (i, a) in self.terms[0].numbers().enumerate() {
            for (j, b) in self.terms[1].numbers().enumerate() {
                let sum = self.sum(&pair, a, b);
                if ((sum - sum.floor()) - 0.5).abs() < CLOSE {
                    list.push([i, j]);
                }
            }
        }
        list
    }

    fn sum(&self, pair: &Pair, a: f32, b: f32) -> f32 {
        let ([f, g], c) = (pair.factors, pair.constant);
        if self.fuses { a.mul_add(f, b.mul_add(g, c)) } else { a * f + (b * g + c) }
    }

    /// Whether a pair becomes the integer that the expression as it is written gives.
    fn is_right(&self, pair: &Pair, i: usize, j: usize) -> bool {
        let (a, b) = ((self.terms[0].least + i as i32) as f32, (self.terms[1].least + j as i32) as f32);
        let mut found = self.sum(pair, a, b).round_ties_even();
        let mut wanted = self.values[0][i] + self.values[1][j];
        if self.positive {
            (found, wanted) = (found.max(0.0), wanted.max(0.0));
        }
        let step = found.clamp(self.least, self.most) - self.least;
        let step = step as usize;
        (step == 0 || wanted >= self.steps[step - 1])
            && self.steps.get(step).is_none_or(|next| wanted < *next)
    }
}
