//! `MaxPool`: the maximum under a sliding window (ONNX `MaxPool`, since 1, 8, 10, 11, 12 and 22).
//!
//! ```text
//! y[n, c, q] = max over k of x[n, c, stride*q + dilation*k - begin]
//! ```
//!
//! over the elements inside x. Shapes: x `[N, C, ...]`, y the same with spatial extents as [`super::spatial`] says.
//!
//! Numerics: exact; NaN if any element is NaN. A window without an element inside gives the type's least value.
//!
//! The second result holds for each maximum its position in x, the first of equal ones, counted along rows (`storage_order`
//! 0) or columns (1) of a plane. Of a window with NaN it is unspecified.
//!
//! Lowering: a `Window` whose padding is the type's least value, or a `Reduce` where a single window fits. Positions are a
//! second `Reduce`: the least one whose element equals the maximum. Those of the elements are constants, or computed once a
//! run where extents are open.
//!
//! Unsupported: more than three spatial axes.
//! f16 and bf16 are computed in f32.

use super::nest::{NestBuilder, indices, mul};
use super::operand::{checked, fact, tensor};
use super::spatial::{Axis, Fixed, Spatial, loop_names};
use super::values::from_f64s;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{
    Access, BinaryOp, BufferId, Expr, Form, Index, LoopId, Lowering, ReduceOp, Scalar, Store, WindowOp,
};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "MaxPool", domain: "", since: (1, 22), parse, unsupported: "more than 3 spatial axes" };

/// ONNX `MaxPool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxPool {
    /// The window.
    pub spatial: Spatial,
    /// Whether the positions are a second result.
    indices: bool,
    /// Positions are counted along columns.
    by_columns: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=2)?;
    let (indices, by_columns) = (node.outputs > 1, node.flag("storage_order", false)?);
    Ok(Box::new(MaxPool { spatial: parse_window(node)?, indices, by_columns }))
}

/// The window of a pool: `kernel_shape` is required, `ceil_mode` allowed.
pub(super) fn parse_window(node: &mut NodeProto<'_>) -> Result<Spatial> {
    let mut spatial = Spatial::parse(node)?;
    if spatial.kernel.is_empty() {
        bail_invalid!("attribute 'kernel_shape' is missing");
    }
    spatial.ceil = node.flag("ceil_mode", false)?;
    Ok(spatial)
}

/// The attributes of a pool's window.
pub(super) fn window_attrs(spatial: &Spatial) -> Attrs {
    let mut attrs = spatial.attrs();
    if spatial.ceil {
        attrs.insert("ceil_mode".into(), Attr::Int(1));
    }
    attrs
}

/// Geometry and result of pooling an input of shape `x`.
pub(super) fn geometry(spatial: &Spatial, x: &Shape) -> Result<(Vec<Axis>, Shape)> {
    if x.rank() < 3 {
        bail_invalid!("the input must have batch, channels and at least one spatial axis, found {x}");
    }
    if x.rank() > 5 {
        bail_unsupported!("{} spatial axes are not supported, at most 3 are", x.rank() - 2);
    }
    if spatial.kernel.len() != x.rank() - 2 {
        bail_invalid!("kernel_shape {:?} needs {} elements for the input {x}", spatial.kernel, x.rank() - 2);
    }
    let axes = spatial.axes(&x[2..], &spatial.kernel)?;
    let shape = x[..2].iter().cloned().chain(axes.iter().map(|a| a.output.clone())).collect();
    Ok((axes, checked(shape)?))
}

/// `fold` over the elements of each window, then `finish` with the window's position: the reference of pools.
pub(super) fn pool(
    x: &Tensor,
    axes: &[Axis],
    shape: &Shape,
    start: f64,
    mut fold: impl FnMut(f64, f64) -> f64,
    mut finish: impl FnMut(f64, [usize; 3]) -> f64,
) -> Result<Tensor> {
    let open = || Error::internal("open extents in a tensor");
    let [d, h, w] = Fixed::three(axes).ok_or_else(open)?;
    let shape = shape.as_const().ok_or_else(open)?;
    let values = x.to_f64s()?;
    let (image, total) = (d.input * h.input * w.input, shape.iter().product());
    let mut out = Vec::with_capacity(total);
    let planes = shape[0] * shape[1];
    for plane in 0..if total == 0 { 0 } else { planes } {
        let x = &values[plane * image..][..image];
        for q in 0..d.output * h.output * w.output {
            let (od, oh, ow) = (q / (h.output * w.output), q / w.output % h.output, q % w.output);
            let mut acc = start;
            let inside = |axis: &Fixed, o: usize| {
                let axis = *axis;
                axis.reach(o, 0, axis.input as i64).map(move |k| axis.raw(o, k) as usize)
            };
            for id in inside(&d, od) {
                for ih in inside(&h, oh) {
                    let row = &x[(id * h.input + ih) * w.input..][..w.input];
                    acc = inside(&w, ow).fold(acc, |acc, iw| fold(acc, row[iw]));
                }
            }
            out.push(finish(acc, [od, oh, ow]));
        }
    }
    from_f64s(x.dtype, &shape, out)
}

/// Emits the `Window` of a pool, a `Reduce` where there is a single one per channel; `epilogue` gets the loops over the output's spatial axes.
pub(super) fn lower_window(
    cx: &mut Lowering<'_>,
    op: WindowOp,
    axes: &[Axis],
    padding: Scalar,
    epilogue: impl FnOnce(&[LoopId]) -> Expr,
) -> Result<()> {
    let shape = cx.output_fact(0)?.shape.clone();
    let rank = axes.len();
    let mut nest = NestBuilder::default();
    let (n, c) = (nest.parallel("n", &shape[0]), nest.parallel("c", &shape[1]));
    let out: Vec<_> =
        loop_names("o", rank).into_iter().zip(axes).map(|(s, a)| nest.parallel(s, &a.output)).collect();
    let window: Vec<_> =
        loop_names("k", rank).into_iter().zip(axes).map(|(s, a)| nest.reduce(s, &a.kernel.into())).collect();
    let mut from = indices(&[n, c]);
    from.extend(axes.iter().zip(out.iter().zip(&window)).map(|(a, (&o, &k))| Index::from(a.index(o, k))));
    let mut input = Access::new(cx.input(0)?, from);
    if axes.iter().any(Axis::overhangs) {
        input.otherwise = Some(padding);
    }
    let mut to = indices(&[n, c]);
    to.extend(indices(&out));
    let store = Store { to: Access::new(cx.output(0)?, to), value: epilogue(&out) };
    let whole = input.otherwise.is_none() && axes.iter().all(|a| a.output.is(1));
    let form = match op {
        WindowOp::Max if whole => Form::Reduce { op: ReduceOp::Max, value: Expr::Load(input), store },
        WindowOp::Sum if whole => Form::Reduce { op: ReduceOp::Sum, value: Expr::Load(input), store },
        _ => Form::Window { op, input, weight: None, store },
    };
    cx.emit(nest.loops, form);
    Ok(())
}

/// The least value of a type, as padding.
fn least(dtype: DType) -> Scalar {
    match dtype {
        DType::I8 => Scalar::int(dtype, i8::MIN.into()),
        DType::U8 => Scalar::int(dtype, 0),
        _ => Scalar::of(dtype, f64::NEG_INFINITY),
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = window_attrs(&self.spatial);
        if self.by_columns {
            attrs.insert("storage_order".into(), Attr::Int(1));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        if !(x.dtype.is_float() || matches!(x.dtype, DType::I8 | DType::U8)) {
            bail_invalid!("the input must be floating-point, i8 or u8, found {}", x.dtype);
        }
        let shape = geometry(&self.spatial, &x.shape)?.1;
        let mut results = vec![Fact::new(x.dtype, shape.clone())];
        if self.indices {
            results.push(Fact::new(DType::I64, shape));
        }
        Ok(results)
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let (axes, shape) = geometry(&self.spatial, &Shape::of(&x.shape))?;
        let max = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
        let start = least(x.dtype).to_f64();
        let mut results = vec![pool(x, &axes, &shape, start, max, |acc, _| acc)?];
        if self.indices {
            let found = self.found(x, &results[0], &axes)?;
            results.push(found);
        }
        Ok(results)
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let (axes, _) = geometry(&self.spatial, &x.shape)?;
        lower_window(cx, WindowOp::Max, &axes, least(x.dtype), |_| Expr::Acc)?;
        if self.indices { self.lower_indices(cx, &axes, least(x.dtype)) } else { Ok(()) }
    }
}

impl MaxPool {
    /// The position in a plane of its pixels, in their order, and the number of pixels.
    fn positions(&self, extents: &[usize]) -> Vec<i64> {
        let pixels: usize = extents.iter().product();
        if !self.by_columns {
            return (0..pixels as i64).collect();
        }
        let place = |pixel: usize| {
            let (mut rest, mut stride, mut place) = (pixel, pixels, 0);
            for extent in extents.iter().rev() {
                stride /= extent;
                place += rest % extent * stride;
                rest /= extent;
            }
            place as i64
        };
        // The last axis counts most.
        (0..pixels).map(place).collect()
    }

    fn found(&self, x: &Tensor, y: &Tensor, axes: &[Axis]) -> Result<Tensor> {
        let open = || Error::internal("open extents in a tensor");
        let [d, h, w] = Fixed::three(axes).ok_or_else(open)?;
        let (xs, ys) = (x.to_f64s()?, y.to_f64s()?);
        let (positions, pixels) = (self.positions(&x.shape[2..]), d.input * h.input * w.input);
        let windows = d.output * h.output * w.output;
        let find = |i: usize| {
            let (plane, q) = (i / windows, i % windows);
            let (od, oh, ow) = (q / (h.output * w.output), q / w.output % h.output, q % w.output);
            let mut least = i64::MAX;
            for id in (0..d.kernel).filter_map(|k| d.at(od, k)) {
                for ih in (0..h.kernel).filter_map(|k| h.at(oh, k)) {
                    for iw in (0..w.kernel).filter_map(|k| w.at(ow, k)) {
                        let pixel = (id * h.input + ih) * w.input + iw;
                        if xs[plane * pixels + pixel] == ys[i] {
                            least = least.min(positions[pixel]);
                        }
                    }
                }
            }
            least.saturating_add((plane * pixels) as i64)
        };
        Ok(Tensor::from_vec(&y.shape, (0..ys.len()).map(find).collect()))
    }

    fn lower_indices(&self, cx: &mut Lowering<'_>, axes: &[Axis], padding: Scalar) -> Result<()> {
        let out = cx.output_fact(1)?.shape.clone();
        let (bases, positions) = self.tables(cx)?;
        let mut nest = NestBuilder::default();
        let planes = [nest.parallel("n", &out[0]), nest.parallel("c", &out[1])];
        let names = |prefix: &str| loop_names(prefix, axes.len()).into_iter().zip(axes);
        let o: Vec<_> = names("o").map(|(s, a)| nest.parallel(s, &a.output)).collect();
        let k: Vec<_> = names("k").map(|(s, a)| nest.reduce(s, &a.kernel.into())).collect();
        let inside: Vec<Index> =
            axes.iter().zip(o.iter().zip(&k)).map(|(a, (&o, &k))| Index::from(a.index(o, k))).collect();
        let with_planes = |rest: &[Index]| indices(&planes).into_iter().chain(rest.iter().cloned()).collect();
        let last = Scalar::int(DType::I64, i64::MAX);
        let overhangs = axes.iter().any(Axis::overhangs);
        let guarded =
            |access: Access, value: Scalar| Access { otherwise: overhangs.then_some(value), ..access };
        let x = guarded(Access::new(cx.input(0)?, with_planes(&inside)), padding);
        let position = guarded(Access::new(positions, inside.clone()), last);
        let to = with_planes(&indices(&o));
        let maximum = Expr::Load(Access::new(cx.output(0)?, to.clone()));
        let equal = Expr::binary(BinaryOp::Eq, Expr::Load(x), maximum);
        let value = Expr::select(equal, Expr::Load(position), Expr::Const(last));
        let base = Expr::Load(Access::new(bases, indices(&planes)));
        let store =
            Store { to: Access::new(cx.output(1)?, to), value: Expr::binary(BinaryOp::Add, Expr::Acc, base) };
        cx.emit(nest.loops, Form::Reduce { op: ReduceOp::Min, value, store });
        Ok(())
    }
}

impl MaxPool {
    /// What the first element of each plane is counted as, and how elements of a plane are counted from there.
    fn tables(&self, cx: &mut Lowering<'_>) -> Result<(BufferId, BufferId)> {
        let shape = cx.fact(0)?.shape.clone();
        let (outer, inner) = (Shape(shape[..2].to_vec()), Shape(shape[2..].to_vec()));
        if let Some(shape) = shape.as_const() {
            let pixels: usize = shape[2..].iter().product();
            let positions = Tensor::from_vec(&shape[2..], self.positions(&shape[2..]));
            let bases = (0..shape[0] * shape[1]).map(|plane| (plane * pixels) as i64).collect();
            let bases = cx.constant("planes", Tensor::from_vec(&shape[..2], bases));
            return Ok((bases, cx.constant("positions", positions)));
        }
        let strides = |shape: &Shape, from: Dim, by_columns: bool| {
            let mut stride = from;
            let mut list = vec![Dim::Const(0); shape.rank()];
            let mut next = |axis: usize| {
                list[axis] = stride.clone();
                stride = stride.clone() * shape[axis].clone();
            };
            if by_columns {
                (0..shape.rank()).for_each(&mut next);
            } else {
                (0..shape.rank()).rev().for_each(&mut next);
            }
            list
        };
        let of_planes = strides(&outer, inner.elements(), false);
        let bases = sums(cx, "planes", &outer, &of_planes);
        let of_elements = strides(&inner, Dim::Const(1), self.by_columns);
        Ok((bases, sums(cx, "positions", &inner, &of_elements)))
    }
}

/// A table of so many steps along each axis.
fn sums(cx: &mut Lowering<'_>, name: &str, shape: &Shape, strides: &[Dim]) -> BufferId {
    let table = cx.temp(name, DType::I64, shape.clone());
    let (loops, ids) = Lowering::loops_over(shape);
    let step = |(l, stride): (&LoopId, &Dim)| mul(Expr::Loop(*l), Expr::size(DType::I64, stride));
    let none = || Expr::Const(Scalar::int(DType::I64, 0));
    let value = ids.iter().zip(strides).map(step).reduce(|a, b| Expr::binary(BinaryOp::Add, a, b));
    let store = Store { to: Access::new(table, indices(&ids)), value: value.unwrap_or_else(none) };
    cx.emit(loops, Form::Map { stores: vec![store] });
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{ints, parse, refusal, run, sample};

    #[test]
    fn same_as_onnx() {
        // Node cases `maxpool_2d_ceil` and `maxpool_2d_dilations`.
        let x = Tensor::from_vec(&[1, 1, 4, 4], (1..=16).map(|v| v as f32).collect());
        let list = [("kernel_shape", ints(&[3, 3])), ("strides", ints(&[2, 2])), ("ceil_mode", Attr::Int(1))];
        let y = run(&*parse("MaxPool", 12, &list, 1, 1).unwrap(), &[&x], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 2, 2], vec![11f32, 12.0, 15.0, 16.0]));
        let list = [("kernel_shape", ints(&[2, 2])), ("dilations", ints(&[2, 2]))];
        let y = run(&*parse("MaxPool", 12, &list, 1, 1).unwrap(), &[&x], &[]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 2, 2], vec![11f32, 12.0, 15.0, 16.0]));
    }

    #[test]
    fn positions_of_the_maxima() {
        // Node case `maxpool_with_argmax_2d_precomputed_strides`, by rows and by columns.
        let x = Tensor::from_vec(&[1, 1, 5, 5], (1..=25).map(|v| v as f32).collect());
        for (order, want) in [(0, vec![6i64, 8, 16, 18]), (1, vec![6, 16, 8, 18])] {
            let list = [
                ("kernel_shape", ints(&[2, 2])),
                ("strides", ints(&[2, 2])),
                ("storage_order", Attr::Int(order)),
            ];
            let y = run(&*parse("MaxPool", 12, &list, 1, 2).unwrap(), &[&x], &[]).unwrap();
            assert_eq!(y[1], Tensor::from_vec(&[1, 1, 2, 2], want));
        }
        for rank in 1..=3 {
            let list = [("kernel_shape", ints(&vec![3; rank])), ("pads", ints(&vec![1; 2 * rank]))];
            let shape: Vec<usize> = [2, 3].into_iter().chain((0..rank).map(|i| i + 4)).collect();
            let op = parse("MaxPool", 12, &list, 1, 2).unwrap();
            run(&*op, &[&sample(&shape, 5)], &[]).unwrap();
            run(&*op, &[&crate::ops::testing::bytes(DType::I8, &shape, 3)], &[]).unwrap();
        }
    }

    #[test]
    fn all_ranks_and_types() {
        for rank in 1..=3 {
            let list = [("kernel_shape", ints(&vec![3; rank])), ("pads", ints(&vec![1; 2 * rank]))];
            let op = parse("MaxPool", 12, &list, 1, 1).unwrap();
            let shape: Vec<usize> = [2, 3].into_iter().chain((0..rank).map(|i| i + 4)).collect();
            run(&*op, &[&sample(&shape, 5)], &[]).unwrap();
            let n = shape.iter().product::<usize>();
            let bytes = Tensor::from_vec(&shape, (0..n).map(|i| (i * 37 % 251) as u8).collect());
            run(&*op, &[&bytes], &[]).unwrap();
            // Padding must not win over negative elements.
            let negative = Tensor::from_vec(&shape, (0..n).map(|i| -1 - (i * 37 % 127) as i8).collect());
            run(&*op, &[&negative], &[]).unwrap();
        }
    }

    #[test]
    fn refusals() {
        let window = ("kernel_shape", ints(&[3, 3]));
        assert!(parse("MaxPool", 12, &[], 1, 1).unwrap_err().message.contains("missing"));
        assert!(parse("MaxPool", 12, &[("kernel_shape", ints(&[0, 3]))], 1, 1).is_err());
        let op = parse("MaxPool", 12, &[window], 1, 1).unwrap();
        assert!(refusal(&*op, &[&[1, 3, 8]]).contains("needs 1 elements"));
        assert!(refusal(&*op, &[&[1, 3, 2, 8]]).contains("does not fit"));
    }
}
