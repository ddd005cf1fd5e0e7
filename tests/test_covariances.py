"""Structures of covariances: they maximise what they say over what they may be."""

import numpy as np
import pytest
import torch

from emnet.estimators.options import COVARIANCES, choose_covariance
from emnet.exceptions import CollapsedComponentError
from emnet.kernels.rotations import cayley, skew_of

K, D = 3, 4
NAMES = [*COVARIANCES, "factor"]
structures = pytest.mark.parametrize("name", NAMES)


def scatters(seed=0, k=K, d=D):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(k, d, 2 * d, generator=generator, dtype=torch.float64)
    counts = 10 * torch.rand(k, generator=generator, dtype=torch.float64) + 5
    return counts[:, None, None] * (root @ root.mT) / d, counts


def taken(structure, scatter, counts):
    """Scatter and counts as a factor hands them to this structure."""
    if structure.diagonal:
        scatter = scatter.diagonal(dim1=1, dim2=2)
    return (scatter.sum(0, keepdim=True), counts.sum().view(1)) if structure.shared else (scatter, counts)


def made(name, seed=1):
    scatter, counts = scatters(seed)
    return choose_covariance(name, scatter / counts[:, None, None], 1)


def slope(structure, scatter, counts):
    parameters = [p.detach().requires_grad_() for p in structure.parameters()]
    return torch.autograd.grad(structure.objective(scatter, counts, *parameters), parameters)


@structures
def test_maximize_never_lowers_the_objective_and_ends_at_a_maximum(name):
    structure = made(name)
    scatter, counts = taken(structure, *scatters())
    before = structure.objective(scatter, counts)
    for _ in range(300):
        structure.maximize(scatter, counts)
        after = structure.objective(scatter, counts)
        assert after >= before - 1e-10 * abs(before)
        before = after
    assert max(float(part.abs().max()) for part in slope(structure, scatter, counts)) < 1e-4 * counts.sum()


@structures
def test_the_number_of_parameters_is_the_dimension_of_what_covariances_may_be(name):
    structure = made(name)

    def covariances(*parameters):
        lower = structure.factor(*parameters)
        return lower.square() if structure.diagonal else lower @ lower.mT

    parameters = tuple(p.detach() for p in structure.parameters())
    jacobian = torch.autograd.functional.jacobian(covariances, parameters)
    flat = torch.cat([part.flatten(-p.dim()).flatten(0, -2) for part, p in zip(jacobian, parameters, strict=True)], 1)
    assert torch.linalg.matrix_rank(flat, rtol=1e-9) == structure.n_parameters


@structures
def test_covariances_factors_and_inverses_agree(name):
    structure = made(name)
    lower, covariances = structure.lower(), structure.covariances()
    assert (lower.triu(1) == 0).all()
    assert (lower.diagonal(dim1=1, dim2=2) > 0).all()
    inverse = structure.inverse_factor()
    inverse = inverse.diag_embed() if structure.diagonal else inverse
    identity = (inverse @ covariances @ inverse.mT).expand(K, D, D)
    torch.testing.assert_close(identity, torch.eye(D).double().expand(K, D, D), rtol=0, atol=1e-12)
    vector = structure.coordinates()
    structure.set_coordinates(torch.zeros_like(vector))
    structure.set_coordinates(vector)
    assert structure.covariances().equal(covariances)


@pytest.mark.parametrize(
    ("name", "equal"),
    [("EVI", "volume"), ("EVE", "volume"), ("EVV", "volume"), ("EEV", "volume"), ("EEV", "shape"), ("VEV", "shape")],
)
def test_what_is_equal_is_equal(name, equal):
    structure = made(name)
    structure.maximize(*taken(structure, *scatters()))
    values = torch.linalg.eigvalsh(structure.covariances()).log()
    found = values.mean(1, keepdim=True) if equal == "volume" else values - values.mean(1, keepdim=True)
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=0, atol=1e-10)


def test_closed_forms():
    scatter, counts = scatters()
    full = made("full")
    full.maximize(scatter, counts)
    torch.testing.assert_close(full.covariances(), scatter / counts[:, None, None])
    tied = made("tied")
    tied.maximize(*taken(tied, scatter, counts))
    torch.testing.assert_close(tied.covariances()[0], scatter.sum(0) / counts.sum())
    spherical = made("EII")
    spherical.maximize(*taken(spherical, scatter, counts))
    variance = scatter.diagonal(dim1=1, dim2=2).sum() / (counts.sum() * D)
    torch.testing.assert_close(spherical.covariances()[0], variance * torch.eye(D).double())


@pytest.mark.parametrize("d", [1, 2, 3, 10, 40])
def test_rotations_make_the_round_trip_up_to_signs(d):
    generator = torch.Generator().manual_seed(d)
    matrices = torch.linalg.qr(torch.randn(20, d, d, generator=generator, dtype=torch.float64))[0]
    matrices[0] = -torch.eye(d)
    matrices[1] = torch.eye(d).flip(0)
    back = cayley(skew_of(matrices), d)
    signs = (back * matrices).sum(1)
    np.testing.assert_allclose(signs.abs().numpy(), 1.0, atol=1e-10)
    torch.testing.assert_close(back, matrices * signs.sign()[:, None], rtol=0, atol=1e-10)


@structures
def test_a_component_without_spread_is_named(name):
    structure = made(name)
    scatter, counts = scatters()
    scatter[1] = 0.0
    if structure.shared or name in ("EII", "EEI", "EEV"):
        scatter[:] = 0.0
    with pytest.raises(CollapsedComponentError, match="positive definite"):
        structure.maximize(*taken(structure, scatter, counts))
    assert torch.isfinite(structure.coordinates()).all()
