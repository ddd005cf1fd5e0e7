"""Cost and error of the E-steps against the number of units, and an epoch of sampled EM beside back-propagation."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.results import markdown, write
from benchmarks.timing import alternate, fastest
from emnet.algorithms.adam import Adam
from emnet.batch import Batch, MiniBatches, with_constant
from emnet.factors.regression import BernoulliUnits, GradientStep, SoftmaxOutput
from emnet.inference.base import EStep
from emnet.inference.exact import Exact
from emnet.inference.gibbs import Gibbs
from emnet.inference.importance import Importance, Recognition
from emnet.inference.mean_field import MeanField
from emnet.models.bernoulli_network import BernoulliNetwork

_ROWS, _INPUTS, _CLASSES = 5000, 20, 10
_UNITS = (8, 12, 16, 32, 64, 128, 256, 512, 1024)
_WARM_UP = 2.0  # seconds
_FIGURE = Path(__file__).parent / "scale.png"
E_STEPS: dict[str, tuple[Callable[[], EStep], int]] = {  # with the most units at which it is run
    "exact": (Exact, 16),
    "importance, 30 from the prior": (lambda: Importance(30), 1024),
    "importance, 30 from a recognition network": (lambda: Importance(30, Recognition()), 1024),
    "gibbs, 3 sweeps of blocks of 4": (lambda: Gibbs(3), 1024),
    "mean field": (lambda: MeanField(tol=1e-6), 256),
}


def problem(m: int, n: int = _ROWS, p: int = _INPUTS, g: int = _CLASSES) -> tuple[BernoulliNetwork, Batch]:
    """Random weights of a fitted network's size, with classes drawn from the network itself."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(m, 1 + p, generator=generator) / (1 + p) ** 0.5
    output = 3 * torch.randn(g, 1 + m, generator=generator) / m**0.5
    m_step = GradientStep()
    model = BernoulliNetwork([BernoulliUnits(hidden, m_step=m_step)], SoftmaxOutput(output, m_step=m_step))
    inputs = with_constant(torch.randn(n, p, generator=generator))
    return model, Batch(model.sample(inputs, generator)[1], inputs)


@torch.no_grad()
def measure(m: int) -> dict[str, tuple[float, str, str]]:
    """Seconds of an E-step with its statistics, error of the posterior mean and of the evidence, for each E-step."""
    model, batch = problem(m)
    truth = model.posterior(batch) if m <= E_STEPS["exact"][1] else None
    found = {}
    for name, (make, most) in E_STEPS.items():
        if m > most:
            continue
        inference = make()
        began, turns = time.perf_counter(), 0
        while turns < 5 and time.perf_counter() - began < _WARM_UP:
            inference(model, batch)  # until chains and recognition networks are past their start
            turns += 1
        task = lambda i=inference: model.statistics(batch, i(model, batch))  # noqa: E731
        seconds = fastest({name: task}, 3)[name]
        posterior = inference(model, batch)
        errors = ("", "")
        if truth is not None:
            off = (posterior.mean - truth.mean).double().square().mean().sqrt()
            evidence = (posterior.log_evidence - truth.log_evidence).mean()
            errors = (f"{off:.3f}", f"{evidence:+.3f}")
        found[name] = (seconds, *errors)
    return found


def epoch(m: int, samples: int, n: int = _ROWS, p: int = 64, size: int = 200) -> list[str]:
    """One pass of Adam in mini-batches, by sampled EM and by PyTorch's autograd, same network and batch size."""
    model, batch = problem(m, n, p)
    data = MiniBatches(batch, size, 0)
    adam = Adam(Importance(samples), learning_rate=1e-3)
    network = nn.Sequential(nn.Linear(p, m), nn.Sigmoid(), nn.Linear(m, _CLASSES))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def ours() -> None:
        with torch.no_grad():
            adam.step(model, data)

    def back_propagation() -> None:
        for piece in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(piece.inputs[:, 1:]), piece.target).backward()
            optimizer.step()

    seconds = alternate({"ours": ours, "peer": back_propagation})
    ratio = f"{seconds['ours'] / seconds['peer']:.1f} ×"
    return [str(m), str(samples), f"{seconds['ours']:.3f}", f"{seconds['peer']:.3f}", ratio]


def plot(times: dict[str, dict[int, float]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for name, by_units in times.items():
        ax.plot(list(by_units), list(by_units.values()), marker="o", label=name)
    ax.set(xscale="log", yscale="log", xlabel="hidden units, m", ylabel="seconds an E-step")
    ax.set_xticks(_UNITS, [str(m) for m in _UNITS])
    ax.minorticks_off()
    ax.set_title(f"n = {_ROWS:,}, {_CLASSES} classes, float32", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    figure.savefig(_FIGURE, dpi=130)


def main() -> None:
    rows, times = [], {name: {} for name in E_STEPS}
    for m in _UNITS:
        began = time.perf_counter()
        for name, (seconds, mean_error, evidence_error) in measure(m).items():
            times[name][m] = seconds
            rows.append([str(m), name, f"{seconds:.4f}", mean_error, evidence_error])
        print(f"m = {m}: {time.perf_counter() - began:.0f} s", flush=True)
    plot(times)
    header = ["m", "E-step", "s", "RMS error of E[z]", "mean error of log evidence"]
    body = markdown(header, rows) + "\n\n![seconds against units](scale.png)\n\n"
    body += "A pass of mini-batches of 200 over 5000 rows of 64 inputs, ours beside PyTorch's back-propagation:\n\n"
    body += markdown(["m", "samples", "ours, s", "back-propagation, s", "ratio"], [epoch(64, 10), epoch(64, 30)])
    body += "\n\nGoal: at most 4 × with 64 units and 30 samples. E-steps: least of four, of long ones of two. "
    body += "Errors are against the exact E-step, where it can go."
    write("scale", f"E-steps against the number of units, n = {_ROWS:,}, {_CLASSES} classes, float32", body)
