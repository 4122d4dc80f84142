//! Every builder against the scalar meaning: elements with gaps between them, in turn, and counts.

use crate::encode::Program;
use crate::simd::{Apart, Lane, Op2, R, Refusal, Simd, Src};
use crate::testing::{compile_for, run_on};

/// Bytes before the results: sources lie there.
const SOURCES: usize = 2048;

/// Each of these vectors, one after the other behind the sources: `n` elements from `first` bytes on.
struct Gaps {
    apart: Apart,
    first: i32,
    n: usize,
}

impl Program for Gaps {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = if self.apart.bytes == 8 { s.lanes() / 2 } else { s.lanes() };
        let v = s.load_apart(self.apart, &data, self.first, self.n.min(lanes))?;
        let whole = s.lanes();
        s.store(&data, SOURCES as i32, &v, whole)?;
        s.free(v);
        s.free_ptr(data);
        Ok(())
    }
}

#[test]
fn elements_apart_come_into_lanes() {
    let mut data: Vec<u8> = (0..SOURCES).map(|i| (i * 37 % 251) as u8 ^ 0x85).collect();
    data.resize(SOURCES + 64, 0xee);
    for bytes in [1, 2, 4, 8] {
        for signed in [false, true] {
            for (stride, first) in [(3, 5), (-2, 900), (100, 0), (0, 7), (8, 1)] {
                for n in [0, 1, 2, 3, 4, 5, 7, 8, 13, 16] {
                    let apart = Apart { bytes, signed, stride };
                    for ran in run_on(&Gaps { apart, first, n }, &data, 0, 0) {
                        let size = if bytes == 8 { 8 } else { 4 };
                        let count = n.min(4 * ran.lanes / size);
                        let mut want = Vec::new();
                        for i in 0..count {
                            let at = (i64::from(first) + stride * i as i64) as usize;
                            let mut element = data[at..at + bytes].to_vec();
                            let fill = if signed && element[bytes - 1] >= 0x80 { 0xff } else { 0 };
                            element.resize(size, fill);
                            want.extend(element);
                        }
                        want.resize(4 * ran.lanes, 0);
                        let got = &ran.data[SOURCES..SOURCES + want.len()];
                        assert_eq!(got, want, "{n} of {apart:?} from {first} by {}", ran.name);
                    }
                }
            }
        }
    }
    let apart = Apart { bytes: 2, signed: true, stride: 6 };
    compile_for("aarch64-unknown-linux-gnu", &Gaps { apart, first: 0, n: 4 });
}

/// 128 bits of elements apart behind the sources, where the builder has them.
struct Dense(Apart);

impl Program for Dense {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        match s.load_dense(self.0, &data, 40)? {
            Some(v) => s.store(&data, SOURCES as i32, &v, 4),
            None => Err(Refusal::unsupported("elements one by one")),
        }
    }
}

#[test]
fn short_elements_come_side_by_side() {
    let mut data: Vec<u8> = (0..SOURCES).map(|i| (i * 91 % 253) as u8).collect();
    data.resize(SOURCES + 64, 0xee);
    for (bytes, stride) in [(1, 3), (2, 6), (1, -2), (2, 100)] {
        let apart = Apart { bytes, signed: false, stride };
        let all = run_on(&Dense(apart), &data, 0, 0);
        assert!(all.len() >= 3, "Cranelift's");
        for ran in all {
            let at = |i: usize| (40 + stride * i as i64) as usize;
            let want: Vec<u8> = (0..16 / bytes).flat_map(|i| data[at(i)..at(i) + bytes].to_vec()).collect();
            assert_eq!(&ran.data[SOURCES..SOURCES + 16], &want[..], "{apart:?} by {}", ran.name);
        }
        compile_for("aarch64-unknown-linux-gnu", &Dense(apart));
    }
}

/// The first two vectors' elements in turn, behind them.
struct InTurn {
    bits: u8,
    upper: bool,
}

impl Program for InTurn {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let (a, b) = (s.load(&data, 0, 4)?, s.load(&data, 16, 4)?);
        s.interleave(self.bits, self.upper, &a, &b)?;
        s.store(&data, 32, &a, 4)
    }
}

#[test]
fn elements_of_two_vectors_in_turn() {
    let data: Vec<u8> = (0..48).collect();
    for bits in [8, 16, 32, 64] {
        for upper in [false, true] {
            let (size, start) = (usize::from(bits) / 8, if upper { 8 } else { 0 });
            let elements = (start..start + 8).step_by(size);
            let want: Vec<u8> = elements
                .flat_map(|at| [&data[at..at + size], &data[16 + at..16 + at + size]].concat())
                .collect();
            let all = run_on(&InTurn { bits, upper }, &data, 0, 0);
            assert!(all.len() >= 4, "Cranelift's three and SSE2's at least");
            for ran in all {
                assert_eq!(&ran.data[32..], &want[..], "{bits} bits, upper {upper}, by {}", ran.name);
            }
            compile_for("aarch64-unknown-linux-gnu", &InTurn { bits, upper });
        }
    }
}

/// Vectors put together from quarters that lie 20 bytes apart, `n` words of each, in turn, behind the sources.
struct Quarters {
    bits: u8,
    upper: bool,
    n: usize,
}

impl Program for Quarters {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let mut both = Vec::new();
        for start in [0, 100] {
            let v = s.load(&data, start, self.n)?;
            for quarter in 1..s.lanes() / 4 {
                s.load_quarter(&v, quarter, &data, start + 20 * quarter as i32, self.n)?;
            }
            both.push(v);
        }
        s.interleave(self.bits, self.upper, &both[0], &both[1])?;
        let whole = s.lanes();
        s.store(&data, 200, &both[0], whole)
    }
}

#[test]
fn quarters_of_two_vectors_in_turn() {
    let mut data: Vec<u8> = (0..200).collect();
    data.resize(264, 0xee);
    for (bits, upper, n) in
        [(32, false, 4), (32, true, 4), (64, false, 4), (64, true, 4), (32, false, 1), (64, false, 2)]
    {
        let (size, start) = (usize::from(bits) / 8, if upper { 8 } else { 0 });
        let byte = |from: usize, quarter: usize, at: usize| match at < 4 * n {
            true => data[from + 20 * quarter + at],
            false => 0,
        };
        for ran in run_on(&Quarters { bits, upper, n }, &data, 0, 0) {
            let want: Vec<u8> = (0..ran.lanes / 4)
                .flat_map(|quarter| (start..start + 8).step_by(size).map(move |at| (quarter, at)))
                .flat_map(|(quarter, at)| [0, 100].map(|from| (from, quarter, at)))
                .flat_map(|(from, quarter, at)| (at..at + size).map(move |at| (from, quarter, at)))
                .map(|(from, quarter, at)| byte(from, quarter, at))
                .collect();
            assert_eq!(&ran.data[200..200 + want.len()], &want[..], "{bits}, {upper}, {n} by {}", ran.name);
        }
    }
}

/// `begin + 3 + lane` in lanes of 64 bits, then the lanes' numbers in 32 bits.
struct Counts;

impl Program for Counts {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let (data, begin, whole) = (s.arg(0)?, s.arg(1)?, s.lanes());
        let v = s.splat_index(&begin, 3)?;
        let lanes = s.ramp(true)?;
        s.op2_as(Lane::I64, Op2::Add, &v, Src::Reg(&lanes))?;
        s.store(&data, 0, &v, whole)?;
        let narrow = s.ramp(false)?;
        s.store(&data, 64, &narrow, whole)
    }
}

#[test]
fn counts_are_the_lanes_and_a_start() {
    for begin in [0, -5, 1 << 40] {
        for ran in run_on(&Counts, &[0; 128], begin, 0) {
            for lane in 0..ran.lanes / 2 {
                let got = i64::from_le_bytes(ran.data[8 * lane..][..8].try_into().unwrap());
                assert_eq!(got, begin + 3 + lane as i64, "{}", ran.name);
            }
            for lane in 0..ran.lanes {
                let got = u32::from_le_bytes(ran.data[64 + 4 * lane..][..4].try_into().unwrap());
                assert_eq!(got, lane as u32, "{}", ran.name);
            }
        }
    }
}
