//! Files that are damaged, cut off, or no models at all.

use kiln_ir::Limits;

use crate::testing::*;
use crate::{from_bytes, load};

fn through(bytes: &[u8]) -> bool {
    match from_bytes(bytes, None, &Limits::default()) {
        Ok(_) => true,
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert_ne!(errors.exit_code(), 5, "{errors}");
            false
        }
    }
}

fn sample() -> Vec<u8> {
    let w = raw("w", 1, &[3], [1f32, 2.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect());
    let nodes = vec![node("Add", &["x", "w"], &["t"]), node("Relu", &["t"], &["y"])];
    bytes(&model(graph(vec![x()], vec![w], nodes)))
}

#[test]
fn the_whole_file_is_sound() {
    assert!(through(&sample()));
}

#[test]
fn cut_off_at_every_byte() {
    let whole = sample();
    for end in 0..whole.len() {
        assert!(!through(&whole[..end]), "cut at {end}");
    }
}

#[test]
fn any_byte_changed_in_any_bit() {
    let whole = sample();
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            through(&bytes);
        }
        for value in [0, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            through(&bytes);
        }
    }
}

/// Fields that the decoder does not know cost it a hundred times their bytes.
#[test]
fn unknown_fields_are_counted() {
    let many = |pair: [u8; 2]| pair.repeat(crate::wire::MAX_FIELDS as usize + 1);
    let errors = from_bytes(&many([0x48, 0]), None, &Limits::default()).unwrap_err();
    assert!(errors.to_string().contains("more than 8000000 fields"), "{errors}");
    // Numbers of a list that was not packed are no more than numbers.
    let dims = many([0x08, 1]);
    let errors = crate::tensor_from_bytes(&dims, &Limits::default()).unwrap_err();
    assert!(!errors.to_string().contains("fields"), "{errors}");
}

#[test]
fn a_cut_tells_the_byte() {
    let mut whole = sample();
    whole.truncate(100);
    let errors = from_bytes(&whole, None, &Limits::default()).unwrap_err().to_string();
    assert!(errors.contains("the file ends at byte 100 in the middle of a field"), "{errors}");
}

#[test]
fn no_model_at_all() {
    let refuse = |bytes: &[u8]| from_bytes(bytes, None, &Limits::default()).unwrap_err();
    assert!(refuse(b"").to_string().contains("empty"));
    for text in [
        &b"# README\n\nThis is not a model.\n"[..],
        b"hello",
        b"\n\n\n",
        b"PK\x03\x04",
        &[0xff; 64],
        &[0; 64],
    ] {
        assert_eq!(refuse(text).exit_code(), 3);
    }
}

#[test]
fn a_folder_and_a_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = |path: &std::path::Path| load(path, &Limits::default()).unwrap_err().to_string();
    assert!(text(folder.path()).contains("a folder"));
    assert!(text(&folder.path().join("none.onnx")).contains("cannot read"));
}

#[test]
fn a_file_of_its_own_loads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, sample()).unwrap();
    assert_eq!(load(&path, &Limits::default()).unwrap().node_count(), 2);
    let limits = Limits { max_model_bytes: 10, ..Limits::default() };
    let errors = load(&path, &limits).unwrap_err();
    assert_eq!(errors.exit_code(), 4);
    assert!(errors.to_string().contains("--max-model-bytes"));
}

#[test]
fn groups_a_hundred_thousand_deep() {
    // Field 100, wire types 3 and 4.
    let mut bytes = sample();
    bytes.extend([0xa3, 0x06].repeat(100_000));
    bytes.extend([0xa4, 0x06].repeat(100_000));
    let errors = from_bytes(&bytes, None, &Limits::default()).unwrap_err();
    assert!(errors.to_string().contains("wire type 3"), "{errors}");
}

/// A message field around `inner`, without the recursion of an encoder.
fn wrap(field: u8, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    let mut len = inner.len();
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(inner);
    out
}

#[test]
fn subgraphs_thousands_deep() {
    let mut graph = Vec::new();
    for _ in 0..3000 {
        // GraphProto.node, NodeProto.attribute, AttributeProto.g
        graph = wrap(1, &wrap(5, &wrap(6, &graph)));
    }
    let errors = from_bytes(&wrap(7, &graph), None, &Limits::default()).unwrap_err();
    assert_eq!(errors.exit_code(), 4);
    assert!(errors.to_string().contains("inside each other"), "{errors}");
}

#[test]
fn types_thousands_deep() {
    let mut ty = Vec::new();
    for _ in 0..5000 {
        // TypeProto.sequence_type, Sequence.elem_type
        ty = wrap(4, &wrap(1, &ty));
    }
    // GraphProto.input, ValueInfoProto.type
    let errors = from_bytes(&wrap(7, &wrap(11, &wrap(2, &ty))), None, &Limits::default()).unwrap_err();
    assert!(errors.to_string().contains("inside each other"), "{errors}");
}

#[test]
fn millions_of_empty_nodes() {
    let nodes = [1u8 << 3 | 2, 0].repeat(9_000_000);
    let errors = from_bytes(&wrap(7, &nodes), None, &Limits::default()).unwrap_err();
    assert!(errors.to_string().contains("more than 8000000 fields"), "{errors}");
}

#[test]
fn names_that_are_not_utf8() {
    let mut bytes = sample();
    let at = bytes.windows(6).position(|w| w == b"Relu_y").unwrap();
    bytes[at] = 0xff;
    let errors = from_bytes(&bytes, None, &Limits::default()).unwrap_err();
    assert_eq!(errors.exit_code(), 3);
}
