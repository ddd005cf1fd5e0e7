"""Sampled and variational E-steps against the exact one."""

import numpy as np
import pytest
import torch

from emnet.algorithms.base import e_step, evaluate, run
from emnet.algorithms.em import EM
from emnet.batch import Batch
from emnet.exceptions import InvalidInputError, SampleCollapseWarning
from emnet.factors.module import ModuleGaussian
from emnet.factors.regression import FixedBound, GradientStep, Newton
from emnet.inference.exact import Exact
from emnet.inference.gibbs import Gibbs
from emnet.inference.importance import Importance, Recognition
from emnet.inference.mean_field import MeanField
from emnet.kernels import logistic, mean_field
from emnet.kernels.sampling import SeededGenerator, draw_units, stratified_uniforms
from emnet.models.bernoulli_network import BernoulliNetwork
from tests.cases.networks import labelled, measured, network, regression
from tests.oracles import finite_difference

F64 = torch.float64


@pytest.fixture(params=[(4,), (3, 2)], ids=["one layer", "two layers"])
def problem(request):
    batch = labelled(0, F64, n=12)
    return network(0, F64, widths=request.param, m_step=Newton()), batch


def with_unknown(batch):
    observed = torch.arange(len(batch)) % 3 != 0
    return Batch(batch.target, batch.given, observed, batch.weights)


# -- draws -----------------------------------------------------------------------------------------------------------


def test_stratified_draws_are_uniform_and_one_in_each_stratum():
    generator = torch.Generator().manual_seed(0)
    uniforms = stratified_uniforms(8, 500, 3, like=torch.zeros(1, dtype=F64), generator=generator)
    assert ((uniforms * 8).floor().sort(0).values == torch.arange(8)[:, None, None]).all()
    each = torch.histc(uniforms[0].flatten(), bins=10, min=0, max=1)
    assert each.sub(150).abs().max() < 5 * 150**0.5


def test_stratified_draws_have_less_variance_in_sums_and_no_bias_in_products():
    generator = SeededGenerator(1).on(torch.device("cpu"))
    probability = torch.tensor([0.2, 0.5, 0.9], dtype=F64)
    draws = torch.stack([draw_units(probability.expand(50, 3), 10, generator)[..., 1:] for _ in range(200)])
    sums = draws.sum(-1).mean(1)
    assert sums.var() < 0.3 * float((probability * (1 - probability)).sum()) / 10
    products = draws.prod(-1).mean((1, 2))
    assert float(products.mean()) == pytest.approx(0.09, abs=4 * float(products.std()) / 200**0.5)


# -- importance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("proposal", [None, "recognition"])
def test_importance_gives_the_evidence_without_bias_and_the_posterior_in_the_limit(problem, proposal):
    model, batch = problem
    batch = with_unknown(batch)
    exact = model.posterior(batch)
    inference = Importance(5, Recognition() if proposal else None)
    for _ in range(10):
        inference(model, batch)  # a recognition network learns
    drawn = torch.stack([inference(model, batch).log_evidence.exp() for _ in range(1500)])
    error = (drawn.mean(0) - exact.log_evidence.exp()) / (drawn.std(0) / 1500**0.5).clamp_min(1e-12)
    assert error.abs().max() < 4.5
    many = Importance(20_000, inference.proposal)(model, batch)
    torch.testing.assert_close(many.mean, exact.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(many.log_evidence, exact.log_evidence, rtol=0, atol=0.03)
    gradient = model.gradient(model.statistics(batch, exact))
    sampled = model.gradient(model.statistics(batch, many))
    assert (sampled - gradient).norm() < 0.03 * gradient.norm()


def test_a_recognition_network_has_more_effective_samples_than_the_prior():
    batch = labelled(0, F64, n=200)
    model = network(3, F64, widths=(6,), m_step=Newton())
    model.output.weights.data *= 3
    tilted = Importance(50, Recognition())
    for _ in range(20):
        posterior = tilted(model, batch)
    prior = Importance(50)(model, batch)
    assert posterior.diagnostics["effective_samples"] > 1.3 * prior.diagnostics["effective_samples"]


def test_a_recognition_network_for_real_targets():
    """Without bias, and nearer to the posterior than the prior is."""
    model, batch = regression(3, F64, m=5), measured(0, F64, n=200)
    model.output.log_variance.data -= 1.0
    exact = model.posterior(batch)
    tilted = Importance(50, Recognition())
    for _ in range(20):
        posterior = tilted(model, batch)
    prior = Importance(50)(model, batch)
    assert posterior.diagnostics["effective_samples"] > 1.3 * prior.diagnostics["effective_samples"]
    many = Importance(20_000, tilted.proposal)(model, batch)
    torch.testing.assert_close(many.mean, exact.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(many.log_evidence, exact.log_evidence, rtol=0, atol=0.05)


def test_a_linear_module_for_real_targets_is_the_linear_output():
    """Same draws: the same likelihood and the same gradient as the factor whose statistics are moments."""
    model, batch = regression(1, F64, precision=0.0), measured(1, F64)
    linear = torch.nn.Linear(3, 2).double()
    linear.weight.data, linear.bias.data = model.output.weights[:, 1:].clone(), model.output.weights[:, 0].clone()
    neural = BernoulliNetwork(model.layers, ModuleGaussian(linear, model.output.variance))
    posterior = Importance(20)(model, batch)
    again = Importance(20)(neural, batch)
    torch.testing.assert_close(again.log_evidence, posterior.log_evidence)
    torch.testing.assert_close(Gibbs()(neural, batch).mean, Gibbs()(model, batch).mean)
    expected = model.output.gradient(model.statistics(batch, posterior)["output"])
    found = neural.output.gradient(neural.statistics(batch, again)["output"])
    # parameters come as V, b and log σ² beside (b, V) by rows and log σ²
    weights, biases, variance = found.split([6, 2, 2])
    rows = torch.cat((biases[:, None], weights.view(2, 3)), dim=1)
    torch.testing.assert_close(torch.cat((rows.flatten(), variance)), expected)
    with pytest.raises(InvalidInputError, match="importance or the Gibbs"):
        neural.posterior(batch)


def test_a_collapse_of_the_weights_is_said():
    model, batch = network(0, F64, widths=(6,), g=2, m_step=Newton()), labelled(0, F64, g=2)
    model.layers[0].weights.data *= 0
    model.output.weights.data = torch.tensor([[0.0] * 7, [-9000.0, 50, 100, 200, 400, 800, 1600]], dtype=F64)
    unlikely = Batch(torch.ones_like(batch.target), batch.given)  # every configuration has a weight of its own scale
    with pytest.warns(SampleCollapseWarning, match="effective"):
        Importance(20)(model, unlikely)


def test_the_control_variate_lowers_the_variance(problem):
    model, batch = problem
    inference = Importance(10)
    drawn = [inference(model, batch) for _ in range(300)]
    controlled = torch.stack([p.mean for p in drawn]).var(0).mean()
    plain = torch.stack([torch.einsum("sn,snm->nm", p.weights, p.states[0][..., 1:]) for p in drawn]).var(0).mean()
    assert controlled < plain


@pytest.mark.parametrize("make", [lambda: Importance(8), lambda: Importance(8, Recognition()), lambda: Gibbs()])
def test_one_seed_gives_one_result(problem, make):
    model, batch = problem
    first, second = make(), make()
    for _ in range(2):
        a, b = first(model, batch), second(model, batch)
        assert a.mean.equal(b.mean)
        assert a.log_evidence.equal(b.log_evidence)


@pytest.mark.parametrize("make", [lambda: Importance(8), lambda: Importance(8, Recognition()), lambda: Gibbs()])
def test_what_an_e_step_keeps_can_change_outside_of_em(problem, make):
    """EM may be in PyTorch's inference mode, in which no tensor may be made that is written outside of it."""
    model, batch = problem
    inference = make()
    EM(inference).step(model, [batch])
    posterior = inference(model, batch)
    assert bool(posterior.log_evidence.isfinite().all())
    assert not posterior.mean.is_inference()


def test_a_row_of_no_class_has_the_prior_and_evidence_one(problem):
    model, batch = problem
    unseen = Batch(batch.target, batch.given, torch.zeros(len(batch), dtype=torch.bool))
    prior = model.layers[0].predictor(batch.given).sigmoid()
    for inference in (Importance(7), Importance(7, Recognition())):
        posterior = inference(model, unseen)
        torch.testing.assert_close(posterior.log_evidence, torch.zeros(len(batch), dtype=F64), atol=1e-12, rtol=0)
        torch.testing.assert_close(posterior.mean, prior, atol=1e-12, rtol=0)


# -- Gibbs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [1, 2, 4])
def test_gibbs_reaches_the_exact_posterior(problem, block_size):
    """Fifty chains of every row, side by side, are 4000 draws of its posterior."""
    model, rows = problem
    rows, chains = with_unknown(rows), 50
    batch = rows.units(torch.arange(len(rows)).repeat(chains))
    exact = model.posterior(batch)
    posterior = Gibbs(sweeps=80, block_size=block_size, burn_in=20)(model, batch)
    means, truth = (each.mean.view(chains, len(rows), -1).mean(0) for each in (posterior, exact))
    torch.testing.assert_close(means, truth, rtol=0, atol=0.04)
    gradient = model.gradient(model.statistics(batch, exact))
    sampled = model.gradient(model.statistics(batch, posterior))
    assert (sampled - gradient).norm() < 0.05 * gradient.norm()


def test_one_block_of_all_units_is_exact_at_once():
    batch = labelled(0, F64, n=12)
    model = network(0, F64, widths=(4,), m_step=Newton())
    posterior = Gibbs(sweeps=1, block_size=4, burn_in=0)(model, batch)
    torch.testing.assert_close(posterior.mean, model.posterior(batch).mean, rtol=1e-10, atol=1e-12)


# -- mean field ------------------------------------------------------------------------------------------------------


def brute_force_bound(logits, own, mean, output):
    """The bound of one row, written out: E_q log p(z | x) + H(q) + v_i·μ − log Σ_r exp(v_r0) Π_h E_q e^{v_rh z_h}."""
    total = own[0] + own[1:] @ mean
    for a, mu in zip(logits, mean, strict=True):
        total += mu * -np.log1p(np.exp(-a)) + (1 - mu) * -np.log1p(np.exp(a))
        total -= mu * np.log(mu) + (1 - mu) * np.log(1 - mu)
    return total - np.log(sum(np.exp(v[0]) * np.prod(1 - mean + mean * np.exp(v[1:])) for v in output))


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0, 30.0])
def test_the_mean_field_bound_lies_below_the_evidence_and_never_falls(scale):
    for seed in range(20):
        batch = labelled(seed, F64, n=15)
        model = network(seed, F64, widths=(4,), m_step=Newton())
        for factor in model.factors.values():
            factor.weights.data *= scale
        exact = model.posterior(batch)
        logits, output = model.layers[0].predictor(batch.given), model.output.weights
        last = torch.full((15,), -np.inf, dtype=F64)
        for sweeps in range(6):
            mean, bound = mean_field.coordinate_ascent(logits, batch.target, output, tol=-1, max_sweeps=sweeps)
            assert (bound >= last - 1e-10 * (1 + bound.abs())).all()
            last = bound
        assert (bound <= exact.log_evidence + 1e-9 * (1 + bound.abs())).all()
        assert torch.isfinite(bound).all()
        if scale <= 1:
            row = (logits[0], output[batch.target[0]], mean[0], output)
            truth = brute_force_bound(*(a.numpy() for a in row))
            assert float(bound[0]) == pytest.approx(truth, rel=1e-10)


def test_mean_field_is_a_fixed_point_and_exact_without_interaction():
    batch = labelled(0, F64, n=12)
    model = network(0, F64, widths=(1,), m_step=Newton())
    model.output.weights.data *= 0.01
    found, exact = MeanField(tol=1e-14)(model, batch), model.posterior(batch)
    torch.testing.assert_close(found.mean, exact.mean, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.log_evidence, exact.log_evidence, rtol=0, atol=1e-3)


@pytest.mark.parametrize("m_step", [Newton(), FixedBound()])
def test_mean_field_em_never_lowers_its_bound(m_step):
    for seed in range(10):
        model, batch = network(seed, F64, widths=(4,), m_step=m_step), labelled(seed, F64)
        fit = run(model, with_unknown(batch), EM(MeanField()), inference=MeanField(), max_iter=15)
        objective = np.array([line.progress.objective for line in fit.history])
        assert (np.diff(objective) >= -1e-9 * (fit.rows + abs(objective[:-1]))).all()
        assert fit.history[-1].progress.kind == "bound"


@pytest.mark.parametrize("m_step", [Newton(), GradientStep()])
def test_the_gradient_of_the_bound_is_the_gradient_of_its_q(m_step):
    model, batch = network(2, F64, widths=(4,), m_step=m_step), labelled(2, F64)
    inference = MeanField(tol=1e-15, max_sweeps=1000)
    start = model.coordinates()
    gradient = model.gradient(e_step(model, [batch], inference)[1])

    def objective(vector):
        model.set_coordinates(torch.from_numpy(vector))
        return evaluate(model, [batch], inference).objective

    np.testing.assert_allclose(gradient, finite_difference(objective, start.numpy()), rtol=2e-6, atol=2e-6)


def test_newton_on_the_bound_has_its_own_hessian():
    generator = torch.Generator().manual_seed(0)
    mean = torch.rand(9, 3, generator=generator, dtype=F64)
    target = torch.eye(4, dtype=F64)[torch.arange(9) % 4] * torch.rand(9, 1, generator=generator, dtype=F64)
    weights = torch.randn(4, 4, generator=generator, dtype=F64)
    regression = mean_field.FactorizedSoftmaxRegression(mean, target, torch.full((4, 4), 0.1, dtype=F64))
    jacobian = torch.autograd.functional.jacobian(lambda w: regression.gradient(w), weights).reshape(16, 16)
    gradient = torch.randn(4, 4, generator=generator, dtype=F64)
    expected = torch.linalg.solve(-jacobian, gradient.flatten()).view(4, 4)
    torch.testing.assert_close(regression.newton_direction(weights, gradient), expected, rtol=1e-9, atol=1e-9)
    autograd = torch.autograd.functional.jacobian(lambda w: regression.objective(w)[0, 0], weights)
    torch.testing.assert_close(regression.gradient(weights), autograd, rtol=1e-10, atol=1e-12)
    best = logistic.newton(regression, weights)
    assert regression.gradient(best).abs().max() < 1e-6


def test_mean_field_is_for_one_layer():
    with pytest.raises(InvalidInputError, match="one hidden layer"):
        MeanField()(network(0, F64, widths=(3, 2), m_step=Newton()), labelled(0, F64))


def test_the_exact_e_step_and_exact_prediction_agree_in_depth():
    model, batch = network(0, F64, widths=(3, 2, 2), m_step=Newton()), labelled(0, F64)
    predicted = model.log_predictive(batch.given)[torch.arange(len(batch)), batch.target]
    torch.testing.assert_close(predicted, Exact()(model, batch).log_evidence, rtol=1e-12, atol=1e-12)
