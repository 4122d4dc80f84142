//! A compiled model as bytes: code of its kernels, what they are, read-only data. It can be kept in a file, from which
//! the read-only data is used where it lies.
//!
//! ```text
//! magic, digest of all that follows but zeros between                   24 + 64 bytes
//! sizes of the description, the code and the data                       3 x 8 bytes
//! description: the key, what a Model needs besides code and data        JSON
//! code of each function                                                 at multiples of 64
//! read-only data                                                        at a multiple of a page
//! ```
//!
//! A file is used if its magic, its key and its digest are right. The key is whoever keeps it to say; it names the model,
//! the options and the compiler that the file is of.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use kiln_ir::kernel::plan::{Counted, Plan, Port};
use kiln_ir::{Bound, Bounds, DType, Dim, Result, Shape, TensorType, text};
use kiln_targets::Target;
use serde::{Deserialize, Serialize};

use super::gathers::gathers;
use super::steer::Described;
use crate::codegen::{self, KernelStore};
use crate::digest;
use crate::lines::Lines;

const MAGIC: &[u8; 24] = b"kiln compiled model, 3.\n";
const HEAD_BYTES: usize = 24 + 64 + 3 * 8;
const CODE_ALIGN: usize = 64;
/// Pages of every machine that there is code for are this large or a part of it.
const DATA_ALIGN: usize = 1 << 16;

/// A compiled model as bytes.
pub struct Image {
    pub(super) description: Description,
    pub(super) code: Vec<u8>,
    pub(super) data: Data,
}

/// What a model is besides code and data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    key: String,
    /// Open dimensions: name, least, greatest, typical.
    bounds: Vec<(String, i64, i64, i64)>,
    /// Those that a run counts: name, where in the arena, behind which kernel.
    counted: Vec<(String, usize, usize)>,
    sizes: Vec<String>,
    assumed: Vec<String>,
    pub(super) inputs: Vec<Declared>,
    pub(super) outputs: Vec<Declared>,
    pub(super) arena_bytes: usize,
    pub(super) functions: Vec<Range>,
    pub(super) kernels: Vec<Entry>,
    pub(super) regions: Described,
}

/// An argument or a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Declared {
    name: String,
    dtype: String,
    shape: Vec<String>,
}

/// Where the code of a function lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) at: usize,
    pub(super) bytes: usize,
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) node: String,
    pub(super) gathers: Vec<String>,
    pub(super) function: usize,
    steps: String,
    pub(super) row: usize,
    grain: Option<String>,
    pub(super) places: Vec<i64>,
}

/// Read-only data: in memory of its own, or in a file that is mapped.
pub(super) enum Data {
    Own(Lines),
    /// The file, and where in it the data begins.
    Mapped(Bytes, usize),
}

impl Data {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(lines) => lines.bytes(),
            Self::Mapped(file, at) => &file[*at..],
        }
    }
}

impl Declared {
    fn of(port: &Port) -> Self {
        let shape = port.ty.shape.iter().map(Dim::to_string).collect();
        Self { name: port.name.clone(), dtype: port.ty.dtype.name().to_owned(), shape }
    }

    pub(super) fn port(&self) -> Option<Port> {
        let ty = TensorType::new(DType::parse(&self.dtype)?, Shape(dims(&self.shape)?));
        Some(Port { name: self.name.clone(), ty })
    }
}

impl Entry {
    pub(super) fn steps(&self) -> Option<Dim> {
        text::parse_dim(&self.steps).ok()
    }

    /// What a thread takes at a time; nothing of that where it cannot be read.
    pub(super) fn grain(&self) -> Option<Option<Dim>> {
        self.grain
            .as_ref()
            .map(|grain| text::parse_dim(grain).ok())
            .map_or(Some(None), |grain| grain.map(Some))
    }
}

impl Description {
    pub(super) fn bounds(&self) -> Bounds {
        let bound = |(name, lo, hi, typical): &(String, i64, i64, i64)| {
            (name.as_str().into(), Bound { lo: *lo, hi: *hi, typical: *typical })
        };
        self.bounds.iter().map(bound).collect()
    }

    pub(super) fn counted(&self) -> Vec<Counted> {
        let counted = |(name, offset_bytes, after): &(String, usize, usize)| Counted {
            name: name.as_str().into(),
            offset_bytes: *offset_bytes,
            after: *after,
        };
        self.counted.iter().map(counted).collect()
    }

    pub(super) fn sizes(&self) -> Option<Vec<Dim>> {
        dims(&self.sizes)
    }

    pub(super) fn assumed(&self) -> Option<Vec<Dim>> {
        dims(&self.assumed)
    }
}

fn dims(texts: &[String]) -> Option<Vec<Dim>> {
    texts.iter().map(|text| text::parse_dim(text).ok()).collect()
}

impl Image {
    /// Compiles the kernels of a plan for this machine. `stop` ends it early, with an error.
    pub fn new(
        mut plan: Plan,
        target: &Target,
        verify: bool,
        store: &KernelStore,
        stop: &AtomicBool,
    ) -> Result<Self> {
        super::host::check_host(target)?;
        let mut data = Lines::new(plan.weights_bytes)?;
        for weight in std::mem::take(&mut plan.weights) {
            data.bytes_mut()[weight.offset_bytes..][..weight.tensor.data.len()]
                .copy_from_slice(&weight.tensor.data);
        }
        let made = codegen::functions(&plan, target, verify, store, stop)?;
        let (mut code, mut functions) = (Vec::new(), Vec::new());
        for machine in &made.code {
            code.resize(code.len().next_multiple_of(CODE_ALIGN), 0);
            functions.push(Range { at: code.len(), bytes: machine.bytes.len() });
            code.extend_from_slice(&machine.bytes);
        }
        let kernels = plan.kernels.iter().zip(made.kernels).map(|(kernel, function)| Entry {
            name: kernel.name.clone(),
            node: if let [node] = &kernel.nodes[..] { node.clone() } else { kernel.name.clone() },
            gathers: gathers(kernel),
            function: function.code,
            steps: function.steps.to_string(),
            row: function.row,
            grain: kernel.grain.as_ref().map(Dim::to_string),
            places: function.places,
        });
        let declared = |ports: &[Port]| ports.iter().map(Declared::of).collect();
        let written = |dims: &[Dim]| dims.iter().map(Dim::to_string).collect();
        let bounds = plan.bounds.iter().map(|(name, b)| (name.to_string(), b.lo, b.hi, b.typical));
        let description = Description {
            key: String::new(),
            bounds: bounds.collect(),
            counted: plan.counted.iter().map(|c| (c.name.to_string(), c.offset_bytes, c.after)).collect(),
            sizes: written(&plan.sizes),
            assumed: written(&plan.assumed),
            inputs: declared(&plan.inputs),
            outputs: declared(&plan.outputs),
            arena_bytes: plan.arena_bytes,
            functions,
            kernels: kernels.collect(),
            regions: Described::of(&plan)?,
        };
        Ok(Self { description, code, data: Data::Own(data) })
    }

    /// Size of code and data.
    pub fn bytes(&self) -> usize {
        self.code.len() + self.data.bytes().len()
    }

    /// Writes it under a key into a file that is not there yet.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn write(&self, path: &Path, key: &str) -> io::Result<()> {
        let description = Description { key: key.to_owned(), ..self.description.clone() };
        let description = serde_json::to_vec(&description).map_err(io::Error::other)?;
        let data = self.data.bytes();
        let parts = [&description[..], &self.code, data];
        let digest = digest::of_parts(&parts);
        let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
        out.write_all(MAGIC)?;
        out.write_all(digest.as_bytes())?;
        parts.iter().try_for_each(|part| out.write_all(&(part.len() as u64).to_le_bytes()))?;
        out.write_all(&description)?;
        let layout = Layout::new(parts.map(<[u8]>::len)).ok_or_else(|| io::Error::other("too large"))?;
        pad(&mut out, HEAD_BYTES + description.len(), layout.code)?;
        out.write_all(&self.code)?;
        pad(&mut out, layout.code + self.code.len(), layout.data)?;
        out.write_all(data)?;
        // What a crash of the machine leaves of it has another digest.
        out.into_inner().map(|_| ()).map_err(io::IntoInnerError::into_error)
    }

    /// The compiled model in a file; nothing where the file is of another key or damaged.
    pub fn open(path: &Path, key: &str) -> Option<Self> {
        let file = File::open(path).ok()?;
        let file = kiln_onnx::map_file(&file).ok()?;
        let head = file.get(..HEAD_BYTES)?;
        let (magic, rest) = head.split_at(MAGIC.len());
        let (expected, sizes) = rest.split_at(64);
        if magic != MAGIC {
            return None;
        }
        let size = |i: usize| {
            let word = sizes.get(8 * i..8 * i + 8)?.try_into().ok()?;
            usize::try_from(u64::from_le_bytes(word)).ok()
        };
        let sizes = [size(0)?, size(1)?, size(2)?];
        let layout = Layout::new(sizes)?;
        if file.len() != layout.end {
            return None;
        }
        let description = file.get(HEAD_BYTES..HEAD_BYTES + sizes[0])?;
        let code = file.get(layout.code..layout.code + sizes[1])?;
        let data = file.get(layout.data..)?;
        let blank =
            |from: usize, to: usize| file.get(from..to).is_some_and(|gap| gap.iter().all(|b| *b == 0));
        if !blank(HEAD_BYTES + sizes[0], layout.code) || !blank(layout.code + sizes[1], layout.data) {
            return None;
        }
        // The key is cheap to compare, and what it does not fit needs no reading.
        let read: Description = serde_json::from_slice(description).ok()?;
        if read.key != key || digest::of_parts(&[description, code, data]).as_bytes() != expected {
            return None;
        }
        let code = code.to_vec();
        Some(Self { description: read, code, data: Data::Mapped(file.clone(), layout.data) })
    }
}

/// Where the parts of a file begin.
struct Layout {
    code: usize,
    data: usize,
    end: usize,
}

impl Layout {
    fn new([description, code, data]: [usize; 3]) -> Option<Self> {
        let code_at = HEAD_BYTES.checked_add(description)?.checked_next_multiple_of(CODE_ALIGN)?;
        let data_at = code_at.checked_add(code)?.checked_next_multiple_of(DATA_ALIGN)?;
        Some(Self { code: code_at, data: data_at, end: data_at.checked_add(data)? })
    }
}

fn pad(out: &mut impl Write, from: usize, to: usize) -> io::Result<()> {
    out.write_all(&vec![0; to - from])
}
