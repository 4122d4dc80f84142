//! Models in C99 on emulated boards: Cortex-M4, Cortex-M55 and RISC-V of 32 bits.
//!
//! Some sweeps, compared with the graph interpreter; models, bit for bit with what the same C gives on this machine. With
//! `KILN_BOARDS=all` every sweep and every shipped model, which takes a quarter of an hour.

use std::path::Path;
use std::process::ExitCode;

use kiln_compiler::internals::pipeline;
use kiln_ir::graph::{self, Graph};
use kiln_ir::{Limits, Tensor};
use kiln_tests::boards::{self, Board, M4};
use kiln_tests::compare::{self, ACROSS_STAGES};
use kiln_tests::driver::{self, Case};
use kiln_tests::models::{self, Model};
use kiln_tests::sweeps::{self, Sweep};
use kiln_tests::{Outcome, repository, stages, text, tools};
use libtest_mimic::{Arguments, Trial};

const KILN: &str = env!("CARGO_BIN_EXE_kiln-under-test");

/// Sweeps of tiles, tables, conversions and plain loops, without those that take a C compiler minutes.
const SWEEPS: [&str; 5] = ["depths", "tables_of_bytes", "windows_of_bytes", "masks", "procedures"];
/// Models that fit a board.
const MODELS: [&str; 2] = ["tiny_kws_dscnn", "mnist_cnn"];
/// Models whose stack is looked at, beside the keyword model in integers.
const STACKS: [&str; 3] = ["tiny_ad_autoencoder", "mnist_cnn", "tiny_ic_resnet8"];
/// Most bytes of code of the keyword model in integers.
const KEYWORDS: u64 = 32 << 10;
/// Most bytes at the end of a frame that are padding: stacks are aligned to so many.
const NOT_TOUCHED: u64 = 16;
/// Most bytes of code of two layers.
const SINE: u64 = 4 << 10;

fn everything() -> bool {
    std::env::var_os("KILN_BOARDS").is_some_and(|v| v == "all")
}

fn sweep(board: &Board, sweep: &Sweep) -> Outcome {
    let graph = sweep.graph()?;
    let inputs = sweep.inputs(&graph)?;
    let expected = kiln_ir::quantized::run(&graph, &inputs).map_err(text)?;
    let options = boards::options(board)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    compare::close(&stages::run_plan(&plan, &inputs)?, &expected, ACROSS_STAGES)
        .map_err(|e| format!("plan interpreter: {e}"))?;
    let folder = tempfile::tempdir().map_err(text)?;
    stages::write_c(folder.path(), sweep.name, &plan, &options)?;
    let found = board.run(folder.path(), &[Case::new(sweep.name, &plan)], &[inputs])?.remove(0);
    compare::close(&found, &expected, ACROSS_STAGES)
}

/// A graph on the board, whose results are those of the same C here and close to the graph interpreter's. Bytes of code.
fn compared(board: &Board, name: &str, graph: Graph, inputs: &[Tensor]) -> Outcome<u64> {
    let expected = kiln_ir::quantized::run(&graph, inputs).map_err(text)?;
    let options = boards::options(board)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let (folder, case) = (folder.path(), [Case::new(name, &plan)]);
    stages::write_c(folder, name, &plan, &options)?;
    let inputs = [inputs.to_vec()];
    let here = driver::run_c(driver::NATIVE, folder, &case, &inputs)?.remove(0);
    compare::close(&here, &expected, ACROSS_STAGES).map_err(|e| format!("on this machine: {e}"))?;
    let found = board.run(folder, &case, &inputs)?.remove(0);
    compare::same_bits(&found, &here)?;
    board.code_bytes(&folder.join(format!("{name}.o")))
}

fn model(board: &Board, model: &Model) -> Outcome<u64> {
    let graph = model.graph()?;
    let inputs = models::inputs(&graph)?;
    compared(board, &model.name, graph, &inputs)
}

/// The keyword model in integers, by the sounds of the firmware's example.
fn keywords_graph() -> Outcome<Graph> {
    let folder = tempfile::tempdir().map_err(text)?;
    let quantised = folder.path().join("kws.onnx");
    let from = repository().join("tests/models/tiny/tiny_kws_dscnn.onnx");
    let data = repository().join("examples/firmware");
    let arguments: [&Path; 6] =
        ["quantize".as_ref(), &from, "-o".as_ref(), &quantised, "--calibrate".as_ref(), &data];
    let ended = tools::kiln(KILN, &arguments.map(Path::as_os_str))?;
    if ended.code != 0 {
        return Err(ended.stderr);
    }
    kiln_onnx::load(&quantised, &Limits::default()).map_err(text)
}

fn keywords(board: &Board) -> Outcome<u64> {
    let graph = keywords_graph()?;
    let inputs = models::inputs(&graph)?;
    compared(board, "kws", graph, &inputs)
}

/// A call touches no more stack than `scripts/stack_c99.py` says, and nearly as much; the header has the arrays in it.
fn stack(board: &Board, graph: Graph) -> Outcome {
    let inputs = models::inputs(&graph)?;
    let options = boards::options(board)?;
    let plan = pipeline::compile(graph, &options).map_err(text)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let folder = folder.path();
    stages::write_c(folder, "m", &plan, &options)?;
    let arrays = arrays(&String::from_utf8(tools::read(&folder.join("m.c"))?).map_err(text)?)?;
    let header = String::from_utf8(tools::read(&folder.join("m.h"))?).map_err(text)?;
    if !header.contains(&format!("#define m_LOCAL_BYTES {arrays}\n")) {
        return Err(format!("functions have arrays of {arrays} bytes, and the header says something else"));
    }
    let touched = board.touched_stack(folder, Case::new("m", &plan), &inputs)?;
    let told = board.told_stack(folder)?;
    let close = touched <= told && told <= touched + NOT_TOUCHED && arrays <= touched;
    if close { Ok(()) } else { Err(format!("{told} bytes told, {touched} touched, {arrays} in arrays")) }
}

/// Bytes of the arrays that functions declare, all of which hold words of eight bytes.
fn arrays(source: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for line in source.lines().filter(|l| l.starts_with("    ") && l.ends_with(';') && !l.contains('=')) {
        let Some(names) = line.trim().strip_prefix("int64_t ") else {
            let declares = line.contains("];") && !line.contains("static") && !line.contains('(');
            // The lanes of a register have no name of their own.
            if declares && !line.contains("return") {
                return Err(format!("an array of another type: {line}"));
            }
            continue;
        };
        for part in names.split('[').skip(1) {
            let words = part.split(']').next().and_then(|n| n.parse::<u64>().ok());
            bytes += 8 * words.ok_or_else(|| format!("no length: {line}"))?;
        }
    }
    Ok(bytes)
}

/// Two layers that a sine is learnt by.
fn sine(board: &Board) -> Outcome<u64> {
    let weights = |n: usize| -> String {
        let all = (0..n).map(|i| format!("{:?}", (i as f32 * 0.7).sin()));
        all.collect::<Vec<_>>().join(", ")
    };
    let source = format!(
        "graph @sine opset(17) {{
  input %x: f32[1, 1]
  const @w0: f32[1, 16] = [{}]
  const @b0: f32[16] = [{}]
  const @w1: f32[16, 1] = [{}]
  const @b1: f32[1] = [0.25]
  %h = Gemm(%x, @w0, @b0)
  %r = Relu(%h)
  %y = Gemm(%r, @w1, @b1)
  output %y
}}",
        weights(16),
        weights(16),
        weights(16)
    );
    let graph = graph::parse(&source).map_err(text)?;
    let inputs = models::inputs(&graph)?;
    compared(board, "sine", graph, &inputs)
}

fn at_most(bytes: u64, most: u64) -> Outcome {
    if bytes <= most { Ok(()) } else { Err(format!("{bytes} bytes of code, {most} at most")) }
}

fn main() -> ExitCode {
    let all = everything();
    let mut trials = Vec::new();
    for board in boards::ALL {
        let missing = board.missing();
        let skip = !missing.is_empty() && !tools::on_ci();
        if !missing.is_empty() {
            eprintln!("{} not found: apt-get install {}", missing.join(" and "), boards::PACKAGES);
        }
        let mut add = |name: String, test: Box<dyn FnOnce() -> Outcome + Send>| {
            trials.push(
                Trial::test(format!("{}::{name}", board.name), move || Ok(test()?)).with_ignored_flag(skip),
            );
        };
        for of in sweeps::all().into_iter().filter(|s| all || SWEEPS.contains(&s.name)) {
            add(of.name.to_owned(), Box::new(move || sweep(&board, &of)));
        }
        for of in models::shipped().into_iter().filter(|m| all || MODELS.contains(&&*m.name)) {
            add(of.name.clone(), Box::new(move || model(&board, &of).map(drop)));
        }
        let most = if board.name == M4.name { KEYWORDS } else { u64::MAX };
        add("keywords_in_integers".into(), Box::new(move || at_most(keywords(&board)?, most)));
        if tools::exists("python3") || tools::on_ci() {
            add("stack::keywords_in_integers".into(), Box::new(move || stack(&board, keywords_graph()?)));
            for of in models::shipped().into_iter().filter(|m| STACKS.contains(&&*m.name)) {
                add(format!("stack::{}", of.name), Box::new(move || stack(&board, of.graph()?)));
            }
        }
        add("sine".into(), Box::new(move || at_most(sine(&board)?, SINE)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
