"""
Clusters of curved shapes: a neural mixture
===========================================

A Gaussian mixture knows ellipses. `NeuralMixture` has its mixture in the latent space of an autoencoder, and what is an
ellipse there may be curved here: p(x) = Σ_k w_k ∫ Normal(z; m_k, Σ_k) p(x | network(z)) dz.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits

from emnet import GaussianMixture, NeuralMixture

# %%
# Handwritten digits, without their labels
# ----------------------------------------
# Four kinds of digits, 8 × 8 pixels. An autoencoder is trained alone first; the likeliest of several mixtures of what
# its latent vectors are decoded to gives the first responsibilities; variational EM goes on with both. The networks
# learn by gradients, the mixture by closed M-steps.

digits = load_digits()
rows = np.isin(digits.target, (0, 1, 4, 9))
X, truth = digits.data[rows], digits.target[rows]
model = NeuralMixture(
    4, 10, encoder=(), decoder=(), standardize=False, likelihood="gaussian", pretraining=40, max_iter=5,
    mixture_starts=10, learning_rate=2e-3, random_state=0,
).fit(X)  # fmt: skip


# %%
# Against a mixture of the pixels
# -------------------------------
# Accuracy after the best matching of clusters and digits. The labels were seen here alone, and by no fit.


def accuracy(labels, k=4):
    """Share of rows whose cluster is matched with their digit."""
    counts = np.array([[np.sum((labels == c) & (truth == digit)) for digit in np.unique(truth)] for c in range(k)])
    return counts[linear_sum_assignment(-counts)].sum() / len(truth)


pixels = GaussianMixture(4, covariance_type="tied", prior="auto", random_state=0).fit(X)
print(f"mixture of pixels {accuracy(pixels.predict(X)):.1%}, neural mixture {accuracy(model.labels_):.1%}")

# %%
# What a cluster is
# -----------------
# The networks here are linear (`encoder=()`), which did best on these small images; widths such as `(128, 64)` make
# them curved. Each row of the figure is a cluster: its mean, decoded, and new digits drawn from it.

figure, axes = plt.subplots(4, 9, figsize=(8, 3.8), layout="constrained")
for k in range(4):
    images = [model.inverse_transform(model.means_[k][None])[0], *model.sample(8, component=k)]
    for axis, image in zip(axes[k], images, strict=True):
        axis.imshow(np.asarray(image, dtype=float).reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        axis.set(xticks=[], yticks=[])
    share = np.bincount(truth[model.labels_ == k], minlength=10)
    axes[k, 0].set_ylabel(f"{share.max() / share.sum():.0%} are {share.argmax()}", rotation=0, ha="right", va="center")
axes[0, 0].set_title("mean", fontsize=9)
axes[0, 4].set_title("drawn from the cluster", fontsize=9)
plt.show()
