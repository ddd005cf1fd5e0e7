"""What leads from state to state in an input–output chain: gates by name, or copies of a user's network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from emnet.estimators.modules import fresh_module, require_shape
from emnet.factors.gates import Columns, ModuleGate, PartialGate, SoftmaxGate
from emnet.factors.input_transitions import Gate
from emnet.factors.neural import NetworkMStep
from emnet.factors.regression import MStep, SoftmaxOutput

_GATE_SCALE = 1.0  # of the gates' first weights; with 2 a third fewer starts end well on the Tomita grammars


class Gates(Protocol):
    """Gates on p inputs, made anew for every start."""

    def after(self, state: int, reached: Tensor) -> Gate:
        """What leads away from a state, to those of the k that are reached, (k,)."""
        ...

    def weights(self, gates: list[Any]) -> np.ndarray | None:
        """Of linear gates, (k, k, 1 + p)."""
        ...

    def n_parameters(self, gates: list[Any], reached: Tensor) -> int:
        """Free ones, of gates to what is reached, (k, k)."""
        ...


@dataclass(frozen=True)
class LinearGates:
    """softmax(v·x), v drawn from the generator."""

    p: int
    precision: float
    m_step: MStep
    dtype: torch.dtype
    generator: torch.Generator

    def after(self, state: int, reached: Tensor) -> Gate:
        weights = _GATE_SCALE * torch.randn(len(reached), 1 + self.p, generator=self.generator, dtype=torch.float64)
        own = weights[reached].to(self.dtype)
        node = SoftmaxOutput(own, precision=self.precision, m_step=self.m_step)
        return _to_some(SoftmaxGate([node], (len(own),)), reached)

    def weights(self, gates: list[Any]) -> np.ndarray:
        return np.stack([gate.softmax_weights().cpu().numpy() for gate in gates])

    def n_parameters(self, gates: list[Any], reached: Tensor) -> int:
        return int((reached.sum(-1) - 1).sum()) * (1 + self.p)


@dataclass(frozen=True)
class NetworkGates:
    """softmax(network(x)), of each state before a copy with parameters drawn anew."""

    network: nn.Module
    p: int
    precision: float
    m_step: NetworkMStep
    dtype: torch.dtype
    seed: int

    def after(self, state: int, reached: Tensor) -> Gate:
        own = fresh_module("transition", self.network, self.dtype, self.seed + state)
        require_shape("transition", own, self.p, len(reached), self.dtype)
        if not bool(reached.all()):
            own = nn.Sequential(own, Columns(torch.nonzero(reached).flatten()))
        return _to_some(ModuleGate(own, int(reached.sum()), precision=self.precision, m_step=self.m_step), reached)

    def weights(self, gates: list[Any]) -> None:
        return None

    def n_parameters(self, gates: list[Any], reached: Tensor) -> int:
        return sum(len(gate.coordinates()) for gate in gates)


def _to_some(gate: SoftmaxGate | ModuleGate, reached: Tensor) -> Gate:
    return gate if bool(reached.all()) else PartialGate(gate, reached)
