//! A planned model, and the files that are made of it.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;

use crate::codegen::KernelStore;
use crate::emit::image::Image;
use crate::emit::jit::Model;
use crate::error::Error;
use crate::pipeline::Options;
use crate::variant::Variant;

/// A model that code can be generated for.
#[derive(Debug)]
pub struct Planned {
    /// The prefix of every symbol.
    pub name: String,
    /// Kernels, schedules, offsets and weights. Of several targets this is for the least demanding one.
    pub plan: Plan,
    /// What it was compiled for, and how.
    pub options: Options,
    /// The other targets of a list, each more demanding than the one before or unlike it, and the plans for them.
    /// All plans read the same block of read-only data.
    pub more: Vec<(Target, Plan)>,
    /// The time that each stage took, in order.
    pub times: Vec<(&'static str, Duration)>,
    /// The model's file.
    pub(super) source: Option<PathBuf>,
    pub(super) graph_text: String,
    pub(super) dot: String,
}

/// What was written.
#[derive(Debug)]
pub struct Artifact {
    /// Every file, in the order asked for.
    pub files: Vec<PathBuf>,
    /// Identifies model and options.
    pub hash: String,
    /// The time that each stage took, in order; the passes on the program once for all variants.
    pub times: Vec<(&'static str, Duration)>,
    /// Size of all code.
    pub code_bytes: usize,
    /// Bytes of stack that a call takes at most; `None` where that is not known, as of C.
    pub stack_bytes: Option<u32>,
    /// Size of each kernel's code, per variant in the plan's order.
    pub kernel_code_bytes: Vec<Vec<usize>>,
}

impl Planned {
    /// A plan that was made otherwise than by [`Loaded::plan`](super::Loaded::plan): without the text of the graph and without times.
    pub fn new(name: &str, plan: Plan, options: Options) -> Self {
        let (graph_text, dot) = (String::new(), String::new());
        let (more, times, source) = (Vec::new(), Vec::new(), None);
        Self { name: name.to_owned(), plan, options, more, times, source, graph_text, dot }
    }

    /// Every variant, the least demanding first.
    pub fn variants(&self) -> Vec<Variant<'_>> {
        let first = Variant { plan: &self.plan, target: &self.options.target };
        [first].into_iter().chain(self.more.iter().map(|(target, plan)| Variant { plan, target })).collect()
    }

    /// Compiles for this process to bytes that can be kept in a file. What the store has is not compiled again; `stop`
    /// ends it early, with an error.
    pub fn image(self, store: &KernelStore, stop: &AtomicBool) -> Result<Image, Error> {
        Ok(Image::new(self.plan, &self.options.target, self.options.verify, store, stop)?)
    }

    /// Compiles for this process. `threads` are those that a run may use, the caller's included.
    pub fn jit(self, threads: usize) -> Result<Model, Error> {
        if !self.more.is_empty() {
            return Err(
                kiln_ir::Error::invalid("code in memory is for one processor, several are given").into()
            );
        }
        Ok(Model::verified(self.plan, &self.options.target, threads, self.options.verify)?)
    }
}
