"""SIGKILL at random moments, 20 times for every model and algorithm: the fit goes on and ends bit for bit the same."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from benchmarks.results import markdown, write
from tests.cases.fits import FITS, FitCase, digest

_KILLS = 20


def main() -> None:
    torch.set_num_threads(1)
    rng = random.Random(0)
    for case in FITS:
        case.make()  # imported here, once for all processes
    rows: list[list[object]] = []
    for case in FITS:
        rows.append(_row(case, rng))
        _write(rows)  # now: the run is long, and who ends it keeps what it has found
    sys.exit(any(row[-1] != "yes" for row in rows))


def _write(rows: list[list[object]]) -> None:
    header = ["fit", "kills", "fits that ended", "all the same, bit for bit"]
    failed, left = sum(row[-1] != "yes" for row in rows), [case.name for case in FITS[len(rows) :]]
    body = markdown(header, rows) + (
        "\n\nA process fits with a checkpoint after every iteration and `resume=True`, and is killed a random time "
        "after it has first written one; when it comes to its end its result is compared with an uninterrupted fit, "
        "and the file removed. "
        f"Kills: {_KILLS * len(rows)}; fits with a result that differs: {failed}."
        + (f" The run was ended before it came to {', '.join(left)}." if left else "")
    )
    write("kill", "Killed at random moments", body)


def _row(case: FitCase, rng: random.Random) -> list[object]:
    with tempfile.TemporaryDirectory() as folder:
        path, result = Path(folder) / "fit.ckpt", Path(folder) / "digest"
        seconds = _fit(case, path, result, math.inf)
        expected = result.read_text()
        kills = ended = different = 0
        path.unlink()
        while kills < _KILLS:
            result.unlink(missing_ok=True)
            whole = not path.exists()
            took = _fit(case, path, result, rng.uniform(0, seconds))
            if took is None:
                kills += 1
            else:
                ended, different = ended + 1, different + (result.read_text() != expected)
                seconds = min(seconds, took) if whole else seconds
                path.unlink()
        _fit(case, path, result, math.inf)
        different += result.read_text() != expected
    print(case.name, kills, ended + 1, different, flush=True)
    return [case.name, kills, ended + 1, "no" if different else "yes"]


def _fit(case: FitCase, path: Path, result: Path, patience: float) -> float | None:
    """Fit in a process of its own, which is killed so many seconds after its first checkpoint.

    How long it took from there to its end, None if it was killed.
    """
    before, child, began = _written(path), os.fork(), math.inf
    if not child:
        _child(case, path, result)
    while (now := time.perf_counter()) - began < patience:
        if os.waitpid(child, os.WNOHANG)[0]:
            return max(0.0, now - began)
        if began == math.inf and _written(path) != before:
            began = now
        time.sleep(0.0002)
    os.kill(child, signal.SIGKILL)
    return None if os.WIFSIGNALED(os.waitpid(child, 0)[1]) else time.perf_counter() - began


def _written(path: Path) -> int:
    """When, in nanoseconds; 0 if never."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _child(case: FitCase, path: Path, result: Path) -> None:
    try:
        warnings.simplefilter("ignore")
        found = digest(case.fit(checkpoint=path, checkpoint_every=0, resume=True))
        result.with_suffix(".new").write_text(found)
        result.with_suffix(".new").rename(result)
        os._exit(0)
    except BaseException as error:
        print(case.name, repr(error), file=sys.stderr, flush=True)
        os._exit(1)


if __name__ == "__main__":
    main()
