"""`wit eval`: what may be asked of it, what it prints, and what it keeps in the run's folder.

Usage errors are told before torch is imported.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from dataset.display import escaped_json, say
from dataset.layout import INDEX_PARTS
from dataset.store.storage import Storage
from dataset.webdataset.index_parts import has_index
from pipeline.config_errors import ConfigError
from pipeline.config_files import read_yaml
from pipeline.engine.progress import Bars
from pipeline.training.commands import held_out_dataset, run_of
from train.evaluate import registry

if TYPE_CHECKING:
    from train.evaluate.results.row import Row

EVALUATION = "evaluation.json"
"""The file in a run's folder with a figure a line, of zero-shot and of held-out retrieval, which report and
model card read.
"""
EXAMINATION = "examination.json"
"""The file in a run's folder with all rows, as --format json prints them."""
HELD_OUT_PAIRS = 500
_FEATURES = "features"
_MODELS = "open_clip:"  # train.evaluate.encoders', which needs torch


def evaluate(arguments: argparse.Namespace) -> int:
    """Examine a model, print or write the figures, and keep them in the run's folder. Raises ConfigError."""
    is_named = arguments.checkpoint.startswith(_MODELS) or (Path(arguments.checkpoint) / "config.json").is_file()
    run = None if is_named else run_of(arguments.checkpoint)
    wanted = _evaluator_options(arguments.evaluators)
    for place in (*arguments.tasks, *arguments.in_distribution):
        if not Path(place).exists():
            raise ConfigError(f"there is no task directory {place}")
    for option in ("references", "hierarchy"):
        if getattr(arguments, option) and not Path(getattr(arguments, option)).is_file():
            raise ConfigError(f"there is no file {getattr(arguments, option)}, which --{option} names")
    if arguments.output and not Path(arguments.output).parent.is_dir():
        raise ConfigError(f"--output cannot be written: there is no folder {Path(arguments.output).parent}")
    if arguments.format in ("parquet", "html") and not arguments.output:
        raise ConfigError(f"--format {arguments.format} needs --output FILE")
    if (arguments.pairs is not None and arguments.pairs < 2) or arguments.batch_size < 1:
        raise ConfigError("--pairs must be at least 2, and --batch-size at least 1")
    if "bias" in wanted and not arguments.acknowledge_bias:
        raise ConfigError(
            "the evaluator bias asks a model about people's looks: read in docs/evaluation.md what its figures cannot "
            "show, and give --acknowledge-bias"
        )
    dataset = arguments.dataset
    if dataset is None and run is not None:
        dataset = held_out_dataset(run)
    elif dataset is not None and not has_index(Storage(dataset)):
        raise ConfigError(f"{dataset} has no {INDEX_PARTS}, and so no held-out pairs; `wit run` makes a dataset")
    if not arguments.tasks and dataset is None:
        raise ConfigError("nothing to examine on: give --tasks DIR (folders of class folders) or --dataset OUT")
    rows = _examine_encoders(arguments, wanted, dataset, run)
    if run is not None:
        _keep(run, arguments.checkpoint, rows)
    return _print_rows(rows, arguments.format, arguments.output)


def _evaluator_options(names: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """{evaluator: its options} of names, or of a YAML; empty where all that the data allows is wanted."""
    if names is None:
        return {}
    if len(names) == 1 and names[0].endswith((".yaml", ".yml")):
        raw = read_yaml(names[0])
        if wrong := [name for name, options in raw.items() if not isinstance(options, (dict, type(None)))]:
            raise ConfigError(f"{names[0]}: {wrong[0]} must be a mapping of options to values, or empty")
        wanted = {str(name): dict(options or {}) for name, options in raw.items()}
    else:
        wanted = {name: {} for name in names}
    if not wanted:
        raise ConfigError(f"--evaluators names none; the evaluators are {', '.join(registry.names())}")
    try:
        registry.check(list(wanted))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return wanted


def _examine_encoders(
    arguments: argparse.Namespace,
    wanted: Mapping[str, Mapping[str, Any]],
    dataset: str | None,
    run: Storage | None,
) -> list[Row]:
    from train.evaluate.encoders import open_encoder
    from train.evaluate.examine import Examination, examine
    from train.evaluate.features import default_folder
    from train.evaluate.sets.open import open_set

    try:
        options = {name: dict(wanted.get(name, {})) for name in wanted or registry.names()}
        if arguments.pairs is not None and "retrieval" in options:
            options["retrieval"].setdefault("pairs", arguments.pairs)
        evaluators = registry.evaluators(options)
        sets = [open_set(task) for task in arguments.tasks]
        shared = {
            "in_distribution": [open_set(place) for place in arguments.in_distribution],
            "references": arguments.references,
            "hierarchy": arguments.hierarchy,
            "seed": arguments.seed,
        }
        examination = Examination(
            arguments.checkpoint,
            sets,
            evaluators,
            dataset,
            HELD_OUT_PAIRS if arguments.pairs is None else arguments.pairs,
            not arguments.no_baseline,
            arguments.seed,
            shared,
            bool(wanted),
            lambda sentence: say(sentence, to_errors=True),
        )
        encoder = open_encoder(
            arguments.checkpoint, arguments.device, arguments.batch_size, arguments.weights, arguments.seed
        )
        default = Path(run.path(_FEATURES)) if run is not None and run.local else default_folder()
        folder = Path(arguments.features) if arguments.features else default
        with EncodingProgress() as progress:
            return examine(encoder, examination, folder, progress.update)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error


def _keep(run: Storage, checkpoint: str, rows: Sequence[Row]) -> None:
    """Add the rows to those that the run has, in place of older ones of the same set and evaluator."""
    from train.checkpoints.checkpoint import about, find
    from train.evaluate.results.flat import results
    from train.logs.log import add_evaluation

    flat = results(rows)
    for name, content, keys in (
        (EVALUATION, flat, ("task", "metric")),
        (EXAMINATION, [row.to_dict() for row in rows], ("dataset", "task")),
    ):
        known = json.loads(run.read(name)) if run.exists(name) else []
        new = {tuple(row[key] for key in keys) for row in content}  # type: ignore[literal-required,index]
        kept = [row for row in known if tuple(row[key] for key in keys) not in new]
        if content:
            run.write(name, json.dumps([*kept, *content], indent=1).encode())
    if flat:
        add_evaluation(run, about(*find(checkpoint))["step"], flat)


def _print_rows(rows: Sequence[Row], form: str, output: str | None) -> int:
    """Print the rows, or write them."""
    from train.evaluate.results.formats import clip_benchmark_files, format_rows

    if form == "clip-benchmark" and output and Path(output).is_dir():
        for name, data in clip_benchmark_files(rows).items():
            (Path(output) / name).write_bytes(data)
        say(output)
        return 0
    if form == "html":
        from pipeline.training.page import page

        content = page(rows)
    else:
        content = format_rows(rows, form)
    if output:
        Path(output).write_bytes(content)
        say(output)
    elif form == "table":
        say(content.decode().rstrip("\n"))
    else:
        print(content.decode().rstrip("\n"))
    return 0


def compare(examined: Sequence[str], form: str) -> int:
    """Say which differences between examined models are more than noise. Raises ConfigError."""
    from train.evaluate.results.compare import compare as differences
    from train.evaluate.results.compare import format_table

    if len(examined) < 2:
        raise ConfigError("wit compare takes two runs or files, or more: the first is what the others are held against")
    differing, notes = differences([(place, rows_of(place)) for place in examined])
    if form == "json":
        print(escaped_json(json.dumps({"differences": [each.to_dict() for each in differing], "notes": notes})))
    else:
        say(format_table(differing, notes))
    return 0


def rows_of(place: str) -> list[Row]:
    """Return the rows of a run, or of a file of `wit eval --format json`. Raises ConfigError."""
    from train.evaluate.results.row import Row

    folder, _, file = place.rstrip("/").rpartition("/")
    source, name = (Storage(folder or "."), file) if place.endswith(".json") else (Storage(place), EXAMINATION)
    if not source.exists(name):
        raise ConfigError(
            f"there is no {source.url_of(name)}; `wit eval` examines a run, and --format json writes a file"
        )
    try:
        raw = json.loads(source.read(name))
        if not isinstance(raw, list):
            raise ValueError("it is not what `wit eval --format json` writes")
        return [Row.from_dict(row) for row in raw]
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source.url_of(name)} cannot be compared: {error}") from None


class EncodingProgress(Bars):
    """How many images or captions are encoded, and how many a second, on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console or Console(stderr=True))
        self._began = time.monotonic()

    def update(self, what: str, done: int, total: int) -> None:
        """Show how many of a set are encoded."""
        rate = f"{done / max(1e-9, time.monotonic() - self._began):,.0f} a second"
        if self.show(what, done, total, rate) or (done == total and not self.is_on_terminal):
            say(f"{what}: {done:,} of {total:,} encoded, {rate}", to_errors=True)
        if done == total:
            self._began = time.monotonic()
