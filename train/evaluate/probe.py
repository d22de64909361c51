"""Logistic regression on features, as CLIP's linear probes are fitted (Radford et al. 2021, A.3), by L-BFGS.

What is minimised is the sum of the cross entropies, and λ/2 times the squared weights without the biases:
scikit-learn's
LogisticRegression has C = 1/λ. λ is looked for among 96 logarithmic steps of [1e-6, 1e6], eight a decade: first at each
second decade, then at half the distance on both sides of the best, until neighbouring steps are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import minimize

MAX_ITERATIONS = 1000
SWEEP_TOLERANCE = 1e-4
"""The tolerance of a fit that only chooses λ."""
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
        """Return the scores, (n, classes), of which the greatest is the answer."""
        scores: np.ndarray = features.astype(np.float64) @ self.weights.T + self.biases
        return scores

    def score(self, features: np.ndarray, labels: np.ndarray) -> Score:
        """Return how good it is on validation."""
        scores = self.scores(features)
        top = scores.max(1)
        log_sum = top + np.log(np.exp(scores - top[:, None]).sum(1))
        sure = float((scores[np.arange(len(labels)), labels] - log_sum).mean())
        return float((scores.argmax(1) == labels).mean()), sure


def lambda_of(step: int) -> float:
    """Return the λ of a step, from 0 to STEPS."""
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
    """Fit a classifier: on the CPU by scipy's L-BFGS, on a GPU by torch's; the minimum is the same.

    Args:
        strength: λ.
        start: where to begin; the objective is convex, so the minimum is the same from anywhere.
        tolerance: the largest gradient of the mean over samples at which it ends; scikit-learn's is 1e-4.
    """
    # The biases are free, so the least is the same about the mean, where L-BFGS reaches it in a tenth of the steps.
    middle = features.mean(0, dtype=np.float64)
    inputs = features - middle
    begin = np.zeros((classes, features.shape[1] + 1))
    if start is not None:
        begin[:, :-1], begin[:, -1] = start.weights, start.biases + start.weights @ middle
    solve = _fit_by_scipy if device == "cpu" else partial(_fit_by_torch, device=device)
    solution, loss, iterations = solve(inputs, labels.astype(np.int64), begin, strength, tolerance)
    weights, biases = solution[:, :-1], solution[:, -1]
    return Probe(weights, biases - weights @ middle, loss * max(1, len(labels)), iterations)


Solution = tuple[np.ndarray, float, int]
"""Weights with the biases as a last column, the mean objective, iterations."""


def _fit_by_scipy(
    inputs: np.ndarray, labels: np.ndarray, begin: np.ndarray, strength: float, tolerance: float
) -> Solution:
    """The least from `begin` on, on the CPU; arguments are those of `fit`, the inputs without their mean."""
    count, rows = max(1, len(labels)), np.arange(len(labels))

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        """(the mean over samples, for steps of a size that does not hang on how many there are; its gradient)."""
        point = flat.reshape(begin.shape)
        weights = point[:, :-1]
        scores = inputs @ weights.T + point[:, -1]
        of_answer, top = scores[rows, labels], scores.max(1, keepdims=True)
        chances = np.exp(scores - top, out=scores)
        total = chances.sum(1, keepdims=True)
        entropy = float((np.log(total) + top).sum() - of_answer.sum())
        chances /= total
        chances[rows, labels] -= 1
        gradient = np.empty_like(point)
        gradient[:, :-1] = chances.T @ inputs + strength * weights
        gradient[:, -1] = chances.sum(0)
        return (entropy + 0.5 * strength * float((weights * weights).sum())) / count, gradient.ravel() / count

    solution = minimize(
        objective,
        begin.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "gtol": tolerance, "ftol": 1e-14},
    )
    return solution.x.reshape(begin.shape), float(solution.fun), int(solution.nit)


def _fit_by_torch(
    inputs: np.ndarray, labels: np.ndarray, begin: np.ndarray, strength: float, tolerance: float, device: str
) -> Solution:
    """Fit as `_fit_by_scipy` does, on a device of torch's."""
    import torch

    seen = torch.as_tensor(inputs, dtype=torch.float64, device=device)
    answers = torch.as_tensor(labels, device=device)
    point = torch.as_tensor(begin, dtype=torch.float64).to(device, copy=True).requires_grad_()
    count = max(1, len(labels))
    solver = torch.optim.LBFGS(
        [point],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-12,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        weights = point[:, :-1]
        entropy = torch.nn.functional.cross_entropy(seen @ weights.T + point[:, -1], answers, reduction="sum")
        loss = (entropy + 0.5 * strength * weights.square().sum()) / count
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    with torch.enable_grad():
        loss = float(closure())
    return point.detach().cpu().numpy(), loss, int(solver.state[point]["n_iter"])


def sweep(score: Callable[[float], Score]) -> tuple[int, dict[int, Score]]:
    """Return (the best step, the score of every step that was tried), coarse to fine; of equal scores the larger λ.

    Args:
        score: how good a λ is, on validation.
    """
    tried: dict[int, Score] = {}

    def best_of(steps: list[int]) -> int:
        for step in steps:
            if step not in tried:
                tried[step] = score(lambda_of(step))
        return max(tried, key=lambda step: (tried[step], step))

    # From the largest λ down: each fit begins where a simpler one ended.
    peak = best_of(list(range(STEPS, -1, -_COARSE)))
    gap = _COARSE // 2
    while gap:
        peak = best_of([step for step in (peak + gap, peak - gap) if 0 <= step <= STEPS])
        gap //= 2
    return peak, tried


def validation_rows(labels: np.ndarray, share: float = 0.2) -> np.ndarray:
    """Return which samples validate where a set has no such split: of each class every 1/share-th; bool (n,).

    A class of one sample trains.
    """
    every = round(1 / share)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_label = np.flatnonzero(labels == label)
        chosen[of_label[every - 1 :: every] if len(of_label) >= every else of_label[1:2]] = True
    return chosen
