"""The tables of models and algorithms: a new one is a row here and is held to every law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from emnet.algorithms.base import Algorithm
from emnet.algorithms.em import EM
from emnet.algorithms.gradient import LBFGS
from emnet.algorithms.squarem import Squarem
from emnet.batch import Batch, with_constant
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.covariances import Diagonal, Full, Spherical, Tied, TiedInGroups
from emnet.factors.experts import ClassExperts, GaussianExperts, ModuleExperts
from emnet.factors.factor_analysis import FactorAnalytic
from emnet.factors.gates import ModuleGate, SoftmaxGate
from emnet.factors.gaussian import Gaussian
from emnet.factors.gaussian_output import GaussianOutput
from emnet.factors.gaussian_priors import NormalInverseWishart
from emnet.factors.input_transitions import InputTransitions
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.log_normal import LogNormal
from emnet.factors.mixture_density import MixtureDensity
from emnet.factors.module import ModuleGaussian, ModuleOutput, ModuleUnits
from emnet.factors.module_density import ModuleDensity, ScaledLikelihood
from emnet.factors.multinomial import Multinomial
from emnet.factors.multinomial_steps import ClassByClass, Irls
from emnet.factors.parsimonious import EqualVolumeEqualOrientation
from emnet.factors.regression import BernoulliUnits, FixedBound, MStep, Newton, SoftmaxOutput
from emnet.factors.shared_states import SharedStates
from emnet.factors.state_mixtures import ComponentWeights, StateMixtures
from emnet.factors.student_t import StudentT
from emnet.factors.tables import Categorical, MixingWeights, Transitions
from emnet.inference.exact import Exact
from emnet.models.base import LatentModel
from emnet.models.bernoulli_network import BernoulliNetwork
from emnet.models.markov import HiddenMarkov
from emnet.models.mixture import Mixture
from tests.oracles import (
    all_configurations,
    enumerate_chain,
    enumerate_layers,
    enumerate_mixture,
    enumerate_regression,
    enumerate_table,
    leaf_probabilities,
    log_cell,
    log_multinomial,
    log_normal,
    log_output,
    log_regression,
)


@dataclass(frozen=True)
class Case:
    """A model with data. `oracle` gives each row's log evidence and a posterior summary, by brute force."""

    name: str
    make: Callable[[int, torch.dtype], LatentModel]  # (seed, dtype)
    data: Callable[[int, torch.dtype], Batch]
    oracle: Callable[[LatentModel, Batch], tuple]
    summary: Callable  # of a posterior, beside the oracle's
    closed: bool = False  # whether every factor's M-step ends where the gradient of Q vanishes


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
        [ModuleUnits(hidden, m, precision=0.3, learning_rate=1e-3)],
        ModuleOutput(output, m, g, precision=0.3, learning_rate=1e-3),
    )


def neural_oracle(model: BernoulliNetwork, batch: Batch) -> tuple:
    seen = batch.target if batch.observed is None else torch.where(batch.observed, batch.target, -1)
    states = torch.from_numpy(all_configurations(3))
    with torch.no_grad():
        table = model.output.network(states).log_softmax(1).numpy()
        logits = model.layers[0].network(batch.given[:, 1:]).numpy()
    truth = enumerate_table(logits, seen.numpy(), table)
    return truth.log_evidence, truth.mean


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


def random_covariances(k: int, d: int, generator: torch.Generator) -> torch.Tensor:
    root = torch.randn(k, d, d + 2, generator=generator, dtype=torch.float64)
    return root @ root.mT / d


def gaussians(seed: int, dtype: torch.dtype, structure=Full, *, k=3, d=3, prior=None, fixed=()) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.5
    covariance = structure(random_covariances(k, d, generator))
    return Mixture(MixingWeights(weights), Gaussian(means, covariance, prior=prior, fixed=fixed))


def points(seed: int, dtype: torch.dtype, *, n=40, d=3, missing=0.0) -> Batch:
    """Three clouds, with holes."""
    generator = torch.Generator().manual_seed(1000 + seed)
    centers = 3 * torch.randn(3, d, generator=generator, dtype=torch.float64)
    target = centers[torch.arange(n) % 3] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    target[torch.rand(n, d, generator=generator) < missing] = torch.nan
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.5
    return Batch(target.to(dtype), weights=weights.to(dtype))


def gaussians_oracle(model: Mixture, batch: Batch) -> tuple:
    factor = model.emissions["emission"]
    means, covariances = factor.means.numpy(), factor.covariance.covariances().numpy()
    seen = batch.target if batch.observed is None else torch.where(batch.observed[:, None], batch.target, torch.nan)
    rows = seen.double().numpy()

    def density(state: int) -> Callable[[int], float]:
        return lambda j: log_normal(rows[j], means[state], covariances[state])

    weights = model.weights.log_probabilities.exp().expand(len(batch), -1).numpy()
    labels = None if batch.labels is None else batch.labels.numpy()
    return enumerate_mixture(weights, [density(state) for state in range(len(means))], labels)


def _gaussian_case(name: str, structure=Full, *, missing=0.0, d=3, prior=None, fixed=(), labels=False, closed=True):
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = points(seed, dtype, d=d, missing=missing)
        return some_labels(batch, seed, 3) if labels else batch

    return Case(
        f"gaussians-{name}",
        lambda seed, dtype: gaussians(seed, dtype, structure, d=d, prior=prior, fixed=fixed),
        data,
        gaussians_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


def mixed_table(seed: int, dtype: torch.dtype, *, k=3) -> Mixture:
    """Two real columns and one of three categories."""
    numbers, category = gaussians(seed, dtype, Diagonal, k=k, d=2, prior=_weak_prior(2)), latent_class(seed, dtype, k=k)
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


FAMILIES = ("StudentT", "Bernoulli", "Poisson", "LogNormal")


def column_factor(family: str, seed: int, *, k=3, d=2, prior=True):
    """A factor of k states over d independent columns, with a weak prior."""
    generator = torch.Generator().manual_seed(3000 + seed)
    first, second, third = torch.rand(3, k, d, generator=generator, dtype=torch.float64)
    gaussian_prior = _weak_prior(d) if prior else None
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


def _weak_prior(d: int = 3, shrinkage: float = 0.1) -> NormalInverseWishart:
    return NormalInverseWishart(0.3 * torch.eye(d).double(), 1.0, torch.zeros(d).double(), shrinkage)


def some_labels(batch: Batch, seed: int, k: int) -> Batch:
    """The same rows, of which a third have a known state."""
    generator = torch.Generator().manual_seed(2000 + seed)
    labels = torch.randint(k, (len(batch),), generator=generator)
    return replace(batch, labels=torch.where(torch.rand(len(batch), generator=generator) < 1 / 3, labels, -1))


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


def experts(
    seed: int, dtype: torch.dtype, *, gate="softmax", kind="linear", levels=(3,), p=2, d=2, m_step=None, rate=1e-3
):
    """A mixture of experts. Every M-step that has a rate has one at which it does not overshoot."""
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
                ModuleGaussian(
                    random_module(generator, dtype, p, d), own, residual=1.5, precision=1.0, learning_rate=5e-3
                )
                for own in noise
            ]
        ),
        "neural-classes": lambda: ClassExperts(
            [
                ModuleOutput(random_module(generator, dtype, p, 3), p, 3, precision=0.3, learning_rate=1e-3)
                for _ in range(k)
            ]
        ),
    }[kind]()
    weights = {
        "softmax": lambda: softmax_gate(generator, dtype, levels, p, m_step),
        "neural": lambda: ModuleGate(random_module(generator, dtype, p, k), k, precision=0.3, learning_rate=rate),
        "constant": lambda: MixingWeights(torch.rand(k, generator=generator, dtype=torch.float64) + 0.5),
        "gaussian": lambda: MixingWeights(torch.rand(k, generator=generator, dtype=torch.float64) + 0.5),
    }[gate]()
    if gate != "gaussian":
        return Mixture(weights, emission)
    means = torch.randn(k, p, generator=generator, dtype=torch.float64)
    inputs = Gaussian(means, Full(random_covariances(k, p, generator)), prior=_weak_prior(p))
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
    rows = seen_rows(batch)
    x = sum(
        emission_log_likelihood(factor, rows[:, list(model.columns[name] or range(rows.shape[1]))])
        for name, factor in model.emissions.items()
    )
    start = model.start.log_probabilities.expand(len(rows), -1).numpy()
    steps = model.transition.log_probabilities.expand(len(rows), -1, -1).numpy()
    return paths_oracle(start, steps, x, batch)


def seen_rows(batch: Batch) -> np.ndarray:
    """The target as columns, NaN for what is not observed."""
    target = batch.target.double().view(len(batch), -1)
    target = target if batch.target.is_floating_point() else target.masked_fill(target < 0, torch.nan)
    seen = target if batch.observed is None else torch.where(batch.observed[:, None], target, torch.nan)
    return seen.numpy()


def paths_oracle(start: np.ndarray, steps: np.ndarray, x: np.ndarray, batch: Batch) -> tuple:
    """From log p of the first states, (n, k), of the steps, (n, k, k), and of the rows, (n, k)."""
    if batch.labels is not None:
        known = batch.labels.numpy()[:, None]
        x[(known >= 0) & (known != np.arange(x.shape[1]))] = -np.inf
    ends = np.cumsum(batch.lengths.numpy())
    parts = [slice(end - length, end) for end, length in zip(ends, batch.lengths.tolist(), strict=True)]
    found = [enumerate_chain(start[part][0], steps[part], x[part]) for part in parts]
    return np.array([each[0] for each in found]), np.concatenate([each[1] for each in found])


def _markov_case(
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


def input_output(
    seed: int, dtype: torch.dtype, *, inputs="softmax", kind="linear", k=3, p=2, **options
) -> HiddenMarkov:
    """A chain whose gates are those of mixtures of experts, and its emissions the experts."""
    gates = [
        experts(7000 + 10 * seed + i, dtype, gate=inputs, levels=(k,), p=p, **options).weights for i in range(1 + k)
    ]
    emission = experts(seed, dtype, gate="constant", kind=kind, levels=(k,), p=p, **options).emissions["emission"]
    return HiddenMarkov(gates[0], InputTransitions(gates[1:]), emission)


def gate_probabilities(gate, given: torch.Tensor) -> np.ndarray:
    """log p(state | x), (n, k), row by row."""
    if isinstance(gate, ModuleGate):
        return np.array([gate.network(row[1:]).log_softmax(0).detach().numpy() for row in given])
    weights = [node.weights.double().numpy() for node in gate.parts]
    return np.log([leaf_probabilities(row, weights, gate.levels) for row in given.double().numpy()])


def input_output_oracle(model: HiddenMarkov, batch: Batch) -> tuple:
    """Path after path, each step's gates and experts asked one by one."""
    rows, given, k = seen_rows(batch), batch.given, model.start.n_states
    expert = model.emissions["emission"]
    x = np.array([[expert_density(expert, state, rows[j], given[j]) for state in range(k)] for j in range(len(rows))])
    steps = np.stack([gate_probabilities(gate, given) for gate in model.transition.parts], axis=1)
    return paths_oracle(gate_probabilities(model.start, given), steps, x, batch)


def _input_output_case(
    name: str, *, kind="linear", symbols=False, labels=False, missing=0.0, p=2, d=2, **options
) -> Case:
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = labelled(seed, dtype, p=p) if "classes" in kind else branches(seed, dtype, p=p, d=d, missing=missing)
        if symbols:  # inputs of few values, and a target that is known at some steps
            sign = torch.cat((batch.given[:, :1], (batch.given[:, 1:] > 0).to(dtype)), dim=1)
            known = torch.arange(len(batch)) % 3 == 0
            batch = replace(batch, given=sign, target=torch.where(known, batch.target, -1))
        return in_sequences(some_labels(batch, seed, 3) if labels else batch, seed)

    return Case(
        f"input-output-{name}",
        lambda seed, dtype: input_output(seed, dtype, kind=kind, p=p, d=d, **options),
        data,
        input_output_oracle,
        lambda posterior: posterior.responsibilities,
    )


def neural_emission(kind: str, seed: int, dtype: torch.dtype, *, k=3, d=2, p=2):
    """What networks make of a row, or of the past that is given."""
    generator = torch.Generator().manual_seed(8000 + seed)
    return {
        "density": lambda: ModuleDensity(
            drawn(MixtureDensity(d, k, 2, n_past=p, hidden_units=2), generator, dtype), precision=3.0, steps=5
        ),
        "constant-density": lambda: ModuleDensity(
            drawn(MixtureDensity(d, k, 2), generator, dtype), precision=3.0, steps=5
        ),
        "scaled": lambda: ScaledLikelihood(
            random_module(generator, dtype, d, k),
            3 * torch.randn(20, d, generator=generator, dtype=torch.float64).to(dtype),
            precision=3.0,
            steps=5,
        ),
        "autoregressive": lambda: experts(seed, dtype, gate="constant", levels=(k,), p=p, d=d).emissions["emission"],
    }[kind]()


def neural_emission_density(factor, rows: np.ndarray, given: torch.Tensor | None) -> np.ndarray:
    """log p(row | state, given), (n, k), row by row and cell by cell; 0 of rows that are NaN throughout."""
    if isinstance(factor, GaussianExperts):
        k = factor.n_states
        return np.array([[expert_density(factor, i, row, x) for i in range(k)] for row, x in zip(rows, given)])  # noqa: B905
    if isinstance(factor, ScaledLikelihood):
        shares = factor.network(factor.reference).softmax(1).double().detach().numpy().mean(0)
        own = factor.network(torch.from_numpy(np.nan_to_num(rows)).to(factor.reference)).softmax(1).double()
        found = np.log(own.detach().numpy() / shares)
        return np.where(np.isnan(rows).all(1)[:, None], 0.0, found)
    network, d = factor.network, rows.shape[1]
    out = np.zeros((len(rows), network.shape[0]))
    for j, row in enumerate(rows):
        table = network.base.detach().double().numpy().copy()
        if network.network is not None:
            table += network.network(given[j, 1:]).detach().double().numpy().reshape(table.shape)
        for state, mixture in enumerate(table):
            weights = np.exp(mixture[:, 0]) / np.exp(mixture[:, 0]).sum()
            variances = np.exp(-9 + np.log1p(np.exp(mixture[:, 1 + d :] + 9)))
            densities = [log_regression(row, m, v) for m, v in zip(mixture[:, 1 : 1 + d], variances, strict=True)]
            out[j, state] = 0.0 if np.isnan(row).all() else np.log(weights @ np.exp(densities))
    return out


def neural_chain_oracle(model: HiddenMarkov, batch: Batch) -> tuple:
    rows = seen_rows(batch)
    x = neural_emission_density(model.emissions["emission"], rows, batch.given)
    start = model.start.log_probabilities.expand(len(rows), -1).numpy()
    return paths_oracle(start, model.transition.log_probabilities.expand(len(rows), -1, -1).numpy(), x, batch)


def _neural_chain_case(name: str, kind: str, *, missing=0.0, labels=False, closed=False) -> Case:
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = branches(seed, dtype, missing=missing)
        if kind == "scaled":  # which a row with some holes has no place in
            batch = replace(
                batch, target=torch.where(batch.target.isnan().any(1, keepdim=True), torch.nan, batch.target)
            )
        return in_sequences(some_labels(batch, seed, 3) if labels else batch, seed)

    return Case(
        f"neural-chain-{name}",
        lambda seed, dtype: hidden_markov(seed, neural_emission(kind, seed, dtype)),
        data,
        neural_chain_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


def _gaussian_emission(structure=Full, *, k=3, prior=True):
    def make(seed: int, dtype: torch.dtype) -> Gaussian:
        return gaussians(seed, dtype, structure, k=k, prior=_weak_prior() if prior else None).emissions["emission"]

    return make


def state_mixtures(seed: int, dtype: torch.dtype, structure=Diagonal, *, k=3, c=2) -> StateMixtures:
    weights = torch.rand(k, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    return StateMixtures(ComponentWeights(weights), _gaussian_emission(structure, k=k * c)(seed, dtype))


def covariances_first(seed: int, dtype: torch.dtype) -> StateMixtures:
    mixtures = state_mixtures(seed, dtype)
    mixtures.components.covariances_first, mixtures.components.prior = True, _weak_prior(shrinkage=0.0)
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
    _gaussian_case("full", prior=_weak_prior()),
    _gaussian_case("full-holes", prior=_weak_prior(), missing=0.3),
    _gaussian_case("tied", Tied),
    _gaussian_case("tied-holes", Tied, missing=0.3, prior=_weak_prior()),
    _gaussian_case("diagonal-holes", Diagonal, missing=0.3, prior=_weak_prior(shrinkage=0.0)),
    _gaussian_case("spherical", Spherical, d=1, prior=_weak_prior(1)),
    _gaussian_case("spherical-holes-labels", Spherical, missing=0.3, labels=True, prior=_weak_prior()),
    _gaussian_case("parsimonious", EqualVolumeEqualOrientation, prior=_weak_prior(), closed=False),
    _gaussian_case("factor", partial(FactorAnalytic, n_factors=1), prior=_weak_prior(), closed=False),
    Case(
        "mixed-table",
        mixed_table,
        mixed_rows,
        mixed_table_oracle,
        lambda posterior: posterior.responsibilities,
        closed=True,
    ),
    _gaussian_case("fixed-means", missing=0.1, fixed=("means",), prior=_weak_prior()),
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
    _expert_case("classes-hierarchy", kind="classes", levels=(2, 2), m_step=Irls(max_steps=5)),
    _expert_case("classes-gaussian-gate", kind="classes", gate="gaussian"),
    _expert_case("neural", gate="neural", kind="neural", levels=(2,), d=1, missing=0.2),
    _expert_case("neural-classes", gate="neural", kind="neural-classes", levels=(2,)),
    _columns_case("student-t", "StudentT"),
    _columns_case("bernoulli", "Bernoulli"),
    _columns_case("poisson", "Poisson"),
    _columns_case("log-normal", "LogNormal"),
    _columns_case("all-families-labels", *FAMILIES, labels=True),
    _markov_case("gaussian", _gaussian_emission(), points),
    _markov_case("gaussian-holes-labels", _gaussian_emission(), partial(points, missing=0.3), labels=True),
    _markov_case("tied-left-to-right", _gaussian_emission(Tied), points, pattern="left-to-right"),
    _markov_case("diagonal-holes", _gaussian_emission(Diagonal), partial(points, missing=0.3), pattern="known-entry"),
    _markov_case("spherical", _gaussian_emission(Spherical, prior=True), points),
    _markov_case(
        "mixed-table",
        lambda seed, dtype: dict(mixed_table(seed, dtype).emissions),
        mixed_rows,
        columns={"numbers": [0, 2], "category": [1]},
    ),
    _markov_case(
        "poisson", lambda seed, dtype: column_factor("Poisson", seed), partial(columns_rows, families=("Poisson",))
    ),
    _markov_case(
        "bernoulli",
        lambda seed, dtype: column_factor("Bernoulli", seed),
        partial(columns_rows, families=("Bernoulli",)),
    ),
    _markov_case("multinomial", multinomial, trials),
    _markov_case("mixtures", state_mixtures, partial(points, missing=0.2)),
    _markov_case("mixtures-tied", partial(state_mixtures, structure=partial(TiedInGroups, size=2)), points),
    _markov_case("mixtures-ecm", covariances_first, partial(points, missing=0.2), closed=False),
    _markov_case(
        "shared-states",
        lambda seed, dtype: SharedStates(_gaussian_emission(Diagonal, k=2)(seed, dtype), [0, 1, 0]),
        points,
    ),
    _input_output_case("linear"),
    _input_output_case("linear-holes-labels", missing=0.3, labels=True, d=1),
    _input_output_case("classes", kind="classes"),
    _input_output_case("classes-symbols", kind="classes", symbols=True),
    _input_output_case("classes-bound", kind="classes", m_step=FixedBound()),
    _input_output_case("neural", inputs="neural", kind="neural", k=2, d=1, rate=5e-3),
    _input_output_case("neural-classes-symbols", inputs="neural", kind="neural-classes", symbols=True),
    _neural_chain_case("autoregressive", "autoregressive", closed=True),
    _neural_chain_case("autoregressive-holes", "autoregressive", missing=0.3),
    _neural_chain_case("mixture-density-holes", "density", missing=0.3),
    _neural_chain_case("constant-mixture-density", "constant-density", labels=True),
    _neural_chain_case("scaled-likelihood-holes", "scaled", missing=0.2),
]

ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "em": lambda: EM(Exact()),
    "squarem": lambda: Squarem(EM(Exact())),
    "lbfgs": lambda: LBFGS(EM(Exact())),
}
