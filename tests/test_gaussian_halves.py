"""Many patterns of holes: the halves against the one-pattern-at-a-time kernel, which is held to brute force."""

import numpy as np
import pytest
import torch

from emnet.kernels import gaussian_halves, gaussian_missing


def problem(d, k=3, n=2500, missing=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(k, d, d + 4, generator=generator, dtype=torch.float64)
    means = torch.randn(k, d, generator=generator, dtype=torch.float64)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    observed = torch.rand(n, d, generator=generator) > missing
    weights = torch.rand(n, k, generator=generator, dtype=torch.float64)
    return x * observed, observed, weights, means, root @ root.mT / d


@pytest.mark.parametrize("d", [8, 11, 14])
def test_halves_equal_one_pattern_at_a_time(d):
    x, observed, weights, means, covariances = problem(d)
    halves, patterns = (
        gaussian_halves.group_by_halves(observed, len(means)),
        gaussian_missing.group_by_pattern(observed),
    )
    assert halves
    lower = torch.linalg.cholesky(covariances)
    found, truth = torch.zeros(len(x), 3, dtype=torch.float64), torch.zeros(len(x), 3, dtype=torch.float64)
    gaussian_halves.log_density(x, halves, means, covariances, found)
    gaussian_missing.log_density(x, patterns, means, lower, truth)
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-10)
    mine = gaussian_halves.moments(x, halves, weights, means, covariances)
    theirs = gaussian_missing.moments(x, patterns, weights, means, lower)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-8)


def test_few_patterns_are_left_to_the_other_kernel():
    observed = torch.ones(1000, 10, dtype=torch.bool)
    observed[::2, 3] = False
    assert gaussian_halves.group_by_halves(observed, 2) == []


def test_nearly_singular_covariances_are_not_safe():
    assert gaussian_halves.is_safe(torch.eye(4).double()[None])
    assert not gaussian_halves.is_safe(torch.diag(torch.tensor([1.0, 1e-9])).double()[None])


def test_a_half_with_nothing_observed():
    x, observed, weights, means, covariances = problem(10)
    observed[::3, :4] = False
    observed[1::3, 4:] = False
    halves, patterns = gaussian_halves.group_by_halves(observed, 3), gaussian_missing.group_by_pattern(observed)
    assert halves
    lower = torch.linalg.cholesky(covariances)
    mine = gaussian_halves.moments(x * observed, halves, weights, means, covariances)
    theirs = gaussian_missing.moments(x * observed, patterns, weights, means, lower)
    np.testing.assert_allclose(mine[2].numpy(), theirs[2].numpy(), rtol=1e-9, atol=1e-8)
