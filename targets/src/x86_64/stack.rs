//! The stack that a function takes, by its instructions.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, OpKind, Register};

/// Stack pointers are multiples of that at calls.
const CALL_ALIGN: i64 = 16;

/// The return address, and what the prologue goes down by: all until the code first branches. Where the stack pointer is aligned,
/// it goes down by as much as it may. `None` where it moves otherwise.
pub(super) fn bytes(code: &[u8]) -> Option<u32> {
    let (mut depth, mut most) = (8i64, 8i64);
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let branches =
            instruction.op0_kind() == OpKind::NearBranch64 && instruction.code() != Code::Call_rel32_64;
        if branches || instruction.code() == Code::Retnq {
            return u32::try_from(most).ok();
        }
        depth += match instruction.code() {
            Code::Push_r64 => 8,
            Code::Pop_r64 => -8,
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if moves(&instruction) => number(&instruction)?,
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if moves(&instruction) => -number(&instruction)?,
            Code::And_rm64_imm8 | Code::And_rm64_imm32 if moves(&instruction) => {
                let align = -number(&instruction)?;
                // Of the places that it may be at, that which is farthest above a multiple.
                let above = (-depth).rem_euclid(CALL_ALIGN);
                if align < CALL_ALIGN || align & (align - 1) != 0 {
                    return None;
                }
                align - CALL_ALIGN + above
            }
            // What else is done with it only brings back what was.
            _ if moves(&instruction) => return u32::try_from(most).ok(),
            _ => 0,
        };
        most = most.max(depth);
    }
    u32::try_from(most).ok()
}

/// Whether an instruction writes the stack pointer by name.
fn moves(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RSP
        && !matches!(instruction.code(), Code::Cmp_rm64_r64 | Code::Cmp_r64_rm64 | Code::Test_rm64_r64)
}

fn number(instruction: &Instruction) -> Option<i64> {
    let kind = instruction.op1_kind();
    matches!(kind, OpKind::Immediate8to64 | OpKind::Immediate32to64).then(|| instruction.immediate(1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prologues_are_counted() {
        // ret
        assert_eq!(bytes(&[0xc3]), Some(8));
        // push rbp; mov rbp, rsp; sub rsp, 48; add rsp, 48; pop rbp; ret
        let framed = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 48, 0x48, 0x83, 0xc4, 48, 0x5d, 0xc3];
        assert_eq!(bytes(&framed), Some(64));
        // push rbx; mov rax, rsp; sub rsp, 0x120; and rsp, -64; mov rsp, [rsp + 24]; pop rbx; ret: by 48 more at most
        let aligned = [
            0x53, 0x48, 0x89, 0xe0, 0x48, 0x81, 0xec, 0x20, 1, 0, 0, 0x48, 0x83, 0xe4, 0xc0, 0x48, 0x8b,
            0x64, 0x24, 24, 0x5b, 0xc3,
        ];
        assert_eq!(bytes(&aligned), Some(16 + 0x120 + 48));
    }
}
