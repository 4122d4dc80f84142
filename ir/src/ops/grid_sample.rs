//! `GridSample`: pixels of an image at positions that a tensor holds.
//!
//! Spec: ONNX GridSample, versions 16, 20 and 22. `x` `[N, C, extents..]`, `grid` `[N, places.., axes]` with the innermost axis of
//! the image first, from -1 to 1: the middles of the outermost pixels with `align_corners`, else their outer edges. `mode` is
//! `nearest` (halves to even), `linear` or `cubic` along each axis (coefficient -3/4); `padding_mode` says what is outside:
//! zeros, the nearest pixel (`border`), or the image mirrored at its ends (`reflection`).
//!
//! Numerics: positions in the type of `grid` (f32 at least), sums in that of `x`. Made of other operators: see `sampling.rs`.

use super::composed::{Composed, Composer, Value, composed, required};
use super::sampling::{Corners, Tap, cubic, linear, read, zero_outside};
use super::unary;
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, Attrs, NodeProto, Op, OpDef};
use crate::tensor::Tensor;

/// Between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// Outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// `GridSample`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridSample {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
}

fn parse(node: &mut NodeProto<'_>) -> Result<Box<dyn Op>> {
    node.arity(2..=2, 1..=1)?;
    let mode = match node.string("mode")?.as_deref() {
        None | Some("linear" | "bilinear") => Mode::Linear,
        Some("nearest") => Mode::Nearest,
        Some("cubic" | "bicubic") => Mode::Cubic,
        Some(other) => bail_invalid!("attribute 'mode' must be nearest, linear or cubic, found '{other}'"),
    };
    let padding = match node.string("padding_mode")?.as_deref() {
        None | Some("zeros") => Padding::Zeros,
        Some("border") => Padding::Border,
        Some("reflection") => Padding::Reflection,
        Some(other) => {
            bail_invalid!("attribute 'padding_mode' must be zeros, border or reflection, found '{other}'")
        }
    };
    Ok(Box::new(GridSample { mode, padding, align_corners: node.flag("align_corners", false)? }))
}

/// `GridSample`.
pub const DEF: OpDef = OpDef { name: "GridSample", domain: "", since: (16, 22), parse, unsupported: "" };

impl Op for GridSample {
    fn name(&self) -> &'static str {
        DEF.name
    }

    fn attrs(&self) -> Attrs {
        let mode = match self.mode {
            Mode::Nearest => "nearest",
            Mode::Linear => "linear",
            Mode::Cubic => "cubic",
        };
        let padding = match self.padding {
            Padding::Zeros => "zeros",
            Padding::Border => "border",
            Padding::Reflection => "reflection",
        };
        let text = |name: &str, value: &str| (name.to_owned(), Attr::Str(value.to_owned()));
        Attrs::from([
            text("mode", mode),
            text("padding_mode", padding),
            ("align_corners".to_owned(), Attr::Int(self.align_corners.into())),
        ])
    }

    composed!();
}

impl Composed for GridSample {
    fn compose(&self, cx: &mut Composer<'_>, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        let (x, grid) = (required(inputs, 0)?, required(inputs, 1)?);
        super::values::float(cx.fact(grid), "the grid")?;
        let (shape, places) = (cx.extents(x, "an image")?, cx.extents(grid, "a grid")?);
        let axes = shape.len().saturating_sub(2);
        if axes == 0
            || places.len() != shape.len()
            || places[0] != shape[0]
            || places[axes + 1] != axes as i64
        {
            bail_invalid!(
                "a grid of shape {places:?} does not fit the image {shape:?}: [N, places.., {axes}] needed"
            );
        }
        if shape[2..].contains(&0) {
            bail_invalid!("the image {shape:?} has no pixels");
        }
        let grid = cx.widened(grid)?;
        let mut taps = Vec::with_capacity(axes);
        for (axis, &extent) in shape[2..].iter().enumerate() {
            let column = (axes - 1 - axis) as i64;
            let part = cx.slice(grid, axes as i64 + 1, (column, column + 1), 1)?;
            let part = cx.reshape(part, &[shape[0], places[1..=axes].iter().product()])?;
            taps.push(self.taps(cx, part, extent)?);
        }
        let image = cx.constant(Tensor::from_vec(&[shape[0] as usize, 1], (0..shape[0]).collect()));
        let y = read(cx, x, image, &taps, Corners::Sum)?;
        let y = cx.transpose(y, &[0, 2, 1])?;
        let out: Vec<i64> = shape[..2].iter().chain(&places[1..=axes]).copied().collect();
        Ok(vec![cx.reshape(y, &out)?])
    }
}

impl GridSample {
    /// The pixels of an axis for a column of the grid.
    fn taps(&self, cx: &mut Composer<'_>, n: Value, extent: i64) -> Result<Vec<Tap>> {
        let pixels = extent as f64;
        let moved = cx.plus(n, 1.0)?;
        let (ends, mut at) = if self.align_corners {
            let half = cx.times(moved, 0.5)?;
            ((0.0, pixels - 1.0), cx.times(half, pixels - 1.0)?)
        } else {
            let scaled = cx.times(moved, pixels)?;
            let scaled = cx.plus(scaled, -1.0)?;
            ((-0.5, pixels - 0.5), cx.times(scaled, 0.5)?)
        };
        if self.mode == Mode::Nearest {
            at = cx.apply(&unary::ROUND, &[], &[at])?;
        }
        at = match self.padding {
            Padding::Zeros => at,
            Padding::Border => cx.clamp(at, 0.0, pixels - 1.0)?,
            Padding::Reflection => reflected(cx, at, ends)?,
        };
        let taps = match self.mode {
            Mode::Nearest => vec![Tap { at, weight: None, inside: None }],
            Mode::Linear => linear(cx, at)?,
            Mode::Cubic => cubic(cx, at)?,
        };
        let outside = |tap: Tap| match self.padding {
            Padding::Zeros => zero_outside(cx, tap, extent),
            // Reading clamps.
            Padding::Border => Ok(tap),
            Padding::Reflection => Ok(Tap { at: reflected(cx, tap.at, ends)?, ..tap }),
        };
        taps.into_iter().map(outside).collect()
    }
}

/// A position mirrored at both ends until it is between them.
fn reflected(cx: &mut Composer<'_>, at: Value, (lo, hi): (f64, f64)) -> Result<Value> {
    if hi <= lo {
        return cx.times(at, 0.0);
    }
    let from = cx.plus(at, -lo)?;
    let distance = cx.apply(&unary::ABS, &[], &[from])?;
    // Within two lengths, there and back.
    let turns = cx.times(distance, 0.5 / (hi - lo))?;
    let turns = cx.floor(turns)?;
    let whole = cx.times(turns, 2.0 * (hi - lo))?;
    let rest = cx.sub(distance, whole)?;
    let back = cx.number_less(2.0 * (hi - lo), rest)?;
    let inside = cx.apply(&super::variadic::MIN, &[], &[rest, back])?;
    cx.plus(inside, lo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{parse, run, sample};

    fn grid(shape: &[usize]) -> Tensor {
        let n: usize = shape.iter().product();
        Tensor::from_vec(shape, (0..n).map(|i| ((i * 37) % 29) as f32 / 10.0 - 1.4).collect())
    }

    #[test]
    fn every_mode_and_padding() {
        for mode in ["nearest", "linear", "cubic"] {
            for padding in ["zeros", "border", "reflection"] {
                for align in [0, 1] {
                    let list = [
                        ("mode", Attr::Str(mode.into())),
                        ("padding_mode", Attr::Str(padding.into())),
                        ("align_corners", Attr::Int(align)),
                    ];
                    let op = parse("GridSample", 22, &list, 2, 1).unwrap();
                    run(&*op, &[&sample(&[2, 3, 4, 5], 3), &grid(&[2, 3, 2, 2])], &[]).unwrap();
                }
            }
        }
        let op = parse("GridSample", 22, &[], 2, 1).unwrap();
        run(&*op, &[&sample(&[1, 2, 3, 4, 2], 3), &grid(&[1, 2, 2, 3, 3])], &[]).unwrap();
    }

    #[test]
    fn the_example_of_the_specification() {
        let x = Tensor::from_vec(&[1, 1, 4, 4], (0..16).map(|i| i as f32).collect());
        let row = [-1f32, -0.6, -0.2, 0.2, 0.6, 1.0];
        let places: Vec<f32> = row.iter().flat_map(|y| row.iter().flat_map(move |x| [*x, *y])).collect();
        let op = parse("GridSample", 20, &[], 2, 1).unwrap();
        let y = run(&*op, &[&x, &Tensor::from_vec(&[1, 6, 6, 2], places)], &[]).unwrap();
        let want = [0f32, 0.15, 0.55, 0.95, 1.35, 0.75];
        for (a, b) in y[0].to_f64s().unwrap().iter().zip(want) {
            assert!((a - f64::from(b)).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit() {
        let op = parse("GridSample", 22, &[], 2, 1).unwrap();
        let refused = |shapes: &[&[i64]]| crate::ops::testing::refusal(&*op, shapes);
        assert!(refused(&[&[1, 2, 3, 4], &[1, 2, 2, 3]]).contains("does not fit"));
        assert!(refused(&[&[1, 2, 0, 4], &[1, 2, 2, 2]]).contains("no pixels"));
    }
}
