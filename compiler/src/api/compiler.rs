//! The builder: from a model and options to files or to a function in memory.

use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_ir::graph::Graph;
use kiln_ir::{Bound, Limits};
use kiln_targets::{Target, c};

use super::artifact::Artifact;
use super::emits::Emit;
use super::loaded::Loaded;
use crate::emit::jit::Model;
use crate::emit::object::ObjectOptions;
use crate::error::Error;
use crate::names::{c_identifier, is_c_identifier};
use crate::passes::bind::{self, DimBinding, DimValue, SizeBound};
use crate::pipeline::Options;
use crate::schedule::Choices;

/// Where the model is.
#[derive(Clone, Debug)]
enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
    Graph(Box<Graph>),
}

/// What to compile, for what machine, and how.
///
/// ```
/// use kiln_compiler::Compiler;
///
/// # fn main() -> Result<(), kiln_compiler::Error> {
/// # let folder = std::env::temp_dir().join(format!("kiln-doc-{}", std::process::id()));
/// let compiler = Compiler::from_path("../tests/models/tiny/tiny_ic_resnet8.onnx").name("resnet8");
/// let artifact = compiler.cpus(&["baseline", "avx2"]).target("x86_64-unknown-linux-gnu").compile_to(&folder)?;
/// assert!(artifact.files[0].ends_with("libresnet8.a"));
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Compiler {
    source: Source,
    name: Option<String>,
    dims: Vec<DimBinding>,
    bounds: Vec<SizeBound>,
    triple: Option<String>,
    /// Empty: the default of what is made.
    cpus: Vec<String>,
    features: String,
    opt: u8,
    winograd: bool,
    fast_requantize: bool,
    arena_limit: Option<u64>,
    verify: bool,
    limits: Limits,
    emits: Vec<Emit>,
    weights_section: Option<String>,
    weights_file: bool,
}

impl Compiler {
    fn new(source: Source) -> Self {
        Self {
            source,
            name: None,
            dims: Vec::new(),
            bounds: Vec::new(),
            triple: None,
            cpus: Vec::new(),
            features: String::new(),
            opt: 2,
            winograd: true,
            fast_requantize: false,
            arena_limit: None,
            verify: cfg!(debug_assertions),
            limits: Limits::default(),
            emits: vec![Emit::Lib, Emit::Header, Emit::Report],
            weights_section: None,
            weights_file: false,
        }
    }

    /// A model file; external data is looked for beside it.
    pub fn from_path(path: impl AsRef<Path>) -> Self {
        Self::new(Source::Path(path.as_ref().to_owned()))
    }

    /// A model in memory, without external data.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Source::Bytes(bytes.into()))
    }

    /// A model that is a graph already.
    #[doc(hidden)]
    pub fn from_graph(graph: Graph) -> Self {
        Self::new(Source::Graph(Box::new(graph)))
    }

    /// A model that is read from somewhere, without external data.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn from_reader(reader: impl Read) -> io::Result<Self> {
        // One byte more than is accepted tells that there are too many.
        let mut bytes = Vec::new();
        reader.take(Limits::default().max_model_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Self::new(Source::Bytes(bytes)))
    }

    /// The prefix of every symbol: a C identifier. By default the file's stem, made one.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Gives a symbolic dimension its value or bounds.
    #[doc(hidden)]
    pub fn bind(mut self, binding: DimBinding) -> Self {
        self.dims.push(binding);
        self
    }

    /// Gives a symbolic dimension its value. `INPUT.AXIS` names one without a name. A model with a dimension that has
    /// none is refused with [`Error::UnboundDimensions`].
    pub fn dim(self, name: &str, value: i64) -> Self {
        self.bind(DimBinding { name: name.to_owned(), value: DimValue::Fixed(value) })
    }

    /// Leaves a symbolic dimension open: every run has a size of its own, which the shapes of its inputs tell. Memory is
    /// planned for the greatest; `typical` is what is assumed where a choice depends on it, by default the geometric mean
    /// of the ends.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kiln_compiler::Error> {
    /// use kiln_compiler::{Compiler, DType, Tensor};
    ///
    /// let model = Compiler::from_path("model.onnx").open_dim("batch", 1..=8, None).jit(1)?;
    /// let three = model.run(&[Tensor::zeros(DType::F32, &[3, 224])])?;
    /// let eight = model.run(&[Tensor::zeros(DType::F32, &[8, 224])])?;
    /// assert_eq!((three[0].shape[0], eight[0].shape[0]), (3, 8));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_dim(self, name: &str, sizes: RangeInclusive<i64>, typical: Option<i64>) -> Self {
        let mut bound = Bound::from((*sizes.start(), *sizes.end()));
        bound.typical = typical.unwrap_or(bound.typical);
        self.bind(DimBinding { name: name.to_owned(), value: DimValue::Open(bound) })
    }

    /// [`Compiler::most`] as the command line has it.
    #[doc(hidden)]
    pub fn limit(mut self, bound: SizeBound) -> Self {
        self.bounds.push(bound);
        self
    }

    /// The most elements that a value has along each axis, or along every one, whose size depends on data, where no bound
    /// can be derived or a lower one is known. A run in which there are more ends with an error.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), kiln_compiler::Error> {
    /// use kiln_compiler::{Compiler, DType, Tensor};
    ///
    /// // A model that ends in NonZero, of which 100 are enough.
    /// let model = Compiler::from_path("model.onnx").most("found", &[100]).jit(1)?;
    /// let found = model.run(&[Tensor::zeros(DType::F32, &[224, 224])])?;
    /// assert_eq!(found[0].shape, [2, 0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn most(self, value: &str, most: &[i64]) -> Self {
        self.limit(SizeBound { value: value.to_owned(), most: most.to_vec() })
    }

    /// The target triple; the host's by default.
    pub fn target(mut self, triple: &str) -> Self {
        self.triple = Some(triple.to_owned());
        self
    }

    /// `native`, `baseline` (the target's minimum), a level such as `avx2`, or the name of a CPU. By default `native` for
    /// [`jit`](Self::jit). [`compile_to`](Self::compile_to) makes one artefact for `baseline`, `avx2` and `avx512` of
    /// x86-64, unless there are [`features`](Self::features), and for `baseline` of other machines.
    pub fn cpu(self, cpu: &str) -> Self {
        self.cpus(&[cpu])
    }

    /// Several of these for one artefact, which picks the best that the machine can run when it runs.
    pub fn cpus(mut self, cpus: &[impl AsRef<str>]) -> Self {
        self.cpus = cpus.iter().map(|cpu| cpu.as_ref().to_owned()).collect();
        self
    }

    /// Features on top of or taken from the CPU's: `+avx2,-fma`. A feature brings what it needs, and takes along what
    /// needs it.
    pub fn features(mut self, features: &str) -> Self {
        self.features = features.to_owned();
        self
    }

    /// 0: no rewrites, for comparing; 1: folding and fusion; 2, the default: rewrites too.
    pub fn opt(mut self, level: u8) -> Self {
        self.opt = level;
        self
    }

    /// Whether level 2 may compute convolutions by Winograd's minimal filtering, which is faster and rounds
    /// differently. On by default.
    pub fn winograd(mut self, on: bool) -> Self {
        self.winograd = on;
        self
    }

    /// Whether integers that are made of quantised sums may be off by one, where that takes fewer operations. Off by
    /// default: they are those that the model says, in every bit.
    pub fn fast_requantize(mut self, on: bool) -> Self {
        self.fast_requantize = on;
        self
    }

    /// Bytes that the arena may have. Where it would be larger, kernels run in strips of rows; where that is not enough, it
    /// is an error that says what the least is.
    pub fn arena_limit(mut self, bytes: u64) -> Self {
        self.arena_limit = Some(bytes);
        self
    }

    /// Whether every verifier runs after every pass, and Cranelift's before it compiles. It finds bugs of Kiln and
    /// changes no result. Off by default in builds without assertions.
    pub fn verify(mut self, on: bool) -> Self {
        self.verify = on;
        self
    }

    /// How much the model may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What [`compile_to`](Self::compile_to) writes: by default library, header and report.
    pub fn emit(mut self, emits: &[Emit]) -> Self {
        self.emits = emits.to_vec();
        self
    }

    /// The section of an object that weights are put into, by default the format's usual one for read-only data.
    pub fn weights_section(mut self, name: &str) -> Self {
        self.weights_section = Some(name.to_owned());
        self
    }

    /// Whether weights are a file of their own, `NAME.weights.bin`, whose address every call is given, instead of a part of the
    /// library.
    pub fn weights_file(mut self, on: bool) -> Self {
        self.weights_file = on;
        self
    }

    /// Writes the artefact into a folder, which is made where it is missing: all files, or none.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] names the file that could not be written; the others say what is wrong with the model or the
    /// options.
    pub fn compile_to(&self, folder: impl AsRef<Path>) -> Result<Artifact, Error> {
        let object = ObjectOptions {
            weights_section: self.weights_section.clone(),
            weights_file: self.weights_file,
            verify: self.verify,
        };
        self.load_for(self.portable()?)?.plan()?.write(folder.as_ref(), &self.emits, &object)
    }

    /// Compiles for this process. A run may use so many threads, the caller's included; the results have the same bits
    /// for any number.
    ///
    /// # Errors
    ///
    /// What is wrong with the model or the options; [`Error::Invalid`] too where this machine lacks what the chosen CPU
    /// has.
    pub fn jit(&self, threads: usize) -> Result<Model, Error> {
        self.load_for(&[if self.triple.is_none() { "native" } else { "baseline" }])?.plan()?.jit(threads)
    }

    /// The machines that code is for, the least demanding first.
    #[doc(hidden)]
    pub fn resolve_targets(&self) -> Result<Vec<Target>, Error> {
        self.targets_or(self.portable()?)
    }

    /// What an artefact is for unless it is said.
    fn portable(&self) -> Result<&'static [&'static str], Error> {
        if self.emits.iter().any(|emit| emit.is_of_c()) {
            return Ok(&["baseline"]);
        }
        if !self.features.is_empty() {
            return Ok(&["baseline"]);
        }
        Ok(kiln_targets::portable(self.triple.as_deref().unwrap_or_default())?)
    }

    fn targets_or(&self, default: &[&str]) -> Result<Vec<Target>, Error> {
        if self.emits.iter().any(|emit| emit.is_of_c()) {
            return self.c_target().map(|target| vec![target]);
        }
        let chosen: Vec<&str> = self.cpus.iter().map(String::as_str).collect();
        let cpus = if chosen.is_empty() { default } else { &chosen };
        Ok(kiln_targets::resolve_list(self.triple.as_deref().unwrap_or_default(), cpus, &self.features)?)
    }

    /// C is for every processor of a kind, and nothing else is made of the same plan.
    fn c_target(&self) -> Result<Target, Error> {
        if self.emits.iter().any(|emit| emit.is_of_machine_code()) {
            return Err(kiln_ir::Error::invalid("C and machine code are of two plans")
                .hint("ask for c and folders of it with header, hpp, report, html, ir, plan and dot, and for the others by themselves")
                .into());
        }
        let fast = self.features.trim_start_matches('+') == c::SPEED;
        if !self.cpus.iter().all(|cpu| cpu == "baseline") || !(fast || self.features.is_empty()) {
            return Err(kiln_ir::Error::invalid("C is for every processor: its compiler is told which")
                .hint("leave out --cpu and --features, of which there is +speed alone: larger and faster")
                .into());
        }
        let triple = self.triple.as_deref().unwrap_or_default();
        Ok(if fast { c::fast_target(triple)? } else { c::target(triple)? })
    }

    /// Reads the model and binds its dimensions, for the target's minimum unless a CPU is chosen.
    #[doc(hidden)]
    pub fn load(&self) -> Result<Loaded, Error> {
        self.load_for(&["baseline"])
    }

    fn load_for(&self, default_cpus: &[&str]) -> Result<Loaded, Error> {
        let name = match &self.name {
            Some(name) if is_c_identifier(name) => name.clone(),
            Some(name) => {
                return Err(
                    kiln_ir::Error::invalid(format!("the name '{name}' is not a C identifier")).into()
                );
            }
            None => self.default_name(),
        };
        let mut targets = self.targets_or(default_cpus)?;
        let options = Options {
            target: targets.remove(0),
            opt: self.opt,
            winograd: self.winograd,
            fast_requantize: self.fast_requantize,
            arena_limit: self.arena_limit,
            verify: self.verify,
            dims: Vec::new(),
            limits: self.limits.clone(),
            choices: Choices::default(),
        };
        let start = Instant::now();
        let mut graph = match &self.source {
            Source::Path(path) => kiln_onnx::load(path, &self.limits)?,
            Source::Bytes(bytes) => kiln_onnx::from_bytes(bytes, None, &self.limits)?,
            Source::Graph(graph) => (**graph).clone(),
        };
        bind::limit(&mut graph, &self.bounds)?;
        if !self.dims.is_empty() {
            bind::run(&mut graph, &self.dims)?;
        }
        let import_time = start.elapsed();
        let source = match &self.source {
            Source::Path(path) => Some(path.clone()),
            Source::Bytes(_) | Source::Graph(_) => None,
        };
        Ok(Loaded::new(name, graph, options, targets, source, import_time))
    }

    fn default_name(&self) -> String {
        match &self.source {
            Source::Path(path) => c_identifier(&path.file_stem().unwrap_or_default().to_string_lossy()),
            Source::Bytes(_) | Source::Graph(_) => "model".to_owned(),
        }
    }
}
