"""Mixtures of tables of mixed type, latent class analysis included, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch.distributions import Distribution

from emnet import serialization
from emnet.algorithms.base import Callback
from emnet.batch import Batch
from emnet.data.frames import is_frame
from emnet.data.stream import Stream
from emnet.estimators import options
from emnet.estimators.description import as_described, described, name_features
from emnet.estimators.distributions import OF_FAMILY, SideBySide, mixture
from emnet.estimators.families import SUMMARIZED, Summary
from emnet.estimators.history import fit_from_json, fit_to_json
from emnet.estimators.mixture_blocks import Block, blocks_of, named
from emnet.estimators.mixture_selection import Selection, select
from emnet.estimators.streaming import witnesses
from emnet.estimators.table_coding import ColumnCoding, TableCoding
from emnet.estimators.table_fit import LearningMixtureModel
from emnet.estimators.table_input import check_table
from emnet.estimators.validation import require_one_of, require_positive_integer, require_tensors
from emnet.factors.tables import MixingWeights
from emnet.models.mixture import Mixture
from emnet.posteriors import Discrete, one_state


class MixtureModel(LearningMixtureModel):
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
    weights_init, parameters_init : starts that are given, shaped as `weights_` and `parameters_`, or parts of those.
    fixed : what keeps its start: "weights", columns (keys of `parameters_`), or a column with a parameter's name:
        ("height", "means"). A factor that is given says itself what it keeps.
    tol : EM ends when the mean log-likelihood of a row changes by less.
    max_iter, n_init, init_params, random_state, warm_start, verbose, verbose_interval, weight_concentration, labels,
        dtype, device, callbacks : as in `GaussianMixture`.
    algorithm : "em", "squarem", "annealing" or "split_merge", which look for better optima, "online" or "incremental",
        which take `max_iter` passes batch by batch; or an object of those.

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
        weights_init: Any = None,
        parameters_init: Mapping[Any, Mapping[str, Any]] | None = None,
        fixed: Collection[Any] = (),
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
        self.weights_init = weights_init
        self.parameters_init = parameters_init
        self.fixed = fixed
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

    def impute(self, X: Any, return_std: bool = False) -> Any:
        """X, the same kind of table, with what is missing filled given what is there of the row.

        Numbers get their expectation, categories and booleans the most probable value. With `return_std` also how
        unsure each filled cell is, an array (n, columns of X), 0 where X has a value: the standard deviation of
        numbers, of categories and booleans the probability that it is another value.
        """
        filled = self._completed(X, lambda factor, cells, posterior: factor.fill(cells, posterior.responsibilities))
        if not return_std:
            return filled
        unsure = self._by_emission(X, lambda factor, cells, p: factor.uncertainty(cells, p.responsibilities))
        deviations = np.zeros((len(X), self.n_features_in_))
        deviations[:, [column.position for column in self._coding.columns]] = unsure * self._scale
        return filled, deviations

    def sample_missing(self, X: Any, random_state: Any = None) -> Any:
        """X, the same kind of table, with draws from p(what is missing | what is there of the row).

        Draws are independent of one another: several of them are a multiple imputation.
        """
        seed = int(check_random_state(random_state).randint(2**31))
        generator = torch.Generator(options.choose_device(self.device)).manual_seed(seed)

        def drawn(factor: Any, cells: torch.Tensor, posterior: Discrete) -> torch.Tensor:
            return factor.draw_missing(cells, posterior.responsibilities, generator)  # type: ignore[no-any-return]

        return self._completed(X, drawn, lambda posterior: one_state(posterior, generator))

    def _completed(
        self, X: Any, cells: Callable[[Any, torch.Tensor, Discrete], torch.Tensor], of: Callable = lambda p: p
    ) -> Any:
        """X with the cells that it lacks, of batch after batch, in the units of the data."""
        found = self._by_emission(X, cells, of)
        return self._coding.filled(X if is_frame(X) else np.asarray(X), found * self._scale + self._center)

    def _by_emission(
        self, X: Any, wanted: Callable[[Any, torch.Tensor, Discrete], torch.Tensor], of: Callable = lambda p: p
    ) -> np.ndarray:
        """What is wanted of each emission, of its columns and of a posterior, side by side: (n, d)."""
        model = self._fitted_model()

        def beside(batch: Batch, posterior: Discrete) -> torch.Tensor:
            posterior = of(posterior)
            return torch.cat(
                [
                    wanted(factor, batch.target[:, list(model.columns[name] or ())], posterior)
                    for name, factor in model.emissions.items()
                ],
                dim=1,
            )

        return self._each(X, beside)

    def sample(self, n_samples: int = 1) -> tuple[Any, np.ndarray]:
        """Draw a table of the modeled columns, of the kind that was fitted, and the rows' components, (n_samples,)."""
        check_is_fitted(self)
        require_positive_integer("n_samples", n_samples)
        rows, states = self._draw_rows(n_samples, check_random_state(self.random_state))
        return self._coding.decode(rows), states

    def _draw_rows(self, n: int, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        model = self._fitted_model().cpu()
        states = rng.choice(len(self.weights_), size=n, p=self.weights_ / self.weights_.sum())
        generator = torch.Generator().manual_seed(int(rng.randint(2**31)))
        drawn = [factor.draw(torch.as_tensor(states), generator) for factor in model.emissions.values()]
        return torch.cat(drawn, dim=1).numpy() * self._scale + self._center, states

    def select(
        self,
        X: Any,
        n_components: int | Iterable[int] = range(1, 10),
        criterion: str = "bic",
        sample_weight: Any = None,
    ) -> Selection:
        """Fit each number of components, the other parameters as here; see `Selection` for the table and the best.

        Parameters
        ----------
        X : a table, or an `emnet.stream`.
        n_components : what to try.
        criterion : "bic", "icl" or "aic"; the lowest is the best.
        sample_weight : (n,), how many rows each row counts for.
        """
        return select(self, (X,), {"n_components": n_components}, criterion, sample_weight=sample_weight)

    def distribution(self) -> Distribution:
        """p(row), (d,): columns in the order of `emissions_`, words and booleans by their place in `categories_`."""
        check_is_fitted(self)
        parts = [
            OF_FAMILY[block.family]({name: torch.as_tensor(own) for name, own in self.parameters_[block.key].items()})
            for block in self._blocks
        ]
        return mixture(torch.as_tensor(self.weights_), SideBySide(parts, [block.columns for block in self._blocks]))

    def _columns_and_notes(self) -> tuple[list[Any], dict[str, Any]]:
        return self._coding.portable()

    def _fitted_model(self) -> Mixture:
        check_is_fitted(self)
        return self._model

    def without_components(self, which: np.ndarray) -> Self:
        kept, model = super().without_components(which), self._model
        columns = {name: own for name, own in model.columns.items() if own is not None}
        kept._model = Mixture(MixingWeights(torch.as_tensor(kept.weights_)), model.emissions, columns)
        return kept

    # -- input ------------------------------------------------------------------------------------------------------

    def _read(self, stream: Stream) -> Stream:
        return stream.as_frames()

    def _meet(self, stream: Stream) -> None:
        """Families and categories by rows that between them have all there are."""
        table = witnesses(stream)
        if table is not None:
            self._check_rows(table, reset=True)

    def _check_rows(self, X: Any, reset: bool) -> np.ndarray:
        """The modeled columns as numbers, (n, d)."""
        X = check_table(self, X, reset)
        if reset:
            self._blocks, self._coding = blocks_of(self.emissions, X)
        coded, names = self._coding.encode(X), [column.name for column in self._coding.columns]
        for block in self._blocks:
            block.require_support(coded, names)
        return coded

    def _check_parameters(self) -> None:
        self._check_common_parameters()
        require_one_of("prior", self.prior, (None, "auto"))

    # -- files ------------------------------------------------------------------------------------------------------

    def _to_state(self) -> serialization.State:
        manifest = {
            **described(self),
            "n_features": self.n_features_in_,
            "blocks": [[options.to_json(b.key), b.family, list(b.columns), b.n_categories] for b in self._blocks],
            "columns": [[c.name, c.position, options.to_json(c.values), c.dtype] for c in self._coding.columns],
            "library": self._coding.library,
            "fits": [fit_to_json(fit) for fit in self.fits_],
            "log_scale": self._log_scale,
            "rows_seen": self._rows_seen,
            "shares": [list(summary.shares) for summary in self._summaries],
        }
        manifest["parameters"]["emissions"] = options.to_json(named(self.emissions))
        tensors = {"center": self._center, "scale": self._scale}
        for name in SUMMARIZED:
            tensors[f"summary.{name}"] = np.concatenate([getattr(s, name).numpy() for s in self._summaries])
        return manifest, tensors | {f"model.{name}": p.numpy() for name, p in self._model.named_parameters()}

    @classmethod
    def _from_state(cls, manifest: dict[str, Any], tensors: dict[str, np.ndarray]) -> Self:
        self: Self = as_described(cls, manifest)
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
        require_tensors(tensors, dict.fromkeys(("center", "scale", *(f"summary.{name}" for name in SUMMARIZED)), (d,)))
        self._center, self._scale = tensors["center"], tensors["scale"]
        self._log_scale = float(manifest["log_scale"])
        name_features(self, manifest, int(manifest["n_features"]))
        self.fits_ = [fit_from_json(record) for record in manifest["fits"]]
        means, variances = (torch.from_numpy(tensors[f"summary.{name}"].copy()) for name in SUMMARIZED)
        self._summaries = tuple(
            Summary(means[list(block.columns)], variances[list(block.columns)], tuple(shares))
            for block, shares in zip(self._blocks, manifest["shares"], strict=True)
        )
        self._rows_seen, self._online = float(manifest["rows_seen"]), None
        model = self._mixture(self._given(), torch.device("cpu"))
        parameters = dict(model.named_parameters())
        require_tensors(tensors, {f"model.{name}": tuple(own.shape) for name, own in parameters.items()})
        model.load_state_dict(
            {name: torch.from_numpy(tensors[f"model.{name}"].copy()) for name in parameters}, strict=False
        )
        self._kept = {entry: value for entry, value in self._fixed_values(False).items() if value is not None}
        best = max(self.fits_, key=lambda fit: fit.last.objective, default=None)
        self._publish(model, best, best.rows if best else 1.0)
        return self
