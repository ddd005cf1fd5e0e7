"""How autoencoders learn: the networks, the starts and the runs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor, nn

from emnet.algorithms.base import Algorithm, Fit
from emnet.algorithms.variational import VariationalEM
from emnet.batch import Batch, Data
from emnet.data.stream import Stream
from emnet.distributed import ALONE, Group
from emnet.estimators import options
from emnet.estimators.autoencoder_rows import AutoencoderRows
from emnet.estimators.early_stopping import EarlyStopping
from emnet.estimators.history import as_dict
from emnet.estimators.keeping import keeping_what_was_fitted
from emnet.estimators.mixture_report import shifted
from emnet.estimators.modules import fresh_module, require_shape
from emnet.estimators.resuming import resumable
from emnet.estimators.streaming import require_alone
from emnet.estimators.validation import require_not_negative, require_one_of, require_positive_integer
from emnet.exceptions import InvalidInputError
from emnet.factors.decoder import Decoder
from emnet.factors.encoder import Encoder
from emnet.factors.latent_priors import LatentPrior
from emnet.factors.missingness import SelfMasking
from emnet.factors.networks import ACTIVATIONS, ConvolutionalDecoder, ConvolutionalEncoder, perceptron
from emnet.inference.amortized import Amortized, DivergencePenalty, Refinement
from emnet.inference.base import EStep
from emnet.models.autoencoder import Autoencoder, entries_of, features_of

E_STEPS = ("amortized", "semi_amortized", "importance")
ALGORITHMS = ("joint", "alternating")
_CONVOLUTIONAL = "convolutional"
_IMPORTANCE_DRAWS = 20
_START_ROWS = 4096
_STRUCTURE_ROWS = 2  # stand in for data where a model is built to be filled


class LearningAutoencoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, AutoencoderRows):
    """All of the training. A subclass says what the prior is."""

    tol = 0.0  # the bound is an estimate, and no run ends by its standing still
    _made_of: tuple[str, ...] = (
        *("n_latent", "n_components", "prior", "encoder", "decoder", "activation", "image_shape", "likelihood"),
        *("noise", "standardize", "missing", "dtype"),
    )
    _group: Group = ALONE  # the processes, while many fit together

    # -- what a subclass says ---------------------------------------------------------------------------------------

    @abstractmethod
    def _start_prior(self, features: Tensor, seed: int) -> LatentPrior:
        """The prior at the start; `features` are some rows, as the encoder is shown them."""

    # -- parameters -------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        self._check_common_parameters()
        for name in ("n_latent", "prediction_samples", "refinements", "n_iter_no_change"):
            require_positive_integer(name, getattr(self, name))
        if self.n_draws is not None:
            require_positive_integer("n_draws", self.n_draws)
        for name in ("beta", "warm_up", "free_bits", "precision", "learning_rate"):
            require_not_negative(name, getattr(self, name))
        require_one_of("noise", self.noise, ("column", "shared", "row"))
        require_one_of("missing", self.missing, ("at_random", "mnar"))
        require_one_of("activation", self.activation, tuple(ACTIVATIONS))
        if not isinstance(self.e_step, Amortized):
            require_one_of("e_step", self.e_step, E_STEPS, "an Amortized")
        weakened = self.beta != 1 or self.warm_up or self.free_bits
        if weakened and isinstance(self.e_step, str) and self.e_step == "importance":
            raise InvalidInputError(
                "beta, warm_up and free_bits weigh a divergence that the importance-weighted bound does not have. Take "
                "e_step='amortized' or 'semi_amortized', or leave them as they are."
            )
        if not isinstance(self.algorithm, VariationalEM):
            require_one_of("algorithm", self.algorithm, ALGORITHMS, "a VariationalEM")
        for name in ("encoder", "decoder"):
            self._check_network(name, getattr(self, name))

    def _check_network(self, name: str, value: Any) -> None:
        if value is None and name == "decoder":
            return
        if isinstance(value, str):
            require_one_of(name, value, (_CONVOLUTIONAL,), "widths or a torch module")
            shape = self.image_shape
            if not isinstance(shape, (tuple, list)) or len(shape) not in (2, 3):
                raise InvalidInputError(
                    f"{name}='convolutional' needs image_shape, (h, w) or (c, h, w); got {shape!r}."
                )
        elif not isinstance(value, (nn.Module, Integral, Iterable)):
            raise InvalidInputError(f"{name} must be widths, {_CONVOLUTIONAL!r} or a torch module; got {value!r}.")
        elif not isinstance(value, nn.Module):
            for width in _widths(value):
                require_positive_integer(name, width)

    # -- training ---------------------------------------------------------------------------------------------------

    @resumable
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit by variational EM to (n, d) rows or a data frame, NaN being what was not seen; y is ignored.

        An `emnet.stream` in place of X brings its weights; each of its batches is gone through in an order of its own.

        Raises
        ------
        InvalidInputError : a parameter or a column cannot be used; says which and what to do.
        DegenerateFitError : the bound became NaN; the last finite parameters are kept.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            if isinstance(X, Stream):
                require_alone(y, sample_weight)
                return self._fit_stream(X.as_frames())
            source, weights = self._check_data(X, sample_weight, reset=not self._continues())
            if not self._continues():
                self._measure(source, weights)
            seeds = self._seeds()
            self._seed_of_use, self._n_features_out = seeds[0], self.n_latent
            train, held_out = self._split(self._batch_of_rows(source, weights), source[:0], seeds[0])
            self._take_down_volume(train)
            self._fit_starts(train, held_out, seeds, X, None)
            self._look_at(X)
            return self

    def _fit_stream(self, stream: Stream) -> Self:
        some, found = self._survey(stream)
        seeds = self._seeds(stream.group)
        self._seed_of_use, self._n_features_out = seeds[0], self.n_latent
        self._group = stream.group
        try:
            return self._fit_starts(some, None, seeds, None, None, self._streamed(stream, found, seeds[0]))
        finally:
            self._group = ALONE

    def _starts(self, seeds: list[int], batch: Batch) -> Iterable[Autoencoder]:
        """Of many processes those of the first: networks trained on other machines may differ in more than a digit."""
        starts = super()._starts(seeds, batch)
        return starts if self._group.size == 1 else map(self._of_first, starts)

    def _of_first(self, model: Autoencoder) -> Autoencoder:
        model.set_coordinates(self._group.from_first(model.coordinates()))
        return model

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """A pass over these rows, from the present parameters; y is ignored.

        The first rows say what the columns are, how they are centered and scaled, which have holes, and make the start.
        Between calls Adam's averages are kept, and the statistics of a prior with closed M-steps.
        """
        with keeping_what_was_fitted(self):
            self._check_parameters()
            first = not getattr(self, "members_", None)
            source, weights = self._check_data(X, sample_weight, reset=first)
            if first:
                self._measure(source, weights)
                self._seed_of_use, self._n_features_out = self._seeds()[0], self.n_latent
            batch = self._batch_of_rows(source, weights)
            self._take_down_volume(batch)
            with options.few_threads(self._elements(len(batch))):
                self._take_steps(batch, first)
            self._look_at(X)
            return self

    def _look_at(self, X: Any) -> None:
        """What is published of the rows that were fitted."""

    def _portion(self, batch: Batch) -> Data:
        return self._data(batch, 0)

    def _stepper(self, seed: int, first: bool) -> Algorithm:
        return self._algorithm(seed)

    def _stopping(self, model: Autoencoder, held_out: Batch, e_step: Any) -> EarlyStopping:
        data = self._pieces(held_out, None, int(self.batch_size), self._held_rows)
        return EarlyStopping(model, data, _SameDraws(e_step), self.n_iter_no_change)

    def _start(self, seed: int, batch: Batch) -> Autoencoder:
        return self._untrained(seed, batch)

    def _model(self, seed: int) -> Autoencoder:
        rows = self._rows.to_table(np.zeros((_STRUCTURE_ROWS, len(self._rows.families))))
        return self._untrained(seed, Batch(torch.from_numpy(rows)))

    def _rebuilt(self, member: Autoencoder) -> Autoencoder:
        """The member itself, whose parameters Adam's averages belong to, with the prior of now."""
        for network in (member.decoder, member.encoder):
            if network.precision != self.precision:
                network.precision = float(self.precision)
                self._steppers = []  # Adam has its share of the prior
        return member

    def _untrained(self, seed: int, batch: Batch) -> Autoencoder:
        """Networks drawn from the seed; the decoder starts where all rows are alike and as these are on average."""
        dtype, device = options.DTYPES[self.dtype], options.choose_device(self.device)
        likelihoods, columns = self._rows.likelihoods(self.noise), [own for _, own in self._rows.groups]
        decoder = Decoder(nn.Identity(), likelihoods, columns, precision=self.precision).to(dtype)
        decoder.network = self._decoder_network(decoder.n_outputs, len(self._rows.families), dtype, seed)
        rows = self._rows.to_model(_some_rows(batch, seed).cpu(), dtype, torch.device("cpu"))
        entries = entries_of(Batch(rows))
        n_features = decoder.n_features + (len(self._rows.families) if self._shows_holes() else 0)
        network = self._encoder_network(n_features, dtype, seed)
        encoder = Encoder(network, sees_holes=self._shows_holes(), precision=self.precision)
        if isinstance(decoder.network, nn.Sequential) and isinstance(decoder.network[-1], nn.Linear):
            decoder.network[-1].bias.data.copy_(decoder.start(entries))
        features = features_of(decoder, encoder, entries)
        return Autoencoder(self._start_prior(features, seed), decoder, encoder, self._missingness(dtype)).to(device)

    def _missingness(self, dtype: torch.dtype) -> SelfMasking | None:
        return SelfMasking(self._hole_columns.to(dtype)) if self.missing == "mnar" else None

    def _shows_holes(self) -> bool:
        return self._sees_holes and not isinstance(self.encoder, (nn.Module, str))

    def _encoder_network(self, n_features: int, dtype: torch.dtype, seed: int) -> nn.Module:
        value, n_outputs = self.encoder, 2 * self.n_latent
        if isinstance(value, str):
            network: nn.Module = ConvolutionalEncoder(self.image_shape, n_outputs)
        elif isinstance(value, nn.Module):
            network = value
        else:
            network = perceptron(n_features, _widths(value), n_outputs, self.activation)
        network = fresh_module("encoder", network, dtype, seed)
        require_shape("encoder", network, n_features, n_outputs, dtype)
        return network

    def _decoder_network(self, n_outputs: int, d: int, dtype: torch.dtype, seed: int) -> nn.Module:
        value = self.decoder
        if value is None:
            value = self.encoder if isinstance(self.encoder, str) else (64,)
            if not isinstance(self.encoder, (str, nn.Module)):
                value = tuple(reversed(_widths(self.encoder)))
        if isinstance(value, str):
            network: nn.Module = ConvolutionalDecoder(self.image_shape, self.n_latent, n_outputs // d)
        elif isinstance(value, nn.Module):
            network = value
        else:
            network = perceptron(self.n_latent, _widths(value), n_outputs, self.activation)
        network = fresh_module("decoder", network, dtype, seed + 1)
        require_shape("decoder", network, self.n_latent, n_outputs, dtype)
        return network

    def _e_step(self, seed: int) -> Amortized:
        if isinstance(self.e_step, Amortized):
            return self.e_step.with_seed(seed, self._group.rank_of_many)
        importance = self.e_step == "importance"
        n_draws = self.n_draws or (_IMPORTANCE_DRAWS if importance else 1)
        refinement = Refinement(self.refinements) if self.e_step == "semi_amortized" else None
        return Amortized(
            n_draws,
            importance_weighted=importance,
            refinement=refinement,
            penalty=self._penalty(),
            seed=seed,
            rank=self._group.rank_of_many,
        )

    def _penalty(self) -> DivergencePenalty | None:
        if self.beta == 1 and not self.warm_up and not self.free_bits:
            return None
        updates = int(self.warm_up * self._passes() * self._updates_a_pass)
        return DivergencePenalty(self.beta, updates, self.free_bits)

    def _algorithm(self, seed: int) -> Algorithm:
        if isinstance(self.algorithm, VariationalEM):
            return replace(self.algorithm, inference=self._e_step(seed))
        e_steps = 1 if self.algorithm == "alternating" else 0
        return VariationalEM(self._e_step(seed), self.learning_rate, e_steps, largest_norm=None)

    def _passes(self) -> int:
        return int(self.max_iter)

    def _n_starts(self) -> int:
        return int(self.n_init)

    def _rows_a_batch(self, n: int) -> int:
        return int(self.batch_size)

    def _elements(self, n: int) -> int:
        widths = [] if isinstance(self.encoder, (str, nn.Module)) else _widths(self.encoder)
        return int(min(n, self.batch_size) * max((len(self._rows.families), *widths)))

    def _modules(self) -> list[str]:
        return [name for name in ("encoder", "decoder") if isinstance(getattr(self, name), nn.Module)]

    def _publish(self, model: Autoencoder, fit: Fit) -> None:
        super()._publish(model, fit)
        best = self.fits_[self._best_index()]
        self.history_ = [shifted(as_dict(line), -self._log_volume) for line in best.history]
        self.log_evidence_ -= self._log_volume

    def _best_index(self) -> int:
        """By the bound alone: a mixture's prior has the units of a latent space, and every start has its own."""
        bounds = [fit.last.log_evidence if fit.history else -math.inf for fit in self.fits_]
        return max(range(len(bounds)), key=bounds.__getitem__)

    def _resolve_prior(self, n_features: int) -> tuple[float, float]:
        return float(self.precision), float(self.precision)

    def _answered(self, X: Any, y: Any) -> Batch:
        raise NotImplementedError("An autoencoder explains its rows themselves: there are no answers.")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = False
        return tags


class _SameDraws(EStep):
    """An E-step whose draws are the same at every call, so that held-out bounds can be compared."""

    def __init__(self, e_step: Amortized):
        self.e_step = e_step

    def __call__(self, model: Autoencoder, batch: Batch) -> Any:
        return self.e_step.with_seed(self.e_step.seed)(model, batch)


def _widths(value: Any) -> Sequence[int]:
    return (int(value),) if isinstance(value, Integral) else tuple(value)


def _some_rows(batch: Batch, seed: int) -> Tensor:
    """A few thousand rows of the source, all of fewer."""
    if len(batch) <= _START_ROWS:
        return batch.target
    index = torch.randint(len(batch), (_START_ROWS,), generator=torch.Generator().manual_seed(seed))
    return batch.target[index.to(batch.target.device)]
