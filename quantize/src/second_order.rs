//! Second-order rounding: each weight takes into account what the ones before it have changed in the layer's result.
//!
//! With `H` the mean products of what a row of weights is multiplied by, an error `e` in the row costs `e^T H e`. Weights are
//! rounded one after the other, those that cost most first, and what each leaves over is moved to the ones that are still
//! open, in the best way: by the rows of `U`, where `H^-1 = U^T U` and `U` is upper triangular. (Frantar et al., GPTQ, 2023.)

use std::thread;

use kiln_calibrate::matrix::inverse_factor;

use crate::pairs;

/// What is added to the diagonal, as a part of its mean: data tell little about directions in which they hardly vary.
const DAMPING: f64 = 0.01;

/// Rounds `rows`, each with its scale, to integers of at most `most`. `None` where the products cannot be inverted.
pub(crate) fn round(
    rows: &[f32],
    scales: &[f32],
    products: &[f64],
    most: i32,
    taps: Option<usize>,
    threads: usize,
) -> Option<Vec<i32>> {
    let depth = rows.len() / scales.len().max(1);
    let mean = (0..depth).map(|i| products[i * depth + i]).sum::<f64>() / depth.max(1) as f64;
    if depth == 0 || mean.is_nan() || mean <= 0.0 {
        return None;
    }
    let mut order: Vec<usize> = (0..depth).collect();
    order.sort_by(|a, b| products[b * depth + b].total_cmp(&products[a * depth + a]).then(a.cmp(b)));
    let mut h = vec![0.0; depth * depth];
    for (i, &a) in order.iter().enumerate() {
        for (j, &b) in order.iter().enumerate() {
            h[i * depth + j] = products[a * depth + b];
        }
        h[i * depth + i] += DAMPING * mean;
    }
    let u = inverse_factor(h, depth)?;
    let mut place = vec![0; depth];
    order.iter().enumerate().for_each(|(i, k)| place[*k] = i);
    let row = |row: &[f32], scale: f32| -> Vec<i32> {
        let mut open: Vec<f64> = order.iter().map(|k| f64::from(row[*k]) / f64::from(scale)).collect();
        let mut q = vec![0; depth];
        for (i, &k) in order.iter().enumerate() {
            let wish = open[i].round_ties_even().clamp(-f64::from(most), f64::from(most)) as i32;
            let partner = taps.and_then(|t| pairs::partner(k, depth, t)).filter(|p| place[*p] < i);
            let room = partner.map_or(most, |p| pairs::room(wish.signum(), q[p], most));
            q[k] = wish.clamp(-room, room);
            let line = &u[i * depth..(i + 1) * depth];
            let error = (open[i] - f64::from(q[k])) / line[i];
            open[i + 1..].iter_mut().zip(&line[i + 1..]).for_each(|(o, u)| *o -= error * u);
        }
        q
    };
    let mut out = vec![0; rows.len()];
    let each = scales.len().div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        let parts = out.chunks_mut(each * depth).zip(rows.chunks(each * depth)).zip(scales.chunks(each));
        for ((out, rows), scales) in parts {
            let row = &row;
            scope.spawn(move || {
                let lines = out.chunks_mut(depth).zip(rows.chunks(depth)).zip(scales);
                lines.for_each(|((out, line), scale)| out.copy_from_slice(&row(line, *scale)));
            });
        }
    });
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random.
    fn noise(n: usize, seed: u64) -> Vec<f64> {
        let word = |i: usize| (i as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (0..n)
            .map(|i| {
                ((word(i) ^ (word(i) >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 11) as f64
                    / (1u64 << 53) as f64
                    - 0.5
            })
            .collect()
    }

    /// Products of rows that are much alike.
    fn products(n: usize) -> Vec<f64> {
        let rows: Vec<Vec<f64>> = (0..4 * n)
            .map(|r| {
                let (own, common) = (noise(n, r as u64 * 77 + 5), noise(1, r as u64 + 9)[0]);
                own.iter().map(|v| v + 3.0 * common).collect()
            })
            .collect();
        let entry = |i: usize, j: usize| rows.iter().map(|r| r[i] * r[j]).sum::<f64>() / rows.len() as f64;
        (0..n * n).map(|at| entry(at / n, at % n)).collect()
    }

    #[test]
    fn it_costs_less_than_the_nearest() {
        let (n, count) = (48, 6);
        let h = products(n);
        let rows: Vec<f32> = noise(n * count, 3).into_iter().map(|v| v as f32).collect();
        let scales = vec![0.1f32; count];
        let price = |q: &[i32]| -> f64 {
            let error: Vec<f64> =
                q.iter().zip(&rows).map(|(q, w)| f64::from(*w) - 0.1f32 as f64 * f64::from(*q)).collect();
            let line = |e: &[f64]| -> f64 {
                (0..n)
                    .flat_map(|i| (0..n).map(move |j| (i, j)))
                    .map(|(i, j)| e[i] * h[i * n + j] * e[j])
                    .sum()
            };
            error.chunks(n).map(line).sum()
        };
        let nearest: Vec<i32> = rows.iter().map(|w| (w / 0.1).round() as i32).collect();
        let found = round(&rows, &scales, &h, 7, None, 2).unwrap();
        assert!(price(&found) < 0.8 * price(&nearest), "{} {}", price(&found), price(&nearest));
        assert_eq!(found, round(&rows, &scales, &h, 7, None, 1).unwrap());
        let limited: Vec<f32> = rows.iter().map(|w| w.abs() * 40.0).collect();
        let found = round(&limited, &scales, &h, 127, Some(1), 1).unwrap();
        assert!(found.chunks(n).all(|row| pairs::fits(row, 1)));
    }
}
