//! `kiln quantize`: the command from data to a file that is read again, and what it refuses.

use std::fs::File;
use std::path::Path;

use npyz::WriterBuilder;

use super::data::{archive, images, mnist, names, noise};
use super::{code, done, fields, json, kiln, models, stderr};

#[test]
fn a_model_becomes_one_of_integers() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 24);
    let out = folder.path().join("int8.onnx").display().to_string();
    let answer = json(&done(&["quantize", &mnist(), "-o", &out, "--calibrate", &data, "--json"]));
    for field in ["layers", "accuracy_before", "accuracy_after", "bytes_before", "bytes_after"] {
        assert!(answer.get(field).is_some(), "{field}: {answer}");
    }
    let layers = answer["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 8);
    let of_layer = [
        "node",
        "op",
        "scheme",
        "error",
        "sensitivity",
        "bytes_before",
        "bytes_after",
        "ms_before",
        "ms_after",
        "why",
    ];
    assert_eq!(fields(&layers[0]), of_layer);
    for layer in layers {
        assert_eq!(layer["scheme"], "u8 x s8", "{layer}");
        assert!(layer["error"].as_f64().unwrap() < 0.05, "{layer}");
        assert!(layer["ms_before"].as_f64().unwrap() > 0.0 && layer["ms_after"].as_f64().unwrap() > 0.0);
    }
    assert!(answer["error"].as_f64().unwrap() < 0.05, "{answer}");
    assert!(answer["bytes_after"].as_f64().unwrap() < 0.3 * answer["bytes_before"].as_f64().unwrap());
    // The importer reads it, and every product is one of integers.
    let kernels = done(&["dump", &out, "--stage", "kernel", "--dim", "batch=1"]);
    let kernels = String::from_utf8(kernels.stdout).unwrap();
    // The depthwise one is a window.
    assert_eq!(kernels.matches("acc: i32 = ").count(), 7, "{kernels}");
    assert!(!kernels.contains("acc: f32 = "), "{kernels}");
    done(&["run", &out, "--dim", "batch=1", "--json"]);
    // Another run writes the same bytes over it, and leaves nothing beside it.
    let first = std::fs::read(&out).unwrap();
    done(&["quantize", &mnist(), "-o", &out, "--calibrate", &data, "--threads", "1", "--quiet"]);
    assert_eq!(std::fs::read(&out).unwrap(), first);
    assert_eq!(names(folder.path()), ["image.npz", "int8.onnx"]);
}

#[test]
fn every_way_of_doing_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 8);
    let out = folder.path().join("out.onnx").display().to_string();
    let ways: &[&[&str]] = &[
        &["--method", "minmax", "--rounding", "nearest"],
        &["--method", "percentile", "--rounding", "second-order", "--for", "avx2"],
        &["--method", "entropy", "--weights", "int4"],
        &["--keep-float", "/f/f.0/f.0.0/Conv"],
    ];
    for way in ways {
        let mut args = vec!["quantize", "-o", &out, "--calibrate", &data, "--json"];
        let model = mnist();
        args.push(&model);
        args.extend(*way);
        let answer = json(&done(&args));
        let most = if way.contains(&"int4") { 0.5 } else { 0.05 };
        assert!(answer["error"].as_f64().unwrap() < most, "{way:?}: {answer}");
        let floats = answer["layers"].as_array().unwrap().iter().filter(|l| l["scheme"] == "float").count();
        assert_eq!(floats, usize::from(way.contains(&"--keep-float")), "{way:?}");
    }
    let answer = json(&done(&["quantize", &mnist(), "-o", &out, "--dynamic", "--json"]));
    assert_eq!(answer["layers"][0]["scheme"], "dynamic u8 x s8");
    done(&["run", &out, "--dim", "batch=2", "--json"]);
}

#[test]
fn targets_are_met_or_missed() {
    let folder = tempfile::tempdir().unwrap();
    let data = images(folder.path(), 6);
    let out = folder.path().join("out.onnx").display().to_string();
    let model = mnist();
    let args = ["quantize", &model, "-o", &out, "--calibrate", &data, "--json", "--target-error"];
    let missed = kiln(&[&args[..], &["0.0001"]].concat());
    assert_eq!(code(&missed), 1, "{}", stderr(&missed));
    assert_eq!(json(&missed)["met"], false);
    let met = json(&done(&[&args[..], &["0.0001", "--keep-float", "auto"]].concat()));
    assert!(met["error"].as_f64().unwrap() <= 0.0001, "{met}");
    let floats: Vec<_> =
        met["layers"].as_array().unwrap().iter().filter(|l| l["scheme"] == "float").collect();
    assert!(
        !floats.is_empty() && floats.iter().all(|l| l["why"].as_str().unwrap().contains("error")),
        "{met}"
    );
    // By labels: what the float model itself says is what it is right in.
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "0\n1\n2\n3\n4\n5\n").unwrap();
    let labels = labels.display().to_string();
    let args = [
        "quantize",
        &model,
        "-o",
        &out,
        "--calibrate",
        &data,
        "--labels",
        &labels,
        "--target-drop",
        "100",
        "--json",
    ];
    let answer = json(&done(&args));
    assert!(answer["accuracy_before"].as_f64().is_some() && answer["accuracy_after"].as_f64().is_some());
}

#[test]
fn bad_data_is_told_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    let make = |name: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        inside(name)
    };
    let (empty, broken) = (make("empty"), make("broken"));
    std::fs::write(folder.path().join("broken/a.png"), b"no image").unwrap();
    let mut nan = noise(784 * 2);
    nan[1000] = f32::NAN;
    let doubles: Vec<f64> = vec![0.5; 784];
    for sub in ["nan", "wide", "f64", "other"] {
        make(sub);
    }
    let in_folder = |sub: &str| folder.path().join(sub);
    let cases = [
        (inside("missing.npz"), 3, "cannot read"),
        (empty, 3, "holds neither"),
        (broken, 3, "a.png"),
        (archive(&in_folder("nan"), "image", &[2, 1, 28, 28], &nan), 3, "sample 1"),
        (archive(&in_folder("wide"), "image", &[1, 1, 28, 29], &noise(28 * 29)), 3, "28, 29"),
        (archive(&in_folder("f64"), "image", &[1, 1, 28, 28], &doubles), 3, "numpy.float32"),
        (archive(&in_folder("other"), "picture", &[1, 1, 28, 28], &noise(784)), 3, "'image'"),
        (mnist(), 2, "neither a .npz file nor a folder"),
    ];
    let out = inside("deep/out.onnx");
    for (data, exit, word) in cases {
        let output = kiln(&["quantize", &mnist(), "-o", &out, "--calibrate", &data, "--json"]);
        assert_eq!(code(&output), exit, "{data}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{data}: {}", stderr(&output));
        assert!(!folder.path().join("deep").exists(), "{data}");
    }
    // What is wrong with the model, or with the wish.
    let data = images(folder.path(), 2);
    let relu = models::write(folder.path(), "relu.onnx", &models::relu());
    let wishes: &[(&str, &[&str], i32, &str)] = &[
        (&relu, &["--dynamic"], 3, "nothing to quantise"),
        (&mnist(), &["--calibrate", &data, "--keep-float", "nobody"], 3, "nobody"),
        (&mnist(), &["--calibrate", &data, "--keep-float", "auto"], 2, "--target-error"),
        (&mnist(), &["--calibrate", &data, "--for", "nonesuch"], 2, "nonesuch"),
        (&mnist(), &["--calibrate", &data, "--target-drop", "1"], 2, "--labels"),
        (&mnist(), &["--calibrate", &data, "--target-error", "nan"], 2, "NaN"),
        (&mnist(), &["--calibrate", &data, "--dynamic"], 2, "--dynamic"),
        (&mnist(), &[], 2, "--calibrate"),
    ];
    for (model, wish, exit, word) in wishes {
        let output = kiln(&[&["quantize", model, "-o", &out, "--json"], *wish].concat());
        assert_eq!(code(&output), *exit, "{wish:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{wish:?}: {}", stderr(&output));
        assert!(!folder.path().join("deep").exists(), "{wish:?}");
    }
    let over = kiln(&["quantize", &relu, "-o", &relu, "--dynamic"]);
    assert_eq!(code(&over), 2, "{}", stderr(&over));
}

/// Writes an image of noise, another for each seed.
fn picture(path: &Path, width: u32, height: u32, seed: usize) {
    let mut encoder = png::Encoder::new(File::create(path).unwrap(), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let bytes = noise((width * height) as usize * 3 + seed).into_iter().skip(seed).map(|v| (v * 255.0) as u8);
    encoder.write_header().unwrap().write_image_data(&bytes.collect::<Vec<u8>>()).unwrap();
}

#[test]
fn folders_of_images_and_of_arrays() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |name: &str| folder.path().join(name).display().to_string();
    for sub in ["photos", "arrays"] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
    }
    for i in 0..3u32 {
        picture(&folder.path().join(format!("photos/{i}.png")), 40 + i, 36, i as usize);
        let mut file = File::create(folder.path().join(format!("arrays/{i}.npy"))).unwrap();
        let options = npyz::WriteOptions::new().default_dtype().shape(&[3, 32, 32]).writer(&mut file);
        let mut array = options.begin_nd().unwrap();
        array.extend(noise(3072 + i as usize).into_iter().skip(i as usize)).unwrap();
        array.finish().unwrap();
    }
    std::fs::write(folder.path().join("labels.csv"), "2.png,1\n0.png,3\n1.png,5\n").unwrap();
    let (out, model, labels) = (inside("out.onnx"), super::resnet8(), inside("labels.csv"));
    let images = ["--image-mean", "127,127,127", "--image-std", "64,64,64", "--labels", &labels];
    let args = ["quantize", &model, "-o", &out, "--json", "--calibrate"];
    let answer = json(&done(&[&args[..], &[&inside("photos")], &images].concat()));
    assert!(answer["error"].as_f64().unwrap() < 0.2, "{answer}");
    assert!(answer["accuracy_before"].as_f64().is_some());
    let answer = json(&done(&[&args[..], &[&inside("arrays"), "--equalise"]].concat()));
    assert!(answer["error"].as_f64().unwrap() < 0.2, "{answer}");
    // Sizes and names that do not fit.
    let wrong: &[(&[&str], i32, &str)] = &[
        (&["--resize", "33x32"], 3, "33"),
        (&["--resize", "32"], 2, "HxW"),
        (&["--layout", "nhwc"], 3, "channels"),
        (&["--image-std", "0,1,1"], 2, "divided by 0"),
        (&["--image-mean", "1,2"], 2, "three numbers"),
    ];
    for (more, exit, word) in wrong {
        let output = kiln(&[&args[..], &[&inside("photos")], *more].concat());
        assert_eq!(code(&output), *exit, "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{more:?}: {}", stderr(&output));
    }
    std::fs::write(folder.path().join("labels.csv"), "2.png,1\n0.png,3\n").unwrap();
    let output = kiln(&[&args[..], &[&inside("photos")], &images].concat());
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("1.png"), "{}", stderr(&output));
}
