//! Weights that lie in a cache when they are read, and are not asked for ahead.
//!
//! Asking for lines ahead of a product's use brings weights from memory sooner. From the third-level cache they come as fast as
//! a core adds them up without that, and the instructions take the places of loads: a row times 4 MiB of weights is 42 us
//! without and 51 to 57 us with them (Zen 4), as in the steps of a recurrent layer, which read the same weights.

use std::collections::HashMap;

use kiln_ir::kernel::plan::{PlannedKernel, Schedule, Storage, Tile, Weight};
use kiln_targets::Target;

/// Second-level caches that weights fill at most which are still in the third-level cache when they are read again.
const MOST_CACHES: usize = 24;

/// Leaves requests out where what is read since the last time, in this run or the run before it, is little.
pub(super) fn settle(kernels: &mut [PlannedKernel], weights: &[Weight], target: &Target) {
    let sizes: HashMap<usize, usize> =
        weights.iter().map(|w| (w.offset_bytes, w.tensor.data.len())).collect();
    let reads = |kernel: &PlannedKernel| -> Vec<usize> {
        let offset = |storage| match storage {
            Storage::Weights { offset_bytes } => Some(offset_bytes),
            _ => None,
        };
        kernel.form.loads().into_iter().filter_map(|a| offset(a.storage)).collect()
    };
    let bytes = |list: &[usize]| list.iter().filter_map(|o| sizes.get(o)).sum::<usize>();
    let total: usize = kernels.iter().map(|k| bytes(&reads(k))).sum();
    // Bytes that had been read when weights were read last: of the run before at first.
    let mut last = HashMap::new();
    let mut before = 0;
    for kernel in kernels.iter() {
        let list = reads(kernel);
        before += bytes(&list);
        last.extend(list.into_iter().map(|o| (o, before)));
    }
    before = total;
    let near = MOST_CACHES * target.l2_bytes;
    for kernel in kernels {
        let list = reads(kernel);
        before += bytes(&list);
        let soon = list.iter().all(|o| before - last.get(o).copied().unwrap_or(0) <= near);
        last.extend(list.into_iter().map(|o| (o, before)));
        if !soon {
            continue;
        }
        match &mut kernel.schedule {
            Schedule::Tile(tile) if is_one_row(tile) => tile.prefetch = 0,
            Schedule::Digits(digits) => digits.ahead = 0,
            _ => {}
        }
    }
}

/// Several rows take long enough for a panel that what is asked for costs nothing.
fn is_one_row(tile: &Tile) -> bool {
    tile.row.is_none() || tile.mr == 1
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;
    use crate::passes::layout;

    /// What two products of a row ask for ahead, the second with other weights or the same.
    fn ahead(second: &str) -> Vec<u32> {
        let text = format!(
            "program @m {{
               input %x: f32[1, 512]
               const @w: f32[512, 64] = splat 0.5
               const @v: f32[512, 64] = splat 0.25
               output %y: f32[1, 64] output %z: f32[1, 64]
               contract \"y\" [n: 64 | k: 512] {{ acc: f32 = %x[0, k] * @w[k, n] %y[0, n] = acc }}
               contract \"z\" [n: 64 | k: 512] {{ acc: f32 = %x[0, k] * @{second}[k, n] %z[0, n] = acc }}
             }}"
        );
        let mut program = kiln_ir::kernel::parse(&text).unwrap();
        layout::run(&mut program).unwrap();
        // Weights of 128 KiB fit caches of 24 times 6 KiB, two of them do not.
        let mut target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        target.l2_bytes = 6 << 10;
        let plan = build(program, &target).unwrap();
        let of = |kernel: &PlannedKernel| match &kernel.schedule {
            Schedule::Tile(tile) => tile.prefetch,
            other => panic!("{other:?}"),
        };
        plan.kernels.iter().map(of).collect()
    }

    #[test]
    fn weights_that_were_just_read_are_not_asked_for() {
        assert_eq!(ahead("w"), [0, 0]);
        assert!(ahead("v").iter().all(|lines| *lines > 0));
    }
}
