//! Flat accesses, checked before a kernel runs: a load that was let through cannot fail.

use super::memory::{Memory, Region, bytes_of};
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::eval::Symbols;
use crate::eval::code::{Flat, Gather, Line, Loops, Panels, Storage as Data, value};
use crate::eval::level::{Level, Sink};
use crate::eval::scalar::cast;
use crate::kernel::plan::{FlatAccess, Plan, PlannedKernel, Schedule, Sparse, Storage};
use crate::types::DType;

/// A kernel's accesses to bytes.
pub(super) struct Placed<'a> {
    plan: &'a Plan,
    symbols: &'a Symbols,
    /// What loads read, by region: as it was before the kernel.
    before: Vec<Data>,
    loads: Vec<(String, Flat)>,
    writer: Writer<'a>,
}

/// Puts results where they belong.
struct Writer<'a> {
    kernel: &'a PlannedKernel,
    position: usize,
    loops: &'a Loops,
    memory: &'a mut Memory,
    regions: Vec<Region>,
    /// By region: the buffer that is written, and the elements.
    stored: Vec<Option<(String, i64, i64)>>,
    /// Everything that is written.
    targets: Vec<Flat>,
    fault: Option<Error>,
}

impl<'a> Placed<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        kernel: &'a PlannedKernel,
        position: usize,
        symbols: &'a Symbols,
        loops: &'a Loops,
        memory: &'a mut Memory,
    ) -> Self {
        let (regions, stored, targets) = (Vec::new(), Vec::new(), Vec::new());
        let writer = Writer { kernel, position, loops, memory, regions, stored, targets, fault: None };
        Self { plan, symbols, before: Vec::new(), loads: Vec::new(), writer }
    }

    /// What can only be told when the kernel has run.
    pub(super) fn finish(self) -> Result<()> {
        let Self { loads, writer, .. } = self;
        if let Some(fault) = writer.fault {
            return Err(fault);
        }
        for (name, flat) in loads {
            let (lo, hi) = writer.range(&flat);
            let storage = writer.regions[flat.buffer].storage;
            let meets = |(region, stored): (&Region, &Option<(String, i64, i64)>)| {
                region.storage == storage && stored.as_ref().is_some_and(|s| s.1 <= hi && lo <= s.2)
            };
            if !writer.regions.iter().zip(&writer.stored).any(meets) {
                continue;
            }
            // What an iteration reads where it writes, and no other does, may lie in the same storage.
            if writer.regions[flat.buffer].over && writer.targets.iter().all(|to| to.is_same_place(&flat)) {
                continue;
            }
            let before = &self.before;
            flat.sweep(writer.loops, |at| {
                let element = flat.locate(at, before).unwrap_or(0);
                let bytes = bytes_of(element, flat.dtype.size() * 8);
                if writer.memory.is_written_now(&writer.regions[flat.buffer], bytes) {
                    let at = writer.iteration(at);
                    return Err(Error::internal(format!(
                        "element {element} of '{name}' is read at {at} and written by the same kernel"
                    )));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Offset and strides of an access, and the region that it is in.
    fn flat(&mut self, access: &FlatAccess) -> Result<Flat> {
        let name = &access.name;
        let bits = access.dtype.size() * 8;
        if matches!(bits, 0 | 128) {
            return Err(Error::unsupported(format!(
                "elements of type {} are not supported by the interpreter",
                access.dtype
            )));
        }
        let offset_bytes = match access.storage {
            Storage::Weights { offset_bytes } | Storage::Arena { offset_bytes } => offset_bytes,
            Storage::Input(_) | Storage::Output(_) => 0,
        };
        if !(offset_bytes * 8).is_multiple_of(bits) {
            return Err(Error::internal(format!(
                "'{name}' of {} begins at byte {offset_bytes}, which is not aligned",
                access.dtype
            )));
        }
        let mut flat = Flat {
            buffer: self
                .region(access)
                .map_err(|e| Error { message: format!("'{name}': {}", e.message), ..e })?,
            dtype: access.dtype,
            element: self.line(&access.offset, &access.strides)?,
            panels: None,
            guards: Vec::with_capacity(access.guards.len()),
            gathers: Vec::with_capacity(access.gathers.len()),
            otherwise: access.otherwise.map_or(0, |s| s.bits),
        };
        for guard in &access.guards {
            let line = self.line(&guard.offset, &guard.coefficients)?;
            flat.guards.push((line, value(&guard.extent, self.symbols)?));
        }
        for gather in &access.gathers {
            let index = Box::new(self.load(&gather.index)?);
            flat.gathers.push(Gather {
                to_i64: cast(index.dtype, DType::I64)?,
                index,
                extent: value(&gather.extent, self.symbols)?,
                stride: value(&gather.stride, self.symbols)?,
                known: gather.known,
            });
        }
        Ok(flat)
    }

    fn line(&self, offset: &Dim, coefficients: &[Dim]) -> Result<Line> {
        if coefficients.len() != self.writer.loops.extents.len() {
            let (n, loops) = (coefficients.len(), self.writer.loops.extents.len());
            return Err(Error::internal(format!("{n} strides for {loops} loops")));
        }
        let coefficients = coefficients.iter().map(|c| value(c, self.symbols)).collect::<Result<_>>()?;
        Ok(Line { offset: value(offset, self.symbols)?, coefficients })
    }

    /// The position of the region of an access.
    fn region(&mut self, access: &FlatAccess) -> Result<usize> {
        let writer = &mut self.writer;
        if let Some(known) = writer.regions.iter().position(|r| r.storage == access.storage) {
            return Ok(known);
        }
        writer.regions.push(writer.memory.region(self.plan, access.storage, writer.position)?);
        writer.stored.push(None);
        self.before.push(Data::Absent);
        Ok(writer.regions.len() - 1)
    }

    /// Weights in blocks, as the dense matrix.
    fn decoded(&mut self, access: &FlatAccess, sparse: &Sparse) -> Result<Flat> {
        let flat = self.flat(access)?;
        let packed = self.writer.memory.snapshot(&self.writer.regions[flat.buffer]);
        let dense = sparse.weights.decode(packed.bytes())?;
        let (lo, hi) = self.writer.range(&flat);
        if lo < 0 || (hi as usize + 1) * flat.dtype.bits() > 8 * dense.len() {
            return Err(Error::internal(format!("elements {lo} to {hi} of '{}' in blocks", access.name)));
        }
        self.before[flat.buffer] = Data::Owned(dense);
        Ok(flat)
    }

    /// Makes sure that all that an access reads is there.
    fn check(&mut self, access: &FlatAccess, flat: Flat) -> Result<Flat> {
        flat.check_indices(self.writer.loops, &self.before)?;
        let (writer, bits) = (&self.writer, flat.dtype.size() * 8);
        let region = &writer.regions[flat.buffer];
        let (lo, hi) = writer.range(&flat);
        let plainly = flat.guards.is_empty()
            && lo >= 0
            && (hi as usize + 1) * bits <= region.len() * 8
            && writer.memory.is_written(region, bytes_of(lo, bits).start..bytes_of(hi, bits).end);
        if !plainly {
            flat.sweep(writer.loops, |at| {
                let element = flat.locate(at, &self.before).unwrap_or(0);
                writer.check_bounds(&access.name, &flat, element, at)?;
                if !writer.memory.is_written(region, bytes_of(element, bits)) {
                    let (name, at) = (&access.name, writer.iteration(at));
                    return Err(Error::internal(format!(
                        "element {element} of '{name}' is read at {at} before it is written"
                    )));
                }
                Ok(())
            })?;
        }
        if matches!(self.before[flat.buffer], Data::Absent) {
            self.before[flat.buffer] = writer.memory.snapshot(region);
        }
        self.loads.push((access.name.clone(), flat.clone()));
        Ok(flat)
    }
}

impl Level for Placed<'_> {
    type Access = FlatAccess;

    fn dtype(&self, access: &FlatAccess) -> DType {
        access.dtype
    }

    fn load(&mut self, access: &FlatAccess) -> Result<Flat> {
        if access.guards.is_empty() != access.otherwise.is_none() {
            let name = &access.name;
            return Err(Error::internal(format!("'{name}' has guards or a value outside of them, not both")));
        }
        let flat = self.flat(access)?;
        self.check(access, flat)
    }

    fn rhs(&mut self, access: &FlatAccess) -> Result<Flat> {
        let tile = match &self.writer.kernel.schedule {
            Schedule::Tile(tile) => tile,
            Schedule::Sparse(sparse) => return self.decoded(access, sparse),
            _ => return self.load(access),
        };
        let mut flat = self.flat(access)?;
        let (col, width) = (tile.col.0 as usize, i64::from(tile.panel));
        let stride = if tile.quad.is_some() { flat.element.coefficients.get(col).copied() } else { Some(1) };
        let Some(stride) = stride.filter(|s| flat.element.coefficients.get(col) == Some(s) && width > 0)
        else {
            return Err(Error::internal(format!(
                "'{}' is not contiguous in the columns of a tile",
                access.name
            )));
        };
        flat.panels = Some(Panels { col, width, stride: tile.panel_stride - (stride - 1) * width });
        if tile.rhs_padded {
            // Whole panels are loaded, whatever is used of the last.
            let mut whole = self.writer.loops.clone();
            whole.extents[col] = (whole.extents[col] + width - 1) / width * width;
            flat.sweep(&whole, |at| self.writer.check_bounds(&access.name, &flat, flat.start(at), at))?;
        }
        self.check(access, flat)
    }

    fn store(&mut self, access: &FlatAccess, clipped: bool) -> Result<Flat> {
        let name = &access.name;
        if !matches!(access.storage, Storage::Arena { .. } | Storage::Output(_)) {
            return Err(Error::internal(format!("'{name}' is written and read only")));
        }
        if !clipped && !access.guards.is_empty() {
            return Err(Error::internal(format!("the store to '{name}' has guards")));
        }
        let flat = self.flat(access)?;
        flat.check_indices(self.writer.loops, &self.before)?;
        let (lo, hi) = self.writer.range(&flat);
        let known = &mut self.writer.stored[flat.buffer];
        let (lo, hi) = known.as_ref().map_or((lo, hi), |k| (lo.min(k.1), hi.max(k.2)));
        *known = Some((name.clone(), lo, hi));
        self.writer.targets.push(flat.clone());
        Ok(flat)
    }

    fn result(&mut self, access: &FlatAccess) -> Result<(Flat, usize)> {
        let flat = self.flat(access)?;
        let bytes = self.writer.regions[flat.buffer].len();
        Ok((flat, bytes))
    }

    fn size(&self, size: &Dim) -> Result<i64> {
        value(size, self.symbols)
    }

    fn parts(&mut self) -> (&[Data], &mut dyn Sink) {
        (&self.before, &mut self.writer)
    }
}

impl Sink for Writer<'_> {
    fn put(&mut self, to: &Flat, element: i64, iteration: &[i64], bits: u64) {
        if self.fault.is_some() {
            return;
        }
        let name = self.stored[to.buffer].as_ref().map_or("", |s| &s.0);
        if let Err(fault) = self.check_bounds(name, to, element, iteration) {
            self.fault = Some(fault);
            return;
        }
        let (region, width) = (&self.regions[to.buffer], to.dtype.size() * 8);
        // Half a byte has a neighbour, and scattered elements may meet: the last one counts.
        if width >= 8 && to.gathers.is_empty() && self.memory.is_written_now(region, bytes_of(element, width))
        {
            let at = self.iteration(iteration);
            self.fault = Some(Error::internal(format!(
                "element {element} of '{name}' is written twice, at {at} again"
            )));
            return;
        }
        self.memory.put(region, element as usize, width, bits);
    }
}

impl Writer<'_> {
    /// Least and greatest element over all iterations, guards left aside.
    fn range(&self, flat: &Flat) -> (i64, i64) {
        let (mut lo, mut hi) = self.loops.range(&flat.element);
        if let Some(p) = flat.panels {
            hi += ((self.loops.extents[p.col] - 1).max(0) / p.width * (p.stride - p.width)).max(0);
        }
        for g in &flat.gathers {
            let reach = (g.extent - 1).max(0) * g.stride;
            (lo, hi) = (lo + reach.min(0), hi + reach.max(0));
        }
        (lo, hi)
    }

    fn check_bounds(&self, name: &str, flat: &Flat, element: i64, iteration: &[i64]) -> Result<()> {
        let (bits, bytes) = (flat.dtype.size() * 8, self.regions[flat.buffer].len());
        if element >= 0 && (element as usize + 1) * bits <= bytes * 8 {
            return Ok(());
        }
        let at = self.iteration(iteration);
        Err(Error::internal(format!(
            "element {element} of '{name}' at {at} is outside of its {} elements",
            bytes * 8 / bits
        )))
    }

    /// `[oh = 3, c = 0]`.
    fn iteration(&self, at: &[i64]) -> String {
        let named: Vec<String> =
            self.kernel.loops.iter().zip(at).map(|(l, i)| format!("{} = {i}", l.name)).collect();
        format!("[{}]", named.join(", "))
    }
}
