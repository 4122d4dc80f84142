//! Elements that lie apart, in one vector.

use cranelift_codegen::ir::types::{F32, F32X4, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

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
        self.one_by_one(n, &mut |this, i| {
            let at = (i as i32).checked_mul(stride).and_then(|ahead| disp.checked_add(ahead));
            Ok(this.load_type(F32, p, at.ok_or(Refusal::FarDisplacement)?))
        })
    }

    /// See [`Simd::load_indexed`].
    pub(super) fn indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V> {
        self.one_by_one(n, &mut |this, i| {
            let size = if short { 2 } else { 4 };
            let place = at.checked_add(size * i as i32).ok_or(Refusal::FarDisplacement)?;
            let index = this.load_type(if short { I16 } else { I32 }, indices, place);
            let index = this.b.ins().uextend(I64, index);
            let ahead = this.b.ins().ishl_imm_u(index, 2);
            let base = this.address(p);
            let element = this.b.ins().iadd(base, ahead);
            let element = this.pointer(element);
            let value = this.load_type(F32, &element, disp);
            this.free_ptr(element);
            Ok(value)
        })
    }

    /// The first `n` lanes, one after the other; the others are 0.
    fn one_by_one(&mut self, n: usize, element: &mut dyn FnMut(&mut Self, usize) -> R<Value>) -> R<V> {
        let mut value = None;
        for i in 0..n.min(LANES) {
            let element = element(self, i)?;
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
