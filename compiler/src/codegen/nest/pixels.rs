//! Bytes or words of pixels: four channels side by side, computed by vectors of pixels and put together in lanes.
//!
//! ```text
//!   c = 0:   r0 r1 r2 ..         bytes: lane 0: r0 g0 b0 a0   lane 1: r1 g1 b1 a1   ..
//!   c = 1:   g0 g1 g2 ..         words: lane 0: r0 g0         lane 1: b0 a0         ..
//! ```

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Element, Op1, Op2, P, R, Refusal, Simd, Src, V};

use super::super::trips::{stepped, trips};
use super::{Generator, widths};

/// Channels of a pixel.
const CHANNELS: i64 = 4;
/// Lanes of 128 bits.
const QUARTER: usize = 4;

impl Generator<'_> {
    /// The loop along the vectors, for all four iterations of `channels`.
    pub(super) fn pixels<S: Simd>(&mut self, s: &mut S, channels: LoopId) -> R {
        let (l, block) = (self.nest.vector, self.block());
        let stores = (self.stores.len(), self.walk.extent(channels));
        let size = self.walk.element(self.stores[0]).bytes() as i64;
        let strides = [l, channels].map(|l| self.walk.stride(self.stores[0], l));
        let apart = strides == [CHANNELS * size, size];
        if stores != (1, CHANNELS) || !apart {
            return Err(Refusal::unsupported("elements that are no pixels of four"));
        }
        if let Some(extent) = self.walk.open_extent(l) {
            return stepped(self, s, l, &extent, block, &mut |this, s, n| {
                this.block_of_pixels(s, channels, n)
            });
        }
        let extent = self.walk.extent(l);
        for (from, to) in self.walk.parts(l) {
            self.walk.set_range(l, (from, to));
            trips(self, s, l, (to - from) / block, block, &mut |this, s| {
                this.block_of_pixels(s, channels, block)
            })?;
            let rest = (to - from) % block;
            if rest > 0 {
                self.block_of_pixels(s, channels, rest)?;
                self.walk.skip(l, rest);
            }
        }
        self.walk.rewind(l, extent);
        Ok(())
    }

    fn block_of_pixels<S: Simd>(&mut self, s: &mut S, channels: LoopId, count: i64) -> R {
        let widths = widths(count, self.lanes);
        let bits = 8 * self.walk.element(self.stores[0]).bytes() as u8;
        // Channels in one lane: all of them, or two.
        let together = 32 / i64::from(bits);
        let mut parts: Vec<Vec<V>> = Vec::new();
        for c in 0..CHANNELS {
            self.walk.set_range(channels, (c, c + 1));
            self.walk.step_sized(s, channels, i64::from(c > 0))?;
            let ahead = self.ahead(c, 0, widths.len());
            let places = self.places(&ahead, &widths);
            let values: Vec<V> = self.epilogue.eval_all(s, &places, None)?.into_iter().flatten().collect();
            if self.walk.element(self.stores[0]) == Element::I8 {
                values.iter().try_for_each(|v| s.op2(Op2::And, v, Src::Bits(0xff)))?;
            }
            if c % together == 0 {
                parts.push(values);
                if let (16, Some(first)) = (bits, parts.last()) {
                    first.iter().try_for_each(|v| s.op2(Op2::And, v, Src::Bits(0xffff)))?;
                }
                continue;
            }
            for (v, pixel) in values.into_iter().zip(parts.last().into_iter().flatten()) {
                s.op1(Op1::Shl(bits * (c % together) as u8), &v)?;
                s.op2(Op2::Or, pixel, Src::Reg(&v))?;
                s.free(v);
            }
        }
        self.walk.step_sized(s, channels, 1 - CHANNELS)?;
        self.walk.set_range(channels, (0, CHANNELS));
        let ahead = self.ahead(0, 0, widths.len());
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        let mut second = parts.next().unwrap_or_default().into_iter();
        for (at, low) in self.places(&ahead, &widths).iter().zip(first) {
            let disp = self.walk.disp(self.stores[0], at.ahead, 0)?;
            let to = self.walk.ptr(self.stores[0]);
            match second.next() {
                Some(high) => pixels_of_two(s, to, disp, low, high, at.n)?,
                None => {
                    s.store(to, disp, &low, at.n)?;
                    s.free(low);
                }
            }
        }
        Ok(())
    }
}

/// Writes `n` pixels, each of a lane of `low` and one of `high`.
fn pixels_of_two<S: Simd>(s: &mut S, to: &P, disp: i32, low: V, high: V, n: usize) -> R {
    let upper = s.copy(&low)?;
    s.interleave(32, false, &low, &high)?;
    s.interleave(32, true, &upper, &high)?;
    s.free(high);
    // In each quarter `low` has two pixels and `upper` the next two.
    let all = [low, upper];
    for half in 0..(2 * n).div_ceil(2 * QUARTER) {
        if half == 1 {
            all.iter().try_for_each(|v| s.swap_halves(v))?;
        }
        for (i, v) in all.iter().enumerate() {
            let at = (2 * half + i) * QUARTER;
            let lanes = (2 * n).saturating_sub(at).min(QUARTER);
            if lanes > 0 {
                s.store(to, disp + 4 * at as i32, v, lanes)?;
            }
        }
    }
    all.into_iter().for_each(|v| s.free(v));
    Ok(())
}
