"""Hidden semi-Markov models: chains whose states last as long as their durations say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from emnet.batch import Batch
from emnet.factors.tables import Durations, Transitions
from emnet.models.semi_markov import HiddenSemiMarkov
from tests.cases.case import Case
from tests.cases.chains import gaussian_emission, hidden_markov, log_likelihood, markov_case, sequences_oracle
from tests.cases.columns import column_factor, columns_rows
from tests.cases.gaussians import points
from tests.oracles import enumerate_segments


def hidden_semi_markov(seed: int, emissions, columns=None, *, k=3, longest=3) -> HiddenSemiMarkov:
    """A chain without ways from a state to itself, and durations with priors."""
    chain = hidden_markov(seed, emissions, columns, k=k)
    generator, own = torch.Generator().manual_seed(7000 + seed), torch.eye(k, dtype=torch.bool)
    durations = torch.rand(k, longest, generator=generator, dtype=torch.float64) + 0.2
    steps = chain.transition.log_probabilities.exp().masked_fill(own, 0.0)
    return HiddenSemiMarkov(
        chain.start,
        Transitions(steps, concentration=1.1, fixed=own),
        Durations(durations, concentration=1.2),
        emissions,
        columns,
    )


def hidden_semi_markov_oracle(model: HiddenSemiMarkov, batch: Batch) -> tuple:
    """Segmentation after segmentation of sequence after sequence."""
    tables = [part.log_probabilities.numpy() for part in (model.start, model.transition, model.duration)]
    x = log_likelihood(model, batch)
    return sequences_oracle(x, batch, lambda part, own: enumerate_segments(*tables, own))


def _semi_markov_case(name: str, make: Callable, data: Callable, *, labels=False) -> Case:
    case = markov_case(name, make, data, labels=labels)
    return replace(
        case,
        name=f"semi-{case.name}",
        make=lambda seed, dtype: hidden_semi_markov(seed, make(seed, dtype)),
        oracle=hidden_semi_markov_oracle,
    )


CASES = [
    _semi_markov_case("gaussian-holes", gaussian_emission(), partial(points, missing=0.3)),
    _semi_markov_case(
        "poisson-labels",
        lambda seed, dtype: column_factor("Poisson", seed),
        partial(columns_rows, families=("Poisson",)),
        labels=True,
    ),
]
