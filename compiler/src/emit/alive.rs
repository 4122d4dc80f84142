//! What is in the arena while most of it is in use.

use kiln_ir::kernel::plan::Plan;
use serde_json::{Value, json};

/// The kernel during which most of the arena is in use.
#[derive(Debug, PartialEq)]
pub(super) struct Peak {
    /// Its position.
    pub(super) kernel: usize,
    /// Bytes of the slots that are alive there.
    pub(super) bytes: usize,
    /// Positions of these slots, the largest first.
    pub(super) slots: Vec<usize>,
}

/// The first such kernel; nothing where the arena is empty. Linear in kernels and slots.
pub(super) fn peak(plan: &Plan) -> Option<Peak> {
    // Bytes that come alive with a kernel, and those that were last alive in the one before.
    let mut changes = vec![(0, 0); plan.kernels.len() + 1];
    for slot in &plan.slots {
        let (first, behind) = (slot.live.0 + usize::from(slot.over.is_some()), slot.live.1.saturating_add(1));
        changes.get_mut(first)?.0 += slot.bytes;
        changes.get_mut(behind)?.1 += slot.bytes;
    }
    let (mut kernel, mut bytes, mut alive) = (0, 0, 0);
    for (i, (born, gone)) in changes.into_iter().enumerate() {
        alive = alive + born - gone;
        if alive > bytes {
            (kernel, bytes) = (i, alive);
        }
    }
    if bytes == 0 {
        return None;
    }
    let is_alive = |i: &usize| plan.slots[*i].counts_in(kernel);
    let mut slots: Vec<usize> = (0..plan.slots.len()).filter(is_alive).collect();
    slots.sort_by_key(|i| std::cmp::Reverse(plan.slots[*i].bytes));
    Some(Peak { kernel, bytes, slots })
}

/// It as a report has it, or null.
pub(super) fn told(peak: Option<&Peak>) -> Value {
    peak.map_or(Value::Null, |p| json!({ "kernel": p.kernel, "bytes": p.bytes, "slots": p.slots }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    #[test]
    fn the_peak_is_the_most_that_any_kernel_sees() {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let mut program = conv_bias_relu(4, 8);
        absorb::run(&mut program);
        layout::run(&mut program).unwrap();
        let mut plan = crate::planner::build(program, &target).unwrap();
        let used = |plan: &Plan, i: usize| -> usize {
            plan.slots.iter().filter(|s| s.counts_in(i)).map(|s| s.bytes).sum()
        };
        let found = peak(&plan).unwrap();
        assert_eq!(Some(found.bytes), (0..plan.kernels.len()).map(|i| used(&plan, i)).max());
        assert_eq!(found.bytes, used(&plan, found.kernel));
        assert_eq!(found.slots.iter().map(|i| plan.slots[*i].bytes).sum::<usize>(), found.bytes);
        assert!(found.slots.is_sorted_by_key(|i| std::cmp::Reverse(plan.slots[*i].bytes)));
        plan.slots.clear();
        assert_eq!((peak(&plan), told(None)), (None, Value::Null));
    }
}
