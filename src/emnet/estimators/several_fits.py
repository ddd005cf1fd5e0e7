"""Mixtures of the same rows from several starts, which fill holes together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from emnet.exceptions import CollapsedComponentError, CollapsedComponentWarning


class SeveralFits:
    """What several fitted models expect on average, each with the same weight.

    Which optimum a start leads to is a matter of luck, and the likelihood does not tell which of them fills holes best.
    The mean of what they fill in has at most their mean squared error, and moves less from one seed to another.

    members : fitted models of the same columns, numbers all.
    """

    def __init__(self, members: Sequence[Any]):
        self.members = tuple(members)

    def impute(self, X: np.ndarray, return_std: bool = False) -> Any:
        """X with the mean of the members' expectations in its holes, (n, d).

        With `return_std` also the standard deviation of each filled cell, (n, d): within the members, and between them.
        """
        if not return_std:
            return np.mean([member.impute(X) for member in self.members], axis=0)
        found = np.array([member.impute(X, return_std=True) for member in self.members])
        filled, variances = found[:, 0], found[:, 1] ** 2
        deviations = np.sqrt(variances.mean(axis=0) + filled.var(axis=0))
        return filled.mean(axis=0), np.where(np.isnan(X), deviations, 0.0)

    def sample_missing(self, X: np.ndarray, random_state: Any = None) -> np.ndarray:
        """X with draws from one member, itself drawn, for what is missing, (n, d)."""
        rng = check_random_state(random_state)
        return np.asarray(self.one(rng).sample_missing(X, rng))

    def one(self, random_state: np.random.RandomState) -> Any:
        """A member, drawn."""
        return self.members[random_state.randint(len(self.members))]


def more_starts(model: Any, n: int, X: Any, sample_weight: Any, random_state: np.random.RandomState) -> list[Any]:
    """Fits like `model` from n other starts; those of which a component collapses do not count."""
    found = []
    for _ in range(n):
        other = clone(model).set_params(random_state=int(random_state.randint(2**31)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("error", CollapsedComponentWarning)
            try:
                found.append(other.fit(X, sample_weight=sample_weight))
            except (CollapsedComponentError, CollapsedComponentWarning):
                continue
    return found
