//! Sums of products with weights of four or eight bits, of numbers in digits: products of bytes by an instruction.

use kiln_ir::kernel::digits::{COLUMNS, DigitSum};
use kiln_ir::kernel::plan::{Digits, FlatAccess, Schedule};
use kiln_ir::kernel::{LoopId, Role};
use kiln_targets::{Target, vector_expr};

use super::chosen::Chosen;
use super::strides::{by_falling_stride, extent_of, stride_of, vector_access};
use crate::flatten::{FlatKernel, loops_of};
use kiln_ir::DType;
use kiln_ir::kernel::Form;

/// Bytes of a column that lie together.
const GROUP: i64 = 4;

/// Bytes of weights that are on their way: what a core adds up while one line comes from memory, and as much again, since
/// memory is faster at times than its mean (Zen 4: 24 GB/s with half, 29 with these, 28 with twice).
const AHEAD: i64 = 8192;

/// The schedule of a kernel with such a sum.
pub fn choose(kernel: &FlatKernel, target: &Target) -> Result<Chosen, String> {
    let Some(sum) = DigitSum::of(&kernel.form) else { return Err("no sum of digits".to_owned()) };
    let Form::Reduce { store, .. } = &kernel.form else { return Err("no sum".to_owned()) };
    let bits = 8 / sum.digits.len().max(1);
    if !target.multiplies_digits(bits) {
        return Err("bytes are not multiplied by an instruction".to_owned());
    }
    kernel.form.loads().into_iter().chain([&store.to]).try_for_each(vector_access)?;
    if vector_expr::epilogue(&store.value, DType::F32)? != store.to.dtype {
        return Err(format!("the result is stored as {}", store.to.dtype));
    }
    let stride = |a: &FlatAccess, l: LoopId| stride_of(a, l);
    let find = |role, by: i64, extent: Option<i64>| {
        let fits = |l: &LoopId| {
            stride(&sum.weights, *l) == Some(by) && extent.is_none_or(|n| extent_of(kernel, *l) == Some(n))
        };
        loops_of(&kernel.loops, role).into_iter().find(fits).ok_or_else(|| "weights in no panels".to_owned())
    };
    let byte = find(Role::Reduce, 1, Some(GROUP))?;
    let col = find(Role::Parallel, GROUP, Some(COLUMNS))?;
    let group = find(Role::Reduce, GROUP * COLUMNS, None)?;
    let groups = extent_of(kernel, group).unwrap_or(1);
    let block = find(Role::Reduce, GROUP * COLUMNS * groups, None)?;
    let blocks = extent_of(kernel, block).unwrap_or(1);
    let panel = find(Role::Parallel, GROUP * COLUMNS * groups * blocks, None)?;
    let all = [byte, col, group, block, panel];
    let outer: Vec<LoopId> =
        (0..kernel.loops.len() as u16).map(LoopId).filter(|l| !all.contains(l)).collect();
    if loops_of(&kernel.loops, Role::Reduce).len() != 3 {
        return Err("more loops than those of weights in panels".to_owned());
    }
    let outer = by_falling_stride(outer, Some(&store.to));
    let panels = extent_of(kernel, panel).unwrap_or(1);
    let bytes = GROUP * COLUMNS * groups * blocks * panels;
    let from_afar = target.prefetches && bytes > target.l2_bytes as i64;
    let ahead = if from_afar { (AHEAD / (GROUP * COLUMNS * groups)).max(1) as u32 } else { 0 };
    let why = format!(
        "{blocks} blocks of {} weights of {bits} bits, {COLUMNS} columns at once; numbers in three digits",
        sum.digits.len() as i64 * GROUP * groups
    );
    Ok(Chosen { schedule: Schedule::Digits(Digits { outer, panel, col, block, group, byte, ahead }), why })
}
