//! `Conv`: convolution (ONNX `Conv`, since 1, 11 and 22) over one to three spatial axes.
//!
//! ```text
//! y[n, o, q] = b[o] + sum over c, k of x[n, g*C/G + c, stride*q + dilation*k - begin] * w[o, c, k]
//! ```
//!
//! for G groups, `g = o / (O/G)`, and zero outside of x. Shapes: x `[N, C, ...]`, w `[O, C/G, kernel...]`, b `[O]`,
//! y `[N, O, ...]` with spatial extents as [`super::spatial`] says.
//!
//! Numerics: products and sums in the element type, in any order; `eval` accumulates in f64.
//!
//! Lowering: a `Contract` (with a loop over groups where there are several), or a `Window` when every channel is its
//! own group and makes one output (depthwise).
//!
//! Unsupported: more than three spatial axes.
//! Sums over f16 and bf16 are f32, rounded once.

use super::nest::{NestBuilder, add, indices, rounded, widened};
use super::operand::{checked, fact, same_types, tensor};
use super::spatial::{Axis, Fixed, Spatial, loop_names};
use super::values::{float, from_f64s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BufferId, Expr, Form, Index, Lowering, Scalar, Store, WindowOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "Conv", domain: "", since: (1, 22), parse, unsupported: "more than 3 spatial axes" };

/// ONNX `Conv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The window.
    pub spatial: Spatial,
    /// Number of groups.
    pub group: i64,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    Ok(Box::new(Conv::parse(node)?))
}

/// What inference finds out.
pub(super) struct Geometry {
    /// By spatial axis.
    pub(super) axes: Vec<Axis>,
    /// The shape of the result.
    pub(super) output: Shape,
}

/// What is multiplied.
pub(super) struct Factors {
    /// The input.
    pub(super) x: BufferId,
    /// The weights; those of depthwise convolutions have the type of `x`.
    pub(super) w: BufferId,
    /// The element that stands outside of the input, of its type.
    pub(super) outside: Scalar,
    /// The type of sums.
    pub(super) acc: DType,
}

impl Conv {
    /// Reads the attributes.
    pub(super) fn parse(node: &mut NodeProto<'_>) -> Result<Self> {
        let group = node.int("group")?.unwrap_or(1);
        if group < 1 {
            bail_invalid!("attribute 'group' must be positive, found {group}");
        }
        Ok(Self { spatial: Spatial::parse(node)?, group })
    }

    /// What the shapes of input and weights give.
    pub(super) fn geometry(&self, x: &Shape, w: &Shape) -> Result<Geometry> {
        if x.rank() < 3 {
            bail_invalid!("the input must have batch, channels and at least one spatial axis, found {x}");
        }
        if w.rank() != x.rank() {
            bail_invalid!("weights {w} have rank {} and the input {x} has rank {}", w.rank(), x.rank());
        }
        if x.rank() > 5 {
            bail_unsupported!("{} spatial axes are not supported, at most 3 are", x.rank() - 2);
        }
        let kernel: Vec<i64> = w[2..]
            .iter()
            .map(|d| {
                d.as_const().ok_or_else(|| {
                    Error::unsupported(format!(
                        "weights with open extents {w} are not supported: bind their dimensions with --dim"
                    ))
                })
            })
            .collect::<Result<_>>()?;
        if !self.spatial.kernel.is_empty() && self.spatial.kernel != kernel {
            bail_invalid!("kernel_shape {:?} differs from that of the weights {w}", self.spatial.kernel);
        }
        if kernel.contains(&0) {
            bail_invalid!("the window of weights {w} is empty");
        }
        let (outputs, depth) = (w[0].clone(), w[1].clone());
        let channels = depth.clone() * self.group.into();
        if x[1].as_const().is_some() && channels.as_const().is_some() && x[1] != channels {
            bail_invalid!(
                "weights {w} with {} groups need {channels} input channels, the input {x} has {}",
                self.group,
                x[1]
            );
        }
        if outputs.as_const().is_none_or(|o| o % self.group != 0) {
            bail_invalid!("{outputs} output channels do not divide into {} groups", self.group);
        }
        let axes = self.spatial.axes(&x[2..], &kernel)?;
        let mut output = vec![x[0].clone(), outputs];
        output.extend(axes.iter().map(|a| a.output.clone()));
        Ok(Geometry { axes, output: checked(Shape(output))? })
    }

    /// Whether every channel is its own group and makes one output.
    pub(super) fn is_depthwise(&self, w: &Shape) -> bool {
        self.group > 1 && w[1].is(1) && w[0] == Dim::Const(self.group)
    }

    /// Emits the sums; `value` makes the results of them and of the index of their channel.
    pub(super) fn emit(
        &self,
        cx: &mut Lowering<'_>,
        factors: Factors,
        value: impl FnOnce(Index) -> Expr,
    ) -> Result<()> {
        let (x, w) = (cx.ty(factors.x).shape.clone(), cx.ty(factors.w).shape.clone());
        let Geometry { axes, output } = self.geometry(&x, &w)?;
        let (outputs, depth, group) = (w[0].clone(), w[1].clone(), Dim::Const(self.group));
        let depthwise = self.is_depthwise(&w);
        let per_group = outputs.floor_div(&group).unwrap_or(outputs.clone());
        let rank = axes.len();

        let mut nest = NestBuilder::default();
        let n = nest.parallel("n", &x[0]);
        let g = (self.group > 1 && !depthwise).then(|| nest.parallel("g", &group));
        let o = if depthwise { nest.parallel("c", &outputs) } else { nest.parallel("o", &per_group) };
        let out: Vec<_> =
            loop_names("o", rank).into_iter().zip(&output[2..]).map(|(s, d)| nest.parallel(s, d)).collect();
        let c = (!depthwise).then(|| nest.reduce("c", &depth));
        let window: Vec<_> =
            loop_names("k", rank).into_iter().zip(&w[2..]).map(|(s, d)| nest.reduce(s, d)).collect();

        // Channels are grouped: the group's number is the outer part of the index.
        let grouped = |inner, size: &Dim| match g {
            Some(g) => Affine::of(inner).plus(g, size.clone()),
            None => Affine::of(inner),
        };
        let to_channel: Index = grouped(o, &per_group).into();
        let mut from: Vec<Index> = vec![n.into(), c.map_or(Affine::of(o), |c| grouped(c, &depth)).into()];
        from.extend(axes.iter().zip(out.iter().zip(&window)).map(|(a, (&o, &k))| Index::from(a.index(o, k))));
        let mut input = Access::new(factors.x, from);
        if axes.iter().any(Axis::overhangs) {
            input.otherwise = Some(factors.outside);
        }
        let mut weight =
            vec![to_channel.clone(), c.map_or_else(|| Affine::constant(0i64).into(), Index::from)];
        weight.extend(indices(&window));
        let weight = Access::new(factors.w, weight);
        let mut to = vec![n.into(), to_channel.clone()];
        to.extend(indices(&out));
        let store = Store { to: Access::new(cx.output(0)?, to), value: value(to_channel) };
        let form = if depthwise {
            Form::Window { op: WindowOp::Dot, input, weight: Some(weight), store }
        } else {
            Form::Contract { acc: factors.acc, lhs: input, rhs: weight, store }
        };
        cx.emit(nest.loops, form);
        Ok(())
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.spatial.attrs();
        if self.group != 1 {
            attrs.insert("group".into(), Attr::Int(self.group));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, w) = (fact(inputs, 0)?, fact(inputs, 1)?);
        let mut all = vec![x, w];
        all.extend(inputs.get(2).copied().flatten());
        float(x, "the input")?;
        let dtype = same_types(&all)?;
        let geometry = self.geometry(&x.shape, &w.shape)?;
        if let Some(b) = all.get(2)
            && (b.shape.rank() != 1 || b.shape[0] != w.shape[0])
        {
            bail_invalid!("the bias must have shape [{}], found {}", w.shape[0], b.shape);
        }
        Ok(vec![Fact::new(dtype, geometry.output)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, w) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let geometry = self.geometry(&Shape::of(&x.shape), &Shape::of(&w.shape))?;
        let shape = geometry.output.as_const().ok_or_else(|| Error::internal("open extents in a tensor"))?;
        let axes = Fixed::three(&geometry.axes).ok_or_else(|| Error::internal("open extents in a tensor"))?;
        let (outputs, depth, group) = (w.shape[0], w.shape[1], self.group as usize);
        let (image, window) =
            (axes.iter().map(|a| a.input).product(), axes.iter().map(|a| a.kernel).product());
        let plane: usize = axes.iter().map(|a| a.output).product();
        let bias = inputs.get(2).copied().flatten().map(Tensor::to_f64s).transpose()?;
        let (xs, ws) = (x.to_f64s()?, w.to_f64s()?);
        let mut out = vec![0.0; shape.iter().product()];
        if plane > 0 {
            for (i, y) in out.chunks_exact_mut(plane).enumerate() {
                let (n, o) = (i / outputs, i % outputs);
                y.fill(bias.as_ref().map_or(0.0, |b| b[o]));
                for c in 0..depth {
                    let channel = o / (outputs / group) * depth + c;
                    let x = &xs[(n * depth * group + channel) * image..][..image];
                    convolve(y, x, &ws[(o * depth + c) * window..][..window], &axes);
                }
            }
        }
        Ok(vec![from_f64s(x.dtype, &shape, out)?])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let dtype = cx.fact(0)?.dtype;
        let bias = cx.has_input(2).then(|| cx.input(2)).transpose()?;
        let factors = Factors {
            x: cx.input(0)?,
            w: cx.input(1)?,
            outside: Scalar::of(dtype, 0.0),
            acc: dtype.accumulator(),
        };
        self.emit(cx, factors, |channel| {
            let bias = bias.map(|b| widened(dtype, Expr::Load(Access::new(b, vec![channel]))));
            rounded(dtype, bias.map_or(Expr::Acc, |b| add(Expr::Acc, b)))
        })
    }
}

/// Adds the convolution of one channel to one plane of the output.
fn convolve(y: &mut [f64], x: &[f64], w: &[f64], [d, h, v]: &[Fixed; 3]) {
    for (k, &factor) in w.iter().enumerate() {
        let (kd, kh, kw) = (k / (h.kernel * v.kernel), k / v.kernel % h.kernel, k % v.kernel);
        let columns = v.inside(kw);
        if columns.is_empty() {
            continue;
        }
        for od in d.inside(kd) {
            for oh in h.inside(kh) {
                let (Some(id), Some(ih)) = (d.at(od, kd), h.at(oh, kh)) else { continue };
                let row = &x[(id * h.input + ih) * v.input..][..v.input];
                let from = &row[v.raw(columns.start, kw) as usize..];
                let to = &mut y[(od * h.output + oh) * v.output..][..v.output][columns.clone()];
                for (y, x) in to.iter_mut().zip(from.iter().step_by(v.stride as usize)) {
                    *y += factor * x;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, refusal, run, sample};

    #[test]
    fn same_as_onnx() {
        // Node cases `conv_with_strides_and_asymmetric_padding` and `conv_with_autopad_same`.
        let w = Tensor::from_vec(&[1, 1, 3, 3], vec![1f32; 9]);
        let x = Tensor::from_vec(&[1, 1, 7, 5], (0..35).map(|v| v as f32).collect());
        let list =
            [("strides", ints(&[2, 2])), ("pads", ints(&[1, 0, 1, 0])), ("kernel_shape", ints(&[3, 3]))];
        let y = run(&*parse("Conv", 11, &list, 2, 1).unwrap(), &[&x, &w], &[1]).unwrap().remove(0);
        let expected = [21.0, 33.0, 99.0, 117.0, 189.0, 207.0, 171.0, 183.0f32];
        assert_eq!(y, Tensor::from_vec(&[1, 1, 4, 2], expected.to_vec()));
        let x = Tensor::from_vec(&[1, 1, 5, 5], (0..25).map(|v| v as f32).collect());
        let list = [("strides", ints(&[2, 2])), ("auto_pad", Attr::Str("SAME_LOWER".into()))];
        let y = run(&*parse("Conv", 22, &list, 2, 1).unwrap(), &[&x, &w], &[]).unwrap().remove(0);
        let expected = [12.0, 27.0, 24.0, 63.0, 108.0, 81.0, 72.0, 117.0, 84.0f32];
        assert_eq!(y, Tensor::from_vec(&[1, 1, 3, 3], expected.to_vec()));
    }

    #[test]
    fn kernels_agree_with_the_formula() {
        // Spatial ranks, groups (depthwise, with multiplier, neither), dilation, stride, bias.
        let cases: &[(&[usize], &[usize], i64)] = &[
            (&[2, 3, 9], &[4, 3, 3], 1),
            (&[2, 4, 6, 7], &[4, 1, 3, 2], 4),
            (&[1, 3, 6, 7], &[6, 1, 3, 3], 3),
            (&[1, 4, 6, 7], &[6, 2, 1, 3], 2),
            (&[1, 2, 5, 6, 7], &[3, 2, 2, 3, 1], 1),
            (&[1, 1, 5, 5], &[3, 1, 3, 3], 1),
            (&[0, 1, 5, 5], &[3, 1, 3, 3], 1),
        ];
        for (x, w, group) in cases {
            let rank = x.len() - 2;
            for (stride, dilation, pad) in [(1, 1, 0), (2, 1, 1), (1, 2, 2), (3, 2, 1)] {
                let list = [
                    ("group", Attr::Int(*group)),
                    ("strides", ints(&vec![stride; rank])),
                    ("dilations", ints(&vec![dilation; rank])),
                    ("pads", ints(&vec![pad; 2 * rank])),
                ];
                let op = parse("Conv", 11, &list, 3, 1).unwrap();
                run(&*op, &[&sample(x, 5), &sample(w, 3), &sample(&w[..1], 7)], &[1, 2]).unwrap();
            }
        }
    }

    #[test]
    fn open_extents() {
        let list = [("strides", ints(&[2, 2])), ("pads", ints(&[1, 1, 1, 1]))];
        let op = parse("Conv", 11, &list, 2, 1).unwrap();
        let x =
            Fact::new(DType::F32, Shape(vec![Dim::symbol("n"), 3i64.into(), Dim::symbol("h"), 8i64.into()]));
        let w = Fact::new(DType::F32, Shape::of(&[4, 3, 3, 3]));
        let y = op.infer(&[Some(&x), Some(&w)]).unwrap().remove(0);
        assert_eq!(y.ty().to_string(), "f32[n, 4, floordiv(h - 1, 2) + 1, 4]");
    }

    #[test]
    fn refusals() {
        let op = |list: &[(&str, Attr)]| parse("Conv", 11, list, 2, 1);
        assert!(op(&[("group", Attr::Int(0))]).unwrap_err().message.contains("'group' must be positive"));
        assert!(op(&[("pads", ints(&[-1, 0, 0, 0]))]).unwrap_err().message.contains("found -1"));
        let plain = op(&[]).unwrap();
        assert!(refusal(&*plain, &[&[1, 3, 8, 8], &[4, 3, 3]]).contains("have rank 3"));
        assert!(refusal(&*plain, &[&[1, 4, 8, 8], &[4, 3, 3, 3]]).contains("need 3 input channels"));
        assert!(refusal(&*plain, &[&[1, 3, 2, 8], &[4, 3, 3, 3]]).contains("does not fit"));
        assert!(refusal(&*plain, &[&[1, 3, 8, 8], &[4, 3, 0, 3]]).contains("empty"));
        assert!(refusal(&*plain, &[&[1, 3, 8, 8], &[4, 1 << 62, 3, 3]]).contains("input channels"));
        let grouped = op(&[("group", Attr::Int(2))]).unwrap();
        assert!(refusal(&*grouped, &[&[1, 6, 8, 8], &[5, 3, 3, 3]]).contains("do not divide into 2 groups"));
        let window = op(&[("kernel_shape", ints(&[3, 3]))]).unwrap();
        assert!(refusal(&*window, &[&[1, 3, 8, 8], &[4, 3, 1, 1]]).contains("differs"));
    }
}
