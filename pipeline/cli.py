"""The `wit` command: what each of its commands does, and what becomes of an error."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from dataset.display import clean, escaped_json, say
from dataset.stages import names
from pipeline import exit_status
from pipeline.arguments import parser, share
from pipeline.exit_status import DONE, FAILED, USAGE, UsageError, is_expected, is_usage, status_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SUFFIXES = {"markdown": "md", "table": "txt"}


class _CleanFormatter(logging.Formatter):
    """A log's line for people, who may read it on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return clean(super().format(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0 only if all that it says is done, 2 for a usage or config error."""
    arguments = parser().parse_args(argv)
    from dataset.query import arrow_alone  # `wit --help` needs none of their imports
    from pipeline import paths

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger().handlers[0].setFormatter(_CleanFormatter("%(message)s"))
    logging.getLogger("wit").setLevel(logging.INFO)
    try:
        with exit_status.ending_at_sigterm():
            paths.settle(arguments.command, arguments)
            arrow_alone.leave_pandas_out()
            return COMMANDS[arguments.command](arguments)
    except KeyboardInterrupt as error:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return status_of(error)
    except BrokenPipeError:
        sys.stderr.close()
        return DONE
    except Exception as error:
        if arguments.debug:
            say(traceback.format_exc(), to_errors=True)
        else:
            asked = arguments.out if arguments.command in exit_status.ASKING else None
            say(f"wit: {exit_status.sentence(error, asked)}", to_errors=True)
            if not is_usage(error) and not is_expected(error):
                print("     (--debug shows where it happened)", file=sys.stderr)
        return status_of(error)


def _no_subcommand(arguments: argparse.Namespace) -> int:
    raise UsageError("wit queries needs a command: wit queries build CONFIG")


def _run(arguments: argparse.Namespace) -> int:
    from pipeline.asking.answers import write_table
    from pipeline.config_files import read
    from pipeline.engine import unchanged

    began = time.monotonic()
    sample = None if arguments.sample is None else share(arguments.sample)
    keys = {"run.workers": arguments.workers, "run.address": arguments.address, "extract.sample": sample}
    overrides = [*arguments.set, *(f"{key}={value}" for key, value in keys.items() if value is not None)]
    raw = read(arguments.config, overrides, arguments.preset)
    out = str(arguments.out or raw.get("out") or "")
    is_plain = not (arguments.checksum or arguments.retry) and arguments.to == names()[-1]
    question = unchanged.inputs_digest(raw, out) if is_plain and out else None
    note = unchanged.read(out, question) if question else None
    if note is None:
        from pipeline.build import build_with_note

        config = arguments.config, arguments.out
        note, is_final = build_with_note(
            raw, *config, to=arguments.to, retry=arguments.retry, reread=arguments.checksum
        )
        if is_final and question and question == unchanged.inputs_digest(raw, out):
            unchanged.leave(out, question, note)
    else:
        for words in (*note.said, f"{out}: {unchanged.NOTHING}, {time.monotonic() - began:.1f} s"):
            say(words, to_errors=True)
    write_table(("stage", "input", "kept", "dropped"), note.funnel, sys.stdout)
    for error in note.errors:
        say(error)
    return DONE


def _new(arguments: argparse.Namespace) -> int:
    from pipeline.new_config import write

    say(write(arguments.name, arguments.like))
    return DONE


def _status(arguments: argparse.Namespace) -> int:
    import pyarrow as pa

    from pipeline.reports.status import status

    state = status(arguments.out)
    if arguments.format in (None, "table") and not arguments.output:
        say(state.as_text())
    else:
        _answer(_rows(pa.Table.from_pylist(state.as_rows())), arguments)
    return DONE


def _sql(arguments: argparse.Namespace) -> int:
    import duckdb

    from dataset.query.questions import NotAQuestionError
    from dataset.query.views import Dataset
    from pipeline.asking.interrupt import interruptible
    from pipeline.asking.shell import answer_all, has_commands, statements

    is_shell = arguments.query is None and not arguments.file and sys.stdin.isatty()
    query = "" if is_shell else _query(arguments)
    asked = Dataset(arguments.out, allow_files=arguments.allow_files, deep=arguments.deep, progress=is_shell)
    if is_shell:
        from pipeline.asking.shell import ask

        ask(asked)
        return DONE
    is_script = (
        arguments.query in (None, "-") and not (arguments.format or arguments.output) and len(statements(query)) > 1
    )
    if is_script or has_commands(query):
        return DONE if answer_all(asked, query) else USAGE
    try:
        interruptible(asked.connection, lambda: _answer(asked.answer(query), arguments))
    except NotAQuestionError as error:
        raise UsageError(f"{error}; --output FILE writes an answer to a file") from None
    except duckdb.PermissionException as error:
        raise UsageError(f"the query failed: {error}; --allow-files lets it read files of your own") from None
    except duckdb.Error as error:
        raise UsageError(f"the query failed: {error}") from error
    return DONE


def _query(arguments: argparse.Namespace) -> str:
    """The query: an argument, a file's text, or what standard input has."""
    if arguments.query not in (None, "-") and arguments.file:
        raise UsageError("wit sql takes a QUERY or --file FILE, not both")
    try:
        if arguments.file:
            return Path(arguments.file).read_text(encoding="utf-8-sig")
        if arguments.query not in (None, "-"):
            return str(arguments.query)
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{arguments.file or 'standard input'} is no text in UTF-8") from None


def _audit(arguments: argparse.Namespace) -> int:
    import duckdb

    from dataset.query.questions import NotAQuestionError
    from dataset.query.views import Dataset
    from pipeline.asking.interrupt import interruptible
    from pipeline.reports import audits

    if arguments.name is None and not arguments.all:
        say("\n".join(audits.describe_audits(arguments.audits, "--set ")))
        return DONE
    if arguments.all and (arguments.name or arguments.set or not arguments.output):
        raise UsageError("wit audit --all takes --output DIR, and neither a NAME nor --set")
    asked = Dataset(arguments.out)
    folder, form = arguments.output, arguments.format or "csv"
    for name in audits.list_audits(arguments.audits) if arguments.all else [arguments.name]:
        audit = audits.find(name, arguments.audits)
        values = audit.values(arguments.set)
        if arguments.all:
            arguments.format, arguments.output = form, str(Path(folder) / f"{name}.{_SUFFIXES.get(form, form)}")
        try:
            work = partial(lambda text, values: _answer(asked.answer(text, values), arguments), audit.text, values)
            interruptible(asked.connection, work)
        except (NotAQuestionError, duckdb.Error) as error:
            raise UsageError(f"the audit {name} failed: {error}") from error
    return DONE


def _verify(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from pipeline.engine.verify import verify

    verified = verify(arguments.out, deep=arguments.deep, repair=arguments.repair)
    if arguments.format == "json":
        print(escaped_json(json.dumps([asdict(damage) for damage in verified.damages])))
    else:
        for damage in verified.damages:
            say(f"{damage.file}: {damage.what} ({damage.phase})")
        how = "read" if arguments.deep else "looked at (--deep reads them)"
        state = f"{len(verified.damages):,} damaged" if verified.damages else "all whole"
        say(f"{arguments.out}: {verified.files:,} files of {verified.bytes:,} bytes {how}: {state}")
        if verified.damages:
            done = "what is damaged is taken away" if arguments.repair else "--repair takes away what is damaged"
            say(f"{done}; `wit run` with the same config then makes it anew, from what it was made of")
    return FAILED if verified.damages and not arguments.repair else DONE


def _balance(arguments: argparse.Namespace) -> int:
    from pipeline.reports.cap_curve import curve

    _answer(_rows(curve(arguments.out, arguments.caps, arguments.before)), arguments)
    return DONE


def _explain(arguments: argparse.Namespace) -> int:
    from pipeline.asking.explain import explain

    story = explain(arguments.out, arguments.which, arguments.most, exact=arguments.exact)
    if arguments.format == "json":
        print(escaped_json(json.dumps(story.as_rows(), default=str)))
    if not story:
        raise FileNotFoundError("; ".join(story.found_as.splitlines()))
    if arguments.format == "text":
        say(story.as_text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))
    return DONE


def _report(arguments: argparse.Namespace) -> int:
    from pipeline.reports.html import BLUR_ABOVE
    from pipeline.reports.report import write

    say(write(arguments.out, blur_above=None if arguments.show_unsafe else BLUR_ABOVE, own_audits=arguments.audits))
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
    if arguments.dry_run:
        figures = arguments.gpus, arguments.gpu_memory, arguments.rate
        return training.dry_run(source, raw, arguments.out, *figures)
    if arguments.show_batch:
        return training.show_batch(source, raw, arguments.show_batch)
    if arguments.overfit is not None:
        return training.overfit(source, raw, arguments.overfit)
    return training.train(source, raw, arguments.out)


def _eval(arguments: argparse.Namespace) -> int:
    from pipeline.training.examine import evaluate

    return evaluate(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from pipeline.training.examine import compare

    return compare(arguments.examined, arguments.format)


def _search(arguments: argparse.Namespace) -> int:
    from pipeline.examining import commands as examining

    table = examining.search(arguments)
    if table is not None:
        _answer(_rows(table), arguments)
    return DONE


def _why(arguments: argparse.Namespace) -> int:
    from pipeline.examining import commands as examining

    return examining.why(arguments)


def _call_module(place: str, name: str, arguments: argparse.Namespace) -> int:
    return int(getattr(import_module(place), name)(arguments))


def _experiment(arguments: argparse.Namespace) -> int:
    from pipeline.experiment.command import experiment

    return experiment(arguments.config, arguments.set, arguments.format)


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


def _plan(arguments: argparse.Namespace) -> int:
    from pipeline.forecast.command import plan

    say(plan(arguments))
    return DONE


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "queries": _no_subcommand,
    "run": _run,
    "new": _new,
    "plan": _plan,
    "status": _status,
    "sql": _sql,
    "audit": _audit,
    "verify": _verify,
    "balance": _balance,
    "explain": _explain,
    "report": _report,
    "sheet": _sheet,
    "overlap": _overlap,
    "queries build": _queries_build,
    "train": _train,
    "eval": _eval,
    "compare": _compare,
    "search": _search,
    "why": _why,
    "experiment": _experiment,
    "human": partial(_call_module, "pipeline.human.command", "human"),
    "lists": partial(_call_module, "pipeline.domain_lists.command", "lists"),
    "export": _export,
    "submit": _submit,
}
"""What each command does, by its name."""


def _rows(table: pa.Table) -> duckdb.DuckDBPyConnection:
    """A table of our own as an answer."""
    import duckdb

    return duckdb.connect().register("found", table).execute("FROM found")


def _answer(rows: duckdb.DuckDBPyConnection, arguments: argparse.Namespace) -> None:
    """Write what a connection answers to the query that it has run, in the form and to the file that are asked for."""
    from pipeline.asking import answers

    form = answers.form_of(arguments.format, arguments.output)
    try:
        answers.write(rows, form, arguments.output, inside=arguments.out, spreadsheet=arguments.spreadsheet)
    except answers.AnswerError as error:
        raise UsageError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
