//! Guards within ranges of the loops' counters.

use kiln_ir::kernel::{LoopId, Scalar};
use kiln_targets::simd::{R, Refusal};

use super::super::guard::{Decision, Guard};
use super::{Access, AccessId, Walk};

impl Walk {
    /// `None` when the access is inside here, else the value in its place.
    pub(in crate::codegen) fn outside(&self, a: AccessId) -> R<Option<Scalar>> {
        if let Some(value) = self.certainly_outside(a) {
            return Ok(Some(value));
        }
        if self.accesses[a.0].guards.iter().all(|guard| guard.outcome(&self.ranges) == Some(true)) {
            return Ok(None);
        }
        Err(Refusal::unsupported("a guard that changes within a vector or tile"))
    }

    /// The value in the place of the access where it is outside whatever loops further in do.
    pub(in crate::codegen) fn certainly_outside(&self, a: AccessId) -> Option<Scalar> {
        let Access { guards, otherwise, .. } = &self.accesses[a.0];
        guards.iter().any(|guard| guard.outcome(&self.ranges) == Some(false)).then_some(*otherwise)
    }

    /// Ranges of the loop's counter, in order, in each of which every guard is as decided as it can be before
    /// the loops further in. Guards of elements that are outside already decide nothing.
    pub(in crate::codegen) fn parts(&self, l: LoopId) -> Vec<(i64, i64)> {
        let extent = self.extent(l);
        let guards: Vec<&Guard> = self
            .accesses
            .iter()
            .filter(|a| a.guards.iter().all(|g| g.outcome(&self.ranges) != Some(false)))
            .flat_map(|a| &a.guards)
            .filter(|g| g.moves(l) && g.outcome(&self.ranges).is_none())
            .collect();
        if guards.is_empty() {
            return vec![(0, extent)];
        }
        let mut ranges = self.ranges.clone();
        let mut cuts: Vec<i64> = guards.iter().flat_map(|g| g.cuts(l, &ranges)).collect();
        cuts.extend([0, extent]);
        cuts.retain(|cut| (0..=extent).contains(cut));
        cuts.sort_unstable();
        cuts.dedup();
        let mut parts: Vec<(i64, i64)> = Vec::new();
        let mut previous: Option<Vec<Decision>> = None;
        for cut in cuts.windows(2) {
            ranges[l.0 as usize] = (cut[0], cut[1]);
            let decided = guards.iter().all(|g| g.outcome(&ranges).is_some());
            for (from, to) in if decided { vec![(cut[0], cut[1])] } else { singles(cut[0], cut[1]) } {
                ranges[l.0 as usize] = (from, to);
                let outcome: Option<Vec<_>> = guards.iter().map(|g| g.decision(&ranges)).collect();
                match parts.last_mut() {
                    Some(part) if outcome.is_some() && previous == outcome => part.1 = to,
                    _ => parts.push((from, to)),
                }
                previous = outcome;
            }
        }
        parts
    }
}

/// Ranges of one count each.
fn singles(from: i64, to: i64) -> Vec<(i64, i64)> {
    (from..to).map(|i| (i, i + 1)).collect()
}
