//! Products of small matrices with vectors of registers.

use kiln_ir::kernel::{LoopId, Side};
use kiln_targets::simd::{R, Refusal, Simd, V};

use super::arithmetic::Arithmetic;

/// How a matrix is multiplied with a vector of registers.
///
/// Two neighbouring columns whose entries have equal magnitudes in every row are replaced by sum and difference of
/// their elements; two neighbouring rows likewise become sum and difference of two partial sums.
pub(super) struct Product {
    pub(super) to: LoopId,
    pub(super) over: LoopId,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// After pairing of columns: the first of a pair stands for the sum, the second for the difference.
    matrix: Vec<Vec<f32>>,
    /// First columns of pairs.
    column_pairs: Vec<usize>,
    /// First rows of pairs.
    row_pairs: Vec<usize>,
}

/// Called with a row of the product.
pub(super) type Take<'t, S> = &'t mut dyn FnMut(&mut S, usize, V) -> R;

impl Product {
    pub(super) fn new(side: &Side) -> R<Self> {
        let mut matrix = side.rows().map_err(|e| Refusal::unsupported(e.message))?;
        let (rows, columns) = (matrix.len(), matrix.first().map_or(0, Vec::len));
        let column = |c: usize| matrix.iter().map(|row| row[c]).collect::<Vec<_>>();
        let column_pairs = neighbours(columns, &|c| is_pair(&column(c), &column(c + 1)));
        for row in &mut matrix {
            for &c in &column_pairs {
                (row[c], row[c + 1]) = if row[c] == row[c + 1] { (row[c], 0.0) } else { (0.0, row[c]) };
            }
        }
        let row_pairs = neighbours(rows, &|r| is_pair(&matrix[r], &matrix[r + 1]));
        Ok(Self { to: side.to, over: side.over, rows, columns, matrix, column_pairs, row_pairs })
    }

    /// The wanted rows of the product with `x`, whose registers are given back.
    pub(super) fn apply<S: Simd>(
        &self,
        s: &mut S,
        numbers: Arithmetic,
        mut x: Vec<V>,
        wanted: &[bool],
        take: Take<'_, S>,
    ) -> R {
        for &c in &self.column_pairs {
            let difference = s.copy(&x[c])?;
            numbers.sub(s, &difference, &x[c + 1])?;
            numbers.add(s, &x[c], &x[c + 1])?;
            s.free(std::mem::replace(&mut x[c + 1], difference));
        }
        let mut r = 0;
        while r < self.rows {
            if self.row_pairs.contains(&r) && wanted[r] && wanted[r + 1] {
                let (first, second) = (&self.matrix[r], &self.matrix[r + 1]);
                let part = |common: bool| {
                    let entry = |(a, b): (&f32, &f32)| if (a == b) == common { *a } else { 0.0 };
                    first.iter().zip(second).map(entry).collect::<Vec<_>>()
                };
                let sum = numbers.combine(s, &part(true), &x)?;
                let other = numbers.combine(s, &part(false), &x)?;
                let difference = s.copy(&sum)?;
                numbers.sub(s, &difference, &other)?;
                numbers.add(s, &sum, &other)?;
                s.free(other);
                take(s, r, sum)?;
                take(s, r + 1, difference)?;
                r += 2;
            } else {
                if wanted[r] {
                    let v = numbers.combine(s, &self.matrix[r], &x)?;
                    take(s, r, v)?;
                }
                r += 1;
            }
        }
        x.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

/// Whether two rows or columns share their sums: the same magnitudes, some of the same and some of opposite sign.
fn is_pair(a: &[f32], b: &[f32]) -> bool {
    let used = a.iter().filter(|x| **x != 0.0).count();
    let same = a.iter().zip(b).filter(|(x, y)| **x != 0.0 && x == y).count();
    a.iter().zip(b).all(|(x, y)| x.abs() == y.abs()) && used >= 3 && same > 0 && same < used
}

/// The first of each pair of neighbours among `0..count`; each is in one pair at most.
fn neighbours(count: usize, is_pair: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    for i in 0..count.saturating_sub(1) {
        if found.last().is_none_or(|last| last + 1 < i) && is_pair(i) {
            found.push(i);
        }
    }
    found
}
