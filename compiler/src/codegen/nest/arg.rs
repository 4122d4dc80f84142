//! Which of several values is wanted, and how two of them compare.

use kiln_ir::DType;
use kiln_ir::kernel::{LoopId, ReduceOp, Scalar};
use kiln_targets::simd::{Lane, Op2, R, Refusal, Simd, Src, V};

use super::super::vexpr::{lane, lane_bits};
use super::super::walk::Walk;

/// Which value is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arg {
    pub(super) max: bool,
    /// Of equal ones the last.
    pub(super) last: bool,
    /// The values' type.
    pub(super) dtype: DType,
    /// The loop whose count is the position.
    pub(super) along: LoopId,
}

/// Less than every position.
pub(super) const NONE_SO_FAR: i64 = -(1 << 30);

impl Arg {
    pub(super) fn new(op: ReduceOp, dtype: DType, reduced: &[LoopId], walk: &Walk) -> R<Self> {
        let (max, last) = match op {
            ReduceOp::ArgMax { last } => (true, last),
            ReduceOp::ArgMin { last } => (false, last),
            _ => return Err(Refusal::unsupported("no position is asked for")),
        };
        match reduced {
            [along] if walk.extent(*along) <= -NONE_SO_FAR && dtype != DType::Bool => {
                Ok(Self { max, last, dtype, along: *along })
            }
            _ => Err(Refusal::unsupported("positions along these loops")),
        }
    }

    /// The lanes of values.
    pub(super) fn lane(self) -> Lane {
        lane(self.dtype)
    }

    /// The lanes of positions, as wide.
    pub(super) fn count(self) -> Lane {
        self.lane().signed()
    }

    /// The mask of lanes in which `item` takes the place of `best`.
    pub(super) fn better<S: Simd>(self, s: &mut S, best: &V, item: &V) -> R<V> {
        let (less, more) = if self.max { (best, item) } else { (item, best) };
        let mask = s.copy(less)?;
        s.op2_as(self.lane(), if self.last { Op2::Le } else { Op2::Lt }, &mask, Src::Reg(more))?;
        Ok(mask)
    }

    /// A value that no other is worse than.
    pub(super) fn worst(self) -> u64 {
        let width = self.dtype.bits() as u32;
        lane_bits(match (self.dtype.is_float(), self.max, self.dtype.is_signed_int()) {
            (true, true, _) => Scalar::of(self.dtype, f64::NEG_INFINITY),
            (true, false, _) => Scalar::of(self.dtype, f64::INFINITY),
            (_, true, true) => Scalar::int(self.dtype, i64::MIN >> (64 - width)),
            (_, false, true) => Scalar::int(self.dtype, i64::MAX >> (64 - width)),
            (_, true, _) => Scalar::int(self.dtype, 0),
            (_, false, _) => Scalar::int(self.dtype, -1),
        })
    }
}
