//! Padding of an access: whether an element is there, as far as ranges of the loops say.

use kiln_ir::Dim;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::plan;

/// `0 <= offset + sum(coefficients * loops) < extent`.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    offset: i64,
    coefficients: Vec<i64>,
    extent: i64,
}

/// What a guard comes to within ranges of the loops' counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It holds everywhere, or nowhere.
    Outcome(bool),
    /// One loop decides: its counts up to the first number are on one side of the axis, those from the second on on the
    /// other, and it holds between them.
    ByLoop(LoopId, i64, i64),
}

impl Guard {
    /// A guard of the plan; `None` where it is open.
    pub(super) fn new(guard: &plan::Guard) -> Option<Self> {
        Some(Self {
            offset: guard.offset.as_const()?,
            coefficients: guard.coefficients.iter().map(Dim::as_const).collect::<Option<_>>()?,
            extent: guard.extent.as_const()?,
        })
    }

    /// Whether a loop takes part.
    pub(super) fn moves(&self, l: LoopId) -> bool {
        self.coefficients[l.0 as usize] != 0
    }

    /// Counts of a loop at which the outcome may change, among others.
    pub(super) fn cuts(&self, l: LoopId, ranges: &[(i64, i64)]) -> Vec<i64> {
        let c = self.coefficients[l.0 as usize];
        let (mut low, mut high) = (self.offset, self.offset);
        for (i, (c, (from, to))) in self.coefficients.iter().zip(ranges).enumerate() {
            if i != l.0 as usize {
                let (a, b) = (c * from, c * (to - 1));
                low += a.min(b);
                high += a.max(b);
            }
        }
        // Where `bound + c * count` goes through 0.
        let bounds = [low, high, low - self.extent, high - self.extent];
        bounds.into_iter().flat_map(|bound| [-1, 0, 1].map(|step| (-bound).div_euclid(c) + step)).collect()
    }

    /// Whether it holds for all counters in the ranges, for none, or for some.
    pub(super) fn outcome(&self, ranges: &[(i64, i64)]) -> Option<bool> {
        let (mut low, mut high) = (self.offset, self.offset);
        for (c, (from, to)) in self.coefficients.iter().zip(ranges) {
            let (a, b) = (c * from, c * (to - 1));
            low += a.min(b);
            high += a.max(b);
        }
        if low >= 0 && high < self.extent {
            Some(true)
        } else if high < 0 || low >= self.extent {
            Some(false)
        } else {
            None
        }
    }

    /// What it comes to; `None` where several loops decide together.
    pub(super) fn decision(&self, ranges: &[(i64, i64)]) -> Option<Decision> {
        if let Some(outcome) = self.outcome(ranges) {
            return Some(Decision::Outcome(outcome));
        }
        let fixed = |i: usize| self.coefficients[i] == 0 || ranges[i].1 - ranges[i].0 == 1;
        let mut open = (0..ranges.len()).filter(|i| !fixed(*i));
        let l = open.next().filter(|_| open.next().is_none())?;
        let others = self.coefficients.iter().zip(ranges).enumerate().filter(|(i, _)| *i != l);
        let start = self.offset + others.map(|(_, (c, (from, _)))| c * from).sum::<i64>();
        let (c, (from, to)) = (self.coefficients[l], ranges[l]);
        // The first count at which the axis is entered, and the first at which it is left.
        let at = |x: i64| start + c * x;
        let first = |holds: &dyn Fn(i64) -> bool| (from..to).find(|x| holds(at(*x))).unwrap_or(to);
        Some(match c > 0 {
            true => Decision::ByLoop(LoopId(l as u16), first(&|v| v >= 0), first(&|v| v >= self.extent)),
            false => Decision::ByLoop(LoopId(l as u16), first(&|v| v < self.extent), first(&|v| v < 0)),
        })
    }
}
