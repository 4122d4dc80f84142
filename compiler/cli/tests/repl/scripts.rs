//! Scripts: what is printed, what is told, exit codes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::shipped;

fn kiln(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .arg("repl")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The example that scripts rely on.
#[test]
fn the_documented_session_runs() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(shipped(), folder.path().join("mnist_cnn.onnx")).unwrap();
    let script = "\
:load mnist_cnn.onnx as net
x = random([1, 1, 28, 28], seed=1)        # f32 by default
y = net(x)
z = Relu(MatMul([[1.0, -2.0]], [[3.0], [4.0]]) + 1)
:print z
p = Softmax(y, axis=-1); ArgMax(p, axis=-1, keepdims=0)
w = y[0, -3:]
:time net(x)
";
    let out = kiln(folder.path(), &[], script);
    let (said, told) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(0), "{told}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "z f32[1, 1] = [0.000000]");
    assert!(lines[1].starts_with("_ i64[1] = ["), "{said}");
    assert!(lines[2].starts_with("min "), "{said}");
    assert_eq!((lines.len(), &*told), (3, ""));
}

#[test]
fn the_first_mistake_ends_a_script_unless_it_is_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let script = "a = 1\n\nb = (a +\n  Rleu(a))\na + 1\n:nothing\na\n";
    let path = folder.path().join("s.kiln");
    std::fs::write(&path, script).unwrap();
    let path = path.display().to_string();
    let out = kiln(folder.path(), &["--script", &path], "");
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(1), ""));
    assert!(text(&out.stderr).starts_with("line 4: there is no operator"), "{}", text(&out.stderr));
    let out = kiln(folder.path(), &["--script", &path, "--keep-going"], "");
    let told = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(text(&out.stdout), "_ i64[] = [2.000000]\na i64[] = [1.000000]\n");
    assert!(told.contains("line 4: ") && told.contains("line 6: there is no command 'nothing'"), "{told}");
    let out = kiln(folder.path(), &["--json"], "1 + 1\n");
    assert_eq!(text(&out.stdout), "{\"done\":1,\"failed\":0}\n");
    assert_eq!(kiln(folder.path(), &["--script", "nothing"], "").status.code(), Some(2));
    assert_eq!(kiln(folder.path(), &["--opt", "7"], "").status.code(), Some(2));
}

#[test]
fn a_reduced_model_is_a_case_for_check() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(":load {} as net\n:reduce net case tolerance=0\n", shipped());
    let out = kiln(folder.path(), &[], &script);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let check =
        Command::new(env!("CARGO_BIN_EXE_kiln")).args(["check", "case"]).current_dir(folder.path()).output();
    let check = check.unwrap();
    assert!(check.status.success(), "{}", text(&check.stderr));
}

/// Entries are used by the next session, made again where they are damaged, and shared by processes that start at once.
#[test]
fn compiled_models_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let script = format!(
        ":load {} as net\n:type net(zeros([2, 1, 28, 28]))\nnet(random([2, 1, 28, 28]))\n",
        shipped()
    );
    let args = ["--cache", "cache"];
    let run = || {
        let out = kiln(folder.path(), &args, &script);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let first = run();
    let entry = || {
        let files = std::fs::read_dir(&cache).unwrap().map(|e| e.unwrap().path());
        let mut entries: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "kiln")).collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries.remove(0)
    };
    let whole = std::fs::read(entry()).unwrap();
    let changed = || std::fs::metadata(entry()).unwrap().modified().unwrap();
    let made = changed();
    assert_eq!(run(), first);
    assert_eq!(changed(), made, "it was there");
    for damage in [&whole[..whole.len() - 5], b"", b"something else"] {
        std::fs::write(entry(), damage).unwrap();
        assert_eq!(run(), first);
        assert!(std::fs::read(entry()).unwrap() == whole, "it is as it was");
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    std::fs::write(entry(), &flipped).unwrap();
    assert_eq!(run(), first);
    std::fs::remove_dir_all(&cache).unwrap();
    let both = [0, 1].map(|_| {
        let (folder, script) = (folder.path().to_owned(), script.clone());
        std::thread::spawn(move || text(&kiln(&folder, &["--cache", "cache"], &script).stdout))
    });
    both.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), first));
    assert!(std::fs::read(entry()).unwrap() == whole);
    let left = std::fs::read_dir(&cache)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "nothing half written is left");
}

/// Code of kernels is kept too: another model that shares them, damaged files, and files of nobody.
#[test]
fn kernels_are_kept_beside_models() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = folder.path().join("cache/kernels");
    let files = || {
        let mut files: Vec<_> = std::fs::read_dir(&kernels).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    };
    let run = |script: &str| {
        let out = kiln(folder.path(), &["--cache", "cache"], script);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let net = format!(":load {} as net\nnet(ones([1, 1, 28, 28]))\n", shipped());
    let first = run(&net);
    let made = files();
    assert!(made.len() > 3, "{made:?}");
    let written: Vec<_> = made.iter().map(|f| std::fs::metadata(f).unwrap().modified().unwrap()).collect();
    // The head of the model: what it shares is there.
    let head = format!(
        ":load {} as net\n:cut net image -> /f/f.5/MaxPool_output_0 as head\nhead(ones([1, 1, 28, 28]))[0, 0, 0, :1]\n",
        shipped()
    );
    run(&head);
    assert!(files().len() > made.len());
    let now: Vec<_> = made.iter().map(|f| std::fs::metadata(f).unwrap().modified().unwrap()).collect();
    assert_eq!(now, written, "nothing was made twice");
    // The model's entry is gone and each kernel damaged: everything is made again, and right.
    for entry in std::fs::read_dir(folder.path().join("cache")).unwrap().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|e| e == "kiln") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let whole: Vec<_> = made.iter().map(|f| std::fs::read(f).unwrap()).collect();
    for (i, file) in made.iter().enumerate() {
        let mut bytes = whole[i].clone();
        let at = if i % 2 == 0 { bytes.len() - 1 } else { 30 };
        bytes[at] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    assert_eq!(run(&net), first);
    assert!(made.iter().zip(&whole).all(|(file, whole)| std::fs::read(file).unwrap() == *whole));
}

/// A dimension that is kept open is compiled once for all sizes; a call may still bind it.
#[test]
fn dimensions_stay_open_or_are_bound() {
    let folder = tempfile::tempdir().unwrap();
    let model = "m (float[n, 3] a) => (float[n, 3] c) { b = Relu(a) c = Add(b, b) }\n";
    let script = format!(
        "{model}m(ones([2, 3]))[0]\nm(ones([5, 3]))[4]\n:stage plan m\nm(ones([4, 3]), n=4)[3]\n:probe m.b\n:stage plan m\n"
    );
    let out = kiln(folder.path(), &["--dim", "n=1..8", "--cache", "cache"], &script);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(said.matches("_ f32[3] = [2.000000, 2.000000, 2.000000]").count(), 3, "{said}");
    assert!(said.contains("f32[n, 3]") && said.contains("f32[4, 3]"), "{said}");
    let out =
        kiln(folder.path(), &["--dim", "n=1..8"], &format!("{model}m(ones([9, 3]))[8]\n:set dim.n 3..2\n"));
    assert_eq!(out.status.code(), Some(1));
    let told = text(&out.stderr);
    assert!(told.contains("is no size of a dimension"), "{told}");
    // Random inputs have the size that was asked for, and else the greatest.
    for (args, shape) in [(&["--at", "n=6"][..], "f32[6, 3]"), (&[], "f32[8, 3]")] {
        let args = [&["--dim", "n=1..8"], args].concat();
        let out = kiln(folder.path(), &args, &format!("{model}:probe m.c\n"));
        assert!(text(&out.stdout).contains(shape), "{}{}", text(&out.stdout), text(&out.stderr));
    }
}

/// Weights go by what they are multiplied by, where the session has seen that; each answer is measured, and taken back.
#[test]
fn layers_are_pruned_by_the_sessions_data() {
    let folder = tempfile::tempdir().unwrap();
    let node = "/f/f.0/f.0.0/Conv";
    let calls: String = (0..3).map(|i| format!("y = net(random([1, 1, 28, 28], seed={i}))\n")).collect();
    let script = format!(
        ":load {} as net\n:prune net 0.5\n:undo\n{calls}:prune net 0.7 4x1\n:undo\n:prune net.{node} 0.5 wanda\n:undo\n\
         :prune net 0.7 4x1 magnitude\n:undo\n:prune net 0.5 2:4 obd\n:undo\n",
        shipped()
    );
    let out = kiln(folder.path(), &[], &script);
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}{}", text(&out.stderr));
    let lines: Vec<&str> = said.lines().filter(|l| l.contains("differ by")).collect();
    let wanted = [
        "net 50 % zero in 1x1 by magnitude",
        "net 70 % zero in 4x1 by obs on 2 calls, measured on another",
        "50 % zero in 1x1 by wanda on 2 calls",
        "net 70 % zero in 4x1 by magnitude",
        "net 50 % zero in 2:4 by obd on 2 calls",
    ];
    assert_eq!(lines.len(), wanted.len(), "{said}");
    assert!(lines.iter().zip(wanted).all(|(line, part)| line.contains(part)), "{said}");
    let error = |line: &str| -> f64 {
        line.split("differ by ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    };
    assert!(error(lines[1]) < error(lines[3]), "what is left makes up for what goes: {said}");
    let wrong = [
        (":prune net 0.5 obs", "has not been called"),
        (":prune net 1.5", "is no part from 0"),
        (":prune net 0.5 3x3", "is no block"),
        (":prune net 0.5 wand", "did you mean 'wanda'"),
        (":prune net.nothing 0.5", "there is no node 'nothing'"),
    ];
    for (line, expected) in wrong {
        let out = kiln(folder.path(), &[], &format!(":load {} as net\n{line}\n", shipped()));
        assert!(text(&out.stderr).contains(expected), "{line}: {}", text(&out.stderr));
    }
}
