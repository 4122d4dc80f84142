//! Weights as integers: a scale for each row, and rounding.

use kiln_calibrate::{Moments, Result, Weights, Window, rows};
use kiln_compiler::Tensor;

use crate::options::{Options, Rounding, Width};
use crate::pairs;
use crate::second_order;

/// Candidates for a row's scale, in hundredths of what its largest weight needs.
const SCALES_INT8: std::ops::RangeInclusive<u32> = 80..=100;
const SCALES_INT4: std::ops::RangeInclusive<u32> = 40..=100;
/// Where pairs of weights are limited: up to the scale with which all of them fit.
const SCALES_IN_PAIRS: std::ops::RangeInclusive<u32> = 80..=200;

/// Integer weights of a layer, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Integers {
    /// One for each row.
    pub(crate) scales: Vec<f32>,
    /// `rows x depth`.
    pub(crate) values: Vec<i32>,
    /// What is to be added to each row's result, on the average, for what rounding has changed.
    pub(crate) correction: Vec<f64>,
}

/// How far the channels of a row lie apart, or nothing where weights need not be limited in pairs.
fn taps(weights: &Weights, options: &Options) -> Option<usize> {
    let taps = match &weights.window {
        Window::Rows => 1,
        Window::Taps { channels: 1, .. } => return None,
        Window::Taps { kernel, .. } => kernel.iter().product(),
    };
    options.pairs.then_some(taps)
}

/// Integers for a layer's weights. `bias` and the activations' scale bound the scales from below, so that the bias is an
/// integer too.
pub(crate) fn integers(
    tensor: &Tensor,
    weights: &Weights,
    bias: Option<&[f32]>,
    moments: Option<&Moments>,
    activation_scale: Option<f32>,
    options: &Options,
) -> Result<Integers> {
    let floats = rows(tensor, weights)?;
    let (depth, most) = (weights.depth, options.width.most());
    let per_group = weights.rows / weights.groups;
    let taps = taps(weights, options);
    let mut out = Integers {
        scales: Vec::with_capacity(weights.rows),
        values: Vec::with_capacity(floats.len()),
        correction: vec![0.0; weights.rows],
    };
    for group in 0..weights.groups {
        let range = group * per_group * depth..(group + 1) * per_group * depth;
        let rows = &floats[range];
        let cost = cost(moments, group, depth);
        let means = moments.map(|m| m.means(group));
        let first = group * per_group;
        let least = |r: usize| match (bias, activation_scale) {
            (Some(bias), Some(scale)) => bias[first + r].abs() / scale / LARGEST_BIAS,
            _ => 0.0,
        };
        let scales: Vec<f32> = rows
            .chunks(depth)
            .enumerate()
            .map(|(r, row)| scale(row, &cost, least(r), taps, options))
            .collect();
        let products = moments.and_then(|m| m.products(group));
        let rounded = match (options.rounding, products) {
            (Rounding::SecondOrder, Some(products)) => {
                second_order::round(rows, &scales, &products, most, taps, options.machine.threads)
            }
            _ => None,
        };
        let rounded = rounded.unwrap_or_else(|| {
            let nearest = |(row, scale): (&[f32], &f32)| nearest(row, *scale, &cost, most, taps);
            rows.chunks(depth).zip(&scales).flat_map(nearest).collect()
        });
        if let Some(means) = means {
            let pairs = rows.chunks(depth).zip(rounded.chunks(depth)).zip(&scales);
            for (r, ((row, q), scale)) in pairs.enumerate() {
                let lost = row.iter().zip(q).map(|(w, q)| f64::from(*w) - f64::from(*q) * f64::from(*scale));
                out.correction[first + r] = lost.zip(&means).map(|(lost, mean)| lost * mean).sum();
            }
        }
        out.scales.extend(scales);
        out.values.extend(rounded);
    }
    Ok(out)
}

/// A bias as an integer is smaller than this.
const LARGEST_BIAS: f32 = (1 << 30) as f32;

/// What the square of an error in each number of a row costs: the mean square of what it is multiplied by, and a little more,
/// so that nothing is free.
fn cost(moments: Option<&Moments>, group: usize, depth: usize) -> Vec<f64> {
    let Some(moments) = moments else { return vec![1.0; depth] };
    let squares = moments.squares(group);
    let mean = squares.iter().sum::<f64>() / depth.max(1) as f64;
    if mean <= 0.0 {
        return vec![1.0; depth];
    }
    squares.into_iter().map(|s| s + 0.01 * mean).collect()
}

/// The scale of a row with the least cost, not below `least`.
fn scale(row: &[f32], cost: &[f64], least: f32, taps: Option<usize>, options: &Options) -> f32 {
    let most = options.width.most();
    let largest = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let whole = largest / most as f32;
    // A row of zeros; or one so small that its scale would not be exact.
    if !whole.is_normal() {
        return least.max(1.0 / most as f32);
    }
    if whole < least {
        return least;
    }
    let price = |scale: f32| -> f64 {
        if taps.is_none() {
            return distance(row, scale, cost, most);
        }
        let q = nearest(row, scale, cost, most, taps);
        let terms = row.iter().zip(&q).zip(cost);
        terms.map(|((w, q), c)| c * (f64::from(*w) - f64::from(scale) * f64::from(*q)).powi(2)).sum()
    };
    let parts = match (options.width, taps) {
        (Width::Int4, _) => SCALES_INT4,
        (Width::Int8, None) => SCALES_INT8,
        (Width::Int8, Some(_)) => SCALES_IN_PAIRS,
    };
    let candidates = parts.map(|p| whole * p as f32 / 100.0).filter(|s| *s >= least);
    let priced = candidates.map(|s| (s, price(s)));
    priced.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(whole, |(s, _)| s)
}

/// The cost of rounding each weight to the nearest integer.
fn distance(row: &[f32], scale: f32, cost: &[f64], most: i32) -> f64 {
    // Adding and subtracting it rounds halves to even, without a call.
    const WHOLE: f64 = 1.5 * (1u64 << 52) as f64;
    let (scale, most) = (f64::from(scale), f64::from(most));
    let factor = 1.0 / scale;
    let mut sum = 0.0;
    for (w, c) in row.iter().zip(cost) {
        let w = f64::from(*w);
        let q = ((w * factor + WHOLE) - WHOLE).clamp(-most, most);
        let error = w - scale * q;
        sum += c * error * error;
    }
    sum
}

/// The nearest integers, in pairs that fit.
fn nearest(row: &[f32], scale: f32, cost: &[f64], most: i32, taps: Option<usize>) -> Vec<i32> {
    let wish: Vec<f64> = row.iter().map(|w| f64::from(*w) / f64::from(scale)).collect();
    let mut q: Vec<i32> =
        wish.iter().map(|w| w.round_ties_even().clamp(-f64::from(most), f64::from(most)) as i32).collect();
    if let Some(taps) = taps {
        pairs::limit(&mut q, &wish, cost, taps);
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Keep, Method};
    use kiln_calibrate::{Detail, Machine};

    fn options(width: Width, pairs: bool) -> Options {
        let machine = Machine {
            cpu: "native".to_owned(),
            features: String::new(),
            threads: 1,
            limits: kiln_compiler::Limits::default(),
        };
        Options {
            method: Method::MinMax,
            width,
            rounding: Rounding::Nearest,
            equalise: false,
            pairs,
            keep: Keep::Nodes(Vec::new()),
            target: None,
            machine,
        }
    }

    fn matrix(rows: usize, depth: usize) -> (Tensor, Weights) {
        let value = |i: usize| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.3;
        let tensor = Tensor::from_vec(&[rows, depth], (0..rows * depth).map(value).collect());
        let weights = Weights {
            name: "w".to_owned(),
            bias: None,
            takes_bias: true,
            axis: 0,
            rows,
            depth,
            groups: 1,
            window: Window::Rows,
        };
        (tensor, weights)
    }

    #[test]
    fn integers_are_near_and_in_pairs_that_fit() {
        let (tensor, weights) = matrix(5, 64);
        let floats = rows(&tensor, &weights).unwrap();
        for (width, pairs, most) in
            [(Width::Int8, false, 0.01), (Width::Int8, true, 0.02), (Width::Int4, false, 0.1)]
        {
            let found = integers(&tensor, &weights, None, None, None, &options(width, pairs)).unwrap();
            let row = |i: usize| &found.values[i * 64..(i + 1) * 64];
            assert!(found.values.iter().all(|q| q.abs() <= width.most()));
            assert!(!pairs || (0..5).all(|r| pairs::fits(row(r), 1)));
            let of = |i: usize| found.scales[i / 64] * found.values[i] as f32;
            let error: f32 = floats.iter().enumerate().map(|(i, w)| (w - of(i)).powi(2)).sum();
            let size: f32 = floats.iter().map(|w| w * w).sum();
            assert!((error / size).sqrt() < most, "{width:?} {pairs}: {}", (error / size).sqrt());
        }
    }

    #[test]
    fn what_rounding_changes_on_the_average_is_corrected() {
        let (tensor, weights) = matrix(3, 16);
        let options = options(Width::Int4, false);
        let mut moments = Moments::of(&weights, Detail::Squares, 1);
        let x: Vec<f32> = (0..16 * 40).map(|i| ((i * 31) % 17) as f32 / 17.0 + 0.5).collect();
        moments.see(&weights.window, &x, &[40, 16], &options.machine).unwrap();
        let found = integers(&tensor, &weights, None, Some(&moments), None, &options).unwrap();
        let floats = rows(&tensor, &weights).unwrap();
        for r in 0..3 {
            let lost: f64 = x
                .chunks(16)
                .map(|line| {
                    let terms = line.iter().enumerate().map(|(k, x)| {
                        let w = f64::from(floats[r * 16 + k]);
                        f64::from(*x) * (w - f64::from(found.scales[r]) * f64::from(found.values[r * 16 + k]))
                    });
                    terms.sum::<f64>()
                })
                .sum::<f64>()
                / 40.0;
            assert!((lost - found.correction[r]).abs() < 1e-9, "{lost} {}", found.correction[r]);
        }
    }

    #[test]
    fn rows_of_zeros_and_large_biases_have_scales() {
        let (_, weights) = matrix(2, 4);
        let tensor = Tensor::from_vec(&[2, 4], vec![0.0f32, 0.0, 0.0, 0.0, 1e-12, 0.0, 0.0, -1e-12]);
        let options = options(Width::Int8, false);
        let bias = [0.0, 3.0];
        let found = integers(&tensor, &weights, Some(&bias), None, Some(1e-3), &options).unwrap();
        assert!(found.scales.iter().all(|s| s.is_normal()));
        assert!(3.0 / (1e-3 * found.scales[1]) <= LARGEST_BIAS * 1.001);
        assert_eq!(&found.values[..4], [0; 4]);
    }
}
