//! Elements of 8 and 16 bits in memory: in pieces of a general register, so that parts of vectors are like whole ones.

use cranelift_codegen::ir::types::{F32X4, I8, I8X16, I16, I16X8, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::{Clif, memory};
use crate::simd::{Apart, Lane, Narrow, Op1, Op2, Overflow, P, R, Refusal, Simd, Src, V};

/// The pieces of so many bytes, at most 8: offset and size.
fn pieces(bytes: usize) -> Vec<(usize, usize)> {
    let mut done = 0;
    [8, 4, 2, 1]
        .into_iter()
        .filter_map(|size| {
            let at = done;
            (bytes - done >= size).then(|| done += size)?;
            Some((at, size))
        })
        .collect()
}

impl Clif<'_, '_> {
    /// One element after the other, each into its bytes.
    pub(super) fn load_side_by_side(&mut self, apart: Apart, p: &P, disp: i32) -> R<V> {
        let zero = self.splat_bits(0);
        let (element, vector) = if apart.bytes == 1 { (I8, I8X16) } else { (I16, I16X8) };
        let mut value = self.cast(vector, zero);
        for i in 0..16 / apart.bytes {
            let next = self.load_type(element, p, apart.disp(disp, i)?);
            value = self.b.ins().insertlane(value, next, i as u8);
        }
        let value = self.cast(F32X4, value);
        Ok(self.vector(value))
    }

    /// One element after the other, each into its lane.
    pub(super) fn load_elements(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V> {
        let zero = self.splat_bits(0);
        let (lane, vector) = if apart.bytes == 8 { (I64, I64X2) } else { (I32, I32X4) };
        let mut value = self.cast(vector, zero);
        for i in 0..n {
            let ty = [I8, I16, I32, I64][apart.bytes.trailing_zeros() as usize];
            let element = self.load_type(ty, p, apart.disp(disp, i)?);
            let element = match (ty == lane, apart.signed) {
                (true, _) => element,
                (_, true) => self.b.ins().sextend(lane, element),
                (_, false) => self.b.ins().uextend(lane, element),
            };
            value = self.b.ins().insertlane(value, element, i as u8);
        }
        let value = self.cast(F32X4, value);
        Ok(self.vector(value))
    }

    /// An integer of up to 8 bytes from memory, zero-extended.
    fn load_integer(&mut self, p: &P, disp: i32, bytes: usize) -> Value {
        let mut whole: Option<Value> = None;
        for (at, size) in pieces(bytes) {
            let ty = [I8, I16, I32, I64][size.trailing_zeros() as usize];
            let piece = self.load_type(ty, p, disp + at as i32);
            let piece = if size == 8 { piece } else { self.b.ins().uextend(I64, piece) };
            whole = Some(match whole {
                None => piece,
                Some(below) => {
                    let piece = self.b.ins().ishl_imm_u(piece, 8 * at as i64);
                    self.b.ins().bor(below, piece)
                }
            });
        }
        whole.unwrap_or_else(|| self.b.ins().iconst(I64, 0))
    }

    pub(super) fn load_short(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> V {
        let bytes = self.load_integer(p, disp, n * e.bytes());
        let bytes = self.low_bytes(bytes);
        let mut value = self.cast(if e.two { I16X8 } else { I8X16 }, bytes);
        for _ in 0..if e.two { 1 } else { 2 } {
            value = if e.signed { self.b.ins().swiden_low(value) } else { self.b.ins().uwiden_low(value) };
        }
        let value = self.cast(F32X4, value);
        self.vector(value)
    }

    pub(super) fn load_short_splat(&mut self, e: Narrow, p: &P, disp: i32) -> V {
        let element = self.load_type(if e.two { I16 } else { I8 }, p, disp);
        let element =
            if e.signed { self.b.ins().sextend(I32, element) } else { self.b.ins().uextend(I32, element) };
        let value = self.b.ins().splat(I32X4, element);
        let value = self.cast(F32X4, value);
        self.vector(value)
    }

    pub(super) fn store_short(
        &mut self,
        e: Narrow,
        overflow: Overflow,
        p: &P,
        disp: i32,
        v: &V,
        n: usize,
    ) -> R {
        if matches!(overflow, Overflow::Moved | Overflow::Byte) {
            return Err(Refusal::unsupported("bytes less half of their range, and bytes as words"));
        }
        let lanes = self.copy(v)?;
        match overflow {
            Overflow::Saturate => {
                let (least, most) = e.range();
                self.op2_as(Lane::I32, Op2::Max, &lanes, Src::Bits(least as u32))?;
                self.op2_as(Lane::I32, Op2::Min, &lanes, Src::Bits(most as u32))?;
            }
            Overflow::Wrap | Overflow::Moved | Overflow::Byte => {}
        }
        // The narrowing instructions saturate: lanes are brought into the range of theirs.
        if e.two {
            self.op1(Op1::Shl(16), &lanes)?;
            self.op1(Op1::Sar(16), &lanes)?;
        } else {
            self.op2(Op2::And, &lanes, Src::Bits(0xff))?;
        }
        let value = self.get(&lanes);
        let value = self.cast(I32X4, value);
        let mut value = self.b.ins().snarrow(value, value);
        if !e.two {
            value = self.b.ins().unarrow(value, value);
        }
        let value = self.cast(I64X2, value);
        let whole = self.b.ins().extractlane(value, 0);
        self.free(lanes);
        for (at, size) in pieces(n * e.bytes()) {
            let piece = if at == 0 { whole } else { self.b.ins().ushr_imm_u(whole, 8 * at as i64) };
            let (flags, base, at) = (memory(), self.address(p), disp + at as i32);
            match size {
                8 => self.b.ins().store(flags, piece, base, at),
                4 => self.b.ins().istore32(flags, piece, base, at),
                2 => self.b.ins().istore16(flags, piece, base, at),
                _ => self.b.ins().istore8(flags, piece, base, at),
            };
        }
        Ok(())
    }
}
