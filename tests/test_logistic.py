"""The regressions against scikit-learn, finite differences and their own promises."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from emnet.exceptions import SeparationWarning
from emnet.kernels import logistic
from tests.oracles import finite_difference


def design(seed, n=60, p=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.cat((torch.ones(n, 1), torch.randn(n, p, generator=generator)), 1).double(), generator


def sigmoid_problem(seed=0, m=2, precision=0.7):
    X, generator = design(seed)
    target = torch.rand(len(X), m, generator=generator, dtype=torch.float64)
    weight = torch.rand(len(X), generator=generator, dtype=torch.float64)
    prior = torch.full((m, X.shape[1]), precision, dtype=torch.float64)
    prior[:, 0] = 0
    return logistic.SigmoidRegression(X, target, weight, prior)


def softmax_problem(seed=0, g=4, precision=0.7):
    X, generator = design(seed)
    target = torch.rand(len(X), g, generator=generator, dtype=torch.float64) ** 3
    prior = torch.full((g, X.shape[1]), precision, dtype=torch.float64)
    prior[:, 0] = 0
    return logistic.SoftmaxRegression(X, target, prior)


PROBLEMS = [sigmoid_problem(), sigmoid_problem(1, 3, 0.0), softmax_problem(), softmax_problem(1, 3, 0.0)]


def start_of(regression):
    return torch.zeros(regression.precision.shape, dtype=torch.float64)


@pytest.mark.parametrize("regression", PROBLEMS)
def test_gradients_equal_finite_differences(regression):
    weights = torch.randn(regression.precision.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    numeric = finite_difference(
        lambda v: float(regression.objective(torch.from_numpy(v).view_as(weights)).sum()), weights.flatten().numpy()
    )
    np.testing.assert_allclose(regression.gradient(weights).flatten(), numeric, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("regression", PROBLEMS)
def test_newton_directions_solve_the_hessian_of_finite_differences(regression):
    weights = 0.3 * torch.randn(
        regression.precision.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    gradient = regression.gradient(weights)
    direction = regression.newton_direction(weights, gradient)
    step = 1e-6
    curvature = (regression.gradient(weights + step * direction) - regression.gradient(weights - step * direction)) / (
        2 * step
    )
    torch.testing.assert_close(-curvature, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("regression", PROBLEMS)
def test_newton_ends_at_the_maximum_without_ever_falling(regression):
    weights, value = start_of(regression), regression.objective(start_of(regression))
    for _ in range(50):
        weights = logistic.newton(regression, weights, max_steps=1)
        assert (regression.objective(weights) >= value - 1e-12 * value.abs()).all()
        value = regression.objective(weights)
    assert regression.gradient(weights).abs().max() < 1e-6


def test_newton_agrees_with_scikit_learn():
    X, generator = design(5, n=200)
    labels = torch.randint(3, (200,), generator=generator)
    target = torch.nn.functional.one_hot(labels).double()
    precision = torch.full((3, X.shape[1]), 2.0, dtype=torch.float64)
    precision[:, 0] = 0
    ours = logistic.newton(logistic.SoftmaxRegression(X, target, precision), torch.zeros_like(precision))
    peer = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000).fit(X[:, 1:].numpy(), labels.numpy())
    np.testing.assert_allclose(ours[:, 1:], peer.coef_, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (sigmoid_problem, logistic.sigmoid_bound_direction),
        (softmax_problem, logistic.softmax_bound_direction),
    ],
)
@pytest.mark.parametrize("precision", [0.0, 0.5])
def test_bounds_rise_without_a_line_search_and_reach_newtons_maximum(make, bound, precision):
    regression = make(2, 3, precision)
    mass = regression.target.sum(1) if isinstance(regression, logistic.SoftmaxRegression) else regression.weight
    gram = (regression.design * mass[:, None]).T @ regression.design
    weights = 3 * torch.randn(
        regression.precision.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    weights -= weights.mean(0)
    value = regression.objective(weights)
    for _ in range(3000):
        weights = weights + bound(gram, regression.gradient(weights), regression.precision)
        assert (regression.objective(weights) >= value - 1e-12 * value.abs()).all()
        value = regression.objective(weights)
    best = regression.objective(logistic.newton(regression, start_of(regression)))
    torch.testing.assert_close(value, best, rtol=1e-8, atol=1e-8)


def separable(precision):
    X = torch.tensor([[1.0, -2.0], [1.0, -1.0], [1.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    prior = torch.tensor([[0.0, precision]], dtype=torch.float64)
    return X, prior


def test_separable_data_warn_without_a_prior_and_stay_finite():
    X, prior = separable(0.0)
    sigmoid = logistic.SigmoidRegression(X, torch.tensor([[0.0], [0], [1], [1]]).double(), None, prior)
    softmax = logistic.SoftmaxRegression(X, torch.eye(2).double().repeat_interleave(2, 0), prior.expand(2, 2))
    for regression in (sigmoid, softmax):
        with pytest.warns(SeparationWarning, match="Give a prior"):
            weights = logistic.newton(regression, start_of(regression), tol=0.0)
        assert torch.isfinite(weights).all()


def test_separable_data_have_an_answer_under_a_prior():
    X, prior = separable(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        softmax = logistic.SoftmaxRegression(X, torch.eye(2).double().repeat_interleave(2, 0), prior.expand(2, 2))
        weights = logistic.newton(softmax, start_of(softmax))
    assert softmax.gradient(weights).abs().max() < 1e-8


def test_newton_from_far_away_needs_halving_and_gets_home():
    regression = sigmoid_problem(3, 2, 0.01)
    weights = logistic.newton(regression, torch.full_like(regression.precision, 8.0))
    assert regression.gradient(weights).abs().max() < 1e-6


def crowded_classes(seed=0, g=5, n=60):
    """Classes that a softmax regression tells apart well, without a prior."""
    X, generator = design(seed, n)
    truth = 3 * torch.randn(g, X.shape[1], generator=generator, dtype=torch.float64)
    noisy = X @ truth.T + torch.randn(n, g, generator=generator, dtype=torch.float64)
    target = 0.95 * torch.nn.functional.one_hot(noisy.argmax(1), g).double() + 0.05 / g
    return logistic.SoftmaxRegression(X, target, torch.zeros(g, X.shape[1], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_whole_steps_of_irls_diverge_on_several_classes_and_damped_ones_do_not(seed):
    regression = crowded_classes(seed, g=8)
    blockwise, weights = regression.blockwise(), start_of(regression)
    best = float(regression.objective(logistic.newton(regression, weights)))
    for _ in range(100):
        weights = weights + 2 * blockwise.newton_direction(weights, blockwise.gradient(weights))
    assert not float(regression.objective(weights)) > best - 0.01 * abs(best)
    damped = logistic.newton(blockwise, start_of(regression), max_steps=500, tol=1e-12)
    assert float(regression.objective(damped)) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("regression", [softmax_problem(), softmax_problem(1, 3, 0.0), crowded_classes()])
def test_a_class_at_a_time_ends_where_newton_does_and_never_falls(regression):
    best = float(regression.objective(logistic.newton(regression, start_of(regression))))
    weights, reached = start_of(regression), [float(regression.objective(start_of(regression)))]
    for _ in range(300):
        weights = logistic.class_by_class(regression, weights, sweeps=1)
        reached.append(float(regression.objective(weights)))
    assert (np.diff(reached) >= -1e-12 * abs(best)).all()
    assert reached[-1] == pytest.approx(best, rel=1e-7)


def test_the_conditional_regression_is_the_objective_of_one_class():
    regression, generator = softmax_problem(), torch.Generator().manual_seed(4)
    weights = torch.randn(regression.precision.shape, dtype=torch.float64, generator=generator)
    one = regression.of_class(2, regression.design @ weights.T)
    other = weights.clone()
    other[2] = torch.randn(weights.shape[1], dtype=torch.float64, generator=generator)
    whole = float(regression.objective(other) - regression.objective(weights))
    assert float(one.objective(other[2:3]) - one.objective(weights[2:3])) == pytest.approx(whole, rel=1e-10)
