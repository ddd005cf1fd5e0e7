"""Mixtures of experts: gates, trees of gates, and experts over real targets and classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from emnet.batch import Batch
from emnet.factors.covariances import Full
from emnet.factors.experts import ClassExperts, GaussianExperts, ModuleExperts
from emnet.factors.gates import ModuleGate, SoftmaxGate
from emnet.factors.gaussian import Gaussian
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.module import ModuleGaussian, ModuleOutput
from emnet.factors.multinomial_steps import ClassByClass, Irls
from emnet.factors.regression import FixedBound, MStep, Newton, SoftmaxOutput
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture
from tests.cases.case import Case
from tests.cases.gaussians import random_covariances, weak_prior
from tests.cases.networks import FEW, labelled, measured
from tests.oracles import (
    enumerate_mixture,
    leaf_probabilities,
    log_normal,
    log_output,
    log_regression,
)


def softmax_gate(generator: torch.Generator, dtype: torch.dtype, levels: tuple[int, ...], p: int, m_step: MStep):
    nodes, count = [], 1
    for branches in levels:
        for _ in range(count):
            weights = torch.randn(branches, 1 + p, generator=generator, dtype=torch.float64)
            nodes.append(SoftmaxOutput(weights.to(dtype), precision=0.3, m_step=m_step))
        count *= branches
    return SoftmaxGate(nodes, levels)


def random_module(generator: torch.Generator, dtype: torch.dtype, p: int, k: int) -> torch.nn.Module:
    return drawn(torch.nn.Sequential(torch.nn.Linear(p, 3), torch.nn.Tanh(), torch.nn.Linear(3, k)), generator, dtype)


def drawn(module: torch.nn.Module, generator: torch.Generator, dtype: torch.dtype) -> torch.nn.Module:
    """The module with parameters drawn anew."""
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return module.to(dtype)


def experts(seed: int, dtype: torch.dtype, *, gate="softmax", kind="linear", levels=(3,), p=2, d=2, m_step=None):
    """A mixture of experts."""
    generator = torch.Generator().manual_seed(seed)
    m_step, k = m_step or Newton(), torch.tensor(levels).prod().item()
    noise = torch.rand(k, d, generator=generator, dtype=torch.float64) + 0.5
    emission = {
        "linear": lambda: GaussianExperts(
            torch.randn(k, d, 1 + p, generator=generator, dtype=torch.float64).to(dtype),
            noise,
            prior=ConjugatePrior(0.3, 0.2),
        ),
        "classes": lambda: ClassExperts(
            [
                SoftmaxOutput(
                    torch.randn(3, 1 + p, generator=generator, dtype=torch.float64).to(dtype),
                    precision=0.3,
                    m_step=m_step,
                )
                for _ in range(k)
            ]
        ),
        "neural": lambda: ModuleExperts(
            [
                ModuleGaussian(random_module(generator, dtype, p, d), own, residual=1.5, precision=1.0, m_step=FEW)
                for own in noise
            ]
        ),
        "neural-classes": lambda: ClassExperts(
            [ModuleOutput(random_module(generator, dtype, p, 3), p, 3, precision=0.3, m_step=FEW) for _ in range(k)]
        ),
    }[kind]()
    weights = {
        "softmax": lambda: softmax_gate(generator, dtype, levels, p, m_step),
        "neural": lambda: ModuleGate(random_module(generator, dtype, p, k), k, precision=0.3, m_step=FEW),
        "constant": lambda: MixingWeights(torch.rand(k, generator=generator, dtype=torch.float64) + 0.5),
        "gaussian": lambda: MixingWeights(torch.rand(k, generator=generator, dtype=torch.float64) + 0.5),
    }[gate]()
    if gate != "gaussian":
        return Mixture(weights, emission)
    means = torch.randn(k, p, generator=generator, dtype=torch.float64)
    inputs = Gaussian(means, Full(random_covariances(k, p, generator)), prior=weak_prior(p))
    last = range(p, p + (1 if "classes" in kind else d))
    return Mixture(weights, {"inputs": inputs, "expert": emission}, {"inputs": range(p), "expert": last})


def branches(seed: int, dtype: torch.dtype, *, missing=0.0, **options) -> Batch:
    """Targets of which each x has two."""
    batch = measured(seed, torch.float64, **options)
    generator = torch.Generator().manual_seed(3000 + seed)
    sign = 2.0 * torch.randint(2, (len(batch), 1), generator=generator) - 1
    target = sign * batch.target + 0.3 * batch.given[:, 1:2]
    target[torch.rand(target.shape, generator=generator) < missing] = torch.nan
    return Batch(target.to(dtype), batch.given.to(dtype), weights=batch.weights.to(dtype))


def with_inputs(batch: Batch) -> Batch:
    """The same rows, whose inputs are targets too, as a Gaussian gate explains them."""
    target = batch.target.to(batch.given.dtype).view(len(batch), -1)
    return replace(batch, target=torch.cat((batch.given[:, 1:], target), dim=1))


def experts_oracle(model: Mixture, batch: Batch) -> tuple:
    """Path after path through the gate, expert after expert, cell after cell."""
    joint = "inputs" in model.emissions
    given = batch.given.double()
    expert = model.emissions["expert" if joint else "emission"]
    target = batch.target.double()
    if batch.observed is not None:
        target = torch.where(batch.observed.view(-1, *[1] * (target.dim() - 1)), target, torch.nan)
    rows, gate = target.view(len(batch), -1).numpy(), model.weights
    own = rows[:, given.shape[1] - 1 :] if joint else rows

    def density_of(state: int) -> Callable[[int], float]:
        def density(j: int) -> float:
            return expert_density(expert, state, own[j], given[j]) + (
                log_normal(rows[j, : given.shape[1] - 1], means[state], covariances[state]) if joint else 0.0
            )

        return density

    if joint:
        means = model.emissions["inputs"].means.numpy()
        covariances = model.emissions["inputs"].covariance.covariances().numpy()
    if isinstance(gate, SoftmaxGate):
        nodes = [node.weights.double().numpy() for node in gate.parts]
        weights = np.array([leaf_probabilities(row, nodes, gate.levels) for row in given.numpy()])
    elif isinstance(gate, ModuleGate):
        logits = gate.network(batch.given[:, 1:]).double().detach().numpy()
        weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    else:
        weights = gate.log_probabilities.exp().expand(len(batch), -1).numpy()
    return enumerate_mixture(weights, [density_of(state) for state in range(gate.n_states)])


def expert_density(expert, state: int, target: np.ndarray, given: torch.Tensor) -> float:
    if isinstance(expert, GaussianExperts):
        mean = (expert.weights[state].double() @ given).numpy()
        return log_regression(target, mean, expert.variance[state].numpy())
    if isinstance(expert, ModuleExperts):
        mean = expert.parts[state].network(given[1:]).detach().numpy()
        return log_regression(target, mean, expert.variance[state].numpy())
    if target[0] != target[0] or target[0] < 0:
        return 0.0
    part = expert.parts[state]
    if isinstance(part, ModuleOutput):
        return float(part.network(given[1:]).log_softmax(0)[int(target[0])].detach())
    return float(log_output(part.weights.double().numpy(), given[1:].numpy())[int(target[0])])


def _expert_case(name: str, *, missing=0.0, gate="softmax", kind="linear", p=2, d=2, closed=False, **options) -> Case:
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = labelled(seed, dtype, p=p) if "classes" in kind else branches(seed, dtype, p=p, d=d, missing=missing)
        return with_inputs(batch) if gate == "gaussian" else batch

    return Case(
        f"experts-{name}",
        lambda seed, dtype: experts(seed, dtype, gate=gate, kind=kind, p=p, d=d, **options),
        data,
        experts_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


CASES = [
    _expert_case("linear"),
    _expert_case("linear-one-target-holes", d=1, p=3, missing=0.2),
    _expert_case("linear-holes", missing=0.3),
    _expert_case("constant-gate", gate="constant", closed=True),
    _expert_case("gaussian-gate", gate="gaussian", closed=True),
    _expert_case("hierarchy", levels=(2, 2), d=1),
    _expert_case("hierarchy-bound", levels=(2, 3), d=1, m_step=FixedBound()),
    _expert_case("ecm", levels=(4,), m_step=ClassByClass()),
    _expert_case("irls", levels=(4,), m_step=Irls()),
    _expert_case("classes-newton", kind="classes"),
    _expert_case("classes-bound", kind="classes", levels=(2,), m_step=FixedBound()),
    _expert_case("classes-ecm", kind="classes", m_step=ClassByClass()),
    _expert_case("classes-hierarchy", kind="classes", levels=(2, 2), m_step=Irls(max_steps=3)),
    _expert_case("classes-gaussian-gate", kind="classes", gate="gaussian"),
    _expert_case("neural", gate="neural", kind="neural", levels=(2,), d=1, missing=0.2),
    _expert_case("neural-classes", gate="neural", kind="neural-classes", levels=(2,)),
]
