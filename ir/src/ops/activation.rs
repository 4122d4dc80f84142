//! Elementwise operators of one float input with float attributes.
//!
//! Spec: the ONNX operator of each name, from the version in the table up to 24. `y[i] = f(x[i], a, b)`; the
//! output has the input's type. The table gives for each operator its attributes with their defaults, the
//! formula in f64 that the interpreter uses and the expression that kernels compute.
//!
//! Numerics: kernels compute in the element type. Exponentials less one are a function of their own, which keeps its digits
//! near zero.

use super::elementwise::{add, div, lt, max, min, mul, nan_max, nan_min, num, sub, un};
use super::{broadcast, operand};
use crate::bail_invalid;
use crate::error::Result;
use crate::kernel::{Expr, Lowering, UnaryOp as U};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::DType;

/// Which operator of the table.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationKind {
    Celu,
    Elu,
    HardSigmoid,
    LeakyRelu,
    Selu,
    Shrink,
    Swish,
    ThresholdedRelu,
}

/// An activation with its attributes, in the order of the table; ones that the operator lacks are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    /// Which one.
    pub kind: ActivationKind,
    /// Its attributes.
    pub params: [f32; 2],
}

struct Formula {
    name: &'static str,
    params: &'static [(&'static str, f32)],
    float: fn(f64, [f64; 2]) -> f64,
    expr: fn(DType, Expr, [f64; 2]) -> Expr,
}

impl ActivationKind {
    fn formula(self) -> Formula {
        match self {
            Self::LeakyRelu => Formula {
                name: "LeakyRelu",
                params: &[("alpha", 0.01)],
                float: |x, [alpha, _]| if x < 0.0 { alpha * x } else { x },
                expr: |t, x, [alpha, _]| match alpha {
                    0.0..=1.0 => max(x.clone(), mul(x, num(t, alpha))),
                    _ => Expr::select(lt(x.clone(), num(t, 0.0)), mul(x.clone(), num(t, alpha)), x),
                },
            },
            Self::Elu => Formula {
                name: "Elu",
                params: &[("alpha", 1.0)],
                float: |x, [alpha, _]| if x < 0.0 { alpha * x.exp_m1() } else { x },
                expr: |t, x, [alpha, _]| elu(t, x, alpha, 1.0),
            },
            Self::Celu => Formula {
                name: "Celu",
                params: &[("alpha", 1.0)],
                float: |x, [alpha, _]| nan_max(x, 0.0) + nan_min(alpha * (x / alpha).exp_m1(), 0.0),
                expr: |t, x, [alpha, _]| {
                    let tail = mul(un(U::Expm1, div(x.clone(), num(t, alpha))), num(t, alpha));
                    add(max(x, num(t, 0.0)), min(tail, num(t, 0.0)))
                },
            },
            Self::Selu => Formula {
                name: "Selu",
                // 1.67326319217681884765625 and 1.05070102214813232421875, the float32 values of the spec.
                params: &[("alpha", 1.673_263_2), ("gamma", 1.050_701)],
                float: |x, [alpha, gamma]| gamma * if x > 0.0 { x } else { alpha * x.exp_m1() },
                expr: |t, x, [alpha, gamma]| elu(t, x, alpha, gamma),
            },
            Self::ThresholdedRelu => Formula {
                name: "ThresholdedRelu",
                params: &[("alpha", 1.0)],
                float: |x, [alpha, _]| if x > alpha { x } else { 0.0 },
                expr: |t, x, [alpha, _]| Expr::select(lt(num(t, alpha), x.clone()), x, num(t, 0.0)),
            },
            Self::HardSigmoid => Formula {
                name: "HardSigmoid",
                params: &[("alpha", 0.2), ("beta", 0.5)],
                float: |x, [alpha, beta]| nan_max(nan_min(alpha * x + beta, 1.0), 0.0),
                expr: |t, x, [alpha, beta]| {
                    max(min(add(mul(x, num(t, alpha)), num(t, beta)), num(t, 1.0)), num(t, 0.0))
                },
            },
            Self::Swish => Formula {
                name: "Swish",
                params: &[("alpha", 1.0)],
                float: |x, [alpha, _]| x / (1.0 + (-alpha * x).exp()),
                expr: |t, x, [alpha, _]| {
                    let scaled = if alpha == 1.0 { x.clone() } else { mul(x.clone(), num(t, alpha)) };
                    mul(x, un(U::Sigmoid, scaled))
                },
            },
            Self::Shrink => Formula {
                name: "Shrink",
                params: &[("lambd", 0.5), ("bias", 0.0)],
                float: |x, [lambd, bias]| match x {
                    _ if x < -lambd => x + bias,
                    _ if x > lambd => x - bias,
                    _ => 0.0,
                },
                expr: |t, x, [lambd, bias]| {
                    let above =
                        Expr::select(lt(num(t, lambd), x.clone()), sub(x.clone(), num(t, bias)), num(t, 0.0));
                    Expr::select(lt(x.clone(), num(t, -lambd)), add(x, num(t, bias)), above)
                },
            },
        }
    }
}

/// `gamma * (x > 0 ? x : alpha * expm1(x))`, as a sum of two halves of which one is zero.
fn elu(t: DType, x: Expr, alpha: f64, gamma: f64) -> Expr {
    let scaled = |e: Expr, by: f64| if by == 1.0 { e } else { mul(e, num(t, by)) };
    let tail = un(U::Expm1, min(x.clone(), num(t, 0.0)));
    add(scaled(max(x, num(t, 0.0)), gamma), scaled(tail, alpha * gamma))
}

impl Op for Activation {
    fn name(&self) -> &'static str {
        self.kind.formula().name
    }

    fn attrs(&self) -> Attrs {
        let named = self.kind.formula().params.iter().zip(self.params);
        named.map(|((name, _), value)| ((*name).to_owned(), Attr::Float(value))).collect()
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        if !x.dtype.is_float() {
            bail_invalid!("takes floats, found {}", x.dtype);
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let (float, params) = (self.kind.formula().float, self.params.map(f64::from));
        Ok(vec![broadcast::map_floats(x.dtype, &[x], |v| float(v[0], params))?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        let (expr, params) = (self.kind.formula().expr, self.params.map(f64::from));
        cx.pointwise(|mut x| Ok(expr(dtype, x.swap_remove(0), params)))
    }
}

fn parse(kind: ActivationKind, node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let mut params = [0.0; 2];
    for (param, (name, default)) in params.iter_mut().zip(kind.formula().params) {
        *param = node.float(name)?.unwrap_or(*default);
    }
    if kind == ActivationKind::Celu && params[0] == 0.0 {
        bail_invalid!("attribute 'alpha' must not be 0");
    }
    Ok(Box::new(Activation { kind, params }))
}

macro_rules! defs {
    ($($def:ident $kind:ident $since:literal $newest:literal;)*) => { $(
        #[doc = concat!("`", stringify!($kind), "`.")]
        pub const $def: OpDef = OpDef {
            name: stringify!($kind),
            domain: "",
            since: ($since, $newest),
            parse: |node| parse(ActivationKind::$kind, node),
            unsupported: "",
        };
    )* };
}
defs! {
    CELU Celu 12 12;
    ELU Elu 1 22;
    HARD_SIGMOID HardSigmoid 1 22;
    LEAKY_RELU LeakyRelu 1 16;
    SELU Selu 1 22;
    SHRINK Shrink 9 9;
    SWISH Swish 24 24;
    THRESHOLDED_RELU ThresholdedRelu 10 22;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_digits, floats_of_all_exponents};

    fn eval(kind: ActivationKind, params: [f32; 2], x: &[f32]) -> Vec<f32> {
        let x = Tensor::from_vec(&[x.len()], x.to_vec());
        let op = Activation { kind, params };
        op.eval(&[Some(&x)]).unwrap()[0].as_slice::<f32>().unwrap().into_owned()
    }

    #[test]
    fn values_of_the_onnx_node_tests() {
        let check = |kind, params, x: &[f32], y: &[f32]| {
            let error = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs();
            let got = eval(kind, params, x);
            assert!(got.iter().zip(y).all(error), "{kind:?}: {got:?}, expected {y:?}");
        };
        let x = [-1.0, 0.0, 1.0];
        check(ActivationKind::LeakyRelu, [0.1, 0.0], &x, &[-0.1, 0.0, 1.0]);
        check(ActivationKind::Elu, [2.0, 0.0], &x, &[-1.264_241_1, 0.0, 1.0]);
        check(ActivationKind::Selu, [2.0, 3.0], &x, &[-3.792_723_4, 0.0, 3.0]);
        check(ActivationKind::HardSigmoid, [0.5, 0.6], &x, &[0.1, 0.6, 1.0]);
        check(
            ActivationKind::ThresholdedRelu,
            [2.0, 0.0],
            &[-1.5, 0.0, 1.2, 2.0, 2.2],
            &[0.0, 0.0, 0.0, 0.0, 2.2],
        );
        check(ActivationKind::Shrink, [1.5, 1.5], &[-2.0, -1.0, 0.0, 1.0, 2.0], &[-0.5, 0.0, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn exponentials_keep_their_digits_below_0() {
        let xs = floats_of_all_exponents(&[]);
        for kind in [ActivationKind::Elu, ActivationKind::Selu, ActivationKind::Celu] {
            let mut params = [0.0; 2];
            params.iter_mut().zip(kind.formula().params).for_each(|(p, (_, default))| *p = *default);
            let exact = |x| (kind.formula().float)(x, params.map(f64::from));
            check_digits(&Activation { kind, params }, exact, &xs, 3.0);
        }
    }

    #[test]
    fn attributes_come_back_from_parse() {
        let op = Activation { kind: ActivationKind::Selu, params: [2.0, 3.0] };
        let mut attrs = op.attrs();
        let mut node = NodeProto { attrs: &mut attrs, opset: 22, inputs: &[true], outputs: 1 };
        let again = parse(ActivationKind::Selu, &mut node).unwrap();
        assert_eq!(again.attrs(), op.attrs());
        assert!(attrs.is_empty());
    }
}
