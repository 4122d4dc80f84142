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
//! The decision is a mark on the constant ([`Format`]), which changes nothing of what the program means: layout, planner and
//! schedules follow it. A program without zeros is not touched.
//!
//! Zeros are not multiplied, so an activation that is not finite reaches only results whose weight for it is not 0.

mod cost;
mod layer;
mod phases;

use kiln_ir::kernel::{Edits, Form, Format, Kept, Program, Uses};
use kiln_ir::Result;
use kiln_targets::Target;

use super::images;
use cost::Weighed;
use layer::Layer;

/// The part of a layer's weights that are zeros from which on it is worth looking at a region.
const LEAST_ZEROS: f64 = 0.3;
/// How much cheaper blocks must be, of what the model tells.
const WORTH: f64 = 0.95;

/// Marks the weights of every region that becomes faster on the machines that share it.
pub fn run(program: &mut Program, targets: &[Target]) -> Result<()> {
    let uses = Uses::of(program);
    let layers: Vec<Option<Layer>> =
        program.kernels().iter().map(|kernel| Layer::of(program, &uses, kernel)).collect();
    if layers.iter().flatten().all(|layer| layer.zeros_part() < LEAST_ZEROS) {
        return Ok(());
    }
    let mut edits = Edits::default();
    for region in images::regions(program) {
        let here = || region.iter().filter_map(|i| layers[*i].as_ref().map(|layer| (*i, layer)));
        let contractions = |i: &&usize| matches!(program.kernel(**i).form, Form::Contract { .. });
        let all = region.iter().filter(contractions).count() == here().count();
        if !all || here().all(|(_, layer)| layer.zeros_part() < LEAST_ZEROS) {
            continue;
        }
        let Some(weighed) = here().map(|(i, l)| cost::weigh(program, program.kernel(i), l, targets)).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let others = region.iter().filter(|i| layers[**i].is_none()).map(|i| program.kernel(*i));
        let Some(others) = others.map(|k| cost::window(k, targets)).collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        if !pays(&weighed, &others, targets.len()) {
            continue;
        }
        let marks: Vec<(usize, Layer, Weighed)> =
            here().zip(weighed).map(|((i, layer), weighed)| (i, layer.clone(), weighed)).collect();
        for (i, layer, weighed) in marks {
            let weights = match layer.steps_over() {
                false => layer.weights,
                true => {
                    let (kernels, weights) = phases::rewrite(program, i, &layer)?;
                    edits.replace(i, kernels);
                    weights
                }
            };
            let format = Format { kept: Kept::Bcsr(weighed.block), why: weighed.why(&layer) };
            program.set_format(weights, Some(format));
        }
    }
    program.edit(edits);
    Ok(())
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
