//! `DequantizeLinear`: the real numbers that quantised ones stand for.
//!
//! Spec: ONNX DequantizeLinear, versions 10 to 24, and `com.microsoft`'s. `y = (x - zero_point) * scale`, with one scale for
//! the whole tensor, one for each position of `axis`, or (`block_size` from 21 on) one for each block of so many positions;
//! a zero point left out is 0. The result has the type `output_dtype` or that of the scale.
//!
//! Numerics: [`crate::numerics::dequantize`]: an f32, rounded to the result's type.
//!
//! Lowering: a `Map`; two where blocks do not divide the axis.
//!
//! Constants are folded, however large the result is.

use super::elements::{Builder, Elements};
use super::elementwise::{mul, sub};
use super::quantization::{Granularity, check_zeros, type_attribute};
use super::{operand, small};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Expr, Lowering};
use crate::numerics::{Number, dequantize};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `DequantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// `com.microsoft`, or the default domain.
    domain: &'static str,
    granularity: Granularity,
    /// The type of the result; that of the scale where there is none.
    output: Option<DType>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    parse_in("", node)
}

fn parse_microsoft(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    parse_in(MICROSOFT.domain, node)
}

fn parse_in(domain: &'static str, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let output = type_attribute(node, "output_dtype")?;
    Ok(Box::new(DequantizeLinear { domain, granularity: Granularity::parse(node)?, output }))
}

/// `DequantizeLinear`.
pub const DEF: OpDef =
    OpDef { name: "DequantizeLinear", domain: "", since: (10, 24), parse, unsupported: "" };

/// `com.microsoft::DequantizeLinear`.
pub const MICROSOFT: OpDef =
    OpDef { domain: crate::op::MICROSOFT, since: (1, 1), parse: parse_microsoft, ..DEF };

impl Op for DequantizeLinear {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn domain(&self) -> &'static str {
        self.domain
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        let mut set = |name: &str, value: i64, default: i64| {
            if value != default {
                attrs.insert(name.to_owned(), Attr::Int(value));
            }
        };
        set("axis", self.granularity.axis, 1);
        set("block_size", self.granularity.block_size as i64, 0);
        set("output_dtype", self.output.map_or(0, |t| t.to_onnx().into()), 0);
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        use DType::{
            F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, I4, I8, I16, I32, U4, U8, U16,
        };
        let (x, scale) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let quantised = [I4, U4, I8, U8, I16, U16, I32, F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ];
        if !quantised.contains(&x.dtype) {
            bail_invalid!("does not take elements of type {}", x.dtype);
        }
        if !matches!(scale.dtype, DType::F32 | DType::F16 | DType::BF16 | F8E8M0) {
            bail_invalid!("does not take scales of type {}", scale.dtype);
        }
        let output = self.output.unwrap_or(scale.dtype);
        if !matches!(output, DType::F32 | DType::F16 | DType::BF16) {
            bail_invalid!("does not give results of type {output}");
        }
        check_zeros(inputs.get(2).copied().flatten(), x.dtype, scale)?;
        self.granularity.scales(&x.shape, &scale.shape)?;
        Ok(vec![Fact::new(output, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let zero = inputs.get(2).copied().flatten();
        let output = self.output.unwrap_or(scale.dtype);
        let place = self.granularity.places(&x.shape, &scale.shape)?;
        let values = |t: &Tensor| {
            let elements = Elements::raw(t);
            (0..t.elements()).map(|i| elements.number(i).float()).collect::<Vec<f64>>()
        };
        let (scales, zeros) = (values(scale), zero.map(values));
        let quantised = Elements::raw(x);
        let mut y = Builder::new(output, &x.shape);
        for i in 0..x.elements() {
            let at = place(i);
            let zero = zeros.as_ref().map_or(0.0, |z| z[at]);
            // Of integers of 32 bits the difference wraps.
            let difference = match quantised.number(i).float() - zero {
                difference if x.dtype == DType::I32 => f64::from(difference as i64 as i32),
                difference => difference,
            };
            y.push(Number::Float(dequantize(difference, scales[at])));
        }
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let to = cx.output_fact(0)?.dtype;
        let (of_x, of_scale) = (cx.fact(0)?.dtype, cx.fact(1)?.dtype);
        // Differences of floats are exact enough in f32: zero points other than 0 are those of integers.
        let wide = if small::number_type(of_x).is_float() { DType::F32 } else { DType::I32 };
        let cast = |from, to, e| if from == to { e } else { Expr::cast(to, e) };
        let number = |dtype, to, e| cast(small::number_type(dtype), to, small::number(dtype, e));
        self.granularity.lower(cx, |x, s, zero| {
            let difference = match zero {
                Some(zero) if !is_zero(&zero) => sub(number(of_x, wide, x), number(of_x, wide, zero)),
                _ => number(of_x, wide, x),
            };
            let product = mul(cast(wide, DType::F32, difference), number(of_scale, DType::F32, s));
            Ok(if to == DType::F32 { product } else { Expr::cast(to, product) })
        })
    }

    fn unpacks(&self) -> bool {
        true
    }
}

/// Whether an expression is the constant 0.
fn is_zero(e: &Expr) -> bool {
    matches!(e, Expr::Const(scalar) if scalar.bits == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, parse, run as every_way};
    use crate::types::Shape;

    fn run(list: &[(&str, Attr)], inputs: &[&Tensor]) -> Tensor {
        let op = parse("DequantizeLinear", 24, list, inputs.len(), 1).unwrap();
        every_way(&*op, inputs, &[]).unwrap();
        every_way(&*op, inputs, &[1, 2]).unwrap().remove(0)
    }

    #[test]
    fn values_of_the_onnx_node_tests() {
        let x = Tensor::from_vec(&[4], vec![0u8, 3, 128, 255]);
        let y = run(&[], &[&x, &Tensor::scalar(2f32), &Tensor::scalar(128u8)]);
        assert_eq!(y, Tensor::from_vec(&[4], vec![-256f32, -250.0, 0.0, 254.0]));
        let y = run(&[], &[&x, &Tensor::scalar(2f32), &Tensor::from_vec(&[1], vec![128u8])]);
        assert_eq!(y, Tensor::from_vec(&[4], vec![-256f32, -250.0, 0.0, 254.0]));
        let x = Tensor::from_vec(&[1, 2, 2], vec![3u8, 89, 34, 200]);
        let (scale, zero) = (Tensor::from_vec(&[2], vec![2f32, 4.0]), Tensor::from_vec(&[2], vec![84u8, 24]));
        assert_eq!(
            run(&[], &[&x, &scale, &zero]),
            Tensor::from_vec(&[1, 2, 2], vec![-162f32, 10.0, 40.0, 704.0])
        );
        // 0, -6 and two small ones of `F4E2M1`: two elements share a byte.
        let x = Tensor::from_packed(DType::F4E2M1, vec![4], vec![0xf0, 0x21].into()).unwrap();
        assert_eq!(
            run(&[], &[&x, &Tensor::scalar(2f32)]),
            Tensor::from_vec(&[4], vec![0f32, -12.0, 1.0, 2.0])
        );
    }

    #[test]
    fn blocks_along_an_axis_and_four_bits() {
        let x = Tensor::from_packed(DType::I4, vec![2, 3], vec![0x21, 0xf3, 0x87].into()).unwrap(); // 1 2 3, -1 7 -8
        let scale = Tensor::from_vec(&[2, 2], vec![1f32, 10.0, 100.0, 1000.0]);
        let y = run(&[("block_size", Attr::Int(2))], &[&x, &scale]);
        assert_eq!(y, Tensor::from_vec(&[2, 3], vec![1f32, 2.0, 30.0, -100.0, 700.0, -8000.0]));
        let scale = Tensor::from_vec(&[1, 3], vec![1f32, 10.0, 100.0]);
        let y = run(&[("block_size", Attr::Int(2)), ("axis", Attr::Int(0))], &[&x, &scale]);
        assert_eq!(y, Tensor::from_vec(&[2, 3], vec![1f32, 20.0, 300.0, -1.0, 70.0, -800.0]));
    }

    #[test]
    fn types_of_scale_and_result() {
        let x = Tensor::from_vec(&[1], vec![3i32]);
        let half = Tensor::from_vec(&[], vec![half::f16::from_f32(0.5)]);
        assert_eq!(run(&[], &[&x, &half]).dtype, DType::F16);
        let scale = Tensor::new(DType::F8E8M0, vec![], vec![128].into()).unwrap();
        assert_eq!(run(&[("output_dtype", Attr::Int(1))], &[&x, &scale]), Tensor::from_vec(&[1], vec![6f32]));
    }

    #[test]
    fn shapes_that_do_not_fit_are_invalid() {
        let refused = |block: i64, scale: &[usize]| {
            let op = parse("DequantizeLinear", 24, &[("block_size", Attr::Int(block))], 2, 1).unwrap();
            let fact = |dtype, shape: &[usize]| Fact::new(dtype, Shape::of(shape));
            op.infer(&[Some(&fact(DType::I8, &[4, 6])), Some(&fact(DType::F32, scale))]).is_err()
        };
        assert!(refused(0, &[4]) && refused(0, &[4, 6]) && refused(4, &[4, 3]) && refused(4, &[6]));
        assert!(!refused(0, &[6]) && !refused(0, &[]) && !refused(4, &[4, 2]));
    }

    #[test]
    fn every_type_and_granularity() {
        use DType::{
            BF16, F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F16, F32, I4, I8, I16, I32, U4, U8, U16,
        };
        let small = [(I4, F32), (U4, F16), (F4E2M1, F32), (F8E4M3FN, F32), (F8E5M2, F16)];
        for (dtype, scale) in
            [(U8, F32), (I8, F32), (U16, F16), (I16, BF16), (I32, F32), (U8, BF16), (I8, F16)]
                .into_iter()
                .chain(small)
                .chain([(F8E4M3FNUZ, BF16), (F8E5M2FNUZ, F32)])
        {
            let x = numbers(dtype, &[2, 5, 19]);
            let shapes: [(&[usize], i64, i64); 6] = [
                (&[], 1, 0),
                (&[1], 1, 0),
                (&[5], 1, 0),
                (&[19], -1, 0),
                (&[2, 5, 4], 2, 5),
                (&[2, 2, 19], 1, 3),
            ];
            for (shape, axis, block) in shapes {
                let list = [("axis", Attr::Int(axis)), ("block_size", Attr::Int(block))];
                run(&list, &[&x, &numbers(scale, shape), &numbers(dtype, shape)]);
                run(&list, &[&x, &numbers(scale, shape)]);
            }
        }
    }

    #[test]
    fn of_the_other_domain() {
        let op = parse("com.microsoft::DequantizeLinear", 1, &[("axis", Attr::Int(0))], 3, 1).unwrap();
        let (scale, zero) =
            (Tensor::from_vec(&[2], vec![0.5f32, 2.0]), Tensor::from_vec(&[2], vec![1u16, 40000]));
        let x = Tensor::from_vec(&[2, 2], vec![3u16, 0, 40001, 65535]);
        let y = every_way(&*op, &[&x, &scale, &zero], &[1, 2]).unwrap();
        assert_eq!(y, [Tensor::from_vec(&[2, 2], vec![1f32, -0.5, 2.0, 51070.0])]);
    }
}
