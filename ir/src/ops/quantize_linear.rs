//! `QuantizeLinear`: integers that stand for real numbers.
//!
//! Spec: ONNX QuantizeLinear, versions 10 to 24, and `com.microsoft`'s. `y = saturate(round(x / y_scale) + y_zero_point)`,
//! halves to even, with one scale for the whole tensor, one for each position of `axis`, or (`block_size` from 21 on) one
//! for each block of so many positions. The result has the type of the zero point, else `output_dtype`, else u8.
//!
//! Numerics: [`crate::numerics::quantize`]. The quotient is rounded to the type `precision` (from 23 on), which is that of
//! the scale if not given, f32 for a scale of powers of two, or f64 for a scale of integers; NaN gives 0. Floats of 4 and 8
//! bits round the quotient (plus the zero point) as `Cast` does.
//!
//! Lowering: a `Map`; two where blocks do not divide the axis. A quotient by a power of two is a product.

use super::elements::{Builder, Elements};
use super::elementwise::{add, div, mul, power_of_two, un};
use super::quantization::{Granularity, check_zeros, type_attribute};
use super::{operand, small};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Expr, Lowering, Scalar, UnaryOp};
use crate::numerics::{Number, SmallRounding, quantize, quotient, small_format, to_small_float};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `QuantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantizeLinear {
    /// `com.microsoft`, or the default domain.
    domain: &'static str,
    granularity: Granularity,
    /// The type of the result, where no zero point has it.
    output: Option<DType>,
    /// The type of the quotient, where it is not that of the scale.
    precision: Option<DType>,
    /// Floats of 8 bits saturate.
    saturate: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    parse_in("", node)
}

fn parse_microsoft(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    parse_in(MICROSOFT.domain, node)
}

fn parse_in(domain: &'static str, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let saturate = node.flag("saturate", true)?;
    let (output, precision) = (type_attribute(node, "output_dtype")?, type_attribute(node, "precision")?);
    if let Some(precision) = precision.filter(|t| !t.is_float()) {
        bail_invalid!("attribute 'precision' must be a float type, found {precision}");
    }
    Ok(Box::new(QuantizeLinear {
        domain,
        granularity: Granularity::parse(node)?,
        output,
        precision,
        saturate,
    }))
}

/// `QuantizeLinear`.
pub const DEF: OpDef = OpDef { name: "QuantizeLinear", domain: "", since: (10, 24), parse, unsupported: "" };

/// `com.microsoft::QuantizeLinear`.
pub const MICROSOFT: OpDef =
    OpDef { domain: crate::op::MICROSOFT, since: (1, 1), parse: parse_microsoft, ..DEF };

impl QuantizeLinear {
    fn precision(&self, scale: DType) -> DType {
        self.precision.unwrap_or(match scale {
            DType::F8E8M0 => DType::F32,
            _ if scale.is_float() => scale,
            _ => DType::F64,
        })
    }

    fn how(&self) -> SmallRounding {
        SmallRounding { saturate: self.saturate, ..Default::default() }
    }
}

impl Op for QuantizeLinear {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn domain(&self) -> &'static str {
        self.domain
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        let number = |t: Option<DType>| t.map_or(0, |t| t.to_onnx().into());
        for (name, value, default) in [
            ("axis", self.granularity.axis, 1),
            ("block_size", self.granularity.block_size as i64, 0),
            ("output_dtype", number(self.output), 0),
            ("precision", number(self.precision), 0),
        ] {
            if value != default {
                attrs.insert(name.to_owned(), Attr::Int(value));
            }
        }
        if !self.saturate {
            attrs.insert("saturate".to_owned(), Attr::Int(0));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        use DType::{BF16, F16, F32, I4, I8, I16, I32, U4, U8, U16};
        let (x, scale) = (operand::fact(inputs, 0)?, operand::fact(inputs, 1)?);
        let zero = inputs.get(2).copied().flatten();
        for (what, fact) in [("elements", x), ("scales", scale)] {
            let power = fact.dtype == DType::F8E8M0 && what == "scales";
            if !power && !matches!(fact.dtype, F32 | F16 | BF16 | I32) {
                bail_invalid!("does not take {what} of type {}", fact.dtype);
            }
        }
        let output = match (zero.map(|z| z.dtype), self.output) {
            (Some(of_zero), Some(output)) if of_zero != output => {
                bail_invalid!("zero points are {of_zero}, and the result is to be {output}")
            }
            (of_zero, output) => of_zero.or(output).unwrap_or(U8),
        };
        match output {
            U8 | I8 | U16 | I16 | U4 | I4 => {}
            _ if small_format(output).is_some() => {}
            _ => bail_invalid!("does not give results of type {output}"),
        }
        check_zeros(zero, output, scale)?;
        self.granularity.scales(&x.shape, &scale.shape)?;
        Ok(vec![Fact::new(output, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let zero = inputs.get(2).copied().flatten();
        let output = zero.map(|z| z.dtype).or(self.output).unwrap_or(DType::U8);
        let precision = self.precision(scale.dtype);
        let place = self.granularity.places(&x.shape, &scale.shape)?;
        let (xs, scales, zeros) = (Elements::raw(x), Elements::raw(scale), zero.map(Elements::raw));
        let mut y = Builder::new(output, &x.shape);
        for i in 0..x.elements() {
            let at = place(i);
            let zero = zeros.as_ref().map_or(0.0, |z| z.number(at).float());
            let (x, scale) = (xs.number(i).float(), scales.number(at).float());
            if small_format(output).is_some() {
                let shifted = (quotient(x, scale, precision) + zero) as f32;
                y.push_bits(to_small_float(output, shifted, self.how()).unwrap_or_default());
                continue;
            }
            let q = quantize(x, scale, zero, precision, output);
            y.push(Number::Int(q));
        }
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (of_x, of_scale, to) = (cx.fact(0)?.dtype, cx.fact(1)?.dtype, cx.output_fact(0)?.dtype);
        let precision = self.precision(of_scale);
        // Of short floats a sum would be rounded; beyond what f32 holds exactly the result saturates anyway.
        let sums = if precision.size() < 4 { DType::F32 } else { precision };
        let cast = |from, to, e| if from == to { e } else { Expr::cast(to, e) };
        self.granularity.lower(cx, |x, scale, zero| {
            let x = cast(of_x, precision, x);
            let (of_scale, scale) = match scale {
                scale if of_scale.is_small() => {
                    (small::number_type(of_scale), small::number(of_scale, scale))
                }
                scale => (of_scale, scale),
            };
            let quotient = match scale {
                Expr::Const(s) if of_scale == precision && s.to_f64() == 1.0 => x,
                Expr::Const(s) if of_scale == precision && power_of_two(s.to_f64()) => {
                    mul(x, Expr::Const(Scalar::of(precision, 1.0 / s.to_f64())))
                }
                scale => div(x, cast(of_scale, precision, scale)),
            };
            let zero = zero.filter(|z| !matches!(z, Expr::Const(z) if z.bits == 0));
            if small_format(to).is_some() {
                let quotient = cast(precision, sums, quotient);
                let shifted = match zero {
                    Some(zero) => add(quotient, cast(DType::F32, sums, small::number(to, zero))),
                    None => quotient,
                };
                return Ok(small::element(to, sums, shifted, self.how()));
            }
            let rounded = cast(precision, sums, un(UnaryOp::Round, quotient));
            let shifted = match zero {
                None => rounded,
                Some(Expr::Const(z)) if !to.is_small() => {
                    add(rounded, Expr::Const(Scalar::of(sums, z.to_f64())))
                }
                Some(zero) => add(rounded, Expr::cast(sums, small::number(to, zero))),
            };
            // Saturates.
            Ok(small::saturated(to, sums, shifted, SmallRounding::default()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, parse, run};
    use crate::types::Shape;

    fn quantized(list: &[(&str, Attr)], inputs: &[&Tensor]) -> Tensor {
        let op = parse("QuantizeLinear", 24, list, inputs.len(), 1).unwrap();
        run(&*op, inputs, &[]).unwrap();
        run(&*op, inputs, &[1, 2]).unwrap().remove(0)
    }

    #[test]
    fn values_of_the_onnx_node_tests() {
        let x = Tensor::from_vec(&[6], vec![0f32, 2.0, 3.0, 1000.0, -254.0, -1000.0]);
        let y = quantized(&[], &[&x, &Tensor::scalar(2f32), &Tensor::scalar(128u8)]);
        assert_eq!(y, Tensor::from_vec(&[6], vec![128u8, 129, 130, 255, 1, 0]));
        let x = Tensor::from_vec(&[1, 3, 2], vec![-162f32, 10.0, -100.0, 232.0, -20.0, 50.0]);
        let (scale, zero) =
            (Tensor::from_vec(&[3], vec![2f32, 4.0, 5.0]), Tensor::from_vec(&[3], vec![84u8, 24, 196]));
        let y = quantized(&[], &[&x, &scale, &zero]);
        assert_eq!(y, Tensor::from_vec(&[1, 3, 2], vec![3u8, 89, 0, 82, 192, 206]));
    }

    #[test]
    fn every_half_of_a_scale_that_is_no_power_of_two() {
        // As many vectors as there are halves in the range, and beyond it; quotients next to a half on both sides.
        for scale in [0.1f32, 0.023_529_412, 3.0, 2.0] {
            let x: Vec<f32> = (-600..600).map(|i| (i as f32 + 0.5) * scale).collect();
            let near = x.iter().flat_map(|x| [x.next_down(), *x, x.next_up()]).collect::<Vec<f32>>();
            let expected =
                near.iter().map(|x| ((x / scale).round_ties_even() as i32 - 3).clamp(-128, 127) as i8);
            let y = quantized(
                &[],
                &[
                    &Tensor::from_vec(&[near.len()], near.clone()),
                    &Tensor::scalar(scale),
                    &Tensor::scalar(-3i8),
                ],
            );
            assert_eq!(y, Tensor::from_vec(&[near.len()], expected.collect::<Vec<i8>>()));
        }
    }

    #[test]
    fn what_is_no_number_and_what_is_too_large() {
        let all = vec![
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            3e38,
            -3e38,
            1e10,
            -0.0,
            2147483648.0,
            -2147483904.0,
        ];
        let x = Tensor::from_vec(&[9], all);
        let y = quantized(&[], &[&x, &Tensor::scalar(0.5f32), &Tensor::scalar(7u8)]);
        assert_eq!(y, Tensor::from_vec(&[9], vec![0u8, 255, 0, 255, 0, 255, 7, 255, 0]));
        let y = quantized(&[], &[&x, &Tensor::scalar(1f32), &Tensor::scalar(-7i16)]);
        assert_eq!(
            y,
            Tensor::from_vec(&[9], vec![0i16, 32767, -32768, 32767, -32768, 32767, -7, 32767, -32768])
        );
    }

    #[test]
    fn every_type_and_granularity() {
        use DType::{BF16, F16, F32, I8, I16, I32, U8, U16};
        for (dtype, to) in
            [(F32, U8), (F32, I8), (F16, U16), (BF16, I16), (I32, I8), (BF16, U8), (F16, I8), (F32, U16)]
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
                quantized(&list, &[&x, &numbers(dtype, shape), &numbers(to, shape)]);
                let list =
                    [list[0].clone(), list[1].clone(), ("output_dtype", Attr::Int(to.to_onnx().into()))];
                quantized(&list, &[&x, &numbers(dtype, shape)]);
            }
        }
        // Before version 23 integers have a scale of f32.
        quantized(&[], &[&numbers(I32, &[2, 5]), &Tensor::scalar(0.3f32), &Tensor::scalar(3u8)]);
        let list = [("precision", Attr::Int(DType::F32.to_onnx().into()))];
        quantized(&list, &[&numbers(F16, &[2, 5]), &numbers(F16, &[5]), &numbers(I8, &[5])]);
    }

    #[test]
    fn four_bits_and_small_floats() {
        let x = Tensor::from_vec(&[5], vec![-20f32, -1.5, 0.5, 2.5, 20.0]);
        let zero = Tensor::new(DType::I4, vec![], vec![0xff].into()).unwrap();
        let y = quantized(&[], &[&x, &Tensor::scalar(1f32), &zero]);
        assert_eq!((y.dtype, &y.packed()[..]), (DType::I4, &[0xd8, 0x1f, 0x07][..]));
        use DType::{F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, U4};
        for to in [F4E2M1, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, U4] {
            let x = Tensor::from_vec(&[2, 40], (0..80).map(|i| (i * i - 300) as f32 * 0.37).collect());
            let scale = Tensor::from_vec(&[2], vec![0.3f32, 11.0]);
            for saturate in [0, 1] {
                let list = [("axis", Attr::Int(0)), ("saturate", Attr::Int(saturate))];
                quantized(&list, &[&x, &scale, &Tensor::zeros(to, &[2])]);
            }
        }
    }

    #[test]
    fn refusals() {
        let refused = |list: &[(&str, Attr)], dtype: DType, zero: DType| {
            let op = parse("QuantizeLinear", 24, list, 3, 1).unwrap();
            let fact = |dtype| Fact::new(dtype, Shape::of(&[4]));
            op.infer(&[Some(&fact(dtype)), Some(&fact(DType::F32)), Some(&fact(zero))]).unwrap_err().message
        };
        let axis = [("axis", Attr::Int(0))];
        assert!(refused(&axis, DType::F64, DType::U8).contains("does not take elements of type f64"));
        assert!(refused(&axis, DType::F32, DType::I32).contains("does not give results of type i32"));
        let list = [axis[0].clone(), ("output_dtype", Attr::Int(3))];
        assert!(
            refused(&list, DType::F32, DType::U8).contains("zero points are u8, and the result is to be i8")
        );
    }
}
