"""M-steps of networks: Q and the evidence do not fall, whatever the scale of the data, the type or the activation."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from emnet import MixtureOfExpertsClassifier, MixtureOfExpertsRegressor
from emnet.algorithms.base import run
from emnet.algorithms.em import EM
from emnet.batch import Batch, with_constant
from emnet.exceptions import InvalidInputError
from emnet.factors.experts import ModuleExperts
from emnet.factors.gates import ModuleGate
from emnet.factors.module import ModuleGaussian
from emnet.factors.neural import Ascent
from emnet.factors.regression import GradientStep
from emnet.inference.exact import Exact
from emnet.models.mixture import Mixture


def network(n_inputs: int, n_outputs: int, activation=nn.Tanh) -> nn.Module:
    return nn.Sequential(nn.Linear(n_inputs, 5), activation(), nn.Linear(5, n_outputs))


def experts(seed: int, dtype: torch.dtype, **options) -> Mixture:
    torch.manual_seed(seed)
    make = partial(network, 2, activation=options.pop("activation", nn.Tanh))
    parts = [ModuleGaussian(make(1).to(dtype), torch.ones(1), residual=0.1, **options) for _ in range(2)]
    return Mixture(ModuleGate(make(2).to(dtype), 2), ModuleExperts(parts))


def bent(dtype: torch.dtype, *, n=80, scale=1.0, seed=0) -> Batch:
    """Targets in which inputs bend; NaN here and there."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    target = inputs[:, :1].abs() + 0.1 * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    target[::9] = torch.nan
    return Batch((scale * target).to(dtype), with_constant((scale * inputs).to(dtype)))


@pytest.mark.parametrize(
    ("scale", "activation", "dtype", "rounding"),
    [
        (1e-3, nn.Tanh, torch.float64, 1e-9),
        (1.0, nn.ReLU, torch.float64, 1e-9),
        (1e3, nn.Tanh, torch.float64, 1e-9),
        (1e3, nn.ReLU, torch.float64, 1e-9),
        (1.0, nn.Tanh, torch.float32, 1e-5),
    ],
)
def test_the_evidence_never_falls(scale, activation, dtype, rounding):
    model, batch = experts(0, dtype, activation=activation), bent(dtype, scale=scale)
    fit = run(model, batch, EM(Exact()), inference=Exact(), max_iter=12, monotone=False)
    objective = np.array([line.progress.objective for line in fit.history])
    assert (np.diff(objective) >= -rounding * (fit.rows + abs(objective[:-1]))).all()
    assert objective[-1] > objective[0] + 1


def test_noise_is_where_its_gradient_vanishes():
    batch, part = bent(torch.float64), experts(1, torch.float64).emissions["emission"].parts[0]
    statistics = part.statistics(batch.target, torch.rand(len(batch)).double(), batch.given)
    part.maximize(statistics)
    assert abs(float(part.gradient(statistics)[-1])) < 1e-10


def test_an_expert_without_rows_keeps_its_noise():
    batch, part = bent(torch.float64), experts(1, torch.float64).emissions["emission"].parts[0]
    part.prior = type(part.prior)(residual=0.0)
    part.maximize(part.statistics(batch.target, torch.zeros(len(batch)).double(), batch.given))
    assert float(part.variance) == 1.0


def test_more_steps_bring_more_an_iteration():
    reached = []
    for steps in (1, 10):
        model = experts(2, torch.float64, m_step=Ascent(steps))
        fit = run(model, bent(torch.float64), EM(Exact()), inference=Exact(), max_iter=10, tol=0.0)
        reached.append(fit.last.objective)
    assert reached[1] > reached[0] + 1


@pytest.mark.parametrize("algorithm", ["em", "squarem"])
def test_estimators_do_not_end_lower(algorithm):
    """Before, a gradient step of a fixed rate ended such a fit at once."""
    rng = np.random.RandomState(0)
    X = rng.uniform(-3, 3, size=(150, 1))
    options = {"n_init": 1, "max_iter": 5, "algorithm": algorithm, "random_state": 0}
    numbers = MixtureOfExpertsRegressor(2, gate=network(1, 2), expert=network(1, 1), **options).fit(X, np.sin(X[:, 0]))
    classes = MixtureOfExpertsClassifier(2, gate=network(1, 2), expert=network(1, 2), **options).fit(X, X[:, 0] > 1)
    for model in (numbers, classes):
        assert model.reason_ in ("converged", "max_iter")
        assert model.history_[-1]["log_evidence"] > model.history_[0]["log_evidence"]


def test_a_fixed_rate_needs_no_rows_and_is_there_for_those_who_ask():
    rng = np.random.RandomState(0)
    X = rng.uniform(-1, 1, size=(60, 1))
    model = MixtureOfExpertsRegressor(2, gate=network(1, 2), algorithm="online", batch_size=20, max_iter=2, n_init=1)
    with pytest.raises(InvalidInputError, match="of networks"):
        model.fit(X, X[:, 0])
    model.set_params(m_step=GradientStep(1e-4)).fit(X, X[:, 0])
    assert model.n_iter_ == 2
