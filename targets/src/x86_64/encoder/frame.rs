//! The prologue and the epilogue, and what debuggers are told of them.
//!
//! ```text
//! push ...                            push rbp; push ...
//! mov rax, rsp                        mov rbp, rsp                   (Windows)
//! sub rsp, frame; and rsp, -64        sub rsp, frame; and rsp, -64
//! mov [rsp + 24], rax
//! ...                                 ...
//! mov rsp, [rsp + 24]                 lea rsp, [rbp]
//! pop ...                             pop ...; pop rbp
//! ret                                 ret
//! ```
//!
//! Vectors in the frame are aligned, and its caller's stack pointer is kept in it: in terms of DWARF the canonical frame address
//! is the word at `rsp + 24` and what was pushed. Windows cannot say that, and has a frame pointer instead.

use gimli::write::{CallFrameInstruction as Rule, Expression};
use gimli::{Register as Dwarf, X86_64};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, MemoryOperand, Register};

use super::{Encoder, FIRST_SAVED, GENERAL, SLOTS, STACK_POINTER_SLOT, slot};
use crate::simd::{R, Refusal, Simd};
use crate::unwind::Unwind;

/// Below a stack lies a page that Windows waits for: a frame that is larger would have to touch it first.
const PAGE_BYTES: i32 = 4096;

/// Where the epilogue's instructions end, and how many registers are pushed still.
pub(super) type Ends = Vec<(usize, usize)>;

impl Encoder {
    /// Registers of the caller's in the order in which they are pushed.
    fn pushed(&self) -> Vec<Register> {
        let saved = (FIRST_SAVED..GENERAL.len() as u32).filter(|i| self.saved >> i & 1 == 1);
        let pointer = self.frame_pointer.then_some(Register::RBP);
        pointer.into_iter().chain(saved.map(|i| GENERAL[i as usize])).collect()
    }

    /// Appends the epilogue.
    pub(super) fn epilogue(&mut self) -> Ends {
        let pushed = self.pushed();
        if self.lanes() > 4 {
            self.emit(Ok(Instruction::with(Code::VEX_Vzeroupper)));
        }
        self.emit(match self.frame_pointer {
            true => Instruction::with2(Code::Lea_r64_m, Register::RSP, memory_at(Register::RBP)),
            false => Instruction::with2(Code::Mov_r64_rm64, Register::RSP, slot(STACK_POINTER_SLOT)),
        });
        let mut ends = vec![(self.code.len(), pushed.len())];
        for (left, register) in pushed.iter().enumerate().rev() {
            self.emit(Instruction::with1(Code::Pop_r64, *register));
            ends.push((self.code.len(), left));
        }
        self.emit(Ok(Instruction::with(Code::Retnq)));
        ends
    }

    /// Bytes of the frame. Refuses what is too large for Windows.
    pub(crate) fn frame(&self) -> R<i32> {
        let bytes = (8 * SLOTS + 4 * self.lanes() * self.parking as usize) as i32;
        let too_large = self.frame_pointer && bytes + 64 > PAGE_BYTES;
        if too_large { Err(Refusal::OutOfRegisters) } else { Ok(bytes) }
    }

    /// Appends the prologue.
    pub(super) fn prologue(&mut self) -> R<Told> {
        let (pushed, frame) = (self.pushed(), self.frame()?);
        let mut told = if self.frame_pointer { Told::Windows(Vec::new()) } else { Told::Dwarf(Vec::new()) };
        for (i, register) in pushed.iter().enumerate() {
            self.emit(Instruction::with1(Code::Push_r64, *register));
            told.pushed(self.code.len(), *register, i + 1);
        }
        let copy = if self.frame_pointer { Register::RBP } else { Register::RAX };
        self.emit(Instruction::with2(Code::Mov_r64_rm64, copy, Register::RSP));
        told.copied(self.code.len());
        self.emit(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, frame));
        self.emit(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64));
        if !self.frame_pointer {
            self.emit(Instruction::with2(Code::Mov_rm64_r64, slot(STACK_POINTER_SLOT), copy));
            told.kept(self.code.len(), pushed.len());
        }
        Ok(told)
    }
}

/// What is said so far; places are those behind an instruction.
pub(super) enum Told {
    Dwarf(Vec<(u32, Rule)>),
    /// Codes of the prologue, in its order.
    Windows(Vec<[u8; 2]>),
}

impl Told {
    /// A register is pushed as the `count`th.
    fn pushed(&mut self, end: usize, register: Register, count: usize) {
        match self {
            Self::Dwarf(rules) => {
                let bytes = 8 * (1 + count as i32);
                rules.push((end as u32, Rule::CfaOffset(bytes)));
                rules.push((end as u32, Rule::Offset(dwarf(register), -bytes)));
            }
            // UWOP_PUSH_NONVOL.
            Self::Windows(codes) => codes.push([end as u8, number(register) << 4]),
        }
    }

    /// The stack pointer of then is in another register.
    fn copied(&mut self, end: usize) {
        match self {
            Self::Dwarf(rules) => rules.push((end as u32, Rule::CfaRegister(X86_64::RAX))),
            // UWOP_SET_FPREG.
            Self::Windows(codes) => codes.push([end as u8, 3]),
        }
    }

    /// It is in the frame.
    fn kept(&mut self, end: usize, pushed: usize) {
        if let Self::Dwarf(rules) = self {
            let mut address = Expression::new();
            address.op_breg(X86_64::RSP, 8 * STACK_POINTER_SLOT as i64);
            address.op_deref();
            address.op_plus_uconst(8 * (1 + pushed as u64));
            rules.push((end as u32, Rule::CfaExpression(address)));
        }
    }

    /// All of it, with an epilogue behind so many bytes. Windows knows one by its instructions.
    pub(super) fn finish(mut self, before: usize, ends: Ends) -> Unwind {
        if let Self::Dwarf(rules) = &mut self {
            let left = |(end, pushed): (usize, usize)| {
                ((before + end) as u32, Rule::Cfa(X86_64::RSP, 8 * (1 + pushed as i32)))
            };
            rules.extend(ends.into_iter().map(left));
        }
        match self {
            Self::Dwarf(rules) => Unwind::Dwarf(rules),
            Self::Windows(codes) => {
                let length = codes.last().map_or(0, |code| code[0]);
                let mut info = vec![1, length, codes.len() as u8, number(Register::RBP)];
                info.extend(codes.iter().rev().flatten());
                info.resize(info.len().next_multiple_of(4), 0);
                Unwind::Windows(info)
            }
        }
    }
}

fn memory_at(base: Register) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(base, 0, 1)
}

/// Frames of Cranelift's, `push rbp; mov rbp, rsp`, are left by `pop rbp; ret`.
pub(crate) fn returns(code: &[u8]) -> Vec<(u32, Rule)> {
    if !code.starts_with(&[0x55, 0x48, 0x89, 0xe5]) {
        return Vec::new();
    }
    let mut rules = Vec::new();
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.code() == Code::Retnq {
            let (at, behind) = (instruction.ip() as u32, instruction.next_ip() as u32);
            rules.extend([(at, Rule::Cfa(X86_64::RSP, 8)), (at, Rule::Restore(X86_64::RBP))]);
            if (behind as usize) < code.len() {
                rules
                    .extend([(behind, Rule::Cfa(X86_64::RBP, 16)), (behind, Rule::Offset(X86_64::RBP, -16))]);
            }
        }
    }
    rules
}

/// The processor's number of a general register of 64 bits.
fn number(register: Register) -> u8 {
    (register as u32 - Register::RAX as u32) as u8
}

fn dwarf(register: Register) -> Dwarf {
    match register {
        Register::RBX => X86_64::RBX,
        Register::RBP => X86_64::RBP,
        // From eight on the numbers are the processor's.
        other => Dwarf(number(other).into()),
    }
}
