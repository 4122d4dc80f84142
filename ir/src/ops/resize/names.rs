//! The attributes of `Resize` that name one of several ways.

use super::axis::{Coordinates, Nearest};
use crate::bail_invalid;
use crate::error::Result;
use crate::op::{Attr, NodeProto};

/// Which of two scales all axes have, where their ratio is kept.
#[allow(missing_docs)] // ONNX's names
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Stretch,
    NotLarger,
    NotSmaller,
}

/// A name of an attribute's value.
type Names<T> = &'static [(&'static str, T)];

pub(super) const COORDINATES: Names<Coordinates> = &[
    ("half_pixel", Coordinates::HalfPixel),
    ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
    ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
    ("align_corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
    ("tf_crop_and_resize", Coordinates::TfCropAndResize),
];
pub(super) const NEAREST: Names<Nearest> = &[
    ("round_prefer_floor", Nearest::RoundPreferFloor),
    ("round_prefer_ceil", Nearest::RoundPreferCeil),
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
];
pub(super) const POLICIES: Names<Policy> =
    &[("stretch", Policy::Stretch), ("not_larger", Policy::NotLarger), ("not_smaller", Policy::NotSmaller)];

/// What an attribute says by name, `default` where it is missing.
pub(super) fn named<T: Copy>(
    node: &mut NodeProto<'_>,
    attribute: &str,
    names: Names<T>,
    default: T,
) -> Result<T> {
    let Some(text) = node.string(attribute)? else { return Ok(default) };
    match names.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => {
            let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            bail_invalid!("attribute '{attribute}' must be {}, found '{text}'", known.join(", "))
        }
    }
}

/// The name of a value.
pub(super) fn name_of<T: PartialEq>(names: Names<T>, value: &T) -> Attr {
    let name = names.iter().find(|(_, known)| known == value).map_or("", |(name, _)| name);
    Attr::Str(name.to_owned())
}
