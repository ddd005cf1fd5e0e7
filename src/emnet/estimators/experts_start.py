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
from emnet.inference.base import EStep
from emnet.models.base import LatentModel, holding
from emnet.models.markov import offsets
from emnet.models.mixture import Mixture
from emnet.models.semi_markov import MarkovModel
from emnet.posteriors import Discrete, EvidenceKind, Posterior

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


def among_states(shares: np.ndarray, group_of: Sequence[int], seed: int) -> np.ndarray:
    """Responsibilities of groups, (n, g), as those of states that emit alike, (n, k), parted at random.

    States of a group that started alike would stay so.
    """
    own = np.asarray(group_of)
    parts = np.random.RandomState(seed).uniform(0.1, 1.0, size=(len(shares), len(own)))
    parts /= parts @ (own[:, None] == own)  # of each group to 1
    return shares[:, own] * parts


def in_order_of_time(shares: np.ndarray, batch: Batch) -> np.ndarray:
    """Responsibilities with the states that come early in their sequences first, as left-to-right chains have them."""
    ends = offsets(batch)
    lengths = ends.diff()
    row = torch.arange(len(batch)) - ends[:-1].repeat_interleave(lengths)
    place = (row / lengths.repeat_interleave(lengths)).numpy()
    return shares[:, np.argsort(place @ shares / shares.sum(axis=0))]


def prime_chain(model: MarkovModel, batch: Batch, shares: np.ndarray) -> None:
    """The same for a chain with constant transitions, with pairs counted as if steps were independent.

    Where there are networks, all take Adam's steps.
    """
    own = torch.as_tensor(shares, dtype=batch.target.dtype, device=batch.target.device)
    posterior = model.as_if_independent(batch, own)
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


class _Given(EStep):
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
