"""Torch's fused Adam on parameters in place, with a memory that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_MEAN, _SQUARE, _FLOOR = 0.9, 0.999, 1e-8

Memory = dict[str, list[Tensor]]
"""How many steps were taken, and of every parameter the running means of its gradient and of that squared."""


class FusedAdam:
    """Adam (Kingma & Ba 2015) down the gradients that parameters hold; one without has a gradient of 0.

    Torch's own kernel without its optimizer object, whose bookkeeping takes longer than the step of a small network.

    Parameters
    ----------
    groups : parameters, and the decay that joins their gradient: half the slope of a squared norm.
    memory : of one that went before, which is gone on with; None to begin.
    """

    def __init__(self, groups: Sequence[tuple[list[nn.Parameter], float]], memory: Memory | None = None):
        self.groups = groups
        every = [parameter for own, _ in groups for parameter in own]
        self.memory: Memory = memory or {
            "steps": [torch.zeros((), dtype=torch.float32, device=every[0].device)],
            "means": [torch.zeros_like(own, memory_format=torch.preserve_format) for own in every],
            "squares": [torch.zeros_like(own, memory_format=torch.preserve_format) for own in every],
        }

    @torch.no_grad()
    def step(self, rate: float) -> None:
        (steps,), done = self.memory["steps"], 0
        steps += 1
        for parameters, decay in self.groups:
            own = slice(done, done + len(parameters))
            done = own.stop
            torch._fused_adam_(
                parameters,  # type: ignore[arg-type]
                [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters],
                self.memory["means"][own],
                self.memory["squares"][own],
                [],
                [steps] * len(parameters),
                lr=rate,
                beta1=_MEAN,
                beta2=_SQUARE,
                weight_decay=decay,
                eps=_FLOOR,
                amsgrad=False,
                maximize=False,
            )

    def forget_gradients(self) -> None:
        """Before the next ones are found, which need not be added to them."""
        for parameters, _ in self.groups:
            for each in parameters:
                each.grad = None
