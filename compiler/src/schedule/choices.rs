//! What was measured to be better than the cost model's choice: an input of schedules beside kernel and target.
//!
//! A kernel is looked up by its [`key`], which says everything that its speed depends on and nothing else: loops,
//! strides, types, the epilogue. A pick that the kernel cannot be run with is as good as none, so a file of picks
//! can make code slower and never wrong.

use std::collections::BTreeMap;

use kiln_ir::Dim;
use kiln_ir::kernel::plan::{FlatAccess, Storage};
use kiln_ir::kernel::{Form, Loop, Role};
use serde::{Deserialize, Serialize};

use crate::digest;

/// What a schedule is made of where there is a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pick {
    /// Of a contraction.
    Tile(TilePick),
    /// Of vectors along a loop.
    Nest(NestPick),
    /// Results of a tile of a convolution by minimal filtering, along an axis; 0: as it is defined.
    Winograd(u8),
    /// Whether weights that are mostly zeros are kept in blocks, or all of them.
    Blocks(bool),
}

/// A register tile and the order of its panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TilePick {
    /// The loop along which the rows of a tile lie; none for single rows.
    pub row: Option<u16>,
    /// Rows of a tile.
    pub mr: u32,
    /// Vectors of columns of a tile.
    pub vectors: u32,
    /// Whether every panel of weights is read once, or stays while the rows pass.
    pub panels_outermost: bool,
    /// Steps of depth unrolled.
    pub unroll: u32,
}

/// What is handled at once along the vectors' loop and beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NestPick {
    /// Vectors at once.
    pub vectors: u32,
    /// Accumulators of a window along its row; 0 for other forms.
    pub tile: u32,
    /// Whether these share the columns of the window's input.
    pub columns: bool,
}

/// Picks by [`key`]. Without any, everything is as the cost model says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices(BTreeMap<String, Pick>);

impl Choices {
    /// A single pick.
    pub fn one(key: &str, pick: &Pick) -> Self {
        Self(BTreeMap::from([(key.to_owned(), pick.clone())]))
    }

    /// The pick for a kernel.
    pub fn get(&self, key: &str) -> Option<&Pick> {
        self.0.get(key)
    }

    /// Sets the pick for a kernel.
    pub fn set(&mut self, key: &str, pick: Pick) {
        self.0.insert(key.to_owned(), pick);
    }

    /// Whether the cost model decides everything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn tile(&self, loops: &[Loop], form: &Form<FlatAccess>, packed: bool) -> Option<TilePick> {
        if self.is_empty() {
            return None;
        }
        match self.get(&key(loops, form, packed)) {
            Some(Pick::Tile(pick)) => Some(*pick),
            _ => None,
        }
    }

    pub(super) fn nest(&self, loops: &[Loop], form: &Form<FlatAccess>) -> Option<NestPick> {
        if self.is_empty() {
            return None;
        }
        match self.get(&key(loops, form, false)) {
            Some(Pick::Nest(pick)) => Some(*pick),
            _ => None,
        }
    }
}

/// Identifies a kernel by what its speed depends on. `packed`: rhs is in panels, whose strides are part of the pick.
pub fn key(loops: &[Loop], form: &Form<FlatAccess>, packed: bool) -> String {
    let extent = |l: &Loop| format!("{}{}", if l.role == Role::Reduce { "+" } else { "" }, l.extent);
    let extents: Vec<String> = loops.iter().map(extent).collect();
    let mut form = form.map_accesses(&mut anonymous);
    if let Form::Contract { rhs, .. } = &mut form
        && packed
    {
        rhs.strides = rhs.strides.iter().map(|s| Dim::Const(i64::from(!s.is(0)))).collect();
    }
    let text = format!("{packed} {form:?}");
    format!("{} {} {}", form.name(), extents.join("x"), &digest::of_text(&text)[..16])
}

/// An access without name and place.
fn anonymous(access: &FlatAccess) -> FlatAccess {
    let storage = match access.storage {
        Storage::Input(_) => Storage::Input(0),
        Storage::Output(_) => Storage::Output(0),
        Storage::Weights { .. } => Storage::Weights { offset_bytes: 0 },
        Storage::Arena { .. } => Storage::Arena { offset_bytes: 0 },
    };
    let mut gathers = access.gathers.clone();
    gathers.iter_mut().for_each(|g| *g.index = anonymous(&g.index));
    FlatAccess { name: String::new(), storage, offset: Dim::Const(0), gathers, ..access.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    #[test]
    fn keys_are_of_shapes_and_not_of_names_or_places() {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "avx2", "").unwrap();
        let key_of = |channels: usize, rename: &str| {
            let mut p = conv_bias_relu(4, channels);
            absorb::run(&mut p);
            (0..p.kernels().len()).for_each(|i| p.kernel_mut(i).name.push_str(rename));
            layout::run(&mut p).unwrap();
            let plan = crate::planner::build(p, &target).unwrap();
            let conv = plan.kernels.iter().find(|k| k.name.starts_with("conv")).unwrap();
            key(&conv.loops, &conv.form, true)
        };
        assert_eq!(key_of(8, ""), key_of(8, "x"));
        assert_ne!(key_of(8, ""), key_of(16, ""));
        assert!(key_of(8, "").starts_with("contract "), "{}", key_of(8, ""));
    }
}
