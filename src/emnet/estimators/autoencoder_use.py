"""What a fitted autoencoder is used for: latent vectors, densities, draws, and rows made whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.distributions import Distribution

from emnet.batch import Batch
from emnet.data.frames import is_frame
from emnet.estimators import options
from emnet.estimators.autoencoder_fit import LearningAutoencoder
from emnet.estimators.distributions import SideBySide, mixture
from emnet.estimators.onnx_file import OnnxFile, Program
from emnet.estimators.row_coding import as_tensor
from emnet.estimators.validation import require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.inference.amortized import Refinement, proposal, standard_error
from emnet.models.autoencoder import Autoencoder
from emnet.models.portable import DecoderOfVectors, EncoderOfRows, Standardized
from emnet.posteriors import EncodedVector

_ELEMENTS = 2**23  # of the outputs of all draws of the rows that are looked at together
_MARGIN = 2.0**-20
_CANDIDATES = 32  # of a hidden cell's value
_DRAWS = 50  # of a hidden cell, from which its uncertainty is taken
STRATEGIES = ("mean", "mode", "sample")


class Evidence(NamedTuple):
    """Estimated log evidence of each row and its standard error, in nats: (n,) each."""

    log_evidence: np.ndarray
    standard_error: np.ndarray


class FittedAutoencoder(OnnxFile, LearningAutoencoder):
    """The use of any fitted autoencoder."""

    # -- latent vectors ---------------------------------------------------------------------------------------------

    def transform(self, X: Any) -> np.ndarray:
        """Mean of the latent vector's posterior, (n, l); with e_step="semi_amortized" refined for each row."""

        def means(model: Autoencoder, batch: Batch) -> Tensor:
            return self._posterior(model, batch)[0]

        return self._each(X, means, 1)

    def latent_std(self, X: Any) -> np.ndarray:
        """Standard deviations of the latent vector's posterior, (n, l)."""
        return self._each(X, lambda model, batch: (0.5 * self._posterior(model, batch)[1]).exp(), 1)

    def inverse_transform(self, X: Any) -> Any:
        """The table that latent vectors, (n, l), stand for: expectations, and the most probable categories."""
        check_is_fitted(self, "members_")
        latent = np.asarray(X)
        if latent.ndim != 2 or latent.shape[1] != self.n_latent or latent.dtype.kind not in "biuf":
            raise InvalidInputError(
                f"Latent vectors are (n, {self.n_latent}) finite numbers; got {latent.shape} of {latent.dtype}."
            )
        for row, column in np.argwhere(~np.isfinite(latent))[:1]:
            raise InvalidInputError(
                f"Latent vectors are finite numbers; row {row}, column {column} has {latent[row, column]}."
            )
        model, (dtype, device) = self._best, self._computes_in()
        with torch.no_grad():
            outputs = model.decoder.outputs(torch.as_tensor(latent, dtype=dtype, device=device))
            weights = outputs.new_ones(1, len(outputs))
            return self._rows.decode(self._expected(model, outputs[None], weights).numpy())

    def reconstruct(self, X: Any) -> Any:
        """Every cell, seen or not, as the mean latent vector of its row has it: a table like that fitted."""
        table = self.inverse_transform(self.transform(X))
        if is_frame(X) and hasattr(table, "index"):
            table.index = X.index
        return table

    def interpolate(self, start: Any, end: Any, n_steps: int = 10) -> Any:
        """A table of n_steps rows, evenly between the latent vectors of two rows, (1, d) each, both included."""
        require_positive_integer("n_steps", n_steps)
        ends = np.concatenate((self.transform(start), self.transform(end)))
        if len(ends) != 2:
            raise InvalidInputError(f"interpolate goes from one row to one row; got {len(ends)} rows in all.")
        share = np.linspace(0.0, 1.0, n_steps)[:, None]
        return self.inverse_transform((1 - share) * ends[0] + share * ends[1])

    def sample(self, n_samples: int = 1) -> Any:
        """A table of rows drawn from the model."""
        require_positive_integer("n_samples", n_samples)
        check_is_fitted(self, "members_")
        generator = self._generator(check_random_state(self.random_state).randint(2**31))
        model = self._best
        with torch.no_grad():
            return self._drawn(model, model.prior.draw(n_samples, model.encoder, generator), generator)

    def _drawn(self, model: Autoencoder, latent: Tensor, generator: torch.Generator) -> Any:
        dtype, device = self._computes_in()
        outputs = model.decoder.outputs(latent.to(dtype=dtype, device=device))
        return self._rows.decode(self._rows.to_table(model.decoder.draw(outputs, generator).cpu().numpy()))

    # -- densities --------------------------------------------------------------------------------------------------

    def evidence(self, X: Any, n_samples: int | None = None) -> Evidence:
        """log (1/s) Σ_s p(x, z_s) / q(z_s | x) of each row, over what was seen of it, with its standard error.

        On average it lies below log p(x), and comes nearer with every draw (Burda et al. 2016). Rows share their draws,
        so a row's figure depends on no other; a row of which nothing was seen has 0.

        Parameters
        ----------
        n_samples : s, None for `prediction_samples`.
        """
        s = self.prediction_samples if n_samples is None else n_samples
        require_positive_integer("n_samples", s)

        def found(model: Autoencoder, batch: Batch) -> Tensor:
            posterior = self._proposal(model, batch, s)
            assert posterior.log_weights is not None
            error = standard_error(posterior.log_weights)
            return torch.stack((posterior.log_evidence, torch.where(posterior.log_evidence == 0, 0, error)), dim=1)

        volume = self._rows.log_volume
        both = self._each(X, found, s, lambda source, own: own - np.column_stack((volume(source), 0 * own[:, 0])))
        return Evidence(both[:, 0], both[:, 1])

    def score_samples(self, X: Any, return_std: bool = False) -> Any:
        """Estimated log evidence of each row, (n,), in nats; with `return_std` its standard error too."""
        found = self.evidence(X)
        return tuple(found) if return_std else found.log_evidence

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    @torch.no_grad()
    def distribution(self, X: Any, n_samples: int | None = None) -> Distribution:
        """p(row | what was seen of it) of each row, over (d,), categories by their index: a mixture over draws of z.

        Its components are the decoder's at `n_samples` draws (None for `prediction_samples`), weighted by importance;
        of a row with nothing it is that of any row.
        """
        check_is_fitted(self, "members_")
        model, s = self._best, self.prediction_samples if n_samples is None else n_samples
        require_positive_integer("n_samples", s)
        if model.missingness is not None:
            raise InvalidInputError("With missing='mnar' a cell's distribution depends on whether it was seen.")
        posterior = self._proposal(model, self._prepared(Batch(as_tensor(self._check_rows(X, reset=False)))), s)
        assert posterior.log_weights is not None
        draws = posterior.draws
        outputs = model.decoder.outputs(draws).transpose(0, 1)
        units = [None if own is None else own.to(outputs.device) for own in self._rows.units]
        parts = model.decoder.distributions(outputs, *units)  # type: ignore[arg-type]
        return mixture(posterior.log_weights.softmax(0).T.double(), SideBySide(parts, model.decoder.columns))

    # -- rows made whole --------------------------------------------------------------------------------------------

    def impute(self, X: Any, strategy: str = "mean", return_std: bool = False) -> Any:
        """X, the same kind of table, with what is missing filled by self-normalized importance sampling.

        Parameters
        ----------
        strategy : "mean", expectations of numbers and the most probable categories; "mode", the most probable value of
            every cell, of numbers among the modes that the draws have; or "sample", a draw.
        return_std : also (n, d), 0 for what was there: of numbers the standard deviation, of categories the probability
            of another one, both from 50 draws.
        """
        require_one_of("strategy", strategy, STRATEGIES)
        rng = check_random_state(self.random_state)
        filled = self._imputed(X, strategy, rng)
        return (filled, self._uncertainty(X, filled, rng)) if return_std else filled

    def _uncertainty(self, X: Any, filled: Any, rng: np.random.RandomState) -> np.ndarray:
        """How far draws of a hidden cell are from what it was filled with, (n, d)."""
        own = self._check_rows(filled, reset=False)
        away = [self._check_rows(self._imputed(X, "sample", rng), reset=False) - own for _ in range(_DRAWS)]
        words = np.array([family == "categorical" for family in self._rows.families])
        found = np.zeros(np.shape(X))
        places = [column.position for column in self._rows.coding.columns]
        found[:, places] = np.where(words, np.mean([each != 0 for each in away], axis=0), np.std(away, axis=0))
        return found

    def sample_missing(self, X: Any, random_state: Any = None) -> Any:
        """X, the same kind of table, with a draw in what is missing."""
        return self._imputed(X, "sample", check_random_state(random_state))

    def impute_many(self, X: Any, n_imputations: int = 5) -> list[Any]:
        """Tables whose holes are drawn independently: see `emnet.pool_estimates`."""
        require_positive_integer("n_imputations", n_imputations)
        rng = check_random_state(self.random_state)
        return [self._imputed(X, "sample", rng) for _ in range(n_imputations)]

    def _imputed(self, X: Any, strategy: str, rng: np.random.RandomState) -> Any:
        check_is_fitted(self, "members_")
        generator = self._generator(rng.randint(2**31))

        def cells(model: Autoencoder, batch: Batch) -> Tensor:
            posterior = self._proposal(model, batch, self.prediction_samples)
            assert posterior.log_weights is not None
            draws = posterior.draws
            weights, outputs = posterior.log_weights.softmax(0), model.decoder.outputs(draws)
            if strategy == "mean":
                return self._expected(model, outputs, weights)
            found = _mode(model, outputs, weights) if strategy == "mode" else _draw(model, outputs, weights, generator)
            return torch.from_numpy(self._rows.to_table(found.cpu().numpy()))

        return self._rows.filled(X if is_frame(X) else np.asarray(X), self._each(X, cells, self.prediction_samples))

    def _expected(self, model: Autoencoder, outputs: Tensor, weights: Tensor) -> Tensor:
        """E of the cells under weighted draws, (s, n, ·) and (s, n) → (n, d), in the units of the table."""
        hidden = model.missingness
        if hidden is None:
            cells = model.decoder.fill(outputs, weights)
        else:
            means = model.decoder.hidden_mean(outputs, hidden.intercept, hidden.slope)
            ruled = hidden.columns > 0
            cells = torch.where(ruled, (weights[..., None] * means).sum(0), model.decoder.fill(outputs, weights))
        found = self._rows.to_table(cells.cpu().numpy())
        if self._rows.logarithmic.any():
            mean, variance = (
                part.cpu().numpy() for part in (model.decoder.mean(outputs), model.decoder.variance(outputs))
            )
            expected = (weights.cpu().numpy()[..., None] * self._rows.expected(mean, variance)).sum(0)
            found = np.where(self._rows.logarithmic, expected, found)
        return torch.from_numpy(found)

    # -- for other programs -----------------------------------------------------------------------------------------

    def _programs(self) -> Mapping[str, Callable[[], Program]]:
        return {"encoder": self._encoder_program, "decoder": self._decoder_program}

    def _encoder_program(self) -> Program:
        columns, notes = self._rows.coding.portable()
        center, scale, logarithmic = self._rows.units
        then = EncoderOfRows(self._best)
        module = Standardized(center, scale, options.DTYPES[self.dtype], then, logarithmic)
        return Program(module, columns, notes)

    def _decoder_program(self) -> Program:
        if self._best.missingness is not None:
            raise InvalidInputError("With missing='mnar' a decoder's expectations depend on which cells were seen.")
        cells, notes = self._rows.coding.portable()
        module = DecoderOfVectors(self._best.decoder, *self._rows.units)
        return Program(module, [f"z{i}" for i in range(self.n_latent)], {"cells": cells, **notes})

    # -- pieces -----------------------------------------------------------------------------------------------------

    def _each(
        self,
        X: Any,
        function: Callable[[Autoencoder, Batch], Tensor],
        samples: int,
        adjust: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    ) -> np.ndarray:
        """What a function of model and batch says of all rows, some at a time; `adjust` sees the rows' source too."""
        check_is_fitted(self, "members_")
        source, model = self._check_rows(X, reset=False), self._best
        size = max(1, _ELEMENTS // (samples * max(model.decoder.n_outputs, 64)))
        found = []
        with torch.no_grad(), options.few_threads(min(len(source), size) * samples * model.decoder.n_outputs):
            for start in range(0, len(source), size):
                piece = source[start : start + size]
                batch = self._prepared(Batch(as_tensor(piece)))
                self._require_near(batch, piece, start)
                own = function(model, batch).cpu().numpy()
                found.append(own if adjust is None else adjust(piece, own))
        return np.concatenate(found)

    def _require_near(self, batch: Batch, source: np.ndarray, first_row: int) -> None:
        """Raise InvalidInputError for a cell whose square the model's numbers cannot hold."""
        far = batch.target.abs() > torch.finfo(batch.target.dtype).max ** 0.5 * _MARGIN
        if bool(far.any()):
            row, column = torch.nonzero(far)[0].tolist()
            raise InvalidInputError(
                f"Row {first_row + row}, column {self._rows.coding.columns[column].name!r} holds "
                f"{source[row, column]:g}, too far from the training data to be computed with in {self.dtype}."
            )

    def _posterior(self, model: Autoencoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q, (n, l) each."""
        mean, log_variance = model.encode(batch)
        refinement = self._refinement()
        if refinement is None:
            return mean, log_variance
        found = refinement(model, batch, mean, log_variance, self._generator(self._seed_of_use))
        return found.mean, found.log_variance

    def _proposal(self, model: Autoencoder, batch: Batch, samples: int) -> EncodedVector:
        return proposal(model, batch, samples, self._generator(self._seed_of_use), self._refinement())

    def _refinement(self) -> Refinement | None:
        return self._e_step(0).refinement

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self._computes_in()[1]).manual_seed(int(seed))


def _mode(model: Autoencoder, outputs: Tensor, weights: Tensor) -> Tensor:
    """Of each cell the candidate, the mode under one of the draws, whose weighted density is the highest: (n, d)."""
    log_weights, hidden = weights.log()[..., None], model.missingness
    candidates = model.decoder.mode(outputs)
    best = torch.full_like(candidates[0], -torch.inf)
    found = candidates[0]
    for candidate in candidates:
        reached = (log_weights + model.decoder.cell_log_prob(candidate, outputs)).logsumexp(0)
        reached = reached if hidden is None else reached + hidden.log_hidden(candidate)
        found = torch.where(reached > best, candidate, found)
        best = torch.maximum(best, reached)
    return found


def _draw(model: Autoencoder, outputs: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """A row of each mixture over the draws, (n, d); a cell with a rule is chosen among some for being hidden."""
    chosen = torch.multinomial(weights.T, 1, generator=generator)[:, 0]
    own = outputs[chosen, torch.arange(len(chosen), device=chosen.device)]
    if model.missingness is None:
        return model.decoder.draw(own, generator)
    cells = torch.stack([model.decoder.draw(own, generator) for _ in range(_CANDIDATES)], dim=-1)
    log_hidden = model.missingness.log_hidden(cells.movedim(-1, 0)).movedim(0, -1)
    best = torch.multinomial(log_hidden.softmax(-1).flatten(0, -2), 1, generator=generator)
    return cells.gather(-1, best.view(*cells.shape[:-1], 1))[..., 0]
