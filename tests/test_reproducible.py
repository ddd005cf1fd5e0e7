"""The same seed and threads give the same bits; other numbers of threads agree within a tolerance."""

import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import emnet
from emnet import CheckpointWarning
from emnet import envelope as envelope_module
from tests.cases.fits import digest

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.standard_normal((12_000, 4)) * s + m for s, m in ((1, 0), (2, 5), (0.5, -4))])
Y = (X[:, 0] + RNG.standard_normal(len(X)) > 0).astype(int)
FITS = {  # of so many rows that a second thread is used
    "GaussianMixture": lambda: emnet.GaussianMixture(3, max_iter=8, tol=0, random_state=0).fit(X),
    "EMMLPClassifier": lambda: emnet.EMMLPClassifier(8, n_init=1, max_iter=5, random_state=0).fit(X[:6000], Y[:6000]),
    "GaussianHMM": lambda: emnet.GaussianHMM(3, n_iter=3, tol=0, random_state=0).fit(X, [6000] * 6),
}


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bits_and_threads(name):
    with threads(2):
        first, second = FITS[name](), FITS[name]()
    with threads(1):
        other = FITS[name]()
    assert digest(first) == digest(second)
    assert other.log_evidence_ == pytest.approx(first.log_evidence_, rel=1e-10)
    rows = X[:500]
    np.testing.assert_array_equal(other.predict(rows), first.predict(rows))
    np.testing.assert_allclose(other.predict_proba(rows), first.predict_proba(rows), atol=1e-7)


def test_other_threads_on_the_way_are_told(tmp_path, monkeypatch):
    contents, write = [], envelope_module.write

    def keep(path, *arguments, **options):
        write(path, *arguments, **options)
        contents.append(path.read_bytes())

    monkeypatch.setattr(envelope_module, "write", keep)
    path, make = tmp_path / "fit.ckpt", lambda: emnet.GaussianMixture(3, max_iter=8, tol=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with threads(2):
            expected = make().fit(X, checkpoint=path, checkpoint_every=0)
        path.write_bytes(contents[3])
    with threads(1), pytest.warns(CheckpointWarning, match="threads 2 → 1"):
        other = make().fit(X, checkpoint=path, resume=True)
    np.testing.assert_allclose(other.means_, expected.means_, rtol=1e-9, atol=1e-9)
