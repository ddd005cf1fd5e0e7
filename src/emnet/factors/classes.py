"""What outputs over classes share, whatever gives their logits."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import one_hot


class ClassOutput(ABC):
    """The likelihood of a row, as a function of the bits, is the table of its class and nothing else."""

    @property
    @abstractmethod
    def n_classes(self) -> int:
        """g."""

    @abstractmethod
    def predictor(self, given: Tensor) -> Tensor:
        """Logits of the classes, (n, g)."""

    @property
    def n_tables(self) -> int:
        return self.n_classes

    @staticmethod
    def table_of(target: Tensor) -> Tensor:
        """Which table holds a row's likelihood: (n,)."""
        return target

    def features(self, target: Tensor) -> Tensor:
        """What a recognition network is told of the target: one column a class, (n, g)."""
        return one_hot(target, self.n_tables)

    def tilt(self, target: Tensor) -> None:
        """No part of the likelihood is linear in the bits."""
        return

    def log_scale(self, target: Tensor) -> float:
        return 0.0

    def draw(self, given: Tensor, generator: torch.Generator) -> Tensor:
        """A class for each row: (n,)."""
        return torch.multinomial(self.predictor(given).softmax(1), 1, generator=generator)[:, 0]


def log_softmax_of(target: Tensor, predictor: Tensor) -> Tensor:
    """Of logits, (…, n, g), the log softmax at each row's class, (n,), or expected under distributions, (…, n, g)."""
    if target.dim() > 1:
        return (target * predictor.log_softmax(-1)).sum(-1)
    index = target.expand(predictor.shape[:-1])[..., None]
    return predictor.gather(-1, index)[..., 0] - predictor.logsumexp(-1)
