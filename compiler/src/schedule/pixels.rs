//! Maps to bytes or words whose four channels lie side by side, while those of what they read lie apart: an image that is
//! quantised.

use kiln_ir::DType;
use kiln_ir::kernel::plan::{Nest, Schedule};
use kiln_ir::kernel::{Form, Role};
use kiln_targets::{Target, vector_expr};

use super::chosen::Chosen;
use super::strides::{by_falling_stride, closed_loops, extent_of, stride_of};
use crate::flatten::{FlatKernel, loops_of};

/// Bytes of a lane, or words of two.
const CHANNELS: i64 = 4;

/// Pixels of words leave a register of 256 bits in two halves; one of 512 has four quarters.
const MOST_BYTES_OF_WORDS: usize = 32;

/// Vectors of pixels, with the channels put together in lanes.
pub(super) fn choose(kernel: &FlatKernel, target: &Target) -> Option<Chosen> {
    let Form::Map { stores } = &kernel.form else { return None };
    let [store] = &stores[..] else { return None };
    let words = store.to.dtype == DType::I16;
    let bytes = matches!(store.to.dtype, DType::U8 | DType::I8);
    let fits = bytes || words && target.vector_bytes <= MOST_BYTES_OF_WORDS;
    if !fits || vector_expr::is_bytewise(&kernel.form) {
        return None;
    }
    let parallel = loops_of(&kernel.loops, Role::Parallel);
    let steps = |l, by| stride_of(&store.to, l) == Some(by);
    let closed = closed_loops(kernel, Role::Parallel);
    let channels = *closed.iter().find(|l| steps(**l, 1) && extent_of(kernel, **l) == Some(CHANNELS))?;
    let loads = kernel.form.loads();
    let along = |l| loads.iter().all(|a| matches!(stride_of(a, l), Some(0 | 1)) && a.gathers.is_empty());
    let vector = *parallel.iter().find(|l| steps(**l, CHANNELS) && along(**l))?;
    let lanes = vector_expr::nest_lanes(&kernel.form, &kernel.loops, vector, target.vector_bytes as u32);
    let lanes = i64::from(lanes);
    // The bytes of a lane are of one pixel, and loads of it lie apart: else they are read as they lie.
    let apart = loads.iter().any(|a| stride_of(a, vector) == Some(1) && stride_of(a, channels) != Some(1));
    let extent = extent_of(kernel, vector)?;
    if !apart || lanes != target.lanes() as i64 || extent < lanes {
        return None;
    }
    let others = loops_of(&kernel.loops, Role::Parallel);
    let others = others.into_iter().filter(|l| *l != vector && *l != channels).collect();
    let mut order = by_falling_stride(others, Some(&store.to));
    order.push(channels);
    let nest = Nest {
        order,
        vector,
        vectors: if extent >= 2 * lanes { 2 } else { 1 },
        tile: Some((channels, CHANNELS as u32)),
        unrolled: vec![],
        columns: false,
        quads: true,
    };
    let name = |l: kiln_ir::kernel::LoopId| &kernel.loops[l.0 as usize].name;
    let (elements, lanes) = if words { ("words", "two lanes") } else { ("bytes", "a lane") };
    let (along, channels) = (name(vector), name(channels));
    let why = format!("pixels along {along} ({extent}), whose {elements} along {channels} make {lanes}");
    Some(Chosen { schedule: Schedule::Nest(nest), why })
}
