"""Missing values filled in by an exact model of the whole table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from emnet.applications.impute import FittedTo, impute_many
from emnet.data.columns import Parts
from emnet.data.frames import has_words, is_nothing, plain, require_frame
from emnet.data.sample import Units
from emnet.data.stream import Chunk, Stream
from emnet.estimators.auto_density import chosen_density, kinds_of, sizes_of, sizes_within
from emnet.estimators.description import Inside
from emnet.estimators.far_cells import warn_of_far_cells
from emnet.estimators.gaussian_mixture import GaussianMixture
from emnet.estimators.mixture_selection import Selection
from emnet.estimators.resuming import resumable
from emnet.estimators.several_fits import SeveralFits, more_starts
from emnet.estimators.standardize import location_scale_of_seen
from emnet.estimators.stream_passes import end_to_end, example_of, is_weighted, seed_for, that_count, without_weights
from emnet.estimators.streaming import naming_the_rows, require_alone, survey
from emnet.estimators.table_input import check_table, naming_cells
from emnet.estimators.validation import checked_weights, require_one_of, require_positive_integer, weights_of_some
from emnet.exceptions import EmnetWarning, FitInterrupted, InvalidInputError
from emnet.warning import warn

_FLOOR = 3e-3  # variance added to every standardized column: what a column of few values would let collapse
_MAX_ITER, _TOL = 200, 1e-3
_STARTS = 5  # of the chosen mixture; 3 and 8 do as well
_HELD = (
    "EMImputer was fitted to a stream, whose rows are not kept: all tables are drawn with the same parameters, and "
    "standard errors pooled from them are too small. For Rubin's rules fit to rows in memory."
)
_NO_VALUES = "No column of X holds a value: there is nothing to learn from."


@dataclass(frozen=True)
class _Standardized:
    """Rows of a stream as the mixture sees them: the columns that hold values, NaN for `missing`."""

    missing: Any
    used: np.ndarray
    location: np.ndarray
    scale: np.ndarray

    def __call__(self, parts: Parts) -> Parts:
        X = np.where(self.missing == parts.X, np.nan, parts.X)  # == is never true of NaN
        return replace(parts, X=(X[:, self.used] - self.location) / self.scale, names=None)


class EMImputer(TransformerMixin, BaseEstimator):
    """Fill holes with what a Gaussian mixture, fitted by exact EM to what is there, expects in them.

    E[x_mis | x_obs] = Σ_k p(k | x_obs) (m_k + Σ_k,mo Σ_k,oo⁻¹ (x_obs − m_k,obs)): no cell is filled before it is
    predicted from, unlike in regressions by turns, and every filled cell has a standard deviation. A table with words
    in it is explained by a `MixtureModel` instead, and comes back as the table it is, its categories as categories.

    Parameters
    ----------
    model : "auto", a Gaussian mixture whose number of components and kind of covariance have the lowest BIC, of a table
        with words a `MixtureModel`; or a mixture of your own, such as ``GaussianMixture(3)``, of the columns as they
        come (not standardized).
    strategy : "mean", the conditional mean, which has the least squared error; or "sample", a draw, which keeps the
        spread of the columns.
    n_imputations : completed tables that `impute_many` draws, each with parameters drawn anew.
    n_components, covariance_types : what "auto" chooses from: one or several. Where all of them collapse (see
        `GaussianMixture`), the weak prior of ``GaussianMixture(prior="auto")`` keeps them from it.
    missing_values : the number that stands for a hole; NaN, as None or pandas' NA, by default.
    add_indicator : whether `transform` adds a column for each one that had holes in `fit`.
    keep_empty_features : whether a column without a value in `fit` is kept, as 0, or left out. These three are for
        tables of numbers; in one with words a hole is NaN or None, and columns without a value are refused.
    random_state : of the fit's starts and of draws.

    Attributes
    ----------
    model_ : the fitted mixture, of standardized columns where `model` is "auto".
    members_ : of "auto" and numbers, `model_` and the same mixture from four other starts: what is filled in is their
        mean, and moves less with the seed than what one of them says. Draws are of one of them, itself drawn.
    selection_ : of "auto", the table of the fits (see `GaussianMixture.select`), else None.
    location_, scale_ : what is subtracted from and divides the columns that the model sees: those that hold values, of
        "auto" more than one; a column of a single value is filled with it.
    n_features_in_, feature_names_in_ : as in scikit-learn.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.

    Examples
    --------
    >>> X = np.array([[1.0, 2.0], [2.0, np.nan], [3.0, 6.1], [4.0, 8.0], [np.nan, 3.9], [2.5, 5.2]])
    >>> EMImputer(n_components=[1]).fit_transform(X).round(0).tolist()[1]
    [2.0, 4.0]
    """

    def __init__(
        self,
        model: Any = "auto",
        *,
        strategy: str = "mean",
        n_imputations: int = 5,
        n_components: int | Iterable[int] = (1, 2, 3, 4),
        covariance_types: str | Iterable[str] = ("full", "tied", "diag"),
        missing_values: Any = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.model = model
        self.strategy = strategy
        self.n_imputations = n_imputations
        self.n_components = n_components
        self.covariance_types = covariance_types
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    @resumable
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the model to what is there of (n, d) rows, or of an `emnet.stream`, whose weight= counts; y is ignored.

        The choice of "auto" counts every row once; `sample_weight`, (n,), how many rows each counts for, is that of the
        fits of what was chosen.

        Raises InvalidInputError where a parameter or the data cannot be used, CollapsedComponentError where a model of
        your own collapses onto too few rows.
        """
        self._check_parameters()
        if isinstance(X, Stream):
            require_alone(None, sample_weight)
        self._fitted_to: FittedTo | None
        self.members_: list[Any] = []
        require_frame(X)
        self._has_words = has_words(example_of(X) if isinstance(X, Stream) else X)
        if self._has_words:
            return self._fit_words(X, sample_weight)
        if isinstance(X, Stream):
            return self._fit_stream(check_table(self, X, reset=True).through(that_count))
        X = self._check_rows(X, reset=True)
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X)
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        self._kept = np.ones(X.shape[1], dtype=bool) if self.keep_empty_features else ~np.isnan(X).all(axis=0)
        self._empty = np.isnan(X).all(axis=0)
        if self._empty.all():
            raise InvalidInputError(_NO_VALUES)
        self._take_constants(np.fmax.reduce(X), np.fmin.reduce(X))
        used = X[:, self._used]
        self._indicator = MissingIndicator(error_on_new=False).fit(X) if self.add_indicator else None
        self.selection_: Selection | None = None
        if isinstance(self.model, str):
            names = getattr(self, "feature_names_in_", np.arange(X.shape[1]))[self._used]
            warn_of_far_cells(used, lambda j: plain(names[j]))
            self.location_, self.scale_ = location_scale_of_seen(used, sample_weight)
            rows = (used - self.location_) / self.scale_
            model = self._selected(rows, len(rows))
            if sample_weight is not None:
                model = clone(model).fit(rows, sample_weight=sample_weight)
            self._fit_more(model, rows, sample_weight)
        else:
            self.location_, self.scale_ = np.zeros(used.shape[1]), np.ones(used.shape[1])
            rows = used
            self._fit_clone(self.model, used, sample_weight)
        self._fitted_to = FittedTo.of_rows(rows, sample_weight)
        return self

    def transform(self, X: Any) -> Any:
        """X with its holes filled by `strategy`, (n, d), and the indicators, where they were asked for.

        A table with words comes back as the kind of table that it is.
        """
        check_is_fitted(self, "model_")
        self._check_parameters()
        if self._has_words:
            table = check_table(self, X, reset=False)
            return self._filled(table)
        rows, holes = self._rows(X)
        return self._completed(self._filled(rows), holes)

    def impute_many(self, X: Any) -> Any:
        """`n_imputations` tables whose holes are drawn independently: see `emnet.pool_estimates`.

        An array (m, n, d); of tables with words a list. Each table has parameters of its own, of the model refitted to
        a bootstrap of the rows of `fit`, which are kept for this: Rubin's rules count what is not known of the
        parameters too. A stream's rows are not kept: its tables share the parameters that were fitted, and a warning
        says so.

        Raises CollapsedComponentError where a component of a model of your own collapses onto the rows that were drawn.
        """
        check_is_fitted(self, "model_")
        self._check_parameters()
        rng = check_random_state(self.random_state)
        if self._fitted_to is None:
            warn(_HELD, EmnetWarning)
        rows, holes = (check_table(self, X, reset=False), None) if self._has_words else self._rows(X)
        models = [self._fits.one(rng) for _ in range(self.n_imputations)]
        tables = [table for model in models for table in impute_many(model, rows, 1, rng, self._fitted_to)]
        return tables if holes is None else np.stack([self._completed(table, holes) for table in tables])

    def conditional_std(self, X: Any) -> np.ndarray:
        """Standard deviation of what is in each hole given what is there of the row, (n, d); 0 where there is none.

        Of a hole in a column of words the probability that it is not what `transform` fills in.
        """
        check_is_fitted(self, "model_")
        if self._has_words:
            return np.asarray(self.model_.impute(check_table(self, X, reset=False), return_std=True)[1])
        rows, _ = self._rows(X)
        return self._in_columns(self._fits.impute(rows, return_std=True)[1] * self.scale_, of_constants=0.0)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives."""
        check_is_fitted(self, "model_")
        names = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            if names is not None and not np.array_equal(input_features, names):
                raise ValueError("input_features is not equal to feature_names_in_")
            names = np.asarray(input_features, dtype=object)
            if len(names) != self.n_features_in_:
                raise ValueError("input_features should have length equal to number of features")
        if names is None:
            names = np.array([f"x{j}" for j in range(self.n_features_in_)], dtype=object)
        kept = names[self._kept]
        return kept if self._indicator is None else np.r_[kept, self._indicator.get_feature_names_out(names)]

    def _fit_stream(self, stream: Stream) -> Self:
        """The fit of a stream of numbers, of rows that count: what is said of its columns is found by passes."""
        self._fitted_to = None
        found = survey(stream, self._checked_chunk)
        self._empty = found.mass == 0
        self._kept = np.ones(len(self._empty), dtype=bool) if self.keep_empty_features else ~self._empty
        if self._empty.all():
            raise InvalidInputError(_NO_VALUES)
        self._indicator = None
        if self.add_indicator:
            holes = end_to_end(stream, lambda X: np.isnan(self._check_rows(X, reset=False)).any(axis=0)[None])
            self._indicator = MissingIndicator(error_on_new=False).fit(np.where(holes.any(axis=0), np.nan, 0.0)[None])
        self._take_constants(np.where(found.deviation > 0, np.inf, found.mean), found.mean)
        auto, used = isinstance(self.model, str), self._used
        self.location_ = found.mean[used] if auto else np.zeros(used.sum())
        self.scale_ = np.where(found.deviation > 0, found.deviation, 1.0)[used] if auto else np.ones(used.sum())
        rows = stream.through(_Standardized(self.missing_values, used, self.location_, self.scale_))
        self.selection_, model = None, self.model
        if auto:
            model = self.model_ = self._selected(rows.through(without_weights), found.n_rows)
        if not auto or is_weighted(rows):
            self._fit_clone(model, rows, None)
        if auto:
            self._fit_more(self.model_, rows, None)
        return self

    def _checked_chunk(self, chunk: Chunk) -> Units:
        with naming_the_rows(chunk):
            X = self._check_rows(chunk.X, reset=False)
            return Units(X, None, None if chunk.weights is None else weights_of_some(chunk.weights, X))

    def _fit_words(self, X: Any, sample_weight: Any) -> Self:
        """The fit of a table with words."""
        for name, usual in (("add_indicator", False), ("keep_empty_features", False)):
            if getattr(self, name) != usual:
                raise InvalidInputError(f"{name} is for tables of numbers; this one has words. Leave it out.")
        if not is_nothing(self.missing_values):
            raise InvalidInputError(
                f"missing_values={self.missing_values!r} is for tables of numbers; this one has words. Put None or NaN "
                "where nothing is known, and leave it out."
            )
        X = check_table(self, X, reset=True)
        self._kept, self._indicator = np.ones(self.n_features_in_, dtype=bool), None
        self.selection_, model = None, self.model
        if isinstance(self.model, str):
            once = X.through(without_weights) if isinstance(X, Stream) else X
            self.selection_ = chosen_density(
                once, self._sizes(), self.covariance_types, "bic", seed_for(self.random_state, X)
            )
            model = self.model_ = self.selection_.best
        weighted = is_weighted(X) if isinstance(X, Stream) else sample_weight is not None
        if weighted or self.selection_ is None:
            self._fit_clone(model, X, sample_weight)
        self._fitted_to = None if isinstance(X, Stream) else FittedTo.of_rows(X, sample_weight)
        return self

    def _fit_clone(self, model: Any, X: Any, sample_weight: Any) -> None:
        """Interrupted, too, it is what holes are filled by."""
        own = clone(model)
        try:
            own.fit(X, sample_weight=sample_weight)
        except FitInterrupted:
            self.model_ = own
            raise
        self.model_ = own

    def _fit_more(self, model: GaussianMixture, X: Any, sample_weight: Any) -> None:
        """The chosen mixture, and the same from other starts; interrupted, it is what holes are filled by."""
        self.model_, self.members_ = model, [model]
        if model.n_components > 1:
            rng = np.random.RandomState(model.random_state)
            self.members_ += more_starts(model, _STARTS - 1, X, sample_weight, rng)

    @property
    def _fits(self) -> SeveralFits:
        return SeveralFits(self.members_ or [self.model_])

    def _check_parameters(self) -> None:
        require_one_of("strategy", self.strategy, ("mean", "sample"))
        require_positive_integer("n_imputations", self.n_imputations)
        if not (is_nothing(self.missing_values) or _is_number(self.missing_values)):
            raise InvalidInputError(
                f"missing_values must be a number, NaN or None; got {self.missing_values!r}. Put NaN where X has it."
            )
        self._sizes()
        kinds_of("covariance_types", self.covariance_types)
        if isinstance(self.model, str):
            require_one_of("model", self.model, ("auto",), "a mixture")
        elif not hasattr(self.model, "impute") or not hasattr(self.model, "sample_missing"):
            raise InvalidInputError(f"model must be 'auto' or a mixture that imputes; got {self.model!r}.")

    def _sizes(self) -> tuple[int, ...]:
        return sizes_of("n_components", self.n_components)

    def _selected(self, rows: Any, n: int) -> GaussianMixture:
        """Of n rows that count once each."""
        seed = seed_for(self.random_state, rows)
        start = GaussianMixture(reg_covar=_FLOOR, max_iter=_MAX_ITER, tol=_TOL, random_state=seed)
        sizes = sizes_within("n_components", self._sizes(), n)
        kinds = kinds_of("covariance_types", self.covariance_types)
        try:
            self.selection_ = start.select(rows, sizes, kinds)
        except InvalidInputError:  # all have collapsed, which the prior keeps them from; any other comes again
            self.selection_ = start.set_params(prior="auto").select(rows, sizes, kinds)
        best: GaussianMixture = self.selection_.best
        return best

    def _filled(self, rows: Any) -> Any:
        """Rows as the model takes them, filled by `strategy`."""
        fits = self.model_ if self._has_words else self._fits
        return fits.impute(rows) if self.strategy == "mean" else fits.sample_missing(rows, self.random_state)

    def _rows(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Rows as the model takes them, and X with NaN in its holes."""
        check_is_fitted(self, "model_")
        X = self._check_rows(X, reset=False)
        return (X[:, self._used] - self.location_) / self.scale_, X

    def _inside(self, X: Any) -> Inside:
        """The mixture and the rows that it sees, for reports."""
        if self._has_words:
            return Inside(self.model_, X)
        names = self.get_feature_names_out()[: self._kept.sum()][self._used[self._kept]]
        of_several = f"The first of {len(self.members_)} mixtures, from as many starts, that EMImputer fills holes by."
        note = of_several if len(self.members_) > 1 else "The mixture that EMImputer fills holes by."
        if isinstance(self.model, str):
            note += " It sees every column less its mean, in standard deviations, and so does this page."
        return Inside(self.model_, self._rows(X)[0], names, note)

    def _completed(self, filled: np.ndarray, X: np.ndarray) -> np.ndarray:
        table = self._in_columns(filled * self.scale_ + self.location_, self._constants)
        seen = X[:, self._kept]
        table = np.where(np.isnan(seen), table, seen)  # to the last bit
        return table if self._indicator is None else np.hstack((table, self._indicator.transform(X)))

    def _take_constants(self, largest: np.ndarray, least: np.ndarray) -> None:
        """Which columns the model sees, by the extremes of each: "auto" none with a single value, if others have more.

        The single value is all that is known of such a column, whatever its units: there is no scale for a spread.
        """
        constant = (largest == least) & ~self._empty if isinstance(self.model, str) else np.zeros_like(self._empty)
        self._constants = np.where(constant, least, 0.0)
        self._is_constant = constant
        self._used = ~self._empty & ~constant if (~self._empty & ~constant).any() else ~self._empty

    def _in_columns(self, values: np.ndarray, of_constants: Any) -> np.ndarray:
        """Values of the columns that the model sees, among those of constants and 0 for kept ones that are empty."""
        table = np.zeros((len(values), len(self._empty)))
        table[:, self._used] = values
        table = np.where(self._is_constant, of_constants, table)
        return table[:, self._kept]

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        given = is_nothing(self.missing_values)
        with naming_cells(X):
            X = validate_data(
                self,
                X,
                dtype=np.float64,
                ensure_all_finite="allow-nan" if given else True,
                ensure_min_samples=2 if reset else 1,
                reset=reset,
                copy=True,
            )
        if not given:
            X[self.missing_values == X] = np.nan
        return X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = is_nothing(self.missing_values)
        return tags


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
