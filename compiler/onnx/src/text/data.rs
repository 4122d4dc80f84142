//! Element types and tensors of the text form.

use half::{bf16, f16};
use kiln_ir::{DType, Error, Result};
use onnx_protobuf::TensorProto;

use super::cursor::{Cursor, Token};

/// The number of an element type by its name in ONNX.
pub(super) fn element(name: &str) -> Option<i32> {
    let short = match name {
        "float" => "f32",
        "double" => "f64",
        "float16" => "f16",
        "bfloat16" => "bf16",
        "int8" => "i8",
        "int16" => "i16",
        "int32" => "i32",
        "int64" => "i64",
        "uint8" => "u8",
        "uint16" => "u16",
        "uint32" => "u32",
        "uint64" => "u64",
        "bool" => "bool",
        "string" => "string",
        "int4" => "i4",
        "uint4" => "u4",
        _ => return None,
    };
    DType::parse(short).map(DType::to_onnx)
}

/// The numbers between braces as a tensor.
pub(super) fn tensor(at: &mut Cursor, name: &str, element: i32, dims: Vec<i64>) -> Result<TensorProto> {
    let dtype = DType::from_onnx(element)?;
    let mut data = Vec::new();
    let mut count = 0i64;
    at.expect("{")?;
    while !at.eat("}") {
        number(at, dtype, &mut data)?;
        count += 1;
        if !at.eat(",") {
            at.expect("}")?;
            break;
        }
    }
    let needed = dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d));
    if needed != Some(count) {
        let needed = needed.map_or_else(|| "too many".to_owned(), |n| n.to_string());
        return Err(at.error(&format!("a tensor of shape {dims:?} has {needed} elements, {count} are given")));
    }
    Ok(TensorProto { name: name.to_owned(), data_type: element, dims, raw_data: data, ..Default::default() })
}

fn number(at: &mut Cursor, dtype: DType, out: &mut Vec<u8>) -> Result<()> {
    let wrong = |at: &Cursor| at.error(&format!("a number of type {dtype} is expected"));
    let (int, float) = match at.peek().clone() {
        Token::Int(n) => (Some(n), n as f64),
        Token::Float(v) => (None, v),
        Token::Name(word) => match &*word {
            "true" => (Some(1), 1.0),
            "false" => (Some(0), 0.0),
            "inf" | "infinity" => (None, f64::INFINITY),
            "nan" | "NaN" => (None, f64::NAN),
            _ => return Err(wrong(at)),
        },
        _ => return Err(wrong(at)),
    };
    macro_rules! narrow {
        ($t:ty) => {{
            let value = int.and_then(|n| <$t>::try_from(n).ok());
            out.extend(value.ok_or_else(|| wrong(at))?.to_le_bytes());
        }};
    }
    match dtype {
        DType::F32 => out.extend((float as f32).to_le_bytes()),
        DType::F64 => out.extend(float.to_le_bytes()),
        DType::F16 => out.extend(f16::from_f64(float).to_le_bytes()),
        DType::BF16 => out.extend(bf16::from_f64(float).to_le_bytes()),
        DType::I8 => narrow!(i8),
        DType::I16 => narrow!(i16),
        DType::I32 => narrow!(i32),
        DType::I64 => narrow!(i64),
        DType::U8 => narrow!(u8),
        DType::U16 => narrow!(u16),
        DType::U32 => narrow!(u32),
        DType::U64 => narrow!(u64),
        DType::Bool => out.push(u8::from(int.ok_or_else(|| wrong(at))? != 0)),
        other => return Err(Error::unsupported(format!("tensors of {other} are not read in this form"))),
    }
    at.advance();
    Ok(())
}
