"""The autoencoder's model, bound and E-steps, beside closed forms, quadrature and finite differences."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from emnet.algorithms.base import run
from emnet.algorithms.variational import VariationalEM
from emnet.batch import Batch, MiniBatches
from emnet.factors.cells import (
    BernoulliCells,
    CategoricalCells,
    DiscretizedLogisticCells,
    GaussianCells,
    PoissonCells,
    StudentCells,
)
from emnet.factors.covariances import Diagonal, Full
from emnet.factors.decoder import Decoder
from emnet.factors.encoder import Encoder
from emnet.factors.gaussian import Gaussian
from emnet.factors.latent_priors import MixturePrior, StandardNormal, VampPrior
from emnet.factors.networks import ConvolutionalDecoder, ConvolutionalEncoder, perceptron
from emnet.factors.tables import MixingWeights
from emnet.inference.amortized import Amortized, DivergencePenalty, Refinement, proposal, standard_error
from emnet.kernels import diagonal_gaussian
from emnet.models.autoencoder import Autoencoder
from tests.oracles import finite_difference, log_linear_gaussian

F64 = torch.float64
L, N = 2, 12


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def mixture(structure):
    spread = 0.5 + normal(1, 3, L).square()
    covariances = spread if structure is Diagonal else spread.diag_embed() + 0.3
    return MixturePrior(MixingWeights(torch.tensor([0.2, 0.3, 0.5])), Gaussian(normal(0, 3, L), structure(covariances)))


PRIORS = {
    "normal": lambda p: StandardNormal(L),
    "mixture-diagonal": lambda p: mixture(Diagonal),
    "mixture-full": lambda p: mixture(Full),
    "vamp": lambda p: VampPrior(normal(2, 4, p), L),
}
priors = pytest.mark.parametrize("prior", PRIORS)


def mixed(prior, seed=0):
    """Nine columns of all families, in no order."""
    cells = [
        GaussianCells(2, "row"),
        StudentCells(1),
        BernoulliCells(1),
        CategoricalCells(3),
        PoissonCells(2),
        DiscretizedLogisticCells(1),
        GaussianCells(1, "shared"),
    ]
    columns = [[0, 4], [1], [2], [3], [5, 7], [6], [8]]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        decoder = Decoder(nn.Identity(), cells, columns)
        decoder.network = perceptron(L, (5,), decoder.n_outputs, "tanh")
        p = decoder.n_features + 9
        encoder = Encoder(perceptron(p, (5,), 2 * L, "tanh"), sees_holes=True)
    return Autoencoder(PRIORS[prior](p), decoder, encoder).double()


def rows(seed=0, n=N):
    rng = np.random.RandomState(seed)
    table = np.column_stack(
        [
            rng.randn(n, 2),
            rng.randint(2, size=n),
            rng.randint(3, size=n),
            rng.randn(n),
            rng.poisson(3, n),
            rng.choice([0, 100, 255], n),
            rng.poisson(1, n),
            rng.randn(n),
        ]
    )
    table[rng.rand(*table.shape) < 0.25] = np.nan
    return Batch(torch.from_numpy(table), weights=torch.from_numpy(rng.rand(n) + 0.5))


# -- likelihoods and divergences, by sums and quadrature ---------------------------------------------------------------

GRID = torch.linspace(-60, 60, 240001, dtype=F64)
SUPPORTS = {
    "gaussian": (lambda: GaussianCells(1, "row"), GRID),
    "student_t": (lambda: StudentCells(1), GRID),
    "bernoulli": (lambda: BernoulliCells(1), torch.arange(2.0, dtype=F64)),
    "categorical": (lambda: CategoricalCells(4), torch.arange(4.0, dtype=F64)),
    "poisson": (lambda: PoissonCells(1), torch.arange(80.0, dtype=F64)),
    "discretized_logistic": (lambda: DiscretizedLogisticCells(1), torch.arange(256.0, dtype=F64)),
}


@pytest.mark.parametrize("family", SUPPORTS)
def test_a_likelihood_adds_up_to_one_and_has_its_moments_and_draws(family):
    make, support = SUPPORTS[family]
    likelihood = make().double()
    outputs = 0.5 * normal(3, 1, likelihood.n_outputs)
    step = 1.0 if len(support) < 1000 else float(support[1] - support[0])
    likelihood.requires_grad_(False)
    mass = likelihood.log_prob(support[:, None], outputs.expand(len(support), -1))[:, 0].exp() * step
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-4)
    drawn = likelihood.draw(outputs.expand(20000, -1), torch.Generator().manual_seed(0))[:, 0]
    if family == "categorical":
        assert float(likelihood.mode(outputs)) == float(support[mass.argmax()])
        assert float((drawn == support[mass.argmax()]).double().mean()) == pytest.approx(float(mass.max()), abs=0.02)
        return
    mean, variance = (mass * support).sum(), (mass * support.square()).sum() - (mass * support).sum().square()
    assert float(drawn.mean()) == pytest.approx(float(mean), abs=5 * float(variance / 20000) ** 0.5)
    if family != "discretized_logistic":  # whose mean leaves out what the ends cut off
        assert float(likelihood.mean(outputs)) == pytest.approx(float(mean), abs=1e-3)
        assert float(likelihood.variance(outputs)) == pytest.approx(float(variance), rel=2e-2)


@priors
def test_the_divergence_is_that_of_quadrature(prior):
    """The standard normal's in closed form, the others' from draws."""
    model = mixed(prior)
    mean, log_variance = 0.3 * normal(5, 1, L), 0.2 * normal(6, 1, L) - 1
    axis = torch.linspace(-9, 9, 361, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_q = diagonal_gaussian.log_density(grid, mean, 0.5 * log_variance).sum(-1)
        log_p = model.prior.log_density(grid, model.encoder)
        draws = diagonal_gaussian.draws(mean, log_variance, normal(7, 40000, 1, L))
        found = float(model.prior.divergence(mean, log_variance, draws, model.encoder).sum())
        prior_draws = model.prior.draw(20000, model.encoder, torch.Generator().manual_seed(0)).double()
    assert float(log_p.exp().sum()) * 0.05**2 == pytest.approx(1.0, abs=2e-2)
    exact = float((log_q.exp() * (log_q - log_p)).sum()) * 0.05**2
    assert found == pytest.approx(exact, abs=1e-6 if prior == "normal" else 0.03)
    mass = log_p.exp() * 0.05**2
    np.testing.assert_allclose(prior_draws.mean(0).numpy(), (mass @ grid).numpy(), atol=0.05)


# -- the laws ----------------------------------------------------------------------------------------------------------


@priors
def test_the_gradient_is_that_of_finite_differences_with_fixed_noise(prior):
    model, batch = mixed(prior), rows()
    start = model.coordinates()

    def bound(vector):
        model.set_coordinates(torch.from_numpy(vector))
        return model.posterior(batch).total(batch.weights)

    with torch.no_grad():
        numeric = finite_difference(bound, start.numpy())
        model.set_coordinates(start)
        found = model.gradient(model.statistics(batch, model.posterior(batch)))
    np.testing.assert_allclose(found.numpy(), numeric, rtol=1e-5, atol=1e-6)


@priors
def test_statistics_add_up_weights_count_and_copies_agree(prior):
    model, batch = mixed(prior), rows()
    with torch.no_grad():
        mean, log_variance = model.encode(batch)
        noise = normal(8, 1, N, L)

        def gradient(part, index):
            own = model.encoded(part, mean[index], log_variance[index], noise[:, index])
            return model.gradient(model.statistics(part, own))

        whole = gradient(batch, slice(None))
        parts = [gradient(batch.rows(index), index) for index in (slice(0, 5), slice(5, None))]
        torch.testing.assert_close(parts[0] + parts[1], whole, rtol=1e-9, atol=1e-9)
        twice = torch.arange(N).repeat_interleave(2)
        repeated = replace(batch.rows(twice), weights=batch.weights[twice] / 2)
        torch.testing.assert_close(gradient(repeated, twice), whole, rtol=1e-9, atol=1e-9)

        vector, found = model.coordinates(), model.posterior(batch).log_evidence
        assert torch.equal(copy.deepcopy(model).posterior(batch).log_evidence, found)
        other = mixed(prior, seed=1)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.posterior(batch).log_evidence, found)
        single = copy.deepcopy(model).float()
        noise = noise.float()
        own = single.encoded(Batch(batch.target.float()), *(x.float() for x in (mean, log_variance)), noise)
        exact = model.encoded(batch, mean, log_variance, noise.double())
        torch.testing.assert_close(own.log_evidence, exact.log_evidence, rtol=1e-4, atol=1e-4)
        model.set_coordinates(torch.zeros_like(vector))
        model.set_coordinates(vector)
        assert model.coordinates().equal(vector)


@priors
def test_what_was_not_seen_says_nothing(prior):
    """A hole's likelihood is 1, whatever stands there; a row of holes has evidence 1."""
    model, batch = mixed(prior), replace(rows(), weights=None)
    with torch.no_grad():
        mean, log_variance = model.encode(batch)
        noise = normal(9, 3, 1, L)
        found = model.log_weights(batch.derived(entries), mean, log_variance, noise)
        observed = ~batch.target.isnan()
        nonsense = replace(batch, target=batch.target.nan_to_num(1.0), observed=observed)
        torch.testing.assert_close(
            model.log_weights(nonsense.derived(entries), mean, log_variance, noise), found, rtol=0, atol=0
        )
        empty = Batch(torch.full((2, 9), torch.nan, dtype=F64))
        assert (proposal(model, empty, 5, torch.Generator().manual_seed(0)).log_evidence == 0).all()
        cells = model.decoder.cell_log_prob(nonsense.target, model.decoder.outputs(mean))
        likelihood = model.decoder.log_prob(nonsense.derived(entries), mean)
        torch.testing.assert_close((cells * observed).sum(1), likelihood)


def entries(batch):
    from emnet.models.autoencoder import entries_of

    return entries_of(batch)


@pytest.mark.parametrize("structure", [Diagonal, Full])
def test_the_closed_m_step_of_a_mixture_prior_raises_the_bound_and_ends_where_its_gradient_vanishes(structure):
    model, batch = mixed(f"mixture-{structure.__name__.lower()}"), rows(n=60)
    with torch.no_grad():
        for _ in range(5):
            posterior = model.posterior(batch)  # its draws are the same every time
            statistics = model.statistics(batch, posterior, model.closed)
            model.prior.maximize(statistics["prior"])
            assert model.prior.gradient(statistics["prior"]).abs().max() < 1e-8
            assert model.posterior(batch).total(batch.weights) > posterior.total(batch.weights)


# -- the bounds, beside an exact evidence ----------------------------------------------------------------------------


def linear(seed=0, d=4):
    """A linear decoder, whose evidence is exact, under an encoder that is off."""
    decoder = Decoder(nn.Linear(L, d), [GaussianCells(d, "shared")], [range(d)])
    encoder = Encoder(nn.Linear(d, 2 * L))
    model = Autoencoder(StandardNormal(L), decoder, encoder).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=F64))
    return model, Batch(normal(11, 30, d))


def exact_evidence(model, batch):
    network = model.decoder.network
    scale = float(model.decoder.likelihoods[0].log_scales(torch.zeros(1)).exp().detach()[0])
    loadings, offset = network.weight.detach().numpy(), network.bias.detach().numpy()
    return log_linear_gaussian(batch.target.numpy(), offset, loadings, scale**2)


def test_the_importance_weighted_bound_tightens_to_the_exact_evidence():
    model, batch = linear()
    truth = exact_evidence(model, batch).sum()
    means, errors = [], []
    with torch.no_grad():
        for s in (1, 4, 16, 64, 256):
            e_step = Amortized(s, importance_weighted=True, seed=s)
            totals = torch.tensor([e_step(model, batch).total(None) for _ in range(30)])
            means.append(float(totals.mean()))
            errors.append(float(totals.std() / 30**0.5))
        found = proposal(model, batch, 20000, torch.Generator().manual_seed(0))
    for below, above, slack in zip(means, means[1:], errors[1:], strict=False):
        assert below <= above + 2 * slack
    assert means[0] < truth - 5
    assert means[-1] == pytest.approx(truth, abs=0.02 * abs(truth - means[0]) + 4 * errors[-1])
    error = standard_error(found.log_weights).numpy()
    assert (abs(found.log_evidence.numpy() - exact_evidence(model, batch)) < 5 * error + 1e-3).all()


def test_refinement_never_lowers_a_rows_bound_and_comes_near_the_exact_evidence():
    model, batch = linear()
    truth = exact_evidence(model, batch)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        mean, log_variance = model.encode(batch)
        noise = normal(12, 2000, 1, L)
        before = model.encoded(batch, mean, log_variance, noise).log_evidence.numpy()
        found = Refinement(30, 64)(model, batch, mean, log_variance, generator)
        after = model.encoded(batch, found.mean, found.log_variance, noise).log_evidence.numpy()
    assert (after > before - 0.05).all()
    assert (truth - after).mean() < 0.1 * (truth - before).mean()


# -- the algorithm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("e_steps", "e_step"),
    [
        (0, Amortized()),
        (1, Amortized()),
        (0, Amortized(refinement=Refinement(2, 4))),
        (0, Amortized(5, importance_weighted=True)),
        (0, Amortized(penalty=DivergencePenalty(0.5, 20, 0.05))),
    ],
)
@pytest.mark.parametrize("prior", ["mixture-diagonal", "vamp"])
def test_every_way_of_training_raises_the_bound_the_same_way_twice(e_steps, e_step, prior):
    ends = []
    for _ in range(2):
        model, batch = mixed(prior), rows(n=40)
        algorithm = VariationalEM(e_step.with_seed(0), 0.02, e_steps, largest_norm=100.0)
        fit = run(model, MiniBatches(batch, 20, 0), algorithm, inference=Amortized(seed=1), max_iter=15)
        assert fit.last.log_evidence > fit.history[0].log_evidence + 10
        ends.append(model.coordinates())
    assert ends[0].equal(ends[1])


def test_free_bits_and_warm_up_are_what_they_say():
    divergence = torch.tensor([[0.01, 2.0], [0.03, 4.0]])
    assert DivergencePenalty(free_bits=0.1)(divergence).tolist() == pytest.approx([2.1, 4.1])
    penalty = DivergencePenalty(2.0, warm_up=4)
    shares = []
    for _ in range(6):
        shares.append(float(penalty(divergence)[0]) / 2.01)
        penalty.advance()
    assert shares == pytest.approx([0, 0.5, 1, 1.5, 2, 2])


@pytest.mark.parametrize("shape", [(8, 8), (3, 7, 9), (28, 28)])
def test_the_convolutional_pair_takes_any_size(shape):
    pixels = int(np.prod(shape))
    assert ConvolutionalEncoder(shape, 6)(torch.rand(2, pixels)).shape == (2, 6)
    assert ConvolutionalDecoder(shape, 3, 2)(torch.rand(2, 3)).shape == (2, 2 * pixels)
