//! Tensors as text: element lists when short, `splat` when uniform, else the bytes in base64.

use super::{Cursor, Token, join, literal_text};
use crate::error::Result;
use crate::kernel::Scalar;
use crate::tensor::Tensor;
use crate::types::{DType, TensorType};

/// Tensors of at most so many elements are listed.
const LISTED: usize = 16;

/// The elements of a tensor whose type is written elsewhere. `elide` puts `...` in place of long ones.
pub(crate) fn tensor_text(tensor: &Tensor, elide: bool) -> String {
    let (bits, count) = (tensor.dtype.size() * 8, tensor.elements());
    let element =
        |i| literal_text(Scalar { dtype: tensor.dtype, bits: crate::eval::element(&tensor.data, bits, i) });
    // What no element of 4 bits has would be lost.
    let stored = |b: &u8| tensor.dtype.stored((*b).into()) == u64::from(*b);
    let single = bits <= 64 && (tensor.dtype.bits() != 4 || tensor.data.iter().all(stored));
    if single && count <= LISTED {
        return format!("[{}]", join((0..count).map(element)));
    }
    let size = (bits / 8).max(1);
    if single && tensor.data.chunks(size).all(|c| c == &tensor.data[..size]) {
        return format!("splat {}", element(0));
    }
    if elide { "...".to_owned() } else { format!("base64 \"{}\"", encode(&tensor.data)) }
}

/// A tensor with its type.
pub(crate) fn typed_tensor_text(tensor: &Tensor, elide: bool) -> String {
    format!("{} {}", tensor.ty(), tensor_text(tensor, elide))
}

impl Cursor {
    /// Takes the elements of a tensor of a known type, which must have no symbol.
    pub(crate) fn tensor(&mut self, ty: &TensorType) -> Result<Tensor> {
        let bad = |c: &Self| c.error(format!("a tensor of type {ty} cannot be written out"));
        let shape = ty.shape.as_const().ok_or_else(|| bad(self))?;
        let count = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).ok_or_else(|| bad(self))?;
        let dtype = ty.dtype;
        let tensor = |c: &Self, data: Vec<u8>| {
            Tensor::new(dtype, shape.clone(), data.into()).map_err(|e| c.error_before(e.message))
        };
        if self.eat("[") {
            let elements = self.list("]", |c| c.literal(dtype))?;
            if elements.len() != count {
                return Err(self.error_before(format!("{count} elements expected, found {}", elements.len())));
            }
            let mut data = vec![0; dtype.bytes_of(count)];
            if matches!(dtype, DType::String | DType::C128) {
                return Err(bad(self));
            }
            for (i, element) in elements.into_iter().enumerate() {
                crate::eval::set_element(&mut data, dtype.size() * 8, i, dtype.stored(element));
            }
            return tensor(self, data);
        }
        if self.eat_word("splat") {
            let size = dtype.size();
            let element = dtype.stored(self.literal(dtype)?).to_le_bytes();
            if !(1..=8).contains(&size) || count > isize::MAX as usize / 16 {
                return Err(bad(self));
            }
            return tensor(self, element[..size].repeat(count));
        }
        if self.eat_word("base64") {
            let text = self.string()?;
            let data = decode(&text).ok_or_else(|| self.error_before("this is no base64"))?;
            return tensor(self, data);
        }
        match self.peek() {
            Token::Punct("...") => {
                Err(self.error("the elements were left out: this text is for reading only"))
            }
            other => Err(self.error(format!("'[', 'splat' or 'base64' expected, found {other}"))),
        }
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let present = digit <= chunk.len();
            out.push(if present { DIGITS[(word >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut value = [None; 256];
    for (v, digit) in (0u32..).zip(DIGITS) {
        value[*digit as usize] = Some(v);
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.as_bytes().chunks(4) {
        let padding = chunk.iter().rev().take_while(|b| **b == b'=').count();
        if chunk.len() != 4 || padding > 2 {
            return None;
        }
        let mut word = 0;
        for byte in &chunk[..4 - padding] {
            word = word << 6 | value[*byte as usize]?;
        }
        word <<= 6 * padding;
        out.extend(&word.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Shape;

    fn round_trip(tensor: &Tensor) {
        let text = typed_tensor_text(tensor, false);
        let mut cursor = Cursor::new(&text).unwrap();
        let ty = cursor.tensor_type().unwrap();
        let back = cursor.tensor(&ty).unwrap();
        assert!(back == *tensor, "{text}");
    }

    #[test]
    fn every_bit_survives() {
        let floats = [0.1f32, -0.0, 1e-45, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
        round_trip(&Tensor::from_vec(&[2, 4], floats.to_vec()));
        round_trip(&Tensor::from_vec(&[1], vec![f32::from_bits(0x7fc0_0001)]));
        round_trip(&Tensor::from_vec(&[3], vec![1e300, f64::NAN, 5e-324]));
        round_trip(&Tensor::from_vec(&[2], vec![half::f16::MAX, half::f16::from_bits(1)]));
        round_trip(&Tensor::from_vec(&[1], vec![half::bf16::from_bits(0x0001)]));
        round_trip(&Tensor::from_vec(&[2], vec![i64::MIN, i64::MAX]));
        round_trip(&Tensor::from_vec(&[1], vec![u64::MAX]));
        round_trip(&Tensor::from_bools(&[2], [true, false]));
        round_trip(&Tensor::scalar(-7i8));
        round_trip(&Tensor::zeros(DType::F32, &[0, 3]));
        round_trip(&Tensor::from_vec(&[20], vec![-0.5f32; 20]));
        round_trip(&Tensor::from_vec(&[17], (0..17).map(|i| i as f32).collect()));
        for dtype in DType::ALL.into_iter().filter(|d| *d != DType::String) {
            for count in [1, 3, 16, 17, 40] {
                let bytes: Vec<u8> = (0..dtype.bytes_of(count)).map(|i| i as u8 & 1).collect();
                round_trip(&Tensor::new(dtype, vec![count], bytes.into()).unwrap());
            }
        }
        let odd = Tensor::new(DType::U4, vec![1], vec![0xf3].into()).unwrap();
        round_trip(&odd);
    }

    #[test]
    fn base64_as_in_its_standard() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert!(decode("Zg").is_none() && decode("Z===").is_none() && decode("Z!==").is_none());
    }

    #[test]
    fn wrong_texts_are_errors() {
        let parse =
            |text: &str, ty: TensorType| Cursor::new(text).unwrap().tensor(&ty).unwrap_err().to_string();
        let ty = |dtype| TensorType::new(dtype, Shape::of(&[2]));
        assert_eq!(parse("[1, 300]", ty(DType::U8)), "line 1, column 5: '300' is no u8");
        assert!(parse("[1.5, 2]", ty(DType::I32)).contains("'1.5' is no i32"));
        assert!(parse("[1]", ty(DType::F32)).contains("2 elements expected, found 1"));
        assert!(parse("...", ty(DType::F32)).contains("left out"));
    }
}
