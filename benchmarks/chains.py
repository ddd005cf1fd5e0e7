"""Hidden Markov models beside hmmlearn, dynamax and pomegranate: an EM iteration, long sequences, compilation."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from benchmarks.memory import peak_bytes
from benchmarks.results import markdown, write
from benchmarks.timing import fastest
from emnet import GaussianHMM
from emnet.algorithms.em import EM
from emnet.inference.exact import Exact

_STEPS, _D, _LENGTH = 100_000, 4, 100
_STATES = (4, 10, 32, 100)
_POMEGRANATE = 32  # states, beyond which it takes minutes
_LONG, _LONG_STATES = (1_000_000, 10_000_000), 8
Task = Callable[[], object]


def start_of(cls: Any, k: int, X: np.ndarray, **more: object) -> Any:
    """A model at the same start for all."""
    rng = np.random.RandomState(0)
    model = cls(k, "diag", init_params="", n_iter=1, **more)
    model.startprob_, model.transmat_ = np.full(k, 1 / k), rng.dirichlet(np.ones(k), size=k)
    model.means_, model.covars_ = X[rng.choice(len(X), k, replace=False)], np.ones((k, X.shape[1]))
    return model


def ours(k: int, X: np.ndarray, lengths: np.ndarray, longest: int | None = None) -> Task:
    """An E-step and an M-step, on data that are on their way already; with durations of at most `longest` steps."""
    model = start_of(GaussianHMM, k, X, max_duration=longest)
    if longest is not None:
        np.fill_diagonal(model.transmat_, 0.0)
        model.transmat_ /= model.transmat_.sum(axis=1, keepdims=True)
        model.durations_ = np.full((k, longest), 1 / longest)
    model._measure(X)
    model._check_start(X)
    data = list(model._batches(X, lengths, None, None))
    learnable, em = model._learnable(), EM(Exact())

    def step() -> None:
        with torch.no_grad():
            em.step(learnable, data)

    return step


def hmmlearn(k: int, X: np.ndarray, lengths: np.ndarray, implementation: str) -> Task:
    from hmmlearn.hmm import GaussianHMM as Theirs

    model = start_of(Theirs, k, X, implementation=implementation)
    model._check()

    def step() -> None:
        statistics, _ = model._do_estep(X, lengths)
        model._do_mstep(statistics)

    return step


def dynamax(k: int, X: np.ndarray, lengths: np.ndarray) -> Task:
    """Compiled before it is timed, in float32, as it comes; sequences side by side."""
    import jax
    from dynamax.hidden_markov_model import DiagonalGaussianHMM

    model = DiagonalGaussianHMM(k, X.shape[1])
    parameters, properties = model.initialize(jax.random.PRNGKey(0), method="prior")
    state = model.initialize_m_step_state(parameters, properties)
    sequences = jax.numpy.asarray(X.reshape(len(lengths), -1, X.shape[1]))

    @jax.jit
    def iteration(parameters: Any) -> Any:
        statistics, _ = jax.vmap(lambda rows: model.e_step(parameters, rows))(sequences)
        return model.m_step(parameters, properties, statistics, state)

    return lambda: jax.block_until_ready(iteration(parameters))


def pomegranate(k: int, X: np.ndarray, lengths: np.ndarray) -> Task:
    """In float32, as it comes; sequences side by side."""
    from pomegranate.distributions import Normal
    from pomegranate.hmm import DenseHMM

    start = start_of(GaussianHMM, k, X)
    emissions = [Normal(torch.tensor(mean).float(), torch.ones(_D), covariance_type="diag") for mean in start.means_]
    edges = (0.99 * start.transmat_).tolist()
    model = DenseHMM(emissions, edges=edges, starts=start.startprob_.tolist(), ends=[0.01] * k)
    sequences = torch.tensor(X.reshape(len(lengths), -1, X.shape[1]), dtype=torch.float32)

    def step() -> None:
        model.summarize(sequences)
        model.from_summaries()

    return step


def _peers() -> list[Callable[..., Task]]:
    """Those of many sequences that are installed, on as many threads as we have."""
    threads = torch.get_num_threads()
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    found = [peer for peer in (dynamax, pomegranate) if find_spec(peer.__name__)]
    for peer in found:
        import_module(f"{peer.__name__}.hmm" if peer is pomegranate else peer.__name__)
    torch.set_num_threads(threads)  # pomegranate changes it
    return found


def iterations() -> list[list[str]]:
    """One sequence, and as many of 100 steps as there are in it."""
    peers = _peers()
    X = 2 * np.random.RandomState(1).randn(_STEPS, _D)
    lines = []
    for lengths in (np.array([_STEPS]), np.full(_STEPS // _LENGTH, _LENGTH)):
        for k in _STATES:
            tasks = {"ours": ours(k, X, lengths)}
            tasks |= {name: hmmlearn(k, X, lengths, name) for name in ("log", "scaling")}
            if len(lengths) > 1:
                tasks |= {f.__name__: f(k, X, lengths) for f in peers if f is not pomegranate or k <= _POMEGRANATE}
            seconds = fastest(tasks)
            ratios = [
                f"{seconds[name] / seconds['ours']:.1f} ×" if name in seconds else ""
                for name in ("log", "scaling", "dynamax", "pomegranate")
            ]
            lines.append([f"{len(lengths):,}", str(k), f"{1000 * seconds['ours']:.0f}", *ratios])
            print(lines[-1], flush=True)
    return lines


def with_durations() -> list[list[str]]:
    X = 2 * np.random.RandomState(1).randn(_STEPS, _D)
    lines = []
    for k, longest in ((4, 20), (5, 50), (10, 100)):
        lengths = np.array([_STEPS])
        seconds = fastest({"chain": ours(k, X, lengths), "durations": ours(k, X, lengths, longest)})
        ratio = f"{seconds['durations'] / seconds['chain']:.0f} ×"
        lines.append([str(k), str(longest), *(f"{1000 * value:.0f}" for value in seconds.values()), ratio])
        print(lines[-1], flush=True)
    return lines


def long(n: int) -> None:
    """An iteration's fit on one sequence of n steps; prints its seconds, and the memory beyond the data in bytes."""
    X = np.random.default_rng(0).standard_normal((n, _D))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start_of(GaussianHMM, _LONG_STATES, X[:1000]).fit(X[:1000])
        before, began = peak_bytes(), time.perf_counter()
        start_of(GaussianHMM, _LONG_STATES, X).fit(X)
    seconds = time.perf_counter() - began
    print(seconds, peak_bytes() - before)


def first_call() -> None:
    """Prints the seconds of the first use of the kernels: chains of few states, others, and segments."""
    from emnet.kernels.compilation import compiled

    for name in ("chain_lanes_passes_numba", "chain_passes_numba", "segments_numba"):
        began = time.perf_counter()
        compiled(f"emnet.kernels.{name}", name)
        print(time.perf_counter() - began)


def _alone(call: str, **environment: str) -> list[float]:
    """The numbers that a call of this module prints in a process of its own."""
    code = f"from benchmarks.chains import *; {call}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    with threadpool_limits(torch.get_num_threads()):
        body = f"An EM iteration of a Gaussian HMM with diagonal covariances, {_STEPS:,} steps of {_D} columns, as one "
        body += (
            f"sequence and as sequences of {_LENGTH}: ours in ms, float64, and how many times as long the peers take "
        )
        body += "(goals: hmmlearn's default ≥ 8 ×, of many sequences ≥ 20 ×; its `scaling` ≥ 2 ×; dynamax and "
        body += "pomegranate, in their float32, ≥ 2 ×). The fastest of alternating turns.\n\n"
        header = ["sequences", "states", "ours, ms", "hmmlearn, log", "hmmlearn, scaling", "dynamax", "pomegranate"]
        body += markdown(header, iterations())
        body += "\n\nThe same with explicit durations of at most D steps, one sequence.\n\n"
        body += markdown(["states", "D", "chain, ms", "durations, ms", "ratio"], with_durations())
    body += f"\n\nA fit of one iteration on one sequence, {_LONG_STATES} states: "
    parts = []
    for n in _LONG:
        seconds, memory = _alone(f"long({n})")
        parts.append(f"{n:,} steps {seconds:.1f} s and {memory / 2**30:.2f} GiB beyond the data")
    body += "; ".join(parts) + " (goal: linear, and 2 GiB)."
    with tempfile.TemporaryDirectory() as folder:
        fresh, cached = (_alone("first_call()", NUMBA_CACHE_DIR=folder) for _ in range(2))
    body += "\n\nFirst use of the compiled kernels on a machine, chains of few states, others, and segments: "
    body += f"{fresh[0]:.1f} s, {fresh[1]:.1f} s and {fresh[2]:.1f} s (goal: 10 s); in a later process, from the "
    body += f"cache: {sum(cached):.1f} s."
    write("chains", "Hidden Markov models beside hmmlearn, dynamax and pomegranate", body)
