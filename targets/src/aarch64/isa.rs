//! Instructions as data: the bits of each one that the encoder emits, and where its operands go. Words are made of it, and
//! text is made of words.

use Field::*;

/// Where an operand goes, and how it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field {
    /// A vector register, from this bit on, and its arrangement.
    V(u8, &'static str),
    /// The low part of a vector register: `b`, `h`, `s`, `d` or `q`.
    S(u8, char),
    /// A general register of 64 bits.
    X(u8),
    /// A general register of 64 bits, or the stack pointer.
    P(u8),
    /// A general register of 32 bits.
    W(u8),
    /// A register and one of its elements, of all that are multiplied by it: two operands.
    Element(&'static str),
    /// One of the first sixteen registers and one of its elements of 16 bits, of all that are multiplied by it: two operands.
    Half,
    /// A register and the element that is written, or read for a copy of it: two operands.
    Lane(u8, char),
    /// A register and the element that is moved into another: two operands.
    From(char),
    /// A list of so many registers that follow each other.
    List(u8, u8, &'static str),
    /// A register in braces and the element that is loaded or stored: two operands.
    ListLane(char),
    /// Unsigned, so many bits from this one on.
    Imm(u8, u8),
    /// By how much the register before is moved to the left.
    Lsl,
    /// The 16 bits that an immediate is for.
    Halfword,
    /// A condition.
    Condition(u8),
    /// A distance in words, of 26 bits.
    Label26,
    /// A distance in words, of 19 bits.
    Label19,
    /// A base and a displacement in units of so many bytes: two operands.
    Mem(u8),
    /// A base and a displacement of up to 256 bytes either way: two operands.
    Near,
    /// The same for two registers, in units of so many bytes: two operands.
    Pair(u8),
    /// A base.
    Base,
    /// A base and a register that is added to it afterwards: two operands.
    Next,
    /// A base and a register that counts words of 4 bytes from it: two operands.
    Indexed,
    /// Eight bits.
    Byte,
    /// Eight bits, each of which is a byte of zeros or ones.
    Bytes,
    /// Eight bits that are a float.
    Float,
    /// To the left by less than so many bits.
    Left(u8),
    /// To the right by up to so many bits.
    Right(u8),
    /// A word that is always the same.
    Text(&'static str),
}

/// An instruction with its operands left open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Op {
    /// As assemblers know it.
    pub(crate) name: &'static str,
    /// The word with all operands 0.
    pub(crate) bits: u32,
    pub(crate) fields: &'static [Field],
}

/// The bits of an element's size, from that of bytes on.
pub(crate) fn size(element: char) -> u32 {
    match element {
        'b' => 0,
        'h' => 1,
        's' => 2,
        _ => 3,
    }
}

impl Field {
    /// Operands that it takes.
    pub(crate) fn operands(self) -> usize {
        match self {
            Text(_) => 0,
            Element(_) | Half | Lane(..) | From(_) | ListLane(_) | Mem(_) | Near | Pair(_) | Next
            | Indexed => 2,
            _ => 1,
        }
    }

    /// From which bit on the number of a single vector register lies, if it has one that may be any.
    pub(crate) fn vector_at(self) -> Option<u8> {
        match self {
            V(at, _) | S(at, _) | Lane(at, _) | List(at, 1, _) => Some(at),
            Element(_) => Some(16),
            From(_) => Some(5),
            ListLane(_) => Some(0),
            _ => None,
        }
    }

    /// The bits that it is made of.
    pub(crate) fn mask(self) -> u32 {
        match self {
            V(at, _) | S(at, _) | X(at) | P(at) | W(at) | List(at, ..) => 0x1f << at,
            Element(_) => 0x1f << 16 | 1 << 21 | 1 << 11,
            Half => 0x3f << 16 | 1 << 11,
            Lane(at, e) => 0x1f << at | (0x1f & !((2 << size(e)) - 1)) << 16,
            From(e) => 0x1f << 5 | (0xf & !((1 << size(e)) - 1)) << 11,
            ListLane(e) => 0x1f | 1 << 30 | (7 & !((1 << size(e)) - 1)) << 10,
            Imm(at, bits) => ((1 << bits) - 1) << at,
            Lsl => 0x3f << 10,
            Halfword => 3 << 21,
            Condition(at) => 0xf << at,
            Label26 => 0x03ff_ffff,
            Label19 => 0x7_ffff << 5,
            Mem(_) => 0xfff << 10 | 0x1f << 5,
            Near => 0x1ff << 12 | 0x1f << 5,
            Pair(_) => 0x7f << 15 | 0x1f << 5,
            Base => 0x1f << 5,
            Next | Indexed => 0x1f << 5 | 0x1f << 16,
            Byte | Bytes | Float => 7 << 16 | 0x1f << 5,
            Left(width) | Right(width) => (u32::from(width) - 1) << 16,
            Text(_) => 0,
        }
    }

    /// Its bits for operands, which fit.
    pub(crate) fn bits(self, operands: &[i64]) -> u32 {
        let a = operands.first().map_or(0, |a| *a as u32);
        let b = operands.get(1).map_or(0, |b| *b as u32);
        match self {
            V(at, _) | S(at, _) | X(at) | P(at) | W(at) | List(at, ..) | Imm(at, _) | Condition(at) => {
                a << at
            }
            Element(_) => a << 16 | (b & 1) << 21 | (b >> 1) << 11,
            Half => a << 16 | (b & 3) << 20 | (b >> 2) << 11,
            Lane(at, e) => a << at | b << (17 + size(e)),
            From(e) => a << 5 | b << (11 + size(e)),
            ListLane(e) => {
                let place = b << size(e);
                a | (place >> 3) << 30 | (place & 7) << 10
            }
            Lsl => a << 10,
            Halfword => a << 21,
            Label26 => a & 0x03ff_ffff,
            Label19 => (a & 0x7_ffff) << 5,
            Mem(unit) => a << 5 | (b / u32::from(unit)) << 10,
            Near => a << 5 | (b & 0x1ff) << 12,
            Pair(unit) => {
                a << 5 | ((operands.get(1).map_or(0, |b| *b) / i64::from(unit)) as u32 & 0x7f) << 15
            }
            Base => a << 5,
            Next | Indexed => a << 5 | b << 16,
            Byte | Bytes | Float => (a >> 5) << 16 | (a & 0x1f) << 5,
            Left(_) => a << 16,
            // Counted from twice the width, of which the instruction has the upper bit.
            Right(width) => (u32::from(width) - a) << 16,
            Text(_) => 0,
        }
    }

    /// The operands that bits stand for.
    pub(crate) fn values(self, word: u32) -> (i64, i64) {
        let part = |at: u8, bits: u8| i64::from(word >> at & ((1 << bits) - 1));
        let signed = |at: u8, bits: u8| i64::from((word << (32 - at - bits)) as i32 >> (32 - bits));
        match self {
            V(at, _) | S(at, _) | X(at) | P(at) | W(at) | List(at, ..) => (part(at, 5), 0),
            Element(_) => (part(16, 5), part(11, 1) << 1 | part(21, 1)),
            Half => (part(16, 4), part(11, 1) << 2 | part(20, 2)),
            Lane(at, e) => (part(at, 5), part(16, 5) >> (size(e) + 1)),
            From(e) => (part(5, 5), part(11, 4) >> size(e)),
            ListLane(e) => (part(0, 5), (part(30, 1) << 3 | part(10, 3)) >> size(e)),
            Imm(at, bits) => (part(at, bits), 0),
            Lsl => (part(10, 6), 0),
            Halfword => (part(21, 2), 0),
            Condition(at) => (part(at, 4), 0),
            Label26 => (signed(0, 26), 0),
            Label19 => (signed(5, 19), 0),
            Mem(unit) => (part(5, 5), part(10, 12) * i64::from(unit)),
            Near => (part(5, 5), signed(12, 9)),
            Pair(unit) => (part(5, 5), signed(15, 7) * i64::from(unit)),
            Base => (part(5, 5), 0),
            Next | Indexed => (part(5, 5), part(16, 5)),
            Byte | Bytes | Float => (part(16, 3) << 5 | part(5, 5), 0),
            Left(width) => (i64::from(word >> 16) & (i64::from(width) - 1), 0),
            Right(width) => (i64::from(width) - (i64::from(word >> 16) & (i64::from(width) - 1)), 0),
            Text(_) => (0, 0),
        }
    }
}

impl Op {
    /// The word with operands, in the order of the fields.
    pub(crate) fn word(&self, operands: &[i64]) -> u32 {
        let (mut word, mut rest) = (self.bits, operands);
        for field in self.fields {
            let (own, others) = rest.split_at(field.operands().min(rest.len()));
            let bits = field.bits(own);
            debug_assert_eq!(bits & !field.mask(), 0, "{self:?} of {operands:?}");
            word |= bits & field.mask();
            rest = others;
        }
        word
    }

    /// Whether a word is this instruction.
    pub(crate) fn is(&self, word: u32) -> bool {
        word & !self.fields.iter().fold(0, |mask, field| mask | field.mask()) == self.bits
    }
}

macro_rules! ops {
    ($($name:ident = $text:literal, $bits:literal, [$($field:expr),*];)*) => {
        $(pub(crate) const $name: Op = Op { name: $text, bits: $bits, fields: &[$($field),*] };)*
        /// Every instruction.
        pub(crate) const ALL: &[Op] = &[$($name),*];
    };
}

ops! {
    ADD_IMM = "add", 0x9100_0000, [P(0), P(5), Imm(10, 12)];
    ADD_IMM_12 = "add", 0x9140_0000, [P(0), P(5), Imm(10, 12), Text("lsl #12")];
    SUB_IMM = "sub", 0xd100_0000, [P(0), P(5), Imm(10, 12)];
    SUB_IMM_12 = "sub", 0xd140_0000, [P(0), P(5), Imm(10, 12), Text("lsl #12")];
    SUBS_IMM = "subs", 0xf100_0000, [X(0), P(5), Imm(10, 12)];
    ADD = "add", 0x8b00_0000, [X(0), X(5), X(16), Lsl];
    SUB = "sub", 0xcb00_0000, [X(0), X(5), X(16), Lsl];
    SUBS = "subs", 0xeb00_0000, [X(0), X(5), X(16), Lsl];
    ORR = "orr", 0xaa00_0000, [X(0), X(5), X(16), Lsl];
    MADD = "madd", 0x9b00_0000, [X(0), X(5), X(16), X(10)];
    CSEL = "csel", 0x9a80_0000, [X(0), X(5), X(16), Condition(12)];
    UBFM = "ubfm", 0xd340_0000, [X(0), X(5), Imm(16, 6), Imm(10, 6)];
    MOVZ = "movz", 0xd280_0000, [X(0), Imm(5, 16), Halfword];
    MOVN = "movn", 0x9280_0000, [X(0), Imm(5, 16), Halfword];
    MOVK = "movk", 0xf280_0000, [X(0), Imm(5, 16), Halfword];
    B = "b", 0x1400_0000, [Label26];
    B_EQ = "b.eq", 0x5400_0000, [Label19];
    B_NE = "b.ne", 0x5400_0001, [Label19];
    B_LE = "b.le", 0x5400_000d, [Label19];
    B_HS = "b.hs", 0x5400_0002, [Label19];
    CBZ = "cbz", 0xb400_0000, [X(0), Label19];
    CBNZ = "cbnz", 0xb500_0000, [X(0), Label19];
    RET = "ret", 0xd65f_03c0, [];
    LDR_X = "ldr", 0xf940_0000, [X(0), Mem(8)];
    LDUR_X = "ldur", 0xf840_0000, [X(0), Near];
    STR_X = "str", 0xf900_0000, [X(0), Mem(8)];
    STUR_X = "stur", 0xf800_0000, [X(0), Near];
    LDRSW = "ldrsw", 0xb980_0000, [X(0), Mem(4)];
    LDURSW = "ldursw", 0xb880_0000, [X(0), Near];
    LDR_W = "ldr", 0xb940_0000, [W(0), Mem(4)];
    LDUR_W = "ldur", 0xb840_0000, [W(0), Near];
    LDRB = "ldrb", 0x3940_0000, [W(0), Mem(1)];
    LDURB = "ldurb", 0x3840_0000, [W(0), Near];
    LDRH = "ldrh", 0x7940_0000, [W(0), Mem(2)];
    LDURH = "ldurh", 0x7840_0000, [W(0), Near];
    LDRSB = "ldrsb", 0x39c0_0000, [W(0), Mem(1)];
    LDURSB = "ldursb", 0x38c0_0000, [W(0), Near];
    LDRSH = "ldrsh", 0x79c0_0000, [W(0), Mem(2)];
    LDURSH = "ldursh", 0x78c0_0000, [W(0), Near];
    LDP_X = "ldp", 0xa940_0000, [X(0), X(10), Pair(8)];
    STP_X = "stp", 0xa900_0000, [X(0), X(10), Pair(8)];
    LDP_D = "ldp", 0x6d40_0000, [S(0, 'd'), S(10, 'd'), Pair(8)];
    STP_D = "stp", 0x6d00_0000, [S(0, 'd'), S(10, 'd'), Pair(8)];
    LDP_Q = "ldp", 0xad40_0000, [S(0, 'q'), S(10, 'q'), Pair(16)];
    STP_Q = "stp", 0xad00_0000, [S(0, 'q'), S(10, 'q'), Pair(16)];
    LDR_Q = "ldr", 0x3dc0_0000, [S(0, 'q'), Mem(16)];
    LDUR_Q = "ldur", 0x3cc0_0000, [S(0, 'q'), Near];
    STR_Q = "str", 0x3d80_0000, [S(0, 'q'), Mem(16)];
    STUR_Q = "stur", 0x3c80_0000, [S(0, 'q'), Near];
    LDR_D = "ldr", 0xfd40_0000, [S(0, 'd'), Mem(8)];
    LDUR_D = "ldur", 0xfc40_0000, [S(0, 'd'), Near];
    STR_D = "str", 0xfd00_0000, [S(0, 'd'), Mem(8)];
    STUR_D = "stur", 0xfc00_0000, [S(0, 'd'), Near];
    LDR_S = "ldr", 0xbd40_0000, [S(0, 's'), Mem(4)];
    LDUR_S = "ldur", 0xbc40_0000, [S(0, 's'), Near];
    STR_S = "str", 0xbd00_0000, [S(0, 's'), Mem(4)];
    STUR_S = "stur", 0xbc00_0000, [S(0, 's'), Near];
    LDR_H = "ldr", 0x7d40_0000, [S(0, 'h'), Mem(2)];
    LDUR_H = "ldur", 0x7c40_0000, [S(0, 'h'), Near];
    STR_H = "str", 0x7d00_0000, [S(0, 'h'), Mem(2)];
    STUR_H = "stur", 0x7c00_0000, [S(0, 'h'), Near];
    LDR_B = "ldr", 0x3d40_0000, [S(0, 'b'), Mem(1)];
    LDUR_B = "ldur", 0x3c40_0000, [S(0, 'b'), Near];
    STR_B = "str", 0x3d00_0000, [S(0, 'b'), Mem(1)];
    STUR_B = "stur", 0x3c00_0000, [S(0, 'b'), Near];
    LDR_Q_LITERAL = "ldr", 0x9c00_0000, [S(0, 'q'), Label19];
    LDR_S_INDEXED = "ldr", 0xbc60_7800, [S(0, 's'), Indexed];
    PRFM = "prfm", 0xf980_0002, [Text("pldl2keep"), Mem(8)];
    PRFUM = "prfum", 0xf880_0002, [Text("pldl2keep"), Near];
    LD1_S = "ld1", 0x0d40_8000, [ListLane('s'), Base];
    LD1_H = "ld1", 0x0d40_4000, [ListLane('h'), Base];
    LD1_B = "ld1", 0x0d40_0000, [ListLane('b'), Base];
    LD1_D = "ld1", 0x0d40_8400, [ListLane('d'), Base];
    LD1_S_NEXT = "ld1", 0x0dc0_8000, [ListLane('s'), Next];
    LD1_H_NEXT = "ld1", 0x0dc0_4000, [ListLane('h'), Next];
    LD1_B_NEXT = "ld1", 0x0dc0_0000, [ListLane('b'), Next];
    ST1_S = "st1", 0x0d00_8000, [ListLane('s'), Base];
    ST1_H = "st1", 0x0d00_4000, [ListLane('h'), Base];
    ST1_B = "st1", 0x0d00_0000, [ListLane('b'), Base];
    LD1R_4S = "ld1r", 0x4d40_c800, [List(0, 1, "4s"), Base];
    LD1R_2D = "ld1r", 0x4d40_cc00, [List(0, 1, "2d"), Base];
    DUP_W = "dup", 0x4e04_0c00, [V(0, "4s"), W(5)];
    DUP_X = "dup", 0x4e08_0c00, [V(0, "2d"), X(5)];
    DUP_H = "dup", 0x4e02_0400, [V(0, "8h"), Lane(5, 'h')];
    DUP_S = "dup", 0x4e04_0400, [V(0, "4s"), Lane(5, 's')];
    DUP_D = "dup", 0x4e08_0400, [V(0, "2d"), Lane(5, 'd')];
    INS_W = "ins", 0x4e04_1c00, [Lane(0, 's'), W(5)];
    INS_X = "ins", 0x4e08_1c00, [Lane(0, 'd'), X(5)];
    INS_S = "ins", 0x6e04_0400, [Lane(0, 's'), From('s')];
    UMOV_X = "umov", 0x4e08_3c00, [X(0), Lane(5, 'd')];
    SCVTF_S_X = "scvtf", 0x9e22_0000, [S(0, 's'), X(5)];
    UCVTF_S_X = "ucvtf", 0x9e23_0000, [S(0, 's'), X(5)];
    MOVI_4S = "movi", 0x4f00_0400, [V(0, "4s"), Byte];
    MOVI_4S_8 = "movi", 0x4f00_2400, [V(0, "4s"), Byte, Text("lsl #8")];
    MOVI_4S_16 = "movi", 0x4f00_4400, [V(0, "4s"), Byte, Text("lsl #16")];
    MOVI_4S_24 = "movi", 0x4f00_6400, [V(0, "4s"), Byte, Text("lsl #24")];
    MVNI_4S = "mvni", 0x6f00_0400, [V(0, "4s"), Byte];
    MVNI_4S_8 = "mvni", 0x6f00_2400, [V(0, "4s"), Byte, Text("lsl #8")];
    MVNI_4S_16 = "mvni", 0x6f00_4400, [V(0, "4s"), Byte, Text("lsl #16")];
    MVNI_4S_24 = "mvni", 0x6f00_6400, [V(0, "4s"), Byte, Text("lsl #24")];
    MOVI_8H = "movi", 0x4f00_8400, [V(0, "8h"), Byte];
    MOVI_8H_8 = "movi", 0x4f00_a400, [V(0, "8h"), Byte, Text("lsl #8")];
    MOVI_16B = "movi", 0x4f00_e400, [V(0, "16b"), Byte];
    MOVI_2D = "movi", 0x6f00_e400, [V(0, "2d"), Bytes];
    FMOV_4S = "fmov", 0x4f00_f400, [V(0, "4s"), Float];
    FMOV_2D = "fmov", 0x6f00_f400, [V(0, "2d"), Float];
    ORR_V = "orr", 0x4ea0_1c00, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    AND_V = "and", 0x4e20_1c00, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    EOR_V = "eor", 0x6e20_1c00, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    BIC_V = "bic", 0x4e60_1c00, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    BIF = "bif", 0x6ee0_1c00, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    NOT_V = "not", 0x6e20_5800, [V(0, "16b"), V(5, "16b")];
    EXT = "ext", 0x6e00_0000, [V(0, "16b"), V(5, "16b"), V(16, "16b"), Imm(11, 4)];
    FADD_4S = "fadd", 0x4e20_d400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FSUB_4S = "fsub", 0x4ea0_d400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FMUL_4S = "fmul", 0x6e20_dc00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FDIV_4S = "fdiv", 0x6e20_fc00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FMIN_4S = "fmin", 0x4ea0_f400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FMAX_4S = "fmax", 0x4e20_f400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FCMGT_4S = "fcmgt", 0x6ea0_e400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FCMGE_4S = "fcmge", 0x6e20_e400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FCMEQ_4S = "fcmeq", 0x4e20_e400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FMLA_4S = "fmla", 0x4e20_cc00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    FMLA_LANE = "fmla", 0x4f80_1000, [V(0, "4s"), V(5, "4s"), Element("s")];
    FMUL_LANE = "fmul", 0x4f80_9000, [V(0, "4s"), V(5, "4s"), Element("s")];
    FADD_2D = "fadd", 0x4e60_d400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FSUB_2D = "fsub", 0x4ee0_d400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FMUL_2D = "fmul", 0x6e60_dc00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FDIV_2D = "fdiv", 0x6e60_fc00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FMIN_2D = "fmin", 0x4ee0_f400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FMAX_2D = "fmax", 0x4e60_f400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FCMGT_2D = "fcmgt", 0x6ee0_e400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FCMGE_2D = "fcmge", 0x6e60_e400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FCMEQ_2D = "fcmeq", 0x4e60_e400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FMLA_2D = "fmla", 0x4e60_cc00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    FSQRT_4S = "fsqrt", 0x6ea1_f800, [V(0, "4s"), V(5, "4s")];
    FSQRT_2D = "fsqrt", 0x6ee1_f800, [V(0, "2d"), V(5, "2d")];
    FABS_4S = "fabs", 0x4ea0_f800, [V(0, "4s"), V(5, "4s")];
    FABS_2D = "fabs", 0x4ee0_f800, [V(0, "2d"), V(5, "2d")];
    FNEG_4S = "fneg", 0x6ea0_f800, [V(0, "4s"), V(5, "4s")];
    FNEG_2D = "fneg", 0x6ee0_f800, [V(0, "2d"), V(5, "2d")];
    FRINTM_4S = "frintm", 0x4e21_9800, [V(0, "4s"), V(5, "4s")];
    FRINTM_2D = "frintm", 0x4e61_9800, [V(0, "2d"), V(5, "2d")];
    FRINTP_4S = "frintp", 0x4ea1_8800, [V(0, "4s"), V(5, "4s")];
    FRINTP_2D = "frintp", 0x4ee1_8800, [V(0, "2d"), V(5, "2d")];
    FRINTN_4S = "frintn", 0x4e21_8800, [V(0, "4s"), V(5, "4s")];
    FRINTN_2D = "frintn", 0x4e61_8800, [V(0, "2d"), V(5, "2d")];
    FCVTNS_4S = "fcvtns", 0x4e21_a800, [V(0, "4s"), V(5, "4s")];
    FCVTZS_4S = "fcvtzs", 0x4ea1_b800, [V(0, "4s"), V(5, "4s")];
    FCVTZS_2D = "fcvtzs", 0x4ee1_b800, [V(0, "2d"), V(5, "2d")];
    FCVTZU_4S = "fcvtzu", 0x6ea1_b800, [V(0, "4s"), V(5, "4s")];
    FCVTZU_2D = "fcvtzu", 0x6ee1_b800, [V(0, "2d"), V(5, "2d")];
    SCVTF_4S = "scvtf", 0x4e21_d800, [V(0, "4s"), V(5, "4s")];
    SCVTF_2D = "scvtf", 0x4e61_d800, [V(0, "2d"), V(5, "2d")];
    UCVTF_4S = "ucvtf", 0x6e21_d800, [V(0, "4s"), V(5, "4s")];
    UCVTF_2D = "ucvtf", 0x6e61_d800, [V(0, "2d"), V(5, "2d")];
    FCVTL_4S = "fcvtl", 0x0e21_7800, [V(0, "4s"), V(5, "4h")];
    FCVTL_2D = "fcvtl", 0x0e61_7800, [V(0, "2d"), V(5, "2s")];
    FCVTN_4H = "fcvtn", 0x0e21_6800, [V(0, "4h"), V(5, "4s")];
    FCVTN_2S = "fcvtn", 0x0e61_6800, [V(0, "2s"), V(5, "2d")];
    ADD_8H = "add", 0x4e60_8400, [V(0, "8h"), V(5, "8h"), V(16, "8h")];
    SUB_8H = "sub", 0x6e60_8400, [V(0, "8h"), V(5, "8h"), V(16, "8h")];
    ADD_4S = "add", 0x4ea0_8400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    ADD_2D = "add", 0x4ee0_8400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    SUB_4S = "sub", 0x6ea0_8400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    SUB_2D = "sub", 0x6ee0_8400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    MUL_4S = "mul", 0x4ea0_9c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    MLA_4S = "mla", 0x4ea0_9400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    ADDP_4S = "addp", 0x4ea0_bc00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    SMIN_4S = "smin", 0x4ea0_6c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    SMAX_4S = "smax", 0x4ea0_6400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    UMIN_4S = "umin", 0x6ea0_6c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    UMAX_4S = "umax", 0x6ea0_6400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    UMAX_16B = "umax", 0x6e20_6400, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    CMGT_4S = "cmgt", 0x4ea0_3400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    CMGE_4S = "cmge", 0x4ea0_3c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    CMHI_4S = "cmhi", 0x6ea0_3400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    CMHS_4S = "cmhs", 0x6ea0_3c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    CMEQ_4S = "cmeq", 0x6ea0_8c00, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    CMGT_2D = "cmgt", 0x4ee0_3400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    CMGE_2D = "cmge", 0x4ee0_3c00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    CMHI_2D = "cmhi", 0x6ee0_3400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    CMHS_2D = "cmhs", 0x6ee0_3c00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    CMEQ_2D = "cmeq", 0x6ee0_8c00, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    CMEQ_0_4S = "cmeq", 0x4ea0_9800, [V(0, "4s"), V(5, "4s"), Text("#0")];
    CMEQ_0_2D = "cmeq", 0x4ee0_9800, [V(0, "2d"), V(5, "2d"), Text("#0")];
    USHL_4S = "ushl", 0x6ea0_4400, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    USHL_2D = "ushl", 0x6ee0_4400, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    ABS_4S = "abs", 0x4ea0_b800, [V(0, "4s"), V(5, "4s")];
    ABS_2D = "abs", 0x4ee0_b800, [V(0, "2d"), V(5, "2d")];
    NEG_4S = "neg", 0x6ea0_b800, [V(0, "4s"), V(5, "4s")];
    NEG_2D = "neg", 0x6ee0_b800, [V(0, "2d"), V(5, "2d")];
    REV64_4S = "rev64", 0x4ea0_0800, [V(0, "4s"), V(5, "4s")];
    UADDLP_2D = "uaddlp", 0x6ea0_2800, [V(0, "2d"), V(5, "4s")];
    SHL_8H = "shl", 0x4f10_5400, [V(0, "8h"), V(5, "8h"), Left(16)];
    SHL_4S = "shl", 0x4f20_5400, [V(0, "4s"), V(5, "4s"), Left(32)];
    SHL_2D = "shl", 0x4f40_5400, [V(0, "2d"), V(5, "2d"), Left(64)];
    USHR_4S = "ushr", 0x6f20_0400, [V(0, "4s"), V(5, "4s"), Right(32)];
    USHR_2D = "ushr", 0x6f40_0400, [V(0, "2d"), V(5, "2d"), Right(64)];
    SSHR_4S = "sshr", 0x4f20_0400, [V(0, "4s"), V(5, "4s"), Right(32)];
    SSHR_2D = "sshr", 0x4f40_0400, [V(0, "2d"), V(5, "2d"), Right(64)];
    SSHLL_8H = "sshll", 0x0f08_a400, [V(0, "8h"), V(5, "8b"), Left(8)];
    SSHLL_4S = "sshll", 0x0f10_a400, [V(0, "4s"), V(5, "4h"), Left(16)];
    SSHLL_2D = "sshll", 0x0f20_a400, [V(0, "2d"), V(5, "2s"), Left(32)];
    USHLL_8H = "ushll", 0x2f08_a400, [V(0, "8h"), V(5, "8b"), Left(8)];
    USHLL_4S = "ushll", 0x2f10_a400, [V(0, "4s"), V(5, "4h"), Left(16)];
    USHLL_2D = "ushll", 0x2f20_a400, [V(0, "2d"), V(5, "2s"), Left(32)];
    XTN_8B = "xtn", 0x0e21_2800, [V(0, "8b"), V(5, "8h")];
    XTN_4H = "xtn", 0x0e61_2800, [V(0, "4h"), V(5, "4s")];
    XTN_2S = "xtn", 0x0ea1_2800, [V(0, "2s"), V(5, "2d")];
    SQXTN_8B = "sqxtn", 0x0e21_4800, [V(0, "8b"), V(5, "8h")];
    SQXTN_4H = "sqxtn", 0x0e61_4800, [V(0, "4h"), V(5, "4s")];
    SQXTN_2S = "sqxtn", 0x0ea1_4800, [V(0, "2s"), V(5, "2d")];
    UQXTN_8B = "uqxtn", 0x2e21_4800, [V(0, "8b"), V(5, "8h")];
    UQXTN_16B = "uqxtn2", 0x6e21_4800, [V(0, "16b"), V(5, "8h")];
    UQXTN_2S = "uqxtn", 0x2ea1_4800, [V(0, "2s"), V(5, "2d")];
    SQXTUN_4H = "sqxtun", 0x2e61_2800, [V(0, "4h"), V(5, "4s")];
    SQXTUN_8H = "sqxtun2", 0x6e61_2800, [V(0, "8h"), V(5, "4s")];
    SMULL_4S = "smull", 0x0e60_c000, [V(0, "4s"), V(5, "4h"), V(16, "4h")];
    SMLAL_4S = "smlal", 0x0e60_8000, [V(0, "4s"), V(5, "4h"), V(16, "4h")];
    SMLAL2_4S = "smlal2", 0x4e60_8000, [V(0, "4s"), V(5, "8h"), V(16, "8h")];
    SMULL2_4S = "smull2", 0x4e60_c000, [V(0, "4s"), V(5, "8h"), V(16, "8h")];
    SMULL_8H = "smull", 0x0e20_c000, [V(0, "8h"), V(5, "8b"), V(16, "8b")];
    SMULL2_8H = "smull2", 0x4e20_c000, [V(0, "8h"), V(5, "16b"), V(16, "16b")];
    SMLAL_8H = "smlal", 0x0e20_8000, [V(0, "8h"), V(5, "8b"), V(16, "8b")];
    SMLAL2_8H = "smlal2", 0x4e20_8000, [V(0, "8h"), V(5, "16b"), V(16, "16b")];
    SADALP_4S = "sadalp", 0x4e60_6800, [V(0, "4s"), V(5, "8h")];
    UMLAL_2D = "umlal", 0x2ea0_8000, [V(0, "2d"), V(5, "2s"), V(16, "2s")];
    ZIP1_16B = "zip1", 0x4e00_3800, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    ZIP1_8H = "zip1", 0x4e40_3800, [V(0, "8h"), V(5, "8h"), V(16, "8h")];
    ZIP1_4S = "zip1", 0x4e80_3800, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    ZIP1_2D = "zip1", 0x4ec0_3800, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    ZIP2_16B = "zip2", 0x4e00_7800, [V(0, "16b"), V(5, "16b"), V(16, "16b")];
    ZIP2_8H = "zip2", 0x4e40_7800, [V(0, "8h"), V(5, "8h"), V(16, "8h")];
    ZIP2_4S = "zip2", 0x4e80_7800, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    ZIP2_2D = "zip2", 0x4ec0_7800, [V(0, "2d"), V(5, "2d"), V(16, "2d")];
    UZP1_4S = "uzp1", 0x4e80_1800, [V(0, "4s"), V(5, "4s"), V(16, "4s")];
    TBL_1 = "tbl", 0x4e00_0000, [V(0, "16b"), List(5, 1, "16b"), V(16, "16b")];
    FMLAL_LANE = "fmlal", 0x4f80_0000, [V(0, "4s"), V(5, "4h"), Half];
    FMLAL2_LANE = "fmlal2", 0x6f80_8000, [V(0, "4s"), V(5, "4h"), Half];
    SDOT = "sdot", 0x4e80_9400, [V(0, "4s"), V(5, "16b"), V(16, "16b")];
    SDOT_LANE = "sdot", 0x4f80_e000, [V(0, "4s"), V(5, "16b"), Element("4b")];
    USDOT = "usdot", 0x4e80_9c00, [V(0, "4s"), V(5, "16b"), V(16, "16b")];
    SUDOT_LANE = "sudot", 0x4f00_f000, [V(0, "4s"), V(5, "16b"), Element("4b")];
    USMMLA = "usmmla", 0x4e80_ac00, [V(0, "4s"), V(5, "16b"), V(16, "16b")];
    USDOT_LANE = "usdot", 0x4f80_f000, [V(0, "4s"), V(5, "16b"), Element("4b")];
}
