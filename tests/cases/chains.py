"""Hidden Markov models: chains of sequences over the emissions of mixtures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from emnet.batch import Batch
from emnet.factors.covariances import Diagonal, Full, Spherical, Tied, TiedInGroups
from emnet.factors.gaussian import Gaussian
from emnet.factors.multinomial import Multinomial
from emnet.factors.shared_states import SharedStates
from emnet.factors.state_mixtures import ComponentWeights, StateMixtures
from emnet.factors.tables import Categorical, MixingWeights, Transitions
from emnet.models.markov import HiddenMarkov
from tests.cases.case import Case
from tests.cases.columns import cell_parameters, column_factor, columns_rows
from tests.cases.gaussians import gaussians, points, some_labels, weak_prior
from tests.cases.tables import mixed_rows, mixed_table
from tests.oracles import enumerate_chain, log_cell, log_multinomial, log_normal

LENGTHS = (4, 1, 5, 3, 5, 2, 4, 1, 5, 4, 2, 4)  # of sequences, 40 rows


def in_sequences(batch: Batch, seed: int) -> Batch:
    """The same rows as sequences that have the weights."""
    generator = torch.Generator().manual_seed(5000 + seed)
    weights = torch.rand(len(LENGTHS), generator=generator, dtype=torch.float64) + 0.5
    return replace(batch, lengths=torch.tensor(LENGTHS), weights=weights.to(batch.target.dtype))


def hidden_markov(seed: int, emissions, columns=None, *, k=3, pattern="free") -> HiddenMarkov:
    """A chain with priors; "left-to-right", or with one transition that is known."""
    generator = torch.Generator().manual_seed(6000 + seed)
    start = torch.rand(k, generator=generator, dtype=torch.float64) + 0.3
    table = torch.rand(k, k, generator=generator, dtype=torch.float64) + 0.3
    own, fixed = MixingWeights(start, concentration=1.2), False
    if pattern == "left-to-right":
        table, fixed = table.triu(), torch.ones(k, k).tril(-1) > 0
        own = MixingWeights(torch.eye(k)[0], fixed=True)
    if pattern == "known-entry":
        table, fixed = table / table.sum(1, keepdim=True), torch.zeros(k, k, dtype=torch.bool)
        fixed[1, 2] = True
    return HiddenMarkov(own, Transitions(table, concentration=1.1, fixed=fixed), emissions, columns)


def emission_log_likelihood(factor, rows: np.ndarray) -> np.ndarray:
    """log p(row | state) of all states, (n, k), cell by cell."""
    if isinstance(factor, SharedStates):
        return emission_log_likelihood(factor.groups, rows)[:, factor.group_of.numpy()]
    if isinstance(factor, StateMixtures):
        weights = factor.weights.log_probabilities.numpy()
        own = emission_log_likelihood(factor.components, rows).reshape(len(rows), *weights.shape) + weights
        return np.log(np.exp(own).sum(2))
    out = np.zeros((len(rows), factor.n_states))
    for j, row in enumerate(rows):
        for state in range(factor.n_states):
            out[j, state] = _log_density(factor, state, row)
    return out


def _log_density(factor, state: int, row: np.ndarray) -> float:
    if isinstance(factor, Gaussian):
        return log_normal(row, factor.means[state].numpy(), factor.covariance.covariances()[state].numpy())
    if isinstance(factor, Categorical):
        return 0.0 if row[0] != row[0] else float(factor.log_probabilities[state, int(row[0])])
    if isinstance(factor, Multinomial):
        return log_multinomial(row, factor.log_probabilities[state].numpy())
    family = type(factor).__name__
    return sum(log_cell(family, x, *cell_parameters(factor, state, j)) for j, x in enumerate(row))


def hidden_markov_oracle(model: HiddenMarkov, batch: Batch) -> tuple:
    """Path after path of sequence after sequence."""
    start = model.start.log_probabilities.expand(len(batch), -1).numpy()
    steps = model.transition.log_probabilities.expand(len(batch), -1, -1).numpy()
    return paths_oracle(start, steps, log_likelihood(model, batch), batch)


def log_likelihood(model, batch: Batch) -> np.ndarray:
    """log p(row | state) of all emissions together, (n, k)."""
    rows = seen_rows(batch)
    return sum(
        emission_log_likelihood(factor, rows[:, list(model.columns[name] or range(rows.shape[1]))])
        for name, factor in model.emissions.items()
    )


def seen_rows(batch: Batch) -> np.ndarray:
    """The target as columns, NaN for what is not observed."""
    target = batch.target.double().view(len(batch), -1)
    target = target if batch.target.is_floating_point() else target.masked_fill(target < 0, torch.nan)
    seen = target if batch.observed is None else torch.where(batch.observed[:, None], target, torch.nan)
    return seen.numpy()


def paths_oracle(start: np.ndarray, steps: np.ndarray, x: np.ndarray, batch: Batch) -> tuple:
    """From log p of the first states, (n, k), of the steps, (n, k, k), and of the rows, (n, k)."""
    return sequences_oracle(x, batch, lambda part, own: enumerate_chain(start[part][0], steps[part], own))


def sequences_oracle(x: np.ndarray, batch: Batch, enumerate_one: Callable) -> tuple:
    """Evidence and posterior of sequence after sequence; `enumerate_one` takes its rows and their (T, k) of x."""
    if batch.labels is not None:
        known = batch.labels.numpy()[:, None]
        x[(known >= 0) & (known != np.arange(x.shape[1]))] = -np.inf
    ends = np.cumsum(batch.lengths.numpy())
    parts = [slice(end - length, end) for end, length in zip(ends, batch.lengths.tolist(), strict=True)]
    found = [enumerate_one(part, x[part]) for part in parts]
    return np.array([each[0] for each in found]), np.concatenate([each[1] for each in found])


def markov_case(
    name: str, make: Callable, data: Callable, *, pattern="free", labels=False, columns=None, closed=True
) -> Case:
    def rows(seed: int, dtype: torch.dtype) -> Batch:
        batch = data(seed, dtype)
        return in_sequences(some_labels(batch, seed, 3) if labels else batch, seed)

    return Case(
        f"markov-{name}",
        lambda seed, dtype: hidden_markov(seed, make(seed, dtype), columns, pattern=pattern),
        rows,
        hidden_markov_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


def gaussian_emission(structure=Full, *, k=3, prior=True):
    def make(seed: int, dtype: torch.dtype) -> Gaussian:
        return gaussians(seed, dtype, structure, k=k, prior=weak_prior() if prior else None).emissions["emission"]

    return make


def state_mixtures(seed: int, dtype: torch.dtype, structure=Diagonal, *, k=3, c=2) -> StateMixtures:
    weights = torch.rand(k, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    return StateMixtures(ComponentWeights(weights), gaussian_emission(structure, k=k * c)(seed, dtype))


def covariances_first(seed: int, dtype: torch.dtype) -> StateMixtures:
    mixtures = state_mixtures(seed, dtype)
    mixtures.components.covariances_first, mixtures.components.prior = True, weak_prior(shrinkage=0.0)
    return mixtures


def multinomial(seed: int, dtype: torch.dtype, *, k=3, g=4) -> Multinomial:
    generator = torch.Generator().manual_seed(seed)
    return Multinomial(torch.rand(k, g, generator=generator, dtype=torch.float64) + 0.2, concentration=1.2)


def trials(seed: int, dtype: torch.dtype, *, n=40, g=4) -> Batch:
    """Counts of four categories, some rows unknown."""
    target = (1.5 * points(seed, torch.float64, n=n, d=g).target.abs()).floor()
    target[torch.rand(n, generator=torch.Generator().manual_seed(4000 + seed)) < 0.2] = torch.nan
    return Batch(target.to(dtype))


CASES = [
    markov_case("gaussian", gaussian_emission(), points),
    markov_case("gaussian-holes-labels", gaussian_emission(), partial(points, missing=0.3), labels=True),
    markov_case("tied-left-to-right", gaussian_emission(Tied), points, pattern="left-to-right"),
    markov_case("diagonal-holes", gaussian_emission(Diagonal), partial(points, missing=0.3), pattern="known-entry"),
    markov_case("spherical", gaussian_emission(Spherical, prior=True), points),
    markov_case(
        "mixed-table",
        lambda seed, dtype: dict(mixed_table(seed, dtype).emissions),
        mixed_rows,
        columns={"numbers": [0, 2], "category": [1]},
    ),
    markov_case(
        "poisson", lambda seed, dtype: column_factor("Poisson", seed), partial(columns_rows, families=("Poisson",))
    ),
    markov_case(
        "bernoulli",
        lambda seed, dtype: column_factor("Bernoulli", seed),
        partial(columns_rows, families=("Bernoulli",)),
    ),
    markov_case("multinomial", multinomial, trials),
    markov_case("mixtures", state_mixtures, partial(points, missing=0.2)),
    markov_case("mixtures-tied", partial(state_mixtures, structure=partial(TiedInGroups, size=2)), points),
    markov_case("mixtures-ecm", covariances_first, partial(points, missing=0.2), closed=False),
    markov_case(
        "shared-states",
        lambda seed, dtype: SharedStates(gaussian_emission(Diagonal, k=2)(seed, dtype), [0, 1, 0]),
        points,
    ),
]
