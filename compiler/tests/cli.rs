//! The built `kiln`, as its users call it: exit codes, JSON, usage errors, bad models.

use std::path::Path;
use std::process::{Command, Output};

use expect_test::expect;
use serde_json::Value;

fn kiln(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one JSON object, which is all of stdout.
fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

const X86: &str = "x86_64-unknown-linux-gnu";

#[test]
fn wrong_usage_is_2() {
    let wrong: &[&[&str]] = &[
        &["frobnicate"],
        &["inspect"],
        &["inspect", "m.onnx", "--frobnicate"],
        &["list", "nothing"],
        &["explain", "m.onnx", "--opt", "3"],
        &["explain", "m.onnx", "--dim", "batch"],
        &["explain", "m.onnx", "--cpu", "nonesuch"],
        &["explain", "m.onnx", "--cpu", "baseline,avx2"],
        &["run", "m.onnx", "--cpu", "baseline,avx2"],
        &["compile", "m.onnx", "-o", "out", "--target", X86, "--cpu", "baseline,nonesuch"],
        &["compile", "m.onnx", "-o", "out", "--target", X86, "--cpu", "baseline,sse2"],
        &["compile", "m.onnx", "-o", "out", "--target", X86, "--cpu", "avx2,avx2"],
        &["compile", "m.onnx", "-o", "out", "--target", X86, "--cpu", "avx2,"],
        &["compile", "m.onnx", "-o", "out", "--target", X86, "--cpu", ""],
        &["explain", "m.onnx", "--features=avx2"],
        &["explain", "m.onnx", "--target", "x"],
        &["dump", "m.onnx", "--stage", "kernel", "--dot"],
        &["bench", "m.onnx", "--threads", "0"],
        &["bench", "m.onnx", "--seconds", "nan"],
        &["compile", "m.onnx"],
        &["compile", "m.onnx", "-o", "out", "--name", "a-b"],
        &["check", "/nonexistent"],
    ];
    for args in wrong {
        let output = kiln(args);
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}");
        let with_json = kiln(&[args, &["--json"][..]].concat());
        assert_eq!(code(&with_json), 2, "{args:?}");
        assert_eq!(json(&with_json)["error"]["kind"], "usage", "{args:?}");
    }
}

#[test]
fn help_lists_what_is_there() {
    let output = kiln(&["-h"]);
    assert_eq!(code(&output), 0);
    let text = String::from_utf8_lossy(&output.stdout);
    let commands = text.split("Commands:\n").nth(1).and_then(|t| t.split("\n\n").next()).unwrap_or_default();
    let commands: Vec<&str> = commands.lines().map(str::trim).collect();
    expect![[r#"
        compile  Writes a static library and a C header
        run      Compiles in memory and runs once
        check    Runs folders of ONNX test cases and compares the outputs
        bench    Measures the time of a run
        inspect  Tells what is in a model and what of it is unsupported
        explain  Tells how a model is compiled, kernel by kernel, and why
        dump     Prints the text of a stage of compilation
        list     Lists what this build knows"#]]
    .assert_eq(&commands.join("\n"));
}

#[test]
fn lists_are_tables_and_json() {
    for what in ["ops", "rules", "targets", "kernels"] {
        let text = kiln(&["list", what]);
        assert_eq!(code(&text), 0);
        assert!(text.stdout.len() > 100, "{what}");
        let json = json(&kiln(&["list", what, "--json"]));
        assert!(json[what].as_array().is_some_and(|a| !a.is_empty()), "{json}");
    }
}

#[test]
fn unsupported_wishes_are_4_and_all_told() {
    let args =
        ["compile", "m.onnx", "-o", "out", "--emit", "rust,html,shared", "--weights", "file", "--json"];
    let output = kiln(&args);
    assert_eq!(code(&output), 4);
    assert_eq!(json(&output)["error"]["errors"].as_array().map(Vec::len), Some(4));
    assert!(!Path::new("out").exists());
    // No program can tell there which of them it runs on.
    let lists =
        ["compile", "m.onnx", "-o", "out", "--target", "aarch64-unknown-linux-gnu", "--cpu", "neon,dotprod"];
    let output = kiln(&lists);
    assert_eq!(code(&output), 4, "{}", stderr(&output));
    assert!(stderr(&output).contains("under different --name"), "{}", stderr(&output));
}

#[test]
fn bad_models_are_3_and_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let out = folder.path().join("out/deep");
    let models = [
        write("empty.onnx", b""),
        write("text.onnx", b"This is no model.\n"),
        write("cut.onnx", &[0x08, 0x08, 0x3A, 0xFF, 0x7F, 0x0A]),
        folder.path().display().to_string(),
        folder.path().join("missing.onnx").display().to_string(),
    ];
    for model in &models {
        for command in ["inspect", "explain", "dump", "run", "bench", "compile"] {
            let mut args = vec![command, model, "--json"];
            let out = out.display().to_string();
            if command == "compile" {
                args.extend(["-o", &out, "--emit", "header"]);
            }
            let output = kiln(&args);
            assert_eq!(code(&output), 3, "{command} {model}: {}", stderr(&output));
            assert_eq!(json(&output)["error"]["exit_code"], 3);
            assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
            assert!(!stderr(&output).contains("panicked"));
        }
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn color_obeys() {
    let plain = kiln(&["inspect", "missing.onnx"]);
    assert!(!stderr(&plain).contains('\u{1b}'));
    let coloured = kiln(&["inspect", "missing.onnx", "--color", "always"]);
    assert!(stderr(&coloured).contains('\u{1b}'));
}
