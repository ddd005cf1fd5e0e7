"""How a mixture of tables learns: its starts, and what of its runs it publishes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emnet.algorithms.base import Fit
from emnet.batch import Batch
from emnet.estimators import mixture_start, options
from emnet.estimators.families import Summary, in_units_of_data
from emnet.estimators.mixture_blocks import Block
from emnet.estimators.mixture_fit import LearningMixture
from emnet.estimators.mixture_given import Given, fixed_names, given_arrays, given_of
from emnet.estimators.mixture_sums import n_free, statistics_of
from emnet.estimators.standardize import require_variance, seen_location_scale
from emnet.estimators.streaming import Survey
from emnet.estimators.table_coding import TableCoding
from emnet.exceptions import CollapsedComponentError, InvalidInputError
from emnet.factors.emission import Emission
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture

_DOUBT = 0.1  # in the starting responsibilities: of an event that a component never saw, EM would never learn
_FIRST_STEPS = 5  # M-steps on the starting responsibilities, for emissions whose statistics depend on where they are
_TELLS_APART = 1e-3  # how far responsibilities differ between rows, if parameters that are given tell components apart


class LearningMixtureModel(LearningMixture):
    """All of the training but the checks of parameters."""

    emissions: Any
    prior: str | None
    parameters_init: Mapping[Any, Mapping[str, Any]] | None
    _blocks: tuple[Block, ...]
    _coding: TableCoding
    _summaries: tuple[Summary, ...]
    _model: Mixture

    def _has_such_parameters(self, X: np.ndarray) -> bool:
        return getattr(self, "_structure", None) == self._asked_for()

    def _asked_for(self) -> tuple[Any, ...]:
        return self.n_components, self._blocks, self._coding

    def _is_monotone(self) -> bool:
        return self.dtype == "float64"

    def _column_name(self, position: int) -> Any:
        return self._coding.columns[position].name

    def _measure(self, X: np.ndarray, weights: np.ndarray | None) -> None:
        """Center and scale of columns that have them; powers of two, by which division is exact."""
        self._center, self._scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        for block in self._blocks:
            if block.is_measured:
                columns = list(block.columns)
                self._center[columns], deviations = seen_location_scale(X[:, columns], weights)
                require_variance(max(1.0, float((np.abs(self._center[columns]) + deviations).max())))
                self._scale[columns] = np.exp2(np.round(np.log2(deviations)))
        scaled = (X - self._center) / self._scale
        self._summaries = tuple(block.summary(scaled, weights) for block in self._blocks)

    def _measure_stream(self, found: Survey, continues: bool) -> None:
        """By the sample: center and scale change nothing but rounding, and priors are weak."""
        if not continues:
            self._measure(found.sample.X, found.sample.weights)
        self._log_scale = float(found.mass @ np.log(self._scale))

    def _given(self) -> Given:
        return given_of(
            self._blocks,
            self.weights_init,
            self.parameters_init,
            self.fixed,
            self.n_components,
            self._center,
            self._scale,
        )

    def _mixture(self, given: Given, device: torch.device) -> Mixture:
        """A model of components that are alike but in what is given."""
        k = self.n_components
        parts = zip(self._blocks, self._summaries, given.parameters, given.fixed, strict=True)
        emissions = {
            f"emission_{i}": block.factor(summary.to(device), k, self.prior == "auto", own, fixed)
            for i, (block, summary, own, fixed) in enumerate(parts)
        }
        columns = {f"emission_{i}": block.columns for i, block in enumerate(self._blocks)}
        weights = torch.as_tensor(np.full(k, 1 / k) if given.weights is None else given.weights)
        concentration = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        mixing = MixingWeights(weights, concentration=concentration, fixed=given.fixes_weights)
        return Mixture(mixing, emissions, columns).to(device)

    def _start(
        self,
        X: np.ndarray,
        data: list[Batch],
        rng: np.random.RandomState,
        weights: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> Mixture:
        """The model after M-steps on the starting responsibilities, in which what is given stays."""
        device, given = data[0].target.device, self._given()
        model = self._mixture(given.held(), device)
        with torch.no_grad():
            found = self._told_apart(model, data, given)
            if found is None:
                found = self._by_distance((X - self._center) / self._scale, rng, weights, labels)
            for _ in range(_FIRST_STEPS):
                model.m_step(statistics_of(model, data, found))
        factors = tuple(f"emissions.emission_{i}." for i, block in enumerate(self._blocks) if block.given is not None)
        learned = {name: value for name, value in model.named_parameters() if not name.startswith(factors)}
        return _with(self._mixture(given, device), learned)

    def _told_apart(self, model: Mixture, data: list[Batch], given: Given) -> np.ndarray | None:
        """Responsibilities, (n, k), by the parameters that are given; None if they say nothing of components."""
        if given.is_empty and all(block.given is None for block in self._blocks):
            return None
        blind = np.concatenate([_responsibilities(model, replace(batch, labels=None)) for batch in data])
        if np.ptp(blind, axis=0).max() < _TELLS_APART:
            return None
        return np.concatenate([_responsibilities(model, batch) for batch in data])

    def _by_distance(
        self, X: np.ndarray, rng: np.random.RandomState, weights: np.ndarray | None, labels: np.ndarray | None
    ) -> np.ndarray:
        """Responsibilities, (n, k), of scaled rows by `init_params`, with some doubt."""
        parts = [block.traits.coordinates(X[:, list(block.columns)]) for block in self._blocks]
        scaled = [self._spread(part, weights, block) for part, block in zip(parts, self._blocks, strict=True)]
        found = mixture_start.start(self.init_params, np.hstack(scaled), self.n_components, rng, weights, labels)
        return (1 - _DOUBT) * found + _DOUBT / self.n_components

    @staticmethod
    def _spread(part: np.ndarray, weights: np.ndarray | None, block: Block) -> np.ndarray:
        """Columns of variance 1, as distances between rows need them; categories are so far apart as they are."""
        return part if block.traits.single else part / seen_location_scale(part, weights)[1]

    def _learnable(self) -> Mixture:
        model = self._mixture(self._given(), options.choose_device(self.device))
        return _with(model, dict(self._model.named_parameters()))

    def _remedy(self, error: CollapsedComponentError) -> str:
        block = next((b for i, b in enumerate(self._blocks) if f"emission_{i}" == error.factor), None)
        where = "" if block is None else f"It is that of {block.key!r}, which is {block.family}. "
        prior = "prior='auto'" if block is None or block.given is None else "the factor a prior"
        own = (
            "; columns of one Gaussian that depend on each other have to go" if block and len(block.columns) > 1 else ""
        )
        return f"{where}Decrease n_components, or give {prior}, which keeps components from collapsing{own}."

    # -- what was fitted --------------------------------------------------------------------------------------------

    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        self._model, self._structure = copy.deepcopy(model).cpu(), self._asked_for()
        self.weights_ = self._kept.get("weights", self._model.weights.log_probabilities.exp().numpy())
        self.parameters_ = self._parameters_of(self._model, self._center)
        for (key, name), value in self._kept_parameters():
            self.parameters_[key][name] = value
        self._n_free = n_free(self._model)
        self.emissions_ = {block.key: block.family for block in self._blocks}
        self.categories_ = {c.name: c.values for c in self._coding.columns if c.values is not None}
        self._record(fit, rows)

    def _kept_parameters(self) -> list[tuple[Any, np.ndarray]]:
        return [(key, value) for key, value in self._kept.items() if key != "weights"]

    def _estimates(self, model: Mixture) -> dict[str, Any]:
        weights = model.weights.log_probabilities.exp().cpu().numpy()
        return {"weights": weights, "parameters": self._parameters_of(model, np.zeros_like(self._center))}

    def _parameters_of(self, model: Mixture, center: np.ndarray) -> dict[Any, dict[str, np.ndarray]]:
        """Of each emission, by name, in the units of the data."""
        found = {}
        for i, block in enumerate(self._blocks):
            own, columns = block.traits.parameters(model.emissions[f"emission_{i}"]), list(block.columns)
            found[block.key] = {
                name: in_units_of_data(name, value.cpu().numpy(), center[columns], self._scale[columns])
                for name, value in own.items()
            }
        return found

    def _given_by_component(self) -> list[str]:
        families = self.emissions.values() if isinstance(self.emissions, Mapping) else [self.emissions]
        own = {
            "parameters_init": self.parameters_init is not None,
            "the factors of emissions": any(isinstance(family, Emission) for family in families),
        }
        return super()._given_by_component() + [name for name, given in own.items() if given]

    def _values_to_keep(self, continues: bool) -> dict[Any, np.ndarray]:
        kept = self._fixed_values(continues)
        for entry, value in kept.items():
            if value is None:
                where = "weights_init" if entry == "weights" else f"parameters_init[{entry[0]!r}][{entry[1]!r}]"
                raise InvalidInputError(f"fixed names {entry!r}: give the values that it is to keep as {where}.")
        return kept

    def _fixed_values(self, continues: bool) -> dict[Any, Any]:
        """By "weights" and (key, name), None where a value is needed and none is given."""
        fixes_weights, fixed = fixed_names(self._blocks, self.fixed)
        arrays = given_arrays(self._blocks, self.parameters_init, self.n_components)
        kept: dict[Any, Any] = {
            (block.key, name): self.parameters_[block.key][name] if continues else own.get(name)
            for block, own, names in zip(self._blocks, arrays, fixed, strict=True)
            for name in sorted(names)
        }
        if fixes_weights:
            weights = self.weights_ if continues else self.weights_init
            kept["weights"] = None if weights is None else np.array(weights, dtype=np.float64)
        return kept


def _with(model: Mixture, parameters: Mapping[str, Tensor]) -> Mixture:
    """The model with those of its parameters."""
    model.load_state_dict(dict(parameters), strict=False)
    return model


def _responsibilities(model: Mixture, batch: Batch) -> np.ndarray:
    """(n, k); even of a row that no component allows yet: what does not stay fixed may come to allow it."""
    found: np.ndarray = model.posterior(batch).responsibilities.double().cpu().numpy()
    return np.where(np.isnan(found), 1 / found.shape[1], found)
