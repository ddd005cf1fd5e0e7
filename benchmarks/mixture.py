"""GaussianMixture beside scikit-learn's and pomegranate's: an EM iteration, float32, holes, a small fit, memory."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture as Peer
from threadpoolctl import threadpool_limits

from benchmarks.memory import peak_bytes
from benchmarks.results import markdown, write
from benchmarks.timing import alternate
from emnet import GaussianMixture
from emnet.algorithms.em import EM
from emnet.inference.exact import Exact

_SIZES = (  # n, d, k, covariance_type, goal
    (100_000, 10, 10, "full", 5.0),
    (100_000, 50, 20, "full", 3.0),
    (200_000, 20, 50, "diag", 6.0),
    (100_000, 10, 10, "tied", None),
)
_SINGLE_GOAL, _POMEGRANATE_GOAL, _HOLES_GOAL = 1.7, 2.0, 15.0
_COLUMNS = ("peer", "pomegranate", "float64", "float32")
_HOLES = (0.0, 0.01, 0.05, 0.1, 0.2)
_LARGE = 5_000_000


def clusters(n: int, d: int, k: int, kind: str, missing: float = 0.0) -> tuple[np.ndarray, dict]:
    """Overlapping clusters, and a start at their means."""
    rng = np.random.RandomState(0)
    centers = 3 * rng.randn(k, d)
    rows = centers[rng.randint(k, size=n)] + rng.randn(n, d)
    rows[rng.rand(n, d) < missing] = np.nan
    precisions = {"full": np.stack([np.eye(d)] * k), "tied": np.eye(d), "diag": np.ones((k, d))}[kind]
    start = {"weights_init": np.full(k, 1 / k), "means_init": centers, "precisions_init": precisions}
    return rows, {"n_components": k, "covariance_type": kind, **start}


def iteration(rows: np.ndarray, options: dict, dtype: str) -> Callable[[], None]:
    """An E-step and an M-step of ours, on data that are on their way already."""
    model = GaussianMixture(max_iter=0, dtype=dtype, **options).fit(rows)
    data = list(model._batches(rows))
    model._take_down(data)
    mixture, em = model._learnable(), EM(Exact())

    def step() -> None:
        with torch.no_grad():
            em.step(mixture, data)

    return step


def peer_iteration(rows: np.ndarray, options: dict) -> Callable[[], None]:
    peer = Peer(max_iter=1, **options)
    peer._initialize_parameters(rows, np.random.RandomState(0))

    def step() -> None:
        _, log_responsibilities = peer._e_step(rows)
        peer._m_step(rows, log_responsibilities)

    return step


def pomegranate_iteration(rows: np.ndarray, options: dict) -> Callable[[], None] | None:
    """In float32, from the same start; None where it is not installed, or knows no such covariances."""
    kind = options["covariance_type"]
    if kind not in ("full", "diag") or find_spec("pomegranate") is None:
        return None
    threads = torch.get_num_threads()
    from pomegranate.distributions import Normal
    from pomegranate.gmm import GeneralMixtureModel

    torch.set_num_threads(threads)  # which the import changes
    x = torch.from_numpy(rows)
    spreads = torch.as_tensor(options["precisions_init"], dtype=x.dtype)  # of 1: precisions and covariances alike
    states = [
        Normal(torch.as_tensor(mean, dtype=x.dtype), spread, covariance_type=kind, check_data=False)
        for mean, spread in zip(options["means_init"], spreads, strict=True)
    ]
    peer = GeneralMixtureModel(states, priors=torch.full((len(states),), 1 / len(states)), check_data=False)

    def step() -> None:
        with torch.no_grad():
            peer.summarize(x)
            peer.from_summaries()

    return step


def iterations() -> list[list[str]]:
    lines = []
    for n, d, k, kind, goal in _SIZES:
        rows, options = clusters(n, d, k, kind)
        single = rows.astype(np.float32)
        tasks = {"peer": peer_iteration(rows, options)}
        tasks |= {dtype: iteration(part, options, dtype) for dtype, part in (("float64", rows), ("float32", single))}
        if pomegranate := pomegranate_iteration(single, options):
            tasks["pomegranate"] = pomegranate
        seconds = alternate(tasks, repeats=9)
        ratio = seconds["peer"] / seconds["float64"]
        other = seconds.get("pomegranate")
        lines.append(
            [
                f"{n:,} × {d}, K = {k}, {kind}",
                *(f"{1000 * seconds[name]:.0f}" if name in seconds else "" for name in _COLUMNS),
                f"{ratio:.1f} × (goal {goal:g})" if goal else f"{ratio:.1f} ×",
                f"{seconds['float64'] / seconds['float32']:.1f} × (goal {_SINGLE_GOAL:g})",
                f"{other / seconds['float32']:.1f} × (goal {_POMEGRANATE_GOAL:g})" if other else "",
            ]
        )
        print(lines[-1], flush=True)
    return lines


def holes(n: int = 20_000, d: int = 20, k: int = 5) -> list[list[str]]:
    lines, complete = [], 0.0
    for missing in _HOLES:
        rows, options = clusters(n, d, k, "full", missing)
        patterns = len(np.unique(np.isnan(rows), axis=0))
        seconds = alternate({"ours": iteration(rows, options, "float64")}, 3)["ours"]
        complete = complete or seconds
        lines.append([f"{missing:.0%}", f"{patterns:,}", f"{1000 * seconds:.0f}", f"{seconds / complete:.1f} ×"])
        print(lines[-1], flush=True)
    return lines


def small_fit() -> list[list[str]]:
    """With the threads there are, and with one: so small a fit is hindered by more."""
    X, usual = load_iris().data, torch.get_num_threads()
    lines = []
    for kind in ("full", "tied", "diag", "spherical"):
        models = {
            name: cls(3, covariance_type=kind, random_state=0)
            for name, cls in (("peer", Peer), ("ours", GaussianMixture))
        }
        line = [kind]
        for threads in (usual, 1):
            torch.set_num_threads(threads)
            with threadpool_limits(threads):
                seconds = alternate({name: lambda m=model: m.fit(X) for name, model in models.items()}, repeats=9)
            line += [f"{1000 * seconds[name]:.1f}" for name in ("peer", "ours")]
            line.append(f"{seconds['ours'] / seconds['peer']:.1f} ×")
        torch.set_num_threads(usual)
        lines.append([*line, str(models["ours"].n_iter_)])
    return lines


def large() -> None:
    """Two iterations on 5 million rows in float32; prints the most memory that was taken, in bytes."""
    d, k = 20, 50
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((_LARGE, d), dtype=np.float32)
    start = {
        "weights_init": np.full(k, 1 / k),
        "means_init": rows[:k].astype(float),
        "precisions_init": np.ones((k, d)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        GaussianMixture(k, covariance_type="diag", dtype="float32", max_iter=2, tol=0, **start).fit(rows)
    print(peak_bytes())


def main() -> None:
    with threadpool_limits(torch.get_num_threads()):
        body = "An EM iteration, ms, same start, same data:\n\n"
        header = ["data", "scikit-learn", "pomegranate, float32", "ours, float64", "ours, float32"]
        header += ["scikit-learn's against ours", "our float64 against float32", "pomegranate's against our float32"]
        body += markdown(header, iterations())
        body += "\n\nHoles at random, n = 20,000, d = 20, K = 5, full, float64; goal at 20 %: "
        body += f"{_HOLES_GOAL:g} × the complete data.\n\n"
        body += markdown(["missing", "patterns", "iteration, ms", "against complete"], holes())
        body += "\n\nA whole fit on Iris, K = 3, k-means and all, ms; goal: no slower.\n\n"
        one = ["one thread: scikit-learn", "ours", "ratio"]
        body += markdown(["covariance", "scikit-learn", "ours", "ratio", *one, "iterations"], small_fit())
    code = "from benchmarks.mixture import large; large()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    gigabytes = int(done.stdout.split()[-1]) / 2**30
    body += (
        f"\n\n{_LARGE:,} × 20 in float32, K = 50, diag, with data and libraries: at most {gigabytes:.1f} GiB resident "
    )
    body += "(goal: 4)."
    write("mixture", "Gaussian mixtures beside scikit-learn", body)
