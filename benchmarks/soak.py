"""Memory over `--seconds` (default 1800) of `partial_fit` and of checkpointed fits: it must not grow."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import emnet
from benchmarks.results import markdown, write

_SECONDS = 1800.0


def main() -> None:
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else _SECONDS
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tasks = _tasks(Path(folder))
        rows = [_row(name, task, seconds / len(tasks)) for name, task in tasks.items()]
    header = ["task", "s", "times", "MiB after a tenth", "MiB half way", "MiB at the end", "growth"]
    note = (
        f"{seconds:.0f} s in all (`python -m benchmarks.soak --seconds {seconds:.0f}`). Resident memory; growth is "
        "from a tenth of the time, when everything has been loaded, to the end."
    )
    write("soak", "Soak", markdown(header, rows) + f"\n\n{note}")


def _tasks(folder: Path) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2000, 8)), rng.integers(0, 3, 2000)
    mixture, network = emnet.GaussianMixture(4, random_state=0), emnet.EMMLPClassifier(4, random_state=0)
    chain = emnet.GaussianHMM(3, random_state=0)
    return {
        "GaussianMixture.partial_fit": lambda: mixture.partial_fit(rng.standard_normal((2000, 8))),
        "EMMLPClassifier.partial_fit": lambda: network.partial_fit(X, y, classes=[0, 1, 2]),
        "GaussianHMM.partial_fit": lambda: chain.partial_fit(rng.standard_normal((2000, 2)), [500] * 4),
        "GaussianMixture, a checkpoint an iteration": lambda: emnet.GaussianMixture(4, max_iter=20, random_state=0).fit(
            X, checkpoint=folder / "mixture.ckpt", checkpoint_every=0
        ),
        "EMMLPClassifier, a checkpoint an iteration": lambda: emnet.EMMLPClassifier(4, n_init=2, max_iter=20).fit(
            X, y, checkpoint=folder / "network.ckpt", checkpoint_every=0
        ),
    }


def _row(name: str, task: Callable[[], object], seconds: float) -> list[object]:
    began, times, looks = time.monotonic(), 0, []
    while time.monotonic() - began < seconds:
        task()
        times += 1
        if time.monotonic() - began >= seconds * (len(looks) + 1) / 10:
            gc.collect()
            looks.append(_resident())
    print(name, times, [f"{look / 2**20:.1f}" for look in looks], flush=True)
    first, middle, last = looks[0], looks[len(looks) // 2], looks[-1]
    sizes = [f"{each / 2**20:.1f}" for each in (first, middle, last)]
    return [name, f"{seconds:.0f}", times, *sizes, f"{last / first - 1:+.1%}"]


def _resident() -> int:
    """Bytes of this process in memory now."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


if __name__ == "__main__":
    main()
