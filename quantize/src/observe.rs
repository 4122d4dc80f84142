//! What calibration keeps of the activations: ranges, histograms, and moments of the rows that weights multiply. The
//! activations themselves are seen and forgotten, sample by sample.

use std::collections::{BTreeMap, BTreeSet};

use kiln_calibrate::{Detail, Layer, Machine, Moments, Result, Samples, Watch, run};
use kiln_onnx::Document;

use crate::histogram::{Histogram, Range};
use crate::options::{Method, Rounding};

/// What is known of the activations.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    /// By value.
    pub(crate) histograms: BTreeMap<String, Histogram>,
    /// By layer.
    pub(crate) moments: Vec<Option<Moments>>,
}

/// Runs the float model on all samples: first for ranges, then for the rest.
pub(crate) fn observe(
    document: &Document,
    values: &BTreeSet<&str>,
    layers: &[Layer],
    (method, rounding): (Method, Rounding),
    samples: &dyn Samples,
    machine: &Machine,
    watch: &dyn Watch,
) -> Result<Observed> {
    let inputs: Vec<_> = document.inputs().into_iter().map(|i| i.name).collect();
    // Arguments are seen as they are given.
    let taps: Vec<&str> = values.iter().copied().filter(|v| !inputs.iter().any(|i| i == v)).collect();
    let parts = run::in_parts(document, &taps, samples, machine)?;
    let mut ranges: BTreeMap<&str, Range> = values.iter().map(|v| (*v, Range::default())).collect();
    let count = samples.count();
    let steps = parts.len() * count * 2;
    let mut at = 0;
    for (p, (part, model)) in parts.iter().enumerate() {
        let mut session = model.session()?;
        for i in 0..count {
            watch.at("ranges", at, steps);
            at += 1;
            run::feed(&mut session, samples, i)?;
            let mut see = |value: &str, elements: &[f32]| -> Result<()> {
                let Some(range) = ranges.get_mut(value) else { return Ok(()) };
                match range.see(elements) {
                    Some(found) => Err(run::no_number(value, found, &samples.name(i))),
                    None => Ok(()),
                }
            };
            for value in part {
                see(value, session.output::<f32>(*value)?)?;
            }
            if p == 0 {
                for (name, tensor) in samples.sample(i)?.iter().filter(|(n, _)| values.contains(&**n)) {
                    see(name, &tensor.as_slice::<f32>()?)?;
                }
            }
        }
    }
    let detail = match rounding {
        Rounding::Nearest => Detail::Squares,
        Rounding::SecondOrder => Detail::Products,
    };
    let mut observed = Observed {
        histograms: ranges.iter().map(|(v, r)| ((*v).to_owned(), Histogram::over(*r))).collect(),
        moments: layers.iter().map(|l| l.weights().map(|w| Moments::of(w, detail, count))).collect(),
    };
    let counted = method != Method::MinMax;
    for (p, (part, model)) in parts.iter().enumerate() {
        let mut session = model.session()?;
        for i in 0..count {
            watch.at("histograms", at, steps);
            at += 1;
            run::feed(&mut session, samples, i)?;
            for value in part {
                let elements = session.output::<f32>(*value)?;
                observed.see(value, elements, &run::shape(model, value)?, layers, counted, machine)?;
            }
            if p == 0 {
                for (name, tensor) in samples.sample(i)?.iter().filter(|(n, _)| values.contains(&**n)) {
                    observed.see(
                        name,
                        &tensor.as_slice::<f32>()?,
                        &tensor.shape,
                        layers,
                        counted,
                        machine,
                    )?;
                }
            }
        }
    }
    for moments in observed.moments.iter_mut().flatten() {
        moments.finish(machine)?;
    }
    Ok(observed)
}

impl Observed {
    fn see(
        &mut self,
        value: &str,
        elements: &[f32],
        shape: &[usize],
        layers: &[Layer],
        counted: bool,
        machine: &Machine,
    ) -> Result<()> {
        if counted && let Some(histogram) = self.histograms.get_mut(value) {
            histogram.see(elements);
        }
        for (layer, moments) in layers.iter().zip(&mut self.moments) {
            if layer.input == value
                && let (Some(weights), Some(moments)) = (layer.weights(), moments)
            {
                moments.see(&weights.window, elements, shape, machine)?;
            }
        }
        Ok(())
    }
}
