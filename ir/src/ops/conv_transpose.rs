//! `ConvTranspose`: the gradient of a convolution (ONNX `ConvTranspose`, since 1, 11 and 22) over one to three
//! spatial axes.
//!
//! ```text
//! y[n, o, stride*i + dilation*k - begin] += x[n, c, i] * w[c, o', k]        y starts as b[o]
//! ```
//!
//! for G groups of channels, `o = g*O' + o'` and `g = c / (C/G)`. Shapes: x `[N, C, ...]`, w `[C, O', kernel...]`, b
//! `[G*O']`, y `[N, G*O', ...]` with `out = stride * (in - 1) + output_padding + span - begin - end` per spatial axis,
//! or `output_shape`, or `in * stride` for `SAME_*`, from which the padding follows.
//!
//! Numerics: products and sums in the element type, in any order; `eval` accumulates in f64.
//!
//! Lowering: outputs at the same remainder modulo the stride read the same elements of the window, so each
//! combination of remainders is a `Contract` of its own over a part of the window, a `Window` where every channel is a
//! group, and nothing is multiplied by the zeros between the inputs.
//!
//! Unsupported: more than three spatial axes; more than 64 combinations of remainders; padding that depends on an
//! open extent.
//! Sums over f16 and bf16 are f32, rounded once.

use super::nest::{NestBuilder, add, constant, rounded, widened};
use super::operand::{checked, fact, same_types, tensor};
use super::spatial::{AutoPad, Axis, Fixed, Spatial, loop_names};
use super::values::{float, from_f64s};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, Expr, Form, Index, LoopId, Lowering, Scalar, Store, WindowOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::Shape;
use crate::{bail_invalid, bail_unsupported};

/// Kernels that one node may become.
const MAX_PHASES: i64 = 64;

/// The definition.
pub const DEF: OpDef = OpDef {
    name: "ConvTranspose",
    domain: "",
    since: (1, 22),
    parse,
    unsupported: "more than 3 spatial axes; product of strides above 64",
};

/// ONNX `ConvTranspose`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvTranspose {
    /// The window.
    pub spatial: Spatial,
    /// Number of groups.
    pub group: i64,
    /// Elements added at the end of each axis; empty for none.
    pub output_padding: Vec<i64>,
    /// Extents of the result; empty where they follow from the padding.
    pub output_shape: Vec<i64>,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=3, 1..=1)?;
    let group = node.int("group")?.unwrap_or(1);
    if group < 1 {
        bail_invalid!("attribute 'group' must be positive, found {group}");
    }
    let mut list = |name: &str| {
        let values = node.ints(name)?.unwrap_or_default();
        match values.iter().find(|v| !(0..=i64::from(i32::MAX)).contains(*v)) {
            Some(bad) => bail_invalid!("attribute '{name}' must be from 0 to {}, found {bad}", i32::MAX),
            None => Ok(values),
        }
    };
    let (mut output_padding, output_shape) = (list("output_padding")?, list("output_shape")?);
    grow_ends(node, &mut output_padding);
    Ok(Box::new(ConvTranspose { spatial: Spatial::parse(node)?, group, output_padding, output_shape }))
}

/// Negative padding at an end adds as many elements there, as converters write it.
fn grow_ends(node: &mut NodeProto<'_>, output_padding: &mut Vec<i64>) {
    let Some(Attr::Ints(pads)) = node.attrs.get_mut("pads") else { return };
    let rank = pads.len() / 2;
    if pads.len() != 2 * rank || !(output_padding.is_empty() || output_padding.len() == rank) {
        return;
    }
    for (i, pad) in pads[rank..].iter_mut().enumerate() {
        if (i64::from(i32::MIN)..0).contains(pad) {
            output_padding.resize(rank, 0);
            output_padding[i] -= *pad;
            *pad = 0;
        }
    }
}

/// What inference finds out. An axis is that of the convolution whose gradient this is: its input is the result.
struct Geometry {
    axes: Vec<Axis>,
    output: Shape,
}

impl ConvTranspose {
    fn geometry(&self, x: &Shape, w: &Shape) -> Result<Geometry> {
        if x.rank() < 3 {
            bail_invalid!("the input must have batch, channels and at least one spatial axis, found {x}");
        }
        if w.rank() != x.rank() {
            bail_invalid!("weights {w} have rank {} and the input {x} has rank {}", w.rank(), x.rank());
        }
        if x.rank() > 5 {
            bail_unsupported!("{} spatial axes are not supported, at most 3 are", x.rank() - 2);
        }
        let Some(weights) = w.as_const() else {
            bail_unsupported!(
                "weights with open extents {w} are not supported: bind their dimensions with --dim"
            )
        };
        let kernel: Vec<i64> = w[2..].iter().filter_map(Dim::as_const).collect();
        if kernel.contains(&0) {
            bail_invalid!("the window of weights {w} is empty");
        }
        if !self.spatial.kernel.is_empty() && self.spatial.kernel != kernel {
            bail_invalid!("kernel_shape {:?} differs from that of the weights {w}", self.spatial.kernel);
        }
        if x[1].as_const().is_some() && x[1] != w[0] {
            bail_invalid!("weights {w} need {} input channels, the input {x} has {}", w[0], x[1]);
        }
        if weights[0] as i64 % self.group != 0 {
            bail_invalid!("{} input channels do not divide into {} groups", w[0], self.group);
        }
        let rank = kernel.len();
        // ONNX allows `output_shape` with and without batch and channels.
        let output_shape = match self.output_shape.len() {
            n if n == rank + 2 => &self.output_shape[2..],
            _ => &self.output_shape[..],
        };
        let lists = [
            ("strides", &self.spatial.strides[..], rank),
            ("dilations", &self.spatial.dilations, rank),
            ("pads", &self.spatial.pads, 2 * rank),
            ("output_padding", &self.output_padding, rank),
            ("output_shape", output_shape, rank),
        ];
        for (name, list, needed) in lists {
            if !list.is_empty() && list.len() != needed {
                bail_invalid!("attribute '{name}' {list:?} needs {needed} elements for {rank} spatial axes");
            }
        }
        let or = |list: &[i64], i: usize, default| list.get(i).copied().unwrap_or(default);
        let mut axes = Vec::new();
        for (i, &extent) in kernel.iter().enumerate() {
            let axis = Axis {
                input: Dim::Const(0),
                output: x[2 + i].clone(),
                kernel: extent,
                stride: or(&self.spatial.strides, i, 1),
                dilation: or(&self.spatial.dilations, i, 1),
                begin: Dim::Const(or(&self.spatial.pads, i, 0)),
                end: Dim::Const(or(&self.spatial.pads, rank + i, 0)),
            };
            let wanted = output_shape.get(i).copied().map(Dim::Const);
            axes.push(self.axis(axis, or(&self.output_padding, i, 0), wanted)?);
        }
        let mut output = vec![x[0].clone(), w[1].clone() * self.group.into()];
        output.extend(axes.iter().map(|a| a.input.clone()));
        Ok(Geometry { axes, output: checked(Shape(output))? })
    }

    fn axis(&self, mut axis: Axis, padding: i64, wanted: Option<Dim>) -> Result<Axis> {
        let same = matches!(self.spatial.auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
        let reach = (axis.output.clone() - Dim::Const(1)) * axis.stride.into() + padding.into() + axis.span();
        let wanted = wanted.or_else(|| same.then(|| axis.output.clone() * axis.stride.into()));
        if let Some(wanted) = wanted {
            let total = (reach - wanted.clone()).max_with(&Dim::Const(0));
            let half = total.floor_div(&Dim::Const(2)).unwrap_or(Dim::Const(0));
            let rest = total - half.clone();
            let upper = self.spatial.auto_pad == AutoPad::SameUpper;
            (axis.begin, axis.end) = if upper { (half, rest) } else { (rest, half) };
            axis.input = wanted;
        } else {
            axis.input = reach - axis.begin.clone() - axis.end.clone();
        }
        Ok(axis)
    }
}

/// The outputs of one axis at one remainder modulo the stride.
struct Phase {
    /// The remainder.
    remainder: i64,
    /// Number of these outputs.
    outputs: Dim,
    /// First element of the window that they read, distance of the others, and number.
    first: i64,
    step: i64,
    taps: i64,
    /// The input index of output 0 and the first element, and how far it falls with each further element.
    offset: i64,
    fall: i64,
}

fn phases(axis: &Axis) -> Result<Vec<Phase>> {
    let Some(begin) = axis.begin.as_const() else {
        bail_unsupported!(
            "padding {} that depends on an open extent is not supported: bind it with --dim",
            axis.begin
        );
    };
    let (stride, dilation) = (axis.stride, axis.dilation);
    // Elements of the window repeat their remainder after this many.
    let step = (1..=stride).find(|s| s * dilation % stride == 0).unwrap_or(stride);
    let phase = |remainder: i64| {
        let hits = |k: &i64| (remainder + begin - dilation * k).rem_euclid(stride) == 0;
        let first = (0..step.min(axis.kernel)).find(hits);
        Phase {
            remainder,
            // Not less than 0, since the remainder is below the stride.
            outputs: (axis.input.clone() - remainder.into()).ceil_div(stride),
            first: first.unwrap_or(0),
            step,
            taps: first.map_or(0, |first| (axis.kernel - first - 1) / step + 1),
            offset: first.map_or(0, |first| (remainder + begin - dilation * first) / stride),
            fall: dilation * step / stride,
        }
    };
    Ok((0..stride).map(phase).collect())
}

impl Phase {
    /// Whether some input index may lie outside an axis of this extent.
    fn overhangs(&self, extent: &Dim) -> bool {
        let last = self.outputs.clone() - Dim::Const(1) + self.offset.into();
        let beyond = last - extent.clone() + Dim::Const(1);
        self.offset < (self.taps - 1) * self.fall || beyond.as_const().is_none_or(|b| b > 0)
    }
}

impl Op for ConvTranspose {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = self.spatial.attrs();
        if self.group != 1 {
            attrs.insert("group".into(), Attr::Int(self.group));
        }
        for (name, list) in [("output_padding", &self.output_padding), ("output_shape", &self.output_shape)] {
            if !list.is_empty() {
                attrs.insert(name.into(), Attr::Ints(list.clone()));
            }
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let (x, w) = (fact(inputs, 0)?, fact(inputs, 1)?);
        let mut all = vec![x, w];
        all.extend(inputs.get(2).copied().flatten());
        float(x, "the input")?;
        let dtype = same_types(&all)?;
        let output = self.geometry(&x.shape, &w.shape)?.output;
        if let Some(b) = all.get(2)
            && (b.shape.rank() != 1 || b.shape[0] != output[1])
        {
            bail_invalid!("the bias must have shape [{}], found {}", output[1], b.shape);
        }
        Ok(vec![Fact::new(dtype, output)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let (x, w) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let geometry = self.geometry(&Shape::of(&x.shape), &Shape::of(&w.shape))?;
        let open = || Error::internal("open extents in a tensor");
        let shape = geometry.output.as_const().ok_or_else(open)?;
        let axes = Fixed::three(&geometry.axes).ok_or_else(open)?;
        let (channels, per_group, group) = (w.shape[0], w.shape[1], self.group as usize);
        let image: usize = axes.iter().map(|a| a.output).product();
        let (plane, window) =
            (axes.iter().map(|a| a.input).product(), axes.iter().map(|a| a.kernel).product());
        let bias = inputs.get(2).copied().flatten().map(Tensor::to_f64s).transpose()?;
        let (xs, ws) = (x.to_f64s()?, w.to_f64s()?);
        let mut out = vec![0.0; shape.iter().product()];
        if plane > 0 {
            for (i, y) in out.chunks_exact_mut(plane).enumerate() {
                let (n, o) = (i / shape[1], i % shape[1]);
                y.fill(bias.as_ref().map_or(0.0, |b| b[o]));
                for c in 0..channels / group {
                    let c = o / per_group * (channels / group) + c;
                    let x = &xs[(n * channels + c) * image..][..image];
                    scatter(y, x, &ws[(c * per_group + o % per_group) * window..][..window], &axes);
                }
            }
        }
        Ok(vec![from_f64s(x.dtype, &shape, out)?])
    }

    fn work(&self, operand: u128, results: u128) -> u128 {
        operand.saturating_mul(results)
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, w) = (cx.fact(0)?.clone(), cx.fact(1)?.clone());
        let axes = self.geometry(&x.shape, &w.shape)?.axes;
        let count = axes.iter().try_fold(1i64, |n, a| n.checked_mul(a.stride));
        if count.is_none_or(|n| n > MAX_PHASES) {
            bail_unsupported!(
                "strides {:?} are not supported: their product is above {MAX_PHASES}",
                self.spatial.strides
            );
        }
        let mut combinations: Vec<Vec<&Phase>> = vec![vec![]];
        let all = axes.iter().map(phases).collect::<Result<Vec<_>>>()?;
        for axis in &all {
            let extended = |c: &Vec<_>| axis.iter().map(|p| [&c[..], &[p]].concat()).collect::<Vec<_>>();
            combinations = combinations.iter().flat_map(extended).collect();
        }
        for combination in combinations {
            self.lower_phase(cx, &x, &w, &axes, &combination)?;
        }
        Ok(())
    }
}

impl ConvTranspose {
    fn lower_phase(
        &self,
        cx: &mut Lowering<'_>,
        x: &Fact,
        w: &Fact,
        axes: &[Axis],
        phases: &[&Phase],
    ) -> Result<()> {
        if phases.iter().any(|p| p.outputs.is(0)) {
            return Ok(());
        }
        let rank = axes.len();
        let per_group = w.shape[1].clone();
        let depth = w.shape[0].floor_div(&self.group.into()).unwrap_or(w.shape[0].clone());
        // A channel each: a window, whose group is the channel.
        let depthwise = self.group > 1 && per_group.is(1) && depth.is(1);
        let mut nest = NestBuilder::default();
        let n = nest.parallel("n", &x.shape[0]);
        let g = (self.group > 1).then(|| nest.parallel("g", &self.group.into()));
        let o = (!depthwise).then(|| nest.parallel("o", &per_group));
        let out: Vec<_> = loop_names("o", rank)
            .into_iter()
            .zip(phases)
            .map(|(s, p)| nest.parallel(s, &p.outputs))
            .collect();
        let grouped = |inner: Option<LoopId>, size: &Dim| {
            let within = inner.map_or_else(|| Affine::constant(0i64), Affine::of);
            match g {
                Some(g) => within.plus(g, size.clone()),
                None => within,
            }
        };
        let channel: Index = grouped(o, &per_group).into();
        let mut to = vec![n.into(), channel.clone()];
        for ((&q, phase), axis) in out.iter().zip(phases).zip(axes) {
            to.push(Affine::constant(phase.remainder).plus(q, axis.stride).into());
        }
        let to = Access::new(cx.output(0)?, to);
        let bias = match cx.has_input(2) {
            true => Some(Expr::Load(Access::new(cx.input(2)?, vec![channel]))),
            false => None,
        };
        if phases.iter().any(|p| p.taps == 0) {
            let value = bias.unwrap_or(constant(x.dtype, 0.0));
            cx.emit(nest.loops, Form::Map { stores: vec![Store { to, value }] });
            return Ok(());
        }
        let c = (!depthwise).then(|| nest.reduce("c", &depth));
        let taps: Vec<_> = loop_names("k", rank)
            .into_iter()
            .zip(phases)
            .map(|(s, p)| nest.reduce(s, &p.taps.into()))
            .collect();
        let mut from: Vec<Index> = vec![n.into(), grouped(c, &depth).into()];
        let mut weight: Vec<Index> = vec![grouped(c, &depth).into()];
        weight.push(o.map_or_else(|| Affine::constant(0i64).into(), Index::from));
        for ((&q, &k), phase) in out.iter().zip(&taps).zip(phases) {
            from.push(Affine::constant(phase.offset).plus(q, 1i64).plus(k, -phase.fall).into());
            weight.push(Affine::constant(phase.first).plus(k, phase.step).into());
        }
        let mut lhs = Access::new(cx.input(0)?, from);
        if phases.iter().zip(axes).any(|(p, a)| p.overhangs(&a.output)) {
            lhs.otherwise = Some(Scalar::of(x.dtype, 0.0));
        }
        let rhs = Access::new(cx.input(1)?, weight);
        let value = bias.map_or(Expr::Acc, |b| add(Expr::Acc, widened(x.dtype, b)));
        let store = Store { to, value: rounded(x.dtype, value) };
        let form = match depthwise {
            true => Form::Window { op: WindowOp::Dot, input: lhs, weight: Some(rhs), store },
            false => Form::Contract { acc: x.dtype.accumulator(), lhs, rhs, store },
        };
        cx.emit(nest.loops, form);
        Ok(())
    }
}

/// Adds what one channel of the input contributes to one plane of the output.
fn scatter(y: &mut [f64], x: &[f64], w: &[f64], [d, h, v]: &[Fixed; 3]) {
    for (k, &factor) in w.iter().enumerate() {
        let (kd, kh, kw) = (k / (h.kernel * v.kernel), k / v.kernel % h.kernel, k % v.kernel);
        for id in d.inside(kd) {
            for ih in h.inside(kh) {
                let (Some(od), Some(oh)) = (d.at(id, kd), h.at(ih, kh)) else { continue };
                for iw in v.inside(kw) {
                    let Some(ow) = v.at(iw, kw) else { continue };
                    y[(od * h.input + oh) * v.input + ow] += factor * x[(id * h.output + ih) * v.output + iw];
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
    fn by_hand() {
        let x = Tensor::from_vec(&[1, 1, 2], vec![1f32, 2.0]);
        let w = Tensor::from_vec(&[1, 1, 3], vec![1f32, 10.0, 100.0]);
        let op = parse("ConvTranspose", 11, &[("strides", ints(&[2]))], 2, 1).unwrap();
        let y = run(&*op, &[&x, &w], &[1]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 5], vec![1f32, 10.0, 102.0, 20.0, 200.0]));
    }

    #[test]
    fn kernels_agree_with_the_formula() {
        let cases: &[(&[usize], &[usize], i64)] = &[
            (&[2, 3, 5], &[3, 2, 3], 1),
            (&[2, 4, 3, 4], &[4, 2, 3, 2], 2),
            (&[1, 2, 3, 2, 3], &[2, 1, 2, 3, 1], 1),
            (&[2, 3, 4, 3], &[3, 1, 4, 3], 3),
        ];
        for (x, w, group) in cases {
            let rank = x.len() - 2;
            for (stride, dilation, pad, extra) in
                [(1, 1, 0, 0), (2, 1, 0, 1), (3, 2, 1, 2), (2, 2, 0, 0), (4, 1, 0, 0)]
            {
                let list = [
                    ("group", Attr::Int(*group)),
                    ("strides", ints(&vec![stride; rank])),
                    ("dilations", ints(&vec![dilation; rank])),
                    ("pads", ints(&vec![pad; 2 * rank])),
                    ("output_padding", ints(&vec![extra; rank])),
                ];
                let op = parse("ConvTranspose", 11, &list, 3, 1).unwrap();
                let bias = sample(&[w[1] * *group as usize], 7);
                run(&*op, &[&sample(x, 5), &sample(w, 3), &bias], &[1, 2]).unwrap();
            }
        }
    }

    #[test]
    fn extents_of_the_result() {
        let of = |list: &[(&str, Attr)]| {
            let op = parse("ConvTranspose", 11, list, 2, 1).unwrap();
            run(&*op, &[&sample(&[1, 1, 5], 5), &sample(&[1, 1, 4], 3)], &[]).unwrap().remove(0).shape
        };
        let strides = ("strides", ints(&[2]));
        assert_eq!(of(std::slice::from_ref(&strides)), [1, 1, 12]);
        assert_eq!(of(&[strides.clone(), ("auto_pad", Attr::Str("SAME_UPPER".into()))]), [1, 1, 10]);
        assert_eq!(of(&[strides, ("output_shape", ints(&[11]))]), [1, 1, 11]);
    }

    #[test]
    fn refusals() {
        let op = parse("ConvTranspose", 11, &[], 2, 1).unwrap();
        assert!(refusal(&*op, &[&[1, 3, 8, 8], &[4, 3, 3, 3]]).contains("need 4 input channels"));
        let pads = parse("ConvTranspose", 11, &[("pads", ints(&[9, 9]))], 2, 1).unwrap();
        assert!(refusal(&*pads, &[&[1, 3, 8], &[3, 1, 3]]).contains("negative extent"));
        assert!(parse("ConvTranspose", 11, &[("output_padding", ints(&[-1]))], 2, 1).is_err());
    }
}
