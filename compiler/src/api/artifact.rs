//! A planned model, and the files that are made of it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kiln_ir::kernel::plan::Plan;
use kiln_targets::Target;
use serde_json::Value;

use crate::codegen::{KernelStore, listing};
use crate::emit::image::Image;
use crate::emit::jit::Model;
use crate::emit::object::{ObjectFile, ObjectOptions};
use crate::emit::staging::{self, Staging};
use crate::emit::{archive, c, cmake, hash, header, html, object, pkgconfig, report, rust};
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

/// A kind of file that a model is compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emit {
    /// The static library, `libNAME.a`.
    Lib,
    /// The object file, `NAME.o`.
    Obj,
    /// The C header, `NAME.h`.
    Header,
    /// The model as C99 for any machine with a compiler, `NAME.c`, with the header. It is made instead of machine code.
    C,
    /// The model as a module of a Rust program, `NAME.rs`.
    Rust,
    /// A package for CMake's `find_package`, `NAMEConfig.cmake` and `NAMEConfigVersion.cmake`, with library and header.
    Cmake,
    /// A package for pkg-config, `NAME.pc`, with library and header.
    Pkgconfig,
    /// Everything that is known of the artefact, `NAME.report.json`.
    Report,
    /// The same for people, as a page that needs nothing else, `NAME.report.html`.
    Html,
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
    /// The names of the files for a model's name.
    pub fn files(self, name: &str) -> Vec<String> {
        let file = match self {
            Self::Lib => format!("lib{name}.a"),
            Self::Obj => format!("{name}.o"),
            Self::Header => format!("{name}.h"),
            Self::C => format!("{name}.c"),
            Self::Rust => format!("{name}.rs"),
            Self::Cmake => return vec![format!("{name}Config.cmake"), format!("{name}ConfigVersion.cmake")],
            Self::Pkgconfig => format!("{name}.pc"),
            Self::Report => format!("{name}.report.json"),
            Self::Html => format!("{name}.report.html"),
            Self::Ir => format!("{name}.ir"),
            Self::Dot => format!("{name}.dot"),
            Self::Plan => format!("{name}.plan"),
            Self::Clif => format!("{name}.clif"),
            Self::Asm => format!("{name}.asm"),
        };
        vec![file]
    }

    /// Whether it is of machine code, which a model that becomes C has none of.
    pub fn is_of_machine_code(self) -> bool {
        matches!(
            self,
            Self::Lib | Self::Obj | Self::Rust | Self::Cmake | Self::Pkgconfig | Self::Clif | Self::Asm
        )
    }

    /// The name of the only file.
    fn file(self, name: &str) -> String {
        self.files(name).swap_remove(0)
    }

    /// These kinds and what they are of no use without, each once, in the order asked for.
    pub fn complete(emits: &[Self]) -> Vec<Self> {
        let mut all = Vec::with_capacity(emits.len());
        for emit in emits {
            let with: &[Self] = match emit {
                Self::Cmake | Self::Pkgconfig => &[Self::Lib, Self::Header],
                Self::C => &[Self::Header],
                _ => &[],
            };
            for emit in with.iter().chain([emit]) {
                if !all.contains(emit) {
                    all.push(*emit);
                }
            }
        }
        all
    }
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
    /// Size of each kernel's code, per variant in the plan's order.
    pub kernel_code_bytes: Vec<Vec<usize>>,
}

impl Planned {
    /// A plan that was made otherwise than by [`Loaded::plan`]: without the text of the graph and without times.
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

    /// Writes files, all of them or none. A report of another artefact of that name goes, since it would seem to be
    /// this one's.
    pub fn write(self, folder: &Path, emits: &[Emit], object: &ObjectOptions) -> Result<Artifact, Error> {
        let emits = &*Emit::complete(emits);
        let variants = self.variants();
        let hash = hash::of(&self.name, &variants, &self.options);
        let mut staging = Staging::new(folder)?;
        let files: Vec<String> = emits.iter().flat_map(|e| e.files(&self.name)).collect();
        if let Some(place) = files.iter().map(|f| staging.place(f)).find(|p| self.is_source(p)) {
            let text = "it is the model that is compiled: choose another name or folder";
            return Err(staging::failed(&place)(io::Error::new(io::ErrorKind::AlreadyExists, text)));
        }
        let old_report = Emit::Report.file(&self.name);
        if !emits.contains(&Emit::Report) && report::is_of_another(&staging.place(&old_report), &hash) {
            staging.remove(&old_report);
        }
        // All that reads the plans comes before the object, which takes the weights out of them.
        let facts = report::Facts { name: &self.name, hash: &hash, files: &files };
        let is_told = |emit: &Emit| matches!(emit, Emit::Report | Emit::Html);
        let mut report = emits.iter().any(is_told).then(|| report::build(&variants, &facts));
        for emit in emits {
            let texts = match emit {
                Emit::Header => vec![header::render(&self.name, &variants, &hash)?],
                Emit::C => {
                    let options = c::Options { weights_section: object.weights_section.clone() };
                    vec![c::render(&self.plan, &self.options.target, &self.name, &options)?]
                }
                Emit::Rust => vec![rust::render(&self.name, &variants, &hash)?],
                Emit::Cmake => vec![cmake::config(&self.name), cmake::version(variants[0].target)],
                Emit::Pkgconfig => vec![pkgconfig::render(&self.name)],
                Emit::Ir => vec![self.graph_text.clone()],
                Emit::Dot => vec![self.dot.clone()],
                Emit::Plan => vec![each(&variants, |v| Ok(v.plan.to_string()))?],
                Emit::Clif => vec![each(&variants, |v| listing::clif(v.plan, v.target))?],
                Emit::Asm => vec![each(&variants, |v| listing::asm(v.plan, v.target))?],
                Emit::Lib | Emit::Obj | Emit::Report | Emit::Html => Vec::new(),
            };
            for (file, text) in emit.files(&self.name).iter().zip(texts) {
                staging.write(file, text)?;
            }
        }
        drop(variants);
        let Self { name, plan, options, more, mut times, .. } = self;
        let (targets, plans): (Vec<Target>, Vec<Plan>) =
            [(options.target, plan)].into_iter().chain(more).unzip();
        if targets[0].text {
            if let Some(report) = &report {
                write_report(&mut staging, report, emits, &name)?;
            }
            let files = files.iter().map(|file| staging.place(file)).collect();
            staging.commit()?;
            let (times, kernel_code_bytes) = (sums(&times), Vec::new());
            return Ok(Artifact { files, hash, times, code_bytes: 0, kernel_code_bytes });
        }
        let start = Instant::now();
        let built = object::emit_variants(plans, &targets, &name, object)?;
        times.push(("code", start.elapsed()));
        let (code_bytes, kernel_code_bytes) = (built.code_bytes, built.kernel_code_bytes.clone());
        let start = Instant::now();
        write_object(&mut staging, built, emits, &name, &targets[0])?;
        times.push(("write", start.elapsed()));
        if let Some(report) = &mut report {
            report::add_code(report, code_bytes, &kernel_code_bytes);
            write_report(&mut staging, report, emits, &name)?;
        }
        let times = sums(&times);
        let files = files.iter().map(|file| staging.place(file)).collect();
        staging.commit()?;
        Ok(Artifact { files, hash, times, code_bytes, kernel_code_bytes })
    }

    /// Whether a file is the one that the model was read from.
    fn is_source(&self, place: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().ok();
        self.source.as_deref().and_then(real).is_some_and(|source| real(place) == Some(source))
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

/// Writes what is told of an artefact, for programs and for people.
fn write_report(staging: &mut Staging, report: &Value, emits: &[Emit], name: &str) -> Result<(), Error> {
    if emits.contains(&Emit::Report) {
        staging.write(&Emit::Report.file(name), format!("{report:#}\n"))?;
    }
    if emits.contains(&Emit::Html) {
        staging.write(&Emit::Html.file(name), html::render(report))?;
    }
    Ok(())
}

/// Writes the object to disk, where the archive takes it from: it is in memory once.
fn write_object(
    staging: &mut Staging,
    object: ObjectFile,
    emits: &[Emit],
    name: &str,
    target: &Target,
) -> Result<(), Error> {
    let file = Emit::Obj.file(name);
    let path = match (emits.contains(&Emit::Obj), emits.contains(&Emit::Lib)) {
        (true, _) => staging.file(&file),
        (false, true) => staging.scratch(&file),
        (false, false) => return Ok(()),
    };
    let failed = staging::failed(&staging.place(&file));
    let mut out = io::BufWriter::with_capacity(1 << 20, File::create(&path).map_err(&failed)?);
    object.write(&mut out)?.map_err(&failed)?;
    out.into_inner().map_err(io::IntoInnerError::into_error).map_err(&failed)?;
    drop(object);
    if emits.contains(&Emit::Lib) {
        let library = Emit::Lib.file(name);
        let failed = staging::failed(&staging.place(&library));
        archive::write(&staging.file(&library), &path, &file, &target.triple).map_err(failed)?;
    }
    Ok(())
}

/// The time of each stage, which takes it once for every variant.
fn sums(times: &[(&'static str, Duration)]) -> Vec<(&'static str, Duration)> {
    let mut stages: Vec<(&'static str, Duration)> = Vec::new();
    for (stage, time) in times {
        match stages.iter_mut().find(|(known, _)| known == stage) {
            Some((_, sum)) => *sum += *time,
            None => stages.push((stage, *time)),
        }
    }
    stages
}

/// A text of every plan, each behind its level where there are several.
fn each(
    variants: &[Variant<'_>],
    text: impl Fn(&Variant<'_>) -> kiln_ir::Result<String>,
) -> kiln_ir::Result<String> {
    match variants {
        [one] => text(one),
        many => many.iter().map(|v| Ok(format!("// {}\n{}", v.target.name(), text(v)?))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::testing::conv_bias_relu;
    use crate::passes::{absorb, layout};

    /// A model of one convolution with so many channels, called `q`.
    fn planned(channels: usize) -> Planned {
        let target = kiln_targets::resolve("x86_64-unknown-linux-gnu", "sse2", "").unwrap();
        let mut program = conv_bias_relu(4, channels);
        absorb::run(&mut program);
        layout::run(&mut program).unwrap();
        let plan = crate::planner::build(program, &target).unwrap();
        Planned::new("q", plan, Options::new(target))
    }

    #[test]
    fn a_model_is_not_replaced_by_what_is_made_of_it() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("libq.a");
        std::fs::write(&model, "a model").unwrap();
        let source = Some(root.path().join("../").join(root.path().file_name().unwrap()).join("libq.a"));
        let write = |emit| {
            Planned { source: source.clone(), ..planned(8) }.write(root.path(), &[emit], &Default::default())
        };
        let error = write(Emit::Lib).unwrap_err().to_string();
        assert!(error.contains("libq.a: it is the model that is compiled"), "{error}");
        assert_eq!(std::fs::read_to_string(&model).unwrap(), "a model");
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        write(Emit::Obj).unwrap();
        assert!(root.path().join("q.o").exists());
    }

    #[test]
    fn a_report_stays_with_its_artefact_alone() {
        let root = tempfile::tempdir().unwrap();
        let write = |channels, emits: &[Emit]| {
            planned(channels).write(root.path(), emits, &Default::default()).unwrap()
        };
        let report = root.path().join("q.report.json");
        write(8, &[Emit::Lib, Emit::Report]);
        let first = std::fs::read(&report).unwrap();
        write(8, &[Emit::Lib, Emit::Report]);
        assert!(std::fs::read(&report).unwrap() == first, "the same input and options give the same bytes");
        write(8, &[Emit::Lib]);
        assert!(report.exists());
        write(16, &[Emit::Lib]);
        assert!(!report.exists());
        // What is no report of ours is nobody's business.
        std::fs::write(&report, "{}").unwrap();
        write(16, &[Emit::Lib]);
        assert!(report.exists());
    }
}
