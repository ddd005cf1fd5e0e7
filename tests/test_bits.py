"""The kernel of bits against enumeration, at its edges and at the edges of its number types."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emnet.exceptions import InsufficientMemoryError
from emnet.kernels import bits, bits_torch, class_blocks, configurations
from tests.oracles import all_configurations, enumerate_network


def problem(seed, n, m, g, *, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, m, generator=generator, dtype=torch.float64)
    output = scale * torch.randn(g, 1 + m, generator=generator, dtype=torch.float64)
    labels = torch.randint(g, (n,), generator=generator)
    weights = torch.rand(n, generator=generator, dtype=torch.float64)
    return logits.to(dtype), labels, output.to(dtype), weights.to(dtype)


def expectations(logits, labels, log_table, weights=None):
    groups = bits.group_by_class(labels, len(log_table), logits.shape[1])
    return bits.expectations(logits, groups, log_table, weights)


def check(logits, labels, output, weights, *, rtol, atol):
    found = expectations(logits, labels, bits.log_output_table(output), weights)
    truth = enumerate_network(
        *(a.double().numpy() if a.is_floating_point() else a.numpy() for a in (logits, labels, output, weights))
    )
    np.testing.assert_allclose(found.log_evidence, truth.log_evidence, rtol=rtol, atol=atol)
    np.testing.assert_allclose(found.mean, truth.mean, rtol=rtol, atol=atol)
    np.testing.assert_allclose(found.counts, truth.counts, rtol=rtol, atol=atol)


def test_configurations_count_in_binary():
    np.testing.assert_array_equal(configurations.all_configurations(4), all_configurations(4))


@pytest.fixture(params=["compiled", "in PyTorch"])
def passes(request, monkeypatch):
    """The passes between the products: those of this CPU, and those that any device can take."""
    if request.param == "in PyTorch":
        monkeypatch.setattr(bits, "_passes", lambda logits: bits_torch)
    else:
        assert bits._passes(torch.zeros(1)) is not bits_torch, "Numba is not installed: its passes are not tested"


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize(("m", "g"), [(1, 2), (2, 2), (3, 5), (5, 3), (6, 2)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_expectations_equal_enumeration(m, g, dtype, tolerance, scale):
    check(*problem(m, 23, m, g, dtype=dtype, scale=scale), rtol=scale * tolerance, atol=scale * tolerance)


def test_certain_units_and_nan():
    logits = torch.tensor([[torch.inf, -torch.inf, 0.0], [1.0, 2.0, torch.nan]])
    found = expectations(logits, torch.tensor([0, 1]), bits.log_output_table(torch.zeros(2, 4)))
    np.testing.assert_allclose(found.mean[0], [1, 0, 0.5])
    assert bool(found.log_evidence[1].isnan())
    assert bool(found.mean[1].isnan().all())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 12),
    m=st.integers(1, 6),
    g=st.integers(2, 5),
    scale=st.sampled_from([1e-3, 1.0, 10.0, 30.0, 100.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_shape_and_scale(seed, n, m, g, scale, dtype):
    tolerance = 1e-10 if dtype == torch.float64 else 3e-4
    logits, labels, output, weights = problem(seed, n, m, g, scale=scale, dtype=dtype)
    check(logits, labels, output, weights, rtol=tolerance, atol=tolerance * max(1.0, scale / 10))


def test_rows_that_underflow_in_float32_lose_nothing():
    logits, labels, output, weights = problem(0, 200, 6, 4, scale=100.0, dtype=torch.float32)
    table = bits.log_output_table(output)
    found = expectations(logits, labels, table, weights)
    assert (found.log_evidence < -104).any(), "no row of this test underflows: it tests nothing"
    assert torch.isfinite(found.log_evidence).all()
    assert torch.isfinite(found.mean).all()
    assert found.counts.sum() == pytest.approx(float(weights.double().sum()), rel=1e-5)
    truth = enumerate_network(logits.double().numpy(), labels.numpy(), output.double().numpy())
    np.testing.assert_allclose(found.log_evidence, truth.log_evidence, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(found.mean, truth.mean, atol=2e-3)


def test_a_class_without_rows_and_rows_without_class():
    logits, labels, output, weights = problem(1, 30, 3, 4)
    labels = labels.clamp_max(2)
    labels[::3] = class_blocks.UNOBSERVED
    check(logits, labels, output, weights, rtol=1e-12, atol=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch):
    arguments = problem(2, 700, 5, 3)
    table = bits.log_output_table(arguments[2])
    whole = expectations(arguments[0], arguments[1], table, arguments[3]), bits.log_marginal(arguments[0], table)
    monkeypatch.setattr(bits, "_chunk_rows", lambda m: 7)
    pieces = (
        expectations(arguments[0], arguments[1], table, arguments[3]),
        bits.log_marginal(arguments[0], table),
    )
    for a, b in zip((*whole[0], whole[1]), (*pieces[0], pieces[1]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("g", [1, 3, 40])
def test_threads_change_no_bit(monkeypatch, g):
    arguments = problem(4, 900, 7, g)
    table, before, found = bits.log_output_table(arguments[2]), torch.get_num_threads(), []
    monkeypatch.setattr(bits, "_chunk_rows", lambda m: 11)
    assert len(bits._parts(bits.group_by_class(arguments[1], g, 7), 7)) > 3
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(expectations(arguments[0], arguments[1], table, arguments[3]))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_prediction_is_the_marginal(scale, dtype):
    logits, _, output, _ = problem(3, 20, 4, 3, scale=scale, dtype=dtype)
    found = bits.log_marginal(logits, bits.log_output_table(output))
    each = [
        enumerate_network(logits.double().numpy(), np.full(20, i), output.double().numpy()).log_evidence
        for i in range(3)
    ]
    np.testing.assert_allclose(
        found, np.stack(each, axis=1), rtol=2e-5, atol=1e-4 * scale if dtype == torch.float32 else 1e-10
    )
    np.testing.assert_allclose(found.exp().sum(1), 1.0, rtol=1e-12 if dtype == torch.float64 else 3e-5)


def test_too_many_units_are_refused_with_bytes_and_alternatives():
    with pytest.raises(
        InsufficientMemoryError, match=r"2\^40 configurations.*[\d,]+ bytes .*available.*fewer hidden units"
    ):
        bits.require_memory(100, 40, 3, torch.float64, "cpu")


def test_the_gradient_is_posterior_mean_minus_prior_mean():
    logits, labels, output, _ = problem(4, 10, 4, 3)
    logits.requires_grad_()
    states = torch.from_numpy(all_configurations(4))
    log_on, log_off = torch.nn.functional.logsigmoid(logits), torch.nn.functional.logsigmoid(-logits)
    prior = states @ log_on.T + (1 - states) @ log_off.T
    table = (output[:, :1] + output[:, 1:] @ states.T).log_softmax(0)
    (prior + table[labels].T).logsumexp(0).sum().backward()
    with torch.no_grad():
        mean = expectations(logits, labels, table).mean
        torch.testing.assert_close(logits.grad, mean - logits.sigmoid(), rtol=1e-13, atol=1e-14)
