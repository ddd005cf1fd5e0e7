"""Clusters of the digits against their classes: NeuralMixture beside k-means and Gaussian mixtures."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, ShuffleSplit

from benchmarks.results import markdown, write
from emnet import GaussianMixture, NeuralMixture

_SEEDS, _GOAL, _STARTS, _JOBS = 5, 0.90, 3, 2
_EARLIER: dict[str, Any] = {
    "encoder": (),
    "n_latent": 40,
    "learning_rate": 2e-3,
    "pretraining": 60,
    "max_iter": 5,
}
_COMMON: dict[str, Any] = {"likelihood": "gaussian", "standardize": False, "prediction_samples": 20}
_NETWORKS = [*(((), size) for size in (10, 20, 30, 40, 50)), ((64,), 20), ((64,), 40)]
_GRIDS: list[list[dict[str, Any]]] = [
    [
        {"encoder": widths, "n_latent": size, "learning_rate": rate, "pretraining": 100}
        for widths, size in _NETWORKS
        for rate in (1e-3, 2e-3, 4e-3)
    ],
    [{"pretraining": passes} for passes in (50, 100, 200)],
    [{"max_iter": passes} for passes in (0, 5, 10, 20)],
]


def chosen(X: np.ndarray) -> tuple[dict[str, Any], list[str]]:
    """Of one grid after another the options with the highest log evidence of held-out rows, without any label."""
    split = ShuffleSplit(1, test_size=0.2, random_state=0)
    best: dict[str, Any] = {}
    said = []
    for grid in _GRIDS:
        model = NeuralMixture(10, mixture_starts=10, random_state=0, **{**_COMMON, **best})
        single = [{name: [value] for name, value in options.items()} for options in grid]
        tried = GridSearchCV(model, single, cv=split, refit=False, n_jobs=_JOBS).fit(X).cv_results_
        scores = tried["mean_test_score"]
        best |= grid[int(np.argmax(scores))]
        said += [f"{_words(options)} {score:.2f}" for options, score in zip(grid, scores, strict=True)]
        print(", ".join(said), flush=True)
    return best, said


def _words(options: dict[str, Any]) -> str:
    if "encoder" in options:
        return f"{options['encoder']} → {options['n_latent']} at {options['learning_rate']:g}"
    ((name, value),) = options.items()
    return f"{name}={value}"


Method = Callable[[int], Any]
METHODS: dict[str, Method] = {
    "k-means": lambda seed: KMeans(10, n_init=10, random_state=seed),
    "GaussianMixture, full": lambda seed: GaussianMixture(10, reg_covar=1.0, n_init=2, random_state=seed),
}


def accuracy(found: np.ndarray, truth: np.ndarray) -> float:
    """Share of rows that are right under the best one-to-one naming of the clusters."""
    table = np.zeros((found.max() + 1, truth.max() + 1))
    np.add.at(table, (found, truth), 1)
    return float(table[linear_sum_assignment(-table)].sum() / len(truth))


def measured(make: Method, X: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float], float]:
    """Accuracy of each seed, of its first start alone where there are several, and seconds of a fit."""
    began, reached, first = time.perf_counter(), [], []
    for seed in range(_SEEDS):
        model = make(seed).fit(X)
        reached.append(accuracy(model.predict(X), y))
        if len(getattr(model, "members_", ())) > 1:
            starts = [_accuracy_of(model, number, X, y) for number in range(len(model.members_))]
            print(seed, reached[-1], starts, [fit.last.log_evidence for fit in model.fits_], flush=True)
            first.append(starts[0])
    return reached, first, (time.perf_counter() - began) / _SEEDS


def _accuracy_of(model: Any, start: int, X: np.ndarray, y: np.ndarray) -> float:
    alone = copy.copy(model)
    alone.members_, alone.fits_ = [model.members_[start]], [model.fits_[start]]
    return accuracy(alone.predict(X), y)


def main() -> None:
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best, said = chosen(X)
        methods = METHODS | {
            "NeuralMixture, all by held-out evidence": _ours(best),
            "NeuralMixture, passes and rate of an earlier table": _ours(_EARLIER),
            "the same, one start": _ours(_EARLIER | {"n_init": 1, "mixture_starts": 40}),
        }
        rows = [row for name, make in methods.items() for row in _rows(name, *measured(make, X, y))]
    body = markdown(["", "accuracy", "by seed", "seconds of a fit", "goal"], rows) + (
        f"\n\nDigits, 1797 × 64, ten clusters, {_SEEDS} seeds; of {_STARTS} starts (`n_init`) the one with the highest "
        "bound on the rows that are fitted is taken. In the first of our rows no label had a part in any choice: "
        "network and rate, passes alone, and passes of EM were taken one after another by the mean log evidence of a "
        f"fifth of the rows, held out, of one start each ({', '.join(said)}). The second has a network that was taken "
        "so, () → 40 at a rate of 0.002, with 60 passes alone and 5 of EM that were found by looking at accuracies; "
        "the third has a single start, and 40 of its mixture. The evidence does not know the digits: the start that it "
        "takes is not the one with most of them right."
    )
    write("autoencoders.clustering", "Autoencoders: clusters of the digits", body)


def _ours(options: dict[str, Any]) -> Method:
    return lambda seed: NeuralMixture(10, random_state=seed, **{"n_init": _STARTS, **_COMMON, **options})


def _rows(name: str, reached: list[float], first: list[float], seconds: float) -> list[list[str]]:
    goal = "" if name in METHODS else f"≥ {_GOAL:.0%}" + ("" if np.mean(reached) >= _GOAL else " MISSED")
    alone = [[f"{name}: the first of them", *_accuracies(first), "", ""]] if first else []
    return [[name, *_accuracies(reached), f"{seconds:.1f}", goal], *alone]


def _accuracies(values: list[float]) -> list[str]:
    return [f"{np.mean(values):.1%}", ", ".join(f"{value:.1%}" for value in values)]


if __name__ == "__main__":
    main()
