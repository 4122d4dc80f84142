//! Random numbers by their position: the same for a seed on every machine, in any order.
//!
//! Number `i` of a seed is SplitMix64's output function (Steele, Lea and Flood 2014) of `seed + (i + 1) * 0x9e3779b97f4a7c15`.

/// 64 random bits: number `i` of a seed.
pub fn random_bits(seed: u64, i: u64) -> u64 {
    let mut z = seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number from 0 up to, not including, 1: the highest 53 of number `i`'s bits.
pub fn random_uniform(seed: u64, i: u64) -> f64 {
    (random_bits(seed, i) >> 11) as f64 * 2f64.powi(-53)
}

/// A number of the standard normal distribution (Box and Muller 1958), of the numbers `2 i` and `2 i + 1`.
pub fn random_normal(seed: u64, i: u64) -> f64 {
    let (a, b) = (random_uniform(seed, 2 * i), random_uniform(seed, 2 * i + 1));
    // From above 0 on.
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_seed_stay_what_they_are() {
        assert_eq!(random_bits(0, 0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random_bits(1234567, 0), 6_457_827_717_110_365_317);
    }

    #[test]
    fn distributions_have_their_moments() {
        let n = 100_000u64;
        let moments = |of: fn(u64, u64) -> f64| {
            let mean = (0..n).map(|i| of(7, i)).sum::<f64>() / n as f64;
            let variance = (0..n).map(|i| (of(7, i) - mean).powi(2)).sum::<f64>() / n as f64;
            (mean, variance)
        };
        let (mean, variance) = moments(random_uniform);
        assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.001);
        let (mean, variance) = moments(random_normal);
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02);
    }
}
