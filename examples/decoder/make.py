#!/usr/bin/env python3
"""Writes a small decoder with a cache beside this file, and what ONNX Runtime makes of it, token by token.

    python3 make.py        needs: pip install numpy onnx onnxruntime
"""
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
TOKENS, WIDTH, LAYERS, HEADS, SHARED, SIZE, LONGEST = 64, 32, 2, 2, 1, 16, 32
RANDOM = np.random.default_rng(7)

nodes, weights = [], []


def weight(name, *shape, scale=None):
    values = RANDOM.standard_normal(shape, dtype=np.float32) * (scale or shape[0] ** -0.5)
    weights.append(numpy_helper.from_array(values.astype(np.float32), name))
    return name


def constant(name, values):
    weights.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def node(operator, inputs, output, **attributes):
    outputs = [output] if isinstance(output, str) else output
    nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
    return outputs[0]


def normalised(x, name):
    return node("LayerNormalization", [x, constant(f"{name}.scale", np.ones(WIDTH, np.float32))], name)


def layer(x, i):
    part = lambda name: f"layer{i}.{name}"
    joined = node("MatMul", [normalised(x, part("before")), weight(part("qkv"), WIDTH, (HEADS + 2 * SHARED) * SIZE)],
                  part("joined"))
    node("GroupQueryAttention",
         [joined, "", "", f"past_key_{i}", f"past_value_{i}", "keys", "total", "cosines", "sines"],
         [part("attended"), f"present_key_{i}", f"present_value_{i}"],
         domain="com.microsoft", num_heads=HEADS, kv_num_heads=SHARED, do_rotary=1)
    out = node("MatMul", [part("attended"), weight(part("out"), HEADS * SIZE, WIDTH)], part("projected"))
    x = node("Add", [x, out], part("middle"))
    wide = node("MatMul", [normalised(x, part("after")), weight(part("up"), WIDTH, 2 * WIDTH)], part("wide"))
    short = node("MatMul", [node("Relu", [wide], part("relu")), weight(part("down"), 2 * WIDTH, WIDTH)], part("narrow"))
    return node("Add", [x, short], part("end"))


def decoder():
    embedding = weight("embedding", TOKENS, WIDTH, scale=1.0)
    angles = np.arange(LONGEST)[:, None] * 10000.0 ** (-np.arange(SIZE // 2) / (SIZE // 2))
    constant("cosines", np.cos(angles).astype(np.float32))
    constant("sines", np.sin(angles).astype(np.float32))
    # Keys of the past, which are one less than all.
    past = node("Shape", ["past_key_0"], "past", start=2, end=3)
    node("Cast", [past], "keys", to=TensorProto.INT32)
    total = node("Add", ["keys", constant("one", np.int32([1]))], "total_of_one")
    node("Squeeze", [total], "total")
    x = node("Gather", [embedding, "token"], "embedded")
    for i in range(LAYERS):
        x = layer(x, i)
    node("MatMul", [normalised(x, "last"), weight("head", WIDTH, TOKENS)], "scores")
    value = helper.make_tensor_value_info
    caches = [f"{name}_{i}" for i in range(LAYERS) for name in ("key", "value")]
    given = [value("token", TensorProto.INT64, [1, 1])]
    given += [value(f"past_{c}", TensorProto.FLOAT, [1, SHARED, "past", SIZE]) for c in caches]
    made = [value("scores", TensorProto.FLOAT, [1, 1, TOKENS])]
    made += [value(f"present_{c}", TensorProto.FLOAT, [1, SHARED, "present", SIZE]) for c in caches]
    graph = helper.make_graph(nodes, "decoder", given, made, weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def main():
    model = decoder()
    onnx.checker.check_model(model)
    (HERE / "decoder.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    cache = {i.name: np.zeros((1, SHARED, 0, SIZE), np.float32) for i in session.get_inputs()[1:]}
    token, tokens, scores = 1, [], []
    for _ in range(LONGEST - 1):
        tokens.append(token)
        results = dict(zip(names, session.run(names, {"token": np.int64([[token]]), **cache})))
        scores.append(results["scores"][0, 0])
        cache = {f"past_{n[8:]}": results[n] for n in names[1:]}
        token = int(scores[-1].argmax())
    np.save(HERE / "tokens.npy", np.int64(tokens))
    np.save(HERE / "scores.npy", np.float32(scores))
    print(f"{len(tokens)} tokens: {tokens}")


main()
