//! Text of functions, for people and golden tests: of the instructions that the encoder emits.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::isa::{ALL, Field, LDR_Q_LITERAL, ORR, ORR_V, Op, RET, SUBS, SUBS_IMM};
use crate::line::Line;

/// Names of conditions, by their numbers.
const CONDITIONS: [&str; 16] =
    ["eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"];
/// Bytes of an instruction.
const WORD: usize = 4;
/// Bytes of a constant.
const CONSTANT: usize = 16;

/// The value of eight bits that are a float: a sign, three of exponent, four of digits.
pub(crate) fn float(bits: i64) -> f64 {
    let digits = 16.0 + (bits & 0xf) as f64;
    let exponent = ((bits >> 4 & 7) ^ 4) - 7;
    let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
    sign * digits * 2f64.powi(exponent as i32)
}

/// What assemblers call an instruction with operands that are the same or zero, without one of them.
fn alias(op: &Op, operands: &mut Vec<String>) -> &'static str {
    match (*op, &operands[..]) {
        (ORR_V, [_, n, m]) if n == m => operands.truncate(2),
        (ORR, [_, n, _]) if n == "xzr" => _ = operands.remove(1),
        (SUBS | SUBS_IMM, [d, ..]) if d == "xzr" => {
            operands.remove(0);
            return "cmp";
        }
        _ => return op.name,
    }
    "mov"
}

/// An instruction as assemblers read it; `label` names a distance in words.
pub(crate) fn text(word: u32, label: &dyn Fn(i64) -> String) -> Option<String> {
    let op = ALL.iter().find(|op| op.is(word))?;
    let mut operands: Vec<String> = Vec::new();
    for field in op.fields {
        let (a, b) = field.values(word);
        let general = |n: i64| if n == 31 { "xzr".to_owned() } else { format!("x{n}") };
        let base = |n: i64| if n == 31 { "sp".to_owned() } else { format!("x{n}") };
        let displaced = |n: i64, by: i64| {
            if by == 0 { format!("[{}]", base(n)) } else { format!("[{}, #{by}]", base(n)) }
        };
        operands.push(match *field {
            Field::V(_, arrangement) => format!("v{a}.{arrangement}"),
            Field::S(_, size) => format!("{size}{a}"),
            Field::X(_) => general(a),
            Field::P(_) => base(a),
            Field::W(_) if a == 31 => "wzr".to_owned(),
            Field::W(_) => format!("w{a}"),
            Field::Element(size) => format!("v{a}.{size}[{b}]"),
            Field::Half => format!("v{a}.h[{b}]"),
            Field::Lane(_, size) | Field::From(size) => format!("v{a}.{size}[{b}]"),
            Field::List(_, count, arrangement) => {
                let all = (0..i64::from(count)).map(|i| format!("v{}.{arrangement}", (a + i) % 32));
                format!("{{{}}}", all.collect::<Vec<_>>().join(", "))
            }
            Field::ListLane(size) => format!("{{v{a}.{size}}}[{b}]"),
            Field::Lsl | Field::Halfword if a == 0 => continue,
            Field::Lsl => format!("lsl #{a}"),
            Field::Halfword => format!("lsl #{}", 16 * a),
            Field::Condition(_) => CONDITIONS[a as usize].to_owned(),
            Field::Label26 | Field::Label19 => label(a),
            Field::Mem(_) | Field::Near | Field::Pair(_) => displaced(a, b),
            Field::Base => displaced(a, 0),
            Field::Next => format!("[{}], {}", base(a), general(b)),
            Field::Indexed => format!("[{}, {}, lsl #2]", base(a), general(b)),
            Field::Bytes => {
                let byte = |i: u64| if a >> i & 1 == 1 { 0xff << (8 * i) } else { 0u64 };
                format!("#{:#x}", (0..8).map(byte).sum::<u64>())
            }
            Field::Float => format!("#{:.7}", float(a)),
            Field::Byte | Field::Imm(..) | Field::Left(_) | Field::Right(_) => format!("#{a}"),
            Field::Text(text) => text.to_owned(),
        });
    }
    let name = alias(op, &mut operands);
    Some(format!("{name} {}", operands.join(", ")).trim_end().to_owned())
}

/// The distance in words to where an instruction branches or reads.
fn distance(op: &Op, word: u32) -> Option<i64> {
    let label = op.fields.iter().find(|f| matches!(f, Field::Label26 | Field::Label19))?;
    Some(label.values(word).0)
}

/// The instructions up to the return that nothing branches beyond, and the constants behind it.
pub(crate) fn lines(code: &[u8]) -> Option<Vec<Line>> {
    let words: Vec<u32> =
        code.chunks_exact(WORD).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    let (mut end, mut furthest) = (0, 0);
    let mut places: BTreeMap<usize, bool> = BTreeMap::new();
    while let Some(&word) = words.get(end) {
        // Code that is not of this encoder has other instructions too.
        let op = ALL.iter().find(|op| op.is(word))?;
        if let Some(distance) = distance(op, word) {
            let to = usize::try_from(end as i64 + distance).ok()?;
            let is_label = *op != LDR_Q_LITERAL;
            furthest = if is_label { furthest.max(to) } else { furthest };
            places.insert(to, is_label);
        }
        end += 1;
        if *op == RET && end > furthest {
            break;
        }
    }
    let (mut names, mut labels, mut data) = (BTreeMap::new(), 0, 0);
    for (at, is_label) in places {
        let (letter, number) = if is_label { ('L', &mut labels) } else { ('C', &mut data) };
        names.insert(at, format!("{letter}{number}"));
        *number += 1;
    }
    let mut out = Vec::new();
    for (at, word) in words.iter().enumerate().take(end) {
        if let Some(name) = names.get(&at) {
            out.push(Line { at: None, text: format!("{name}:") });
        }
        let label = |distance: i64| {
            let to = usize::try_from(at as i64 + distance).unwrap_or_default();
            names.get(&to).cloned().unwrap_or_default()
        };
        out.push(Line { at: Some(WORD * at), text: format!("  {}", text(*word, &label)?) });
    }
    for (at, name) in names.range(end..) {
        let mut line = format!("{name}:\n  .long ");
        for (i, word) in words.get(*at..at + CONSTANT / WORD)?.iter().enumerate() {
            let _ = write!(line, "{}{word:#x}", if i == 0 { "" } else { ", " });
        }
        out.extend(line.split('\n').map(|text| Line { at: None, text: text.to_owned() }));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aarch64::encoded;
    use crate::encode::Program;
    use crate::line;
    use crate::simd::{Op2, R, Simd, Src};

    /// Vectors of a row times an element and a constant.
    struct Scaled;

    impl Program for Scaled {
        fn emit<S: Simd>(&self, s: &mut S) -> R {
            let (p, count) = (s.arg(0)?, s.arg(2)?);
            s.repeat_ptr(count, &mut |s| {
                let (a, b) = (s.load(&p, 0, 4)?, s.load(&p, 16, 4)?);
                s.fma(&a, &b, Src::Splat(&p, 32))?;
                s.op2(Op2::Mul, &a, Src::Const(0.1))?;
                s.store(&p, 0, &a, 4)?;
                s.store(&p, 16, &b, 4)?;
                s.free(a);
                s.free(b);
                s.advance(&p, 4096 + 64);
                Ok(())
            })?;
            s.free_ptr(p);
            Ok(())
        }
    }

    #[test]
    fn branches_and_constants_have_names() {
        let target = crate::resolve("aarch64-unknown-linux-gnu", "neon", "").unwrap();
        let lines = lines(&encoded(&target, &Scaled).unwrap().code).unwrap();
        let starts: Vec<usize> = lines.iter().filter_map(|line| line.at).collect();
        assert!(starts[0] == 0 && starts.is_sorted_by(|a, b| a < b), "{starts:?}");
        let expected = "  sub sp, sp, #32
  stp x0, x1, [sp]
  str x2, [sp, #16]
  ldr q3, C0
  ldr x0, [sp]
  ldr x1, [sp, #16]
  cmp x1, #0
  b.le L1
L0:
  ldp q0, q1, [x0]
  ldr s2, [x0, #32]
  fmla v0.4s, v1.4s, v2.s[0]
  fmul v0.4s, v0.4s, v3.4s
  stp q0, q1, [x0]
  add x0, x0, #1, lsl #12
  add x0, x0, #64
  subs x1, x1, #1
  b.ne L0
L1:
  add sp, sp, #32
  ret
C0:
  .long 0x3dcccccd, 0x3dcccccd, 0x3dcccccd, 0x3dcccccd
";
        assert_eq!(line::text(&lines), expected);
    }
}
