//! `kiln prune`: the command from data to a file that is read again, and what it refuses.

use super::data::{archive, images, mnist, names, noise};
use super::{code, done, fields, json, kiln, models, resnet8, stderr};

#[test]
fn a_model_gets_blocks_of_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 6);
    let out = folder.path().join("sparse.onnx").display().to_string();
    let model = mnist();
    let args = ["prune", &model, "-o", &out, "--sparsity", "0.75", "--block", "4x1", "--json"];
    let with_data = [&args[..], &["--calibrate", &data, "--reconstruct", "off"]].concat();
    let answer = json(&done(&with_data));
    for field in ["layers", "accuracy_before", "accuracy_after", "sparsity"] {
        assert!(answer.get(field).is_some(), "{field}: {answer}");
    }
    assert!((answer["sparsity"].as_f64().unwrap() - 0.75).abs() < 0.01, "{answer}");
    let layers = answer["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 8);
    assert_eq!(
        fields(&layers[0]),
        ["node", "op", "sparsity", "block", "error", "ms_dense", "ms_sparse", "why"]
    );
    let pruned: Vec<_> = layers.iter().filter(|l| l["block"] == "4x1").collect();
    // The first layer, the depthwise one and the classifier are left alone.
    assert_eq!(pruned.len(), 5, "{answer}");
    for layer in pruned {
        assert!((layer["sparsity"].as_f64().unwrap() - 0.75).abs() < 0.01, "{layer}");
        assert!(layer["error"].as_f64().unwrap() < 1.0, "{layer}");
        assert!(layer["ms_dense"].as_f64().unwrap() > 0.0 && layer["ms_sparse"].as_f64().unwrap() > 0.0);
    }
    done(&["run", &out, "--dim", "batch=1", "--json"]);
    // Without data weights go by their size, and no error is known.
    let answer = json(&done(&args));
    assert!(answer["error"].is_null() && answer["ms_dense"].is_null(), "{answer}");
    assert!((answer["sparsity"].as_f64().unwrap() - 0.75).abs() < 0.01, "{answer}");
    // Another run writes over it, and leaves nothing beside it.
    assert_eq!(names(folder.path()), ["image.npz", "sparse.onnx"]);
}

#[test]
fn every_way_of_doing_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 8);
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "0\n1\n2\n3\n4\n5\n6\n7\n").unwrap();
    let labels = labels.display().to_string();
    let out = folder.path().join("out.onnx").display().to_string();
    let ways: &[(&[&str], f64)] = &[
        (
            &[
                "--sparsity",
                "0.5",
                "--block",
                "1x4",
                "--saliency",
                "wanda",
                "--budget",
                "global",
                "--reconstruct",
                "off",
            ],
            0.5,
        ),
        (&["--nm", "2:4", "--saliency", "magnitude", "--reconstruct", "off", "--labels", &labels], 0.5),
    ];
    let model = mnist();
    for (way, sparsity) in ways {
        let args = ["prune", &model, "-o", &out, "--calibrate", &data, "--json"];
        let answer = json(&done(&[&args[..], *way].concat()));
        assert!((answer["sparsity"].as_f64().unwrap() - sparsity).abs() < 0.01, "{way:?}: {answer}");
        assert!(answer["error"].as_f64().unwrap() < 1.5, "{way:?}: {answer}");
        assert_eq!(answer["accuracy_after"].is_null(), !way.contains(&"--labels"), "{way:?}");
    }
    // Whatever is no slower than the same part of each: parts are those whose times were measured.
    let wish = ["--sparsity", "0.8", "--block", "4x1", "--budget", "time", "--labels", &labels, "--json"];
    let answer = json(&done(&[&["prune", &model, "-o", &out, "--calibrate", &data], &wish[..]].concat()));
    for layer in answer["layers"].as_array().unwrap().iter().filter(|l| l["block"] == "4x1") {
        let sparsity = layer["sparsity"].as_f64().unwrap();
        let levels = [0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95];
        assert!(levels.iter().any(|l| (l - sparsity).abs() < 0.02), "{layer}");
    }
    assert!(
        answer["error"].as_f64().unwrap() < 1.5 && answer["ms_sparse"].as_f64().unwrap() > 0.0,
        "{answer}"
    );
    // Parts by name: the last pattern that fits counts, and layers that are left alone by default can be named.
    let layers = ["--sparsity", "0.5", "--layers", "*f.3*=0,*Gemm=0.25,/f/f.13/Gemm=0.9", "--json"];
    let answer = json(&done(&[&["prune", &model, "-o", &out], &layers[..]].concat()));
    let of = |name: &str| {
        let all = answer["layers"].as_array().unwrap();
        all.iter().find(|l| l["node"] == name).unwrap()["sparsity"].as_f64().unwrap()
    };
    assert!((of("/f/f.13/Gemm") - 0.9).abs() < 0.01 && (of("/f/f.11/Gemm") - 0.25).abs() < 0.01, "{answer}");
    assert!(of("/f/f.3/f.3.0/Conv") < 0.01 && (of("/f/f.1/f.1.0/Conv") - 0.5).abs() < 0.01, "{answer}");
}

#[test]
fn models_lose_channels() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    let pictures = archive(folder.path(), "input", &[6, 3, 32, 32], &noise(6 * 3072));
    // A chain with a depthwise convolution; sums of several branches.
    let models = [(mnist(), images(folder.path(), 12), 0.43, "obs"), (resnet8(), pictures, 0.3, "magnitude")];
    for (model, data, gone, saliency) in models {
        let out = inside("small.onnx");
        // Minimal filtering has weights of other sizes, and fewer channels may choose another one.
        let bench =
            |model: &str| json(&done(&["bench", model, "--no-winograd", "--seconds", "0.05", "--json"]));
        let before = bench(&model);
        let args = ["prune", &model, "-o", &out, "--channels", "--sparsity", "0.25", "--json"];
        let data = ["--calibrate", &data, "--reconstruct", "off", "--saliency", saliency];
        let answer = json(&done(&[&args[..], &data].concat()));
        assert!(answer["sparsity"].as_f64().unwrap() > gone - 0.05, "{answer}");
        assert!(answer["error"].as_f64().unwrap() < 1.0, "{answer}");
        let bytes = |name: &str| answer[name].as_f64().unwrap();
        assert!(bytes("bytes_after") < (1.0 - gone + 0.1) * bytes("bytes_before"), "{answer}");
        let after = bench(&out);
        let of = |answer: &serde_json::Value, name: &str| answer[name].as_u64().unwrap();
        assert!(of(&after, "arena_bytes") < of(&before, "arena_bytes"));
        assert!(of(&after, "weights_bytes") < of(&before, "weights_bytes"));
    }
}

#[test]
fn what_makes_no_sense_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 2);
    let relu = models::write(folder.path(), "relu.onnx", &models::relu());
    let out = folder.path().join("deep/out.onnx").display().to_string();
    let model = mnist();
    let half = ["--sparsity", "0.5"];
    let wishes: &[(&str, &[&str], i32, &str)] = &[
        (&model, &[], 2, "--sparsity"),
        (&model, &["--sparsity", "1"], 2, "less than 1"),
        (&model, &["--sparsity", "-0.1"], 2, "-0.1"),
        (&model, &["--sparsity", "nan"], 2, "NaN"),
        (&model, &["--sparsity", "0.5", "--block", "3x1"], 2, "16x1"),
        (&model, &["--sparsity", "0.5", "--nm", "1:4"], 2, "leave out --sparsity"),
        (&model, &["--nm", "4:2"], 2, "2:4"),
        (&model, &["--nm", "2:4", "--channels"], 2, "--channels"),
        (&model, &["--nm", "2:4", "--layers", "*=0.7"], 2, "loses 0.5"),
        (&model, &["--sparsity", "0.5", "--saliency", "obs"], 2, "--calibrate"),
        (&model, &["--sparsity", "0.5", "--reconstruct", "on"], 2, "--calibrate"),
        (&model, &["--sparsity", "0.5", "--budget", "time"], 2, "--calibrate"),
        (&model, &["--sparsity", "0.5", "--schedule", "cubic"], 2, "--calibrate"),
        (&model, &["--sparsity", "0.5", "--steps", "3"], 2, "--schedule"),
        (&model, &["--sparsity", "0.5", "--layers", "nobody=0.5"], 2, "/f/f.11/Gemm"),
        (&model, &["--sparsity", "0.5", "--layers", "*f.1*"], 2, "PATTERN=S"),
        (&model, &["--sparsity", "0.5", "--layers", "*f.1*=2"], 2, "less than 1"),
        (&model, &["--sparsity", "0.5", "--labels", "x"], 2, "--calibrate"),
        (&model, &["--sparsity", "0.5", "--calibrate", "/nonexistent"], 3, "cannot read"),
        (&model, &["--sparsity", "0.5", "--calibrate", &data, "--cpu", "nonesuch"], 2, "nonesuch"),
        (&model, &["--sparsity", "0.5", "--layers", "*=0"], 4, "as asked for"),
        (
            &model,
            &["--channels", "--budget", "time", "--sparsity", "0.5", "--calibrate", &data],
            2,
            "uniform",
        ),
        (&relu, &half, 4, "nothing to prune"),
        (&relu, &["--sparsity", "0.5", "--channels"], 4, "nothing to prune"),
    ];
    for (model, wish, exit, word) in wishes {
        let output = kiln(&[&["prune", model, "-o", &out, "--json"], *wish].concat());
        assert_eq!(code(&output), *exit, "{wish:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{wish:?}: {}", stderr(&output));
        assert!(!folder.path().join("deep").exists(), "{wish:?}");
    }
    let over = kiln(&["prune", &model, "-o", &model, "--sparsity", "0.5"]);
    assert_eq!(code(&over), 2, "{}", stderr(&over));
}

#[test]
fn tuning_measures_blocks_and_all_weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (sparse, cache) = (path("sparse.onnx"), path("tune.json"));
    done(&["prune", &mnist(), "-o", &sparse, "--sparsity", "0.9", "--block", "4x1"]);
    let run = |more: &[&str]| {
        let args = ["bench", &sparse, "--dim", "batch=1", "--seconds", "0", "--tune-cache", &cache, "--json"];
        json(&done(&[&args[..], more].concat()))
    };
    let first = run(&["--tune"]);
    assert!(first["tuned"]["measured"].as_u64().unwrap() > 1, "{first}");
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&cache).unwrap()).unwrap();
    let machines = file["machines"].as_object().unwrap();
    let keys: Vec<&String> = machines.values().flat_map(|m| m.as_object().unwrap().keys()).collect();
    assert!(keys.iter().any(|key| key.starts_with("sparse ")), "{keys:?}");
    assert_eq!(run(&["--tune"])["tuned"]["measured"], 0);
}
