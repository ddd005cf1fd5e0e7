"""Parts of a compiled kernel side by side, on the threads that PyTorch's own operations run on.

After an operation OpenMP's threads wait busily for the next one. Threads of a pool would have to share the cores with
them, and take up to twice as long; so the team that waits is given the work. Where PyTorch has another OpenMP than
GNU's there is a pool.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_threads(run: Callable[[slice], None], parts: Sequence[slice]) -> None:
    """Run every part, side by side where there are threads for it; `run` is to spend its time without the lock."""
    threads, waiting, failed = min(torch.get_num_threads(), len(parts)), iter(parts), list[BaseException]()
    if threads <= 1:
        for part in parts:
            run(part)
        return

    def work(_: Any = None) -> None:
        try:
            for part in waiting:
                run(part)
        except BaseException as error:  # nothing may pass through C
            failed.append(error)

    team = _team()
    if team is not None:
        team(_WORK(work), None, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    if failed:
        raise failed[0]


@lru_cache
def _team() -> Any:
    """GNU OpenMP's `parallel` of the library that PyTorch has loaded, None where it is another's."""
    own = sorted(Path(torch.__file__).parent.glob("lib/libgomp*.so*"))
    if not own:
        return None
    try:
        parallel = ctypes.CDLL(str(own[0])).GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes, parallel.restype = (_WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return parallel
