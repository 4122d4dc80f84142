//! Which kernels threads share, and in pieces of what size.
//!
//! The pieces depend on the kernel alone, never on the number of threads, so that results have the same bits for
//! any. A kernel is shared when a piece of it takes longer than a fork, about a microsecond.

use kiln_ir::Dim;
use kiln_ir::kernel::plan::{PlannedKernel, Schedule};
use kiln_ir::kernel::{Form, LoopId};

/// Operations that take about a microsecond: what a piece must have at least.
const PIECE_OPERATIONS: i64 = 40_000;
/// Pieces of a kernel at most: enough to even out threads that are disturbed, few enough to cost nothing.
const MAX_PIECES: i64 = 16;

/// Steps of the shared loop per piece; `None` when the kernel is too small to share.
pub fn grain(kernel: &PlannedKernel) -> Option<u32> {
    let shared = kernel.steps()?;
    let pieces = (operations(kernel)? / PIECE_OPERATIONS).min(MAX_PIECES).min(shared);
    if pieces < 2 {
        return None;
    }
    u32::try_from(best_grain(shared, pieces)).ok()
}

/// Iterations per piece when `shared` of them are cut into at most `pieces`, both at least 2. Two threads get contiguous
/// halves of the pieces: of all grains the one whose larger half is smallest, and of those the coarsest.
fn best_grain(shared: i64, pieces: i64) -> i64 {
    let up = |n: i64, by: i64| (n + by - 1) / by;
    let least = up(shared, pieces);
    // The larger half of some number of pieces is smallest at the finest grain that makes as many.
    let half = |grain: i64| up(up(shared, grain), 2) * grain;
    let grains = (1..=up(pieces, 2)).map(|of_half| up(shared, 2 * of_half).max(least));
    grains.min_by_key(|&grain| (half(grain), std::cmp::Reverse(grain))).unwrap_or(least)
}

/// Steps of an open loop from which there is another pair of pieces: their ends are at most a thirtieth apart from equal parts.
const STEPS_OF_PAIR: i64 = 64;

/// Steps per piece of an open shared loop: an even number of pieces that are as equal as can be, whatever size a run has, and none
/// of less work than is worth it. `known`: the kernel at sizes that are taken for what a step is.
pub fn of_open(steps: &Dim, known: &PlannedKernel) -> Dim {
    let work = |n: i64| Some((n, operations(known)?.max(1)));
    let least = known.steps().filter(|_| grain(known).is_some()).and_then(work);
    let least = Dim::Const(least.map_or(1, |(n, all)| (n.saturating_mul(PIECE_OPERATIONS) / all).max(1)));
    let parts = |pieces: Dim| {
        let up = steps.clone() + pieces.clone() - Dim::Const(1);
        up.floor_div(&pieces).map(|n| n.max_with(&least)).filter(|n| !n.is_unknown())
    };
    let pairs = steps.floor_div(&Dim::Const(STEPS_OF_PAIR)).unwrap_or(Dim::Const(1));
    let pairs = pairs.max_with(&Dim::Const(1)).min_with(&Dim::Const(MAX_PIECES / 2));
    parts(Dim::Const(2) * pairs).or_else(|| parts(Dim::Const(2))).unwrap_or(least)
}

/// Arithmetic operations of a kernel; a load or a store that nothing is computed with counts as two.
pub(super) fn operations(kernel: &PlannedKernel) -> Option<i64> {
    let iterations = kernel.loops.iter().try_fold(1i64, |n, l| n.checked_mul(l.extent.as_const()?))?;
    if let Schedule::Sparse(sparse) = &kernel.schedule {
        let weights = &sparse.weights;
        let all = (weights.rows * weights.columns()).max(1) as i64;
        return Some(2 * (iterations / all).saturating_mul((weights.blocks * weights.block.values()) as i64));
    }
    let per_iteration = match &kernel.form {
        Form::Contract { .. } | Form::Window { .. } => 2,
        // Every element takes part in a few additions along each axis.
        Form::Transform { left, .. } => {
            return Some(iterations / left.matrix.shape.last().map_or(1, |n| *n as i64).max(1));
        }
        Form::Map { stores } => stores.iter().map(|s| s.value.operations() as i64 + 4).sum(),
        Form::Reduce { value, .. } => value.operations() as i64 + 3,
        Form::Rearrange { .. } => 4,
        // Registers count nothing.
        Form::Procedure(p) => {
            let counted = |l: &LoopId| kernel.loops[l.0 as usize].extent.as_const().unwrap_or(1).max(1);
            let set: i64 = p.registers().iter().map(counted).product();
            return (iterations / set).checked_mul(4 * p.statements().len() as i64);
        }
    };
    iterations.checked_mul(per_iteration)
}

#[cfg(test)]
mod tests {
    use super::{MAX_PIECES, best_grain};
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    #[test]
    fn the_best_grain_is_that_of_trying_all() {
        for shared in 2i64..300 {
            for pieces in 2..=MAX_PIECES.min(shared) {
                let half = |grain: i64| ((shared + grain - 1) / grain + 1) / 2 * grain;
                let all = (shared + pieces - 1) / pieces..=(shared + 1) / 2;
                let best = all.min_by_key(|&g| (half(g).min(shared), std::cmp::Reverse(g)));
                assert_eq!(Some(best_grain(shared, pieces)), best, "{shared} in {pieces}");
            }
        }
    }

    #[test]
    fn pieces_of_an_open_loop_are_equal_at_every_size() {
        let text = "program @m {
            dim n = 1..100000:640
            input %x: f32[n, 4096] output %y: f32[n, 4096]
            map \"y\" [h: n, w: 4096] { %y[h, w] = exp(%x[h, w]) }
        }";
        let mut program = kiln_ir::kernel::parse(text).unwrap();
        layout::run(&mut program).unwrap();
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        let plan = crate::planner::build(program, &target).unwrap();
        let (steps, grain) = (plan.kernels[0].step_count().unwrap(), plan.kernels[0].grain.clone().unwrap());
        assert!(steps.as_const().is_none() && grain.as_const().is_none(), "{plan}");
        for n in (1..3000).chain([99_999, 100_000]) {
            let at = kiln_ir::dim::Symbols::from([("n".into(), n)]);
            let [steps, grain] = [&steps, &grain].map(|size| size.eval(&at).unwrap());
            let pieces = (steps + grain - 1) / grain;
            assert!(grain >= 1 && pieces <= MAX_PIECES, "{steps} by {grain}");
            // Two threads get contiguous halves of the pieces.
            let first = (pieces + 1) / 2 * grain;
            assert!(steps < 4 || 30 * (2 * first - steps) <= steps + 60, "{steps} by {grain}");
        }
    }

    #[test]
    fn halves_are_equal_where_they_can_be() {
        // Four panels of 24 columns.
        let mut p = conv_bias_relu(64, 96);
        absorb::run(&mut p);
        layout::run(&mut p).unwrap();
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let plan = crate::planner::build(p, &target).unwrap();
        let of = |name: &str| plan.kernels.iter().find(|k| k.name == name).unwrap();
        let conv = of("conv");
        let piece = conv.grain.as_ref().unwrap().as_const().unwrap();
        assert_eq!(conv.steps().unwrap() % (2 * piece), 0);
        assert_eq!(of("x.padded.halo0").grain, None);
    }
}
