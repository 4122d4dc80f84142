//! What a tile costs: cycles of its inner loop on a core that starts two multiply-adds and two loads per cycle.
//!
//! These hold for every x86-64 core since Haswell and Zen 2 and for AArch64 cores from Cortex-A76 on; they only
//! rank candidates, so their exact value matters little.

use kiln_targets::Target;

/// Multiply-adds started per cycle.
const FMAS: f64 = 2.0;
/// Vector loads started per cycle.
const LOADS: f64 = 2.0;
/// Cycles from a multiply-add to the next one on the same accumulator: four, and what is lost where there are just
/// enough accumulators (4 x 2 vectors reach 91 % of the peak on a Zen 5, 6 x 2 reach 98 %).
const LATENCY: f64 = 4.5;
/// Cycles of a load beside multiply-adds of a core that starts one more instruction with them, over those of such.
const BESIDE: f64 = 0.25;
/// Bytes per cycle of weights that come from memory or the third-level cache: 42 and 100 GB/s on a Zen 5 of 4.3 GHz,
/// and less on most machines.
const COLD_BYTES: f64 = 8.0;
/// The same from the second-level cache: half a line on every core since Haswell.
const L2_BYTES: f64 = 32.0;
/// The same beside products of four bytes, at 512 bits: as measured on a Zen 5, where 4 x 64 of a panel of 147 KiB take 10 %
/// longer than 14 x 32, and 5 x 64 as long.
const L2_BYTES_OF_FOURS: f64 = 28.0;
/// Sums of fours of bytes, at 512 bits, whose results a core computes beside the products of the next tile; and cycles that it
/// takes longer for a vector of results with each sum that there is beyond (4, 5 and 6 x 64, and 14 x 32, on a Zen 5). Of pairs
/// of words, whose steps of depth are counted by two, it is as much: 196 x 64 of depth 64, 36 times, take 123 us in 7 x 32 and
/// 148 in 14 x 32.
const SUMS_AHEAD: i64 = 16;
const SUM_BEYOND: f64 = 0.1;
/// Cycles of a vector of results longer than one of those whose row in a tile is whole lines: half a line has a store of its
/// own, and the tile with the other half comes when the line has left the first-level cache.
const PART_OF_LINE: f64 = 1.0;

/// Cycles of an instruction that converts a vector, or extends and shifts one: as two multiply-adds on a Zen 4.
const CONVERT: f64 = 0.9;
/// The same where it is four of them.
const CONVERT_BY_BITS: f64 = 2.0;
/// Of an instruction that extends a vector of bytes, in places of the same kind as the products and sums of words.
const EXTEND: f64 = 0.25;
/// The same where it is three of them.
const EXTEND_BY_PARTS: f64 = 0.75;

/// How fast a tile gets the vectors of its right operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rhs {
    /// Bytes of a vector.
    pub vector_bytes: f64,
    /// Bytes per cycle the first time that a panel is read.
    pub first: f64,
    /// Bytes per cycle from the second-level cache.
    pub again: f64,
    /// Bytes of a panel of one vector: depth times the vector.
    pub panel_bytes: f64,
    /// First-level cache.
    pub l1d_bytes: f64,
    /// Cycles that converting a vector takes.
    pub convert: f64,
    /// Vectors are operands in memory, once for every row of a tile.
    pub by_row: bool,
    /// Panels are asked for ahead: all tiles of rows wait for the next panel together, not the first one alone.
    pub ahead: bool,
}

impl Rhs {
    /// An operand of so many elements of `size` bytes and `depth` steps, on that machine.
    pub fn new(elements: i64, size: i64, depth: i64, target: &Target) -> Self {
        let first = if elements * size > target.l2_bytes as i64 / 2 { COLD_BYTES } else { L2_BYTES };
        let vector_bytes = (target.lanes() as i64 * size) as f64;
        Self {
            vector_bytes,
            first,
            again: L2_BYTES,
            panel_bytes: depth as f64 * vector_bytes,
            l1d_bytes: target.l1d_bytes as f64,
            convert: match (size, target.halves) {
                (2, true) => CONVERT,
                (2, false) => CONVERT_BY_BITS,
                _ => 0.0,
            },
            by_row: false,
            ahead: target.prefetches,
        }
    }

    /// An operand of bytes, four of each column to a step.
    pub fn of_fours(fours: i64, depth: i64, target: &Target) -> Self {
        Self { again: L2_BYTES_OF_FOURS, ..Self::new(fours, 4, depth, target) }
    }

    /// An operand of bytes, four of each column to a step, which are looked at before they are multiplied.
    pub fn of_watched(bytes: i64, depth: i64, target: &Target) -> Self {
        Self { by_row: true, ..Self::new(bytes / 4, 4, depth, target) }
    }

    /// An operand of words in pairs, or of bytes that become such, of `size` bytes; a step is of pairs.
    pub fn of_words(pairs: i64, size: i64, depth: i64, target: &Target) -> Self {
        let extend = match (size, target.rounds) {
            (1, true) => EXTEND,
            (1, false) => EXTEND_BY_PARTS,
            _ => 0.0,
        };
        Self { convert: extend, ..Self::new(pairs, 2 * size, depth, target) }
    }

    /// Cycles to read `bytes` of it for the first time.
    pub fn read(&self, bytes: i64) -> f64 {
        bytes as f64 / self.first
    }

    /// Cycles that a step waits for `vectors` of a panel of as many.
    fn step(&self, vectors: f64, first: bool) -> f64 {
        let bytes = vectors * self.vector_bytes;
        if first {
            bytes / self.first
        } else if vectors * self.panel_bytes > self.l1d_bytes / 2.0 {
            bytes / self.again
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

/// By how much longer a tile takes whose rows are multiplied lane by lane, for what there is beside its multiply-adds: a
/// vector of four steps for each row, and pairs of columns.
pub fn beside_lanes(rows: i64, vectors: i64) -> f64 {
    let (r, v) = (rows as f64, vectors as f64);
    1.0 + BESIDE * (r / 4.0 + v / 2.0) / (r * v)
}

/// The same of tiles whose rows and columns are multiplied two by two, eight bytes of each: a vector of columns is two
/// loads, and a row's eight bytes half a load and half an instruction that puts two rows side by side.
pub fn beside_eights(rows: i64, vectors: i64) -> f64 {
    let (r, v) = (rows as f64, vectors as f64);
    1.0 + BESIDE * (r + v) / (r * v)
}

/// The same where every row loads the vectors again, after a look at it: three multiplications for two vectors' steps, what there
/// is for each row, and what there is for each look. As measured on a Zen 4 within 3 %.
fn step_by_row(rows: i64, vectors: i64) -> f64 {
    let (r, v) = (rows as f64, vectors as f64);
    0.75 * r * v + 0.8 * r + 2.5 / r
}

/// The part of arithmetic that is not hidden behind a longer wait for memory: of tiles that wait alike, those with less of it
/// are ready for more.
const NOT_HIDDEN: f64 = 0.05;

/// Cycles of arithmetic while memory is waited for.
fn both(arithmetic: f64, memory: f64) -> f64 {
    if memory > arithmetic { memory + NOT_HIDDEN * arithmetic } else { arithmetic }
}

/// Cycles that a vector of results of fours of bytes or pairs of words, at 512 bits, takes beyond what it takes in every tile.
/// `whole`: a row of the tile is whole lines of results.
pub fn results(rows: i64, vectors: i64, whole: bool) -> f64 {
    SUM_BEYOND * (rows * vectors - SUMS_AHEAD).max(0) as f64 + if whole { 0.0 } else { PART_OF_LINE }
}

/// Cycles in which `rows` x `columns` dot products take `vectors` steps, each with accumulators of its own.
pub fn dots(rows: i64, columns: i64, vectors: i64) -> f64 {
    let (r, c, v) = (rows as f64, columns as f64, vectors as f64);
    (r * c * v / FMAS).max((r + c) * v / LOADS).max(LATENCY)
}

/// Cycles per depth step of all tiles of a result of `images` x `rows` x `vectors`, whose rows are in pieces, each of
/// which is cut by `mr`, as vectors are by `nv`, remainders included. Every panel is read once per tile of rows.
pub fn tiles(images: i64, rows: &[i64], vectors: i64, mr: i64, nv: i64, rhs: &Rhs) -> f64 {
    let cut = |n: i64, by: i64| [(n / by, by), (i64::from(n % by > 0), n % by)];
    let mut cycles = 0.0;
    for (panels, v) in cut(vectors, nv) {
        let (vectors, mut panel, mut first) = (v as f64, 0.0, !rhs.ahead);
        let rows = rows.iter().flat_map(|piece| cut(*piece, mr));
        for (count, r) in rows.filter(|(count, _)| count * images > 0) {
            let passes = (count * images) as f64;
            let work = if rhs.by_row { step_by_row(r, v) } else { step(r, v) + vectors * rhs.convert };
            let pass = both(work, rhs.step(vectors, false));
            panel += passes * pass;
            if std::mem::take(&mut first) {
                panel += both(work, rhs.step(vectors, true)) - pass;
            }
        }
        if rhs.ahead && panel > 0.0 {
            panel = both(panel, rhs.step(vectors, true));
        }
        cycles += panels as f64 * panel;
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rhs(bytes: i64, depth: i64, level: &str) -> Rhs {
        Rhs::new(bytes / 4, 4, depth, &kiln_targets::resolve("x86_64-unknown-linux-gnu", level, "").unwrap())
    }

    fn cycles(rows: i64, vectors: i64, mr: i64, nv: i64) -> f64 {
        tiles(1, &[rows], vectors, mr, nv, &rhs(4096, 16, "avx2"))
    }

    #[test]
    fn full_tiles_beat_remainders() {
        assert!(cycles(56, 16, 6, 2) < cycles(56, 16, 4, 1));
        // 7 rows: 4 + 3 wastes less than 6 + 1.
        assert!(cycles(7, 4, 4, 2) <= cycles(7, 4, 6, 2));
        assert_eq!(cycles(0, 4, 2, 4), 0.0);
        // Pieces are cut one by one.
        let pieces = |mr| tiles(1, &[4, 20, 4], 2, mr, 2, &rhs(4096, 16, "avx2"));
        assert_eq!(pieces(4), 7.0 * step(4, 2));
        assert!(pieces(4) < pieces(3) && pieces(5) < pieces(3));
    }

    #[test]
    fn results_of_few_products_are_whole_lines_of_small_tiles() {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx512vnni", "").unwrap();
        // 3136 rows of 256 results, each of 16 steps, or of 512.
        let cycles = |depth: i64, mr, nv| {
            let rhs = Rhs::of_fours(256 * depth, depth, &target);
            let each = results(mr, nv, nv % 4 == 0) / depth as f64;
            tiles(1, &[3136], 16, mr, nv, &rhs) + 3136.0 * 16.0 * each
        };
        assert!(cycles(16, 4, 4) < cycles(16, 5, 4) && cycles(16, 5, 4) < cycles(16, 14, 2));
        assert!(cycles(512, 14, 2) < cycles(512, 4, 4));
    }

    #[test]
    fn cold_weights_are_read_in_one_pass_unless_they_are_asked_for_ahead() {
        let far = rhs(16 << 20, 512, "avx512");
        let alone = Rhs { ahead: false, ..far };
        // 16 rows in one tile of a vector, or in two of two vectors; or in a full tile and two rows.
        let cycles = |mr, nv, rhs: &Rhs| tiles(1, &[16], 32, mr, nv, rhs);
        assert!(cycles(16, 1, &alone) < cycles(8, 2, &alone));
        assert!(cycles(16, 1, &far) > cycles(8, 2, &far));
        assert!(cycles(14, 2, &far) > cycles(8, 2, &far));
        // Two rows wait for memory as long in tiles of any width; wide ones have accumulators enough to keep up.
        let narrow = rhs(4 << 20, 1024, "avx2");
        assert!(tiles(1, &[2], 64, 2, 4, &narrow) < 0.999 * tiles(1, &[2], 64, 2, 2, &narrow));
    }
}
