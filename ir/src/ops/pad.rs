//! `Pad`: adds elements before and after each axis, or removes them where a pad is negative.
//!
//! Spec: ONNX Pad, versions 1 to 24. `pads` holds the numbers before all (named) axes, then those after. Mode
//! `constant` adds a value (0 by default), `edge` repeats the border, `reflect` mirrors without repeating it and
//! `wrap` continues at the other end. Pads and value are attributes up to version 2 and inputs from 11; axes
//! from 18. Constant padding is a copy with a value for what is outside. The other modes are copies of blocks: along
//! each axis the result is cut into runs that step through the source by 1, 0 or -1.
//!
//! ```text
//! reflect, 3 before and 2 after:   d c b | a b c d | c b      runs: step -1, 1, -1
//! ```
//!
//! Where that would be too many blocks, an axis is read through a table of indices.
//!
//! Pads of the mode `constant` may follow from open extents, or be computed at run time, with a bound.
//!
//! Unsupported: a value computed at run time, and axes; modes other than `constant` on open extents, by open pads and on axes of
//! more than 2^24 elements.

use super::elements::Elements;
use super::{movement, operand};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::kernel::{Access, Affine, BufferId, Index, LoopId, Lowering, Scalar};
use crate::limits::MAX_ELEMENTS;
use crate::op::{Attr, Attrs, Fact, NodeProto, Op, OpDef};
use crate::tensor::{Tensor, row_major};
use crate::types::{DType, Shape};
use crate::{bail_invalid, bail_unsupported};

/// Entries of a table of indices at most, one per element of a padded axis.
const MOST_ENTRIES: i64 = 1 << 24;

/// Blocks that a copy is cut into at most: three along each of four axes.
const MOST_BLOCKS: usize = 81;

/// What lies outside.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Constant,
    Edge,
    Reflect,
    Wrap,
}

/// `Pad`. Pads and value that are inputs are left out here.
#[derive(Clone, Debug, PartialEq)]
pub struct Pad {
    /// What lies outside.
    pub mode: Mode,
    /// Elements before all axes, then after, as an attribute.
    pub pads: Option<Vec<i64>>,
    /// The value outside, as an attribute.
    pub value: f32,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    let mode = match node.string("mode")?.as_deref() {
        None | Some("constant") => Mode::Constant,
        Some("edge") => Mode::Edge,
        Some("reflect") => Mode::Reflect,
        Some("wrap") => Mode::Wrap,
        Some(other) => {
            bail_invalid!("attribute 'mode' must be constant, edge, reflect or wrap, found '{other}'")
        }
    };
    let (pads, value) = (node.ints("pads")?, node.float("value")?.unwrap_or(0.0));
    match pads {
        Some(_) => node.arity(1..=1, 1..=1)?,
        None => node.arity(2..=4, 1..=1)?,
    }
    Ok(Box::new(Pad { mode, pads, value }))
}

/// `Pad`.
pub const DEF: OpDef =
    OpDef { name: "Pad", domain: "", since: (1, 24), parse, unsupported: "a value computed at run time" };

/// Bits of the value outside of a tensor of type `dtype`.
fn value(op: &Pad, dtype: DType, input: Option<&Fact>) -> Result<Scalar> {
    let Some(fact) = input else { return Ok(Scalar::of(dtype, op.value.into())) };
    if fact.dtype != dtype || !fact.shape.elements().is(1) {
        bail_invalid!("the value must be a scalar of type {dtype}, found {fact:?}");
    }
    match fact.tensor() {
        Some(t) => Ok(Scalar { dtype, bits: Elements::new(t)?.bits(0) }),
        None => {
            bail_unsupported!("a value that is computed at run time is not supported: it must be a constant")
        }
    }
}

impl Pad {
    /// Elements before and after each axis of `x`.
    fn pads(&self, x: &Shape, inputs: &[Option<&Fact>]) -> Result<Vec<(i64, i64)>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let pads = match &self.pads {
            Some(pads) => pads.clone(),
            None => operand::ints(operand::fact(inputs, 1)?, "the list of pads")?,
        };
        let axes = match optional(3) {
            Some(axes) => operand::ints(axes, "the list of axes")?,
            None => (0..x.rank() as i64).collect(),
        };
        if pads.len() != 2 * axes.len() {
            bail_invalid!("{} pads do not fit {} axes", pads.len(), axes.len());
        }
        let mut all = vec![(0, 0); x.rank()];
        let mut seen = vec![false; x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            let axis = x.axis(axis)?;
            if std::mem::replace(&mut seen[axis], true) {
                bail_invalid!("axis {axis} occurs twice in {axes:?}");
            }
            all[axis] = (pads[i], pads[axes.len() + i]);
            if [pads[i], pads[axes.len() + i]].iter().any(|p| p.saturating_abs() > MAX_ELEMENTS) {
                bail_invalid!("pads {pads:?} exceed 2^40");
            }
        }
        Ok(all)
    }

    /// The same where some follow from open extents: with the mode `constant`.
    fn open_pads(&self, x: &Shape, inputs: &[Option<&Fact>]) -> Result<Option<Vec<(Dim, Dim)>>> {
        let optional = |i: usize| inputs.get(i).copied().flatten();
        let (None, Mode::Constant, Some(pads)) = (&self.pads, self.mode, optional(1)) else {
            return Ok(None);
        };
        let Some(pads) = pads.dims().filter(|pads| pads.iter().any(|p| p.as_const().is_none())) else {
            return Ok(None);
        };
        let axes = match optional(3) {
            Some(axes) => operand::ints(axes, "the list of axes")?,
            None => (0..x.rank() as i64).collect(),
        };
        if pads.len() != 2 * axes.len() {
            bail_invalid!("{} pads do not fit {} axes", pads.len(), axes.len());
        }
        let mut all = vec![(Dim::Const(0), Dim::Const(0)); x.rank()];
        for (i, &axis) in axes.iter().enumerate() {
            all[x.axis(axis)?] = (pads[i].clone(), pads[axes.len() + i].clone());
        }
        Ok(Some(all))
    }

    fn target(&self, x: &Shape, pads: &[(i64, i64)]) -> Result<Shape> {
        let padded = |(e, (a, b)): (&Dim, &(i64, i64))| e.clone() + Dim::Const(*a) + Dim::Const(*b);
        let shape = operand::checked(x.iter().zip(pads).map(padded).collect())?;
        if self.mode == Mode::Constant {
            return Ok(shape);
        }
        for (extent, (a, b)) in x.iter().zip(pads).filter(|(_, p)| **p != (0, 0)) {
            match extent.as_const() {
                None => bail_unsupported!(
                    "mode {:?} on the open extent {extent} is not supported: bind it with --dim",
                    self.mode
                ),
                Some(0) => {
                    bail_invalid!("mode {:?} has nothing to repeat on an axis without elements", self.mode)
                }
                Some(n) if self.mode == Mode::Reflect && *a.max(b) >= n => {
                    bail_invalid!("cannot reflect {} elements of an axis of {n}", a.max(b));
                }
                Some(_) => {}
            }
        }
        Ok(shape)
    }

    /// The index along an axis of `extent` elements that position `i` of the padded axis shows; `None` outside.
    fn source(&self, i: i64, before: i64, extent: i64) -> Option<i64> {
        let at = i - before;
        match self.mode {
            Mode::Constant => (0..extent).contains(&at).then_some(at),
            Mode::Edge => Some(at.clamp(0, extent - 1)),
            Mode::Wrap => Some(at.rem_euclid(extent)),
            // The reflection has the period 2 (extent - 1).
            Mode::Reflect if extent == 1 => Some(0),
            Mode::Reflect => {
                let at = at.rem_euclid(2 * (extent - 1));
                Some(if at < extent { at } else { 2 * (extent - 1) - at })
            }
        }
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "Pad"
    }

    fn attrs(&self) -> Attrs {
        let mode = match self.mode {
            Mode::Constant => "constant",
            Mode::Edge => "edge",
            Mode::Reflect => "reflect",
            Mode::Wrap => "wrap",
        };
        let mut attrs = Attrs::from([("mode".to_owned(), Attr::Str(mode.to_owned()))]);
        attrs.extend(self.pads.iter().map(|pads| ("pads".to_owned(), Attr::Ints(pads.clone()))));
        if self.value != 0.0 {
            attrs.insert("value".to_owned(), Attr::Float(self.value));
        }
        attrs
    }

    fn shape_operands(&self) -> &'static [usize] {
        &[1]
    }

    fn infer(&self, inputs: &[Option<&Fact>]) -> Result<Vec<Fact>> {
        let x = operand::fact(inputs, 0)?;
        operand::movable(x.dtype)?;
        value(self, x.dtype, inputs.get(2).copied().flatten())?;
        if let Some(pads) = self.open_pads(&x.shape, inputs)? {
            let padded =
                |(e, (a, b)): (&Dim, &(Dim, Dim))| operand::or_zero(e.clone() + a.clone() + b.clone());
            return Ok(vec![Fact::new(x.dtype, x.shape.iter().zip(&pads).map(padded).collect())]);
        }
        let pads = self.pads(&x.shape, inputs)?;
        Ok(vec![Fact::new(x.dtype, self.target(&x.shape, &pads)?)])
    }

    fn eval(&self, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
        let x = operand::tensor(inputs, 0)?;
        let facts: Vec<Option<Fact>> = inputs.iter().map(|t| t.map(Fact::of)).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let own = Shape::of(&x.shape);
        let pads = self.pads(&own, &facts)?;
        let shape = operand::constant(self.target(&own, &pads)?)?;
        let fill = value(self, x.dtype, facts.get(2).copied().flatten())?.bits.to_le_bytes();
        let strides = row_major(&x.shape);
        let y = movement::gather(x, &shape, &fill[..x.dtype.size()], |index| {
            let at = |axis: usize| {
                let from = self.source(index[axis] as i64, pads[axis].0, x.shape[axis] as i64)?;
                Some(from as usize * strides[axis])
            };
            Ok((0..index.len()).map(at).sum())
        })?;
        Ok(vec![y])
    }

    fn lower(&self, cx: &mut Lowering<'_>) -> Result<()> {
        let (x, y) = (cx.input(0)?, cx.output(0)?);
        let ty = cx.ty(x).clone();
        let facts = operand::facts(cx)?;
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let fill = value(self, ty.dtype, facts.get(2).copied().flatten())?;
        if let Some(pads) = self.open_pads(&ty.shape, &facts)? {
            let (loops, ids) = Lowering::loops_over(&cx.ty(y).shape.clone());
            let shifted = |(id, (before, _)): (&LoopId, &(Dim, Dim))| {
                Affine::of(*id).shifted(Dim::Const(0) - before.clone()).into()
            };
            let index = ids.iter().zip(&pads).map(shifted).collect();
            let from = Access { buffer: x, index, otherwise: Some(fill) };
            cx.copy(loops, from, Access::new(y, movement::each(&ids)));
            return Ok(());
        }
        let pads = self.pads(&ty.shape, &facts)?;
        if self.mode == Mode::Constant {
            let (loops, ids) = Lowering::loops_over(&cx.ty(y).shape.clone());
            let shifted =
                |(&id, &(before, _)): (&LoopId, &(i64, i64))| Affine::of(id).shifted(-before).into();
            let index = ids.iter().zip(&pads).map(shifted).collect();
            let grows = pads.iter().any(|(a, b)| *a > 0 || *b > 0);
            let otherwise = grows.then_some(fill);
            cx.copy(loops, Access { buffer: x, index, otherwise }, Access::new(y, movement::each(&ids)));
            return Ok(());
        }
        let axes = self.axes(&ty.shape, &pads)?;
        let tables: Vec<Option<BufferId>> = axes.iter().map(|axis| axis.table(cx)).collect();
        for block in blocks(&axes) {
            let extents: Vec<Dim> = block.iter().map(|run| run.length.clone()).collect();
            let (loops, ids) = Lowering::loops_over(&Shape(extents));
            let (mut from, mut to) = (Vec::new(), Vec::new());
            for ((run, table), &id) in block.iter().zip(&tables).zip(&ids) {
                to.push(Affine::of(id).shifted(run.at).into());
                from.push(match table {
                    Some(table) => Index::Gathered(Box::new(Access::new(*table, vec![id.into()]))),
                    None => Affine::constant(run.from).plus(id, run.step).into(),
                });
            }
            cx.copy(loops, Access::new(x, from), Access::new(y, to));
        }
        Ok(())
    }
}

/// Consecutive elements of an axis of the result, whose sources lie `step` apart.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    /// The first one's index.
    at: i64,
    length: Dim,
    /// The index of the first one's source.
    from: i64,
    step: i64,
}

/// An axis of the result.
#[derive(Debug)]
struct Axis {
    runs: Vec<Run>,
    /// Sources of all elements, which take the place of what the only run says.
    sources: Option<Vec<i64>>,
}

impl Axis {
    /// The sources as a constant, where the axis needs them.
    fn table(&self, cx: &mut Lowering<'_>) -> Option<BufferId> {
        let sources = self.sources.clone()?;
        Some(cx.constant("index", Tensor::from_vec(&[sources.len()], sources)))
    }
}

/// Every combination of runs, a block of the result each.
fn blocks(axes: &[Axis]) -> Vec<Vec<Run>> {
    axes.iter().fold(vec![Vec::new()], |blocks, axis| {
        let longer = |block: &Vec<Run>| {
            axis.runs.iter().map(|run| [&block[..], std::slice::from_ref(run)].concat()).collect::<Vec<_>>()
        };
        blocks.iter().flat_map(longer).collect()
    })
}

/// Cuts an axis into runs.
fn runs(sources: &[i64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut start = 0;
    while start < sources.len() {
        let step = sources.get(start + 1).map_or(1, |next| next - sources[start]);
        let mut end = start + 1;
        if step.abs() <= 1 {
            end += sources[start..].windows(2).take_while(|pair| pair[1] - pair[0] == step).count();
        }
        let step = if end == start + 1 { 1 } else { step };
        let length = Dim::Const((end - start) as i64);
        runs.push(Run { at: start as i64, length, from: sources[start], step });
        start = end;
    }
    runs
}

impl Pad {
    /// The axes of the result, in a mode that repeats elements.
    fn axes(&self, x: &Shape, pads: &[(i64, i64)]) -> Result<Vec<Axis>> {
        let mut axes = Vec::with_capacity(pads.len());
        let mut blocks = 1;
        for (extent, &(before, after)) in x.iter().zip(pads) {
            let whole = |length: Dim| Run { at: 0, length, from: 0, step: 1 };
            let Some(n) = extent.as_const().filter(|_| (before, after) != (0, 0)) else {
                axes.push(Axis { runs: vec![whole(extent.clone())], sources: None });
                continue;
            };
            let length = n + before + after;
            if length > MOST_ENTRIES {
                bail_unsupported!(
                    "mode {:?} on an axis of {length} elements, more than {MOST_ENTRIES}",
                    self.mode
                );
            }
            let sources: Option<Vec<i64>> = (0..length).map(|i| self.source(i, before, n)).collect();
            let sources = sources.ok_or_else(|| Error::internal("an index outside"))?;
            let runs = runs(&sources);
            if runs.is_empty() || blocks * runs.len() > MOST_BLOCKS {
                axes.push(Axis { runs: vec![whole(Dim::Const(length))], sources: Some(sources) });
            } else {
                blocks *= runs.len();
                axes.push(Axis { runs, sources: None });
            }
        }
        Ok(axes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(mode: Mode, pads: &[i64]) -> Result<Vec<f64>> {
        let x = Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]);
        let op = Pad { mode, pads: Some(pads.to_vec()), value: 9.0 };
        op.infer(&[Some(&Fact::of(&x))])?;
        op.eval(&[Some(&x)])?[0].to_f64s()
    }

    #[test]
    fn every_mode() {
        assert_eq!(eval(Mode::Constant, &[1, 2]).unwrap(), [9.0, 1.0, 2.0, 3.0, 9.0, 9.0]);
        assert_eq!(eval(Mode::Edge, &[1, 2]).unwrap(), [1.0, 1.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(eval(Mode::Reflect, &[2, 1]).unwrap(), [3.0, 2.0, 1.0, 2.0, 3.0, 2.0]);
        assert_eq!(eval(Mode::Wrap, &[2, 1]).unwrap(), [2.0, 3.0, 1.0, 2.0, 3.0, 1.0]);
        assert_eq!(eval(Mode::Constant, &[-1, 1]).unwrap(), [2.0, 3.0, 9.0]);
    }

    #[test]
    fn inputs_give_pads_value_and_axes() {
        let x = Tensor::from_vec(&[1, 2], vec![1i32, 2]);
        let (pads, value) = (Tensor::from_vec(&[2], vec![0i64, 1]), Tensor::scalar(7i32));
        let axes = Tensor::from_vec(&[1], vec![-1i64]);
        let op = Pad { mode: Mode::Constant, pads: None, value: 0.0 };
        let y = op.eval(&[Some(&x), Some(&pads), Some(&value), Some(&axes)]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 3], vec![1i32, 2, 7]));
    }

    #[test]
    fn wrong_pads_are_invalid() {
        for pads in [&[1i64][..], &[-2, -2], &[i64::MAX, i64::MAX], &[i64::MIN, 0]] {
            assert!(eval(Mode::Constant, pads).is_err(), "{pads:?}");
        }
        assert!(eval(Mode::Reflect, &[3, 0]).is_err());
    }

    #[test]
    fn axes_are_cut_where_sources_turn() {
        let of = |mode, before, after, n: i64| {
            let op = Pad { mode, pads: None, value: 0.0 };
            let sources: Vec<i64> =
                (0..n + before + after).map(|i| op.source(i, before, n).unwrap()).collect();
            runs(&sources)
                .iter()
                .map(|r| (r.at, r.length.as_const().unwrap(), r.from, r.step))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(Mode::Reflect, 2, 1, 4), [(0, 3, 2, -1), (3, 3, 1, 1), (6, 1, 2, 1)]);
        assert_eq!(of(Mode::Edge, 2, 2, 3), [(0, 3, 0, 0), (3, 2, 1, 1), (5, 2, 2, 0)]);
        assert_eq!(of(Mode::Wrap, 1, 1, 3), [(0, 1, 2, 1), (1, 3, 0, 1), (4, 1, 0, 1)]);
        assert_eq!(of(Mode::Edge, -1, 0, 3), [(0, 2, 1, 1)]);
    }
}
