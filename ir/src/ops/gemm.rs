//! `Gemm`: the matrix product of BLAS (ONNX `Gemm`, since 1, 6, 7, 9, 11 and 13).
//!
//! ```text
//! y[m, n] = alpha * sum over k of a'[m, k] * b'[k, n] + beta * c[m, n]
//! ```
//!
//! where `'` transposes if `transA`, `transB` say so, and c broadcasts to y's shape.
//!
//! Numerics: products and sums in the element type, in any order, integers wrapping; `eval` accumulates in f64 or
//! i128.
//!
//! Lowering: a `Contract` whose epilogue scales and adds; transposition is an order of indices.
//!
//! Unsupported: integers with alpha or beta other than 1.
//! Sums over f16 and bf16 are f32, rounded once.

use super::matmul::{arithmetic, product};
use super::nest::{NestBuilder, add, constant, indices, mul, rounded, widened};
use super::operand::{checked, fact, same_types, tensor};
use super::values::{from_f64s, from_i128s, to_i128s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Expr, Form, LoopId, Lowering, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{Shape, broadcast};
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "Gemm",
    domain: "",
    since: (1, 13),
    parse,
    unsupported: "integers with alpha or beta other than 1",
};

/// ONNX `Gemm`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of the addend.
    pub beta: f32,
    /// The left operand is `[k, m]`.
    pub trans_a: bool,
    /// The right operand is `[n, k]`.
    pub trans_b: bool,
}

impl Default for Gemm {
    fn default() -> Self {
        Self { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false }
    }
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(if node.opset < 11 { 3..=3 } else { 2..=3 }, 1..=1)?;
    // Any value other than 0 transposes.
    let mut flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(0) != 0);
    let (trans_a, trans_b) = (flag("transA")?, flag("transB")?);
    let (alpha, beta) = (node.float("alpha")?.unwrap_or(1.0), node.float("beta")?.unwrap_or(1.0));
    Ok(Box::new(Gemm { alpha, beta, trans_a, trans_b }))
}

impl Gemm {
    /// m, n and k.
    fn sizes(&self, a: &Shape, b: &Shape) -> Result<[Dim; 3]> {
        if a.rank() != 2 || b.rank() != 2 {
            bail_invalid!("operands must be matrices, found {a} and {b}");
        }
        let (m, k) = if self.trans_a { (&a[1], &a[0]) } else { (&a[0], &a[1]) };
        let (l, n) = if self.trans_b { (&b[1], &b[0]) } else { (&b[0], &b[1]) };
        if k.as_const().is_some() && l.as_const().is_some() && k != l {
            bail_invalid!(
                "inner extents differ: {k} of the left operand {a} and {l} of the right operand {b} \
                 (transA = {}, transB = {})",
                u8::from(self.trans_a),
                u8::from(self.trans_b)
            );
        }
        Ok([m.clone(), n.clone(), if k.as_const().is_some() { k } else { l }.clone()])
    }
}

impl Op for Gemm {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if value != 1.0 {
                attrs.insert(name.into(), Attr::Float(value));
            }
        }
        for (name, value) in [("transA", self.trans_a), ("transB", self.trans_b)] {
            if value {
                attrs.insert(name.into(), Attr::Int(1));
            }
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let mut all = vec![fact(inputs, 0)?, fact(inputs, 1)?];
        all.extend(inputs.get(2).copied().flatten());
        let dtype = same_types(&all)?;
        arithmetic(dtype)?;
        if dtype.is_int() && (self.alpha != 1.0 || self.beta != 1.0) {
            bail_unsupported!(
                "{dtype} operands with alpha {} and beta {} are not supported: both must be 1 for integers",
                self.alpha,
                self.beta
            );
        }
        let [m, n, _] = self.sizes(&all[0].shape, &all[1].shape)?;
        let shape = checked(Shape(vec![m, n]))?;
        if let Some(c) = all.get(2)
            && (c.shape.rank() > 2 || broadcast(&c.shape, &shape)? != shape)
        {
            bail_invalid!("input 2 of shape {} does not broadcast to the result {shape}", c.shape);
        }
        Ok(vec![Fact::new(dtype, shape)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let sizes = self.sizes(&Shape::of(&a.shape), &Shape::of(&b.shape))?;
        let [Some(m), Some(n), Some(k)] = sizes.map(|d| d.as_usize()) else {
            return Err(Error::internal("open extents in a tensor"));
        };
        let c = inputs.get(2).copied().flatten();
        // Strides of the addend, which stands still along axes of extent 1.
        let at = |i: usize, j: usize, c: &Tensor| match c.shape[..] {
            [] => 0,
            [e] => j % e,
            [rows, e] => i % rows * e + j % e,
            _ => 0,
        };
        let result = if a.dtype.is_float() {
            let (av, bv) = (transposed(a.to_f64s()?, m, k, self.trans_a), b.to_f64s()?);
            let bv = transposed(bv, k, n, self.trans_b);
            let mut y = vec![0.0; m * n];
            product(&mut y, &av, &bv, (m, n, k), |y, a, b| *y += a * b);
            let addend = c.map(Tensor::to_f64s).transpose()?;
            for (p, y) in y.iter_mut().enumerate() {
                let addend = c.zip(addend.as_ref()).map_or(0.0, |(c, v)| v[at(p / n, p % n, c)]);
                *y = *y * f64::from(self.alpha) + addend * f64::from(self.beta);
            }
            from_f64s(a.dtype, &[m, n], y)?
        } else {
            let av = transposed(to_i128s(a)?, m, k, self.trans_a);
            let bv = transposed(to_i128s(b)?, k, n, self.trans_b);
            let mut y = vec![0i128; m * n];
            product(&mut y, &av, &bv, (m, n, k), |y, a, b| *y = y.wrapping_add(a.wrapping_mul(b)));
            let addend = c.map(to_i128s).transpose()?;
            for (p, y) in y.iter_mut().enumerate() {
                *y = y.wrapping_add(c.zip(addend.as_ref()).map_or(0, |(c, v)| v[at(p / n, p % n, c)]));
            }
            from_i128s(a.dtype, &[m, n], y)?
        };
        Ok(vec![result])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (a, b) = (cx.fact(0)?.clone(), cx.fact(1)?.clone());
        let dtype = a.dtype;
        let [m_extent, n_extent, k_extent] = self.sizes(&a.shape, &b.shape)?;
        let mut nest = NestBuilder::default();
        let (m, n) = (nest.parallel("m", &m_extent), nest.parallel("n", &n_extent));
        let k = nest.reduce("k", &k_extent);
        let order = |swap: bool, x: LoopId, y: LoopId| indices(&if swap { [y, x] } else { [x, y] });
        let left = Access::new(cx.input(0)?, order(self.trans_a, m, k));
        let right = Access::new(cx.input(1)?, order(self.trans_b, k, n));
        let scaled = |value: Expr, factor: f32| match factor {
            1.0 => value,
            _ => mul(value, constant(dtype.accumulator(), factor.into())),
        };
        let mut value = scaled(Expr::Acc, self.alpha);
        if cx.has_input(2) && self.beta != 0.0 {
            let c = cx.broadcast(cx.input(2)?, &Shape(vec![m_extent, n_extent]), &[m, n]);
            value = add(value, scaled(widened(dtype, Expr::Load(c)), self.beta));
        }
        let store = Store { to: Access::new(cx.output(0)?, indices(&[m, n])), value: rounded(dtype, value) };
        let swap = a.tensor().is_some() && b.tensor().is_none();
        let (lhs, rhs) = if swap { (right, left) } else { (left, right) };
        cx.emit(nest.loops, Form::Contract { acc: dtype.accumulator(), lhs, rhs, store });
        Ok(())
    }
}

/// A `rows` by `columns` matrix in row-major order, stored transposed if `stored_transposed`.
fn transposed<T: Copy>(values: Vec<T>, rows: usize, columns: usize, stored_transposed: bool) -> Vec<T> {
    if !stored_transposed {
        return values;
    }
    (0..rows * columns).map(|p| values[p % columns * rows + p / columns]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    #[test]
    fn by_hand() {
        let list = [("alpha", Attr::Float(2.0)), ("beta", Attr::Float(0.5)), ("transB", Attr::Int(1))];
        let a = Tensor::from_vec(&[1, 2], vec![1f32, 2.0]);
        let b = Tensor::from_vec(&[3, 2], vec![1f32, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let c = Tensor::from_vec(&[3], vec![10f32, 20.0, 30.0]);
        let y = run(&*parse("Gemm", 13, &list, 3, 1).unwrap(), &[&a, &b, &c], &[1, 2]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 3], vec![7f32, 14.0, 21.0]));
    }

    #[test]
    fn transpositions_and_addends() {
        for flags in 0..4i64 {
            let (ta, tb) = (flags & 1, flags >> 1);
            let list = [("transA", Attr::Int(ta)), ("transB", Attr::Int(tb)), ("beta", Attr::Float(3.0))];
            let a = sample(if ta == 1 { &[4, 2] } else { &[2, 4] }, 5);
            let b = sample(if tb == 1 { &[3, 4] } else { &[4, 3] }, 7);
            for c in [&[][..], &[1], &[3], &[2, 1], &[1, 3], &[2, 3]] {
                for known in [&[][..], &[0], &[1]] {
                    let op = parse("Gemm", 13, &list, 3, 1).unwrap();
                    run(&*op, &[&a, &b, &sample(c, 3)], known).unwrap();
                }
            }
            run(&*parse("Gemm", 13, &list, 2, 1).unwrap(), &[&a, &b], &[]).unwrap();
        }
    }

    #[test]
    fn integers() {
        let op = parse("Gemm", 13, &[], 3, 1).unwrap();
        let [a, b, c] = [2i64, 3, 4].map(|v| Tensor::from_vec(&[1, 1], vec![v]));
        assert_eq!(run(&*op, &[&a, &b, &c], &[]).unwrap()[0], Tensor::from_vec(&[1, 1], vec![10i64]));
    }

    #[test]
    fn refusals() {
        let op = parse("Gemm", 13, &[], 3, 1).unwrap();
        assert!(refusal(&*op, &[&[], &[3, 4], &[4]]).contains("must be matrices"));
        assert!(refusal(&*op, &[&[2, 3], &[4, 3], &[3]]).contains("inner extents differ"));
        assert!(refusal(&*op, &[&[2, 3], &[3, 4], &[2]]).contains("broadcast"));
        assert!(refusal(&*op, &[&[1, 3], &[3, 4], &[2, 4]]).contains("broadcast"));
        assert!(parse("Gemm", 9, &[], 2, 1).is_err());
    }
}
