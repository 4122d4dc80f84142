//! The 4- and 8-bit floats of ONNX: what their bits stand for, and the bits for a number.

use crate::types::DType;

/// A format of sign, exponent and mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallFormat {
    /// Bits of the mantissa.
    pub mantissa_bits: u32,
    /// What is added to an exponent.
    pub bias: i32,
    /// The bits of the largest number.
    pub most: u64,
    /// The bits for what is larger where nothing saturates.
    pub overflow: u64,
    /// The bits of NaN.
    pub nan: u64,
    /// Zero has no sign: its place is NaN's.
    pub unsigned_zero: bool,
}

/// The format of a type; `None` of `F8E8M0`, which has exponents alone, and of other types.
///
/// `F4E2M1` has neither infinities nor NaN: numbers beyond its ends saturate always, and NaN becomes -0.
pub fn small_format(dtype: DType) -> Option<SmallFormat> {
    let format = |mantissa_bits, bias, most, overflow, nan, unsigned_zero| {
        Some(SmallFormat { mantissa_bits, bias, most, overflow, nan, unsigned_zero })
    };
    match dtype {
        DType::F4E2M1 => format(1, 1, 0x7, 0x7, 0x8, false),
        DType::F8E4M3FN => format(3, 7, 0x7e, 0x7f, 0x7f, false),
        DType::F8E4M3FNUZ => format(3, 8, 0x7f, 0x80, 0x80, true),
        DType::F8E5M2 => format(2, 15, 0x7b, 0x7c, 0x7e, false),
        DType::F8E5M2FNUZ => format(2, 16, 0x7f, 0x80, 0x80, true),
        _ => None,
    }
}

/// How numbers become small floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmallRounding {
    /// What is beyond the largest number becomes that, infinities too; else it becomes an infinity, or NaN where the format
    /// has none. What is below the least number of `F8E8M0` becomes that, or NaN.
    pub saturate: bool,
    /// Of `F8E8M0`; all others round to the nearest, halves to even.
    pub exponent: ExponentRounding,
}

impl Default for SmallRounding {
    fn default() -> Self {
        Self { saturate: true, exponent: ExponentRounding::Up }
    }
}

/// How numbers become powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExponentRounding {
    /// The next one that is at least as large.
    Up,
    /// The next one that is at most as large.
    Down,
    /// The nearest; in the middle of two the larger one.
    Nearest,
}

impl ExponentRounding {
    /// What is added to the bits of an f32 before its mantissa is cut off.
    pub fn addend(self) -> u32 {
        match self {
            Self::Up => (1 << 23) - 1,
            Self::Down => 0,
            Self::Nearest => 1 << 22,
        }
    }

    /// The bits of the least f32 that becomes 2^-126 rather than 2^-127.
    pub fn least_normal(self) -> u32 {
        match self {
            Self::Up => (1 << 22) + 1,
            Self::Down => 1 << 23,
            Self::Nearest => 3 << 21,
        }
    }
}

/// The bits of an f32 as an element of a small float type; of `F8E8M0` the sign is left out. `None` for other types.
pub fn to_small_float(dtype: DType, x: f32, how: SmallRounding) -> Option<u64> {
    let (bits, magnitude) = (x.to_bits(), x.abs().to_bits());
    if dtype == DType::F8E8M0 {
        return Some(to_exponent(magnitude, how));
    }
    let f = small_format(dtype)?;
    let shift = 23 - f.mantissa_bits;
    let code = if x.is_nan() {
        f.nan
    } else {
        let code = if magnitude < ((128 - f.bias) as u32) << 23 {
            // Multiples of the least number.
            (x.abs() * 2f32.powi(f.bias - 1 + f.mantissa_bits as i32)).round_ties_even() as u64
        } else {
            let even = magnitude + (1 << (shift - 1)) - 1 + (magnitude >> shift & 1);
            u64::from(even >> shift) - (((127 - f.bias) as u64) << f.mantissa_bits)
        };
        match code > f.most {
            true if how.saturate => f.most,
            true => f.overflow,
            false => code,
        }
    };
    let sign = u64::from(bits >> 31) << (dtype.bits() - 1);
    Some(if f.unsigned_zero && code == 0 { 0 } else { code | sign })
}

fn to_exponent(magnitude: u32, how: SmallRounding) -> u64 {
    let least = 1 << 22;
    if magnitude > f32::INFINITY.to_bits() || magnitude < least && !how.saturate {
        return 0xff;
    }
    let code = match magnitude {
        0x0080_0000.. => (magnitude + how.exponent.addend()) >> 23,
        small => u32::from(small >= how.exponent.least_normal()),
    };
    u64::from(code.min(if how.saturate { 0xfe } else { 0xff }))
}

/// The value (a NaN with its sign) that the low bits of `bits` stand for in a float of 4 or 8 bits; `None` for other types.
///
/// Formats: OCP MX and OFP8 (`F4E2M1`, `F8E4M3FN`, `F8E5M2`, `F8E8M0`) and the variants without infinities and
/// negative zero, whose bias is one higher (`F8E4M3FNUZ`, `F8E5M2FNUZ`).
pub fn small_float(dtype: DType, bits: u64) -> Option<f64> {
    let byte = bits & 0xff;
    let (mantissa_bits, bias) = match dtype {
        DType::F4E2M1 => (1, 1),
        DType::F8E4M3FN => (3, 7),
        DType::F8E4M3FNUZ => (3, 8),
        DType::F8E5M2 => (2, 15),
        DType::F8E5M2FNUZ => (2, 16),
        DType::F8E8M0 => return Some(if byte == 0xff { f64::NAN } else { 2f64.powi(byte as i32 - 127) }),
        _ => return None,
    };
    let sign = if bits >> (dtype.bits() - 1) & 1 == 1 { -1.0 } else { 1.0 };
    let magnitude = bits & ((1 << (dtype.bits() - 1)) - 1);
    let (exponent, mantissa) = ((magnitude >> mantissa_bits) as i32, magnitude & ((1 << mantissa_bits) - 1));
    match dtype {
        DType::F8E4M3FN if magnitude == 0x7f => return Some(f64::NAN.copysign(sign)),
        DType::F8E4M3FNUZ | DType::F8E5M2FNUZ if byte == 0x80 => return Some(f64::NAN.copysign(sign)),
        DType::F8E5M2 if exponent == 31 => {
            return Some(if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN.copysign(sign) });
        }
        _ => {}
    }
    let fraction = mantissa as f64 / f64::from(1 << mantissa_bits);
    Some(match exponent {
        0 => sign * fraction * 2f64.powi(1 - bias),
        _ => sign * (1.0 + fraction) * 2f64.powi(exponent - bias),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_special_values_of_each_format() {
        let value = |dtype, bits| small_float(dtype, bits).unwrap();
        let fours: Vec<f64> = (0..8).map(|b| value(DType::F4E2M1, b)).collect();
        assert_eq!(fours, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(value(DType::F4E2M1, 0xf), -6.0);
        assert_eq!(value(DType::F8E4M3FN, 0x7e), 448.0);
        assert_eq!(value(DType::F8E4M3FN, 0x01), 2f64.powi(-9));
        assert!(value(DType::F8E4M3FN, 0xff).is_nan());
        assert_eq!(value(DType::F8E4M3FNUZ, 0x7f), 240.0);
        assert!(value(DType::F8E4M3FNUZ, 0x80).is_nan());
        assert_eq!(value(DType::F8E5M2, 0x7b), 57344.0);
        assert_eq!(value(DType::F8E5M2, 0xfc), f64::NEG_INFINITY);
        assert!(value(DType::F8E5M2, 0x7d).is_nan());
        assert_eq!(value(DType::F8E5M2FNUZ, 0x7f), 57344.0);
        assert_eq!(value(DType::F8E8M0, 127), 1.0);
        assert!(value(DType::F8E8M0, 0xff).is_nan());
        assert_eq!(small_float(DType::F16, 0), None);
    }

    const FLOATS: [DType; 5] =
        [DType::F4E2M1, DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ];

    #[test]
    fn every_element_is_what_its_value_becomes() {
        for dtype in FLOATS.into_iter().chain([DType::F8E8M0]) {
            for bits in 0..1u64 << dtype.bits() {
                let x = small_float(dtype, bits).unwrap() as f32;
                let back = to_small_float(dtype, x, SmallRounding { saturate: false, ..Default::default() });
                let same =
                    back == Some(bits) || small_float(dtype, back.unwrap()).unwrap().is_nan() && x.is_nan();
                assert!(same, "{dtype} {bits:#x}: {x} became {back:?}");
            }
        }
    }

    #[test]
    fn the_middle_of_two_goes_to_the_even_one() {
        for dtype in FLOATS {
            let most = small_format(dtype).unwrap().most;
            let value = |bits| small_float(dtype, bits).unwrap() as f32;
            let to = |x| to_small_float(dtype, x, SmallRounding::default()).unwrap();
            for bits in 0..most {
                let middle = (value(bits) + value(bits + 1)) / 2.0;
                assert_eq!(to(middle), bits + (bits & 1), "{dtype} {middle}");
                assert_eq!(to(middle.next_down()), bits, "{dtype} below {middle}");
                assert_eq!(to(middle.next_up()), bits + 1, "{dtype} above {middle}");
            }
        }
    }

    #[test]
    fn beyond_the_ends() {
        let to = |dtype, x: f32, saturate| {
            to_small_float(dtype, x, SmallRounding { saturate, ..Default::default() }).unwrap()
        };
        for (dtype, most, over, below) in [
            (DType::F4E2M1, 0x7, 0x7, 0xf),
            (DType::F8E4M3FN, 0x7e, 0x7f, 0xff),
            (DType::F8E4M3FNUZ, 0x7f, 0x80, 0x80),
            (DType::F8E5M2, 0x7b, 0x7c, 0xfc),
            (DType::F8E5M2FNUZ, 0x7f, 0x80, 0x80),
        ] {
            for x in [f32::INFINITY, f32::MAX, 1e6] {
                let sign = 1 << (dtype.bits() - 1);
                assert_eq!([to(dtype, x, true), to(dtype, -x, true)], [most, most | sign], "{dtype}");
                assert_eq!([to(dtype, x, false), to(dtype, -x, false)], [over, below], "{dtype}");
            }
        }
        // Rounded to the largest number first.
        assert_eq!(to(DType::F8E4M3FN, 464.0, false), 0x7e);
        assert_eq!(to(DType::F8E4M3FN, 464.1, false), 0x7f);
        assert_eq!([to(DType::F8E4M3FNUZ, -0.0, true), to(DType::F8E4M3FNUZ, -1e-9, true)], [0, 0]);
        assert_eq!([to(DType::F8E5M2, -0.0, true), to(DType::F4E2M1, f32::NAN, true)], [0x80, 0x8]);
    }

    #[test]
    fn powers_of_two() {
        use ExponentRounding::{Down, Nearest, Up};
        let to = |x: f32, saturate, exponent| {
            to_small_float(DType::F8E8M0, x, SmallRounding { saturate, exponent }).unwrap()
        };
        assert_eq!([Up, Down, Nearest].map(|r| to(1.1, true, r)), [128, 127, 127]);
        assert_eq!([Up, Down, Nearest].map(|r| to(1.5, true, r)), [128, 127, 128]);
        assert_eq!([Up, Down, Nearest].map(|r| to(2f32.powi(-127), true, r)), [0, 0, 0]);
        assert_eq!([Up, Down, Nearest].map(|r| to(1.4 * 2f32.powi(-127), true, r)), [1, 0, 0]);
        assert_eq!([Up, Down, Nearest].map(|r| to(0.0, false, r)), [255, 255, 255]);
        assert_eq!([to(f32::INFINITY, true, Up), to(f32::INFINITY, false, Up)], [254, 255]);
        assert_eq!([to(f32::MAX, true, Up), to(f32::NAN, true, Up), to(0.0, true, Up)], [254, 255, 0]);
    }
}
