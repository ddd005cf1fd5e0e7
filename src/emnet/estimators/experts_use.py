"""What a fitted mixture of experts is asked, whatever its targets are: who answers, how likely, how many parameters."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from emnet.applications.standard_errors import standard_errors
from emnet.batch import Batch
from emnet.estimators import options
from emnet.estimators.iterative import IterativeEstimator
from emnet.estimators.onnx_file import PredictionFile
from emnet.estimators.table_input import naming_cells
from emnet.estimators.trees import flattened, shaped_as
from emnet.estimators.validation import weighted_sum
from emnet.inference.exact import Exact
from emnet.models import experts
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete


class FittedMixtureOfExperts(PredictionFile, IterativeEstimator[Mixture]):
    """Everything but the training."""

    n_experts: int
    gate: Any
    expert: Any
    levels: Any

    @abstractmethod
    def _n_outputs(self) -> int:
        """Targets, or classes."""

    @abstractmethod
    def _unknown(self, n: int, like: Tensor) -> Tensor:
        """Targets of n rows of which nothing is known."""

    def _is_softmax(self) -> bool:
        return isinstance(self.gate, str) and self.gate == "softmax"

    def _is_gaussian(self) -> bool:
        return isinstance(self.gate, str) and self.gate == "gaussian"

    def _is_joint(self) -> bool:
        """Whether x and y of an expert are one Gaussian."""
        return False

    def _levels(self) -> tuple[int, ...]:
        return (self.n_experts,) if self.levels is None else tuple(self.levels)

    def _n_states(self) -> int:
        return math.prod(self._levels())

    def _modules(self) -> list[str]:
        return [name for name in ("gate", "expert") if isinstance(getattr(self, name), nn.Module)]

    def _bundle(self, target: Tensor, inputs: Tensor, weights: Tensor | None = None) -> Batch:
        if not self._is_gaussian():
            return Batch(target, inputs, weights=weights)
        both = torch.cat((inputs[:, 1:], target.to(inputs.dtype).view(len(inputs), -1)), dim=1)
        return Batch(both, None if self._is_joint() else inputs, weights=weights)

    # -- use --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def gate_proba(self, X: Any) -> np.ndarray:
        """p(expert | x), (n, k). A Gaussian gate integrates NaN out, whatever its experts make of holes."""
        check_is_fitted(self, "members_")
        with naming_cells(X):
            X = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        self._require_usable(np.nan_to_num(X, nan=0.0, posinf=np.inf, neginf=-np.inf) if self._is_gaussian() else X)
        batch = self._unanswered(X)
        if self._is_gaussian() and batch.given is not None:  # which no expert is asked about
            batch = replace(batch, given=batch.given.nan_to_num(0.0))
        return experts.gate_of(self._best, batch).double().cpu().numpy()

    @torch.no_grad()
    def responsibilities(self, X: Any, y: Any) -> np.ndarray:
        """p(expert | x, y), (n, k); `gate_proba` of a row whose `log_density` is −∞."""
        return self._posterior(self._answered(X, y)).responsibilities.double().cpu().numpy()

    def _posterior(self, batch: Batch) -> Discrete:
        """Of targets so far out that float64 has no number for their densities log p is −∞, and the gate answers."""
        posterior: Discrete = self._best.posterior(batch)
        lost = posterior.log_evidence.isnan()
        if bool(lost.any()):
            posterior.log_evidence[lost] = -torch.inf
            unanswered = self._best.posterior(self._without_targets(batch))
            posterior.responsibilities[lost] = unanswered.responsibilities[lost]
        return posterior

    @torch.no_grad()
    def bic(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion of y given x, the lower the better: −2 log L + parameters · log n.

        With weights, (n,), a row counts as so many, in n too: let shares add up to the number of rows.
        """
        total, rows = weighted_sum(self.log_density(X, y), sample_weight)
        return float(-2 * total + self.n_parameters_ * np.log(rows))

    @abstractmethod
    def log_density(self, X: Any, y: Any) -> np.ndarray:
        """log p(y | x) of each row, (n,), in nats; −∞ where y is too far out for float64."""

    def _log_density(self, X: Any, y: Any) -> Tensor:
        """log p(y | x) for targets as the model has them; a Gaussian gate's evidence of x is taken off."""
        batch = self._answered(X, y)
        both = self._posterior(batch).log_evidence
        if not self._is_gaussian():
            return both
        return both - self._best.posterior(self._without_targets(batch)).log_evidence

    def standard_errors(self, X: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Standard errors of the parameters, by the observed information of X and y: see "Returns".

        X and y are those of the fit, which must have ended at a maximum: tol of about 1e-8. What is fixed has none of
        its own: the errors are those of all parameters together. Of softmax gates and experts they are those of the
        weights less their mean over the states or classes, as a shift of all changes nothing.

        Returns
        -------
        dict of arrays, named and shaped as the attributes `gate_weights_`, `expert_weights_` and, of regression,
        `noise_`, without the last _; modules have no entries.
        """
        check_is_fitted(self, "members_")
        rows = self._batch(*self._checked(X, y, sample_weight))
        model, batch = copy.deepcopy(self._best).double(), rows.to_float64()
        with torch.no_grad(), options.few_threads(self._elements(len(batch))):
            flat = standard_errors(model, [batch], Exact(), lambda model: flattened(self._tree(model)))
            found = shaped_as(self._tree(model), flat)
        return {name: list(own.values()) if isinstance(own, dict) else own for name, own in found.items()}

    @abstractmethod
    def _checked(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs, targets as the model has them, and weights, of rows like those of the fit."""

    def _identified(self, model: Mixture) -> dict[str, Any]:
        """What is published of a model, softmax weights less what changes nothing."""
        found = {name.removesuffix("_"): value for name, value in self._weights_of(model).items()}
        nodes = found["gate_weights"]
        if self._is_softmax():
            centered = [node - node.mean(axis=0) for node in (nodes if isinstance(nodes, list) else [nodes])]
            found["gate_weights"] = centered if isinstance(nodes, list) else centered[0]
        return found

    def _tree(self, model: Mixture) -> dict[str, Any]:
        """The same without what is None, lists as dicts."""
        found = {name: own for name, own in self._identified(model).items() if own is not None}
        return {name: dict(enumerate(own)) if isinstance(own, list) else own for name, own in found.items()}

    def _without_targets(self, batch: Batch) -> Batch:
        target = batch.target.clone()
        (target[:, self.n_features_in_ :] if self._is_gaussian() else target).fill_(torch.nan)
        return Batch(target, batch.given)

    def _unanswered(self, X: np.ndarray) -> Batch:
        inputs = self._inputs(X)
        return self._bundle(self._unknown(len(inputs), inputs), inputs)

    def _generator(self, random_state: Any, device: torch.device) -> torch.Generator:
        seed = int(check_random_state(random_state).randint(2**31))
        return torch.Generator(device=device).manual_seed(seed)

    @property
    def how_(self) -> str:
        """What was done, in words."""
        gate = "module" if isinstance(self.gate, nn.Module) else self.gate
        expert = "module" if isinstance(self.expert, nn.Module) else self.expert
        tree = "" if self.levels is None else f" in a tree of {' × '.join(map(str, self._levels()))}"
        starts = "one start" if len(self.fits_) == 1 else f"{len(self.fits_)} starts, the best kept"
        algorithm = type(self._algorithm(0)).__name__
        return f"{self._n_states()} {expert} experts{tree} under a {gate} gate; {algorithm}; {starts}"

    @property
    def n_parameters_(self) -> int:
        """Free parameters, as information criteria count them; of networks all."""
        k, p, d = self._n_states(), self.n_features_in_, self._n_outputs()
        if self._is_joint():
            return k - 1 + k * (p + d) * (p + d + 3) // 2
        gate = {"constant": k - 1, "gaussian": k - 1 + k * p * (p + 3) // 2}.get(str(self.gate), (k - 1) * (1 + p))
        if isinstance(self.gate, nn.Module):
            gate = len(self._best.weights.coordinates())
        return gate + self._n_expert_parameters()

    @abstractmethod
    def _n_expert_parameters(self) -> int: ...
