"""Alternating timed repeats."""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable, Mapping

_SHORTEST_TURN = 0.05  # seconds: what is shorter is called several times in a turn, as a fit would
_PAUSE = 0.1  # seconds
_LONG_ENOUGH = 10.0  # seconds, of all turns of a task


def alternate(tasks: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each task over `repeats` rounds in turn.

    A turn begins with a pause, as threads of the task before spin for up to 50 ms and take a third of the time of what
    comes next, and its first call is not timed, as the cache is not its own.
    """
    calls = {}
    for name, task in tasks.items():
        task()
        calls[name] = 1 + int(_SHORTEST_TURN / timeit.timeit(task, number=1))
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            time.sleep(_PAUSE)
            task()
            seconds[name].append(timeit.timeit(task, number=calls[name]) / calls[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def fastest(tasks: Mapping[str, Callable[[], object]], turns: int = 5) -> dict[str, float]:
    """Least seconds of each task over turns in which they alternate: what a busy machine disturbs least.

    One that takes long has fewer turns: disturbances average out within it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(turns + 1):
        for name, task in tasks.items():
            if turn < 2 or sum(seconds[name]) < _LONG_ENOUGH:
                seconds[name].append(timeit.timeit(task, number=1))
    return {name: min(values) for name, values in seconds.items()}
