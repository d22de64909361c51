"""The section `evaluation`: how a model is examined while it is trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from dataset.config_check import require


@dataclass(frozen=True)
class EvaluationConfig:
    """What a model is examined on while it is trained, by what, and how often."""

    tasks: list[str] = field(default_factory=list)
    """Evaluation sets, of any form in docs/evaluation.md."""
    evaluators: list[str] = field(default_factory=list)
    """What examines it: zero_shot, linear_probe, …; none means zero_shot, and retrieval where there are captions.
    Retrieval also asks the dataset's own held-out pairs."""
    every: int = 0
    """Steps between two examinations; the last step has one wherever tasks or evaluators are named. 0: that one alone.
    What is found goes to RUN/evaluations.jsonl and TensorBoard; a failure is a line there and does not end the run."""

    def __post_init__(self) -> None:
        require(self.every >= 0, "every", "at least 0", self.every)
