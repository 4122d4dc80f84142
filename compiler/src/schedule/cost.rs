//! What a tile costs: cycles of its inner loop on a core that starts two multiply-adds and two loads per cycle.
//!
//! These hold for every x86-64 core since Haswell and Zen 2 and for AArch64 cores from Cortex-A76 on; they only
//! rank candidates, so their exact value matters little.

/// Multiply-adds started per cycle.
const FMAS: f64 = 2.0;
/// Vector loads started per cycle.
const LOADS: f64 = 2.0;
/// Cycles from a multiply-add to the next one on the same accumulator.
const LATENCY: f64 = 4.0;

/// Cycles of one depth step of a tile of `rows` x `vectors`: the largest of what arithmetic, loads and the chain
/// through each accumulator take.
pub fn step(rows: i64, vectors: i64) -> f64 {
    let (r, v) = (rows as f64, vectors as f64);
    (r * v / FMAS).max((r + v) / LOADS).max(LATENCY)
}

/// Cycles per depth step of all tiles of a `rows` x `vectors` result cut into `mr` x `nv`, remainders included.
pub fn tiles(rows: i64, vectors: i64, mr: i64, nv: i64) -> f64 {
    let cut = |n: i64, by: i64| [(n / by, by), (i64::from(n % by > 0), n % by)];
    let mut cycles = 0.0;
    for (row_count, r) in cut(rows, mr) {
        for (vector_count, v) in cut(vectors, nv) {
            if row_count * vector_count > 0 {
                cycles += (row_count * vector_count) as f64 * step(r, v);
            }
        }
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_tiles_beat_remainders() {
        assert!(tiles(56, 16, 2, 4) < tiles(56, 16, 4, 1));
        // 7 rows: 4 + 3 wastes less than 6 + 1.
        assert!(tiles(7, 4, 4, 2) <= tiles(7, 4, 6, 2));
        assert_eq!(tiles(0, 4, 2, 4), 0.0);
    }
}
