//! Second-order pruning of long rows: columns are passed once, those that cost most first, 128 at a time; of each such stretch
//! the cheapest blocks are removed, and what is open makes up for them. (Frantar and Alistarh, SparseGPT, 2023.)

use kiln_calibrate::matrix::inverse_factor;

use crate::matrix::Matrix;
use crate::parallel;
use crate::second::Second;

/// Columns whose blocks are chosen together.
const STRETCH: usize = 128;

/// What is removed of one group's blocks of rows so that `part` of the blocks are gone: by block of rows, of these alone, and
/// column. Nothing where `H` cannot be inverted.
pub(crate) fn sweep(
    matrix: &Matrix,
    group: usize,
    second: &Second,
    part: f64,
    threads: usize,
) -> Option<Vec<Vec<bool>>> {
    let n = second.depth;
    let columns = &matrix.grid.columns;
    // What stays together: blocks, or groups of N:M.
    let mut units: Vec<(Vec<usize>, Option<usize>)> = match &matrix.grid.limits {
        Some(limits) => limits.iter().map(|(blocks, open)| (blocks.clone(), Some(*open))).collect(),
        None => (0..columns.len()).map(|c| (vec![c], None)).collect(),
    };
    let diagonal = |c: &usize| columns[*c].iter().map(|k| second.h[k * n + k]).sum::<f64>();
    let weight = |unit: &(Vec<usize>, Option<usize>)| unit.0.iter().map(diagonal).sum::<f64>();
    units.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.0.cmp(&b.0)));
    let order: Vec<usize> = units.iter().flat_map(|u| u.0.iter().flat_map(|c| columns[*c].clone())).collect();
    let mut place = vec![0; n];
    order.iter().enumerate().for_each(|(at, k)| place[*k] = at);
    let h = order.iter().flat_map(|i| order.iter().map(move |j| second.h[i * n + j])).collect();
    let u = inverse_factor(h, n)?;
    let blocks: Vec<usize> = (0..matrix.grid.rows.len()).filter(|b| matrix.group(*b) == group).collect();
    // By block of rows: the rows in this order.
    let mut rows: Vec<Vec<Vec<f64>>> = blocks
        .iter()
        .map(|b| {
            let rows = matrix.grid.rows[*b].clone();
            rows.map(|r| order.iter().map(|k| matrix.row(&matrix.original, r)[*k]).collect()).collect()
        })
        .collect();
    let mut dead = vec![vec![false; n]; blocks.len()];
    let (mut passed, mut gone) = (0usize, 0usize);
    let mut at = 0;
    while at < units.len() {
        let from = at;
        let mut width = 0;
        while at < units.len() && (width == 0 || width < STRETCH) {
            width += units[at].0.iter().map(|c| columns[*c].len()).sum::<usize>();
            at += 1;
        }
        let stretch = &units[from..at];
        let cost = |b: usize, c: usize| -> f64 {
            let scale = &matrix.scale[matrix.grid.rows[blocks[b]].clone()];
            let of = |(row, scale): (&Vec<f64>, &f64)| {
                let columns = columns[c].iter().map(|k| place[*k]);
                scale * columns.map(|k| (row[k] / u[k * n + k]).powi(2)).sum::<f64>()
            };
            rows[b].iter().zip(scale).map(of).sum()
        };
        let cheapest = |mut all: Vec<(f64, usize, usize)>, count: usize| {
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            all.truncate(count);
            all
        };
        let mut chosen = Vec::new();
        for unit in stretch {
            let Some(open) = unit.1 else { break };
            for b in 0..blocks.len() {
                chosen.extend(cheapest(unit.0.iter().map(|c| (cost(b, *c), b, *c)).collect(), open));
            }
        }
        if stretch.iter().all(|unit| unit.1.is_none()) {
            let all: Vec<(f64, usize, usize)> = stretch
                .iter()
                .flat_map(|unit| unit.0.iter().flat_map(|c| (0..blocks.len()).map(move |b| (b, *c))))
                .map(|(b, c)| (cost(b, c), b, c))
                .collect();
            passed += all.len();
            let wanted = (part * passed as f64).round() as usize;
            chosen = cheapest(all, wanted.saturating_sub(gone));
            gone += chosen.len();
        }
        for (_, b, c) in chosen {
            columns[c].iter().for_each(|k| dead[b][place[*k]] = true);
        }
        let begin = stretch.first().and_then(|u| u.0.first()).map_or(0, |c| place[columns[*c][0]]);
        rows = parallel::each(blocks.len(), threads, |b| {
            let mut rows = rows[b].clone();
            for k in (begin..begin + width).filter(|k| dead[b][*k]) {
                let line = &u[k * n..(k + 1) * n];
                for row in &mut rows {
                    let error = row[k] / line[k];
                    row[k..].iter_mut().zip(&line[k..]).for_each(|(w, u)| *w -= error * u);
                }
            }
            rows
        });
    }
    Some(dead.into_iter().map(|d| (0..n).map(|k| d[place[k]]).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;
    use kiln_calibrate::{View, layers};
    use kiln_compiler::{DType, Tensor};
    use kiln_onnx::{Document, Node};

    fn number(i: usize) -> f64 {
        ((i * 7919 + i * i * 31 + 13) % 1009) as f64 / 504.5 - 1.0
    }

    /// What a layer of so many rows loses where this is zero, and the rest was solved for.
    fn price(matrix: &Matrix, second: &Second, dead: &[Vec<bool>]) -> f64 {
        let row = |r: usize| -> f64 {
            let original = matrix.row(&matrix.original, r);
            let block = matrix.grid.rows.iter().position(|b| b.contains(&r)).unwrap();
            let mut now = vec![original.to_vec()];
            crate::solve::rows(second, &dead[block], &[second.target(original)], &mut now);
            let error: Vec<f64> = original.iter().zip(&now[0]).map(|(o, n)| o - n).collect();
            second.cost(&error)
        };
        (0..matrix.weights.rows).map(row).sum()
    }

    #[test]
    fn it_costs_less_than_by_size() {
        let (rows, n) = (8, 200);
        let mut d = Document::new("m", 17);
        d.add_input("x", DType::F32, &[1, n]);
        let weights = (0..rows * n).map(|i| number(i) as f32).collect();
        d.set_constant("w", Tensor::from_vec(&[rows, n], weights));
        d.nodes_mut().push(Node::new("m", "Gemm", &["x", "w"], &["y"]).with_int("transB", 1));
        d.add_outputs(["y"]);
        let view = View::of(&d);
        let layer = layers::find(&view).0.remove(0);
        // What is multiplied is much alike from place to place.
        let mut h = vec![0.0; n * n];
        for r in 0..3 * n {
            let own = |i: usize| (0.2 + (i / 8 % 5) as f64 / 2.0) * number(r * n + i);
            let x: Vec<f64> = (0..n).map(|i| own(i) + 2.0 * number(r * 5 + i / 8)).collect();
            for i in 0..n {
                (0..n).for_each(|j| h[i * n + j] += x[i] * x[j] / n as f64);
            }
        }
        (0..n).for_each(|i| h[i * n + i] += 0.05);
        let second = Second::plain(h, n);
        for (height, width) in [(1, 1), (4, 1), (1, 4)] {
            let pattern = Pattern::Blocks { rows: height, columns: width };
            let matrix = Matrix::of(&view, &layer, layer.weights().unwrap(), pattern).unwrap();
            let found = sweep(&matrix, 0, &second, 0.5, 2).unwrap();
            assert_eq!(found, sweep(&matrix, 0, &second, 0.5, 1).unwrap());
            let gone = found.iter().flatten().filter(|d| **d).count();
            assert_eq!(gone * height, rows * n / 2);
            // The same number of blocks by size alone.
            let size = |b: usize, k: usize| -> f64 {
                let first = k / width * width;
                let rows = matrix.grid.rows[b].clone();
                rows.flat_map(|r| matrix.row(&matrix.original, r)[first..first + width].to_vec())
                    .map(|w| w * w)
                    .sum()
            };
            let mut order: Vec<(usize, usize)> =
                (0..matrix.grid.rows.len()).flat_map(|b| (0..n).map(move |k| (b, k))).collect();
            order.sort_by(|a, b| {
                size(a.0, a.1).total_cmp(&size(b.0, b.1)).then((a.0, a.1 / width).cmp(&(b.0, b.1 / width)))
            });
            let mut by_size = vec![vec![false; n]; matrix.grid.rows.len()];
            order[..gone].iter().for_each(|(b, k)| by_size[*b][*k] = true);
            let (found, by_size) = (price(&matrix, &second, &found), price(&matrix, &second, &by_size));
            assert!(found < 0.95 * by_size, "{pattern}: {found} {by_size}");
        }
        let pattern = Pattern::Of { kept: 2, of: 4 };
        let matrix = Matrix::of(&view, &layer, layer.weights().unwrap(), pattern).unwrap();
        let found = sweep(&matrix, 0, &second, 0.5, 2).unwrap();
        assert!(found.iter().all(|row| row.chunks(4).all(|g| g.iter().filter(|d| **d).count() == 2)));
    }
}
