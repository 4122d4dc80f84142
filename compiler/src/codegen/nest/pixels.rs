//! Bytes of pixels: four channels side by side, computed by vectors of pixels and put together in lanes.
//!
//! ```text
//!   c = 0:   r0 r1 r2 ..         lane 0: r0 g0 b0 a0   lane 1: r1 g1 b1 a1   ..
//!   c = 1:   g0 g1 g2 ..
//! ```

use kiln_ir::kernel::LoopId;
use kiln_targets::simd::{Op1, Op2, R, Refusal, Simd, Src, V};

use super::super::walk::trips;
use super::{Generator, widths};

/// Bytes of a lane.
const BYTES: i64 = 4;

impl Generator<'_> {
    /// The loop along the vectors, for all four iterations of `channels`.
    pub(super) fn pixels<S: Simd>(&mut self, s: &mut S, channels: LoopId) -> R {
        let (l, block) = (self.nest.vector, self.block());
        let stores = (self.stores.len(), self.walk.extent(channels));
        let apart =
            self.walk.stride(self.stores[0], l) == BYTES && self.walk.stride(self.stores[0], channels) == 1;
        if stores != (1, BYTES) || !apart {
            return Err(Refusal::unsupported("bytes that are no pixels of four"));
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
        let mut pixels: Vec<V> = Vec::new();
        for c in 0..BYTES {
            self.walk.set_range(channels, (c, c + 1));
            let ahead = self.ahead(c, 0, widths.len());
            let places = self.places(&ahead, &widths);
            let values = self.epilogue.eval_all(s, &places, None)?;
            for (j, v) in values.into_iter().flatten().enumerate() {
                let Some(pixel) = pixels.get(j) else {
                    pixels.push(v);
                    continue;
                };
                s.op1(Op1::Shl(8 * c as u8), &v)?;
                s.op2(Op2::Or, pixel, Src::Reg(&v))?;
                s.free(v);
            }
        }
        self.walk.set_range(channels, (0, BYTES));
        let ahead = self.ahead(0, 0, widths.len());
        for (at, pixel) in self.places(&ahead, &widths).iter().zip(&pixels) {
            let disp = self.walk.disp(self.stores[0], at.ahead, 0)?;
            s.store(self.walk.ptr(self.stores[0]), disp, pixel, at.n)?;
        }
        pixels.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}
