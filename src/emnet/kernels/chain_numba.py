"""The passes of `chain` on the CPU: sequences side by side in lanes where that pays, else one after the other.

Sequences are done in groups that depend on their lengths alone, so any number of threads gives the same sums. What is
not used is not compiled.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emnet.kernels import chain_lanes_numba as lanes
from emnet.kernels.compilation import compiled
from emnet.kernels.tools_numba import arrays, each, groups, own, with_leading, within


def forward(
    log_likelihood: Tensor, start: Tensor, transition: Tensor, offsets: Tensor, keep: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    x, s = log_likelihood, len(offsets) - 1
    if (layout := _layout(x, transition, offsets)) is not None:
        return lanes.forward(layout, x, start, transition, keep)
    alpha, evidence = (torch.empty_like(x) if keep else None), x.new_empty(s)
    status, nobody = torch.zeros(s, dtype=torch.uint8), torch.zeros(s, dtype=torch.uint8)
    passes, starts, steps = _passes(), with_leading(start, 2), with_leading(transition, 3)

    def run(group: slice) -> None:
        kept = x.new_empty(1, x.shape[1]) if alpha is None else alpha
        passes.forward(*arrays(x, own(starts, group), steps, within(offsets, group), nobody[group]),
                 *arrays(kept, evidence[group], status[group]))  # fmt: skip

    each(run, offsets, x.shape[1])
    return evidence, alpha, status


def smooth(
    log_likelihood: Tensor,
    start: Tensor,
    transition: Tensor,
    offsets: Tensor,
    weights: Tensor,
    skip: Tensor,
    by_step: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, s, k = log_likelihood, len(offsets) - 1, log_likelihood.shape[1]
    if not by_step and (layout := _layout(x, transition, offsets, skip)) is not None:
        return lanes.smooth(layout, x, start, transition, weights)
    gamma, evidence, status = torch.empty_like(x), x.new_empty(s), torch.zeros(s, dtype=torch.uint8)
    starts, steps, left_out = with_leading(start, 2), with_leading(transition, 3), skip.to(torch.uint8)
    every = groups(offsets, k)
    passes, sums = _passes(), x.new_zeros(len(x) if by_step else len(every), k, k)

    def run(group: slice) -> None:
        bounds = within(offsets, group)
        passes.forward(
            *arrays(x, own(starts, group), steps, bounds, left_out[group], gamma, evidence[group], status[group])
        )
        xi = sums if by_step else sums[every.index(group)][None]
        passes.backward(*arrays(x, steps, bounds, weights[group], left_out[group], gamma, xi, status[group]))

    each(run, offsets, k)
    if by_step:
        return evidence, gamma, sums, status
    return evidence, gamma, sums.sum(0) * (transition if transition.dim() == 2 else 1.0), status


def viterbi(
    log_likelihood: Tensor, log_start: Tensor, log_transition: Tensor, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    x = log_likelihood
    log_joint, path = x.new_empty(len(offsets) - 1), torch.empty(len(x), dtype=torch.int64)
    passes, starts, steps = _passes(), with_leading(log_start, 2), with_leading(log_transition, 3)

    def run(group: slice) -> None:
        passes.viterbi(*arrays(x, own(starts, group), steps, within(offsets, group), log_joint[group], path))

    each(run, offsets, x.shape[1])
    return log_joint, path


def _passes() -> Any:
    """Those that go through one sequence after the other."""
    return compiled("emnet.kernels.chain_passes_numba", "the chain kernel")


def _layout(x: Tensor, transition: Tensor, offsets: Tensor, skip: Tensor | None = None) -> lanes.Layout | None:
    """How sequences go side by side, where that is faster than one after the other."""
    skip = torch.zeros(len(offsets) - 1, dtype=torch.bool) if skip is None else skip
    return None if transition.dim() == 3 else lanes.layout_of(offsets, x.shape[1], skip)
