"""The linear probe's sweep of λ beside scikit-learn's LogisticRegression over the same values, at equal accuracy.

python -m bench.probe [--samples N] [--width D] [--classes C]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.linear_model import LogisticRegression

from bench.record import print_record
from train.evaluate.probe import SWEEP_TOLERANCE, Probe, fit, lambda_of, sweep

TOLERANCE = 0.01
"""The difference of accuracy between two sweeps that may end at neighbouring steps."""


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, options.classes, 2 * options.samples)
    middles = rng.normal(size=(options.classes, options.width))
    features = (middles[labels] + 4 * rng.normal(size=(len(labels), options.width))).astype(np.float32)
    train, test = slice(0, options.samples), slice(options.samples, None)
    last: Probe | None = None

    def ours(strength: float) -> tuple[float, float]:
        nonlocal last
        last = fit(features[train], labels[train], options.classes, strength, last, tolerance=SWEEP_TOLERANCE)
        return last.score(features[test], labels[test])

    def theirs(strength: float) -> tuple[float, float]:
        model = LogisticRegression(C=1 / strength, max_iter=1000).fit(features[train].astype(float), labels[train])
        chances = model.predict_proba(features[test].astype(float))[np.arange(len(labels[test])), labels[test]]
        return float(model.score(features[test], labels[test])), float(np.log(np.maximum(chances, 1e-300)).mean())

    seconds, accuracy = {}, {}
    for name, score in (("ours", ours), ("peer", theirs)):
        began = time.process_time()
        step, tried = sweep(score)
        seconds[name], accuracy[name] = time.process_time() - began, tried[step][0]
        print(f"{name}: λ = {lambda_of(step):.3g}, accuracy {accuracy[name]:.4f}, {seconds[name]:.1f} CPU s")
    equal = abs(accuracy["ours"] - accuracy["peer"]) <= TOLERANCE
    print_record(
        {
            "bench": "probe",
            **seconds,
            "unit": "CPU s a sweep",
            "ratio": seconds["peer"] / seconds["ours"],
            "equal": equal,
        }
    )


if __name__ == "__main__":
    main()
