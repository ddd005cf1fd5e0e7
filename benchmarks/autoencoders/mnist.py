"""MNIST, the network of Burda et al. 2016: as far as some minutes of a CPU go, with the curve, beside the published.

EMNET_MINUTES sets the minutes of each run, by default 15.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.mnist_data import load
from benchmarks.results import markdown, write
from emnet.algorithms.base import Iteration
from emnet.algorithms.variational import VariationalEM
from emnet.batch import Batch, MiniBatches
from emnet.factors.cells import BernoulliCells
from emnet.factors.decoder import Decoder
from emnet.factors.encoder import Encoder
from emnet.factors.latent_priors import StandardNormal
from emnet.factors.networks import perceptron
from emnet.inference.amortized import Amortized, proposal
from emnet.models.autoencoder import Autoencoder

PUBLISHED = {1: -86.76, 5: -85.54, 50: -84.78}
_LATENT, _WIDTHS, _BATCH = 50, (200, 200), 100
_STAGES = 8  # Burda's: stage i is 3^i passes at a rate of 0.001 · 10^(−i/7)
_CPU_SHARES = {1: 1.0, 5: 0.5}  # of the minutes, by draws
_MINUTES = 15.0
_POINTS = (1, 4, 13, 26, 40, 60, 80, 100, 121, 180, 240, 300, 364)  # passes after which the curve has one
_ROWS_AT_A_TIME = 50


@dataclass
class Curve:
    """Test log evidence after so many passes, nats an image, and seconds of training until then."""

    draws: int
    points: list[tuple[int, float, float]] = field(default_factory=list)


def images(part: str, device: str) -> Tensor:
    """Intensities between 0 and 1, (n, 784)."""
    return torch.from_numpy(load(part)[0]).float().to(device)


def autoencoder(train: Tensor, seed: int = 0) -> Autoencoder:
    """Two layers of 200 tanh units on each side of 50 latent numbers."""
    torch.manual_seed(seed)
    d = train.shape[1]
    cells = BernoulliCells(d)
    network = perceptron(_LATENT, _WIDTHS, d, "tanh")
    network[-1].bias.data.copy_(cells.start(train, torch.ones_like(train)))
    encoder = Encoder(perceptron(d, _WIDTHS, 2 * _LATENT, "tanh"))
    return Autoencoder(StandardNormal(_LATENT), Decoder(network, [cells], [range(d)]), encoder).to(train.device)


@dataclass
class Watch:
    """Called after every pass: a point of the curve now and then, and the end when the time is up."""

    test: Tensor
    report: Callable[[int, float, float], None]
    limit: float  # seconds of training
    before: int = 0  # passes of the stages before
    done: int = 0
    seconds: float = 0.0
    resumed: float = field(default_factory=time.perf_counter)

    @property
    def is_over(self) -> bool:
        return self.seconds >= self.limit

    def __call__(self, model: Autoencoder, line: Iteration) -> bool:
        """`line` is of the parameters that the pass met; the model has gone on by it."""
        self.seconds += time.perf_counter() - self.resumed
        self.done = self.before + line.number + 1
        if self.done in _POINTS or self.is_over:
            self.report(self.done, log_evidence(model, self.test, 100), self.seconds)
        self.resumed = time.perf_counter()
        return self.is_over


def train(
    draws: int,
    passes: list[int],
    rows: Tensor,
    test: Tensor,
    report: Callable[[int, float, float], None],
    limit: float = math.inf,
) -> Autoencoder:
    """Stage after stage, with pixels drawn anew from their intensities each time that they are seen."""
    model, watch = autoencoder(rows), Watch(test, report, limit)
    generator = torch.Generator(rows.device).manual_seed(1)
    inference = Amortized(draws, importance_weighted=draws > 1)

    def drawn(batch: Batch) -> Batch:
        return Batch(torch.bernoulli(batch.target, generator=generator))

    for stage, count in enumerate(passes):
        data = MiniBatches(Batch(rows), _BATCH, stage, drawn)
        algorithm = VariationalEM(inference, 1e-3 * 10 ** (-stage / 7))
        with torch.no_grad():
            for number in range(count):
                line = Iteration(number, algorithm.step(model, data), 0.0)
                if watch(model, line):
                    return model
        watch.before += count
    return model


@torch.no_grad()
def log_evidence(model: Autoencoder, rows: Tensor, draws: int) -> float:
    """Importance-weighted, nats an image, of pixels that are drawn once."""
    binary = torch.bernoulli(rows, generator=torch.Generator(rows.device).manual_seed(2))
    generator = torch.Generator(rows.device).manual_seed(3)
    size = _ROWS_AT_A_TIME if rows.device.type == "cpu" else 10 * _ROWS_AT_A_TIME
    found = []
    for piece in binary.split(size):
        parts = [
            proposal(model, Batch(piece), min(draws, 100), generator).log_evidence for _ in range(-(-draws // 100))
        ]
        found.append(torch.stack(parts).logsumexp(0) - math.log(len(parts)))
    return float(torch.cat(found).mean())


def main() -> None:
    rows_of_test, seconds = 1000, 60 * float(os.environ.get("EMNET_MINUTES", _MINUTES))
    rows, test = images("train", "cpu"), images("t10k", "cpu")[:rows_of_test]
    passes, table = [3**stage for stage in range(_STAGES)], []
    for draws, share in _CPU_SHARES.items():
        curve = Curve(draws)

        def point(done: int, evidence: float, taken: float, own: Curve = curve) -> None:
            own.points.append((done, evidence, taken))
            print(own.draws, done, f"{evidence:.2f}", f"{taken:.0f}", flush=True)

        train(draws, passes, rows, test, point, share * seconds)
        course = ", ".join(f"{evidence:.2f} after {done}" for done, evidence, _ in curve.points)
        table.append([str(draws), course, f"{PUBLISHED[draws]}", f"{curve.points[-1][2]:.0f}"])
    header = ["draws", "test log evidence, after passes", "published", "seconds of training"]
    body = markdown(header, table) + (
        f"\n\nOne stochastic layer of {_LATENT}, two layers of 200 tanh units on each side, Adam in batches of "
        f"{_BATCH}, pixels drawn anew from their intensities; nats an image, over the first {rows_of_test:,} test "
        f"images by 100 draws. The published figures are after {(3**_STAGES - 1) // 2:,} passes in batches of 20, and "
        f"these are on the same schedule of {_STAGES} stages, as far as one busy thread came. `python -m "
        "benchmarks.gpu` has more of it."
    )
    write("autoencoders.mnist", "Autoencoders: MNIST", body)


if __name__ == "__main__":
    main()
