//! Results of layers that keep their means and deviations: what is left of a row is scaled, and a constant is added to its
//! result.
//!
//! Solving for weights makes them smaller than they were, and what each layer lacks adds up over the layers. The pruned model
//! runs on the samples, a few layers after the other, so that each sees what those before it have become.

use std::collections::BTreeMap;

use kiln_calibrate::{Machine, Result, Samples, Watch, run};
use kiln_onnx::Document;

use crate::matrix::{Matrix, Shift};

/// Layers are corrected in so many groups.
const GROUPS: usize = 4;
/// Samples that are run.
const SAMPLES: usize = 64;
/// How far a row may be scaled.
const LEAST: f64 = 0.5;
const MOST: f64 = 2.0;

/// The mean and the deviation of each channel of a value.
type Spread = Vec<(f64, f64)>;

/// Corrects all layers; `scaled`: deviations too.
pub(crate) fn correct(
    given: &Document,
    matrices: &mut [Matrix],
    scaled: bool,
    samples: &dyn Samples,
    machine: &Machine,
    watch: &dyn Watch,
) -> Result<Document> {
    let before = spreads(given, matrices, samples, machine)?;
    let write = |matrices: &[Matrix]| -> Result<Document> {
        let mut now = given.clone();
        matrices.iter().try_for_each(|m| m.write(&mut now))?;
        Ok(now)
    };
    let each = matrices.len().div_ceil(GROUPS).max(1);
    let mut at = 0;
    while at < matrices.len() {
        watch.at("statistics", at, matrices.len());
        let now = write(matrices)?;
        let end = (at + each).min(matrices.len());
        let after = spreads(&now, &matrices[at..end], samples, machine)?;
        for matrix in matrices[at..end].iter_mut().filter(|m| m.is_pruned()) {
            let output = &matrix.layer.output;
            let (Some(given_spread), Some(now_spread)) = (before.get(output), after.get(output)) else {
                continue;
            };
            let bias = |document: &Document| -> Vec<f64> {
                let own = matrix.weights.bias.as_ref().and_then(|b| document.constant(b));
                own.and_then(|b| b.to_f64s().ok()).unwrap_or_else(|| vec![0.0; matrix.weights.rows])
            };
            let (bias_given, mut bias_now) = (bias(given), bias(&now));
            // A bias that the layer did not have is in its result too.
            if matrix.shift == Shift::Missing {
                bias_now.clone_from(&matrix.sums);
            }
            for r in 0..matrix.weights.rows {
                let ((mean, deviation), (mean_now, deviation_now)) = (given_spread[r], now_spread[r]);
                let factor = deviation / deviation_now;
                let factor = if scaled && factor.is_finite() { factor.clamp(LEAST, MOST) } else { 1.0 };
                let depth = matrix.weights.depth;
                matrix.now[r * depth..(r + 1) * depth].iter_mut().for_each(|w| *w *= factor);
                if matrix.shift != Shift::Nowhere {
                    matrix.sums[r] = mean - bias_given[r] - factor * (mean_now - bias_now[r]);
                }
            }
        }
        at = end;
    }
    write(matrices)
}

/// Of the results of layers, as they are before anything is added behind them.
fn spreads(
    document: &Document,
    matrices: &[Matrix],
    samples: &dyn Samples,
    machine: &Machine,
) -> Result<BTreeMap<String, Spread>> {
    let taps: Vec<&str> = matrices.iter().map(|m| &*m.layer.output).collect();
    let mut out = BTreeMap::new();
    let count = samples.count().min(SAMPLES);
    for (part, model) in run::in_parts(document, &taps, samples, machine)? {
        let mut sums: BTreeMap<&str, Vec<(f64, f64, f64)>> = BTreeMap::new();
        let mut session = model.session()?;
        for n in 0..count {
            run::feed(&mut session, samples, n * samples.count() / count)?;
            for matrix in matrices.iter().filter(|m| part.contains(&&*m.layer.output)) {
                let name = &*matrix.layer.output;
                let (elements, shape) = (session.output::<f32>(name)?, run::shape(&model, name)?);
                let rows = matrix.weights.rows;
                let sums = sums.entry(name).or_insert_with(|| vec![(0.0, 0.0, 0.0); rows]);
                // Channels are the second axis of a convolution, and the last of a matrix.
                let inner: usize = match matrix.layer.op.as_str() {
                    "Conv" => shape.iter().skip(2).product(),
                    _ => 1,
                };
                for (i, line) in elements.chunks(inner.max(1)).enumerate() {
                    let (n, sum, squares) = &mut sums[i % rows];
                    *n += line.len() as f64;
                    for v in line {
                        *sum += f64::from(*v);
                        *squares += f64::from(*v) * f64::from(*v);
                    }
                }
            }
        }
        for (name, sums) in sums {
            let spread = |(n, sum, squares): &(f64, f64, f64)| {
                let n = n.max(1.0);
                (sum / n, (squares / n - (sum / n).powi(2)).max(0.0).sqrt())
            };
            out.insert(name.to_owned(), sums.iter().map(spread).collect());
        }
    }
    Ok(out)
}
