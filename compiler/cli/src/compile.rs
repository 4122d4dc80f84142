//! `kiln compile`: a static library, a header and a report.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use kiln_compiler::Emit;
use kiln_compiler::internals::api::weights_file;
use kiln_compiler::internals::emit::object::ObjectOptions;
use kiln_compiler::internals::emit::report;
use kiln_compiler::internals::variant;
use serde_json::{Map, json};

use super::args::{self, ModelArgs, TargetArgs};
use super::failure::Failure;
use super::output::{Answer, Ui};
use super::source;
use super::tune::TuneArgs;
use kiln_tools::measure::ms;

/// Arguments of `kiln compile`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::COMPILE)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The folder to write to.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The prefix of every symbol and file: a C identifier. Default: the file's stem, made one.
    #[arg(long)]
    name: Option<String>,
    /// What to write, separated by commas.
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',', default_value = "lib,header,report")]
    emit: Vec<Kind>,
    /// Where weights are: in the library, or in NAME.weights.bin, whose address every call is given.
    #[arg(long, value_enum, default_value_t = Weights::Embed)]
    weights: Weights,
    /// The section that weights are put into.
    #[arg(long, value_name = "NAME")]
    weights_section: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// Kinds that the interface has; those that are not made yet are hidden from help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    /// libNAME.a
    Lib,
    /// NAME.o
    Obj,
    /// A shared library, linked by the C compiler, with the header: libNAME.so
    Shared,
    /// NAME.h
    Header,
    /// The header for C++17, with spans: NAME.hpp
    Hpp,
    /// The model as C99, with header and without machine code: NAME.c
    C,
    /// The model as a module for Rust: NAME.rs
    Rust,
    /// A package for CMake, with library and header: NAMEConfig.cmake
    Cmake,
    /// A package for pkg-config, with library and header: NAME.pc
    Pkgconfig,
    /// A module of Zephyr, of C99: zephyr/NAME
    Zephyr,
    /// A library of PlatformIO, of C99: platformio/NAME
    Platformio,
    /// A library of Arduino, of C99: arduino/NAME
    Arduino,
    /// A component of ESP-IDF, of C99: esp-idf/NAME
    EspIdf,
    /// NAME.report.json
    Report,
    /// The report for browsers: NAME.report.html
    Html,
    /// The optimised graph: NAME.ir
    Ir,
    /// Kernels with schedules and offsets: NAME.plan
    Plan,
    /// Kernels as Cranelift is given them: NAME.clif
    Clif,
    /// Machine code of kernels: NAME.asm
    Asm,
    /// The optimised graph for Graphviz: NAME.dot
    Dot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// In the library
    Embed,
    /// In a file of their own: NAME.weights.bin
    File,
}

impl Kind {
    fn emit(self) -> Emit {
        match self {
            Self::Lib => Emit::Lib,
            Self::Obj => Emit::Obj,
            Self::Shared => Emit::Shared,
            Self::Header => Emit::Header,
            Self::Hpp => Emit::Hpp,
            Self::C => Emit::C,
            Self::Rust => Emit::Rust,
            Self::Cmake => Emit::Cmake,
            Self::Pkgconfig => Emit::Pkgconfig,
            Self::Zephyr => Emit::Zephyr,
            Self::Platformio => Emit::Platformio,
            Self::Arduino => Emit::Arduino,
            Self::EspIdf => Emit::EspIdf,
            Self::Report => Emit::Report,
            Self::Html => Emit::Html,
            Self::Ir => Emit::Ir,
            Self::Plan => Emit::Plan,
            Self::Dot => Emit::Dot,
            Self::Clif => Emit::Clif,
            Self::Asm => Emit::Asm,
        }
    }
}

/// What is asked for, in the order of the kinds, each once.
fn emits(args: &Args) -> Vec<Emit> {
    let mut kinds = args.emit.clone();
    kinds.sort();
    kinds.dedup();
    kinds.into_iter().map(Kind::emit).collect()
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    if let Some(name) = args.name.as_ref().filter(|n| !kiln_compiler::internals::api::is_c_identifier(n)) {
        return Err(Failure::usage(format!("--name '{name}' is not a C identifier")));
    }
    let emits = emits(&args);
    if args.weights == Weights::File {
        Emit::takes_weights_file(&emits)?;
    }
    let start = Instant::now();
    let progress = ui.progress(3);
    progress.step("reading the model");
    let is_c = emits.iter().any(|emit| emit.is_of_c());
    let mut compiler = match is_c {
        true => args::c_compiler(&args.model.model, &args.model.shape, &args.target)?.emit(&emits),
        false => args::library_compiler(&args.model.model, &args.model.shape, &args.target)?,
    };
    if let Some(name) = &args.name {
        compiler = compiler.name(name);
    }
    let mut model = compiler.load()?;
    let places: Vec<PathBuf> = Emit::complete(&emits)
        .iter()
        .flat_map(|e| e.files(&model.name, &model.options.target.triple))
        .chain((args.weights == Weights::File).then(|| weights_file(&model.name)))
        .map(|file| args.output.join(file))
        .collect();
    source::keep_inputs([&*args.model.model], &places)?;
    if !is_c {
        args.target.cpu.tell(ui, args.target.target.as_deref(), true, &model.options.target);
    }
    args::bind_rest(ui, &mut model);
    if emits.iter().any(|e| matches!(e, Emit::Ir | Emit::Dot)) {
        model.keep_text();
    }
    progress.done();
    progress.step("planning");
    let (planned, tuned) = args.tune.plan(ui, model)?;
    progress.done();
    progress.step("generating code");
    let (name, triple) = (planned.name.clone(), planned.options.target.triple.to_string());
    let variants = planned.variants();
    let (arena_bytes, weights_bytes) = (variant::arena_bytes(&variants), variant::weights_bytes(&variants));
    let (levels, features) = (variant::levels(&variants), variant::common_features(&variants));
    let mut summaries: Vec<_> = variants.iter().map(report::summary).collect();
    let (inputs, outputs) = (report::ports(&planned.plan.inputs), report::ports(&planned.plan.outputs));
    drop(variants);
    let object = ObjectOptions {
        weights_section: args.weights_section,
        weights_file: args.weights == Weights::File,
        verify: planned.options.verify,
    };
    let artifact = planned.write(&args.output, &emits, &object)?;
    drop(progress);
    for (summary, kernels) in summaries.iter_mut().zip(&artifact.kernel_code_bytes) {
        summary["code_bytes"] = json!(kernels.iter().sum::<usize>());
    }
    let files: Vec<String> = artifact.files.iter().map(|f| f.display().to_string()).collect();
    files.iter().for_each(|f| ui.chat(format_args!("wrote {f}")));
    if is_c {
        ui.chat(format_args!(
            "{name} as C, in {:.0} ms: {weights_bytes} bytes of weights and {arena_bytes} of arena",
            ms(start.elapsed())
        ));
    } else {
        ui.chat(format_args!(
        "{name} for {levels}, in {:.0} ms: {} bytes of code,\n{weights_bytes} of weights and {arena_bytes} of arena",
        ms(start.elapsed()),
        artifact.code_bytes,
    ));
    }
    let mut json = json!({
        "name": name,
        "target": triple,
        "features": features,
        "variants": summaries,
        "files": files,
        "arena_bytes": arena_bytes,
        "weights_bytes": weights_bytes,
        "code_bytes": (!is_c).then_some(artifact.code_bytes),
        "inputs": inputs,
        "outputs": outputs,
        "compile_ms": ms(start.elapsed()),
        "stage_ms": artifact.times.iter().map(|(s, t)| ((*s).to_owned(), json!(ms(*t)))).collect::<Map<_, _>>(),
        "peak_rss_bytes": report::peak_rss_bytes(),
    });
    if let Some(tuned) = tuned {
        json["tuned"] = tuned;
    }
    Ok(Answer::yes(json))
}
