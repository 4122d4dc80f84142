//! Weights of which most are zeros: which contractions read them in blocks.
//!
//! After E. Elsen et al., *Fast Sparse ConvNets* (arXiv 1911.09723). A block of weights is multiplied by vectors of pixels,
//! so images lie with their channels outermost, throughout a *region*: all images that kernels connect. So one comparison
//! decides for a whole region:
//!
//! - channels innermost: convolutions as dense tiles or by minimal filtering, windows along channels;
//! - channels outermost: convolutions with blocks of the best height, those without zeros too; windows along rows; images that
//!   a convolution steps over by more than one element are first taken apart (`phases`).
//!
//! Bytes are multiplied four channels at a time: images and matrices are copied so that four channels of a pixel lie together,
//! and pixels behind each other (`phases`, `fours`), and blocks are as wide.
//!
//! Products of matrices with many rows are the same: rows are pixels, columns are channels. A product of a row or a few has a
//! block's rows as lanes and stands alone, and so does one whose rows others read as such: it has them as lanes where that
//! is worth two copies (`turned`).
//!
//! Where it was measured which is faster (`--tune`), that decides.
//!
//! The decision is a mark on the constant ([`Format`]), which changes nothing of what the program means: layout, planner and
//! schedules follow it. A program without zeros is not touched.
//!
//! Zeros are not multiplied, so an activation that is not finite reaches only results whose weight for it is not 0.

mod cost;
mod fours;
mod layer;
mod phases;
mod turned;

use kiln_ir::Result;
use kiln_ir::kernel::{BufferKind, Edits, Form, Format, Kept, Program, Uses};
use kiln_targets::Target;

use super::images::{self, Region};
use crate::digest;
use crate::schedule::Choices;
use crate::schedule::choices::Pick;
use cost::Weighed;
use layer::{Kind, Layer};

/// The part of a layer's weights that are zeros from which on it is worth looking at a region.
const LEAST_ZEROS: f64 = 0.3;
/// How much cheaper blocks must be, of what the model tells.
const WORTH: f64 = 0.95;

/// What is decided at once: a region, or a product that stands alone.
struct Decision {
    /// What measured choices know it by.
    key: String,
    /// Kernels and what they cost.
    layers: Vec<(usize, Weighed)>,
    /// Whether blocks are faster, by the cost model.
    blocks: bool,
    /// Whether nothing around it changes.
    alone: bool,
}

/// A decision for who measures it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What the choice is known by.
    pub key: String,
    /// The kernel, where nothing else changes.
    pub kernel: Option<String>,
    /// Whether it is blocks by the cost model.
    pub blocks: bool,
}

/// What there is to decide about a program on a machine.
pub fn candidates(program: &Program, target: &Target) -> Vec<Candidate> {
    let Some(layers) = layers(program) else { return Vec::new() };
    let of = |decision: Decision| {
        let kernel = decision.layers.first().filter(|_| decision.alone);
        let kernel = kernel.map(|(i, _)| program.kernel(*i).name.clone());
        Candidate { key: decision.key, kernel, blocks: decision.blocks }
    };
    decisions(program, &layers, std::slice::from_ref(target)).into_iter().map(of).collect()
}

/// Marks the weights of every region that becomes faster on the machines that share it.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    run_with(program, targets, &Choices::default())
}

/// The same with what was measured.
pub fn run_with(program: &mut Program, targets: &[Target], choices: &Choices) -> Result<()> {
    let Some(layers) = layers(program) else { return Ok(()) };
    let mut edits = Edits::default();
    for decision in decisions(program, &layers, targets) {
        let (blocks, how) = match choices.get(&decision.key) {
            Some(Pick::Blocks(blocks)) => (*blocks, ", measured"),
            _ => (decision.blocks, ""),
        };
        for (i, weighed) in decision.layers {
            let Some(layer) = &layers[i] else { continue };
            let why = weighed.why(layer) + how;
            if !blocks {
                if layer.zeros_part() >= LEAST_ZEROS {
                    program.set_format(layer.weights, Some(Format { kept: Kept::Dense, why }));
                }
                continue;
            }
            if let (true, Some(row)) = (weighed.turned, layer.turns) {
                edits.replace(i, turned::rewrite(program, i, [layer.loops[0], layer.loops[1], row])?);
            }
            let weights = match layer.is_taken_apart() {
                false => layer.weights,
                true => {
                    let (kernels, weights) = match layer.kind {
                        Kind::Rows => fours::rewrite(program, i, layer)?,
                        Kind::Image | Kind::Single => phases::rewrite(program, i, layer)?,
                    };
                    edits.replace(i, kernels);
                    weights
                }
            };
            program.set_format(weights, Some(Format { kept: Kept::Bcsr(weighed.block), why }));
        }
    }
    program.edit(edits);
    Ok(())
}

/// Kernels that are layers; `None` where none has zeros that are worth it.
fn layers(program: &Program) -> Option<Vec<Option<Layer>>> {
    if !program.kernels().iter().any(|kernel| layer::may_be_sparse(program, kernel)) {
        return None;
    }
    let uses = Uses::of(program);
    let layers: Vec<Option<Layer>> =
        program.kernels().iter().map(|kernel| Layer::of(program, &uses, kernel)).collect();
    layers.iter().flatten().any(|layer| layer.zeros_part() >= LEAST_ZEROS).then_some(layers)
}

/// Every region, and every product that stands alone.
fn decisions(program: &Program, layers: &[Option<Layer>], targets: &[Target]) -> Vec<Decision> {
    let mut all = Vec::new();
    for region in images::regions(program) {
        let kind = if region.images { Kind::Image } else { Kind::Rows };
        let layer = |i: usize| layers[i].as_ref().filter(|layer| layer.kind == kind);
        let here: Vec<(usize, &Layer)> =
            region.kernels.iter().filter_map(|i| Some((*i, layer(*i)?))).collect();
        let others = || region.kernels.iter().copied().filter(|i| layer(*i).is_none());
        if here.iter().all(|(_, layer)| layer.zeros_part() < LEAST_ZEROS)
            || others().any(|i| clashes(program, &region, i))
        {
            continue;
        }
        let windows =
            others().map(|i| cost::window(program, program.kernel(i), targets)).collect::<Option<Vec<_>>>();
        all.extend(windows.and_then(|windows| decide(program, &here, &windows, targets, false)));
    }
    // Products of a row or a few stand alone: nothing around them has to lie differently.
    for (i, layer) in layers.iter().enumerate() {
        let alone = layer.as_ref().filter(|l| l.kind == Kind::Single && l.zeros_part() >= LEAST_ZEROS);
        all.extend(alone.and_then(|layer| decide(program, &[(i, layer)], &[], targets, true)));
    }
    all
}

/// Whether layers are faster in blocks, with the windows between them.
fn decide(
    program: &Program,
    layers: &[(usize, &Layer)],
    windows: &[Vec<[f64; 2]>],
    targets: &[Target],
    alone: bool,
) -> Option<Decision> {
    let weigh = |(i, layer): &(usize, &Layer)| cost::weigh(program, program.kernel(*i), layer, targets);
    let weighed = layers.iter().map(weigh).collect::<Option<Vec<_>>>()?;
    let mut text = format!("{windows:?}");
    for (w, (_, layer)) in weighed.iter().zip(layers) {
        text += &format!("; {:?}, {} blocks of {}", layer.shape(), w.blocks, w.block);
    }
    let key = format!("sparse {} layers {}", layers.len(), &digest::of_text(&text)[..16]);
    let blocks = pays(&weighed, windows, targets.len());
    let layers = layers.iter().map(|(i, _)| *i).zip(weighed).collect();
    Some(Decision { key, layers, blocks, alone })
}

/// Whether a kernel that is no layer of a region wants its channels innermost: a contraction with constant weights, or any
/// one of images.
fn clashes(program: &Program, region: &Region, i: usize) -> bool {
    match &program.kernel(i).form {
        Form::Contract { rhs, .. } => {
            region.images || matches!(program.buffer(rhs.buffer).kind, BufferKind::Const(_))
        }
        Form::Window { .. } => !region.images,
        Form::Transform { .. } => true,
        _ => false,
    }
}

/// Whether a region is faster with its channels outermost: by the mean of what the machines gain.
fn pays(weighed: &[Weighed], others: &[Vec<[f64; 2]>], targets: usize) -> bool {
    let gain = |t: usize| {
        let mut sums = [0.0; 2];
        let layers = weighed.iter().map(|w| w.cycles[t]);
        for [dense, sparse] in layers.chain(others.iter().map(|o| o[t])) {
            sums[0] += dense;
            sums[1] += sparse;
        }
        (sums[1] / sums[0].max(1.0)).ln()
    };
    let mean = (0..targets).map(gain).sum::<f64>() / targets.max(1) as f64;
    mean < WORTH.ln()
}

#[cfg(test)]
mod tests;
