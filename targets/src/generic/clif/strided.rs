//! Elements that lie apart, in one vector.

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::{F32, F32X4};

use super::{Clif, LANES};
use crate::simd::{P, R, Refusal, Simd, V};

/// Bytes of two elements.
const EVERY_OTHER: i32 = 8;

impl Clif<'_, '_> {
    /// See [`Simd::load_strided`].
    pub(super) fn strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V> {
        if stride == EVERY_OTHER && n == LANES {
            // The second vector ends at the last element.
            let (low, high) = (self.load_type(F32X4, p, disp), self.load_type(F32X4, p, disp + 12));
            let value = self.shuffle(low, high, [0, 2, 5, 7]);
            return Ok(self.vector(value));
        }
        let mut value = None;
        for i in 0..n.min(LANES) {
            let at = (i as i32).checked_mul(stride).and_then(|ahead| disp.checked_add(ahead));
            let element = self.load_type(F32, p, at.ok_or(Refusal::FarDisplacement)?);
            value = Some(match value {
                None => self.b.ins().scalar_to_vector(F32X4, element),
                Some(before) => self.b.ins().insertlane(before, element, i as u8),
            });
        }
        match value {
            Some(value) => Ok(self.vector(value)),
            None => self.splat(0.0),
        }
    }
}
