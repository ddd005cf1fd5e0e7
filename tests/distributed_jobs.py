"""What the processes of tests/test_distributed.py fit; they import it by name."""

from __future__ import annotations

import hashlib
import os
import signal
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

import emnet
from emnet import NeuralMixture, VariationalAutoencoder
from emnet.algorithms.variational import VariationalEM
from emnet.inference.amortized import Amortized
from tests.distributed_faults import Share
from tests.streamed import CASES, N, _members, frame

_NAMES = (
    "gaussians-prior-squarem",
    "tables",
    "em-mlp-lbfgs",
    "experts",
    "chain",
    "factors",
    "factors-whole",
    "imputer",
    "outliers",
)


def digests(share: Share) -> dict[str, str]:
    """The bits of an estimator of every kind, fitted to this process's share."""
    warnings.simplefilter("ignore")
    cases = [case for case in CASES if case.name in _NAMES]
    return {case.name: _digest(case, clone(case.estimator).fit(share.of(case.stream()))) for case in cases}


def _digest(case: Any, model: Any) -> str:
    numbers = [np.ascontiguousarray(part).tobytes() for part in case.parameters(model)]
    return hashlib.sha256(
        b"".join([*numbers, np.float64(getattr(model, "model_", model).log_evidence_).tobytes()])
    ).hexdigest()


class Noiseless(Amortized):
    """The encoder's means in place of draws, so that it does not matter which process has a row."""

    def with_seed(self, seed: int, rank: int | None = None) -> Noiseless:
        return self

    def __call__(self, model: Any, batch: Any) -> Any:
        mean, log_variance = model.encode(batch)
        return model.encoded(batch, mean, log_variance, torch.zeros_like(mean)[None])


class Apart(VariationalAutoencoder):
    """Starts elsewhere in every process, as on machines that differ; the first one's start is that of all."""

    def _start(self, seed: int, batch: Any) -> Any:
        model = super()._start(seed, batch)
        model.set_coordinates(model.coordinates() + self._group.rank)
        return model


_SMALL: dict[str, Any] = {"encoder": (8,), "activation": "tanh", "learning_rate": 0.01, "random_state": 0}
_WHOLE = {**_SMALL, "e_step": Noiseless(), "batch_size": N, "dtype": "float64", "max_iter": 4}
_EVEN = 28  # of the 164 rows with a weight, so that the last mini-batch of one process is no noisier than the others
AUTOENCODERS = {
    "whole": Apart(2, algorithm=VariationalEM(Noiseless(), 0.01, 1, largest_norm=0.5), **_WHOLE),
    "whole-clusters": NeuralMixture(3, 2, pretraining=4, **_WHOLE),
    "drawn": VariationalAutoencoder(2, batch_size=_EVEN, max_iter=15, warm_up=0.2, **_SMALL),
    "drawn-clusters": NeuralMixture(3, 2, pretraining=15, batch_size=_EVEN, max_iter=6, mixture_starts=2, **_SMALL),
}


def autoencoders(share: Share, path: str) -> dict[str, dict[str, Any]]:
    """Autoencoders fitted to two thirds of a table, and what they say of the rest; the bits of every process.

    The rows are shuffled, as processes have other neighbors together in a mini-batch.
    """
    warnings.simplefilter("ignore")
    found = {name: _learned(share, clone(model)) for name, model in AUTOENCODERS.items()}
    return {**found, "taken up": _taken_up(share, path)}


def _learned(share: Share, model: Any) -> dict[str, Any]:
    table = frame()[["first", "second", "color", "weight"]]
    rows = table[: 2 * N // 3].sample(frac=1, random_state=0)
    model.fit(share.of(emnet.stream(rows, weight="weight", batch_rows=30)))
    (own,) = _members(model)
    bits = (hashlib.sha256(own.tobytes()).hexdigest(), model.history_[-1]["log_evidence"], model.n_iter_)
    return {
        "bits": share.group.gathered(bits),
        "parameters": own,
        "log_evidence": model.log_evidence_,
        "held_out": model.score(table[2 * N // 3 :].drop(columns="weight")),
    }


def _taken_up(share: Share, path: str) -> dict[str, Any]:
    """Whether autoencoders that were stopped and went on from a checkpoint are those that were not, by process."""
    model = clone(AUTOENCODERS["drawn"]).set_params(max_iter=4)
    stream = share.of(emnet.stream(frame()[["first", "second"]], batch_rows=30))
    expected = _members(clone(model).fit(stream))[0]
    with suppress(KeyboardInterrupt):
        clone(model).set_params(callbacks=[_stop]).fit(stream, checkpoint=path, checkpoint_every=0)
    found = _members(clone(model).fit(stream, checkpoint=path, resume=True))[0]
    return {"same": share.group.gathered(bool((found == expected).all()))}


def asked_for_the_end(share: Share, path: str) -> list[tuple[int, int, bool]]:
    """By process: what a fit ends with if SIGTERM reaches one process alone, after how many lines, and what goes on."""
    warnings.simplefilter("ignore")
    stream = share.of(emnet.stream(frame()[["first", "second"]], batch_rows=30))
    model = emnet.GaussianMixture(3, init_params="random", random_state=0, max_iter=9, tol=0.0)
    expected = clone(model).fit(stream).means_
    end = _Terminate(share.group.rank)
    try:
        clone(model).set_params(callbacks=[end]).fit(stream, checkpoint=path, checkpoint_every=60)
    except emnet.FitTerminated as terminated:
        found = terminated
    went_on = clone(model).fit(stream, checkpoint=path, resume=True).means_
    return share.group.gathered((found.code, len(found.fit.history), bool((went_on == expected).all())))


class _Terminate:
    """The second process gets a signal in its third iteration, the first none."""

    def __init__(self, rank: int):
        self.rank = rank

    def __call__(self, model: Any, line: Any) -> None:
        if self.rank == 1 and line.number == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def takes_long(share: Share, path: str) -> Any:
    """A fit whose every iteration takes a fifth of a second, and which makes a file when it is under way."""
    warnings.simplefilter("ignore")
    stream = share.of(emnet.stream(frame()[["first", "second"]], batch_rows=30))
    model = emnet.GaussianMixture(3, init_params="random", random_state=0, tol=0.0, callbacks=[_Slow(path)])
    return model.fit(stream, checkpoint=path)


class _Slow:
    def __init__(self, path: str):
        self.path = path

    def __call__(self, model: Any, line: Any) -> None:
        Path(f"{self.path}.begun").touch()
        time.sleep(0.2)


def _stop(_: Any, line: Any) -> None:
    if line.number == 2:
        raise KeyboardInterrupt
