//! The best of an axis of which many are wanted: a radix sort for each line, from the least digit on (H. Seward, 1954).
//!
//! Elements become keys without a sign, the best one least, and keys keep the order in which they came, so that of equal elements
//! the first is first. Where at most half are wanted, digits of 11 bits are counted first, and only the elements of the best ones,
//! with at least k elements, are sorted.
//!
//! ```text
//! for i                         keys[i] = key(x[i]); counts[keys[i] >> bits - 11] += 1
//! while found < k               found += counts[limit]; limit += 1
//! for i                         keys[i] >> bits - 11 < limit: kept, with i
//! for each digit of 8 bits      count; sums of counts are places; elements to their places
//! ```

use crate::error::{Error, Result};
use crate::kernel::procedure::Steps;
use crate::kernel::{
    Access, Affine, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, Scalar, UnaryOp,
};
use crate::op::Fact;
use crate::ops::nest::{NestBuilder, add};
use crate::types::DType;

/// Bits of a digit that is sorted by, and of the one that is counted to choose elements.
const DIGIT: i64 = 8;
const CHOICE: i64 = 11;

/// Keys, and the positions of their elements.
#[derive(Clone, Copy)]
struct Pairs {
    keys: BufferId,
    places: BufferId,
}

/// The loops of a line's procedure, and what it reads and writes.
pub(super) struct Sorter {
    nest: NestBuilder,
    /// Loops by axis; that of the axis in question does not count.
    others: Vec<LoopId>,
    axis: usize,
    largest: bool,
    extent: i64,
    k: i64,
    dtype: DType,
    /// Of keys.
    unsigned: DType,
    bits: i64,
    data: BufferId,
    results: Pairs,
    pairs: [Pairs; 2],
    counts: BufferId,
    sums: BufferId,
    /// Counts elements and digits.
    i: LoopId,
    digit: LoopId,
    digit_of_choice: LoopId,
    /// Registers: how many elements are sorted, one of them, its digit, its place, its position, and one of the results.
    many: LoopId,
    at: LoopId,
    of: LoopId,
    to: LoopId,
    from: LoopId,
    result: LoopId,
    /// Registers: how many elements digits have so far, with the next one's, and the first digit that is not chosen.
    found: LoopId,
    next: LoopId,
    limit: LoopId,
}

impl Sorter {
    pub(super) fn new(
        cx: &mut Lowering<'_>,
        x: &Fact,
        axis: usize,
        [extent, k]: [i64; 2],
        largest: bool,
    ) -> Result<Self> {
        let mut nest = NestBuilder::default();
        let mut others = Vec::new();
        for (a, n) in x.shape.iter().enumerate() {
            others.push(if a == axis { LoopId(0) } else { nest.parallel(format!("i{a}"), n) });
        }
        let bits = x.dtype.bits() as i64;
        let unsigned = match bits {
            8 => DType::U8,
            16 => DType::U16,
            32 => DType::U32,
            _ => DType::U64,
        };
        let mut room = |name: &str, dtype: DType, n: i64| {
            let mut shape = x.shape.clone();
            shape.0[axis] = n.into();
            cx.temp(name, dtype, shape)
        };
        // One more place for an element that is not kept.
        let pairs = [0, 1].map(|_| Pairs {
            keys: room("keys", unsigned, extent + 1),
            places: room("places", DType::I32, extent + 1),
        });
        let counts = room("counts", DType::I32, (1 << CHOICE.min(bits)) + 1);
        let sums = room("sums", DType::I32, 1 << DIGIT);
        let mut reduce = |name: &str, extent: i64| nest.reduce(name, &extent.into());
        let [many, at, found, next] = ["many", "at", "found", "next"].map(|n| reduce(n, extent + 1));
        let [i, to, from] = ["i", "to", "from"].map(|n| reduce(n, extent));
        let [digit, of] = ["digit", "of"].map(|n| reduce(n, 1 << DIGIT));
        let digit_of_choice = reduce("choice", 1 << CHOICE.min(bits));
        let limit = reduce("limit", (1 << CHOICE.min(bits)) + 1);
        let result = reduce("result", k);
        let results = Pairs { keys: cx.output(0)?, places: cx.output(1)? };
        Ok(Self {
            nest,
            others,
            axis,
            largest,
            extent,
            k,
            dtype: x.dtype,
            unsigned,
            bits,
            data: cx.input(0)?,
            results,
            pairs,
            counts,
            sums,
            i,
            digit,
            digit_of_choice,
            many,
            at,
            of,
            to,
            from,
            result,
            found,
            next,
            limit,
        })
    }

    fn place(&self, buffer: BufferId, l: LoopId) -> Access {
        let index = |(a, own): (usize, &LoopId)| -> Index {
            if a == self.axis { Affine::of(l).into() } else { (*own).into() }
        };
        Access::new(buffer, self.others.iter().enumerate().map(index).collect())
    }

    fn load(&self, buffer: BufferId, l: LoopId) -> Expr {
        Expr::Load(self.place(buffer, l))
    }

    /// An element's bits, such that of two elements the better one has the lesser number.
    fn key(&self) -> Expr {
        let x = self.load(self.data, self.i);
        let whole = if self.bits == 64 { u64::MAX } else { (1 << self.bits) - 1 };
        let sign = 1u64 << (self.bits - 1);
        let flipped = |bits: Expr, by: u64| {
            let by = Expr::Const(Scalar { dtype: self.unsigned, bits: by });
            Expr::binary(BinaryOp::BitXor, bits, by)
        };
        let turned = |bits: Expr| if self.largest { Expr::unary(UnaryOp::BitNot, bits) } else { bits };
        if self.dtype.is_float() {
            // Both zeros become one.
            let x = add(x, Expr::Const(Scalar::of(self.dtype, 0.0)));
            let bits = Expr::bits(self.unsigned, x.clone());
            let negative = Expr::binary(BinaryOp::Lt, x, Expr::Const(Scalar::of(self.dtype, 0.0)));
            let ascending = Expr::select(negative, flipped(bits.clone(), whole), flipped(bits, sign));
            return turned(ascending);
        }
        match self.dtype.is_signed_int() {
            true => turned(flipped(Expr::bits(self.unsigned, x), sign)),
            false => turned(x),
        }
    }

    /// The bits of a key from `shift` on, `width` of them.
    fn digit_of(&self, key: Expr, shift: i64, width: i64) -> Expr {
        let number = |n: i64| Expr::Const(Scalar::int(self.unsigned, n));
        let moved = if shift == 0 { key } else { Expr::binary(BinaryOp::Shr, key, number(shift)) };
        let rest = match shift + width < self.bits {
            true => Expr::binary(BinaryOp::BitAnd, moved, number((1 << width) - 1)),
            false => moved,
        };
        Expr::cast(DType::I64, rest)
    }

    fn count(&self, steps: &mut Steps, list: BufferId, l: LoopId) {
        let one = Expr::Const(Scalar::int(DType::I32, 1));
        steps.store(self.place(list, l), add(self.load(list, l), one));
    }

    /// Statements for each element that is sorted.
    fn each_kept(&self, steps: &mut Steps, body: &mut dyn FnMut(&mut Steps) -> Result<()>) -> Result<()> {
        steps.set(self.at, number(0));
        let more = Expr::binary(BinaryOp::Lt, Expr::Loop(self.at), Expr::Loop(self.many));
        steps.repeat(more, |steps| {
            body(steps)?;
            steps.set(self.at, add(Expr::Loop(self.at), number(1)));
            Ok(())
        })
    }

    /// Keys of all elements, of which as many are kept as can be among the best; gives where they are.
    fn choose(&self, steps: &mut Steps) -> Result<usize> {
        let [all, kept] = self.pairs;
        if 2 * self.k > self.extent {
            steps.each(self.i, |steps| -> Result<()> {
                steps.store(self.place(all.keys, self.i), self.key());
                steps.store(self.place(all.places, self.i), Expr::cast(DType::I32, Expr::Loop(self.i)));
                Ok(())
            })?;
            steps.set(self.many, number(self.extent));
            return Ok(0);
        }
        let width = CHOICE.min(self.bits);
        let choice = || self.digit_of(self.load(all.keys, self.i), self.bits - width, width);
        steps.each(self.digit_of_choice, |steps| -> Result<()> {
            let none = Expr::Const(Scalar::int(DType::I32, 0));
            steps.store(self.place(self.counts, self.digit_of_choice), none);
            Ok(())
        })?;
        steps.each(self.i, |steps| -> Result<()> {
            steps.store(self.place(all.keys, self.i), self.key());
            steps.set(self.limit, choice());
            self.count(steps, self.counts, self.limit);
            Ok(())
        })?;
        steps.set(self.found, number(0));
        steps.set(self.limit, number(0));
        let few = Expr::binary(BinaryOp::Lt, Expr::Loop(self.found), number(self.k));
        steps.repeat(few, |steps| -> Result<()> {
            let own = Expr::cast(DType::I64, self.load(self.counts, self.limit));
            steps.set(self.found, add(Expr::Loop(self.found), own));
            steps.set(self.limit, add(Expr::Loop(self.limit), number(1)));
            Ok(())
        })?;
        steps.set(self.many, number(0));
        steps.each(self.i, |steps| -> Result<()> {
            steps.store(self.place(kept.keys, self.many), self.load(all.keys, self.i));
            steps.store(self.place(kept.places, self.many), Expr::cast(DType::I32, Expr::Loop(self.i)));
            let one = Expr::binary(BinaryOp::Lt, choice(), Expr::Loop(self.limit));
            steps.set(self.many, add(Expr::Loop(self.many), Expr::cast(DType::I64, one)));
            Ok(())
        })?;
        Ok(1)
    }

    /// Elements sorted by a digit, into other pairs or, by the last one, the results.
    fn pass(&self, steps: &mut Steps, from: Pairs, to: Option<Pairs>, shift: i64) -> Result<()> {
        steps.each(self.digit, |steps| -> Result<()> {
            let none = Expr::Const(Scalar::int(DType::I32, 0));
            steps.store(self.place(self.sums, self.digit), none);
            Ok(())
        })?;
        let own = || self.digit_of(self.load(from.keys, self.at), shift, DIGIT);
        self.each_kept(steps, &mut |steps| {
            steps.set(self.of, own());
            self.count(steps, self.sums, self.of);
            Ok(())
        })?;
        steps.set(self.found, number(0));
        steps.each(self.digit, |steps| -> Result<()> {
            let own = Expr::cast(DType::I64, self.load(self.sums, self.digit));
            steps.set(self.next, add(Expr::Loop(self.found), own));
            let first = Expr::cast(DType::I32, Expr::Loop(self.found));
            steps.store(self.place(self.sums, self.digit), first);
            steps.set(self.found, Expr::Loop(self.next));
            Ok(())
        })?;
        self.each_kept(steps, &mut |steps| {
            steps.set(self.of, own());
            steps.set(self.to, Expr::cast(DType::I64, self.load(self.sums, self.of)));
            self.count(steps, self.sums, self.of);
            let place = self.load(from.places, self.at);
            if let Some(to) = to {
                steps.store(self.place(to.keys, self.to), self.load(from.keys, self.at));
                steps.store(self.place(to.places, self.to), place);
                return Ok(());
            }
            let wanted = Expr::binary(BinaryOp::Lt, Expr::Loop(self.to), number(self.k));
            steps.choose(
                wanted,
                |steps| -> Result<()> {
                    steps.set(self.result, Expr::Loop(self.to));
                    steps.set(self.from, Expr::cast(DType::I64, place));
                    steps.store(self.place(self.results.keys, self.result), self.load(self.data, self.from));
                    steps.store(self.place(self.results.places, self.result), Expr::Loop(self.from));
                    Ok(())
                },
                |_| Ok(()),
            )
        })
    }

    pub(super) fn emit(self, cx: &mut Lowering<'_>) -> Result<()> {
        if i32::try_from(self.extent).is_err() {
            return Err(Error::unsupported("an axis of 2^31 elements"));
        }
        let mut steps = Steps::default();
        let mut from = self.choose(&mut steps)?;
        for shift in (0..self.bits).step_by(DIGIT as usize) {
            let last = shift + DIGIT >= self.bits;
            let to = (!last).then_some(self.pairs[1 - from]);
            self.pass(&mut steps, self.pairs[from], to, shift)?;
            from = 1 - from;
        }
        cx.emit(self.nest.loops, Form::Procedure(steps.finish()));
        Ok(())
    }
}

fn number(value: i64) -> Expr {
    Expr::Const(Scalar::int(DType::I64, value))
}
