"""What several completed tables say together (Rubin 1987, Multiple Imputation for Nonresponse in Surveys, ch. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emnet.exceptions import InvalidInputError


@dataclass(frozen=True)
class PooledEstimate:
    """One estimate from m completed tables; arrays of the estimates' shape.

    estimate : mean of the estimates.
    standard_error : square root of the total variance W + (1 + 1/m) B, within and between the tables.
    degrees_of_freedom : of the t distribution of (estimate − truth) / standard_error; ∞ where the tables agree.
    missing_information : share of the information that is lost to the missing values, (1 + 1/m) B / total.
    """

    estimate: np.ndarray
    standard_error: np.ndarray
    degrees_of_freedom: np.ndarray
    missing_information: np.ndarray


def pool_estimates(estimates: np.ndarray, variances: np.ndarray) -> PooledEstimate:
    """Combine an estimate and its squared standard error from each of m ≥ 2 completed tables: (m, …) both.

    Raises InvalidInputError where the shapes differ, there is one table only, or a variance is negative or not finite.

    >>> pooled = pool_estimates([[1.0], [2.0], [3.0]], [[0.5], [0.5], [0.5]])
    >>> pooled.estimate.tolist(), pooled.standard_error.round(4).tolist()
    ([2.0], [1.354])
    """
    estimates, variances = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    if estimates.ndim == 0 or len(estimates) < 2 or estimates.shape != variances.shape:
        raise InvalidInputError(
            "estimates and variances must be of one shape, one row for each of at least two completed tables; they are "
            f"{estimates.shape} and {variances.shape}."
        )
    if not (np.isfinite(estimates).all() and np.isfinite(variances).all() and (variances >= 0).all()):
        raise InvalidInputError("estimates must be finite, and variances finite and at least 0.")
    m = len(estimates)
    within, between = variances.mean(axis=0), (1 + 1 / m) * estimates.var(axis=0, ddof=1)
    total = within + between
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, between / total, 0.0)
        degrees = np.where(share > 0, (m - 1) / share**2, np.inf)
    return PooledEstimate(estimates.mean(axis=0), np.sqrt(total), degrees, share)
