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
