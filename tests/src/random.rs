//! Seeded inputs: floats close to a standard normal distribution, small integers of other types.

use kiln_ir::kernel::Scalar;
use kiln_ir::{DType, Result, Tensor, bail_unsupported};

/// The tensor that `random:SEED` of the command line stands for, for the input at `position`. Written from its
/// description; `seeded_inputs_are_those_of_the_command` compares the two.
pub fn tensor(dtype: DType, shape: &[usize], seed: u64, position: usize) -> Result<Tensor> {
    let base = seed.wrapping_add((position as u64) << 32);
    let words = (1..=shape.iter().product::<usize>() as u64).map(|i| split_mix(base, i));
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(shape, words.map(|w| normal(w) as f32).collect()),
        DType::F64 => Tensor::from_vec(shape, words.map(normal).collect()),
        DType::F16 | DType::BF16 => {
            let bits = words.map(|w| Scalar::of(dtype, normal(w)).bits as u16).collect();
            Tensor { dtype, ..Tensor::from_vec::<u16>(shape, bits) }
        }
        DType::U8 => Tensor::from_vec(shape, words.map(|w| (w % 256) as u8).collect()),
        DType::I8 => Tensor::from_vec(shape, words.map(|w| (w % 128) as i8).collect()),
        DType::Bool => Tensor::from_bools(shape, words.map(|w| w % 2 == 1)),
        DType::I32 => Tensor::from_vec(shape, words.map(|w| (w % 2) as i32).collect()),
        DType::I64 => Tensor::from_vec(shape, words.map(|w| (w % 2) as i64).collect()),
        other => bail_unsupported!("random inputs of type {other}"),
    })
}

/// The word of SplitMix64 at position `i`, from 1 on, of the sequence that starts at `base`.
pub fn split_mix(base: u64, i: u64) -> u64 {
    let mut z = base.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn normal(word: u64) -> f64 {
    let sum: u64 = (0..4).map(|i| word >> (16 * i) & 0xFFFF).sum();
    (sum as f64 - 131_070.0) / 37_837.0
}
