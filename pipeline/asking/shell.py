"""The shell of `wit sql`: statements that end in a semicolon, and a few commands that begin with a dot."""

from __future__ import annotations

import os
import pydoc
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dataset.display import clean, say
from dataset.query import sql
from dataset.query.questions import NotAQuestionError
from dataset.query.view_columns import VIEW_COLUMNS
from dataset.query.views import Dataset
from pipeline.asking import answers
from pipeline.asking.interrupt import interruptible
from pipeline.reports import audits

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.document import Document

COMMANDS = {
    ".help": "this list",
    ".views": "the dataset's views, each in a sentence; .views NAME its columns",
    ".audit": 'the named audits; .audit NAME name="a value" answers one',
    ".explain": ".explain URL|PAIR_ID|TEXT|FILE|… tells the whole story of what it is",
    ".open": ".open OTHER AS b has another dataset beside this one: FROM pairs a JOIN b.pairs USING (url)",
    ".output": ".output FILE writes the next answer to a file, in the form that its name ends in",
    ".quit": "as Ctrl-D",
}
_SHOWN = 1_000
_OPEN = re.compile(r"(.+?)\s+as\s+(\S+)", re.IGNORECASE)


class Shell:
    """What is done with what a person enters.

    Args:
        dataset: that is asked.
        show: what takes a text that is longer than the terminal.
    """

    def __init__(self, dataset: Dataset, show: Callable[[str], None] = pydoc.pager):
        self.dataset = dataset
        self._beside: dict[str, str] = {}
        self._show = show
        self._output: str | None = None  # where the next answer goes
        self.failed = False  # whether anything entered went wrong

    def enter(self, text: str) -> bool:
        """Answer a statement or command; false if it ends the shell. What goes wrong is said, and ends nothing."""
        text = text.strip()
        try:
            if text.startswith("."):
                return self._command(text)
            entered = statements(text)
            for statement in [text] if entered and self._output else entered:
                self._answer(statement)
        except KeyboardInterrupt:
            self.failed = True
            say("stopped", to_errors=True)
        except BrokenPipeError:  # whoever reads the answers has enough
            raise
        except NotAQuestionError as error:
            self.failed = True
            say(f"{error}; .output FILE writes an answer to a file", to_errors=True)
        except duckdb.PermissionException as error:
            self.failed = True
            say(f"{error}; `wit sql --allow-files` reads files of your own", to_errors=True)
        except (duckdb.Error, ValueError, OSError) as error:
            self.failed = True
            say(str(error), to_errors=True)
        return True

    def _command(self, text: str) -> bool:
        name, _, rest = text.rstrip(";").partition(" ")
        rest = rest.strip()
        if name in (".quit", ".exit"):
            return False
        if name == ".views":
            self._print(_views(rest.lower()))
        elif name == ".audit" and not rest:
            self._print("\n".join(audits.describe_audits()))
        elif name == ".audit":
            audit_name, *settings = shlex.split(rest)
            audit = audits.find(audit_name)
            self._answer(audit.text, audit.values(settings))
        elif name == ".explain" and rest:
            from pipeline.asking.explain import explain

            story = interruptible(self.dataset.connection, lambda: explain(self.dataset, rest))
            self._print(story.as_text(_width()))
        elif name == ".open":
            opened = _OPEN.fullmatch(rest)
            if opened is None:
                raise ValueError(f"{text}: it takes .open FOLDER AS NAME, such as .open out/other AS b")
            beside = {**self._beside, opened[2]: opened[1].strip("'\"")}
            self.dataset = self.dataset.with_beside(beside)
            self._beside = beside
            self._print(f"{opened[2]}.pairs and so on are of {beside[opened[2]]}; temporary tables were let go")
        elif name == ".output" and rest:
            self._output = rest
        else:
            self._print("\n".join(f"{command:<10} {meaning}" for command, meaning in COMMANDS.items()))
        return True

    def _answer(self, query: str, values: Mapping[str, object] | None = None) -> None:
        output, self._output = self._output, None
        if output is not None:
            form, inside = answers.form_of(None, output), [self.dataset.storage.url, *self._beside.values()]
            interruptible(
                self.dataset.connection,
                lambda: answers.write(self.dataset.answer(query, values), form, output, inside=inside),
            )
            return
        names, rows = interruptible(self.dataset.connection, lambda: _fetch_first(self.dataset.answer(query, values)))
        text = answers.as_table(names, rows[:_SHOWN], _width())
        more = f"\nthe first {_SHOWN:,} rows; .output FILE has all" if len(rows) > _SHOWN else ""
        self._print(text + more)

    def _print(self, text: str) -> None:
        lines = text.count("\n") + 1
        if sys.stdout.isatty() and lines >= shutil.get_terminal_size().lines:
            self._show(clean(text))
        else:
            say(text)

    def completions(self, before: str) -> list[str]:
        """Return what the word before the cursor may become."""
        if before.lstrip().startswith("."):
            name, space, start = before.lstrip().partition(" ")
            known: Iterable[str] = () if space else COMMANDS
            if space and name == ".audit":
                known = audits.list_audits()
            elif space and name == ".views":
                known = VIEW_COLUMNS
            return [word for word in known if word.startswith(start if space else name)]
        match = re.search(r"\w*$", before)
        start = match[0].lower() if match else ""
        if not start:
            return []
        return [word for word in self._words() if word.lower().startswith(start)]

    def _words(self) -> list[str]:
        """Views, their columns, keywords and functions, the likeliest first. No view is made for it."""
        rows = self.dataset.connection.execute(sql.load("asking/words")).fetchall()
        columns = (column for _, of_view in VIEW_COLUMNS.values() for column in of_view)
        return list(dict.fromkeys((*VIEW_COLUMNS, *columns, *(word for word, _ in rows))))


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _fetch_first(answer: duckdb.DuckDBPyConnection) -> tuple[list[str], list[tuple[object, ...]]]:
    return [column[0] for column in answer.description or ()], answer.fetchmany(_SHOWN + 1)


def _views(name: str) -> str:
    if name and name not in VIEW_COLUMNS:
        raise ValueError(f"there is no view {name}; .views lists them, and those of a dataset beside are the same")
    if not name:
        return "\n".join(f"{view:<12} {sentence}" for view, (sentence, _) in VIEW_COLUMNS.items())
    sentence, columns = VIEW_COLUMNS[name]
    return "\n".join([sentence, *(f"  {column:<24} {meaning}" for column, meaning in columns.items())])


def is_whole(text: str) -> bool:
    """Return whether Enter ends what is entered, and does not begin another line of it."""
    text = text.strip()
    if not text or text.startswith("."):
        return True
    tokens = _tokens(text)
    if not tokens:
        return not text.startswith("/*") or text.endswith("*/")
    return tokens[-1][1] == ";"


def statements(text: str) -> list[str]:
    """Return the statements of a text, each with its semicolon; comments alone are none."""
    data, texts, begin = text.encode(), [], 0
    ends = [position + 1 for position, first in _tokens(text) if first == ";"]
    for end in (*ends, len(data)):
        part, begin = data[begin:end].decode().strip(), end
        if any(first != ";" for _, first in _tokens(part)):
            texts.append(part)
    return texts


def _tokens(text: str) -> list[tuple[int, str]]:
    """Where each token begins, in bytes, and by which character; DuckDB's own lexer knows strings and comments."""
    data = text.encode(errors="replace")
    return [
        (position, chr(data[position]))
        for position, kind in duckdb.tokenize(data.decode())
        if kind != duckdb.token_type.comment
    ]


def has_commands(text: str) -> bool:
    """Return whether a text has lines that are the shell's commands, and no SQL."""
    return any(line.startswith(".") for line in text.splitlines())


def answer_all(dataset: Dataset, text: str) -> bool:
    """Answer a text's statements and commands, one after the other; whether all went well."""
    shell, waiting = Shell(dataset), ""
    for line in text.splitlines():
        waiting += f"{line}\n"
        if is_whole(waiting):
            entered, waiting = waiting, ""
            if not shell.enter(entered):
                return not shell.failed
    shell.enter(waiting)
    return not shell.failed


def ask(dataset: Dataset) -> None:
    """Talk to a person at a terminal until Ctrl-D."""
    shell = Shell(dataset)
    say(f"{dataset.storage.url}: statements end in a semicolon; .help lists commands, Ctrl-D ends")
    session = _session(shell)
    while True:
        try:
            if not shell.enter(session.prompt("wit> ")):
                return
        except KeyboardInterrupt:
            continue  # what was typed is let go
        except EOFError:
            return


def _session(shell: Shell) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.history import FileHistory, History, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    class Words(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
            before = document.text_before_cursor
            word = re.search(r"[.\w]*$" if before.lstrip().startswith(".") else r"\w*$", before)
            start = -len(word[0]) if word else 0
            for completion in shell.completions(before):
                yield Completion(completion, start)

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        if is_whole(event.current_buffer.text):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    history: History = InMemoryHistory()
    file = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "openwit" / "sql_history"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        history = FileHistory(str(file))
    except OSError:  # a home that is only read
        pass
    return PromptSession(
        history=history,
        completer=Words(),
        complete_while_typing=False,
        key_bindings=keys,
        multiline=True,
        prompt_continuation="...> ",
    )
