//! Whole lines through a session without a terminal: what they print, and what they say is wrong.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kiln_compiler::Tensor;

use crate::line;
use crate::out::Out;
use crate::session::Session;

/// A session whose answers are kept.
pub(crate) struct Told {
    pub(crate) session: Session,
    text: Arc<Mutex<String>>,
}

impl Told {
    fn new() -> Self {
        let (out, text) = Out::text();
        Self { session: Session::new(out, None), text }
    }

    /// What a line prints; a mistake as `error at A..B: what`.
    fn line(&mut self, line: &str) -> String {
        let result = line::run(&mut self.session, line);
        let said = std::mem::take(&mut *self.text.lock().unwrap());
        match result {
            Ok(()) => said.trim_end().to_owned(),
            Err(fault) => {
                let at = fault.span.as_ref().map_or(String::new(), |s| format!(" at {}..{}", s.start, s.end));
                format!("{said}error{at}: {fault}")
            }
        }
    }

    #[track_caller]
    fn check(&mut self, line: &str, expected: &str) {
        assert_eq!(self.line(line), expected, "{line}");
    }

    #[track_caller]
    fn has(&mut self, line: &str, parts: &[&str]) {
        let said = self.line(line);
        for part in parts {
            assert!(said.contains(part), "{line}: no {part:?} in\n{said}");
        }
    }
}

/// Whether an answer ends in a mistake.
fn is_wrong(said: &str) -> bool {
    said.lines().any(|l| l.starts_with("error: ") || l.starts_with("error at "))
}

fn shipped() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/tiny/mnist_cnn.onnx").display().to_string()
}

/// A session with the model that is shipped.
fn with_model() -> Told {
    let mut told = Told::new();
    told.check(&format!(":load {} as net", shipped()), "");
    told.check("x = random([1, 1, 28, 28], seed=1)", "");
    told
}

#[test]
fn expressions_are_computed() {
    let mut told = Told::new();
    told.check("z = Relu(MatMul([[1.0, -2.0]], [[3.0], [4.0]]) + 1)", "");
    told.check(":print z", "z f32[1, 1] = [0.000000]");
    told.check("1 + 2 * 3", "_ i64[] = [7.000000]");
    told.check("_ - 7", "_ i64[] = [0.000000]");
    told.check(
        "a, b = Split(arange(6), axis=0); a; b # two",
        "a f32[3] = [0.000000, 1.000000, 2.000000]\nb f32[3] = [3.000000, 4.000000, 5.000000]",
    );
    told.check(":set precision 1", "");
    told.check("w = [[1, 2, 3]]; f32(w)[0, -2:]", "_ f32[2] = [2.0, 3.0]");
    told.check("n = 2; zeros([n, n + 1])[1]", "_ f32[3] = [0.0, 0.0, 0.0]");
    told.check(":type Softmax(zeros([2, 3]))", "f32[2, 3]");
    told.check("ArgMax([1.0, 5.0, 2.0], axis=-1, keepdims=0)", "_ i64[] = [1.0]");
    told.check("x = random([4], seed=3)", "");
    let x = told.session.variables["x"].clone();
    assert_eq!(x, kiln_tools::random::tensor(kiln_ir::DType::F32, &[4], 3, 0).unwrap());
}

#[test]
fn mistakes_are_told() {
    let mut told = Told::new();
    told.check(
        "y = Rleu([1.0])",
        "error at 4..8: there is no operator, function or model 'Rleu'; did you mean 'Relu'?",
    );
    told.has("MatMul([[1.0]], [[1.0], [2.0]])", &["error at 0..31: "]);
    told.has("a, b = [1.0]", &["error at 7..12: this gives one result"]);
    told.has(":lod x", &["error at 1..4: there is no command 'lod'; did you mean 'load'?"]);
    told.has(":load nothing.onnx", &["cannot read nothing.onnx"]);
    told.has(":print y", &["error at 7..8: there is no variable 'y'"]);
    told.has(":set sped 1", &["did you mean 'seed'?"]);
    told.has(":nodes net", &["there is no model 'net'"]);
    told.has("true = 3", &["error at 0..4"]);
    told.has(":diff a", &["this is written :diff A B"]);
    told.has("Gather([1.0], [5])", &["5"]);
    told.has("zeros([1000000, 1000000, 1000000])", &["error at 6..33"]);
}

#[test]
fn what_was_compiled_once_is_not_compiled_again() {
    let mut told = Told::new();
    told.line("x = random([3, 4]); y = Relu(x) + x");
    let compiled = told.session.engine.compiled;
    told.line("x = random([3, 4], seed=9); y = Relu(x) + x");
    assert_eq!(told.session.engine.compiled, compiled);
    told.line("x = random([3, 5]); y = Relu(x) + x");
    assert_eq!(told.session.engine.compiled, compiled + 1);
    told.line(":set opt 0");
    told.line("y = Relu(x) + x");
    assert_eq!(told.session.engine.compiled, compiled + 2);
    told.line(":set opt 2");
    told.line("y = Relu(x) + x");
    assert_eq!(told.session.engine.compiled, compiled + 2);
}

#[test]
fn a_model_is_a_function() {
    let mut told = with_model();
    told.check(":type net(x)", "f32[1, 10]");
    told.has("net(x)", &["f32[1, 10] = ["]);
    told.check("p = Softmax(net(x), axis=-1); ReduceSum(p, [1])[0] > 0.99", "_ bool[1] = [1.000000]");
    told.check(":type net(random([3, 1, 28, 28]))", "f32[3, 10]");
    told.check("y = net(image=x)", "");
    told.has("net()", &["'net' needs a tensor for 'image'", "net(image)"]);
    told.has("net(x, x)", &["error at 7..8"]);
    told.has("net(x, depth=2.5)", &["has no argument 'depth'"]);
    told.has("a, b = net(x)", &["'net' gives 1, and 2 names"]);
    told.has("net([1.0])", &["error at 0..10"]);
    told.has(":time net(x)", &["min ", "median ", "p99 ", " runs on "]);
    told.has(":nodes net MaxPool", &["/f/f.2/MaxPool", "/f/f.5/MaxPool"]);
    told.has(":nodes net nothing", &["no node of 'net'"]);
    told.has(":list", &["net(image)", "f32[1, 1, 28, 28]"]);
}

#[test]
fn a_model_from_within() {
    let mut told = with_model();
    told.line("y = net(x)");
    told.has(":probe net./f/f.2/MaxPool_output_0 as pool", &["f32[1, 32, 14, 14]", "no NaN"]);
    told.check(":cut net image -> /f/f.2/MaxPool_output_0 as head", "");
    told.has(":print Equal(head(x), pool)[0, 0, 0, :1]", &["bool[1]"]);
    told.check(":cut net /f/f.2/MaxPool_output_0 -> logits as tail", "");
    told.check("z = tail(head(x))", "");
    told.has(":diff y z", &[" elements"]);
    told.has(":diff net interp", &["result logits", "none of 19 tensors differs by more than 1e-4"]);
    told.has(":diff net net opt=0", &["none of 19 tensors"]);
    told.has(":probe net.nothing", &["has no tensor 'nothing'"]);
    told.has(":cut net nothing -> logits as a", &["no tensor 'nothing'"]);
    told.has(
        ":cut net /f/f.8/GlobalAveragePool_output_0 -> /f/f.2/MaxPool_output_0 as a",
        &["argument 'image'"],
    );
}

#[test]
fn models_with_branches_and_loops() {
    let mut told = Told::new();
    let model = "steps (int64 n, float[4] x) => (float[4] y) { yes = Constant <value = bool {1}> ()
        y = Loop (n, yes, x) <body = b (int64 i, bool go, float[4] s) => (bool on, float[4] t)
            { on = Identity(go) t = Add(s, s) }> }";
    told.check(model, "");
    told.check("steps(3, [1.0, 2.0, 3.0, 4.0])[1]", "_ f32[] = [16.000000]");
    told.has(":time steps(3, [1.0, 2.0, 3.0, 4.0])", &["median"]);
    told.has(":profile steps", &["all kernels"]);
    told.has(":diff steps interp", &["none of"]);
    told.has(":asm steps", &["% of the time", "ret"]);
}

#[test]
fn the_compiler_from_inside() {
    let mut told = with_model();
    told.line("y = net(x)");
    let node = "/f/f.0/f.0.0/Conv";
    told.has(&format!(":stage import {node}"), &["Conv(%image"]);
    told.has(&format!(":stage kernel {node}"), &["\"/f/f.0/f.0.0/Conv\""]);
    told.has(&format!(":stage plan {node}"), &["\"/f/f.0/f.0.0/Conv\""]);
    told.has(&format!(":stage ladder {node}"), &["---- import ----", "---- asm ----", "ret"]);
    told.has(":stage -absorb net", &["\n- ", "\n+ "]);
    told.has(":stage kernel net", &["program @"]);
    told.has(":stage graph Relu(x) + x", &["Relu("]);
    told.has(&format!(":asm {node}"), &["% of the time", "ret"]);
    let code = told.line(":asm Softmax(random([64, 512]))");
    assert!(code.contains("kernel 0") && code.contains("ret"), "{code}");
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        // Each kernel's instructions share all of its time.
        let percent = |l: &str| l.get(..5).and_then(|p| p.trim().parse::<f64>().ok());
        let sum: f64 = code.lines().filter_map(percent).sum();
        let kernels = code.lines().filter(|l| l.starts_with("; kernel")).count();
        assert!((sum / kernels as f64 - 100.0).abs() < 3.0, "{sum} of {kernels}:\n{code}");
    }
    told.has(&format!(":explain {node}"), &["microkernel", "schedule"]);
    told.has(":profile net", &["GFLOP/s", "all kernels"]);
    told.has(":explain nothing", &["there is no node 'nothing'"]);
    told.has(":stage absrb net", &["no stage and no pass 'absrb'", "absorb"]);
    told.has(":stage -infr net", &["no pass 'infr'; did you mean 'infer'?"]);
}

#[test]
fn what_if() {
    let mut told = with_model();
    told.line("y = net(x)");
    let node = "/f/f.3/f.3.0/Conv";
    told.has(&format!(":quant {node} int8"), &["int8: the results differ by", "before", ":undo"]);
    told.line("q = net(x)");
    told.has(":diff y q", &["elements differ"]);
    told.has(&format!(":prune {node} 0.9 4x1"), &["90 % zero in 4x1"]);
    told.has(":undo", &["90 % zero"]);
    told.has(":undo", &["int8"]);
    told.line("z = net(x)");
    told.has(":diff y z", &["equal in every bit"]);
    told.has(":undo", &["nothing to take back"]);
    told.has(":quant /f/f.2/MaxPool int8", &["is no layer with weights"]);
    told.has(":prune /f/f.2/MaxPool 0.5", &["is no layer with constant weights"]);
    told.has(":prune net 1.5", &["no part from 0 to less than 1"]);
}

#[test]
fn models_in_text_form() {
    let mut told = Told::new();
    told.check(
        "small = <opset_import: [\"\": 17]> g (float[2] a) => (float[2] b)\n{ c = Relu(a)\n b = Add(c, c) }",
        "",
    );
    told.check("small([-1.0, 2.0])", "_ f32[2] = [0.000000, 4.000000]");
    told.check("g (float[N] a) => (float[N] b) { b = Neg(a) }", "");
    told.check("g([1.0, 2.0, 3.0])", "_ f32[3] = [-1.000000, -2.000000, -3.000000]");
    told.has("h = g (float[2] a) => (float[2] b) { b = F(a }", &["error at 45..46"]);
    told.has(
        "bad (float[2] a) => (float[2] b) { b = NonMax(a) }",
        &["'bad' is there, and does not compile", "NonMax"],
    );
}

#[test]
fn files_are_read_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut told = with_model();
    told.line("a = random([2, 3], seed=4); i = i32([[1, 2]])");
    for kind in ["npy", "npz", "pb"] {
        told.check(&format!(":save a {}", path(&format!("t.{kind}"))), "");
        told.check(&format!(":load {} as b", path(&format!("t.{kind}"))), "");
        let name = if kind == "npz" { "a" } else { "b" };
        told.has(&format!(":diff a {name}"), &["equal in every bit, 6 elements"]);
    }
    told.check(&format!(":save x {}", path("x.png")), "");
    told.check(&format!(":load {} as photo size=14x7 channels=1 layout=nhwc", path("x.png")), "");
    told.check(":type photo", "f32[1, 14, 7, 1]");
    told.has(":hist photo", &["█"]);
    told.has(":show photo", &["░"]);
    told.check(&format!(":save net {}", path("copy.onnx")), "");
    told.check(&format!(":load {} as copy", path("copy.onnx")), "");
    told.check("p = net(x); q = copy(x)", "");
    told.has(":diff p q", &["equal in every bit"]);
    told.check(&format!(":save session {}", path("s.kiln")), "");
    let script = std::fs::read_to_string(path("s.kiln")).unwrap();
    let mut again = Told::new();
    for line in script.lines() {
        let said = again.line(line);
        assert!(!is_wrong(&said), "{line}: {said}");
    }
    assert_eq!(again.session.variables["q"], told.session.variables["q"]);
    told.has(&format!(":save a {}", path("t.txt")), &["not written as 'txt'"]);
    told.has(&format!(":load {} as photo size=0x2", path("x.png")), &["says nothing of an image"]);
    told.has(&format!(":save nothing {}", path("t.npy")), &["no tensor and no model 'nothing'"]);
}

#[test]
fn dimensions_are_bound() {
    let mut told = with_model();
    told.check(":set dim.batch 2", "");
    told.check(&format!(":load {} as two", shipped()), "");
    told.check(":type two(random([2, 1, 28, 28]))", "f32[2, 10]");
    told.has(":set", &["dim.batch", "precision"]);
    told.check(":set dim.batch none", "");
    told.has(":profile two", &["all kernels"]);
}

#[test]
fn reducing_ends_in_few_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut told = with_model();
    told.line("y = net(x)");
    told.has(&format!(":reduce net {}", path("none")), &["agrees with the interpreter"]);
    // Every bit: the first sum that is added up in another order.
    told.has(
        &format!(":reduce net {} tolerance=0", path("bits")),
        &["1 nodes of 19", "differs from the interpreter's"],
    );
    for file in ["model.onnx", "test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb"] {
        assert!(folder.path().join("bits").join(file).is_file(), "{file}");
    }
    told.has(&format!(":reduce net {}", path("bits")), &["is there already"]);
    told.line("bad (float[4] a) => (float[4] d) { b = Relu(a)\n c = Magic(b)\n d = Neg(c) }");
    told.has(
        &format!(":reduce bad {}", path("bad")),
        &["1 nodes of 3: Magic; it fails", "without expected results"],
    );
}

#[test]
fn help_and_tutorial_stand_by_themselves() {
    let mut told = Told::new();
    told.has(":help", &[":load mnist_cnn.onnx as net", ":quit", "Tab completes"]);
    told.has(":help diff", &[":diff A B", "example: :diff net interp"]);
    told.has(":help Softmax", &["axis", "opset"]);
    told.has(":help random", &["shape, dtype, seed"]);
    told.has(":help operators", &["Conv", "arange"]);
    told.has(":help expressions", &["slices as in Python"]);
    told.has(":help lod", &["did you mean 'load'?"]);
    let (folder, mut lessons) = (tempfile::tempdir().unwrap(), 0);
    loop {
        let said = told.line(":tutorial");
        if said.contains("last lesson") {
            break;
        }
        lessons += 1;
        // What it says is to be typed does what it says.
        for line in said.lines().filter_map(|l| l.strip_prefix("  ")) {
            let line = line.replace("p.npy", &folder.path().join("p.npy").display().to_string());
            let line =
                line.replace("session.kiln", &folder.path().join("session.kiln").display().to_string());
            let said = told.line(&line);
            assert!(!is_wrong(&said), "{line}: {said}");
        }
    }
    assert_eq!(lessons, 6);
    // Examples of commands can be typed, once what they speak of is there.
    std::fs::copy(shipped(), folder.path().join("mnist_cnn.onnx")).unwrap();
    told.line("x = random([1, 1, 28, 28])");
    for command in crate::commands::COMMANDS {
        let here = |line: &str| {
            let to = |name: &str| folder.path().join(name).display().to_string();
            line.replace("mnist_cnn.onnx", &to("mnist_cnn.onnx"))
                .replace("copy.onnx", &to("copy.onnx"))
                .replace("net case", &format!("net {}", to("case")))
        };
        if command.name != "undo" {
            let said = told.line(&here(command.example));
            assert!(!is_wrong(&said), "{}: {said}", command.example);
        }
    }
    assert!(told.session.over);
}

#[test]
fn lines_of_no_meaning_end_in_a_mistake() {
    let mut told = Told::new();
    told.line("x = Tensor()");
    for line in [
        "((((", "]", ":", ": load", "=", "x = = 2", "1..2", "\u{0}", "x[", ":print", ":cut", ":quant", "<",
        "a => b", "é",
    ] {
        assert!(told.line(line).contains("error"), "{line}: {}", told.line(line));
    }
    assert_eq!(told.session.variables.get("x"), None::<&Tensor>);
}
