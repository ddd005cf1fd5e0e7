"""Latent classes, and tables of numbers and categories."""

from __future__ import annotations

from collections.abc import Callable

import torch

from emnet.batch import Batch
from emnet.factors.covariances import Diagonal
from emnet.factors.tables import Categorical, MixingWeights
from emnet.models.mixture import Mixture
from tests.cases.case import Case
from tests.cases.gaussians import gaussians, points, some_labels, weak_prior
from tests.oracles import (
    enumerate_mixture,
    log_normal,
)


def latent_class(seed: int, dtype: torch.dtype, *, k=3, sizes=(2, 3, 4)) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.rand(k, g, generator=generator, dtype=torch.float64) + 0.2 for g in sizes]
    emissions = {f"column_{j}": Categorical(table, concentration=1.3) for j, table in enumerate(tables)}
    weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.5
    return Mixture(
        MixingWeights(weights, concentration=2.0), emissions, {f"column_{j}": [j] for j in range(len(sizes))}
    )


def categories(seed: int, dtype: torch.dtype, *, n=40, sizes=(2, 3, 4), missing=0.2) -> Batch:
    """Categories that hang together, with holes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    state = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    noise = 0.5 * torch.rand(n, len(sizes), generator=generator, dtype=torch.float64)
    target = ((state + noise) / 1.5 * torch.tensor(sizes)).floor()
    target[torch.rand(n, len(sizes), generator=generator) < missing] = torch.nan
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target.to(dtype), weights=weights.to(dtype))


def latent_class_oracle(model: Mixture, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    tables = [factor.log_probabilities.numpy() for factor in model.emissions.values()]

    def density(state: int) -> Callable[[int], float]:
        return lambda j: sum(
            table[state, int(cell)] for table, cell in zip(tables, seen[j].tolist(), strict=True) if cell == cell
        )

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    densities = [density(state) for state in range(model.weights.n_states)]
    return enumerate_mixture(weights, densities, None if batch.labels is None else batch.labels.numpy())


def mixed_table(seed: int, dtype: torch.dtype, *, k=3) -> Mixture:
    """Two real columns and one of three categories."""
    numbers, category = gaussians(seed, dtype, Diagonal, k=k, d=2, prior=weak_prior(2)), latent_class(seed, dtype, k=k)
    emissions = {"numbers": numbers.emissions["emission"], "category": category.emissions["column_1"]}
    return Mixture(numbers.weights, emissions, {"numbers": [0, 2], "category": [1]})


def mixed_rows(seed: int, dtype: torch.dtype) -> Batch:
    numbers, category = points(seed, dtype, d=2, missing=0.2), categories(seed, dtype)
    target = torch.stack((numbers.target[:, 0], category.target[:, 1], numbers.target[:, 1]), dim=1)
    return Batch(target, weights=numbers.weights)


def mixed_table_oracle(model: Mixture, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    rows, numbers = seen.double().numpy(), model.emissions["numbers"]
    means, covariances = numbers.means.numpy(), numbers.covariance.covariances().numpy()
    table = model.emissions["category"].log_probabilities.numpy()

    def density(state: int) -> Callable[[int], float]:
        def of_row(j: int) -> float:
            category = 0.0 if rows[j, 1] != rows[j, 1] else table[state, int(rows[j, 1])]
            return category + log_normal(rows[j, [0, 2]], means[state], covariances[state])

        return of_row

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    return enumerate_mixture(weights, [density(state) for state in range(len(means))])


CASES = [
    Case(
        "latent-class",
        latent_class,
        categories,
        latent_class_oracle,
        lambda posterior: posterior.responsibilities,
        closed=True,
    ),
    Case(
        "latent-class-some-labels",
        latent_class,
        lambda seed, dtype: some_labels(categories(seed, dtype), seed, 3),
        latent_class_oracle,
        lambda posterior: posterior.responsibilities,
        closed=True,
    ),
    Case(
        "mixed-table",
        mixed_table,
        mixed_rows,
        mixed_table_oracle,
        lambda posterior: posterior.responsibilities,
        closed=True,
    ),
]
