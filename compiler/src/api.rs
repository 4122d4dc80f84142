//! The library's front door: from a model to files or to a function in memory.
//!
//! ```no_run
//! use kiln_compiler::{Compiler, Tensor};
//!
//! let compiler = Compiler::from_path("model.onnx").bind_dim("batch", 1);
//! compiler.compile_to("out")?; // libmodel.a, model.h and model.report.json
//! let model = compiler.cpu("native").jit(1)?;
//! let outputs = model.run(&[Tensor::from_vec(&[1, 3], vec![1.0f32, 2.0, 3.0])])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod artifact;
mod names;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_ir::Limits;
use kiln_ir::graph::Graph;
use kiln_ir::{Error, Fact};
use kiln_targets::Target;

pub use crate::emit::jit::{Model, Session};
pub use crate::emit::object::ObjectOptions;
pub use crate::error::BuildError;
use crate::passes::bind::{self, DimBinding, DimValue};
use crate::pipeline::{self, Observer, Options};
use crate::schedule::Choices;
pub use artifact::{Artifact, Emit, Planned};
pub use names::{c_identifier, is_c_identifier};

#[derive(Clone, Debug)]
enum Source {
    Path(PathBuf),
    Bytes(Vec<u8>),
}

/// What to compile, for what machine, and how.
#[derive(Clone, Debug)]
pub struct Compiler {
    source: Source,
    name: Option<String>,
    dims: Vec<DimBinding>,
    triple: Option<String>,
    /// Empty: what is best for the use.
    cpus: Vec<String>,
    features: String,
    opt: u8,
    winograd: bool,
    verify: bool,
    limits: Limits,
}

impl Compiler {
    fn new(source: Source) -> Self {
        Self {
            source,
            name: None,
            dims: Vec::new(),
            triple: None,
            cpus: Vec::new(),
            features: String::new(),
            opt: 2,
            winograd: true,
            verify: cfg!(debug_assertions),
            limits: Limits::default(),
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

    /// The prefix of every symbol: a C identifier. By default the file's stem, made one.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Gives a symbolic dimension its value or bounds.
    pub fn bind(mut self, binding: DimBinding) -> Self {
        self.dims.push(binding);
        self
    }

    /// Gives a symbolic dimension its value. `INPUT.AXIS` names one without a name.
    pub fn bind_dim(self, name: &str, value: i64) -> Self {
        self.bind(DimBinding { name: name.to_owned(), value: DimValue::Fixed(value) })
    }

    /// The target triple; the host's by default.
    pub fn target(mut self, triple: &str) -> Self {
        self.triple = Some(triple.to_owned());
        self
    }

    /// `native` (all that this machine has, the default of [`Compiler::jit`]), `baseline` (the target's minimum, the
    /// default of [`Compiler::load`] and [`Compiler::compile_to`]), a level out of `kiln list targets`, or the name of
    /// a CPU.
    pub fn cpu(self, cpu: &str) -> Self {
        self.cpus(&[cpu])
    }

    /// Several of these for one artefact, which picks the best that the machine can run when it runs.
    pub fn cpus(mut self, cpus: &[impl AsRef<str>]) -> Self {
        self.cpus = cpus.iter().map(|cpu| cpu.as_ref().to_owned()).collect();
        self
    }

    /// Features on top of or taken from the CPU's: `+avx2,-fma`.
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

    /// The machines that code is for, the least demanding first.
    pub fn resolve_targets(&self) -> Result<Vec<Target>, BuildError> {
        self.resolve_for("baseline")
    }

    fn resolve_for(&self, default_cpu: &str) -> Result<Vec<Target>, BuildError> {
        let default = [default_cpu.to_owned()];
        let cpus = if self.cpus.is_empty() { &default[..] } else { &self.cpus };
        let triple = self.triple.as_deref().unwrap_or_default();
        Ok(kiln_targets::resolve_list(triple, cpus, &self.features)?)
    }

    /// Writes library, header and report.
    pub fn compile_to(&self, folder: impl AsRef<Path>) -> Result<Artifact, BuildError> {
        let emits = [Emit::Lib, Emit::Header, Emit::Report];
        let object = ObjectOptions { verify: self.verify, ..Default::default() };
        self.load()?.plan()?.write(folder.as_ref(), &emits, &object)
    }

    /// Compiles for this process, with all that the machine has unless [`Compiler::cpu`] says otherwise.
    pub fn jit(&self, threads: usize) -> Result<Model, BuildError> {
        self.load_for(if self.triple.is_none() { "native" } else { "baseline" })?.plan()?.jit(threads)
    }

    /// Reads the model and binds its dimensions.
    pub fn load(&self) -> Result<Loaded, BuildError> {
        self.load_for("baseline")
    }

    fn load_for(&self, default_cpu: &str) -> Result<Loaded, BuildError> {
        let name = match &self.name {
            Some(name) if is_c_identifier(name) => name.clone(),
            Some(name) => {
                return Err(Error::invalid(format!("the name '{name}' is not a C identifier")).into());
            }
            None => self.default_name(),
        };
        let mut targets = self.resolve_for(default_cpu)?;
        let options = Options {
            target: targets.remove(0),
            opt: self.opt,
            winograd: self.winograd,
            verify: self.verify,
            dims: Vec::new(),
            limits: self.limits.clone(),
            choices: Choices::default(),
        };
        let start = Instant::now();
        let mut graph = match &self.source {
            Source::Path(path) => kiln_onnx::load(path, &self.limits)?,
            Source::Bytes(bytes) => kiln_onnx::from_bytes(bytes, None, &self.limits)?,
        };
        if !self.dims.is_empty() {
            bind::run(&mut graph, &self.dims)?;
        }
        let import_time = start.elapsed();
        let source = match &self.source {
            Source::Path(path) => Some(path.clone()),
            Source::Bytes(_) => None,
        };
        Ok(Loaded { name, graph, options, more_targets: targets, source, import_time, keep_text: false })
    }

    fn default_name(&self) -> String {
        match &self.source {
            Source::Path(path) => c_identifier(&path.file_stem().unwrap_or_default().to_string_lossy()),
            Source::Bytes(_) => "model".to_owned(),
        }
    }
}

/// A model that has been read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The prefix of every symbol.
    pub name: String,
    /// The model.
    pub graph: Graph,
    /// What to compile for, and how. Of several targets this has the least demanding one.
    pub options: Options,
    /// The others.
    more_targets: Vec<Target>,
    /// The model's file.
    source: Option<PathBuf>,
    import_time: Duration,
    keep_text: bool,
}

impl Loaded {
    /// Keeps the text of the optimised graph, for [`Emit::Ir`] and [`Emit::Dot`].
    pub fn keep_text(&mut self) {
        self.keep_text = true;
    }

    /// Symbolic dimensions with neither a value nor bounds.
    pub fn unbound(&self) -> Vec<String> {
        let bound: BTreeSet<&str> = self.options.dims.iter().map(|d| &*d.name).collect();
        bind::symbols(&self.graph)
            .iter()
            .filter(|s| !self.graph.bounds.contains_key(*s) && !bound.contains(&***s))
            .map(|s| s.to_string())
            .collect()
    }

    /// Gives a symbolic dimension its value.
    pub fn bind(&mut self, name: &str, value: i64) {
        self.options.dims.push(DimBinding { name: name.to_owned(), value: DimValue::Fixed(value) });
    }

    /// Gives an input its value for good: it is a constant of the model then, and no input any more.
    pub fn fix_input(&mut self, name: &str, tensor: kiln_ir::Tensor) -> Result<(), BuildError> {
        let id = self.graph.find(name).filter(|id| self.graph.inputs().contains(id));
        let id = id.ok_or_else(|| Error::invalid(format!("the model has no input '{name}'")))?;
        let before = bind::symbols(&self.graph);
        self.graph.fix_input(id, tensor)?;
        // A dimension of this input alone is gone, and with it what was said of it.
        let after = bind::symbols(&self.graph);
        let gone = |name: &str| before.iter().any(|s| **s == *name) && !after.iter().any(|s| **s == *name);
        self.options.dims.retain(|d| !gone(&d.name));
        Ok(())
    }

    /// Whether the artefact is for several processors.
    pub fn has_variants(&self) -> bool {
        !self.more_targets.is_empty()
    }

    /// Names of the arguments and what is known of them.
    pub fn inputs(&self) -> Vec<(&str, Option<&Fact>)> {
        self.graph
            .inputs()
            .iter()
            .map(|id| self.graph.value(*id))
            .map(|value| (&*value.name, value.fact.as_ref()))
            .collect()
    }

    /// Runs the passes.
    pub fn plan(self) -> Result<Planned, BuildError> {
        self.plan_observed(&mut ())
    }

    /// Runs the passes under the eyes of an observer.
    pub fn plan_observed(self, observer: &mut dyn Observer) -> Result<Planned, BuildError> {
        if let Some((name, (lo, hi))) = self.graph.bounds.iter().next() {
            return Err(Error::unsupported(format!(
                "dimension '{name}' left open between {lo} and {hi} is not compiled yet"
            ))
            .hint(format!("bind it to one value: --dim {name}={hi}"))
            .into());
        }
        let Self { name, graph, options, more_targets, source, import_time, keep_text } = self;
        let last = keep_text.then_some(if options.opt >= 2 { "rules" } else { "decompose" });
        let (graph_text, dot) = (String::new(), String::new());
        let mut timed =
            Timed { inner: observer, times: vec![("import", import_time)], last, graph_text, dot };
        let targets: Vec<Target> = [&options.target].into_iter().chain(&more_targets).cloned().collect();
        let mut plans = pipeline::run_for(graph, &options, &targets, &mut timed)?.into_iter();
        let plan = plans.next().ok_or_else(|| Error::internal("no plan"))?;
        let Timed { times, graph_text, dot, .. } = timed;
        let more = more_targets.into_iter().zip(plans).collect();
        Ok(Planned { name, plan, options, more, times, source, graph_text, dot })
    }
}

/// Keeps the times of passes and lets another observer see everything.
struct Timed<'a> {
    inner: &'a mut dyn Observer,
    times: Vec<(&'static str, Duration)>,
    /// The pass after which the graph's text is kept.
    last: Option<&'static str>,
    graph_text: String,
    dot: String,
}

impl Observer for Timed<'_> {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if self.last == Some(pass) {
            self.graph_text = graph.summary().to_string();
            self.dot = kiln_ir::graph::dot(graph);
        }
        self.inner.graph(pass, graph);
    }

    fn program(&mut self, pass: &'static str, program: &kiln_ir::kernel::Program) {
        self.inner.program(pass, program);
    }

    fn time(&mut self, pass: &'static str, time: Duration) {
        if pass != "import" {
            self.times.push((pass, time));
        }
        self.inner.time(pass, time);
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        self.inner.proceed(pass)
    }
}
