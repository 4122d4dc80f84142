//! The stack that a function takes, by its instructions.

/// What the prologue goes down by: all until the code first branches. `None` where the stack pointer moves by a register.
pub(super) fn bytes(code: &[u8]) -> Option<u32> {
    let (mut depth, mut most) = (0i64, 0i64);
    for word in code.chunks_exact(4) {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        if branches(word) {
            break;
        }
        depth += down(word)?;
        most = most.max(depth);
    }
    u32::try_from(most).ok()
}

/// By how much an instruction moves the stack pointer down.
fn down(word: u32) -> Option<i64> {
    const SP: u32 = 31;
    let (to, from) = (word & 31, word >> 5 & 31);
    let scaled = i64::from(word >> 10 & 0xfff) << if word >> 22 & 1 == 1 { 12 } else { 0 };
    match word >> 23 {
        // sub and add with an immediate
        0b1_1010_0010 if to == SP => return (from == SP).then_some(scaled),
        0b1_0010_0010 if to == SP => return (from == SP).then_some(-scaled),
        _ => {}
    }
    // sub and add of an extended register
    if matches!(word >> 21, 0b110_0101_1001 | 0b100_0101_1001) && to == SP {
        return None;
    }
    // Pairs with an index that is written back: general registers of 8 bytes, vector registers of 4, 8 and 16.
    let pair = word >> 25 & 0b1_1111 == 0b1_0100 || word >> 25 & 0b1_1111 == 0b1_0110;
    if pair && word >> 23 & 1 == 1 && from == SP {
        let size = match (word >> 26 & 1, word >> 30) {
            (0, 2) => 8,
            (1, scale @ 0..=2) => 4 << scale,
            _ => return None,
        };
        let steps = i64::from((word >> 15 & 0x7f) as i32) - if word >> 21 & 1 == 1 { 128 } else { 0 };
        return Some(-steps * size);
    }
    // The same of one register.
    let single =
        word >> 27 & 0b111 == 0b111 && word >> 24 & 3 == 0 && word >> 21 & 1 == 0 && word >> 10 & 1 == 1;
    if single && from == SP {
        let by = i64::from((word >> 12 & 0x1ff) as i32) - if word >> 20 & 1 == 1 { 512 } else { 0 };
        return Some(-by);
    }
    Some(0)
}

/// Branches, but calls, and returns.
fn branches(word: u32) -> bool {
    let returns = word >> 25 == 0b110_1011 && word >> 21 & 0xf != 1;
    let jumps = word >> 26 == 0b00_0101;
    let conditional = word >> 24 == 0b0101_0100;
    let tested = matches!(word >> 24 & 0x7f, 0b011_0100..=0b011_0111);
    returns || jumps || conditional || tested
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[u32]) -> Option<u32> {
        bytes(&words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn prologues_are_counted() {
        let ret = 0xd65f_03c0;
        assert_eq!(of(&[ret]), Some(0));
        // stp x29, x30, [sp, #-16]!; mov x29, sp; sub sp, sp, #64; add sp, sp, #64; ldp x29, x30, [sp], #16; ret
        assert_eq!(of(&[0xa9bf_7bfd, 0x9100_03fd, 0xd101_03ff, 0x9101_03ff, 0xa8c1_7bfd, ret]), Some(80));
        // stp d8, d9, [sp, #-16]!; str x19, [sp, #-16]!; sub sp, sp, #1, lsl #12; ret
        assert_eq!(of(&[0x6dbf_27e8, 0xf81f_0ff3, 0xd140_07ff, ret]), Some(32 + 4096));
        // stp x19, x20, [sp, #16] moves nothing; b.eq ends the prologue.
        assert_eq!(of(&[0xa901_53f3, 0x5400_0040, 0xd101_03ff, ret]), Some(0));
        // sub sp, sp, x16
        assert_eq!(of(&[0xcb30_63ff, ret]), None);
    }
}
