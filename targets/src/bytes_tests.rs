//! Dot products and tables of bytes, by every builder.

use kiln_ir::format::packed::{Panels, Steps};

use crate::simd::{Lane, Narrow, Op1, Op2, Overflow, R, Refusal, Simd, Src, V, bytes};
use crate::testing::{compile_for, run_encoded, run_on, run_supported};

/// Columns of a panel, and groups of four steps.
const COLUMNS: usize = 16;
const GROUPS: usize = 9;
/// Where operands and results begin: lhs, then rhs in fours and in pairs, then sums of 32 bits.
const FOURS: usize = 4 * GROUPS;
const PAIRS: usize = FOURS + 4 * COLUMNS * GROUPS;
const OUT: usize = PAIRS + 4 * COLUMNS * GROUPS;

/// `out[col] += sum over k of lhs[k] * rhs[k, col]`.
struct Products;

impl crate::encode::Program for Products {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        let (from, lane) = if s.has_dot4() { (FOURS, 4) } else { (PAIRS, 2) };
        for j in 0..COLUMNS / lanes {
            let sum = s.load(&data, (OUT + 4 * lanes * j) as i32, lanes)?;
            for g in 0..GROUPS {
                let a = bytes::load_splat(s, &data, 4 * g as i32)?;
                let at = from + 4 * COLUMNS * g + lane * lanes * j;
                let b = bytes::load(s, &data, at as i32, 2 * COLUMNS as i32)?;
                bytes::add_products(s, &sum, &a, &b)?;
                a.free(s);
                b.free(s);
            }
            s.store(&data, (OUT + 4 * lanes * j) as i32, &sum, lanes)?;
            s.free(sum);
        }
        Ok(())
    }
}

/// The same by lane, and where all bytes have signs with half of their range taken from those of lhs.
struct ByLane;

impl crate::encode::Program for ByLane {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let signed = s.has_signed_dot4();
        if s.lanes() != 4 || !signed && !s.has_dot4() {
            return Err(Refusal::unsupported("products of four bytes by lane"));
        }
        let data = s.arg(0)?;
        for j in 0..COLUMNS / 4 {
            let sum = s.load(&data, (OUT + 16 * j) as i32, 4)?;
            let weights = s.splat(0.0)?;
            for g in 0..GROUPS {
                let b = s.load(&data, (FOURS + 4 * COLUMNS * g + 16 * j) as i32, 4)?;
                let last = g + 1 == GROUPS;
                let a = if last {
                    s.load_splat(&data, 4 * g as i32)?
                } else {
                    s.load(&data, 16 * (g / 4) as i32, 4)?
                };
                if signed {
                    s.op2(Op2::Xor, &a, Src::Bits(0x8080_8080))?;
                    s.signed_dot4(&weights, &b, Src::Bits(0x0101_0101))?;
                }
                match (signed, last) {
                    (true, true) => s.signed_dot4(&sum, &a, Src::Reg(&b))?,
                    (true, false) => s.signed_dot4_lane(&sum, &b, &a, g % 4)?,
                    (false, true) => s.dot4(&sum, &a, Src::Reg(&b))?,
                    (false, false) => s.dot4_lane(&sum, &b, &a, g % 4)?,
                }
                s.free(a);
                s.free(b);
            }
            s.op1_as(Lane::I32, Op1::Shl(7), &weights)?;
            s.op2(Op2::IntAdd, &sum, Src::Reg(&weights))?;
            s.store(&data, (OUT + 16 * j) as i32, &sum, 4)?;
            s.free(weights);
            s.free(sum);
        }
        Ok(())
    }
}

fn check(lhs: &[u8], rhs: &[i8]) {
    let panels = |steps| Panels {
        offset: 0,
        batch: vec![],
        depth: vec![(4 * GROUPS, COLUMNS as isize)],
        cols: (COLUMNS, 1),
        nr: COLUMNS,
        steps,
    };
    let mut data = lhs.to_vec();
    for steps in [Steps::Fours, Steps::Pairs] {
        data.extend(panels(steps).encode(rhs).unwrap().into_iter().map(|b| b as u8));
    }
    let before = |col: usize| 1000 * col as i32 - i32::MAX;
    data.extend((0..COLUMNS).flat_map(|col| before(col).to_le_bytes()));
    let all = run_on(&Products, &data, 0, 0);
    assert!(all.len() >= 4, "Cranelift's three and SSE2's at least");
    for ran in all.into_iter().chain(run_encoded(&ByLane, &data, 0, 0)) {
        for col in 0..COLUMNS {
            let products =
                lhs.iter().enumerate().map(|(k, a)| i32::from(*a) * i32::from(rhs[k * COLUMNS + col]));
            let want = products.fold(before(col), i32::wrapping_add);
            let at = OUT + 4 * col;
            let got = i32::from_le_bytes(ran.data[at..at + 4].try_into().unwrap());
            assert_eq!(got, want, "{}: column {col}", ran.name);
        }
    }
}

#[test]
fn products_of_bytes_are_exact() {
    let (k, n) = (4 * GROUPS, 4 * GROUPS * COLUMNS);
    // What saturates sums of pairs in 16 bits, signs alone, and everything else.
    check(&vec![255; k], &vec![-128; n]);
    check(&vec![255; k], &vec![127; n]);
    check(&vec![128; k], &(0..n).map(|i| if i % 3 == 0 { -1 } else { 1 }).collect::<Vec<i8>>());
    for seed in 0..16u32 {
        let byte = |i: usize| {
            ((i as u32 + 1).wrapping_mul(0x9E37_79B1 ^ seed.wrapping_mul(0x85EB_CA6B)) >> 23) as u8
        };
        check(&(0..k).map(byte).collect::<Vec<_>>(), &(0..n).map(|i| byte(i + k) as i8).collect::<Vec<_>>());
    }
}

/// Four registers of bytes become entries of a table, which comes first.
struct Entries;

/// Bytes that are looked up: registers of every size divide them.
const LOOKED_UP: usize = 512;

impl crate::encode::Program for Entries {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        let held = s.load_table(&data, 0)?;
        for at in (256..256 + LOOKED_UP as i32).step_by(4 * lanes) {
            let v = s.load(&data, at, lanes)?;
            bytes::look_up(s, &v, &held, &data, 0)?;
            s.store(&data, at, &v, lanes)?;
            s.free(v);
        }
        held.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

#[test]
fn entries_of_tables() {
    let table: Vec<u8> = (0..256).map(|i| (i * 167 + 13) as u8).collect();
    let numbers: Vec<u8> = (0..LOOKED_UP).map(|i| (i ^ i >> 3) as u8).collect();
    let data = [&table[..], &numbers].concat();
    // Without SSSE3 there are none.
    let all = run_supported(&Entries, &data, 0, 0);
    assert!(all.len() >= 2, "Cranelift's and the encoder's with AVX at least");
    for ran in all {
        let wanted: Vec<u8> = numbers.iter().map(|i| table[usize::from(*i)]).collect();
        assert_eq!(ran.data[256..], wanted, "{}", ran.name);
    }
}

/// Lanes of four registers and of two that become bytes, which follow the lanes.
struct Together;

const TOGETHER: usize = 64;

impl crate::encode::Program for Together {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        for (first, count) in [(0, 4), (4, 2)] {
            let load = |s: &mut S, i: usize| s.load(&data, (4 * lanes * (first + i)) as i32, lanes);
            let all = (0..count).map(|i| load(s, i)).collect::<R<Vec<_>>>()?;
            let to = (4 * 6 * TOGETHER + first * lanes) as i32;
            if !s.store_together(&data, to, &all, Overflow::Saturate)? {
                let byte = Narrow { two: false, signed: false };
                for (i, v) in all.iter().enumerate() {
                    s.store_narrow(byte, Overflow::Saturate, &data, to + (i * lanes) as i32, v, lanes)?;
                }
            }
            all.into_iter().for_each(|v| s.free(v));
        }
        Ok(())
    }
}

#[test]
fn bytes_of_several_registers() {
    let lanes: Vec<i32> = (0..6 * TOGETHER as i32)
        .map(|i| match i % 7 {
            0 => i32::MIN + i,
            1 => i32::MAX - i,
            2 => 40_000 + i,
            3 => -40_000 - i,
            _ => i * 5 - 300,
        })
        .collect();
    let mut data: Vec<u8> = lanes.iter().flat_map(|v| v.to_le_bytes()).collect();
    data.resize(data.len() + 6 * TOGETHER, 0xaa);
    for ran in run_on(&Together, &data, 0, 0) {
        let bytes = &ran.data[4 * 6 * TOGETHER..];
        let written = bytes.iter().rposition(|b| *b != 0xaa).unwrap() + 1;
        assert!(written <= 96, "{}: {written} bytes", ran.name);
        for (i, byte) in bytes[..written].iter().enumerate() {
            assert_eq!(i32::from(*byte), lanes[i].clamp(0, 255), "{}: byte {i}", ran.name);
        }
    }
}

/// Lanes of two registers that become words, then the first lanes of each alone, behind the lanes.
struct Clamped(usize);

impl crate::encode::Program for Clamped {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        if !s.clamps_words() {
            // Nothing is written.
            return Ok(());
        }
        let words = Narrow { two: true, signed: false };
        let load = |s: &mut S, i: usize| s.load(&data, (4 * lanes * i) as i32, lanes);
        let all = [load(s, 0)?, load(s, 1)?];
        for (i, v) in all.iter().enumerate() {
            let to = 128 + 32 * (1 + i) as i32;
            s.store_narrow(words, Overflow::Byte, &data, to, v, self.0.min(lanes))?;
        }
        assert!(s.store_together(&data, 128, &all, Overflow::Byte)?, "two registers of words");
        all.into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

#[test]
fn words_are_clamped_to_bytes() {
    let lanes: [i32; 32] =
        std::array::from_fn(|i| [i32::MIN, -1, 0, 255, 256, 40_000, i32::MAX, 7 * i as i32][i % 8]);
    let mut data: Vec<u8> = lanes.iter().flat_map(|v| v.to_le_bytes()).collect();
    data.resize(data.len() + 3 * 32, 0xaa);
    for n in 1..=8 {
        let ran = run_on(&Clamped(n), &data, 0, 0).into_iter().filter(|ran| ran.data != data);
        let ran: Vec<_> = ran.collect();
        assert!(ran.len() >= 2, "that of SSE2 and of AVX at least");
        for ran in ran {
            let words: Vec<u16> =
                ran.data[128..].chunks_exact(2).map(|w| u16::from_le_bytes([w[0], w[1]])).collect();
            let wanted = |i: usize| lanes[i].clamp(0, 255) as u16;
            for i in 0..16 {
                let together = if i < 2 * ran.lanes { wanted(i) } else { 0xaaaa };
                assert_eq!(words[i], together, "{}: word {i} of two registers", ran.name);
                for alone in 0..2 {
                    let inside = i < n.min(ran.lanes);
                    let word = if inside { wanted(alone * ran.lanes + i) } else { 0xaaaa };
                    assert_eq!(words[16 * (1 + alone) + i], word, "{}: word {i} of {n}", ran.name);
                }
            }
        }
    }
}

/// Lanes of two registers as bytes, or as words that are bytes, each in a place of its own behind the lanes.
struct Two(Overflow);

impl crate::encode::Program for Two {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        let (a, b) = (s.load(&data, 0, lanes)?, s.load(&data, (4 * lanes) as i32, lanes)?);
        // Where it is no shorter nothing is written.
        s.store_two(&data, [128 + 3, 128 + 40], [&a, &b], self.0)?;
        [a, b].into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

#[test]
fn short_integers_of_two_registers_at_two_places() {
    let lanes: [i32; 32] =
        std::array::from_fn(|i| [i32::MIN, -1, 0, 255, 256, 40_000, i32::MAX, 7 * i as i32][i * 5 % 8]);
    let mut data: Vec<u8> = lanes.iter().flat_map(|v| v.to_le_bytes()).collect();
    data.resize(data.len() + 64, 0xaa);
    for (overflow, size) in [(Overflow::Saturate, 1), (Overflow::Byte, 2)] {
        let ran: Vec<_> =
            run_on(&Two(overflow), &data, 0, 0).into_iter().filter(|ran| ran.data != data).collect();
        assert!(ran.len() >= 2, "that of SSE2 and of AVX at least");
        for ran in ran {
            let mut wanted = [0xaa; 64];
            for (place, of) in [(3, 0), (40, ran.lanes)] {
                for (i, lane) in lanes[of..][..ran.lanes].iter().enumerate() {
                    let number = lane.clamp(&0, &255).to_le_bytes();
                    wanted[place + i * size..][..size].copy_from_slice(&number[..size]);
                }
            }
            assert_eq!(ran.data[128..], wanted, "{} {overflow:?}", ran.name);
        }
    }
}

/// The parts of a product of four columns: lanes that are turned, parts of them, short elements in turn, parked values.
struct Turned;

impl crate::encode::Program for Turned {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        if !s.has_dot4() || s.lanes() != 16 {
            // Nothing is written.
            return Ok(());
        }
        s.prepare_turned()?;
        let (a, b) = (s.load_turned(&data, 0, 16)?, s.load_turned(&data, 64, 9)?);
        let low = s.copy(&a)?;
        s.interleave(8, false, &low, &b)?;
        s.interleave(8, true, &a, &b)?;
        let last = s.copy(&a)?;
        s.interleave(16, true, &last, &a)?;
        let parked = s.park(low)?;
        let first = s.peek(&parked)?;
        s.interleave(16, false, &first, &first)?;
        s.store(&data, 128, &first, 16)?;
        s.store(&data, 192, &last, 16)?;
        s.forget(parked);
        [a, b, first, last].into_iter().for_each(|v| s.free(v));
        Ok(())
    }
}

#[test]
fn channels_of_columns_come_out_in_order() {
    let data: Vec<u8> = (0..=255).collect();
    for ran in run_on(&Turned, &data, 0, 0).into_iter().filter(|ran| ran.data != data) {
        for lane in 0..16 {
            let pair = |c: usize| [c as u8, if c < 36 { 64 + c as u8 } else { 0 }];
            let [x, y] = pair(lane);
            assert_eq!(ran.data[128 + 4 * lane..][..4], [x, y, x, y], "{}: lane {lane}", ran.name);
            let [x, y] = pair(48 + lane);
            assert_eq!(ran.data[192 + 4 * lane..][..4], [x, y, x, y], "{}: lane {lane}", ran.name);
        }
    }
}

/// Sums of two products each in 16 bits, of a register of bytes without signs and one in memory with signs.
struct Sums;

impl crate::encode::Program for Sums {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        for at in (0..64).step_by(4 * lanes) {
            let v = s.load(&data, at, lanes)?;
            let sums = s.products_of_bytes(&v, crate::simd::Src::Mem(&data, at + 64))?;
            s.madd_bytes(&v, crate::simd::Src::Mem(&data, at + 64))?;
            s.store(&data, at, &v, lanes)?;
            s.store(&data, at + 128, &sums, lanes)?;
            s.free(v);
            s.free(sums);
        }
        Ok(())
    }
}

#[test]
fn sums_of_two_products_in_16_bits() {
    let a: Vec<u8> = (0..64).map(|i| if i % 5 == 0 { 255 } else { (i * 89 + 7) as u8 }).collect();
    let b: Vec<u8> = (0..64).map(|i| [-64i8, 64, -128, 0, 127, 1][i % 6] as u8).collect();
    let all = run_encoded(&Sums, &[&a[..], &b, &[0; 64]].concat(), 0, 0);
    assert!(!all.is_empty(), "the encoder's with AVX at least");
    for ran in all {
        for i in 0..32 {
            let product = |i: usize| i32::from(a[i]) * i32::from(b[i] as i8);
            let got = i16::from_le_bytes([ran.data[2 * i], ran.data[2 * i + 1]]);
            assert_eq!(i32::from(got), product(2 * i) + product(2 * i + 1), "{}: {i}", ran.name);
        }
        assert_eq!(ran.data[..64], ran.data[128..], "{}", ran.name);
    }
}

/// Bytes of two places as words, of one to four lanes and of all, with and without signs; how many lanes all are.
struct BytePairs;

const PLACES: [i32; 2] = [3, 29];

impl crate::encode::Program for BytePairs {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        s.store_word(&data, 64, lanes as i32);
        for (i, n) in [1, 2, 3, 4, lanes].into_iter().enumerate() {
            for signed in [false, true] {
                let v = s.load_byte_pairs(&data, PLACES, signed, n)?;
                s.store(&data, 128 * (i as i32 + 1) + 64 * i32::from(signed), &v, lanes)?;
                s.free(v);
            }
        }
        Ok(())
    }
}

#[test]
fn bytes_of_two_places_become_words_of_a_lane() {
    let a: Vec<u8> = (0..64).map(|i| (i * 89 + 131) as u8).collect();
    let all = run_encoded(&BytePairs, &[&a[..], &[0; 64 + 128 * 5]].concat(), 0, 0);
    assert!(!all.is_empty());
    for ran in all {
        let lanes = usize::from(ran.data[64]);
        for (i, n) in [1, 2, 3, 4, lanes].into_iter().enumerate() {
            for lane in 0..lanes {
                let byte = |place: usize| if lane < n { a[PLACES[place] as usize + lane] } else { 0 };
                let words = |signed: bool| {
                    let word = |b: u8| if signed { i16::from(b as i8) } else { i16::from(b) }.to_le_bytes();
                    [word(byte(0)), word(byte(1))].concat()
                };
                for signed in [false, true] {
                    let at = 128 * (i + 1) + 64 * usize::from(signed) + 4 * lane;
                    assert_eq!(ran.data[at..at + 4], words(signed)[..], "{}: {n}, lane {lane}", ran.name);
                }
            }
        }
    }
}

/// Words that are multiplied into the lanes of two registers, which follow them; how many such machines there are.
struct Long;

impl crate::encode::Program for Long {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        if !s.multiplies_long() {
            // Nothing is written.
            return Ok(());
        }
        let data = s.arg(0)?;
        let (a, b) = (s.load_words(&data, 0, false)?, s.load_words(&data, 8, true)?);
        let sums = [s.load(&data, 16, 4)?, s.load(&data, 32, 4)?];
        for _ in 0..2 {
            s.fma_long([&sums[0], &sums[1]], &a, &b)?;
        }
        s.store(&data, 48, &sums[0], 4)?;
        s.store(&data, 64, &sums[1], 4)
    }
}

#[test]
fn words_of_a_register_go_to_two() {
    let (a, b) = ([255u8, 0, 128, 7, 255, 1, 90, 254], [-128i8, 127, -1, 3, 127, 0, -77, -128]);
    let sums: Vec<i32> = (0..8).map(|i| if i == 3 { i32::MAX } else { 1000 * i - 3000 }).collect();
    let mut data: Vec<u8> = a.iter().copied().chain(b.iter().map(|w| *w as u8)).collect();
    data.extend(sums.iter().flat_map(|s| s.to_le_bytes()));
    data.extend([0xaa; 32]);
    let wanted = |i: usize| sums[i].wrapping_add(2 * i32::from(a[i]) * i32::from(b[i]));
    for ran in run_on(&Long, &data, 0, 0) {
        let found: Vec<i32> =
            ran.data[48..].chunks_exact(4).map(|w| i32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        if ran.data[48..] != [0xaa; 32] {
            assert_eq!(found, (0..8).map(wanted).collect::<Vec<_>>(), "{}", ran.name);
        } else {
            assert!(!ran.name.contains("AArch64"), "{}", ran.name);
        }
    }
}

/// Rows of 16 bytes with a sign, those of steps 0 and 1 and of 2 and 3 of 16 columns and of 4 more, behind these the sums of both rows.
struct Pairs;

const ROWS: usize = 2;
const STEPS: [usize; 3] = [16 * ROWS, 16 * ROWS + 32, 16 * ROWS + 64];
const SUMS: usize = STEPS[2] + 32;
/// Vectors of columns: five, of which the last one is alone.
const VECTORS: usize = 5;

impl crate::encode::Program for Pairs {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        if !s.multiplies_long() {
            // Nothing is written.
            return Ok(());
        }
        let data = s.arg(0)?;
        let a = (0..ROWS).map(|r| s.load(&data, 16 * r as i32, 4)).collect::<R<Vec<V>>>()?;
        let at = STEPS.map(|at| at as i32);
        let mut b = Vec::new();
        for (first, second) in [(at[0], at[1]), (at[0] + 16, at[1] + 16), (at[2], at[2] + 16)] {
            b.push([s.load(&data, first, 4)?, s.load(&data, second, 4)?]);
        }
        let place = |i: usize| (SUMS + 16 * i) as i32;
        let sums = (0..ROWS * VECTORS).map(|i| s.load(&data, place(i), 4)).collect::<R<Vec<V>>>()?;
        s.fma_pairs(&sums, &b, &a, 2)?;
        sums.iter().enumerate().try_for_each(|(i, sum)| s.store(&data, place(i), sum, 4))
    }
}

#[test]
fn pairs_of_bytes_are_added_in_16_bits() {
    // The most that fits, of one sign and of two, and others.
    for (a, b, step) in [(-128i8, 127i8, 0), (-128, -127, 0), (127, 127, 0), (5, -99, 3)] {
        let bytes = |from: i8, n: usize| (0..n).map(move |i| from.wrapping_add((step * i) as i8));
        let (rows, columns): (Vec<i8>, Vec<i8>) = (bytes(a, 16 * ROWS).collect(), bytes(b, 96).collect());
        let sums: Vec<i32> = (0..4 * (ROWS * VECTORS) as i32).map(|i| i32::MAX - 70_000 * i).collect();
        let mut data: Vec<u8> = rows.iter().chain(&columns).map(|b| *b as u8).collect();
        data.extend(sums.iter().flat_map(|s| s.to_le_bytes()));
        let wanted = |i: usize| {
            let (r, column) = (i / (4 * VECTORS), i % (4 * VECTORS));
            let places =
                if column < 16 { [2 * column, 32 + 2 * column] } else { [32 + 2 * column, 48 + 2 * column] };
            let product =
                |k: usize| i32::from(rows[16 * r + 8 + k]) * i32::from(columns[places[k / 2] + k % 2]);
            sums[i].wrapping_add((0..4).map(product).sum())
        };
        for ran in run_on(&Pairs, &data, 0, 0) {
            let found: Vec<i32> = ran.data[SUMS..]
                .chunks_exact(4)
                .map(|w| i32::from_le_bytes([w[0], w[1], w[2], w[3]]))
                .collect();
            if found == sums {
                assert!(!ran.name.contains("AArch64"), "{}", ran.name);
                continue;
            }
            assert_eq!(found, (0..sums.len()).map(wanted).collect::<Vec<_>>(), "{}: {a}, {b}", ran.name);
        }
    }
}

/// Two rows of 16 bytes without a sign, 8 of each of two columns with one and 8 more of each, four sums.
struct Blocks;

const BLOCK_SUMS: usize = 64;

impl crate::encode::Program for Blocks {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        if !s.has_dot8() {
            return Err(Refusal::unsupported("products of eight bytes"));
        }
        let data = s.arg(0)?;
        let rows = [s.load(&data, 0, 4)?, s.load(&data, 16, 4)?];
        let [upper, lower] = rows;
        let rows = s.halves_together(upper, lower)?;
        let sums = s.load(&data, BLOCK_SUMS as i32, 4)?;
        for (i, row) in rows.iter().enumerate() {
            let columns = s.load(&data, 32 + 16 * i as i32, 4)?;
            s.dot8(&sums, row, &columns)?;
            s.free(columns);
        }
        s.store(&data, BLOCK_SUMS as i32, &sums, 4)
    }
}

#[test]
fn eight_bytes_of_two_rows_and_columns_are_multiplied() {
    for (a, b, step) in [(255u8, -128i8, 0), (255, 127, 0), (0, -128, 0), (3, 90, 37)] {
        let ahead = |i: i32| step * i;
        let rows: Vec<u8> = (0..32).map(|i| a.wrapping_add(ahead(i) as u8)).collect();
        let columns: Vec<i8> = (0..32).map(|i| b.wrapping_sub(ahead(i) as i8)).collect();
        let sums = [i32::MAX, i32::MIN, -5, 70_000];
        let mut data: Vec<u8> = rows.iter().copied().chain(columns.iter().map(|b| *b as u8)).collect();
        data.extend(sums.iter().flat_map(|s: &i32| s.to_le_bytes()));
        let wanted = |i: usize| {
            let (row, column) = (i / 2, i % 2);
            let product = |k: usize| {
                let weight = columns[k / 8 * 16 + 8 * column + k % 8];
                i32::from(rows[16 * row + k]) * i32::from(weight)
            };
            sums[i].wrapping_add((0..16).map(product).sum())
        };
        for ran in run_encoded(&Blocks, &data, 0, 0) {
            assert!(["AArch64 i8mm", "AArch64 cortex-a510"].contains(&&*ran.name), "{}", ran.name);
            let found: Vec<i32> = ran.data[BLOCK_SUMS..]
                .chunks_exact(4)
                .map(|w| i32::from_le_bytes([w[0], w[1], w[2], w[3]]))
                .collect();
            assert_eq!(found, (0..4).map(wanted).collect::<Vec<_>>(), "{a} {b}");
        }
    }
}

#[test]
fn another_machine_has_code_for_them() {
    assert!(!compile_for("aarch64-unknown-linux-gnu", &Products).is_empty());
    assert!(!compile_for("aarch64-unknown-linux-gnu", &Entries).is_empty());
}

/// Bytes become the greater ones of them and those behind.
struct Greater;

const COMPARED: usize = 256;

impl crate::encode::Program for Greater {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        let data = s.arg(0)?;
        let lanes = s.lanes();
        for at in (0..COMPARED as i32).step_by(4 * lanes) {
            let v = s.load(&data, at, lanes)?;
            let other = s.load(&data, at + COMPARED as i32, lanes)?;
            s.max_bytes(&v, &other)?;
            s.store(&data, at, &v, lanes)?;
            s.free(v);
            s.free(other);
        }
        Ok(())
    }
}

#[test]
fn the_greater_of_bytes() {
    let data: Vec<u8> = (0..2 * COMPARED).map(|i| (i * 167 + i / 32) as u8).collect();
    for ran in run_on(&Greater, &data, 0, 0) {
        let wanted: Vec<u8> = (0..COMPARED).map(|i| data[i].max(data[i + COMPARED])).collect();
        assert_eq!(ran.data[..COMPARED], wanted, "{}", ran.name);
    }
}
