//! `kiln run`: compiles in memory and runs once.

use std::path::PathBuf;
use std::time::Instant;

use kiln_compiler::internals::emit::staging::{self, Staging};
use kiln_tools::measure::ms;
use kiln_tools::npy;
use kiln_tools::summary::summary;
use serde_json::{Value, json};

use super::args::{self, CpuArgs, ModelArgs, ThreadArgs};
use super::failure::Failure;
use super::output::{Answer, Ui};
use super::source;
use super::tensors::{self, InputArgs};
use super::tune::TuneArgs;

/// Arguments of `kiln run`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::help::RUN)]
pub(super) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Write each output there, as OUTPUT.npy.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    cpu: CpuArgs,
    #[command(flatten)]
    threads: ThreadArgs,
    #[command(flatten)]
    tune: TuneArgs,
}

/// Runs the subcommand.
pub(super) fn run(ui: &Ui, args: Args) -> Result<Answer, Failure> {
    let progress = ui.progress(3);
    progress.step("reading the model");
    let start = Instant::now();
    let compiler = args::compiler(&args.model.model, &args.model.shape, None, &args.cpu)?;
    let mut model = compiler.load()?;
    let read: Vec<PathBuf> = args.inputs.files().into_iter().chain([args.model.model.clone()]).collect();
    let inputs = args.inputs.read(&model, &args.model.shape.limits())?;
    inputs.bind(&mut model)?;
    args.cpu.tell(ui, None, false, &model.options.target);
    args::bind_rest(ui, &mut model);
    let random = inputs.none_given() && !model.inputs().is_empty();
    if random {
        ui.note("the inputs are random, with seed 0: give them with --input NAME=FILE");
    }
    progress.done();
    progress.step("compiling");
    let (planned, tuned) = args.tune.plan(ui, model)?;
    let jit = planned.jit(args.threads.count())?;
    let compile = start.elapsed();
    let inputs = inputs.tensors(jit.inputs(), jit.open_dimensions())?;
    progress.done();
    progress.step("running");
    let start = Instant::now();
    let outputs = jit.run(&inputs)?;
    let time = start.elapsed();
    drop(progress);

    let names: Vec<&str> = jit.outputs().iter().map(|p| &*p.name).collect();
    let mut files = Vec::new();
    if let Some(folder) = &args.output_dir {
        let file_names = tensors::file_names(names.iter().copied());
        let written: Vec<PathBuf> = file_names.iter().map(|f| folder.join(f)).collect();
        source::keep_inputs(read.iter().map(PathBuf::as_path), &written)?;
        let mut staging = Staging::new(folder)?;
        for (file, tensor) in file_names.iter().zip(&outputs) {
            let path = staging.file(file);
            let out = std::fs::File::create(&path).map_err(staging::failed(&staging.place(file)))?;
            npy::write(tensor, &staging.place(file), std::io::BufWriter::new(out))?;
        }
        files = staging.commit()?;
    }
    let mut described: Vec<Value> = Vec::new();
    for (i, (name, tensor)) in names.iter().zip(&outputs).enumerate() {
        ui.text(summary(name, tensor, 6));
        let file = files.get(i).map(|f| f.display().to_string());
        described
            .push(json!({ "name": name, "dtype": tensor.dtype.name(), "shape": tensor.shape, "file": file }));
    }
    files.iter().for_each(|f| ui.chat(format_args!("wrote {}", f.display())));
    let mut json = json!({
        "outputs": described,
        "compile_ms": ms(compile),
        "run_ms": ms(time),
        "threads": args.threads.count(),
        "random_inputs": random,
    });
    if let Some(tuned) = tuned {
        json["tuned"] = tuned;
    }
    Ok(Answer::yes(json))
}
