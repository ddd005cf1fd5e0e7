"""Experts: what each state of a mixture makes of the inputs. Their densities are (n, k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.exceptions import CollapsedComponentError
from emnet.factors.base import require_given
from emnet.factors.composite import Composite, bundle
from emnet.factors.gaussian_regression import GaussianRegression
from emnet.factors.least_squares import ConjugatePrior, RegressionMoments, log_density, maximum
from emnet.factors.mixture_density import Gaussians
from emnet.factors.module import ModuleGaussian, ModuleOutput
from emnet.factors.regression import SoftmaxOutput
from emnet.factors.tables import Categorical
from emnet.kernels.normal_equations import weighted_grams
from emnet.statistics import ModelStatistics

_NO_ROWS = 1e-10  # expected rows of an expert that has none: it stays where it is
_COLLAPSED = 1e-13  # of the targets' mean square: a residual below it is rounding


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets as every pass needs them: `values`, (n, d), with 0 for what is missing.

    seen : (n, d), which are there; None if all.
    partly : the rows that have some but not all, as indices.
    """

    values: Tensor
    seen: Tensor | None
    partly: Tensor

    def share(self) -> Tensor | float:
        """1 for each row with no hole, else 0, (n, 1)."""
        return 1.0 if self.seen is None else self.seen.all(1, keepdim=True).double()


class GaussianExperts(GaussianRegression):
    """y_i ~ Normal(v_ki·x, σ_ki²): k linear regressions of d targets, each with noise of its own.

    The M-step is closed: k weighted ridge regressions. An entry of y that is NaN is not observed; where others of its
    row are, it is filled in with what the expert expects of it, as EM has it.

    Parameters
    ----------
    weights : (k, d, 1 + p), the start, biases first.
    variance : (k, d), the start of σ².
    prior : conjugate, the same for all experts.
    """

    def __init__(self, weights: Tensor, variance: Tensor, *, prior: ConjugatePrior | None = None):
        super().__init__(weights, variance, prior or ConjugatePrior())

    @property
    def n_states(self) -> int:
        return len(self.weights)

    @staticmethod
    def prepare(target: Tensor) -> Targets:
        missing = target.isnan()
        if not bool(missing.any()):
            return Targets(target, None, torch.zeros(0, dtype=torch.int64, device=target.device))
        partly = torch.nonzero(missing.any(1) & ~missing.all(1)).flatten()
        return Targets(target.masked_fill(missing, 0.0), ~missing, partly)

    def predictor(self, given: Tensor) -> Tensor:
        """Means, (n, 1 + p) → (n, k, d)."""
        return (given @ self.weights.flatten(0, 1).T).unflatten(1, self.weights.shape[:2])

    def gaussians(self, given: Tensor | None) -> Gaussians:
        """p(y | x, k) of each row and expert, mixtures of one component."""
        return _as_mixtures(self.predictor(require_given(given)), self.variance)

    def log_prob(self, target: Tensor | Targets, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k), of the entries that are there."""
        rows = target if isinstance(target, Targets) else self.prepare(target)
        terms = log_density(rows.values[:, None].double(), self.predictor(require_given(given)), self.variance)
        return (terms if rows.seen is None else terms * rows.seen[:, None]).sum(2).to(rows.values.dtype)

    def draw(self, states: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        """Targets of each row, of its own state's expert: (n, d)."""
        return _with_noise(self.predictor(given), self.variance, states, generator)

    def statistics(
        self, target: Tensor | Targets, weights: Tensor | None, given: Tensor | None = None
    ) -> RegressionMoments:
        """From responsibilities times the rows' weights, (n, k)."""
        rows = target if isinstance(target, Targets) else self.prepare(target)
        inputs, values = require_given(given).double(), rows.values.double()
        if weights is None:
            weights = inputs.new_ones(len(inputs), self.n_states)
        complete = _moments(inputs, values[:, None].expand(-1, self.n_states, -1), weights.double() * rows.share())
        if rows.seen is None or not len(rows.partly):
            return complete
        return complete + self._expected(rows, inputs[rows.partly], weights[rows.partly].double())

    def fill(self, target: Tensor | Targets, responsibilities: Tensor, given: Tensor) -> Tensor:
        """The target, (n, d), in float64, with expectations under responsibilities (n, k) for what is missing."""
        rows = target if isinstance(target, Targets) else self.prepare(target)
        return _expectations(rows.values, rows.seen, self.predictor(given), responsibilities)

    def implied_by(self, shares: Tensor, given: Tensor) -> RegressionMoments:
        """Statistics of rows with such shares of the experts, (n, k), whose targets are what each expert expects."""
        nothing = torch.full_like(given[:, :1], torch.nan).expand(-1, self.weights.shape[1])
        rows = Targets(nothing, ~nothing.isnan(), torch.arange(len(given), device=given.device))
        return self._expected(rows, given.double(), shares.double())

    def maximize(self, statistics: RegressionMoments) -> None:
        weights, variance = maximum(statistics, self.prior)
        idle = statistics.weight < _NO_ROWS
        self._require_noise(statistics, variance, idle)
        self.weights.data.copy_(torch.where(idle[:, None, None], self.weights64(), weights))
        self.log_variance.data.copy_(torch.where(idle[:, None], self.log_variance, variance.log()))

    def _expected(self, rows: Targets, inputs: Tensor, weights: Tensor) -> RegressionMoments:
        """Expected moments of rows with some holes: a missing entry has its expert's mean and variance."""
        assert rows.seen is not None
        seen = rows.seen[rows.partly][:, None]
        filled = torch.where(seen, rows.values[rows.partly][:, None].double(), self.predictor(inputs.to(self.weights)))
        found = _moments(inputs, filled, weights)
        unknown = weights.T @ (~seen[:, 0]).double()
        return RegressionMoments(found.given, found.cross, found.target + unknown * self.variance, found.weight)

    def _require_noise(self, statistics: RegressionMoments, variance: Tensor, idle: Tensor) -> None:
        size = statistics.target / statistics.weight.clamp_min(_NO_ROWS)[:, None]
        collapsed = ((variance <= _COLLAPSED * size) & ~idle[:, None]).any(1)
        if not bool(collapsed.any()):
            return
        experts = torch.nonzero(collapsed).flatten().tolist()
        names = ", ".join(f"expert {i} ({float(statistics.weight[i]):.3g} rows)" for i in experts)
        raise CollapsedComponentError(
            f"No noise is left of {names}: it fits its rows perfectly, where the evidence has no bound. Give a prior "
            "on the noise (`noise_prior` above 0), fewer experts, or more starts.",
            components=experts,
        )


class ClassExperts(Composite):
    """p(y = i | x, k): k softmax regressions, or networks, over g classes. The target −1 or NaN is not observed.

    Parameters
    ----------
    parts : an expert for each state.
    """

    prepare = staticmethod(Categorical.prepare)

    def __init__(self, parts: Sequence[SoftmaxOutput | ModuleOutput]):
        super().__init__(parts)

    @property
    def n_states(self) -> int:
        return len(self.parts)

    def log_probabilities(self, given: Tensor) -> Tensor:
        """log p(y | x, k), (n, k, g)."""
        experts = [part.predictor(given).log_softmax(-1) for part in self.parts]  # type: ignore[operator]
        return torch.stack(experts, dim=1)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n,) → (n, k)."""
        codes = self.prepare(target)
        terms = [part.log_prob(codes.clamp_min(0), given) for part in self._factors()]
        return torch.stack(terms, dim=1) * (codes >= 0)[:, None]

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From responsibilities times the rows' weights, (n, k)."""
        codes, given = self.prepare(target), require_given(given)
        if weights is None:
            weights = given.new_ones(len(given), self.n_states)
        if not bool((seen := codes >= 0).all()):
            codes, weights, given = codes[seen], weights[seen], given[seen]
        parts = enumerate(self._factors())
        return bundle(part.statistics(codes, weights[:, state], given) for state, part in parts)

    def draw(self, states: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        """A class for each row, of its own state's expert: (n,)."""
        rows = torch.arange(len(states), device=states.device)
        return torch.multinomial(self.log_probabilities(given)[rows, states].exp(), 1, generator=generator)[:, 0]


class ModuleExperts(Composite):
    """y_i ~ Normal(network_k(x)_i, σ_ki²): a network, with noise of its own, for each state.

    Parameters
    ----------
    parts : an expert for each state.
    """

    def __init__(self, parts: Sequence[ModuleGaussian]):
        super().__init__(parts)

    @property
    def n_states(self) -> int:
        return len(self.parts)

    @property
    def variance(self) -> Tensor:
        """σ², (k, d), float64."""
        return torch.stack([part.variance for part in self.parts])  # type: ignore[misc]

    def predictor(self, given: Tensor) -> Tensor:
        """Means, (n, 1 + p) → (n, k, d)."""
        return torch.stack([part.predictor(given) for part in self.parts], dim=1)  # type: ignore[operator]

    def gaussians(self, given: Tensor | None) -> Gaussians:
        """p(y | x, k) of each row and expert, mixtures of one component."""
        return _as_mixtures(self.predictor(require_given(given)), self.variance)

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """(n, d) → (n, k), of the entries that are there."""
        terms = [part.log_prob(target, given) for part in self._factors()]
        return torch.stack(terms, dim=1).detach().to(target.dtype)

    def draw(self, states: Tensor, given: Tensor, generator: torch.Generator) -> Tensor:
        """Targets of each row, of its own state's expert: (n, d)."""
        return _with_noise(self.predictor(given), self.variance, states, generator)

    def fill(self, target: Tensor, responsibilities: Tensor, given: Tensor) -> Tensor:
        """The target, (n, d), in float64, with expectations under responsibilities (n, k) for what is missing."""
        return _expectations(target, ~target.isnan(), self.predictor(given), responsibilities)

    def statistics(self, target: Tensor, weights: Tensor | None, given: Tensor | None = None) -> ModelStatistics:
        """From responsibilities times the rows' weights, (n, k)."""
        given = require_given(given)
        if weights is None:
            weights = given.new_ones(len(given), self.n_states)
        parts = enumerate(self._factors())
        return bundle(part.statistics(target, weights[:, state], given) for state, part in parts)


def _as_mixtures(means: Tensor, variance: Tensor) -> Gaussians:
    """Of means (n, k, d) and variances (k, d)."""
    means = means.double()[:, :, None]
    return Gaussians(torch.zeros_like(means[..., 0]), means, variance[:, None].expand_as(means))


def _expectations(target: Tensor, seen: Tensor | None, means: Tensor, responsibilities: Tensor) -> Tensor:
    """Targets (n, d) with Σ_k r_k E[y | k] of means (n, k, d) where they were not seen."""
    expected = (responsibilities.double()[:, :, None] * means.double()).sum(1)
    return target.double() if seen is None else torch.where(seen, target.double(), expected)


def _with_noise(means: Tensor, variance: Tensor, states: Tensor, generator: torch.Generator) -> Tensor:
    """Of each row its own state's mean, of (n, k, d), and noise of variance (k, d)."""
    own = means[torch.arange(len(states), device=states.device), states].double()
    noise = torch.randn(own.shape, generator=generator, dtype=own.dtype, device=own.device)
    return own + noise * variance[states].sqrt()


def _moments(given: Tensor, target: Tensor, weights: Tensor) -> RegressionMoments:
    """Of inputs (n, 1 + p), targets for each state (n, k, d), and weights (n, k)."""
    weighted = weights[:, :, None] * target
    cross = (given.T @ weighted.flatten(1)).view(-1, *target.shape[1:]).transpose(0, 1)
    return RegressionMoments(weighted_grams(given, weights), cross, (weighted * target).sum(0), weights.sum(0))
