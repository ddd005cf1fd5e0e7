"""One EM iteration of a Gaussian hidden Markov model, beside hmmlearn in the same run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

_STEPS, _D, _TURNS = 100_000, 4, 3


def best_time(work: Callable[[], object], turns: int = _TURNS) -> float:
    """Seconds of the fastest of so many runs."""
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def start_of(cls: type, k: int, X: np.ndarray, **more: object) -> object:
    """A model at the same start for all, ready for one iteration."""
    rng = np.random.RandomState(0)
    model = cls(k, "diag", init_params="", n_iter=1, **more)
    model.startprob_, model.transmat_ = np.full(k, 1 / k), rng.dirichlet(np.ones(k), size=k)
    model.means_, model.covars_ = X[rng.choice(len(X), k, replace=False)], np.ones((k, X.shape[1]))
    return model


def iteration(cls: type, k: int, X: np.ndarray, lengths: list[int] | None, **more: object) -> Callable[[], object]:
    """A fit of one iteration."""
    return lambda: start_of(cls, k, X, **more).fit(X, lengths)


def chains_table(sizes: tuple[int, ...] = (4, 10, 32, 100), steps: int = _STEPS) -> str:
    """Seconds an iteration, and how many times as long hmmlearn takes."""
    from hmmlearn.hmm import GaussianHMM as Theirs

    from emnet import GaussianHMM

    lines = [
        "| sequences | states | emnet, s | hmmlearn, log | hmmlearn, scaling |",
        "|---|---|---|---|---|",
    ]
    X = np.random.RandomState(1).randn(steps, _D) * 2
    for count in (1, steps // 100):
        lengths = None if count == 1 else [100] * count
        for k in sizes:
            iteration(GaussianHMM, k, X[:1000], None)()
            ours = best_time(iteration(GaussianHMM, k, X, lengths))
            log, scaling = (
                best_time(iteration(Theirs, k, X, lengths, implementation=name), 1) for name in ("log", "scaling")
            )
            lines.append(f"| {count} | {k} | {ours:.3f} | {log / ours:.1f} × | {scaling / ours:.1f} × |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=_STEPS)
    parser.add_argument("--states", type=int, nargs="*", default=[4, 10, 32, 100])
    arguments = parser.parse_args()
    print(chains_table(tuple(arguments.states), arguments.steps))
