//! The limits of this machine: multiply-adds and memory of one core, measured with emitted code.
//!
//! A kernel takes at least the longer of the time for its arithmetic at the peak and the time for its bytes at the
//! bandwidth of a memory that holds no more than them (the roofline model: S. Williams, A. Waterman, D. Patterson,
//! *Roofline: an insightful visual performance model for multicore architectures*, 2009).

#![allow(unsafe_code)] // calls of emitted code

use std::time::Instant;

use kiln_ir::Result;
use kiln_targets::Target;
use kiln_targets::encode::Program;
use kiln_targets::simd::{Lane, Op2, R, Simd, Src};

use crate::emit::leaf::Leaf;
use crate::lines::Lines;
use crate::work::{Products, Work};

/// What one core of this machine can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Peak {
    /// Operations per second of f32 multiply-adds in vectors of the target's width, two for each lane.
    pub flops: f64,
    /// The same of products of integers: those that the target's code makes.
    pub integers: Vec<(Products, f64)>,
    /// Bytes per second that are read from a buffer of so many bytes, by rising size.
    pub bandwidths: Vec<(usize, f64)>,
}

/// Sizes of buffers, from what fits the first-level cache of any core to what fits none. Close to each other, so
/// that the size below a kernel's bytes lies in the same memory.
const SIZES: [usize; 14] = {
    let mut sizes = [16 << 10; 14];
    let mut i = 1;
    while i < sizes.len() {
        sizes[i] = 2 * sizes[i - 1];
        i += 1;
    }
    sizes
};
/// Bytes read per run at least.
const BYTES_PER_RUN: usize = 4 << 20;
/// Runs, of which the fastest counts.
const RUNS: usize = 4;
/// Runs of multiply-adds: the first ones wake up wide vectors.
const FMA_RUNS: usize = 16;
const FMA_ROUNDS: i64 = 500;

impl Peak {
    /// Measures for about 50 ms.
    pub fn measure(target: &Target) -> Result<Self> {
        let mut bandwidths = bandwidths(target)?;
        // A smaller buffer cannot be slower: what says so is a disturbance.
        for i in (1..bandwidths.len()).rev() {
            bandwidths[i - 1].1 = bandwidths[i - 1].1.max(bandwidths[i].1);
        }
        Ok(Self { flops: flops(target)?, integers: integers(target)?, bandwidths })
    }

    /// The better figures of two measurements: what was slower was disturbed.
    pub fn or_better(mut self, other: &Self) -> Self {
        self.flops = self.flops.max(other.flops);
        for (mine, other) in self.integers.iter_mut().zip(&other.integers) {
            mine.1 = mine.1.max(other.1);
        }
        for (mine, other) in self.bandwidths.iter_mut().zip(&other.bandwidths) {
            mine.1 = mine.1.max(other.1);
        }
        self
    }

    /// Bytes per second that no kernel of so many bytes exceeds: those of the largest buffer that was measured and is
    /// not larger.
    pub fn bandwidth(&self, bytes: f64) -> f64 {
        let within = self.bandwidths.iter().rfind(|(size, _)| *size as f64 <= bytes);
        within.or(self.bandwidths.first()).map_or(f64::INFINITY, |b| b.1)
    }

    /// Operations per second of products.
    pub fn rate(&self, products: Products) -> f64 {
        let found = self.integers.iter().find(|(of, _)| *of == products);
        found.map_or(self.flops, |(_, rate)| *rate)
    }

    /// Operations per second of the fastest products of bytes.
    pub fn of_bytes(&self) -> f64 {
        self.integers.iter().map(|(_, rate)| *rate).fold(0.0, f64::max)
    }

    /// The least seconds for arithmetic and for memory.
    pub fn least(&self, work: &Work) -> (f64, f64) {
        (work.flops / self.rate(work.products), work.bytes / self.bandwidth(work.bytes))
    }
}

/// `end` times [`FMAS`] multiply-adds that depend on nothing but earlier ones on the same of 12 accumulators.
struct MultiplyAdds;

/// Multiply-adds per iteration of [`MultiplyAdds`].
const FMAS: f64 = 24.0 * 100.0;

impl Program for MultiplyAdds {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let x = s.splat(0.0)?;
        let acc = (0..12).map(|_| s.splat(1.0)).collect::<R<Vec<_>>>()?;
        let count = s.arg(2)?;
        s.repeat_ptr(count, &mut |s| {
            // In a register: the outer loop counts in the frame.
            s.repeat(100, &mut |s| acc.iter().chain(&acc).try_for_each(|acc| s.fma(acc, &x, Src::Reg(&x))))
        })?;
        // What nobody reads may be left out.
        let out = s.arg(0)?;
        let out = s.load_ptr(&out, 0)?;
        let lanes = s.lanes();
        acc.iter().try_for_each(|acc| s.store(&out, 0, acc, lanes))
    }
}

/// Operations per second of multiply-adds in vectors of the target's width: what a level without them is measured
/// against too.
pub fn flops(target: &Target) -> Result<f64> {
    let lanes = target.lanes() as f64;
    // With the multiply-adds of this machine, whatever the level has.
    let host = kiln_targets::resolve("host", "native", "")?;
    let plain = if host.fma { Target { vector_bytes: target.vector_bytes, ..host } } else { target.clone() };
    let leaf = Leaf::new(&plain, &MultiplyAdds)?;
    let mut out = [0f32; 16];
    let frame = [out.as_mut_ptr().cast::<u8>().cast_const()];
    let seconds = fastest(FMA_RUNS, || {
        // SAFETY: the program writes one vector, at most 64 bytes, to the frame's first pointer.
        unsafe { leaf.call(frame.as_ptr(), 0, FMA_ROUNDS) }
    });
    Ok(2.0 * lanes * FMAS * FMA_ROUNDS as f64 / seconds)
}

/// `end` times [`FMAS`] additions of products of integers, each to one of 12 accumulators.
struct Sums(Products);

/// Two words of 1.
const ONES: u32 = 0x0001_0001;
const SUM_ROUNDS: i64 = 100;

impl Program for Sums {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let x = s.splat(0.0)?;
        let acc = (0..12).map(|_| s.splat(0.0)).collect::<R<Vec<_>>>()?;
        if self.0 == Products::Pairs {
            s.prepare_constant(ONES)?;
        }
        let count = s.arg(2)?;
        s.repeat_ptr(count, &mut |s| {
            s.repeat(100, &mut |s| {
                acc.iter().chain(&acc).try_for_each(|acc| match self.0 {
                    Products::Floats => s.fma(acc, &x, Src::Reg(&x)),
                    Products::Integers => s.fma_as(Lane::I32, acc, &x, Src::Reg(&x)),
                    Products::Words => s.fma_words(acc, &x, Src::Reg(&x)),
                    Products::Pairs => {
                        let product = s.copy(&x)?;
                        s.madd_bytes(&product, Src::Reg(&x))?;
                        s.madd_words(&product, Src::Bits(ONES))?;
                        s.op2(Op2::IntAdd, acc, Src::Reg(&product))?;
                        s.free(product);
                        Ok(())
                    }
                    Products::Fours => s.dot4(acc, &x, Src::Reg(&x)),
                    Products::Eights => s.dot8(acc, &x, &x),
                })
            })
        })?;
        let out = s.arg(0)?;
        let out = s.load_ptr(&out, 0)?;
        let lanes = s.lanes();
        acc.iter().try_for_each(|acc| s.store(&out, 0, acc, lanes))
    }
}

/// Operations per second of the products of integers that code for a target makes, two each.
pub fn integers(target: &Target) -> Result<Vec<(Products, f64)>> {
    let made = |products: &Products| match products {
        Products::Pairs => target.adds_products_of_bytes && !target.dot4,
        Products::Fours => target.dot4,
        Products::Eights => target.dot8,
        _ => true,
    };
    let measure = |products: Products| {
        let leaf = Leaf::new(target, &Sums(products))?;
        let mut out = [0f32; 16];
        let frame = [out.as_mut_ptr().cast::<u8>().cast_const()];
        let seconds = fastest(FMA_RUNS, || {
            // SAFETY: the program writes one vector, at most 64 bytes, to the frame's first pointer.
            unsafe { leaf.call(frame.as_ptr(), 0, SUM_ROUNDS) }
        });
        let of_lane = match products {
            Products::Floats | Products::Integers => 1.0,
            Products::Words => 2.0,
            Products::Pairs | Products::Fours => 4.0,
            Products::Eights => 8.0,
        };
        Ok((products, 2.0 * of_lane * target.lanes() as f64 * FMAS * SUM_ROUNDS as f64 / seconds))
    };
    Products::OF_INTEGERS.into_iter().filter(made).map(measure).collect()
}

/// Reads the buffer at the frame's first pointer, `end` blocks of [`BLOCK`] vectors, `begin` times over.
struct Reads;

/// Vectors per iteration of [`Reads`].
const BLOCK: usize = 16;

impl Program for Reads {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let bytes = 4 * s.lanes();
        let acc = (0..8).map(|_| s.splat(0.0)).collect::<R<Vec<_>>>()?;
        let (frame, passes, blocks) = (s.arg(0)?, s.arg(1)?, s.arg(2)?);
        s.repeat_ptr(passes, &mut |s| {
            let p = s.load_ptr(&frame, 0)?;
            let count = s.copy_ptr(&blocks)?;
            s.repeat_ptr(count, &mut |s| {
                for i in 0..BLOCK {
                    s.op2(Op2::Add, &acc[i % acc.len()], Src::Mem(&p, (i * bytes) as i32))?;
                }
                s.advance(&p, (BLOCK * bytes) as i64);
                Ok(())
            })?;
            s.free_ptr(p);
            Ok(())
        })?;
        let out = s.load_ptr(&frame, 8)?;
        let lanes = s.lanes();
        acc.iter().try_for_each(|acc| s.store(&out, 0, acc, lanes))
    }
}

fn bandwidths(target: &Target) -> Result<Vec<(usize, f64)>> {
    let leaf = Leaf::new(target, &Reads)?;
    let block = BLOCK * target.vector_bytes;
    let most = SIZES[SIZES.len() - 1];
    // As weights lie. Written, so that every page is a page of its own.
    let mut buffer = Lines::new(most)?;
    buffer.bytes_mut().fill(1);
    let start = buffer.bytes().as_ptr();
    let mut out = [0f32; 16];
    let frame = [start, out.as_mut_ptr().cast::<u8>().cast_const()];
    let measure = |size: usize| {
        let passes = (BYTES_PER_RUN / size).max(1);
        let seconds = fastest(RUNS, || {
            // SAFETY: the program reads `size` bytes, a multiple of the block, of a buffer that is at least as
            // large, and writes a vector of at most 64 bytes.
            unsafe { leaf.call(frame.as_ptr(), passes as i64, (size / block) as i64) }
        });
        (size, (passes * size) as f64 / seconds)
    };
    Ok(SIZES.into_iter().map(measure).collect())
}

/// Seconds of the fastest of several runs.
pub fn fastest(runs: usize, mut run: impl FnMut()) -> f64 {
    let timed = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..runs).map(timed).fold(f64::INFINITY, f64::min).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_of_this_machine_has_a_peak() {
        for level in ["baseline", "native", "avx2"] {
            let Ok(target) = kiln_targets::resolve("host", level, "") else { continue };
            if crate::emit::jit::check_host(&target).is_err() {
                continue;
            }
            let peak = Peak::measure(&target).unwrap();
            // No core does fewer than 10 million operations, none more than 10^13.
            assert!(peak.flops > 1e7 && peak.flops < 1e13, "{level}: {peak:?}");
            let integers: Vec<Products> = peak.integers.iter().map(|i| i.0).collect();
            assert_eq!(integers.contains(&Products::Fours), target.dot4, "{level}");
            assert!(integers.contains(&Products::Words) && peak.of_bytes() >= peak.rate(Products::Words));
            assert!(peak.integers.iter().all(|(_, rate)| (1e7..1e13).contains(rate)), "{level}: {peak:?}");
            assert_eq!(peak.bandwidths.len(), SIZES.len());
            assert!(peak.bandwidths.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 >= w[1].1), "{peak:?}");
            assert!(peak.bandwidth(1e15) <= peak.bandwidth(1.0));
        }
    }

    #[test]
    fn the_longer_of_arithmetic_and_memory_is_the_limit() {
        let peak = |flops: f64, words: f64, bandwidths| Peak {
            flops,
            integers: vec![(Products::Words, words)],
            bandwidths,
        };
        let work = |products, flops, bytes| Work {
            name: String::new(),
            form: "contract",
            nodes: Vec::new(),
            flops,
            dense_flops: flops,
            products,
            bytes,
        };
        let mine = peak(100.0, 300.0, vec![(10, 50.0), (20, 5.0)]);
        assert_eq!(mine.least(&work(Products::Floats, 200.0, 10.0)), (2.0, 0.2));
        assert_eq!(mine.least(&work(Products::Words, 600.0, 15.0)), (2.0, 0.3));
        assert_eq!(mine.least(&work(Products::Floats, 0.0, 100.0)), (0.0, 20.0));
        let better = mine.or_better(&peak(120.0, 310.0, vec![(10, 40.0), (20, 6.0)]));
        assert_eq!(better, peak(120.0, 310.0, vec![(10, 50.0), (20, 6.0)]));
    }
}
