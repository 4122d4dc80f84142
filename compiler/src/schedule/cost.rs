//! What a tile costs: cycles of its inner loop on a core that starts two multiply-adds and two loads per cycle.
//!
//! These hold for every x86-64 core since Haswell and Zen 2 and for AArch64 cores from Cortex-A76 on; they only
//! rank candidates, so their exact value matters little.

/// Multiply-adds started per cycle.
const FMAS: f64 = 2.0;
/// Vector loads started per cycle.
const LOADS: f64 = 2.0;
/// Cycles from a multiply-add to the next one on the same accumulator: four, and what is lost where there are just
/// enough accumulators (4 x 2 vectors reach 91 % of the peak on a Zen 5, 6 x 2 reach 98 %).
const LATENCY: f64 = 4.5;
/// Bytes per cycle of weights that come from memory or the third-level cache: 42 and 100 GB/s on a Zen 5 of 4.3 GHz,
/// and less on most machines.
const COLD_BYTES: f64 = 8.0;
/// The same from the second-level cache: half a line on every core since Haswell.
const L2_BYTES: f64 = 32.0;

/// How fast a tile gets the vectors of its right operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhs {
    /// Bytes of a vector.
    pub vector_bytes: f64,
    /// Bytes per cycle the first time that a panel is read.
    pub first: f64,
    /// Bytes of a panel of one vector: depth times the vector.
    pub panel_bytes: f64,
    /// First-level cache.
    pub l1d_bytes: f64,
}

impl Rhs {
    /// An operand of `bytes` in total and `depth` steps, on a machine with these vectors and caches.
    pub fn new(bytes: i64, depth: i64, vector_bytes: usize, l1d_bytes: usize, l2_bytes: usize) -> Self {
        let first = if bytes > l2_bytes as i64 / 2 { COLD_BYTES } else { L2_BYTES };
        let vector_bytes = vector_bytes as f64;
        Self { vector_bytes, first, panel_bytes: depth as f64 * vector_bytes, l1d_bytes: l1d_bytes as f64 }
    }

    /// Cycles that a step waits for `vectors` of a panel of as many.
    fn step(&self, vectors: f64, first: bool) -> f64 {
        let bytes = vectors * self.vector_bytes;
        if first {
            bytes / self.first
        } else if vectors * self.panel_bytes > self.l1d_bytes / 2.0 {
            bytes / L2_BYTES
        } else {
            0.0
        }
    }
}

/// Cycles of one depth step of a tile of `rows` x `vectors`: the largest of what arithmetic, loads and the chain
/// through each accumulator take.
pub fn step(rows: i64, vectors: i64) -> f64 {
    let (r, v) = (rows as f64, vectors as f64);
    (r * v / FMAS).max((r + v) / LOADS).max(LATENCY)
}

/// Cycles per depth step of all tiles of a result of `images` x `rows` x `vectors` whose rows and vectors are cut
/// into `mr` x `nv`, remainders included. Every panel is read once per tile of rows.
pub fn tiles(images: i64, rows: i64, vectors: i64, mr: i64, nv: i64, rhs: &Rhs) -> f64 {
    let cut = |n: i64, by: i64| [(n / by, by), (i64::from(n % by > 0), n % by)];
    let mut cycles = 0.0;
    for (panels, v) in cut(vectors, nv) {
        let mut first = true;
        for (count, r) in cut(rows, mr) {
            let mut passes = (count * images * panels) as f64;
            if passes > 0.0 && first {
                cycles += panels as f64 * step(r, v).max(rhs.step(v as f64, true));
                passes -= panels as f64;
                first = false;
            }
            cycles += passes * step(r, v).max(rhs.step(v as f64, false));
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(rows: i64, vectors: i64, mr: i64, nv: i64) -> f64 {
        tiles(1, rows, vectors, mr, nv, &Rhs::new(4096, 16, 32, 32 << 10, 512 << 10))
    }

    #[test]
    fn full_tiles_beat_remainders() {
        assert!(cycles(56, 16, 6, 2) < cycles(56, 16, 4, 1));
        // 7 rows: 4 + 3 wastes less than 6 + 1.
        assert!(cycles(7, 4, 4, 2) <= cycles(7, 4, 6, 2));
        assert_eq!(cycles(0, 4, 2, 4), 0.0);
    }

    #[test]
    fn cold_weights_are_read_in_one_pass() {
        let rhs = |bytes| Rhs::new(bytes, 512, 64, 32 << 10, 512 << 10);
        // 16 rows in one tile of a vector, or in two of two vectors.
        let (one, two) = (|r| tiles(1, 16, 32, 16, 1, &r), |r| tiles(1, 16, 32, 8, 2, &r));
        assert!(one(rhs(16 << 20)) < two(rhs(16 << 20)));
        assert!(one(rhs(64 << 10)) > two(rhs(64 << 10)));
    }
}
