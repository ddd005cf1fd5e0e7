"""Draws that are spread evenly: stratified Bernoulli units, and normal vectors from nets."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

_LEAST_UNIFORM = 1e-12


class SeededGenerator:
    """A source of random numbers that starts from one seed on whatever device it is first asked for."""

    kept = ("_generator",)  # see emnet.algorithms.snapshot

    def __init__(self, seed: int):
        self._seed = seed
        self._generator: torch.Generator | None = None

    def on(self, device: torch.device) -> torch.Generator:
        if self._generator is None or self._generator.device != device:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator


class ProcessGenerator:
    """One of many processes' own source: every time that it is asked it starts anew, from (seed, rank, how often).

    What it keeps is the same in all processes, so that a checkpoint of the first is one of each.
    """

    kept = ("_asked",)

    def __init__(self, seed: int, rank: int):
        self._seed, self._rank, self._asked = seed, rank, 0

    def on(self, device: torch.device) -> torch.Generator:
        self._asked += 1
        found = np.random.SeedSequence((self._seed, self._rank, self._asked)).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(found[0]))


def source(seed: int, rank: int | None = None) -> SeededGenerator | ProcessGenerator:
    """Of a process by itself, whose rank is None, or of one of many."""
    return SeededGenerator(seed) if rank is None else ProcessGenerator(seed, rank)


def stratified_uniforms(samples: int, n: int, m: int, *, like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers, (s, n, m), of which every row and unit has one in each of s equal strata.

    A Latin hypercube (McKay, Beckman & Conover 1979) whose strata come in an order drawn for each unit and are turned
    by a random shift for each row and unit. Each draw alone is uniform, so averages over the samples have no bias; of
    functions that are nearly sums over the units they have far less variance than averages of independent draws.
    """
    shift = torch.rand(n, m, generator=generator, dtype=like.dtype, device=like.device)
    order = torch.rand(samples, 1, m, generator=generator, dtype=like.dtype, device=like.device).argsort(0)
    return (shift + order / samples).frac_()


def sobol_normal(samples: int, size: int, *, like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal vectors, (s, size), from a scrambled net of Sobol: each is a draw, together they are even."""
    seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
    uniforms = SobolEngine(size, scramble=True, seed=seed).draw(samples, dtype=torch.float64)
    return torch.special.ndtri(uniforms.clamp(_LEAST_UNIFORM, 1 - _LEAST_UNIFORM)).to(like)


def draw_units(probability: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Draws of units that are on with `probability`, (n, m) or (s, n, m), after the constant 1: (s, n, 1 + m)."""
    n, m = probability.shape[-2:]
    states = probability.new_empty(samples, n, 1 + m)
    states[..., 0] = 1.0
    uniforms = stratified_uniforms(samples, n, m, like=probability, generator=generator)
    torch.lt(uniforms, probability, out=states[..., 1:])
    return states
