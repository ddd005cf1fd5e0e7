"""Where EM for a mixture of experts starts: k-means, down the tree of the gate, then M-steps on what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from emnet.algorithms.adam import Adam
from emnet.batch import Batch
from emnet.factors.neural import NeuralFactor
from emnet.models.base import LatentModel, holding
from emnet.models.markov import HiddenMarkov, offsets
from emnet.models.mixture import Mixture
from emnet.posteriors import Chain, Discrete, EvidenceKind, Posterior

_SURE = 0.9  # of a row's own cluster; the rest is spread, so that gates stay finite and every expert sees every row
_MOST_ROWS = 10_000
_M_STEPS, _MODULE_STEPS, _MODULE_RATE = 5, 100, 0.02


def responsibilities(features: np.ndarray, weights: np.ndarray, levels: Sequence[int], seed: int) -> np.ndarray:
    """Soft responsibilities of the leaves, (n, k): each node parts its rows by k-means, from the root down.

    They depend on which rows there are and their weights, not on the rows' order or on how often each is written.
    """
    rng = np.random.RandomState(seed)
    leaf = np.zeros(len(features), dtype=int)
    for branches in levels:
        deeper = leaf * branches
        for node in np.unique(leaf):
            own = leaf == node
            deeper[own] += _clusters(features[own], weights[own], branches, rng)
        leaf = deeper
    k = int(np.prod(levels))
    return np.where(leaf[:, None] == np.arange(k), _SURE + (1 - _SURE) / k, (1 - _SURE) / k)


def row_weights(batch: Batch) -> np.ndarray:
    """Of a batch of sequences, whose weights are those of their rows: (n,)."""
    weights = batch.row_weights
    return np.ones(len(batch)) if weights is None else weights.double().cpu().numpy()


def random_responsibilities(n: int, levels: Sequence[int], seed: int) -> np.ndarray:
    """Drawn from a flat Dirichlet distribution, (n, k): what k-means is measured against."""
    return np.random.RandomState(seed).dirichlet(np.ones(int(np.prod(levels))), size=n)


def prime(model: Mixture, batch: Batch, shares: np.ndarray) -> None:
    """M-steps on given responsibilities; of networks a hundred of Adam's, which go further than an M-step."""
    own = torch.as_tensor(shares, dtype=batch.target.dtype if batch.given is None else batch.given.dtype)
    own = own.to(batch.target.device)
    posterior = Discrete(torch.zeros_like(own[:, 0]).double(), EvidenceKind.ESTIMATE, own)
    with holding(model, [name for name, factor in model.factors.items() if _has_networks(factor)]):
        _m_steps(model, batch, posterior)
    if _has_networks(model):
        _adam_steps(model, batch, posterior)


def prime_chain(model: HiddenMarkov, batch: Batch, shares: np.ndarray) -> None:
    """The same for a chain with constant transitions, with pairs counted as if steps were independent.

    Where there are networks, all take Adam's steps.
    """
    own = torch.as_tensor(shares, dtype=batch.target.dtype, device=batch.target.device)
    ends = offsets(batch)
    inside = torch.ones(len(batch), dtype=torch.bool)
    inside[ends[:-1]] = False
    rows = torch.nonzero(inside).flatten().to(own.device)
    pairs = own[rows - 1].T.double() @ own[rows].double()
    zeros = torch.zeros(batch.n_units, dtype=torch.float64, device=own.device)
    posterior = Chain(zeros, EvidenceKind.ESTIMATE, own, pairs)
    (_adam_steps if _has_networks(model) else _m_steps)(model, batch, posterior)


@torch.no_grad()
def _m_steps(model: LatentModel, batch: Batch, posterior: Any) -> None:
    for _ in range(_M_STEPS):
        model.m_step(model.statistics(batch, posterior))


@torch.no_grad()
def _adam_steps(model: LatentModel, batch: Batch, posterior: Posterior) -> None:
    adam = Adam(_Given(posterior), learning_rate=_MODULE_RATE)
    for _ in range(_MODULE_STEPS):
        adam.step(model, [batch])


def _has_networks(module: nn.Module) -> bool:
    return any(isinstance(part, NeuralFactor) for part in module.modules())


class _Given:
    """An E-step that gives what it was given."""

    def __init__(self, posterior: Posterior):
        self.posterior = posterior

    def __call__(self, model: LatentModel, batch: Batch) -> Posterior:
        return self.posterior


def _clusters(features: np.ndarray, weights: np.ndarray, k: int, rng: np.random.RandomState) -> np.ndarray:
    from sklearn.cluster import KMeans

    distinct, which = np.unique(features, axis=0, return_inverse=True)
    mass = np.bincount(which.ravel(), weights=weights)
    kept = rng.choice(len(distinct), _MOST_ROWS, replace=False) if len(distinct) > _MOST_ROWS else slice(None)
    seed = int(rng.randint(2**31))
    k = min(k, len(distinct))
    found = KMeans(k, n_init=1, random_state=seed).fit(distinct[kept], sample_weight=mass[kept])
    return found.predict(distinct)[which.ravel()]
