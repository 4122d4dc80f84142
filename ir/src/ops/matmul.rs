//! `MatMul`: the matrix product of NumPy's `matmul` (ONNX `MatMul`, since 1, 9 and 13).
//!
//! ```text
//! y[b..., m, n] = sum over k of a[b..., m, k] * b[b..., k, n]
//! ```
//!
//! Leading axes broadcast. A vector on the left is a row, on the right a column; the axis that makes it one is
//! absent from the result.
//!
//! Numerics: products and sums in the element type, in any order, integers wrapping; `eval` accumulates in f64 or
//! i128.
//!
//! Lowering: a `Contract`; a constant operand becomes its right side, which is where weights are packed.
//!
//! Sums over f16 and bf16 are f32, rounded once.

use super::nest::{NestBuilder, rounded, zero};
use super::operand::{checked, fact, same_types, tensor};
use super::values::{from_f64s, from_i128s, to_i128s};
use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Expr, Form, Index, Loop, LoopId, Lowering, Store};
use crate::op::{Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape, broadcast};

/// The definition.
pub const DEF: OpDef = OpDef { name: "MatMul", domain: "", since: (1, 13), parse, unsupported: "" };

/// ONNX `MatMul`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatMul;

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    Ok(Box::new(MatMul))
}

/// The loops of a product, and what they lead to.
pub(super) struct Nest {
    /// Loops over leading axes, rows, columns, and the reduced one.
    pub(super) loops: Vec<Loop>,
    /// The element of the left operand.
    pub(super) left: Vec<Index>,
    /// The element of the right operand.
    pub(super) right: Vec<Index>,
    /// The element of the result.
    pub(super) to: Vec<Index>,
}

/// The extents of a product.
pub(super) struct Sizes {
    batch: Shape,
    /// `None` where the left operand is a vector.
    m: Option<Dim>,
    /// `None` where the right operand is a vector.
    n: Option<Dim>,
    k: Dim,
}

impl Sizes {
    pub(super) fn of(a: &Shape, b: &Shape) -> Result<Self> {
        if a.rank() == 0 || b.rank() == 0 {
            bail_invalid!("operands must have at least one axis, found {a} and {b}");
        }
        let (a_batch, a) = a.split_at(a.rank().saturating_sub(2));
        let (b_batch, b) = b.split_at(b.rank().saturating_sub(2));
        let k = a[a.len() - 1].clone();
        if k.as_const().is_some() && b[0].as_const().is_some() && k != b[0] {
            bail_invalid!("inner extents differ: {k} of the left operand and {} of the right", b[0]);
        }
        Ok(Self {
            batch: broadcast(&Shape(a_batch.to_vec()), &Shape(b_batch.to_vec()))?,
            m: (a.len() == 2).then(|| a[0].clone()),
            n: (b.len() == 2).then(|| b[1].clone()),
            // An open extent against a constant one is that constant.
            k: if k.as_const().is_some() { k } else { b[0].clone() },
        })
    }

    pub(super) fn output(&self) -> Result<Shape> {
        checked(self.batch.iter().cloned().chain(self.m.clone()).chain(self.n.clone()).collect())
    }

    /// The loops over operands of these shapes.
    pub(super) fn nest(&self, a: &Shape, b: &Shape) -> Nest {
        let mut nest = NestBuilder::default();
        let batch: Vec<LoopId> =
            self.batch.iter().enumerate().map(|(i, d)| nest.parallel(format!("b{i}"), d)).collect();
        let m = self.m.as_ref().map(|d| nest.parallel("m", d));
        let n = self.n.as_ref().map(|d| nest.parallel("n", d));
        let k = nest.reduce("k", &self.k);
        let index = |shape: &Shape, inner: Vec<LoopId>| -> Vec<Index> {
            let own = shape.rank() - inner.len();
            let skip = batch.len() - own;
            let still = |i: usize| shape[i].is(1) && !self.batch[skip + i].is(1);
            let outer = (0..own).map(|i| if still(i) { zero() } else { batch[skip + i].into() });
            outer.chain(inner.into_iter().map(Index::from)).collect()
        };
        Nest {
            left: index(a, m.into_iter().chain([k]).collect()),
            right: index(b, [k].into_iter().chain(n).collect()),
            to: batch.iter().copied().chain(m).chain(n).map(Index::from).collect(),
            loops: nest.loops,
        }
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::new()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (a, b) = (fact(inputs, 0)?, fact(inputs, 1)?);
        let dtype = same_types(&[a, b])?;
        arithmetic(dtype)?;
        Ok(vec![Fact::new(dtype, Sizes::of(&a.shape, &b.shape)?.output()?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let sizes = Sizes::of(&Shape::of(&a.shape), &Shape::of(&b.shape))?;
        let open = || Error::internal("open extents in a tensor");
        let shape = sizes.output()?.as_const().ok_or_else(open)?;
        let batch = sizes.batch.as_const().ok_or_else(open)?;
        let extent = |d: &Option<Dim>| d.as_ref().map_or(Some(1), Dim::as_usize).ok_or_else(open);
        let (m, n, k) = (extent(&sizes.m)?, extent(&sizes.n)?, sizes.k.as_usize().ok_or_else(open)?);
        let offsets = |t: &Tensor| matrix_offsets(&t.shape, &batch);
        let (at_a, at_b) = (offsets(a), offsets(b));
        let result = if a.dtype.is_float() {
            let (av, bv) = (a.to_f64s()?, b.to_f64s()?);
            let mut out = vec![0.0; shape.iter().product()];
            for (i, y) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
                product(y, &av[at_a[i]..], &bv[at_b[i]..], (m, n, k), |y, a, b| *y += a * b);
            }
            from_f64s(a.dtype, &shape, out)?
        } else {
            let (av, bv) = (to_i128s(a)?, to_i128s(b)?);
            let mut out = vec![0i128; shape.iter().product()];
            for (i, y) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
                let add = |y: &mut i128, a: i128, b| *y = y.wrapping_add(a.wrapping_mul(b));
                product(y, &av[at_a[i]..], &bv[at_b[i]..], (m, n, k), add);
            }
            from_i128s(a.dtype, &shape, out)?
        };
        Ok(vec![result])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (a, b) = (cx.fact(0)?.clone(), cx.fact(1)?.clone());
        let sizes = Sizes::of(&a.shape, &b.shape)?;
        let nest = sizes.nest(&a.shape, &b.shape);
        let (left, right) = (Access::new(cx.input(0)?, nest.left), Access::new(cx.input(1)?, nest.right));
        let to = nest.to;
        let store = Store { to: Access::new(cx.output(0)?, to), value: rounded(a.dtype, Expr::Acc) };
        let swap = a.tensor().is_some() && b.tensor().is_none();
        let (lhs, rhs) = if swap { (right, left) } else { (left, right) };
        cx.emit(nest.loops, Form::Contract { acc: a.dtype.accumulator(), lhs, rhs, store });
        Ok(())
    }
}

/// Demands a type that ONNX multiplies matrices of.
pub(super) fn arithmetic(dtype: DType) -> Result<()> {
    if !(dtype.is_float() || matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64)) {
        bail_invalid!("operands must be floating-point or integers of 32 or 64 bits, found {dtype}");
    }
    Ok(())
}

/// Where the matrices of a tensor start, for each matrix of a result with the leading axes `batch`.
fn matrix_offsets(shape: &[usize], batch: &[usize]) -> Vec<usize> {
    let own = &shape[..shape.len().saturating_sub(2)];
    let (strides, skip) = (row_major(shape), batch.len() - own.len());
    let positions = row_major(batch);
    (0..batch.iter().product())
        .map(|i: usize| {
            let at = |j: usize| if own[j] == 1 { 0 } else { i / positions[skip + j] % batch[skip + j] };
            (0..own.len()).map(|j| at(j) * strides[j]).sum()
        })
        .collect()
}

/// `y += a * b` for row-major matrices.
pub(super) fn product<T: Copy>(
    y: &mut [T],
    a: &[T],
    b: &[T],
    (m, n, k): (usize, usize, usize),
    add: impl Fn(&mut T, T, T),
) {
    for i in 0..m {
        for l in 0..k {
            let (a, row) = (a[i * k + l], &b[l * n..][..n]);
            y[i * n..][..n].iter_mut().zip(row).for_each(|(y, b)| add(y, a, *b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn all_ranks() {
        let op = parse("MatMul", 13, &[], 2, 1).unwrap();
        let cases: &[(&[usize], &[usize], &[usize])] = &[
            (&[2, 3], &[3, 4], &[2, 4]),
            (&[3], &[3, 4], &[4]),
            (&[2, 3], &[3], &[2]),
            (&[3], &[3], &[]),
            (&[5, 2, 3], &[3, 4], &[5, 2, 4]),
            (&[2, 3], &[5, 3, 4], &[5, 2, 4]),
            (&[5, 1, 2, 3], &[6, 3, 4], &[5, 6, 2, 4]),
            (&[3], &[5, 3, 4], &[5, 4]),
            (&[5, 2, 3], &[3], &[5, 2]),
            (&[2, 0], &[0, 3], &[2, 3]),
            (&[0, 2, 3], &[3, 4], &[0, 2, 4]),
        ];
        for (a, b, y) in cases {
            for known in [&[][..], &[0], &[1]] {
                let out = run(&*op, &[&sample(a, 5), &sample(b, 3)], known).unwrap();
                assert_eq!(out[0].shape, *y);
            }
        }
    }

    #[test]
    fn integers_wrap() {
        let op = parse("MatMul", 13, &[], 2, 1).unwrap();
        let a = Tensor::from_vec(&[1, 2], vec![i32::MAX, 2]);
        let b = Tensor::from_vec(&[2, 1], vec![2i32, 3]);
        assert_eq!(run(&*op, &[&a, &b], &[]).unwrap()[0], Tensor::from_vec(&[1, 1], vec![4i32]));
        let a = Tensor::from_vec(&[1], vec![u64::MAX]);
        assert_eq!(run(&*op, &[&a, &a], &[]).unwrap()[0], Tensor::scalar(1u64));
    }

    #[test]
    fn refusals_and_open_extents() {
        let op = parse("MatMul", 13, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[4, 5]]).contains("inner extents differ: 3"));
        assert!(refusal(&*op, &[&[], &[4, 5]]).contains("at least one axis"));
        assert!(refusal(&*op, &[&[2, 2, 3], &[3, 3, 5]]).contains("do not broadcast"));
        assert!(refusal(&*op, &[&[1 << 30, 1], &[1, 1 << 30]]).contains("2^40"));
        let a = Fact::new(DType::F32, Shape(vec![Dim::symbol("b"), Dim::symbol("s"), 8i64.into()]));
        let b = Fact::new(DType::F32, Shape::of(&[8, 4]));
        let y = op.infer(&[Some(&a), Some(&b)]).unwrap().remove(0);
        assert_eq!(y.ty().to_string(), "f32[b, s, 4]");
    }
}
