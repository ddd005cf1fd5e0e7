"""Model files of autoencoders."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from emnet import serialization
from emnet.estimators import options
from emnet.estimators.autoencoder_use import FittedAutoencoder
from emnet.estimators.description import as_described, described, name_features
from emnet.estimators.history import fit_from_json, fit_to_json
from emnet.estimators.row_coding import RowCoding
from emnet.estimators.table_coding import ColumnCoding, TableCoding
from emnet.estimators.validation import require_tensors


class SavedAutoencoder(FittedAutoencoder):
    """`save` and `emnet.load`."""

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "fits": [fit_to_json(fit) for fit in self.fits_],
            "n_features": self.n_features_in_,
            "columns": [[c.name, c.position, options.to_json(c.values), c.dtype] for c in self._rows.coding.columns],
            "library": self._rows.coding.library,
            "families": list(self._rows.families),
            "hole_columns": self._hole_columns.tolist(),
            "seed_of_use": self._seed_of_use,
            "log_volume": self._log_volume,
        }
        tensors = {"center": self._rows.center, "scale": self._rows.scale}
        for number, member in enumerate(self.members_):
            for name, value in member.state_dict().items():
                tensors[f"member.{number}.{name}"] = value.cpu().numpy()
        return manifest, tensors

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._check_parameters()
        columns = tuple(ColumnCoding(n, p, options.from_json(v), t) for n, p, v, t in manifest["columns"])
        require_tensors(tensors, dict.fromkeys(("center", "scale"), (len(columns),)))
        coding = TableCoding(columns, manifest["library"])
        self._rows = RowCoding(coding, tuple(manifest["families"]), tensors["center"], tensors["scale"])
        self.likelihood_, self._hole_columns = self._rows.likelihood, torch.tensor(manifest["hole_columns"]).bool()
        self._sees_holes = bool(self._hole_columns.any())
        self._seed_of_use, self._log_volume = int(manifest["seed_of_use"]), float(manifest["log_volume"])
        self._n_features_out = self.n_latent
        name_features(self, manifest, int(manifest["n_features"]))
        self.members_, self.fits_ = [], []
        for number, record in enumerate(manifest["fits"]):
            self._publish(self._read_member(number, tensors), fit_from_json(record))
        return self

    def _read_member(self, number: int, tensors: dict[str, np.ndarray]) -> Any:
        model = self._model(0)
        wanted = {f"member.{number}.{name}": value for name, value in model.state_dict().items()}
        require_tensors(tensors, {name: tuple(value.shape) for name, value in wanted.items()})
        prefix = f"member.{number}."
        model.load_state_dict({n.removeprefix(prefix): torch.from_numpy(tensors[n].copy()) for n in wanted})
        return model
