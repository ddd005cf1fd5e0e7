"""How a fit goes on with what was learned: in models that are built anew, by the parameters as they are now."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from emnet.algorithms.base import Fit
from emnet.estimators.iterative_results import M
from emnet.estimators.partial_fits import PartialFits
from emnet.exceptions import InvalidInputError


class RebuiltFits(PartialFits[M]):
    """Priors and M-steps may change between fits; what a model is made of may not."""

    _made_of: tuple[str, ...] = ("dtype",)  # the parameters that say so
    _made: Mapping[str, Any] = MappingProxyType({})  # and what they were when the members were fitted

    @abstractmethod
    def _model(self, seed: int) -> M:
        """The model at a start that depends on no data."""

    def _publish(self, model: M, fit: Fit) -> None:
        super()._publish(model, fit)
        self._made = {name: getattr(self, name) for name in self._made_of}

    def _going_on(self) -> list[M]:
        for name, before in self._made.items():
            _require_unchanged(name, before, getattr(self, name))
        return [self._rebuilt(member) for member in self.members_]

    @torch.no_grad()
    def _rebuilt(self, member: M) -> M:
        """The member's parameters, to the last bit, in a model with the priors and M-steps of now."""
        model = self._model(0)
        for own, learned in zip(model.parameters(), member.parameters(), strict=True):
            own.copy_(learned)
        return model


def _require_unchanged(name: str, before: Any, now: Any) -> None:
    if now is before or _are_equal(before, now):
        return
    another = "another " if isinstance(now, nn.Module) and type(now) is type(before) else ""
    raise InvalidInputError(
        f"partial_fit, and fit with warm_start, go on with {name}={_in_a_line(before)}; it is now "
        f"{another}{_in_a_line(now)}. Set it back, or fit anew without warm_start."
    )


def _are_equal(before: Any, now: Any) -> bool:
    """As strings or mappings, or as numbers, of which NaN is one; modules are not compared."""
    if any(own is None or isinstance(own, (str, Mapping, nn.Module)) for own in (before, now)):
        return isinstance(now, (str, Mapping)) and now == before
    return np.array_equal(np.asarray(before, float), np.asarray(now, float), equal_nan=True)


def _in_a_line(value: Any) -> str:
    return type(value).__name__ if isinstance(value, nn.Module) else " ".join(repr(value).split())
