//! `DequantizeLinear`: the real numbers that quantised ones stand for.
//!
//! Spec: ONNX DequantizeLinear, versions 10 to 24. `y = (x - zero_point) * scale`, with one scale for the whole tensor,
//! one for each position of `axis`, or (`block_size` from 21 on) one for each block of so many positions; a zero point
//! left out is 0. The result has the type `output_dtype` or that of the scale.
//!
//! Numerics: the difference is exact, the product is rounded to f64 and then to the result's type.
//!
//! Unsupported: operands that are computed at run time. Constants are folded.

use super::elements::{Builder, Elements};
use super::operand;
use crate::error::{Error, Result};
use crate::numerics::{Number, small_float};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// `DequantizeLinear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DequantizeLinear {
    /// The axis of scales that are a vector or blocks.
    pub axis: i64,
    /// Positions of the axis that share a scale; 0 where scales are no blocks.
    pub block_size: usize,
    /// The type of the result; that of the scale where there is none.
    pub output: Option<DType>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let block = node.int("block_size")?.unwrap_or(0);
    let Ok(block_size) = usize::try_from(block) else {
        bail_invalid!("attribute 'block_size' must not be negative, found {block}");
    };
    let output = match node.int("output_dtype")?.unwrap_or(0) {
        0 => None,
        number => {
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            Some(DType::from_onnx(number)?)
        }
    };
    Ok(Box::new(DequantizeLinear { axis: node.int("axis")?.unwrap_or(1), block_size, output }))
}

/// `DequantizeLinear`.
pub const DEF: OpDef = OpDef {
    name: "DequantizeLinear",
    domain: "",
    since: (10, 24),
    parse,
    unsupported: "operands computed at run time",
};

/// How positions of the operand find their scale.
enum Scales {
    One,
    Along(usize),
    Blocks(usize),
}

impl DequantizeLinear {
    fn scales(&self, x: &Shape, scale: &Shape) -> Result<Scales> {
        if self.block_size > 0 {
            let axis = x.axis(self.axis)?;
            if scale.rank() != x.rank() {
                bail_invalid!("scales of shape {scale} are no blocks of {x}: both must have as many axes");
            }
            for (i, (extent, blocks)) in x.iter().zip(scale.iter()).enumerate() {
                let (Some(extent), Some(blocks)) = (extent.as_usize(), blocks.as_usize()) else {
                    bail_unsupported!("blocks of the open shape {x} are not supported");
                };
                let expected = if i == axis { extent.div_ceil(self.block_size) } else { extent };
                if blocks != expected {
                    bail_invalid!(
                        "scales of shape {scale} do not fit {x} in blocks of {} along axis {axis}",
                        self.block_size
                    );
                }
            }
            return Ok(Scales::Blocks(axis));
        }
        match scale.rank() {
            0 => Ok(Scales::One),
            1 if scale[0].is(1) && x.rank() == 0 => Ok(Scales::One),
            1 => {
                let axis = x.axis(self.axis)?;
                match scale[0] == x[axis] {
                    true => Ok(Scales::Along(axis)),
                    // Older exporters write the only scale as a vector.
                    false if scale[0].is(1) => Ok(Scales::One),
                    false => {
                        bail_invalid!(
                            "{} scales do not fit the {} positions of axis {axis}",
                            scale[0],
                            x[axis]
                        )
                    }
                }
            }
            _ => bail_invalid!("scales of shape {scale} need the attribute 'block_size'"),
        }
    }
}

/// The value of an element of any type that is quantised or a scale.
fn value(dtype: DType, bits: u64) -> f64 {
    small_float(dtype, bits).unwrap_or_else(|| Number::from_bits(dtype, bits).float())
}

impl Op for DequantizeLinear {
    fn name(&self) -> &'static str {
        "DequantizeLinear"
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        let mut set = |name: &str, value: i64, default: i64| {
            if value != default {
                attrs.insert(name.to_owned(), Attr::Int(value));
            }
        };
        set("axis", self.axis, 1);
        set("block_size", self.block_size as i64, 0);
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
        // A single one may be a scalar or a vector, whatever the other is.
        let single = |shape: &Shape| shape.rank() <= 1 && shape.iter().all(|d| d.is(1));
        let alike = |a: &Shape, b: &Shape| a == b || single(a) && single(b);
        if let Some(zero) = inputs.get(2).copied().flatten()
            && (zero.dtype != x.dtype || !alike(&zero.shape, &scale.shape))
        {
            bail_invalid!(
                "zero points {} must have the type {} and the shape {}",
                zero.ty(),
                x.dtype,
                scale.shape
            );
        }
        self.scales(&x.shape, &scale.shape)?;
        Ok(vec![Fact::new(output, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, scale) = (operand::tensor(inputs, 0)?, operand::tensor(inputs, 1)?);
        let zero = inputs.get(2).copied().flatten();
        let output = self.output.unwrap_or(scale.dtype);
        let kind = self.scales(&Shape::of(&x.shape), &Shape::of(&scale.shape))?;
        let (from, to) = (row_major(&x.shape), row_major(&scale.shape));
        let place = |i: usize| match kind {
            Scales::One => 0,
            Scales::Along(axis) => i / from[axis] % x.shape[axis],
            Scales::Blocks(axis) => (0..x.shape.len())
                .map(|a| {
                    let at = i / from[a] % x.shape[a];
                    to[a] * if a == axis { at / self.block_size } else { at }
                })
                .sum(),
        };
        let values = |t: &Tensor| {
            let elements = Elements::raw(t);
            (0..t.elements()).map(|i| value(t.dtype, elements.bits(i))).collect::<Vec<f64>>()
        };
        let (scales, zeros) = (values(scale), zero.map(values));
        let quantised = Elements::raw(x);
        let mut y = Builder::new(output, &x.shape);
        for i in 0..x.elements() {
            let at = place(i);
            let zero = zeros.as_ref().map_or(0.0, |z| z[at]);
            y.push(Number::Float((value(x.dtype, quantised.bits(i)) - zero) * scales[at]));
        }
        Ok(vec![y.finish()?])
    }

    fn lower(&self, _cx: &mut crate::kernel::Lowering<'_>) -> Result<()> {
        Err(Error::unsupported("operands that are computed at run time are not supported")
            .hint("only constants can be dequantised"))
    }

    fn has_kernels(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::parse;
    use super::*;

    fn run(list: &[(&str, Attr)], inputs: &[&Tensor]) -> Tensor {
        let op = parse("DequantizeLinear", 24, list, inputs.len(), 1).unwrap();
        let facts: Vec<Fact> = inputs.iter().map(|t| Fact::of(t)).collect();
        let inferred = op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).unwrap();
        let y = op.eval(&inputs.iter().copied().map(Some).collect::<Vec<_>>()).unwrap().remove(0);
        assert_eq!(y.ty(), inferred[0].ty());
        y
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
        let x = Tensor::new(DType::F4E2M1, vec![4], vec![0xf0, 0x21].into()).unwrap();
        assert_eq!(
            run(&[], &[&x, &Tensor::scalar(2f32)]),
            Tensor::from_vec(&[4], vec![0f32, -12.0, 1.0, 2.0])
        );
    }

    #[test]
    fn blocks_along_an_axis_and_four_bits() {
        let x = Tensor::new(DType::I4, vec![2, 3], vec![0x21, 0xf3, 0x87].into()).unwrap(); // 1 2 3, -1 7 -8
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
}
