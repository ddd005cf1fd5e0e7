"""Prediction from draws of the hidden units, where their sum is too large."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from emnet.kernels import sampling
from emnet.models.bernoulli_network import BernoulliNetwork

_CHUNK_ELEMENTS = 2**24
_SETS = 10


def top_states(model: BernoulliNetwork, inputs: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    """Draws of the top layer given the inputs, with the constant 1: (s, n, 1 + m), some rows at a time."""
    generator = torch.Generator(inputs.device).manual_seed(seed)
    for below in inputs.split(max(1, _CHUNK_ELEMENTS // (samples * max(model.widths)))):
        for layer in model.layers:
            below = sampling.draw_units(layer.predictor(below).sigmoid(), samples, generator)
        yield below


def class_probabilities(model: BernoulliNetwork, inputs: Tensor, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Mean of p(y | z) over draws of z, and the standard error of that mean: (n, g) twice, float64.

    The average is over the output's distribution, not over drawn classes (Rao–Blackwell). The draws come in ten
    stratified sets that are independent of one another, whose spread is what the standard error is taken from.
    """
    sets = torch.stack(
        [
            torch.cat(
                [
                    model.output.predictor(states).double().softmax(-1).mean(0)
                    for states in top_states(model, inputs, max(1, samples // _SETS), seed * _SETS + number)
                ]
            )
            for number in range(_SETS)
        ]
    )
    return sets.mean(0), sets.std(0) / _SETS**0.5
