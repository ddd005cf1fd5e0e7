"""How linear Gaussian models learn: checks, the start in closed form, the run, and its record."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable
from typing import Any, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from emnet import serialization
from emnet.algorithms.base import Algorithm, Fit, Reason, run
from emnet.batch import Data, total_weight
from emnet.data.stream import Stream
from emnet.estimators import linear_gaussian_rows as closed_form
from emnet.estimators import options
from emnet.estimators.description import as_described, described, name_features
from emnet.estimators.history import as_dict, fit_from_json, fit_to_json, printer
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.linear_gaussian_stream import LEAST_ROWS, StreamedLinearGaussian
from emnet.estimators.mixture_report import shifted
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.resuming import resumable
from emnet.estimators.rotation import canonical
from emnet.estimators.standardize import location_scale_of_seen, require_variance
from emnet.estimators.streaming import StreamedBatches, require_alone, survey
from emnet.estimators.validation import (
    checked_weights,
    require_callbacks,
    require_not_negative,
    require_one_of,
    require_positive_integer,
    require_tensors,
)
from emnet.exceptions import InvalidInputError, UnfinishedFit
from emnet.factors.least_squares import ConjugatePrior
from emnet.factors.linear_decoder import LinearDecoder
from emnet.inference.exact import Exact
from emnet.models.linear_gaussian import LinearGaussian
from emnet.warning import warn

_AUTO = ConjugatePrior(residual=0.1)


class LearningLinearGaussian(StreamedLinearGaussian):
    """The training. A subclass says what the noise is and what is published."""

    n_components: int | None
    tol: float
    max_iter: int
    noise_variance_init: Any
    fixed: Collection[str]
    algorithm: Any
    prior: Any
    verbose: int
    callbacks: Iterable[Callable]

    # -- what a subclass says ---------------------------------------------------------------------------------------

    _shared_noise: bool

    @abstractmethod
    def _usual_components(self, rank: int, d: int) -> int:
        """What n_components=None stands for where the rows vary in `rank` directions."""

    @abstractmethod
    def _scales(self, deviations: np.ndarray) -> np.ndarray:
        """By what to divide the columns, (d,), whose standard deviations are those, 0 of constant ones."""

    def _turned(self, loadings: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Loadings as they are published, of those that are the same up to a rotation."""
        return canonical(loadings, noise)

    @abstractmethod
    def _publish_parameters(self, mean: np.ndarray, loadings: np.ndarray, noise: np.ndarray) -> None:
        """Set the attributes from parameters in the units of the data: (d,), (d, q), and (d,) or (1,)."""

    def _ended_with(self, model: LinearGaussian) -> Self:
        """The estimator as if its fit had ended with that model."""
        twin = copy.copy(self)
        twin._publish(model, self._run, self._log_units)
        return twin

    # -- training ---------------------------------------------------------------------------------------------------

    @resumable
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by EM from a start in closed form; (n, d), where NaN is a missing value. y is ignored.

        `sample_weight`, (n,), is how many rows each row counts for. An `emnet.stream` in place of X brings its own.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight)
                self._fit_stream(X)
            else:
                self._fit_rows(*self._check_data(X, sample_weight))
            self._warn()
            return self

    def select(self, X: Any, n_components: Iterable[int] = range(1, 10), criterion: str = "bic") -> Selection:
        """Fit with each number of factors, the other parameters as here; the lowest "bic" or "aic" is the best."""
        return select(self, (X,), {"n_components": n_components}, criterion, ("bic", "aic"))

    def _log_likelihood(self, X: Any) -> float:
        return float(self.score_samples(X).sum())

    def _n_parameters(self) -> int:
        return self._n_free

    def _fit_rows(self, X: np.ndarray, weights: np.ndarray) -> None:
        self._measure_rows(X, weights)
        rows, of_rows = closed_form.condensed((X - self._center) / self._scale, weights)
        sums, log_units = closed_form.pair_sums(rows, of_rows), weights @ (~np.isnan(X) @ np.log(self._scale))
        with options.few_threads(rows.size * rows.shape[1]):
            self._learn(sums, lambda q: list(self._batches(rows, of_rows, q)), float(log_units))

    def _fit_stream(self, stream: Stream) -> None:
        """Rows without holes are known by their second moments; where there are holes every pass goes through all."""
        self._meet(stream)
        found = survey(stream, self._checked_chunk)
        self._measure_stream(found)
        sums, d = self._pair_sums(stream), len(self._center)
        rows, of_rows = closed_form.of_whole_rows(sums)

        def data(q: int) -> Data:
            if not float(sums.holes):
                return list(self._batches(rows, of_rows, q))
            return StreamedBatches(stream, lambda chunk: self._batches(*self._condensed_chunk(chunk), q), found)

        with options.few_threads(min(found.n_rows, stream.batch_rows) * d * d):
            self._learn(sums, data, float(found.mass @ np.log(self._scale)))

    def _learn(self, sums: closed_form.PairSums, data_for: Callable[[int], Data], log_units: float) -> None:
        """Fit to scaled rows, with q factors to `data_for`(q); `log_units` is what scaling adds to the log evidence."""
        model = self._start(sums).to(options.choose_device(self.device))
        self._n_free = model.decoder.n_parameters
        data = data_for(model.decoder.loadings.shape[1])
        printing = [printer(total_weight(data), 1, 1)] if self.verbose else []
        try:
            fit = run(
                model,
                data,
                self._algorithm(),
                inference=Exact(),
                max_iter=self.max_iter,
                tol=self.tol,
                callbacks=[*self.callbacks, *printing],
            )
        except UnfinishedFit as end:
            if end.fit is not None:
                self._publish(model, end.fit, log_units)
            raise
        self._publish(model, fit, log_units)

    def _start(self, sums: closed_form.PairSums) -> LinearGaussian:
        covariance = closed_form.second_moments(sums)
        q = self._n_factors(closed_form.rank(covariance), len(covariance))
        loadings, noise = closed_form.start(covariance, q, self._given_noise(), self._shared_noise)
        prior = self._resolved_prior()
        if prior is not None:  # which may be what keeps the noise above 0
            noise = torch.maximum(noise, torch.as_tensor(prior.residual**2 / sums.weight))
        weights_of = torch.column_stack((torch.zeros(len(covariance)).double(), loadings))
        fixed = {"noise"} if "noise_variance" in self.fixed else ()
        return LinearGaussian(LinearDecoder(weights_of, noise, prior=prior, fixed=fixed))

    def _n_factors(self, rank: int, d: int) -> int:
        if self.n_components is None:
            return self._usual_components(rank, d)
        q = int(self.n_components)
        most = d - 1 if self._shared_noise else d
        if q > most:
            raise InvalidInputError(
                f"n_components must be at most {most} with n_features={d} columns; got {q}. n_features = {d}"
            )
        if self.prior is None and not self.fixed and q >= rank and rank < d:
            raise InvalidInputError(
                f"n_components={q} leaves no noise, and the likelihood has no bound: the rows vary in {rank} "
                f"directions only. Take at most {max(rank - 1, 0)}, or give prior='auto'."
            )
        return q

    def _measure_rows(self, X: np.ndarray, weights: np.ndarray) -> None:
        center, deviations = location_scale_of_seen(X, weights)
        constant = np.nanmax(np.abs(X - center), axis=0) == 0
        self._measure(center, np.where(constant, 0.0, deviations))

    def _measure(self, center: np.ndarray, deviations: np.ndarray) -> None:
        """Take down the center and scale of the columns, whose standard deviations are those, 0 of constant ones."""
        for spread in (np.abs(center) + deviations)[deviations > 0]:
            require_variance(float(spread))
        self._center, self._scale = center, self._scales(deviations)

    def _publish(self, model: LinearGaussian, fit: Fit, log_units: float) -> None:
        decoder = model.decoder
        loadings = decoder.loadings.cpu().numpy() * self._scale[:, None]
        own = decoder.log_noise.exp().cpu().numpy()
        noise = own * (self._scale[:1] if self._shared_noise else self._scale) ** 2
        mean = decoder.bias.cpu().numpy() * self._scale + self._center
        self._publish_parameters(mean, self._turned(loadings, noise), noise)
        if "noise_variance" in self.fixed:  # to the last bit
            given = np.array(self.noise_variance_init, dtype=np.float64)
            self.noise_variance_ = float(given) if self._shared_noise else given
        self._record(fit, log_units)

    def _record(self, fit: Fit, log_units: float) -> None:
        """Set the attributes that tell of the run."""
        self._run, self._log_units = fit, log_units
        self.converged_, self.reason_, self.n_iter_ = fit.converged, str(fit.reason), fit.n_iter
        self.history_ = [shifted(as_dict(line), -log_units) for line in fit.history]
        self.loglike_ = [line["log_evidence"] for line in self.history_]
        self.log_evidence_ = self.loglike_[-1] if self.loglike_ else float("nan")

    def _warn(self) -> None:
        if self.reason_ == Reason.MAX_ITER and not self._run.estimated:
            warn(
                f"EM stopped at max_iter={self.max_iter} before tol={self.tol} was met. Raise max_iter or tol, or give "
                "prior='auto': a column whose noise goes to 0 is approached slowly.",
                ConvergenceWarning,
            )

    # -- input ------------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        if self.n_components is not None:
            require_positive_integer("n_components", self.n_components)
        require_positive_integer("max_iter", self.max_iter)
        require_not_negative("tol", self.tol)
        require_callbacks(self.callbacks)
        if not isinstance(self.prior, ConjugatePrior):
            require_one_of("prior", self.prior, (None, "auto"), "a ConjugatePrior")
        if isinstance(self.fixed, str) or set(self.fixed) - {"noise_variance"}:
            raise InvalidInputError(f"fixed may be () or ('noise_variance',); got {self.fixed!r}.")
        if self.fixed and self.noise_variance_init is None:
            raise InvalidInputError("fixed names 'noise_variance': give it as noise_variance_init.")
        options.choose_device(self.device)
        self._algorithm()

    def _algorithm(self) -> Algorithm:
        return options.choose_monotone_algorithm(self.algorithm)

    def _resolved_prior(self) -> ConjugatePrior | None:
        return _AUTO if isinstance(self.prior, str) else self.prior

    def _given_noise(self) -> torch.Tensor | None:
        """noise_variance_init in the units of the model, (1,) or (d,)."""
        if self.noise_variance_init is None:
            return None
        noise, shape = np.asarray(self.noise_variance_init, dtype=np.float64), np.shape(self._center)
        if noise.shape != (() if self._shared_noise else shape) or not (np.isfinite(noise) & (noise > 0)).all():
            expected = "a number" if self._shared_noise else f"of shape {shape}, a number for each column"
            raise InvalidInputError(
                f"noise_variance_init must be {expected}, above 0 and finite; got {self.noise_variance_init!r}."
            )
        return torch.as_tensor(noise / (self._scale[0] if self._shared_noise else self._scale) ** 2).view(-1)

    def _check_data(self, X: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
        """Rows that count, and their weights."""
        X = self._check_rows(X, reset=True, least=LEAST_ROWS)
        weights = np.ones(len(X))
        if sample_weight is not None:
            weights = checked_weights(sample_weight, X)
            X, weights = X[weights > 0], weights[weights > 0]
        self._require_seen(~np.isnan(X).all(axis=0))
        return X, weights

    def _require_seen(self, seen: np.ndarray) -> None:
        for j in np.flatnonzero(~seen):
            raise InvalidInputError(
                f"Column {self._column_name(j)!r} has nothing but NaN: there is nothing to learn of it. Leave it out."
            )

    def _column_name(self, position: Any) -> Any:
        """Of a checked column, as the user knows it."""
        names = getattr(self, "feature_names_in_", None)
        return int(position) if names is None else names[position]

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> None:
        """Write the fitted model to `path`: see `emnet.serialization`. Callbacks are not kept."""
        check_is_fitted(self)
        serialization.save(self, path)

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "fit": fit_to_json(self._run),
            "log_units": self._log_units,
            "n_free": self._n_free,
        }
        tensors = {"mean": self.mean_, "loadings": self.loadings_, "noise": self._noise()}
        return manifest, {**tensors, "center": self._center, "scale": self._scale}

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
        self._check_parameters()
        d, q = tensors["loadings"].shape
        shapes = {"mean": (d,), "noise": (1,) if cls._shared_noise else (d,), "center": (d,), "scale": (d,)}
        require_tensors(tensors, {**shapes, "loadings": (d, q)})
        if not (tensors["scale"] > 0).all() or not (tensors["noise"] > 0).all():
            raise ValueError("scales and noise should be above 0")
        name_features(self, manifest, d)
        self._n_free = int(manifest["n_free"])
        self._center, self._scale = tensors["center"], tensors["scale"]
        self._publish_parameters(tensors["mean"], tensors["loadings"], tensors["noise"])
        self._record(fit_from_json(manifest["fit"]), float(manifest["log_units"]))
        return self
