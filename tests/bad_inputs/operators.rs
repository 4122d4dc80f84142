//! Nodes that ask for what cannot be. The node is called `bad`, and messages must say so.

use onnx_protobuf::{AttributeProto, NodeProto, TensorProto};

use super::Case;
use super::build::*;

/// A model of one bad node.
fn one(op: &str, inputs: &[&str], attrs: Vec<AttributeProto>, constants: Vec<TensorProto>) -> Vec<u8> {
    bytes(&around(constants, vec![node("bad", op, inputs, &["y"], attrs)]))
}

/// A model of these nodes.
fn many(constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Vec<u8> {
    bytes(&around(constants, nodes))
}

/// Refused, with the node named.
fn refused(name: &str, file: Vec<u8>) -> Case {
    Case::new(name, file).says("'bad'")
}

/// Every case.
pub(crate) fn cases() -> Vec<Case> {
    [axes(), indices(), sizes(), overflows(), divisions(), quantisation(), arity(), no_elements()]
        .into_iter()
        .flatten()
        .collect()
}

fn axes() -> Vec<Case> {
    let axis = |op: &str, axis: i64| {
        refused(&format!("axis/{op}_{axis}"), one(op, &["x"], vec![int("axis", axis)], vec![]))
    };
    let mut cases =
        vec![axis("ArgMax", 100_000), axis("Softmax", 9), axis("Softmax", i64::MIN), axis("Flatten", 99)];
    cases.push(axis("Split", -100_000));
    cases.push(axis("Concat", 7));
    cases.push(axis("LayerNormalization", -9));
    for op in ["Unsqueeze", "Squeeze", "ReduceMean"] {
        for axis in [-100_000, 1 << 40] {
            let (inputs, attrs): (&[&str], _) = if op == "ReduceMean" {
                (&["x"], vec![ints("axes", &[axis])])
            } else {
                (&["x", "a"], vec![])
            };
            let constants = if op == "ReduceMean" { vec![] } else { vec![numbers("a", &[axis])] };
            cases.push(refused(&format!("axis/{op}_{axis}"), one(op, inputs, attrs, constants)));
        }
    }
    cases.push(refused(
        "axis/Transpose_twice",
        one("Transpose", &["x"], vec![ints("perm", &[0, 1, 1, 2])], vec![]),
    ));
    cases.push(refused(
        "axis/Transpose_far",
        one("Transpose", &["x"], vec![ints("perm", &[0, 1, 2, 9])], vec![]),
    ));
    cases.push(refused(
        "axis/Unsqueeze_twice",
        one("Unsqueeze", &["x", "a"], vec![], vec![numbers("a", &[1, 1])]),
    ));
    cases
}

fn indices() -> Vec<Case> {
    let gather = |op: &str, index: &[i64]| {
        let constants = vec![halves("d", &[4]), numbers("k", index)];
        refused(&format!("index/{op}_of_constants_{}", index[0]), one(op, &["d", "k"], vec![], constants))
    };
    let mut cases: Vec<Case> = [4, -5, i64::MAX, i64::MIN].iter().map(|i| gather("Gather", &[*i])).collect();
    cases.extend([gather("GatherElements", &[9]), gather("GatherND", &[-9])]);
    for index in [8, -9] {
        let file = one("Gather", &["v", "k"], vec![], vec![numbers("k", &[index])]);
        cases.push(refused(&format!("index/Gather_of_an_input_{index}"), file));
    }
    // Indices that only the run knows.
    for op in ["Gather", "GatherElements"] {
        let file = many(
            vec![halves("d", &[4]), numbers("far", &[1 << 40, -(1 << 40)])],
            vec![
                node("far", "Add", &["i", "far"], &["k"], vec![]),
                node("bad", op, &["d", "k"], &["y"], vec![]),
            ],
        );
        cases.push(refused(&format!("index/{op}_at_run_time"), file).at_run_time());
    }
    for op in ["GatherND", "GatherElements", "ScatterElements", "ScatterND", "Scatter"] {
        let inputs: &[&str] = if op.starts_with("Gather") { &["d", "k"] } else { &["d", "k", "u"] };
        let index = |name: &str, n: i64| raw(name, I64, &[1], n.to_le_bytes().into());
        for n in [4, -5, i64::MAX] {
            let constants = vec![halves("d", &[4]), index("k", n), halves("u", &[1])];
            cases.push(refused(&format!("index/{op}_{n}"), one(op, inputs, vec![], constants)));
        }
        let nodes = vec![
            node("index", "Mul", &["i", "far"], &["k"], vec![]),
            node("bad", op, inputs, &["y"], vec![]),
        ];
        let constants = vec![halves("d", &[4]), numbers("far", &[1 << 40, -(1 << 40)]), halves("u", &[2])];
        if op != "GatherElements" {
            cases.push(Case::new(&format!("index/{op}_at_run_time"), many(constants, nodes)).survives());
        }
    }
    let step = vec![numbers("b", &[0]), numbers("e", &[4]), numbers("a", &[0]), numbers("s", &[0])];
    cases.push(refused("index/Slice_step_0", one("Slice", &["v", "b", "e", "a", "s"], vec![], step)));
    let far = vec![
        numbers("b", &[i64::MIN]),
        numbers("e", &[i64::MAX]),
        numbers("a", &[0]),
        numbers("s", &[i64::MAX]),
    ];
    cases
        .push(Case::new("index/Slice_far", one("Slice", &["v", "b", "e", "a", "s"], vec![], far)).survives());
    cases
}

fn sizes() -> Vec<Case> {
    let mut cases = Vec::new();
    for op in ["Add", "Min", "Max", "Div", "Pow", "PRelu"] {
        cases.push(refused(
            &format!("size/{op}_3_and_8"),
            one(op, &["v", "w"], vec![], vec![halves("w", &[3])]),
        ));
    }
    for op in ["Min", "Max"] {
        let file = one(op, &["v", "w"], vec![], vec![halves("w", &[0])]);
        cases.push(refused(&format!("size/{op}_0_and_8"), file));
    }
    let broadcast = one("Add", &["v", "w"], vec![int("broadcast", -436)], vec![halves("w", &[8])]);
    cases.push(refused("size/Add_broadcast_of_opset_6", broadcast));
    cases.push(refused("size/Add_0_and_8", one("Add", &["v", "w"], vec![], vec![halves("w", &[0])])));
    let conv = |name: &str, shape: &[i64], attrs| {
        refused(&format!("size/Conv_{name}"), one("Conv", &["x", "w"], attrs, vec![halves("w", shape)]))
    };
    cases.push(conv("weight_of_rank_3", &[2, 4, 3], vec![]));
    cases.push(conv("weight_of_rank_0", &[], vec![]));
    cases.push(conv("channels", &[2, 3, 3, 3], vec![]));
    cases.push(conv("window_larger_than_input", &[2, 4, 30, 30], vec![]));
    cases.push(conv("kernel_shape", &[2, 4, 3, 3], vec![ints("kernel_shape", &[5, 5])]));
    cases.push(conv("short_strides", &[2, 4, 3, 3], vec![ints("strides", &[1])]));
    cases.push(conv("negative_pads", &[2, 4, 3, 3], vec![ints("pads", &[-9, -9, -9, -9])]));
    cases.push(conv("group", &[3, 2, 3, 3], vec![int("group", 2)]));
    let bias = vec![halves("w", &[2, 4, 3, 3]), halves("b", &[3])];
    cases.push(refused("size/Conv_bias", one("Conv", &["x", "w", "b"], vec![], bias)));
    cases.push(refused("size/Gemm_scalar", one("Gemm", &["v", "w"], vec![], vec![halves("w", &[])])));
    cases.push(refused("size/MatMul_scalar", one("MatMul", &["v", "w"], vec![], vec![halves("w", &[])])));
    cases.push(refused("size/MatMul_inner", one("MatMul", &["x", "w"], vec![], vec![halves("w", &[3, 2])])));
    let norm = vec![halves("s", &[3]), halves("b", &[4]), halves("m", &[4]), halves("r", &[4])];
    let inputs = ["x", "s", "b", "m", "r"];
    cases.push(refused("size/BatchNormalization_scale", one("BatchNormalization", &inputs, vec![], norm)));
    let split = vec![numbers("s", &[3, 3])];
    cases.push(refused("size/Split_does_not_add_up", one("Split", &["v", "s"], vec![], split)));
    cases.push(refused("size/Concat_ranks", one("Concat", &["x", "v"], vec![int("axis", 0)], vec![])));
    cases.push(refused(
        "size/Reshape_elements",
        one("Reshape", &["v", "s"], vec![], vec![numbers("s", &[3, 3])]),
    ));
    cases.push(refused(
        "size/Reshape_two_open",
        one("Reshape", &["v", "s"], vec![], vec![numbers("s", &[-1, -1])]),
    ));
    cases.push(refused("size/Reshape_-5", one("Reshape", &["v", "s"], vec![], vec![numbers("s", &[-5, 8])])));
    cases.push(refused("size/Expand_smaller", one("Expand", &["v", "s"], vec![], vec![numbers("s", &[3])])));
    cases.push(refused("size/Pad_odd", one("Pad", &["v", "p"], vec![], vec![numbers("p", &[1, 1, 1])])));
    cases.push(refused("size/Tile_short", one("Tile", &["x", "r"], vec![], vec![numbers("r", &[2])])));
    cases
}

fn overflows() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [1 << 31, 1 << 40, i64::MAX, -1, i64::MIN] {
        let mut shaped = |op: &str, shape: &[i64]| {
            let file = one(op, &["v", "s"], vec![], vec![numbers("s", shape)]);
            cases.push(refused(&format!("overflow/{op}_{n}"), file));
        };
        // -1 means the input's own extent to Expand in practice, and the rest of the elements to Reshape.
        if n != -1 {
            shaped("Expand", &[n, n, 8]);
            shaped("Reshape", &[n, 8]);
        }
        shaped("Tile", &[n]);
        let file = one("ConstantOfShape", &["s"], vec![], vec![numbers("s", &[n, n])]);
        cases.push(refused(&format!("overflow/ConstantOfShape_{n}"), file));
    }
    for n in [1 << 40, i64::MAX, -100, i64::MIN] {
        let file = one("Pad", &["v", "p"], vec![], vec![numbers("p", &[n, n])]);
        cases.push(refused(&format!("overflow/Pad_{n}"), file));
    }
    for n in [1 << 30, 1 << 39, i64::MAX] {
        if n > 1 << 30 {
            let file = one("OneHot", &["i", "n", "w"], vec![], vec![number("n", n), numbers("w", &[0, 1])]);
            cases.push(refused(&format!("overflow/OneHot_{n}"), file));
        }
        let long = node("long", "Expand", &["v", "s"], &["l"], vec![]);
        let twice = node("bad", "Concat", &["l", "l"], &["y"], vec![int("axis", 0)]);
        let file = many(vec![numbers("s", &[n, 1, 8])], vec![long, twice]);
        cases.push(Case::new(&format!("overflow/Concat_{n}"), file));
    }
    for scale in [1e30f32, f32::INFINITY, f32::NAN, 0.0, -1.0] {
        let scales: Vec<u8> = [1.0, 1.0, scale, scale].iter().flat_map(|s: &f32| s.to_le_bytes()).collect();
        let file = one("Resize", &["x", "", "s"], vec![], vec![raw("s", F32, &[4], scales)]);
        cases.push(refused(&format!("overflow/Resize_{scale}"), file));
    }
    let range = |name: &str, limit: i64, delta: i64| {
        let constants = vec![number("from", 0), number("to", limit), number("by", delta)];
        refused(&format!("overflow/Range_{name}"), one("Range", &["from", "to", "by"], vec![], constants))
    };
    cases.extend([range("long", i64::MAX, 1), range("step_0", 9, 0)]);
    let pool = |name: &str, attrs| {
        refused(&format!("overflow/MaxPool_{name}"), one("MaxPool", &["x"], attrs, vec![]))
    };
    cases.push(pool("kernel", vec![ints("kernel_shape", &[i64::MAX, i64::MAX])]));
    cases.push(pool(
        "dilation",
        vec![ints("kernel_shape", &[2, 2]), ints("dilations", &[i64::MAX, i64::MAX])],
    ));
    // Thirty squares of an open extent: a polynomial of degree 2^30 in it.
    let mut nodes = vec![node("shape", "Shape", &["o"], &["s0"], vec![])];
    nodes.extend((0..30).map(|i| {
        let (from, to) = (format!("s{i}"), format!("s{}", i + 1));
        node(&to, "Mul", &[&from, &from], &[&to], vec![])
    }));
    nodes.push(node("cast", "Cast", &["s30"], &["y"], vec![int("to", 1)]));
    let file = model(graph(vec![value_of_dim("o", "n")], vec![], nodes, vec![untyped("y")]));
    cases.push(Case::new("overflow/squares_of_an_open_extent", bytes(&file)).survives());
    let pads = [i64::MAX; 4];
    cases.push(pool("pads", vec![ints("kernel_shape", &[2, 2]), ints("pads", &pads)]));
    cases
}

fn divisions() -> Vec<Case> {
    let mut cases = Vec::new();
    for (attr, values) in
        [("strides", [0, 0]), ("dilations", [0, 0]), ("strides", [-1, 1]), ("kernel_shape", [0, 0])]
    {
        let name = format!("{attr}_{}", values[0]);
        let weight = vec![halves("w", &[2, 4, 3, 3])];
        let file = one("Conv", &["x", "w"], vec![ints(attr, &values)], weight);
        cases.push(refused(&format!("zero/Conv_{name}"), file));
        for op in ["MaxPool", "AveragePool"] {
            let mut attrs = vec![ints(attr, &values)];
            if attr != "kernel_shape" {
                attrs.push(ints("kernel_shape", &[2, 2]));
            }
            // AveragePool has dilations from opset 19 on only; either way the node is refused.
            cases.push(refused(&format!("zero/{op}_{name}"), one(op, &["x"], attrs, vec![])));
        }
    }
    for group in [0, -1, 3] {
        let file = one("Conv", &["x", "w"], vec![int("group", group)], vec![halves("w", &[2, 4, 3, 3])]);
        cases.push(refused(&format!("zero/Conv_group_{group}"), file));
    }
    for op in ["DepthToSpace", "SpaceToDepth"] {
        for size in [0, -2, i64::MAX] {
            cases.push(refused(
                &format!("zero/{op}_{size}"),
                one(op, &["x"], vec![int("blocksize", size)], vec![]),
            ));
        }
    }
    // Integers: 0 as divisor, and the one quotient that does not fit. What they give is not laid down.
    for op in ["Div", "Mod"] {
        for (a, b) in [(7, 0), (i64::MIN, -1)] {
            let folded = one(op, &["a", "b"], vec![], vec![numbers("a", &[a]), numbers("b", &[b])]);
            cases.push(Case::new(&format!("zero/{op}_{a}_by_{b}_folded"), folded).survives());
            let nodes = vec![
                node("zero", "Sub", &["i", "i"], &["z"], vec![]),
                node("left", "Add", &["z", "a"], &["p"], vec![]),
                node("right", "Add", &["z", "b"], &["q"], vec![]),
                node("bad", op, &["p", "q"], &["y"], vec![]),
            ];
            let at_run_time = many(vec![numbers("a", &[a]), numbers("b", &[b])], nodes);
            cases.push(Case::new(&format!("zero/{op}_{a}_by_{b}_at_run_time"), at_run_time).survives());
        }
    }
    cases
}

fn quantisation() -> Vec<Case> {
    let mut cases = Vec::new();
    for scale in [0.0f32, -1.0, f32::NAN, f32::INFINITY] {
        let constants = || vec![raw("s", F32, &[], scale.to_le_bytes().into()), raw("z", 2, &[], vec![128])];
        let file = one("QuantizeLinear", &["v", "s", "z"], vec![], constants());
        cases.push(Case::new(&format!("quantisation/scale_{scale}"), file).survives());
        let nodes = vec![
            node("q", "Cast", &["v"], &["u"], vec![int("to", 2)]),
            node("bad", "DequantizeLinear", &["u", "s", "z"], &["y"], vec![]),
        ];
        cases.push(Case::new(&format!("quantisation/back_{scale}"), many(constants(), nodes)).survives());
    }
    let zero_of_another_type = vec![halves("s", &[]), raw("z", I32, &[], vec![0; 4])];
    let file = one("QuantizeLinear", &["v", "s", "z"], vec![], zero_of_another_type);
    cases.push(refused("quantisation/zero_point_i32", file));
    let scales = vec![halves("s", &[3]), raw("z", 2, &[3], vec![0; 3])];
    let file = one("QuantizeLinear", &["x", "s", "z"], vec![int("axis", 1)], scales);
    cases.push(refused("quantisation/three_scales_for_four_channels", file));
    cases
}

/// Tensors without elements through every operator: compiled or refused.
fn no_elements() -> Vec<Case> {
    let case = |op: &kiln_ir::op::OpDef| {
        let counts = [1, 2, 3];
        counts.map(|n| {
            let inputs = vec!["e"; n];
            let mut bad = node("bad", op.name, &inputs, &["y"], vec![]);
            bad.domain = op.domain.into();
            let empty = value("e", F32, &[0, 3]);
            let file = bytes(&model(graph(vec![empty], vec![], vec![bad], vec![untyped("y")])));
            Case::new(&format!("empty/{}_{n}", op.name), file).survives()
        })
    };
    kiln_ir::ops::OPS.iter().flat_map(case).collect()
}

fn arity() -> Vec<Case> {
    let mut cases = Vec::new();
    let split = one("Split", &["v"], vec![int("num_outputs", 0)], vec![]);
    let split_18 = around(vec![], vec![node("bad", "Split", &["v"], &["y"], vec![int("num_outputs", 0)])]);
    let split_18 = onnx_protobuf::ModelProto { opset_import: vec![opset("", 18)], ..split_18 };
    cases.push(refused("zero/Split_num_outputs", split));
    cases.push(refused("zero/Split_num_outputs_18", bytes(&split_18)));
    for op in ["Conv", "MatMul", "Add", "Relu", "Concat", "Sum", "Reshape", "Gather", "Softmax", "Max"] {
        cases.push(refused(&format!("arity/{op}_of_nothing"), one(op, &[], vec![], vec![])));
        let eight = ["x"; 8];
        if !["Concat", "Sum", "Max"].contains(&op) {
            cases.push(refused(&format!("arity/{op}_of_eight"), one(op, &eight, vec![], vec![])));
        }
    }
    cases.push(refused("arity/left_out", one("Add", &["v", ""], vec![], vec![])));
    let types = one("Add", &["v", "w"], vec![], vec![numbers("w", &[1])]);
    cases.push(refused("arity/Add_f32_and_i64", types));
    let types = one("Conv", &["x", "w"], vec![], vec![raw("w", I32, &[1, 4, 1, 1], vec![0; 16])]);
    cases.push(refused("arity/Conv_f32_and_i32", types));
    cases
}
