#!/usr/bin/env python3
"""Trains a forest and a pipeline on Fisher's irises and writes them beside this file, with what scikit-learn makes of all flowers.

    python3 make.py        needs: pip install scikit-learn skl2onnx
"""
import pathlib

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = pathlib.Path(__file__).parent
FLOWERS, KINDS = load_iris(return_X_y=True)
FLOWERS = FLOWERS.astype(np.float32)
MODELS = {
    "forest": RandomForestClassifier(12, max_depth=4, random_state=1),
    "pipeline": make_pipeline(StandardScaler(), PCA(3), LogisticRegression()),
}


def main():
    np.save(HERE / "flowers.npy", FLOWERS)
    for name, model in MODELS.items():
        # Two thirds of the flowers.
        model.fit(FLOWERS[np.arange(150) % 3 > 0], KINDS[np.arange(150) % 3 > 0])
        proto = to_onnx(model, FLOWERS[:1], options={id(model): {"zipmap": False}},
                        target_opset={"": 18, "ai.onnx.ml": 3})
        (HERE / f"{name}.onnx").write_bytes(proto.SerializeToString())
        np.save(HERE / f"{name}.labels.npy", model.predict(FLOWERS).astype(np.int64))
        np.save(HERE / f"{name}.probabilities.npy", model.predict_proba(FLOWERS).astype(np.float32))
        print(f"{name}: {(model.predict(FLOWERS) == KINDS).mean():.3f} of the flowers are right")


main()
