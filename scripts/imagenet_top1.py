#!/usr/bin/env python3
"""efficientnet_lite0 on labelled ImageNet photos: Kiln's class must be ONNX Runtime's for every photo.

    imagenet_top1.py efficientnet_lite0.onnx PHOTOS    PHOTOS: a folder of foolbox's imagenet_*_LABEL.png or .jpg

Resized to 256 x 256, centre crop of 224 x 224, RGB, (x - 127) / 128. Needs: pip install numpy onnx onnxruntime pillow; a built kiln.
"""
import pathlib
import sys
import tempfile

import numpy as np
from PIL import Image

from common import run_kiln, run_ort


def photo(path):
    image = Image.open(path).convert("RGB")
    image = image.resize((256, 256), Image.BICUBIC).crop((16, 16, 240, 240))
    pixels = (np.asarray(image, np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    model = sys.argv[1]
    photos = sorted(p for p in pathlib.Path(sys.argv[2]).glob("imagenet_*") if p.suffix in (".png", ".jpg", ".jpeg"))
    same = right = 0
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "input.npy")
        for path in photos:
            pixels = photo(path)
            np.save(source, pixels)
            found = int(run_kiln(model, folder, "--input", f"input={source}")[0][0].argmax())
            expected = int(run_ort(model, {"input": pixels})[0].argmax())
            label = int(path.stem.split("_")[-1])
            same += found == expected
            right += found == label
            print(f"{path.name:32s} kiln {found:4d}  ONNX Runtime {expected:4d}  label {label:4d}")
    print(f"{right} of {len(photos)} right; the class of ONNX Runtime on {same} of {len(photos)}")
    return 0 if photos and same == len(photos) else 1


if __name__ == "__main__":
    sys.exit(main())
