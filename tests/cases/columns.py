"""Families of independent columns."""

from __future__ import annotations

from collections.abc import Callable

import torch

from emnet.batch import Batch
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.log_normal import LogNormal
from emnet.factors.student_t import StudentT
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture
from tests.cases.case import Case
from tests.cases.gaussians import points, some_labels, weak_prior
from tests.oracles import (
    enumerate_mixture,
    log_cell,
)

FAMILIES = ("StudentT", "Bernoulli", "Poisson", "LogNormal")


def column_factor(family: str, seed: int, *, k=3, d=2, prior=True):
    """A factor of k states over d independent columns, with a weak prior."""
    generator = torch.Generator().manual_seed(3000 + seed)
    first, second, third = torch.rand(3, k, d, generator=generator, dtype=torch.float64)
    gaussian_prior = weak_prior(d) if prior else None
    return {
        "StudentT": lambda: StudentT(4 * first - 2, second + 0.5, 2 + 8 * third, prior=gaussian_prior),
        "Bernoulli": lambda: Bernoulli(0.1 + 0.8 * first, a=1.3 if prior else 1.0, b=1.2 if prior else 1.0),
        "Poisson": lambda: Poisson(0.5 + 5 * first, shape=1.4 if prior else 1.0, rate=0.2 if prior else 0.0),
        "LogNormal": lambda: LogNormal(2 * first - 1, second + 0.3, prior=gaussian_prior),
    }[family]()


def cell_parameters(factor, state: int, column: int) -> list[float]:
    """What the oracle of a cell takes."""
    tables = {
        "StudentT": lambda: (factor.means, factor.variances, factor.degrees_of_freedom),
        "Bernoulli": lambda: (factor.means,),
        "Poisson": lambda: (factor.means,),
        "LogNormal": lambda: (
            factor.of_logarithms.means,
            factor.of_logarithms.covariance.covariances().diagonal(dim1=1, dim2=2),
        ),
    }
    return [float(table[state, column]) for table in tables[type(factor).__name__]()]


def column_cells(family: str, seed: int, *, n=40, d=2, missing=0.2) -> torch.Tensor:
    """Three groups of rows in the support of a family, with holes, float64."""
    target = points(seed, torch.float64, n=n, d=d).target
    target = {
        "StudentT": lambda: target,
        "Bernoulli": lambda: (target > 0).double(),
        "Poisson": lambda: (1.5 * target.abs()).floor(),
        "LogNormal": lambda: (0.4 * target).exp(),
    }[family]()
    target[torch.rand(target.shape, generator=torch.Generator().manual_seed(4000 + seed)) < missing] = torch.nan
    return target


def columns_model(seed: int, dtype: torch.dtype, *, families=FAMILIES, k=3) -> Mixture:
    """Two columns of each family."""
    weights = torch.rand(k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    emissions = {name: column_factor(name, seed, k=k) for name in families}
    columns = {name: [2 * i, 2 * i + 1] for i, name in enumerate(families)}
    return Mixture(MixingWeights(weights), emissions, columns)


def columns_rows(seed: int, dtype: torch.dtype, *, families=FAMILIES) -> Batch:
    target = torch.cat([column_cells(name, seed) for name in families], dim=1)
    return Batch(target.to(dtype), weights=points(seed, dtype).weights)


def columns_oracle(model: Mixture, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    rows = seen.double().numpy()

    def density(state: int) -> Callable[[int], float]:
        parts = [
            (type(factor).__name__, column, cell_parameters(factor, state, i))
            for name, factor in model.emissions.items()
            for i, column in enumerate(model.columns[name])
        ]
        return lambda j: sum(log_cell(name, rows[j, column], *parameters) for name, column, parameters in parts)

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    labels = None if batch.labels is None else batch.labels.numpy()
    return enumerate_mixture(weights, [density(state) for state in range(model.weights.n_states)], labels)


def _columns_case(name: str, *families: str, labels=False) -> Case:
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = columns_rows(seed, dtype, families=families)
        return some_labels(batch, seed, 3) if labels else batch

    return Case(
        name,
        lambda seed, dtype: columns_model(seed, dtype, families=families),
        data,
        columns_oracle,
        lambda posterior: posterior.responsibilities,
        closed=True,
    )


CASES = [
    _columns_case("student-t", "StudentT"),
    _columns_case("bernoulli", "Bernoulli"),
    _columns_case("poisson", "Poisson"),
    _columns_case("log-normal", "LogNormal"),
    _columns_case("all-families-labels", *FAMILIES, labels=True),
]
