//! Elements that are written two or four times, side by side.
//!
//! ```text
//!   a quarter of 128 bits     x0 x1 .. ..       two of them, or one
//!   in turn with itself       x0 x0 x1 x1       and again: x0 x0 x0 x0
//! ```

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{R, Refusal, Simd};

use super::super::trips::trips;
use super::super::walk::AccessId;
use super::{Generator, widths};

/// Lanes of 128 bits.
const QUARTER: usize = 4;

impl Generator<'_> {
    /// The loop along the vectors, for all iterations of `again`.
    pub(super) fn repeats<S: Simd>(&mut self, s: &mut S, from: AccessId, again: LoopId) -> R {
        let (l, block, times) = (self.nest.vector, self.block(), self.walk.extent(again));
        let (to, size) = (self.stores[0], QUARTER as i64);
        let strides = [(from, l), (from, again), (to, l), (to, again)].map(|(a, l)| self.walk.stride(a, l));
        if strides != [size, 0, times * size, size] || ![2, 4].contains(&times) {
            return Err(Refusal::unsupported("elements that are not repeated side by side"));
        }
        let extent = self.walk.extent(l);
        for (begin, end) in self.walk.parts(l) {
            self.walk.set_range(l, (begin, end));
            trips(self, s, l, (end - begin) / block, block, &mut |this, s| {
                this.block_of_repeats(s, from, times as usize, block)
            })?;
            let rest = (end - begin) % block;
            if rest > 0 {
                self.block_of_repeats(s, from, times as usize, rest)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    fn block_of_repeats<S: Simd>(&mut self, s: &mut S, from: AccessId, times: usize, count: i64) -> R {
        let (source, target) = (self.walk.disp(from, &[], 0)?, self.walk.disp(self.stores[0], &[], 0)?);
        let each = QUARTER / times;
        // What is written, a vector at a time.
        for (i, n) in widths(count * times as i64, s.lanes()).into_iter().enumerate() {
            let first = i * s.lanes() / times;
            let disp = |element: usize| source + (element * 4) as i32;
            let elements = n / times;
            let v = s.load(self.walk.ptr(from), disp(first), elements.min(each))?;
            for quarter in 1..elements.div_ceil(each) {
                let past = quarter * each;
                let rest = (elements - past).min(each);
                s.load_quarter(&v, quarter, self.walk.ptr(from), disp(first + past), rest)?;
            }
            for bits in [32, 64].into_iter().take(times.trailing_zeros() as usize) {
                let same = s.copy(&v)?;
                s.interleave(bits, false, &v, &same)?;
                s.free(same);
            }
            s.store(self.walk.ptr(self.stores[0]), target + (i * s.lanes() * 4) as i32, &v, n)?;
            s.free(v);
        }
        Ok(())
    }
}
