"""Model files of estimators whose models are known by their coordinates."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from emnet import serialization
from emnet.estimators.history import fit_from_json
from emnet.estimators.iterative_results import M
from emnet.estimators.rebuilding import RebuiltFits
from emnet.estimators.validation import require_tensors


class CoordinatesInFile(RebuiltFits[M]):
    """Each start's parameters as one vector. A subclass says what model they belong to."""

    device: Any

    @abstractmethod
    def _check_parameters(self) -> None:
        """Raise InvalidInputError for a parameter that cannot be used."""

    def _to_state(self) -> serialization.State:
        manifest, tensors = super()._to_state()
        stacked = torch.stack([member.coordinates() for member in self.members_])
        return manifest, {**tensors, "coordinates": stacked.cpu().numpy()}

    def _restore(self, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Set what `_to_state` took down; what the targets are is known by then."""
        self._check_parameters()
        self._restore_inputs(manifest, tensors)
        for number, record in enumerate(manifest["fits"]):
            model = self._model(0)
            size = len(model.coordinates())
            require_tensors(tensors, {"coordinates": (len(manifest["fits"]), size)})
            model.set_coordinates(torch.from_numpy(tensors["coordinates"][number]))
            self._publish(model, fit_from_json(record))
