"""How long states last, of hidden Markov models with `max_duration`: the tables of transitions and durations."""

from __future__ import annotations

from typing import Any

import numpy as np

from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError


def require_parameters(max_duration: Any, censored: Any, n_components: int) -> None:
    """Raise InvalidInputError for parameters that cannot be used."""
    require_one_of("censored", censored, (True, False))
    if max_duration is None:
        return
    require_positive_integer("max_duration", max_duration)
    if n_components < 2:
        raise InvalidInputError(
            "With max_duration a state is followed by another one: take n_components of at least 2."
        )


def require_no_way_to_itself(transitions: np.ndarray) -> None:
    """Raise InvalidInputError for a state that may follow itself."""
    own = np.flatnonzero(np.diagonal(transitions))
    if len(own):
        raise InvalidInputError(
            "With max_duration how long a state lasts is said by durations_, and transmat_ has 0 on its diagonal; "
            f"state {own[0]} has {transitions[own[0], own[0]]:g}."
        )


def without_a_way_to_itself(transitions: np.ndarray) -> np.ndarray:
    """p(next state | state, another one), (k, k)."""
    off = np.where(np.eye(len(transitions), dtype=bool), 0.0, transitions)
    total = off.sum(axis=1, keepdims=True)
    even = (1 - np.eye(len(off))) / (len(off) - 1)
    return np.where(total > 0, off / np.where(total > 0, total, 1.0), even)


def expected(durations: np.ndarray) -> np.ndarray:
    """E[duration | state], (k,)."""
    return durations @ np.arange(1, durations.shape[1] + 1)


def n_more_parameters(n_components: int, max_duration: int | None) -> int:
    """Beyond those of a chain: durations, without the ways from a state to itself."""
    return 0 if max_duration is None else n_components * (max_duration - 1) - n_components


def draw_path(
    n: int, start: np.ndarray, transitions: np.ndarray, durations: np.ndarray, rng: np.random.RandomState
) -> np.ndarray:
    """The states of n rows, (n,), segment after segment."""
    path: list[int] = []
    state = int(rng.choice(len(start), p=start / start.sum()))
    while len(path) < n:
        path += [state] * int(1 + rng.choice(durations.shape[1], p=durations[state] / durations[state].sum()))
        state = int(rng.choice(len(start), p=transitions[state] / transitions[state].sum()))
    return np.array(path[:n])
