"""Chains with inputs and networks: gates and experts that depend on x, and networks as emissions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from emnet.batch import Batch
from emnet.factors.experts import GaussianExperts
from emnet.factors.gates import ModuleGate, PartialGate, SoftmaxGate
from emnet.factors.input_transitions import InputTransitions
from emnet.factors.mixture_density import MixtureDensity
from emnet.factors.module_density import ModuleDensity, ScaledLikelihood
from emnet.factors.regression import FixedBound, SoftmaxOutput
from emnet.factors.shared_states import SharedStates
from emnet.models.markov import HiddenMarkov
from emnet.models.semi_markov import HiddenSemiMarkov
from tests.cases.case import Case
from tests.cases.chains import hidden_markov, in_sequences, paths_oracle, seen_rows, sequences_oracle
from tests.cases.experts import branches, drawn, expert_density, experts, random_module
from tests.cases.gaussians import some_labels
from tests.cases.networks import FEW, labelled
from tests.cases.segments import hidden_semi_markov
from tests.oracles import enumerate_segments, leaf_probabilities, log_regression


def input_output(
    seed: int, dtype: torch.dtype, *, inputs="softmax", kind="linear", k=3, p=2, pattern=None, shared=None, **options
) -> HiddenMarkov:
    """A chain whose gates are those of mixtures of experts, and its emissions the experts."""
    gates = [
        experts(7000 + 10 * seed + i, dtype, gate=inputs, levels=(k,), p=p, **options).weights for i in range(1 + k)
    ]
    if pattern is not None:  # where a sequence begins, and where each state leads
        gates = [partial_gate(gate, torch.tensor(own) > 0) for gate, own in zip(gates, pattern, strict=True)]
    g = k if shared is None else 1 + max(shared)
    emission = experts(seed, dtype, gate="constant", kind=kind, levels=(g,), p=p, **options).emissions["emission"]
    if shared is not None:
        emission = SharedStates(emission, shared)
    return HiddenMarkov(gates[0], InputTransitions(gates[1:]), emission)


def partial_gate(gate, reached: torch.Tensor) -> PartialGate:
    """The same weights, to fewer states."""
    (node,) = gate.parts
    fewer = SoftmaxOutput(node.weights[reached], precision=node.precision[0, 1], m_step=node.m_step)
    return PartialGate(SoftmaxGate([fewer], (int(reached.sum()),)), reached)


def gate_probabilities(gate, given: torch.Tensor) -> np.ndarray:
    """log p(state | x), (n, k), row by row."""
    if isinstance(gate, PartialGate):
        found = np.full((len(given), gate.n_states), -np.inf)
        found[:, gate.reached.numpy()] = gate_probabilities(gate.parts[0], given)
        return found
    if isinstance(gate, ModuleGate):
        return np.array([gate.network(row[1:]).log_softmax(0).detach().numpy() for row in given])
    weights = [node.weights.double().numpy() for node in gate.parts]
    return np.log([leaf_probabilities(row, weights, gate.levels) for row in given.double().numpy()])


def input_output_oracle(model: HiddenMarkov, batch: Batch) -> tuple:
    """Path after path, each step's gates and experts asked one by one."""
    rows, given, k = seen_rows(batch), batch.given, model.start.n_states
    expert = model.emissions["emission"]
    group_of, expert = (expert.group_of, expert.groups) if isinstance(expert, SharedStates) else (range(k), expert)
    x = np.array([[expert_density(expert, state, rows[j], given[j]) for state in group_of] for j in range(len(rows))])
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
            drawn(MixtureDensity(d, k, 2, n_past=p, hidden_units=2), generator, dtype), precision=3.0, m_step=FEW
        ),
        "constant-density": lambda: ModuleDensity(
            drawn(MixtureDensity(d, k, 2), generator, dtype), precision=3.0, m_step=FEW
        ),
        "scaled": lambda: ScaledLikelihood(
            random_module(generator, dtype, d, k),
            3 * torch.randn(20, d, generator=generator, dtype=torch.float64).to(dtype),
            precision=3.0,
            m_step=FEW,
        ),
        "autoregressive": lambda: experts(seed, dtype, gate="constant", levels=(k,), p=p, d=d).emissions["emission"],
    }[kind]()


def neural_emission_density(factor, rows: np.ndarray, given: torch.Tensor | None) -> np.ndarray:
    """log p(row | state, given), (n, k), row by row and cell by cell; 0 of rows that are NaN throughout."""
    if isinstance(factor, SharedStates):
        return neural_emission_density(factor.groups, rows, given)[:, factor.group_of.numpy()]
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


def semi_markov_oracle(model: HiddenSemiMarkov, batch: Batch) -> tuple:
    tables = [part.log_probabilities.numpy() for part in (model.start, model.transition, model.duration)]
    x = neural_emission_density(model.emissions["emission"], seen_rows(batch), batch.given)
    return sequences_oracle(x, batch, lambda part, own: enumerate_segments(*tables, own))


def _neural_chain_case(name: str, kind: str, *, missing=0.0, labels=False, closed=False, shared=None) -> Case:
    def data(seed: int, dtype: torch.dtype) -> Batch:
        batch = branches(seed, dtype, missing=missing)
        if kind == "scaled":  # which a row with some holes has no place in
            batch = replace(
                batch, target=torch.where(batch.target.isnan().any(1, keepdim=True), torch.nan, batch.target)
            )
        return in_sequences(some_labels(batch, seed, 3) if labels else batch, seed)

    def make(seed: int, dtype: torch.dtype) -> HiddenMarkov:
        if shared is None:
            return hidden_markov(seed, neural_emission(kind, seed, dtype))
        return hidden_markov(seed, SharedStates(neural_emission(kind, seed, dtype, k=1 + max(shared)), shared))

    return Case(
        f"neural-chain-{name}",
        make,
        data,
        neural_chain_oracle,
        lambda posterior: posterior.responsibilities,
        closed=closed,
    )


_LEFT_TO_RIGHT = ([1, 1, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1])  # of the start, and of each state

CASES = [
    _input_output_case("linear"),
    _input_output_case("linear-holes-labels", missing=0.3, labels=True, d=1),
    _input_output_case("classes", kind="classes"),
    _input_output_case("classes-symbols", kind="classes", symbols=True),
    _input_output_case("classes-bound", kind="classes", m_step=FixedBound()),
    _input_output_case("left-to-right-shared", pattern=_LEFT_TO_RIGHT, shared=[0, 1, 0]),
    _input_output_case("neural", inputs="neural", kind="neural", k=2, d=1),
    _input_output_case("neural-classes-symbols", inputs="neural", kind="neural-classes", symbols=True),
    _neural_chain_case("autoregressive", "autoregressive", closed=True),
    _neural_chain_case("autoregressive-holes", "autoregressive", missing=0.3),
    _neural_chain_case("autoregressive-shared-holes", "autoregressive", missing=0.3, shared=[0, 1, 0]),
    replace(
        _neural_chain_case("autoregressive-durations", "autoregressive", missing=0.2, labels=True),
        make=lambda seed, dtype: hidden_semi_markov(seed, neural_emission("autoregressive", seed, dtype)),
        oracle=semi_markov_oracle,
    ),
    _neural_chain_case("mixture-density-holes", "density", missing=0.3),
    _neural_chain_case("constant-mixture-density", "constant-density", labels=True),
    _neural_chain_case("scaled-likelihood-holes", "scaled", missing=0.2),
]
