//! `kiln inspect` and lists of what is unsupported.

use serde_json::json as value;

use super::models::{self, write};
use super::{code, done, json, kiln, stderr};

#[test]
fn a_model_that_is_not_compiled_is_described_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "odd.onnx", &models::unknown_operators(30));
    let output = kiln(&["inspect", &model, "--json"]);
    assert_eq!(code(&output), 4);
    let answer = json(&output);
    assert_eq!(answer["inputs"], value!([{ "name": "x", "dtype": "f32", "shape": ["n", 4] }]));
    assert_eq!(answer["outputs"][0]["name"], "y");
    assert_eq!(answer["operators"], value!({ "Foo": 30, "Relu": 1 }));
    assert_eq!((&answer["nodes"], &answer["opsets"]["ai.onnx"]), (&value!(31), &value!(17)));
    assert_eq!(answer["symbols"], value!(["n"]));
    assert_eq!(answer["unsupported"].as_array().unwrap().len(), 30);
    let [group] = &answer["unsupported_groups"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&group["op"], &group["count"]), (&value!("Foo"), &value!(30)));
    // One line for all of them, in every subcommand; all by name on demand.
    let out = folder.path().join("out").display().to_string();
    let compile = ["compile", &model, "-o", &out];
    for args in [&["inspect", &*model][..], &["run", &*model], &["explain", &*model], &compile] {
        let short = kiln(args);
        assert_eq!(code(&short), 4, "{args:?}");
        let errors = stderr(&short);
        assert_eq!(errors.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{errors}");
        assert!(errors.contains("Foo: ") && errors.contains("30 nodes, for instance 'foo_0'"), "{errors}");
        let long = stderr(&kiln(&[args, &["--verbose"]].concat()));
        assert!(long.contains("node 'foo_29'"), "{long}");
    }
}

#[test]
fn open_dimensions_stay_open() {
    let folder = tempfile::tempdir().unwrap();
    // Of 2 halves each: 1 is no size for `n`.
    let model = write(folder.path(), "half.onnx", &models::half_open());
    let answer = json(&done(&["inspect", &model, "--json"]));
    assert_eq!(answer["inputs"][0]["shape"], value!(["n"]));
    assert_eq!(answer["symbols"], value!(["n"]));
    let bound = json(&done(&["inspect", &model, "--dim", "n=6", "--json"]));
    assert_eq!(bound["macs_with"], value!({}));
    // A product over an open batch is counted as a formula.
    let product = write(folder.path(), "product.onnx", &models::product());
    let answer = json(&done(&["inspect", &product, "--json"]));
    assert_eq!((&answer["macs"], &answer["macs_with"]), (&value!(12), &value!({ "n": 1 })));
    assert!(answer["macs_formula"].as_str().unwrap().contains("12*n"), "{answer}");
    let bound = json(&done(&["inspect", &product, "--dim", "n=5", "--json"]));
    assert_eq!((&bound["macs"], &bound["macs_with"]), (&value!(60), &value!({})));
}
