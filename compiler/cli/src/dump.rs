//! `kiln dump`: the text of a stage of compilation.

use clap::ValueEnum;
use kiln_compiler::internals::codegen::listing;
use kiln_compiler::internals::pipeline::{self, Observer, PASSES};
use kiln_ir::graph::Graph;
use kiln_ir::kernel::Program;
use serde_json::{Value, json};

use super::args::{self, ModelArgs, TargetArgs};
use super::failure::Failure;
use super::output::{Answer, Ui};

/// Arguments of `kiln dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::DUMP)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// The stage to print.
    #[arg(long, value_enum, default_value_t = Stage::Graph)]
    stage: Stage,
    /// Print the text after this pass as well.
    #[arg(long, value_name = "PASS", value_delimiter = ',', value_parser = PASSES)]
    print_after: Vec<String>,
    /// Print the text after every pass that changes it.
    #[arg(long)]
    print_changed: bool,
    /// Print the graph for Graphviz.
    #[arg(long)]
    dot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// The graph as it is in the file.
    Import,
    /// With dimensions bound and types inferred.
    Infer,
    /// After folding and rewrites.
    Graph,
    /// Kernels after fusion and layout.
    Kernel,
    /// Kernels with schedules and offsets.
    Plan,
    /// Kernels as Cranelift is given them.
    Clif,
    /// Machine code of kernels.
    Asm,
}

impl Stage {
    /// The pass after which the stage's text is complete; `None`: all of them.
    fn last_pass(self, opt: u8) -> Option<&'static str> {
        match self {
            Self::Import => Some("import"),
            Self::Infer => Some("infer"),
            Self::Graph if opt < 2 => Some("decompose"),
            Self::Graph => Some("rules"),
            Self::Kernel => Some("layout"),
            Self::Plan | Self::Clif | Self::Asm => None,
        }
    }
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    if args.dot && args.stage > Stage::Graph {
        return Err(Failure::usage("--dot prints graphs: use it with --stage import, infer or graph"));
    }
    let compiler = args::compiler(
        &args.model.model,
        &args.model.shape,
        args.target.target.as_deref(),
        &args.target.cpu,
    )?;
    let mut model = compiler.load()?;
    if args.stage > Stage::Kernel {
        args.target.cpu.tell(ui, args.target.target.as_deref(), false, &model.options.target);
    }
    if args.stage > Stage::Infer {
        args::bind_rest(ui, &mut model);
    }
    let mut texts = Texts {
        ui,
        stop: args.stage.last_pass(args.model.shape.opt),
        after: &args.print_after,
        changed: args.print_changed,
        dot: args.dot,
        last: String::new(),
        printed: Vec::new(),
    };
    // What passes print would run into a bar.
    let progress = (!texts.changed && texts.after.is_empty()).then(|| ui.progress(1));
    progress.iter().for_each(|p| p.step("compiling"));
    let text = match texts.stop {
        Some(_) => {
            let compiled = pipeline::run(model.graph, &model.options, &mut texts)?;
            match compiled {
                pipeline::Compiled::Graph(graph) if args.dot => kiln_ir::graph::dot(&graph),
                pipeline::Compiled::Graph(graph) => graph.summary().to_string(),
                pipeline::Compiled::Program(program) => program.summary().to_string(),
                pipeline::Compiled::Plan(plan) => plan.to_string(),
            }
        }
        None => {
            let planned = model.plan_observed(&mut texts)?;
            match args.stage {
                Stage::Clif => listing::clif(&planned.plan, &planned.options.target)?,
                Stage::Asm => listing::asm(&planned.plan, &planned.options.target)?,
                _ => planned.plan.to_string(),
            }
        }
    };
    drop(progress);
    if texts.printed.is_empty() {
        ui.text(text.trim_end());
    } else {
        texts.print(
            &args.stage.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default(),
            &text,
        );
    }
    let passes: Vec<Value> =
        texts.printed.iter().map(|(pass, text)| json!({ "pass": pass, "text": text })).collect();
    Ok(Answer::yes(json!({ "text": text, "passes": passes })))
}

/// Prints after passes.
struct Texts<'a> {
    ui: &'a Ui,
    stop: Option<&'static str>,
    after: &'a [String],
    changed: bool,
    dot: bool,
    last: String,
    printed: Vec<(String, String)>,
}

impl Texts<'_> {
    fn wants(&self, pass: &str) -> bool {
        self.changed || self.after.iter().any(|p| p == pass)
    }

    fn see(&mut self, pass: &'static str, text: String) {
        let named = self.after.iter().any(|p| p == pass);
        if named || (self.changed && text != self.last) {
            self.print(pass, &text);
        }
        self.last = text;
    }

    fn print(&mut self, pass: &str, text: &str) {
        self.ui.text(format_args!("// ---- {pass} ----\n{}\n", text.trim_end()));
        self.printed.push((pass.to_owned(), text.to_owned()));
    }
}

impl Observer for Texts<'_> {
    fn graph(&mut self, pass: &'static str, graph: &Graph) {
        if self.wants(pass) {
            let text = if self.dot { kiln_ir::graph::dot(graph) } else { graph.summary().to_string() };
            self.see(pass, text);
        }
    }

    fn program(&mut self, pass: &'static str, program: &Program) {
        if self.wants(pass) {
            self.see(pass, program.summary().to_string());
        }
    }

    fn proceed(&mut self, pass: &'static str) -> bool {
        // A pass that is to be printed may come after the stage.
        let index = |name: &str| PASSES.iter().position(|p| *p == name);
        let last = self.after.iter().filter_map(|p| index(p)).max();
        self.stop != Some(pass) || last > index(pass)
    }
}
