//! What a layer's weights multiply, as second-order pruning needs it.
//!
//! With `x` what a row `w` of the pruned model multiplies and `y` the same in the model that was given, whose row is `v`, the
//! error of the result is the mean of `(w x - v y)^2`. Where a constant can be added to the result, `x` and `y` count from
//! their means, and the constant makes up for these. `H` is the mean of `x x^T` and a little more on the diagonal, since data
//! tell little about directions in which they hardly vary; the best row without zeros is `H^-1 t`, with `t` the mean of
//! `x (y . v)` and as much of `v` as is on the diagonal.

use kiln_calibrate::{Detail, Layer, Machine, Moments, Result, Samples, Watch, run};
use kiln_onnx::Document;

use crate::matrix::{Matrix, Shift};

/// What is added to the diagonal, as a part of its mean.
const DAMPING: f64 = 0.01;

/// What a group of a layer's rows multiplies.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    pub(crate) depth: usize,
    /// `H`, `depth x depth`.
    pub(crate) h: Vec<f64>,
    /// What is added to the diagonal.
    damping: f64,
    /// The mean of `x y^T` where the model was pruned already.
    cross: Option<Vec<f64>>,
    /// The means of `x` and of `y`; nothing where no constant can be added.
    means: Option<(Vec<f64>, Vec<f64>)>,
}

impl Second {
    /// Of these products, as they are.
    #[cfg(test)]
    pub(crate) fn plain(h: Vec<f64>, depth: usize) -> Self {
        Self { depth, h, damping: 0.0, cross: None, means: None }
    }

    /// Nothing where products were not kept.
    pub(crate) fn of(moments: &Moments, group: usize, centred: bool) -> Option<Self> {
        let mut h = moments.products(group)?;
        let x = moments.means(group);
        let depth = x.len();
        let y = moments.other_means(group);
        let mut cross = moments.products_with_other(group);
        if centred {
            centre(&mut h, &x, &x);
            if let (Some(cross), Some(y)) = (&mut cross, &y) {
                centre(cross, &x, y);
            }
        }
        let mean = (0..depth).map(|i| h[i * depth + i].max(0.0)).sum::<f64>() / depth.max(1) as f64;
        // Where nothing varies nothing is known, and all weights are alike.
        let damping = if mean > 0.0 && mean.is_finite() { DAMPING * mean } else { 1.0 };
        (0..depth).for_each(|i| h[i * depth + i] += damping);
        let means = centred.then(|| (x.clone(), y.unwrap_or(x)));
        Some(Self { depth, h, damping, cross, means })
    }

    /// `t` for a row of the model that was given.
    pub(crate) fn target(&self, row: &[f64]) -> Vec<f64> {
        let (matrix, own) = match &self.cross {
            Some(cross) => (cross, self.damping),
            None => (&self.h, 0.0),
        };
        let lines = matrix.chunks_exact(self.depth.max(1));
        lines.zip(row).map(|(line, w)| product(line, row) + own * w).collect()
    }

    /// Whether the best row without zeros is that of the model that was given.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.cross.is_none()
    }

    /// What is to be added to the result of `now` for the means to stay.
    pub(crate) fn shift(&self, original: &[f64], now: &[f64]) -> f64 {
        match &self.means {
            Some((x, y)) => product(original, y) - product(now, x),
            None => 0.0,
        }
    }

    /// What an error in a row costs.
    pub(crate) fn cost(&self, error: &[f64]) -> f64 {
        let lines = self.h.chunks_exact(self.depth.max(1));
        lines.zip(error).filter(|(_, e)| **e != 0.0).map(|(line, e)| e * product(line, error)).sum()
    }
}

/// Takes the products of means away.
fn centre(products: &mut [f64], x: &[f64], y: &[f64]) {
    for (line, a) in products.chunks_exact_mut(y.len().max(1)).zip(x) {
        line.iter_mut().zip(y).for_each(|(v, b)| *v -= a * b);
    }
}

/// A sum of products.
pub(crate) fn product(a: &[f64], b: &[f64]) -> f64 {
    kiln_calibrate::matrix::dot(a, b)
}

/// Whether sums of a layer's results are free, so that products count from means.
pub(crate) fn is_centred(matrix: &Matrix, reconstruct: bool) -> bool {
    reconstruct && matrix.shift != Shift::Nowhere
}

/// Moments of what layers multiply in `now`, beside `given` where that is another model.
pub(crate) fn observe(
    given: &Document,
    now: Option<&Document>,
    matrices: &[Matrix],
    samples: &dyn Samples,
    machine: &Machine,
    watch: &dyn Watch,
) -> Result<Vec<Moments>> {
    let count = samples.count();
    let detail = if now.is_some() { Detail::Beside } else { Detail::Thorough };
    let mut moments: Vec<Moments> = matrices.iter().map(|m| Moments::of(&m.weights, detail, count)).collect();
    let inputs: Vec<String> = given.inputs().into_iter().map(|i| i.name).collect();
    let mut taps: Vec<&str> = matrices.iter().map(|m| &*m.layer.input).collect();
    taps.sort_unstable();
    taps.dedup();
    taps.retain(|t| !inputs.iter().any(|i| i == t));
    let parts = run::in_parts(given, &taps, samples, machine)?;
    let steps = parts.len() * count;
    for (p, (part, model)) in parts.iter().enumerate() {
        let other = now.map(|now| run::tapped(now, part, samples, machine)).transpose()?;
        let mut session = model.session()?;
        let mut beside = other.as_ref().map(|m| m.session()).transpose()?;
        for i in 0..count {
            watch.at("activations", p * count + i, steps);
            run::feed(&mut session, samples, i)?;
            if let Some(beside) = &mut beside {
                run::feed(beside, samples, i)?;
            }
            let mut see = |layer: &Layer, at: usize, x: &[f32], y: &[f32], shape: &[usize]| -> Result<()> {
                if let Some(found) = x.iter().find(|v| !v.is_finite()) {
                    return Err(run::no_number(&layer.input, *found, &samples.name(i)));
                }
                moments[at].see_beside(&matrices[at].weights.window, x, y, shape, machine)
            };
            for (at, matrix) in matrices.iter().enumerate() {
                let value = &*matrix.layer.input;
                if part.contains(&value) {
                    let y = session.output::<f32>(value)?;
                    let x = match &beside {
                        Some(beside) => beside.output::<f32>(value)?,
                        None => y,
                    };
                    see(&matrix.layer, at, x, y, &run::shape(model, value)?)?;
                } else if p == 0 && inputs.iter().any(|i| i == value) {
                    for (_, tensor) in samples.sample(i)?.iter().filter(|(n, _)| n == value) {
                        let x = tensor.as_slice::<f32>()?;
                        see(&matrix.layer, at, &x, &x, &tensor.shape)?;
                    }
                }
            }
        }
    }
    moments.iter_mut().try_for_each(|m| m.finish(machine))?;
    Ok(moments)
}
