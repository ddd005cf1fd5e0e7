"""python -m benchmarks.gpu: everything that needs a GPU, in one go; says what it skipped.

PyTorch and NumPy are enough for all but the clusters, which ask for scikit-learn.

Prints lines of JSON; nothing is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.autoencoders.mnist import PUBLISHED, images, log_evidence, train
from emnet.batch import Batch, with_constant
from emnet.factors.regression import BernoulliUnits, GradientStep, SoftmaxOutput
from emnet.inference.exact import Exact
from emnet.inference.importance import Importance, Recognition
from emnet.kernels import bits, chain
from emnet.models.bernoulli_network import BernoulliNetwork

_ROWS, _INPUTS, _CLASSES = 60_000, 50, 10
_UNITS = (20, 24, 28)
_GEMM = 8192
_STEPS, _STATES = 1_000_000, 32
_STAGES = 6  # of the autoencoder's eight: 364 passes


def report(**line: object) -> None:
    print(json.dumps(line), flush=True)


def seconds(task: Callable[[], object], repeats: int = 3) -> float:
    """Best of some runs, after one to warm up."""
    task()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        began = time.perf_counter()
        task()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return min(times)


def product_rate() -> float:
    """The card's own float32 product rate, FLOP/s, with PyTorch's default precision."""
    square = torch.randn(_GEMM, _GEMM, device="cuda")
    return 2 * _GEMM**3 / seconds(lambda: square @ square)


def network(m: int, device: str, dtype: torch.dtype = torch.float32) -> BernoulliNetwork:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(m, 1 + _INPUTS, generator=generator, dtype=torch.float64) / _INPUTS**0.5
    output = torch.randn(_CLASSES, 1 + m, generator=generator, dtype=torch.float64) / m**0.5
    m_step = GradientStep()
    units, top = BernoulliUnits(hidden.to(dtype), m_step=m_step), SoftmaxOutput(output.to(dtype), m_step=m_step)
    return BernoulliNetwork([units], top).to(device)


def rows(n: int, device: str, dtype: torch.dtype = torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, _INPUTS, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(_CLASSES, (n,), generator=generator)
    return Batch(target.to(device), with_constant(inputs).to(device))


def agreement() -> None:
    """CPU and GPU give the same posterior, in float64 to rounding."""
    on_cpu = Exact()(network(10, "cpu", torch.float64), rows(500, "cpu", torch.float64))
    on_gpu = Exact()(network(10, "cuda", torch.float64), rows(500, "cuda", torch.float64))
    off = (on_cpu.log_evidence - on_gpu.log_evidence.cpu()).abs().max()
    report(check="CPU and GPU agree in float64", largest_difference=float(off), passed=bool(off < 1e-9))


def exact(m: int, rate: float) -> None:
    model, batch = network(m, "cuda"), rows(_ROWS, "cuda")
    taken = seconds(lambda: model.posterior(batch), repeats=1 if m > 24 else 3)
    reached = 3 * 2 * _ROWS * 2**m / taken
    memory = torch.cuda.max_memory_allocated() / 2**30
    report(e_step="exact", m=m, seconds=taken, teraflops=reached / 1e12, share=reached / rate, gib=memory)


def sampled(m: int) -> None:
    model, batch = network(m, "cuda"), rows(_ROWS, "cuda")
    for inference in (Importance(30), Importance(30, Recognition())):
        taken = seconds(lambda i=inference: model.statistics(batch, i(model, batch)))
        report(e_step="importance", proposal=type(inference.proposal).__name__, m=m, seconds=taken)


def sequences(n: int, count: int, k: int, device: str) -> tuple[torch.Tensor, ...]:
    """log p of the start, of transitions and of n rows, and where `count` sequences of one length begin."""
    generator = torch.Generator().manual_seed(2)
    shapes = ((k,), (k, k), (n, k))
    start, transition, x = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    arrays = start.log_softmax(0), transition.log_softmax(1), x
    return *(array.to(device) for array in arrays), torch.arange(0, n + 1, n // count)


def chains_agree() -> None:
    on_cpu, on_gpu = (chain.forward_backward(*sequences(10_000, 10, 8, device)) for device in ("cpu", "cuda"))
    off = (on_cpu.responsibilities - on_gpu.responsibilities.cpu()).abs().max()
    report(check="forward–backward on CPU and GPU", largest_difference=float(off), passed=bool(off < 1e-9))


def chains(count: int) -> None:
    arrays = sequences(_STEPS, count, _STATES, "cuda")
    taken = seconds(lambda: chain.forward_backward(*arrays))
    report(kernel="forward–backward", steps=_STEPS, sequences=count, states=_STATES, seconds=taken)


def autoencoder(draws: int) -> None:
    """MNIST and the network of Burda et al. 2016, beside their figures after nine times as many passes."""
    try:
        rows, test = images("train", "cuda"), images("t10k", "cuda")
    except FileNotFoundError as error:
        report(skipped="autoencoder", draws=draws, reason=str(error))
        return

    def point(passes: int, evidence: float, taken: float) -> None:
        report(autoencoder="MNIST", draws=draws, passes=passes, test_log_evidence_100_draws=evidence, seconds=taken)

    model = train(draws, [3**stage for stage in range(_STAGES)], rows, test, point)
    final = log_evidence(model, test, 5000)
    report(autoencoder="MNIST", draws=draws, test_log_evidence_5000_draws=final, published=PUBLISHED[draws])


def clusters(device: str = "cuda", **fewer: Any) -> None:
    """Clusters of MNIST by the networks that VaDE has, beside its accuracy; `fewer` rows or passes are for a trial."""
    try:
        from benchmarks.autoencoders.mnist_clusters import VADE, accuracies, published_networks
    except ImportError as error:
        report(skipped="clusters", reason=str(error))
        return
    try:
        own, others, taken = accuracies(lambda: published_networks(device), **fewer)
    except FileNotFoundError as error:
        report(skipped="clusters", reason=str(error))
        return
    report(clusters="MNIST", accuracy=own, others=others, published=VADE, seconds=taken)


@torch.no_grad()
def main() -> None:
    if not torch.cuda.is_available():
        report(skipped="everything", reason="PyTorch sees no GPU")
        return
    rate = product_rate()
    report(device=torch.cuda.get_device_name(), torch=torch.__version__, product_teraflops=rate / 1e12)
    agreement()
    for task, m in [*((exact, m) for m in _UNITS), (sampled, 256), (sampled, 1024)]:
        needed = bits.required_bytes(_ROWS, m, _CLASSES, torch.float32) if task is exact else 0
        free = torch.cuda.mem_get_info()[0]
        if needed > free:
            report(skipped=task.__name__, m=m, reason=f"needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free")
            continue
        torch.cuda.reset_peak_memory_stats()
        if task is exact:
            exact(m, rate)
        else:
            sampled(m)
    chains_agree()
    for count in (1, 1000):
        chains(count)
    for draws in PUBLISHED:
        autoencoder(draws)
    clusters()


if __name__ == "__main__":
    main()
