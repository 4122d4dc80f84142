//! `FusedMatMul` and `TransposeMatMul` of `com.microsoft`: a product of matrices that lie in other orders.
//!
//! Spec: ONNX Runtime's contrib operators, version 1. `y = alpha * a' . b'` as `MatMul`. `transA` exchanges the last two axes
//! of a; `transBatchA` before that moves its first axis behind the batch axes, `[M, batch.., K]` to `[batch.., M, K]`. So for b.
//! Vectors stay as they are.
//!
//! Numerics: that of `MatMul`; the factor in the element type.

use super::composed::{Composed, Composer, Value, composed, required};
use super::{binary, gemm, matmul};
use crate::error::Result;
use crate::op::{Attr, Attrs, MICROSOFT, NodeProto, Op, OpDef};

/// `com.microsoft::FusedMatMul`.
pub const DEF: OpDef = OpDef {
    name: "FusedMatMul",
    domain: MICROSOFT,
    since: (1, 1),
    parse: |node| parse("FusedMatMul", node),
    unsupported: "",
};

/// `com.microsoft::TransposeMatMul`.
pub const TRANSPOSE: OpDef =
    OpDef { name: "TransposeMatMul", parse: |node| parse("TransposeMatMul", node), ..DEF };

/// How an operand lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    /// Rows and columns are exchanged.
    turned: bool,
    /// Rows come before the batch.
    rows_first: bool,
}

/// A product of matrices that lie in other orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FusedMatMul {
    name: &'static str,
    /// Factor of the product.
    pub alpha: f32,
    sides: [Side; 2],
}

const NAMES: [[&str; 2]; 2] = [["transA", "transBatchA"], ["transB", "transBatchB"]];

fn parse(name: &'static str, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    let mut side = |names: [&str; 2]| -> Result<Side> {
        Ok(Side { turned: node.flag(names[0], false)?, rows_first: node.flag(names[1], false)? })
    };
    let sides = [side(NAMES[0])?, side(NAMES[1])?];
    Ok(Box::new(FusedMatMul { name, alpha: node.float("alpha")?.unwrap_or(1.0), sides }))
}

impl Op for FusedMatMul {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domain(&self) -> &'static str {
        MICROSOFT
    }

    fn attrs(&self) -> Attrs {
        let alpha = (self.alpha != 1.0).then(|| ("alpha".to_owned(), Attr::Float(self.alpha)));
        let flags = NAMES
            .iter()
            .zip(self.sides)
            .flat_map(|(names, side)| [(names[0], side.turned), (names[1], side.rows_first)]);
        flags.filter(|(_, on)| *on).map(|(name, _)| (name.to_owned(), Attr::Int(1))).chain(alpha).collect()
    }

    composed!(product);
}

impl Composed for FusedMatMul {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut operands = [required(inputs, 0)?, required(inputs, 1)?];
        let [a, b] = operands.map(|v| cx.fact(v).clone());
        if a.dtype.is_float()
            && [&a, &b].iter().all(|f| f.shape.rank() == 2)
            && !self.sides.iter().any(|s| s.rows_first)
        {
            // Read as they lie.
            let list: Vec<(&str, Attr)> = self.attrs_of_gemm();
            return Ok(vec![cx.apply(&gemm::DEF, &list, &operands)?]);
        }
        for (operand, side) in operands.iter_mut().zip(self.sides) {
            let rank = cx.fact(*operand).shape.rank();
            let order = side.order(rank);
            if !order.is_sorted() {
                *operand = cx.transpose(*operand, &order)?;
            }
        }
        let y = cx.apply(&matmul::DEF, &[], &operands)?;
        if self.alpha == 1.0 {
            return Ok(vec![y]);
        }
        let alpha = cx.number(cx.fact(y).dtype, self.alpha.into())?;
        Ok(vec![cx.apply(&binary::MUL, &[], &[y, alpha])?])
    }
}

impl FusedMatMul {
    /// The attributes of a `Gemm` without a third operand.
    fn attrs_of_gemm(&self) -> Vec<(&'static str, Attr)> {
        let flag = |side: usize| (NAMES[side][0], Attr::Int(self.sides[side].turned.into()));
        vec![("alpha", Attr::Float(self.alpha)), flag(0), flag(1)]
    }
}

impl Side {
    /// The order of axes that `MatMul` wants.
    fn order(self, rank: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..rank as i64).collect();
        if rank < 2 {
            return order;
        }
        if self.rows_first {
            order[..rank - 1].rotate_left(1);
        }
        if self.turned {
            order.swap(rank - 2, rank - 1);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, parse, run, sample};

    fn turned(x: &crate::tensor::Tensor, perm: &[i64]) -> crate::tensor::Tensor {
        let op = parse("Transpose", 13, &[("perm", Attr::Ints(perm.to_vec()))], 1, 1).unwrap();
        op.eval(&[Some(x)]).unwrap().swap_remove(0)
    }

    #[test]
    fn every_order() {
        let (a, b) = (sample(&[2, 3, 4, 5], 5), sample(&[2, 3, 5, 6], 3));
        let product = parse("MatMul", 13, &[], 2, 1).unwrap();
        let want = run(&*product, &[&a, &b], &[]).unwrap().swap_remove(0);
        // Where each axis of an operand goes to lie in the order that the flags tell.
        let orders: [(i64, i64, [i64; 4]); 4] =
            [(0, 0, [0, 1, 2, 3]), (1, 0, [0, 1, 3, 2]), (0, 1, [2, 0, 1, 3]), (1, 1, [3, 0, 1, 2])];
        for (trans, batch, perm) in orders {
            for name in ["FusedMatMul", "TransposeMatMul"] {
                let name = format!("com.microsoft::{name}");
                let list = [("transA", Attr::Int(trans)), ("transBatchA", Attr::Int(batch))];
                let y = run(&*parse(&name, 1, &list, 2, 1).unwrap(), &[&turned(&a, &perm), &b], &[]).unwrap();
                assert_close(&y[0], &want, 1e-6);
                let list = [("transB", Attr::Int(trans)), ("transBatchB", Attr::Int(batch))];
                let y = run(&*parse(&name, 1, &list, 2, 1).unwrap(), &[&a, &turned(&b, &perm)], &[]).unwrap();
                assert_close(&y[0], &want, 1e-6);
            }
        }
    }

    #[test]
    fn a_factor_and_vectors() {
        let (a, b) = (sample(&[5], 5), sample(&[5, 6], 3));
        let list = [("alpha", Attr::Float(0.5)), ("transA", Attr::Int(1))];
        let y = run(&*parse("com.microsoft::FusedMatMul", 1, &list, 2, 1).unwrap(), &[&a, &b], &[]).unwrap();
        let product = parse("MatMul", 13, &[], 2, 1).unwrap();
        let want = run(&*product, &[&a, &b], &[]).unwrap();
        let half = want[0].to_f64s().unwrap().into_iter().map(|v| (v / 2.0) as f32).collect();
        assert_close(&y[0], &crate::tensor::Tensor::from_vec(&[6], half), 1e-6);
    }
}
