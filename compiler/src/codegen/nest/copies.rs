//! Copies of elements of one or two bytes, which no lane holds as they are.

use kiln_targets::simd::{Apart, Narrow, Op1, Op2, Overflow, R, Simd, Src, V};

use super::super::vexpr::At;
use super::super::walk::AccessId;
use super::Generator;

impl Generator<'_> {
    /// Elements of one or two bytes: words of them, then the bytes that are left.
    pub(super) fn copy<S: Simd>(&self, s: &mut S, at: &At<'_>, from: AccessId) -> R {
        const BYTES: Narrow = Narrow { two: false, signed: false };
        let to = self.stores[0];
        if let Some(value) = self.walk.outside(from)? {
            let v = s.splat(f32::from_bits(value.bits as u32))?;
            return self.fill(s, at, v);
        }
        let (source, target) = (self.walk.disp(from, at.ahead, 0)?, self.walk.disp(to, at.ahead, 0)?);
        let size = self.walk.element(to).bytes();
        let element = Narrow { two: size == 2, signed: false };
        let stride = self.walk.stride(from, at.lane);
        if stride == 0 {
            let v = s.load_splat_narrow(element, self.walk.ptr(from), source)?;
            return self.fill(s, at, v);
        }
        if stride != size as i64 {
            for first in (0..at.n).step_by(s.lanes()) {
                let n = (at.n - first).min(s.lanes());
                let apart = Apart { bytes: size, signed: false, stride };
                let v = s.load_apart(apart, self.walk.ptr(from), apart.disp(source, first)?, n)?;
                let target = target + (first * size) as i32;
                s.store_narrow(element, Overflow::Wrap, self.walk.ptr(to), target, &v, n)?;
                s.free(v);
            }
            return Ok(());
        }
        let bytes = at.n * size;
        let (words, rest) = (bytes / 4, bytes % 4);
        if words > 0 {
            let v = s.load(self.walk.ptr(from), source, words)?;
            s.store(self.walk.ptr(to), target, &v, words)?;
            s.free(v);
        }
        if rest > 0 {
            let past = 4 * words as i32;
            let v = s.load_narrow(BYTES, self.walk.ptr(from), source + past, rest)?;
            s.store_narrow(BYTES, Overflow::Wrap, self.walk.ptr(to), target + past, &v, rest)?;
            s.free(v);
        }
        Ok(())
    }

    /// The number that all lanes hold in all elements of one or two bytes.
    fn fill<S: Simd>(&self, s: &mut S, at: &At<'_>, v: V) -> R {
        let to = self.stores[0];
        let (target, size) = (self.walk.disp(to, at.ahead, 0)?, self.walk.element(to).bytes());
        for by in [8, 16].into_iter().filter(|by| *by >= 8 * size as u8) {
            let shifted = s.copy(&v)?;
            s.op1(Op1::Shl(by), &shifted)?;
            s.op2(Op2::Or, &v, Src::Reg(&shifted))?;
            s.free(shifted);
        }
        let per_word = 4 / size;
        let (words, rest) = (at.n / per_word, at.n % per_word);
        if words > 0 {
            s.store(self.walk.ptr(to), target, &v, words)?;
        }
        if rest > 0 {
            let element = Narrow { two: size == 2, signed: false };
            s.store_narrow(element, Overflow::Wrap, self.walk.ptr(to), target + 4 * words as i32, &v, rest)?;
        }
        s.free(v);
        Ok(())
    }
}
