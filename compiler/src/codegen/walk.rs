//! Walking loops with pointers: what the vector generators share.
//!
//! Each access has a cursor, a pointer that is moved by immediates only. A cursor's *drift* is how far it is
//! from where the loops' counters say it should be; it is known at compile time and goes into displacements.
//! So leaving a loop costs nothing, and each loop moves each pointer once per iteration.
//!
//! Guards (padding) are decided at compile time too: [`Walk::parts`] splits a loop into ranges in which each
//! guard has one outcome, or the same one for each iteration of the loop further in that decides it. Where several loops
//! decide, each iteration becomes a range of its own.

mod ranges;

use kiln_ir::kernel::edges::Edge;
use kiln_ir::kernel::plan::{self, FlatAccess, Gather, PlannedKernel, Storage};
use kiln_ir::kernel::{Loop, LoopId, Scalar};
use kiln_ir::{DType, Dim};
use kiln_runtime::abi::frame as words;
use kiln_targets::simd::{Element, P, R, Refusal, Simd, V};

use super::guard::Guard;
use super::places::{NEAR_BYTES, Place, Places, place};

/// Bytes of an f32.
pub(super) const ELEMENT: i64 = 4;

/// A pointer and how it moves.
struct Cursor {
    /// What it points into; a loop's counter is a pointer into nothing.
    storage: Option<Storage>,
    /// Where the access begins that it was made for.
    place: Place,
    /// Bytes from the storage's start.
    start: i64,
    /// Where that is a size: it, and the bytes of an element. The start is then that of the buffer.
    open_start: Option<(Dim, i64)>,
    /// Bytes per iteration of each loop; 0 where that is open.
    strides: Vec<i64>,
    /// Loops that it moves along by a size, of elements of so many bytes: one iteration after the other, and at their end back
    /// to where they began.
    sized: Vec<(LoopId, Dim, i64)>,
    ptr: Option<P>,
    drift: i64,
    /// It moves by indices read at run time too, and is one access's own.
    gathered: bool,
}

/// An element per iteration.
struct Access {
    cursor: usize,
    offset: i64,
    element: Element,
    guards: Vec<Guard>,
    /// What stands for elements outside the guards.
    otherwise: Scalar,
}

/// How elements of a type lie in memory.
fn element(dtype: DType) -> Option<Element> {
    Some(match dtype {
        DType::Bool => Element::Bool,
        DType::U8 => Element::U8,
        DType::I8 | DType::I4 => Element::I8,
        DType::U16 => Element::U16,
        DType::I16 => Element::I16,
        DType::F16 => Element::F16,
        DType::BF16 => Element::BF16,
        DType::F32 | DType::I32 | DType::U32 => Element::B32,
        DType::F64 | DType::I64 | DType::U64 => Element::B64,
        // Only copied.
        _ if dtype.size() == 1 => Element::U8,
        DType::C64 => Element::B64,
        _ => return None,
    })
}

/// An access of a [`Walk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AccessId(usize);

/// A cursor's move by an index that is read at run time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gathered {
    pub(super) cursor: usize,
    pub(super) index: AccessId,
    /// Indices have 8 bytes, else 4.
    pub(super) wide: bool,
    /// Of the axis.
    pub(super) extent: i64,
    /// From one element along the axis to the next.
    pub(super) bytes: i64,
}

/// The loops of a kernel and the pointers that follow them.
pub(super) struct Walk {
    /// Of kernels that share a function: their places, which are read from the frame.
    places: Option<Places>,
    /// Of an open loop the most that it may be.
    extents: Vec<i64>,
    /// Of each open loop its extent.
    open: Vec<Option<Dim>>,
    /// The loops along which pointers may move by sizes.
    moved: Vec<LoopId>,
    /// Open axes along which tiles end. Guards of these are none of an access: the generator stores nothing there.
    edges: Vec<Edge>,
    /// The kernel's row of sizes, and where it lies.
    row: Vec<Dim>,
    sizes: Option<P>,
    /// The range of each loop's counter at the current place in the code.
    ranges: Vec<(i64, i64)>,
    cursors: Vec<Cursor>,
    accesses: Vec<Access>,
    pub(super) gathers: Vec<Gathered>,
}

impl Walk {
    /// The loops of a kernel. Open ones are run by [`trips`] and shared loops alone.
    pub(super) fn new(kernel: &PlannedKernel, places: Option<&Places>) -> R<Self> {
        kernel.check_open().map_err(Refusal::unsupported)?;
        let most = |l: &Loop| {
            let most = l.extent.most(&kernel.bounds);
            most.ok_or_else(|| Refusal::unsupported(format!("'{}' has no bounds", l.name)))
        };
        let extents: Vec<i64> = kernel.loops.iter().map(most).collect::<R<_>>()?;
        let open = kernel.loops.iter().map(|l| l.is_open().then(|| l.extent.clone())).collect();
        let ranges = extents.iter().map(|n| (0, *n)).collect();
        Ok(Self {
            places: places.cloned(),
            extents,
            open,
            moved: kernel.moved_by_sizes(),
            edges: kernel.edges().map_err(Refusal::unsupported)?,
            row: kernel.sizes(),
            sizes: None,
            ranges,
            cursors: Vec::new(),
            accesses: Vec::new(),
            gathers: Vec::new(),
        })
    }

    /// Every loop.
    pub(super) fn loops(&self) -> impl Iterator<Item = LoopId> + use<> {
        (0..self.extents.len() as u16).map(LoopId)
    }

    /// Iterations of a loop; of an open one at most.
    pub(super) fn extent(&self, l: LoopId) -> i64 {
        self.extents[l.0 as usize]
    }

    /// Registers an access. All accesses are registered before [`Walk::open`].
    pub(super) fn access(&mut self, access: &FlatAccess) -> R<AccessId> {
        self.access_scaled(access, None)
    }

    /// Registers an access that moves by its own number of bytes along one loop: panels.
    pub(super) fn access_scaled(&mut self, access: &FlatAccess, scale: Option<(LoopId, i64)>) -> R<AccessId> {
        let element = element(access.dtype)
            .ok_or_else(|| Refusal::unsupported(format!("access to '{}' in vectors", access.name)))?;
        let size = element.bytes() as i64;
        let mut sized = Vec::new();
        let mut strides = Vec::with_capacity(access.strides.len());
        for (l, stride) in self.loops().zip(&access.strides) {
            strides.push(stride.as_const().unwrap_or(0) * size);
            if stride.as_const().is_none() {
                if !self.moved.contains(&l) {
                    let text = format!("open strides of '{}' in vectors", access.name);
                    return Err(Refusal::unsupported(text));
                }
                sized.push((l, stride.clone(), size));
            }
        }
        if strides.len() != self.extents.len() {
            return Err(Refusal::unsupported(format!("strides of '{}' do not match the loops", access.name)));
        }
        if let Some((l, bytes)) = scale {
            strides[l.0 as usize] = bytes;
        }
        let decided = |g: &&plan::Guard| !self.edges.iter().any(|edge| edge.ends(g));
        let guards = access.guards.iter().filter(decided).map(|g| {
            Guard::new(g).ok_or_else(|| Refusal::unsupported(format!("open padding of '{}'", access.name)))
        });
        let guards = guards.collect::<R<Vec<_>>>()?;
        let open_start = access.offset.as_const().is_none().then(|| (access.offset.clone(), size));
        let begin = FlatAccess { offset: Dim::Const(0), ..access.clone() };
        let place = place(if open_start.is_some() { &begin } else { access })
            .ok_or_else(|| Refusal::unsupported(format!("open place of '{}' in vectors", access.name)))?;
        let (storage, start) = place;
        let gathered = !access.gathers.is_empty();
        let found = self.cursors.iter().position(|c| {
            let same = c.storage == Some(storage) && c.strides == strides && c.sized == sized;
            let same = same && c.open_start == open_start && !c.gathered && !gathered;
            same && (start - c.start).abs() <= NEAR_BYTES
        });
        let cursor = found.unwrap_or_else(|| {
            let storage = Some(storage);
            self.cursors.push(Cursor {
                storage,
                place,
                start,
                open_start,
                strides,
                sized,
                ptr: None,
                drift: 0,
                gathered,
            });
            self.cursors.len() - 1
        });
        let offset = start - self.cursors[cursor].start;
        let otherwise = access.otherwise.unwrap_or(Scalar { dtype: access.dtype, bits: 0 });
        self.accesses.push(Access { cursor, offset, element, guards, otherwise });
        let id = AccessId(self.accesses.len() - 1);
        access.gathers.iter().try_for_each(|gather| self.gather(cursor, gather, size))?;
        Ok(id)
    }

    /// Registers a loop's counter: the access's address, from a pointer that begins at 0, is the count.
    pub(super) fn counter(&mut self, l: LoopId) -> AccessId {
        let mut strides = vec![0; self.extents.len()];
        strides[l.0 as usize] = 1;
        let known = self.cursors.iter().position(|c| c.storage.is_none() && c.strides == strides);
        let cursor = known.unwrap_or_else(|| {
            let place = (Storage::Arena { offset_bytes: 0 }, 0);
            self.cursors.push(Cursor::new(None, place, 0, strides));
            self.cursors.len() - 1
        });
        let otherwise = Scalar { dtype: DType::I64, bits: 0 };
        let access = Access { cursor, offset: 0, element: Element::B64, guards: Vec::new(), otherwise };
        self.accesses.push(access);
        AccessId(self.accesses.len() - 1)
    }

    /// Registers a cursor's move by an index, and the access that the index is read by.
    fn gather(&mut self, cursor: usize, gather: &Gather, size: i64) -> R {
        let Gather { index, extent, stride, known: _ } = gather;
        let wide = match index.dtype {
            DType::I64 => true,
            DType::I32 => false,
            other => return Err(Refusal::unsupported(format!("indices of type {other} in vectors"))),
        };
        if !index.gathers.is_empty() || !index.guards.is_empty() {
            return Err(Refusal::unsupported(format!("the indices '{}' in vectors", index.name)));
        }
        let (Some(extent), Some(stride)) = (extent.as_const(), stride.as_const()) else {
            return Err(Refusal::unsupported("an open axis of indices in vectors"));
        };
        let index = self.access(index)?;
        self.gathers.push(Gathered { cursor, index, wide, extent, bytes: stride * size });
        Ok(())
    }

    /// Registers a place `ahead` bytes from an access that moves by strides of its own, in bytes per iteration.
    pub(super) fn follow(&mut self, access: &FlatAccess, ahead: i64, strides: Vec<i64>) -> R<AccessId> {
        let id = self.access(access)?;
        let Access { cursor, offset, element, .. } = self.accesses[id.0];
        let (storage, start) = (self.cursors[cursor].storage, self.cursors[cursor].start + offset + ahead);
        let place = self.cursors[cursor].place;
        let otherwise = self.accesses[id.0].otherwise;
        let open_start = self.cursors[cursor].open_start.clone();
        self.cursors.push(Cursor { open_start, ..Cursor::new(storage, place, start, strides) });
        let cursor = self.cursors.len() - 1;
        self.accesses.push(Access { cursor, offset: 0, element, guards: Vec::new(), otherwise });
        Ok(AccessId(self.accesses.len() - 1))
    }

    /// Bytes that the access moves per iteration of the loop; of those that are open the most that there are.
    pub(super) fn stride(&self, a: AccessId, l: LoopId) -> i64 {
        if self.is_sized(a, l) {
            return i64::MAX;
        }
        self.cursors[self.accesses[a.0].cursor].strides[l.0 as usize]
    }

    /// Whether an access moves along the loop by a size.
    pub(super) fn is_sized(&self, a: AccessId, l: LoopId) -> bool {
        self.cursors[self.accesses[a.0].cursor].sized.iter().any(|s| s.0 == l)
    }

    /// Bytes that accesses move per iteration of the loop where these are words and lie apart.
    pub(super) fn strides(&self, l: LoopId) -> Vec<i64> {
        let words = self.accesses.iter().filter(|a| a.element == Element::B32);
        let strides = words.map(|a| self.cursors[a.cursor].strides[l.0 as usize]);
        strides.filter(|bytes| ![0, ELEMENT].contains(bytes)).collect()
    }

    /// How its elements lie in memory.
    pub(super) fn element(&self, a: AccessId) -> Element {
        self.accesses[a.0].element
    }

    /// Whether padding may take the place of an element.
    pub(super) fn is_guarded(&self, a: AccessId) -> bool {
        !self.accesses[a.0].guards.is_empty()
    }

    /// Loads every pointer from the frame, of generators that read no indices.
    pub(super) fn open<S: Simd>(&mut self, s: &mut S) -> R {
        if !self.gathers.is_empty() {
            return Err(Refusal::unsupported("indices read at run time in these vectors"));
        }
        self.open_all(s)
    }

    /// Loads every pointer from the frame.
    pub(super) fn open_all<S: Simd>(&mut self, s: &mut S) -> R {
        let frame = s.arg(0)?;
        let row = self.places.as_ref().map(|_| s.load_ptr(&frame, words::PLACES)).transpose()?;
        if !self.row.is_empty() {
            self.sizes = Some(s.load_ptr(&frame, words::SIZES)?);
        }
        let starts = self.cursors.iter().map(|c| c.open_start.as_ref().map(|(start, _)| self.size_at(start)));
        let starts = starts.map(Option::transpose).collect::<R<Vec<_>>>()?;
        for (cursor, open) in self.cursors.iter_mut().zip(starts) {
            let Some(storage) = cursor.storage else {
                cursor.ptr = Some(s.difference(&frame, &frame)?);
                continue;
            };
            let ptr = match storage {
                Storage::Arena { .. } => s.load_ptr(&frame, words::ARENA)?,
                Storage::Weights { .. } => s.load_ptr(&frame, words::WEIGHTS)?,
                Storage::Input(i) | Storage::Output(i) => {
                    let is_input = matches!(storage, Storage::Input(_));
                    let array = s.load_ptr(&frame, if is_input { words::INPUTS } else { words::OUTPUTS })?;
                    let disp =
                        i32::try_from(words::WORD as usize * i).map_err(|_| Refusal::FarDisplacement)?;
                    let ptr = s.load_ptr(&array, disp)?;
                    s.free_ptr(array);
                    ptr
                }
            };
            let mut start = cursor.start;
            if let (Some(places), Some(row)) = (&self.places, &row)
                && let Some(word) = places.word(cursor.place)
            {
                let disp =
                    i32::try_from(words::WORD as usize * word).map_err(|_| Refusal::FarDisplacement)?;
                let place = s.load_ptr(row, disp)?;
                s.advance_by(&ptr, &place, 1)?;
                s.free_ptr(place);
                start -= cursor.place.1;
            }
            s.advance(&ptr, start);
            if let (Some(place), Some((_, bytes)), Some(sizes)) = (open, &cursor.open_start, &self.sizes) {
                let disp =
                    i32::try_from(words::WORD as usize * place).map_err(|_| Refusal::FarDisplacement)?;
                let elements = s.load_ptr(sizes, disp)?;
                s.advance_by(&ptr, &elements, *bytes)?;
                s.free_ptr(elements);
            }
            cursor.ptr = Some(ptr);
        }
        if let Some(row) = row {
            s.free_ptr(row);
        }
        s.free_ptr(frame);
        Ok(())
    }

    /// Gives the pointers back.
    pub(super) fn close<S: Simd>(&mut self, s: &mut S) {
        for cursor in &mut self.cursors {
            if let Some(ptr) = cursor.ptr.take() {
                s.free_ptr(ptr);
            }
        }
        if let Some(sizes) = self.sizes.take() {
            s.free_ptr(sizes);
        }
    }

    /// How the tiles of a loop end, if only a run can tell.
    pub(super) fn edge(&self, l: LoopId) -> Option<Edge> {
        self.edges.iter().find(|edge| edge.tiles == l).cloned()
    }

    /// The extent of a loop, if it is open.
    pub(super) fn open_extent(&self, l: LoopId) -> Option<Dim> {
        self.open[l.0 as usize].clone()
    }

    /// A size.
    pub(super) fn size<S: Simd>(&self, s: &mut S, size: &Dim) -> R<P> {
        let (sizes, disp) = self.size_word(self.size_at(size)?)?;
        s.load_ptr(sizes, disp)
    }

    /// Where a size stands in the kernel's row.
    pub(super) fn size_at(&self, size: &Dim) -> R<usize> {
        let place = self.row.iter().position(|known| known == size);
        place.ok_or_else(|| Refusal::unsupported("a size that is not at hand"))
    }

    /// The size at a place of the row in every lane of 64 bits.
    pub(super) fn splat_size<S: Simd>(&self, s: &mut S, place: usize) -> R<V> {
        let (sizes, disp) = self.size_word(place)?;
        s.load_splat_word(sizes, disp)
    }

    fn size_word(&self, place: usize) -> R<(&P, i32)> {
        let sizes =
            self.sizes.as_ref().ok_or_else(|| Refusal::unsupported("a size before its walk is open"))?;
        Ok((sizes, i32::try_from(words::WORD as usize * place).map_err(|_| Refusal::FarDisplacement)?))
    }

    /// The pointer of a cursor moves by an index; what [`Walk::leave`] brings back.
    pub(super) fn enter<S: Simd>(&mut self, s: &mut S, cursor: usize, index: &P, bytes: i64) -> R<(P, i64)> {
        let Cursor { ptr, drift, .. } = &mut self.cursors[cursor];
        let old = ptr.take().ok_or_else(|| Refusal::unsupported("an access before its walk is open"))?;
        let moved = s.copy_ptr(&old)?;
        s.advance_by(&moved, index, bytes)?;
        *ptr = Some(moved);
        Ok((old, *drift))
    }

    /// The pointer of a cursor is where it was.
    pub(super) fn leave<S: Simd>(&mut self, s: &mut S, cursor: usize, (old, before): (P, i64)) {
        let Cursor { ptr, drift, .. } = &mut self.cursors[cursor];
        if let Some(moved) = ptr.replace(old) {
            s.free_ptr(moved);
        }
        *drift = before;
    }

    /// Every pointer goes back to where it was with these drifts.
    pub(super) fn settle<S: Simd>(&mut self, s: &mut S, before: &[i64]) {
        for (cursor, before) in self.cursors.iter_mut().zip(before) {
            let bytes = before - cursor.drift;
            if let (Some(ptr), true) = (&cursor.ptr, bytes != 0) {
                s.advance(ptr, bytes);
            }
            cursor.drift = *before;
        }
    }

    /// The pointer of an access.
    pub(super) fn ptr(&self, a: AccessId) -> &P {
        self.cursors[self.accesses[a.0].cursor]
            .ptr
            .as_ref()
            .expect("accesses are used between open and close")
    }

    /// The displacement from the pointer to the element `ahead` iterations from the current one, plus `bytes`.
    pub(super) fn disp(&self, a: AccessId, ahead: &[(LoopId, i64)], bytes: i64) -> R<i32> {
        let access = &self.accesses[a.0];
        let cursor = &self.cursors[access.cursor];
        let moved: i64 = ahead.iter().map(|(l, n)| cursor.strides[l.0 as usize] * n).sum();
        i32::try_from(access.offset + moved + bytes - cursor.drift).map_err(|_| Refusal::FarDisplacement)
    }

    /// Declares the range of a loop's counter for the code that follows.
    pub(super) fn set_range(&mut self, l: LoopId, range: (i64, i64)) {
        self.ranges[l.0 as usize] = range;
    }

    /// The loop's counter goes on by `step` without code.
    pub(super) fn skip(&mut self, l: LoopId, step: i64) {
        for cursor in &mut self.cursors {
            cursor.drift -= step * cursor.strides[l.0 as usize];
        }
    }

    /// The loop's counter goes back to 0 from the end of its range.
    pub(super) fn rewind(&mut self, l: LoopId, from: i64) {
        self.skip(l, -from);
        let extent = self.extent(l);
        self.set_range(l, (0, extent));
    }

    pub(super) fn drifts(&self) -> Vec<i64> {
        self.cursors.iter().map(|c| c.drift).collect()
    }

    /// Ends an iteration that began with the drifts `before`: the pointers move on to the next one.
    pub(super) fn step<S: Simd>(&mut self, s: &mut S, l: LoopId, step: i64, before: &[i64]) -> R {
        for (cursor, before) in self.cursors.iter_mut().zip(before) {
            let bytes = step * cursor.strides[l.0 as usize] + before - cursor.drift;
            if let (Some(ptr), true) = (&cursor.ptr, bytes != 0) {
                s.advance(ptr, bytes);
            }
            cursor.drift = *before;
        }
        self.step_sized(s, l, step)
    }

    /// Pointers that move by sizes along the loop move by `step` iterations of it.
    pub(super) fn step_sized<S: Simd>(&self, s: &mut S, l: LoopId, step: i64) -> R {
        for cursor in self.cursors.iter().filter(|_| step != 0) {
            for (_, stride, bytes) in cursor.sized.iter().filter(|sized| sized.0 == l) {
                if let Some(ptr) = &cursor.ptr {
                    let stride = self.size(s, stride)?;
                    s.advance_by(ptr, &stride, step * bytes)?;
                    s.free_ptr(stride);
                }
            }
        }
        Ok(())
    }

    /// All pointers move by `count` times `step` iterations of the loop.
    pub(super) fn jump<S: Simd>(&mut self, s: &mut S, l: LoopId, count: &P, step: i64) -> R {
        for cursor in &self.cursors {
            let bytes = step * cursor.strides[l.0 as usize];
            if let (Some(ptr), true) = (&cursor.ptr, bytes != 0) {
                s.advance_by(ptr, count, bytes)?;
            }
        }
        // Added as often: a loop costs less than a register for a product.
        if self.cursors.iter().any(|c| c.sized.iter().any(|sized| sized.0 == l)) {
            let times = s.copy_ptr(count)?;
            s.repeat_ptr(times, &mut |s| self.step_sized(s, l, step))?;
        }
        Ok(())
    }
}

impl Cursor {
    fn new(storage: Option<Storage>, place: Place, start: i64, strides: Vec<i64>) -> Self {
        Self {
            storage,
            place,
            start,
            open_start: None,
            strides,
            sized: Vec::new(),
            ptr: None,
            drift: 0,
            gathered: false,
        }
    }
}
