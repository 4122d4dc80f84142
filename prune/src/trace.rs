//! In which order the blocks of a few rows are removed, and what each costs.

use crate::elimination::Elimination;
use crate::matrix::Matrix;
use crate::options::Saliency;
use crate::parallel;
use crate::second::Second;

/// The blocks of columns that a block of rows loses, first to last, and what each costs then.
pub(crate) type Trace = Vec<(u32, f64)>;

/// Exact elimination is for rows of at most so many numbers: it takes time with their cube.
const MOST_EXACT: usize = 1200;

/// Whether a layer's rows are short enough for exact elimination.
pub(crate) fn is_short(matrix: &Matrix) -> bool {
    matrix.weights.depth <= MOST_EXACT
}

/// What is known of a layer while its blocks are chosen.
pub(crate) struct Known<'a> {
    pub(crate) matrix: &'a Matrix,
    /// By group of rows: mean squares of what is multiplied, from the model that was given.
    pub(crate) squares: Option<Vec<Vec<f64>>>,
    /// By group of rows.
    pub(crate) second: Option<Vec<Second>>,
}

impl Known<'_> {
    /// The importance of rows, in parts of the whole.
    pub(crate) fn importance(&self, block: usize, whole: f64) -> Vec<f64> {
        self.matrix.grid.rows[block].clone().map(|r| self.matrix.scale[r] / whole).collect()
    }

    /// The cost of losing the whole layer, by the same measure.
    pub(crate) fn whole(&self, saliency: Saliency) -> f64 {
        let matrix = self.matrix;
        let of = |b: usize| -> f64 {
            let group = matrix.group(b);
            let row = |r: usize| {
                let row = matrix.row(&matrix.original, r);
                let squares = self.squares.as_ref().map(|s| &s[group]);
                let second = self.second.as_ref().map(|s| &s[group]);
                let cost: f64 = match (saliency, squares, second) {
                    (Saliency::Obs, _, Some(second)) => second.cost(row),
                    (Saliency::Magnitude, ..) | (_, None, _) => row.iter().map(|w| w * w).sum(),
                    (_, Some(squares), _) => row.iter().zip(squares).map(|(w, s)| w * w * s).sum(),
                };
                matrix.scale[r] * cost
            };
            matrix.grid.rows[b].clone().map(row).sum()
        };
        let whole: f64 = (0..matrix.grid.rows.len()).map(of).sum();
        if whole > 0.0 && whole.is_finite() { whole } else { 1.0 }
    }
}

/// The traces of a layer, one for each block of rows. Costs are parts of what losing the whole layer costs.
pub(crate) fn traces(known: &Known<'_>, saliency: Saliency, threads: usize) -> Vec<Trace> {
    let matrix = known.matrix;
    let count = matrix.grid.rows.len();
    let whole = known.whole(saliency);
    if saliency == Saliency::Obs
        && is_short(matrix)
        && let Some(seconds) = &known.second
    {
        let mut out = Vec::with_capacity(count);
        for (group, second) in seconds.iter().enumerate() {
            let blocks: Vec<usize> = (0..count).filter(|b| matrix.group(*b) == group).collect();
            let found = crate::elimination::inverse(second.h.clone(), second.depth, threads);
            let one = |i: usize| {
                let b = blocks[i];
                match &found {
                    Some(inverse) => exact(known, b, second, inverse, known.importance(b, whole)),
                    None => independent(known, b, Saliency::Obd, whole),
                }
            };
            out.extend(parallel::each(blocks.len(), threads, one));
        }
        return out;
    }
    parallel::each(count, threads, |b| independent(known, b, saliency, whole))
}

/// What blocks of a few rows cost by themselves.
pub(crate) struct Alone {
    rows: Vec<Vec<f64>>,
    importance: Vec<f64>,
    /// By column: what the square of a weight counts.
    factors: Option<Vec<f64>>,
}

impl Alone {
    pub(crate) fn of(known: &Known<'_>, block: usize, saliency: Saliency, whole: f64) -> Self {
        let group = known.matrix.group(block);
        let diagonal = |s: &Second| (0..s.depth).map(|k| s.h[k * s.depth + k]).collect();
        let factors = match (saliency, &known.squares, &known.second) {
            (Saliency::Magnitude, ..) => None,
            (Saliency::Obs, _, Some(second)) => Some(diagonal(&second[group])),
            (_, squares, _) => squares.as_ref().map(|s| s[group].clone()),
        };
        Self { rows: present_rows(known, block), importance: known.importance(block, whole), factors }
    }

    /// Of these columns.
    pub(crate) fn cost(&self, columns: &[usize]) -> f64 {
        let factor = |k: usize| self.factors.as_ref().map_or(1.0, |f| f[k]);
        let of = |(row, i): (&Vec<f64>, &f64)| {
            i * columns.iter().map(|k| row[*k] * row[*k] * factor(*k)).sum::<f64>()
        };
        self.rows.iter().zip(&self.importance).map(of).sum()
    }
}

/// The rows of the model as it is, with the best value alone for what was removed.
fn present_rows(known: &Known<'_>, block: usize) -> Vec<Vec<f64>> {
    let matrix = known.matrix;
    let dead = &matrix.dead[block];
    let row = |r: usize| {
        let mut row = matrix.row(&matrix.now, r).to_vec();
        if !dead.contains(&true) {
            return row;
        }
        let original = matrix.row(&matrix.original, r);
        let wish = known.second.as_ref().map(|s| {
            let s = &s[matrix.group(block)];
            let (t, lines) = (s.target(original), s.h.chunks_exact(s.depth));
            let left = t.iter().zip(lines).map(|(t, line)| t - crate::second::product(line, &row));
            left.enumerate().map(|(k, left)| left / s.h[k * s.depth + k]).collect::<Vec<_>>()
        });
        let wish = wish.as_deref().unwrap_or(original);
        let all = row.iter_mut().zip(dead).zip(wish);
        all.filter(|((_, dead), _)| **dead).for_each(|((w, _), wish)| *w = *wish);
        row
    };
    matrix.grid.rows[block].clone().map(row).collect()
}

/// The best rows without zeros.
pub(crate) fn best_rows(matrix: &Matrix, block: usize, second: &Second, inverse: &[f64]) -> Vec<Vec<f64>> {
    let row = |r: usize| {
        let original = matrix.row(&matrix.original, r);
        if second.is_at_rest() {
            return original.to_vec();
        }
        let target = second.target(original);
        inverse.chunks_exact(second.depth).map(|line| crate::second::product(line, &target)).collect()
    };
    matrix.grid.rows[block].clone().map(row).collect()
}

/// Each block by itself.
fn independent(known: &Known<'_>, block: usize, saliency: Saliency, whole: f64) -> Trace {
    let matrix = known.matrix;
    let alone = Alone::of(known, block, saliency, whole);
    let mut trace: Trace =
        matrix.grid.columns.iter().enumerate().map(|(c, columns)| (c as u32, alone.cost(columns))).collect();
    let each = |(c, cost): &(u32, f64)| cost / matrix.grid.columns[*c as usize].len() as f64;
    trace.sort_by(|a, b| each(a).total_cmp(&each(b)).then(a.0.cmp(&b.0)));
    if let Some(limits) = &matrix.grid.limits {
        let mut open: Vec<usize> = limits.iter().map(|l| l.1).collect();
        let group = groups(limits, matrix.grid.columns.len());
        trace.retain(|(c, _)| {
            let left = &mut open[group[*c as usize]];
            let allowed = *left > 0;
            *left = left.saturating_sub(1);
            allowed
        });
    }
    trace
}

/// The group of each block of columns.
fn groups(limits: &[(Vec<usize>, usize)], count: usize) -> Vec<usize> {
    let mut out = vec![0; count];
    for (group, (blocks, _)) in limits.iter().enumerate() {
        blocks.iter().for_each(|b| out[*b] = group);
    }
    out
}

fn exact(known: &Known<'_>, block: usize, second: &Second, inverse: &[f64], importance: Vec<f64>) -> Trace {
    let matrix = known.matrix;
    let rows = best_rows(matrix, block, second, inverse);
    let blocks = &matrix.grid.columns;
    let mut elimination = Elimination::new(inverse, &**blocks, rows, importance);
    let mut open: Option<(Vec<usize>, Vec<usize>)> = matrix
        .grid
        .limits
        .as_ref()
        .map(|limits| (groups(limits, blocks.len()), limits.iter().map(|l| l.1).collect()));
    let mut trace = Vec::new();
    loop {
        let allowed = |c: &usize| open.as_ref().is_none_or(|(group, open)| open[group[*c]] > 0);
        let costs = (0..blocks.len()).filter(allowed).map(|c| (c, elimination.cost(c)));
        let each = |(c, cost): &(usize, f64)| cost / blocks[*c].len() as f64;
        let best = costs.filter(|(_, cost)| cost.is_finite()).min_by(|a, b| each(a).total_cmp(&each(b)));
        let Some((best, cost)) = best else { return trace };
        trace.push((best as u32, cost));
        elimination.remove(best);
        if let Some((group, open)) = &mut open {
            open[group[best]] -= 1;
        }
    }
}
