//! Models in memory, run on samples, with values of theirs as further results.

use kiln_compiler::{Compiler, Error, Model, Problem, Session, Tensor};
use kiln_ir::error::Printable;
use kiln_onnx::{Document, Extent};

use crate::machine::Machine;
use crate::samples::Samples;

/// What running models may come to.
pub type Result<T> = std::result::Result<T, Error>;

/// Results of a run may take so much memory; values that take more together are seen in several runs.
const MOST_BYTES: usize = 1 << 30;

/// A model for the shapes of the samples.
pub fn compile(document: &Document, samples: &dyn Samples, machine: &Machine) -> Result<Model> {
    compiler(document, samples, machine)?.jit(machine.threads)
}

/// A compiler of a model for the shapes of the samples.
pub fn compiler(document: &Document, samples: &dyn Samples, machine: &Machine) -> Result<Compiler> {
    let mut compiler = Compiler::from_bytes(document.to_bytes()?)
        .cpu(&machine.cpu)
        .features(&machine.features)
        .limits(machine.limits.clone());
    let first = samples.sample(0)?;
    for input in document.inputs() {
        let Some((_, tensor)) = first.iter().find(|(name, _)| *name == input.name) else { continue };
        let Some(shape) = &input.shape else { continue };
        for (extent, &found) in shape.iter().zip(&tensor.shape) {
            if let Extent::Open(name) = extent {
                compiler = compiler.dim(name, found as i64);
            }
        }
    }
    Ok(compiler)
}

/// A model with some of its values as further results.
pub fn tapped(document: &Document, taps: &[&str], samples: &dyn Samples, machine: &Machine) -> Result<Model> {
    let mut with = document.clone();
    with.add_outputs(taps.iter().copied());
    compile(&with, samples, machine)
}

/// Parts of the values whose elements fit into memory side by side, with the model that gives each part.
pub fn in_parts<'v>(
    document: &Document,
    taps: &[&'v str],
    samples: &dyn Samples,
    machine: &Machine,
) -> Result<Vec<(Vec<&'v str>, Model)>> {
    let mut parts = Vec::new();
    let mut open = vec![taps.to_vec()];
    while let Some(part) = open.pop() {
        let model = tapped(document, &part, samples, machine)?;
        let bytes = |name: &str| {
            let port = model.outputs().iter().find(|p| p.name == name);
            port.and_then(|p| p.ty.shape.as_const()).map_or(0, |s| 4 * s.iter().product::<usize>())
        };
        if part.len() > 1 && part.iter().map(|n| bytes(n)).sum::<usize>() > MOST_BYTES {
            let (a, b) = part.split_at(part.len() / 2);
            open.extend([b.to_vec(), a.to_vec()]);
        } else {
            parts.push((part, model));
        }
    }
    Ok(parts)
}

/// Runs a session on a sample.
pub fn feed(session: &mut Session<'_>, samples: &dyn Samples, i: usize) -> Result<()> {
    let at = |e: Error| match e {
        Error::Invalid(mut list) => {
            list.0.iter_mut().for_each(|e| e.message = format!("{}: {}", samples.name(i), e.message));
            Error::Invalid(list)
        }
        other => other,
    };
    for (name, tensor) in samples.sample(i)? {
        // An input that a model lost with what was folded is not missed.
        session.set_input(name.as_str(), &tensor).map_err(at)?;
    }
    session.run().map_err(at)
}

/// A result's shape.
pub fn shape(model: &Model, name: &str) -> Result<Vec<usize>> {
    let port = model.outputs().iter().find(|p| p.name == name);
    let shape = port.and_then(|p| p.ty.shape.as_const());
    shape.ok_or_else(|| Problem::internal(format!("value '{name}' has no fixed shape")).into())
}

/// An error about an element that is no number.
pub fn no_number(value: &str, found: f32, sample: &str) -> Error {
    Problem::invalid(format!("value '{}' holds {found} for {}", Printable(value), Printable(sample)))
        .hint("leave the sample out, or look for what is wrong with it or with the model")
        .into()
}

/// The results of a model, sample by sample, as f32 where they are floats.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    match tensor.to_f64s() {
        Ok(values) => values.into_iter().map(|v| v as f32).collect(),
        Err(_) => Vec::new(),
    }
}
