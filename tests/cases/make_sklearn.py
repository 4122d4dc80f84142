"""Makes the cases `sklearn_*`: small scikit-learn models as skl2onnx writes them, with ONNX Runtime's results.

    pip install onnx==1.19.1 skl2onnx scikit-learn onnxruntime
    python make_sklearn.py
"""

import pathlib

import numpy as np
import onnxruntime
from onnx import numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR

HERE = pathlib.Path(__file__).parent
X, Y = make_classification(200, 6, n_informative=4, n_classes=3, random_state=1)
XR, YR = make_regression(200, 6, random_state=2)
X, XR = X.astype(np.float32), XR.astype(np.float32)

MODELS = {
    "sklearn_forest": (RandomForestClassifier(5, max_depth=4, random_state=3).fit(X, Y), X),
    "sklearn_pipeline": (make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y), X),
    "sklearn_boosting": (GradientBoostingRegressor(n_estimators=6, max_depth=3, random_state=4).fit(XR, YR), XR),
    "sklearn_svr": (make_pipeline(Normalizer(), SVR(C=100.0)).fit(XR[:40], YR[:40]), XR),
}


def main():
    for name, (model, data) in MODELS.items():
        options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
        proto = to_onnx(model, data[:1], options=options, target_opset={"": 18, "ai.onnx.ml": 3})
        folder = HERE / name
        (folder / "test_data_set_0").mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        samples = data[:7]
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        write(folder, "input_0", session.get_inputs()[0].name, samples)
        names = [output.name for output in session.get_outputs()]
        for i, (output, values) in enumerate(zip(names, session.run(names, {session.get_inputs()[0].name: samples}))):
            write(folder, f"output_{i}", output, values)


def write(folder, file, name, values):
    path = folder / "test_data_set_0" / f"{file}.pb"
    path.write_bytes(numpy_helper.from_array(values, name).SerializeToString())


main()
