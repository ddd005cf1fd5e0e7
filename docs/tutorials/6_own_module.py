"""
Bring your own torch module
===========================

Any torch module can be a part of a model, and EM does the rest: the sum over what is hidden stays exact, and the module
learns by the gradient of Q, which is that of the evidence.
"""

import matplotlib.pyplot as plt
import numpy as np
from torch import nn

from emnet import EMMLPClassifier, MixtureOfExpertsRegressor

rng = np.random.RandomState(0)

# %%
# Below the bits
# --------------
# Two spirals. `hidden_network` ends in the logits of six bits, whose 64 configurations are summed exactly. A module is
# a pattern: every start has a copy with parameters drawn anew, so two fits with one seed agree bit for bit.

turn = rng.rand(300) * 3 * np.pi + 0.5
label = rng.randint(2, size=300)
spirals = np.stack((turn * np.cos(turn + np.pi * label), turn * np.sin(turn + np.pi * label)), 1) / 10
spirals += 0.02 * rng.randn(300, 2)
network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 16), nn.Tanh(), nn.Linear(16, 6))
plain = EMMLPClassifier(6, n_init=1, random_state=0).fit(spirals, label)
deep = EMMLPClassifier(6, hidden_network=network, prior=1e-3, n_init=1, max_iter=300, random_state=0).fit(
    spirals, label
)
print(f"linear bits {plain.score(spirals, label):.1%}, bits on a network {deep.score(spirals, label):.1%}")

# %%
# As an expert
# ------------
# One x, two answers: a curve and its mirror image, each with its own noise. Each expert is a copy of the module, the
# gate says how likely each is at x, and EM shares the rows out. The mean of both would be a line where no row is.

x = np.sort(rng.rand(400) * 4 - 2)
branch = rng.rand(400) < 0.35
y = np.where(branch, -1, 1) * (1 + np.sin(2 * x)) + np.where(branch, 0.25, 0.08) * rng.randn(400)
expert = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
experts = MixtureOfExpertsRegressor(2, expert=expert, n_init=2, tol=1e-4, random_state=0).fit(x[:, None], y)
found = experts.predict_distribution(x[:, None])
print("noise of the two experts:", np.sort(experts.noise_[:, 0]).round(2), "(0.08 and 0.25 were meant)")

# %%
# Both
# ----

figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), layout="constrained")
grid = np.stack(np.meshgrid(np.linspace(-1.1, 1.1, 120), np.linspace(-1.1, 1.1, 120)), -1).reshape(-1, 2)
for axis, model, title in zip(axes, (plain, deep), ("linear bits", "bits on a network"), strict=False):
    shades = model.predict_proba(grid)[:, 1].reshape(120, 120)
    axis.imshow(shades, extent=(-1.1, 1.1, -1.1, 1.1), origin="lower", cmap="RdBu", vmin=0, vmax=1, alpha=0.6)
    axis.scatter(*spirals.T, c=np.where(label, "#2166ac", "#b2182b"), s=6)
    axis.set(title=title, xticks=[], yticks=[])
axes[2].scatter(x, y, s=5, color="0.6", label="rows")
for k in range(2):
    middle, spread = found.expert_means[:, k], 2 * found.expert_sds[:, k]
    axes[2].plot(x, middle, color=f"C{k}", label=f"expert {k} ± 2 sd")
    axes[2].fill_between(x, middle - spread, middle + spread, color=f"C{k}", alpha=0.2, linewidth=0)
axes[2].plot(x, found.mean, color="k", linewidth=1, linestyle=":", label="mean of both")
axes[2].set(title="modules as experts", xlabel="x", ylabel="y")
axes[2].legend(fontsize=7)
plt.show()
