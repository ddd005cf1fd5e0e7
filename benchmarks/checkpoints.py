"""What checkpoints cost: the share of a fit's time that goes to them, and the time of one."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import emnet
from benchmarks.results import markdown, write
from emnet.estimators.checkpoints import EVERY, Journal

_GOAL = 0.02
_CALLED = ("open", "begin", "line", "end", "close")  # all that a fit asks of its journal


def main() -> None:
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    narrow, wide = rng.standard_normal((50_000, 20)), rng.standard_normal((20_000, 100))
    classes = rng.integers(0, 3, len(narrow))
    fits: dict[str, Callable[..., Any]] = {
        "GaussianMixture(10), 50,000 × 20": lambda **more: _mixture(10, 40).fit(narrow, **more),
        "GaussianMixture(20), 20,000 × 100": lambda **more: _mixture(20, 10).fit(wide, **more),
        "EMMLPClassifier(6), L-BFGS, 50,000 × 20": lambda **more: emnet.EMMLPClassifier(
            6, n_init=1, max_iter=30, random_state=0
        ).fit(narrow, classes, **more),
    }
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(name, fit, Path(folder) / f"{number}.ckpt") for number, (name, fit) in enumerate(fits.items())]
    header = ["fit", "s", "of it checkpoints, default", "share", "s of one", "bytes", "share, one in 60 s"]
    body = markdown(header, rows) + (
        f"\n\nGoal: at most {_GOAL:.0%} at the default interval: {EVERY:.0f} s, and never sooner than a hundred times "
        "what the last one took. These fits are shorter than that, so they pay for the checksum of their data and for "
        "one file, at their end; the last column is what a fit pays that goes on for long."
    )
    write("checkpoints", "The cost of checkpoints", body)


def _mixture(k: int, max_iter: int) -> Any:
    return emnet.GaussianMixture(k, init_params="random_from_data", max_iter=max_iter, tol=0, random_state=0)


def _row(name: str, fit: Callable[..., Any], path: Path) -> list[str]:
    fit()
    with _timed(_CALLED) as taken:
        began = time.perf_counter()
        fit(checkpoint=path)
        seconds = time.perf_counter() - began
    with _timed(("write",)) as each:
        fit(checkpoint=path, checkpoint_every=0)
    spent, one = sum(taken), float(np.median(each))
    figures = [f"{seconds:.2f}", f"{spent:.4f}", f"{spent / seconds:.2%}", f"{one:.4f}"]
    return [name, *figures, f"{path.stat().st_size:,}", f"{one / EVERY:.3%}"]


@contextmanager
def _timed(names: tuple[str, ...]) -> Iterator[list[float]]:
    """The seconds of every call of those methods of a journal."""
    taken: list[float] = []
    before = {name: getattr(Journal, name) for name in names}

    def clocked(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments)
            finally:
                taken.append(time.perf_counter() - began)

        return call

    for name, method in before.items():
        setattr(Journal, name, clocked(method))
    try:
        yield taken
    finally:
        for name, method in before.items():
            setattr(Journal, name, method)


if __name__ == "__main__":
    main()
