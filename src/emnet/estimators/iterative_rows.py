"""How estimators that run from several starts take rows: checked, standardized, and made a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from emnet.batch import Batch, with_constant
from emnet.estimators import options
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.table_input import naming_cells
from emnet.estimators.validation import named_column, require_finite
from emnet.exceptions import InvalidInputError


class StandardizedRows(BaseEstimator):
    """Inputs in units of their own deviations, with the constant 1 first."""

    dtype: str
    device: Any
    standardize: bool

    def _allows_nan(self) -> bool:
        """Whether NaN in X is a missing value."""
        return False

    _nan_remedy = "Drop or impute those rows, for example with emnet.EMImputer."

    def _standardize(self, X: np.ndarray, weights: np.ndarray) -> None:
        if self.standardize:
            self.input_mean_, self.input_scale_ = weighted_location_scale(X, weights)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(X.shape[1]), np.ones(X.shape[1])

    def _check_features(self, X: Any, y: Any, **options_of_y: bool) -> tuple[np.ndarray, np.ndarray]:
        with naming_cells(X):
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite=False, **options_of_y)
        self._require_usable(X)
        return X, y

    def _require_usable(self, X: np.ndarray) -> None:
        known = np.where(np.isnan(X), 0.0, X) if self._allows_nan() else X
        require_finite(known, getattr(self, "feature_names_in_", None), self._nan_remedy)

    def _batch(self, X: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> Batch:
        inputs = self._inputs(X)
        given = None
        if weights is not None and not (weights == 1).all():
            given = torch.as_tensor(weights, dtype=inputs.dtype, device=inputs.device)
        dtype = torch.int64 if target.dtype.kind in "iu" else inputs.dtype
        return self._bundle(torch.as_tensor(target, dtype=dtype, device=inputs.device), inputs, given)

    def _bundle(self, target: Tensor, inputs: Tensor, weights: Tensor | None = None) -> Batch:
        """The batch of targets and inputs, (n, 1 + p), as the model has it."""
        return Batch(target, inputs, weights=weights)

    def _inputs(self, X: np.ndarray) -> Tensor:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = (X - self.input_mean_) / self.input_scale_
        dtype, device = self._computes_in()
        far = np.abs(scaled) >= torch.finfo(dtype).max ** 0.5 / 2**20  # squares are taken, and multiplied by weights
        if far.any():
            row, column = np.argwhere(far)[0]
            name = named_column(column, getattr(self, "feature_names_in_", None))
            raise InvalidInputError(
                f"Row {row}, {name} holds {X[row, column]:g}, too far from the training data to be computed with in "
                f"{str(dtype).removeprefix('torch.')}."
            )
        return with_constant(torch.as_tensor(scaled, dtype=dtype, device=device))

    def _computes_in(self) -> tuple[torch.dtype, torch.device]:
        """Type and place of the rows: those of the model where there is one."""
        members = getattr(self, "members_", None)
        device = next(members[0].parameters()).device if members else options.choose_device(self.device)
        return options.DTYPES[self.dtype], device

    def _check_inputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "members_")
        with naming_cells(X):
            X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        self._require_usable(X)
        return X
