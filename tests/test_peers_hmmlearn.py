"""hmmlearn's own tests of its public interface, from the installed package, with our classes in their place."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

import emnet

NAMES = (
    "test_base",
    "test_gaussian_hmm",
    "test_categorical_hmm",
    "test_multinomial_hmm",
    "test_poisson_hmm",
    "test_gmm_hmm_new",
    "test_gmm_hmm_multisequence",
)
with np.errstate():  # their import has NumPy warn of underflow, which in our tests is an error
    pytest.importorskip("hmmlearn.tests")
    MODULES = {name: importlib.import_module(f"hmmlearn.tests.{name}") for name in NAMES}
OURS = {name: getattr(emnet, name) for name in emnet.__all__ if name.endswith("HMM") or name == "ConvergenceMonitor"}
NOT_APPLICABLE = {
    "TestBaseAgainstWikipedia": "private functions of the C++ extension, and a subclass that overrides private methods",
    "TestBaseConsistentWithGMM": "a subclass that overrides private methods",
    "test_base_hmm_attributes": "the base class by itself",
    "test_stationary_distribution": "the base class by itself",
    "test__check_and_set_categorical_n_features": "a private method; what it refuses is refused by fit and score",
    "test__check_and_set_multinomial_n_features_n_trials": "a private method; what it refuses is refused by fit",
    "test_underflow_from_scaling": "expects implementation='scaling' to fail where a likelihood underflows",
}


@pytest.fixture(autouse=True)
def ours_in_their_place(monkeypatch):
    for module in MODULES.values():
        monkeypatch.setattr(module, "hmm", SimpleNamespace(**OURS), raising=False)
        for name in ("GMMHMM", "ConvergenceMonitor"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, OURS[name])


def _collected():
    for name, module in MODULES.items():
        for key, value in vars(module).items():
            if key in NOT_APPLICABLE or getattr(value, "__module__", None) != module.__name__:
                continue
            if key.startswith("Test"):
                dropped = {method: None for method in dir(value) if method in NOT_APPLICABLE}
                yield f"{key}_of_{name}", type(key, (value,), dropped)
            elif key.startswith("test_"):
                yield key, value


CHOSEN = dict(_collected())
globals().update(CHOSEN)


def test_that_there_are_tests():
    assert len(CHOSEN) >= 14
