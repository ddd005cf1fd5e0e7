"""Mixtures answer what they cannot do in words: never with another library's traceback, never with NaN."""

import numpy as np
import pytest

from emnet import GaussianMixture, InvalidInputError
from emnet.estimators.options import COVARIANCE_TYPES

CLOUDS = np.r_[np.random.RandomState(0).randn(60, 3), np.random.RandomState(1).randn(60, 3) + 5]
FREE = np.array([[[2.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.5]], [[1.0, -0.5, 0], [-0.5, 3.0, 0.3], [0, 0.3, 1]]])


# -- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_precisions_are_taken_in_the_shape_that_they_are_published_in(kind):
    fitted = GaussianMixture(2, covariance_type=kind, random_state=0).fit(CLOUDS)
    start = {f"{name}_init": getattr(fitted, f"{name}_") for name in ("weights", "means", "precisions")}
    again = GaussianMixture(2, covariance_type=kind, max_iter=0, **start).fit(CLOUDS)
    if kind != "factor":  # which starts from principal axes
        np.testing.assert_allclose(again.covariances_, fitted.covariances_, rtol=1e-6, atol=1e-6)
        kept = GaussianMixture(2, covariance_type=kind, fixed=("covariances",), **start).fit(CLOUDS)
        np.testing.assert_allclose(kept.covariances_, fitted.covariances_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "factor"])
def test_fixed_covariances_that_the_family_does_not_have_are_refused(kind):
    model = GaussianMixture(2, covariance_type=kind, fixed=("covariances",), precisions_init=np.linalg.inv(FREE))
    with pytest.raises(InvalidInputError, match=f"covariance_type '{kind}' cannot hold those of precisions_init: that"):
        model.fit(CLOUDS)
