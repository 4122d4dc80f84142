//! `com.microsoft::MatMulNBits`: the product with weights of 2, 4 or 8 bits that have a scale for each block.
//!
//! Spec: ONNX Runtime's contrib operators, version 1.
//!
//! ```text
//! y[.., n] = sum over k of a[.., k] * (q[n, k] - zero[n, k / block]) * scale[n, k / block] + bias[n]
//! ```
//!
//! Inputs: a `[.., K]`; the bytes of q, for each of N rows blocks of `block_size` elements, the first in the low bits; scales
//! `[N, blocks]` of the type of a; zero points, as such bytes (each row begins with a new one), or as many numbers of the type
//! of a as there are scales; a bias `[N]`. Zero points left out are `2^(bits - 1)`. `accuracy_level` allows less than the type
//! of a, which is not used.
//!
//! Lowering: for a row or two the weights stay as short as they are, and products are of f32 (`packed_product.rs`). Otherwise a `MatMul` of a and
//! the transposed weights, dequantised: constant ones at compile time, which take 4 or 2 bytes an element in the artefact.
//!
//! Unsupported: 3, 5, 6 and 7 bits; `g_idx`.

use super::composed::{self, Composed, Composer, Value, required};
use super::packed_product::Packed;
use super::{
    binary, bit_shift, cast, concat, dequantize_linear, expand, matmul, packed_product, slice, transpose,
};
use crate::error::Result;
use crate::graph::Patch;
use crate::kernel::Lowering;
use crate::op::{Attr, Attrs, Fact, MICROSOFT, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "MatMulNBits",
    domain: MICROSOFT,
    since: (1, 1),
    parse,
    unsupported: "3, 5, 6 and 7 bits; g_idx",
};

/// `com.microsoft::MatMulNBits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulNBits(Packed);

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(3..=6, 1..=1)?;
    node.int("accuracy_level")?;
    let mut positive = |name: &str| match node.int(name)? {
        Some(v @ 1..=0x7fff_ffff) => Ok(v),
        found => bail_invalid!("attribute '{name}' must be a positive number, found {found:?}"),
    };
    let (k, n, block) = (positive("K")?, positive("N")?, positive("block_size")?);
    let bits = node.int("bits")?.unwrap_or(4);
    if !matches!(bits, 2 | 4 | 8) {
        bail_unsupported!("weights of {bits} bits are not supported, those of 2, 4 and 8 are");
    }
    if block * bits % 8 != 0 {
        bail_invalid!("blocks of {block} elements of {bits} bits are no whole bytes");
    }
    if node.inputs.get(4).is_some_and(|present| *present) {
        bail_unsupported!("an order of the columns (g_idx) is not supported");
    }
    Ok(Box::new(MatMulNBits(Packed { k, n, bits, block })))
}

impl Op for MatMulNBits {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let all = [("K", self.0.k), ("N", self.0.n), ("bits", self.0.bits), ("block_size", self.0.block)];
        all.into_iter().map(|(name, value)| (name.to_owned(), Attr::Int(value))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        composed::infer(self, inputs)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        composed::eval(self, inputs)
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        if packed_product::fits(&self.0, |i| node.fact(i).ok()) {
            let wide = |_, dtype| matches!(dtype, DType::F16 | DType::BF16).then_some(DType::F32);
            return cast::around(node, wide);
        }
        composed::decompose(self, node)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        packed_product::lower(&self.0, cx)
    }
}

/// Of positive numbers.
fn div_ceil(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}

impl MatMulNBits {
    /// Rows of `N` times so many elements, one a byte, of rows that begin with a new byte.
    fn unpacked(&self, cx: &mut Composer<'_>, bytes: Value, elements: i64, what: &str) -> Result<Value> {
        let per_byte = 8 / self.0.bits;
        let row = div_ceil(elements, per_byte);
        let fact = cx.fact(bytes);
        if fact.dtype != DType::U8 || fact.shape.elements() != (self.0.n * row).into() {
            bail_invalid!("{what} must be {} rows of {row} bytes, found {}", self.0.n, fact.ty());
        }
        if per_byte == 1 {
            return cx.reshape(bytes, &[self.0.n, row]);
        }
        let bytes = cx.reshape(bytes, &[self.0.n, row, 1])?;
        let mask = cx.constant(Tensor::scalar((1u8 << self.0.bits) - 1));
        let mut parts = Vec::new();
        for i in 0..per_byte {
            let by = cx.constant(Tensor::scalar((i * self.0.bits) as u8));
            let shifted =
                cx.apply(&bit_shift::DEF, &[("direction", Attr::Str("RIGHT".into()))], &[bytes, by])?;
            parts.push(cx.apply(&binary::BITWISE_AND, &[], &[shifted, mask])?);
        }
        let all = cx.apply(&concat::DEF, &[("axis", Attr::Int(2))], &parts)?;
        let all = cx.reshape(all, &[self.0.n, row * per_byte])?;
        self.first(cx, all, elements)
    }

    /// The first elements of each row.
    fn first(&self, cx: &mut Composer<'_>, rows: Value, elements: i64) -> Result<Value> {
        if cx.fact(rows).shape[1] == elements.into() {
            return Ok(rows);
        }
        let [from, to, axis] = [0, elements, 1].map(|v: i64| cx.constant(Tensor::from_vec(&[1], vec![v])));
        cx.apply(&slice::DEF, &[], &[rows, from, to, axis])
    }

    /// The weights, `[N, K]`.
    fn weights(&self, cx: &mut Composer<'_>, q: Value, scales: Value, zeros: Option<Value>) -> Result<Value> {
        let (n, blocks) = (self.0.n, self.0.blocks());
        let dtype = cx.fact(scales).dtype;
        if cx.fact(scales).shape.elements() != (n * blocks).into() {
            bail_invalid!("scales must be {n} rows of {blocks}, found {}", cx.fact(scales).ty());
        }
        let all = self.unpacked(cx, q, blocks * self.0.block, "the weights")?;
        if let Some(zeros) = zeros.filter(|z| cx.fact(*z).dtype == dtype) {
            if cx.fact(zeros).shape.elements() != (n * blocks).into() {
                bail_invalid!("zero points must be {n} rows of {blocks}, found {}", cx.fact(zeros).ty());
            }
            let all = cx.reshape(all, &[n, blocks, self.0.block])?;
            let all = cx.cast(all, dtype)?;
            let (zeros, scales) = (cx.reshape(zeros, &[n, blocks, 1])?, cx.reshape(scales, &[n, blocks, 1])?);
            let less = cx.apply(&binary::SUB, &[], &[all, zeros])?;
            let weights = cx.apply(&binary::MUL, &[], &[less, scales])?;
            let weights = cx.reshape(weights, &[n, blocks * self.0.block])?;
            return self.first(cx, weights, self.0.k);
        }
        let all = self.first(cx, all, self.0.k)?;
        let scales = cx.reshape(scales, &[n, blocks])?;
        let zeros = match zeros {
            Some(zeros) => self.unpacked(cx, zeros, blocks, "zero points")?,
            None => {
                let middle = cx.constant(Tensor::scalar(1u8 << (self.0.bits - 1)));
                let shape = cx.constant(Tensor::from_vec(&[2], vec![n, blocks]));
                cx.apply(&expand::DEF, &[], &[middle, shape])?
            }
        };
        let list = [("axis", Attr::Int(1)), ("block_size", Attr::Int(self.0.block))];
        cx.apply(&dequantize_linear::DEF, &list, &[all, scales, zeros])
    }
}

impl Composed for MatMulNBits {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (a, q, scales) = (required(inputs, 0)?, required(inputs, 1)?, required(inputs, 2)?);
        let fact = cx.fact(a);
        if !matches!(fact.dtype, DType::F32 | DType::F16 | DType::BF16) || cx.fact(scales).dtype != fact.dtype
        {
            bail_invalid!(
                "the left operand must be f32, f16 or bf16 and scales the same, found {}",
                fact.ty()
            );
        }
        let weights = self.weights(cx, q, scales, optional(3))?;
        let weights = cx.apply(&transpose::DEF, &[("perm", Attr::Ints(vec![1, 0]))], &[weights])?;
        let y = cx.apply(&matmul::DEF, &[], &[a, weights])?;
        Ok(vec![match optional(5) {
            Some(bias) => cx.apply(&binary::ADD, &[], &[y, bias])?,
            None => y,
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, numbers, parse, run, sample};

    fn list(k: i64, n: i64, bits: i64, block: i64) -> [(&'static str, Attr); 4] {
        [
            ("K", Attr::Int(k)),
            ("N", Attr::Int(n)),
            ("bits", Attr::Int(bits)),
            ("block_size", Attr::Int(block)),
        ]
    }

    fn bytes(shape: &[usize], seed: usize) -> Tensor {
        let n = shape.iter().product::<usize>();
        Tensor::from_vec(shape, (0..n).map(|j| (j * 73 + seed * 57 + 11) as u8).collect())
    }

    #[test]
    fn every_width_with_every_kind_of_zero_points() {
        for (bits, k, block) in [(4usize, 40usize, 16usize), (8, 40, 16), (2, 32, 16), (4, 48, 16)] {
            let (n, blocks, per) = (3usize, k.div_ceil(block), 8 / bits);
            let a = sample(&[2, 2, k], 5);
            let q = bytes(&[n, blocks, block / per], 1);
            let scales =
                Tensor::from_vec(&[n * blocks], (0..n * blocks).map(|i| 0.1 + i as f32 / 50.0).collect());
            let packed = bytes(&[n * blocks.div_ceil(per)], 2);
            let floats = sample(&[n, blocks], 3);
            let bit =
                |t: &Tensor, i: usize| (t.data[i / per] >> (i % per * bits)) as usize & ((1 << bits) - 1);
            for zeros in [None, Some(&packed), Some(&floats)] {
                let inputs: Vec<&Tensor> = [&a, &q, &scales].into_iter().chain(zeros).collect();
                let all: Vec<usize> = (1..inputs.len()).collect();
                let list = list(k as i64, n as i64, bits as i64, block as i64);
                let op = parse("com.microsoft::MatMulNBits", 1, &list, inputs.len(), 1).unwrap();
                run(&*op, &inputs, &[]).unwrap();
                let y = run(&*op, &inputs, &all).unwrap().remove(0);
                // A row or two read the weights as they are.
                for rows in 1..3 {
                    let few = sample(&[1, rows, k], 5);
                    let mut inputs = inputs.clone();
                    inputs[0] = &few;
                    let y_of_few = run(&*op, &inputs, &all).unwrap().remove(0);
                    assert_eq!(
                        y_of_few.as_slice::<f32>().unwrap()[..],
                        y.as_slice::<f32>().unwrap()[..rows * n]
                    );
                }
                let xs = a.to_f64s().unwrap();
                let weight = |j: usize, l: usize| {
                    let at = j * blocks + l / block;
                    let zero = match zeros {
                        None => f64::from(1 << (bits - 1)),
                        Some(z) if z.dtype == DType::F32 => z.to_f64s().unwrap()[at],
                        Some(z) => bit(z, j * blocks.div_ceil(per) * per + l / block) as f64,
                    };
                    (bit(&q, j * blocks * block + l) as f64 - zero) * scales.to_f64s().unwrap()[at]
                };
                let expected = (0..4 * n)
                    .map(|i| (0..k).map(|l| xs[i / n * k + l] * weight(i % n, l)).sum::<f64>() as f32);
                assert_close(&y, &Tensor::from_vec(&[2, 2, n], expected.collect::<Vec<f32>>()), 1e-5);
            }
        }
    }

    #[test]
    fn rows_of_short_floats() {
        for dtype in [DType::F16, DType::BF16] {
            let (a, scales, zeros) =
                (numbers(dtype, &[1, 70]), numbers(dtype, &[48 * 3]), numbers(dtype, &[48, 3]));
            let q = bytes(&[48, 3, 16], 1);
            for inputs in [&[&a, &q, &scales][..], &[&a, &q, &scales, &zeros]] {
                let op =
                    parse("com.microsoft::MatMulNBits", 1, &list(70, 48, 4, 32), inputs.len(), 1).unwrap();
                run(&*op, inputs, &(1..inputs.len()).collect::<Vec<_>>()).unwrap();
            }
        }
    }

    #[test]
    fn refusals() {
        let refused =
            |list: &[(&str, Attr)]| parse("com.microsoft::MatMulNBits", 1, list, 3, 1).unwrap_err().message;
        assert!(refused(&list(16, 3, 3, 16)).contains("weights of 3 bits"));
        assert!(refused(&list(0, 3, 4, 16)).contains("'K' must be a positive number"));
        assert!(refused(&list(16, 3, 4, 1)).contains("no whole bytes"));
        let op = parse("com.microsoft::MatMulNBits", 1, &list(32, 3, 4, 16), 3, 1).unwrap();
        let fact = |t, shape: &[usize]| crate::op::Fact::new(t, crate::types::Shape::of(shape));
        let (a, scales) = (fact(DType::F32, &[2, 32]), fact(DType::F32, &[3, 2]));
        let short = fact(DType::U8, &[3, 2, 7]);
        let message = op.infer(&[Some(&a), Some(&short), Some(&scales)]).unwrap_err().message;
        assert!(message.contains("the weights must be 3 rows of 16 bytes"), "{message}");
    }
}
