//! The built `kiln`, as its users call it: exit codes, JSON, usage errors, bad models.

use std::path::Path;
use std::process::{Command, Output};

mod checking;
mod data;
mod defaults;
#[cfg(unix)]
mod environment;
mod help;
mod inspecting;
mod models;
mod pruning;
mod quantizing;
mod reports;
#[cfg(unix)]
mod schema;
mod sources;

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
        &["bench", "m.onnx", "--tune-cache"],
        &["check", "/nonexistent"],
        &["report", "/nonexistent"],
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
        compile   Writes a static library and a C header
        run       Compiles in memory and runs once
        check     Runs folders of ONNX test cases and compares the outputs
        bench     Measures the time of a run
        inspect   Tells what is in a model and what of it is unsupported
        explain   Tells how a model is compiled, kernel by kernel, and why
        dump      Prints the text of a stage of compilation
        quantize  Makes an integer model of a float one, by data
        prune     Makes a model with weights of zero, or with fewer channels, of a trained one
        report    Shows the report of a compiled model, or what changed between two
        repl      An interactive session: models and expressions, compiled and run at once
        list      Lists what this build knows"#]]
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

/// `KILN_BLESS=1` writes the page.
#[test]
fn the_page_of_operators_is_what_is_listed() {
    let output = kiln(&["list", "ops", "--markdown"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
    let text = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("KILN_BLESS").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), text, "KILN_BLESS=1 writes docs/operators.md");
    assert_eq!(code(&kiln(&["list", "rules", "--markdown"])), 2);
}

#[test]
fn unsupported_wishes_are_4() {
    let output =
        kiln(&["compile", "m.onnx", "-o", "out", "--emit", "arduino", "--weights", "file", "--json"]);
    assert_eq!(code(&output), 4);
    assert_eq!(json(&output)["error"]["errors"].as_array().map(Vec::len), Some(1));
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

/// A shipped model, small and with convolutions by minimal filtering.
fn resnet8() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/tiny/tiny_ic_resnet8.onnx").to_owned()
}

fn done(args: &[&str]) -> Output {
    let output = kiln(args);
    assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
    output
}

/// The names of an object's fields, in order.
fn fields(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_profile_has_rates_limits_and_groups() {
    let args = ["bench", &resnet8(), "--seconds", "0", "--warmup", "0", "--threads", "1", "--profile"];
    let answer = json(&done(&[&args[..], &["--json"]].concat()));
    for field in ["min_ms", "median_ms", "mean_ms", "p99_ms", "compile_ms"] {
        assert!(answer[field].as_f64().unwrap() > 0.0, "{field}");
    }
    for field in ["runs", "threads", "arena_bytes", "weights_bytes", "code_bytes"] {
        assert!(answer[field].as_u64().unwrap() > 0, "{field}");
    }
    assert!(answer["machine"]["gflop_per_s"].as_f64().unwrap() > 0.0);
    assert!(answer["machine"]["gop_per_s"]["words in pairs"].as_f64().unwrap() > 0.0);
    assert!(answer["machine"]["memory"].as_array().unwrap().len() > 2);
    let kernels = answer["profile"].as_array().unwrap();
    assert_eq!(
        fields(&kernels[0]),
        [
            "name",
            "form",
            "us",
            "share",
            "gflop_per_s",
            "effective_gflop_per_s",
            "bytes_per_s",
            "limit",
            "bound",
            "products",
            "nodes",
            "group",
            "microkernel",
            "plain_loops"
        ]
    );
    let share: f64 = kernels.iter().map(|k| k["share"].as_f64().unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-6, "{share}");
    for kernel in kernels {
        assert!(matches!(kernel["bound"].as_str(), Some("compute" | "memory")), "{kernel}");
        assert!(kernel["limit"].as_f64().unwrap() >= 0.0);
    }
    for group in answer["groups"].as_array().unwrap() {
        let parts = group["kernels"].as_array().unwrap();
        assert_eq!(parts.len(), 3);
        for part in parts {
            let kernel = kernels.iter().find(|k| k["name"] == *part).unwrap();
            assert_eq!(kernel["group"], group["name"]);
        }
    }
    let narrow = Command::new(env!("CARGO_BIN_EXE_kiln")).args(args).env("COLUMNS", "80").output().unwrap();
    let text = String::from_utf8(narrow.stdout).unwrap();
    assert!(text.contains("GFLOP/s") && text.contains("limit") && text.contains("all kernels"), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 80), "{text}");
}

#[test]
fn explain_tells_of_kernels_and_of_rewrites() {
    let answer = json(&done(&["explain", &resnet8(), "--cpu", "avx2", "--target", "x86_64-linux", "--json"]));
    let kernels = answer["kernels"].as_array().unwrap();
    assert_eq!(
        fields(&kernels[0]),
        [
            "name",
            "form",
            "nodes",
            "loops",
            "reads",
            "weights",
            "writes",
            "microkernel",
            "level",
            "vector_bits",
            "schedule",
            "products",
            "grain",
            "why"
        ]
    );
    let conv = kernels.iter().find(|k| k["form"] == "contract").unwrap();
    assert!(conv["microkernel"].as_str().unwrap().starts_with("tile_"), "{conv}");
    assert_eq!((&conv["level"], &conv["vector_bits"]), (&Value::from("avx2"), &Value::from(256)));
    assert!(conv["weights"][0].as_str().unwrap().contains("packed in panels of"), "{conv}");
    assert!(!conv["weights"][1].as_str().unwrap().contains("panels"), "{conv}");
    let rewrites = answer["rewrites"].as_array().unwrap();
    let reasons = |rule: &str| -> Vec<&str> {
        rewrites.iter().filter(|r| r["rule"] == rule).filter_map(|r| r["reason"].as_str()).collect()
    };
    assert!(reasons("winograd").contains(&"its steps are 2 x 2, not 1 x 1"), "{rewrites:?}");
    assert!(reasons("absorb").iter().any(|r| r.ends_with("has 2 readers")), "{rewrites:?}");
    let fired = |r: &&Value| r["rule"] == "winograd" && r["fired"] == true;
    assert!(rewrites.iter().any(|r| fired(&r)));
    let off = json(&done(&["explain", &resnet8(), "--cpu", "avx2", "--no-winograd", "--json"]));
    assert!(!off["rewrites"].as_array().unwrap().iter().any(|r| fired(&r)));
}

#[test]
fn tuning_measures_once_and_then_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (cache, model) = (path("caches/tune.json"), resnet8());
    let compile = |out: &str, more: &[&str]| {
        let out = path(out);
        let args = ["compile", &model, "-o", &out, "--cpu", "native", "--tune-cache", &cache, "--json"];
        json(&done(&[&args[..], more].concat()))
    };
    let library = |out: &str| std::fs::read(folder.path().join(out).join("libtiny_ic_resnet8.a")).unwrap();
    let first = compile("a", &["--tune"]);
    assert!(first["tuned"]["measured"].as_u64().unwrap() > 5, "{first}");
    let second = compile("b", &["--tune"]);
    assert_eq!(second["tuned"]["measured"], 0);
    assert_eq!(first["tuned"]["kernels"], second["tuned"]["kernels"]);
    assert_eq!(first["tuned"]["changed"], second["tuned"]["changed"]);
    // Without --tune the measurements of the file are used as well.
    let third = compile("c", &[]);
    assert!(third["tuned"].is_null());
    assert!(library("a") == library("b") && library("b") == library("c"));
    // Runs give the same answers, nearly: orders of summation may differ.
    for (out, more) in [("tuned", &["--tune", "--tune-cache", &*cache][..]), ("plain", &[])] {
        let out = path(out);
        done(&[&["run", &*model, "--cpu", "native", "--output-dir", &*out], more].concat());
    }
    let floats = |out: &str| -> Vec<f32> {
        let bytes = std::fs::read(folder.path().join(out).join("output.npy")).unwrap();
        let numbers = bytes[bytes.len() - 40..].chunks_exact(4);
        numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    for (a, b) in floats("tuned").iter().zip(floats("plain")) {
        assert!((a - b).abs() <= 1e-5, "{a} {b}");
    }
}

#[test]
fn a_bad_tuning_cache_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tune.json");
    std::fs::write(&file, "{\"kiln_tuning\": \"no\"}").unwrap();
    let cache = file.display().to_string();
    let output = done(&["explain", &resnet8(), "--cpu", "native", "--tune-cache", &cache]);
    assert!(stderr(&output).contains("warning"), "{}", stderr(&output));
    // Only --tune writes.
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"kiln_tuning\": \"no\"}");
    let bench =
        ["bench", &resnet8(), "--seconds", "0", "--threads", "1", "--tune", "--tune-cache", &cache, "--json"];
    let output = done(&bench);
    assert!(stderr(&output).contains("written anew"), "{}", stderr(&output));
    assert!(json(&output)["tuned"]["measured"].as_u64().unwrap() > 0);
    assert!(stderr(&done(&bench)).lines().all(|l| !l.contains("warning")));
    // Picks that no kernel can have are as good as none.
    let text = std::fs::read_to_string(&file).unwrap();
    let mut entries: Value = serde_json::from_str(&text).unwrap();
    for machine in entries["machines"].as_object_mut().unwrap().values_mut() {
        for (key, entry) in machine.as_object_mut().unwrap() {
            let tile = serde_json::json!({"row": 77, "mr": 4000, "vectors": 0, "panels_outermost": true, "unroll": 3});
            entry["pick"] = match key.split(' ').next() {
                Some("contract") => serde_json::json!({ "tile": tile }),
                Some("winograd") => serde_json::json!({ "winograd": 17 }),
                _ => serde_json::json!({ "nest": { "vectors": 99, "tile": 99 } }),
            };
        }
    }
    std::fs::write(&file, entries.to_string()).unwrap();
    let plan = |more: &[&str]| {
        let out = folder.path().join("out").display().to_string();
        let args = ["compile", &resnet8(), "-o", &out, "--cpu", "native", "--emit", "plan"];
        done(&[&args[..], more].concat());
        std::fs::read_to_string(folder.path().join("out/tiny_ic_resnet8.plan")).unwrap()
    };
    assert_eq!(plan(&["--tune-cache", &cache]), plan(&[]));
}

#[test]
fn tuning_needs_a_machine_that_runs_the_code() {
    let target = if cfg!(target_arch = "aarch64") { "x86_64-linux" } else { "aarch64-linux" };
    let output = kiln(&["compile", &resnet8(), "-o", "never", "--target", target, "--tune"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("--tune measures on this machine"), "{}", stderr(&output));
    let list = [
        "compile",
        &resnet8(),
        "-o",
        "never",
        "--target",
        "x86_64-linux",
        "--cpu",
        "baseline,avx2",
        "--tune",
    ];
    let output = kiln(&list);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("not for a list"), "{}", stderr(&output));
    assert!(!Path::new("never").exists());
}
