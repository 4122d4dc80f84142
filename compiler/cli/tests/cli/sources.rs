//! Where models come from and where files go: pipes, standard input, and outputs that would replace inputs.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::{code, done, json, kiln, resnet8, stderr};

/// `kiln ARGS` with `bytes` piped in.
fn piped(args: &[&str], bytes: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Wrong usage ends before it has read all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    child.wait_with_output().unwrap()
}

#[test]
fn a_model_is_read_from_a_pipe() {
    let model = std::fs::read(resnet8()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    for path in ["-", "/dev/stdin"] {
        let inspected = piped(&["inspect", path, "--json"], &model);
        assert_eq!(code(&inspected), 0, "{}", stderr(&inspected));
        assert_eq!(json(&inspected)["name"], "model");
        let ran = piped(&["run", path, "--json"], &model);
        assert_eq!(code(&ran), 0, "{}", stderr(&ran));
    }
    assert_eq!(code(&piped(&["compile", "-", "-o", &out], &model)), 0);
    assert!(folder.path().join("libmodel.a").is_file());
    assert_eq!(code(&piped(&["compile", "-", "-o", &out, "--name", "net"], &model)), 0);
    assert!(folder.path().join("libnet.a").is_file() && folder.path().join("net.h").is_file());
    // Empty, damaged and oversized input is what it is in a file.
    assert_eq!(code(&piped(&["inspect", "-"], b"")), 3);
    assert_eq!(code(&piped(&["inspect", "-"], b"no model")), 3);
    assert_eq!(code(&piped(&["inspect", "-", "--max-model-bytes", "1000"], &model)), 4);
}

#[test]
fn a_model_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::copy(resnet8(), path("libq.a")).unwrap();
    let before = std::fs::read(path("libq.a")).unwrap();
    let output = kiln(&["compile", &path("libq.a"), "-o", &path("."), "--name", "q"]);
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).contains("would be written over"), "{}", stderr(&output));
    assert!(std::fs::read(path("libq.a")).unwrap() == before);
    // Elsewhere, or under another name, it is no matter.
    done(&["compile", &path("libq.a"), "-o", &path("out"), "--name", "q"]);
    done(&["compile", &path("libq.a"), "-o", &path("."), "--name", "r"]);
}

#[test]
fn an_open_dimension_has_the_size_of_the_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let model = super::models::write(folder.path(), "product.onnx", &super::models::product());
    let open = ["--dim", "n=1..6:2", "--json"];
    let shape = |more: &[&str]| {
        json(&done(&[&["run", &model], &open[..], more].concat()))["outputs"][0]["shape"].clone()
    };
    let greatest = shape(&[]);
    assert_eq!(greatest[0], 6);
    assert_eq!(shape(&["--at", "n=3", "--output-dir", &path("three")])[0], 3);
    for wrong in [["--at", "n=7"], ["--at", "m=1"], ["--at", "n=1..2"]] {
        assert_eq!(code(&kiln(&[&["run", &model], &open[..], &wrong].concat())), 2, "{wrong:?}");
    }
    assert_eq!(code(&kiln(&["run", &model, "--dim", "n=3..2"])), 2);
    let compiled = json(&done(&[&["compile", &model, "-o", &path("out")], &open[..]].concat()));
    assert_eq!(compiled["inputs"][0]["shape"][0], "n");
    let header = std::fs::read_to_string(folder.path().join("out/product.h")).unwrap();
    assert!(header.contains("int64_t n;") && header.contains("#define product_DIM_0_MAX 6"), "{header}");
    done(&[&["bench", &model, "--seconds", "0", "--at", "n=2", "--profile"], &open[..]].concat());
    done(&[&["explain", &model], &open[..]].concat());
}

#[test]
fn inputs_are_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let model = super::models::write(folder.path(), "double.onnx", &super::models::half_open());
    done(&["run", &model, "--dim", "n=2", "--output-dir", &path(".")]);
    let input = format!("x={}", path("y.npy"));
    let again = kiln(&["run", &model, "--input", &input, "--output-dir", &path(".")]);
    assert_eq!(code(&again), 2, "{}", stderr(&again));
    assert!(stderr(&again).contains("would be written over"), "{}", stderr(&again));
    done(&["run", &model, "--input", &input, "--output-dir", &path("next")]);
}
