//! Which blocks of each layer are removed.

use crate::choose::{Sized, cheapest, evenly};
use crate::matrix::Matrix;
use crate::options::{Budget, Options, Saliency};
use crate::second::Second;
use crate::sweep::sweep;
use crate::trace::Trace;

/// How many blocks each trace of each layer loses, for `common` of the weights to be gone, or `own` of a layer's.
pub(crate) fn counts(
    matrices: &[Matrix],
    traces: &[Vec<Trace>],
    common: f64,
    own: &[Option<f64>],
    options: &Options,
) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = matrices
        .iter()
        .zip(traces)
        .zip(own)
        .map(|((m, traces), own)| level(m, traces, own.unwrap_or(common), options).0)
        .collect();
    if options.budget != Budget::Global || matrices.iter().any(|m| m.grid.limits.is_some()) {
        return out;
    }
    let pooled: Vec<usize> = (0..matrices.len()).filter(|i| own[*i].is_none()).collect();
    let wanted = common * pooled.iter().map(|i| matrices[*i].original.len() as f64).sum::<f64>();
    let sizes: Vec<_> = pooled.iter().map(|i| size(&matrices[*i])).collect();
    let lists = pooled.iter().zip(&sizes).map(|(i, size)| Sized { traces: &traces[*i], size });
    let (found, _) = cheapest(&lists.collect::<Vec<_>>(), wanted);
    for (i, found) in pooled.into_iter().zip(found) {
        // Rows that are compared with themselves alone all lose the same part.
        let share = found.iter().sum::<usize>() as f64 / blocks(&matrices[i]).max(1) as f64;
        out[i] = match options.saliency {
            Saliency::Wanda => level(&matrices[i], &traces[i], share, options).0,
            _ => found,
        };
    }
    out
}

/// How many blocks each trace of a layer loses for a part of it to be gone, and what that costs.
pub(crate) fn level(matrix: &Matrix, traces: &[Trace], share: f64, options: &Options) -> (Vec<usize>, f64) {
    if matrix.grid.limits.is_some() {
        // All that the pattern allows, or nothing.
        let all = share > 0.0;
        let counts = traces.iter().map(|t| if all { t.len() } else { 0 }).collect();
        let cost = if all { traces.iter().flatten().map(|(_, cost)| cost).sum() } else { 0.0 };
        return (counts, cost);
    }
    if options.saliency == Saliency::Wanda {
        return evenly(traces, share, matrix.grid.columns.len());
    }
    let size = size(matrix);
    let (mut counts, costs) =
        cheapest(&[Sized { traces, size: &size }], share * matrix.original.len() as f64);
    (counts.pop().unwrap_or_default(), costs.first().copied().unwrap_or(0.0))
}

/// Weights of a block, by block of rows and of columns.
fn size(matrix: &Matrix) -> impl Fn(usize, usize) -> usize {
    |row, column| matrix.grid.rows[row].len() * matrix.grid.columns[column].len()
}

/// Blocks of a layer.
fn blocks(matrix: &Matrix) -> usize {
    matrix.grid.rows.len() * matrix.grid.columns.len()
}

/// What the first blocks of each trace are, by block of rows and column.
pub(crate) fn of_traces(matrix: &Matrix, traces: &[Trace], counts: &[usize]) -> Vec<Vec<bool>> {
    let depth = matrix.weights.depth;
    let one = |(trace, count): (&Trace, &usize)| {
        let mut dead = vec![false; depth];
        for (block, _) in &trace[..(*count).min(trace.len())] {
            matrix.grid.columns[*block as usize].iter().for_each(|k| dead[*k] = true);
        }
        dead
    };
    traces.iter().zip(counts).map(one).collect()
}

/// The same by sweeps, for rows that are too long for exact elimination.
pub(crate) fn by_sweep(
    matrix: &Matrix,
    seconds: &[Second],
    counts: &[usize],
    threads: usize,
) -> Option<Vec<Vec<bool>>> {
    let share = counts.iter().sum::<usize>() as f64 / blocks(matrix).max(1) as f64;
    if share == 0.0 {
        return None;
    }
    let parts = seconds.iter().enumerate().map(|(g, s)| sweep(matrix, g, s, share, threads));
    Some(parts.collect::<Option<Vec<_>>>()?.concat())
}
