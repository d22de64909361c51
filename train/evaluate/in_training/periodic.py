"""Examines the model every `evaluation.every` steps of a run, by the same evaluators as `wit eval`.

A set or evaluator that does not exist is told before the first step. What fails afterwards is a sentence in the log,
for a run may have cost more than its examination is worth: a set that has gone, an evaluator that cannot, a device
without memory for a batch. Only where the processes share one model (FSDP) a failure within it ends the run, since the
others would wait for it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from dataset.store.storage import Storage
from dataset.webdataset.index_parts import has_index
from train.checkpoints.load import Encoder
from train.config import TrainConfig
from train.distributed.processes import Processes, Stop
from train.evaluate.examine import held_out_row
from train.evaluate.held_out import held_out_ranks
from train.evaluate.in_training.config import EvaluationConfig
from train.evaluate.in_training.team import BATCH, StoppedError, Team, TeamFeatures
from train.evaluate.registry import Evaluator, evaluators
from train.evaluate.results.row import HELD_OUT, Row
from train.evaluate.sets import ImageSet
from train.evaluate.sets.open import open_set
from train.evaluate.view import View
from train.failure import sentence
from train.logs.log import Log, recorded_steps
from train.models.clip import Clip
from train.optimizers import MovingAverage

BY_DEFAULT = ("zero_shot", "retrieval")
"""What examines a model where `evaluators` names none: what learns nothing itself, and so takes little time."""
PAIRS = 500
"""Held-out pairs among which retrieval chooses."""


class Periodic:
    """The examinations of a run; every process makes one and calls the same methods.

    Args:
        average: is examined instead of the last step's weights, as `wit eval` does.
    Raises:
        ValueError: a set, an evaluator or the held-out pairs are not there, or do not fit each other.
    """

    def __init__(
        self,
        config: TrainConfig,
        clip: Clip,
        average: MovingAverage | None,
        run_dir: Storage,
        processes: Processes,
        stop: Stop,
        last_step: int,
    ):
        evaluation = config.evaluation
        self._every, self._last_step = evaluation.every, last_step
        self._clip, self._average, self._home = clip, average, run_dir
        self._processes, self._stop, self._in_shards = processes, stop, config.distributed.parallel == "fsdp"
        self._dataset, self._batch_size = config.dataset, config.training.batch_size
        self.is_wanted = bool(evaluation.tasks or evaluation.evaluators or evaluation.every)
        self._sets: list[ImageSet] = []
        self._evaluators: list[Evaluator] = []
        self._wants_held_out = False
        if self.is_wanted:
            self._open(evaluation)

    def _open(self, config: EvaluationConfig) -> None:
        if missing := [task for task in config.tasks if not Path(task).exists()]:
            raise ValueError(f"tasks must name evaluation sets that every process of the run sees; {missing[0]} is not")
        names = config.evaluators or list(BY_DEFAULT)
        if "bias" in names:
            raise ValueError("evaluators must not name bias, which `wit eval --acknowledge-bias` asks after training")
        self._evaluators = evaluators({name: {} for name in names})
        if self._processes.rank == 0:  # the others are told which images are theirs
            self._sets = [open_set(task) for task in config.tasks]
        can_retrieve = not self._dataset.endswith(".tar") and has_index(Storage(self._dataset))
        self._wants_held_out = "retrieval" in names and can_retrieve
        fit = {each.name for what in self._sets for each in self._evaluators if not self._refusal(each, what)}
        fit |= {"retrieval"} if self._wants_held_out else set()
        idle = [name for name in config.evaluators if name not in fit]
        if self._processes.rank == 0 and (idle or not fit):
            named = idle[0] if idle else " and ".join(BY_DEFAULT)
            raise ValueError(
                f"evaluators: {named} can examine none of {', '.join(config.tasks) or 'the tasks, for there are none'}"
            )

    def due(self, step: int) -> bool:
        """Return whether the model is examined after that step: every so many, and after the run's last."""
        return self.is_wanted and step > 0 and (step == self._last_step or bool(self._every and not step % self._every))

    def was_missed(self, step: int) -> bool:
        """Return whether the run goes on at a step after which the model was to be examined, and was not."""
        if not self.due(step):
            return False
        was = step in recorded_steps(self._home) if self._processes.rank == 0 else None
        return not self._processes.gather(was)[0]

    def examine(self, step: int, log: Log | None) -> None:
        """Examine the model, and have the log record what was found.

        Raises:
            Exception: what ends a run: another process has failed, or the log cannot be written.
        """
        with self._set_up_for_examining():
            encoder = Encoder(self._clip, str(self._processes.device), BATCH)
            encoder.autocast = True
            team = Team(encoder, self._processes, self._is_asked_to_stop, self._dataset, self._in_shards)
            rows: list[Row] = []
            failures: list[dict[str, str]] = []
            was_stopped = False

            def work() -> None:
                nonlocal was_stopped
                try:
                    for row in self._rows(TeamFeatures(team), failures):
                        rows.append(row)
                except StoppedError:
                    was_stopped = True

            team.together(work)
        if log is not None and not was_stopped:
            log.add_rows(step, step * self._batch_size, rows, failures)
            for row in rows:
                main = row.figures[row.main_metric]
                figure = "none" if main.value is None else f"{main.value:.4g}"
                print(f"step {step}: {row.dataset} {row.task} {row.main_metric} {figure}", file=sys.stderr, flush=True)
            for failure in failures:
                where = f"{failure['dataset']} {failure['task']}"
                print(f"step {step}: {where} was not examined: {failure['error']}", file=sys.stderr, flush=True)

    def _is_asked_to_stop(self) -> bool:
        return self._stop.asked

    def _rows(self, features: TeamFeatures, failures: list[dict[str, str]]) -> Iterator[Row]:
        shared: dict[str, Any] = {"seed": 0, "sets": self._sets}
        for what in self._sets:
            for each in self._evaluators:
                if self._refusal(each, what):
                    continue
                try:
                    yield each.module.evaluate(View(each.name, what, features, each.options, shared))
                except StoppedError:
                    raise
                except Exception as error:
                    self._tell(error, what.name, each.name, failures)
        if self._wants_held_out:
            try:
                ranks = held_out_ranks(features.encoder, self._dataset, PAIRS, features.held_out, features.texts)
                yield held_out_row(self._dataset, *ranks)
            except StoppedError:
                raise
            except Exception as error:
                self._tell(error, HELD_OUT, "retrieval", failures)

    def _tell(self, error: Exception, dataset: str, task: str, failures: list[dict[str, str]]) -> None:
        """Take a failure for a sentence, unless the run cannot go on."""
        if self._processes.count > 1 and (self._in_shards or self._processes.is_broken(error)):
            raise error
        failures.append({"dataset": dataset, "task": task, "error": sentence(error)})

    def _refusal(self, evaluator: Evaluator, what: ImageSet) -> str:
        return evaluator.module.refuses(what, {"seed": 0, "sets": self._sets})

    @contextlib.contextmanager
    def _set_up_for_examining(self) -> Iterator[None]:
        """Have the model, while the block runs, as `wit eval` would have it: its average weights, no dropout,
        nothing compiled.
        """
        model = self._clip.model
        modes = [(module, module.training) for module in model.modules()]
        shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
        with contextlib.ExitStack() as ends:
            ends.callback(_set_modes, modes)
            if self._average is not None:
                self._average.exchange()
                ends.callback(self._average.exchange)
            # The weights that FSDP has put together for a forward pass are of this examination.
            for module in shards:
                ends.callback(module.reshard)
            ends.enter_context(torch.compiler.set_stance("force_eager"))
            yield


def _set_modes(modes: list[tuple[nn.Module, bool]]) -> None:
    """Have each module train, or not, as it did: a locked tower does not."""
    for module, mode in modes:
        module.training = mode
