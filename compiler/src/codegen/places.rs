//! Kernels that differ in nothing but where their operands lie, and how they share a function.
//!
//! A kernel of its own has the places of its operands in its instructions. Kernels that are equal but for these get one
//! function, which reads them from the frame: before each call, `NAME_run` points it to that call's row of a table.

use std::collections::HashMap;
use std::fmt::Write as _;

use kiln_ir::Dim;
use kiln_ir::kernel::plan::{FlatAccess, PlannedKernel, Storage};

/// Accesses of equal strides share a pointer up to this distance, so that displacements stay small immediates.
pub(super) const NEAR_BYTES: i64 = 4096;

/// Where an access begins: its memory, and bytes from the start of that.
pub(super) type Place = (Storage, i64);

/// Where a kernel's operands begin: each place once, in the order of the accesses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Places(Vec<Place>);

impl Places {
    /// The places of a kernel; `None` where one is open.
    pub(super) fn of(kernel: &PlannedKernel) -> Option<Self> {
        let mut places = Vec::new();
        for access in accesses(kernel) {
            let place = place(access)?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Some(Self(places))
    }

    /// The word of a row in which a place stands.
    pub(super) fn word(&self, place: Place) -> Option<usize> {
        self.0.iter().position(|known| *known == place)
    }

    /// A row of the table.
    pub(super) fn row(&self) -> impl Iterator<Item = i64> {
        self.0.iter().map(|(_, bytes)| *bytes)
    }
}

/// Where an access begins; `None` where that is open.
pub(super) fn place(access: &FlatAccess) -> Option<Place> {
    let offset = access.offset.as_const()? * access.dtype.size() as i64;
    Some(match access.storage {
        Storage::Arena { offset_bytes } => (Storage::Arena { offset_bytes: 0 }, offset + offset_bytes as i64),
        Storage::Weights { offset_bytes } => {
            (Storage::Weights { offset_bytes: 0 }, offset + offset_bytes as i64)
        }
        memory @ (Storage::Input(_) | Storage::Output(_)) => (memory, offset),
    })
}

/// Kernels with one function.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Positions in the plan, ascending; the first one's code is everyone's.
    pub(super) members: Vec<usize>,
    /// The first one's places, when the function reads them from the frame.
    pub(super) places: Option<Places>,
}

/// Groups of kernels, by first member. Where a kernel does not `fit` the registers when it reads its places from the
/// frame, every member of its group stands alone.
pub(super) fn groups(kernels: &[PlannedKernel], fit: &dyn Fn(&PlannedKernel, &Places) -> bool) -> Vec<Group> {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(Group, Option<Places>)> = Vec::new();
    for (i, kernel) in kernels.iter().enumerate() {
        let places = Places::of(kernel);
        let key = match &places {
            Some(places) => key(kernel, places),
            None => format!("kernel {i}"),
        };
        let group = *known.entry(key).or_insert(groups.len());
        match groups.get_mut(group) {
            None => groups.push((Group { members: vec![i], places: None }, places)),
            Some((group, first)) => {
                group.members.push(i);
                if *first != places {
                    group.places = first.clone();
                }
            }
        }
    }
    let mut list = Vec::with_capacity(groups.len());
    for (group, _) in groups {
        if group.places.as_ref().is_none_or(|places| fit(&kernels[group.members[0]], places)) {
            list.push(group);
        } else {
            list.extend(group.members.into_iter().map(|i| Group { members: vec![i], places: None }));
        }
    }
    list.sort_by_key(|group| group.members[0]);
    list
}

/// Everything that a kernel's code depends on but the target: with `shared` places it reads them from the frame, else they
/// are in its instructions.
pub(super) fn content(kernel: &PlannedKernel, shared: Option<&Places>) -> String {
    let (bounds, shared) = (&kernel.bounds, shared.is_some());
    match Places::of(kernel) {
        Some(places) if shared => format!("{} shared, {bounds:?}", key(kernel, &places)),
        Some(places) => format!("{} at {places:?}, {bounds:?}", key(kernel, &places)),
        // Open places are expressions, which stand where they are used.
        None => format!("{}, {bounds:?}", told(kernel, &nameless)),
    }
}

/// Everything that a kernel's code depends on but its places; of these, how far apart those are that may share a
/// pointer.
fn key(kernel: &PlannedKernel, places: &Places) -> String {
    let mut key = told(kernel, &|access| anonymous(access, places));
    let Places(places) = places;
    for (i, (memory, from)) in places.iter().enumerate() {
        for (other, to) in &places[i + 1..] {
            if memory == other && (from - to).abs() <= NEAR_BYTES {
                let _ = write!(key, " {i}{:+}", from - to);
            }
        }
    }
    key
}

/// A kernel without names, and with its accesses as `f` tells them.
fn told(kernel: &PlannedKernel, f: &dyn Fn(&FlatAccess) -> FlatAccess) -> String {
    let PlannedKernel { loops, form, schedule, provider, shared, .. } = kernel;
    let form = form.map_accesses(&mut |access| f(access));
    let mut key = String::new();
    for l in loops {
        let _ = write!(key, "{} {:?} ", l.extent, l.role);
    }
    let _ = write!(key, "{form:?} {schedule:?} {provider:?} {shared:?}");
    key
}

/// An access without names.
fn nameless(access: &FlatAccess) -> FlatAccess {
    let mut access = access.clone();
    access.name.clear();
    access.gathers.iter_mut().for_each(|g| *g.index = nameless(&g.index));
    access
}

/// Every access of a kernel, those of indices included.
fn accesses(kernel: &PlannedKernel) -> Vec<&FlatAccess> {
    fn add<'k>(list: &mut Vec<&'k FlatAccess>, access: &'k FlatAccess) {
        list.push(access);
        access.gathers.iter().for_each(|g| add(list, &g.index));
    }
    let mut list = Vec::new();
    kernel.form.loads().into_iter().chain(kernel.form.stores()).for_each(|access| add(&mut list, access));
    list
}

/// An access without names, with a number for its place.
fn anonymous(access: &FlatAccess, places: &Places) -> FlatAccess {
    let number = place(access).and_then(|place| places.word(place)).unwrap_or_default();
    let mut access = access.clone();
    access.name.clear();
    access.offset = Dim::from(number);
    match &mut access.storage {
        Storage::Arena { offset_bytes } | Storage::Weights { offset_bytes } => *offset_bytes = 0,
        Storage::Input(_) | Storage::Output(_) => {}
    }
    access.gathers.iter_mut().for_each(|g| *g.index = anonymous(&g.index, places));
    access
}

#[cfg(test)]
mod tests {
    use kiln_ir::DType;
    use kiln_ir::kernel::plan::{Provider, Schedule};
    use kiln_ir::kernel::{Form, Loop, LoopId, Role};

    use super::*;

    /// A copy of 8 floats between two places of the arena.
    fn copy(from: usize, to: usize) -> PlannedKernel {
        let access = |offset_bytes| FlatAccess {
            name: format!("at {offset_bytes}"),
            storage: Storage::Arena { offset_bytes },
            dtype: DType::F32,
            offset: Dim::Const(0),
            strides: vec![Dim::Const(1)],
            gathers: vec![],
            guards: vec![],
            otherwise: None,
        };
        PlannedKernel {
            name: format!("{from} {to}"),
            nodes: vec![],
            loops: vec![Loop { name: from.to_string(), extent: Dim::Const(8), role: Role::Parallel }],
            form: Form::Rearrange { from: access(from), to: access(to) },
            schedule: Schedule::Scalar { order: vec![LoopId(0)] },
            provider: Provider::Plain,
            shared: None,
            why: from.to_string(),
            grain: None,
            bounds: Default::default(),
        }
    }

    #[test]
    fn kernels_that_differ_in_places_share_a_function() {
        let far = 1 << 20;
        // The last one's operands are so near to each other that they may share a pointer.
        let kernels = [copy(0, far), copy(far, 0), copy(0, far), copy(64, 2 * far), copy(0, 64)];
        let found = groups(&kernels, &|_, _| true);
        let members: Vec<_> = found.iter().map(|g| g.members.clone()).collect();
        assert_eq!(members, [vec![0, 1, 2, 3], vec![4]]);
        let places = found[0].places.as_ref().unwrap();
        assert_eq!(places.row().collect::<Vec<_>>(), [0, far as i64]);
        assert_eq!(places.word((Storage::Arena { offset_bytes: 0 }, far as i64)), Some(1));
        assert_eq!(found[1].places, None);
        // Equal in everything: nothing needs to be read from the frame.
        assert_eq!(groups(&[copy(0, far), copy(0, far)], &|_, _| true)[0].places, None);
        assert_eq!(groups(&kernels, &|_, _| false).len(), 5);
    }
}
