"""Targets of sequences, some of which may not be known: labels as class indices, and numbers standardized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution

from emnet.data.stream import Stream
from emnet.estimators.distributions import of_targets
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.standardize import weighted_location_scale
from emnet.estimators.validation import plain_labels
from emnet.exceptions import InvalidInputError
from emnet.factors.base import Factor
from emnet.factors.experts import ClassExperts, GaussianExperts, ModuleExperts
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.module import ModuleGaussian, ModuleOutput
from emnet.factors.neural import NetworkMStep
from emnet.factors.regression import MStep, SoftmaxOutput
from emnet.kernels.quantiles import mixture_quantiles


@dataclass(frozen=True)
class Blueprint:
    """What experts are made from: k of them, on p inputs."""

    k: int
    p: int
    module: nn.Module | None  # None for linear ones
    m_step: MStep  # of linear ones
    network_m_step: NetworkMStep
    precision: float
    noise: float  # residual of the prior on σ
    dtype: torch.dtype
    seed: int

    def networks(self, n_outputs: int) -> list[nn.Module]:
        """A copy of the module for each state, its parameters drawn anew."""
        copies = [fresh_module("emission", self.module, self.dtype, self.seed + state) for state in range(self.k)]
        require_shape("emission", copies[0], self.p, n_outputs, self.dtype)
        return copies


class SequenceTargets(Protocol):
    """What the targets are: how they are coded, explained, predicted and kept in files."""

    kind: str

    def coded(self, Y: np.ndarray) -> np.ndarray:
        """As the model has them: (n,) of class indices, −1 unknown, or (n, d) standardized, NaN unknown."""
        ...

    def blank(self, n: int) -> np.ndarray:
        """Coded targets of which nothing is known."""
        ...

    def experts(self, plan: Blueprint) -> Factor[Any]: ...

    def features(self, target: np.ndarray) -> np.ndarray | None:
        """Coded targets as columns that k-means may part rows by; None where a random start is better."""
        ...

    def decoded(self, target: Tensor) -> np.ndarray:
        """Coded targets as the user has them."""
        ...

    def predicted(self, experts: Any, weights: Tensor, given: Tensor) -> np.ndarray:
        """The most probable label, or E[y], under weights of the states, (n, k)."""
        ...

    def mean(self, experts: Any, weights: Tensor, given: Tensor) -> np.ndarray:
        """E[y], (n,) or (n, d), or of labels their probabilities, (n, g), under weights of the states."""
        ...

    def quantiles(self, experts: Any, weights: Tensor, given: Tensor, levels: np.ndarray) -> np.ndarray:
        """(n, l) or (n, l, d), under weights of the states."""
        ...

    def distribution(self, experts: Any, weights: Tensor, given: Tensor) -> Distribution:
        """p(y) under weights of the states, of batch shape (n,): of labels over the indices of the classes."""
        ...

    def n_parameters(self, k: int, p: int) -> int:
        """Free parameters of k linear experts on p inputs."""
        ...

    def weights(self, experts: Any) -> np.ndarray:
        """Of linear experts, (k, classes or targets, 1 + p)."""
        ...

    def score(self, predicted: np.ndarray, Y: np.ndarray) -> float:
        """Accuracy, or R², of the known targets."""
        ...

    def log_scale(self, target: Tensor) -> Tensor:
        """What standardizing adds to the log density of each row, (n,)."""
        ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class LabelTargets:
    """Labels; of whole numbers −1, of others NaN or None is not known."""

    classes: np.ndarray
    kind = "classification"

    @classmethod
    def of(cls, Y: np.ndarray, weights: np.ndarray) -> Self:
        classes = np.unique(plain_labels(Y[~_unknown(Y)]).tolist())
        if len(classes) < 2:
            raise InvalidInputError(
                f"Labels need at least two classes; y has one class or none, {classes.tolist()} (−1, NaN and None are "
                "not known)."
            )
        return cls(classes)

    def coded(self, Y: np.ndarray) -> np.ndarray:
        if Y.ndim != 1:
            raise InvalidInputError(f"Labels are one column, (n,); got shape {Y.shape}.")
        unknown = _unknown(Y)
        labels = np.array(Y[~unknown].tolist(), dtype=None if unknown.all() else self.classes.dtype)
        odd = np.setdiff1d(labels, self.classes)
        if len(odd):
            raise InvalidInputError(f"y holds {odd.tolist()[0]!r}, which was not a class in training.")
        codes = np.full(len(Y), -1)
        codes[~unknown] = np.searchsorted(self.classes, labels)
        return codes

    def blank(self, n: int) -> np.ndarray:
        return np.full(n, -1)

    def experts(self, plan: Blueprint) -> ClassExperts:
        g = len(self.classes)
        if plan.module is not None:
            copies = plan.networks(g)
            options: dict[str, Any] = {"precision": plan.precision, "m_step": plan.network_m_step}
            return ClassExperts([ModuleOutput(own, plan.p, g, **options) for own in copies])
        generator = torch.Generator().manual_seed(plan.seed)
        starts = torch.randn(plan.k, g, 1 + plan.p, generator=generator, dtype=torch.float64).to(plan.dtype)
        return ClassExperts([SoftmaxOutput(own, precision=plan.precision, m_step=plan.m_step) for own in starts])

    def features(self, target: np.ndarray) -> None:
        return None

    def decoded(self, target: Tensor) -> np.ndarray:
        return self.classes[target.cpu().numpy()]

    def probabilities(self, experts: ClassExperts, weights: Tensor, given: Tensor) -> np.ndarray:
        """p(y), (n, g), under weights of the states, (n, k)."""
        own = experts.log_probabilities(given).double().exp()
        return (weights[:, :, None] * own).sum(1).cpu().numpy()

    def mean(self, experts: ClassExperts, weights: Tensor, given: Tensor) -> np.ndarray:
        return self.probabilities(experts, weights, given)

    def quantiles(self, experts: Any, weights: Tensor, given: Tensor, levels: np.ndarray) -> np.ndarray:
        raise InvalidInputError("Labels have no order, and so no quantiles: leave `quantiles` out.")

    def distribution(self, experts: Any, weights: Tensor, given: Tensor) -> Distribution:
        return Categorical(probs=torch.as_tensor(self.probabilities(experts, weights, given)))

    def n_parameters(self, k: int, p: int) -> int:
        return k * (len(self.classes) - 1) * (1 + p)

    def predicted(self, experts: ClassExperts, weights: Tensor, given: Tensor) -> np.ndarray:
        return self.classes[self.probabilities(experts, weights, given).argmax(axis=1)]

    def weights(self, experts: Any) -> np.ndarray:
        return np.stack([part.weights64().cpu().numpy() for part in experts.parts])

    def score(self, predicted: np.ndarray, Y: np.ndarray) -> float:
        known = ~_unknown(Y)
        return float((predicted[known] == Y[known]).mean())

    def log_scale(self, target: Tensor) -> Tensor:
        return torch.zeros(len(target), dtype=torch.float64, device=target.device)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "dtype": self.classes.dtype.str, "classes": self.classes.tolist()}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        return cls(np.array(state["classes"], dtype=np.dtype(state["dtype"])))


@dataclass(frozen=True)
class NumberTargets:
    """Numbers, one column or several; NaN is not known."""

    center: np.ndarray
    scale: np.ndarray
    flat: bool
    kind = "regression"

    @classmethod
    def of(cls, Y: np.ndarray, weights: np.ndarray) -> Self:
        values = numbers(Y)
        if np.isinf(values).any():
            raise InvalidInputError(f"y holds infinity, first in row {int(np.argwhere(np.isinf(values))[0][0])}.")
        require_known(~np.isnan(values).all(axis=0))
        return cls(*weighted_location_scale(values, weights), Y.ndim == 1)

    def coded(self, Y: np.ndarray) -> np.ndarray:
        values = numbers(Y)
        if values.shape[1] != len(self.center):
            raise InvalidInputError(f"The model has {len(self.center)} targets; y has {values.shape[1]}.")
        return (values - self.center) / self.scale

    def blank(self, n: int) -> np.ndarray:
        return np.full((n, len(self.center)), np.nan)

    def experts(self, plan: Blueprint) -> GaussianExperts | ModuleExperts:
        d = len(self.center)
        if plan.module is not None:
            residual, variance = plan.noise, torch.ones(d, dtype=torch.float64)
            options: dict[str, Any] = {"precision": plan.precision, "m_step": plan.network_m_step}
            copies = plan.networks(d)
            return ModuleExperts([ModuleGaussian(own, variance, residual=residual, **options) for own in copies])
        weights, variance = torch.zeros(plan.k, d, 1 + plan.p, dtype=plan.dtype), torch.ones(plan.k, d)
        return GaussianExperts(weights, variance.double(), prior=ConjugatePrior(plan.precision, plan.noise))

    def features(self, target: np.ndarray) -> np.ndarray:
        return np.nan_to_num(target)

    def decoded(self, target: Tensor) -> np.ndarray:
        values = target.double().cpu().numpy() * self.scale + self.center
        return values[:, 0] if self.flat else values

    def mean(self, experts: Any, weights: Tensor, given: Tensor) -> np.ndarray:
        return self.predicted(experts, weights, given)

    def quantiles(self, experts: Any, weights: Tensor, given: Tensor, levels: np.ndarray) -> np.ndarray:
        at = torch.as_tensor(levels, dtype=torch.float64, device=given.device)
        scales = experts.variance.sqrt()[None]
        found = mixture_quantiles(weights, experts.predictor(given).double(), scales, at)
        return self.decoded(found.flatten(0, 1)).reshape(len(given), len(levels), *(() if self.flat else (-1,)))

    def distribution(self, experts: Any, weights: Tensor, given: Tensor) -> Distribution:
        means, lower = experts.predictor(given).double(), torch.diag_embed(experts.variance.sqrt())
        return of_targets(weights, means, lower, self.center, self.scale, self.flat)

    def n_parameters(self, k: int, p: int) -> int:
        return k * len(self.center) * (2 + p)

    def predicted(self, experts: Any, weights: Tensor, given: Tensor) -> np.ndarray:
        return self.decoded((weights[:, :, None] * experts.predictor(given).double()).sum(1))

    def weights(self, experts: Any) -> np.ndarray:
        return experts.weights64().cpu().numpy()  # type: ignore[no-any-return]

    def score(self, predicted: np.ndarray, Y: np.ndarray) -> float:
        from sklearn.metrics import r2_score

        known = ~np.isnan(numbers(Y)).any(axis=1)
        return float(r2_score(Y[known], predicted[known]))

    def log_scale(self, target: Tensor) -> Tensor:
        scales = torch.as_tensor(np.log(self.scale), device=target.device)
        return -((~target.isnan()).double() @ scales)

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "mean": self.center.tolist(), "scale": self.scale.tolist(), "flat": self.flat}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Self:
        return cls(np.array(state["mean"]), np.array(state["scale"]), bool(state["flat"]))


KINDS: dict[str, Any] = {"classification": LabelTargets, "regression": NumberTargets}


def targets_of(kind: str, Y: np.ndarray, weights: np.ndarray, classes: Any = None) -> SequenceTargets:
    """What targets are, by a kind of `KINDS` or "auto", from the first of them; `classes` are all that may come."""
    if classes is not None:
        return LabelTargets(np.unique(plain_labels(classes)))
    return KINDS[kind_of(Y) if kind == "auto" else kind].of(Y, weights)  # type: ignore[no-any-return]


def streamed_targets(kind: str, stream: Stream) -> SequenceTargets:
    """What the targets of a stream are, by a pass; the units of numbers are still to be found."""
    found: set[str] = set()
    labels: set[Any] = set()
    for chunk in stream:
        Y = np.asarray(chunk.y)
        found.add(kind_of(Y) if kind == "auto" else kind)
        if "regression" not in found:
            labels.update(plain_labels(Y[~_unknown(Y)]).tolist())
    all_found = stream.group.gathered((found, labels))
    if any("regression" in own for own, _ in all_found):
        return NumberTargets(np.zeros(1), np.ones(1), True)
    every = np.array(sorted(set().union(*(own for _, own in all_found))))
    return LabelTargets.of(every, np.ones(len(every)))


def require_known(columns: np.ndarray) -> None:
    """Raise InvalidInputError for a column of targets of which nothing is known."""
    if not columns.all():
        raise InvalidInputError(f"Column {int(columns.argmin())} of y has nothing but NaN: nothing can be learned.")


def kind_of(Y: np.ndarray) -> str:
    """Numbers that are not all whole, or that have several columns, are for regression; all else are labels."""
    if Y.ndim >= 2:
        return "regression"
    fractional = Y.dtype.kind == "f" and bool((Y[~np.isnan(Y)] % 1 != 0).any())
    return "regression" if fractional else "classification"


def _unknown(Y: np.ndarray) -> np.ndarray:
    """Which labels are not known, (n,)."""
    if Y.dtype.kind in "iu":
        return Y == -1
    if Y.dtype.kind == "f":
        return np.isnan(Y) | (Y == -1)
    return np.array([label is None or label != label for label in Y.tolist()], dtype=bool)


def numbers(Y: np.ndarray) -> np.ndarray:
    """Targets of regression as columns, (n, d)."""
    if Y.ndim > 2:
        raise InvalidInputError(f"Targets are (n,) or (n, d); got shape {Y.shape}.")
    try:
        return np.asarray(Y, dtype=np.float64).reshape(len(Y), -1)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"Regression needs numbers in y, and NaN where not known: {error}.") from error
