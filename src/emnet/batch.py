"""What a model sees of the data: one immutable bundle of tensors with the rows first."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, TypeVar

import torch
from torch import Tensor

from emnet.exceptions import InvalidInputError

Derived = TypeVar("Derived")
_TENSORS = ("target", "given", "observed", "weights", "lengths", "labels")
_BY_SEQUENCE = ("weights", "lengths")


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of data, or sequences of rows end to end; what is None is absent (weights: 1; observed: everything).

    Its units are what is independent of one another: the rows, or the sequences where there are `lengths`.

    Attributes
    ----------
    target : (n,) or (n, d), what the model explains. For a classifier (n,) class indices. NaN is not observed.
    given : (n, p), what it is explained from, or None. Factors with a bias expect a leading constant 1.
    observed : like `target`, boolean: which entries were seen.
    weights : how many units each unit stands for: (n,), or (number of sequences,).
    lengths : (number of sequences,), where the rows are sequences end to end.
    labels : (n,), the latent state where it is known, else −1; or (n, k), what multiplies each state's probability.
    complete : that every entry of the target was seen, so that nobody need look; False says nothing.
    block : which sum of a pass the batch goes into first; the sums of the blocks are added in their order.
    """

    target: Tensor
    given: Tensor | None = None
    observed: Tensor | None = None
    weights: Tensor | None = None
    lengths: Tensor | None = None
    labels: Tensor | None = None
    complete: bool = False
    block: int = 0
    _derived: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def total_weight(self) -> float:
        return float(self.n_units) if self.weights is None else float(self.weights.sum())

    @property
    def n_units(self) -> int:
        return len(self) if self.lengths is None else len(self.lengths)

    @property
    def row_weights(self) -> Tensor | None:
        """The weight of each row, (n,): its own, or its sequence's."""
        if self.weights is None or self.lengths is None:
            return self.weights
        return self.weights.repeat_interleave(self.lengths.to(self.weights.device))

    @property
    def inputs(self) -> Tensor:
        """`given`, for models that cannot do without."""
        if self.given is None:
            raise InvalidInputError("This model explains its target from inputs: give the batch `given`, (n, p).")
        return self.given

    def derived(self, function: Callable[..., Derived], *args: Hashable) -> Derived:
        """function(self, *args), worked out once: what every pass needs and no parameter changes."""
        key = (function, *args)
        if key not in self._derived:
            with torch.inference_mode(False), torch.no_grad():  # it outlives the step, and may meet a graph later
                self._derived[key] = function(self, *args)
        return self._derived[key]

    def to_float64(self) -> Batch:
        """The same units, all real numbers in float64; this batch, if they are."""
        narrow = {name: value for name, value in self._tensors() if value.is_floating_point()}
        real = {name: value.double() for name, value in narrow.items() if value.dtype != torch.float64}
        return replace(self, **real) if real else self  # type: ignore[arg-type]

    def unanswered(self) -> Batch:
        """The same units with nothing known of the target or of the state."""
        unknown = torch.nan if self.target.is_floating_point() else -1
        return replace(self, target=torch.full_like(self.target, unknown), observed=None, labels=None, complete=False)

    def rows(self, index: slice | Tensor) -> Batch:
        """The batch of some rows (of batches that are not sequences)."""
        if self.lengths is not None:
            raise ValueError("Rows of sequences cannot be taken apart: take whole sequences, by `units`.")
        return replace(self, **{name: _some_of(value, index) for name, value in self._tensors() if name != "lengths"})  # type: ignore[arg-type]

    def units(self, index: slice | Tensor) -> Batch:
        """The batch of some rows, or of some sequences; an index may name one more than once."""
        if self.lengths is None:
            return self.rows(index)
        rows = self._rows_of(index).to(self.target.device)
        own = {name: value[index if name in _BY_SEQUENCE else rows] for name, value in self._tensors()}
        return replace(self, **own)  # type: ignore[arg-type]

    def split(self, units: int) -> Iterator[Batch]:
        """The batch in pieces of at most so many units."""
        for start in range(0, self.n_units, units):
            yield self.units(slice(start, start + units))

    def _rows_of(self, index: slice | Tensor) -> Tensor:
        """The rows of some sequences."""
        assert self.lengths is not None
        lengths = self.lengths.cpu()
        first = (lengths.cumsum(0) - lengths)[index if isinstance(index, slice) else index.cpu()]
        own = lengths[index if isinstance(index, slice) else index.cpu()]
        within = torch.arange(int(own.sum())) - (own.cumsum(0) - own).repeat_interleave(own)
        return first.repeat_interleave(own) + within

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name in _TENSORS:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                yield name, value


def _some_of(values: Tensor, index: slice | Tensor) -> Tensor:
    """The rows of that index; torch's own way to whole rows takes a third of the time of any cells."""
    if isinstance(index, Tensor) and index.dtype == torch.int64 and index.device == values.device:
        return values.index_select(0, index)
    return values[index]


def joined(first: Batch, second: Batch) -> Batch:
    """The rows of both, which have the same fields, in the block of the second."""
    own = dict(second._tensors())
    return replace(second, **{name: torch.cat((value, own[name])) for name, value in first._tensors()})  # type: ignore[arg-type]


def distinct_inputs(batch: Batch) -> tuple[Tensor, Tensor] | None:
    """Every different row of `given` once, and which of them each row has, (n,); None where few rows are alike."""
    rows, which = torch.unique(batch.inputs, dim=0, return_inverse=True)
    return (rows, which) if 2 * len(rows) <= len(batch) else None


Data = Collection[Batch]
"""Training data: one or more batches, gone through in order by every pass."""


class Batches(Collection[Batch]):
    """Batches that are made as they are asked for, by every pass anew."""

    @property
    @abstractmethod
    def total_weight(self) -> float:
        """How many units they stand for, without a pass."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes have batches of these data, too."""
        return False

    def combined(self, sums: Mapping[int, Derived]) -> Derived:
        """What a pass has summed up by block, as one sum: here, where all batches are this process's, in order."""
        return in_order(sums)

    def summed(self, own: Derived) -> Derived:
        """The sum of what every process has one of, as often as all of them ask: here there is no other."""
        return own

    def __contains__(self, batch: object) -> bool:
        return False  # they are made as they are asked for


def in_order(sums: Mapping[int, Derived]) -> Derived:
    """The sum of the blocks, from the first to the last."""
    return reduce(add, (sums[block] for block in sorted(sums)))


class MiniBatches(Batches):
    """A batch in pieces of at most `size` units, drawn anew in every pass.

    Parameters
    ----------
    seed : of the draws; None for pieces in their order.
    prepare : makes of each piece, as it is drawn, what a model sees: the data themselves stay as and where they are.
    among : the units that are gone through, None for all.
    """

    kept = ("_generator",)  # see emnet.algorithms.snapshot

    def __init__(
        self,
        batch: Batch,
        size: int,
        seed: int | None,
        prepare: Callable[[Batch], Batch] | None = None,
        among: Tensor | None = None,
    ):
        self.batch, self.size, self.prepare, self.among = batch, size, prepare, among
        self._generator = None if seed is None else torch.Generator().manual_seed(seed)

    @property
    def total_weight(self) -> float:
        if self.among is None:
            return self.batch.total_weight
        return float(len(self.among) if self.batch.weights is None else self.batch.weights[self.among].sum())

    def __iter__(self) -> Iterator[Batch]:
        n = self.batch.n_units if self.among is None else len(self.among)
        order = torch.arange(n) if self._generator is None else torch.randperm(n, generator=self._generator)
        order = (order if self.among is None else self.among[order]).to(self.batch.target.device)
        for index in order.split(self.size):
            piece = self.batch.units(index)
            yield piece if self.prepare is None else self.prepare(piece)

    def __len__(self) -> int:
        return -(-(self.batch.n_units if self.among is None else len(self.among)) // self.size)


def total_weight(data: Data) -> float:
    """How many units the data stand for."""
    return data.total_weight if isinstance(data, Batches) else sum(batch.total_weight for batch in data)


def is_shared(data: Data) -> bool:
    """Whether other processes have batches of these data, too."""
    return isinstance(data, Batches) and data.is_shared


def require_own(data: Data, algorithm: str) -> None:
    """Raise InvalidInputError if other processes have a share of the data, for algorithms that go batch by batch."""
    if is_shared(data):
        raise InvalidInputError(
            f"{algorithm!r} takes one batch after another, and so one process. For many take algorithm='em', 'squarem' "
            "or 'lbfgs'."
        )


def combined(data: Data, sums: Mapping[int, Derived]) -> Derived:
    """What a pass over the data has summed up by block, as one sum."""
    return data.combined(sums) if isinstance(data, Batches) else in_order(sums)


def summed(data: Data, own: Derived) -> Derived:
    """The sum of what every process that has a share of the data has one of, as often as all of them ask."""
    return data.summed(own) if isinstance(data, Batches) else own


def with_constant(inputs: Tensor) -> Tensor:
    """Inputs with the leading constant 1 that carries the bias: (…, n, p) → (…, n, 1 + p)."""
    return torch.cat((torch.ones_like(inputs[..., :1]), inputs), dim=-1)
