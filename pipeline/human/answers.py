"""People's answers in a DuckDB file: each is on the disk before the next question is shown.

Of a person there is a random number alone, and of it in the file a checksum, so that the file cannot be used to answer
in somebody's name.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from pipeline.config_errors import ConfigError
from pipeline.human.questions import Questions

MOST_PEOPLE = 100_000
UNKNOWN = -1
"""The answer "I don't know"."""


class Answer(NamedTuple):
    """What a person said of an image."""

    person: str
    shot: int
    image: str  # its name below the set's folder
    label: int
    answer: int  # the class, or UNKNOWN


class Answers:
    """The answers to some questions. To be closed.

    Raises:
        ConfigError: the file is another set's, or no DuckDB file, or a server holds it.
    """

    def __init__(self, file: str, questions: Questions, read_only: bool = False):
        self._lock = threading.Lock()
        if read_only and not Path(file).is_file():
            raise ConfigError(f"there is no {file}; `wit human SET --serve` asks people and writes their answers there")
        try:
            self._connection = duckdb.connect(file, read_only=read_only)
        except duckdb.Error as error:
            why = " ".join(str(error).split())[:200]
            raise ConfigError(f"{file} cannot be opened; does a server use it? ({why})") from None
        what = hashlib.sha256(repr([questions.set_name, list(questions.classes)]).encode()).hexdigest()
        try:
            if not read_only:
                self._make(what)
            rows = self._connection.execute("SELECT what FROM test").fetchall()
        except duckdb.Error:
            self._connection.close()
            raise ConfigError(f"{file} is not a file of answers; name another one by --answers") from None
        if rows != [(what,)]:
            self._connection.close()
            raise ConfigError(
                f"{file} has answers about another set than {questions.set_name}; name another file by --answers"
            )

    def _make(self, what: str) -> None:
        self._connection.execute("""
            CREATE TABLE IF NOT EXISTS test (what VARCHAR);
            CREATE TABLE IF NOT EXISTS people (person VARCHAR PRIMARY KEY);
            CREATE TABLE IF NOT EXISTS answers (
                person VARCHAR, shot INTEGER, image VARCHAR, label INTEGER, answer INTEGER, seconds DOUBLE,
                PRIMARY KEY (person, shot, image));
        """)
        self._connection.execute("INSERT INTO test SELECT ? WHERE NOT EXISTS (FROM test)", [what])

    def add_person(self, token: str) -> bool:
        """Take in a new person; False if there are too many."""
        with self._lock:
            (count,) = self._connection.execute("SELECT count(*) FROM people").fetchone() or (0,)
            if count >= MOST_PEOPLE:
                return False
            self._connection.execute("INSERT INTO people VALUES (?)", [person_of(token)])
            return True

    def is_known(self, token: str) -> bool:
        """Return whether a person has begun here."""
        with self._lock:
            rows = self._connection.execute("SELECT 1 FROM people WHERE person = ?", [person_of(token)])
            return rows.fetchone() is not None

    def add(self, answer: Answer, seconds: float) -> None:
        """Write an answer; it is on the disk when this returns. The first to a question counts."""
        with self._lock:
            self._connection.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", [*answer, seconds])

    def answered_by(self, person: str) -> set[tuple[int, str]]:
        """Return (shot, image) of all that a person has answered."""
        with self._lock:
            rows = self._connection.execute("SELECT shot, image FROM answers WHERE person = ?", [person])
            return {(shot, image) for shot, image in rows.fetchall()}

    def all(self) -> Sequence[Answer]:
        """Return every answer, in a fixed order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT person, shot, image, label, answer FROM answers ORDER BY shot, image, person"
            )
            return [Answer(*row) for row in rows.fetchall()]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()


def person_of(token: str) -> str:
    """Return what the file knows a person by."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]
