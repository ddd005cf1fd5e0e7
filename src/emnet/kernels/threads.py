"""Parts of a kernel side by side, on the threads that PyTorch's own operations run on.

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
from typing import Any, TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def in_threads(run: Callable[[Part], Result], parts: Sequence[Part], *, compiled: bool = True) -> list[Result]:
    """What `run` gives of every part, side by side where there are threads for it.

    `run` is to spend its time without Python's lock, in compiled code or, with `compiled=False`, in PyTorch's
    operations: those take one thread each on a thread of the team, but on one of a pool would all start threads of
    their own, and so have the parts one after another where there is no team.
    """
    threads, team = min(torch.get_num_threads(), len(parts)), _team()
    if threads <= 1 or (team is None and not compiled):
        return [run(part) for part in parts]
    waiting, results, failed = iter(enumerate(parts)), dict[int, Result](), list[BaseException]()
    inference, learns = torch.is_inference_mode_enabled(), torch.is_grad_enabled()  # which each thread has of its own

    def work(_: Any = None) -> None:
        try:
            with torch.inference_mode(inference), torch.set_grad_enabled(learns):
                for number, part in waiting:
                    results[number] = run(part)
        except BaseException as error:  # nothing may pass through C
            failed.append(error)

    if team is not None:
        team(_WORK(work), None, threads, 0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    if failed:
        raise failed[0]
    return [results[number] for number in range(len(parts))]


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
