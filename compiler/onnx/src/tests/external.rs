//! Tensor data in other files, and attempts to read what is none of the model's business.

use std::fs;
use std::path::Path;

use kiln_ir::Limits;
use kiln_ir::errors::Result;
use kiln_ir::graph::Graph;
use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{ModelProto, TensorProto};
use tempfile::TempDir;

use crate::load;
use crate::testing::*;

fn external(entries: &[(&str, &str)]) -> ModelProto {
    let w = TensorProto {
        name: "w".into(),
        data_type: 1,
        dims: vec![3],
        data_location: DataLocation::EXTERNAL.into(),
        external_data: entries.iter().map(|(k, v)| entry(k, v)).collect(),
        ..Default::default()
    };
    model(graph(vec![x()], vec![w], vec![node("Add", &["x", "w"], &["y"])]))
}

/// `folder/model/m.onnx` beside `folder/model/w.bin`, with a secret in `folder`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir_all(model.join("sub")).unwrap();
    let data: Vec<u8> = [0f32, 1.0, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for path in [folder.path().join("secret.bin"), model.join("w.bin"), model.join("sub/w.bin")] {
        fs::write(path, &data).unwrap();
    }
    folder
}

fn at(folder: &Path, model: &ModelProto) -> Result<Graph> {
    let path = folder.join("model/m.onnx");
    fs::write(&path, bytes(model)).unwrap();
    load(&path, &Limits::default())
}

fn refused(folder: &Path, entries: &[(&str, &str)], text: &str) {
    let errors = at(folder, &external(entries)).expect_err(text);
    assert_eq!(errors.exit_code(), 3, "{errors}");
    let message = errors.to_string();
    assert!(message.contains("initializer 'w'") && message.contains(text), "{message}");
}

#[test]
fn data_beside_the_model() {
    let folder = folder();
    for location in ["w.bin", "./w.bin", "sub/w.bin"] {
        let graph =
            at(folder.path(), &external(&[("location", location), ("offset", "4"), ("length", "12")]))
                .unwrap();
        let w = graph.constant(graph.find("w").unwrap()).unwrap();
        assert_eq!(w.to_f64s().unwrap(), [1.0, 2.0, 3.0]);
    }
    // Offset and length may be left out.
    let graph = at(folder.path(), &external(&[("location", "w.bin")])).unwrap();
    assert_eq!(graph.constant(graph.find("w").unwrap()).unwrap().to_f64s().unwrap(), [0.0, 1.0, 2.0]);
}

#[test]
fn locations_outside_the_folder() {
    let folder = folder();
    let secret = folder.path().join("secret.bin");
    let absolute = secret.to_str().unwrap();
    for location in
        ["../secret.bin", "sub/../../secret.bin", "../../../etc/passwd", absolute, "/etc/passwd", "."]
    {
        let text = if location == "." { "not a regular file" } else { "leaves the folder" };
        refused(folder.path(), &[("location", location)], text);
    }
    for location in ["..\\secret.bin", "", "a\0b"] {
        refused(folder.path(), &[("location", location)], "location");
    }
    refused(folder.path(), &[("location", "sub")], "not a regular file");
    refused(folder.path(), &[("location", "none.bin")], "cannot be read");
}

#[cfg(unix)]
#[test]
fn links() {
    let folder = folder();
    let model = folder.path().join("model");
    std::os::unix::fs::symlink(folder.path().join("secret.bin"), model.join("link.bin")).unwrap();
    std::os::unix::fs::symlink(folder.path(), model.join("up")).unwrap();
    fs::hard_link(folder.path().join("secret.bin"), model.join("hard.bin")).unwrap();
    refused(folder.path(), &[("location", "link.bin")], "symbolic link");
    refused(folder.path(), &[("location", "up/secret.bin")], "symbolic link");
    refused(folder.path(), &[("location", "hard.bin")], "hard link");
}

/// A cache: files under their hashes, and a folder of links with the names that the model knows.
#[cfg(unix)]
#[test]
fn a_cache_made_of_links() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (blobs, names) = (folder.path().join("blobs"), folder.path().join("snapshots/1"));
    fs::create_dir_all(blobs.join("below")).unwrap();
    fs::create_dir_all(&names).unwrap();
    for path in
        [blobs.join("9f86"), blobs.join("below/9f86"), folder.path().join("secret"), names.join("own")]
    {
        fs::write(path, [0; 12]).unwrap();
    }
    let loaded = |location: &str, target: &str| {
        let _ = fs::remove_file(names.join("w.bin"));
        symlink(target, names.join("w.bin")).unwrap();
        fs::write(blobs.join("6030"), bytes(&external(&[("location", location)]))).unwrap();
        load(&names.join("m.onnx"), &Limits::default())
    };
    symlink("../../blobs/6030", names.join("m.onnx")).unwrap();
    assert!(loaded("w.bin", "../../blobs/9f86").is_ok());
    // A file that is no link is found beside the model's name.
    assert!(loaded("own", "../../blobs/9f86").is_ok());
    for target in ["../../secret", "../../blobs/below/9f86", "own", "/etc/passwd"] {
        let error = loaded("w.bin", target).expect_err(target).to_string();
        assert!(error.contains("does not lie beside the model's own"), "{error}");
    }
    assert!(loaded("w.bin", "../../blobs/none").unwrap_err().to_string().contains("cannot be read"));
    // The link may not be on the way, whatever it leads to.
    symlink("../../blobs", names.join("dir")).unwrap();
    let error = loaded("dir/9f86", "own").unwrap_err().to_string();
    assert!(error.contains("goes through a symbolic link"), "{error}");
    // Nor may the target have another name.
    fs::hard_link(folder.path().join("secret"), blobs.join("hard")).unwrap();
    assert!(loaded("w.bin", "../../blobs/hard").unwrap_err().to_string().contains("hard link"));
}

#[test]
fn offsets_and_lengths() {
    let folder = folder();
    let with = |key: &str, value: &str, text: &str| {
        refused(folder.path(), &[("location", "w.bin"), (key, value)], text);
    };
    with("length", "1125899906842624", "length");
    with("length", "16", "type and shape need 12");
    with("length", "-12", "not a size");
    with("length", "12.0", "not a size");
    with("offset", "-4", "not a size");
    with("offset", "x", "not a size");
    with("offset", "8", "from offset 8");
    with("offset", "18446744073709551615", "from offset");
    with("offset", "18446744073709551608", "from offset");
    with("offset", "99999999999999999999", "not a size");
    with("basepath", "/etc", "unknown key 'basepath'");
    with("location", "w.bin", "twice");
    refused(folder.path(), &[("offset", "0")], "no location");
}

#[test]
fn external_data_needs_a_folder() {
    let text = crate::testing::refused(&external(&[("location", "w.bin")]), 3);
    assert!(text.contains("needs the folder"), "{text}");
}
