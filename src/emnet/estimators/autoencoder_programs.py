"""An autoencoder's two halves as programs for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emnet.estimators import options
from emnet.estimators.autoencoder_pieces import LookingAutoencoder
from emnet.estimators.onnx_file import OnnxFile, Program
from emnet.exceptions import InvalidInputError
from emnet.models.portable import DecoderOfVectors, EncoderOfRows, Standardized


class PortableAutoencoder(OnnxFile, LookingAutoencoder):
    """The encoder and the decoder, apart."""

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
