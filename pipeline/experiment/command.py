"""`wit experiment CONFIG`: what is missing of it is done, and what was found is printed and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from dataset.display import escaped_json, say
from pipeline.experiment import report, run
from pipeline.experiment.config import read
from pipeline.training.commands import TrainingProgress


def experiment(path: str, overrides: Sequence[str], form: str) -> int:
    """Carry out an experiment. Raises ConfigError, TrainingError."""
    config = read(path, overrides)
    with TrainingProgress() as progress:

        def watch(model: run.Model) -> Callable[[dict[str, Any]], None]:
            say(str(model), to_errors=True)
            return progress.update if progress.is_on_terminal else (lambda record: None)

        results = run.carry_out(config, watch)
    what = report.findings(config, results)
    files = report.write(config, what)
    if form == "json":
        print(escaped_json(json.dumps({"sentences": what.sentences, "values": what.values, "files": files})))
    else:
        say(report.as_text(config, what))
        say("\n".join(files))
    return 0
