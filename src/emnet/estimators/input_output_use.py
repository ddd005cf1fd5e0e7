"""What a fitted input–output hidden Markov model is used for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.distributions import Distribution

from emnet.batch import Batch
from emnet.estimators.chain_gates import Gates
from emnet.estimators.forecasts import Forecast, OnlineFilter, draw_states
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.sequence_estimator import SequenceEstimator, grouped_emission
from emnet.estimators.sequence_targets import SequenceTargets
from emnet.estimators.sequences import joined_targets
from emnet.estimators.validation import require_levels, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.models.emitting import unseen


class FittedInputOutput(SequenceEstimator):
    """Everything but the training."""

    targets_: SequenceTargets
    start: str
    transition: Any
    emission: Any
    random_state: Any

    @abstractmethod
    def _sequences(
        self,
        X: np.ndarray,
        target: np.ndarray,
        lengths: np.ndarray,
        weights: np.ndarray | None = None,
        states: np.ndarray | None = None,
    ) -> Batch:
        """The batch of checked inputs and coded targets."""

    @abstractmethod
    def _linear_gates(self, generator: torch.Generator) -> Gates:
        """Softmax gates on the inputs, as that of the start."""

    @abstractmethod
    def _gates(self, generator: torch.Generator, seed: int) -> Gates:
        """Those of the transitions."""

    @abstractmethod
    def _start_reached(self) -> torch.Tensor:
        """Where a sequence may begin, (k,)."""

    @abstractmethod
    def _reached(self) -> torch.Tensor:
        """Which steps may happen, (k, k)."""

    def _network(self, name: str) -> nn.Module | None:
        """The parameter of that name, if it is a module."""
        given = getattr(self, name)
        return given if isinstance(given, nn.Module) else None

    @property
    def emission_(self) -> str:
        """What the targets are: "classification" or "regression"."""
        check_is_fitted(self, "members_")
        return self.targets_.kind

    @property
    def classes_(self) -> np.ndarray:
        """The labels."""
        if self.emission_ != "classification":
            raise AttributeError("classes_ is of classification; these targets are numbers.")
        return self.targets_.classes  # type: ignore[attr-defined, no-any-return]

    @torch.no_grad()
    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The most probable label, or the targets' mean, of each row given the inputs up to it: (n,) or (n, d)."""
        batch = self._blank(X, lengths)
        return self.targets_.predicted(*self._of_experts(self._ahead(batch)), batch.inputs)

    @torch.no_grad()
    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """p(y_t | x up to t), (n, classes): columns as `classes_`."""
        batch = self._blank(X, lengths)
        if self.emission_ != "classification":
            raise InvalidInputError("predict_proba is of labels; these targets are numbers: take predict or sample.")
        return self.targets_.probabilities(*self._of_experts(self._ahead(batch)), batch.inputs)  # type: ignore[attr-defined, no-any-return]

    @torch.no_grad()
    def predict_states(self, X: Any, y: Any = None, lengths: Any = None, *, algorithm: str = "viterbi") -> np.ndarray:
        """The states, (n,), given what is known: the best path ("viterbi"), or each row's most probable ("map")."""
        return self._path(self._known(X, y, lengths), algorithm)

    @torch.no_grad()
    def smooth(self, X: Any, y: Any = None, lengths: Any = None) -> np.ndarray:
        """p(state of the row | its whole sequence), (n, k)."""
        batch = self._known(X, y, lengths)
        return self._best.posterior(batch).responsibilities.cpu().numpy()

    @torch.no_grad()
    def filter(self, X: Any, y: Any = None, lengths: Any = None) -> np.ndarray:
        """p(state of the row | its sequence up to it), (n, k)."""
        return self._ahead(self._known(X, y, lengths)).cpu().numpy()

    @torch.no_grad()
    def log_density(self, X: Any, y: Any, lengths: Any = None) -> np.ndarray:
        """log p(y | x) of each sequence, (s,), in nats."""
        batch = self._known(X, y, lengths)
        found = self._best.filter(batch, keep=False).log_evidence
        scale = self.targets_.log_scale(batch.target)
        ends = np.cumsum(np.asarray(batch.lengths))
        return found.cpu().numpy() + np.add.reduceat(scale.cpu().numpy(), np.r_[0, ends[:-1]])

    def score(self, X: Any, y: Any, lengths: Any = None) -> float:
        """Accuracy, or R², of `predict` where y is known."""
        check_is_fitted(self, "members_")
        X, own = self._check_rows(X, lengths)
        return self.targets_.score(self.predict(X, own), joined_targets(y, own))

    @torch.no_grad()
    def sample(
        self, X: Any, lengths: Any = None, random_state: int | np.random.RandomState | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a target and a state for each row: (n,) or (n, d), and (n,)."""
        batch = self._blank(X, lengths)
        generator = self._generator(random_state)
        states = self._best.draw_path(batch, generator)
        experts: Any = self._best.emissions["emission"]
        return self.targets_.decoded(experts.draw(states, batch.inputs, generator)), states.cpu().numpy()

    # -- what comes next --------------------------------------------------------------------------------------------

    def online_filter(self) -> OnlineFilter:
        """A filter of a sequence that comes row after row: `update(X, y)`, y or not, gives p(state | all so far)."""
        check_is_fitted(self, "members_")
        return OnlineFilter(self._best, self._next_rows, self._log_scale_of)

    def _log_scale_of(self, batch: Batch) -> np.ndarray:
        """What scaling adds to the log evidence of each row."""
        return -self.targets_.log_scale(batch.target).cpu().numpy()

    def _next_rows(self, memory: None, X: Any, y: Any = None) -> tuple[Batch, None]:
        """Rows of a sequence that goes on; nothing has to be remembered of them."""
        return self._known(np.atleast_2d(X), None if y is None else np.atleast_1d(y), None), None

    @torch.no_grad()
    def forecast(
        self,
        X: Any,
        y: Any,
        inputs: Any,
        *,
        quantiles: Sequence[float] = (),
        n_samples: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> Forecast:
        """What comes after one sequence, X and what is known of its y, at steps of which the inputs are known, (h, p).

        See `Forecast`; all of it but the paths is exact. Of labels `mean` are the probabilities, columns as `classes_`.

        Parameters
        ----------
        quantiles : levels between 0 and 1, of regression.
        n_samples : paths to draw.
        """
        levels = require_levels(quantiles)
        past, future = self._known(X, y, None), self._blank(inputs, None)
        if past.n_units > 1 or future.n_units > 1:
            raise InvalidInputError(f"A forecast goes on from one sequence; X holds {past.n_units}.")
        at = self._best.advance(past).at
        weights = self._best.advance(future, at).probabilities
        own = self._of_experts(weights)
        found = self.targets_.quantiles(*own, future.inputs, levels) if len(levels) else None
        paths = None
        if n_samples:
            require_positive_integer("n_samples", n_samples)
            generator = self._generator(self.random_state if random_state is None else random_state)
            states = draw_states(self._best, future, at, n_samples, generator)
            experts: Any = self._best.emissions["emission"]
            drawn = experts.draw(states.flatten(), future.inputs.repeat(n_samples, 1), generator)
            paths = self.targets_.decoded(drawn)
            paths = paths.reshape(n_samples, len(future), *paths.shape[1:])
        mean = self.targets_.mean(*own, future.inputs)
        whole = partial(self._distribution_ahead, weights, future)
        return Forecast(weights.numpy(force=True), mean, found, paths, None, whole)

    @torch.no_grad()
    def _distribution_ahead(self, weights: torch.Tensor, future: Batch) -> Distribution:
        assert future.inputs is not None
        return self.targets_.distribution(*self._of_experts(weights), future.inputs)

    # -- how many states --------------------------------------------------------------------------------------------

    def select(
        self,
        X: Any,
        y: Any,
        lengths: Any = None,
        *,
        n_components: Iterable[int] = range(1, 10),
        criterion: str = "bic",
    ) -> Selection:
        """Fit each number of states, the other parameters as here; see `Selection` for the table and the best model.

        criterion : "bic" or "aic"; the lowest is the best.
        """
        return select(self, (X, y, lengths), {"n_components": n_components}, criterion, ("bic", "aic"))

    def aic(self, X: Any, y: Any, lengths: Any = None) -> float:
        """Akaike's information criterion of y given x, the lower the better: −2 log L + 2 · parameters."""
        return -2 * self._log_likelihood(X, y, lengths) + 2 * self._n_parameters()

    def bic(self, X: Any, y: Any, lengths: Any = None) -> float:
        """Bayesian information criterion of y given x, the lower the better: −2 log L + parameters · log known rows."""
        batch = self._known(X, y, lengths)
        empty = unseen(batch)
        rows = len(batch) - (0 if empty is None else int(empty.sum()))
        return float(-2 * self._log_likelihood(X, y, lengths) + self._n_parameters() * np.log(max(rows, 1)))

    def _log_likelihood(self, X: Any, y: Any, lengths: Any = None) -> float:
        return float(self.log_density(X, y, lengths).sum())

    def _n_parameters(self) -> int:
        """Free parameters, as information criteria count them; of networks all."""
        p, model = self.n_features_in_, self._best
        gates, nothing = list(model.transition.parts), torch.Generator()
        start = (
            model.start.n_parameters
            if self.start == "constant"
            else self._linear_gates(nothing).n_parameters([model.start], self._start_reached())
        )
        steps = self._gates(nothing, 0).n_parameters(gates, self._reached())
        if self._network("emission") is not None:
            return start + steps + len(model.emissions["emission"].coordinates())  # type: ignore[no-any-return]
        return start + steps + self.targets_.n_parameters(self._n_groups(), p)  # type: ignore[no-any-return]

    # -- the batches ------------------------------------------------------------------------------------------------

    def _blank(self, X: Any, lengths: Any) -> Batch:
        """The batch of inputs whose targets are not known."""
        X, lengths = self._check_rows(X, lengths)
        return self._sequences(X, self.targets_.blank(len(X)), lengths)

    def _known(self, X: Any, y: Any, lengths: Any) -> Batch:
        if y is None:
            return self._blank(X, lengths)
        X, lengths = self._check_rows(X, lengths)
        return self._sequences(X, self.targets_.coded(joined_targets(y, lengths)), lengths)

    def _of_experts(self, weights: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """Each different expert once, and its weight, (n, g), from those of the states, (n, k)."""
        emission: Any = self._best.emissions["emission"]
        return grouped_emission(self._best), weights if self.shared_states is None else emission.summed(weights)

    def _ahead(self, batch: Batch) -> torch.Tensor:
        """The filtered states, (n, k)."""
        found = self._best.filter(batch).probabilities
        assert found is not None
        return found
