//! `QLinearMatMul`: the product of quantised matrices, quantised (ONNX `QLinearMatMul`, since 10 and 21).
//!
//! ```text
//! y = saturate(round(f32(sum of (a - a_zero) * (b - b_zero)) * (a_scale * b_scale / y_scale)) + y_zero)
//! ```
//!
//! Inputs: a, its scale and zero point, b, its scale and zero point, y's scale and zero point. Scales and zero points of a and
//! b are one, or one for each row of a and each column of b, as those of [`super::matmul_integer`]; those of y are one.
//!
//! Numerics: [`crate::numerics::requantize`]: an exact sum, a factor in the type of the scales, a product in f32, halves to
//! even. The sum is never quantised by a division, as the operator's text would have it and no runtime does.
//!
//! Unsupported: 8-bit floats; scales by row or column beside a vector.

use super::binary;
use super::composed::{Composed, Composer, Value, composed, required};
use super::factor::Factor;
use super::matmul_integer::{MatMulInteger, factors};
use super::quantization::single;
use super::requantize::{requantize, scalar};
use crate::error::{Error, Result};
use crate::op::{Attrs, NodeProto, Op, OpDef};
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "QLinearMatMul",
    domain: "",
    since: (10, 21),
    parse,
    unsupported: "float8; scales by row or column beside a vector",
};

/// ONNX `QLinearMatMul`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QLinearMatMul;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(8..=8, 1..=1)?;
    Ok(Box::new(QLinearMatMul))
}

impl Op for QLinearMatMul {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    composed!(product);
}

impl Composed for QLinearMatMul {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let all: Vec<Value> = (0..8).map(|i| required(inputs, i)).collect::<Result<_>>()?;
        let [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero] = all[..] else {
            return Err(Error::internal("eight inputs"));
        };
        let sum = product(cx, [a, b], [Some(a_zero), Some(b_zero)])?;
        let factor = combined_scale(cx, [a, b], [a_scale, b_scale])?;
        let y_scale = scalar(cx, y_scale, "the scale of the result")?;
        let factor = cx.apply(&binary::DIV, &[], &[factor, y_scale])?;
        let y_zero = scalar(cx, y_zero, "the zero point of the result")?;
        Ok(vec![requantize(cx, sum, factor, y_zero)?])
    }
}

/// The exact product of matrices less their zero points.
pub(super) fn product(
    cx: &mut Composer<'_>,
    [a, b]: [Value; 2],
    [a_zero, b_zero]: [Option<Value>; 2],
) -> Result<Value> {
    let results = cx.node(std::sync::Arc::new(MatMulInteger), &[Some(a), Some(b), a_zero, b_zero])?;
    results.first().copied().ok_or_else(|| Error::internal("no product"))
}

/// `a_scale * b_scale`, so that it broadcasts over the product of a and b.
pub(super) fn combined_scale(
    cx: &mut Composer<'_>,
    [a, b]: [Value; 2],
    [a_scale, b_scale]: [Value; 2],
) -> Result<Value> {
    let (a_shape, b_shape) = (cx.fact(a).shape.clone(), cx.fact(b).shape.clone());
    let vectors = a_shape.rank() == 1 || b_shape.rank() == 1;
    let (left, right) = factors(a_shape.rank(), b_shape.rank());
    let mut aligned = |factor: Factor, of: &crate::types::Shape, scale: Value| -> Result<Value> {
        let fact = cx.fact(scale);
        if !(fact.dtype.is_float() && fact.dtype.size() <= 4) {
            bail_invalid!("scales must be f32, f16 or bf16, found {}", fact.dtype);
        }
        let own = fact.shape.clone();
        if single(&own) {
            return scalar(cx, scale, "a scale");
        }
        if vectors {
            bail_unsupported!("scales of shape {own} beside a vector are not supported");
        }
        factor.check_shape("scales", of, &own)?;
        match own.as_const() {
            Some(extents) => {
                let shape: Vec<i64> = factor.aligned(of.rank(), &extents).iter().map(|e| *e as i64).collect();
                if shape.len() == own.rank() { Ok(scale) } else { cx.reshape(scale, &shape) }
            }
            None => bail_unsupported!("scales of the open shape {own} are not supported"),
        }
    };
    let (a_scale, b_scale) = (aligned(left, &a_shape, a_scale)?, aligned(right, &b_shape, b_scale)?);
    cx.apply(&binary::MUL, &[], &[a_scale, b_scale])
}

#[cfg(test)]
mod tests {
    use crate::numerics::requantize;
    use crate::ops::testing::{bytes, parse, run};
    use crate::tensor::Tensor;
    use crate::types::DType;

    fn scales(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>();
        Tensor::from_vec(shape, (0..n).map(|i| 0.01 + i as f32 * 0.003).collect())
    }

    #[test]
    fn same_as_onnx() {
        // Node case `qlinearmatmul_2D_uint8_float32`.
        let op = parse("QLinearMatMul", 21, &[], 8, 1).unwrap();
        let a = Tensor::from_vec(&[2, 4], vec![208u8, 236, 0, 238, 3, 214, 255, 29]);
        let b = Tensor::from_vec(&[4, 3], vec![152u8, 51, 244, 60, 26, 255, 0, 127, 246, 127, 254, 247]);
        let scale = |v: f32| Tensor::from_vec(&[1], vec![v]);
        let zero = |v: u8| Tensor::from_vec(&[1], vec![v]);
        let (sa, sb, sy) = (scale(0.0066), scale(0.00705), scale(0.0107));
        let inputs = [&a, &sa, &zero(113), &b, &sb, &zero(114), &sy, &zero(118)];
        for known in [&[][..], &[1, 2, 3, 4, 5, 6, 7]] {
            let y = run(&*op, &inputs, known).unwrap();
            assert_eq!(y, [Tensor::from_vec(&[2, 3], vec![168u8, 115, 255, 1, 66, 151])]);
        }
    }

    #[test]
    fn rows_and_columns_with_scales_of_their_own() {
        let op = parse("QLinearMatMul", 21, &[], 8, 1).unwrap();
        let (a, b) = (bytes(DType::U8, &[3, 20], 1), bytes(DType::I8, &[20, 5], 2));
        let (za, zb) = (bytes(DType::U8, &[3], 3), bytes(DType::I8, &[5], 4));
        let (y_scale, y_zero) = (Tensor::scalar(0.9f32), Tensor::scalar(-7i8));
        let inputs = [&a, &scales(&[3]), &za, &b, &scales(&[1, 5]), &zb, &y_scale, &y_zero];
        run(&*op, &inputs, &[]).unwrap();
        let y = run(&*op, &inputs, &[1, 2, 3, 4, 5, 6, 7]).unwrap().remove(0);
        let values = |t: &Tensor| t.to_i64s().unwrap();
        let (av, bv, zav, zbv) = (values(&a), values(&b), values(&za), values(&zb));
        for (i, got) in values(&y).into_iter().enumerate() {
            let (m, n) = (i / 5, i % 5);
            let sum: i64 = (0..20).map(|k| (av[m * 20 + k] - zav[m]) * (bv[k * 5 + n] - zbv[n])).sum();
            let factor = (0.01 + m as f32 * 0.003) * (0.01 + n as f32 * 0.003) / 0.9;
            assert_eq!(i128::from(got), requantize(sum as i32, factor, -7.0, DType::I8), "{m} {n}");
        }
    }

    #[test]
    fn short_scales_and_vectors() {
        let op = parse("QLinearMatMul", 21, &[], 8, 1).unwrap();
        let half = |v: f64| Tensor::from_vec(&[], vec![half::f16::from_f64(v)]);
        let (za, zb) = (bytes(DType::I8, &[], 3), bytes(DType::U8, &[], 4));
        for (a, b) in
            [(&[4usize, 9][..], &[9usize, 5][..]), (&[9], &[9, 5]), (&[9], &[9]), (&[2, 3, 9], &[9])]
        {
            let (a, b) = (bytes(DType::I8, a, 1), bytes(DType::U8, b, 2));
            let inputs = [&a, &half(0.02), &za, &b, &half(0.03), &zb, &half(1.1), &za];
            run(&*op, &inputs, &[1, 2, 4, 5, 6, 7]).unwrap();
        }
    }
}
