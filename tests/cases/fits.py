"""The table of fits: an estimator with an algorithm and its data; what was kept in a file must come to the same end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_iris
from torch import nn

import emnet
from emnet.algorithms.incremental import Disk, Incremental
from emnet.algorithms.variational import VariationalEM
from emnet.inference.amortized import Amortized
from emnet.inference.exact import Exact

X, Y = load_iris(return_X_y=True)
_SEQUENCES, _LABELS = np.split(X, 15), np.split(Y, 15)
_HOLES = np.where(np.arange(X.size).reshape(X.shape) % 11 == 0, np.nan, X)


@dataclass(frozen=True)
class FitCase:
    """What is fitted, and to what; every fit takes a second at most."""

    name: str
    make: Callable[[], Any]
    data: tuple[Any, ...]

    def fit(self, **options: Any) -> Any:
        """A new estimator, fitted; `options` are the arguments of `fit` about checkpoints."""
        return self.make().fit(*self.data, **options)


def _mixture(algorithm: str) -> FitCase:
    make = lambda: emnet.GaussianMixture(  # noqa: E731
        3, init_params="random", n_init=2, random_state=0, algorithm=algorithm, tol=1e-2, max_iter=120
    )
    return FitCase(f"GaussianMixture-{algorithm}", make, (X,))


def _network(e_step: str, algorithm: str, **more: Any) -> FitCase:
    make = lambda: emnet.EMMLPClassifier(  # noqa: E731
        2, e_step=e_step, algorithm=algorithm, n_init=2, max_iter=5, random_state=0, **more
    )
    return FitCase("-".join(("EMMLPClassifier", e_step, algorithm, *more)), make, (X, Y))


def _autoencoder(name: str, **more: Any) -> FitCase:
    make = lambda: emnet.VariationalAutoencoder(  # noqa: E731
        2, encoder=4, likelihood="gaussian", batch_size=50, max_iter=4, random_state=0, **more
    )
    return FitCase(f"VariationalAutoencoder-{name}", make, (_HOLES,))


FITS: list[FitCase] = [
    *(_mixture(algorithm) for algorithm in ("em", "squarem", "annealing", "split_merge")),
    FitCase(
        "GaussianMixture-incremental-disk",
        lambda: emnet.GaussianMixture(3, random_state=0, algorithm=Incremental(Exact(), Disk()), max_iter=5),
        (emnet.stream(X, batch_rows=40),),
    ),
    FitCase(
        "GaussianMixture-online",
        lambda: emnet.GaussianMixture(3, random_state=0, algorithm="online", max_iter=5),
        (emnet.stream(X, batch_rows=40),),
    ),
    *(_network("exact", algorithm) for algorithm in ("em", "squarem", "lbfgs")),
    _network("importance", "adam"),
    _network("gibbs", "em"),
    _network("mean_field", "lbfgs"),
    _network("exact", "lbfgs", early_stopping=True),
    _network("exact", "adam", batch_size=32),
    _network("exact", "lbfgs", hidden_network=nn.Linear(4, 2)),
    FitCase(
        "EMMLPRegressor", lambda: emnet.EMMLPRegressor(2, n_init=2, max_iter=5, random_state=0), (X[:, :3], X[:, 3])
    ),
    FitCase(
        "EMImputer", lambda: emnet.EMImputer(n_components=(1, 2), covariance_types=("diag",), random_state=0), (_HOLES,)
    ),
    FitCase(
        "EMOutlierDetector",
        lambda: emnet.EMOutlierDetector(n_components=(1, 2), covariance_types=("diag",), random_state=0),
        (_HOLES,),
    ),
    FitCase("EMClusterer", lambda: emnet.EMClusterer((2, 3), covariance_types=("diag",), random_state=0), (_HOLES,)),
    FitCase(
        "EMClusterer-stream",
        lambda: emnet.EMClusterer((1, 2), covariance_types=("diag",), random_state=0),
        (emnet.stream(_HOLES, batch_rows=40),),
    ),
    FitCase("FactorAnalysis", lambda: emnet.FactorAnalysis(2, algorithm="em", max_iter=9), (_HOLES,)),
    FitCase("ProbabilisticPCA", lambda: emnet.ProbabilisticPCA(2, algorithm="em", max_iter=9), (_HOLES,)),
    _autoencoder("joint", n_init=2, warm_up=0.5, early_stopping=True),
    _autoencoder("alternating", algorithm="alternating", prior="mixture", n_components=2),
    _autoencoder("schedule", algorithm=VariationalEM(Amortized(), passes=4, e_steps=2), e_step=Amortized(3)),
    _autoencoder("importance", e_step="importance", n_draws=3, missing="mnar"),
    _autoencoder("semi_amortized", e_step="semi_amortized", refinements=2, prior="vamp", n_components=3),
    FitCase(
        "NeuralMixture",
        lambda: emnet.NeuralMixture(2, 2, encoder=4, pretraining=3, mixture_starts=3, max_iter=3, random_state=0),
        (_HOLES,),
    ),
    FitCase("MixtureModel", lambda: emnet.MixtureModel(2, emissions="student_t", random_state=0, max_iter=9), (X,)),
    FitCase(
        "MixtureOfExpertsClassifier",
        lambda: emnet.MixtureOfExpertsClassifier(2, n_init=2, max_iter=5, random_state=0),
        (X, Y),
    ),
    FitCase(
        "MixtureOfExpertsRegressor",
        lambda: emnet.MixtureOfExpertsRegressor(2, gate="gaussian", n_init=2, max_iter=5, random_state=0),
        (X[:, :3], X[:, 3]),
    ),
    FitCase("GaussianHMM", lambda: emnet.GaussianHMM(3, n_init=2, random_state=0), (X, [50, 50, 50])),
    FitCase(
        "GaussianHMM-durations",
        lambda: emnet.GaussianHMM(3, max_duration=9, random_state=0, n_iter=4),
        (X, [50, 50, 50]),
    ),
    FitCase("GMMHMM", lambda: emnet.GMMHMM(2, 2, random_state=0, n_iter=4), (X, [50, 50, 50])),
    FitCase("PoissonHMM", lambda: emnet.PoissonHMM(2, random_state=0, n_iter=4), (np.floor(X).astype(int), [150])),
    FitCase("CategoricalHMM", lambda: emnet.CategoricalHMM(2, random_state=0, n_iter=4), (Y[:, None], [150])),
    FitCase(
        "MultinomialHMM",
        lambda: emnet.MultinomialHMM(2, n_trials=3, random_state=0, n_iter=4),
        (np.stack((Y, 3 - Y), axis=1), [150]),
    ),
    FitCase(
        "NeuralHMM", lambda: emnet.NeuralHMM(2, "autoregressive", n_init=1, max_iter=4, random_state=0), (_SEQUENCES,)
    ),
    FitCase(
        "InputOutputHMM", lambda: emnet.InputOutputHMM(2, n_init=2, max_iter=4, random_state=0), (_SEQUENCES, _LABELS)
    ),
    FitCase(
        "SequenceClassifier",
        lambda: emnet.SequenceClassifier(emnet.GaussianHMM(2, random_state=0, n_iter=4)),
        (_SEQUENCES, [0] * 8 + [1] * 7),
    ),
]


def digest(estimator: Any) -> str:
    """Of all that a fit has found, to the last bit, but for the seconds that it took."""
    found = hashlib.sha256()
    _add(found, estimator)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if isinstance(value, dict):
        for name in value:
            if name != "seconds":
                found.update(str(name).encode())
                _add(found, value[name])
    elif isinstance(value, (list, tuple)):
        for each in value:
            _add(found, each)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        found.update(value.tobytes())
    elif isinstance(value, nn.Module):
        _add(found, {name: own.numpy() for name, own in value.state_dict().items()})
    elif hasattr(value, "get_params"):
        _add(found, {name: own for name, own in vars(value).items() if name.endswith("_")})
    elif type(value).__module__.startswith("emnet.algorithms"):  # the record of a fit, which has seconds
        _add(found, [(line.number, repr(line.progress)) for line in value.history])
    elif not type(value).__module__.startswith("emnet."):
        found.update(repr(value.item() if isinstance(value, np.generic) else value).encode())
