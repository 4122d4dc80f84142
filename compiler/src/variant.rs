//! Variants: the same model compiled for several processors of one architecture.

use kiln_ir::kernel::outside::Outside;
use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;

/// A plan and the machine that it is for.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// Kernels, schedules, offsets and weights.
    pub plan: &'a Plan,
    /// The machine.
    pub target: &'a Target,
}

/// Scratch memory that is enough whichever variant runs.
pub fn arena_bytes(variants: &[Variant<'_>]) -> usize {
    variants.iter().map(|v| v.plan.arena_bytes).max().unwrap_or(0)
}

/// The alignment of the arena that is enough for all.
pub fn arena_align(variants: &[Variant<'_>]) -> usize {
    variants.iter().map(|v| v.plan.arena_align).max().unwrap_or(1)
}

/// Size of the read-only data, which the plans share: each of them knows how far it had grown when it was made.
pub fn weights_bytes(variants: &[Variant<'_>]) -> usize {
    variants.iter().map(|v| v.plan.weights_bytes).max().unwrap_or(0)
}

/// How the read-only data begins, where a call is given it.
pub fn outside(variants: &[Variant<'_>]) -> Option<Outside> {
    variants.first().and_then(|v| v.plan.outside)
}

/// The names of the processors, joined by commas.
pub fn levels(variants: &[Variant<'_>]) -> String {
    variants.iter().map(|v| v.target.name()).collect::<Vec<_>>().join(",")
}

/// The features that every variant needs: without them nothing of the artefact runs.
pub fn common_features(variants: &[Variant<'_>]) -> Vec<&'static str> {
    let Some((first, others)) = variants.split_first() else { return Vec::new() };
    let everywhere = |f: &&&'static str| others.iter().all(|v| v.target.features.contains(*f));
    first.target.features.iter().filter(everywhere).copied().collect()
}
