//! The vector builder on an encoder of AArch64: vectors of 128 bits, 32 registers.
//!
//! Physical registers are handed out by ownership; a kernel that needs too many is refused, nothing is spilled
//! unless it is parked. The function that results is a leaf of the architecture's convention: arguments wait in its frame,
//! callee-saved registers (of v8 to v15 the low halves) are saved when they are used, constants lie behind the code.
//!
//! Operands are registers: constants are made, loaded from behind the code, or, if loops use them and registers are left over
//! that nothing else needs, loaded once at entry. What those are shows a first run of the program ([`Encoder::again`]).

mod address;
mod apart;
mod blocks;
mod bytes;
mod constants;
mod convert;
mod elements;
mod frame;
mod general;
mod lanes;
mod ops;
mod order;
mod parts;

use std::collections::BTreeMap;

use self::parts::{Access, LANES, Straight, VECTORS, longs, words};
use super::isa::{Field, ORR_V, Op};
use crate::simd::{P, R, Refusal, Simd as _, Src, V};
use crate::target::Target;
use crate::unwind::Encoded;

/// General registers in the order in which they are handed out; from [`FIRST_SAVED`] on they belong to the caller. x18 is the
/// platform's, x29 and x30 are the caller's frame and return address.
const GENERAL: [u32; 25] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28];
/// The least general register of the caller's.
const FIRST_SAVED: u32 = 19;
/// Registers for parts of an operation: the address that accesses are near, and numbers.
const NEAR: u32 = 16;
const NUMBER: u32 = 17;
const OTHER: u32 = 15;
/// Reads as zero.
const ZERO: u32 = 31;
/// The stack pointer, where there is no zero.
const STACK: u32 = 31;
/// Vector registers that operations on constants take, and programs are not told of.
const RESERVE: u32 = 2;
/// Arguments: frame, begin, end.
const ARGUMENTS: usize = 3;
/// Slots of 8 bytes in a frame: the arguments, then counters of nested loops.
const SLOTS: usize = 24;
const VECTOR_BYTES: i64 = 16;

/// A function under construction.
pub(crate) struct Encoder {
    /// Products of four bytes are instructions, of unsigned ones with signed ones.
    mixed_dots: bool,
    /// Products of eight bytes of two rows and two columns are instructions.
    blocks_of_dots: bool,
    /// Products of four bytes are instructions, of signed ones.
    signed_dots: bool,
    /// Products of floats of 16 bits are added to floats of 32 by instructions.
    long_halves: bool,
    /// The core starts instructions in the order of the text.
    in_order: bool,
    code: Vec<u32>,
    /// The straight code at its end.
    block: Straight,
    /// Bit per register that is free.
    vectors: u32,
    general: u32,
    /// Registers that were handed out.
    used: u32,
    used_general: u32,
    /// Registers in the order of [`VECTORS`] that were handed out, and bit per register that was out of turn.
    reach: usize,
    low: u32,
    slots: usize,
    free_slots: Vec<usize>,
    /// Vectors in the frame, behind the slots.
    parking: u32,
    free_parking: Vec<u32>,
    /// Constants behind the code and the places of the instructions that load them.
    pool: Vec<(u128, Vec<usize>)>,
    /// Constants of lanes of 32 bits that the program keeps in registers.
    kept: Vec<(u32, V)>,
    /// Constants that are in registers throughout.
    throughout: Vec<(u128, u32)>,
    /// What constants that are in no register cost, in loads.
    wanted: BTreeMap<u128, u64>,
    /// Loops around.
    depth: u32,
    /// Bit per register of which the first lane was loaded and stands for all of them.
    first_lanes: u32,
    /// The last instruction, where it is a copy: where it is, to, from.
    copied: Option<(usize, u32, u32)>,
    /// The last instruction, where it loads or stores a vector.
    access: Option<Access>,
    /// What [`NEAR`] holds: another register plus a displacement.
    near: Option<(u32, i64)>,
    /// A branch is too far for its instruction.
    too_far: bool,
}

impl Encoder {
    /// An empty function for a target.
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            mixed_dots: target.dot4,
            blocks_of_dots: target.dot8,
            signed_dots: target.signed_dot4,
            long_halves: target.multiplies_halves,
            in_order: target.in_order,
            code: Vec::new(),
            block: Straight::EMPTY,
            vectors: u32::MAX,
            general: GENERAL.iter().fold(0, |all, r| all | 1 << r),
            used: 0,
            used_general: 0,
            reach: 0,
            low: 0,
            slots: ARGUMENTS,
            free_slots: Vec::new(),
            parking: 0,
            free_parking: Vec::new(),
            pool: Vec::new(),
            kept: Vec::new(),
            throughout: Vec::new(),
            wanted: BTreeMap::new(),
            depth: 0,
            first_lanes: 0,
            copied: None,
            access: None,
            near: None,
            too_far: false,
        }
    }

    /// An empty function for the same target and program, with what its loops want in registers that it leaves over.
    pub(crate) fn again(self, target: &Target) -> Self {
        let mut wanted: Vec<(u64, u128)> = self.wanted.into_iter().map(|(bits, cost)| (cost, bits)).collect();
        wanted.sort_by(|a, b| b.cmp(a));
        let left = VECTORS[self.reach..].iter().filter(|r| self.low >> **r & 1 == 0);
        let throughout =
            wanted.into_iter().zip(left).map(|((_, bits), register)| (bits, *register)).collect();
        Self { throughout, ..Self::new(target) }
    }

    /// The finished function: prologue, what was built, epilogue, constants. It may lie anywhere at a multiple of 16 bytes.
    pub(crate) fn finish(mut self) -> R<Encoded> {
        self.close_block();
        let throughout = std::mem::take(&mut self.throughout);
        self.used |= throughout.iter().fold(0, |all, (_, register)| all | 1 << register);
        let saved = self.saved();
        let body = std::mem::take(&mut self.code);
        let mut bodies_pool = std::mem::take(&mut self.pool);

        let told = self.prologue(&saved);
        for (bits, register) in &throughout {
            self.make(*register, *bits);
        }
        let start = self.code.len();
        for (_, places) in &mut bodies_pool {
            places.iter_mut().for_each(|place| *place += start);
        }
        self.code.extend(body);
        let unwind = self.epilogue(&saved, told);

        let mut code = std::mem::take(&mut self.code);
        code.resize(code.len().next_multiple_of(4), 0);
        for (bits, places) in std::mem::take(&mut self.pool).into_iter().chain(bodies_pool) {
            for place in places {
                code[place] |= self.label(Field::Label19, code.len() as i64 - place as i64);
            }
            code.extend((0..4).map(|i| (bits >> (32 * i)) as u32));
        }
        if self.too_far {
            return Err(Refusal::FarDisplacement);
        }
        Ok(Encoded { code: code.into_iter().flat_map(u32::to_le_bytes).collect(), unwind })
    }

    fn put(&mut self, op: Op, operands: &[i64]) {
        self.code.push(op.word(operands));
    }

    /// The bits of a distance in words.
    fn label(&mut self, field: Field, distance: i64) -> u32 {
        let bits = if field == Field::Label26 { 26 } else { 19 };
        self.too_far |= distance.abs() >= 1 << (bits - 1);
        field.bits(&[distance])
    }

    /// The register of a vector, every lane of which is there.
    fn reg(&mut self, v: &V) -> u32 {
        self.fill(v.0);
        v.0
    }

    fn vector(&mut self) -> R<V> {
        let free = VECTORS.into_iter().position(|r| self.vectors >> r & 1 == 1);
        let place = free.ok_or(Refusal::OutOfRegisters)?;
        let register = VECTORS[place];
        if self.throughout.iter().any(|(_, held)| *held == register) {
            return Err(Refusal::OutOfRegisters);
        }
        self.reach = self.reach.max(place + 1);
        self.vectors &= !(1 << register);
        self.used |= 1 << register;
        Ok(V(register))
    }

    /// One of the first sixteen registers, of those that are handed out last.
    fn low_vector(&mut self) -> R<V> {
        let held = self.throughout.iter().fold(0, |all, (_, register)| all | 1 << register);
        let free = self.vectors & !held & 0xffff;
        let register =
            VECTORS.into_iter().rev().find(|r| free >> r & 1 == 1).ok_or(Refusal::OutOfRegisters)?;
        self.vectors &= !(1 << register);
        self.used |= 1 << register;
        self.low |= 1 << register;
        Ok(V(register))
    }

    fn pointer(&mut self) -> R<P> {
        let free = GENERAL.into_iter().find(|r| self.general >> r & 1 == 1);
        let register = free.ok_or(Refusal::OutOfRegisters)?;
        self.general &= !(1 << register);
        self.used_general |= 1 << register;
        self.changed(register);
        Ok(P(register))
    }

    /// An operand in a register; a temporary for what is in none, to be freed by the caller.
    fn operand(&mut self, s: Src<'_>) -> R<(u32, Option<V>)> {
        let v = match s {
            Src::Reg(v) => return Ok((self.reg(v), None)),
            Src::Const(value) => return self.constant_operand(words(value.to_bits())),
            Src::Bits(bits) => return self.constant_operand(words(bits)),
            Src::Wide(bits) => return self.constant_operand(longs(bits)),
            Src::Mem(p, disp) => self.load(p, disp, LANES)?,
            Src::Splat(p, disp) => self.load_splat(p, disp)?,
        };
        Ok((self.reg(&v), Some(v)))
    }

    fn release(&mut self, temporary: Option<V>) {
        if let Some(v) = temporary {
            self.free(v);
        }
    }

    /// `d = op n`; where `n` is `d` and was copied there just before, of what was copied.
    fn two(&mut self, op: Op, d: u32, n: u32) {
        let (n, _) = self.before_copy(d, n, n);
        self.put(op, &[d.into(), n.into()]);
    }

    /// `d = n op m`; where `n` is `d` and was copied there just before, of what was copied.
    fn three(&mut self, op: Op, d: u32, n: u32, m: u32) {
        let (n, m) = self.before_copy(d, n, m);
        self.put(op, &[d.into(), n.into(), m.into()]);
    }

    /// The same for instructions that read `d` too, such as multiply-adds.
    fn three_of_all(&mut self, op: Op, d: u32, n: u32, m: u32) {
        self.put(op, &[d.into(), n.into(), m.into()]);
    }

    /// `to = from`.
    fn move_to(&mut self, to: u32, from: u32) {
        self.put(ORR_V, &[to.into(), from.into(), from.into()]);
        self.copied = Some((self.code.len() - 1, to, from));
    }

    /// What `d` was made a copy of by the instruction before, which is taken back.
    fn take_copy(&mut self, d: &V) -> Option<u32> {
        let (at, to, from) = self.copied.take()?;
        if at + 1 != self.code.len() || to != d.0 {
            return None;
        }
        self.code.pop();
        Some(from)
    }

    /// The operands of an instruction that writes `d`: where `n` is `d` and the instruction before made it a copy, that is taken
    /// back, and what was copied is the operand.
    fn before_copy(&mut self, d: u32, n: u32, m: u32) -> (u32, u32) {
        match self.copied.take() {
            Some((at, to, from)) if at + 1 == self.code.len() && d == to && n == to => {
                self.code.pop();
                (from, if m == to { from } else { m })
            }
            _ => (n, m),
        }
    }
}
