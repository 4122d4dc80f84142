//! The vector builder on an encoder of x86-64: f32 in 256 bits (AVX2 and FMA) or 512 bits (AVX-512 F and DQ).
//!
//! Physical registers are handed out by ownership; a kernel that needs too many is refused, nothing is spilled
//! unless it is parked. The function that results is a leaf of SystemV convention: arguments wait in its frame,
//! callee-saved registers are pushed when they are used, constants lie behind the code.
//!
//! Masks for the first `n` lanes are mask registers set up at entry (512 bits) or vectors of constants (256).

use iced_x86::{Code, Encoder as Iced, Instruction, MemoryOperand, Register};

use crate::simd::{Across, Op1, Op2, P, Parked, R, Refusal, Simd, Src, V};

/// Bytes of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// AVX2 and FMA, 16 registers.
    Bits256,
    /// AVX-512 F and DQ, 32 registers.
    Bits512,
}

/// General registers in the order in which they are handed out; the last six belong to the caller.
const GENERAL: [Register; 15] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::RBP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
/// The first of [`GENERAL`] that belongs to the caller.
const FIRST_SAVED: u32 = 9;
/// Where the arguments arrive.
const ARGUMENTS: [Register; 3] = [Register::RDI, Register::RSI, Register::RDX];
/// Where the caller's stack pointer is kept; the frame itself is aligned for vectors.
const STACK_POINTER_SLOT: usize = ARGUMENTS.len();
/// Slots of a frame: as many as loops can be nested, and more.
const SLOTS: usize = 24;
/// Mask registers for numbers of lanes; k1 is for comparisons.
const FIRST_LANE_MASK: u32 = 2;
const LANE_MASKS: usize = 6;

/// Predicates of `vcmpps`: ordered, quiet.
const CMP_EQ: u32 = 0x00;
const CMP_UNORDERED: u32 = 0x03;
const CMP_LT: u32 = 0x11;
const CMP_LE: u32 = 0x12;

/// A function under construction.
pub struct Encoder {
    width: Width,
    iced: Iced,
    code: Vec<u8>,
    /// Bit per register that is free.
    vectors: u32,
    general: u32,
    /// Registers of the caller's that were handed out.
    saved: u32,
    /// 8-byte slots of the frame: the arguments, the caller's stack pointer, then counters.
    slots: usize,
    free_slots: Vec<usize>,
    /// Vectors in the frame, behind the slots.
    parking: u32,
    free_parking: Vec<u32>,
    /// Constants behind the code: bytes and the places of the displacements that refer to them.
    pool: Vec<(Vec<u8>, Vec<usize>)>,
    /// Numbers of lanes that have a mask register.
    lane_masks: Vec<usize>,
    /// Some instruction could not be encoded.
    failed: bool,
}

/// An operand that an instruction can take.
enum Place {
    Reg(Register),
    Mem(MemoryOperand),
    /// A constant, by position in the pool; `true` for an embedded broadcast.
    Pool(usize, bool),
}

impl Encoder {
    /// An empty function.
    pub fn new(width: Width) -> Self {
        let registers = if width == Width::Bits256 { 16 } else { 32 };
        Self {
            width,
            iced: Iced::new(64),
            code: Vec::new(),
            vectors: if registers == 32 { u32::MAX } else { (1 << registers) - 1 },
            general: (1 << GENERAL.len()) - 1,
            saved: 0,
            slots: STACK_POINTER_SLOT + 1,
            free_slots: Vec::new(),
            parking: 0,
            free_parking: Vec::new(),
            pool: Vec::new(),
            lane_masks: Vec::new(),
            failed: false,
        }
    }

    /// The finished function: prologue, what was built, epilogue, constants. It may lie anywhere; aligning it to
    /// 64 bytes aligns its constants too.
    pub fn finish(mut self) -> R<Vec<u8>> {
        let saved: Vec<Register> = (FIRST_SAVED..GENERAL.len() as u32)
            .filter(|i| self.saved >> i & 1 == 1)
            .map(|i| GENERAL[i as usize])
            .collect();
        let frame = (8 * SLOTS + 4 * self.lanes() * self.parking as usize) as i32;
        self.emit(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        self.emit(Instruction::with2(Code::Mov_r64_rm64, Register::RSP, slot(STACK_POINTER_SLOT)));
        for register in saved.iter().rev() {
            self.emit(Instruction::with1(Code::Pop_r64, *register));
        }
        self.emit(Ok(Instruction::with(Code::Retnq)));
        let body = std::mem::take(&mut self.code);

        for register in &saved {
            self.emit(Instruction::with1(Code::Push_r64, *register));
        }
        self.emit(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, Register::RSP));
        self.emit(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, frame));
        self.emit(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64));
        self.emit(Instruction::with2(Code::Mov_rm64_r64, slot(STACK_POINTER_SLOT), Register::RAX));
        for (i, register) in ARGUMENTS.into_iter().enumerate() {
            self.emit(Instruction::with2(Code::Mov_rm64_r64, slot(i), register));
        }
        for (i, n) in std::mem::take(&mut self.lane_masks).into_iter().enumerate() {
            self.emit(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, (1i32 << n) - 1));
            let k = Register::K0 + FIRST_LANE_MASK + i as u32;
            self.emit(Instruction::with2(Code::VEX_Kmovw_kr_r32, k, Register::EAX));
        }
        let mut all = std::mem::take(&mut self.code);
        let start = all.len();
        all.extend(body);
        for (bytes, places) in &self.pool {
            all.resize(all.len().next_multiple_of(bytes.len()), 0xcc);
            let at = all.len();
            for place in places {
                let place = start + place;
                // The displacement counts from the end of the instruction; what is there is the distance from
                // the end of the displacement to it.
                let after = i32::from_le_bytes(all[place..place + 4].try_into().expect("four bytes"));
                let from = place as i64 + 4 + i64::from(after);
                let disp = i32::try_from(at as i64 - from).map_err(|_| Refusal::FarDisplacement)?;
                all[place..place + 4].copy_from_slice(&disp.to_le_bytes());
            }
            all.extend(bytes);
        }
        if self.failed { Err(Refusal::unsupported("an instruction that cannot be encoded")) } else { Ok(all) }
    }

    fn emit(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        self.emit_at(instruction, 0);
    }

    /// Appends an instruction that lies at `rip` as far as branches are concerned.
    fn emit_at(&mut self, instruction: Result<Instruction, iced_x86::IcedError>, rip: u64) {
        let encoded = instruction.and_then(|i| self.iced.encode(&i, rip));
        self.failed |= encoded.is_err();
        self.code.extend(self.iced.take_buffer());
    }

    /// The code of this width.
    fn pick(&self, ymm: Code, zmm: Code) -> Code {
        if self.width == Width::Bits256 { ymm } else { zmm }
    }

    fn reg(&self, v: &V) -> Register {
        self.reg_of(v.0)
    }

    fn reg_of(&self, n: u32) -> Register {
        self.pick_reg(Register::YMM0, Register::ZMM0) + n
    }

    fn pick_reg(&self, ymm: Register, zmm: Register) -> Register {
        if self.width == Width::Bits256 { ymm } else { zmm }
    }

    fn xmm(v: &V) -> Register {
        Register::XMM0 + v.0
    }

    fn vector(&mut self) -> R<V> {
        if self.vectors == 0 {
            return Err(Refusal::OutOfRegisters);
        }
        let n = self.vectors.trailing_zeros();
        self.vectors &= !(1 << n);
        Ok(V(n))
    }

    fn pointer(&mut self) -> R<P> {
        if self.general == 0 {
            return Err(Refusal::OutOfRegisters);
        }
        let n = self.general.trailing_zeros();
        self.general &= !(1 << n);
        if n >= FIRST_SAVED {
            self.saved |= 1 << n;
        }
        Ok(P(n))
    }

    fn constant(&mut self, bytes: &[u8]) -> usize {
        self.pool.iter().position(|(known, _)| known == bytes).unwrap_or_else(|| {
            self.pool.push((bytes.to_vec(), Vec::new()));
            self.pool.len() - 1
        })
    }

    /// A constant in every lane as an operand: a whole vector, or one element for an embedded broadcast.
    fn splat_operand(&mut self, bits: u32) -> Place {
        match self.width {
            Width::Bits256 => Place::Pool(self.constant(&bits.to_le_bytes().repeat(8)), false),
            Width::Bits512 => Place::Pool(self.constant(&bits.to_le_bytes()), true),
        }
    }

    /// An operand as an instruction can take it; a temporary for what it cannot, to be freed by the caller.
    fn place(&mut self, s: Src<'_>) -> R<(Place, Option<V>)> {
        Ok(match s {
            Src::Reg(v) => (Place::Reg(self.reg(v)), None),
            Src::Const(value) => (self.splat_operand(value.to_bits()), None),
            Src::Bits(bits) => (self.splat_operand(bits), None),
            Src::Mem(p, disp) => (Place::Mem(memory(p, disp, false)), None),
            Src::Splat(p, disp) if self.width == Width::Bits512 => (Place::Mem(memory(p, disp, true)), None),
            Src::Splat(p, disp) => {
                let v = self.load_splat(p, disp)?;
                (Place::Reg(self.reg(&v)), Some(v))
            }
        })
    }

    /// An operand in a register.
    fn register(&mut self, s: Src<'_>) -> R<(Register, Option<V>)> {
        let v = match s {
            Src::Reg(v) => return Ok((self.reg(v), None)),
            Src::Const(value) => self.splat(value)?,
            Src::Bits(bits) => self.splat(f32::from_bits(bits))?,
            Src::Mem(p, disp) => {
                let lanes = self.lanes();
                self.load(p, disp, lanes)?
            }
            Src::Splat(p, disp) => self.load_splat(p, disp)?,
        };
        Ok((self.reg(&v), Some(v)))
    }

    fn release(&mut self, temporary: Option<V>) {
        if let Some(v) = temporary {
            self.free(v);
        }
    }

    /// Emits what `build` makes of the operand, and notes references to constants.
    fn with_place(
        &mut self,
        place: &Place,
        build: impl Fn(Operand) -> Result<Instruction, iced_x86::IcedError>,
    ) {
        match place {
            Place::Reg(r) => self.emit(build(Operand::Reg(*r))),
            Place::Mem(m) => self.emit(build(Operand::Mem(*m))),
            Place::Pool(index, broadcast) => {
                let m =
                    MemoryOperand::new(Register::RIP, Register::None, 1, 0, 8, *broadcast, Register::None);
                let before = self.code.len();
                self.emit(build(Operand::Mem(m)));
                let offset = self.iced.get_constant_offsets().displacement_offset();
                let place = before + offset;
                if place + 4 <= self.code.len() {
                    let after = (self.code.len() - place - 4) as i32;
                    self.code[place..place + 4].copy_from_slice(&after.to_le_bytes());
                    self.pool[*index].1.push(place);
                } else {
                    self.failed = true;
                }
            }
        }
    }

    /// `d = code(a, place)`.
    fn three(&mut self, code: Code, d: Register, a: Register, place: &Place) {
        self.with_place(place, |operand| match operand {
            Operand::Reg(r) => Instruction::with3(code, d, a, r),
            Operand::Mem(m) => Instruction::with3(code, d, a, m),
        });
    }

    fn three_imm(&mut self, code: Code, d: Register, a: Register, place: &Place, imm: u32) {
        self.with_place(place, |operand| match operand {
            Operand::Reg(r) => Instruction::with4(code, d, a, r, imm),
            Operand::Mem(m) => Instruction::with4(code, d, a, m, imm),
        });
    }

    /// The mask register of the first `n` lanes.
    fn lane_mask(&mut self, n: usize) -> R<Register> {
        let i = match self.lane_masks.iter().position(|known| *known == n) {
            Some(i) => i,
            None if self.lane_masks.len() < LANE_MASKS => {
                self.lane_masks.push(n);
                self.lane_masks.len() - 1
            }
            None => return Err(Refusal::OutOfRegisters),
        };
        Ok(Register::K0 + FIRST_LANE_MASK + i as u32)
    }

    /// A vector whose first `n` lanes are all ones.
    fn lane_mask_vector(&mut self, n: usize) -> R<V> {
        let bytes: Vec<u8> = (0..8).flat_map(|lane| if lane < n { [0xff; 4] } else { [0; 4] }).collect();
        let index = self.constant(&bytes);
        let v = self.vector()?;
        let r = self.reg(&v);
        self.with_place(&Place::Pool(index, false), |operand| match operand {
            Operand::Reg(s) => Instruction::with2(Code::VEX_Vmovups_ymm_ymmm256, r, s),
            Operand::Mem(m) => Instruction::with2(Code::VEX_Vmovups_ymm_ymmm256, r, m),
        });
        Ok(v)
    }

    /// `d = s < d ? s : d` or `d = s > d ? s : d`; a NaN in `d` stays.
    fn extreme(&mut self, max: bool, d: Register, s: Register) {
        let code = if max {
            self.pick(Code::VEX_Vmaxps_ymm_ymm_ymmm256, Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae)
        } else {
            self.pick(Code::VEX_Vminps_ymm_ymm_ymmm256, Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae)
        };
        self.emit(Instruction::with3(code, d, s, d));
    }

    /// The same; a NaN in `s` wins too.
    fn extreme_nan(&mut self, max: bool, d: Register, s: Register) -> R {
        self.extreme(max, d, s);
        match self.width {
            Width::Bits256 => {
                let mask = self.vector()?;
                let m = self.reg(&mask);
                self.emit(Instruction::with4(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, m, s, s, CMP_UNORDERED));
                self.emit(Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, d, d, s, m));
                self.free(mask);
            }
            Width::Bits512 => {
                let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.emit(Instruction::with4(code, Register::K1, s, s, CMP_UNORDERED));
                self.emit(masked(
                    Instruction::with2(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, d, s),
                    Register::K1,
                    false,
                ));
            }
        }
        Ok(())
    }

    fn compare(&mut self, d: Register, place: &Place, predicate: u32) {
        match self.width {
            Width::Bits256 => self.three_imm(Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8, d, d, place, predicate),
            Width::Bits512 => {
                let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.three_imm(code, Register::K1, d, place, predicate);
                self.emit(Instruction::with2(Code::EVEX_Vpmovm2d_zmm_kr, d, Register::K1));
            }
        }
    }

    fn combine(&mut self, op: Across, d: &V, t: &V) -> R {
        match op {
            Across::Sum => self.op2(Op2::Add, d, Src::Reg(t)),
            Across::Prod => self.op2(Op2::Mul, d, Src::Reg(t)),
            Across::Max => self.op2(Op2::MaxNan, d, Src::Reg(t)),
            Across::Min => self.op2(Op2::MinNan, d, Src::Reg(t)),
        }
    }

    /// `p += bytes` for any number of bytes.
    fn add_immediate(&mut self, r: Register, bytes: i64) {
        if let Ok(imm) = i8::try_from(bytes) {
            self.emit(Instruction::with2(Code::Add_rm64_imm8, r, i32::from(imm)));
        } else if let Ok(imm) = i32::try_from(bytes) {
            self.emit(Instruction::with2(Code::Add_rm64_imm32, r, imm));
        } else {
            // Far away: in halves, which happens once per pointer at most.
            self.add_immediate(r, bytes / 2);
            self.add_immediate(r, bytes - bytes / 2);
        }
    }

    fn limit(&mut self, p: &P, limit: i64, cmov: Code) -> R {
        let temporary = self.pointer()?;
        let (r, t) = (general(p), general(&temporary));
        self.emit(Instruction::with2(Code::Mov_r64_imm64, t, limit));
        self.emit(Instruction::with2(Code::Cmp_r64_rm64, r, t));
        self.emit(Instruction::with2(cmov, r, t));
        self.free_ptr(temporary);
        Ok(())
    }

    /// Jumps back to `to` unless the last result was zero.
    fn loop_back(&mut self, to: usize) {
        let here = self.code.len();
        let code = if here - to < 120 { Code::Jne_rel8_64 } else { Code::Jne_rel32_64 };
        self.emit_at(Instruction::with_branch(code, to as u64), here as u64);
    }

    fn take_slot(&mut self) -> R<usize> {
        if let Some(slot) = self.free_slots.pop() {
            return Ok(slot);
        }
        if self.slots == SLOTS {
            return Err(Refusal::OutOfRegisters);
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }
}

/// An instruction's last operand.
enum Operand {
    Reg(Register),
    Mem(MemoryOperand),
}

fn general(p: &P) -> Register {
    GENERAL[p.0 as usize]
}

fn slot(i: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ(Register::RSP, 8 * i as i64)
}

fn parking(i: u32, lanes: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ(Register::RSP, 8 * SLOTS as i64 + i64::from(i) * 4 * lanes as i64)
}

fn memory(p: &P, disp: i32, broadcast: bool) -> MemoryOperand {
    let base = general(p);
    // rbp and r13 cannot be encoded without a displacement.
    let size = u32::from(disp != 0 || matches!(base, Register::RBP | Register::R13));
    MemoryOperand::new(base, Register::None, 1, disp.into(), size, broadcast, Register::None)
}

fn masked(
    instruction: Result<Instruction, iced_x86::IcedError>,
    k: Register,
    zeroing: bool,
) -> Result<Instruction, iced_x86::IcedError> {
    instruction.map(|mut i| {
        i.set_op_mask(k);
        i.set_zeroing_masking(zeroing);
        i
    })
}

impl Simd for Encoder {
    fn lanes(&self) -> usize {
        if self.width == Width::Bits256 { 8 } else { 16 }
    }

    fn arg(&mut self, i: usize) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&p), slot(i)));
        Ok(p)
    }

    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P> {
        let p = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&p), memory(base, disp, false)));
        Ok(p)
    }

    fn copy_ptr(&mut self, p: &P) -> R<P> {
        let copy = self.pointer()?;
        self.emit(Instruction::with2(Code::Mov_r64_rm64, general(&copy), general(p)));
        Ok(copy)
    }

    fn advance(&mut self, p: &P, bytes: i64) {
        if bytes != 0 {
            self.add_immediate(general(p), bytes);
        }
    }

    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R {
        let scale = i32::try_from(scale).map_err(|_| Refusal::FarDisplacement)?;
        let temporary = self.pointer()?;
        let t = general(&temporary);
        self.emit(Instruction::with3(Code::Imul_r64_rm64_imm32, t, general(count), scale));
        self.emit(Instruction::with2(Code::Add_r64_rm64, general(p), t));
        self.free_ptr(temporary);
        Ok(())
    }

    fn difference(&mut self, a: &P, b: &P) -> R<P> {
        let p = self.copy_ptr(a)?;
        self.emit(Instruction::with2(Code::Sub_r64_rm64, general(&p), general(b)));
        Ok(p)
    }

    fn at_most(&mut self, p: &P, limit: i64) -> R {
        self.limit(p, limit, Code::Cmovg_r64_rm64)
    }

    fn at_least(&mut self, p: &P, limit: i64) -> R {
        self.limit(p, limit, Code::Cmovl_r64_rm64)
    }

    fn free_ptr(&mut self, p: P) {
        self.general |= 1 << p.0;
    }

    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        match count {
            0 => return Ok(()),
            1 => return body(self),
            _ => {}
        }
        if let Ok(counter) = self.pointer() {
            let r = general(&counter);
            let count =
                i32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^31 iterations"))?;
            self.emit(Instruction::with2(Code::Mov_rm64_imm32, r, count));
            let head = self.code.len();
            body(self)?;
            self.emit(Instruction::with2(Code::Sub_rm64_imm8, r, 1));
            self.loop_back(head);
            self.free_ptr(counter);
        } else {
            let slot_index = self.take_slot()?;
            let count =
                i32::try_from(count).map_err(|_| Refusal::unsupported("more than 2^31 iterations"))?;
            self.emit(Instruction::with2(Code::Mov_rm64_imm32, slot(slot_index), count));
            let head = self.code.len();
            body(self)?;
            self.emit(Instruction::with2(Code::Sub_rm64_imm8, slot(slot_index), 1));
            self.loop_back(head);
            self.free_slots.push(slot_index);
        }
        Ok(())
    }

    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R {
        // Counted in the frame, so that the range of a thread costs no register.
        let slot_index = self.take_slot()?;
        let r = general(&count);
        self.emit(Instruction::with2(Code::Mov_rm64_r64, slot(slot_index), r));
        self.emit(Instruction::with2(Code::Test_rm64_r64, r, r));
        let here = self.code.len() as u64;
        self.emit_at(Instruction::with_branch(Code::Jle_rel32_64, here), here);
        let patch = self.code.len();
        self.free_ptr(count);
        let head = self.code.len();
        body(self)?;
        self.emit(Instruction::with2(Code::Sub_rm64_imm8, slot(slot_index), 1));
        self.loop_back(head);
        let distance = i32::try_from(self.code.len() - patch).map_err(|_| Refusal::FarDisplacement)?;
        self.code[patch - 4..patch].copy_from_slice(&distance.to_le_bytes());
        self.free_slots.push(slot_index);
        Ok(())
    }

    fn splat(&mut self, value: f32) -> R<V> {
        let v = self.vector()?;
        let r = self.reg(&v);
        if value.to_bits() == 0 {
            let x = Self::xmm(&v);
            let code = if v.0 < 16 {
                Code::VEX_Vxorps_xmm_xmm_xmmm128
            } else {
                Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32
            };
            let d = if v.0 < 16 { x } else { r };
            self.emit(Instruction::with3(code, d, d, d));
        } else {
            let index = self.constant(&value.to_bits().to_le_bytes());
            let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
            self.with_place(&Place::Pool(index, false), |operand| match operand {
                Operand::Reg(s) => Instruction::with2(code, r, s),
                Operand::Mem(m) => Instruction::with2(code, r, m),
            });
        }
        Ok(v)
    }

    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V> {
        if self.width == Width::Bits256 && ![1, 4, self.lanes()].contains(&n) {
            // The mask's register becomes the result.
            let v = self.lane_mask_vector(n)?;
            let (r, m) = (self.reg(&v), memory(p, disp, false));
            self.emit(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, r, r, m));
            return Ok(v);
        }
        let v = self.vector()?;
        let (r, m) = (self.reg(&v), memory(p, disp, false));
        if n == self.lanes() {
            let code = self.pick(Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512);
            self.emit(Instruction::with2(code, r, m));
        } else if self.width == Width::Bits512 {
            let k = self.lane_mask(n)?;
            self.emit(masked(Instruction::with2(Code::EVEX_Vmovups_zmm_k1z_zmmm512, r, m), k, true));
        } else if n == 1 {
            self.emit(Instruction::with2(Code::VEX_Vmovss_xmm_m32, Self::xmm(&v), m));
        } else {
            self.emit(Instruction::with2(Code::VEX_Vmovups_xmm_xmmm128, Self::xmm(&v), m));
        }
        Ok(v)
    }

    fn load_splat(&mut self, p: &P, disp: i32) -> R<V> {
        let v = self.vector()?;
        let code = self.pick(Code::VEX_Vbroadcastss_ymm_m32, Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32);
        self.emit(Instruction::with2(code, self.reg(&v), memory(p, disp, false)));
        Ok(v)
    }

    fn copy(&mut self, v: &V) -> R<V> {
        let copy = self.vector()?;
        self.assign(&copy, v);
        Ok(copy)
    }

    fn assign(&mut self, d: &V, s: &V) {
        if d.0 != s.0 {
            let code = self.pick(Code::VEX_Vmovaps_ymm_ymmm256, Code::EVEX_Vmovaps_zmm_k1z_zmmm512);
            self.emit(Instruction::with2(code, self.reg(d), self.reg(s)));
        }
    }

    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R {
        let (r, m) = (self.reg(v), memory(p, disp, false));
        if n == self.lanes() {
            let code = self.pick(Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
            self.emit(Instruction::with2(code, m, r));
        } else if self.width == Width::Bits512 {
            let k = self.lane_mask(n)?;
            self.emit(masked(Instruction::with2(Code::EVEX_Vmovups_zmmm512_k1z_zmm, m, r), k, false));
        } else if n == 1 {
            self.emit(Instruction::with2(Code::VEX_Vmovss_m32_xmm, m, Self::xmm(v)));
        } else if n == 4 {
            self.emit(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, m, Self::xmm(v)));
        } else {
            let mask = self.lane_mask_vector(n)?;
            self.emit(Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, m, self.reg(&mask), r));
            self.free(mask);
        }
        Ok(())
    }

    fn free(&mut self, v: V) {
        self.vectors |= 1 << v.0;
    }

    fn spare(&self) -> usize {
        self.vectors.count_ones() as usize
    }

    fn park(&mut self, v: V) -> R<Parked> {
        let i = self.free_parking.pop().unwrap_or_else(|| {
            self.parking += 1;
            self.parking - 1
        });
        let lanes = self.lanes();
        let code = self.pick(Code::VEX_Vmovups_ymmm256_ymm, Code::EVEX_Vmovups_zmmm512_k1z_zmm);
        self.emit(Instruction::with2(code, parking(i, lanes), self.reg(&v)));
        self.free(v);
        Ok(Parked(i))
    }

    fn unpark(&mut self, parked: Parked) -> R<V> {
        let v = self.vector()?;
        let lanes = self.lanes();
        let code = self.pick(Code::VEX_Vmovups_ymm_ymmm256, Code::EVEX_Vmovups_zmm_k1z_zmmm512);
        self.emit(Instruction::with2(code, self.reg(&v), parking(parked.0, lanes)));
        self.free_parking.push(parked.0);
        Ok(v)
    }

    fn op1(&mut self, op: Op1, d: &V) -> R {
        let r = self.reg(d);
        let (code, imm) = match op {
            Op1::Abs => return self.op2(Op2::And, d, Src::Bits(0x7fff_ffff)),
            Op1::Neg => return self.op2(Op2::Xor, d, Src::Bits(0x8000_0000)),
            Op1::Sqrt => {
                (self.pick(Code::VEX_Vsqrtps_ymm_ymmm256, Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::ToInt => {
                (self.pick(Code::VEX_Vcvtps2dq_ymm_ymmm256, Code::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::ToFloat => {
                (self.pick(Code::VEX_Vcvtdq2ps_ymm_ymmm256, Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er), None)
            }
            Op1::Floor | Op1::Ceil | Op1::Round => {
                let code = self.pick(
                    Code::VEX_Vroundps_ymm_ymmm256_imm8,
                    Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
                );
                let mode = match op {
                    Op1::Floor => 9, // without an exception for inexact results
                    Op1::Ceil => 10,
                    _ => 8,
                };
                (code, Some(mode))
            }
            Op1::Shl(n) => (
                self.pick(Code::VEX_Vpslld_ymm_ymm_imm8, Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8),
                Some(n.into()),
            ),
            Op1::Shr(n) => (
                self.pick(Code::VEX_Vpsrld_ymm_ymm_imm8, Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8),
                Some(n.into()),
            ),
        };
        match imm {
            None => self.emit(Instruction::with2(code, r, r)),
            Some(imm) => self.emit(Instruction::with3::<_, _, u32>(code, r, r, imm)),
        }
        Ok(())
    }

    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R {
        let r = self.reg(d);
        if let Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan = op {
            // The second operand survives a NaN, so `s` comes first and has to be a register.
            let (s, temporary) = self.register(s)?;
            match op {
                Op2::Min => self.extreme(false, r, s),
                Op2::Max => self.extreme(true, r, s),
                Op2::MinNan => self.extreme_nan(false, r, s)?,
                _ => self.extreme_nan(true, r, s)?,
            }
            self.release(temporary);
            return Ok(());
        }
        let (place, temporary) = self.place(s)?;
        let code = match op {
            Op2::Add => {
                self.pick(Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Sub => {
                self.pick(Code::VEX_Vsubps_ymm_ymm_ymmm256, Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Mul => {
                self.pick(Code::VEX_Vmulps_ymm_ymm_ymmm256, Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::Div => {
                self.pick(Code::VEX_Vdivps_ymm_ymm_ymmm256, Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er)
            }
            Op2::And => self.pick(Code::VEX_Vandps_ymm_ymm_ymmm256, Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32),
            Op2::Or => self.pick(Code::VEX_Vorps_ymm_ymm_ymmm256, Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32),
            Op2::Xor => self.pick(Code::VEX_Vxorps_ymm_ymm_ymmm256, Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32),
            Op2::AndNot => {
                self.pick(Code::VEX_Vandnps_ymm_ymm_ymmm256, Code::EVEX_Vpandnd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::IntAdd => {
                self.pick(Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::IntSub => {
                self.pick(Code::VEX_Vpsubd_ymm_ymm_ymmm256, Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32)
            }
            Op2::Lt | Op2::Le | Op2::Eq => {
                let predicate = match op {
                    Op2::Lt => CMP_LT,
                    Op2::Le => CMP_LE,
                    _ => CMP_EQ,
                };
                self.compare(r, &place, predicate);
                self.release(temporary);
                return Ok(());
            }
            Op2::Min | Op2::Max | Op2::MinNan | Op2::MaxNan => unreachable!("handled above"),
        };
        self.three(code, r, r, &place);
        self.release(temporary);
        Ok(())
    }

    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let (place, temporary) = self.place(b)?;
        let code = self
            .pick(Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er);
        self.three(code, self.reg(d), self.reg(a), &place);
        self.release(temporary);
        Ok(())
    }

    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R {
        let (place, temporary) = self.place(c)?;
        let code = self
            .pick(Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er);
        self.three(code, self.reg(d), self.reg(a), &place);
        self.release(temporary);
        Ok(())
    }

    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R {
        let t = self.vector()?;
        let (r, x) = (self.reg(&t), Self::xmm(&t));
        let within = lane as u32 * 0x55;
        match self.width {
            Width::Bits256 => {
                self.emit(Instruction::with3(Code::VEX_Vpermilps_xmm_xmmm128_imm8, x, Self::xmm(a), within));
                self.emit(Instruction::with2(Code::VEX_Vbroadcastss_ymm_xmm, r, x));
            }
            Width::Bits512 => {
                let code = Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8;
                self.emit(Instruction::with3(code, r, self.reg(a), within));
                self.emit(Instruction::with2(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, r, x));
            }
        }
        self.fma(d, b, Src::Reg(&t))?;
        self.free(t);
        Ok(())
    }

    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R {
        let (r, m) = (self.reg(d), self.reg(mask));
        match self.width {
            Width::Bits256 => {
                let (s, temporary) = self.register(s)?;
                self.emit(Instruction::with4(Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm, r, s, r, m));
                self.release(temporary);
            }
            Width::Bits512 => {
                let (place, temporary) = self.place(s)?;
                // mask ? d : s, bit by bit.
                self.three_imm(Code::EVEX_Vpternlogd_zmm_k1z_zmm_zmmm512b32_imm8, r, m, &place, 0xe2);
                self.release(temporary);
            }
        }
        Ok(())
    }

    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R {
        if n >= self.lanes() {
            return Ok(());
        }
        if self.width == Width::Bits256 {
            let mask = self.lane_mask_vector(n)?;
            self.keep_where(d, &mask, Src::Const(value))?;
            self.free(mask);
        } else {
            let other = self.splat(value)?;
            let k = self.lane_mask(n)?;
            let (r, o) = (self.reg(d), self.reg(&other));
            let code = Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32;
            self.emit(masked(Instruction::with3(code, r, o, r), k, false));
            self.free(other);
        }
        Ok(())
    }

    fn across(&mut self, op: Across, d: &V) -> R {
        let t = self.vector()?;
        let (r, s) = (self.reg(d), self.reg(&t));
        // Halves of vectors, then of 128 bits.
        let halves: &[u32] = if self.width == Width::Bits256 { &[0x01] } else { &[0x4e, 0xb1] };
        let code = self.pick(
            Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
            Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8,
        );
        for imm in halves {
            self.emit(Instruction::with4(code, s, r, r, *imm));
            self.combine(op, d, &t)?;
        }
        let code =
            self.pick(Code::VEX_Vpermilps_ymm_ymmm256_imm8, Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8);
        for imm in [0x4e_u32, 0xb1] {
            self.emit(Instruction::with3(code, s, r, imm));
            self.combine(op, d, &t)?;
        }
        self.free(t);
        Ok(())
    }

    fn transpose(&mut self, _: [&V; 4]) -> R {
        Err(Refusal::unsupported("transposes are done in 128 bits"))
    }
}
