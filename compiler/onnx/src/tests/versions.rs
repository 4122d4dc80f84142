//! Versions of the file format and of operator sets.

use onnx_protobuf::ModelProto;

use crate::testing::*;

#[test]
fn ir_versions() {
    for (ir_version, exit_code) in [(0, 3), (-1, 3), (1, 4), (2, 4)] {
        let text = refused(&ModelProto { ir_version, ..relu() }, exit_code);
        assert!(text.contains("ir_version"), "{text}");
    }
    assert!(import(&ModelProto { ir_version: 3, ..relu() }).is_ok());
}

#[test]
fn opsets() {
    let with = |opset_import| ModelProto { opset_import, ..relu() };
    assert!(refused(&with(vec![]), 3).contains("no operator set"));
    assert!(import(&with(vec![opset("", 17), opset("", 17), opset("ai.onnx", 17)])).is_ok());
    assert!(refused(&with(vec![opset("", 17), opset("", 18)]), 3).contains("twice, as version 17 and 18"));
    assert!(refused(&with(vec![opset("", 17), opset("ai.onnx", 13)]), 3).contains("twice"));
    assert!(refused(&with(vec![opset("", 0)]), 3).contains("version 0"));
    assert!(refused(&with(vec![opset("", -5)]), 3).contains("version -5"));
    assert!(import(&with(vec![opset("", 1)])).is_ok());
    assert!(refused(&with(vec![opset("", 999)]), 4).contains("opset 999 is newer than"));
    assert!(refused(&with(vec![opset("ai.onnx.ml", 3)]), 3).contains("imports no version"));
    assert!(import(&with(vec![opset("ai.onnx", 7)])).is_ok());
}

#[test]
fn a_model_without_a_graph() {
    let text = refused(&ModelProto { graph: None.into(), ..relu() }, 3);
    assert!(text.contains("no graph"), "{text}");
}
