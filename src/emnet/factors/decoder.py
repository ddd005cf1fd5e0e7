"""p(x | z) of a row's cells by a network: families side by side, each on its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from emnet.factors.base import require_given
from emnet.factors.cells import CellLikelihood
from emnet.factors.differentiable import DifferentiableFactor


@dataclass(frozen=True, eq=False)
class Entries:
    """Rows of cells, (n, d), with 0 for what is missing; `seen`, 1 and 0 like them, or None if nothing is missing."""

    cells: Tensor
    seen: Tensor | None

    def __len__(self) -> int:
        return len(self.cells)

    def mask(self) -> Tensor:
        return torch.ones_like(self.cells) if self.seen is None else self.seen


class Decoder(DifferentiableFactor):
    """log p(x | z) = Σ_j log p(x_j | network(z)_j) over the cells that were seen.

    Parameters
    ----------
    network : a torch module, (n, l) → (n, the likelihoods' outputs side by side), without dropout in training.
    likelihoods : of groups of columns.
    columns : of each of them, in the rows; together every column once.
    """

    def __init__(
        self,
        network: nn.Module,
        likelihoods: Sequence[CellLikelihood],
        columns: Sequence[Sequence[int]],
        *,
        precision: float = 0.0,
        learning_rate: float = 1e-3,
    ):
        super().__init__(precision=precision, learning_rate=learning_rate)
        self.network = network
        self.likelihoods = nn.ModuleList(likelihoods)
        self.columns = tuple(tuple(own) for own in columns)

    @property
    def n_columns(self) -> int:
        return sum(len(own) for own in self.columns)

    @property
    def n_outputs(self) -> int:
        return sum(part.n_outputs for part in self._parts())

    @property
    def n_features(self) -> int:
        """What an encoder is shown of a row, without the mask of its holes."""
        return sum(part.n_features for part in self._parts())

    def outputs(self, given: Tensor) -> Tensor:
        """(…, l) → (…, n_outputs); the network sees two axes, as convolutions want."""
        if given.dim() == 2:
            return self.network(given)  # type: ignore[no-any-return]
        flat = self.network(given.reshape(-1, given.shape[-1]))
        return flat.view(*given.shape[:-1], flat.shape[-1])

    def log_prob(self, target: Entries, given: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """(n, d) cells and z of (…, n, l) → (…, n)."""
        return self.log_prob_of_outputs(target, self.outputs(require_given(given)))

    def log_prob_of_outputs(self, target: Entries, outputs: Tensor) -> Tensor:
        found = [
            _total(part.log_prob(own, said), seen)
            for part, own, said, seen in zip(
                self._parts(),
                self._split(target.cells),
                self._outputs_of(outputs),
                self._split(target.seen),
                strict=True,
            )
        ]
        return sum(found[1:], start=found[0])

    def cell_log_prob(self, cells: Tensor, outputs: Tensor) -> Tensor:
        """log p of every cell, (…, n, d), in the order of the columns."""
        return self._each(outputs, lambda part, said, own: part.log_prob(own, said), cells)

    def features(self, target: Entries) -> Tensor:
        """What an encoder is shown of the cells, (n, n_features): 0 of what is missing."""
        if len(self.columns) == 1 and target.seen is None:
            return self._parts()[0].features(target.cells)
        shown = []
        for part, own, seen in zip(self._parts(), self._split(target.cells), self._split(target.seen), strict=True):
            features = part.features(own)
            shown.append(features if seen is None else features * seen)  # of one category the mask is one column
        return torch.cat(shown, dim=1)

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x | z], (…, n, d); of categories the most probable one."""
        return self._each(outputs, lambda part, said, _: part.mean(said))

    def fill(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """E[x] under weighted draws, (s, n, n_outputs) and (s, n) → (n, d); of categories the most probable one."""
        return self._each(outputs, lambda part, said, _: part.fill(said, weights))

    def log_expectation(self, outputs: Tensor, intercept: Tensor, slope: Tensor) -> Tensor:
        """log E[σ(−a_j − b_j x_j)] given z, (…, n, d); 0 of families that have no nodes."""

        def of_part(part: CellLikelihood, said: Tensor, own: Tensor) -> Tensor:
            if not part.has_nodes:
                return torch.zeros(*said.shape[:-1], part.n_columns).to(said)
            values, log_weights = part.nodes(said)
            return (log_weights + logsigmoid(-own[0] - own[1] * values)).logsumexp(0)

        return self._each(outputs, of_part, torch.stack((intercept, slope)))

    def hidden_mean(self, outputs: Tensor, intercept: Tensor, slope: Tensor) -> Tensor:
        """E[x] given z and that the cell was not seen, (…, n, d)."""

        def of_part(part: CellLikelihood, said: Tensor, own: Tensor) -> Tensor:
            if not part.has_nodes:
                return part.mean(said)
            values, log_weights = part.nodes(said)
            return ((log_weights + logsigmoid(-own[0] - own[1] * values)).softmax(0) * values).sum(0)

        return self._each(outputs, of_part, torch.stack((intercept, slope)))

    def variance(self, outputs: Tensor) -> Tensor:
        return self._each(outputs, lambda part, said, _: part.variance(said))

    def distributions(
        self, outputs: Tensor, center: Tensor, scale: Tensor, logarithmic: Tensor | None
    ) -> list[Distribution]:
        """p(cells | z) of each group of columns, in the units of the table: see `CellLikelihood.distribution`."""
        found = []
        for part, said, own in zip(self._parts(), self._outputs_of(outputs), self.columns, strict=True):
            index = list(own)
            by_logarithm = logarithmic is not None and bool(logarithmic[index].all())
            found.append(part.distribution(said, center[index], scale[index], by_logarithm))
        return found

    def mode(self, outputs: Tensor) -> Tensor:
        return self._each(outputs, lambda part, said, _: part.mode(said))

    def draw(self, outputs: Tensor, generator: Generator) -> Tensor:
        return self._each(outputs, lambda part, said, _: part.draw(said, generator))

    def start(self, target: Entries) -> Tensor:
        """Outputs that are the same for all rows, and fit these, (n_outputs,)."""
        parts = zip(self._parts(), self._split(target.cells), self._split(target.mask()), strict=True)
        return torch.cat([part.start(own, seen) for part, own, seen in parts])

    def _parts(self) -> list[CellLikelihood]:
        return list(self.likelihoods)  # type: ignore[arg-type]

    def _outputs_of(self, outputs: Tensor) -> Sequence[Tensor]:
        if len(self.columns) == 1:
            return (outputs,)
        return outputs.split([part.n_outputs for part in self._parts()], dim=-1)

    def _split(self, cells: Any) -> Iterator[Any]:
        """The columns of each likelihood, of cells or of None."""
        for own in self.columns:
            whole = cells is None or len(self.columns) == 1
            yield cells if whole else cells[:, list(own)]

    def _each(self, outputs: Tensor, function: Callable[..., Tensor], cells: Tensor | None = None) -> Tensor:
        """What a function of likelihood, outputs and cells says, put back into the order of the columns."""
        parts = zip(self._parts(), self._outputs_of(outputs), self._split(cells), strict=True)
        found = torch.cat([function(part, said, own) for part, said, own in parts], dim=-1)
        order = [j for own in self.columns for j in own]
        if order == sorted(order):
            return found
        return found[..., torch.tensor(order).argsort().to(found.device)]


def _total(terms: Tensor, seen: Tensor | None) -> Tensor:
    return (terms if seen is None else terms * seen).sum(-1)
