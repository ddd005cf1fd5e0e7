"""Log densities and moments of Gaussians over more rows than a chunk holds, against their definition."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from emnet.kernels import chunks, gaussian, gaussian_missing
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
@pytest.mark.parametrize("weighted", [False, True], ids=("alike", "weighted"))
@pytest.mark.parametrize("kind", ["full", "shared", "diagonal"])
def test_one_pass_is_the_definition(kind, weighted, dtype):
    pytest.importorskip("numba")
    x, means, inverse, weights = problem(dtype)
    x, weights = torch.cat((x, 2 * x)), torch.cat((weights, weights))  # more than a chunk of float32, too
    own = weights[:, 0] * (weights[:, 0] > 0.3) if weighted else None
    log_weights = torch.tensor([0.3, 0.7, 0.0], dtype=torch.float64).log()
    inverse = {"full": inverse, "shared": inverse[:1], "diagonal": inverse.diagonal(dim1=1, dim2=2)}[kind]
    full, shared = inverse.diag_embed() if kind == "diagonal" else inverse, kind == "shared"
    joint = MultivariateNormal(means, precision_matrix=full.mT @ full).log_prob(x.double()[:, None]) + log_weights
    r = joint.softmax(1) * (1.0 if own is None else own.double()[:, None])
    given = (means, inverse, log_weights, own)
    found = gaussian.expectations(x, *given, None, shared=shared)
    by_columns = gaussian.expectations(x.T.contiguous().T, *given, None, shared=shared)
    close = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-3}
    log_evidence, (counts, first, second) = found
    torch.testing.assert_close(log_evidence, joint.logsumexp(1), **close)
    rows = x.double()
    torch.testing.assert_close(counts, r.sum(0), **close)
    torch.testing.assert_close(first, r.T @ rows, **close)
    products = torch.einsum("nk,ni,nj->kij", r, rows, rows)
    products = {"full": products, "shared": products.sum(0)[None], "diagonal": products.diagonal(dim1=1, dim2=2)}[kind]
    torch.testing.assert_close(second, products, **close)
    assert counts[2] == 0
    assert log_evidence.equal(by_columns[0])
    assert all(a.equal(b) for a, b in zip(found[1], by_columns[1], strict=True))


@pytest.mark.parametrize("kind", ["shared", "diagonal"])
def test_copies_of_a_state_share_what_it_had(kind):
    """More states than features."""
    pytest.importorskip("numba")
    x, means, inverse, weights = problem(torch.float64)
    x, weights = torch.cat((x, 2 * x)), torch.cat((weights, weights))
    inverse = inverse[:1] if kind == "shared" else inverse.diagonal(dim1=1, dim2=2)
    log_weights, times, copies = torch.tensor([0.2, 0.3, 0.5]).double().log(), 6, inverse
    if kind == "diagonal":
        copies = inverse.repeat(times, 1)
    given = {"weights": weights[:, 0], "features": None, "shared": kind == "shared"}
    one = gaussian.expectations(x, means, inverse, log_weights, **given)
    spread = log_weights.repeat(times) - np.log(times)
    many = gaussian.expectations(x, means.repeat(times, 1), copies, spread, **given)
    torch.testing.assert_close(many[0], one[0], rtol=1e-10, atol=1e-10)
    for found, whole in zip(many[1], one[1], strict=True):
        summed = found if len(found) == 1 else found.unflatten(0, (times, K)).sum(0)
        torch.testing.assert_close(summed, whole, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["full", "shared", "diagonal"])
def test_one_pass_over_few_rows_is_that_over_many(kind):
    pytest.importorskip("numba")
    x, means, inverse, weights = problem(torch.float64)
    x, own, log_weights = x[:100], weights[:100, 0], torch.tensor([0.2, 0.3, 0.5]).double().log()
    inverse = {"full": inverse, "shared": inverse[:1], "diagonal": inverse.diagonal(dim1=1, dim2=2)}[kind]
    features = gaussian.kept_features(x, diagonal=kind == "diagonal")
    few, many = (
        gaussian.expectations(x, means, inverse, log_weights, own, kept, shared=kind == "shared")
        for kept in (features, None)
    )
    torch.testing.assert_close(few, many, rtol=1e-10, atol=1e-10)


def test_there_is_no_such_pass_over_many_rows_without_numba_or_a_product(monkeypatch):
    x, means, inverse, _ = problem(torch.float64)
    given = (means, inverse, torch.zeros(K, dtype=torch.float64), None, None)
    passes = pytest.importorskip("emnet.kernels.gaussian_numba")
    monkeypatch.setattr(passes, "address_of_product", lambda dtype: None)
    assert gaussian.expectations(x, *given, shared=False) is None
    monkeypatch.setattr(gaussian, "compiled", lambda module, what: None)
    assert gaussian.expectations(x, *given, shared=False) is None


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [5, 64])
def test_compiled_products_are_numpys(n, dtype):
    """Of the first columns of matrices that have more."""
    blas = pytest.importorskip("emnet.kernels.blas_numba")
    rng = np.random.default_rng(0)
    left, right, weights = (rng.normal(size=shape).astype(dtype) for shape in ((3, 7), (7, 64), (3, 64)))
    address, rtol = blas.address_of_product(left.dtype), 1e-12 if dtype == "float64" else 1e-4
    out, sums = np.full((3, 64), 9.0, dtype), np.empty((3, 7), dtype)
    blas.times(address, left, right, out, n)
    np.testing.assert_allclose(out[:, :n], left @ right[:, :n], rtol)
    assert (out[:, n:] == 9.0).all()
    blas.times_transposed(address, weights, right, sums, n)
    np.testing.assert_allclose(sums, weights[:, :n] @ right[:, :n].T, rtol)


def densities_and_moments(kind, mode):
    """Of rows without holes, no state narrow and one (or all that share a matrix); of a diagonal with holes, too."""
    generator = torch.Generator().manual_seed(1)
    x, means, inverse, weights = problem(torch.float64)
    x = torch.cat([x + 1e-3 * torch.randn(N, D, generator=generator, dtype=torch.float64) for _ in range(8)])
    weights, observed = weights.repeat(8, 1), torch.rand(len(x), D, generator=generator) < 0.8
    inverse = {"full": inverse, "shared": inverse[:1], "diagonal": inverse.diagonal(dim1=1, dim2=2)}[kind]
    diagonal, shared, origin = kind == "diagonal", kind == "shared", torch.zeros_like(means)
    with mode():
        found = []
        for narrow in ([], [0, 1, 2] if shared else [1]):
            found.append(gaussian.log_density(x, means, inverse, narrow))
            found += gaussian.moments(x, weights, origin, narrow, diagonal=diagonal, shared=shared)
        if at_once := gaussian.expectations(x, means, inverse, means[:, 0], None, None, shared=shared):
            found += [at_once[0], *at_once[1]]
        if diagonal:
            seen = x * observed
            found.append(gaussian_missing.log_density_diagonal(seen, observed, means, inverse, []))
            found += gaussian_missing.moments_diagonal(seen, observed, weights, means, inverse**-2, origin, [])
    return found


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", ["full", "shared", "diagonal"])
def test_threads_change_no_bit(monkeypatch, kind, mode):
    monkeypatch.setattr(chunks, "_LEAST_WORK", 0)  # small as it is, threads are to share it
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(densities_and_moments(kind, mode))
    finally:
        torch.set_num_threads(before)
    one, *more = found
    assert all(torch.equal(a, b) for other in more for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(("work", "parts"), [(2000, 16), (10**6, 16), (10**7, 3), (10**8, 1)])
def test_sums_of_parts_are_small_beside_other_memory(work, parts):
    x = torch.zeros(16 * 256, 1)  # 16 chunks of the fewest rows
    assert len(chunks.over_parts(lambda part: None, x, 2**12, work)) == parts


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
