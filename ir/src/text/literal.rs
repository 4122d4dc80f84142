//! Single elements as text, such that every bit survives.

use half::{bf16, f16};

use super::{Cursor, Token};
use crate::error::Result;
use crate::kernel::Scalar;
use crate::types::DType;

/// An element without its type: `0.5`, `-3`, `true`, `nan`, or the bits where nothing shorter is exact: `0x7fc00001`.
pub(crate) fn literal_text(value: Scalar) -> String {
    let bits = || format!("{:#x}", value.bits);
    let float = |canonical_nan: u64, text: String| match text.as_str() {
        "NaN" if value.bits == canonical_nan => "nan".to_owned(),
        "NaN" => bits(),
        _ => text,
    };
    match value.dtype {
        DType::F32 => float(f32::NAN.to_bits().into(), format!("{:?}", f32::from_bits(value.bits as u32))),
        DType::F64 => float(f64::NAN.to_bits(), format!("{:?}", f64::from_bits(value.bits))),
        DType::F16 => {
            float(f16::NAN.to_bits().into(), format!("{:?}", f16::from_bits(value.bits as u16).to_f32()))
        }
        DType::BF16 => {
            float(bf16::NAN.to_bits().into(), format!("{:?}", bf16::from_bits(value.bits as u16).to_f32()))
        }
        DType::Bool if value.bits <= 1 => (value.bits == 1).to_string(),
        DType::U64 => value.bits.to_string(),
        dtype if dtype.is_int() => value.to_i64().to_string(),
        _ => bits(),
    }
}

/// An element with its type: `0.5:f32`.
pub(crate) fn scalar_text(value: Scalar) -> String {
    format!("{}:{}", literal_text(value), value.dtype)
}

/// An element as written, before its type is known.
#[derive(Debug)]
pub(crate) struct RawLiteral {
    text: String,
}

impl RawLiteral {
    /// Whether this is a number with a point, an exponent or a float's special name.
    pub(crate) fn is_float(&self) -> bool {
        let digits = self.text.trim_start_matches('-');
        digits.starts_with("0x") || digits.contains(['.', 'e']) || matches!(digits, "inf" | "nan")
    }

    /// The element of a type.
    pub(crate) fn bits(&self, dtype: DType) -> Option<u64> {
        let width = dtype.bits().min(64) as u32;
        if let Some(hex) = self.text.strip_prefix("0x") {
            let bits = u64::from_str_radix(hex, 16).ok()?;
            return (width > 0 && bits <= u64::MAX >> (64 - width)).then_some(bits);
        }
        let text = if self.text == "nan" { "NaN" } else { &self.text };
        match dtype {
            DType::F32 => text.parse::<f32>().ok().map(|v| v.to_bits().into()),
            DType::F64 => text.parse::<f64>().ok().map(f64::to_bits),
            DType::F16 => text.parse().ok().map(|v| f16::from_f32(v).to_bits().into()),
            DType::BF16 => text.parse().ok().map(|v| bf16::from_f32(v).to_bits().into()),
            DType::Bool => text.parse::<bool>().ok().map(u64::from),
            _ if dtype.is_int() => {
                let value: i128 = text.parse().ok()?;
                let (lo, hi) = if dtype.is_signed_int() {
                    (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1)
                } else {
                    (0, (1i128 << width) - 1)
                };
                (lo..=hi).contains(&value).then(|| Scalar::int(dtype, value as i64).bits)
            }
            _ => None,
        }
    }
}

impl Cursor {
    /// Whether an element's text comes next.
    pub(crate) fn at_literal(&self) -> bool {
        match self.peek() {
            Token::Number(_) => true,
            Token::Punct("-") => {
                matches!(self.peek_at(1), Token::Number(_))
                    || matches!(self.peek_at(1), Token::Ident(word) if word == "inf" || word == "nan")
            }
            Token::Ident(word) => matches!(&word[..], "inf" | "nan" | "true" | "false"),
            _ => false,
        }
    }

    /// Takes an element's text.
    pub(crate) fn raw_literal(&mut self) -> Result<RawLiteral> {
        if !self.at_literal() {
            return Err(self.error(format!("a number expected, found {}", self.peek())));
        }
        let sign = if self.eat("-") { "-" } else { "" };
        let (Token::Number(text) | Token::Ident(text)) = self.next() else {
            return Err(self.error_before("a number expected"));
        };
        Ok(RawLiteral { text: format!("{sign}{text}") })
    }

    /// Takes an element of a known type; gives its bits.
    pub(crate) fn literal(&mut self, dtype: DType) -> Result<u64> {
        let raw = self.raw_literal()?;
        raw.bits(dtype).ok_or_else(|| self.error_before(format!("'{}' is no {dtype}", raw.text)))
    }

    /// Takes an element with its type.
    pub(crate) fn scalar(&mut self) -> Result<Scalar> {
        let raw = self.raw_literal()?;
        self.expect(":")?;
        let dtype = self.dtype()?;
        let bits =
            raw.bits(dtype).ok_or_else(|| self.error_before(format!("'{}' is no {dtype}", raw.text)))?;
        Ok(Scalar { dtype, bits })
    }
}
