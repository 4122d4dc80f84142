//! Bytes: their dot products, and tables of them.
//!
//! Dot products: four unsigned ones with four signed ones, added to a lane of 32 bits. Exact on every machine.
//!
//! Where there is an instruction ([`Simd::dot4`]) both operands are the bytes as they are. Elsewhere bytes become words, which
//! are multiplied in pairs: bytes 0 and 2 of a lane in one register, 1 and 3 in another. The signed operand, which is
//! prepared once and read often, lies in memory in that order already:
//!
//! ```text
//!   instruction   lane 0: b0 b1 b2 b3   lane 1: b0 b1 b2 b3   ..
//!   words         lane 0: b0 b2   lane 1: b0 b2   ..   then   lane 0: b1 b3   lane 1: b1 b3   ..
//! ```

use super::{Lane, Op1, Op2, P, R, Refusal, Simd, Src, V};

/// Bytes 0 and 2 of a lane, or 1 and 3 that were moved there.
const EVEN: u32 = 0x00ff_00ff;
/// Half of the range of a byte, in both words of a lane.
const HALF: u32 = 0x0080_0080;

/// Groups of four bytes, one a lane, as [`add_products`] takes them.
#[derive(Debug)]
pub enum Bytes {
    /// As they are.
    Whole(V),
    /// Bytes 0 and 2, and 1 and 3, as words.
    Apart(V, V),
}

impl Bytes {
    /// Gives the registers back.
    pub fn free<S: Simd + ?Sized>(self, s: &mut S) {
        match self {
            Self::Whole(v) => s.free(v),
            Self::Apart(even, odd) => {
                s.free(even);
                s.free(odd);
            }
        }
    }
}

/// Four unsigned bytes from memory in every lane.
pub fn load_splat<S: Simd + ?Sized>(s: &mut S, p: &P, disp: i32) -> R<Bytes> {
    let v = s.load_splat(p, disp)?;
    apart(s, v)
}

/// Unsigned bytes from memory, four to each of the first `n` lanes.
pub fn load_unsigned<S: Simd + ?Sized>(s: &mut S, p: &P, disp: i32, n: usize) -> R<Bytes> {
    let v = s.load(p, disp, n)?;
    apart(s, v)
}

/// Four signed bytes from memory in every lane, as they lie on every machine.
pub fn load_splat_signed<S: Simd + ?Sized>(s: &mut S, p: &P, disp: i32) -> R<Bytes> {
    let v = s.load_splat(p, disp)?;
    let bytes = apart(s, v)?;
    if let Bytes::Apart(even, odd) = &bytes {
        // What is beyond the half of the range is less than zero.
        let half = s.splat(f32::from_bits(HALF))?;
        for words in [even, odd] {
            s.op2(Op2::Xor, words, Src::Reg(&half))?;
            s.add_words(words, &half, true)?;
        }
        s.free(half);
    }
    Ok(bytes)
}

/// Four bytes of each lane as products take them.
fn apart<S: Simd + ?Sized>(s: &mut S, v: V) -> R<Bytes> {
    if s.has_dot4() {
        return Ok(Bytes::Whole(v));
    }
    let odd = s.copy(&v)?;
    s.op1_as(Lane::U32, Op1::Shr(8), &odd)?;
    s.op2(Op2::And, &odd, Src::Bits(EVEN))?;
    s.op2(Op2::And, &v, Src::Bits(EVEN))?;
    Ok(Bytes::Apart(v, odd))
}

/// Signed bytes of a whole vector from memory; `half`: bytes from those numbered 0 and 2 to those numbered 1 and 3, where
/// these lie apart.
pub fn load<S: Simd + ?Sized>(s: &mut S, p: &P, disp: i32, half: i32) -> R<Bytes> {
    if s.has_dot4() {
        let lanes = s.lanes();
        return Ok(Bytes::Whole(s.load(p, disp, lanes)?));
    }
    let even = s.load_words(p, disp, true)?;
    let odd = s.load_words(p, disp + half, true)?;
    Ok(Bytes::Apart(even, odd))
}

/// `d += sum of a[i] * b[i]` in every lane; `a` has no signs, `b` has. Sums wrap.
pub fn add_products<S: Simd + ?Sized>(s: &mut S, d: &V, a: &Bytes, b: &Bytes) -> R {
    match (a, b) {
        (Bytes::Whole(a), Bytes::Whole(b)) => s.dot4(d, a, Src::Reg(b)),
        (Bytes::Apart(a0, a1), Bytes::Apart(b0, b1)) => {
            s.fma_words(d, a0, Src::Reg(b0))?;
            s.fma_words(d, a1, Src::Reg(b1))
        }
        _ => Err(Refusal::unsupported("bytes that are prepared in two ways")),
    }
}

/// Entries of a part of a table.
const PART: u32 = 16;

/// Every byte of `d` becomes the entry of a table of 256 bytes that it is the number of. `held` is the table as
/// [`Simd::load_table`] gives it, which begins at `p + disp`.
pub fn look_up<S: Simd + ?Sized>(s: &mut S, d: &V, held: &[V], p: &P, disp: i32) -> R {
    if let [a, b, c, e] = held {
        return s.look_up_in(d, [a, b, c, e]);
    }
    let found = s.splat(0.0)?;
    for part in 0..256 / PART {
        // A number of this part becomes its place there, any other one is beyond the part's end.
        let place = s.copy(d)?;
        if part > 0 {
            s.op2(Op2::Xor, &place, Src::Bits(0x0101_0101 * (part * PART)))?;
        }
        s.look_up_part(&place, p, disp + (part * PART) as i32)?;
        s.op2(Op2::Or, &found, Src::Reg(&place))?;
        s.free(place);
    }
    s.assign(d, &found);
    s.free(found);
    Ok(())
}
