//! `Einsum`: sums of products, named by letters.
//!
//! Spec: ONNX Einsum, version 12, which is NumPy's `einsum`: each letter of the equation is an axis; letters that the result
//! lacks are summed over. A letter twice in one operand is its diagonal. `...` stands for further axes, which broadcast and
//! align at the end. Without `->` the result has the letters that occur once, in order of the alphabet.
//!
//! Lowering: one operand is a copy or a `Reduce`, two are a `Contract` (or a `Map` where nothing is summed); more are taken two
//! at a time from the left.

mod equation;

use equation::{Equation, Terms};

use super::composed::{Composed, Composer, Value};
use super::nest::{NestBuilder, mul, zero};
use super::values::{from_f64s, from_i128s, to_i128s};
use super::{composed, matmul, movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Expr, Form, Index, LoopId, Lowering, ReduceOp, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef, Patch};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};

/// `Einsum`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Einsum {
    /// What is computed.
    equation: Equation,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=usize::MAX, 1..=1)?;
    let text = node.string("equation")?.ok_or_else(|| Error::invalid("attribute 'equation' is missing"))?;
    Ok(Box::new(Einsum { equation: Equation::parse(&text, node.inputs.len())? }))
}

/// `Einsum`.
pub const DEF: OpDef = OpDef { name: "Einsum", domain: "", since: (12, 12), parse, unsupported: "" };

/// The value of an element, summed in f64 or i128.
fn sums<T: Copy>(
    terms: &Terms,
    operands: &[(Vec<T>, Vec<usize>)],
    (none, one): (T, T),
    times: impl Fn(T, T) -> T,
    add: impl Fn(T, T) -> T,
) -> Result<Vec<T>> {
    let extents = terms.extents.iter().map(|e| e.as_usize()).collect::<Option<Vec<usize>>>();
    let extents = extents.ok_or_else(|| Error::internal("open extents in tensors"))?;
    let order: Vec<usize> = terms.result.iter().chain(&terms.summed).copied().collect();
    // What a step along each of the ordered letters means in each operand.
    let stride = |(term, (_, shape)): (&Vec<usize>, &(Vec<T>, Vec<usize>)), letter: usize| -> usize {
        let own = term.iter().zip(shape).zip(row_major(shape));
        own.filter(|((l, extent), _)| **l == letter && **extent > 1).map(|(_, s)| s).sum()
    };
    let strides: Vec<Vec<usize>> = terms
        .operands
        .iter()
        .zip(operands)
        .map(|of| order.iter().map(|l| stride(of, *l)).collect())
        .collect();
    let of = |letters: &[usize]| letters.iter().map(|l| extents[*l]).collect::<Vec<usize>>();
    let (shape, inner) = (of(&terms.result), of(&terms.summed));
    let mut results = Vec::with_capacity(shape.iter().product());
    movement::for_each_index(&shape, |outer| {
        let mut sum = none;
        movement::for_each_index(&inner, |reduced| {
            let index = || outer.iter().chain(reduced);
            let element = |(strides, (values, _)): (&Vec<usize>, &(Vec<T>, Vec<usize>))| {
                values[index().zip(strides).map(|(i, s)| i * s).sum::<usize>()]
            };
            let product = strides.iter().zip(operands).map(element).fold(one, &times);
            sum = add(sum, product);
            true
        });
        results.push(sum);
        true
    });
    Ok(results)
}

impl Op for Einsum {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("equation".to_owned(), Attr::Str(self.equation.to_string()))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let facts = operand::all(inputs)?;
        let dtype = operand::same_types(&facts)?;
        if facts.len() > 1 || dtype == DType::Bool {
            matmul::arithmetic(dtype)?;
        }
        let terms = self.equation.terms(&facts.iter().map(|f| &f.shape).collect::<Vec<_>>())?;
        Ok(vec![Fact::new(dtype, operand::checked(terms.shape())?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let tensors = operand::all(inputs)?;
        let dtype = operand::tensor(inputs, 0)?.dtype;
        let shapes: Vec<Shape> = tensors.iter().map(|t| Shape::of(&t.shape)).collect();
        let terms = self.equation.terms(&shapes.iter().collect::<Vec<_>>())?;
        let shape = operand::constant(terms.shape())?;
        let y = if dtype.is_float() {
            let operands =
                tensors.iter().map(|t| Ok((t.to_f64s()?, t.shape.clone()))).collect::<Result<Vec<_>>>()?;
            from_f64s(dtype, &shape, sums(&terms, &operands, (0.0, 1.0), |a, b| a * b, |a, b| a + b)?)?
        } else {
            let operands =
                tensors.iter().map(|t| Ok((to_i128s(t)?, t.shape.clone()))).collect::<Result<Vec<_>>>()?;
            let (times, add) = (i128::wrapping_mul, i128::wrapping_add);
            // Only the low bits count, which factors of 64 bits keep.
            let times = |a: i128, b: i128| times(i128::from(a as i64), i128::from(b as i64));
            from_i128s(dtype, &shape, sums(&terms, &operands, (0, 1), times, add)?)?
        };
        Ok(vec![y])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        if node.inputs.len() <= 2 { Ok(None) } else { composed::decompose(self, node) }
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let facts = operand::facts(cx)?;
        let shapes: Vec<&Shape> = facts.iter().flatten().map(|f| &f.shape).collect();
        let terms = self.equation.terms(&shapes)?;
        let dtype = cx.fact(0)?.dtype;
        let mut nest = NestBuilder::default();
        let mut loops = vec![None; terms.extents.len()];
        for letter in &terms.result {
            loops[*letter] = Some(nest.parallel(terms.name(*letter), &terms.extents[*letter]));
        }
        for letter in &terms.summed {
            loops[*letter] = Some(nest.reduce(terms.name(*letter), &terms.extents[*letter]));
        }
        let index = |letters: &[usize], shape: &Shape| -> Vec<Index> {
            let of = |(letter, own): (&usize, &Dim)| match loops[*letter] {
                Some(l) if !own.is(1) || terms.extents[*letter].is(1) => LoopId::into(l),
                _ => zero(),
            };
            letters.iter().zip(shape.iter()).map(of).collect()
        };
        let mut accesses = Vec::with_capacity(shapes.len());
        for (i, (letters, shape)) in terms.operands.iter().zip(&shapes).enumerate() {
            accesses.push(Access::new(cx.input(i)?, index(letters, shape)));
        }
        let to = Access::new(cx.output(0)?, index(&terms.result, &terms.shape()));
        let mut accesses = accesses.into_iter();
        let (Some(lhs), rhs) = (accesses.next(), accesses.next()) else {
            return Err(Error::internal("needs an operand"));
        };
        let form = match (rhs, terms.summed.is_empty()) {
            (None, true) => Form::Rearrange { from: lhs, to },
            (None, false) => Form::Reduce {
                op: ReduceOp::Sum,
                value: Expr::Load(lhs),
                store: Store { to, value: Expr::Acc },
            },
            (Some(rhs), true) => {
                Form::Map { stores: vec![Store { to, value: mul(Expr::Load(lhs), Expr::Load(rhs)) }] }
            }
            (Some(rhs), false) => {
                let constant = |i: usize| facts[i].as_ref().is_some_and(|f| f.tensor().is_some());
                let (lhs, rhs) = if constant(0) && !constant(1) { (rhs, lhs) } else { (lhs, rhs) };
                Form::Contract { acc: dtype.accumulator(), lhs, rhs, store: Store { to, value: Expr::Acc } }
            }
        };
        cx.emit(nest.loops, form);
        Ok(())
    }
}

impl Composed for Einsum {
    /// Two operands at a time.
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let mut values = inputs.iter().flatten().copied().collect::<Vec<Value>>();
        let mut rest = self.equation.clone();
        while values.len() > 2 {
            let (first, others) = rest.halved();
            let part = Einsum { equation: first };
            let (a, b) = (values.remove(0), values.remove(0));
            let made = cx.node(std::sync::Arc::new(part), &[Some(a), Some(b)])?;
            values.splice(0..0, made);
            rest = others;
        }
        let operands: Vec<Option<Value>> = values.into_iter().map(Some).collect();
        cx.node(std::sync::Arc::new(Einsum { equation: rest }), &operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, refusal, run, sample};

    fn of(equation: &str, inputs: &[&Tensor]) -> Tensor {
        let list = [("equation", Attr::Str(equation.to_owned()))];
        let op = parse("Einsum", 12, &list, inputs.len(), 1).unwrap();
        run(&*op, inputs, &[]).unwrap().swap_remove(0)
    }

    #[test]
    fn one_operand() {
        let x = Tensor::from_vec(&[2, 3], vec![1f32, 2., 3., 4., 5., 6.]);
        assert_eq!(of("ij->ji", &[&x]), Tensor::from_vec(&[3, 2], vec![1f32, 4., 2., 5., 3., 6.]));
        assert_eq!(of("ba", &[&x]).shape, [3, 2]);
        assert_eq!(of("ij->i", &[&x]), Tensor::from_vec(&[2], vec![6f32, 15.]));
        assert_eq!(of("ij->", &[&x]), Tensor::scalar(21f32));
        let square = Tensor::from_vec(&[2, 2], vec![1f32, 2., 3., 4.]);
        assert_eq!(of("ii->i", &[&square]), Tensor::from_vec(&[2], vec![1f32, 4.]));
        assert_eq!(of("ii", &[&square]), Tensor::scalar(5f32));
        assert_eq!(of("... ii -> ... i", &[&sample(&[3, 5, 5], 3)]).shape, [3, 5]);
    }

    #[test]
    fn two_operands_and_more() {
        for (equation, shapes, want) in [
            ("bij,bjk->bik", &[&[4, 2, 3][..], &[4, 3, 5]][..], &[4, 2, 5][..]),
            ("bij, bjk", &[&[4, 2, 3], &[4, 3, 5]], &[2, 5]),
            ("i,j->ij", &[&[3], &[4]], &[3, 4]),
            ("i,i", &[&[7], &[7]], &[]),
            ("...ij,...jk->...ik", &[&[2, 1, 3, 4], &[5, 4, 6]], &[2, 5, 3, 6]),
            ("bhqd,bhkd->bhqk", &[&[2, 3, 4, 8], &[2, 3, 5, 8]], &[2, 3, 4, 5]),
            ("ij,jk,kl->il", &[&[2, 3], &[3, 4], &[4, 5]], &[2, 5]),
            ("a,ab,b,c->c", &[&[2], &[2, 3], &[3], &[4]], &[4]),
        ] {
            let tensors: Vec<Tensor> = shapes.iter().enumerate().map(|(i, s)| sample(s, 3 + 2 * i)).collect();
            let inputs: Vec<&Tensor> = tensors.iter().collect();
            assert_eq!(of(equation, &inputs).shape, want, "{equation}");
        }
    }

    #[test]
    fn wrong_equations_are_invalid() {
        for (equation, count) in [("ij,jk->ik", 1), ("i!->i", 1), ("ij->ik", 1), ("ij->ii", 1), ("i.j->i", 1)]
        {
            let list = [("equation", Attr::Str(equation.to_owned()))];
            assert!(parse("Einsum", 12, &list, count, 1).is_err(), "{equation}");
        }
        let list = [("equation", Attr::Str("ij,jk->ik".to_owned()))];
        let op = parse("Einsum", 12, &list, 2, 1).unwrap();
        assert!(refusal(&*op, &[&[2, 3], &[4, 5]]).contains('j'));
        assert!(refusal(&*op, &[&[2, 3, 4], &[3, 5]]).contains("axes"));
    }
}
