"""Small fits of every kind that a report draws, and the pages of them, each written once."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

import emnet
from emnet import report

HOSTILE = '<script>alert("x")</script>'
_N = 60


def _groups(d: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(3 * k, 0.8, (_N // 3, d)) for k in range(3)])


def gaussians():
    X = _groups()
    X[::9, 0] = np.nan
    return emnet.GaussianMixture(3, init_params="random_from_data", max_iter=8, random_state=0), X


def one_column():
    return emnet.GaussianMixture(2, max_iter=4, random_state=0), _groups(1)


def table_of_words():
    X, rng = _groups(), np.random.default_rng(1)
    words = rng.choice(["<b>bold</b>", HOSTILE, "a & b $x$", "ok\x00"], _N)
    frame = pd.DataFrame({HOSTILE: X[:, 0], "</script> & $\\alpha$": X[:, 1], "word": words})
    return emnet.MixtureModel(2, max_iter=5, random_state=0), frame


def words_alone():
    rng = np.random.default_rng(0)
    return emnet.MixtureModel(2, max_iter=5, random_state=0), rng.choice(["yes", "no"], (_N, 3))


def classes():
    X, y = _groups(), np.repeat([f"a {HOSTILE}", "b", "c"], _N // 3)
    return emnet.EMMLPClassifier(3, n_init=1, max_iter=3, algorithm="em", random_state=0), X, y


def numbers():
    x = np.linspace(-2, 2, _N)[:, None]
    return emnet.EMMLPRegressor(2, n_init=1, max_iter=3, random_state=0), x, np.sin(2 * x[:, 0])


def lines():
    x = np.linspace(-1, 1, _N)[:, None]
    return emnet.MixtureOfExpertsRegressor(2, n_init=1, max_iter=3, random_state=0), x, np.abs(x[:, 0])


def gate():
    X = _groups()
    return emnet.MixtureOfExpertsClassifier(2, n_init=1, max_iter=3, random_state=0), X, (X[:, 0] > 3).astype(int)


def chain():
    return emnet.GaussianHMM(3, n_iter=3, random_state=0), [_groups(), _groups()[::-1]]


def steps():
    X = np.sin(np.arange(_N) / 3)[:, None] + np.random.default_rng(0).normal(0, 0.1, (_N, 1))
    return emnet.NeuralHMM(2, n_init=1, max_iter=4, algorithm="em", random_state=0), [X[:40], X[40:]]


def paths():
    X = _groups()
    model = emnet.InputOutputHMM(2, n_init=1, max_iter=4, algorithm="em", random_state=0)
    return model, [X, X[::-1]], [X[:, 0], X[::-1, 1]]


def filled():
    return emnet.EMImputer(n_components=2, covariance_types=("full",), random_state=0), gaussians()[1]


def codes():
    return emnet.VariationalAutoencoder(2, encoder=(8,), max_iter=3, random_state=0), _groups(3)


def clusters_of_codes():
    model = emnet.NeuralMixture(2, 2, encoder=(8,), pretraining=3, max_iter=2, mixture_starts=2, random_state=0)
    return model, _groups(3)


def directions():
    return emnet.ProbabilisticPCA(1, max_iter=4), _groups(3)


PAGES = {
    make.__name__: make
    for make in (
        gaussians,
        one_column,
        table_of_words,
        words_alone,
        classes,
        numbers,
        lines,
        gate,
        chain,
        steps,
        paths,
        filled,
        codes,
        clusters_of_codes,
        directions,
    )
}


@functools.cache
def folder() -> Path:
    found = Path(tempfile.mkdtemp(prefix="emnet-report-"))
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    return found


@functools.cache
def page(name: str) -> Path:
    """The page of a fit that was recorded."""
    return write(name, folder() / f"{name}.html")


def write(name: str, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits of few iterations do not converge
        return report.write(*PAGES[name](), path=path)
