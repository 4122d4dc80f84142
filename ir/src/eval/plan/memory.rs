//! The memory of a run: who wrote which byte.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::eval::Symbols;
use crate::eval::code::{self, Storage as Data, shape};
use crate::kernel::plan::{Copied, Plan, Storage};
use crate::tensor::Tensor;
use crate::types::TensorType;

/// Bytes that kernels write.
#[derive(Debug)]
struct Written {
    bytes: Vec<u8>,
    /// By byte: which execution of a kernel wrote it last; 0: none has.
    writer: Vec<u32>,
}

impl Written {
    /// NaNs of every float type.
    fn new(bytes: usize) -> Self {
        Self { bytes: vec![0xff; bytes], writer: vec![0; bytes] }
    }
}

/// All that kernels read and write.
pub(super) struct Memory {
    inputs: Vec<Bytes>,
    /// Constants by offset.
    weights: HashMap<usize, Bytes>,
    arena: Written,
    outputs: Vec<(String, Written)>,
    types: Vec<TensorType>,
    /// By execution: the position of the kernel, plus one.
    executions: Vec<u32>,
}

/// What one storage names while a kernel runs.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) storage: Storage,
    /// Within the arena or a result.
    bytes: Range<usize>,
    /// The first kernel of its lifetime; of storage that is taken over in this kernel, of the buffer that ends.
    first: u32,
    /// Whether the kernel writes over what it reads there.
    pub(super) over: bool,
}

impl Region {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Memory {
    pub(super) fn new(plan: &Plan, inputs: &[Tensor], symbols: &Symbols) -> Result<Self> {
        let mut weights = HashMap::new();
        for weight in &plan.weights {
            let end = weight.offset_bytes + weight.tensor.data.len();
            if end > plan.weights_bytes {
                return Err(Error::internal(format!(
                    "constant '{}' ends at byte {end} of {} of the read-only data",
                    weight.name, plan.weights_bytes
                )));
            }
            weights.insert(weight.offset_bytes, weight.tensor.data.clone());
        }
        let mut outputs = Vec::with_capacity(plan.outputs.len());
        let mut types = Vec::with_capacity(plan.outputs.len());
        // There is room for the most that may be counted.
        let mut room = symbols.clone();
        for (name, bound) in plan.bounds.iter().filter(|(name, _)| plan.is_counted(name)) {
            room.insert(name.clone(), bound.hi);
        }
        for port in &plan.outputs {
            let elements = shape(&port.ty.shape, &room)?.iter().product();
            outputs.push((port.name.clone(), Written::new(port.ty.dtype.bytes_of(elements))));
            types.push(port.ty.clone());
        }
        let mut arena = Written::new(plan.arena_bytes);
        // Arguments that are copied are there before any kernel, as if the first had written them.
        let mut executions = vec![0];
        for Copied { input, offset_bytes } in &plan.copied {
            let missing = || Error::internal(format!("input {input} is copied outside of the arena"));
            let data = &inputs.get(*input).ok_or_else(missing)?.data;
            let place = *offset_bytes..offset_bytes.saturating_add(data.len());
            arena.bytes.get_mut(place.clone()).ok_or_else(missing)?.copy_from_slice(data);
            executions.resize(2, 1);
            arena.writer[place].fill(1);
        }
        let inputs = inputs.iter().map(|t| t.data.clone()).collect();
        Ok(Self { inputs, weights, arena, outputs, types, executions })
    }

    /// From here on it is the kernel at this position that writes; loops run kernels again.
    pub(super) fn begin(&mut self, kernel: usize) {
        self.executions.push(kernel as u32 + 1);
    }

    /// What a storage names in a kernel.
    pub(super) fn region(&self, plan: &Plan, storage: Storage, kernel: usize) -> Result<Region> {
        let storage = plan.found(storage);
        let all = |bytes: usize| Region { storage, bytes: 0..bytes, first: 0, over: false };
        let missing = |what: String| Error::internal(format!("{what} does not exist"));
        match storage {
            Storage::Input(i) => {
                self.inputs.get(i).map(|b| all(b.len())).ok_or_else(|| missing(format!("input {i}")))
            }
            Storage::Output(i) => {
                let output = self.outputs.get(i).ok_or_else(|| missing(format!("output {i}")))?;
                Ok(all(output.1.bytes.len()))
            }
            Storage::Weights { offset_bytes } => {
                let constant = self.weights.get(&offset_bytes);
                constant
                    .map(|b| all(b.len()))
                    .ok_or_else(|| missing(format!("a constant at byte {offset_bytes}")))
            }
            Storage::Arena { offset_bytes } => {
                let here = |s: &&crate::kernel::plan::Slot| {
                    s.offset_bytes == offset_bytes && (s.live.0..=s.live.1).contains(&kernel)
                };
                // A buffer without elements may share its place; one that is written over another has its bytes.
                let slot = plan.slots.iter().filter(here).max_by_key(|s| (s.bytes, Reverse(s.live.0)));
                let over = |s: &crate::kernel::plan::Slot| s.over.is_some() && s.live.0 == kernel;
                let over = plan.slots.iter().filter(here).any(over);
                let slot = slot.ok_or_else(|| {
                    missing(format!("a slot at byte {offset_bytes} of the arena that lives in this kernel"))
                })?;
                let end = offset_bytes + slot.bytes;
                if end > plan.arena_bytes {
                    let (name, size) = (&slot.name, plan.arena_bytes);
                    return Err(Error::internal(format!(
                        "slot '{name}' ends at byte {end} of an arena of {size}"
                    )));
                }
                Ok(Region { storage, bytes: offset_bytes..end, first: slot.live.0 as u32, over })
            }
        }
    }

    /// The bytes of a region as they are now.
    pub(super) fn snapshot(&self, region: &Region) -> Data {
        match region.storage {
            Storage::Input(i) => Data::Shared(self.inputs[i].clone()),
            Storage::Weights { offset_bytes } => Data::Shared(self.weights[&offset_bytes].clone()),
            _ => self
                .written(region)
                .map_or(Data::Absent, |w| Data::Owned(w.bytes[region.bytes.clone()].to_vec())),
        }
    }

    /// The memory of a region that kernels write.
    fn written(&self, region: &Region) -> Option<&Written> {
        match region.storage {
            Storage::Arena { .. } => Some(&self.arena),
            Storage::Output(i) => Some(&self.outputs[i].1),
            Storage::Input(_) | Storage::Weights { .. } => None,
        }
    }

    /// Whether bytes of a region hold what was put there within its lifetime.
    pub(super) fn is_written(&self, region: &Region, bytes: Range<usize>) -> bool {
        let start = region.bytes.start;
        self.written(region).is_none_or(|w| {
            let writers = &w.writer[start + bytes.start..start + bytes.end];
            writers.iter().all(|run| self.executions[*run as usize] > region.first)
        })
    }

    /// Whether what runs now wrote some of the bytes last.
    pub(super) fn is_written_now(&self, region: &Region, bytes: Range<usize>) -> bool {
        let start = region.bytes.start;
        self.written(region).is_some_and(|w| {
            let now = self.executions.len() as u32 - 1;
            w.writer[start + bytes.start..start + bytes.end].contains(&now)
        })
    }

    /// Writes an element of `bits` bits.
    pub(super) fn put(&mut self, region: &Region, element: usize, bits: usize, value: u64) {
        let now = self.executions.len() as u32 - 1;
        let written = match region.storage {
            Storage::Arena { .. } => &mut self.arena,
            Storage::Output(i) => &mut self.outputs[i].1,
            Storage::Input(_) | Storage::Weights { .. } => return,
        };
        let (start, end) = (region.bytes.start, region.bytes.end);
        code::put(&mut written.bytes[start..end], bits, element, value);
        let touched = bytes_of(element as i64, bits);
        written.writer[start + touched.start..start + touched.end].fill(now);
    }

    /// The results, all of whose elements must have been written.
    pub(super) fn results(self, symbols: &Symbols) -> Result<Vec<Tensor>> {
        let all = self.outputs.into_iter().zip(self.types);
        let tensor = |((name, mut written), ty): ((String, Written), TensorType)| {
            let shape = shape(&ty.shape, symbols)?;
            let bytes = ty.dtype.bytes_of(shape.iter().product());
            written.bytes.truncate(bytes);
            written.writer.truncate(bytes);
            if let Some(byte) = written.writer.iter().position(|k| *k == 0) {
                let element = byte / ty.dtype.size();
                return Err(Error::internal(format!(
                    "no kernel writes element {element} of the result '{name}'"
                )));
            }
            Tensor::new(ty.dtype, shape, written.bytes.into())
        };
        all.map(tensor).collect()
    }
}

/// The bytes of an element within its region.
pub(super) fn bytes_of(element: i64, bits: usize) -> Range<usize> {
    let start = element as usize * bits;
    start / 8..(start + bits).div_ceil(8)
}
