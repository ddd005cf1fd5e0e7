"""The M-steps of mixtures of experts by iterations, time and reached evidence, as Ng & McLachlan 2004 ask for."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from benchmarks.results import markdown, write
from emnet import EmnetError, MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from emnet.factors.regression import LinearFactor, Rows

_REPEATS, _MAX_ITER, _TOL = 3, 300, 1e-7


@dataclass(frozen=True)
class WholeIrls:
    """Undamped IRLS, a class by its own block of the Hessian: what damping is there for."""

    needs_rows = True
    needs_gram = True

    def __call__(self, factor: LinearFactor, statistics: Rows) -> torch.Tensor:
        regression: Any = factor.regression(statistics)
        weights = factor.weights64()
        return weights + 2 * regression.blockwise().newton_direction(weights, regression.gradient(weights))


METHODS: dict[str, dict[str, Any]] = {
    "EM, Newton": {"algorithm": "em", "m_step": "newton"},
    "EM, IRLS, damped": {"algorithm": "em", "m_step": "irls"},
    "EM, IRLS, whole steps": {"algorithm": "em", "m_step": WholeIrls()},
    "EM, ECM (a class at a time)": {"algorithm": "em", "m_step": "ecm"},
    "EM, Böhning's bound": {"algorithm": "em", "m_step": "mm"},
    "EM, gradient": {"algorithm": "em", "m_step": "gradient"},
    "SQUAREM, Newton": {"algorithm": "squarem", "m_step": "newton"},
    "L-BFGS, no M-step": {"algorithm": "lbfgs"},
}


def crowded(n: int = 600, g: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Six classes, whose borders are lines on either side of a border."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 4)
    sides = [X @ (2 * rng.randn(4, g)) + rng.gumbel(size=(n, g)) for _ in range(2)]
    return X, np.where(X[:, 0] > 0, sides[0].argmax(1), sides[1].argmax(1))


TASKS: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], Any, int]] = {
    "diabetes, 4 linear experts": (lambda: load_diabetes(return_X_y=True), MixtureOfExpertsRegressor, 4),
    "wine, 3 softmax experts": (lambda: load_wine(return_X_y=True), MixtureOfExpertsClassifier, 3),
    "breast_cancer, 2 softmax experts": (lambda: load_breast_cancer(return_X_y=True), MixtureOfExpertsClassifier, 2),
    "six made classes, 2 softmax experts": (crowded, MixtureOfExpertsClassifier, 2),
}


def measure(X: np.ndarray, y: np.ndarray, kind: Any, k: int) -> dict[str, list[str]]:
    """Iterations, median seconds of rounds in which the methods take turns, objective, and how the run ended."""
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    found: dict[str, list[str]] = {}
    for _ in range(_REPEATS):
        for method, options in METHODS.items():
            model = kind(k, n_init=1, random_state=0, max_iter=_MAX_ITER, tol=_TOL, **options)
            began = time.perf_counter()
            try:
                model.fit(X, y)
            except EmnetError as error:
                found[method] = ["–", "–", type(error).__name__]
            else:
                found[method] = [str(model.n_iter_), f"{model.history_[-1]['objective']:.3f}", model.reason_]
            seconds[method].append(time.perf_counter() - began)
    took = {method: f"{statistics.median(times):.2f}" for method, times in seconds.items()}
    return {method: [cells[0], took[method], *cells[1:]] for method, cells in found.items()}


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name, (data, kind, k) in TASKS.items():
        X, y = data()
        rows += [[name, method, *cells] for method, cells in measure(X, y, kind, k).items()]
    header = ["data", "method", "iterations", "s", "penalised log evidence", "ended"]
    body = markdown(header, rows) + (
        f"\n\nAll from one start (k-means, five M-steps of the method's own), prior 0.1, tol {_TOL:g}, at most "
        f"{_MAX_ITER} iterations; an iteration of SQUAREM is two of EM. Seconds are the median of {_REPEATS} rounds in "
        'which the methods take turns, one thread. "decreased" is a run that ended because an M-step lowered the '
        "evidence; the parameters before it are kept."
    )
    write("experts", "Mixtures of experts: the M-steps", body)
