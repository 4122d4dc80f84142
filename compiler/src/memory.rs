//! One arena for all temporaries: live ranges to offsets.
//!
//! Buffers that own storage are placed biggest first, each at the lowest aligned offset where no already placed
//! buffer with an overlapping lifetime lies; where that needs more than the lower bound, those that are alive at its kernel come
//! first once more, and the smaller arena is taken. The lower bound stated beside the plan is the largest sum of sizes
//! alive at one kernel; no arrangement can need less.
//!
//! A result that may lie over an operand that ends with its kernel (`over`) lies there, so that both are one lifetime
//! and the kernel needs one of them, unless that makes the arena larger. The lower bound is that of these joined
//! lifetimes.
//!
//! Where dimensions are open offsets are those of the greatest sizes, and a run of smaller ones touches the beginning of each
//! buffer. Of arrangements that need no more the one is taken that touches least then (`touched`): buffers that follow each other
//! at one place are in the caches.

mod occupied;
mod over;
mod spans;
mod touched;

use std::collections::{BTreeMap, BTreeSet};

use kiln_ir::kernel::plan::Slot;
use kiln_ir::kernel::regions::{Step, loops};
use kiln_ir::kernel::{Buffer, BufferId, BufferKind, Program};
use kiln_ir::{Error, Result};
use kiln_targets::Target;

use occupied::Occupied;
use spans::Spans;
use touched::Touched;

/// The arena of a program.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// Size, a multiple of the alignment.
    pub bytes: usize,
    /// The least size that these lifetimes allow, with results over operands wherever that may be.
    pub lower_bound_bytes: usize,
    /// Placed buffers, in order of offset.
    pub slots: Vec<Slot>,
    /// Offset of each buffer that owns storage in the arena.
    pub offsets: BTreeMap<BufferId, usize>,
}

/// Bytes of a buffer, and the kernels between which it is alive.
type Item = (usize, BufferId, (usize, usize));

/// What machines ask of an arena.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    /// A power of two that every offset is a multiple of.
    pub align: usize,
    /// Whether arguments are copied there whose elements have more than one byte, which are turned: they live from the
    /// first kernel to the last that reads them.
    pub arguments: bool,
}

impl Asks {
    /// What is enough for all of these.
    pub fn of(targets: &[Target]) -> Self {
        Self {
            align: targets.iter().map(|t| t.align).max().unwrap_or(1),
            arguments: targets.iter().any(Target::turns_elements),
        }
    }

    /// Whether a buffer is one of the arguments that have a copy.
    pub fn copies(self, buffer: &Buffer) -> bool {
        self.arguments && buffer.kind == BufferKind::Input && buffer.ty.dtype.size() > 1
    }
}

/// Plans the arena of a program whose buffers have places.
pub fn plan(program: &Program, asks: Asks) -> Result<Arena> {
    let placed = |buffer: &Buffer| buffer.kind == BufferKind::Temp || asks.copies(buffer);
    let mut live: BTreeMap<BufferId, (usize, usize)> = BTreeMap::new();
    for (i, kernel) in program.kernels().iter().enumerate() {
        kernel.form.each_buffer(&mut |b, _| {
            let root = program.root(b);
            if placed(program.buffer(root)) {
                live.entry(root).or_insert((i, i)).1 = i;
            }
        });
    }
    hold(program, &placed, &mut live);
    let mut items = Vec::with_capacity(live.len());
    for (id, range) in &live {
        items.push((bytes_of(program, *id, asks.align)?, *id, *range));
    }
    let (moments, over) = (program.kernels().len(), over::pairs(program, &live));
    if over.is_empty() {
        return Ok(arranged(program, items, moments));
    }
    let joined = arranged(program, joined(&items, &over), moments);
    let lower_bound_bytes = joined.lower_bound_bytes;
    if joined.bytes > lower_bound_bytes {
        let apart = arranged(program, items.clone(), moments);
        if apart.bytes < joined.bytes {
            return Ok(Arena { lower_bound_bytes, ..apart });
        }
    }
    Ok(told_apart(program, &items, &over, joined))
}

/// The first buffer of those that lie over each other, by the last of them.
fn begin(over: &BTreeMap<BufferId, BufferId>, mut id: BufferId) -> BufferId {
    while let Some(operand) = over.get(&id) {
        id = *operand;
    }
    id
}

/// An item for all buffers that lie over each other.
fn joined(items: &[Item], over: &BTreeMap<BufferId, BufferId>) -> Vec<Item> {
    let mut joined: BTreeMap<BufferId, Item> = BTreeMap::new();
    for (bytes, id, live) in items {
        let first = begin(over, *id);
        let (_, _, all) = joined.entry(first).or_insert((*bytes, first, *live));
        *all = (all.0.min(live.0), all.1.max(live.1));
    }
    joined.into_values().collect()
}

/// A slot for each buffer again.
fn told_apart(
    program: &Program,
    items: &[Item],
    over: &BTreeMap<BufferId, BufferId>,
    joined: Arena,
) -> Arena {
    let mut arena = Arena { slots: Vec::new(), ..joined };
    for (bytes, id, live) in items {
        let Some(offset_bytes) = arena.offsets.get(&begin(over, *id)).copied() else { continue };
        let name = |id: &BufferId| program.buffer(*id).name.clone();
        let over = over.get(id).map(name);
        arena.slots.push(Slot { name: name(id), offset_bytes, bytes: *bytes, live: *live, over });
        arena.offsets.insert(*id, offset_bytes);
    }
    arena.slots.sort_by_key(|s| (s.offset_bytes, s.live.0));
    arena
}

/// The smaller of both orders; of open programs the one that touches least of those that are as small.
fn arranged(program: &Program, mut items: Vec<Item>, moments: usize) -> Arena {
    items.sort_by_key(|(bytes, id, range)| (std::cmp::Reverse(*bytes), range.0, *id));
    let (lower_bound_bytes, peak) = most_alive(&items, moments);
    let mut peak_first = items.clone();
    peak_first.sort_by_key(|(_, _, live)| !(live.0..=live.1).contains(&peak));
    let mut arena = placed(program, &items, moments, lowest);
    if arena.bytes > lower_bound_bytes {
        let other = placed(program, &peak_first, moments, lowest);
        arena = if other.bytes < arena.bytes { other } else { arena };
    }
    if !program.bounds.is_empty() {
        let touched = Touched::of(program);
        for items in [&items, &peak_first] {
            let other = placed(program, items, moments, over_others(&touched, lower_bound_bytes));
            let least = |arena: &Arena| touched.of_all(&arena.offsets, arena.bytes);
            if other.bytes <= arena.bytes && least(&other) < least(&arena) {
                arena = other;
            }
        }
    }
    Arena { lower_bound_bytes, ..arena }
}

/// Places that a buffer may begin at, besides the ends of what is in its way, at most.
const MOST_BASES: usize = 64;

/// The lowest offset that is free.
fn lowest(occupied: &Occupied, (bytes, _, live): Item) -> usize {
    occupied.lowest(live, bytes, 0)
}

/// Chooses where others begin if that leaves a buffer within `enough` bytes and touches less.
fn over_others(touched: &Touched, enough: usize) -> impl FnMut(&Occupied, Item) -> usize {
    let (mut bases, mut so_far, mut end) = (BTreeSet::from([0]), Spans::default(), enough);
    move |occupied, (bytes, id, live)| {
        let part = touched.bytes_of(id).min(bytes);
        let cost = |offset: usize| {
            let more = (offset + bytes).saturating_sub(end);
            (more, so_far.new_bytes(offset, offset + part), offset)
        };
        let offsets = bases.iter().map(|base| occupied.lowest(live, bytes, *base));
        let offset = offsets.min_by_key(|offset| cost(*offset)).unwrap_or(0);
        so_far.add(offset, offset + part);
        end = end.max(offset + bytes);
        if bases.len() < MOST_BASES {
            bases.insert(offset);
        }
        offset
    }
}

/// Buffers placed one after the other, each at the offset that is chosen for it.
fn placed(
    program: &Program,
    items: &[Item],
    moments: usize,
    mut choose: impl FnMut(&Occupied, Item) -> usize,
) -> Arena {
    let mut arena = Arena::default();
    let mut occupied = Occupied::new(moments);
    for &(bytes, id, live) in items {
        let offset_bytes = choose(&occupied, (bytes, id, live));
        occupied.take(live, offset_bytes, offset_bytes + bytes);
        let name = program.buffer(id).name.clone();
        arena.slots.push(Slot { name, offset_bytes, bytes, live, over: None });
        arena.offsets.insert(id, offset_bytes);
        arena.bytes = arena.bytes.max(offset_bytes + bytes);
    }
    arena.slots.sort_by_key(|s| s.offset_bytes);
    arena
}

/// Lifetimes where kernels run again: what steers a region lives in all of it, what a loop reads of before it lives to its
/// end, and what is read behind it of what its turns write lives from its beginning.
fn hold(program: &Program, placed: &dyn Fn(&Buffer) -> bool, live: &mut BTreeMap<BufferId, (usize, usize)>) {
    fn steered(
        program: &Program,
        placed: &dyn Fn(&Buffer) -> bool,
        steps: &[Step],
        live: &mut BTreeMap<BufferId, (usize, usize)>,
    ) {
        for step in steps {
            let Step::Region(id, inner) = step else { continue };
            let control = &program.regions()[id.0 as usize].control;
            let last = if control.is_loop() { step.last() } else { step.first() };
            for cell in control.cells() {
                let root = program.root(*cell);
                if placed(program.buffer(root)) {
                    let range = live.entry(root).or_insert((step.first(), last));
                    *range = (range.0.min(step.first()), range.1.max(last));
                }
            }
            steered(program, placed, inner, live);
        }
    }
    let steps = program.steps();
    steered(program, placed, &steps, live);
    let is_argument = |id: BufferId| program.buffer(id).kind == BufferKind::Input;
    live.iter_mut().filter(|(id, _)| is_argument(**id)).for_each(|(_, range)| range.0 = 0);
    for (_, begin, end) in loops(program.regions(), &steps) {
        for (id, (first, last)) in live.iter_mut() {
            // Also a loop of the first kernels finds arguments as they are.
            if (*first < begin || is_argument(*id)) && *last >= begin {
                *last = end.max(*last);
            }
            if (begin..=end).contains(first) && *last > end {
                *first = begin;
            }
        }
    }
}

/// The largest sum of sizes that live at one moment, and the first such moment.
fn most_alive(items: &[Item], moments: usize) -> (usize, usize) {
    let mut changes = vec![(0, 0); moments + 1];
    for (bytes, _, (first, last)) in items {
        changes[*first].0 += bytes;
        changes[last + 1].1 += bytes;
    }
    let mut alive = 0;
    let after = changes.iter().map(|(begin, end)| {
        alive = alive - end + begin;
        alive
    });
    let most = after.zip(0..).max_by_key(|(bytes, moment)| (*bytes, std::cmp::Reverse(*moment)));
    most.unwrap_or_default()
}

/// Refuses an arena of more than `max_bytes`: unsupported, with the largest of the buffers that live when most is
/// needed.
pub fn check_limit(program: &Program, arena: &Arena, max_bytes: u64) -> Result<()> {
    if arena.bytes as u64 <= max_bytes {
        return Ok(());
    }
    let needed = |k: usize| {
        let alive = arena.slots.iter().filter(|s| s.counts_in(k));
        alive.fold(0, |n: usize, s| n.saturating_add(s.bytes))
    };
    // Most is needed where a lifetime begins; of many, those of the largest buffers tell.
    let mut largest: Vec<&Slot> = arena.slots.iter().collect();
    largest.sort_by_key(|s| std::cmp::Reverse(s.bytes));
    let starts = largest.iter().take(100).map(|s| s.live.0);
    let peak = starts.rev().max_by_key(|k| needed(*k)).unwrap_or(0);
    let alive = largest.into_iter().filter(|s| s.counts_in(peak));
    let named: Vec<String> = alive.take(3).map(|s| format!("'{}' of {} bytes", s.name, s.bytes)).collect();
    let kernel = program.kernels().get(peak).map_or("", |k| &k.name);
    let (total, named) = (arena.bytes, named.join(", "));
    let text = format!("intermediate values need {total} bytes of memory, most at '{kernel}': {named}");
    Err(Error::unsupported(text).hint(format!("the limit is {max_bytes} bytes; --max-arena-bytes raises it")))
}

/// Storage of a buffer, rounded up to the alignment.
fn bytes_of(program: &Program, id: BufferId, align: usize) -> Result<usize> {
    let buffer = program.buffer(id);
    let extent = buffer.place.as_ref().and_then(|p| p.extent.range(&program.bounds)).map(|r| r.1);
    let elements = extent.and_then(|e| usize::try_from(e).ok()).ok_or_else(|| {
        Error::unsupported(format!("'{}' has the type {}, whose size has no bound", buffer.name, buffer.ty))
            .hint("bind its dimensions with --dim")
    })?;
    let bytes = buffer.ty.dtype.bytes_of(elements).checked_next_multiple_of(align);
    bytes.filter(|b| *b < 1 << 46).ok_or_else(|| {
        Error::invalid(format!("'{}' of type {} does not fit into memory", buffer.name, buffer.ty))
    })
}

/// Checks a plan's arena: aligned offsets, and no two buffers that live at the same time overlap, but for one that
/// lies over another from the kernel on that this one ends with.
pub fn verify(slots: &[Slot], arena_bytes: usize, align: usize) -> Result<()> {
    let outside = |s: &&Slot| !s.offset_bytes.is_multiple_of(align) || s.offset_bytes + s.bytes > arena_bytes;
    if let Some(slot) = slots.iter().find(outside) {
        return Err(Error::internal(format!(
            "arena slot '{}' is misaligned or outside the arena",
            slot.name
        )));
    }
    // Through time: what lives so far, by its first byte and by its end.
    let mut order: Vec<&Slot> = slots.iter().filter(|s| s.bytes > 0).collect();
    order.sort_by_key(|s| s.live.0);
    let mut alive: BTreeMap<usize, &Slot> = BTreeMap::new();
    let mut ends: BTreeSet<(usize, usize)> = BTreeSet::new();
    for slot in order {
        while let Some((_, offset)) = ends.first().copied().filter(|(last, _)| *last < slot.live.0) {
            ends.pop_first();
            alive.remove(&offset);
        }
        if let Some(operand) = &slot.over {
            let below = alive.get(&slot.offset_bytes).filter(|other| {
                other.name == *operand && other.bytes == slot.bytes && other.live.1 == slot.live.0
            });
            if below.is_none() {
                let text =
                    format!("arena slot '{}' is not over '{operand}', which ends as it begins", slot.name);
                return Err(Error::internal(text));
            }
            ends.remove(&(slot.live.0, slot.offset_bytes));
            alive.remove(&slot.offset_bytes);
        }
        // Those alive are apart, so that the last to begin before the slot's end is the only one to look at.
        let before = alive.range(..slot.offset_bytes + slot.bytes).next_back();
        if let Some((_, other)) = before.filter(|(at, s)| *at + s.bytes > slot.offset_bytes) {
            return Err(Error::internal(format!(
                "arena slots '{}' and '{}' overlap while both live",
                other.name, slot.name
            )));
        }
        alive.insert(slot.offset_bytes, slot);
        ends.insert((slot.live.1, slot.offset_bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kiln_ir::kernel::{Access, Form, Index, Kernel, Lowering, Place};
    use kiln_ir::{DType, Dim, Shape, TensorType};

    use super::*;

    const ASKS: Asks = Asks { align: 64, arguments: false };

    /// A chain of copies of buffers with these sizes, each a kernel.
    fn chain(sizes: &[usize]) -> Program {
        let mut program = Program::default();
        let buffers: Vec<BufferId> = sizes
            .iter()
            .map(|&n| {
                let ty = TensorType::new(DType::F32, Shape::of(&[n]));
                let id = program.add_buffer("t", ty, BufferKind::Temp);
                let (offset, strides) = (Dim::Const(0), vec![Dim::Const(1)]);
                program.set_place(id, Some(Place { root: id, offset, strides, extent: n.into() }));
                id
            })
            .collect();
        for (i, pair) in buffers.windows(2).enumerate() {
            let (loops, ids) = Lowering::loops_over(&Shape::of(&[sizes[i].min(sizes[i + 1])]));
            let index = || vec![Index::from(ids[0])];
            let form =
                Form::Rearrange { from: Access::new(pair[0], index()), to: Access::new(pair[1], index()) };
            program.push_kernel(Kernel { name: format!("k{i}"), nodes: vec![], loops, form });
        }
        program
    }

    #[test]
    fn a_chain_needs_its_two_biggest_neighbours() {
        let arena = plan(&chain(&[16, 32, 16, 64, 16]), ASKS).unwrap();
        assert_eq!(arena.lower_bound_bytes, (16 + 64) * 4);
        assert_eq!(arena.bytes, arena.lower_bound_bytes);
        verify(&arena.slots, arena.bytes, 64).unwrap();
    }

    #[test]
    fn copies_of_arguments_live_from_the_first_kernel_on() {
        let mut program = chain(&[16, 32, 16, 64]);
        program.set_kind(BufferId(1), BufferKind::Input);
        let asks = Asks { arguments: true, ..ASKS };
        let live = |asks| {
            let arena = plan(&program, asks).unwrap();
            verify(&arena.slots, arena.bytes, 64).unwrap();
            arena.slots.iter().find(|s| s.name == "t.1").map(|s| (s.live, s.bytes))
        };
        assert_eq!(live(asks), Some(((0, 1), 128)));
        assert_eq!(live(ASKS), None);
    }

    #[test]
    fn what_is_alive_at_the_peak_comes_first_where_that_is_smaller() {
        let sizes = [320, 256, 192, 192];
        let program = chain(&sizes);
        let lives = [(3, 3), (1, 3), (0, 1), (1, 2)];
        let items: Vec<Item> = (0..4).map(|i| (sizes[i], BufferId(i as u32), lives[i])).collect();
        // Biggest first, the two of 192 do not fit below those that are alive later.
        assert_eq!(placed(&program, &items, 4, lowest).bytes, 768);
        let arena = arranged(&program, items, 4);
        assert_eq!((arena.bytes, arena.lower_bound_bytes), (640, 640));
        verify(&arena.slots, arena.bytes, 64).unwrap();
    }

    #[test]
    fn an_arena_beyond_the_limit_names_its_largest_buffers() {
        let program = chain(&[16, 32, 16, 64, 16]);
        let arena = plan(&program, ASKS).unwrap();
        check_limit(&program, &arena, 320).unwrap();
        let error = check_limit(&program, &arena, 319).unwrap_err();
        let expected = "intermediate values need 320 bytes of memory, most at 'k2': 't.3' of 256 bytes, \
                        't.2' of 64 bytes; the limit is 319 bytes; --max-arena-bytes raises it";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn verify_sees_an_overlap() {
        let slot = |name: &str, offset_bytes| Slot {
            name: name.into(),
            offset_bytes,
            bytes: 128,
            live: (0, 1),
            over: None,
        };
        assert!(verify(&[slot("a", 0), slot("b", 64)], 1024, 64).unwrap_err().message.contains("overlap"));
        assert!(verify(&[slot("a", 0), slot("b", 128)], 1024, 64).is_ok());
        assert!(verify(&[slot("a", 32)], 1024, 64).is_err());
        let over = |operand: &str, live| Slot { live, over: Some(operand.into()), ..slot("b", 0) };
        assert!(verify(&[slot("a", 0), over("a", (1, 2))], 1024, 64).is_ok());
        assert!(verify(&[slot("a", 0), over("a", (0, 2))], 1024, 64).is_err());
        assert!(verify(&[slot("a", 0), over("c", (1, 2))], 1024, 64).is_err());
        let third = Slot { live: (1, 3), ..slot("c", 64) };
        assert!(verify(&[slot("a", 0), over("a", (1, 2)), third], 1024, 64).is_err());
    }
}
