"""Log densities and moments of Gaussians over more rows than a chunk holds, against their definition."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from emnet.kernels import gaussian
from emnet.kernels.sums import may_hold_nan, over_rows

N, D, K = 5000, 7, 3  # chunks have at most 4096 rows


def problem(dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator, dtype=dtype)
    means = torch.randn(K, D, generator=generator, dtype=torch.float64)
    inverse = torch.randn(K, D, D, generator=generator, dtype=torch.float64).tril(-1) / 3 + torch.eye(D)
    return x, means, inverse.double(), torch.rand(N, K, generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("compiled", [True, False], ids=("compiled", "PyTorch"))
@pytest.mark.parametrize("diagonal", [False, True], ids=("full", "diagonal"))
def test_chunks_are_the_definition(monkeypatch, diagonal, compiled, dtype):
    if not compiled:
        monkeypatch.setattr(gaussian, "compiled", lambda module, what: None)
    x, means, inverse, weights = problem(dtype)
    if diagonal:
        inverse = inverse.diagonal(dim1=1, dim2=2) * torch.arange(1, 4)[:, None]
    full = inverse.diag_embed() if diagonal else inverse
    exact = MultivariateNormal(means, precision_matrix=full.mT @ full).log_prob(x.double()[:, None])
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-3}
    density = gaussian.log_density(x, means, inverse, [])
    torch.testing.assert_close(density.double(), exact, **close)
    assert torch.equal(gaussian.log_density(x.T.contiguous().T, means, inverse, []), density)  # column by column

    counts, first, second = gaussian.moments(x, weights, torch.zeros_like(means), [], diagonal=diagonal, shared=False)
    r, rows = weights.double(), x.double()
    torch.testing.assert_close(counts, r.sum(0), **close)
    torch.testing.assert_close(first, r.T @ rows, **close)
    products = torch.einsum("nk,ni,nj->kij", r, rows, rows)
    torch.testing.assert_close(second, products.diagonal(dim1=1, dim2=2) if diagonal else products, **close)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_sums_over_rows_are_in_float64(dtype):
    _, _, _, values = problem(dtype)
    weights = values[:, 0] + 1
    torch.testing.assert_close(over_rows(values), values.double().sum(0), rtol=1e-6, atol=0)
    torch.testing.assert_close(over_rows(values, weights), weights.double() @ values.double(), rtol=1e-6, atol=0)
    assert over_rows(values).dtype == torch.float64


def test_a_sum_tells_of_a_hole():
    x = problem(torch.float64)[0]
    assert not may_hold_nan(x)
    x[N // 2, D // 2] = torch.nan
    assert may_hold_nan(x)
