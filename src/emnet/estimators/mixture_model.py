"""Mixtures of tables of mixed type, latent class analysis included, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from emnet import serialization
from emnet.algorithms.base import Callback, Fit
from emnet.batch import Batch
from emnet.estimators import mixture_start, options
from emnet.estimators.history import fit_from_json, fit_to_json
from emnet.estimators.mixture_blocks import Block, blocks_of, named
from emnet.estimators.mixture_fit import LearningMixture, statistics_of
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.standardize import seen_location_scale
from emnet.estimators.table_coding import ColumnCoding, TableCoding, is_frame
from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture

_DOUBT = 0.1  # in the starting responsibilities: of an event that a component never saw, EM would never learn
_FIRST_STEPS = 5  # M-steps on the starting responsibilities, for emissions whose statistics depend on where they are


class MixtureModel(LearningMixture):
    """p(row) = Σ_k w_k Π_e p_e(columns of e | k): components that explain numbers, counts and categories at once.

    With categories alone it is latent class analysis. Any cell may be missing (NaN, None), and is integrated out.

    Parameters
    ----------
    n_components : k.
    emissions : what explains which columns: {column name or index, or a tuple of them: family}, or one family for all
        columns together, or "auto", which takes each column by itself: booleans and 0/1 integers are "bernoulli", other
        integers of at least 0 "poisson", other numbers "gaussian", and all else "categorical"; `emissions_` says what
        was taken. Families: "gaussian" (of a tuple one Gaussian with a full covariance), "student_t", "log_normal",
        "poisson", "bernoulli", "categorical", whose columns are independent given the component; a factor's class; or
        a factor of k states to start from, with priors of its own. Columns that are not named are left out.
    prior : "auto", weak priors of the family's conjugate form, worth about a row that looks like all rows together,
        which keep components from collapsing; or None, maximum likelihood.
    tol : EM ends when the mean log-likelihood of a row changes by less.
    max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, weight_concentration, labels,
        dtype, device, callbacks : as in `GaussianMixture`.
    algorithm : "em", "squarem", "annealing" or "split_merge"; the last two look for better optima.

    Attributes
    ----------
    weights_ : (k,).
    parameters_ : {column or tuple: {name: array}}, the emissions' parameters in the units of the data.
    emissions_ : {column or tuple: family}, as taken.
    categories_ : {column: its categories}, in the order of the columns of "probabilities".
    converged_, n_iter_, lower_bound_, lower_bounds_, log_evidence_, history_, reason_, fits_, n_features_in_,
    feature_names_in_ : as in `GaussianMixture`.

    Raises
    ------
    InvalidInputError : data or a parameter cannot be used; says which and what to do.
    CollapsedComponentError : without a prior, a variance became 0; names the component.

    Examples
    --------
    >>> X = np.array([[1.0, "a"], [1.2, "a"], [np.nan, "a"], [9.0, "b"], [8.8, "b"], [9.1, None]], dtype=object)
    >>> model = MixtureModel(2, emissions={0: "gaussian", 1: "categorical"}, random_state=0).fit(X)
    >>> (model.predict(X) == model.predict(X)[0]).tolist()
    [True, True, True, False, False, False]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        emissions: Any = "auto",
        prior: str | None = "auto",
        weight_concentration: Any = 1.0,
        tol: float = 1e-5,
        max_iter: int = 500,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        algorithm: Any = "em",
        labels: str | bool = "auto",
        dtype: str = "float64",
        device: str = "auto",
        callbacks: Iterable[Callback] = (),
    ):
        self.n_components = n_components
        self.emissions = emissions
        self.prior = prior
        self.weight_concentration = weight_concentration
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.algorithm = algorithm
        self.labels = labels
        self.dtype = dtype
        self.device = device
        self.callbacks = callbacks

    # -- use --------------------------------------------------------------------------------------------------------

    def impute(self, X: Any) -> Any:
        """X, the same kind of table, with what is missing filled given what is there of the row.

        Numbers get their expectation, categories and booleans the most probable value.
        """
        model = self._fitted_model()

        def filled(batch: Batch, posterior: Any) -> torch.Tensor:
            return torch.cat(
                [
                    factor.fill(batch.target[:, list(model.columns[name] or ())], posterior.responsibilities)
                    for name, factor in model.emissions.items()
                ],
                dim=1,
            )

        found = self._each(X, filled)
        return self._coding.filled(X if is_frame(X) else np.asarray(X), found * self._scale + self._center)

    def sample(self, n_samples: int = 1) -> tuple[Any, np.ndarray]:
        """Draw a table of the modelled columns, of the kind that was fitted, and the rows' components, (n_samples,)."""
        check_is_fitted(self)
        require_positive_integer("n_samples", n_samples)
        rng, model = check_random_state(self.random_state), self._fitted_model().cpu()
        states = rng.choice(len(self.weights_), size=n_samples, p=self.weights_ / self.weights_.sum())
        generator = torch.Generator().manual_seed(int(rng.randint(2**31)))
        drawn = [factor.draw(torch.as_tensor(states), generator) for factor in model.emissions.values()]
        return self._coding.decode(torch.cat(drawn, dim=1).numpy() * self._scale + self._center), states

    def select(self, X: Any, n_components: Iterable[int] = range(1, 10), criterion: str = "bic") -> Selection:
        """Fit each number of components, the other parameters as here; see `Selection` for the table and the best.

        Parameters
        ----------
        n_components : what to try.
        criterion : "bic", "icl" or "aic"; the lowest is the best.
        """
        return select(self, (X,), {"n_components": n_components}, criterion)

    # -- training ---------------------------------------------------------------------------------------------------

    def _fit(self, X: np.ndarray, weights: np.ndarray | None, labels: np.ndarray | None) -> Self:
        fitted = getattr(self, "_structure", None)
        structure = (self.n_components, self._blocks, self._coding)
        continues = self.warm_start and fitted == structure
        if not continues:
            self._measure(X, weights)
        data = list(self._batches(X, weights, labels))
        scaled = (X - self._center) / self._scale
        self._log_scale = self._log_scale_of(X, weights)
        if continues:
            known = self._fitted_model().coordinates()
            self._fit_starts(data, self.lower_bound_, 1, lambda rng: self._learnable(scaled, weights, data, known))
        else:
            self._fit_starts(data, -np.inf, self.n_init, lambda rng: self._start(scaled, data, rng, weights, labels))
        self._structure = structure
        self._finish()
        return self

    def _finish(self) -> None:
        self._warn_if_not_converged()

    def _measure(self, X: np.ndarray, weights: np.ndarray | None) -> None:
        """Center and scale of columns that have them; powers of two, by which division is exact."""
        self._center, self._scale = np.zeros(X.shape[1]), np.ones(X.shape[1])
        for block in self._blocks:
            if block.is_measured:
                columns = list(block.columns)
                self._center[columns], deviations = seen_location_scale(X[:, columns], weights)
                self._scale[columns] = np.exp2(np.round(np.log2(deviations)))

    def _mixture(self, X: np.ndarray, weights: np.ndarray | None, device: torch.device) -> Mixture:
        """Scaled rows' model, of components that are all alike."""
        k, prior = self.n_components, self.prior == "auto"
        emissions = {f"emission_{i}": b.start(X, weights, k, prior, device) for i, b in enumerate(self._blocks)}
        columns = {f"emission_{i}": block.columns for i, block in enumerate(self._blocks)}
        concentration = torch.as_tensor(self.weight_concentration, dtype=torch.float64)
        mixing = MixingWeights(torch.full((k,), 1 / k, dtype=torch.float64), concentration=concentration)
        return Mixture(mixing.to(device), emissions, columns)

    def _start(
        self,
        X: np.ndarray,
        data: list[Batch],
        rng: np.random.RandomState,
        weights: np.ndarray | None,
        labels: np.ndarray | None,
    ) -> Mixture:
        """The model after M-steps on the starting responsibilities."""
        model = self._mixture(X, weights, data[0].target.device)
        parts = [block.traits.coordinates(X[:, list(block.columns)]) for block in self._blocks]
        scaled = [self._spread(part, weights, block) for part, block in zip(parts, self._blocks, strict=True)]
        found = mixture_start.start(self.init_params, np.hstack(scaled), self.n_components, rng, weights, labels)
        found = (1 - _DOUBT) * found + _DOUBT / self.n_components
        with torch.no_grad():
            for _ in range(_FIRST_STEPS):
                model.m_step(statistics_of(model, data, found))
        return model

    @staticmethod
    def _spread(part: np.ndarray, weights: np.ndarray | None, block: Block) -> np.ndarray:
        """Columns of variance 1, as distances between rows need them; categories are so far apart as they are."""
        return part if block.traits.single else part / seen_location_scale(part, weights)[1]

    def _learnable(
        self, X: np.ndarray, weights: np.ndarray | None, data: list[Batch], coordinates: torch.Tensor
    ) -> Mixture:
        """The fitted parameters as a model that can go on learning."""
        device = data[0].target.device
        model = self._mixture(X, weights, device)
        with torch.no_grad():
            model.set_coordinates(coordinates.to(device))
        return model

    def _is_monotone(self) -> bool:
        return self.dtype == "float64"

    def _publish(self, model: Mixture, fit: Fit | None, rows: float) -> None:
        self._model = self._stored(model.coordinates().cpu().numpy())
        factors = [self._model.emissions[f"emission_{i}"] for i in range(len(self._blocks))]
        self.weights_ = self._model.weights.log_probabilities.exp().numpy()
        self._n_free = len(self.weights_) - 1 + sum(factor.n_parameters for factor in factors)
        self.emissions_ = {block.key: block.family for block in self._blocks}
        self.parameters_ = {
            block.key: dict(
                block.traits.published(factor, self._center[list(block.columns)], self._scale[list(block.columns)])
            )
            for block, factor in zip(self._blocks, factors, strict=True)
        }
        self.categories_ = {c.name: c.values for c in self._coding.columns if c.values is not None}
        self._record(fit, rows)

    def _fitted_model(self) -> Mixture:
        check_is_fitted(self)
        return self._model

    # -- input ------------------------------------------------------------------------------------------------------

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        """The modelled columns as numbers, (n, d)."""
        if is_frame(X) or self._has_words(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if len(X) < (2 if reset else 1):
                raise InvalidInputError(f"X has {len(X)} rows, and needs at least {2 if reset else 1}.")
            X = X if is_frame(X) else np.asarray(X, dtype=object)
        else:
            X = validate_data(
                self,
                X,
                dtype=np.float64,
                ensure_all_finite="allow-nan",
                ensure_min_samples=2 if reset else 1,
                reset=reset,
            )
        if reset:
            self._blocks, self._coding = blocks_of(self.emissions, X)
        return self._coding.encode(X)

    @staticmethod
    def _has_words(X: Any) -> bool:
        """Whether X is an array of objects with strings among them."""
        kind = "O" if isinstance(X, (list, tuple)) else getattr(getattr(X, "dtype", None), "kind", "")
        if kind in "US" and kind:
            return np.ndim(X) == 2
        cells = np.asarray(X, dtype=object) if kind == "O" else np.empty(0)
        return cells.ndim == 2 and any(isinstance(cell, str) for cell in cells.flat)

    def _check_parameters(self) -> None:
        self._check_common_parameters()
        require_one_of("prior", self.prior, (None, "auto"))

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest = {
            "parameters": self._parameters_to_json() | {"emissions": options.to_json(named(self.emissions))},
            "features": list(getattr(self, "feature_names_in_", [])),
            "n_features": self.n_features_in_,
            "blocks": [[options.to_json(b.key), b.family, list(b.columns), b.n_categories] for b in self._blocks],
            "columns": [[c.name, c.position, options.to_json(c.values), c.dtype] for c in self._coding.columns],
            "library": self._coding.library,
            "fits": [fit_to_json(fit) for fit in self.fits_],
            "log_scale": self._log_scale,
        }
        tensors = {"center": self._center, "scale": self._scale, "coordinates": self._model.coordinates().numpy()}
        return manifest, tensors

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self = cls(**{k: options.from_json(v) for k, v in manifest["parameters"].items()})
        self.device = options.device_at_hand(self.device)
        self._check_parameters()
        self._blocks = tuple(
            Block(options.from_json(key), family, tuple(columns), None, categories)
            for key, family, columns, categories in manifest["blocks"]
        )
        self._coding = TableCoding(
            tuple(ColumnCoding(n, p, options.from_json(v), t) for n, p, v, t in manifest["columns"]),
            manifest["library"],
        )
        d = len(self._coding.columns)
        for name, wanted in (("center", (d,)), ("scale", (d,))):
            if tensors[name].shape != wanted or not np.isfinite(tensors[name]).all():
                raise ValueError(f"tensor {name!r} should be finite and of shape {wanted}")
        self._center, self._scale = tensors["center"], tensors["scale"]
        self._log_scale, self.n_features_in_ = float(manifest["log_scale"]), int(manifest["n_features"])
        if manifest["features"]:
            self.feature_names_in_ = np.array(manifest["features"], dtype=object)
        self.fits_ = [fit_from_json(record) for record in manifest["fits"]]
        self._structure = (self.n_components, self._blocks, self._coding)
        best = max(self.fits_, key=lambda fit: fit.last.objective, default=None)
        self._publish(self._stored(tensors["coordinates"]), best, best.rows if best else 1.0)
        return self

    def _stored(self, coordinates: np.ndarray) -> Mixture:
        """The model of such coordinates, by way of rows that any family takes."""
        rows = np.array([[0.0], [1.0]]) * np.ones(len(self._coding.columns))
        model = self._mixture(rows, None, torch.device("cpu"))
        if coordinates.shape != model.coordinates().shape or not np.isfinite(coordinates).all():
            raise ValueError(f"the coordinates should be finite and {len(model.coordinates())}")
        with torch.no_grad():
            model.set_coordinates(torch.from_numpy(coordinates.copy()))
        return model
