//! Operations on the bits of bytes: bools and integers of 8 bits, as they lie in memory, whole vectors of them.
//!
//! A bool is a byte 0 or 1 here. Operations take lanes of 32 bits, four bytes each, and let nothing pass from one byte to
//! the next.

use kiln_ir::DType;
use kiln_ir::kernel::{BinaryOp, Scalar, UnaryOp};
use kiln_targets::simd::sequences::invert;
use kiln_targets::simd::{Narrow, Op1, Op2, Overflow, R, Refusal, Simd, Src, V};

use super::super::vexpr::{At, Node, VectorKind};
use super::super::walk::AccessId;
use super::Generator;

const BYTE: Narrow = Narrow { two: false, signed: false };
/// True in every byte.
const ONES: u32 = 0x0101_0101;
/// All but the highest bit of every byte.
const REST: u32 = 0x7f7f_7f7f;
/// The highest bit of every byte: with it turned, bytes with a sign are in the order of those without.
const SIGNS: u32 = 0x8080_8080;

/// Which bytes of a vector.
#[derive(Clone, Copy)]
enum Part {
    /// So many words, from the first byte on.
    Words(usize),
    /// So many bytes, each in a lane of its own, behind others.
    Rest { past: usize, bytes: usize },
}

impl Generator<'_> {
    /// Values and stores of `n` bytes: words of them, then those that are left.
    pub(super) fn bytes<S: Simd>(&self, s: &mut S, t: i64, offset: i64, n: usize) -> R {
        let mut ahead = vec![(self.nest.vector, offset)];
        ahead.extend(self.nest.tile.map(|(l, _)| (l, t)));
        let at = At { walk: &self.walk, lane: self.nest.vector, ahead: &ahead, n };
        let (words, bytes) = (n / 4, n % 4);
        if words > 0 {
            self.part(s, &at, Part::Words(words))?;
        }
        if bytes > 0 {
            self.part(s, &at, Part::Rest { past: 4 * words, bytes })?;
        }
        Ok(())
    }

    fn part<S: Simd>(&self, s: &mut S, at: &At<'_>, part: Part) -> R {
        let dag = &self.epilogue;
        let mut left = dag.uses.clone();
        let mut held: Vec<Option<V>> = Vec::with_capacity(dag.nodes.len());
        for (node, kind) in dag.nodes.iter().zip(&dag.kinds) {
            let v = match node {
                Node::Load(a) => self.load_bytes(s, at, *a, part)?,
                Node::Const(bits, kind) => splat(s, byte(*bits, *kind))?,
                Node::Unary(UnaryOp::Not, a) => {
                    let d = take(s, &mut held, &mut left, *a)?;
                    s.op2(Op2::Xor, &d, Src::Bits(ONES))?;
                    d
                }
                Node::Unary(UnaryOp::BitNot, a) => {
                    let d = take(s, &mut held, &mut left, *a)?;
                    invert(s, &d)?;
                    d
                }
                Node::Binary(op, a, b) => {
                    let d = take(s, &mut held, &mut left, *a)?;
                    let other = take(s, &mut held, &mut left, *b)?;
                    binary(s, *op, dag.kinds[*a], &d, &other)?;
                    s.free(other);
                    d
                }
                Node::Select(c, a, b) => {
                    let mask = take(s, &mut held, &mut left, *c)?;
                    let d = take(s, &mut held, &mut left, *a)?;
                    let other = take(s, &mut held, &mut left, *b)?;
                    // All ones where it is 1.
                    let one = s.copy(&mask)?;
                    s.op1(Op1::Shl(8), &mask)?;
                    s.op2(Op2::IntSub, &mask, Src::Reg(&one))?;
                    s.free(one);
                    s.op2(Op2::Xor, &d, Src::Reg(&other))?;
                    s.op2(Op2::And, &d, Src::Reg(&mask))?;
                    s.op2(Op2::Xor, &d, Src::Reg(&other))?;
                    s.free(mask);
                    s.free(other);
                    d
                }
                Node::Cast(_, a) => {
                    let d = take(s, &mut held, &mut left, *a)?;
                    if matches!((dag.kinds[*a], kind), (VectorKind::Number(_), VectorKind::Mask { .. })) {
                        is_zero(s, &d)?;
                        s.op2(Op2::Xor, &d, Src::Bits(ONES))?;
                    }
                    d
                }
                node => return Err(Refusal::unsupported(format!("{node:?} of bytes"))),
            };
            held.push(Some(v));
        }
        for (to, root) in self.stores.iter().zip(&dag.roots) {
            let v = take(s, &mut held, &mut left, *root)?;
            let (p, disp) = (self.walk.ptr(*to), self.walk.disp(*to, at.ahead, 0)?);
            match part {
                Part::Words(words) => s.store(p, disp, &v, words)?,
                Part::Rest { past, bytes } => {
                    s.store_narrow(BYTE, Overflow::Wrap, p, disp + past as i32, &v, bytes)?;
                }
            }
            s.free(v);
        }
        held.into_iter().flatten().for_each(|v| s.free(v));
        Ok(())
    }

    /// Whole words of bytes, those with a sign with their highest bits turned.
    pub(super) fn load_unsigned<S: Simd>(&self, s: &mut S, at: &At<'_>, a: AccessId) -> R<V> {
        let v = self.load_bytes(s, at, a, Part::Words(at.n / 4))?;
        if self.acc == DType::I8 {
            s.op2(Op2::Xor, &v, Src::Bits(SIGNS))?;
        }
        Ok(v)
    }

    /// Writes what was read so.
    pub(super) fn store_unsigned<S: Simd>(&self, s: &mut S, at: &At<'_>, v: V) -> R {
        if self.acc == DType::I8 {
            s.op2(Op2::Xor, &v, Src::Bits(SIGNS))?;
        }
        for to in &self.stores {
            s.store(self.walk.ptr(*to), self.walk.disp(*to, at.ahead, 0)?, &v, at.n / 4)?;
        }
        s.free(v);
        Ok(())
    }

    fn load_bytes<S: Simd>(&self, s: &mut S, at: &At<'_>, a: AccessId, part: Part) -> R<V> {
        if let Some(Scalar { bits, .. }) = self.walk.outside(a)? {
            return splat(s, bits as u8);
        }
        let (p, disp) = (self.walk.ptr(a), self.walk.disp(a, at.ahead, 0)?);
        if at.is_splat(a) {
            let v = s.load_splat_narrow(BYTE, p, disp)?;
            for by in [8, 16] {
                let more = s.copy(&v)?;
                s.op1(Op1::Shl(by), &more)?;
                s.op2(Op2::Or, &v, Src::Reg(&more))?;
                s.free(more);
            }
            return Ok(v);
        }
        match part {
            Part::Words(words) => s.load(p, disp, words),
            Part::Rest { past, bytes } => s.load_narrow(BYTE, p, disp + past as i32, bytes),
        }
    }
}

/// A value in a register of its own, of which one use is done.
fn take<S: Simd>(s: &mut S, held: &mut [Option<V>], left: &mut [u32], n: usize) -> R<V> {
    left[n] = left[n].saturating_sub(1);
    match &held[n] {
        Some(v) if left[n] > 0 => s.copy(v),
        _ => held[n].take().ok_or_else(|| Refusal::unsupported("a value that is gone before its last use")),
    }
}

/// A constant as it lies in memory.
fn byte(bits: u64, kind: VectorKind) -> u8 {
    match kind {
        VectorKind::Mask { .. } => u8::from(bits != 0),
        VectorKind::Number(_) => bits as u8,
    }
}

fn splat<S: Simd>(s: &mut S, byte: u8) -> R<V> {
    s.splat(f32::from_bits(u32::from_ne_bytes([byte; 4])))
}

/// `d = d op other`.
fn binary<S: Simd>(s: &mut S, op: BinaryOp, kind: VectorKind, d: &V, other: &V) -> R {
    use BinaryOp::{And, BitAnd, BitOr, BitXor, Eq, Le, Lt, Max, Min, Or, Xor};
    let other = Src::Reg(other);
    match (op, kind) {
        (And | Min, VectorKind::Mask { .. }) | (BitAnd, _) => s.op2(Op2::And, d, other),
        (Or | Max, VectorKind::Mask { .. }) | (BitOr, _) => s.op2(Op2::Or, d, other),
        (Xor, VectorKind::Mask { .. }) | (BitXor, _) => s.op2(Op2::Xor, d, other),
        (Eq, VectorKind::Mask { .. }) => {
            s.op2(Op2::Xor, d, other)?;
            s.op2(Op2::Xor, d, Src::Bits(ONES))
        }
        (Eq, VectorKind::Number(_)) => {
            s.op2(Op2::Xor, d, other)?;
            is_zero(s, d)
        }
        // False is less than true.
        (Lt, VectorKind::Mask { .. }) => s.op2(Op2::AndNot, d, other),
        (Le, VectorKind::Mask { .. }) => {
            s.op2(Op2::Xor, d, Src::Bits(ONES))?;
            s.op2(Op2::Or, d, other)
        }
        _ => Err(Refusal::unsupported(format!("{op:?} of bytes"))),
    }
}

/// 1 where a byte is 0, else 0: the highest bit of a byte, or of what the others sum up to, says that it is not.
fn is_zero<S: Simd>(s: &mut S, d: &V) -> R {
    let sum = s.copy(d)?;
    s.op2(Op2::And, &sum, Src::Bits(REST))?;
    s.op2(Op2::IntAdd, &sum, Src::Bits(REST))?;
    s.op2(Op2::Or, d, Src::Reg(&sum))?;
    s.free(sum);
    s.op1(Op1::Shr(7), d)?;
    // Not d, and of each byte the lowest bit.
    s.op2(Op2::AndNot, d, Src::Bits(ONES))
}
