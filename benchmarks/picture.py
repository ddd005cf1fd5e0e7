"""The picture of the README: where one x has several y, least squares predicts their mean, and EM the answers."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

_FILE = Path(__file__).parent.parent / "docs" / "static" / "picture.png"
_GRID = 200


def problem(n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Bishop 1994, Mixture density networks: x = y + 0.3 sin 2πy + noise, asked for y."""
    rng = np.random.RandomState(0)
    y = rng.rand(n)
    return (y + 0.3 * np.sin(2 * np.pi * y) + 0.1 * (rng.rand(n) - 0.5))[:, None], y


def main() -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from sklearn.neural_network import MLPRegressor

    from emnet import MixtureOfExpertsRegressor

    x, y = problem()
    model = MixtureOfExpertsRegressor(5, n_init=10, random_state=0).fit(x, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = MLPRegressor(
            hidden_layer_sizes=(10,), activation="tanh", solver="lbfgs", max_iter=2000, random_state=0
        ).fit(x, y)
    across, up = np.linspace(-0.05, 1.05, _GRID), np.linspace(-0.05, 1.05, _GRID)
    pairs = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    density = np.exp(model.log_density(pairs[:, :1], pairs[:, 1])).reshape(_GRID, _GRID)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True, layout="constrained")
    for axis in axes:
        axis.scatter(x[::3, 0], y[::3], s=4, color="0.55", linewidth=0)
        axis.set(xlabel="x", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    axes[0].plot(across, network.predict(across[:, None]), color="#c1440e", linewidth=2)
    axes[0].set(title="back-propagation: one answer, the mean of all", ylabel="y")
    axes[1].contourf(across, up, density, levels=np.linspace(0.3, 6, 12), cmap="Blues", extend="max", zorder=0)
    axes[1].set(title="EM: p(y | x), a mixture of five linear experts")
    for axis in axes:
        axis.title.set_fontsize(10)
    figure.savefig(_FILE, dpi=110)
    size, density = _FILE.stat().st_size / 1000, model.log_density(x, y).mean()
    print(f"{_FILE.name}: {size:.0f} kB; {len(y)} rows, log density {density:.2f} nats a row")


if __name__ == "__main__":
    main()
