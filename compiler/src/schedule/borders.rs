//! Padding in nests: loops are cut where it begins and ends, and each piece has code of its own.

use kiln_ir::Dim;
use kiln_ir::kernel::plan::{FlatAccess, Guard};

use crate::flatten::FlatKernel;

/// Pieces of all loops together, each a copy of the innermost code, that are worth having: three along four axes.
pub(super) const MOST_PIECES: i64 = 81;

/// How many pieces there are at most.
pub(super) fn pieces(kernel: &FlatKernel) -> i64 {
    let guards: Vec<&Guard> = kernel.form.loads().into_iter().flat_map(|a: &FlatAccess| &a.guards).collect();
    let along = |l: usize| -> i64 {
        let guards = guards.iter().filter(|g| !g.coefficients[l].is(0));
        let mut cuts: Vec<&Guard> = Vec::new();
        for guard in guards {
            let moving = guard.coefficients.iter().filter(|c: &&Dim| !c.is(0)).count();
            if moving > 1 {
                // Where loops decide together, an iteration of the outer one is a piece.
                return kernel.loops[l].extent.most(&kernel.bounds).unwrap_or(i64::MAX);
            }
            if !cuts.contains(guard) {
                cuts.push(guard);
            }
        }
        1 + 2 * cuts.len() as i64
    };
    (0..kernel.loops.len()).map(along).fold(1, i64::saturating_mul)
}
