//! What is taken where nothing is said: the level of the machine, the inputs.

use serde_json::Value;

use super::{X86, code, done, fields, json, kiln, resnet8, stderr};

#[test]
fn this_machine_is_the_default_but_for_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let native = json(&done(&["explain", &resnet8(), "--cpu", "native", "--json"]))["cpu"].clone();
    let explained = done(&["explain", &resnet8(), "--json"]);
    assert_eq!(json(&explained)["cpu"], native);
    assert!(stderr(&explained).contains("--cpu native"), "{}", stderr(&explained));
    let bench = ["bench", &resnet8(), "--seconds", "0", "--threads", "1", "--profile", "--json"];
    let bench = json(&done(&bench));
    assert_eq!(bench["cpu"], native);
    // Both tell of the same plan.
    let names = |list: &Value, key: &str| -> Vec<(String, String)> {
        let text = |k: &Value, key: &str| k[key].as_str().unwrap().to_owned();
        list[key].as_array().unwrap().iter().map(|k| (text(k, "name"), text(k, "microkernel"))).collect()
    };
    assert_eq!(names(&json(&explained), "kernels"), names(&bench, "profile"));
    // A library goes elsewhere.
    let output = done(&["compile", &resnet8(), "-o", &out, "--target", X86]);
    let note = "made for every x86_64, with code for several levels (--cpu baseline,avx2,avx512)";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    let report = std::fs::read_to_string(folder.path().join("tiny_ic_resnet8.report.json")).unwrap();
    assert!(["sse2", "avx2", "avx512"].iter().all(|level| report.contains(&format!("\"{level}\""))));
    let output = done(&["compile", &resnet8(), "-o", &out, "--target", "aarch64-unknown-linux-gnu"]);
    assert!(stderr(&output).contains("made for every aarch64, neon (--cpu baseline)"), "{}", stderr(&output));
    // So does code for a machine that is named; what is said is not told again.
    let foreign = done(&["explain", &resnet8(), "--target", "aarch64-unknown-linux-gnu", "--json"]);
    assert_eq!(json(&foreign)["cpu"], "neon");
    for args in [&["--cpu", "native"][..], &["--quiet"]] {
        assert_eq!(stderr(&done(&[&["explain", &*resnet8()], args].concat())), "", "{args:?}");
    }
}

#[test]
fn inputs_are_all_random_or_all_given() {
    let folder = tempfile::tempdir().unwrap();
    let model = super::models::write(folder.path(), "add.onnx", &super::models::two_inputs());
    let none = done(&["run", &model, "--json"]);
    assert_eq!(json(&none)["random_inputs"], true);
    assert!(stderr(&none).contains("the inputs are random, with seed 0"), "{}", stderr(&none));
    let some = kiln(&["run", &model, "--input", "a=random"]);
    assert_eq!(code(&some), 2);
    assert!(stderr(&some).contains("no values are given for 'b'"), "{}", stderr(&some));
    assert_eq!(code(&kiln(&["bench", &model, "--seconds", "0", "--input", "b=random"])), 2);
    let all = done(&["run", &model, "--input", "a=random", "--input", "b=random:3", "--json"]);
    assert_eq!(json(&all)["random_inputs"], false);
    assert!(!stderr(&all).contains("random"), "{}", stderr(&all));
    assert_eq!(fields(&json(&all)), ["outputs", "compile_ms", "run_ms", "threads", "random_inputs"]);
}
