//! The vector builder on an encoder of x86-64: vectors of 128 bits (SSE2, AVX, AVX with FMA), 256 bits (AVX2 and FMA)
//! or 512 bits (AVX-512 F and DQ, BW and VNNI where there are products of bytes).
//!
//! Physical registers are handed out by ownership; a kernel that needs too many is refused, nothing is spilled
//! unless it is parked. The function that results is a leaf of SystemV convention: arguments wait in its frame,
//! callee-saved registers are pushed when they are used, constants lie behind the code.
//!
//! Masks for the first `n` lanes are mask registers set up at entry (512 bits) or vectors of constants; 1, 2, 4 and 8 lanes
//! are a narrower instruction, and 256 bits are stored in pieces.

mod apart;
mod bytes;
mod codes;
mod constants;
mod convert;
mod elements;
pub(crate) mod frame;
mod halves;
mod indices;
mod lane_codes;
mod lanes;
mod narrow;
mod ops;
mod pieces;
mod strided;
mod together;

use iced_x86::{Code, Encoder as Iced, Instruction, MemoryOperand, Register};
use target_lexicon::{Architecture, OperatingSystem};

use self::codes::{Codes, Encoding, MOVE};
use crate::simd::{P, R, Refusal, Simd, Src, V};
use crate::target::Target;
use crate::unwind::Encoded;

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

/// A function under construction.
pub(crate) struct Encoder {
    encoding: Encoding,
    /// Multiply-add is an instruction.
    fma: bool,
    /// Rounding to integers is an instruction.
    rounds: bool,
    /// Conversions between f16 and f32 are instructions.
    halves: bool,
    /// Dot products of four bytes are instructions.
    dot4: bool,
    /// Vectors of 512 bits have operations on elements of 8 and 16 bits.
    short_elements: bool,
    /// Bytes of 512 bits are permuted by instructions.
    byte_permutes: bool,
    /// Bytes of 128 bits are.
    shuffles_bytes: bool,
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
    /// Constants of lanes of 32 bits that have a register throughout.
    kept: Vec<(u32, V)>,
    /// Numbers of lanes that have a mask register.
    lane_masks: Vec<usize>,
    /// The places of every other element of two vectors, in a register of their own.
    every_other: Option<V>,
    /// The places of a matrix of 4 x 4 lanes that is turned, in a register of their own.
    turned: Option<V>,
    /// The last instruction, where it is a copy: where it begins and ends, to, from.
    copied: Option<(usize, usize, Register, Register)>,
    /// Some instruction could not be encoded.
    failed: bool,
    /// rbp belongs to the frame, as Windows wants it.
    frame_pointer: bool,
    /// Nothing is encoded; registers are handed out as ever.
    dry: bool,
}

/// An operand that an instruction can take.
#[derive(Clone, Copy)]
enum Place {
    Reg(Register),
    Mem(MemoryOperand),
    /// A constant, by position in the pool; `true` for an embedded broadcast.
    Pool(usize, bool),
}

impl Encoder {
    /// An empty function for a target; `None` for another architecture.
    pub(crate) fn new(target: &Target) -> Option<Self> {
        if target.triple.architecture != Architecture::X86_64 {
            return None;
        }
        let encoding = match target.vector_bytes {
            64 => Encoding::Evex512,
            32 => Encoding::Vex256,
            _ if target.features.contains(&"avx") => Encoding::Vex128,
            _ => Encoding::Legacy,
        };
        let registers = if encoding == Encoding::Evex512 { 32 } else { 16 };
        let frame_pointer = target.triple.operating_system == OperatingSystem::Windows;
        let general = (0..GENERAL.len()).filter(|i| !frame_pointer || GENERAL[*i] != Register::RBP);
        Some(Self {
            encoding,
            fma: target.fma,
            rounds: target.rounds,
            halves: target.halves,
            dot4: target.dot4,
            byte_permutes: target.vector_bytes == 64 && target.features.contains(&"avx512vbmi"),
            shuffles_bytes: target.shuffles_bytes,
            short_elements: target.features.contains(&"avx512bw"),
            iced: Iced::new(64),
            code: Vec::new(),
            vectors: if registers == 32 { u32::MAX } else { (1 << registers) - 1 },
            general: general.map(|i| 1 << i).sum(),
            frame_pointer,
            saved: 0,
            slots: STACK_POINTER_SLOT + 1,
            free_slots: Vec::new(),
            parking: 0,
            free_parking: Vec::new(),
            pool: Vec::new(),
            kept: Vec::new(),
            lane_masks: Vec::new(),
            every_other: None,
            turned: None,
            copied: None,
            failed: false,
            dry: false,
        })
    }

    /// The same for finding out whether the registers are enough: no code comes of it.
    pub(crate) fn without_code(mut self) -> Self {
        self.dry = true;
        self
    }

    /// The finished function: prologue, what was built, epilogue, constants. It may lie anywhere; aligning it to
    /// 64 bytes aligns its constants too.
    pub(crate) fn finish(mut self) -> R<Encoded> {
        let ends = self.epilogue();
        let body = std::mem::take(&mut self.code);
        let told = self.prologue()?;
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
        let unwind = told.finish(start, ends);
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
        if self.failed {
            return Err(Refusal::unsupported("an instruction that cannot be encoded"));
        }
        Ok(Encoded { code: all, unwind })
    }

    fn emit(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        self.emit_at(instruction, 0);
    }

    /// Appends an instruction that lies at `rip` as far as branches are concerned.
    fn emit_at(&mut self, instruction: Result<Instruction, iced_x86::IcedError>, rip: u64) {
        if self.dry {
            return;
        }
        let encoded = instruction.and_then(|i| self.iced.encode(&i, rip));
        self.failed |= encoded.is_err();
        self.code.extend(self.iced.take_buffer());
    }

    fn pick(&self, codes: &Codes) -> Code {
        codes[self.encoding as usize]
    }

    fn reg(&self, v: &V) -> Register {
        let first = match self.encoding {
            Encoding::Legacy | Encoding::Vex128 => Register::XMM0,
            Encoding::Vex256 => Register::YMM0,
            Encoding::Evex512 => Register::ZMM0,
        };
        first + v.0
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

    /// An operand as an instruction can take it; a temporary for what it cannot, to be freed by the caller.
    fn place(&mut self, s: Src<'_>) -> R<(Place, Option<V>)> {
        Ok(match s {
            Src::Reg(v) => (Place::Reg(self.reg(v)), None),
            Src::Const(value) => (self.splat_operand(value.to_bits()), None),
            Src::Bits(bits) => (self.splat_operand(bits), None),
            Src::Wide(bits) => (self.wide_operand(bits), None),
            Src::Mem(p, disp) if self.encoding != Encoding::Legacy => {
                (Place::Mem(memory(p, disp, false)), None)
            }
            Src::Splat(p, disp) if self.encoding == Encoding::Evex512 => {
                (Place::Mem(memory(p, disp, true)), None)
            }
            Src::Mem(..) | Src::Splat(..) => {
                let (register, temporary) = self.register(s)?;
                (Place::Reg(register), temporary)
            }
        })
    }

    /// An operand in a register.
    fn register(&mut self, s: Src<'_>) -> R<(Register, Option<V>)> {
        let word = match s {
            Src::Const(value) => Some(value.to_bits()),
            Src::Bits(bits) => Some(bits),
            _ => None,
        };
        if let Some(r) = word.and_then(|word| self.kept(word)) {
            return Ok((r, None));
        }
        let v = match s {
            Src::Reg(v) => return Ok((self.reg(v), None)),
            Src::Const(value) => self.splat(value)?,
            Src::Bits(bits) => self.splat(f32::from_bits(bits))?,
            Src::Wide(bits) => self.splat_64(bits)?,
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
                if self.dry {
                    return;
                }
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

    /// `d = op place`.
    fn two(&mut self, op: &Codes, d: Register, place: &Place) {
        let code = self.pick(op);
        self.with_place(place, |operand| match operand {
            Operand::Reg(r) => Instruction::with2(code, d, r),
            Operand::Mem(m) => Instruction::with2(code, d, m),
        });
    }

    /// `d = a op place`. Without VEX `a` is copied to `d` first, so that `place` must not be `d` unless `a` is.
    fn three(&mut self, op: &Codes, d: Register, a: Register, place: &Place) {
        let (a, place) = self.before_copy(d, a, place);
        self.three_of_all(op, d, a, &place);
    }

    /// The same for instructions that read `d` too, such as multiply-adds.
    fn three_of_all(&mut self, op: &Codes, d: Register, a: Register, place: &Place) {
        if self.encoding == Encoding::Legacy {
            if d != a {
                self.failed |= matches!(place, Place::Reg(r) if *r == d);
                self.two(&MOVE, d, &Place::Reg(a));
            }
            return self.two(op, d, place);
        }
        let code = self.pick(op);
        self.with_place(place, |operand| match operand {
            Operand::Reg(r) => Instruction::with3(code, d, a, r),
            Operand::Mem(m) => Instruction::with3(code, d, a, m),
        });
    }

    /// `d = a op place` with an immediate and VEX or EVEX.
    fn three_imm(&mut self, code: Code, d: Register, a: Register, place: &Place, imm: u32) {
        let (a, place) = self.before_copy(d, a, place);
        self.with_place(&place, |operand| match operand {
            Operand::Reg(r) => Instruction::with4(code, d, a, r, imm),
            Operand::Mem(m) => Instruction::with4(code, d, a, m, imm),
        });
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

/// `p + count * scale + disp`.
fn scaled(p: &P, disp: i32, count: &P, scale: u32) -> MemoryOperand {
    MemoryOperand { index: general(count), scale, ..memory(p, disp, false) }
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
