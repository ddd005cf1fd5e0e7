"""scikit-learn's own tests of its Gaussian mixture, from the installed package, with ours in its place."""

import numpy as np
import pytest

from emnet import GaussianMixture

theirs = pytest.importorskip("sklearn.mixture.tests.test_gaussian_mixture")

NOT_APPLICABLE = {
    "test_check_weights": "expects the largest and the smallest value in each other's place in the message",
    "test_gaussian_mixture_setting_best_params": "expects a component on a single row, with reg_covar=0, to pass: its "
    "variance there is what rounding leaves, here it is 0 and an error",
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": "counts calls of a private function",
    "test_gaussian_mixture_precisions_init": "calls private methods",
}
PRIVATE = ("array_api", "suffstat", "compute_log_det", "log_probabilities", "log_gaussian_prob", "precision_cholesky")
CHOSEN = [
    name
    for name in dir(theirs)
    if name.startswith("test_") and name not in NOT_APPLICABLE and not any(part in name for part in PRIVATE)
]


@pytest.fixture
def global_dtype():
    """Float64 alone: of float32 rows scikit-learn's parameters are float32, ours are float64 always."""
    return np.float64


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(autouse=True)
def ours_in_its_place(monkeypatch):
    monkeypatch.setattr(theirs, "GaussianMixture", GaussianMixture)


globals().update({name: getattr(theirs, name) for name in CHOSEN})


def test_that_there_are_tests():
    assert len(CHOSEN) > 25
