#!/usr/bin/env python3
"""Writes a small detector with NonMaxSuppression in its graph beside this file, a picture, and what ONNX Runtime finds in it.

    python3 make.py        needs: pip install numpy onnx onnxruntime

Nothing is trained: the weights say what red, green and blue squares are. The head is that of YOLOv8: for each place distances to
the edges of a box and a score for each class.
"""
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
SIDE, CELL, REACH, COLOURS = 96, 4, 4, 3
CELLS = SIDE // CELL
# Colour, left, top and side of what is in the picture.
SQUARES = [(0, 8, 12, 24), (1, 56, 8, 28), (2, 12, 56, 20), (0, 60, 56, 28), (2, 40, 76, 16)]

nodes, weights = [], []


def constant(name, values):
    weights.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def node(operator, inputs, output, **attributes):
    nodes.append(helper.make_node(operator, inputs, [output], **attributes))
    return output


def detector():
    pixels = node("Cast", [node("Transpose", ["image"], "planes", perm=[0, 3, 1, 2])], "pixels", to=TensorProto.FLOAT)
    # How much a cell has of a colour, less what it has of the others: from 0 to 1.
    mixture = np.full((COLOURS, COLOURS), -0.5) + 1.5 * np.eye(COLOURS)
    stem = np.broadcast_to(mixture[:, :, None, None] / (190 * CELL * CELL), (COLOURS, COLOURS, CELL, CELL))
    constant("stem", stem.astype(np.float32))
    cells = node("Conv", [pixels, "stem"], "mixed", strides=[CELL, CELL])
    cells = node("Clip", [cells, constant("none", np.float32(0)), constant("all", np.float32(1))], "cells")
    # A score for each colour: how much of it is in the nine cells around a place.
    around = np.zeros((COLOURS, COLOURS, 3, 3), np.float32)
    for colour in range(COLOURS):
        around[colour, colour] = 12 / 9
    bias = constant("doubt", np.full(COLOURS, -8, np.float32))
    scores = node("Conv", [cells, constant("around", around), bias], "logits", pads=[1] * 4)
    scores = node("Sigmoid", [scores], "chances")
    # Distances to the edges: the coloured cells to the left, above, to the right, below, and half of the place's own.
    span = 2 * REACH + 1
    rays = np.zeros((4, 1, span, span), np.float32)
    rays[0, 0, REACH, :REACH] = rays[1, 0, :REACH, REACH] = CELL
    rays[2, 0, REACH, REACH + 1:] = rays[3, 0, REACH + 1:, REACH] = CELL
    rays[:, 0, REACH, REACH] = CELL / 2
    strongest = node("ReduceMax", [cells, constant("channels", np.int64([1]))], "strongest")
    distances = node("Conv", [strongest, constant("rays", rays)], "distances", pads=[REACH] * 4)
    head = node("Concat", [distances, scores], "head", axis=1)
    head = node("Reshape", [head, constant("rows", np.int64([1, 4 + COLOURS, CELLS * CELLS]))], "flat")
    nodes.append(helper.make_node("Split", [head, constant("parts", np.int64([2, 2, COLOURS]))],
                                  ["before", "after", "scored"], axis=1))
    centres = (np.stack(np.meshgrid(np.arange(CELLS), np.arange(CELLS))).reshape(1, 2, -1) + 0.5) * CELL
    constant("centres", centres.astype(np.float32))
    corners = [node("Sub", ["centres", "before"], "first"), node("Add", ["centres", "after"], "last")]
    corners = node("Transpose", [node("Concat", corners, "corners", axis=1)], "candidates", perm=[0, 2, 1])
    limits = [constant("each", np.int64([8])), constant("overlap", np.float32([0.4])), constant("least", np.float32([0.5]))]
    chosen = node("NonMaxSuppression", [corners, "scored", *limits], "chosen")
    # Rows of batch, class and place.
    node("GatherND", ["scored", chosen], "scores")
    nodes.append(helper.make_node("Split", [chosen, constant("columns", np.int64([1, 1, 1]))], ["batch", "kind", "place"],
                                  axis=1))
    constant("last_axis", np.int64([1]))
    node("Squeeze", ["kind", "last_axis"], "classes")
    place = node("Squeeze", ["place", "last_axis"], "places")
    only = node("Squeeze", [corners, constant("first_axis", np.int64([0]))], "only")
    node("Gather", [only, place], "boxes")
    value = helper.make_tensor_value_info
    made = [value("boxes", TensorProto.FLOAT, ["found", 4]), value("scores", TensorProto.FLOAT, ["found"]),
            value("classes", TensorProto.INT64, ["found"])]
    image = value("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])
    graph = helper.make_graph(nodes, "detector", [image], made, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def picture():
    random = np.random.default_rng(5)
    image = random.integers(70, 110, (1, SIDE, SIDE, 3))
    for colour, left, top, side in SQUARES:
        image[:, top:top + side, left:left + side] = random.integers(20, 60, (1, side, side, 3))
        image[:, top:top + side, left:left + side, colour] += 180
    return image.astype(np.uint8)


def main():
    model = detector()
    onnx.checker.check_model(model)
    (HERE / "detector.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = picture()
    np.save(HERE / "picture.npy", image)
    boxes, scores, classes = session.run(None, {"image": image})
    np.save(HERE / "boxes.npy", boxes)
    np.save(HERE / "scores.npy", scores)
    np.save(HERE / "classes.npy", classes)
    for box, score, kind in zip(boxes, scores, classes):
        print(kind, score, box)


main()
