"""The methods that `emnet compare` trains, behind one function each."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emnet.algorithms.base import Iteration
from emnet.kernels.compilation import compiled

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CLASSIC_STEP = 0.6  # η · n of the classic text: 0.005 on 120 rows
_MAX_BACKPROP_ITERATIONS = 1000

Report = Callable[[Iteration, float, int], None]
"""Called with a line of the history, the rows, and the number of the start."""


@dataclass(frozen=True)
class Split:
    """One split of a table into standardized training and test inputs."""

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray


@dataclass(frozen=True)
class Settings:
    hidden: tuple[int, ...]
    prior: float | str
    eta: float | None
    iterations: int
    seed: int
    curves: bool
    e_step: str = "auto"
    epochs: int | None = None
    model: str = "em-mlp"
    experts: int = 3

    @property
    def has_classic(self) -> bool:
        """Whether the classic EM of the network, whose E-step is exact, is there and can run."""
        from emnet.estimators.options import exact_is_cheap

        return self.model == "em-mlp" and exact_is_cheap(self.hidden)


@dataclass(frozen=True)
class Outcome:
    """What a method reached on a split. Cross-entropies are in nats a row."""

    train_ce: float
    test_ce: float
    accuracy: float
    iterations: int
    seconds: float
    predicted: np.ndarray
    curve: list[dict[str, float]] = field(default_factory=list)
    note: str = ""
    how: str = ""


def back_propagation(split: Split, settings: Settings, penalty: float) -> Outcome:
    """The same network with mean-field units: scikit-learn's MLPClassifier, L-BFGS."""
    began = time.perf_counter()
    network = _mlp(split, settings, penalty, _MAX_BACKPROP_ITERATIONS)
    seconds = time.perf_counter() - began
    curve = list(_backprop_curve(split, settings, penalty, network.n_iter_)) if settings.curves else []
    return _outcome(network, split, network.n_iter_, seconds, curve)


def classic_em(split: Split, settings: Settings, penalty: float, report: Report | None = None) -> Outcome:
    """EM as the classic text has it: exact E-step, gradient M-step with rate η on the summed gradient."""
    from emnet.factors.regression import GradientStep

    eta = CLASSIC_STEP / len(split.train) if settings.eta is None else settings.eta
    options = {"algorithm": "em", "m_step": GradientStep(eta), "n_init": 1, "tol": 0.0, "prior": penalty}
    return _em(split, settings, {**options, "max_iter": settings.iterations}, report)


def default_em(split: Split, settings: Settings, report: Report | None = None) -> Outcome:
    """EM as `EMMLPClassifier`, or `MixtureOfExpertsClassifier`, does it without being told anything."""
    if settings.model == "moe":
        from emnet import MixtureOfExpertsClassifier

        own = {"prior": settings.prior, "max_iter": settings.epochs}
        return _trained(MixtureOfExpertsClassifier, settings.experts, split, settings, own, report)
    options = {"prior": settings.prior, "e_step": settings.e_step, "max_iter": settings.epochs}
    return _em(split, settings, options, report)


def same_penalty(split: Split, settings: Settings) -> float:
    """EM's precision as back-propagation's penalty; of "auto", the one of the hidden layer's weights."""
    from emnet.estimators.network import auto_prior

    return (
        auto_prior(split.train.shape[1], settings.hidden[0])[0] if settings.prior == "auto" else float(settings.prior)
    )


def _em(split: Split, settings: Settings, options: dict[str, Any], report: Report | None) -> Outcome:
    from emnet import EMMLPClassifier

    size = settings.hidden if len(settings.hidden) > 1 else settings.hidden[0]
    return _trained(EMMLPClassifier, size, split, settings, options, report)


def _trained(
    kind: Any, size: Any, split: Split, settings: Settings, options: dict[str, Any], report: Report | None
) -> Outcome:
    """An estimator of that kind and size, watched while it learns."""
    from sklearn.exceptions import ConvergenceWarning

    curve: list[dict[str, float]] = []
    rows = float(len(split.train))
    starts = 0

    def watch(model: Any, iteration: Iteration) -> None:
        nonlocal starts
        starts += iteration.number == 0
        if report is not None:
            report(iteration, rows, starts)
        if settings.curves:
            if iteration.number == 0:
                curve.clear()  # the curve of the last start
            point = {"iteration": iteration.number, "train_ce": -iteration.log_evidence / rows}
            curve.append({**point, "seconds": iteration.seconds})

    network = kind(size, standardize=False, random_state=settings.seed, callbacks=[watch], **options)
    compiled("emnet.kernels.bits_numba", "the kernel of hidden units")  # once on a machine, and no part of a fit
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network.fit(split.train, split.train_labels)
    seconds = time.perf_counter() - began
    iterations = sum(fit.n_iter for fit in network.fits_)
    # The classic EM is meant to run to its last iteration, so that is nothing to note.
    said = [w for w in caught if options.get("tol") != 0.0 or not issubclass(w.category, ConvergenceWarning)]
    note = "; ".join(dict.fromkeys(str(w.message) for w in said if not network.converged_))
    return _outcome(network, split, iterations, seconds, curve, note, network.how_)


def _mlp(split: Split, settings: Settings, penalty: float, max_iter: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier(
        settings.hidden,
        activation="logistic",
        solver="lbfgs",
        alpha=penalty,
        max_iter=max_iter,
        random_state=settings.seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return network.fit(split.train, split.train_labels)


def _backprop_curve(split: Split, settings: Settings, penalty: float, last: int) -> Iterator[dict[str, float]]:
    """Points of the learning curve, by runs from the same start that stop after 1, 2, 4, … iterations.

    scikit-learn's L-BFGS reports nothing on its way, and stopped earlier it passes through the same points.
    """
    for k in [*(2**i for i in range(20) if 2**i < last), last]:
        began = time.perf_counter()
        network = _mlp(split, settings, penalty, k)
        seconds = time.perf_counter() - began
        yield {
            "iteration": k,
            "train_ce": _cross_entropy(network, split.train, split.train_labels),
            "seconds": seconds,
        }


def _outcome(
    network: Any, split: Split, iterations: int, seconds: float, curve: list, note: str = "", how: str = ""
) -> Outcome:
    predicted = network.predict(split.test)
    return Outcome(
        _cross_entropy(network, split.train, split.train_labels),
        _cross_entropy(network, split.test, split.test_labels),
        float((predicted == split.test_labels).mean()),
        int(iterations),
        seconds,
        predicted,
        curve,
        note,
        how,
    )


def _cross_entropy(network: Any, X: np.ndarray, labels: np.ndarray) -> float:
    """Mean −log p(y | x), probabilities clipped at 1e-15 for every method alike."""
    probability = network.predict_proba(X)[np.arange(len(X)), np.searchsorted(network.classes_, labels)]
    return float(-np.log(np.clip(probability, 1e-15, None)).mean())
