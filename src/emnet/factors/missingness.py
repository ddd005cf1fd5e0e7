"""Which cells are not seen, where that depends on what is in them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from emnet.factors.base import require_given
from emnet.factors.decoder import Decoder, Entries
from emnet.factors.differentiable import DifferentiableFactor


class SelfMasking(DifferentiableFactor):
    """p(cell j is seen | x_j) = σ(a_j + b_j x_j), x_j as the decoder sees it (not-MIWAE; Ipsen et al. 2021).

    What a missing cell may have been is integrated out given z, by Gauss–Hermite nodes or a sum, and not drawn.

    Parameters
    ----------
    columns : (d,), 1 of those whose cells are seen or not by this rule, 0 of the others.
    """

    columns: Tensor

    def __init__(self, columns: Tensor, *, precision: float = 0.0, learning_rate: float = 1e-3):
        super().__init__(precision=precision, learning_rate=learning_rate)
        self.register_buffer("columns", columns)
        self.intercept = nn.Parameter(torch.zeros_like(columns))
        self.slope = nn.Parameter(torch.zeros_like(columns))

    def log_prob(self, target: Tensor, given: Tensor | None = None) -> Tensor:
        """log p(seen or not | cells): (n, d) of 1 and 0, given (n, d) whole rows → (n,)."""
        logits = self.intercept + self.slope * require_given(given)
        return (logsigmoid(torch.where(target > 0, logits, -logits)) * self.columns).sum(-1)

    def log_hidden(self, cells: Tensor) -> Tensor:
        """log p(not seen | cell), (…, d); of a column that has no rule 0."""
        return logsigmoid(-self.intercept - self.slope * cells) * self.columns

    def log_prob_of_mask(self, target: Entries, decoder: Decoder, outputs: Tensor) -> Tensor:
        """log p(seen or not | seen cells, z), with the missing ones integrated out: (…, n)."""
        mask = target.mask()
        seen = (logsigmoid(self.intercept + self.slope * target.cells) * mask * self.columns).sum(-1)
        hidden = decoder.log_expectation(outputs, self.intercept, self.slope)
        return seen + (hidden * (1 - mask) * self.columns).sum(-1)
