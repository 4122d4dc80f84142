#!/usr/bin/env python3
"""Models of one operator each, with extents as they stand in real networks: those that move, sort, sample and scan.

    make_ops.py OUT

Operators of dense networks have models of their own in ../shared/cases/ops/make_ops.py; compare_ops.py beside it times both
against ONNX Runtime: compare_ops.py target/release/kiln OUT

needs: pip install numpy onnx
"""
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

RANDOM = numpy.random.default_rng(0)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def normal(*shape):
    return RANDOM.standard_normal(shape, dtype=numpy.float32)


def whole(least, most, *shape):
    return RANDOM.integers(least, most, shape, dtype=numpy.int64)


def permuted(*shape):
    """Indices of the last axis, each once."""
    return RANDOM.permuted(numpy.broadcast_to(numpy.arange(shape[-1]), shape), axis=-1)


def grid(batch, height, width):
    """Places to sample, near those of the image itself."""
    y, x = numpy.meshgrid(numpy.linspace(-1, 1, height), numpy.linspace(-1, 1, width), indexing="ij")
    return (numpy.stack([x, y], -1)[None] + normal(batch, height, width, 2) * 0.05).astype(numpy.float32)


# Name, operator, inputs (a shape is given when it runs, of floats or with a type; an array is a constant), attributes.
X = tuple
MODELS = [
    ("topk_1000_5", "TopK", [X([1, 1000]), [5]], {}),
    ("topk_32x1000_5", "TopK", [X([32, 1000]), [5]], {}),
    ("topk_8400_300", "TopK", [X([1, 8400]), [300]], {}),
    ("topk_50257_50", "TopK", [X([1, 50257]), [50]], {}),
    ("topk_sort_4096", "TopK", [X([1, 4096]), [4096]], {}),
    ("topk_smallest_axis0", "TopK", [X([1000, 64]), [8]], {"axis": 0, "largest": 0}),
    ("argmax_50257", "ArgMax", [X([8, 50257])], {"axis": -1}),
    ("scatter_elements_rows", "ScatterElements", [X([512, 256]), permuted(512, 256), X([512, 256])], {"axis": 1}),
    ("scatter_elements_add", "ScatterElements", [X([1024, 64]), whole(0, 1024, 512, 64), X([512, 64])],
     {"axis": 0, "reduction": "add"}),
    ("scatter_nd_rows", "ScatterND", [X([1024, 256]), RANDOM.permutation(1024)[:512, None], X([512, 256])], {}),
    ("scatter_nd_cache", "ScatterND", [X([8, 1024, 64]), numpy.array([[[b, 7]] for b in range(8)]), X([8, 1, 64])], {}),
    ("scatter_nd_add", "ScatterND", [X([4096]), whole(0, 4096, 8192, 1), X([8192])], {"reduction": "add"}),
    ("gather_elements_last", "GatherElements", [X([512, 1024]), whole(0, 1024, 512, 256)], {"axis": 1}),
    ("gather_elements_first", "GatherElements", [X([1024, 256]), whole(0, 1024, 512, 256)], {"axis": 0}),
    ("gather_nd_points", "GatherND", [X([64, 64, 128]), whole(0, 64, 1000, 2)], {}),
    ("grid_sample_linear", "GridSample", [X([1, 32, 64, 64]), grid(1, 64, 64)], {"mode": "linear"}),
    ("grid_sample_nearest", "GridSample", [X([1, 32, 64, 64]), grid(1, 64, 64)], {"mode": "nearest"}),
    ("grid_sample_cubic", "GridSample", [X([1, 32, 64, 64]), grid(1, 64, 64)], {"mode": "cubic"}),
    ("resize_nearest_2x", "Resize", [X([1, 64, 40, 40]), None, numpy.float32([1, 1, 2, 2])],
     {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
    ("resize_linear_2x", "Resize", [X([1, 64, 40, 40]), None, numpy.float32([1, 1, 2, 2])], {"mode": "linear"}),
    ("resize_linear_align", "Resize", [X([1, 24, 60, 60]), None, None, [1, 24, 240, 240]],
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("resize_linear_down", "Resize", [X([1, 3, 512, 512]), None, None, [1, 3, 224, 224]], {"mode": "linear"}),
    ("resize_cubic", "Resize", [X([1, 3, 224, 224]), None, numpy.float32([1, 1, 2, 2])], {"mode": "cubic"}),
    ("resize_cubic_antialias", "Resize", [X([1, 3, 512, 512]), None, None, [1, 3, 224, 224]],
     {"mode": "cubic", "antialias": 1}),
    ("roi_align_7x7", "RoiAlign", [X([1, 64, 50, 50]),
                                   (RANDOM.random((50, 4)) * 20 + [0, 0, 20, 20]).astype(numpy.float32),
                                   numpy.zeros(50, numpy.int64)],
     {"output_height": 7, "output_width": 7, "sampling_ratio": 2, "spatial_scale": 1.0}),
    ("einsum_attention", "Einsum", [X([1, 12, 128, 64]), X([1, 12, 128, 64])], {"equation": "bhid,bhjd->bhij"}),
    ("einsum_heads", "Einsum", [X([1, 128, 768]), normal(768, 12, 64)], {"equation": "bsd,dhk->bshk"}),
    ("einsum_relative", "Einsum", [X([12, 128, 64]), normal(128, 128, 64)], {"equation": "hid,ijd->hij"}),
    ("cumsum_last", "CumSum", [X([256, 1024]), numpy.int64(1)], {}),
    ("cumsum_first", "CumSum", [X([1024, 256]), numpy.int64(0)], {}),
    ("one_hot_1000", "OneHot", [whole(0, 1000, 512), numpy.int64(1000), numpy.float32([0, 1])], {}),
    ("trilu", "Trilu", [X([12, 256, 256])], {"upper": 0}),
    ("hardmax", "Hardmax", [X([64, 1000])], {}),
    ("lp_pool", "LpPool", [X([1, 64, 56, 56])], {"kernel_shape": [3, 3], "strides": [2, 2], "p": 2}),
    ("lp_normalization", "LpNormalization", [X([512, 256])], {"axis": -1}),
    ("global_lp_pool", "GlobalLpPool", [X([1, 256, 28, 28])], {}),
    ("reverse_sequence", "ReverseSequence", [X([128, 8, 256]), whole(1, 129, 8)], {}),
    ("depth_to_space", "DepthToSpace", [X([1, 48, 128, 128])], {"blocksize": 4, "mode": "CRD"}),
    ("pad_reflect", "Pad", [X([1, 64, 64, 64]), numpy.int64([0, 0, 3, 3, 0, 0, 3, 3])], {"mode": "reflect"}),
    ("pad_edge", "Pad", [X([1, 64, 64, 64]), numpy.int64([0, 0, 3, 3, 0, 0, 3, 3])], {"mode": "edge"}),
    ("tile", "Tile", [X([1, 64, 64]), numpy.int64([8, 2, 2])], {}),
    ("col2im", "Col2Im", [X([1, 576, 1024]), numpy.int64([32, 32]), numpy.int64([3, 3])], {"pads": [1, 1, 1, 1]}),
    ("deform_conv", "DeformConv", [X([1, 32, 28, 28]), normal(32, 32, 3, 3), X([1, 18, 28, 28])],
     {"pads": [1, 1, 1, 1]}),
    ("dft_512", "DFT", [X([1, 64, 512, 1]), None], {"axis": 2, "onesided": 1}),
    # ONNX's own inference takes another default.
    ("stft_400", "STFT", [X([1, 16000, 1]), numpy.int64(160), numpy.hanning(400).astype(numpy.float32)],
     {"onesided": 1}),
    ("max_unpool", "MaxUnpool", [X([1, 64, 28, 28]), (numpy.arange(64 * 28 * 28) * 4).reshape(1, 64, 28, 28)],
     {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("layer_norm_768", "LayerNormalization", [X([128, 768]), normal(768), normal(768)], {}),
    ("mod_float", "Mod", [X([200000]), X([200000])], {"fmod": 1}),
    # What these give has a size that depends on the numbers.
    ("nms_8400", "NonMaxSuppression", [X([1, 8400, 4]), X([1, 1, 8400]), numpy.int64([300]), numpy.float32([0.5]),
                                       numpy.float32([0.5])], {}),
    ("nms_classes", "NonMaxSuppression", [X([1, 1000, 4]), X([1, 20, 1000]), numpy.int64([50]), numpy.float32([0.5]),
                                          numpy.float32([1.0])], {}),
    ("nonzero_mask", "NonZero", [(BOOL, [512, 512])], {}),
    ("nonzero_tokens", "NonZero", [(INT64, [8, 512])], {}),
    ("unique_ids", "Unique", [(INT64, [4096])], {}),
    ("unique_floats", "Unique", [X([16384])], {}),
    ("compress_rows", "Compress", [X([4096, 64]), (BOOL, [4096])], {"axis": 0}),
    ("compress_flat", "Compress", [X([262144]), (BOOL, [262144])], {}),
]


def model(name, operator, inputs, attributes):
    names, given, constants = [], [], []
    for i, value in enumerate(inputs):
        names.append("" if value is None else f"x{i}")
        if isinstance(value, tuple):
            kind, shape = value if isinstance(value[-1], list) else (FLOAT, value)
            given.append(helper.make_tensor_value_info(f"x{i}", kind, shape))
        elif value is not None:
            constants.append(numpy_helper.from_array(numpy.asarray(value), f"x{i}"))
    domain = helper.make_opsetid("", 18 if operator == "DFT" else 20)
    count = len(onnx.defs.get_schema(operator, domain.version).outputs) if operator == "TopK" else 1
    outputs = [f"y{i}" for i in range(count)]
    node = helper.make_node(operator, names, outputs, **attributes)
    infos = [onnx.ValueInfoProto(name=output) for output in outputs]
    graph = helper.make_graph([node], name, given, infos, constants)
    made = helper.make_model(graph, opset_imports=[domain], ir_version=9)
    inferred = onnx.shape_inference.infer_shapes(made, data_prop=True)
    onnx.checker.check_model(inferred)
    return inferred


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, *rest in MODELS:
        onnx.save(model(name, *rest), folder / f"{name}.onnx")
    print(f"{len(MODELS)} models in {folder}")


if __name__ == "__main__":
    main()
