//! What the products of a kernel are made of, which decides how many a machine makes, and how many of them are padding.

use kiln_ir::DType;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Schedule, Storage, Tile, Weight};
use kiln_ir::kernel::{Form, LoopId};
use kiln_targets::Target;

/// What is multiplied and added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Floats.
    Floats,
    /// Integers of 32 bits or more.
    Integers,
    /// Words, two at a time.
    Words,
    /// Bytes, two by two in 16 bits.
    Pairs,
    /// Bytes, four at a time by an instruction.
    Fours,
    /// Bytes, eight at a time by an instruction for two rows and two columns.
    Eights,
}

/// From a column to the next where four steps of depth lie together.
const FOURS: i64 = 4;

impl Products {
    /// Those of integers.
    pub const OF_INTEGERS: [Self; 5] = [Self::Integers, Self::Words, Self::Pairs, Self::Fours, Self::Eights];

    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floats => "floats",
            Self::Integers => "integers",
            Self::Words => "words in pairs",
            Self::Pairs => "bytes in pairs",
            Self::Fours => "bytes four at a time",
            Self::Eights => "bytes eight at a time",
        }
    }

    /// Those of a kernel.
    pub fn of(kernel: &PlannedKernel, target: &Target) -> Self {
        let short = |ty: DType| ty.is_int() && ty.size() <= 2;
        match (&kernel.form, &kernel.schedule) {
            (Form::Contract { acc, lhs, rhs, .. }, Schedule::Tile(tile)) if acc.is_int() => match tile.quad {
                None => Self::Integers,
                Some(_) if lhs.dtype.size() == 2 => Self::Words,
                Some(_) if tile.eight.is_some() => Self::Eights,
                Some(_) if stride(rhs, tile.col) != FOURS => Self::Words,
                Some(_) if target.multiplies_fours() => Self::Fours,
                Some(_) => Self::Pairs,
            },
            (Form::Contract { acc, .. }, _) if acc.is_int() => Self::Integers,
            (Form::Window { input, weight: Some(weight), .. }, schedule) if short(input.dtype) => {
                match schedule {
                    Schedule::Nest(nest) if nest.quads && target.dot4 => Self::Fours,
                    _ if short(weight.dtype) => Self::Words,
                    _ => Self::Integers,
                }
            }
            _ => Self::Floats,
        }
    }
}

fn stride(access: &FlatAccess, l: LoopId) -> i64 {
    access.strides[l.0 as usize].as_const().unwrap_or(0)
}

/// The part of a kernel's products that the model asked for: depth that was made a multiple of four has steps whose packed
/// weights are all zeros.
pub(super) fn asked(kernel: &PlannedKernel, weights: &[Weight]) -> f64 {
    let (Form::Contract { rhs, .. }, Schedule::Tile(tile)) = (&kernel.form, &kernel.schedule) else {
        return 1.0;
    };
    let (Some(quad), Storage::Weights { offset_bytes }) = (tile.quad, rhs.storage) else { return 1.0 };
    let Some(packed) = weights.iter().find(|w| w.offset_bytes == offset_bytes) else { return 1.0 };
    let extent = |l: LoopId| kernel.loops[l.0 as usize].extent.as_const().unwrap_or(1);
    let mut steps = vec![rhs.offset.as_const().unwrap_or(0)];
    for l in tile.depth.iter().copied().chain(quad).chain(tile.eight) {
        let along = |at: &i64| (0..extent(l)).map(|i| at + i * stride(rhs, l)).collect::<Vec<i64>>();
        steps = steps.iter().flat_map(along).collect();
    }
    let columns: Vec<i64> = (0..extent(tile.col)).map(|col| place(tile, rhs, col)).collect();
    let (bytes, size) = (&packed.tensor.data, rhs.dtype.size());
    let is_zero = |at: i64| {
        let at = at as usize * size;
        bytes.get(at..at + size).is_none_or(|element| element.iter().all(|b| *b == 0))
    };
    let zeros = steps.iter().filter(|step| columns.iter().all(|col| is_zero(*step + col))).count();
    1.0 - zeros as f64 / steps.len().max(1) as f64
}

/// Where a column begins in panels.
fn place(tile: &Tile, rhs: &FlatAccess, col: i64) -> i64 {
    let panel = i64::from(tile.panel);
    col / panel * tile.panel_stride + col % panel * stride(rhs, tile.col)
}
