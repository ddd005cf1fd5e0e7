"""The variational bound of the EM-MLP with independent units, by coordinate ascent.

For q(z) = Π_h Bernoulli(μ_h), with the softmax's normalizer bounded by Jensen's inequality (log concave),

    log p(y = i | x) ≥ Σ_h [μ_h a_h − softplus(a_h) + H(μ_h)] + v_i·(1, μ) − log Σ_r X_r,
    X_r = exp(v_r0) Π_h (1 − μ_h + μ_h e^{v_rh}),

and for one unit, with the last term bounded again by its tangent, the maximum is at

    logit μ_h = a_h + v_ih − Σ_r ρ_r (e^{v_rh} − 1) / (1 − μ_h + μ_h e^{v_rh}),    ρ = X / Σ X at the present μ.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from emnet.kernels.logistic import softplus
from emnet.kernels.normal_equations import solve

_LARGEST_ODDS = 500.0  # beyond it a probability is 0 or 1, and exponentials of it overflow


def coordinate_ascent(
    logits: Tensor, classes: Tensor, output: Tensor, *, tol: float, max_sweeps: int
) -> tuple[Tensor, Tensor]:
    """μ (n, m) and the bound (n,) of rows with those unit logits (n, m) and class indices (n,), in float64.

    `output` are the weights (g, 1 + m), biases first. A sweep goes once over the units, all rows at a time; it never
    lowers the bound. Ends when a sweep raises no row's bound by more than tol · (1 + |bound|).
    """
    logits, output = logits.double(), output.double()
    own = output[classes]
    odds = logits + own[:, 1:]
    value = _bound(logits, own, odds, output)
    for _ in range(max_sweeps):
        log_units = _log_unit_terms(odds, output)
        log_terms = output[:, 0] + log_units.sum(2)
        for h in range(logits.shape[1]):
            weight, old = output[:, 1 + h], log_units[:, :, h]
            pull = (log_terms.softmax(1) * ((weight - old).exp() - (-old).exp())).sum(1)
            odds[:, h] = (logits[:, h] + own[:, 1 + h] - pull).clamp(-_LARGEST_ODDS, _LARGEST_ODDS)
            log_terms += _log_unit_terms(odds[:, h, None], weight[:, None].expand(-1, 2))[:, :, 0] - old
        before, value = value, _bound(logits, own, odds, output)
        if bool((value - before <= tol * (1 + value.abs())).all()):
            break
    return odds.sigmoid(), value


def _log_unit_terms(odds: Tensor, output: Tensor) -> Tensor:
    """log (1 − μ_h + μ_h e^{v_rh}) from the log odds of μ: (n, m), (g, 1 + m) → (n, g, m)."""
    odds = odds[:, None, :]
    return softplus(odds + output[None, :, 1:]) - softplus(odds)


def _bound(logits: Tensor, own: Tensor, odds: Tensor, output: Tensor) -> Tensor:
    mean = odds.sigmoid()
    units = (mean * (logits - odds) - softplus(logits) + softplus(odds)).sum(1)
    log_terms = output[:, 0] + _log_unit_terms(odds, output).sum(2)
    return units + own[:, 0] + (own[:, 1:] * mean).sum(1) - log_terms.logsumexp(1)


@dataclass(frozen=True)
class FactorizedSoftmaxRegression:
    """The output's part of the bound, concave in v: `objective`, `gradient` and direction for `logistic.newton`."""

    mean: Tensor  # (n, m)
    target: Tensor  # (n, g): weight of the row times its distribution over the classes
    precision: Tensor  # (g, 1 + m)

    def objective(self, weights: Tensor) -> Tensor:
        linear = (self.target * (weights[:, 0] + self.mean @ weights[:, 1:].T)).sum()
        normalizer = (self.target.sum(1) * self._log_terms(weights).logsumexp(1)).sum()
        return (linear - normalizer - (self.precision * weights.square()).sum() / 2).view(1, 1)

    def gradient(self, weights: Tensor) -> Tensor:
        share, tilted = self._tilted(weights)
        expected = torch.einsum("nr,nrh->rh", share, tilted)
        given = torch.cat((torch.ones_like(self.mean[:, :1]), self.mean), dim=1)
        return self.target.T @ given - expected - self.precision * weights

    def newton_direction(self, weights: Tensor, gradient: Tensor) -> Tensor:
        g, p = weights.shape
        share, tilted = self._tilted(weights)
        mass = self.target.sum(1).clamp_min(torch.finfo(share.dtype).tiny)
        joint = (share[:, :, None] * tilted).flatten(1)
        hessian = -(joint / mass[:, None]).T @ joint
        blocks = hessian.view(g, p, g, p)
        for r in range(g):
            blocks[r, :, r] += (share[:, r, None] * tilted[:, r]).T @ tilted[:, r]
            blocks[r, :, r].diagonal().add_((share[:, r, None] * tilted[:, r] * (1 - tilted[:, r])).sum(0))
        return solve(hessian + torch.diag(self.precision.flatten()), gradient.reshape(-1, 1)).view(g, p)

    def _log_terms(self, weights: Tensor) -> Tensor:
        """log X_r: (n, g)."""
        off, on = torch.log1p(-self.mean), self.mean.log()
        return weights[:, 0] + torch.logaddexp(off[:, None, :], on[:, None, :] + weights[None, :, 1:]).sum(2)

    def largest_logit(self, weights: Tensor) -> float:
        return float((weights[:, 0] + self.mean @ weights[:, 1:].T).abs().max())

    def _tilted(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted ρ, (n, g), and the mean of (1, z) under class r's tilt of q, (n, g, 1 + m)."""
        share = self._log_terms(weights).softmax(1) * self.target.sum(1, keepdim=True)
        odds = torch.log(self.mean / (1 - self.mean))[:, None, :] + weights[None, :, 1:]
        tilted = odds.sigmoid()
        return share, torch.cat((torch.ones_like(tilted[..., :1]), tilted), dim=2)
