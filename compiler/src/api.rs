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

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kiln_ir::graph::Graph;
use kiln_ir::kernel::plan::Plan;
use kiln_ir::{Error, Fact};
use kiln_targets::Target;

use crate::codegen::listing;
pub use crate::emit::jit::{Model, Session};
use crate::emit::object::ObjectFile;
pub use crate::emit::object::ObjectOptions;
use crate::emit::staging::{self, Staging};
use crate::emit::{archive, hash, header, object, report};
use crate::error::Errors;
use crate::import::{self, Limits};
use crate::passes::bind::{self, DimBinding, DimValue};
use crate::pipeline::{self, Compiled, Observer, Options};

/// Why there is no artefact.
#[derive(Debug)]
pub enum BuildError {
    /// The model is at fault, or Kiln.
    Model(Errors),
    /// A file could not be written.
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(errors) => write!(f, "{errors}"),
            Self::Write { path, error } => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<Errors> for BuildError {
    fn from(errors: Errors) -> Self {
        Self::Model(errors)
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        Self::Model(error.into())
    }
}

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
    cpu: String,
    features: String,
    opt: u8,
    winograd: bool,
    limits: Limits,
}

impl Compiler {
    fn new(source: Source) -> Self {
        Self {
            source,
            name: None,
            dims: Vec::new(),
            triple: None,
            cpu: "baseline".to_owned(),
            features: String::new(),
            opt: 2,
            winograd: true,
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

    /// `native`, `baseline` (the default: the target's minimum), a level such as `avx2`, or the name of a CPU.
    pub fn cpu(mut self, cpu: &str) -> Self {
        self.cpu = cpu.to_owned();
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

    /// How much the model may ask for.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The machine that code is for.
    pub fn resolve_target(&self) -> Result<Target, BuildError> {
        Ok(kiln_targets::resolve(self.triple.as_deref().unwrap_or_default(), &self.cpu, &self.features)?)
    }

    /// Writes library, header and report.
    pub fn compile_to(&self, folder: impl AsRef<Path>) -> Result<Artifact, BuildError> {
        let emits = [Emit::Lib, Emit::Header, Emit::Report];
        self.load()?.plan()?.write(folder.as_ref(), &emits, &ObjectOptions::default())
    }

    /// Compiles for this process; `cpu("native")` uses all that the machine has.
    pub fn jit(&self, threads: usize) -> Result<Model, BuildError> {
        self.load()?.plan()?.jit(threads)
    }

    /// Reads the model and binds its dimensions.
    pub fn load(&self) -> Result<Loaded, BuildError> {
        let name = match &self.name {
            Some(name) if is_c_identifier(name) => name.clone(),
            Some(name) => {
                return Err(Error::invalid(format!("the name '{name}' is not a C identifier")).into());
            }
            None => self.default_name(),
        };
        let options = Options {
            target: self.resolve_target()?,
            opt: self.opt,
            winograd: self.winograd,
            dims: Vec::new(),
            limits: self.limits.clone(),
        };
        let start = Instant::now();
        let mut graph = match &self.source {
            Source::Path(path) => import::load(path, &self.limits)?,
            Source::Bytes(bytes) => import::from_bytes(bytes, None, &self.limits)?,
        };
        if !self.dims.is_empty() {
            bind::run(&mut graph, &self.dims)?;
        }
        Ok(Loaded { name, graph, options, import_time: start.elapsed(), keep_text: false })
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
    /// What to compile for, and how.
    pub options: Options,
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
        let Self { name, graph, options, import_time, keep_text } = self;
        let last = keep_text.then_some(if options.opt >= 2 { "rules" } else { "decompose" });
        let (graph_text, dot) = (String::new(), String::new());
        let mut timed =
            Timed { inner: observer, times: vec![("import", import_time)], last, graph_text, dot };
        match pipeline::run(graph, &options, &mut timed)? {
            Compiled::Plan(plan) => {
                let Timed { times, graph_text, dot, .. } = timed;
                Ok(Planned { name, plan, options, times, graph_text, dot })
            }
            _ => Err(Error::internal("the pipeline stopped early").into()),
        }
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

/// A model that code can be generated for.
#[derive(Debug)]
pub struct Planned {
    /// The prefix of every symbol.
    pub name: String,
    /// Kernels, schedules, offsets and weights.
    pub plan: Plan,
    /// What it was compiled for, and how.
    pub options: Options,
    /// The time that each stage took, in order.
    pub times: Vec<(&'static str, Duration)>,
    graph_text: String,
    dot: String,
}

/// A kind of file that a model is compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    /// The static library, `libNAME.a`.
    Lib,
    /// The object file, `NAME.o`.
    Obj,
    /// The C header, `NAME.h`.
    Header,
    /// Everything that is known of the artefact, `NAME.report.json`.
    Report,
    /// The optimised graph, `NAME.ir`.
    Ir,
    /// The optimised graph for Graphviz, `NAME.dot`.
    Dot,
    /// The kernels with schedules and offsets, `NAME.plan`.
    Plan,
    /// The kernels as Cranelift is given them, `NAME.clif`.
    Clif,
    /// The machine code of the kernels, `NAME.asm`.
    Asm,
}

impl Emit {
    /// The name of the file for a model's name.
    pub fn file(self, name: &str) -> String {
        match self {
            Self::Lib => format!("lib{name}.a"),
            Self::Obj => format!("{name}.o"),
            Self::Header => format!("{name}.h"),
            Self::Report => format!("{name}.report.json"),
            Self::Ir => format!("{name}.ir"),
            Self::Dot => format!("{name}.dot"),
            Self::Plan => format!("{name}.plan"),
            Self::Clif => format!("{name}.clif"),
            Self::Asm => format!("{name}.asm"),
        }
    }
}

/// What was written.
#[derive(Debug)]
pub struct Artifact {
    /// Every file.
    pub files: Vec<PathBuf>,
    /// Identifies model and options.
    pub hash: String,
    /// Size of all code.
    pub code_bytes: usize,
}

impl Planned {
    /// A plan that was made otherwise than by [`Loaded::plan`]: without the text of the graph and without times.
    pub fn new(name: &str, plan: Plan, options: Options) -> Self {
        let (graph_text, dot) = (String::new(), String::new());
        Self { name: name.to_owned(), plan, options, times: Vec::new(), graph_text, dot }
    }

    /// Writes files, all of them or none.
    pub fn write(
        self,
        folder: &Path,
        emits: &[Emit],
        object: &ObjectOptions,
    ) -> Result<Artifact, BuildError> {
        let Self { name, plan, options, mut times, graph_text, dot } = self;
        let target = &options.target;
        let hash = hash::of(&name, &plan, &options);
        let mut staging = Staging::new(folder)?;
        let files: Vec<String> = emits.iter().map(|e| e.file(&name)).collect();
        // All that reads the plan comes before the object, which takes the weights out of it.
        let facts = report::Facts { name: &name, target, hash: &hash, files: &files };
        let mut report = emits.contains(&Emit::Report).then(|| report::build(&plan, &facts));
        for (emit, file) in emits.iter().zip(&files) {
            match emit {
                Emit::Header => staging.write(file, header::render(&name, &plan, &hash)?)?,
                Emit::Ir => staging.write(file, &graph_text)?,
                Emit::Dot => staging.write(file, &dot)?,
                Emit::Plan => staging.write(file, plan.to_string())?,
                Emit::Clif => staging.write(file, listing::clif(&plan, target)?)?,
                Emit::Asm => staging.write(file, listing::asm(&plan, target)?)?,
                Emit::Lib | Emit::Obj | Emit::Report => {}
            }
        }
        let start = Instant::now();
        let built = object::emit(plan, target, &name, object)?;
        times.push(("code", start.elapsed()));
        let (code_bytes, kernel_bytes) = (built.code_bytes, built.kernel_code_bytes.clone());
        let start = Instant::now();
        write_object(&mut staging, built, emits, &name, target)?;
        times.push(("write", start.elapsed()));
        if let Some(report) = &mut report {
            report::add_code(report, code_bytes, &kernel_bytes, &times);
            staging.write(&Emit::Report.file(&name), format!("{report:#}\n"))?;
        }
        Ok(Artifact { files: staging.commit()?, hash, code_bytes })
    }

    /// Compiles for this process. `threads` are those that a run may use, the caller's included.
    pub fn jit(self, threads: usize) -> Result<Model, BuildError> {
        Ok(Model::new(self.plan, &self.options.target, threads)?)
    }
}

/// Writes the object to disk, where the archive takes it from: it is in memory once.
fn write_object(
    staging: &mut Staging,
    object: ObjectFile,
    emits: &[Emit],
    name: &str,
    target: &Target,
) -> Result<(), BuildError> {
    let file = Emit::Obj.file(name);
    let path = match (emits.contains(&Emit::Obj), emits.contains(&Emit::Lib)) {
        (true, _) => staging.file(&file),
        (false, true) => staging.scratch(&file),
        (false, false) => return Ok(()),
    };
    let failed = staging::failed(&staging.place(&file));
    let mut out = io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(&failed)?);
    object.write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error).map_err(&failed)?;
    drop(object);
    if emits.contains(&Emit::Lib) {
        let library = Emit::Lib.file(name);
        let failed = staging::failed(&staging.place(&library));
        archive::write(&staging.file(&library), &path, &file, &target.triple).map_err(failed)?;
    }
    Ok(())
}

/// Whether text can name a C function: an identifier and not a keyword.
pub fn is_c_identifier(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    plain && text.starts_with(|c: char| !c.is_ascii_digit()) && !KEYWORDS.contains(&text) && text.len() <= 200
}

/// A C identifier that resembles `text`.
pub fn c_identifier(text: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = text.chars().take(180).map(safe).collect();
    if name.chars().all(|c| c == '_') {
        name = "model".to_owned();
    }
    // Names that start with an underscore may be the C implementation's own.
    if name.starts_with(|c: char| c.is_ascii_digit() || c == '_') {
        name.insert_str(0, "model");
    }
    if !is_c_identifier(&name) {
        name.push_str("_model");
    }
    name
}

/// Keywords of C up to C23 and of C++ up to C++23, and `main`.
const KEYWORDS: &[&str] = &[
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "main",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "typeof_unqual",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "wchar_t",
    "while",
    "xor",
    "xor_eq",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        for (text, name) in [
            ("resnet50", "resnet50"),
            ("my model-v1.2", "my_model_v1_2"),
            ("50net", "model50net"),
            ("_x", "model_x"),
            ("", "model"),
            ("größe", "gr__e"),
            ("int", "int_model"),
        ] {
            assert_eq!(c_identifier(text), name);
            assert!(is_c_identifier(&c_identifier(text)), "{text}");
        }
        for text in ["", "1a", "a b", "while", "ä"] {
            assert!(!is_c_identifier(text), "{text}");
        }
    }
}
