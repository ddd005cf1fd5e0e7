"""What regressors share: targets that are checked, standardized inside, and given back in their units."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from emnet import serialization
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.validation import require_finite
from emnet.exceptions import InvalidInputError


class RealTargets:
    """To be mixed into an `IterativeEstimator`."""

    _flat: bool
    _check_features: Any
    _continues: Any
    target_mean_: np.ndarray
    target_scale_: np.ndarray

    def _check_data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        X, y = self._check_features(X, y, reset=reset, multi_output=True, y_numeric=True)
        self._flat = y.ndim == 1
        target = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        require_finite(target, None, "Drop those rows.")
        known = getattr(self, "target_mean_", None)
        if not reset and known is not None and target.shape[1] != len(known):
            raise InvalidInputError(f"The model has {len(known)} targets; y has {target.shape[1]}.")
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        seen = weights > 0
        if not seen.any():
            raise InvalidInputError("All sample weights are zero: there is nothing to fit.")
        return X[seen], target[seen], weights[seen]

    def _scaled(self, target: np.ndarray) -> np.ndarray:
        return (target - self.target_mean_) / self.target_scale_

    def _scaled_anew(self, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Standardized by these targets, or where a fit goes on by those that it began with."""
        if not self._continues():
            self.target_mean_, self.target_scale_ = weighted_location_scale(target, weights)
        return self._scaled(target)

    def _in_units(self, standardized: Tensor) -> np.ndarray:
        return self._shaped(standardized.cpu().numpy() * self.target_scale_ + self.target_mean_)

    def _shaped(self, values: np.ndarray) -> np.ndarray:
        return values[..., 0] if self._flat else values

    def _with_targets(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> serialization.State:
        """The state with what there is to say of the targets."""
        scale = {"target_mean": self.target_mean_, "target_scale": self.target_scale_}
        return {**manifest, "flat": self._flat}, {**tensors, **scale}

    def _restore_targets(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        self._flat = bool(manifest["flat"])
        self.target_mean_, self.target_scale_ = tensors["target_mean"], tensors["target_scale"]
        if self.target_mean_.shape != self.target_scale_.shape or not (self.target_scale_ > 0).all():
            raise ValueError("the targets' scale is not one")
