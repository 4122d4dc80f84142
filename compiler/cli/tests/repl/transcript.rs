//! A person at a terminal, from `:help` to `:quit`.

use std::time::{Duration, Instant};

use super::shipped;
use super::terminal::Terminal;

/// What a lesson says is to be typed, with a part of each answer; nothing where a line answers nothing.
const LESSONS: &[&[(&str, &[&str])]] = &[
    &[
        ("x = random([1, 1, 28, 28], seed=1)", &[]),
        ("y = Relu(x) * 2", &[]),
        (":print y[0, 0, 0, :5]", &["y[0, 0, 0, :5] f32[5] = ["]),
        (":hist y", &["no NaN", "█"]),
        (":show x", &["▀"]),
    ],
    &[
        (":nodes net", &["operator", "/f/f.0/f.0.0/Conv", "logits"]),
        ("p = Softmax(net(x))", &[]),
        ("ArgMax(p, axis=-1, keepdims=0)", &["_ i64[1] = ["]),
        (":time net(x)", &["median", "runs on"]),
    ],
    &[
        (":profile net", &["GFLOP/s", "all kernels"]),
        (":cut net image -> /f/f.5/MaxPool_output_0 as head", &["head(image f32[1, 1, 28, 28]) -> "]),
        (":type head(x)", &["f32[1, 64, 7, 7]"]),
        (":diff net interp", &["result logits", "none of 19 tensors"]),
    ],
    &[
        (":explain net", &["microkernel", "why"]),
        (":stage kernel net", &["program @", "contract"]),
        (":stage -absorb net", &["- ", "+ "]),
        (":asm x + 1", &["% of the time", "ret"]),
    ],
    &[
        (":quant net int8", &["int8: the results differ by", ":undo takes it back"]),
        (":undo", &["is as it was before"]),
        (":prune net 0.5 4x1", &["50 % zero in 4x1", ":undo takes it back"]),
        (":undo", &["is as it was before"]),
    ],
    &[
        (":save p p.npy", &["wrote p.npy"]),
        (":save session session.kiln", &["wrote session.kiln"]),
        (":help", &["Tab completes"]),
    ],
];

/// Systems with timers that tell where a thread was, and machines with a decoder.
const HAS_HEAT: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

#[test]
fn help_and_the_tutorial_show_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &[]);
    terminal.expect(":help tells of the commands");
    terminal.right(":help", &[":load mnist_cnn.onnx as net", ":reduce net case", "Ctrl-D leaves."]);
    terminal.right(":help load", &[":load PATH [as NAME]", "example: :load mnist_cnn.onnx as net"]);
    terminal.right(":help Softmax", &["axis"]);
    for (i, lesson) in LESSONS.iter().enumerate() {
        let said =
            terminal.right(":tutorial", &[&format!("Lesson {} of 6", i + 1), "then :tutorial goes on."]);
        for (line, parts) in *lesson {
            assert!(said.contains(line), "lesson {} does not say {line}:\n{said}", i + 1);
            let answer = terminal.right(line, parts);
            if line.starts_with(":asm") {
                let heat = answer.lines().filter_map(|l| l.get(..5)?.trim().parse::<f64>().ok());
                assert!(!HAS_HEAT || heat.sum::<f64>() > 50.0, "no heat in\n{answer}");
            }
        }
    }
    terminal.right(":tutorial", &["That was the last lesson"]);
    assert!(folder.path().join("p.npy").is_file());
    terminal.line(":quit");
    assert_eq!(terminal.wait(), 0);
    // What was saved is a script.
    let script = folder.path().join("session.kiln");
    let again = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["repl", "--script"])
        .arg(&script)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn mistakes_interrupts_and_windows() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(folder.path(), &[&shipped(), "--threads", "2"]);
    terminal.expect("mnist_cnn: ");

    // A wrong expression: a caret below the mistake, and what may have been meant.
    terminal.line("x = random([1, 1, 28, 28])");
    terminal.line("y = Rleu(x)");
    terminal.expect("y = Rleu(x)");
    terminal.expect("      ^^^^");
    terminal.expect("there is no operator, function or model 'Rleu'");
    terminal.expect("did you mean 'Relu'?");

    // A failing model is told, stays, and is reduced to what fails.
    terminal.line("bad (float[4] a) => (float[4] d) { b = Relu(a) c = Magic(b) d = Neg(c) }");
    terminal.expect("'bad' is there, and does not compile");
    terminal.expect("Magic");
    terminal.right(":reduce bad case", &["1 nodes of 3: Magic", "kiln check case"]);
    assert!(folder.path().join("case/model.onnx").is_file());
    terminal.right(":reduce mnist_cnn bits tolerance=0", &["1 nodes of 19", "wrote bits"]);

    // Ctrl-C stops a run, a measurement and a compilation, and the session goes on with what it had.
    terminal.line("big = random([5000, 5000])");
    terminal.right("1 + 1", &["_ i64[] = [2"]);
    for line in [
        "MatMul(MatMul(MatMul(big, big), big), big)",
        ":time MatMul(big, big)",
        "ReduceSum(big @ big @ big @ big @ big)",
    ] {
        interrupt(&mut terminal, line);
        terminal.right("x[0, 0, 0, 0] * 0 + 7", &["_ f32[] = [7.000000]"]);
    }
    // A compilation: of a model that takes its time.
    std::fs::write(folder.path().join("long.onnx"), long_model()).unwrap();
    interrupt(&mut terminal, ":load long.onnx as long");
    terminal.right("x[0, 0, 0, 0] * 0 + 7", &["_ f32[] = [7.000000]"]);
    // A run with open dimensions.
    terminal.right(":set dim.n 1..6000", &[]);
    let open = "open (float[n, 4000] a, float[4000, 4000] b) => (float[n, 4000] c) { \
                d = MatMul(a, b) e = MatMul(d, b) f = MatMul(e, b) g = MatMul(f, b) c = MatMul(g, b) }";
    terminal.right(open, &[]);
    terminal.right("square = random([4000, 4000])", &[]);
    interrupt(&mut terminal, "y = open(square, square)");
    terminal.right("open(square[:2], square)[0, :1] * 0 + 5", &["_ f32[1] = [5.000000]"]);
    terminal.right(":set dim.n none", &[]);
    terminal.prompt();
    terminal.keys("half a line\x03");
    terminal.expect("Ctrl-D or :quit leaves");

    // So does it within a loop, whose turns nobody would wait for.
    terminal.right(TURNS, &[]);
    interrupt(&mut terminal, "turns(1000000000000, big[:64, :64])");
    terminal.right("turns(3, zeros([64, 64]))[0, 0] + 3", &["_ f32[] = [3.000000]"]);

    // A model with a function of its own, in lines: what it calls is asked for.
    for line in [
        "<ir_version: 8, opset_import: [\"\": 17, \"own\": 1]>",
        "doubled (float[3] a) => (float[3] b) { b = own.double(a) }",
        "<domain: \"own\", opset_import: [\"\": 17]>",
    ] {
        terminal.keys(line);
        terminal.keys("\r");
        std::thread::sleep(Duration::from_millis(300));
    }
    terminal.keys("double (x) => (y) { y = Add(x, x) }\r");
    terminal.right("doubled([1.0, 2.0, 4.0])", &["_ f32[3] = [2.000000, 4.000000, 8.000000]"]);

    // A window of another width is asked for each table.
    terminal.right("y = mnist_cnn(x)", &[]);
    // The line that is typed is drawn again for each key.
    let drawn = |text: &str| {
        text.lines().filter(|l| !l.contains("kiln>")).map(|l| l.trim_end().chars().count()).max()
    };
    let widest = |text: &str| drawn(text).unwrap_or(0);
    let wide = terminal.right(":nodes mnist_cnn", &["operator", "logits"]);
    terminal.resize(60);
    std::thread::sleep(Duration::from_millis(300));
    let narrow = terminal.right(":nodes mnist_cnn", &["operator", "logits"]);
    assert!(widest(&wide) > 60 && widest(&narrow) <= 60, "{wide}\n{narrow}");

    // Tensors in files, slices, and an image of them.
    terminal.right(":save x x.npy", &["wrote x.npy"]);
    terminal.right(":load x.npy as again", &[]);
    terminal.right("ReduceSum(Abs(again - x), keepdims=0)", &["_ f32[] = [0.000000]"]);
    terminal.right(":save x x.png", &["wrote x.png"]);
    terminal.right(":load x.png as photo size=14x7 channels=1", &[]);
    terminal.right(":type photo[0, 0, ::2, -3:]", &["f32[7, 3]"]);
    // Another target, other threads and options: what they do to the code, to the time, to the results.
    terminal.right(":set cpu baseline", &[]);
    terminal.right(":asm x + 1", &["% of the time", "%xmm"]);
    terminal.right(":set threads 1", &[]);
    terminal.right(":time mnist_cnn(x)", &["median", "on 1 thread"]);
    terminal.right(":diff mnist_cnn mnist_cnn opt=0", &["none of"]);
    terminal.right(":probe mnist_cnn./f/f.5/MaxPool_output_0 as pooled", &["f32[1, 64, 7, 7]"]);
    terminal.right(":set cpu native", &[]);
    terminal.right(":set threads 2", &[]);

    // Lines that go on, completion, hints, history.
    terminal.line("z = Relu(");
    terminal.expect("Relu(");
    std::thread::sleep(Duration::from_millis(300));
    terminal.keys("  x)\r");
    terminal.right(":type z", &["f32[1, 1, 28, 28]"]);
    terminal.prompt();
    terminal.keys(":expl\t");
    terminal.expect(":explain");
    terminal.keys(" /f/f.0/f.0.0/C\t\r");
    terminal.expect("microkernel");
    terminal.prompt();
    terminal.keys("y = LogSof\t");
    terminal.expect("LogSoftmax(");
    terminal.expect("axis=");
    // The line is taken back, and the prompt stands alone again.
    terminal.keys("\x15");
    terminal.right("last = 123", &[]);
    terminal.prompt();
    terminal.keys("\x04");
    assert_eq!(terminal.wait(), 0);
    let mut next = Terminal::start(folder.path(), &[]);
    next.prompt();
    next.keys("\x1b[A");
    next.expect("last = 123");
    next.keys("\x15\x04");
    assert_eq!(next.wait(), 0);
}

#[test]
fn a_terminal_with_sixels_shows_every_point() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start_as("foot", folder.path(), &[]);
    terminal.line(":show random([8, 8])");
    terminal.right("1 + 1", &["_ i64[] = [2"]);
    let sent = terminal.sent();
    let picture = sent.split_once("\x1bPq").and_then(|(_, rest)| rest.split_once("\x1b\\"));
    let (picture, _) = picture.unwrap_or_else(|| panic!("no sixels in {sent:?}"));
    // A palette, and bands of six rows.
    assert!(picture.contains("#0;2;") && picture.matches('-').count() >= 1, "{picture:?}");
    assert!(!sent.contains('▀'));
    terminal.line(":quit");
    assert_eq!(terminal.wait(), 0);
}

/// A loop with a product in it.
const TURNS: &str = "turns (int64 n, float[64, 64] x) => (float[64, 64] y) { yes = Constant <value = bool {1}> () \
                     y = Loop (n, yes, x) <body = b (int64 i, bool go, float[64, 64] s) => (bool on, float[64, 64] t) \
                     { on = Identity(go) p = MatMul(s, x) t = Tanh(p) }> }";

/// A model of which every node is a kernel of its own.
fn long_model() -> Vec<u8> {
    let mut text =
        "<ir_version: 8, opset_import: [\"\": 17]>\nlong (float[24, 24] v0) => (float[24, 24] last) {\n"
            .to_owned();
    for i in 0..4000 {
        text += &match i % 3 {
            0 => format!("  v{} = MatMul(v{i}, v{i})\n", i + 1),
            1 => format!("  v{} = Softmax(v{i})\n", i + 1),
            _ => format!("  v{} = Transpose(v{i})\n", i + 1),
        };
    }
    text += "  last = Identity(v4000)\n}\n";
    kiln_onnx::from_text(&text).unwrap().to_bytes().unwrap()
}

/// Stops what a line began with Ctrl-C.
fn interrupt(terminal: &mut Terminal, line: &str) {
    terminal.line(line);
    std::thread::sleep(Duration::from_millis(600));
    let start = Instant::now();
    terminal.keys("\x03");
    terminal.expect("interrupted");
    assert!(start.elapsed() < Duration::from_secs(20), "{line}: {:?}", start.elapsed());
}
