//! `random[:SEED]`: inputs that anyone can make again, in any language, bit for bit.
//!
//! Element `i` of the input at position `p` (both from 0) is made from one 64-bit word of SplitMix64, in
//! arithmetic modulo 2^64:
//!
//! ```text
//! z = seed + p * 2^32 + (i + 1) * 0x9E3779B97F4A7C15
//! z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
//! z = (z ^ (z >> 27)) * 0x94D049BB133111EB
//! word = z ^ (z >> 31)
//! ```
//!
//! - floats: `(sum - 131070) / 37837` in f64, rounded to the type, where `sum` adds the word's four 16-bit
//!   parts: close to a standard normal distribution, without a function whose last bit depends on a library;
//! - u8: `word % 256`, i8: `word % 128`; other integers and bool: `word % 2`, which is a valid index, mask and
//!   token type everywhere.
//!
//! With NumPy: `z = np.uint64(seed + (p << 32)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E...)`.

use half::{bf16, f16};
use kiln_ir::{DType, Result, Tensor, bail_unsupported};

/// The tensor for the input at `position`.
pub fn tensor(dtype: DType, shape: &[usize], seed: u64, position: usize) -> Result<Tensor> {
    let base = seed.wrapping_add((position as u64) << 32);
    let count = shape.iter().product::<usize>();
    let words = (0..count as u64).map(|i| word(base, i));
    let normals = words.clone().map(normal);
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(shape, normals.map(|v| v as f32).collect()),
        DType::F64 => Tensor::from_vec(shape, normals.collect()),
        DType::F16 => Tensor::from_vec(shape, normals.map(f16::from_f64).collect()),
        DType::BF16 => Tensor::from_vec(shape, normals.map(bf16::from_f64).collect()),
        DType::U8 => Tensor::from_vec(shape, words.map(|w| (w % 256) as u8).collect()),
        DType::I8 => Tensor::from_vec(shape, words.map(|w| (w % 128) as i8).collect()),
        DType::Bool => Tensor::from_bools(shape, words.map(|w| w % 2 == 1)),
        DType::U16 => Tensor::from_vec(shape, words.map(|w| (w % 2) as u16).collect()),
        DType::I16 => Tensor::from_vec(shape, words.map(|w| (w % 2) as i16).collect()),
        DType::U32 => Tensor::from_vec(shape, words.map(|w| (w % 2) as u32).collect()),
        DType::I32 => Tensor::from_vec(shape, words.map(|w| (w % 2) as i32).collect()),
        DType::U64 => Tensor::from_vec(shape, words.map(|w| w % 2).collect()),
        DType::I64 => Tensor::from_vec(shape, words.map(|w| (w % 2) as i64).collect()),
        // Every element of 4 bits; of the others those that are finite in every format.
        small if small.is_small() => {
            let bytes: Vec<u8> =
                words.map(|w| small.stored(w % if small.bits() == 4 { 16 } else { 0x7c }) as u8).collect();
            Tensor::new(small, shape.to_vec(), bytes.into())?
        }
        other => bail_unsupported!("random inputs of type {other} cannot be made: give a file"),
    })
}

fn word(base: u64, i: u64) -> u64 {
    let mut z = base.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn normal(word: u64) -> f64 {
    let sum: u64 = (0..4).map(|i| word >> (16 * i) & 0xFFFF).sum();
    (sum as f64 - 131_070.0) / 37_837.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_splitmix64() {
        // The published first outputs of SplitMix64 seeded with 1234567.
        let words: Vec<u64> = (0..3).map(|i| word(1_234_567, i)).collect();
        assert_eq!(words, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn floats_are_about_standard_normal() {
        let values = tensor(DType::F64, &[10_000], 0, 0).unwrap().to_f64s().unwrap();
        let mean = values.iter().sum::<f64>() / 1e4;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn seeds_and_positions_matter() {
        let of = |seed, position| tensor(DType::F32, &[4], seed, position).unwrap();
        assert_ne!(of(0, 0), of(1, 0));
        assert_ne!(of(0, 0), of(0, 1));
        assert_eq!(of(7, 2), of(7, 2));
    }
}
