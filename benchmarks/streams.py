"""Streams beside memory, two processes beside one, data larger than memory (python -m benchmarks.streams 20, of GB)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import emnet
import emnet.distributed
from benchmarks.memory import peak_bytes
from benchmarks.mixture import clusters
from benchmarks.results import markdown, write
from benchmarks.timing import fastest
from emnet.algorithms.em import EM
from emnet.inference.exact import Exact

_ROWS, _COLUMNS, _STATES = 200_000, 50, 20
_GOAL, _RANKS_GOAL = 1.3, 1.7
_VIRTUAL_ROWS, _VIRTUAL_COLUMNS = 50_000, 50  # of a batch that is made as it is asked for: 20 MB
_PASSES, _RUNS = 3, 5
_CSV_ROWS, _CSV_COLUMNS = 50_000, 20
_EPOCH_ROWS = 20_000
AUTOENCODERS: dict[str, dict[str, Any]] = {
    "64, mini-batches of 128": {"encoder": (64,), "batch_size": 128},
    "512 and 512, mini-batches of 2000": {"encoder": (512, 512), "batch_size": 2000},
}


def passes(data: Any, start: dict, turns: int = _PASSES) -> float:
    """Least seconds of an EM iteration over an array or a stream, on data that are on their way already."""
    step = iteration(data, start)
    step()
    return min(timeit.repeat(step, number=1, repeat=turns))


def iteration(data: Any, start: dict) -> Any:
    """EM's step on the model and the batches that a fit would run on."""
    seen = Seen()
    emnet.GaussianMixture(max_iter=1, tol=0, algorithm=seen, **start).fit(data)

    def step() -> None:
        with torch.no_grad():
            seen.em.step(*seen.last)

    return step


class Seen:
    """Plain EM that remembers what it ran on."""

    def __init__(self) -> None:
        self.em = EM(Exact())
        self.last: tuple[Any, Any] = (None, None)

    def step(self, model: Any, data: Any) -> Any:
        self.last = model, data
        return self.em.step(model, data)

    def reset(self) -> None:
        """It keeps nothing that steps depend on."""


def beside_memory(folder: Path) -> list[list[str]]:
    import pyarrow
    import pyarrow.parquet

    rows, start = clusters(_ROWS, _COLUMNS, _STATES, "full")
    table = pyarrow.table({f"x{j}": rows[:, j] for j in range(_COLUMNS)})
    pyarrow.parquet.write_table(table, folder / "rows.parquet", row_group_size=2**14)
    np.save(folder / "rows.npy", rows)
    sources = {
        "array": rows,
        "Parquet": emnet.stream(folder / "rows.parquet", batch_rows=2**14),
        "memory map": emnet.stream(folder / "rows.npy", batch_rows=2**14),
    }
    tasks = {name: iteration(data, start) for name, data in sources.items()}
    runs = [fastest(tasks, 3) for _ in range(_RUNS)]
    seconds = {name: [run[name] for run in runs] for name in tasks}
    return [[name, *_beside(own, seconds["array"])] for name, own in seconds.items()]


def _beside(own: list[float], whole: list[float]) -> tuple[str, str]:
    """Milliseconds of the fastest run, and each run beside the array in it."""
    shares = [one / other for one, other in zip(own, whole, strict=True)]
    goal = f" (goal {_GOAL:g}{'' if max(shares) <= _GOAL else ' MISSED'})" if own is not whole else ""
    return f"{1000 * min(own):.0f}", ", ".join(f"{share:.2f}" for share in shares) + f" ×{goal}"


def ranks(folder: Path) -> list[list[str]]:
    _, start = clusters(_STATES, _COLUMNS, _STATES, "full")
    data = emnet.stream(folder / "rows.npy", batch_rows=2**14)
    seconds = {p: emnet.distributed.run(passes, data, start, processes=p, threads=1) for p in (1, 2)}
    goal = f"{seconds[1] / seconds[2]:.2f} × (goal {_RANKS_GOAL:g})"
    return [["1", f"{1000 * seconds[1]:.0f}", ""], ["2", f"{1000 * seconds[2]:.0f}", goal]]


def csv_readers(folder: Path) -> list[list[str]]:
    """A pass over a CSV file by Arrow, and by Python's own reader as where Arrow is not there."""
    rows = np.random.default_rng(0).standard_normal((_CSV_ROWS, _CSV_COLUMNS))
    header = ",".join(f"x{j}" for j in range(_CSV_COLUMNS))
    np.savetxt(folder / "rows.csv", rows, fmt="%.6f", delimiter=",", header=header, comments="")
    seconds = {}
    for name, before in (("Arrow", ""), ("Python's own", "import sys; sys.modules['pyarrow'] = None; ")):
        code = f"{before}from benchmarks.streams import pass_over; print(pass_over({str(folder / 'rows.csv')!r}))"
        seconds[name] = float(subprocess.check_output([sys.executable, "-W", "ignore", "-c", code]))
    return [[n, f"{s:.2f}", f"{s / seconds['Arrow']:.0f} ×"] for n, s in seconds.items()]


def pass_over(path: str) -> float:
    """Least seconds of a pass over a stream that nothing is computed from."""
    data = emnet.stream(path, prefetch=0)
    return min(timeit.repeat(lambda: [len(chunk) for chunk in data], number=1, repeat=2))


def autoencoders(folder: Path) -> list[list[str]]:
    """An epoch of autoencoders by one process and by two, of one thread each."""
    data = emnet.stream(folder / "rows.npy", columns=range(_COLUMNS), batch_rows=2**13)
    lines = []
    for name, options in AUTOENCODERS.items():
        one, two = (emnet.distributed.run(epoch, data, options, processes=p, threads=1) for p in (1, 2))
        lines.append([name, f"{1000 * one:.1f}", f"{1000 * two:.1f}", f"{one / two:.2f} ×"])
    return lines


def epoch(data: Any, options: dict[str, Any]) -> float:
    """Seconds of a step of a mini-batch, over an epoch whose networks have met the data before."""
    ends: list[float] = []
    model = emnet.VariationalAutoencoder(8, max_iter=3, random_state=0, **options)
    model.set_params(callbacks=[lambda *_: ends.append(time.perf_counter())]).fit(data)
    return min(np.diff(ends)) / -(-_EPOCH_ROWS // options["batch_size"])


def virtual(batches: int) -> Iterator[np.ndarray]:
    """Batches of clusters, made as they are asked for, the same in every pass: one that was drawn, each time moved."""
    rng = np.random.default_rng(0)
    rows, centers = rng.standard_normal((_VIRTUAL_ROWS, _VIRTUAL_COLUMNS)), rng.standard_normal((5, _VIRTUAL_COLUMNS))
    rows += 3 * centers[rng.integers(5, size=_VIRTUAL_ROWS)]
    for number in range(batches):
        yield rows + 1e-3 * np.sin(number)


def fit_virtual(gigabytes: float) -> None:
    """A fit of one iteration; prints the seconds of its three passes and the most memory that was taken."""
    batches = int(gigabytes * 1e9 / (8 * _VIRTUAL_ROWS * _VIRTUAL_COLUMNS))
    data = emnet.stream(partial(virtual, batches), batch_rows=_VIRTUAL_ROWS)
    model = emnet.GaussianMixture(5, covariance_type="diag", max_iter=1, random_state=0)
    seconds = timeit.timeit(lambda: model.fit(data), number=1)
    print(seconds, peak_bytes())


def larger_than_memory(gigabytes: float) -> list[list[str]]:
    lines = []
    for size in (gigabytes / 10, gigabytes):
        code = f"from benchmarks.streams import fit_virtual; fit_virtual({size})"
        seconds, peak = map(float, subprocess.check_output([sys.executable, "-W", "ignore", "-c", code]).split())
        # Two passes to measure and to sample, one of EM; the E-step that ends a fit is not made where max_iter does.
        lines.append([f"{size:g} GB", f"{3 * size * 1000 / seconds:.0f}", f"{peak / 2**20:.0f}"])
        print(lines[-1], flush=True)
    return lines


def main(gigabytes: float = 1.0) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        memory, processes, readers = beside_memory(folder), ranks(folder), csv_readers(folder)
        np.save(folder / "rows.npy", np.load(folder / "rows.npy")[:_EPOCH_ROWS])
        networks = autoencoders(folder)
    report(memory, processes, readers, networks, larger_than_memory(gigabytes))


def report(
    memory: list[list[str]],
    processes: list[list[str]],
    readers: list[list[str]],
    networks: list[list[str]],
    large: list[list[str]],
) -> None:
    size = f"{_ROWS:,} × {_COLUMNS}, K = {_STATES}, full covariances, float64"
    body = [
        f"An EM iteration over {size}, one thread, files in the page cache; {_RUNS} runs, of three turns the least:",
        markdown(["rows from", "ms", "beside the array, run by run"], memory),
        "The same from a memory map by processes of one thread each on one machine:",
        markdown(["processes", "ms", "faster by"], processes),
        f"A step of an autoencoder, {_EPOCH_ROWS:,} × {_COLUMNS}, float32, by processes of one thread each:",
        markdown(["hidden layers", "ms, one process", "ms, two", "faster by"], networks),
        f"A pass over a CSV file, {_CSV_ROWS:,} × {_CSV_COLUMNS}:",
        markdown(["reader", "s", "beside Arrow"], readers),
        "Data that are made batch by batch and kept nowhere (d = 50, K = 5, diagonal covariances), three passes; "
        "`python -m benchmarks.streams 20` takes 20 GB.",
        markdown(["data", "MB/s", "most memory, MiB"], large),
    ]
    write("streams", "Streams and processes", "\n\n".join(body))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
