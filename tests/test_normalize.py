"""Responsibilities from joint log probabilities: the compiled pass and PyTorch's, in both orders of memory."""

from __future__ import annotations

import pytest
import torch

from emnet.kernels import normalize

_DIGITS = {torch.float64: 1e-13, torch.float32: 2e-6}


@pytest.mark.parametrize("by_state", [True, False])
@pytest.mark.parametrize("dtype", _DIGITS)
@pytest.mark.parametrize(("n", "k"), [(30_000, 5), (1000, 150), (40, 5)])
def test_responsibilities_are_a_softmax(n: int, k: int, dtype: torch.dtype, by_state: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    joint = (30 * torch.randn(n, k, generator=generator) - 1000).to(dtype)
    joint[3, 1:] = -torch.inf
    log_weights = torch.randn(k, generator=generator).log_softmax(0)
    exact = joint.double() + log_weights.to(dtype).double()
    given = joint.T.contiguous().T if by_state else joint.clone()
    evidence, shares = normalize.normalized(given, log_weights)
    assert evidence.dtype == torch.float64
    torch.testing.assert_close(evidence, exact.logsumexp(1), rtol=_DIGITS[dtype], atol=0)
    rounding = 1000 * torch.finfo(dtype).eps  # of the joint itself; what is below e⁻⁶⁹ is 0
    torch.testing.assert_close(shares.double(), exact.softmax(1), rtol=rounding, atol=2e-30)
    torch.testing.assert_close(shares.double().sum(1), torch.ones(n).double(), rtol=0, atol=k * torch.finfo(dtype).eps)
    assert shares[3].tolist() == [1.0] + [0.0] * (k - 1)


@pytest.mark.parametrize("dtype", _DIGITS)
def test_rows_without_an_evidence_are_nan(dtype: torch.dtype) -> None:
    joint = torch.zeros(30_000, 5, dtype=dtype)
    joint[7], joint[200, 4], joint[201, 0], joint[29_999, 2] = -torch.inf, torch.nan, torch.nan, torch.inf
    evidence, shares = normalize.normalized(joint, torch.zeros(5))
    assert torch.nonzero(evidence.isnan()).flatten().tolist() == [7, 200, 201, 29_999]
    assert bool((shares.isnan().any(1) == evidence.isnan()).all())


def test_threads_change_no_bit() -> None:
    joint = torch.randn(60_000, 5, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(normalize.normalized(joint.T.clone().T, torch.zeros(5)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
