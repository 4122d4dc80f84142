//! How far a changed model is from the one it was made of, and how often each is right.

use kiln_compiler::Model;
use kiln_onnx::Document;

use crate::machine::Machine;
use crate::run::{self, Result};
use crate::samples::{Samples, Watch};

/// Samples that errors are taken from, at most.
const MOST_SAMPLES: usize = 64;
/// Bytes that the float results of these samples may take.
const MOST_BYTES: usize = 1 << 29;

/// What a model gives for the samples.
pub struct Evaluator<'a> {
    samples: &'a dyn Samples,
    machine: &'a Machine,
    labels: Option<&'a [i64]>,
    /// Positions of the samples that errors are taken from.
    chosen: Vec<usize>,
    /// Their float results, all of a sample in one.
    expected: Vec<Vec<f32>>,
    /// How often the float model is right, of 1.
    pub float_accuracy: Option<f64>,
}

/// What came of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The root of the mean square of the differences from the float results, relative to these.
    pub error: f64,
    /// How often the model is right, of 1.
    pub accuracy: Option<f64>,
}

impl<'a> Evaluator<'a> {
    /// Runs the float model.
    pub fn new(
        document: &Document,
        samples: &'a dyn Samples,
        labels: Option<&'a [i64]>,
        machine: &'a Machine,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let count = samples.count();
        let model = run::compile(document, samples, machine)?;
        let bytes: usize = model
            .outputs()
            .iter()
            .filter_map(|p| p.ty.shape.as_const())
            .map(|s| 4 * s.iter().product::<usize>())
            .sum();
        let most = MOST_SAMPLES.min(MOST_BYTES / bytes.max(1)).max(1).min(count);
        let chosen: Vec<usize> = (0..most).map(|i| i * count / most).collect();
        let mut out = Self { samples, machine, labels, chosen, expected: Vec::new(), float_accuracy: None };
        let (expected, accuracy) = out.results(&model, watch)?;
        (out.expected, out.float_accuracy) = (expected, accuracy);
        Ok(out)
    }

    /// Runs another model, whose results have the same names.
    pub fn judge(&self, document: &Document, watch: &dyn Watch) -> Result<Verdict> {
        let model = run::compile(document, self.samples, self.machine)?;
        let (found, accuracy) = self.results(&model, watch)?;
        let mut distance = Distance::default();
        for (found, expected) in found.iter().zip(&self.expected) {
            distance.see(found, expected);
        }
        Ok(Verdict { error: distance.relative(), accuracy })
    }

    /// Results of the chosen samples; and of all, how often the largest of the first result is where the label says.
    fn results(&self, model: &Model, watch: &dyn Watch) -> Result<(Vec<Vec<f32>>, Option<f64>)> {
        let mut session = model.session()?;
        let mut kept = Vec::with_capacity(self.chosen.len());
        let mut right = 0;
        let count = self.samples.count();
        for i in 0..count {
            let is_chosen = self.chosen.binary_search(&i).is_ok();
            if !is_chosen && self.labels.is_none() {
                continue;
            }
            watch.at("comparing", i, count);
            run::feed(&mut session, self.samples, i)?;
            let outputs = session.outputs()?;
            if let (Some(labels), Some(first)) = (self.labels, outputs.first()) {
                right += usize::from(largest(&run::floats(first)) == usize::try_from(labels[i]).ok());
            }
            if is_chosen {
                kept.push(outputs.iter().flat_map(run::floats).collect());
            }
        }
        let accuracy = self.labels.map(|_| right as f64 / count.max(1) as f64);
        Ok((kept, accuracy))
    }

    /// For each tap, a value of both models, the relative error of the other one.
    pub fn errors(
        &self,
        float: &Document,
        changed: &Document,
        taps: &[&str],
        watch: &dyn Watch,
    ) -> Result<Vec<f64>> {
        let mut errors = vec![Distance::default(); taps.len()];
        for (part, model) in run::in_parts(float, taps, self.samples, self.machine)? {
            let other = run::tapped(changed, &part, self.samples, self.machine)?;
            let (mut a, mut b) = (model.session()?, other.session()?);
            // Twenty are enough for a figure that is told with two digits.
            let few = self.chosen.len().min(20);
            for n in 0..few {
                let i = self.chosen[n * self.chosen.len() / few];
                watch.at("errors of layers", n, few);
                run::feed(&mut a, self.samples, i)?;
                run::feed(&mut b, self.samples, i)?;
                for tap in &part {
                    let Some(at) = taps.iter().position(|t| t == tap) else { continue };
                    errors[at].see(b.output::<f32>(*tap)?, a.output::<f32>(*tap)?);
                }
            }
        }
        Ok(errors.iter().map(|d| d.relative()).collect())
    }
}

/// Where the largest element is.
fn largest(values: &[f32]) -> Option<usize> {
    let all = values.iter().enumerate();
    all.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map(|(i, _)| i)
}

/// Sums of squares.
#[derive(Clone, Copy, Debug, Default)]
struct Distance {
    of_differences: f64,
    of_expected: f64,
}

impl Distance {
    fn see(&mut self, found: &[f32], expected: &[f32]) {
        for (f, e) in found.iter().zip(expected) {
            let (f, e) = (f64::from(*f), f64::from(*e));
            // Infinities that are meant, masks for instance, are no error.
            if e.is_finite() {
                self.of_differences += (f - e) * (f - e);
                self.of_expected += e * e;
            }
        }
    }

    fn relative(&self) -> f64 {
        match self.of_expected > 0.0 {
            true => (self.of_differences / self.of_expected).sqrt(),
            false => self.of_differences.sqrt(),
        }
    }
}
