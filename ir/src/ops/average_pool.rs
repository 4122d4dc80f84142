//! `AveragePool`: the mean under a sliding window (ONNX `AveragePool`, since 1, 7, 10, 11, 19 and 22).
//!
//! ```text
//! y[n, c, q] = sum over k of x[n, c, stride*q + dilation*k - begin] / count(q)
//! ```
//!
//! where `count(q)` is the number of elements of the window inside x, or inside x and its padding with
//! `count_include_pad`. Shapes: x `[N, C, ...]`, y the same with spatial extents as [`super::spatial`] says.
//!
//! Numerics: a sum in the element type times the reciprocal of the count; `eval` sums in f64 and divides.
//!
//! Lowering: a `Window` with a constant factor, or with a constant tensor of factors where windows at the border
//! count fewer elements; of factors per axis where that would be large. Factors of an open axis are computed by a kernel.
//!
//! Unsupported: more than three spatial axes.
//! f16 and bf16 are computed in f32.

use super::max_pool::{geometry, lower_window, parse_window, pool, window_attrs};
use super::nest::{add, constant, div, indices, mul, sub};
use super::operand::{fact, tensor};
use super::spatial::{Axis, Fixed, Spatial};
use super::values::{float, from_f64s};
use crate::error::{Error, Result};
use crate::kernel::{Access, BinaryOp, BufferId, Expr, Form, LoopId, Lowering, Scalar, Store, WindowOp};
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::Tensor;
use crate::types::{DType, Shape};

/// Shows in text forms that a pool gives sums: what `LpPool` is made of.
pub(super) const SUM: &str = "kiln.sum";

/// Entries of the table of factors at most.
const MOST_FACTORS: usize = 1 << 16;

/// The definition.
pub const DEF: OpDef =
    OpDef { name: "AveragePool", domain: "", since: (1, 22), parse, unsupported: "more than 3 spatial axes" };

/// ONNX `AveragePool`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AveragePool {
    /// The window.
    pub spatial: Spatial,
    /// Padding counts as elements of value 0.
    pub count_padding: bool,
    /// Sums are not divided.
    pub sum: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(1..=1, 1..=1)?;
    let count_padding = node.flag("count_include_pad", false)?;
    let sum = node.flag(SUM, false)?;
    Ok(Box::new(AveragePool { spatial: parse_window(node)?, count_padding, sum }))
}

impl AveragePool {
    /// How many elements window `o` of an axis counts.
    fn count(&self, axis: &Fixed, o: usize) -> usize {
        if self.sum {
            return 1;
        }
        let (input, end) = (axis.input as i64, axis.end);
        let counted =
            if self.count_padding { axis.reach(o, i64::MIN, input + end) } else { axis.reach(o, 0, input) };
        counted.len()
    }

    /// Emits the kernel that computes 1 / [`Self::count`] for each window of an open axis.
    fn reciprocals(&self, cx: &mut Lowering<'_>, dtype: DType, axis: &Axis) -> BufferId {
        let shape = Shape(vec![axis.output.clone()]);
        let table = cx.temp("reciprocals", dtype, shape.clone());
        let (loops, ids) = Lowering::loops_over(&shape);
        let int = |n: i64| Expr::Const(Scalar::int(DType::I64, n));
        // Elements of a window that begins at `first` which lie before `end`.
        let begin = Expr::size(DType::I64, &axis.begin);
        let first = sub(mul(Expr::Loop(ids[0]), int(axis.stride)), begin);
        let before = |end: Expr| {
            let room = Expr::binary(BinaryOp::Max, sub(end, first.clone()), int(0));
            let elements = match axis.dilation {
                1 => room,
                d => div(add(room, int(d - 1)), int(d)),
            };
            Expr::binary(BinaryOp::Min, elements, int(axis.kernel))
        };
        let count = if self.count_padding {
            before(Expr::size(DType::I64, &(axis.input.clone() + axis.end.clone())))
        } else {
            sub(before(Expr::size(DType::I64, &axis.input)), before(int(0)))
        };
        let one = constant(DType::F64, 1.0);
        let value = Expr::cast(dtype, div(one, Expr::cast(DType::F64, count)));
        cx.emit(loops, Form::Map { stores: vec![Store { to: Access::new(table, indices(&ids)), value }] });
        table
    }

    /// Whether every window counts all of its elements, whatever the extents.
    fn uniform(&self, axis: &Axis) -> bool {
        let padded = Axis {
            input: axis.input.clone() + axis.begin.clone() + axis.end.clone(),
            begin: 0i64.into(),
            end: 0i64.into(),
            ..axis.clone()
        };
        self.sum || !if self.count_padding { padded.overhangs() } else { axis.overhangs() }
    }
}

impl Op for AveragePool {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mut attrs = window_attrs(&self.spatial);
        if self.count_padding {
            attrs.insert("count_include_pad".into(), Attr::Int(1));
        }
        if self.sum {
            attrs.insert(SUM.into(), Attr::Int(1));
        }
        attrs
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = fact(inputs, 0)?;
        let dtype = float(x, "the input")?;
        Ok(vec![Fact::new(dtype, geometry(&self.spatial, &x.shape)?.1)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = tensor(inputs, 0)?;
        let (axes, shape) = geometry(&self.spatial, &Shape::of(&x.shape))?;
        let fixed = Fixed::three(&axes).ok_or_else(|| Error::internal("open extents in a tensor"))?;
        let count = |o: [usize; 3]| -> usize { (0..3).map(|i| self.count(&fixed[i], o[i])).product() };
        Ok(vec![pool(x, &axes, &shape, 0.0, |a, b| a + b, |acc, o| acc / count(o) as f64)?])
    }

    fn takes_short_floats(&self) -> bool {
        false
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let x = cx.fact(0)?.clone();
        let dtype = x.dtype;
        let (axes, _) = geometry(&self.spatial, &x.shape)?;
        let zero = Scalar::of(dtype, 0.0);
        if axes.iter().all(|a| self.uniform(a)) {
            if self.sum {
                return lower_window(cx, WindowOp::Sum, &axes, zero, |_| Expr::Acc);
            }
            let count: f64 = axes.iter().map(|a| a.kernel as f64).product();
            let factor = constant(dtype, 1.0 / count);
            return lower_window(cx, WindowOp::Sum, &axes, zero, |_| mul(Expr::Acc, factor));
        }
        let fixed: Option<Vec<Fixed>> = axes.iter().map(Axis::fixed).collect();
        let counts = |axis: &Fixed| (0..axis.output).map(|o| self.count(axis, o)).collect::<Vec<usize>>();
        let area = |fixed: &[Fixed]| fixed.iter().map(|a| a.output).product::<usize>();
        let Some(fixed) = fixed.filter(|fixed| area(fixed) <= MOST_FACTORS) else {
            // A factor per axis: a table of all would be as large as the result, or is known when it runs.
            let mut tables = Vec::with_capacity(axes.len());
            for axis in &axes {
                tables.push(match axis.fixed() {
                    Some(axis) => {
                        let factors = counts(&axis).into_iter().map(|c| 1.0 / c as f64).collect();
                        cx.constant("reciprocals", from_f64s(dtype, &[axis.output], factors)?)
                    }
                    None => self.reciprocals(cx, dtype, axis),
                });
            }
            return lower_window(cx, WindowOp::Sum, &axes, zero, |out| {
                let factor =
                    |(table, l): (&BufferId, &LoopId)| Expr::Load(Access::new(*table, indices(&[*l])));
                tables.iter().zip(out).map(factor).fold(Expr::Acc, mul)
            });
        };
        let shape: Vec<usize> = fixed.iter().map(|a| a.output).collect();
        let counts = fixed.iter().map(counts).fold(vec![1usize], |all, own| {
            all.iter().flat_map(|outer| own.iter().map(move |inner| outer * inner)).collect()
        });
        let factors = counts.into_iter().map(|c| 1.0 / c as f64).collect();
        let factors = cx.constant("reciprocals", from_f64s(dtype, &shape, factors)?);
        lower_window(cx, WindowOp::Sum, &axes, zero, |out| {
            mul(Expr::Acc, Expr::Load(Access::new(factors, indices(out))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{every_type, ints, numbers, parse, run, sample};

    fn pooled(list: &[(&str, Attr)], x: &Tensor) -> Tensor {
        run(&*parse("AveragePool", 19, list, 1, 1).unwrap(), &[x], &[]).unwrap().remove(0)
    }

    #[test]
    fn same_as_onnx() {
        // Node cases `averagepool_2d_precomputed_pads`, with and without the padding counted: the corner.
        let x = Tensor::from_vec(&[1, 1, 5, 5], (1..=25).map(|v| v as f32).collect());
        let window = ("kernel_shape", ints(&[5, 5]));
        let pads = ("pads", ints(&[2, 2, 2, 2]));
        let y = pooled(&[window.clone(), pads.clone()], &x).to_f64s().unwrap();
        assert_eq!((y[0], y[1], y[12]), (7.0, 7.5, 13.0));
        let y = pooled(&[window, pads, ("count_include_pad", Attr::Int(1))], &x).to_f64s().unwrap();
        assert_eq!((y[0] as f32, y[1] as f32, y[12]), (2.52, 3.6, 13.0));
    }

    #[test]
    fn windows_beyond_the_padding_do_not_count() {
        // Node case `averagepool_2d_ceil_last_window_starts_on_pad`, reduced to one axis.
        let x = Tensor::from_vec(&[1, 1, 4], vec![1f32, 2.0, 3.0, 4.0]);
        let list = |include| {
            [
                ("kernel_shape", ints(&[3])),
                ("strides", ints(&[2])),
                ("ceil_mode", Attr::Int(1)),
                ("count_include_pad", Attr::Int(include)),
            ]
        };
        for include in [0, 1] {
            assert_eq!(pooled(&list(include), &x), Tensor::from_vec(&[1, 1, 2], vec![2f32, 3.5]));
        }
    }

    #[test]
    fn large_results_have_a_factor_per_axis() {
        let list =
            [("kernel_shape", ints(&[2, 3])), ("pads", ints(&[1, 1, 1, 1])), ("strides", ints(&[1, 1]))];
        pooled(&list, &sample(&[1, 1, 2, MOST_FACTORS / 2], 5));
    }

    #[test]
    fn windows_far_larger_than_their_input_take_no_time() {
        let far = i64::from(i32::MAX);
        let list = [
            ("kernel_shape", ints(&[far])),
            ("pads", ints(&[far - 2, far - 2])),
            ("strides", ints(&[far / 4])),
        ];
        let start = std::time::Instant::now();
        for include in [0, 1] {
            let list = [&list[..], &[("count_include_pad", Attr::Int(include))]].concat();
            let op = parse("AveragePool", 19, &list, 1, 1).unwrap();
            let y = op.eval(&[Some(&Tensor::from_vec(&[1, 1, 3], vec![1f32, 2.0, 3.0]))]).unwrap();
            assert!(y[0].to_f64s().unwrap().iter().all(|v| v.is_finite()));
        }
        assert!(start.elapsed().as_secs() < 2);
    }

    #[test]
    fn all_ranks() {
        for rank in 1..=3 {
            let shape: Vec<usize> = [2, 3].into_iter().chain((0..rank).map(|i| i + 4)).collect();
            for include in [0, 1] {
                for (pad, stride, dilation) in [(0, 1, 1), (1, 2, 1), (1, 1, 2)] {
                    let list = [
                        ("kernel_shape", ints(&vec![2; rank])),
                        ("pads", ints(&vec![pad; 2 * rank])),
                        ("strides", ints(&vec![stride; rank])),
                        ("dilations", ints(&vec![dilation; rank])),
                        ("count_include_pad", Attr::Int(include)),
                    ];
                    pooled(&list, &sample(&shape, 5));
                }
            }
        }
    }

    #[test]
    fn every_float_is_compiled() {
        let op = parse("AveragePool", 19, &[("kernel_shape", ints(&[2]))], 1, 1).unwrap();
        let y = run(&*op, &[&Tensor::from_vec(&[1, 1, 2], vec![0.1f64, 0.2])], &[]).unwrap();
        assert!((y[0].to_f64s().unwrap()[0] - 0.15).abs() < 1e-15);
        assert_eq!(every_type(&*op, &[], |t| vec![numbers(t, &[1, 2, 5])]).len(), 4);
    }
}
