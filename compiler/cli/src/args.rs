//! Arguments that subcommands share.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, ValueEnum};
use kiln_compiler::Compiler;
use kiln_compiler::internals::api::Loaded;
use kiln_compiler::internals::passes::bind::{DimBinding, SizeBound};
use kiln_ir::Limits;
use kiln_ir::{Error, ErrorKind};
use kiln_targets::Target;

use super::failure::Failure;
use super::output::Ui;
use super::source::Source;

/// Headings in help.
const OUTPUT: &str = "What is told";
const LIMITS: &str = "Limits";

/// Understood by every subcommand.
#[derive(Debug, clap::Args)]
pub(super) struct Global {
    /// Print one JSON object as the last line of stdout, and nothing else there.
    #[arg(long, global = true, help_heading = OUTPUT)]
    pub(super) json: bool,
    /// No progress, no notes.
    #[arg(long, short, global = true, help_heading = OUTPUT)]
    pub(super) quiet: bool,
    /// Tell of every node and every case where lists are grouped.
    #[arg(long, short, global = true, conflicts_with = "quiet", help_heading = OUTPUT)]
    pub(super) verbose: bool,
    /// When to color.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = OUTPUT)]
    pub(super) color: Color,
}

/// When to color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The colour that the arguments ask for, before they are parsed: usage errors are coloured too.
pub(super) fn color_of(arguments: &[std::ffi::OsString]) -> ColorChoice {
    let mut arguments = arguments.iter().filter_map(|a| a.to_str());
    let mut choice = ColorChoice::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        match value {
            Some("always") => choice = ColorChoice::Always,
            Some("never") => choice = ColorChoice::Never,
            _ => {}
        }
    }
    choice
}

/// The same for clap.
pub(super) fn clap_color(choice: ColorChoice) -> clap::ColorChoice {
    match choice {
        ColorChoice::Always | ColorChoice::AlwaysAnsi => clap::ColorChoice::Always,
        ColorChoice::Never => clap::ColorChoice::Never,
        ColorChoice::Auto => clap::ColorChoice::Auto,
    }
}

/// A model and its limits.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ModelArgs {
    /// The ONNX file; - for standard input.
    #[arg(value_name = "MODEL")]
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) shape: ShapeArgs,
}

/// Dimensions, limits and the level of optimisation.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShapeArgs {
    /// Bind a symbolic dimension; INPUT.AXIS=N for one without a name. Others take the extents of given inputs, else 1.
    /// NAME=LO..HI[:TYPICAL] leaves it open: every run has its own size, memory is planned for the greatest, and what is
    /// typical is assumed where a choice depends on it.
    #[arg(long = "dim", value_name = "NAME=N")]
    pub(super) dims: Vec<DimBinding>,
    /// The most elements along each axis, or N1xN2x.. per axis, of a value whose size depends on data, where no bound can
    /// be derived or a lower one is known.
    #[arg(long = "bound", value_name = "VALUE=N")]
    pub(super) bounds: Vec<SizeBound>,
    /// 0: no graph rewrites; 1: folding and fusion; 2: rewrites too.
    #[arg(long, value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) opt: u8,
    /// Compute every convolution as it is defined, none by Winograd's minimal filtering.
    #[arg(long)]
    pub(super) no_winograd: bool,
    /// Integers that are made of quantised sums may be off by one, where that takes fewer operations. Without it they are
    /// those that the model says, in every bit.
    #[arg(long)]
    pub(super) fast_requantize: bool,
    /// Keep intermediate values within so many bytes: layers run in strips of rows where it must be, at the price of
    /// rows that are computed again. Where no plan is found, the error says what the least is.
    #[arg(long, value_name = "N")]
    pub(super) arena_limit: Option<u64>,
    /// Run every verifier after every pass: slower, finds bugs of Kiln.
    #[arg(long)]
    pub(super) verify: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

/// How much a model may ask for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LimitArgs {
    /// Refuse model files that are larger.
    #[arg(long, value_name = "N", help_heading = LIMITS, default_value_t = Limits::default().max_model_bytes)]
    pub(super) max_model_bytes: u64,
    /// Refuse models whose constants are larger together.
    #[arg(long, value_name = "N", help_heading = LIMITS, default_value_t = Limits::default().max_tensor_bytes)]
    pub(super) max_tensor_bytes: u64,
    /// Refuse models whose intermediate values need more at one time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_arena_bytes)]
    pub(super) max_arena_bytes: u64,
    /// Refuse models nested deeper.
    #[arg(long, value_name = "N", help_heading = LIMITS, default_value_t = Limits::default().max_depth, value_parser = depth())]
    pub(super) max_depth: usize,
    /// Constant folding adds at most this much to a model.
    #[arg(long, value_name = "N", help_heading = LIMITS, default_value_t = Limits::default().fold_bytes)]
    pub(super) max_fold_bytes: u64,
}

/// Nesting for which the stack of the command suffices.
fn depth() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000)
}

impl ShapeArgs {
    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        self.limits.limits()
    }
}

impl LimitArgs {
    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_model_bytes: self.max_model_bytes,
            max_tensor_bytes: self.max_tensor_bytes,
            max_arena_bytes: self.max_arena_bytes,
            max_depth: self.max_depth,
            fold_bytes: self.max_fold_bytes,
        }
    }
}

/// The machine that code is for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct TargetArgs {
    /// The target triple; the host by default.
    #[arg(long, value_name = "TRIPLE")]
    pub(super) target: Option<String>,
    #[command(flatten)]
    pub(super) cpu: CpuArgs,
}

/// The level of the machine.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct CpuArgs {
    /// A level or a processor out of `kiln list targets`; baseline: what every machine of the target has; native: all
    /// that this machine has, the default where code is for this machine. compile takes a list: one library with code for
    /// each, which share their weights and of which it picks the best that the machine can run. Its default for x86-64 is
    /// baseline,avx2,avx512.
    #[arg(long, value_name = "CPU", value_delimiter = ',', action = ArgAction::Append)]
    pub(super) cpu: Vec<String>,
    /// Switch features of the level on and off: +avx2,-fma. Of C (--emit c): +speed, larger code that is faster.
    #[arg(
        long,
        value_name = "LIST",
        allow_hyphen_values = true,
        default_value = "",
        hide_default_value = true
    )]
    pub(super) features: String,
}

impl CpuArgs {
    /// The levels; without any, [`CpuArgs::default_for`] the use.
    fn names(&self, target: Option<&str>, list: bool) -> Result<Vec<String>, Failure> {
        match &self.cpu[..] {
            [] => Ok(self.default_for(target, list)?.iter().map(|&cpu| cpu.to_owned()).collect()),
            many if many.iter().any(String::is_empty) => Err(Failure::usage("--cpu needs a name")),
            many if many.len() > 1 && !list => Err(Failure::usage(format!(
                "--cpu takes one processor here, not {}; lists are for compile",
                many.join(",")
            ))),
            many => Ok(many.to_vec()),
        }
    }

    /// A library goes to other machines, and so does code for a triple that is named.
    fn default_for(&self, target: Option<&str>, library: bool) -> Result<&'static [&'static str], Failure> {
        let here = target.is_none_or(|t| t.is_empty() || t == "host");
        match (library, here) {
            // Features are of one processor.
            (true, _) if self.features.is_empty() => {
                kiln_targets::portable(target.unwrap_or_default()).map_err(wrong_target)
            }
            (false, true) => Ok(&["native"]),
            _ => Ok(&["baseline"]),
        }
    }

    /// Says what is taken where `--cpu` is left out, and what else there is.
    pub(super) fn tell(&self, ui: &Ui, target: Option<&str>, library: bool, chosen: &Target) {
        if !self.cpu.is_empty() {
            return;
        }
        let machine = chosen.triple.architecture.to_string();
        match self.default_for(target, library) {
            Ok(["native"]) => {
                return ui.note(format_args!(
                    "made for this machine, {} (--cpu native); for every {machine}: --cpu baseline",
                    chosen.level
                ));
            }
            Ok(many) if many.len() > 1 => {
                return ui.note(format_args!(
                    "made for every {machine}, with code for several levels (--cpu {}); for this machine alone: --cpu native",
                    many.join(",")
                ));
            }
            _ => {}
        }
        let levels = kiln_targets::list().into_iter().find(|(name, _)| *name == machine);
        let faster: Vec<&str> = levels
            .iter()
            .flat_map(|(_, l)| l.iter().map(|l| l.name))
            .filter(|l| *l != chosen.level)
            .collect();
        if !faster.is_empty() {
            ui.note(format_args!(
                "made for every {machine}, {} (--cpu baseline); faster: --cpu {}",
                chosen.level,
                faster.join(", ")
            ));
        }
    }
}

/// Threads of a run.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ThreadArgs {
    /// Threads used; the result has the same bits for every number. Default: physical cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) threads: Option<u16>,
}

impl ThreadArgs {
    /// The number of threads.
    pub(super) fn count(&self) -> usize {
        self.threads.map_or_else(kiln_tools::measure::physical_cores, usize::from)
    }
}

/// A compiler for the model, set up as the arguments say.
pub(super) fn compiler(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: Option<&str>,
    cpu: &CpuArgs,
) -> Result<Compiler, Failure> {
    made(model, shape, target, cpu, false)
}

/// The same for a library, which may be for several processors.
pub(super) fn library_compiler(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: &TargetArgs,
) -> Result<Compiler, Failure> {
    made(model, shape, target.target.as_deref(), &target.cpu, true)
}

/// A compiler for C, which is for every processor of a machine's kind, and for kinds that there are no objects for.
pub(super) fn c_compiler(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: &TargetArgs,
) -> Result<Compiler, Failure> {
    let triple = target.target.as_deref();
    kiln_targets::c::target(triple.unwrap_or_default()).map_err(wrong_target)?;
    Ok(set_up(Source::open(model, &shape.limits())?, shape, triple, &target.cpu.cpu, &target.cpu.features))
}

/// A compiler for this machine and a model that is at hand.
pub(super) fn compiler_of(source: Source, shape: &ShapeArgs, cpu: &CpuArgs) -> Result<Compiler, Failure> {
    Ok(set_up(source, shape, None, &cpu.names(None, false)?, &cpu.features))
}

/// The machine that the words for a level of this one mean.
pub(super) fn host(cpu: &CpuArgs) -> Result<Target, Failure> {
    resolve(None, &cpu.names(None, false)?, &cpu.features)
}

/// The machine that the word for one level of this one's kind means.
pub(super) fn level(name: &str) -> Result<Target, Failure> {
    resolve(None, &[name.to_owned()], "")
}

fn made(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: Option<&str>,
    cpu: &CpuArgs,
    library: bool,
) -> Result<Compiler, Failure> {
    let cpus = cpu.names(target, library)?;
    // The words of the command line come before the model: they are wrong usage, whatever the model.
    resolve(target, &cpus, &cpu.features)?;
    Ok(set_up(Source::open(model, &shape.limits())?, shape, target, &cpus, &cpu.features))
}

/// The least demanding of the targets that the words mean.
fn resolve(target: Option<&str>, cpus: &[String], features: &str) -> Result<Target, Failure> {
    let targets = kiln_targets::resolve_list(target.unwrap_or_default(), cpus, features);
    let targets = targets.map_err(wrong_target)?;
    targets.into_iter().next().ok_or_else(|| Error::internal("a list of no targets").into())
}

/// Words that mean no machine are wrong usage.
fn wrong_target(error: Error) -> Failure {
    match error.kind {
        ErrorKind::Invalid => Failure::usage(error.to_string()),
        _ => error.into(),
    }
}

fn set_up(
    source: Source,
    shape: &ShapeArgs,
    target: Option<&str>,
    cpus: &[String],
    features: &str,
) -> Compiler {
    let mut compiler = source
        .compiler()
        .cpus(cpus)
        .features(features)
        .opt(shape.opt)
        .winograd(!shape.no_winograd)
        .fast_requantize(shape.fast_requantize)
        .limits(shape.limits());
    if shape.verify {
        compiler = compiler.verify(true);
    }
    if let Some(bytes) = shape.arena_limit {
        compiler = compiler.arena_limit(bytes);
    }
    if let Some(triple) = target {
        compiler = compiler.target(triple);
    }
    for dim in &shape.dims {
        compiler = compiler.bind(dim.clone());
    }
    for bound in &shape.bounds {
        compiler = compiler.limit(bound.clone());
    }
    compiler
}

/// Binds what is still unbound to 1, and says so.
pub(super) fn bind_rest(ui: &Ui, model: &mut Loaded) {
    for name in model.unbound() {
        ui.note(format_args!(
            "dimension '{0}' is not bound: using 1; bind it with --dim {0}=N",
            kiln_ir::error::Printable(&name)
        ));
        model.bind(&name, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn color_is_known_before_parsing() {
        let of = |args: &[&str]| color_of(&args.iter().map(Into::into).collect::<Vec<_>>());
        assert_eq!(of(&["kiln", "--color=never"]), ColorChoice::Never);
        assert_eq!(of(&["kiln", "--color", "always", "x"]), ColorChoice::Always);
        assert_eq!(of(&["kiln", "--colors"]), ColorChoice::Auto);
    }
}
