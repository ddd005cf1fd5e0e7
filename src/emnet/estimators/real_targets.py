"""What regressors share: targets that are checked, standardized inside, and given back in their units."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from emnet import serialization
from emnet.batch import Batch
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators.distributions import of_targets
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.streaming import Survey
from emnet.estimators.targets import Targets
from emnet.estimators.validation import checked_weights, require_finite, require_known_targets, weights_of_some
from emnet.exceptions import InvalidInputError

_FILLED = ", or fill them in, for example with emnet.EMImputer on X and y side by side"


class RealTargets(Targets):
    """To be mixed into an `IterativeEstimator`."""

    _flat: bool
    n_features_in_: int
    target_mean_: np.ndarray
    target_scale_: np.ndarray

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """A step on these rows, from the present parameters; the first ones make the starts and the units.

        A pass of Adam along ∇Q, or where all M-steps are closed one of stepwise EM (Cappé & Moulines 2009).
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not hasattr(self, "members_")
            X, target, weights = self._check_data(X, y, sample_weight, reset=first)
            if first:
                self.target_mean_, self.target_scale_ = weighted_location_scale(target, weights)
            return cast(Self, self._fit_pass(X, self._scaled(target), weights))

    def _rows_to_fit(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        X, target, weights = self._check_data(X, y, sample_weight, reset=not self._continues())
        return X, self._scaled_anew(target, weights), weights, target

    def _check_data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        X, target = self._check_numbers(X, y, reset)
        weights = checked_weights(sample_weight, X)
        seen = weights > 0
        return X[seen], target[seen], weights[seen]

    def _check_numbers(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets, (n, p) and (n, d)."""
        require_known_targets(y, _FILLED)
        X, y = self._check_features(X, y, reset=reset, multi_output=True, y_numeric=True)
        self._flat = y.ndim == 1
        target = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        require_finite(target, None, "Drop those rows.", "y")
        known = getattr(self, "target_mean_", None)
        if not reset and known is not None and target.shape[1] != len(known):
            targets = "1 target" if len(known) == 1 else f"{len(known)} targets"
            raise InvalidInputError(f"The model has {targets}; y has {target.shape[1]}.")
        return X, target

    def _meet(self, stream: Stream) -> None:
        super()._meet(stream)  # type: ignore[misc]
        if not self._continues():
            vars(self).pop("target_mean_", None)  # of another fit, whose targets may be more or fewer

    def _rows_that_count(self, chunk: Chunk) -> Units:
        """Inputs and targets side by side, so that both are measured."""
        X, target = self._check_numbers(chunk.X, chunk.y, reset=False)
        weights = weights_of_some(chunk.weights, X)
        seen = weights > 0
        return Units(np.hstack((X, target))[seen], None, weights[seen])

    def _as_fitted(self, units: Units) -> Units:
        p = self.n_features_in_
        return Units(units.X[:, :p], self._scaled(units.X[:, p:]), units.weights)

    def _standardize_stream(self, found: Survey) -> None:
        super()._standardize_stream(found)  # type: ignore[misc]
        p = self.n_features_in_
        self.target_mean_ = found.mean[p:]
        self.target_scale_ = np.where(found.deviation == 0, 1.0, found.deviation)[p:]

    def _answered(self, X: Any, y: Any) -> Batch:
        """Rows with their targets."""
        X, target = self._check_inputs(X), np.asarray(y, dtype=np.float64)
        target = target.reshape(len(target), -1)
        wanted = (len(X), len(self.target_mean_))
        if target.shape != wanted:
            raise InvalidInputError(
                f"y must be {wanted}, a row for each of X and a column for each target; it is {target.shape}."
            )
        require_known_targets(target, _FILLED)
        require_finite(target, None, "Drop those rows.", "y")
        return cast(Batch, self._batch(X, self._scaled(target)))

    @abstractmethod
    def _gaussians(self, X: Any) -> tuple[Tensor, Tensor, Tensor]:
        """p(y | x) of standardized targets as a mixture: weights (n, k), means (n, k, d), factors (…, d, d)."""

    @torch.no_grad()
    def distribution(self, X: Any) -> Distribution:
        """p(y | x) of each row, a `torch.distributions.Distribution` of batch shape (n,), in the units of y."""
        return of_targets(*self._gaussians(X), self.target_mean_, self.target_scale_, self._flat)

    def _target_units(self) -> tuple[Tensor, Tensor]:
        """What standardization of the targets subtracts and divides by, (d,) each."""
        return torch.as_tensor(self.target_mean_), torch.as_tensor(self.target_scale_)

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.multi_output = True
        return tags
