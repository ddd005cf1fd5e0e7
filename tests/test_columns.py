"""Families of independent columns beside SciPy, and a Poisson mixture's published figures."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from emnet.algorithms.base import run
from emnet.algorithms.em import EM
from emnet.algorithms.squarem import Squarem
from emnet.batch import Batch
from emnet.exceptions import CollapsedComponentError, InvalidInputError
from emnet.factors.counting import Bernoulli, Poisson
from emnet.factors.covariances import Diagonal, Tied
from emnet.factors.log_normal import LogNormal
from emnet.factors.student_t import StudentT
from emnet.factors.tables import Categorical, MixingWeights
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.kernels import gamma
from emnet.models.mixture import Mixture
from tests.cases.columns import FAMILIES, column_cells, column_factor
from tests.cases.gaussians import gaussians

families = pytest.mark.parametrize("family", FAMILIES)


def test_gamma_functions_keep_their_digits_and_invert():
    a = np.logspace(-3, 2, 40)
    found = gamma.log_minus_digamma(torch.from_numpy(a))
    np.testing.assert_allclose(found, np.log(a) - special.digamma(a), rtol=1e-11)
    direct = special.gammaln(a + 0.5) - special.gammaln(a) - 0.5 * np.log(a)
    np.testing.assert_allclose(gamma.log_gamma_half_step(torch.from_numpy(a)), direct, atol=1e-12)
    wide = torch.logspace(-3, 9, 60, dtype=torch.float64)
    found = gamma.inverse_log_minus_digamma(gamma.log_minus_digamma(wide))
    np.testing.assert_allclose(found, wide, rtol=1e-12)


def test_a_t_of_many_degrees_of_freedom_is_a_gaussian():
    factor = StudentT(torch.zeros(1, 1), torch.ones(1, 1), 1e9)
    x = torch.linspace(-5, 5, 11, dtype=torch.float64)[:, None]
    np.testing.assert_allclose(factor.log_prob(x)[:, 0], stats.norm.logpdf(x[:, 0]), atol=1e-6)


def test_one_state_of_a_t_is_scipys_maximum():
    rows = torch.as_tensor(stats.t.rvs(4.0, loc=2.0, scale=0.5, size=(2000, 1), random_state=0))
    factor = StudentT(rows.mean(0, keepdim=True), rows.var(0, keepdim=True))
    model = Mixture(MixingWeights(torch.ones(1)), factor)
    run(model, Batch(rows), Squarem(EM(Exact())), inference=Exact(), max_iter=500, tol=1e-13)
    degrees, location, scale = stats.t.fit(rows.numpy().ravel())
    assert float(factor.means) == pytest.approx(location, abs=1e-3)
    assert float(factor.variances) == pytest.approx(scale**2, rel=2e-3)
    assert float(factor.degrees_of_freedom) == pytest.approx(degrees, rel=1e-2)
    assert float(factor.log_prob(rows).sum()) >= stats.t.logpdf(rows, degrees, location, scale).sum() - 1e-6


def test_fixed_parts_of_a_t_stay():
    factor = StudentT(torch.zeros(2, 1), torch.ones(2, 1), 3.0, fixed=("degrees_of_freedom",))
    assert (factor.n_parameters, len(factor.coordinates())) == (4, 4)
    factor.maximize(factor.statistics(column_cells("StudentT", 0, d=1), None))
    np.testing.assert_allclose(factor.degrees_of_freedom, 3.0, rtol=1e-14)
    with pytest.raises(InvalidInputError, match="'nu'"):
        StudentT(torch.zeros(2, 1), torch.ones(2, 1), fixed=("nu",))


@pytest.mark.parametrize("family", [*FAMILIES, "Categorical", "MixingWeights", "Gaussian", "Diagonal", "Tied"])
def test_statistics_that_parameters_imply_give_them_back(family):
    generator = torch.Generator().manual_seed(0)
    table = torch.rand(3, 4, generator=generator, dtype=torch.float64) + 0.2
    others = {
        "Categorical": lambda: Categorical(table / table.sum(1, keepdim=True)),
        "MixingWeights": lambda: MixingWeights(torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)),
        "Gaussian": lambda: gaussians(0, torch.float64).emissions["emission"],
        "Diagonal": lambda: gaussians(0, torch.float64, Diagonal).emissions["emission"],
        "Tied": lambda: gaussians(0, torch.float64, Tied).emissions["emission"],
    }
    factor = others[family]() if family in others else column_factor(family, 0, prior=False)
    before = factor.coordinates()
    factor.maximize(factor.implied(7.0 * torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)))
    changed = factor.coordinates() - before
    if family in ("Categorical", "MixingWeights"):  # a shift of all logits changes nothing
        changed = changed.view(-1, 4 if family == "Categorical" else 3).diff()
    np.testing.assert_allclose(changed, 0.0, atol=1e-10)


@families
def test_draws_have_the_family_s_moments(family):
    factor = column_factor(family, 0, k=2, d=2)
    states = torch.arange(40000) % 2
    drawn = factor.draw(states, torch.Generator().manual_seed(0))
    for state in range(2):
        learned = column_factor(family, 1, k=2, d=2)
        for _ in range(50):
            learned.maximize(learned.statistics(drawn[states == state], None))
        own = learned.log_prob(drawn[states == state])[:, 0].mean()
        truth = factor.log_prob(drawn[states == state])[:, state].mean()
        assert float(own) == pytest.approx(float(truth), abs=2e-3)


def test_draws_of_a_t_pass_kolmogorov_and_smirnov():
    factor = StudentT(torch.tensor([[1.0]]), torch.tensor([[4.0]]), 3.0)
    drawn = factor.draw(torch.zeros(5000, dtype=torch.long), torch.Generator().manual_seed(1))
    assert stats.kstest(drawn[:, 0].numpy(), stats.t(3.0, 1.0, 2.0).cdf).pvalue > 0.01


@families
def test_missing_cells_are_filled_and_others_kept(family):
    rows, factor = column_cells(family, 0), column_factor(family, 0)
    r = torch.eye(3, dtype=torch.float64)[torch.arange(len(rows)) % 3]
    filled = factor.fill(rows, r)
    assert filled[~rows.isnan()].equal(rows[~rows.isnan()])
    assert not filled.isnan().any()
    if family == "LogNormal":
        expected = factor.of_logarithms
        mean = stats.lognorm.mean(expected.covariance.covariances()[1, 0, 0].sqrt(), scale=expected.means[1, 0].exp())
        hole = next(j for j in range(len(rows)) if j % 3 == 1 and rows[j, 0].isnan())
        assert float(filled[hole, 0]) == pytest.approx(mean)


def test_a_state_without_rows_stays_and_an_event_without_rows_is_finite():
    for factor in (Bernoulli(torch.tensor([[0.3], [0.6]])), Poisson(torch.tensor([[2.0], [3.0]]))):
        before = factor.means[1].clone()
        factor.maximize(factor.statistics(torch.zeros(5, 1), torch.tensor([[1.0, 0.0]]).expand(5, 2)))
        assert factor.means[1].equal(before)
        assert float(factor.means[0]) < 1e-14
        assert factor.log_prob(torch.tensor([[0.0], [1.0]])).isfinite().all()


def test_a_t_on_one_value_names_the_component():
    factor = StudentT(torch.tensor([[0.0], [5.0]]), torch.ones(2, 1))
    rows = torch.cat((torch.randn(20, 1, generator=torch.Generator().manual_seed(0)), torch.full((5, 1), 5.0)))
    statistics = factor.statistics(rows, torch.eye(2)[(torch.arange(25) >= 20).long()])
    with pytest.raises(CollapsedComponentError, match="component 1") as caught:
        factor.maximize(statistics)
    assert caught.value.components == (1,)


def test_cells_outside_the_support_are_named():
    for factor, value, message in [
        (Bernoulli(torch.tensor([[0.5, 0.5]])), 0.5, "0 or 1; row 2, column 1 of the target has 0.5"),
        (Poisson(torch.tensor([[1.0, 1.0]])), -1.0, "counts, whole numbers"),
        (LogNormal(torch.zeros(1, 2), torch.ones(1, 2)), 0.0, "positive numbers"),
        (StudentT(torch.zeros(1, 2), torch.ones(1, 2)), torch.inf, "finite numbers"),
    ]:
        rows = torch.ones(4, 2)
        rows[2, 1] = value
        with pytest.raises(InvalidInputError, match=message):
            factor.log_prob(rows)
    with pytest.raises(InvalidInputError, match="Beta"):
        Bernoulli(torch.tensor([[0.5]]), a=0.5)
    with pytest.raises(InvalidInputError, match="Gamma"):
        Poisson(torch.tensor([[0.5]]), rate=-1.0)


def test_integers_with_minus_one_are_floats_with_nan():
    factor, category = Poisson(torch.tensor([[1.0], [4.0]])), Categorical(torch.tensor([[0.2, 0.8], [0.5, 0.5]]))
    for each in (factor, category):
        whole, real = torch.tensor([[0], [1], [-1]]), torch.tensor([[0.0], [1.0], [torch.nan]], dtype=torch.float64)
        assert each.log_prob(whole).double().equal(each.log_prob(real).double())


# -- figures published elsewhere --------------------------------------------------------------------------------------

DEATHS = torch.tensor([162.0, 267, 271, 185, 111, 61, 27, 8, 3, 1], dtype=torch.float64)
"""Days with 0, 1, … 9 deaths of women of 80 and over in The Times, 1910 to 1912 (Hasselblad 1969, JASA 64:1459)."""


class Counted(EStep):
    """The exact E-step, and how often it was asked for."""

    def __init__(self):
        self.evaluations = 0

    def __call__(self, model, batch):
        self.evaluations += 1
        return model.posterior(batch)


def deaths_model():
    return Mixture(MixingWeights(torch.tensor([0.3, 0.7])), Poisson(torch.tensor([[1.0], [2.5]])))


def evaluations_of(make):
    """E-steps until the log evidence is within 1e-9 of its maximum; the model there."""
    counted, model = Counted(), deaths_model()
    run(
        model,
        Batch(torch.arange(10, dtype=torch.float64)[:, None], weights=DEATHS),
        make(counted),
        inference=counted,
        max_iter=20000,
        tol=0.0,
        callbacks=[lambda _, line: line.log_evidence > -1989.945859883 - 1e-7],
        monotone=False,
    )
    return counted.evaluations, model


def test_squarems_figures_of_the_deaths_data():
    """Varadhan & Roland 2008; the vignette prints −log L 1989.946 at (0.6401, 2.6634, 1.2561)."""
    em, model = evaluations_of(EM)
    squarem, accelerated = evaluations_of(lambda e_step: Squarem(EM(e_step)))
    for each in (model, accelerated):
        batch = Batch(torch.arange(10, dtype=torch.float64)[:, None], weights=DEATHS)
        assert each.posterior(batch).total(DEATHS) == pytest.approx(-1989.946, abs=5e-4)
        weights, rates = each.weights.log_probabilities.exp(), each.emissions["emission"].means[:, 0]
        np.testing.assert_allclose(np.sort(rates), [1.2561, 2.6634], atol=1e-3)
        assert float(weights[rates.argmax()]) == pytest.approx(0.6401, abs=1e-3)
    assert squarem < em / 4
