"""The passes of `bits` over one chunk of rows in PyTorch, for any device: see `bits.Passes`."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from emnet.kernels.class_blocks import ClassBlocks
from emnet.kernels.configurations import bits_by_configuration


def halves(logits: Tensor, rows: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    b, c = rows.shape
    return _halves(_units(logits.index_select(0, rows.flatten()).view(b, c, -1)), memory)


def lower(
    joint: Tensor, low: Tensor, blocks: ClassBlocks, smallest: float, mean: Tensor, log_evidence: Tensor
) -> Tensor:
    evidence = joint.mul_(low).sum(1).masked_fill_(blocks.absent, torch.inf)
    trusted = evidence > smallest
    inverse = torch.where(trusted, evidence, torch.inf).reciprocal_()[:, None]
    low.mul_(inverse)
    k = mean.shape[1] - mean.shape[1] // 2
    _put(mean[:, :k], blocks, (bits_by_configuration(k, joint) @ joint).mul_(inverse))
    log_evidence.index_copy_(0, blocks.owners, evidence.flatten().index_select(0, blocks.filled).double().log_())
    return ~trusted


def upper(joint: Tensor, high: Tensor, blocks: ClassBlocks, weights: Tensor | None, mean: Tensor) -> None:
    k = mean.shape[1] // 2
    _put(mean[:, mean.shape[1] - k :], blocks, bits_by_configuration(k, joint) @ joint.mul_(high))
    if weights is not None:
        high.mul_(weights[blocks.rows][:, None])


def configuration_probabilities(logits: Tensor) -> Tensor:
    """Of every configuration of independent units, numbered as in `bits`: (n, m) → (2^m, n)."""
    return _products(_units(logits))


def _put(mean: Tensor, blocks: ClassBlocks, of_blocks: Tensor) -> None:
    """Write (b, k, c) into the rows of the blocks, (n, k)."""
    mean.index_copy_(0, blocks.owners, of_blocks.mT.flatten(0, 1).index_select(0, blocks.filled))


def _units(logits: Tensor) -> Tensor:
    """Probability of each unit's two states, off and on: (…, n, m) → (…, m, 2, n)."""
    logits = logits.mT.contiguous()
    return torch.stack((-logits, logits), dim=-2).sigmoid_()


def _halves(units: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Probability of each configuration of the lower and of the upper half of m units, in `memory`.

    (…, m, 2, n) → (…, 2^⌈m/2⌉, n), (…, 2^⌊m/2⌋, n)
    """
    m = units.shape[-3]
    if m % 2 == 0 and m > 0:  # both in the same few operations
        return _products(units.unflatten(-3, (2, m // 2)), memory).unbind(-3)  # type: ignore[return-value]
    low, high = units.split((m - m // 2, m // 2), dim=-3)
    of_low, of_high = memory.split((2 * len(memory) // 3, len(memory) - 2 * len(memory) // 3))
    return _products(low, of_low), _products(high, of_high)


def _products(units: Tensor, memory: Tensor | None = None) -> Tensor:
    """Probability of each configuration of k independent units, by halves: (…, k, 2, n) → (…, 2^k, n)."""
    *batch, k, _, n = units.shape
    if k == 0:
        return units.new_ones(*batch, 1, n)
    if k == 1:
        return units.squeeze(-3)
    if k % 2 == 0:
        low, high = _products(units.unflatten(-3, (2, k // 2))).unbind(-3)
    else:
        low, high = (_products(part) for part in units.split((k - k // 2, k // 2), dim=-3))
    out = None if memory is None else _view(memory, *batch, high.shape[-2], low.shape[-2], n)
    return torch.mul(high.unsqueeze(-2), low.unsqueeze(-3), out=out).flatten(-3, -2)


def _view(buffer: Tensor, *shape: int) -> Tensor:
    return buffer[: prod(shape)].view(shape)
