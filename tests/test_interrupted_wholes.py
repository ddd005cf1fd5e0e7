"""Ctrl-C in estimators that fit others: what can be used is kept, and where nothing is the message says so."""

import numpy as np
import pytest

from emnet import EMImputer, EMOutlierDetector, FitInterrupted, GaussianHMM, GaussianMixture, SequenceClassifier

X = np.random.default_rng(0).standard_normal((60, 2))
X[::7, 1] = np.nan


def stop(model, iteration):
    if iteration.number == 2:
        raise KeyboardInterrupt


MIXTURE = GaussianMixture(2, tol=0, random_state=0, callbacks=[stop])
SEQUENCES = SequenceClassifier(GaussianHMM(2, n_iter=9, tol=0, random_state=0, callbacks=[stop]))


@pytest.mark.parametrize(
    "whole", [EMImputer(model=MIXTURE), EMOutlierDetector(model=MIXTURE)], ids=["impute", "detect"]
)
def test_a_model_of_ones_own_is_kept(whole):
    with pytest.raises(FitInterrupted, match="the best parameters so far are kept"):
        whole.fit(X)
    assert whole.model_.reason_ == "interrupted"
    result = whole.transform(X) if hasattr(whole, "transform") else whole.predict(X)
    assert np.isfinite(result).all()


@pytest.mark.parametrize(
    "fit",
    [
        lambda: MIXTURE.select(X, n_components=(1, 2)),
        lambda: SEQUENCES.fit([X[:30], X[30:]], [0, 1]),
    ],
    ids=["selection", "classes"],
)
def test_nothing_is_kept_of_a_whole_in_parts(fit):
    with pytest.raises(FitInterrupted, match="there were none to keep yet"):
        fit()
