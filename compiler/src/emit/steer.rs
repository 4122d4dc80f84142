//! Branches and loops of a model whose kernels are called one by one: what steers them, and the walk over it.

#![allow(unsafe_code)]

use kiln_ir::kernel::plan::{FlatAccess, Plan, Storage};
use kiln_ir::kernel::regions::{self, Control, Region, RegionId, Repeat, Step, Trips};
use kiln_ir::{DType, Dim, Error, Result, text};
use kiln_runtime::abi::Frame;
use serde::{Deserialize, Serialize};

/// The regions of a model, and its kernels as steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Steering {
    pub(super) regions: Vec<Region<Cell>>,
    pub(super) steps: Vec<Step>,
}

/// A bool or an i64 that steers a region.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    from: From,
    /// Bytes from the start of that memory.
    at: usize,
    /// Else an i64.
    bool: bool,
}

/// The memory that a cell lies in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum From {
    Arena,
    Weights,
    Input(usize),
    Output(usize),
}

/// What memory there is, in bytes.
pub(super) struct Room<'a> {
    pub(super) arena: usize,
    pub(super) weights: usize,
    pub(super) inputs: &'a [usize],
    pub(super) outputs: &'a [usize],
}

impl Cell {
    fn of(access: &FlatAccess) -> Result<Self> {
        let unplaced = || Error::internal(format!("'{}' steers a region from an open place", access.name));
        let within = access.offset.as_const().and_then(|n| usize::try_from(n).ok()).ok_or_else(unplaced)?;
        let within = within * access.dtype.size();
        let (from, start) = match access.storage {
            Storage::Arena { offset_bytes } => (From::Arena, offset_bytes),
            Storage::Weights { offset_bytes } => (From::Weights, offset_bytes),
            Storage::Input(i) => (From::Input(i), 0),
            Storage::Output(i) => (From::Output(i), 0),
        };
        Ok(Self { from, at: start + within, bool: access.dtype == DType::Bool })
    }

    fn fits(&self, room: &Room<'_>) -> bool {
        let bytes = match self.from {
            From::Arena => Some(room.arena),
            From::Weights => Some(room.weights),
            From::Input(i) => room.inputs.get(i).copied(),
            From::Output(i) => room.outputs.get(i).copied(),
        };
        let (size, end) = if self.bool { (1, self.at.checked_add(1)) } else { (8, self.at.checked_add(8)) };
        self.at.is_multiple_of(size) && end.is_some_and(|end| bytes.is_some_and(|bytes| end <= bytes))
    }

    /// Where it is in a run.
    ///
    /// # Safety
    ///
    /// The frame is that of a run of the model that the cell [fits](Self::fits).
    unsafe fn address(&self, frame: &Frame) -> *mut u8 {
        // SAFETY: lists have an entry for each port, and the cell lies within what they point to.
        unsafe {
            let base = match self.from {
                From::Arena => frame.arena,
                From::Weights => frame.weights.cast_mut(),
                From::Input(i) => (*frame.inputs.add(i)).cast_mut(),
                From::Output(i) => *frame.outputs.add(i),
            };
            base.cast::<u8>().add(self.at)
        }
    }

    /// Its value.
    ///
    /// # Safety
    ///
    /// That of [`Cell::address`].
    pub(super) unsafe fn read(&self, frame: &Frame) -> i64 {
        // SAFETY: the caller's promise; callers align arguments to their elements.
        unsafe {
            let address = self.address(frame);
            if self.bool { i64::from(*address) } else { address.cast::<i64>().read_unaligned() }
        }
    }

    /// Gives a counter a value.
    ///
    /// # Safety
    ///
    /// That of [`Cell::address`]; counters lie where the run may write.
    pub(super) unsafe fn write(&self, frame: &Frame, value: i64) {
        // SAFETY: the caller's promise.
        unsafe { self.address(frame).cast::<i64>().write_unaligned(value) }
    }
}

impl Steering {
    /// That of a plan.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        let region = |region: &Region<FlatAccess>| {
            let control = region.control.map(&mut Cell::of)?;
            Ok(Region { parent: region.parent, control })
        };
        Ok(Self { regions: plan.regions.iter().map(region).collect::<Result<_>>()?, steps: plan.steps() })
    }
}

/// The regions of a model in its description.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Described {
    regions: Vec<DescribedRegion>,
    /// By kernel; shorter where the last ones are in none.
    within: Vec<Option<u32>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct DescribedRegion {
    parent: Option<u32>,
    control: DescribedControl,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum DescribedControl {
    When { condition: Cell, is: bool },
    Loop { counter: Cell, trips: Option<DescribedTrips>, condition: Option<Cell> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum DescribedTrips {
    Count(String),
    Read(Cell),
}

impl Described {
    /// Of a plan.
    pub(super) fn of(plan: &Plan) -> Result<Self> {
        let region = |region: Region<Cell>| DescribedRegion {
            parent: region.parent.map(|id| id.0),
            control: match region.control {
                Control::When { condition, is } => DescribedControl::When { condition, is },
                Control::Loop(Repeat { counter, trips, condition, .. }) => DescribedControl::Loop {
                    counter,
                    trips: trips.map(|trips| match trips {
                        Trips::Count(size) => DescribedTrips::Count(size.to_string()),
                        Trips::Read(cell) => DescribedTrips::Read(cell),
                    }),
                    condition,
                },
            },
        };
        Ok(Self {
            regions: Steering::of(plan)?.regions.into_iter().map(region).collect(),
            within: plan.within.iter().map(|id| id.map(|id| id.0)).collect(),
        })
    }

    /// The same for so many kernels; nothing where it does not fit them or the memory.
    pub(super) fn steering(&self, kernels: usize, room: &Room<'_>) -> Option<Steering> {
        let known = |id: &Option<u32>| id.is_none_or(|id| (id as usize) < self.regions.len());
        if self.within.len() > kernels || !self.within.iter().all(known) {
            return None;
        }
        let region = |(i, region): (usize, &DescribedRegion)| {
            // Regions follow those around them.
            let parent = region.parent.filter(|p| (*p as usize) < i).map(RegionId);
            if parent.is_none() && region.parent.is_some() {
                return None;
            }
            let control = match &region.control {
                DescribedControl::When { condition, is } => Control::When { condition: *condition, is: *is },
                DescribedControl::Loop { counter, trips, condition } => {
                    let trips = match trips {
                        None => None,
                        Some(DescribedTrips::Count(size)) => Some(Trips::Count(text::parse_dim(size).ok()?)),
                        Some(DescribedTrips::Read(cell)) => Some(Trips::Read(*cell)),
                    };
                    let (counter, condition) = (*counter, *condition);
                    Control::Loop(Repeat { counter, trips, condition, carried: Vec::new() })
                }
            };
            let written = |cell: &Cell| !cell.bool && matches!(cell.from, From::Arena | From::Output(_));
            let counts = match &control {
                Control::When { .. } => true,
                Control::Loop(repeat) => written(&repeat.counter),
            };
            let fits = counts && control.cells().into_iter().all(|cell| cell.fits(room));
            fits.then_some(Region { parent, control })
        };
        let regions = self.regions.iter().enumerate().map(region).collect::<Option<Vec<_>>>()?;
        let within = (0..kernels).map(|i| self.within.get(i).copied().flatten().map(RegionId));
        let steps = regions::steps(&regions, within);
        Some(Steering { regions, steps })
    }
}

/// A run in which kernels are called one by one: `kernel` calls one, unless there is a reason to end.
pub(super) struct Walk<'r, K, S> {
    pub(super) frame: &'r mut Frame,
    pub(super) kernel: K,
    pub(super) size: S,
}

impl<E, K, S> regions::Machine<Cell> for Walk<'_, K, S>
where
    K: FnMut(&mut Frame, usize) -> std::result::Result<(), E>,
    S: Fn(&Dim) -> i64,
{
    type Stop = E;

    fn kernel(&mut self, position: usize) -> std::result::Result<(), E> {
        (self.kernel)(self.frame, position)
    }

    fn read(&mut self, cell: &Cell, _: usize) -> std::result::Result<i64, E> {
        // SAFETY: whoever made the walk vouches for the frame and for cells that fit.
        Ok(unsafe { cell.read(self.frame) })
    }

    fn write(&mut self, cell: &Cell, value: i64, _: usize) -> std::result::Result<(), E> {
        // SAFETY: as above.
        unsafe { cell.write(self.frame, value) };
        Ok(())
    }

    fn size(&mut self, size: &Dim) -> std::result::Result<i64, E> {
        Ok((self.size)(size))
    }
}
