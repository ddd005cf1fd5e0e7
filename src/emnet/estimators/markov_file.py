"""Model files of hidden Markov models: the published parameters, and what their rows are centered and scaled by."""

from __future__ import annotations

import os
from abc import abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from emnet import serialization
from emnet.estimators import options
from emnet.estimators.markov_use import FittedMarkov


class MarkovInFile(FittedMarkov):
    """A family says what its parameters are called."""

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks and the monitor are not kept."""
        check_is_fitted(self, "startprob_")
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        parameters = {k: options.to_json(v) for k, v in self.get_params(deep=False).items() if k != "callbacks"}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        names = self._tables()
        manifest = {
            "parameters": parameters,
            "features": list(getattr(self, "feature_names_in_", [])),
            "n_columns": self._n_columns(),
            "scale": self._scale,
        }
        center = np.broadcast_to(self._center, (self._n_columns(),))
        tensors = {name: np.asarray(getattr(self, name), dtype=np.float64) for name in names}
        return manifest, {"center": np.asarray(center, dtype=np.float64), **tensors}

    def _tables(self) -> tuple[str, ...]:
        """The names of all published parameters."""
        own = () if self.max_duration is None else ("durations_",)
        return ("startprob_", "transmat_", *own, *self._emission_attributes())

    @abstractmethod
    def _emission_attributes(self) -> tuple[str, ...]:
        """The names of the published parameters of the emission."""

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self = cls(**{k: options.from_json(v) for k, v in manifest["parameters"].items()})
        self.device = options.device_at_hand(self.device)
        for name in (*self._tables(), "center"):
            if not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite")
            setattr(self, "_center" if name == "center" else name, tensors[name])
        self._scale = float(manifest["scale"])
        self._check()
        if self._n_columns() != manifest["n_columns"] or self._center.shape != (self._n_columns(),):
            raise ValueError("the parameters are not those of so many columns")
        self.n_features_in_, self.fits_ = int(manifest["n_columns"]), []
        if manifest["features"]:
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        return self
