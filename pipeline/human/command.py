"""`wit human SET [--serve]`: ask people, or report what they have answered."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from dataset.display import escaped_json, say
from pipeline.config_errors import ConfigError
from pipeline.human import report
from pipeline.human.answers import Answers
from pipeline.human.questions import Questions, questions_of
from pipeline.training.examine import rows_of
from train.evaluate.results.row import Row
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def human(arguments: argparse.Namespace) -> int:
    """Serve the test until Ctrl-C, or print the report. Raises ConfigError."""
    if arguments.questions < 1 or not 0 < arguments.interval < 1:
        raise ConfigError("--questions must be at least 1, and --interval a share between 0 and 1")
    try:
        what = open_set(arguments.dir)
        questions = questions_of(what, arguments.questions, arguments.seed)
    except SetError as error:
        raise ConfigError(str(error)) from None
    file = arguments.answers or f"human-{what.name}.duckdb"
    if arguments.serve:
        return serve(questions, file, arguments.host, arguments.port, arguments.name)
    answers = Answers(file, questions, read_only=True)
    try:
        said = answers.all()
    finally:
        answers.close()
    if not said:
        raise ConfigError(f"{file} has no answers yet; `wit human {arguments.dir} --serve` asks people")
    figures = report.report(said, questions.classes, _model(arguments.model, what.name), arguments.interval)
    if arguments.format == "json":
        print(escaped_json(json.dumps(figures)))
    else:
        say(report.as_text(figures))
    return 0


def serve(questions: Questions, file: str, host: str, port: int, names: Sequence[str] = ()) -> int:
    """Ask people until the process is stopped. Raises ConfigError if the address cannot be listened at."""
    import asyncio

    from aiohttp import web

    from pipeline.human.server import application

    folder = Path(file).absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"--answers cannot be written: there is no folder {folder}")
    answers = Answers(file, questions)

    async def work() -> None:
        runner = web.AppRunner(application(questions, answers, (host, *names)), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        for address in runner.addresses:
            name = f"[{address[0]}]" if ":" in address[0] else address[0]
            print(f"http://{name}:{address[1]}/  (Ctrl-C ends it)", flush=True)
        if host not in LOOPBACK:
            say("whoever reaches this machine can answer, without encryption; put HTTPS in front of it", to_errors=True)
        try:
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    try:
        asyncio.run(work())
    except OSError as error:
        why = error.strerror or error
        raise ConfigError(f"{host}:{port} cannot be listened at: {why}; give another --port") from None
    finally:
        answers.close()
    return 0


def _model(place: str | None, name: str) -> Row | None:
    """The zero-shot row of a set in what `wit eval` found. Raises ConfigError if there is none."""
    if place is None:
        return None
    for row in rows_of(place):
        if row.dataset == name and row.task == "zero_shot":
            return row
    raise ConfigError(f"{place} has no zero-shot figures of {name}; `wit eval {place} --tasks {name}` makes them")
