"""What checkpoints cost: the same fit with and without them, and one checkpoint of models of several sizes."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import emnet
from benchmarks.results import markdown, write
from benchmarks.timing import fastest
from emnet.estimators import checkpoints
from emnet.estimators.checkpoints import EVERY, Journal

_GOAL = 0.02


def main() -> None:
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((100_000, 20))
    fits = {
        "GaussianMixture(10), 100,000 × 20": lambda: emnet.GaussianMixture(10, max_iter=20, tol=0, random_state=0),
        "GaussianMixture(10, diag), 100,000 × 20": lambda: emnet.GaussianMixture(
            10, covariance_type="diag", max_iter=40, tol=0, random_state=0
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(name, make, X, Path(folder) / "fit.ckpt") for name, make in fits.items()]
    header = ["fit", "s without", "s with, default", "share", "s of one checkpoint", "share of 60 s"]
    body = markdown(header, rows) + (
        f"\n\nGoal: at most {_GOAL:.0%} at the default interval, {EVERY:.0f} s, and never before a hundred times what "
        "the last checkpoint took. These fits are shorter than that, so they write one, at their end, and check their "
        "data once; the last column is the share of a fit that goes on for long."
    )
    write("checkpoints", "The cost of checkpoints", body)


def _row(name: str, make: Any, X: np.ndarray, path: Path) -> list[str]:
    seconds = fastest({"without": lambda: make().fit(X), "with": lambda: make().fit(X, checkpoint=path)}, turns=4)
    took: list[float] = []
    original = Journal.write

    def timed(self: Journal, *arguments: Any) -> None:
        began = time.perf_counter()
        original(self, *arguments)
        took.append(time.perf_counter() - began)

    checkpoints.Journal.write = timed  # type: ignore[method-assign]
    try:
        make().fit(X, checkpoint=path, checkpoint_every=0)
    finally:
        checkpoints.Journal.write = original  # type: ignore[method-assign]
    one = float(np.median(took))
    share = seconds["with"] / seconds["without"] - 1
    figures = [f"{seconds[which]:.2f}" for which in ("without", "with")]
    return [name, *figures, f"{share:.1%}", f"{one:.4f}", f"{one / EVERY:.3%}"]


if __name__ == "__main__":
    main()
