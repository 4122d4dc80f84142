//! Arguments that subcommands share.

use std::path::PathBuf;

use anstream::ColorChoice;
use clap::{ArgAction, ValueEnum};
use kiln_ir::ErrorKind;

use super::output::{Failure, Ui};
use kiln_compiler::api::{BuildError, Compiler, Loaded};
use kiln_compiler::passes::bind::DimBinding;
use kiln_ir::Limits;

/// Understood by every subcommand.
#[derive(Debug, clap::Args)]
pub(super) struct Global {
    /// Print one JSON object as the last line of stdout, and nothing else there.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// No progress, no notes.
    #[arg(long, short, global = true)]
    pub(super) quiet: bool,
    /// When to color.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
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
    /// The ONNX file.
    #[arg(value_name = "MODEL")]
    pub(super) model: PathBuf,
    #[command(flatten)]
    pub(super) shape: ShapeArgs,
}

/// Dimensions, limits and the level of optimisation.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ShapeArgs {
    /// Bind a symbolic dimension; INPUT.AXIS=N for one without a name.
    #[arg(long = "dim", value_name = "NAME=N")]
    pub(super) dims: Vec<DimBinding>,
    /// 0: no graph rewrites; 1: folding and fusion; 2: rewrites too.
    #[arg(long, value_name = "LEVEL", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(super) opt: u8,
    /// Compute every convolution as it is defined, none by Winograd's minimal filtering.
    #[arg(long)]
    pub(super) no_winograd: bool,
    /// Refuse model files that are larger.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_model_bytes)]
    pub(super) max_model_bytes: u64,
    /// Refuse models whose constants are larger together.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_tensor_bytes)]
    pub(super) max_tensor_bytes: u64,
    /// Refuse models nested deeper.
    #[arg(long, value_name = "N", default_value_t = Limits::default().max_depth)]
    pub(super) max_depth: usize,
    /// Constant folding adds at most this much to a model.
    #[arg(long, value_name = "N", default_value_t = Limits::default().fold_bytes)]
    pub(super) max_fold_bytes: u64,
}

impl ShapeArgs {
    /// The limits.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            max_model_bytes: self.max_model_bytes,
            max_tensor_bytes: self.max_tensor_bytes,
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
    /// native, baseline, sse2, avx, avx2, avx512, neon or the name of a CPU. For compile also a list, such as
    /// baseline,avx2,avx512: one library with code for each, which picks the best that the machine can run.
    #[arg(long, value_name = "CPU", value_delimiter = ',', action = ArgAction::Append)]
    pub(super) cpu: Vec<String>,
    /// Switch features on and off: +avx2,-fma.
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
    /// The levels, `default` when none is given.
    fn names(&self, default: &str, list: bool) -> Result<Vec<String>, Failure> {
        match &self.cpu[..] {
            [] => Ok(vec![default.to_owned()]),
            many if many.iter().any(String::is_empty) => Err(Failure::usage("--cpu needs a name")),
            many if many.len() > 1 && !list => Err(Failure::usage(format!(
                "--cpu takes one processor here, not {}; lists are for compile",
                many.join(",")
            ))),
            many => Ok(many.to_vec()),
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
        self.threads.map_or_else(super::measure::physical_cores, usize::from)
    }
}

/// A compiler for the model, set up as the arguments say.
pub(super) fn compiler(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: Option<&str>,
    cpu: &CpuArgs,
    default_cpu: &str,
) -> Result<Compiler, Failure> {
    checked(model, shape, target, &cpu.names(default_cpu, false)?, &cpu.features)
}

/// The same for a library, which may be for several processors.
pub(super) fn library_compiler(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: &TargetArgs,
) -> Result<Compiler, Failure> {
    let cpus = target.cpu.names("baseline", true)?;
    checked(model, shape, target.target.as_deref(), &cpus, &target.cpu.features)
}

fn checked(
    model: &std::path::Path,
    shape: &ShapeArgs,
    target: Option<&str>,
    cpus: &[String],
    features: &str,
) -> Result<Compiler, Failure> {
    let mut compiler = Compiler::from_path(model)
        .cpus(cpus)
        .features(features)
        .opt(shape.opt)
        .winograd(!shape.no_winograd)
        .limits(shape.limits());
    if let Some(triple) = target {
        compiler = compiler.target(triple);
    }
    for dim in &shape.dims {
        compiler = compiler.bind(dim.clone());
    }
    // The words of the command line come before the model: they are wrong usage, whatever the model.
    match compiler.resolve_targets() {
        Err(BuildError::Model(errors)) if errors.kind() == ErrorKind::Invalid => {
            Err(Failure::usage(errors.to_string()))
        }
        Err(e) => Err(e.into()),
        Ok(_) => Ok(compiler),
    }
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
