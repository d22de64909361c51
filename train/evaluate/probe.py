"""Logistic regression on features, as CLIP's linear probes are fitted (Radford et al. 2021, A.3): L-BFGS in torch.

Least is the sum of the cross entropies, and λ/2 times the squared weights without the biases: scikit-learn's
LogisticRegression has C = 1/λ. λ is looked for among 96 logarithmic steps of [1e-6, 1e6], eight a decade: first at each
second decade, then at half the distance on both sides of the best, until neighbouring steps are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

MAX_ITERATIONS = 1000
SWEEP_TOLERANCE = 1e-4
"""Of a fit that only chooses λ."""
STEPS = 96
_COARSE = 16
_LEAST, _MOST = -6.0, 6.0
Score = tuple[float, float]
"""Accuracy on validation, and, where that is equal, the mean log probability of the right classes."""


@dataclass(frozen=True)
class Probe:
    """A fitted classifier."""

    weights: np.ndarray  # float64 (classes, width)
    biases: np.ndarray  # float64 (classes,)
    loss: float  # what L-BFGS has brought down: the whole objective
    iterations: int

    def scores(self, features: np.ndarray) -> np.ndarray:
        """(n, classes): the greatest is the answer."""
        found: np.ndarray = features.astype(np.float64) @ self.weights.T + self.biases
        return found

    def score(self, features: np.ndarray, labels: np.ndarray) -> Score:
        """How good it is on validation."""
        scores = self.scores(features)
        top = scores.max(1)
        log_sum = top + np.log(np.exp(scores - top[:, None]).sum(1))
        sure = float((scores[np.arange(len(labels)), labels] - log_sum).mean())
        return float((scores.argmax(1) == labels).mean()), sure


def lambda_of(step: int) -> float:
    """The λ of a step, from 0 to STEPS."""
    return float(10 ** (_LEAST + (_MOST - _LEAST) * step / STEPS))


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    strength: float,
    start: Probe | None = None,
    device: str = "cpu",
    tolerance: float = 1e-7,
) -> Probe:
    """Fit a classifier.

    Args:
        strength: λ.
        start: where to begin; the least is the same from anywhere, for there is one.
        tolerance: the largest gradient of the mean over samples at which it ends; scikit-learn's is 1e-4.
    """
    inputs = torch.as_tensor(features, dtype=torch.float64, device=device)
    # The biases are free, so the least is the same about the mean, where L-BFGS reaches it in a tenth of the steps.
    middle = inputs.mean(0)
    inputs = inputs - middle
    answers = torch.as_tensor(labels, dtype=torch.int64, device=device)
    weights = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, device=device)
    biases = torch.zeros(classes, dtype=torch.float64, device=device)
    if start is not None:
        weights.copy_(torch.as_tensor(start.weights))
        biases.copy_(torch.as_tensor(start.biases).to(device) + weights @ middle)
    weights.requires_grad_()
    biases.requires_grad_()
    count = max(1, len(labels))
    solver = torch.optim.LBFGS(
        [weights, biases],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        """The mean over samples, for steps of a size that does not hang on how many there are."""
        entropy = torch.nn.functional.cross_entropy(inputs @ weights.T + biases, answers, reduction="sum")
        return (entropy + 0.5 * strength * weights.square().sum()) / count

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    iterations = int(solver.state[solver._params[0]]["n_iter"])
    with torch.no_grad():
        loss = float(objective()) * count
        biases -= weights @ middle
    return Probe(weights.detach().cpu().numpy(), biases.detach().cpu().numpy(), loss, iterations)


def sweep(score: Callable[[float], Score]) -> tuple[int, dict[int, Score]]:
    """(the best step, the score of every step that was tried), coarse to fine; of equal scores the larger λ.

    Args:
        score: how good a λ is, on validation.
    """
    tried: dict[int, Score] = {}

    def best(steps: list[int]) -> int:
        for step in steps:
            if step not in tried:
                tried[step] = score(lambda_of(step))
        return max(tried, key=lambda step: (tried[step], step))

    # From the largest λ down: each fit begins where a simpler one ended.
    peak = best(list(range(STEPS, -1, -_COARSE)))
    gap = _COARSE // 2
    while gap:
        peak = best([step for step in (peak + gap, peak - gap) if 0 <= step <= STEPS])
        gap //= 2
    return peak, tried


def validation_rows(labels: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Which samples validate where a set has no such split: of each class every 1/share-th; bool (n,).

    A class of one sample trains.
    """
    every = round(1 / share)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        chosen[own[every - 1 :: every] if len(own) >= every else own[1:2]] = True
    return chosen
