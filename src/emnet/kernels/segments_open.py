"""What is open at the end of a sequence of segments, and how it goes on row by row.

Open is a state and for how many rows it has lasted: (k, D), log p given all rows so far.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emnet.kernels.chain_log import raise_impossible
from emnet.kernels.segments_arrays import Forwarded, Tables

_NEVER = float("-inf")


def open_at_end(x: Tensor, tables: Tables, found: Forwarded) -> Tensor:
    """What the forward pass over one sequence, (n, k), leaves open: sums over the last D rows, and no differences."""
    longest = min(tables.duration.shape[1], len(x))
    last = (x - found.scales[:, None])[-longest:].flip(0).cumsum(0)
    opened = torch.full_like(tables.duration, _NEVER)
    opened[:, :longest] = (found.entered[-longest:].flip(0) + last).T
    return _normalized(opened + tables.survival)[1]


def go_on(x: Tensor, tables: Tables, opened: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log evidence of rows (t, k) that come after what is open, their filtered states, and what is then open."""
    ends, goes_on = hazards(tables)
    total, states = x.new_zeros(()), torch.empty_like(x)
    for t, row in enumerate(x):
        begins = ((opened + ends).logsumexp(1)[:, None] + tables.transition).logsumexp(0)
        opened = torch.cat((begins[:, None], (opened + goes_on)[:, :-1]), dim=1) + row[:, None]
        gained, opened = _normalized(opened)
        if not bool(gained > _NEVER):
            raise_impossible(0, t, False)
        total, states[t] = total + gained, opened.logsumexp(1).exp()
    return total, states, opened


def hazards(tables: Tables) -> tuple[Tensor, Tensor]:
    """log p(duration = d | it is at least d) and log p(it is more | …), (k, D); −∞ where it cannot be so long."""
    longer = torch.cat((tables.survival[:, 1:], torch.full_like(tables.survival[:, :1], _NEVER)), dim=1)
    possible = tables.survival > _NEVER
    return tuple(torch.where(possible, part - tables.survival, _NEVER) for part in (tables.duration, longer))  # type: ignore[return-value]


def _normalized(opened: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of its sum, and what is left."""
    total = opened.flatten().logsumexp(0)
    return total, opened - total
