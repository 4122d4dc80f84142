//! `BatchNormalization` in inference (ONNX `BatchNormalization`, since 1, 6, 7, 9, 14 and 15).
//!
//! ```text
//! y[n, c, q] = (x[n, c, q] - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + b[c]
//! ```
//!
//! Shapes: x `[N, C, ...]` or `[N]` with one channel, the other inputs `[C]`.
//!
//! Numerics: for constant parameters `x * f + (b - mean * f)` with `f = scale / sqrt(var + epsilon)` computed in f64
//! and rounded once.
//!
//! Constant parameters: decomposed into `Mul` and `Add`, whose constants rules fold into the weights of a convolution
//! before them. Others: lowered to a `Map`.
//!
//! `training_mode` is `super::batch_statistics`. Unsupported: training before 14 (several results), `spatial = 0` of opset 7.
//! f16 and bf16 are computed in f32.

use super::batch_statistics::BatchStatistics;
use super::binary::{Binary, BinaryKind};
use super::nest::{add, constant, indices, mul, rsqrt, sub, zero};
use super::operand::{fact, tensor};
use super::values::{float, from_f64s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::Patch;
use crate::kernel::{Access, Expr, Form, Lowering, Store};
use crate::op::{Attr, Attrs, Fact, NodeProto, NodeView, Op, OpDef};
use crate::tensor::Tensor;
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "BatchNormalization",
    domain: "",
    since: (1, 15),
    parse,
    unsupported: "training before opset 14",
};

/// ONNX `BatchNormalization`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(5..=5, 1..=5)?;
    let epsilon = node.float("epsilon")?.unwrap_or(1e-5);
    // The momentum concerns the running statistics of training alone.
    let momentum = node.float("momentum")?.unwrap_or(0.9);
    if node.flag("training_mode", false)? && node.outputs <= 3 {
        return Ok(Box::new(BatchStatistics { epsilon, momentum, outputs: node.outputs }));
    }
    if node.outputs > 1 {
        return Err(Error::unsupported("batch normalisation in training mode is not supported")
            .hint("export the model for inference"));
    }
    if !node.flag("spatial", true)? {
        bail_unsupported!("attribute 'spatial' = 0 is not supported: statistics must be those of channels");
    }
    Ok(Box::new(BatchNormalization { epsilon }))
}

impl BatchNormalization {
    /// Factor and addend of each channel, for parameters scale, bias, mean and variance.
    fn affine(&self, parameters: [&Tensor; 4]) -> Result<(Vec<f64>, Vec<f64>)> {
        let [scale, bias, mean, var] = parameters;
        let (scale, bias, mean, var) = (scale.to_f64s()?, bias.to_f64s()?, mean.to_f64s()?, var.to_f64s()?);
        let factor = |(s, v): (&f64, &f64)| s / (v + f64::from(self.epsilon)).sqrt();
        let factors: Vec<f64> = scale.iter().zip(&var).map(factor).collect();
        let addends = factors.iter().zip(mean.iter().zip(&bias)).map(|(f, (m, b))| b - m * f).collect();
        Ok((factors, addends))
    }
}

impl Op for BatchNormalization {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        Attrs::from([("epsilon".to_owned(), Attr::Float(self.epsilon))])
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        if x.shape.rank() == 0 {
            bail_invalid!("the input must have at least one axis");
        }
        let channels = x.shape.get(1).cloned().unwrap_or(Dim::Const(1));
        for (i, name) in ["scale", "B", "input_mean", "input_var"].into_iter().enumerate() {
            let operand = fact(inputs, i + 1)?;
            float(operand, name)?;
            if operand.shape.rank() != 1 {
                bail_invalid!("{name} must have shape [{channels}], found {}", operand.shape);
            }
            let (length, both) = (&operand.shape[0], channels.as_const().zip(operand.shape[0].as_const()));
            if both.is_some_and(|(a, b)| a != b) {
                bail_invalid!("{name} must have one element per channel ({channels}), found {length}");
            }
        }
        Ok(vec![Fact::new(dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let at = |i| tensor(inputs, i);
        let (factors, addends) = self.affine([at(1)?, at(2)?, at(3)?, at(4)?])?;
        let inner: usize = x.shape.iter().skip(2).product();
        let mut values = x.to_f64s()?;
        for (i, v) in values.iter_mut().enumerate() {
            let c = if x.shape.len() > 1 { i / inner % factors.len() } else { 0 };
            *v = *v * factors[c] + addends[c];
        }
        Ok(vec![from_f64s(x.dtype, &x.shape, values)?])
    }

    fn decompose(&self, node: &NodeView<'_>) -> Result<Option<Patch>> {
        let constant =
            |i: usize| node.inputs.get(i).copied().flatten().and_then(|id| node.graph.constant(id));
        let (Some(scale), Some(bias), Some(mean), Some(var)) =
            (constant(1), constant(2), constant(3), constant(4))
        else {
            return Ok(None);
        };
        let (Some(x), Some(&y)) = (node.inputs.first().copied().flatten(), node.outputs.first()) else {
            return Err(Error::internal("batch normalisation without input or result"));
        };
        let (dtype, rank) = (node.fact(0)?.dtype, node.fact(0)?.shape.rank());
        let (factors, addends) = self.affine([scale, bias, mean, var])?;
        // The channels are axis 1: every axis behind them has extent 1.
        let mut shape = vec![1; rank.saturating_sub(1).max(1)];
        shape[0] = factors.len();
        let mut patch = Patch::new();
        let name = |what: &str| format!("{}.{what}", node.name);
        let factors = patch.constant(&name("factor"), from_f64s(dtype, &shape, factors)?);
        let addends = patch.constant(&name("addend"), from_f64s(dtype, &shape, addends)?);
        let scaled =
            patch.apply(node.graph, &name("scale"), Binary(BinaryKind::Mul), &[x.into(), factors])?;
        let shifted = patch.apply(node.graph, node.name, Binary(BinaryKind::Add), &[scaled, addends])?;
        patch.replace(y, shifted);
        Ok(Some(patch))
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let dtype = x.dtype;
        let (loops, ids) = Lowering::loops_over(&x.shape);
        let channel = if ids.len() > 1 { indices(&ids[1..2]) } else { vec![zero()] };
        let operand = |i: usize| -> Result<Expr> {
            let load = Expr::Load(Access::new(cx.input(i)?, channel.clone()));
            let own = cx.fact(i)?.dtype;
            Ok(if own == dtype { load } else { Expr::cast(dtype, load) })
        };
        let element = Expr::Load(Access::new(cx.input(0)?, indices(&ids)));
        let variance = add(operand(4)?, constant(dtype, self.epsilon.into()));
        let factor = mul(operand(1)?, rsqrt(dtype, variance));
        let value = add(mul(sub(element, operand(3)?), factor), operand(2)?);
        let store = Store { to: Access::new(cx.output(0)?, indices(&ids)), value };
        cx.emit(loops, Form::Map { stores: vec![store] });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::eval;
    use crate::graph::Graph;
    use crate::ops::testing::{assert_close, parse, refusal, run, sample};
    use crate::types::Shape;

    fn parameters() -> [Tensor; 4] {
        let var = Tensor::from_vec(&[3], vec![0.5f32, 1.0, 4.0]);
        [sample(&[3], 3), sample(&[3], 7), sample(&[3], 11), var]
    }

    #[test]
    fn computed_parameters() {
        let op = parse("BatchNormalization", 9, &[("epsilon", Attr::Float(0.01))], 5, 1).unwrap();
        let [scale, bias, mean, var] = parameters();
        for x in [sample(&[2, 3], 5), sample(&[2, 3, 2, 4], 5)] {
            run(&*op, &[&x, &scale, &bias, &mean, &var], &[]).unwrap();
        }
        let one = Tensor::from_vec(&[1], vec![2f32]);
        run(&*op, &[&sample(&[4], 5), &one, &one, &one, &one], &[]).unwrap();
    }

    #[test]
    fn constant_parameters_become_a_product_and_a_sum() {
        let op = BatchNormalization { epsilon: 0.01 };
        for shape in [&[2, 3][..], &[2, 3, 2, 4]] {
            let x = sample(shape, 5);
            let mut graph = Graph::new("test");
            let mut inputs = vec![Some(graph.add_input("x", Fact::new(x.dtype, Shape::of(shape))).unwrap())];
            for (i, tensor) in parameters().into_iter().enumerate() {
                inputs.push(Some(graph.add_const(&format!("p{i}"), tensor).unwrap()));
            }
            let node = graph.add_node("bn", Arc::new(op), inputs.clone(), &["y".to_owned()]).unwrap();
            let y = graph.node(node).outputs[0];
            graph.set_fact(y, Fact::new(x.dtype, Shape::of(shape)));
            graph.add_output(y);
            let before = eval::graph::run(&graph, std::slice::from_ref(&x)).unwrap();
            let view = NodeView { graph: &graph, name: "bn", inputs: &inputs, outputs: &[y] };
            let patch = op.decompose(&view).unwrap().expect("all parameters are constants");
            graph.apply(patch).unwrap();
            let names: Vec<_> = graph.node_ids().map(|id| graph.node(id).op.name()).collect();
            assert_eq!(names, ["Mul", "Add"]);
            assert_close(&eval::graph::run(&graph, &[x]).unwrap()[0], &before[0], 1e-6);
        }
    }

    #[test]
    fn refusals() {
        let training = parse("BatchNormalization", 9, &[], 5, 5);
        assert!(training.unwrap_err().message.contains("training"));
        let op = parse("BatchNormalization", 15, &[], 5, 1).unwrap();
        let message = refusal(&*op, &[&[1, 3, 2, 2], &[3], &[3], &[4], &[3]]);
        assert!(message.contains("input_mean must have one element per channel (3), found 4"), "{message}");
        assert!(refusal(&*op, &[&[1, 3], &[3], &[3, 1], &[3], &[3]]).contains("B must have shape [3]"));
    }
}
