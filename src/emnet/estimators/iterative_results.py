"""What fits from several starts found: the best is published, and a fit that was cut short says so."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, Generic, Self, TypeVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from emnet.algorithms.base import Fit, Progress, Reason
from emnet.estimators.history import as_dict
from emnet.models.base import LatentModel
from emnet.warning import warn

M = TypeVar("M", bound=LatentModel)


class PublishedFits(Generic[M]):
    """Each start's model and record, in their order; attributes are those of the best."""

    members_: list[M]
    fits_: list[Fit]
    batch_size: Any
    tol: float

    @abstractmethod
    def _weights_of(self, model: M) -> dict[str, Any]:
        """The model's parameters by the names of the attributes that publish them."""

    @abstractmethod
    def _passes(self) -> int:
        """Iterations, or passes over the data, at most."""

    def _publish(self, model: M, fit: Fit) -> None:
        """Add a start, and set the attributes of the best."""
        self.members_.append(model)
        self.fits_.append(fit)
        best = self.fits_[self._best_index()]
        for name, value in self._weights_of(self._best).items():
            setattr(self, name, copy.deepcopy(value))  # a fit that goes on writes into the model's own tensors
        self.history_ = [as_dict(line) for line in best.history]
        self.n_iter_, self.converged_, self.reason_ = best.n_iter, best.converged, str(best.reason)
        self.log_evidence_ = best.last.log_evidence if best.history else float("nan")

    def _publish_unfinished(self, model: M, fit: Fit) -> None:
        """A start that did not end well counts where there is no other, or where it was interrupted and is the best."""
        if not self.members_ or fit.is_kept_beside(_objective(self.fits_[self._best_index()])):
            self._publish(model, fit)
        self.converged_, self.reason_ = False, str(fit.reason)

    def _best_index(self) -> int:
        return max(range(len(self.fits_)), key=lambda k: _objective(self.fits_[k]))

    @property
    def _best(self) -> M:
        return self.members_[self._best_index()]

    def _reconstruct(self, model: M) -> dict[str, Any]:
        """Fitted attributes as if the fit had stopped with `model`: what scikit-learn's callbacks may predict with."""
        names = ("classes_", "n_features_in_", "input_mean_", "input_scale_", "prior_")
        kept = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {**kept, **self._weights_of(model), "members_": [model], "fits_": [_NO_FIT]}

    def _ended_with(self, model: M) -> Self:
        """The estimator as if its fit had ended with that model."""
        twin = copy.copy(self)
        vars(twin).update(self._reconstruct(model))
        return twin

    def _warn_not_converged(self) -> None:
        if self.reason_ == Reason.MAX_ITER and not self.fits_[self._best_index()].estimated:
            warn(
                f"EM stopped at max_iter={self._passes()} before tol={self.tol} was met. Raise max_iter or tol, or "
                "give a stronger prior.",
                ConvergenceWarning,
            )


_NO_FIT = Fit((), Reason.STOPPED, 0.0, 0.0)


def _objective(fit: Fit) -> float:
    last: Progress | None = fit.last if fit.history else None
    return -np.inf if last is None else last.objective
