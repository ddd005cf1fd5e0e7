"""The shape of the house: imports run one way, the core stands on PyTorch and NumPy alone, the surface is small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import emnet

ROOT = Path(emnet.__file__).parent
LAYERS = [  # a layer may import from its own and from those before it
    {"exceptions", "extras", "interruption", "warning"},
    {"kernels", "batch"},
    {"statistics", "posteriors"},
    {"distributed", "spawning"},
    {"factors"},
    {"models", "inference"},
    {"algorithms", "applications", "data", "envelope", "serialization"},
    {"estimators"},
    {"report", "cli", "__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
CORE = (
    "kernels",
    "factors",
    "models",
    "inference",
    "algorithms",
    "batch",
    "statistics",
    "posteriors",
    "exceptions",
    "distributed",
    "interruption",
    "warning",
)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path):
    own = RANK[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "emnet" and len(parts) > 1 and parts[1] in RANK:
            assert RANK[parts[1]] <= own, f"{path} imports {name}, which lies above it"


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(ROOT).parts[0] in ("algorithms", "applications")], ids=str
)
def test_algorithms_know_a_model_by_its_base_class_alone(path):
    names = [name for name in imports_of(path) if name.startswith("emnet.models")]
    assert all(name.startswith("emnet.models.base") for name in names)


def test_the_core_needs_pytorch_and_numpy_alone():
    modules = [
        "emnet." + str(p.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for p in FILES
        if p.relative_to(ROOT).parts[0].removesuffix(".py") in CORE and not p.stem.endswith("_numba")
    ]
    code = f"""
import sys
for name in ("sklearn", "scipy", "safetensors", "click", "rich", "pandas", "matplotlib", "pyarrow", "numba"):
    sys.modules[name] = None
import importlib, emnet
for name in {modules!r}:
    importlib.import_module(name)
import torch
from emnet.algorithms.base import run
from tests.cases import ALGORITHMS, CASES
from emnet.inference.exact import Exact
chain = next(case for case in CASES if case.name == "markov-gaussian")
for case, make in [*((CASES[0], make) for make in ALGORITHMS.values()), (chain, ALGORITHMS["em"])]:
    model, data = case.make(0, torch.float64), case.data(0, torch.float64)
    print(run(model, data, make(), inference=Exact(), max_iter=3).n_iter)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.split() == ["3", "3", "3", "3"], done.stderr


def test_import_brings_nothing_heavy():
    heavy = ("torch", "sklearn", "scipy", "numba", "matplotlib")
    code = f"import sys, emnet; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_public_surface():
    assert emnet.__all__ == sorted(emnet.__all__)
    assert all(getattr(emnet, name).__doc__ for name in emnet.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        emnet.nothing  # noqa: B018


def test_no_pickle_anywhere():
    for path in FILES:
        assert "pickle" not in {name.split(".")[0] for name in imports_of(path)}
