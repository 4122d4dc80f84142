//! The vector builder: one small machine on which loops over vectors are written once.
//!
//! A program for it is a straight sequence of calls with structured loops. Registers are mutable, like a
//! machine's: [`Simd::fma`] changes its first operand. A handle is not `Copy`: it is owned, borrowed by
//! operations and given back with [`Simd::free`], so that an encoder can hand out real registers and refuse a
//! kernel that needs too many ([`Refusal::OutOfRegisters`]). There is one implementation on Cranelift (128 bits, always
//! there) and one on an encoder of x86-64 bytes (128, 256 and 512 bits).
//!
//! Every operation acts on all lanes alike; its documentation is the meaning for one lane. Lanes are f32 unless an
//! operation says otherwise: those that end in `_as` take a [`Lane`] or an [`Element`], and mean the same on every machine.
//! What a machine has no instruction for is written once, over the builder ([`mod@sequences`], [`mod@convert`],
//! [`mod@short`], [`mod@bytes`]), and what kernels call of it is [`SimdExt`].

pub mod bytes;
pub mod convert;
mod elements;
mod ext;
mod lane;
pub mod sequences;
pub mod short;

use std::fmt;

pub use ext::SimdExt;
pub use lane::{Element, Lane, Narrow, Overflow};

/// A vector register.
#[derive(Debug)]
pub struct V(pub u32);

/// A pointer-sized integer register.
#[derive(Debug)]
pub struct P(pub u32);

/// A vector register's value, out of the way.
#[derive(Debug)]
pub struct Parked(pub u32);

/// Why a kernel cannot be built as asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It needs more registers than the machine has: choose a smaller tile.
    OutOfRegisters,
    /// An element is too far from its pointer for an immediate displacement.
    FarDisplacement,
    /// The builder or the generator does not do this; the text says what.
    Unsupported(String),
}

impl Refusal {
    /// An [`Refusal::Unsupported`].
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRegisters => f.write_str("the kernel needs more registers than the machine has"),
            Self::FarDisplacement => f.write_str("an element is too far from its pointer"),
            Self::Unsupported(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for kiln_ir::error::Error {
    fn from(refusal: Refusal) -> Self {
        Self::internal(format!("vector kernel: {refusal}"))
    }
}

/// Results of the builder.
pub type R<T = ()> = Result<T, Refusal>;

/// The second operand of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Src<'a> {
    /// A register.
    Reg(&'a V),
    /// The same constant in every lane. Builders keep constants in memory or hoist them, as suits the machine.
    Const(f32),
    /// The same bits in every lane of 32 bits, for integer operations.
    Bits(u32),
    /// The same bits in every lane of 64 bits.
    Wide(u64),
    /// A whole vector in memory.
    Mem(&'a P, i32),
    /// One element of 32 bits in memory, in every lane.
    Splat(&'a P, i32),
}

/// `d = d op s`, on f32 ([`Simd::op2`]) or on lanes of any type ([`Simd::op2_as`]): integers wrap, and
/// compare as their type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op2 {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; of floats only.
    Div,
    /// The smaller; a NaN in `d` stays, a NaN in `s` alone may be dropped.
    Min,
    /// The larger; a NaN in `d` stays, a NaN in `s` alone may be dropped.
    Max,
    /// The smaller; NaN if either is NaN. Up to three instructions where [`Op2::Min`] is one.
    MinNan,
    /// The larger; NaN if either is NaN. Up to three instructions where [`Op2::Max`] is one.
    MaxNan,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Bitwise `!d & s`.
    AndNot,
    /// All ones where `d < s`, else 0; false for NaN.
    Lt,
    /// All ones where `d <= s`, else 0; false for NaN.
    Le,
    /// All ones where `d == s`, else 0; false for NaN.
    Eq,
    /// Sum of 32-bit integers, wrapping.
    IntAdd,
    /// Difference of 32-bit integers, wrapping.
    IntSub,
    /// Bits of `d` moved up by `s` of them, an unsigned number; 0 from the lane's width on.
    Shl,
    /// Bits of `d` moved down by `s` of them, an unsigned number, zeros coming in; 0 from the lane's width on.
    Shr,
}

/// `d = op d`, on f32 ([`Simd::op1`]) or on lanes of any type ([`Simd::op1_as`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op1 {
    /// Square root; of floats only.
    Sqrt,
    /// Absolute value; of signed integers wrapping.
    Abs,
    /// Negation; of integers wrapping.
    Neg,
    /// Towards negative infinity.
    Floor,
    /// Towards positive infinity.
    Ceil,
    /// To the nearest integer, halves to even.
    Round,
    /// f32 to the nearest i32, halves to even; only for magnitudes up to 2^22.
    ToInt,
    /// i32 to f32.
    ToFloat,
    /// Shift of integers to the left, by less than the lane's width; of f32's bits.
    Shl(u8),
    /// Logical shift of integers to the right, by less than the lane's width; of f32's bits.
    Shr(u8),
    /// Arithmetic shift of integers to the right, by less than the lane's width; of f32's bits.
    Sar(u8),
}

/// How lanes combine to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Across {
    /// Sum, in a fixed order.
    Sum,
    /// Maximum.
    Max,
    /// Minimum.
    Min,
    /// Product, in a fixed order.
    Prod,
}

impl Across {
    /// How two lanes combine.
    pub fn op2(self) -> Op2 {
        match self {
            Self::Sum => Op2::Add,
            Self::Prod => Op2::Mul,
            Self::Max => Op2::MaxNan,
            Self::Min => Op2::MinNan,
        }
    }
}

/// A part of a program that runs where a condition says so.
pub type Block<'b, S> = &'b mut dyn FnMut(&mut S) -> R;

/// Elements with gaps between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Apart {
    /// Of an element: 1, 2, 4 or 8.
    pub bytes: usize,
    /// Short ones are extended with their sign.
    pub signed: bool,
    /// Bytes from one to the next.
    pub stride: i64,
}

impl Apart {
    /// Bytes from the first element to the `i`th, plus `disp`.
    pub fn disp(self, disp: i32, i: usize) -> R<i32> {
        let at = self.stride.checked_mul(i as i64).and_then(|at| at.checked_add(disp.into()));
        at.and_then(|at| i32::try_from(at).ok()).ok_or(Refusal::FarDisplacement)
    }
}

/// The builder. `disp` and strides are bytes.
pub trait Simd {
    /// f32 lanes of a vector.
    fn lanes(&self) -> usize;

    /// The kernel's argument `i`: 0 the frame, 1 the first iteration of the shared loop, 2 its end.
    fn arg(&mut self, i: usize) -> R<P>;
    /// A pointer loaded from memory.
    fn load_ptr(&mut self, base: &P, disp: i32) -> R<P>;
    /// A copy.
    fn copy_ptr(&mut self, p: &P) -> R<P>;
    /// `p += bytes`.
    fn advance(&mut self, p: &P, bytes: i64);
    /// `p += count * scale`.
    fn advance_by(&mut self, p: &P, count: &P, scale: i64) -> R;
    /// `a - b`.
    fn difference(&mut self, a: &P, b: &P) -> R<P>;
    /// `p = min(p, limit)` as signed numbers.
    fn at_most(&mut self, p: &P, limit: i64) -> R;
    /// `p = max(p, limit)` as signed numbers.
    fn at_least(&mut self, p: &P, limit: i64) -> R;
    /// `p = min(p, most)`, both signed.
    fn at_most_of(&mut self, p: &P, most: &P) -> R;
    /// An index read from memory: 8 bytes, or 4 whose sign is extended.
    fn load_index(&mut self, base: &P, disp: i32, wide: bool) -> R<P>;
    /// An unsigned byte read from memory.
    fn load_byte(&mut self, base: &P, disp: i32) -> R<P>;
    /// An unsigned number of 2 bytes read from memory.
    fn load_short(&mut self, base: &P, disp: i32) -> R<P>;
    /// `p` of so many bits less, an unsigned number: `p / 2^bits`.
    fn shift_down(&mut self, p: &P, bits: u8);
    /// `p += extent` where `p` is negative: indices that count from the end.
    fn wrap(&mut self, p: &P, extent: i64) -> R;
    /// Writes a word of 8 bytes.
    fn store_word(&mut self, base: &P, disp: i32, word: i32);
    /// Gives a pointer register back.
    fn free_ptr(&mut self, p: P);

    /// Runs `body` `count` times; not at all for 0.
    fn repeat(&mut self, count: u32, body: &mut dyn FnMut(&mut Self) -> R) -> R;
    /// Runs `body` as often as the register says; not at all for 0 or a negative number.
    fn repeat_ptr(&mut self, count: P, body: &mut dyn FnMut(&mut Self) -> R) -> R;
    /// Runs `inside` where `0 <= p < limit`, else `outside`. Each gives back the registers that it takes.
    fn when_below(&mut self, p: &P, limit: i64, inside: Block<'_, Self>, outside: Block<'_, Self>) -> R;

    /// Runs `body` if any lane of the mask, all ones or 0, is set. What `body` takes of registers it gives back, and those
    /// that were there before may have changed.
    fn when_any(&mut self, mask: &V, body: &mut dyn FnMut(&mut Self) -> R) -> R;
    /// Runs `some` if any lane of the mask, all ones or 0, is set, which is rare, else `none`. Each gives back the registers
    /// that it takes.
    fn either(&mut self, mask: V, some: Block<'_, Self>, none: Block<'_, Self>) -> R;
    /// Runs `some` if any lane has one of these bits, which is rare, else `none`, as [`Simd::either`].
    fn either_of_bits(&mut self, v: V, bits: u32, some: Block<'_, Self>, none: Block<'_, Self>) -> R {
        self.op2(Op2::And, &v, Src::Bits(bits))?;
        self.op2_as(Lane::I32, Op2::Eq, &v, Src::Bits(0))?;
        self.op2(Op2::Xor, &v, Src::Bits(u32::MAX))?;
        self.either(v, some, none)
    }

    /// Announces a constant of lanes of 32 bits, outside of all loops: it may be kept in a register from here on. It needs no
    /// announcement.
    fn prepare_constant(&mut self, _bits: u32) -> R {
        Ok(())
    }
    /// Gives back the register of a constant that is kept; in straight code a constant may be kept for a while.
    fn drop_constant(&mut self, _bits: u32) {}
    /// Whether a constant is kept in a register.
    fn keeps(&self, _bits: u32) -> bool {
        false
    }
    /// A register with the constant in every lane.
    fn splat(&mut self, value: f32) -> R<V>;
    /// The first `n` lanes from memory, the others 0. Touches no byte beyond them.
    fn load(&mut self, p: &P, disp: i32, n: usize) -> R<V>;
    /// `n` elements of 32 bits from memory that lie `stride` bytes apart, in the first lanes; the others hold anything.
    /// Touches no byte before the first element or behind the last one.
    fn load_strided(&mut self, p: &P, disp: i32, stride: i32, n: usize) -> R<V>;
    /// `n` elements of 32 bits, each `4 * index` bytes from `p + disp`, in the first lanes; the others are 0. Indices are
    /// unsigned, follow each other from `indices + at` on, and have 16 bits or 32.
    fn load_indexed(&mut self, p: &P, disp: i32, indices: &P, at: i32, short: bool, n: usize) -> R<V>;
    /// Lanes, which are numbers below [`Target::picks`](crate::Target::picks), become the elements of 32 bits from `p + disp`
    /// on that they are the numbers of; that many elements are read.
    fn pick_from(&mut self, _d: &V, _p: &P, _disp: i32) -> R {
        Err(Refusal::unsupported("elements by their numbers in lanes"))
    }
    /// Announces loads with a stride, outside of all loops: what they need every time may be kept in a register from here
    /// on. They need no announcement.
    fn prepare_strided(&mut self, _stride: i32) -> R {
        Ok(())
    }
    /// The first `n` lanes of a quarter of 128 bits, but the first quarter, from memory; the quarter's others are 0, and all
    /// other quarters stay. Touches no byte beyond them.
    fn load_quarter(&mut self, d: &V, quarter: usize, p: &P, disp: i32, n: usize) -> R;
    /// One element from memory in every lane.
    fn load_splat(&mut self, p: &P, disp: i32) -> R<V>;
    /// A copy.
    fn copy(&mut self, v: &V) -> R<V>;
    /// The lower half of the register and the upper one change places.
    fn swap_halves(&mut self, d: &V) -> R;
    /// `d = s`.
    fn assign(&mut self, d: &V, s: &V);
    /// Writes the first `n` lanes. Touches no byte beyond them.
    fn store(&mut self, p: &P, disp: i32, v: &V, n: usize) -> R;
    /// Asks for the cache line of an address, which need not be valid, to be brought into the second-level cache. A
    /// hint: builders without such an instruction emit nothing.
    fn prefetch(&mut self, p: &P, disp: i32);
    /// Gives a vector register back.
    fn free(&mut self, v: V);
    /// Vector registers that are free; without end where the machine's builder spills by itself.
    fn spare(&self) -> usize;
    /// Moves a register's value out of the way, to memory where registers are handed out.
    fn park(&mut self, v: V) -> R<Parked>;
    /// Brings it back.
    fn unpark(&mut self, parked: Parked) -> R<V>;
    /// A copy of it.
    fn peek(&mut self, parked: &Parked) -> R<V>;
    /// It is not needed any more.
    fn forget(&mut self, parked: Parked);

    /// `d = op d`.
    fn op1(&mut self, op: Op1, d: &V) -> R;
    /// `d = d op s`.
    fn op2(&mut self, op: Op2, d: &V, s: Src<'_>) -> R;
    /// `d = if d > s { d } else { s }` of f32: `s` where `d` is NaN.
    fn raise(&mut self, d: &V, s: Src<'_>) -> R;
    /// `d += a * b`, rounded once where the target has FMA and twice where it has none.
    fn fma(&mut self, d: &V, a: &V, b: Src<'_>) -> R;
    /// The same with a factor that is not needed any more: without FMA the product may take its place.
    fn fma_last(&mut self, d: &V, a: &V, b: V) -> R {
        self.fma(d, a, Src::Reg(&b))?;
        self.free(b);
        Ok(())
    }
    /// `d = d * a + c`, rounded like [`Simd::fma`].
    fn mul_add(&mut self, d: &V, a: &V, c: Src<'_>) -> R;
    /// Whether [`Simd::fma`] rounds once.
    fn fuses(&self) -> bool;
    /// Whether [`Simd::scale`] is an instruction.
    fn scales(&self) -> bool {
        false
    }
    /// `d = d * 2^n` for integral `n` of any size; NaN stays. Only where [`Simd::scales`].
    fn scale(&mut self, _d: &V, _n: &V) -> R {
        Err(Refusal::unsupported("scaling by powers of two"))
    }
    /// `d += b * a[lane]` for `lane < 4` (by-element multiply; lanes counted from the vector's start), rounded
    /// like [`Simd::fma`].
    fn fma_lane(&mut self, d: &V, b: &V, a: &V, lane: usize) -> R;
    /// `d = if mask { d } else { s }` for lanes of any type, where every lane of `mask` is all ones or 0.
    fn keep_where(&mut self, d: &V, mask: &V, s: Src<'_>) -> R;
    /// Lanes of `d` from `n` on become `value`.
    fn keep_first(&mut self, d: &V, n: usize, value: f32) -> R;
    /// Every lane of `d` becomes the combination of all its lanes. NaN wins.
    fn across(&mut self, op: Across, d: &V) -> R {
        self.across_as(Lane::F32, op, d)
    }
    /// Elements of 8, 16, 32 or 64 bits from the lower or the upper halves of `d` and `s`, in turn, within each quarter of
    /// 128 bits; of 8 and 16 bits only on machines of 4 lanes and where [`Simd::has_dot4`] in 16.
    fn interleave(&mut self, bits: u8, upper: bool, d: &V, s: &V) -> R;

    /// `d = op d` on lanes of a type.
    fn op1_as(&mut self, ty: Lane, op: Op1, d: &V) -> R;
    /// `d = d op s` on lanes of a type. [`Src::Splat`], [`Src::Const`] and [`Src::Bits`] fill lanes of 32 bits.
    fn op2_as(&mut self, ty: Lane, op: Op2, d: &V, s: Src<'_>) -> R;
    /// `d += a * b` on lanes of a type; floats are rounded like [`Simd::fma`], integers wrap.
    fn fma_as(&mut self, ty: Lane, d: &V, a: &V, b: Src<'_>) -> R {
        if ty == Lane::F32 {
            return self.fma(d, a, b);
        }
        let product = self.copy(a)?;
        self.op2_as(ty, Op2::Mul, &product, b)?;
        self.op2_as(ty, Op2::Add, d, Src::Reg(&product))?;
        self.free(product);
        Ok(())
    }
    /// `d = d * a + c` on lanes of floats, rounded like [`Simd::fma`].
    fn mul_add_as(&mut self, ty: Lane, d: &V, a: &V, c: Src<'_>) -> R {
        if ty == Lane::F32 {
            return self.mul_add(d, a, c);
        }
        self.op2_as(ty, Op2::Mul, d, Src::Reg(a))?;
        self.op2_as(ty, Op2::Add, d, c)
    }
    /// [`Simd::across`] on lanes of a type, of as many as the register has.
    fn across_as(&mut self, ty: Lane, op: Across, d: &V) -> R;
    /// A mask: all ones in the first `n` lanes of 32 bits, else 0.
    fn first(&mut self, n: usize) -> R<V>;
    /// A register with the constant in every lane of 64 bits.
    fn splat_wide(&mut self, bits: u64) -> R<V>;
    /// The lanes' numbers, 0, 1 and so on, as integers of 32 or 64 bits.
    fn ramp(&mut self, wide: bool) -> R<V>;
    /// `p + disp` as an integer in every lane of 64 bits.
    fn splat_index(&mut self, p: &P, disp: i32) -> R<V>;
    /// One element of 64 bits from memory in every lane of 64 bits.
    fn load_splat_wide(&mut self, p: &P, disp: i32) -> R<V>;
    /// The same of a word that [`Simd::load_ptr`] reads: a number of the machine, whatever the order of elements' bytes.
    fn load_splat_word(&mut self, p: &P, disp: i32) -> R<V> {
        self.load_splat_wide(p, disp)
    }

    /// Converts numbers where the machine has an instruction or a short way for it, with the meaning of
    /// [`convert::convert`]; `false` where it has none and nothing was emitted. Every builder does these: i32 to i64, u32 to
    /// u64, i64 to i32, f32 to f64, f64 to f32, i32 to f32, i32 to f64, f32 to i32.
    fn convert_directly(&mut self, from: Lane, to: Lane, d: &V) -> R<bool>;
    /// Whether f16 becomes f32 and back by instructions: the four methods below, with the meaning of
    /// [`Element::F16`].
    fn has_halves(&self) -> bool {
        false
    }
    /// The first `n` elements as f32, the others 0. Touches no byte beyond them.
    fn load_halves(&mut self, _p: &P, _disp: i32, _n: usize) -> R<V> {
        Err(no_halves())
    }
    /// One element in every lane.
    fn load_splat_half(&mut self, _p: &P, _disp: i32) -> R<V> {
        Err(no_halves())
    }
    /// Writes the first `n` lanes. `v` may be overwritten. Touches no byte beyond them.
    fn store_halves(&mut self, _p: &P, _disp: i32, _v: &V, _n: usize) -> R {
        Err(no_halves())
    }
    /// Every lane becomes the nearest number that f16 holds.
    fn round_to_halves(&mut self, _d: &V) -> R {
        Err(no_halves())
    }

    /// Whether products of f16 are added to f32 by instructions, of vectors with elements: [`Simd::fma_halves`].
    fn multiplies_halves(&self) -> bool {
        false
    }
    /// Eight f16 from memory, for [`Simd::fma_halves`] to multiply by. Only where [`Simd::multiplies_halves`].
    fn load_factors(&mut self, _p: &P, _disp: i32) -> R<V> {
        Err(no_halves())
    }
    /// `d += b * a[lane]` of the lower or the upper four of the eight f16 in `b`, and one of the eight that
    /// [`Simd::load_factors`] gave. Products are exact, sums of f32 rounded once. Only where [`Simd::multiplies_halves`].
    fn fma_halves(&mut self, _upper: bool, _d: &V, _b: &V, _a: &V, _lane: usize) -> R {
        Err(no_halves())
    }

    /// Whether [`Simd::dot4`] is an instruction.
    fn has_dot4(&self) -> bool {
        false
    }
    /// `d += a[0] * b[0] + .. + a[3] * b[3]` of the bytes of a lane of 32 bits, those of `a` without a sign and those of `b`
    /// with one: exact, sums wrap. Only where [`Simd::has_dot4`]; everywhere: [`bytes`].
    fn dot4(&mut self, _d: &V, _a: &V, _b: Src<'_>) -> R {
        Err(Refusal::unsupported("products of four bytes by an instruction"))
    }
    /// [`Simd::dot4`] of the bytes of one lane of `a`, which have no sign, with those of every lane of `b`, which have one. Only
    /// on machines of 4 lanes where [`Simd::has_dot4`].
    fn dot4_lane(&mut self, _d: &V, _b: &V, _a: &V, _lane: usize) -> R {
        Err(Refusal::unsupported("products of four bytes by lane"))
    }
    /// Whether [`Simd::dot8`] is an instruction.
    fn has_dot8(&self) -> bool {
        false
    }
    /// Of two rows in `a`, eight bytes of each without a sign, and two columns in `b`, eight of each with one, the
    /// products of each row and column are added to a lane of `d`: row 0 and column 0, row 0 and 1, row 1 and 0, row 1
    /// and 1. Exact, sums wrap. Only on machines of 4 lanes where [`Simd::has_dot8`].
    fn dot8(&mut self, _d: &V, _a: &V, _b: &V) -> R {
        Err(Refusal::unsupported("products of eight bytes of two rows and columns"))
    }
    /// The lower halves of two vectors side by side, and the upper ones. Only where [`Simd::has_dot8`].
    fn halves_together(&mut self, _a: V, _b: V) -> R<[V; 2]> {
        Err(Refusal::unsupported("halves of two vectors"))
    }
    /// Whether [`Simd::signed_dot4`] and [`Simd::signed_dot4_lane`] are instructions, and [`Simd::dot4`] is none.
    fn has_signed_dot4(&self) -> bool {
        false
    }
    /// [`Simd::dot4`] of bytes that all have signs. Only where [`Simd::has_signed_dot4`].
    fn signed_dot4(&mut self, _d: &V, _a: &V, _b: Src<'_>) -> R {
        Err(Refusal::unsupported("products of four signed bytes"))
    }
    /// [`Simd::dot4_lane`] of bytes that all have signs. Only where [`Simd::has_signed_dot4`].
    fn signed_dot4_lane(&mut self, _d: &V, _b: &V, _a: &V, _lane: usize) -> R {
        Err(Refusal::unsupported("products of four signed bytes"))
    }
    /// Products of bytes, those of `d` without a sign and those of `s` with one, and of these the sums two by two in lanes of 16
    /// bits, which saturate. Only on machines with SSSE3 ([`Target::adds_products_of_bytes`](crate::Target)).
    fn madd_bytes(&mut self, _d: &V, _s: Src<'_>) -> R {
        Err(Refusal::unsupported("sums of products of bytes in 16 bits"))
    }
    /// [`Simd::madd_bytes`] of `a`, which stays, in another register.
    fn products_of_bytes(&mut self, a: &V, s: Src<'_>) -> R<V> {
        let d = self.copy(a)?;
        self.madd_bytes(&d, s)?;
        Ok(d)
    }
    /// `d = d[0] * s[0] + d[1] * s[1]` of the two signed numbers of 16 bits in a lane of 32: exact, unless all four are
    /// -2^15.
    fn madd_words(&mut self, d: &V, s: Src<'_>) -> R;
    /// Two steps of a tile of words times [crossed](kiln_ir::format::packed::Steps::Crossed) bytes: to the four sums of each row is
    /// added the row's two words, which lie at `a`, times the bytes of four columns, two columns at each of `b`. Only where
    /// [`Target::crosses_bytes`](crate::Target).
    fn fma_crossed(&mut self, _rows: &[&V], _lhs: (&P, &[i32]), _rhs: (&P, [i32; 2])) -> R {
        Err(Refusal::unsupported("words of every other byte"))
    }
    /// [`Simd::madd_words`] of `a`, which stays, in another register.
    fn products_of_words(&mut self, a: &V, s: Src<'_>) -> R<V> {
        let d = self.copy(a)?;
        self.madd_words(&d, s)?;
        Ok(d)
    }
    /// `d += a[0] * b[0] + a[1] * b[1]` of the two signed numbers of 16 bits in a lane of 32: exact, unless all four are
    /// -2^15, and sums wrap.
    fn fma_words(&mut self, d: &V, a: &V, b: Src<'_>) -> R {
        let product = self.copy(a)?;
        self.madd_words(&product, b)?;
        self.op2(Op2::IntAdd, d, Src::Reg(&product))?;
        self.free(product);
        Ok(())
    }
    /// Whether a register is as many of the machine's as it has lanes, which are multiplied one by one as words.
    fn multiplies_lanes(&self) -> bool {
        false
    }
    /// Whether [`Simd::fma_long`] is two instructions, and there is [`Simd::fma_pairs`].
    fn multiplies_long(&self) -> bool {
        false
    }
    /// Signed numbers of 16 bits are multiplied; products of the first half of the register are added to the lanes of 32 bits of
    /// `d[0]`, those of the second to `d[1]`. Sums wrap. Only where [`Simd::multiplies_long`].
    fn fma_long(&mut self, _d: [&V; 2], _a: &V, _b: &V) -> R {
        Err(Refusal::unsupported("products of words in two registers"))
    }
    /// Products of bytes with a sign, of four steps of depth: the sum of row `r` and vector `j`, `d[r * vectors + j]`, gets those of
    /// bytes `4 lane` to `4 lane + 3` of `a[r]` with the bytes of its columns. Of two vectors of columns the bytes of steps 0 and 1 are
    /// side by side in `b[j / 2][0]`, those of steps 2 and 3 in `b[j / 2][1]`. Two products are added in 16 bits: no two may have
    /// factors that are all the least byte. Only where [`Simd::multiplies_long`].
    fn fma_pairs(&mut self, _d: &[V], _b: &[[V; 2]], _a: &[V], _lane: usize) -> R {
        Err(Refusal::unsupported("products of pairs of bytes"))
    }
    /// The four quarters of a table of 256 bytes, where [`Simd::look_up_in`] is a few instructions; else nothing.
    fn load_table(&mut self, _p: &P, _disp: i32) -> R<Vec<V>> {
        Ok(Vec::new())
    }
    /// Every byte becomes the entry of the table that it is the number of.
    fn look_up_in(&mut self, _d: &V, _table: [&V; 4]) -> R {
        Err(Refusal::unsupported("tables of bytes by instructions"))
    }
    /// Every byte becomes the entry of a table of 16 bytes in memory that it is the number of, or 0 where it is beyond.
    fn look_up_part(&mut self, d: &V, p: &P, disp: i32) -> R;
    /// Announces [`Simd::load_turned`], outside of all loops.
    fn prepare_turned(&mut self) -> R {
        Ok(())
    }
    /// The first `n` of 16 lanes from memory, the others 0, as a matrix of 4 x 4 whose rows become columns: lane `4 i + j` in
    /// place `4 j + i`. Touches no byte beyond them. Only where [`Simd::has_dot4`] in 16 lanes.
    fn load_turned(&mut self, _p: &P, _disp: i32, _n: usize) -> R<V> {
        Err(Refusal::unsupported("lanes as a matrix that is turned"))
    }
    /// Twice as many bytes as lanes of 32 bits from memory, each extended to 16 bits, with its sign where they are `signed`.
    fn load_words(&mut self, p: &P, disp: i32, signed: bool) -> R<V>;
    /// The first `n` lanes of two bytes each, one from either place, as numbers of 16 bits, those of the second above those of the
    /// first; with their signs where they are `signed`. The other lanes are 0. Touches no byte beyond them.
    fn load_byte_pairs(&mut self, p: &P, disps: [i32; 2], signed: bool, n: usize) -> R<V> {
        let byte = Narrow { two: false, signed };
        let v = self.load_narrow(byte, p, disps[0], n)?;
        let above = self.load_narrow(byte, p, disps[1], n)?;
        self.op1_as(Lane::I32, Op1::Shl(16), &above)?;
        self.op2(Op2::And, &v, Src::Bits(0xffff))?;
        self.op2(Op2::Or, &v, Src::Reg(&above))?;
        self.free(above);
        Ok(v)
    }
    /// `d = d + s`, or with `minus` `d - s`, of numbers of 16 bits, which wrap.
    fn add_words(&mut self, d: &V, s: &V, minus: bool) -> R;
    /// Every byte of `d`, without a sign, becomes the greater one of it and that of `s`.
    fn max_bytes(&mut self, d: &V, s: &V) -> R;
    /// Numbers of 16 bits moved to the left by less than 16 bits.
    fn shift_words(&mut self, d: &V, by: u8) -> R;

    /// The first `n` elements from memory in lanes of 32 bits, the others 0. Touches no byte beyond them.
    fn load_narrow(&mut self, e: Narrow, p: &P, disp: i32, n: usize) -> R<V>;
    /// One element from memory in every lane of 32 bits.
    fn load_splat_narrow(&mut self, e: Narrow, p: &P, disp: i32) -> R<V>;
    /// `n` elements that lie `stride` bytes apart, one a lane, the others 0: of 8 bytes in lanes of 64 bits, of 4 and fewer
    /// in lanes of 32, short ones extended with their sign where they are `signed`.
    fn load_apart(&mut self, apart: Apart, p: &P, disp: i32, n: usize) -> R<V>;
    /// 128 bits of elements of 1 or 2 bytes that lie apart, side by side as in memory; `None` where they come one by one
    /// into lanes of their own as fast, and nothing was emitted.
    fn load_dense(&mut self, _apart: Apart, _p: &P, _disp: i32) -> R<Option<V>> {
        Ok(None)
    }
    /// Whether [`Op1::ToInt`] of what is no i32, NaN too, is the least i32.
    fn converts_far(&self) -> bool {
        false
    }
    /// Whether [`Op1::ToInt`] of what is no i32 is the nearest one, and of NaN 0.
    fn converts_to_nearest(&self) -> bool {
        false
    }
    /// Whether words that are bytes are clamped as words, which are twice as many as lanes.
    fn clamps_words(&self) -> bool {
        false
    }
    /// Writes all lanes of two or four registers, one behind the other, as bytes without a sign, or as words where they are
    /// [`Overflow::Byte`]: the nearest, or as [`Overflow::Moved`]. The registers may be overwritten. `false` where that is no
    /// shorter than one by one, and nothing was emitted.
    fn store_together(&mut self, _p: &P, _disp: i32, _all: &[V], _overflow: Overflow) -> R<bool> {
        Ok(false)
    }
    /// Writes all lanes of two registers, each to a place of its own, as [`Simd::store_together`] does.
    fn store_two(&mut self, _p: &P, _disps: [i32; 2], _pair: [&V; 2], _overflow: Overflow) -> R<bool> {
        Ok(false)
    }
    /// Writes the first `n` lanes of 32 bits as short integers. Touches no byte beyond them.
    fn store_narrow(&mut self, e: Narrow, overflow: Overflow, p: &P, disp: i32, v: &V, n: usize) -> R;
}

fn no_halves() -> Refusal {
    Refusal::unsupported("floats of 16 bits by instructions")
}

/// Something that any vector builder can emit.
pub trait Program {
    /// Emits the body of `fn(frame, begin, end)`.
    fn emit<S: Simd>(&self, s: &mut S) -> R;
}
