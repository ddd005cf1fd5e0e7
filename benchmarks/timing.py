"""Alternating timed repeats."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Mapping

_SHORTEST_TURN = 0.05  # seconds: what is shorter is called several times in a turn, as a fit would


def alternate(tasks: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, float]:
    """Median seconds of each task over `repeats` rounds in turn.

    The first call of a turn is not timed: threads of the task before may still spin, and the cache is not its own.
    """
    calls = {}
    for name, task in tasks.items():
        task()
        calls[name] = 1 + int(_SHORTEST_TURN / timeit.timeit(task, number=1))
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            task()
            seconds[name].append(timeit.timeit(task, number=calls[name]) / calls[name])
    return {name: statistics.median(values) for name, values in seconds.items()}
