"""Incremental EM: an M-step after every batch, on the statistics of all, each batch's own as it was last seen."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from emnet.algorithms.base import Progress, e_step
from emnet.batch import Data, require_own
from emnet.exceptions import InvalidInputError
from emnet.inference.base import EStep
from emnet.models.base import LatentModel
from emnet.posteriors import EvidenceKind
from emnet.statistics import ModelStatistics, require_constant_size


class Shelf(Protocol):
    """Where the statistics of the batches are kept, by their numbers in a pass."""

    def __getitem__(self, number: int) -> ModelStatistics: ...
    def __setitem__(self, number: int, statistics: ModelStatistics) -> None: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...


class Disk(MutableMapping[int, ModelStatistics]):
    """A shelf of one .npy file a batch, in a folder that is made and, when the shelf goes, removed.

    A checkpoint holds all of it, and while it is written so does the memory.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = folder
        self.clear()

    def clear(self) -> None:
        """Forget all, and remove the folder."""
        self._made: Any = None
        self._like: ModelStatistics | None = None
        self._count = 0

    def __setitem__(self, number: int, statistics: ModelStatistics) -> None:
        require_constant_size(statistics)
        if self._made is None:
            self._made = tempfile.TemporaryDirectory(prefix="emnet-", dir=self.folder)
        self._like, self._count = statistics, max(self._count, number + 1)
        tensors = [*statistics.frames(), *statistics.numbers()]
        np.save(self._path(number), torch.cat([tensor.double().cpu().flatten() for tensor in tensors]).numpy())

    def __getitem__(self, number: int) -> ModelStatistics:
        like = self._like
        assert like is not None
        frames, numbers = like.frames(), like.numbers()
        vector = torch.from_numpy(np.load(self._path(number), allow_pickle=False)).to(numbers[0].device)
        parts = list(vector.split([tensor.numel() for tensor in (*frames, *numbers)]))
        # First the frame, as what a frame holds moves when it changes; then the numbers that were about it.
        framed = like.in_frame(iter([p.view_as(f) for p, f in zip(parts, frames, strict=False)]))
        return framed.with_numbers(iter(parts[len(frames) :]))

    def __delitem__(self, number: int) -> None:
        raise TypeError("Batches do not leave a shelf one by one: clear it.")

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))

    def __len__(self) -> int:
        return self._count

    def _path(self, number: int) -> Path:
        return Path(self._made.name) / f"{number}.npy"


class Memory(dict[int, ModelStatistics]):
    """A shelf in memory."""


@dataclass
class Incremental:
    """s ← s − s_old(batch) + s_new(batch) after every batch, then M (Neal & Hinton 1998); a step is one pass.

    The first pass is one of batch EM, which fills the shelf. Every later M-step raises the free energy of all batches,
    each with the posterior it was last given; what a pass reports is the sum of the batches' evidence, each at the
    parameters it met: an estimate. The batches must be the same, in the same order, in every pass.

    Parameters
    ----------
    inference : the E-step.
    shelf : where the batches' statistics are kept: `Memory()`, or `Disk()` where they are too many.
    """

    inference: EStep
    shelf: Shelf = field(default_factory=Memory)

    kept = ("shelf",)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.shelf.clear()

    def step(self, model: LatentModel, data: Data) -> Progress:
        require_own(data, "incremental")
        log_prior, evidence, first = model.log_prior(), 0.0, not len(self.shelf)
        total = None if first else reduce(add, self._kept())  # anew in every pass: differences gather rounding
        number = -1
        for number, batch in enumerate(data):
            progress, found = e_step(model, [batch], self.inference)
            evidence += progress.log_evidence
            if total is not None:
                self._require_known(number)
                total = total - self.shelf[number] + found
                model.m_step(total)
            self.shelf[number] = found
        if total is None:
            model.m_step(reduce(add, self._kept()))
        elif number + 1 != len(self.shelf):
            raise self._changed(number + 1)
        return Progress(evidence, log_prior, EvidenceKind.ESTIMATE)

    def _kept(self) -> Iterator[ModelStatistics]:
        return (self.shelf[number] for number in range(len(self.shelf)))

    def _require_known(self, number: int) -> None:
        if number >= len(self.shelf):
            raise self._changed(number + 1)

    def _changed(self, now: int) -> InvalidInputError:
        return InvalidInputError(
            f"Incremental EM needs the same batches in every pass; there were {len(self.shelf)}, and now there are "
            f"{now if now < len(self.shelf) else f'at least {now}'}. Take the algorithm 'online'."
        )
