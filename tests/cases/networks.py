"""Bernoulli networks over classes and real targets, by enumeration of their bits."""

from __future__ import annotations

import torch

from emnet.batch import Batch, with_constant
from emnet.factors.gaussian_output import GaussianOutput
from emnet.factors.module import ModuleOutput, ModuleUnits
from emnet.factors.neural import Ascent
from emnet.factors.regression import BernoulliUnits, FixedBound, MStep, Newton, SoftmaxOutput
from emnet.models.bernoulli_network import BernoulliNetwork
from tests.cases.case import Case
from tests.oracles import (
    all_configurations,
    enumerate_layers,
    enumerate_regression,
    enumerate_table,
)

FEW = Ascent(steps=3)  # of a network's M-step: two ways of adding up the same rows stay together for some iterations


def network(seed: int, dtype: torch.dtype, *, widths=(3,), p=2, g=3, m_step: MStep, precision=0.3) -> BernoulliNetwork:
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for fan_in, m in zip((p, *widths), widths, strict=False):
        weights = torch.randn(m, 1 + fan_in, generator=generator, dtype=torch.float64)
        layers.append(BernoulliUnits(weights.to(dtype), precision=precision, m_step=m_step))
    output = torch.randn(g, 1 + widths[-1], generator=generator, dtype=torch.float64)
    return BernoulliNetwork(layers, SoftmaxOutput(output.to(dtype), precision=precision, m_step=m_step))


def labelled(seed: int, dtype: torch.dtype, *, n=40, p=2, g=3) -> Batch:
    generator = torch.Generator().manual_seed(1000 + seed)
    inputs = torch.randn(n, p, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    target = (2 * torch.atan2(inputs[:, 0], inputs[:, -1]) + 0.3 * noise).floor().long() % g
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target, with_constant(inputs.to(dtype)), weights=weights.to(dtype))


def network_oracle(model: BernoulliNetwork, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed, batch.target, -1)
    weights = [factor.weights.double().numpy() for factor in model.factors.values()]
    truth = enumerate_layers(batch.given.double().numpy(), seen.numpy(), weights)
    return truth.log_evidence, truth.mean


def _network_case(name: str, *, widths: tuple[int, ...], p: int, g: int, m_step: MStep) -> Case:
    return Case(
        name,
        lambda seed, dtype: network(seed, dtype, widths=widths, p=p, g=g, m_step=m_step),
        lambda seed, dtype: labelled(seed, dtype, p=p, g=g),
        network_oracle,
        lambda posterior: posterior.mean,
    )


def regression(seed: int, dtype: torch.dtype, *, m=3, p=2, d=2, precision=0.3) -> BernoulliNetwork:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(m, 1 + p, generator=generator, dtype=torch.float64)
    output = torch.randn(d, 1 + m, generator=generator, dtype=torch.float64)
    variance = torch.rand(d, generator=generator, dtype=torch.float64) + 0.2
    return BernoulliNetwork(
        [BernoulliUnits(weights.to(dtype), precision=precision, m_step=Newton())],
        GaussianOutput(output.to(dtype), variance, precision=precision),
    )


def measured(seed: int, dtype: torch.dtype, *, n=40, p=2, d=2) -> Batch:
    generator = torch.Generator().manual_seed(1000 + seed)
    inputs = torch.randn(n, p, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, d, generator=generator, dtype=torch.float64)
    target = torch.sign(inputs[:, :1]) * torch.arange(1, d + 1) + 0.5 * noise
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target.to(dtype), with_constant(inputs.to(dtype)), weights=weights.to(dtype))


def regression_oracle(model: BernoulliNetwork, batch: Batch) -> tuple:
    seen = torch.ones(len(batch), dtype=torch.bool) if batch.observed is None else batch.observed
    truth = enumerate_regression(
        batch.given.double().numpy(),
        batch.target.double().numpy(),
        seen.numpy(),
        model.layers[0].weights.double().numpy(),
        model.output.weights.double().numpy(),
        model.output.variance.numpy(),
    )
    return truth.log_evidence, truth.mean


def neural(seed: int, dtype: torch.dtype, *, p=2, m=3, g=3) -> BernoulliNetwork:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.nn.Sequential(torch.nn.Linear(p, 4), torch.nn.Tanh(), torch.nn.Linear(4, m))
    output = torch.nn.Sequential(torch.nn.Linear(m, 4), torch.nn.Tanh(), torch.nn.Linear(4, g))
    for module in (hidden, output):
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return BernoulliNetwork(
        [ModuleUnits(hidden, m, precision=0.3, m_step=FEW)],
        ModuleOutput(output, m, g, precision=0.3, m_step=FEW),
    )


def neural_oracle(model: BernoulliNetwork, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed, batch.target, -1)
    states = torch.from_numpy(all_configurations(3))
    with torch.no_grad():
        table = model.output.network(states).log_softmax(1).numpy()
        logits = model.layers[0].network(batch.given[:, 1:]).numpy()
    truth = enumerate_table(logits, seen.numpy(), table)
    return truth.log_evidence, truth.mean


CASES = [
    _network_case("network-newton", widths=(3,), p=2, g=3, m_step=Newton()),
    _network_case("network-newton-one-unit", widths=(1,), p=1, g=2, m_step=Newton()),
    _network_case("network-newton-odd", widths=(5,), p=3, g=4, m_step=Newton(max_steps=5)),
    _network_case("network-bound", widths=(4,), p=2, g=3, m_step=FixedBound()),
    _network_case("network-deep", widths=(3, 2), p=2, g=3, m_step=Newton()),
    _network_case("network-deeper-bound", widths=(2, 3, 2), p=2, g=2, m_step=FixedBound()),
    Case("network-neural", neural, labelled, neural_oracle, lambda posterior: posterior.mean),
    Case("regression", regression, measured, regression_oracle, lambda posterior: posterior.mean),
    Case(
        "regression-one-target",
        lambda seed, dtype: regression(seed, dtype, m=5, p=3, d=1, precision=0.05),
        lambda seed, dtype: measured(seed, dtype, p=3, d=1),
        regression_oracle,
        lambda posterior: posterior.mean,
    ),
]
