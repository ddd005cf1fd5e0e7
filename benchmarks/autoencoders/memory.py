"""Memory of training against the number of rows, of a file that is mapped into memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.results import markdown, write

_SIZES, _COLUMNS = (20_000, 200_000, 1_000_000), 50


def measure(path: str, n: int) -> None:
    """Print what a fit of one pass takes beyond what a fit of a thousand rows has taken before it, in bytes."""
    from benchmarks.memory import peak_bytes
    from emnet import VariationalAutoencoder

    rows = np.load(path, mmap_mode="r")
    model = VariationalAutoencoder(
        5, encoder=(64,), likelihood="gaussian", max_iter=1, batch_size=1000, prediction_samples=10, random_state=0
    )
    model.fit(rows[:1000])
    before = peak_bytes()
    model.fit(rows[:n])
    print(peak_bytes() - before)


def main() -> None:
    table = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, np.random.RandomState(0).randn(max(_SIZES), _COLUMNS).astype(np.float32))
        for n in _SIZES:
            code = f"from benchmarks.autoencoders.memory import measure; measure({str(path)!r}, {n})"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            taken, data = int(done.stdout), 4 * n * _COLUMNS
            table.append([f"{n:,}", f"{data / 2**20:.0f}", f"{taken / 2**20:.0f}", f"{(taken - data) / 2**20:.0f}"])
    header = ["rows", "the data, MiB", "peak beyond a fit of 1,000 rows, MiB", "without the data, MiB"]
    body = markdown(header, table) + (
        f"\n\nOne pass over {_COLUMNS} columns of float32 in batches of 1,000, from a file that is mapped into memory: "
        "the pages that were read count as memory of the process, and the system may take them back. What grows "
        "beside them is the order in which the rows are gone through, 8 bytes a row and its copies; the rest is "
        "pieces of a million cells, which are measured before the training."
    )
    write("autoencoders.memory", "Autoencoders: memory of training", body)


if __name__ == "__main__":
    main()
