//! Files that are no models, damaged models, graphs that break the rules, and external data that points elsewhere.

use std::path::Path;

use onnx_protobuf::{FunctionProto, ModelProto};

use super::Case;
use super::build::*;

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    [no_models(), graphs(), versions(), data(), external_data(), unsupported()]
        .into_iter()
        .flatten()
        .collect()
}

fn no_models() -> Vec<Case> {
    let text = b"This is a text file, not a model.\nIt has a second line.\n".to_vec();
    let deep = vec![0x0B; 100_000]; // starts of unknown groups
    // model.graph.node.attribute.g.node.attribute.g...
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        for tag in [0x32u8, 0x2A, 0x0A] {
            let mut outer = vec![tag];
            varint(&mut outer, nested.len());
            outer.append(&mut nested);
            nested = outer;
        }
    }
    let mut model = vec![0x3A];
    varint(&mut model, nested.len());
    model.append(&mut nested);
    let whole = bytes(&sound());
    vec![
        Case::new("file/empty", vec![]),
        Case::new("file/text", text),
        Case::new("file/zeros", vec![0; 1000]),
        Case::new("file/groups_100000_deep", deep),
        Case::new("file/subgraphs_2000_deep", model),
        Case::new("file/cut_off", whole[..whole.len() - 5].to_vec()),
        Case::at("file/folder", |folder| std::fs::create_dir(folder.join("model.onnx"))),
        Case::at("file/missing", |_| Ok(())),
        Case::at("file/over_2_gib", |folder| {
            std::fs::File::create(folder.join("model.onnx"))?.set_len((1 << 31) + 10)
        })
        .code(4)
        .says("--max-model-bytes"),
        // Ten million fields that nobody knows, each a few bytes here and a hundred in the decoder.
        Case::new("file/unknown_fields", [0x48, 0].repeat(10_000_000)).code(4).says("fields"),
        Case::new("file/name_not_utf8", replaced(&whole, b"good", b"\xFF\xFE\xFD\xFC")),
    ]
}

fn varint(out: &mut Vec<u8>, mut n: usize) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap_or_default();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn relu(name: &str, from: &str, to: &str) -> onnx_protobuf::NodeProto {
    node(name, "Relu", &[from], &[to], vec![])
}

fn graphs() -> Vec<Case> {
    let case = |name: &str, model: ModelProto| Case::new(&format!("graph/{name}"), bytes(&model));
    let v = || value("v", F32, &[8]);
    let y = || vec![untyped("y")];
    let mut cases = vec![
        case(
            "cycle",
            around(
                vec![],
                vec![
                    node("bad", "Add", &["v", "b"], &["a"], vec![]),
                    relu("other", "a", "b"),
                    relu("last", "a", "y"),
                ],
            ),
        )
        .says("cycle"),
        case("own_result", around(vec![], vec![node("bad", "Add", &["v", "y"], &["y"], vec![])]))
            .says("'bad'"),
        case("missing_value", around(vec![], vec![relu("bad", "nowhere", "y")])).says("'nowhere'"),
        case("missing_output", around(vec![], vec![relu("good", "v", "z")])).says("'y'"),
        case("no_output", model(graph(vec![v()], vec![], vec![relu("good", "v", "y")], vec![]))),
        case(
            "no_graph",
            ModelProto { ir_version: 8, opset_import: vec![opset("", 17)], ..Default::default() },
        ),
        case("defined_twice", around(vec![], vec![relu("one", "v", "y"), relu("two", "v", "y")])).says("'y'"),
        case("input_overwritten", around(vec![], vec![relu("one", "v", "v"), relu("two", "v", "y")]))
            .says("'v'"),
        case(
            "constant_twice",
            around(
                vec![halves("w", &[8]), halves("w", &[8])],
                vec![node("n", "Add", &["v", "w"], &["y"], vec![])],
            ),
        )
        .says("'w'"),
        case("input_twice", model(graph(vec![v(), v()], vec![], vec![relu("n", "v", "y")], y()))).says("'v'"),
        case("input_without_type", model(graph(vec![untyped("v")], vec![], vec![relu("n", "v", "y")], y())))
            .says("'v'"),
    ];
    for (name, extent) in [("negative", -1), ("huge", i64::MAX)] {
        let input = value("v", F32, &[extent, 2]);
        // -1 is widely written for an open dimension; anything but a crash or a wrong answer will do.
        cases.push(
            case(
                &format!("extent_{name}"),
                model(graph(vec![input], vec![], vec![relu("n", "v", "y")], y())),
            )
            .survives(),
        );
    }
    let wrong = model(graph(vec![v()], vec![], vec![relu("n", "v", "y")], vec![value("y", F32, &[3])]));
    cases.push(case("output_of_another_shape", wrong).says("y"));
    let empty = model(graph(vec![value("v", F32, &[0, 3])], vec![], vec![relu("n", "v", "y")], y()));
    cases.push(case("no_elements", empty).survives());
    let both = model(graph(vec![v()], vec![halves("v", &[8])], vec![relu("n", "v", "y")], y()));
    cases.push(case("constant_that_is_an_input", both).survives());
    let other = model(graph(vec![v()], vec![halves("v", &[7])], vec![relu("n", "v", "y")], y()));
    cases.push(case("constant_of_another_shape_than_its_input", other).says("'v'"));
    cases.push(
        case("output_is_an_input", model(graph(vec![v()], vec![], vec![], vec![untyped("v")]))).survives(),
    );
    // Results of 8 and 3 elements, both declared to have n.
    let both = vec![relu("one", "v", "a"), relu("other", "w", "b")];
    let results = vec![value_of_dim("a", "n"), value_of_dim("b", "n")];
    let two = model(graph(vec![v()], vec![halves("w", &[3])], both, results));
    cases.push(case("one_symbol_for_two_extents", two).survives());
    cases.push(function_that_calls_itself());
    cases.push(function_with_an_input_that_is_not_there());
    cases
}

fn function_that_calls_itself() -> Case {
    let mut call = node("bad", "Again", &["a"], &["b"], vec![]);
    call.domain = "own".into();
    let function = FunctionProto {
        name: "Again".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![call.clone()],
        opset_import: vec![opset("", 17), opset("own", 1)],
        ..Default::default()
    };
    call.input = vec!["v".into()];
    call.output = vec!["y".into()];
    let mut model = around(vec![], vec![call]);
    model.functions = vec![function];
    model.opset_import.push(opset("own", 1));
    Case::new("graph/function_that_calls_itself", bytes(&model)).says("Again")
}

fn function_with_an_input_that_is_not_there() -> Case {
    let function = FunctionProto {
        name: "Half".into(),
        domain: "own".into(),
        input: vec!["a".into(), "b".into()],
        output: vec!["c".into()],
        node: vec![node("bad", "Add", &["a", "b"], &["c"], vec![])],
        opset_import: vec![opset("", 17)],
        ..Default::default()
    };
    let mut call = node("call", "Half", &["v"], &["y"], vec![]);
    call.domain = "own".into();
    let mut model = around(vec![], vec![call]);
    model.functions = vec![function];
    model.opset_import.push(opset("own", 1));
    Case::new("graph/function_with_an_input_that_is_not_there", bytes(&model)).says("call")
}

fn versions() -> Vec<Case> {
    let with = |name: &str, opsets: Vec<_>| {
        let model = ModelProto { opset_import: opsets, ..sound() };
        Case::new(&format!("version/{name}"), bytes(&model))
    };
    let ir_0 = ModelProto { ir_version: 0, ..sound() };
    vec![
        with("opset_999", vec![opset("", 999)]).says("999"),
        with("opset_6", vec![opset("", 6)]).code(0),
        with("opset_0", vec![opset("", 0)]).says("0"),
        with("opset_missing", vec![]),
        with("opset_twice", vec![opset("", 17), opset("", 13)]),
        with("opset_twice_the_same", vec![opset("", 17), opset("ai.onnx", 17)]).code(0),
        with("opset_negative", vec![opset("", -3)]),
        Case::new("version/ir_version_0", bytes(&ir_0)).survives(),
    ]
}

fn data() -> Vec<Case> {
    let case = |name: &str, tensor| {
        let nodes = vec![node("n", "Add", &["v", "w"], &["y"], vec![])];
        Case::new(&format!("data/{name}"), bytes(&around(vec![tensor], nodes))).says("'w'")
    };
    let odd = vec![node("n", "Cast", &["w"], &["y"], vec![int("to", 1)])];
    let odd = around(vec![raw("w", 22, &[3], vec![0x21, 0x03])], odd);
    let half = |n: usize| 0.5f32.to_le_bytes().repeat(n);
    vec![
        Case::new("data/odd_int4", bytes(&odd)).survives(),
        case("short", raw("w", F32, &[8], half(7))),
        case("long", raw("w", F32, &[8], half(9))),
        case("empty", raw("w", F32, &[8], vec![])),
        case("uneven", raw("w", F32, &[8], vec![0; 31])),
        case("negative_extent", raw("w", F32, &[-8], half(8))),
        case("overflowing_extents", raw("w", F32, &[1 << 33, 1 << 33], half(8))),
        case("undefined_type", raw("w", 0, &[8], half(8))),
        case("short_int4", raw("w", 22, &[3], vec![0x21])),
        case("type_99", raw("w", 99, &[8], half(8))),
    ]
}

fn external_data() -> Vec<Case> {
    let model = |entries: &[(&str, &str)]| {
        bytes(&around(vec![external("w", entries)], vec![node("n", "Add", &["v", "w"], &["y"], vec![])]))
    };
    let case = |name: &str, entries: &[(&str, &str)]| {
        let file = model(entries);
        let name = format!("external/{name}");
        Case::at(&name, move |folder| {
            std::fs::write(folder.join("data.bin"), [0; 32])?;
            std::fs::write(folder.join("model.onnx"), &file)
        })
        .says("'w'")
    };
    let linked = |name: &str, link: fn(&Path, &Path) -> std::io::Result<()>, location: &'static str| {
        let file = model(&[("location", location)]);
        Case::at(&format!("external/{name}"), move |folder| {
            let outside = folder.join("outside");
            std::fs::create_dir(&outside)?;
            std::fs::write(outside.join("data.bin"), [0; 32])?;
            link(&outside, folder)?;
            std::fs::write(folder.join("model.onnx"), &file)
        })
        .says("'w'")
    };
    vec![
        case("parent", &[("location", "../../../etc/passwd")]),
        case("parent_inside", &[("location", "a/../../x")]),
        case("absolute", &[("location", "/etc/passwd")]),
        case("backslashes", &[("location", "..\\..\\x")]),
        case("missing_file", &[("location", "nothing.bin")]),
        case("no_location", &[("offset", "0")]),
        case("empty_location", &[("location", "")]),
        case("folder", &[("location", ".")]),
        case("unknown_key", &[("location", "data.bin"), ("basepath", "/etc")]),
        case("negative_offset", &[("location", "data.bin"), ("offset", "-8")]),
        case("length_no_number", &[("location", "data.bin"), ("length", "0x20")]),
        case("key_twice", &[("location", "data.bin"), ("location", "/etc/passwd")]),
        case("length_of_petabytes", &[("location", "data.bin"), ("length", "1000000000000000")]),
        case("negative_length", &[("location", "data.bin"), ("length", "-32")]),
        case("offset_no_number", &[("location", "data.bin"), ("offset", "many")]),
        case("wrapping", &[("location", "data.bin"), ("offset", "18446744073709551600"), ("length", "32")]),
        case("behind_the_end", &[("location", "data.bin"), ("offset", "16"), ("length", "32")]),
        case("short", &[("location", "data.bin"), ("length", "16")]),
        linked(
            "symlink",
            |from, to| std::os::unix::fs::symlink(from.join("data.bin"), to.join("link")),
            "link",
        ),
        linked(
            "symlinked_folder",
            |from, to| std::os::unix::fs::symlink(from, to.join("link")),
            "link/data.bin",
        ),
        linked(
            "symlink_to_the_folder_above",
            |_, to| std::os::unix::fs::symlink(to.join("outside/../outside/data.bin"), to.join("link")),
            "link",
        ),
        linked("symlink_to_itself", |_, to| std::os::unix::fs::symlink("link", to.join("link")), "link"),
        linked("hard_link", |from, to| std::fs::hard_link(from.join("data.bin"), to.join("link")), "link"),
    ]
}

fn unsupported() -> Vec<Case> {
    let unknown = around(
        vec![],
        vec![
            node("first", "FrobnicateOne", &["v"], &["a"], vec![]),
            node("second", "FrobnicateTwo", &["a"], &["b"], vec![]),
            relu("third", "b", "y"),
        ],
    );
    let mut foreign = node("bad", "Relu", &["v"], &["y"], vec![]);
    foreign.domain = "com.example".into();
    let escape = around(vec![], vec![node("\u{1b}[31mred", "Unknown\u{7}", &["v"], &["y"], vec![])]);
    let branch = |n| graph(vec![], vec![halves("c", &[n])], vec![], vec![untyped("c")]);
    let branches = vec![subgraph("then_branch", branch(2)), subgraph("else_branch", branch(3))];
    let shadow = |n| graph(vec![], vec![halves("d", &[n])], vec![relu("r", "d", "e")], vec![untyped("e")]);
    let shadowed = vec![subgraph("then_branch", shadow(2)), subgraph("else_branch", shadow(2))];
    let condition = raw("c", 9, &[], vec![1]);
    let loops = graph(
        vec![value("n", I64, &[]), value("go", 9, &[]), value("s", F32, &[8])],
        vec![],
        vec![node("step", "Relu", &["s"], &["t"], vec![])],
        vec![untyped("go"), untyped("t")],
    );
    vec![
        Case::new("unsupported/both_are_named", bytes(&unknown))
            .code(4)
            .says("'first'")
            .says("FrobnicateOne")
            .says("'second'")
            .says("FrobnicateTwo"),
        Case::new("unsupported/domain", bytes(&around(vec![], vec![foreign]))).code(4).says("com.example"),
        Case::new("unsupported/names_with_escapes", bytes(&escape)).code(4).says("red"),
        Case::new(
            "unsupported/if_with_different_shapes",
            bytes(&around(vec![condition], vec![node("bad", "If", &["c"], &["y"], branches)])),
        )
        .survives(),
        Case::new(
            "unsupported/if_with_a_shadowed_constant",
            bytes(&around(
                vec![raw("c", 9, &[], vec![1]), halves("d", &[2])],
                vec![node("bad", "If", &["c"], &["y"], shadowed)],
            )),
        )
        .survives(),
        Case::new(
            "unsupported/loop_without_end",
            bytes(&around(
                vec![number("m", i64::MAX)],
                vec![node("bad", "Loop", &["m", "", "v"], &["y"], vec![subgraph("body", loops)])],
            )),
        )
        .code(4)
        .says("does not end"),
    ]
}
