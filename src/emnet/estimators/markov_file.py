"""Model files of hidden Markov models: the published parameters, and what their rows are centered and scaled by."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from emnet import serialization
from emnet.estimators.description import as_described, described, name_features
from emnet.estimators.markov_use import FittedMarkov


class MarkovInFile(FittedMarkov):
    """A family says what its parameters are called."""

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks and the monitor are not kept."""
        check_is_fitted(self, "startprob_")
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        names = self._tables()
        manifest = {**described(self), "n_columns": self._n_columns(), "scale": self._scale}
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
        self: Self = as_described(cls, manifest)
        for name in (*self._tables(), "center"):
            if not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite")
            setattr(self, "_center" if name == "center" else name, tensors[name])
        self._scale = float(manifest["scale"])
        self._check()
        if self._n_columns() != manifest["n_columns"] or self._center.shape != (self._n_columns(),):
            raise ValueError("the parameters are not those of so many columns")
        name_features(self, manifest, self._n_columns())
        self.fits_ = []
        return self
