//! `MatMulInteger`: the matrix product of quantised matrices (ONNX `MatMulInteger`, since 10).
//!
//! ```text
//! y[b..., m, n] = sum over k of (a[b..., m, k] - za[m]) * (b[b..., k, n] - zb[n])
//! ```
//!
//! in integers of 32 bits, for u8 and i8 of either side. Shapes are those of [`super::matmul`]. Zero points are one for the
//! whole operand, or one for each row of a and each column of b: a vector, or a tensor with the operand's axes.
//!
//! Numerics: exact, but for sums beyond 32 bits, which wrap.
//!
//! Lowering: a `Contract` of one operand as it is and the other, a constant, less its zero points, and a term of the sums of
//! that one (`factor.rs`). Of two that are computed at run time: of both less their zero points, in f32 while that holds every
//! sum exactly, else in i32.

use super::factor::{Factor, exact_type};
use super::matmul::{MatMul, Sizes};
use super::operand::fact;
use crate::error::Result;
use crate::kernel::{Access, Expr, Form, Index, Lowering, Store};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// The definition.
pub const DEF: OpDef = OpDef { name: "MatMulInteger", domain: "", since: (10, 10), parse, unsupported: "" };

/// ONNX `MatMulInteger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMulInteger;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=4, 1..=1)?;
    Ok(Box::new(MatMulInteger))
}

/// The operands, of so many axes.
pub(super) fn factors(a: usize, b: usize) -> (Factor, Factor) {
    (
        Factor { input: 0, zeros: 2, axis: a.saturating_sub(2), summed: a.saturating_sub(1) },
        Factor { input: 1, zeros: 3, axis: b.saturating_sub(1), summed: b.saturating_sub(2) },
    )
}

impl Op for MatMulInteger {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (a, b) = (fact(inputs, 0)?, fact(inputs, 1)?);
        let sizes = Sizes::of(&a.shape, &b.shape)?;
        let (left, right) = factors(a.shape.rank(), b.shape.rank());
        left.check(inputs)?;
        right.check(inputs)?;
        Ok(vec![Fact::new(DType::I32, sizes.output()?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let rank = |i: usize| inputs.get(i).copied().flatten().map_or(0, |t| t.shape.len());
        let (left, right) = factors(rank(0), rank(1));
        MatMul.eval(&[Some(&left.eval(inputs)?), Some(&right.eval(inputs)?)])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (a, b) = (cx.fact(0)?.clone(), cx.fact(1)?.clone());
        let nest = Sizes::of(&a.shape, &b.shape)?.nest(&a.shape, &b.shape);
        let (left, right) = factors(a.shape.rank(), b.shape.rank());
        // Zero points of constants are subtracted now; a constant is the right side, which is where weights are packed.
        if a.tensor().is_none() && b.tensor().is_none() {
            let dtype = exact_type(&a.shape[a.shape.rank() - 1]);
            let lhs = Access::new(left.centred(cx, Some(dtype))?.buffer, nest.left);
            let rhs = Access::new(right.centred(cx, Some(dtype))?.buffer, nest.right);
            let value = if dtype == DType::I32 { Expr::Acc } else { Expr::cast(DType::I32, Expr::Acc) };
            let store = Store { to: Access::new(cx.output(0)?, nest.to), value };
            cx.emit(nest.loops, Form::Contract { acc: dtype, lhs, rhs, store });
            return Ok(());
        }
        let swap = a.tensor().is_some() && b.tensor().is_none();
        let (x, w) = if swap { (right, left) } else { (left, right) };
        let (x_at, w_at) = if swap { (nest.right, nest.left) } else { (nest.left, nest.right) };
        let centred = w.centred(cx, None)?;
        let mut value = Expr::Acc;
        if !x.is_symmetric(cx) {
            let kept: Vec<usize> = (0..w_at.len()).filter(|i| *i != w.summed).collect();
            let terms = centred.terms(cx, &x, &kept)?;
            let index: Vec<Index> = kept.iter().map(|i| w_at[*i].clone()).collect();
            value = terms.corrected(index, x.zero(cx, &x_at)?);
        }
        let lhs = Access::new(cx.input(x.input)?, x_at);
        let rhs = Access::new(centred.buffer, w_at);
        let store = Store { to: Access::new(cx.output(0)?, nest.to), value };
        cx.emit(nest.loops, Form::Contract { acc: DType::I32, lhs, rhs, store });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run};
    use crate::types::Shape;

    fn tensors(types: [DType; 2], shapes: [&[usize]; 4]) -> [Tensor; 4] {
        let bytes = |i: usize, shape: &[usize]| {
            let n = shape.iter().product::<usize>();
            let data = (0..n).map(|j| (j * 73 + i * 57 + 11) as u8).collect::<Vec<u8>>();
            Tensor::new(types[i % 2], shape.to_vec(), data.into()).unwrap()
        };
        [0, 1, 2, 3].map(|i| bytes(i, shapes[i]))
    }

    #[test]
    fn same_as_onnx() {
        // Node case `matmulinteger`.
        let a = Tensor::from_vec(&[4, 3], vec![11u8, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]);
        let b = Tensor::from_vec(&[3, 2], vec![1u8, 4, 2, 5, 3, 6]);
        let (za, zb) = (Tensor::from_vec(&[1], vec![12u8]), Tensor::from_vec(&[1], vec![0u8]));
        let op = parse("MatMulInteger", 10, &[], 4, 1).unwrap();
        let y = run(&*op, &[&a, &b, &za, &zb], &[2, 3]).unwrap();
        assert_eq!(y, [Tensor::from_vec(&[4, 2], vec![-38i32, -83, -44, -98, -50, -113, -56, -128])]);
    }

    #[test]
    fn every_shape_of_operands_and_zero_points() {
        use DType::{I8, U8};
        let cases: &[[&[usize]; 4]] = &[
            [&[5, 19], &[19, 33], &[], &[]],
            [&[5, 19], &[19, 33], &[5], &[33]],
            [&[5, 19], &[19, 33], &[5, 1], &[1, 33]],
            [&[2, 5, 7], &[7, 17], &[2, 5, 1], &[17]],
            [&[2, 3, 5], &[2, 5, 4], &[3], &[2, 1, 4]],
            [&[3, 5], &[2, 5, 4], &[1], &[4]],
            [&[5], &[5, 4], &[1], &[4]],
            [&[4, 5], &[5], &[4], &[]],
            [&[5], &[5], &[], &[1]],
            [&[1, 5], &[5, 1], &[1], &[1, 1]],
            [&[3, 300], &[300, 4], &[], &[4]],
            [&[2, 0], &[0, 3], &[], &[3]],
        ];
        let op = parse("MatMulInteger", 10, &[], 4, 1).unwrap();
        for (i, shapes) in cases.iter().enumerate() {
            for types in [[U8, I8], [I8, U8], [U8, U8], [I8, I8]] {
                let [a, b, za, zb] = tensors(types, *shapes);
                let known: &[&[usize]] =
                    if i < 2 { &[&[], &[1, 3], &[1, 2, 3], &[0, 2], &[2, 3]] } else { &[&[], &[1, 2, 3]] };
                for known in known {
                    run(&*op, &[&a, &b, &za, &zb], known).unwrap();
                }
            }
        }
    }

    #[test]
    fn without_zero_points() {
        let [a, b, za, _] = tensors([DType::U8, DType::I8], [&[3, 70], &[70, 20], &[], &[]]);
        for known in [&[][..], &[0], &[1]] {
            run(&*parse("MatMulInteger", 10, &[], 2, 1).unwrap(), &[&a, &b], known).unwrap();
            run(&*parse("MatMulInteger", 10, &[], 3, 1).unwrap(), &[&a, &b, &za], known).unwrap();
        }
    }

    #[test]
    fn refusals() {
        let op = parse("MatMulInteger", 10, &[], 4, 1).unwrap();
        let refused = |types: [DType; 4], shapes: [&[usize]; 2]| {
            let shapes = [&[4, 3], &[3, 5], shapes[0], shapes[1]];
            let facts: Vec<Fact> =
                types.iter().zip(shapes).map(|(t, s)| Fact::new(*t, Shape::of(s))).collect();
            op.infer(&facts.iter().map(Some).collect::<Vec<_>>()).unwrap_err().message
        };
        use DType::{I8, U8};
        assert!(refused([I8, U8, U8, U8], [&[], &[]]).contains("must have its type, found u8"));
        assert!(
            refused([DType::I16, U8, DType::I16, U8], [&[], &[]]).contains("must be u8 or i8, found i16")
        );
        assert!(refused([I8, U8, I8, U8], [&[3], &[]]).contains("zero points of shape [3] do not fit"));
        assert!(refused([I8, U8, I8, U8], [&[], &[3, 1]]).contains("zero points of shape [3, 1] do not fit"));
    }
}
