"""What is missing, filled in by a fitted model: with what it expects, and with draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


class Imputing(Protocol):
    """A fitted model that fills holes."""

    def impute(self, X: Any, return_std: bool = False) -> Any: ...

    def sample_missing(self, X: Any, random_state: Any = None) -> Any: ...


@dataclass(frozen=True, eq=False)
class Imputed:
    """A table without holes, and how unsure each filled cell is: (n, d), 0 where it was there.

    The standard deviation of numbers; of categories the probability that it is another one.
    """

    table: Any
    uncertainty: np.ndarray


def impute(model: Imputing, X: Any) -> Imputed:
    """Numbers by their expectation, categories by the most probable one, given what is there of the row."""
    return Imputed(*model.impute(X, return_std=True))


def impute_many(model: Imputing, X: Any, m: int, random_state: np.random.RandomState) -> list[Any]:
    """m tables whose holes are drawn independently, for an analysis of each: see `emnet.pool_estimates`."""
    return [model.sample_missing(X, random_state) for _ in range(m)]
