"""The `wit` command."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dataset.display import clean, escaped_json, no_formula, say
from dataset.schema import STAGES
from pipeline.reports.format import cell

DONE, FAILED, USAGE = 0, 1, 2


class UsageError(ValueError):
    """The command line cannot be carried out; the message is one sentence."""


class _CleanFormatter(logging.Formatter):
    """A log's line for people, who may read it on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return clean(super().format(record))


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: the lease is given back."""


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python lets nobody listen
        yield
        return
    mine = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() == mine:
            raise _TerminatedError
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a child that was forked ends as ever
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 only if the whole command did what it says, 2 for a usage or config
    error.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(_CleanFormatter("%(message)s"))
    logging.getLogger("wit").setLevel(logging.INFO)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        with _ended_by_sigterm():
            if command is not _no_subcommand:
                from pipeline.paths import settle

                settle(arguments.known_as, arguments)
            return command(arguments)
    except KeyboardInterrupt as error:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 143 if isinstance(error, _TerminatedError) else 130
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if arguments.debug:
            say(traceback.format_exc(), to_errors=True)
        else:
            say(f"wit: {_sentence(error)}", to_errors=True)
            if not _is_usage(error) and not _is_expected(error):
                print("     (--debug shows where it happened)", file=sys.stderr)
        return USAGE if _is_usage(error) else FAILED


def _is_usage(error: Exception) -> bool:
    from pipeline.config_errors import ConfigError

    # A file that is not there, or no folder, was named wrongly.
    return isinstance(error, (UsageError, ConfigError, FileNotFoundError, NotADirectoryError))


def _is_expected(error: Exception) -> bool:
    from dataset.commits import RecordError
    from dataset.faults import fault
    from dataset.lease import LeaseHeldError
    from dataset.storage import OutsideError

    told = isinstance(error, (LeaseHeldError, RecordError, OutsideError))
    return told or fault(error) is not None or fault(error.__cause__ or error) is not None


def _sentence(error: Exception) -> str:
    from dataset import faults

    if type(error).__name__ == "OutOfMemoryException":  # a task's is told with its partition
        return f"the query needs more memory than there is ({error}); ask for fewer columns or rows at once".replace(
            "\n", " "
        )
    text = faults.sentence(error) or " ".join(str(error).split())
    return text or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wit", description="Builds image-text datasets from web archives, audits them, and trains a CLIP on them."
    )
    # Stands before the command or after it. A command's own default would overwrite what stood before, so it has none.
    parser.set_defaults(debug=False)
    common = argparse.ArgumentParser(add_help=False)
    for each in (parser, common):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the whole trace of an error"
        )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str, **more: Any
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[common], **more)
        made.set_defaults(command=function, known_as=name)
        return made

    def formatted(made: argparse.ArgumentParser) -> None:
        made.add_argument("--format", choices=["table", "csv", "json"], default="table")
        made.add_argument(
            "--spreadsheet", action="store_true", help="CSV for a spreadsheet: what begins as a formula is made a text"
        )

    def settable(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, e.g. balance.cap=1000"
        )

    def weighted(made: argparse.ArgumentParser) -> None:
        made.add_argument(
            "--weights",
            choices=["auto", "model", "ema"],
            default="auto",
            help="the last step's, or their moving average; by default the average if the run kept one",
        )

    made = command("run", _run, "build or resume a dataset")
    made.add_argument("config", metavar="CONFIG", help="a YAML file, or the name of one in configs/, such as archive")
    made.add_argument("--out", metavar="URL", help="where the dataset goes; overrides the config's `out`")
    settable(made)
    made.add_argument(
        "--preset", action="append", default=[], metavar="NAME", help="lay a preset of configs/presets over the config"
    )
    made.add_argument(
        "--to", metavar="STAGE", choices=STAGES, default=STAGES[-1], help=f"stop after: {', '.join(STAGES)}"
    )
    made.add_argument("--retry", choices=["none", "transient"], help="fetch again what failed in a way that may pass")
    made.add_argument(
        "--checksum",
        action="store_true",
        help="read every source again, to notice one that changed and has its size and time of change still",
    )
    made.add_argument("--sample", metavar="SHARE", help="a cheap trial on a share of the pages, e.g. 0.1%% or 0.001")
    made.add_argument("--workers", type=int, help="CPUs to use, with Ray; 0 does one task after the other, without it")
    made.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    made = command("new", _new, "write a config to start from: every key, its default and what it means")
    made.add_argument("name", metavar="NAME", help="the new file, NAME.yaml, and what the run is called")
    made.add_argument(
        "--like", metavar="CONFIG", default="archive", help="which config it begins as; archive by default"
    )

    made = command("status", _status, "what is done, what is left, the funnel so far")
    made.add_argument("out", metavar="OUT")
    formatted(made)

    made = command("sql", _sql, "ask DuckDB about a dataset's views")
    made.add_argument("out", metavar="OUT")
    made.add_argument("query", metavar="QUERY")
    made.add_argument(
        "--deep", action="store_true", help="hold all that is read against its checksums, not 2 GiB of it"
    )
    formatted(made)

    made = command("audit", _audit, "run a named query of sql/audits; without NAME, list them")
    made.add_argument("out", metavar="OUT")
    made.add_argument("name", metavar="NAME", nargs="?")
    formatted(made)

    made = command("verify", _verify, "whether every file is what was committed; exit status 1 if one is not")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--deep", action="store_true", help="read every byte, not the files' lengths alone")
    made.add_argument("--repair", action="store_true", help="take away what is damaged: `wit run` makes it anew")
    made.add_argument("--format", choices=["table", "json"], default="table")

    made = command("balance", _balance, "what other caps would give, without writing anything")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--caps", type=_caps, required=True, metavar="N,N", help="pairs a query, e.g. 1000,5000,20000")
    made.add_argument(
        "--before",
        choices=["prebalance", "balance"],
        help="of all matched pairs, or of those that the filters left; by default the latter as soon as there are",
    )
    formatted(made)

    made = command("explain", _explain, "one pair's whole story, from the archive's byte to its shard or its reason")
    made.add_argument("out", metavar="OUT")
    made.add_argument("which", metavar="URL|PAIR_ID")
    made.add_argument("--format", choices=["text", "json"], default="text")

    made = command("report", _report, "write OUT/report.html: funnel, plots, sample galleries in one file")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--show-unsafe", action="store_true", help="do not blur the images of a high nsfw_probability")

    made = command("sheet", _sheet, "write OUT/decontamination.html: image pairs around decontaminate's threshold")
    made.add_argument("out", metavar="OUT")
    made.add_argument("--most", type=int, default=40, metavar="N", help="pairs on each side of a threshold")
    made.add_argument("--show-unsafe", action="store_true", help="as for wit report")

    made = command("overlap", _overlap, "what evaluation images in a dataset do to a checkpoint's accuracy")
    made.add_argument("checkpoint", metavar="CHECKPOINT", help="as for wit eval")
    made.add_argument("out", metavar="OUT", help="the dataset that it was trained on; the analysis goes to OUT/overlap")
    made.add_argument("--tasks", nargs="+", required=True, metavar="DIR", help="folders of class folders of images")
    made.add_argument("--detector", metavar="FILE", help="YAML with `decontaminate`; by default OUT's own config")
    made.add_argument("--max-hamming", type=int, metavar="BITS", help="of PDQ's 256, up to 31, instead of that")
    made.add_argument("--format", choices=["table", "json"], default="table")

    queries = command("queries", _no_subcommand, "the query list")
    below = queries.add_subparsers(title="commands", metavar="COMMAND")
    made = below.add_parser("build", help="build a query list", description="build a query list", parents=[common])
    made.set_defaults(command=_queries_build, known_as="queries build")
    made.add_argument("config", metavar="CONFIG")
    made.add_argument("--out", metavar="FILE", help="where the list goes (Parquet); overrides the config's `out`")
    settable(made)
    made.add_argument("--workers", type=int, help="CPUs that count dumps and pageviews; 0 counts in this process")
    made.add_argument("--address", help="a Ray cluster's address; by default Ray runs on this machine")

    made = command("train", _train, "train a CLIP on a dataset's shards; resumes by itself")
    made.add_argument("config", metavar="CONFIG", nargs="?")
    made.add_argument(
        "--from-open-clip",
        metavar="PARAMS",
        help="instead of CONFIG, the params.txt of a run of open_clip_train's; says what it could not carry over",
    )
    made.add_argument("--write-config", metavar="FILE", help="no run: write the config, overrides and all, as YAML")
    made.add_argument("--out", metavar="RUN", help="the run's folder; DATASET/runs/NAME by default")
    settable(made)
    made.add_argument(
        "--overfit",
        type=int,
        metavar="N",
        help="no run but a check: learn N samples by heart, and say why if that fails",
    )
    made.add_argument(
        "--show-batch", metavar="FILE", help="no run: write the first batch, as the model sees it, as HTML"
    )

    made = command("eval", _eval, "examine a checkpoint: zero-shot classification and retrieval")
    made.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a run's folder, a checkpoint file, or an exported folder"
    )
    made.add_argument("--tasks", nargs="*", default=[], metavar="DIR", help="folders of class folders of images")
    made.add_argument(
        "--dataset", metavar="OUT", help="dataset whose held-out pairs are retrieved; the run's own by default"
    )
    made.add_argument(
        "--pairs", type=int, default=500, metavar="N", help="how many held-out pairs retrieval chooses from"
    )
    made.add_argument("--format", choices=["table", "json"], default="table")
    weighted(made)

    made = command("export", _export, "write a checkpoint as a model that open_clip loads")
    made.add_argument("run", metavar="RUN")
    made.add_argument("dir", metavar="DIR")
    made.add_argument("--onnx", action="store_true", help="write both towers as ONNX too, checked against the model")
    made.add_argument("--hub", action="store_true", help="make DIR ready for the Hugging Face Hub: with a model card")
    weighted(made)

    made = command("submit", _submit, "run a wit command as a Ray job: wit submit -- wit run CONFIG")
    made.add_argument("--address", help="the cluster's job server; http://127.0.0.1:8265 by default")
    made.add_argument("--working-dir", help="what is sent to the cluster; the repo by default")
    made.add_argument("words", nargs=argparse.REMAINDER, metavar="-- wit ...")
    return parser


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise UsageError("wit queries needs a command: wit queries build CONFIG")


def _run(arguments: argparse.Namespace) -> int:
    from pipeline import config as configs
    from pipeline.build import build, retrying

    overrides = list(arguments.set)
    for key in ("workers", "address"):
        if getattr(arguments, key) is not None:
            overrides.append(f"run.{key}={getattr(arguments, key)}")
    if arguments.sample is not None:
        overrides.append(f"extract.sample={_share(arguments.sample)}")
    config = configs.load(arguments.config, overrides, arguments.out, arguments.preset)
    if arguments.retry:
        config = retrying(config, arguments.retry)
    build(config, to=arguments.to, reread_sources=arguments.checksum)
    from dataset.views import Dataset

    made = Dataset(config.out)
    _print(made.sql("SELECT stage, input, kept, dropped FROM funnel"), "table")
    for (error,) in made.sql("SELECT error FROM sources WHERE error IS NOT NULL").fetchall():
        say(error)
    return DONE


def _new(arguments: argparse.Namespace) -> int:
    from pipeline.new_config import write

    say(write(arguments.name, arguments.like))
    return DONE


def _share(text: str) -> float:
    """0.001 of `0.1%`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise UsageError(f"--sample takes a share such as 0.1% or 0.001, not {text!r}") from None


def _status(arguments: argparse.Namespace) -> int:
    from pipeline.reports.status import status

    found = status(arguments.out)
    if arguments.format == "json":
        print(json.dumps(found.as_rows()))
    elif arguments.format == "csv":
        _csv(list(found.as_rows()[0]), [list(row.values()) for row in found.as_rows()], arguments.spreadsheet)
    else:
        say(found.as_text())
    return DONE


def _sql(arguments: argparse.Namespace) -> int:
    import duckdb

    from dataset.sql import NotAQuestionError
    from dataset.views import Dataset

    try:
        relation = Dataset(arguments.out, deep=arguments.deep).sql(arguments.query)
        _print(relation, arguments.format, arguments.spreadsheet)
    except NotAQuestionError as error:
        raise UsageError(f"{error}; --format csv and a shell's > write the answer to a file") from None
    except duckdb.Error as error:
        raise UsageError(f"the query failed: {error}") from error
    return DONE


def _audit(arguments: argparse.Namespace) -> int:
    from dataset.views import Dataset
    from pipeline.reports import audits

    if arguments.name is None:
        for name, sentence in audits.available().items():
            print(f"{name:<28} {sentence}")
        return DONE
    query = audits.load(arguments.name)
    _print(Dataset(arguments.out).sql(query), arguments.format, arguments.spreadsheet)
    return DONE


def _verify(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.engine.verify import verify

    found = verify(arguments.out, deep=arguments.deep, repair=arguments.repair)
    if arguments.format == "json":
        print(escaped_json(json.dumps([asdict(damage) for damage in found.damages])))
    else:
        for damage in found.damages:
            say(f"{damage.file}: {damage.what} ({damage.phase})")
        how = "read" if arguments.deep else "looked at (--deep reads them)"
        state = f"{len(found.damages):,} damaged" if found.damages else "all whole"
        say(f"{arguments.out}: {found.files:,} files of {found.bytes:,} bytes {how}: {state}")
        if found.damages:
            done = "what is damaged is taken away" if arguments.repair else "--repair takes away what is damaged"
            say(f"{done}; `wit run` with the same config then makes it anew, from what it was made of")
    return FAILED if found.damages and not arguments.repair else DONE


def _caps(text: str) -> list[int]:
    try:
        return [int(item) for item in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers like 1000,5000,20000, not {text!r}") from None


def _balance(arguments: argparse.Namespace) -> int:
    import duckdb

    from pipeline.reports.cap_curve import curve

    _print(
        duckdb.from_arrow(curve(arguments.out, arguments.caps, arguments.before)),
        arguments.format,
        arguments.spreadsheet,
    )
    return DONE


def _explain(arguments: argparse.Namespace) -> int:
    from pipeline.reports.explain import explain

    stories = explain(arguments.out, arguments.which)
    if not stories:
        raise FileNotFoundError(
            f"{arguments.out} has no candidate with the URL or pair_id {arguments.which}; "
            "the URL must be written as in the view candidates"
        )
    if arguments.format == "json":
        print(json.dumps([story.as_dict() for story in stories], default=str))
    else:
        say("\n\n".join(story.as_text() for story in stories))
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.reports.html import BLUR_ABOVE
    from pipeline.reports.report import write

    say(write(arguments.out, blur_above=None if arguments.show_unsafe else BLUR_ABOVE))
    return DONE


def _sheet(arguments: argparse.Namespace) -> int:
    from pipeline.reports.decontamination_sheet import write
    from pipeline.reports.html import BLUR_ABOVE

    say(write(arguments.out, arguments.most, blur_above=None if arguments.show_unsafe else BLUR_ABOVE))
    return DONE


def _overlap(arguments: argparse.Namespace) -> int:
    from pipeline.reports.overlap import format_table, overlap

    rows = overlap(arguments.checkpoint, arguments.out, arguments.tasks, arguments.detector, arguments.max_hamming)
    say(escaped_json(json.dumps(rows)) if arguments.format == "json" else format_table(rows))
    return DONE


def _queries_build(arguments: argparse.Namespace) -> int:
    from pipeline.query_list.build import build_list

    build_list(arguments.config, arguments.set, arguments.out, arguments.workers, arguments.address)
    return DONE


def _train(arguments: argparse.Namespace) -> int:
    from pipeline.training import commands as training

    source = arguments.config or arguments.from_open_clip
    if not source or (arguments.config and arguments.from_open_clip):
        raise UsageError("wit train takes a CONFIG, or --from-open-clip PARAMS")
    read = training.raw_config if arguments.config else training.raw_config_of_open_clip
    raw = read(source, arguments.set)
    if arguments.write_config:
        return training.write_config(source, raw, arguments.write_config)
    if arguments.show_batch:
        return training.show_batch(source, raw, arguments.show_batch)
    if arguments.overfit is not None:
        return training.overfit(source, raw, arguments.overfit)
    return training.train(source, raw, arguments.out)


def _eval(arguments: argparse.Namespace) -> int:
    from pipeline.training.commands import evaluate

    form, weights = arguments.format, arguments.weights
    return evaluate(arguments.checkpoint, arguments.tasks, arguments.dataset, arguments.pairs, form, weights)


def _export(arguments: argparse.Namespace) -> int:
    from pipeline.training.commands import export

    return export(arguments.run, arguments.dir, arguments.weights, arguments.onnx, arguments.hub)


def _submit(arguments: argparse.Namespace) -> int:
    from pipeline.submit import submit

    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    if words[:1] != ["wit"] or len(words) < 2:
        raise UsageError(
            "wit submit takes a wit command after --, for example: wit submit -- wit run configs/archive.yaml"
        )
    return submit(words, arguments.address, arguments.working_dir)


def _print(relation: Any, form: str, spreadsheet: bool = False) -> None:
    """A relation as a table for people, CSV, or one JSON array of objects."""
    names = relation.columns
    if form == "table":
        from rich.console import Console
        from rich.table import Table

        rows = relation.fetchall()
        table = Table(box=None, pad_edge=False, header_style="bold")
        numeric = {name for i, name in enumerate(names) if any(isinstance(row[i], (int, float)) for row in rows[:50])}
        for name in names:
            table.add_column(clean(name), justify="right" if name in numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell(value) for value in row))
        # A terminal folds what does not fit; a file or a pipe gets every row on one line.
        console = Console(width=None if sys.stdout.isatty() else 100_000, highlight=False, markup=False)
        with console.capture() as captured:
            console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))
    elif form == "csv":
        _csv(names, relation.fetchall(), spreadsheet)
    else:
        rows = [dict(zip(names, row, strict=True)) for row in relation.fetchall()]
        print(escaped_json(json.dumps(rows, default=_json_value, ensure_ascii=False)))


def _json_value(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]], spreadsheet: bool = False) -> None:
    """The data as they are; for a spreadsheet, without formulas."""
    told = no_formula if spreadsheet else lambda value: value
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([told(name) for name in names])
    for row in rows:
        writer.writerow([told(_json_value(value) if isinstance(value, bytes) else value) for value in row])


if __name__ == "__main__":
    sys.exit(main())
