//! [`Schedule::Digits`](kiln_ir::kernel::plan::Schedule::Digits): numbers in digits times weights of four or eight bits.
//!
//! ```text
//! panels of 16 columns, then outer loops
//!   sums = 0
//!   blocks
//!     an integer sum for each digit = 0
//!     groups: 4 bytes of each column, apart into 8 weights if these are short; digit's sum += 4 weights * 4 digits, twice
//!       (where there is no such instruction: of two bytes, in words for four groups, exact for short weights)
//!     sums += (f32(digits' sums) * 256.. + zero * shift) * (scale * unit)
//!   epilogue, stores
//! ```

use kiln_ir::DType;
use kiln_ir::kernel::Form;
use kiln_ir::kernel::LoopId;
use kiln_ir::kernel::digits::{COLUMNS, DigitSum};
use kiln_ir::kernel::plan::{Digits, PlannedKernel, Shared};
use kiln_targets::simd::{Lane, Narrow, Op1, Op2, R, Refusal, Simd, Src, V};

use super::places::Places;
use super::share::shared;
use super::trips::{Walks, trips};
use super::vexpr::{At, Dag};
use super::walk::{AccessId, Walk};

/// The lower half of every byte.
const LOW: u32 = 0x0f0f_0f0f;
/// What a digit counts in the one below it.
const UNIT: f32 = 256.0;
const BYTE: Narrow = Narrow { two: false, signed: false };

/// Both words of a lane, to add them.
const ONES: u32 = 0x0001_0001;
/// Groups whose products with weights of four bits fit words: two products of each, at most 15 * 128, of either half.
const GROUPS_OF_WORDS: i64 = 4;

/// Adds products of a digit.
type Products<'f, S> = &'f mut dyn FnMut(&mut S, usize, &V, Src<'_>) -> R;

/// The generator.
struct Generator<'k> {
    walk: Walk,
    digits: &'k Digits,
    sum: DigitSum<AccessId>,
    epilogue: Dag,
    store: AccessId,
}

impl Walks for Generator<'_> {
    fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }
}

/// Emits the kernel.
pub(super) fn emit<S: Simd>(
    kernel: &PlannedKernel,
    places: Option<&Places>,
    digits: &Digits,
    s: &mut S,
) -> R {
    let (Some(sum), Form::Reduce { store, .. }) = (DigitSum::of(&kernel.form), &kernel.form) else {
        return Err(Refusal::unsupported(format!("{} of digits", kernel.form.name())));
    };
    let mut walk = Walk::new(kernel, places)?;
    let mut access = |a| walk.access(a);
    let parts = sum.digits.iter().map(|[a, b, c]| Ok([access(a)?, access(b)?, access(c)?]));
    let parts = parts.collect::<R<Vec<_>>>()?;
    let sum = DigitSum {
        weights: access(&sum.weights)?,
        digits: parts,
        zero: sum.zero.as_ref().map(&mut access).transpose()?,
        shift: access(&sum.shift)?,
        scale: access(&sum.scale)?,
        unit: access(&sum.unit)?,
    };
    let epilogue = Dag::typed(&mut walk, DType::F32, [&store.value])?;
    let store = walk.access(&store.to)?;
    let mut this = Generator { walk, digits, sum, epilogue, store };
    this.walk.open(s)?;
    this.level(s, 0, kernel.shared)?;
    this.walk.close(s);
    Ok(())
}

impl Generator<'_> {
    /// The panels, then the outer loops from the `i - 1`th on; `share` is what the caller's range counts.
    fn level<S: Simd>(&mut self, s: &mut S, i: usize, share: Option<Shared>) -> R {
        let l = match i {
            0 => self.digits.panel,
            i => match self.digits.outer.get(i - 1) {
                Some(l) => *l,
                None => return self.panel(s),
            },
        };
        if let Some(share) = share.filter(|share| share.along == l) {
            if share.step != 1 {
                return Err(Refusal::unsupported("shared steps of another size than a panel's"));
            }
            return shared(self, s, share, i > 0, &mut |this, s, _| this.level(s, i + 1, None));
        }
        let extent = self.walk.extent(l);
        trips(self, s, l, extent, 1, &mut |this, s| this.level(s, i + 1, share))?;
        self.walk.rewind(l, extent);
        Ok(())
    }

    /// The columns of a panel.
    fn panel<S: Simd>(&mut self, s: &mut S) -> R {
        let lanes = s.lanes() as i64;
        let parts = COLUMNS / lanes;
        let sums = (0..parts).map(|_| s.splat(0.0)).collect::<R<Vec<V>>>()?;
        let block = self.digits.block;
        let extent = self.walk.extent(block);
        trips(self, s, block, extent, 1, &mut |this, s| this.block(s, &sums))?;
        self.walk.rewind(block, extent);
        let overflow = self.epilogue.overflow(s, 0);
        for (v, sum) in self.epilogue.make_room(s, sums)?.into_iter().enumerate() {
            let sum = sum.fetch(s)?;
            let ahead = [(self.digits.col, v as i64 * lanes)];
            let at = At { walk: &self.walk, lane: self.digits.col, ahead: &ahead, n: lanes as usize };
            for value in self.epilogue.eval(s, &at, Some(sum))? {
                at.store(s, self.store, &value, overflow)?;
                s.free(value);
            }
        }
        Ok(())
    }

    /// Adds a block of weights to the sums.
    fn block<S: Simd>(&mut self, s: &mut S, sums: &[V]) -> R {
        let lanes = s.lanes() as i64;
        let Digits { col, group, .. } = *self.digits;
        self.ask_for_next(s)?;
        for (v, sum) in sums.iter().enumerate() {
            let [d0, d1, d2] = self.sums_of_digits(s, v)?;
            // The upper two digits are few bits together, the lowest has its own.
            s.op1_as(Lane::I32, Op1::Shl(8), &d2)?;
            s.op2(Op2::IntAdd, &d2, Src::Reg(&d1))?;
            s.free(d1);
            s.op1(Op1::ToFloat, &d2)?;
            s.op1(Op1::ToFloat, &d0)?;
            s.fma(&d0, &d2, Src::Const(UNIT))?;
            s.free(d2);
            let bytes = self.walk.extent(group) * self.walk.extent(self.digits.byte);
            let shift =
                s.load_splat(self.walk.ptr(self.sum.shift), self.walk.disp(self.sum.shift, &[], 0)?)?;
            match self.sum.zero {
                None => s.fma(&d0, &shift, Src::Const(bytes as f32))?,
                Some(zero) => {
                    let disp = self.walk.disp(zero, &[(col, v as i64 * lanes)], 0)?;
                    let zero = s.load_narrow(BYTE, self.walk.ptr(zero), disp, s.lanes())?;
                    s.op1(Op1::ToFloat, &zero)?;
                    s.op2(Op2::Mul, &shift, Src::Const(bytes as f32))?;
                    s.fma(&d0, &zero, Src::Reg(&shift))?;
                    s.free(zero);
                }
            }
            s.free(shift);
            let scale = self.load(s, self.sum.scale, &[(col, v as i64 * lanes)])?;
            let unit = self.walk.disp(self.sum.unit, &[], 0)?;
            s.op2(Op2::Mul, &scale, Src::Splat(self.walk.ptr(self.sum.unit), unit))?;
            s.fma(sum, &d0, Src::Reg(&scale))?;
            s.free(scale);
            s.free(d0);
        }
        Ok(())
    }

    /// Of vector `v` of a panel's columns the integer sums of a block, one for each digit.
    fn sums_of_digits<S: Simd>(&self, s: &mut S, v: usize) -> R<[V; 3]> {
        let (groups, short) = (self.walk.extent(self.digits.group), self.sum.digits.len() > 1);
        let sums = [s.splat(0.0)?, s.splat(0.0)?, s.splat(0.0)?];
        if s.has_dot4() || short && s.has_signed_dot4() {
            for g in 0..groups {
                self.group(s, v, g, &mut |s, n, weights, digit| match s.has_dot4() {
                    true => s.dot4(&sums[n], weights, digit),
                    false => s.signed_dot4(&sums[n], weights, digit),
                })?;
            }
            return Ok(sums);
        }
        if !short {
            return Err(Refusal::unsupported("products of four bytes by an instruction"));
        }
        for first in (0..groups).step_by(GROUPS_OF_WORDS as usize) {
            let words = [s.splat(0.0)?, s.splat(0.0)?, s.splat(0.0)?];
            for g in first..groups.min(first + GROUPS_OF_WORDS) {
                self.group(s, v, g, &mut |s, n, weights, digit| {
                    let products = s.products_of_bytes(weights, digit)?;
                    s.add_words(&words[n], &products, false)?;
                    s.free(products);
                    Ok(())
                })?;
            }
            for (sum, words) in sums.iter().zip(words) {
                s.madd_words(&words, Src::Bits(ONES))?;
                s.op2(Op2::IntAdd, sum, Src::Reg(&words))?;
                s.free(words);
            }
        }
        Ok(sums)
    }

    /// Four bytes of each of a vector's columns: `add` gets each digit's number, weights, one a byte, and the digits in all
    /// lanes.
    fn group<S: Simd>(&self, s: &mut S, v: usize, g: i64, add: Products<'_, S>) -> R {
        let Digits { col, group, .. } = *self.digits;
        let ahead = [(group, g), (col, (v * s.lanes()) as i64)];
        let mut weights = vec![self.load(s, self.sum.weights, &ahead)?];
        if self.sum.digits.len() > 1 {
            let high = s.copy(&weights[0])?;
            s.op2(Op2::And, &weights[0], Src::Bits(LOW))?;
            s.op1_as(Lane::U32, Op1::Shr(4), &high)?;
            s.op2(Op2::And, &high, Src::Bits(LOW))?;
            weights.push(high);
        }
        for (weights, digits) in weights.into_iter().zip(&self.sum.digits) {
            for (n, digit) in digits.iter().enumerate() {
                let disp = self.walk.disp(*digit, &[(group, g)], 0)?;
                add(s, n, &weights, Src::Splat(self.walk.ptr(*digit), disp))?;
            }
            s.free(weights);
        }
        Ok(())
    }

    /// Asks for the lines of a block that comes later; behind the last one these are as a rule the next panel's.
    fn ask_for_next<S: Simd>(&self, s: &mut S) -> R {
        let Digits { block, group, ahead, .. } = *self.digits;
        if ahead == 0 {
            return Ok(());
        }
        // A group of weights and a block's scales are a line each.
        let next = (block, i64::from(ahead));
        for g in 0..self.walk.extent(group) {
            let disp = self.walk.disp(self.sum.weights, &[next, (group, g)], 0)?;
            s.prefetch(self.walk.ptr(self.sum.weights), disp);
        }
        for beside in [Some(self.sum.scale), self.sum.zero].into_iter().flatten() {
            s.prefetch(self.walk.ptr(beside), self.walk.disp(beside, &[next], 0)?);
        }
        Ok(())
    }

    /// A whole vector as it lies.
    fn load<S: Simd>(&self, s: &mut S, a: AccessId, ahead: &[(LoopId, i64)]) -> R<V> {
        let lanes = s.lanes();
        s.load(self.walk.ptr(a), self.walk.disp(a, ahead, 0)?, lanes)
    }
}
