"""Many patterns of holes: the kernels for those against one pattern at a time, which is held to brute force."""

import numpy as np
import pytest
import torch

from emnet.kernels import gaussian_halves, gaussian_holes, gaussian_missing


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


def compared(x, observed, weights, means, covariances):
    """What the compiled passes and one pattern at a time find: densities, (n, k), and moments."""
    passes = gaussian_holes.compiled_passes()
    if passes is None:
        pytest.skip("Numba is not installed")
    lower = torch.linalg.cholesky(covariances)
    inverse = torch.linalg.solve_triangular(lower, torch.eye(x.shape[1]).to(lower).expand_as(lower), upper=False)
    holes, patterns = gaussian_holes.group_by_number(observed), gaussian_missing.group_by_pattern(observed)
    found, truth = torch.zeros(2, len(x), len(means), dtype=torch.float64)
    passes.log_density(x, holes, means, inverse, found)
    gaussian_missing.log_density(x, patterns, means, lower, truth)
    mine = passes.moments(x, holes, weights, means, inverse)
    return [(found, truth), *zip(mine, gaussian_missing.moments(x, patterns, weights, means, lower), strict=True)]


@pytest.mark.parametrize(
    ("d", "n", "missing"), [(1, 50, 0.5), (2, 200, 0.5), (9, 2500, 0.1), (12, 700, 0.8), (20, 70, 0.3)]
)
def test_precisions_of_holes_equal_one_pattern_at_a_time(d, n, missing):
    for found, truth in compared(*problem(d, n=n, missing=missing)):
        torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-10)


def test_precisions_of_holes_of_nearly_singular_covariances():
    """As near as `is_safe` lets them be; rows are those of the states, and errors are told in their spread."""
    x, observed, weights, means, _ = problem(12)
    turned = torch.linalg.qr(torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(1)).double())[0]
    covariances = turned * torch.logspace(-6.9, 0, 12).double() @ turned.mT
    covariances = 0.5 * (covariances + covariances.mT)
    assert gaussian_halves.is_safe(covariances)
    lower = torch.linalg.cholesky(covariances)
    own = torch.arange(len(x)) % 3
    x = (means[own] + (lower[own] @ x[:, :, None])[:, :, 0]) * observed
    weights = torch.nn.functional.one_hot(own, 3).double()
    (found, truth), counts, _, second = compared(x, observed, weights, means, covariances)
    torch.testing.assert_close(found[weights > 0], truth[weights > 0], rtol=0, atol=1e-7)
    inverse = torch.linalg.inv(lower)
    error = inverse @ (second[0] - second[1]) @ inverse.mT / counts[1][:, None, None]
    assert error.abs().max() < 1e-8


def test_threads_change_no_bit_of_rows_with_holes():
    passes, (x, observed, weights, means, covariances) = gaussian_holes.compiled_passes(), problem(6, n=9000)
    if passes is None:
        pytest.skip("Numba is not installed")
    inverse, holes = torch.linalg.inv(torch.linalg.cholesky(covariances)), gaussian_holes.group_by_number(observed)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(passes.moments(x, holes, weights, means, inverse))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
