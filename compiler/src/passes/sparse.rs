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
//! block's rows as lanes and stands alone.
//!
//! The decision is a mark on the constant ([`Format`]), which changes nothing of what the program means: layout, planner and
//! schedules follow it. A program without zeros is not touched.
//!
//! Zeros are not multiplied, so an activation that is not finite reaches only results whose weight for it is not 0.

mod cost;
mod fours;
mod layer;
mod phases;

use kiln_ir::Result;
use kiln_ir::kernel::{BufferKind, Edits, Form, Format, Kept, Program, Uses};
use kiln_targets::Target;

use super::images::{self, Region};
use cost::Weighed;
use layer::{Kind, Layer};

/// The part of a layer's weights that are zeros from which on it is worth looking at a region.
const LEAST_ZEROS: f64 = 0.3;
/// How much cheaper blocks must be, of what the model tells.
const WORTH: f64 = 0.95;

/// Marks the weights of every region that becomes faster on the machines that share it.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    if !program.kernels().iter().any(|kernel| layer::may_be_sparse(program, kernel)) {
        return Ok(());
    }
    let uses = Uses::of(program);
    let layers: Vec<Option<Layer>> =
        program.kernels().iter().map(|kernel| Layer::of(program, &uses, kernel)).collect();
    if layers.iter().flatten().all(|layer| layer.zeros_part() < LEAST_ZEROS) {
        return Ok(());
    }
    let mut edits = Edits::default();
    let (mut marks, mut dense) = (Vec::new(), Vec::new());
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
        let weigh = |(i, layer): &(usize, &Layer)| cost::weigh(program, program.kernel(*i), layer, targets);
        let (Some(weighed), Some(windows)) = (
            here.iter().map(weigh).collect::<Option<Vec<_>>>(),
            others().map(|i| cost::window(program, program.kernel(i), targets)).collect::<Option<Vec<_>>>(),
        ) else {
            continue;
        };
        let found = here.iter().map(|(i, _)| *i).zip(weighed.iter().cloned());
        if pays(&weighed, &windows, targets.len()) { marks.extend(found) } else { dense.extend(found) }
    }
    // Products of a row or a few stand alone: nothing around them has to lie differently.
    for (i, layer) in layers.iter().enumerate() {
        let Some(layer) = layer.as_ref().filter(|layer| layer.kind == Kind::Single) else { continue };
        let zeros = layer.zeros_part() >= LEAST_ZEROS;
        let Some(weighed) = cost::weigh(program, program.kernel(i), layer, targets).filter(|_| zeros) else {
            continue;
        };
        let pays = pays(std::slice::from_ref(&weighed), &[], targets.len());
        if pays { &mut marks } else { &mut dense }.push((i, weighed));
    }
    for (i, weighed) in dense {
        let Some(layer) = layers[i].as_ref().filter(|layer| layer.zeros_part() >= LEAST_ZEROS) else {
            continue;
        };
        let format = Format { kept: Kept::Dense, why: weighed.why(layer) };
        program.set_format(layer.weights, Some(format));
    }
    for (i, weighed) in marks {
        let Some(layer) = &layers[i] else { continue };
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
        let format = Format { kept: Kept::Bcsr(weighed.block), why: weighed.why(layer) };
        program.set_format(weights, Some(format));
    }
    program.edit(edits);
    Ok(())
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
