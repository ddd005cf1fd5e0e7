"""The networks that encoders and decoders are by default: layers of given widths, and a convolutional pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import Tensor, nn

ACTIVATIONS: Mapping[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU, "silu": nn.SiLU}


def perceptron(n_inputs: int, widths: Sequence[int], n_outputs: int, activation: str = "relu") -> nn.Sequential:
    """Linear layers with an activation between them; without widths one linear layer."""
    layers: list[nn.Module] = []
    for fan_in, width in pairwise((n_inputs, *widths)):
        layers += [nn.Linear(fan_in, width), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear((n_inputs, *widths)[-1], n_outputs))


class ConvolutionalEncoder(nn.Module):
    """Flat images, (n, c·h·w), to `n_outputs` numbers: two convolutions of stride 2 and two linear layers.

    Parameters
    ----------
    shape : (h, w) or (c, h, w).
    channels : of the first convolution; the second has twice as many.
    """

    def __init__(self, shape: Sequence[int], n_outputs: int, channels: int = 32, hidden: int = 256):
        super().__init__()
        self.shape = image_shape(shape)
        depth, height, width = self.shape
        rows, columns = _halved(height), _halved(width)
        self.layers = nn.Sequential(
            nn.Conv2d(depth, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * channels * rows[2] * columns[2], hidden),
            nn.ReLU(),
            nn.Linear(hidden, n_outputs),
        )

    def forward(self, flat: Tensor) -> Tensor:
        found: Tensor = self.layers(flat.view(-1, *self.shape))
        return found


class ConvolutionalDecoder(nn.Module):
    """`n_latent` numbers to `outputs_a_pixel` for each pixel, (n, outputs·c·h·w): the encoder's mirror image."""

    def __init__(
        self, shape: Sequence[int], n_latent: int, outputs_a_pixel: int = 1, channels: int = 32, hidden: int = 256
    ):
        super().__init__()
        depth, height, width = image_shape(shape)
        rows, columns = _halved(height), _halved(width)
        self.narrow = (2 * channels, rows[2], columns[2])
        self.dense = nn.Sequential(
            nn.Linear(n_latent, hidden), nn.ReLU(), nn.Linear(hidden, 2 * channels * rows[2] * columns[2]), nn.ReLU()
        )
        self.widen = nn.Sequential(
            nn.ConvTranspose2d(2 * channels, channels, 3, 2, 1, output_padding=_rest(rows, columns, 1)),
            nn.ReLU(),
            nn.ConvTranspose2d(channels, outputs_a_pixel * depth, 3, 2, 1, output_padding=_rest(rows, columns, 0)),
        )

    def forward(self, latent: Tensor) -> Tensor:
        found: Tensor = self.widen(self.dense(latent).view(-1, *self.narrow)).flatten(1)
        return found


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """(c, h, w), of (h, w) or (c, h, w)."""
    depth, height, width = (1, *shape) if len(shape) == 2 else shape
    return int(depth), int(height), int(width)


def _halved(size: int) -> tuple[int, int, int]:
    """A side before, between and after two convolutions of stride 2."""
    once = (size + 1) // 2
    return size, once, (once + 1) // 2


def _rest(rows: tuple[int, int, int], columns: tuple[int, int, int], to: int) -> tuple[int, int]:
    """What a transposed convolution must add to come back to odd and even sides alike."""
    return rows[to] - (2 * rows[to + 1] - 1), columns[to] - (2 * columns[to + 1] - 1)
