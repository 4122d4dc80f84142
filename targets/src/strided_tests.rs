//! Elements that lie apart, by every builder.

use crate::simd::{Narrow, R, Simd};
use crate::testing::{run_encoded, run_on};

/// Elements of the source, and where a result begins in a block of its own.
const SOURCE: usize = 16 * 9;
const BLOCK: usize = 20;
/// Elements of 32 bits from one lane to the next, and the element of the first lane.
const STEPS: [(i32, usize); 7] = [(1, 3), (2, 0), (2, 5), (3, 1), (4, 0), (8, 2), (-2, 40)];
const MOST_LANES: usize = 16;

/// Every step with every number of lanes, each stored behind the source; announced or not.
struct Strided {
    announced: bool,
}

impl crate::encode::Program for Strided {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        for (step, _) in STEPS.into_iter().filter(|_| self.announced) {
            s.prepare_strided(4 * step)?;
        }
        for (i, (step, first)) in STEPS.into_iter().enumerate() {
            for n in 1..=s.lanes() {
                // Six numbers of lanes have masks.
                if s.lanes() == MOST_LANES && ![1, 5, 8, 9, 16].contains(&n) {
                    continue;
                }
                let v = s.load_strided(&data, 4 * first as i32, 4 * step, n)?;
                let to = SOURCE + BLOCK * (MOST_LANES * i + n - 1);
                let lanes = s.lanes();
                // Anything may be in the other lanes, but a whole vector can be written.
                s.store(&data, 4 * to as i32, &v, lanes)?;
                s.free(v);
            }
        }
        Ok(())
    }
}

#[test]
fn elements_that_lie_apart() {
    let elements = SOURCE + BLOCK * MOST_LANES * STEPS.len();
    let data: Vec<u8> = (0..elements).flat_map(|i| (i as u32 + 1).to_le_bytes()).collect();
    let all = [true, false].map(|announced| run_on(&Strided { announced }, &data, 0, 0));
    assert!(all[0].len() >= 4, "Cranelift's three and SSE2's at least");
    for ran in all.into_iter().flatten() {
        let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| ran.data[4 * i + byte]));
        for (i, (step, first)) in STEPS.into_iter().enumerate() {
            for n in 1..=ran.lanes {
                let from = SOURCE + BLOCK * (MOST_LANES * i + n - 1);
                if ran.lanes == MOST_LANES && ![1, 5, 8, 9, 16].contains(&n) {
                    continue;
                }
                let got: Vec<u32> = (0..n).map(|lane| word(from + lane)).collect();
                let place = |lane: usize| (first as i64 + lane as i64 * i64::from(step) + 1) as u32;
                let want: Vec<u32> = (0..n).map(place).collect();
                assert_eq!(got, want, "{}: {n} elements from {first}, {step} apart", ran.name);
            }
        }
    }
}

/// Every number of lanes of elements with such indices, which lie behind the source.
struct Indexed {
    short: bool,
}

/// Where indices begin; elements of 16 and 32 bits.
const INDICES: [usize; 2] = [4 * SOURCE, 4 * (SOURCE + 16)];
const RESULTS: usize = SOURCE + 40;

impl crate::encode::Program for Indexed {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let indices = s.copy_ptr(&data)?;
        for n in 0..=s.lanes() {
            let at = INDICES[usize::from(!self.short)] as i32;
            let v = s.load_indexed(&data, 8, &indices, at, self.short, n)?;
            let lanes = s.lanes();
            s.store(&data, 4 * (RESULTS + BLOCK * n) as i32, &v, lanes)?;
            s.free(v);
        }
        s.free_ptr(indices);
        Ok(())
    }
}

#[test]
fn elements_by_their_indices() {
    let elements = RESULTS + BLOCK * (MOST_LANES + 1);
    let mut data: Vec<u8> = (0..elements).flat_map(|i| (i as u32 + 1).to_le_bytes()).collect();
    let index = |i: usize| (i * 37 + 5) % (SOURCE - 2);
    for i in 0..MOST_LANES {
        data[INDICES[0] + 2 * i..][..2].copy_from_slice(&(index(i) as u16).to_le_bytes());
        data[INDICES[1] + 4 * i..][..4].copy_from_slice(&(index(i) as u32).to_le_bytes());
    }
    for short in [true, false] {
        for ran in run_on(&Indexed { short }, &data, 0, 0) {
            let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| ran.data[4 * i + byte]));
            for n in 0..=ran.lanes {
                let got: Vec<u32> = (0..ran.lanes).map(|lane| word(RESULTS + BLOCK * n + lane)).collect();
                let want = |lane: usize| if lane < n { index(lane) as u32 + 3 } else { 0 };
                let want: Vec<u32> = (0..ran.lanes).map(want).collect();
                assert_eq!(got, want, "{}: {n} elements, short {short}", ran.name);
            }
        }
    }
}

/// Elements of 32 by numbers that are bytes behind the source.
struct Picked;

impl crate::encode::Program for Picked {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let bytes = Narrow { two: false, signed: false };
        let lanes = s.lanes();
        let v = s.load_narrow(bytes, &data, INDICES[0] as i32, lanes)?;
        s.pick_from(&v, &data, 8)?;
        s.store(&data, 4 * RESULTS as i32, &v, lanes)?;
        s.free(v);
        s.free_ptr(data);
        Ok(())
    }
}

#[test]
fn elements_are_picked_by_number_where_there_is_an_instruction() {
    let elements = RESULTS + BLOCK;
    let mut data: Vec<u8> = (0..elements).flat_map(|i| (i as u32 + 1).to_le_bytes()).collect();
    let number = |lane: usize| (lane * 13 + 7) % 32;
    for lane in 0..MOST_LANES {
        data[INDICES[0] + lane] = number(lane) as u8;
    }
    for ran in run_encoded(&Picked, &data, 0, 0) {
        assert_eq!(ran.lanes, MOST_LANES, "{}", ran.name);
        for lane in 0..ran.lanes {
            let at = 4 * (RESULTS + lane);
            let got = u32::from_le_bytes([0, 1, 2, 3].map(|byte| ran.data[at + byte]));
            assert_eq!(got, number(lane) as u32 + 3, "{}: lane {lane}", ran.name);
        }
    }
    for (level, picks) in [("sse2", 0), ("avx2", 0), ("avx512", 32)] {
        assert_eq!(crate::resolve("x86_64-unknown-linux-gnu", level, "").unwrap().picks, picks);
    }
}

#[test]
fn another_machine_has_code_for_them() {
    let target = "aarch64-unknown-linux-gnu";
    assert!(!crate::testing::compile_for(target, &Strided { announced: true }).is_empty());
    assert!(!crate::testing::compile_for(target, &Indexed { short: true }).is_empty());
}
