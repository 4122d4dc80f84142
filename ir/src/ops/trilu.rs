//! `Trilu`: the upper or lower triangle of matrices.
//!
//! Spec: ONNX Trilu, version 14. Element `[.., r, c]` stays where `c - r >= k` (`upper`) or `c - r <= k`, and is 0 elsewhere;
//! `k` is an optional scalar, which may be computed at run time. One `Map`.

use super::elements::{Builder, Elements};
use super::{movement, operand};
use crate::bail_invalid;
use crate::error::{Error, Result};
use crate::kernel::{Access, BinaryOp, Expr, Form, Lowering, Scalar, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// `Trilu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trilu {
    /// Whether the upper triangle stays.
    pub upper: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=2, 1..=1)?;
    Ok(Box::new(Trilu { upper: node.flag("upper", true)? }))
}

/// `Trilu`.
pub const DEF: OpDef = OpDef { name: "Trilu", domain: "", since: (14, 14), parse, unsupported: "" };

impl Op for Trilu {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("upper".to_owned(), Attr::Int(self.upper.into()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        if x.shape.rank() < 2 {
            bail_invalid!("takes matrices, found shape {}", x.shape);
        }
        if let Some(k) = inputs.get(1).copied().flatten()
            && (k.dtype != DType::I64 || !k.shape.elements().is(1))
        {
            bail_invalid!("the diagonal must be a single i64, found {k:?}");
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let k = match inputs.get(1).copied().flatten() {
            Some(k) => k.to_i64s()?.first().copied().unwrap_or(0),
            None => 0,
        };
        let (elements, mut y) = (Elements::raw(x), Builder::new(x.dtype, &x.shape));
        let rank = x.shape.len();
        let mut position = 0;
        movement::for_each_index(&x.shape, |i| {
            let ahead = i128::from(i[rank - 1] as i64) - i128::from(i[rank - 2] as i64) - i128::from(k);
            let stays = if self.upper { ahead >= 0 } else { ahead <= 0 };
            y.push_bits(if stays { elements.bits(position) } else { 0 });
            position += 1;
            true
        });
        Ok(vec![y.finish()?])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let ty = cx.ty(x).clone();
        let (loops, ids) = Lowering::loops_over(&ty.shape);
        let [.., row, column] = ids[..] else { return Err(Error::internal("rank 2 expected")) };
        let k = if cx.has_input(1) { cx.scalar(1)? } else { Expr::Const(Scalar::int(DType::I64, 0)) };
        let extents = [ty.shape.rank() - 2, ty.shape.rank() - 1].map(|a| ty.shape[a].as_const());
        let (low, high) = match (&k, extents) {
            // Numbers of rows and columns in 32 bits, beyond which no diagonal matters.
            (Expr::Const(k), [Some(rows), Some(columns)]) if rows.max(columns) < 1 << 29 => {
                let k = k.to_i64().clamp(-(1 << 29), 1 << 29);
                let mut numbers = |name: &str, first: i64, count: i64, l| {
                    let list = (first..first + count).map(|i| i as i32).collect();
                    let table = cx.constant(name, Tensor::from_vec(&[count as usize], list));
                    Expr::Load(Access::new(table, movement::each(&[l])))
                };
                let (least, here) = (numbers("rows", k, rows, row), numbers("columns", 0, columns, column));
                if self.upper { (least, here) } else { (here, least) }
            }
            _ => {
                let ahead = Expr::binary(BinaryOp::Sub, Expr::Loop(column), Expr::Loop(row));
                if self.upper { (k, ahead) } else { (ahead, k) }
            }
        };
        let at = |buffer| Access::new(buffer, movement::each(&ids));
        let zero = Expr::Const(Scalar { dtype: ty.dtype, bits: 0 });
        // low <= high
        let value = Expr::select(Expr::binary(BinaryOp::Lt, high, low), zero, Expr::Load(at(x)));
        cx.emit(loops, Form::Map { stores: vec![Store { to: at(y), value }] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{numbers, parse, run};

    #[test]
    fn both_triangles_from_any_diagonal() {
        let x = Tensor::from_vec(&[3, 3], (1..10i32).collect());
        for (upper, k, want) in [
            (1, 0, [1, 2, 3, 0, 5, 6, 0, 0, 9]),
            (1, 1, [0, 2, 3, 0, 0, 6, 0, 0, 0]),
            (0, 0, [1, 0, 0, 4, 5, 0, 7, 8, 9]),
            (0, -1, [0, 0, 0, 4, 0, 0, 7, 8, 0]),
            (1, i64::MIN + 9, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ] {
            let op = parse("Trilu", 14, &[("upper", Attr::Int(upper))], 2, 1).unwrap();
            for known in [&[][..], &[1]] {
                let y = run(&*op, &[&x, &Tensor::scalar::<i64>(k)], known).unwrap();
                assert_eq!(y[0], Tensor::from_vec(&[3, 3], want.to_vec()), "{upper} {k}");
            }
        }
    }

    #[test]
    fn batches_of_every_type() {
        let op = parse("Trilu", 14, &[], 1, 1).unwrap();
        for dtype in [DType::Bool, DType::U8, DType::F16, DType::F64, DType::I64] {
            run(&*op, &[&numbers(dtype, &[2, 3, 4])], &[]).unwrap();
        }
    }
}
