"""python -m benchmarks [SUITE …]: without a suite, list them; `all` runs all."""

from __future__ import annotations

import sys
from importlib import import_module

SUITES = (
    "start_up",
    "e_step",
    "iris_fit",
    "prior",
    "quality",
    "classic",
    "scale",
    "suite",
    "mnist",
    "mixture",
    "imputation",
    "experts",
    "chains",
    "sequences",
    "tomita",
    "autoencoders",
    "streams",
    "kill",
    "fuzz",
    "checkpoints",
    "soak",
    "picture",
)
PARTS = {"autoencoders": ("speed", "memory", "imputation", "clustering", "anomaly", "mnist", "mnist_clusters")}


def main(names: list[str]) -> int:
    if not names:
        for suite in SUITES:
            print(f"{suite:10s} {import_module(f'benchmarks.{suite}').__doc__}")
        return 0
    parts = [f"{suite}.{part}" for suite, own in PARTS.items() for part in own]
    unknown = [name for name in names if name not in (*SUITES, *parts, "all")]
    if unknown:
        print(f"No suite {unknown[0]!r}; there are {', '.join(SUITES)} and all.", file=sys.stderr)
        return 2
    for suite in SUITES if "all" in names else names:
        import_module(f"benchmarks.{suite}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
