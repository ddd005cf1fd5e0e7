"""Autoencoders: all of the parts, `python -m benchmarks autoencoders.PART` for one of them."""

from importlib import import_module

PARTS = ("speed", "memory", "imputation", "clustering", "anomaly", "mnist", "mnist_clusters")


def main() -> None:
    for part in PARTS:
        import_module(f"benchmarks.autoencoders.{part}").main()
