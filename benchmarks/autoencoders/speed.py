"""Seconds of an epoch beside a hand-written PyTorch loop of the same network and batches, and beside pythae.

Peer: pip install pydantic imageio; pip install --no-deps pythae (one of its needs is a backport for old Pythons).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.results import markdown, write
from benchmarks.timing import fastest
from emnet import VariationalAutoencoder
from emnet.batch import Batch

_BATCH, _RATE, _TURNS = 128, 1e-3, 5


@dataclass(frozen=True)
class Setting:
    """Data and network."""

    name: str
    n: int
    d: int
    widths: tuple[int, ...]
    n_latent: int
    likelihood: str

    def rows(self) -> np.ndarray:
        """Linear in a few numbers; for "bernoulli" cut into 0 and 1: float32."""
        rng = np.random.RandomState(0)
        X = rng.randn(self.n, 5) @ rng.randn(5, self.d) + rng.randn(self.n, self.d)
        return ((X > 0) if self.likelihood == "bernoulli" else X).astype(np.float32)


SETTINGS = (
    Setting("images", 6_000, 784, (200, 200), 50, "bernoulli"),
    Setting("table", 20_000, 20, (128, 128), 8, "gaussian"),
)


class HandWritten(nn.Module):
    """The variational autoencoder as a tutorial has it: one draw a row, the divergence in closed form."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.setting = setting
        self.encoder = _layers(setting.d, setting.widths, 2 * setting.n_latent)
        self.decoder = _layers(setting.n_latent, setting.widths[::-1], setting.d)
        self.log_scale = nn.Parameter(torch.zeros(setting.d))

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        out = self.decoder(z)
        if self.setting.likelihood == "bernoulli":
            fit = -nn.functional.binary_cross_entropy_with_logits(out, x, reduction="none").sum(1)
        else:
            scaled = (x - out) * (-self.log_scale).exp()
            fit = -(0.5 * scaled.square() + self.log_scale + 0.9189385).sum(1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return (divergence - fit).mean()


def _layers(n_inputs: int, widths: tuple[int, ...], n_outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(n_inputs, width), nn.ReLU()]
        n_inputs = width
    return nn.Sequential(*layers, nn.Linear(n_inputs, n_outputs))


def hand_written(setting: Setting, X: np.ndarray, fused: bool) -> Callable[[], None]:
    """An epoch, again and again, of one model; `fused` says which of torch's Adams."""
    torch.manual_seed(0)
    model, rows = HandWritten(setting), torch.from_numpy(X)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE, fused=fused)

    def epoch() -> None:
        for index in torch.randperm(len(rows)).split(_BATCH):
            optimizer.zero_grad()
            model.loss(rows[index]).backward()
            optimizer.step()

    return epoch


def ours(setting: Setting, X: np.ndarray) -> Callable[[], object]:
    """An epoch, again and again, of one model: the step that a fit repeats."""
    estimator = VariationalAutoencoder(
        setting.n_latent,
        encoder=setting.widths,
        likelihood=setting.likelihood,
        batch_size=_BATCH,
        learning_rate=_RATE,
        max_iter=1,
        random_state=0,
    ).fit(X)
    data = estimator._data(Batch(torch.from_numpy(X)), 0)
    algorithm, model = estimator._algorithm(0), estimator.members_[0]
    return torch.no_grad()(lambda: algorithm.step(model, data))


def pythae(setting: Setting, X: np.ndarray) -> Callable[[], None]:
    """pythae's trainer on the same layers, an epoch at a time."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = _layers(setting.d, setting.widths, 2 * setting.n_latent)

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.layers(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            last = [nn.Sigmoid()] if setting.likelihood == "bernoulli" else []  # its loss takes probabilities
            self.layers = nn.Sequential(_layers(setting.n_latent, setting.widths[::-1], setting.d), *last)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z))

    loss = "bce" if setting.likelihood == "bernoulli" else "mse"
    config = VAEConfig(input_dim=(setting.d,), latent_dim=setting.n_latent, reconstruction_loss=loss)
    trainer = BaseTrainer(
        model=VAE(config, encoder=Encoder(), decoder=Decoder()),
        train_dataset=BaseDataset(torch.from_numpy(X), torch.zeros(len(X))),
        training_config=BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(),
            num_epochs=1,
            per_device_train_batch_size=_BATCH,
            learning_rate=_RATE,
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    trainer.callback_handler.callbacks.clear()  # whose progress bars take time
    return lambda: trainer.train_step(1)


def tasks(setting: Setting, X: np.ndarray) -> Mapping[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {
        "hand-written": hand_written(setting, X, False),
        "hand-written, fused Adam": hand_written(setting, X, True),
        "emnet": ours(setting, X),
    }
    return found | ({"pythae": pythae(setting, X)} if find_spec("pythae") else {})


def main() -> None:
    rows = []
    for setting in SETTINGS:
        X = setting.rows()
        taken = fastest(tasks(setting, X), _TURNS)
        own, loop = taken["emnet"], min(taken["hand-written"], taken["hand-written, fused Adam"])
        peer = taken.get("pythae")
        rows.append(
            [
                f"{setting.name}, {setting.n:,} × {setting.d}, {setting.widths} → {setting.n_latent}",
                f"{own:.3f}",
                f"{taken['hand-written']:.3f}",
                f"{taken['hand-written, fused Adam']:.3f}",
                "not installed" if peer is None else f"{peer:.3f}",
                f"{own / loop:.2f}" + ("" if own <= 1.10 * loop else " MISSED"),
                "" if peer is None else f"{own / peer:.2f}" + ("" if own <= 0.8 * peer else " MISSED"),
            ]
        )
    header = ["", "emnet, s", "loop, s", "loop, fused Adam, s", "pythae, s", "emnet / faster loop", "emnet / pythae"]
    body = markdown(header, rows) + (
        f"\n\nAn epoch in batches of {_BATCH}, float32, the fastest of {_TURNS} turns that alternate. Goals: 1.10 of "
        "the loop and 0.8 of pythae. pythae's loss of Gaussian columns has no scales to learn. What emnet has besides "
        "the loop is a bound in float64, floors under scales and variances, a divergence that is taken down; rows of "
        "these sizes are made as the model sees them once."
    )
    write("autoencoders.speed", "Autoencoders: an epoch", body)


if __name__ == "__main__":
    main()
