"""What files and reports say of an estimator: the parameters that it was given, its columns, the model within."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from emnet.estimators import options


@dataclass(frozen=True)
class Inside:
    """The model that an estimator is made of, the rows as that model takes them, and what to know of both."""

    model: Any
    X: Any
    names: Sequence[Any] | None = None
    note: str = ""


def described(estimator: BaseEstimator) -> dict[str, Any]:
    """For a manifest. Callbacks are not kept, nor a generator of random numbers in place of a seed."""
    given = estimator.get_params(deep=False)
    if not isinstance(given["random_state"], Integral):
        given["random_state"] = None
    return {
        "parameters": {name: options.to_json(value) for name, value in given.items() if name != "callbacks"},
        "features": list(getattr(estimator, "feature_names_in_", [])),
    }


def as_described(estimator_class: type, manifest: dict[str, Any]) -> Any:
    """An estimator with those parameters, on a device that this machine has."""
    estimator = estimator_class(**{name: options.from_json(own) for name, own in manifest["parameters"].items()})
    estimator.device = options.device_at_hand(estimator.device)
    return estimator


def name_features(estimator: Any, manifest: dict[str, Any], d: int) -> None:
    """Set the number of the columns and, where they have some, their names; raises ValueError for another number."""
    names = manifest["features"]
    if names and len(names) != d:
        raise ValueError(f"{len(names)} names for {d} features")
    estimator.n_features_in_ = d
    if names:
        estimator.feature_names_in_ = np.array(names, dtype=object)
