//! The 4- and 8-bit floats of ONNX.

use crate::types::DType;

/// The value that the low bits of `bits` stand for in a float of 4 or 8 bits; `None` for other types.
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
        DType::F8E4M3FN if magnitude == 0x7f => return Some(f64::NAN),
        DType::F8E4M3FNUZ | DType::F8E5M2FNUZ if byte == 0x80 => return Some(f64::NAN),
        DType::F8E5M2 if exponent == 31 => {
            return Some(if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN });
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
}
