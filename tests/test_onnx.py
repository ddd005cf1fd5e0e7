"""What is written for other programs says what the estimators say, run by onnxruntime."""

import json
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris

from emnet import (
    EMMLPClassifier,
    EMMLPRegressor,
    GaussianMixture,
    InvalidInputError,
    MissingDependencyError,
    MixtureModel,
    MixtureOfExpertsClassifier,
    MixtureOfExpertsRegressor,
    NeuralMixture,
    VariationalAutoencoder,
)

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, CODES = load_iris(return_X_y=True)
LABELS = np.array(["setosa", "versicolor", "Łódź"])[CODES]
Y = np.column_stack((X[:, 3], X[:, 2] ** 2))
QUICK = {"max_iter": 5, "random_state": 0}


def with_holes(rows):
    rows = rows.copy()
    rows[0, 0] = rows[1, 2] = rows[2, 1:] = rows[3] = np.nan
    return rows


def run(path, rows):
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {"X": rows})
    notes = {
        k: v if k in ("estimator", "part", "emnet_version") else json.loads(v)
        for k, v in session.get_modelmeta().custom_metadata_map.items()
    }
    return dict(zip([out.name for out in session.get_outputs()], found, strict=True)), notes


class Network(torch.nn.Sequential):
    def __init__(self, n, k):
        super().__init__(torch.nn.Linear(n, 5), torch.nn.Tanh(), torch.nn.Linear(5, k))


CLASSIFIERS = {
    "bits of a network": lambda: EMMLPClassifier(3, hidden_network=Network(4, 3), n_init=2, **QUICK),
    "deep bits": lambda: EMMLPClassifier((3, 2), n_init=1, combine="best", dtype="float32", **QUICK),
    "a tree of experts": lambda: MixtureOfExpertsClassifier(levels=(2, 2), n_init=1, **QUICK),
    "experts under Gaussians": lambda: MixtureOfExpertsClassifier(2, gate="gaussian", n_init=1, **QUICK),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, tmp_path):
    model = CLASSIFIERS[name]().fit(X, LABELS)
    model.to_onnx(tmp_path / "model.onnx")
    found, notes = run(tmp_path / "model.onnx", X)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), atol=1e-5)
    assert notes["classes"] == model.classes_.tolist()
    assert notes["columns"] == ["x0", "x1", "x2", "x3"]


REGRESSORS = {
    "bits": (lambda: EMMLPRegressor(3, n_init=2, **QUICK), X),
    "experts": (lambda: MixtureOfExpertsRegressor(2, n_init=1, **QUICK), X),
    "experts under Gaussians": (
        lambda: MixtureOfExpertsRegressor(2, gate="gaussian", n_init=1, **QUICK),
        with_holes(X[:, :3]),
    ),
}


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name, tmp_path):
    make, rows = REGRESSORS[name]
    model = make().fit(X[:, : rows.shape[1]], Y)
    model.to_onnx(tmp_path / "model.onnx")
    found, _ = run(tmp_path / "model.onnx", rows)
    mean, sd = model.predict(rows, return_std=True)
    np.testing.assert_allclose(found["mean"], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["standard_deviation"], sd, rtol=1e-5, atol=1e-5)


def test_mixtures_of_gaussians_with_holes(tmp_path):
    rows = with_holes(X[:, :3])
    model = GaussianMixture(2, covariance_type="VEV", **QUICK).fit(rows)
    model.to_onnx(tmp_path / "model.onnx")
    found, _ = run(tmp_path / "model.onnx", rows)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), atol=1e-5)


def test_mixtures_of_tables(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    rows = with_holes(X)
    frame = pandas.DataFrame(
        {"a": rows[:, 0], "b": rows[:, 1], "c": rows[:, 2], "t": rows[:, 3], "visits": rng.poisson(3, 150)}
    )
    frame["straße"], frame["member"] = LABELS, rng.random(150) < 0.5
    families = {
        ("a", "b"): "gaussian",
        "c": "log_normal",
        "t": "student_t",
        "visits": "poisson",
        "straße": "categorical",
        "member": "bernoulli",
    }
    model = MixtureModel(2, emissions=families, **QUICK).fit(frame)
    model.to_onnx(tmp_path / "model.onnx")
    codes = {name: list(values) for name, values in model.categories_.items()}
    coded = frame.assign(**{name: [codes[name].index(cell) for cell in frame[name]] for name in codes})
    found, notes = run(
        tmp_path / "model.onnx", coded[["a", "b", "c", "t", "visits", "straße", "member"]].to_numpy(dtype=float)
    )
    assert notes["columns"] == list(frame)
    assert notes["categories"]["straße"] == codes["straße"]
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(frame), atol=1e-5)


def test_autoencoders(tmp_path):
    rows = with_holes(np.column_stack((X[:, :2], X[:, 2].round(), CODES)))
    families = {0: "gaussian", 1: "log_normal", 2: "poisson", 3: "categorical"}
    model = NeuralMixture(2, 2, likelihood=families, pretraining=1, mixture_starts=1, **QUICK).fit(rows)
    for part in ("encoder", "decoder"):
        model.to_onnx(tmp_path / f"{part}.onnx", part=part)
    found, notes = run(tmp_path / "encoder.onnx", rows)
    assert notes["part"] == "encoder"
    np.testing.assert_allclose(found["mean"], model.transform(rows), atol=1e-5)
    np.testing.assert_allclose(found["standard_deviation"], model.latent_std(rows), atol=1e-5)
    found, notes = run(tmp_path / "decoder.onnx", model.transform(rows).astype(float))
    assert notes["columns"] == ["z0", "z1"]
    np.testing.assert_allclose(found["cells"], model.inverse_transform(model.transform(rows)), rtol=1e-5, atol=1e-5)


def test_what_no_graph_can_do_is_named(tmp_path, monkeypatch):
    wide = EMMLPClassifier(30, max_iter=1, n_init=1, random_state=0).fit(X, LABELS)
    with pytest.raises(InvalidInputError, match="too many configurations"):
        wide.to_onnx(tmp_path / "a.onnx")
    deep = EMMLPRegressor((2, 2), max_iter=1, n_init=1, random_state=0).fit(X, Y)
    with pytest.raises(InvalidInputError, match="prediction draws the hidden units, which a graph cannot"):
        deep.to_onnx(tmp_path / "a.onnx")
    model = VariationalAutoencoder(1, max_iter=1, random_state=0).fit(X)
    with pytest.raises(InvalidInputError, match="part must be one of 'encoder', 'decoder'; got None"):
        model.to_onnx(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'emnet\[onnx\]'"):
        model.to_onnx(tmp_path / "a.onnx", part="encoder")
