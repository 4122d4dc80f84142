//! `Softmax` and `LogSoftmax`: exponentials that sum to one (ONNX, since 1, 11 and 13).
//!
//! ```text
//! Softmax     y[i] = exp(x[i] - m) / s       m = max over j of x[j]
//! LogSoftmax  y[i] = (x[i] - m) - log(s)     s = sum over j of exp(x[j] - m)
//! ```
//!
//! along `axis`. Before opset 13 over `axis` and all later axes together (the input was coerced to a matrix), with
//! another default axis; such a node keeps that meaning here and shows it by the attribute `kiln.coerced`.
//!
//! Numerics: the maximum is subtracted first, so nothing overflows. Compiled code multiplies by the reciprocal of s.
//!
//! Lowering: the loop nests above as they are, along any axis without transposition: two `Reduce`s and `Map`s.
//!
//! f16 and bf16 are computed in f32.

use super::nest::{NestBuilder, constant, div, indices, indices_except, mul, sub};
use super::operand::{fact, tensor};
use super::reduce::{groups, lower_max};
use super::values::{float, from_f64s};
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Access, Expr, Form, Lowering, ReduceOp, Store, UnaryOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{Shape, axis_of};

/// Shows in text forms that a node has the meaning of opsets before 13.
const COERCED: &str = "kiln.coerced";

/// The definition of `Softmax`.
pub const SOFTMAX: OpDef =
    OpDef { name: "Softmax", domain: "", since: (1, 13), parse: |node| parse(node, false), unsupported: "" };

/// The definition of `LogSoftmax`.
pub const LOG_SOFTMAX: OpDef = OpDef {
    name: "LogSoftmax",
    domain: "",
    since: (1, 13),
    parse: |node| parse(node, true),
    unsupported: "",
};

/// ONNX `Softmax` or `LogSoftmax`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// The logarithm of it.
    pub log: bool,
    /// The axis, negative from the end.
    pub axis: i64,
    /// All later axes too, as before opset 13.
    pub coerced: bool,
}

fn parse(node: &mut NodeProto<'_>, log: bool) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let coerced = node.flag(COERCED, node.opset < 13)?;
    let axis = node.int("axis")?.unwrap_or(if coerced { 1 } else { -1 });
    Ok(Box::new(Softmax { log, axis, coerced }))
}

impl Softmax {
    /// Which axes sum to one.
    fn reduced(&self, rank: usize) -> Result<Vec<bool>> {
        // A coerced axis may be the rank: rows of one element.
        if self.coerced && self.axis >= 0 && self.axis == rank as i64 {
            return Ok(vec![false; rank]);
        }
        if rank == 0 && !self.coerced && matches!(self.axis, 0 | -1) {
            return Ok(vec![]);
        }
        let axis = axis_of(self.axis, rank)?;
        Ok((0..rank).map(|i| i == axis || (self.coerced && i > axis)).collect())
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { LOG_SOFTMAX.name } else { SOFTMAX.name }
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::from([("axis".to_owned(), Attr::Int(self.axis))]);
        if self.coerced {
            attrs.insert(COERCED.into(), Attr::Int(1));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        self.reduced(x.shape.rank())?;
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let reduced = self.reduced(x.shape.len())?;
        let kept: Vec<usize> = x.shape.iter().zip(&reduced).map(|(&e, &r)| if r { 1 } else { e }).collect();
        let groups = groups(&x.shape, &kept);
        let mut values = x.to_f64s()?;
        let mut max = vec![f64::NEG_INFINITY; kept.iter().product()];
        let mut sum = vec![0.0; max.len()];
        for (v, &g) in values.iter().zip(&groups) {
            max[g] = max[g].max(*v);
        }
        for (v, &g) in values.iter_mut().zip(&groups) {
            *v -= max[g];
            sum[g] += v.exp();
        }
        for (v, &g) in values.iter_mut().zip(&groups) {
            *v = if self.log { *v - sum[g].ln() } else { v.exp() / sum[g] };
        }
        Ok(vec![from_f64s(x.dtype, &x.shape, values)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let (dtype, shape) = (x.dtype, x.shape);
        let reduced = self.reduced(shape.rank())?;
        let kept: Shape =
            shape.iter().zip(&reduced).map(|(d, r)| if *r { Dim::Const(1) } else { d.clone() }).collect();
        let max = lower_max(cx, dtype, &shape, &reduced, false)?;
        let sum = cx.temp("sum", dtype, kept);
        let (input, output) = (cx.input(0)?, cx.output(0)?);

        let (loops, ids) = Lowering::loops_over(&shape);
        let shifted = sub(
            Expr::Load(Access::new(input, indices(&ids))),
            Expr::Load(Access::new(max, indices_except(&ids, &reduced))),
        );
        // Exponentials are computed once, and summed from memory; the logarithm needs their sum alone.
        let (nest, reduce_ids) = NestBuilder::over(&shape, &reduced);
        let total = Access::new(sum, indices_except(&reduce_ids, &reduced));
        let at_sum = Expr::Load(Access::new(sum, indices_except(&ids, &reduced)));
        let (value, total_value, result) = if self.log {
            let shifted_here = sub(
                Expr::Load(Access::new(input, indices(&reduce_ids))),
                Expr::Load(Access::new(max, indices_except(&reduce_ids, &reduced))),
            );
            let exponential = Expr::unary(UnaryOp::Exp, shifted_here);
            (exponential, Expr::unary(UnaryOp::Log, Expr::Acc), sub(shifted, at_sum))
        } else {
            let exps = cx.temp("exp", dtype, shape.clone());
            let store =
                Store { to: Access::new(exps, indices(&ids)), value: Expr::unary(UnaryOp::Exp, shifted) };
            cx.emit(loops.clone(), Form::Map { stores: vec![store] });
            let exponential = |ids: &[_]| Expr::Load(Access::new(exps, indices(ids)));
            (exponential(&reduce_ids), div(constant(dtype, 1.0), Expr::Acc), mul(exponential(&ids), at_sum))
        };
        let store = Store { to: total, value: total_value };
        cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Sum, value, store });
        let store = Store { to: Access::new(output, indices(&ids)), value: result };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};

    #[test]
    fn same_as_onnx() {
        // Node cases `softmax_large_number` and `logsoftmax_large_number`.
        let x = Tensor::from_vec(&[2, 4], vec![0f32, 1.0, 2.0, 3.0, 10000.0, 10001.0, 10002.0, 10003.0]);
        let y = run(&*parse("Softmax", 13, &[], 1, 1).unwrap(), &[&x], &[]).unwrap();
        let row = [0.032_058_604f32, 0.087_144_32, 0.236_882_82, 0.643_914_3];
        assert_close(&y[0], &Tensor::from_vec(&[2, 4], [row, row].concat()), 1e-6);
        let y = run(&*parse("LogSoftmax", 13, &[], 1, 1).unwrap(), &[&x], &[]).unwrap();
        let row = [-3.440_189_8f32, -2.440_189_8, -1.440_189_8, -0.440_189_72];
        assert_close(&y[0], &Tensor::from_vec(&[2, 4], [row, row].concat()), 1e-6);
    }

    #[test]
    fn any_axis_and_coercion() {
        let x = sample(&[2, 3, 4], 5);
        for name in ["Softmax", "LogSoftmax"] {
            for axis in -3..3 {
                run(&*parse(name, 13, &[("axis", Attr::Int(axis))], 1, 1).unwrap(), &[&x], &[]).unwrap();
                run(&*parse(name, 11, &[("axis", Attr::Int(axis))], 1, 1).unwrap(), &[&x], &[]).unwrap();
            }
        }
        // Before opset 13 the default axis is 1 and everything behind it sums to one.
        let y = run(&*parse("Softmax", 11, &[], 1, 1).unwrap(), &[&x], &[]).unwrap();
        let sums: Vec<f64> = y[0].to_f64s().unwrap().chunks(12).map(|c| c.iter().sum()).collect();
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-6), "{sums:?}");
    }

    #[test]
    fn refusals() {
        let op = parse("Softmax", 13, &[("axis", Attr::Int(-100_000))], 1, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3]]).contains("axis -100000 is outside"));
    }
}
