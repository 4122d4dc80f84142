//! Exact elimination: columns of a few rows are removed one after the other, and what is left makes up for each in the best
//! way. (Optimal brain surgeon; Hassibi and Stork, 1993.)
//!
//! With `P` the inverse of `H`, removing column `p` costs `w_p^2 / P_pp`, adds `-P_kp w_p / P_pp` to the others and takes
//! `P_kp P_lp / P_pp` from `P`. That is a product of a vector with itself, so `P` itself is kept as it was, for all rows, and
//! only the vectors are kept beside it: a column of the present inverse is one of the first less a sum of these. Only the
//! diagonal, or blocks along it, is kept up to date. What was removed is left out of the vectors from time to time.

use std::borrow::Cow;

/// The inverse of a symmetric matrix, all of it.
pub(crate) fn inverse(h: Vec<f64>, n: usize, threads: usize) -> Option<Vec<f64>> {
    let u = kiln_calibrate::matrix::inverse_factor(h, n)?;
    let lines = crate::parallel::each(n, threads, |i| {
        let mut line = vec![0.0; n];
        for k in 0..=i {
            let factor = u[k * n + i];
            line[i..].iter_mut().zip(&u[k * n + i..(k + 1) * n]).for_each(|(to, v)| *to += factor * v);
        }
        line
    });
    let mut all = lines.concat();
    for i in 0..n {
        for j in 0..i {
            all[i * n + j] = all[j * n + i];
        }
    }
    Some(all)
}

/// Some rows whose columns are removed.
pub(crate) struct Elimination<'a> {
    depth: usize,
    /// `P` as it was.
    inverse: Cow<'a, [f64]>,
    /// Blocks of columns that are removed together.
    blocks: Cow<'a, [Vec<usize>]>,
    alive: Vec<bool>,
    /// By block: the square of it along the diagonal of the present inverse.
    diagonal: Vec<Vec<f64>>,
    /// What an error in each row counts.
    importance: Vec<f64>,
    /// Columns that are kept track of, and where they are among these.
    tracked: Vec<usize>,
    place: Vec<usize>,
    /// How many of them were removed.
    stale: usize,
    /// Rows over the tracked columns.
    rows: Vec<Vec<f64>>,
    /// Vectors over the tracked columns, one behind the other.
    vectors: Vec<f64>,
}

impl<'a> Elimination<'a> {
    pub(crate) fn new(
        inverse: impl Into<Cow<'a, [f64]>>,
        blocks: impl Into<Cow<'a, [Vec<usize>]>>,
        rows: Vec<Vec<f64>>,
        importance: Vec<f64>,
    ) -> Self {
        let (inverse, blocks) = (inverse.into(), blocks.into());
        let depth = inverse.len().isqrt();
        let square = |block: &Vec<usize>| {
            let pairs = block.iter().flat_map(|p| block.iter().map(move |q| (*p, *q)));
            pairs.map(|(p, q)| inverse[p * depth + q]).collect()
        };
        Self {
            depth,
            alive: vec![true; blocks.len()],
            diagonal: blocks.iter().map(square).collect(),
            inverse,
            blocks,
            importance,
            tracked: (0..depth).collect(),
            place: (0..depth).collect(),
            stale: 0,
            rows,
            vectors: Vec::new(),
        }
    }

    /// What removing a block costs; infinite where it is gone.
    pub(crate) fn cost(&self, block: usize) -> f64 {
        if !self.alive[block] {
            return f64::INFINITY;
        }
        let square = &self.diagonal[block];
        let cost = match &self.blocks[block][..] {
            [p] => {
                let place = self.place[*p];
                let sum: f64 =
                    self.rows.iter().zip(&self.importance).map(|(row, i)| i * row[place] * row[place]).sum();
                sum / square[0]
            }
            columns => {
                let n = columns.len();
                let mut l = square.clone();
                if kiln_calibrate::matrix::cholesky(&mut l, n).is_none() {
                    return 0.0;
                }
                let of = |(row, importance): (&Vec<f64>, &f64)| {
                    let w: Vec<f64> = columns.iter().map(|p| row[self.place[*p]]).collect();
                    let mut x = w.clone();
                    kiln_calibrate::matrix::solve(&l, n, &mut x);
                    importance * w.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>()
                };
                self.rows.iter().zip(&self.importance).map(of).sum()
            }
        };
        if cost.is_finite() { cost.max(0.0) } else { 0.0 }
    }

    /// Removes a block.
    pub(crate) fn remove(&mut self, block: usize) {
        let columns = self.blocks[block].clone();
        for (i, &p) in columns.iter().enumerate() {
            self.remove_column(block, i, p);
        }
        self.alive[block] = false;
        self.stale += columns.len();
        if 8 * self.stale > self.tracked.len() {
            self.forget();
        }
    }

    fn remove_column(&mut self, block: usize, i: usize, p: usize) {
        let width = self.tracked.len();
        let at = self.place[p];
        let line = &self.inverse[p * self.depth..(p + 1) * self.depth];
        let mut column: Vec<f64> = self.tracked.iter().map(|k| line[*k]).collect();
        // Four vectors at a time, so that the column is read and written less often.
        let mut four = self.vectors.chunks_exact(4 * width);
        for vectors in &mut four {
            let (a, rest) = vectors.split_at(width);
            let (b, rest) = rest.split_at(width);
            let (c, d) = rest.split_at(width);
            let (fa, fb, fc, fd) = (a[at], b[at], c[at], d[at]);
            for ((((to, a), b), c), d) in column.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *to -= fa * a + fb * b + fc * c + fd * d;
            }
        }
        for vector in four.remainder().chunks_exact(width) {
            let factor = vector[at];
            column.iter_mut().zip(vector).for_each(|(to, v)| *to -= factor * v);
        }
        let n = self.blocks[block].len();
        let pivot = self.diagonal[block][i * n + i].max(f64::MIN_POSITIVE.sqrt());
        for row in &mut self.rows {
            let factor = row[at] / pivot;
            row.iter_mut().zip(&column).for_each(|(w, c)| *w -= factor * c);
            row[at] = 0.0;
        }
        let root = pivot.sqrt();
        column.iter_mut().for_each(|v| *v /= root);
        for (block, square) in self.blocks.iter().zip(&mut self.diagonal) {
            match &block[..] {
                [p] => square[0] -= column[self.place[*p]].powi(2),
                columns => {
                    for (line, p) in square.chunks_exact_mut(columns.len()).zip(columns) {
                        let v = column[self.place[*p]];
                        line.iter_mut().zip(columns).for_each(|(to, q)| *to -= v * column[self.place[*q]]);
                    }
                }
            }
        }
        self.vectors.extend_from_slice(&column);
    }

    /// Leaves out what was removed.
    fn forget(&mut self) {
        let mut kept: Vec<usize> = (0..self.blocks.len())
            .filter(|b| self.alive[*b])
            .flat_map(|b| self.blocks[b].iter().map(|p| self.place[*p]))
            .collect();
        kept.sort_unstable();
        let width = self.tracked.len();
        let pick = |from: &[f64]| -> Vec<f64> { kept.iter().map(|at| from[*at]).collect() };
        self.vectors = match width {
            0 => Vec::new(),
            _ => self.vectors.chunks_exact(width).flat_map(pick).collect(),
        };
        self.rows = self.rows.iter().map(|row| pick(row)).collect();
        self.tracked = kept.iter().map(|at| self.tracked[*at]).collect();
        // What was removed is looked up no more, and must only be somewhere.
        self.place.fill(0);
        for (at, k) in self.tracked.iter().enumerate() {
            self.place[*k] = at;
        }
        self.stale = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_calibrate::matrix::{cholesky, solve};

    fn number(i: usize) -> f64 {
        ((i * 7919 + i * i * 31 + 13) % 1009) as f64 / 504.5 - 1.0
    }

    /// Products of rows that are much alike.
    fn products(n: usize) -> Vec<f64> {
        let rows: Vec<Vec<f64>> =
            (0..3 * n).map(|r| (0..n).map(|i| number(r * n + i) + 2.0 * number(r)).collect()).collect();
        let entry = |i: usize, j: usize| {
            rows.iter().map(|r| r[i] * r[j]).sum::<f64>() + if i == j { 0.5 } else { 0.0 }
        };
        (0..n * n).map(|at| entry(at / n, at % n)).collect()
    }

    /// The least cost of a row in which these columns are zero, by solving for the others.
    fn least(h: &[f64], n: usize, row: &[f64], dead: &[usize]) -> f64 {
        let alive: Vec<usize> = (0..n).filter(|k| !dead.contains(k)).collect();
        let m = alive.len();
        let mut a: Vec<f64> = alive.iter().flat_map(|i| alive.iter().map(move |j| h[i * n + j])).collect();
        let mut x: Vec<f64> =
            alive.iter().map(|i| (0..n).map(|j| h[i * n + j] * row[j]).sum::<f64>()).collect();
        cholesky(&mut a, m).unwrap();
        solve(&a, m, &mut x);
        let mut e: Vec<f64> = row.to_vec();
        alive.iter().zip(&x).for_each(|(k, x)| e[*k] -= x);
        (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| e[i] * h[i * n + j] * e[j]).sum()
    }

    #[test]
    fn costs_are_those_of_the_best_rows() {
        let n = 24;
        let h = products(n);
        let inverse = inverse(h.clone(), n, 2).unwrap();
        let rows: Vec<Vec<f64>> = (0..2).map(|r| (0..n).map(|k| number(r * 100 + k)).collect()).collect();
        let importance = vec![1.0, 3.0];
        for width in [1, 3] {
            let blocks: Vec<Vec<usize>> =
                (0..n).collect::<Vec<_>>().chunks(width).map(<[usize]>::to_vec).collect();
            let mut e = Elimination::new(&*inverse, &*blocks, rows.clone(), importance.clone());
            let (mut dead, mut sum) = (Vec::new(), 0.0);
            // Until one block is left: what was removed is forgotten on the way.
            for _ in 1..blocks.len() {
                let best = (0..blocks.len()).min_by(|a, b| e.cost(*a).total_cmp(&e.cost(*b))).unwrap();
                sum += e.cost(best);
                e.remove(best);
                assert_eq!(e.cost(best), f64::INFINITY);
                dead.extend(&blocks[best]);
                let right: f64 =
                    rows.iter().zip(&importance).map(|(row, i)| i * least(&h, n, row, &dead)).sum();
                assert!((sum - right).abs() < 1e-6 * right.max(1e-3), "{width} {dead:?}: {sum} {right}");
            }
        }
    }
}
