"""Makes sine.onnx: the sine of x in [0, 2 pi] by two dense layers, of which the first has 16 ramps that begin at evenly
spaced points and the second adds them up. Needs numpy and onnx."""

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

RAMPS = 16

knots = np.linspace(0, 2 * np.pi, RAMPS + 1)
slopes = np.diff(np.sin(knots)) / np.diff(knots)
changes = np.diff(slopes, prepend=0)
weights = {
    "w1": np.ones((1, RAMPS)),
    "b1": -knots[:-1],
    "w2": changes.reshape(RAMPS, 1),
    "b2": np.zeros(1),
}
graph = helper.make_graph(
    [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["sums"], name="first"),
        helper.make_node("Relu", ["sums"], ["ramps"], name="ramps"),
        helper.make_node("Gemm", ["ramps", "w2", "b2"], ["y"], name="second"),
    ],
    "sine",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model)
save(model, "sine.onnx")
