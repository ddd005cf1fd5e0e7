"""Which row no component of a mixture allows, once a fit has found that there is one, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from emnet.batch import Batch
from emnet.exceptions import ImpossibleRowError
from emnet.models.mixture import Mixture


@torch.no_grad()
def require_possible(model: Mixture, data: Iterable[Batch], column_name: Callable[[int], Any]) -> None:
    """Raise ImpossibleRowError for the first row whose evidence is 0 or NaN; names the column, if it is one alone."""
    done = 0
    for batch in data:
        found = torch.nonzero(~model.posterior(batch).log_evidence.isfinite())
        if len(found):
            first = int(found[0])
            among = "" if batch.weights is None else ", of those with a weight above 0"
            row = batch.rows(slice(first, first + 1))
            raise ImpossibleRowError(_words(model, row, f"row {done + first} (from 0{among})", column_name))
        done += len(batch)


def _words(model: Mixture, row: Batch, name: str, column_name: Callable[[int], Any]) -> str:
    """Why that one row is impossible, as far as its columns and its label say it."""
    states = ", ".join(map(str, _allowed(row)))
    labeled = "" if row.labels is None or not states else f" that its label allows ({states})"
    *alone, unseen = _possible_alone(model, row)
    if not unseen:
        return f"The label of {name} allows component {states} alone, of weight 0. Give it a weight, or another label."
    where = ", ".join(f"column {column_name(j)!r}" for j, possible in enumerate(alone) if not possible)
    what = f"In {name} {where} has" if where else f"All of {name} has"
    return (
        f"{what} probability 0 under every component{labeled}. Look there, and at weights and "
        "probabilities that are 0; a prior keeps those that are not fixed from becoming 0."
    )


def _allowed(row: Batch) -> list[int]:
    """The components that the label of that row allows; none where nothing is known."""
    if row.labels is None:
        return []
    if row.labels.dim() == 2:
        return torch.nonzero(row.labels[0] > 0).flatten().tolist()
    return [int(row.labels[0])] if row.labels[0] >= 0 else []


def _possible_alone(model: Mixture, row: Batch) -> list[bool]:
    """Of each cell of that row whether it is possible with holes in all the others, and at last a row of holes."""
    d = row.target.shape[1]
    only = torch.eye(d + 1, d, dtype=torch.bool, device=row.target.device)
    labels = None if row.labels is None else row.labels.expand(d + 1, *row.labels.shape[1:])
    target = torch.where(only, row.target, torch.nan)
    rows = replace(row, target=target, labels=labels, weights=None, complete=False)
    possible: list[bool] = model.posterior(rows).log_evidence.isfinite().tolist()
    return possible
