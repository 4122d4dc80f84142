//! Transforms of tiles: vectors along one loop, whole tiles.

use kiln_ir::kernel::plan::{FlatAccess, Schedule, Transform};
use kiln_ir::kernel::{Form, LoopId, Role, Side};
use kiln_targets::vector_expr;

use super::chosen::Chosen;
use super::strides::{by_falling_stride, extent_of, is_empty, is_open, stride_of};
use crate::flatten::{FlatKernel, loops_of};

/// The schedule of a transform.
pub fn choose(kernel: &FlatKernel) -> Result<Chosen, String> {
    let Form::Transform { left, right, from, store } = &kernel.form else {
        return Err("no transform".to_owned());
    };
    if is_empty(kernel) {
        return Err("nothing to do".to_owned());
    }
    let acc = Side::accumulator(from.dtype).ok_or_else(|| format!("transforms {}", from.dtype))?;
    if vector_expr::epilogue(&store.value, acc)? != store.to.dtype {
        return Err(format!("the result is stored as {}", store.to.dtype));
    }
    let mut loops = loops_of(&kernel.loops, Role::Parallel);
    loops.retain(|l| *l != left.to && *l != right.to);
    let steps = |a: &FlatAccess, l: LoopId, allowed: &[i64]| {
        stride_of(a, l).is_some_and(|s| allowed.contains(&s))
            && a.guards.iter().all(|g| g.coefficients[l.0 as usize].is(0))
    };
    let is_lane = |l: &LoopId| {
        let mut lanes = !is_open(kernel, *l) && steps(from, *l, &[1]) && steps(&store.to, *l, &[1]);
        store.value.for_each_access(&mut |a| lanes &= steps(a, *l, &[0, 1]));
        lanes
    };
    let lane = loops.iter().copied().filter(is_lane).max_by_key(|l| extent_of(kernel, *l));
    loops.retain(|l| Some(*l) != lane);
    let outer = by_falling_stride(loops, Some(&store.to));
    let size = |of: fn(&[usize]) -> usize| format!("{}x{}", of(&left.matrix.shape), of(&right.matrix.shape));
    let along = match lane {
        Some(l) => format!("vectors along {}", kernel.loops[l.0 as usize].name),
        None => "element by element: no loop is contiguous in every access".to_owned(),
    };
    let why = format!("tiles of {} to {}, {along}", size(|s| s[1]), size(|s| s[0]));
    Ok(Chosen { schedule: Schedule::Transform(Transform { outer, lane }), why })
}
