//! One arena for all temporaries: live ranges to offsets.
//!
//! Buffers that own storage are placed biggest first, each at the lowest aligned offset where no already placed
//! buffer with an overlapping lifetime lies. The lower bound stated beside the plan is the largest sum of sizes
//! alive at one kernel; no arrangement can need less.

use std::collections::BTreeMap;

use kiln_ir::kernel::plan::Slot;
use kiln_ir::kernel::{BufferId, BufferKind, Form, Program};
use kiln_ir::{Error, Result};

use kiln_ir::kernel::each_buffer;

/// The arena of a program.
#[derive(Debug, Default)]
pub struct Arena {
    /// Size, a multiple of the alignment.
    pub bytes: usize,
    /// The least size that these lifetimes allow.
    pub lower_bound_bytes: usize,
    /// Placed buffers, in order of offset.
    pub slots: Vec<Slot>,
    /// Offset of each buffer that owns storage in the arena.
    pub offsets: BTreeMap<BufferId, usize>,
}

/// Plans the arena of a program whose buffers have places. `align` is a power of two.
pub fn plan(program: &Program, align: usize) -> Result<Arena> {
    let mut live: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
    for (i, kernel) in program.kernels.iter().enumerate() {
        let mut touch = |b: BufferId| {
            let root = program.buffer(b).place.as_ref().map_or(b, |p| p.root);
            if program.buffer(root).kind == BufferKind::Temp {
                live.entry(root).or_insert((i, i)).1 = i;
            }
        };
        kernel.form.stores().into_iter().chain(kernel.form.loads()).for_each(|a| each_buffer(a, &mut touch));
        if let Form::Extern { inputs, outputs, .. } = &kernel.form {
            inputs.iter().chain(outputs).for_each(|b| touch(*b));
        }
    }
    let mut items = Vec::with_capacity(live.len());
    for (id, range) in live {
        items.push((bytes_of(program, id, align)?, id, range));
    }
    items.sort_by_key(|(bytes, id, range)| (std::cmp::Reverse(*bytes), range.0, *id));
    let mut arena = Arena::default();
    for i in 0..program.kernels.len() {
        let alive: usize = items.iter().filter(|(_, _, r)| r.0 <= i && i <= r.1).map(|x| x.0).sum();
        arena.lower_bound_bytes = arena.lower_bound_bytes.max(alive);
    }
    for (bytes, id, range) in items {
        let mut offset = 0;
        // Slots are in order of offset: the first gap that is wide enough.
        for slot in arena.slots.iter().filter(|s| s.live.0 <= range.1 && range.0 <= s.live.1) {
            if offset + bytes <= slot.offset_bytes {
                break;
            }
            offset = offset.max(slot.offset_bytes + slot.bytes);
        }
        let slot = Slot { name: program.buffer(id).name.clone(), offset_bytes: offset, bytes, live: range };
        let at = arena.slots.partition_point(|s| s.offset_bytes <= offset);
        arena.slots.insert(at, slot);
        arena.offsets.insert(id, offset);
        arena.bytes = arena.bytes.max(offset + bytes);
    }
    Ok(arena)
}

/// Storage of a buffer, rounded up to the alignment.
fn bytes_of(program: &Program, id: BufferId, align: usize) -> Result<usize> {
    let buffer = program.buffer(id);
    let extent = buffer.place.as_ref().and_then(|p| p.extent.range(&program.bounds)).map(|r| r.1);
    let elements = extent.and_then(|e| usize::try_from(e).ok()).ok_or_else(|| {
        Error::unsupported(format!("'{}' has the unbounded type {}", buffer.name, buffer.ty))
            .hint("bind its dimensions with --dim")
    })?;
    let bytes = buffer.ty.dtype.bytes_of(elements).checked_next_multiple_of(align);
    bytes.filter(|b| *b < 1 << 46).ok_or_else(|| {
        Error::invalid(format!("'{}' of type {} does not fit into memory", buffer.name, buffer.ty))
    })
}

/// Checks a plan's arena: aligned offsets, and no two buffers that live at the same time overlap.
pub fn verify(slots: &[Slot], arena_bytes: usize, align: usize) -> Result<()> {
    for (i, a) in slots.iter().enumerate() {
        if a.offset_bytes % align != 0 || a.offset_bytes + a.bytes > arena_bytes {
            return Err(Error::internal(format!(
                "arena slot '{}' is misaligned or outside the arena",
                a.name
            )));
        }
        for b in &slots[i + 1..] {
            let together = a.live.0 <= b.live.1 && b.live.0 <= a.live.1;
            let overlap =
                a.offset_bytes < b.offset_bytes + b.bytes && b.offset_bytes < a.offset_bytes + a.bytes;
            if together && overlap {
                return Err(Error::internal(format!(
                    "arena slots '{}' and '{}' overlap while both live",
                    a.name, b.name
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::{Access, Index, Kernel, Lowering, Place};
    use kiln_ir::{DType, Dim, Shape, TensorType};

    use super::*;

    /// A chain of copies of buffers with these sizes, each a kernel.
    fn chain(sizes: &[usize]) -> Program {
        let mut program = Program::default();
        let buffers: Vec<BufferId> = sizes
            .iter()
            .map(|&n| {
                let ty = TensorType::new(DType::F32, Shape::of(&[n]));
                let id = program.add_buffer("t", ty, BufferKind::Temp);
                program.buffer_mut(id).place = Some(Place {
                    root: id,
                    offset: Dim::Const(0),
                    strides: vec![Dim::Const(1)],
                    extent: n.into(),
                });
                id
            })
            .collect();
        for (i, pair) in buffers.windows(2).enumerate() {
            let (loops, ids) = Lowering::loops_over(&Shape::of(&[sizes[i].min(sizes[i + 1])]));
            let index = || vec![Index::from(ids[0])];
            let form =
                Form::Rearrange { from: Access::new(pair[0], index()), to: Access::new(pair[1], index()) };
            program.kernels.push(Kernel { name: format!("k{i}"), nodes: vec![], loops, form });
        }
        program
    }

    #[test]
    fn a_chain_needs_its_two_biggest_neighbours() {
        let arena = plan(&chain(&[16, 32, 16, 64, 16]), 64).unwrap();
        assert_eq!(arena.lower_bound_bytes, (16 + 64) * 4);
        assert_eq!(arena.bytes, arena.lower_bound_bytes);
        verify(&arena.slots, arena.bytes, 64).unwrap();
    }

    #[test]
    fn verify_sees_an_overlap() {
        let slot =
            |name: &str, offset_bytes| Slot { name: name.into(), offset_bytes, bytes: 128, live: (0, 1) };
        assert!(verify(&[slot("a", 0), slot("b", 64)], 1024, 64).unwrap_err().message.contains("overlap"));
        assert!(verify(&[slot("a", 0), slot("b", 128)], 1024, 64).is_ok());
        assert!(verify(&[slot("a", 32)], 1024, 64).is_err());
    }
}
