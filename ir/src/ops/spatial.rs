//! Sliding windows: the attributes and the geometry that convolutions and pools share.
//!
//! Per spatial axis, with `span = dilation * (kernel - 1) + 1`:
//!
//! ```text
//! NOTSET      out = floor((in + begin + end - span) / stride) + 1
//! ceil_mode   out = ceil((in + begin + end - span) / stride) + 1, less windows that start behind in + begin
//! VALID       as NOTSET with begin = end = 0
//! SAME_*      out = ceil(in / stride), begin + end = max(0, (out - 1) * stride + span - in)
//! ```

use crate::bail_invalid;
use crate::dim::Dim;
use crate::error::Result;
use crate::kernel::{Affine, LoopId};
use crate::op::{Attr, Attrs, NodeProto};

/// Kernel extents, strides, dilations and pads above this are refused: products of two stay below 2^62.
const MAX: i64 = i32::MAX as i64;

/// ONNX `auto_pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AutoPad {
    /// `pads` counts.
    #[default]
    NotSet,
    /// As many outputs as `ceil(in / stride)`; an odd element of padding goes to the end.
    SameUpper,
    /// The same, an odd element going to the beginning.
    SameLower,
    /// No padding.
    Valid,
}

impl AutoPad {
    fn name(self) -> &'static str {
        match self {
            Self::NotSet => "NOTSET",
            Self::SameUpper => "SAME_UPPER",
            Self::SameLower => "SAME_LOWER",
            Self::Valid => "VALID",
        }
    }

    fn parse(name: &str) -> Result<Self> {
        let all = [Self::NotSet, Self::SameUpper, Self::SameLower, Self::Valid];
        match all.into_iter().find(|p| p.name() == name) {
            Some(pad) => Ok(pad),
            None => bail_invalid!("auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, found '{name}'"),
        }
    }
}

/// The attributes; empty lists stand for their defaults (1 for strides and dilations, 0 for pads).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Spatial {
    /// Automatic padding.
    pub auto_pad: AutoPad,
    /// Extents of the window; empty when the weights say them.
    pub kernel: Vec<i64>,
    /// Distance of windows.
    pub strides: Vec<i64>,
    /// Distance of elements in a window.
    pub dilations: Vec<i64>,
    /// Padding: all beginnings, then all ends.
    pub pads: Vec<i64>,
    /// Windows that reach beyond the end count.
    pub ceil: bool,
}

impl Spatial {
    /// Reads the attributes `auto_pad`, `kernel_shape`, `strides`, `dilations` and `pads`.
    pub fn parse(node: &mut NodeProto<'_>) -> Result<Self> {
        let checked = |name: &str, values: Option<Vec<i64>>, least: i64| -> Result<Vec<i64>> {
            let values = values.unwrap_or_default();
            if let Some(bad) = values.iter().find(|v| !(least..=MAX).contains(v)) {
                bail_invalid!("attribute '{name}' must be from {least} to {MAX}, found {bad} in {values:?}");
            }
            Ok(values)
        };
        let auto_pad = node.string("auto_pad")?.map_or(Ok(AutoPad::NotSet), |s| AutoPad::parse(&s))?;
        let out = Self {
            auto_pad,
            kernel: checked("kernel_shape", node.ints("kernel_shape")?, 1)?,
            strides: checked("strides", node.ints("strides")?, 1)?,
            dilations: checked("dilations", node.ints("dilations")?, 1)?,
            pads: checked("pads", node.ints("pads")?, 0)?,
            ceil: false,
        };
        if auto_pad != AutoPad::NotSet && out.pads.iter().any(|p| *p != 0) {
            bail_invalid!("pads {:?} must not be given together with auto_pad {}", out.pads, auto_pad.name());
        }
        Ok(out)
    }

    /// The attributes that `parse` reads.
    pub fn attrs(&self) -> Attrs {
        let mut attrs = Attrs::new();
        if self.auto_pad != AutoPad::NotSet {
            attrs.insert("auto_pad".into(), Attr::Str(self.auto_pad.name().into()));
        }
        let lists = [
            ("kernel_shape", &self.kernel),
            ("strides", &self.strides),
            ("dilations", &self.dilations),
            ("pads", &self.pads),
        ];
        for (name, list) in lists {
            if !list.is_empty() {
                attrs.insert(name.into(), Attr::Ints(list.clone()));
            }
        }
        attrs
    }

    /// The geometry of each spatial axis for inputs of these extents.
    pub fn axes(&self, input: &[Dim], kernel: &[i64]) -> Result<Vec<Axis>> {
        let rank = input.len();
        let of_rank = |name: &str, list: &[i64], needed: usize| -> Result<()> {
            if !list.is_empty() && list.len() != needed {
                bail_invalid!("attribute '{name}' {list:?} needs {needed} elements for {rank} spatial axes");
            }
            Ok(())
        };
        of_rank("kernel_shape", kernel, rank)?;
        of_rank("strides", &self.strides, rank)?;
        of_rank("dilations", &self.dilations, rank)?;
        of_rank("pads", &self.pads, 2 * rank)?;
        (0..rank)
            .map(|i| {
                let or = |list: &[i64], i: usize, default| list.get(i).copied().unwrap_or(default);
                self.axis(Axis {
                    input: input[i].clone(),
                    output: Dim::Const(0),
                    kernel: kernel[i],
                    stride: or(&self.strides, i, 1),
                    dilation: or(&self.dilations, i, 1),
                    begin: Dim::Const(or(&self.pads, i, 0)),
                    end: Dim::Const(or(&self.pads, rank + i, 0)),
                })
            })
            .collect()
    }

    fn axis(&self, mut axis: Axis) -> Result<Axis> {
        let (one, stride) = (Dim::Const(1), axis.stride);
        if matches!(self.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) {
            axis.output = axis.input.ceil_div(stride);
            let reach = (axis.output.clone() - one) * stride.into() + axis.span();
            // With a stride of 1 the padding is the same for every extent, known or not.
            let total = (reach - axis.input.clone()).max_with(&Dim::Const(0));
            let half = total.floor_div(&Dim::Const(2)).unwrap_or(Dim::Const(0));
            let rest = total - half.clone();
            (axis.begin, axis.end) =
                if self.auto_pad == AutoPad::SameUpper { (half, rest) } else { (rest, half) };
            return Ok(axis);
        }
        let room = axis.input.clone() + axis.begin.clone() + axis.end.clone() - axis.span();
        if room.as_const().is_some_and(|r| r < 0) {
            if axis.input.is(0) {
                return Ok(axis);
            }
            bail_invalid!(
                "a window of {} elements does not fit into {} elements with padding {} and {}",
                axis.span(),
                axis.input,
                axis.begin,
                axis.end
            );
        }
        axis.output = if self.ceil && self.auto_pad == AutoPad::NotSet {
            let starts = (axis.input.clone() + axis.begin.clone()).ceil_div(stride);
            (room.ceil_div(stride) + one).min_with(&starts)
        } else {
            room.floor_div(&stride.into()).unwrap_or(Dim::Const(0)) + one
        };
        Ok(axis)
    }
}

/// The geometry of one spatial axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Extent of the input.
    pub input: Dim,
    /// Extent of the output.
    pub output: Dim,
    /// Elements in a window.
    pub kernel: i64,
    /// Distance of windows.
    pub stride: i64,
    /// Distance of elements in a window.
    pub dilation: i64,
    /// Padding before the first element.
    pub begin: Dim,
    /// Padding after the last element.
    pub end: Dim,
}

impl Axis {
    /// From the first element of a window to behind its last.
    pub fn span(&self) -> Dim {
        Dim::Const(self.kernel - 1) * self.dilation.into() + Dim::Const(1)
    }

    /// The input index of element `k` of window `o`.
    pub fn index(&self, o: LoopId, k: LoopId) -> Affine {
        let offset = Dim::Const(0) - self.begin.clone();
        Affine::constant(offset).plus(o, self.stride).plus(k, self.dilation)
    }

    /// Whether some window may reach outside the input.
    pub fn overhangs(&self) -> bool {
        let last = (self.output.clone() - Dim::Const(1)) * self.stride.into() + self.span();
        let beyond = last - self.begin.clone() - self.input.clone();
        let unpadded = self.begin.is(0) && self.end.is(0);
        let floored = self.input.clone() - self.span();
        let floored = floored.floor_div(&self.stride.into()).map(|n| n + Dim::Const(1));
        let exact = unpadded && floored.as_ref() == Some(&self.output);
        !exact && (!self.begin.is(0) || beyond.as_const().is_none_or(|b| b > 0))
    }

    /// The geometry in numbers; `None` while extents are open.
    pub fn fixed(&self) -> Option<Fixed> {
        Some(Fixed {
            input: self.input.as_usize()?,
            output: self.output.as_usize()?,
            kernel: usize::try_from(self.kernel).ok()?,
            stride: self.stride,
            dilation: self.dilation,
            begin: self.begin.as_const()?,
            end: self.end.as_const()?,
        })
    }
}

/// [`Axis`] with constant extents, for interpreters.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    /// Extent of the input.
    pub input: usize,
    /// Extent of the output.
    pub output: usize,
    /// Elements in a window.
    pub kernel: usize,
    /// Distance of windows.
    pub stride: i64,
    /// Distance of elements in a window.
    pub dilation: i64,
    /// Padding before the first element.
    pub begin: i64,
    /// Padding after the last element.
    pub end: i64,
}

impl Fixed {
    /// An axis of extent 1 under a window of 1, which fills up the axes of lower ranks.
    pub const UNIT: Self = Self { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, end: 0 };

    /// Three axes, missing ones in front filled up by [`Fixed::UNIT`]; `None` for more axes or open extents.
    pub fn three(axes: &[Axis]) -> Option<[Self; 3]> {
        let mut out = [Self::UNIT; 3];
        let skip = 3usize.checked_sub(axes.len())?;
        for (slot, axis) in out[skip..].iter_mut().zip(axes) {
            *slot = axis.fixed()?;
        }
        Some(out)
    }

    /// The input index of element `k` of window `o`, possibly outside.
    pub fn raw(&self, o: usize, k: usize) -> i64 {
        o as i64 * self.stride + k as i64 * self.dilation - self.begin
    }

    /// The input index of element `k` of window `o`; `None` in the padding.
    pub fn at(&self, o: usize, k: usize) -> Option<usize> {
        usize::try_from(self.raw(o, k)).ok().filter(|i| *i < self.input)
    }

    /// The elements of window `o` whose input index is from `lo` up to, not including, `hi`.
    pub fn reach(&self, o: usize, lo: i64, hi: i64) -> std::ops::Range<usize> {
        let first = self.raw(o, 0);
        let elements = |n: i64| {
            let n = n.max(0);
            (n / self.dilation + i64::from(n % self.dilation != 0)).min(self.kernel as i64) as usize
        };
        let (from, to) = (elements(lo.saturating_sub(first)), elements(hi.saturating_sub(first)));
        from..to.max(from)
    }

    /// The windows whose element `k` lies inside the input.
    pub fn inside(&self, k: usize) -> std::ops::Range<usize> {
        let first = self.raw(0, k);
        let windows = |n: i64| ((n.max(0) + self.stride - 1) / self.stride).min(self.output as i64) as usize;
        let (from, to) = (windows(-first), windows(self.input as i64 - first));
        from..to.max(from)
    }
}

/// Names of loops over the `rank` spatial axes: `prefix` with `d`, `h`, `w`, aligned at the end.
pub fn loop_names(prefix: &str, rank: usize) -> Vec<String> {
    const NAMES: [&str; 3] = ["d", "h", "w"];
    NAMES[3usize.saturating_sub(rank)..].iter().map(|n| format!("{prefix}{n}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_reach_what_their_elements_do() {
        for (stride, dilation, begin) in [(1, 1, 0), (2, 1, 3), (3, 2, 1), (1, 5, 7)] {
            let axis = Fixed { input: 9, output: 12, kernel: 4, stride, dilation, begin, end: 2 };
            for o in 0..axis.output {
                for (lo, hi) in [(0, 9), (i64::MIN, 11), (2, 1)] {
                    let inside = |k: &usize| (lo..hi).contains(&axis.raw(o, *k));
                    let wanted: Vec<usize> = (0..axis.kernel).filter(inside).collect();
                    assert_eq!(axis.reach(o, lo, hi).collect::<Vec<_>>(), wanted, "{axis:?} {o} {lo} {hi}");
                }
            }
        }
        let wide = Fixed { input: 1, kernel: i32::MAX as usize, begin: 7, end: MAX, ..Fixed::UNIT };
        assert_eq!(wide.reach(0, 0, 1), 7..8);
    }

    fn axis(spatial: Spatial, input: Dim, kernel: i64) -> Axis {
        spatial.axes(&[input], &[kernel]).unwrap().remove(0)
    }

    #[test]
    fn outputs_by_mode() {
        let of = |auto_pad, ceil, pads: [i64; 2], input: i64, kernel, stride| {
            let s =
                Spatial { auto_pad, ceil, pads: pads.to_vec(), strides: vec![stride], ..Spatial::default() };
            let a = axis(s, input.into(), kernel);
            (a.output.as_const().unwrap(), a.begin.as_const().unwrap(), a.end.as_const().unwrap())
        };
        assert_eq!(of(AutoPad::NotSet, false, [1, 1], 224, 3, 2), (112, 1, 1));
        assert_eq!(of(AutoPad::NotSet, true, [0, 0], 4, 3, 2), (2, 0, 0));
        // The last window would start in the padding.
        assert_eq!(of(AutoPad::NotSet, true, [1, 1], 2, 3, 3), (1, 1, 1));
        assert_eq!(of(AutoPad::SameUpper, false, [0, 0], 224, 3, 2), (112, 0, 1));
        assert_eq!(of(AutoPad::SameLower, false, [0, 0], 224, 3, 2), (112, 1, 0));
        assert_eq!(of(AutoPad::Valid, false, [0, 0], 7, 3, 2), (3, 0, 0));
    }

    #[test]
    fn open_extents() {
        let s = Spatial { auto_pad: AutoPad::SameUpper, ..Spatial::default() };
        let a = axis(s, Dim::symbol("w"), 3);
        assert_eq!((a.output, a.begin, a.end), (Dim::symbol("w"), 1i64.into(), 1i64.into()));
        let a = axis(Spatial { strides: vec![2], ..Spatial::default() }, Dim::symbol("w"), 3);
        assert_eq!(a.output.to_string(), "floordiv(w - 3, 2) + 1");
        assert!(!a.overhangs());
        assert!(axis(Spatial { pads: vec![1, 1], ..Spatial::default() }, Dim::symbol("w"), 3).overhangs());
    }

    #[test]
    fn padding_that_no_window_reaches() {
        let s = Spatial { pads: vec![0, 1], strides: vec![2], ..Spatial::default() };
        assert!(!axis(s, 5i64.into(), 3).overhangs());
        let s = Spatial { ceil: true, strides: vec![2], ..Spatial::default() };
        assert!(axis(s, 4i64.into(), 3).overhangs());
    }

    #[test]
    fn windows_inside() {
        let s = Spatial { pads: vec![1, 1], strides: vec![2], ..Spatial::default() };
        let f = axis(s, 5i64.into(), 3).fixed().unwrap();
        assert_eq!((f.inside(0), f.inside(1), f.inside(2)), (1..3, 0..3, 0..2));
        assert_eq!((f.at(0, 0), f.at(0, 1), f.at(2, 2)), (None, Some(0), None));
    }

    #[test]
    fn hostile_values() {
        let mut attrs = Attrs::from([("strides".to_owned(), Attr::Ints(vec![0]))]);
        let mut node = NodeProto { attrs: &mut attrs, opset: 22, inputs: &[true], outputs: 1 };
        assert!(Spatial::parse(&mut node).unwrap_err().message.contains("found 0"));
        let mut attrs = Attrs::from([("dilations".to_owned(), Attr::Ints(vec![1 << 62]))]);
        let mut node = NodeProto { attrs: &mut attrs, opset: 22, inputs: &[true], outputs: 1 };
        assert!(Spatial::parse(&mut node).is_err());
        let s = Spatial { dilations: vec![MAX], pads: vec![MAX, MAX], ..Spatial::default() };
        assert!(s.axes(&[Dim::Const(7)], &[MAX]).is_err());
    }
}
