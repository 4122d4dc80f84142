//! Text of functions, for people and golden tests.

use std::collections::BTreeMap;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, Mnemonic, OpKind};
use iced_x86::{SymbolResolver, SymbolResult};

use crate::line::Line;

/// Places of the function that have a name.
#[derive(Clone, Default)]
struct Names(BTreeMap<u64, String>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _: &Instruction,
        _: u32,
        _: Option<u32>,
        address: u64,
        _: u32,
    ) -> Option<SymbolResult<'_>> {
        self.0.get(&address).map(|name| SymbolResult::with_str(address, name))
    }
}

/// The instructions up to the return that nothing branches beyond, and the constants behind it.
pub(crate) fn lines(code: &[u8]) -> Vec<Line> {
    let mut instructions = Vec::new();
    let mut furthest = 0;
    for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            furthest = furthest.max(instruction.near_branch_target());
        }
        let last = instruction.mnemonic() == Mnemonic::Ret && instruction.next_ip() > furthest;
        instructions.push(instruction);
        if last {
            break;
        }
    }
    let mut places: BTreeMap<u64, bool> = BTreeMap::new();
    for i in &instructions {
        if i.op0_kind() == OpKind::NearBranch64 {
            places.insert(i.near_branch_target(), true);
        } else if i.is_ip_rel_memory_operand() {
            places.insert(i.ip_rel_memory_address(), false);
        }
    }
    let (mut names, mut labels, mut data) = (Names::default(), 0, 0);
    for (at, is_label) in places {
        let (letter, number) = if is_label { ('L', &mut labels) } else { ('C', &mut data) };
        names.0.insert(at, format!("{letter}{number}"));
        *number += 1;
    }
    let mut formatter = GasFormatter::with_options(Some(Box::new(names.clone())), None);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_uppercase_hex(false);
    formatter.options_mut().set_rip_relative_addresses(true);
    let mut out = Vec::new();
    for instruction in &instructions {
        if let Some(name) = names.0.get(&instruction.ip()) {
            out.push(Line { at: None, text: format!("{name}:") });
        }
        let mut text = "  ".to_owned();
        formatter.format(instruction, &mut text);
        out.push(Line { at: Some(instruction.ip() as usize), text });
    }
    out.extend(constants(code, instructions.last().map_or(0, Instruction::next_ip), &names));
    out
}

/// Constants as 32-bit words; each reaches to the next.
fn constants(code: &[u8], end: u64, names: &Names) -> Vec<Line> {
    let starts: Vec<_> = names.0.range(end..).collect();
    let mut out = Vec::new();
    for (i, (at, name)) in starts.iter().enumerate() {
        let to = starts.get(i + 1).map_or(code.len(), |next| *next.0 as usize);
        let words = code.get(**at as usize..to).unwrap_or_default().chunks_exact(4);
        let words: Vec<String> =
            words.map(|w| format!("{:#x}", u32::from_le_bytes([w[0], w[1], w[2], w[3]]))).collect();
        let texts = [format!("{name}:"), format!("  .long {}", words.join(", "))];
        out.extend(texts.map(|text| Line { at: None, text }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line;
    use crate::simd::{Op2, R, Simd, Src};
    use crate::x86_64::encoder::Encoder;

    fn doubled<S: Simd>(s: &mut S) -> R {
        let p = s.arg(0)?;
        s.repeat(3, &mut |s| {
            let v = s.load_splat(&p, 4)?;
            s.op2(Op2::Mul, &v, Src::Const(2.0))?;
            s.store(&p, 0, &v, s.lanes())?;
            s.free(v);
            s.advance(&p, 256);
            Ok(())
        })?;
        s.free_ptr(p);
        Ok(())
    }

    #[test]
    fn branches_and_constants_have_names() {
        for (level, multiply, constant) in [
            ("avx2", "  vmulps C0(%rip), %ymm0, %ymm0\n", "0x40000000, ".repeat(7) + "0x40000000"),
            ("avx512", "  vmulps C0(%rip){1to16}, %zmm0, %zmm0\n", "0x40000000".to_owned()),
        ] {
            let target = crate::resolve("x86_64-unknown-linux-gnu", level, "").unwrap();
            let mut encoder = Encoder::new(&target).unwrap();
            doubled(&mut encoder).unwrap();
            let lines = lines(&encoder.finish().unwrap().code);
            let starts: Vec<usize> = lines.iter().filter_map(|line| line.at).collect();
            assert!(starts[0] == 0 && starts.is_sorted_by(|a, b| a < b), "{starts:?}");
            let text = line::text(&lines);
            let (_, body) = text.split_once("L0:\n").unwrap_or_else(|| panic!("{text}"));
            assert!(body.starts_with("  vbroadcastss 4(%rax), "), "{text}");
            assert!(body.contains(multiply), "{text}");
            assert!(body.contains("  add $0x100, %rax\n"), "{text}");
            assert!(body.contains("  jne L0\n"), "{text}");
            assert!(body.ends_with(&format!("  ret\nC0:\n  .long {constant}\n")), "{text}");
        }
    }
}
