//! `kiln check`: folders of cases.

use std::path::Path;

use onnx_protobuf::{Message, ModelProto};

use super::models::{self, tensor};
use super::{code, json, kiln, stderr};

/// A case in the layout of ONNX's test data.
fn case(root: &Path, name: &str, model: &ModelProto, inputs: &[Vec<u8>], output: &[u8]) -> String {
    let folder = root.join(name);
    let set = folder.join("test_data_set_0");
    std::fs::create_dir_all(&set).unwrap();
    std::fs::write(folder.join("model.onnx"), model.write_to_bytes().unwrap()).unwrap();
    for (i, input) in inputs.iter().enumerate() {
        std::fs::write(set.join(format!("input_{i}.pb")), input).unwrap();
    }
    std::fs::write(set.join("output_0.pb"), output).unwrap();
    folder.display().to_string()
}

fn floats(values: &[f32], shape: &[i64]) -> Vec<u8> {
    tensor("", 1, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()).write_to_bytes().unwrap()
}

fn integers(values: &[i64]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tensor("", 7, &[values.len() as i64], bytes).write_to_bytes().unwrap()
}

#[test]
fn stray_files_are_passed_over_and_others_checked() {
    let root = tempfile::tempdir().unwrap();
    let x = [floats(&[1.0, -2.0, 3.0, -4.0], &[1, 4])];
    let good = case(root.path(), "good", &models::relu(), &x, &floats(&[1.0, 0.0, 3.0, 0.0], &[1, 4]));
    let bad = case(root.path(), "bad", &models::relu(), &x, &x[0]);
    let odd = case(root.path(), "odd", &models::unknown_operators(3), &x, &x[0]);
    let stray = root.path().join("README.txt");
    std::fs::write(&stray, "no case").unwrap();
    std::fs::create_dir(root.path().join("empty")).unwrap();
    let (stray, empty) = (stray.display().to_string(), root.path().join("empty").display().to_string());
    let output = kiln(&["check", &stray, &good, &empty, &bad, &odd, "--json"]);
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let answer = json(&output);
    assert_eq!(
        (&answer["passed"], &answer["failed"], &answer["unsupported"]),
        (&1.into(), &1.into(), &1.into())
    );
    assert!(stderr(&output).contains("passed over") && stderr(&output).contains("README.txt"));
    assert_eq!(code(&kiln(&["check", &good])), 0);
    assert_eq!(code(&kiln(&["check", &stray, &empty])), 2);
    assert_eq!(code(&kiln(&["check", &good, "--cpu", "nonesuch"])), 2);
    let coloured = kiln(&["check", &good, &bad, "--color", "always"]);
    assert!(String::from_utf8_lossy(&coloured.stdout).contains("\u{1b}[1m\u{1b}[32mpassed"), "{coloured:?}");
}

#[test]
fn many_cases_are_told_by_reason() {
    let root = tempfile::tempdir().unwrap();
    let x = [floats(&[1.0; 4], &[1, 4])];
    let folders: Vec<String> = (0..25)
        .map(|i| case(root.path(), &format!("odd_{i}"), &models::unknown_operators(1), &x, &x[0]))
        .collect();
    let args: Vec<&str> = std::iter::once("check").chain(folders.iter().map(String::as_str)).collect();
    let text = |args: &[&str]| String::from_utf8(kiln(args).stdout).unwrap();
    let short = text(&args);
    assert_eq!(short.lines().count(), 2, "{short}");
    assert!(
        short.contains("25 Foo: operator Foo")
            && short.contains("(odd_0)")
            && short.contains("25 unsupported"),
        "{short}"
    );
    assert_eq!(text(&[&args[..], &["--verbose"]].concat()).lines().count(), 26);
}

#[test]
fn parameters_that_are_inputs_may_be_bound() {
    let root = tempfile::tempdir().unwrap();
    let x = floats(&[1.0, 2.0, 3.0, 4.0], &[1, 4]);
    let inputs = [x, integers(&[2, 2])];
    let folder =
        case(root.path(), "reshape", &models::reshape(), &inputs, &floats(&[1.0, 2.0, 3.0, 4.0], &[2, 2]));
    assert_eq!(code(&kiln(&["check", &folder])), 4);
    let bound = kiln(&["check", &folder, "--bind-inputs"]);
    assert_eq!(code(&bound), 0, "{} {}", String::from_utf8_lossy(&bound.stdout), stderr(&bound));
    // Through what computes it, too.
    let inputs = [inputs[0].clone(), integers(&[1, 1])];
    let expected = floats(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    let folder = case(root.path(), "doubled", &models::reshape_doubled(), &inputs, &expected);
    assert_eq!(code(&kiln(&["check", &folder])), 4);
    assert_eq!(code(&kiln(&["check", &folder, "--bind-inputs"])), 0);
    // Data stays data: what is refused for another reason still is.
    let odd = case(root.path(), "odd", &models::unknown_operators(1), &inputs[..1], &inputs[0]);
    assert_eq!(code(&kiln(&["check", &odd, "--bind-inputs"])), 4);
}

#[test]
fn a_loop_runs_though_its_body_declares_no_types() {
    let root = tempfile::tempdir().unwrap();
    let x = [floats(&[1.0; 4], &[1, 4])];
    let folder = case(root.path(), "loop", &models::untyped_loop(), &x, &x[0]);
    let output = kiln(&["check", &folder]);
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stdout));
}
