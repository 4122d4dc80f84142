//! Products of floats of 16 bits that are added to floats of 32.

use kiln_ir::DType;
use kiln_ir::kernel::Scalar;

use crate::encode::Program;
use crate::simd::{R, Refusal, Simd};
use crate::testing::run_encoded;

/// Eight factors, eight columns and a vector of sums for each half of them and each factor.
struct Products;

const SUMS: usize = 32;
const COLUMNS: usize = 8;

impl Program for Products {
    fn emit<S: Simd>(&self, s: &mut S) -> R {
        if !s.multiplies_halves() {
            return Err(Refusal::unsupported("products of floats of 16 bits"));
        }
        let data = s.arg(0)?;
        let columns = s.load(&data, 16, 4)?;
        let factors = s.load_factors(&data, 0)?;
        for i in 0..2 * COLUMNS {
            let at = (SUMS + 16 * i) as i32;
            let sums = s.load(&data, at, 4)?;
            s.fma_halves(i % 2 > 0, &sums, &columns, &factors, i / 2)?;
            s.store(&data, at, &sums, 4)?;
            s.free(sums);
        }
        s.free(factors);
        s.free(columns);
        Ok(())
    }
}

#[test]
fn products_are_exact_and_sums_are_rounded_once() {
    let half = |x: f64| Scalar::of(DType::F16, x);
    // The least number, one without an exponent, the greatest, and such whose products have all of 22 bits.
    let numbers = [6e-8, -3.1e-5, 65504.0, 0.333, -2047.0, 1.0 + 1.0 / 1024.0, -0.0, 1.0 / 3.0];
    for ahead in 0..numbers.len() {
        let factors = numbers.map(half);
        let columns: Vec<Scalar> = (0..COLUMNS).map(|i| half(numbers[(i + ahead) % COLUMNS])).collect();
        let sum = |i: usize| [0.1f32, -1e-9, 3.5e4, -0.0][i % 4] * (1 + i) as f32;
        let mut data: Vec<u8> =
            factors.iter().chain(&columns).flat_map(|x| (x.bits as u16).to_le_bytes()).collect();
        data.extend((0..8 * COLUMNS).flat_map(|i| sum(i).to_le_bytes()));
        let wanted = |i: usize| {
            let (factor, column) = (factors[i / 8], columns[i % 8]);
            (factor.to_f64() as f32).mul_add(column.to_f64() as f32, sum(i)).to_bits()
        };
        for ran in run_encoded(&Products, &data, 0, 0) {
            let found: Vec<u32> = ran.data[SUMS..]
                .chunks_exact(4)
                .map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
                .collect();
            assert_eq!(found, (0..8 * COLUMNS).map(wanted).collect::<Vec<_>>(), "{} {ahead}", ran.name);
        }
    }
}
