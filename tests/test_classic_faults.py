"""The faults of the original public EM-MLP code, each with a test that would catch it."""

import numpy as np
import torch
from click.testing import CliRunner

from benchmarks.classic import in_float64
from emnet.batch import Batch, with_constant
from emnet.cli import classic, cli
from emnet.factors.regression import Newton
from emnet.kernels import bits
from tests.cases.networks import labelled, network, network_oracle

F64 = torch.float64


def test_the_classes_have_gradients_of_their_own():
    """A reused class index gave all classes one gradient, which the softmax ignores."""
    model, batch = network(0, F64, m_step=Newton(), precision=0.0), labelled(0, F64)
    statistics = model.statistics(batch, model.posterior(batch))
    gradient = model.output.gradient(statistics["output"]).view_as(model.output.weights)
    torch.testing.assert_close(gradient.sum(0), torch.zeros(4, dtype=F64), atol=1e-10, rtol=0)
    assert (gradient - gradient.mean(0)).abs().max() > 0.1


def test_prediction_is_not_that_of_the_mean_hidden_vector():
    """softmax(v·E[z | x]) is another model: with these weights it is far from the marginal."""
    model, batch = network(1, F64, m_step=Newton()), labelled(1, F64)
    model.output.weights.data *= 4
    marginal = model.log_predictive(batch.given).exp()
    mean = model.layers[0].predictor(batch.given).sigmoid()
    plugged = (with_constant(mean) @ model.output.weights.T).softmax(1)
    assert (marginal - plugged).abs().max() > 0.1
    each = [network_oracle(model, Batch(torch.full_like(batch.target, i), batch.given))[0] for i in range(3)]
    np.testing.assert_allclose(marginal.detach(), np.exp(np.stack(each, 1)), rtol=1e-10)


def test_both_layers_have_biases_that_learn():
    """Without biases, labels that do not depend on the input cannot be fitted when the inputs are zero."""
    target = torch.tensor([0] * 30 + [1] * 10)
    batch = Batch(target, with_constant(torch.zeros(40, 2, dtype=F64)))
    model = network(2, F64, g=2, m_step=Newton(), precision=1e-3)
    model.layers[0].weights.data[:, 0] = 0
    model.output.weights.data[:, 0] = 0
    for _ in range(50):
        model.m_step(model.statistics(batch, model.posterior(batch)))
    assert (model.layers[0].weights[:, 0] != 0).any()
    assert (model.output.weights[:, 0] != 0).any()
    np.testing.assert_allclose(model.log_predictive(batch.given).exp()[0].detach(), [0.75, 0.25], atol=1e-4)


def test_the_published_experiment_corrected_and_the_library_makes_the_same(monkeypatch):
    """After 50 epochs, as the command prints it. The 500 take 40 s: `python -m benchmarks classic` has them."""
    assert (classic.EPOCHS, classic.DIGITS) == ((50, 500), 60)  # with 20 digits epoch 500 is another one
    (exact,) = classic.classic_experiment((50,))
    monkeypatch.setattr(classic, "classic_experiment", lambda **options: [exact])
    done = CliRunner().invoke(cli, ["compare", "--classic"])
    assert done.exit_code == 0
    for figure in (" 50 epochs", "0.5156", "0.5126", "96.7%"):
        assert figure in done.output
    np.testing.assert_allclose(in_float64((50,))[0], exact, rtol=1e-12)


def test_extreme_logits_give_no_nan():
    """log(1 − u) from u, not from the logit, is −∞ as soon as u rounds to 1."""
    logits = torch.tensor([[40.0, -40.0], [800.0, 800.0]], dtype=F64)
    table = bits.log_output_table(torch.tensor([[0.0, 1, 2], [0, -1, 3]], dtype=F64))
    found = bits.expectations(logits, bits.group_by_class(torch.tensor([0, 1]), 2, 2), table)
    assert all(torch.isfinite(part).all() for part in found)
