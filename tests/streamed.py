"""A table of estimators that take streams: each with the data in memory and as a stream, which must fit alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

import emnet

N = 360


def frame() -> pd.DataFrame:
    """Inputs p and q with all families' targets, weights of rows and of sequences, and a far-off column with holes."""
    rng = np.random.RandomState(0)
    X = rng.randn(N, 2)
    state = np.repeat(rng.randint(3, size=N // 12), 12)
    table = pd.DataFrame(X, columns=["p", "q"])
    table["label"] = np.where(X[:, 0] * X[:, 1] > 0, "yes", "no")
    table["real"] = np.abs(X[:, 0]) + 0.1 * rng.randn(N)
    table["weight"] = rng.randint(0, 3, N).astype(float)
    table["first"], table["second"] = 4.0 * state + rng.randn(N), 1e6 + 2.0 * state + rng.randn(N)
    table.loc[rng.rand(N) < 0.1, "second"] = np.nan
    table["symbol"] = state
    table["sequence"] = np.repeat(np.arange(N // 30), 30)
    table["of_sequence"] = np.repeat(rng.randint(0, 3, N // 30), 30).astype(float)
    table["partly"] = table["real"].where(rng.rand(N) < 0.7)
    table["color"] = np.array(["red", "green", "blue"])[state]
    return table


@dataclass(frozen=True)
class Streamed:
    name: str
    estimator: Any
    inputs: tuple[str, ...]
    fit: Callable[[Any, pd.DataFrame], Any]  # in memory
    options: dict[str, str]  # of the stream
    parameters: Callable[[Any], list[np.ndarray]]

    def in_memory(self) -> Any:
        return self.fit(clone(self.estimator), frame())

    def stream(self, **more: Any) -> Any:
        return emnet.stream(frame(), columns=self.inputs, **{"batch_rows": 30, **self.options, **more})

    def streamed(self, **more: Any) -> Any:
        return clone(self.estimator).fit(self.stream(**more))

    def compare(self, one: Any, other: Any, tolerance: float) -> None:
        for a, b in zip(self.parameters(one), self.parameters(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        evidence = [getattr(model, "model_", model).log_evidence_ for model in (one, other)]
        np.testing.assert_allclose(*evidence, rtol=tolerance)


def _mixture(name: str, estimator: Any, parameters: Callable[[Any], list[np.ndarray]], *inputs: str) -> Streamed:
    def fit(model: Any, table: pd.DataFrame) -> Any:
        return model.fit(table[list(inputs)], sample_weight=table["weight"])

    return Streamed(name, estimator, inputs, fit, {"weight": "weight"}, parameters)


def _supervised(name: str, estimator: Any, target: str) -> Streamed:
    def fit(model: Any, table: pd.DataFrame) -> Any:
        return model.fit(table[["p", "q"]], table[target], table["weight"])

    return Streamed(name, estimator, ("p", "q"), fit, {"target": target, "weight": "weight"}, _members)


def _chain(name: str, estimator: Any, parameters: Callable[[Any], list[np.ndarray]], *inputs: str) -> Streamed:
    def fit(model: Any, table: pd.DataFrame) -> Any:
        lengths, weights = np.full(N // 30, 30), table["of_sequence"].to_numpy()[::30]
        return model.fit(table[list(inputs)].to_numpy(), lengths, sample_weight=weights)

    return Streamed(name, estimator, inputs, fit, {"sequence": "sequence", "weight": "of_sequence"}, parameters)


def _sequences(name: str, estimator: Any, target: str | None, *inputs: str) -> Streamed:
    def fit(model: Any, table: pd.DataFrame) -> Any:
        lengths, weights = np.full(N // 30, 30), table["of_sequence"].to_numpy()[::30]
        known = [] if target is None else [table[target].to_numpy()]
        return model.fit(table[list(inputs)].to_numpy(), *known, lengths, sample_weight=weights)

    roles = {"sequence": "sequence", "weight": "of_sequence", **({} if target is None else {"target": target})}
    return Streamed(name, estimator, inputs, fit, roles, _members)


def _once(name: str, estimator: Any, parameters: Callable[[Any], list[np.ndarray]], *inputs: str) -> Streamed:
    """Of rows that count once each."""
    return Streamed(name, estimator, inputs, lambda model, table: model.fit(table[list(inputs)]), {}, parameters)


def _members(model: Any) -> list[np.ndarray]:
    return [member.coordinates().numpy() for member in model.members_]


def _gaussians(model: Any) -> list[np.ndarray]:
    return [model.weights_, model.means_, model.covariances_]


def _filled(model: Any) -> list[np.ndarray]:
    columns = list(model.feature_names_in_)
    return [model.transform(frame()[columns])[["first", "second"]].to_numpy()]


def _imputed(model: Any) -> list[np.ndarray]:
    return [model.location_, model.scale_, *_gaussians(model.model_), model.transform(frame()[model.feature_names_in_])]


def _judged(model: Any) -> list[np.ndarray]:
    rows = frame()[model.feature_names_in_]
    return [model.offset_, model.score_samples(rows), model.surprise(rows)]


def _clustered(model: Any) -> list[np.ndarray]:
    criteria = [[line[name] for name in ("log_likelihood", "bic", "icl", "aic")] for line in model.table_]
    return [model.labels_, model.predict_proba(frame()[model.feature_names_in_]), criteria]


def _tables(model: Any) -> list[np.ndarray]:
    return [model.weights_, *(v for own in model.parameters_.values() for v in own.values())]


def _linear(model: Any) -> list[np.ndarray]:
    return [model.mean_, model.get_covariance()]


_AUTO = {"n_components": (1, 2), "covariance_types": ("diag",), "random_state": 0}
_EM = {"algorithm": "em", "m_step": "mm", "max_iter": 8, "n_init": 1, "random_state": 0}
_HMM = {"random_state": 0, "n_iter": 5}
_CHAIN = {"max_iter": 3, "n_init": 1, "random_state": 0}
CASES = [
    _mixture("gaussians", emnet.GaussianMixture(3, random_state=0), _gaussians, "first", "second"),
    _mixture(
        "gaussians-prior-squarem",
        emnet.GaussianMixture(3, covariance_type="diag", prior="auto", algorithm="squarem", random_state=0),
        _gaussians,
        "first",
        "second",
    ),
    _mixture(
        "tables",
        emnet.MixtureModel(2, emissions={"first": "student_t", "color": "categorical"}, max_iter=10, random_state=0),
        _tables,
        "first",
        "color",
    ),
    _mixture("imputer", emnet.EMImputer(**_AUTO, add_indicator=True), _imputed, "first", "second"),
    _mixture("imputer-words", emnet.EMImputer(**_AUTO), _filled, "first", "second", "color"),
    _mixture("imputer-given", emnet.EMImputer(emnet.GaussianMixture(2, random_state=0)), _imputed, "first", "second"),
    _once("outliers", emnet.EMOutlierDetector(**_AUTO), _judged, "first", "second"),
    _once("outliers-words", emnet.EMOutlierDetector(**_AUTO), _judged, "first", "color"),
    _once("outliers-given", emnet.EMOutlierDetector(emnet.GaussianMixture(2, random_state=0)), _judged, "first", "q"),
    _once("clusters", emnet.EMClusterer((2, 3), covariance_types=["tied"], random_state=0), _clustered, "first", "p"),
    _once("clusters-words", emnet.EMClusterer(2, random_state=0), _clustered, "first", "color"),
    _mixture("factors", emnet.FactorAnalysis(1, max_iter=9, algorithm="em"), _linear, "first", "second", "real"),
    _mixture("factors-whole", emnet.FactorAnalysis(1, max_iter=9), _linear, "first", "p", "real"),
    _mixture("principal", emnet.ProbabilisticPCA(1, max_iter=9, algorithm="em"), _linear, "first", "second", "real"),
    _supervised("em-mlp", emnet.EMMLPClassifier(2, class_weight="balanced", **_EM), "label"),
    _supervised("em-mlp-lbfgs", emnet.EMMLPClassifier(2, **{**_EM, "algorithm": "lbfgs"}), "label"),
    _supervised("em-mlp-regressor", emnet.EMMLPRegressor(2, **_EM), "real"),
    _supervised("experts", emnet.MixtureOfExpertsClassifier(2, **_EM), "label"),
    _supervised("experts-regressor", emnet.MixtureOfExpertsRegressor(2, **_EM), "real"),
    _chain(
        "chain",
        emnet.GaussianHMM(3, **_HMM),
        lambda m: [m.startprob_, m.transmat_, m.means_, m.covars_],
        "first",
        "second",
    ),
    _chain("symbols", emnet.CategoricalHMM(2, **_HMM), lambda m: [m.transmat_, m.emissionprob_], "symbol"),
    _chain("segments", emnet.GaussianHMM(3, max_duration=8, **_HMM), lambda m: [m.transmat_, m.durations_], "first"),
    _sequences("input-output", emnet.InputOutputHMM(2, m_step="mm", **_CHAIN), "label", "p", "q"),
    _sequences("input-output-numbers", emnet.InputOutputHMM(2, algorithm="lbfgs", **_CHAIN), "partly", "p", "q"),
    _sequences("neural-chain", emnet.NeuralHMM(2, **_CHAIN), None, "first", "second"),
    _sequences("neural-chain-lasting", emnet.NeuralHMM(2, max_duration=4, **_CHAIN), None, "first", "second"),
    _sequences("neural-chain-density", emnet.NeuralHMM(2, "mixture_density", **_CHAIN), None, "p", "q"),
]
