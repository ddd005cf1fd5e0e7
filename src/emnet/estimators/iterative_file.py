"""What all model files of estimators with several starts hold: parameters, the records of the fits, and the units."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from emnet import serialization
from emnet.estimators.description import described, name_features
from emnet.estimators.history import fit_to_json
from emnet.estimators.validation import require_tensors
from emnet.exceptions import InvalidInputError


class ModelFile:
    """To be mixed into an estimator with `members_` and `fits_`. A subclass adds the models' own tensors."""

    prior_: tuple[float, ...]
    fits_: list[Any]
    members_: list[Any]
    input_mean_: np.ndarray
    input_scale_: np.ndarray

    def _modules(self) -> list[str]:
        """Parameters that hold a module, which no model file can."""
        return []

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self, "members_")
        for name in self._modules():
            raise InvalidInputError(
                f"A model file holds no code, so a model with {name}= cannot be saved to one; keep its "
                "members_' state_dict() with torch.save."
            )
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "prior": list(self.prior_),
            "fits": [fit_to_json(fit) for fit in self.fits_],
        }
        return manifest, {"input_mean": self.input_mean_, "input_scale": self.input_scale_}

    def _restore_inputs(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Set what `_to_state` took down of the inputs, after checking that it hangs together."""
        self.input_mean_, self.input_scale_ = tensors["input_mean"], tensors["input_scale"]
        p = len(self.input_mean_)
        require_tensors(tensors, {"input_mean": (p,), "input_scale": (p,)})
        if len(manifest["fits"]) < 1 or not (self.input_scale_ > 0).all():
            raise ValueError("the tensors are not those of this class")
        name_features(self, manifest, p)
        self.prior_ = tuple(manifest["prior"])
        self.members_, self.fits_ = [], []
