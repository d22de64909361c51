"""What a dataset may be asked: statements that answer, and temporary tables, views and macros that help to ask.

DuckDB's own parser says what kind each statement is, and its own tokens what it is made of. Two things go past the
kind: a WITH that writes is a SELECT to it, and so is a call of a function that runs a statement given as a text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import duckdb

_ANSWERS = (duckdb.StatementType.SELECT, duckdb.StatementType.MULTI)  # the latter is what a PIVOT is made into
_WRITES = frozenset(
    (
        *("ALTER", "ATTACH", "CALL", "COPY", "CREATE", "DELETE", "DETACH", "DROP", "EXPORT", "IMPORT", "INSERT"),
        *("INSTALL", "LOAD", "MERGE", "PRAGMA", "RESET", "SET", "TRUNCATE", "UPDATE", "VACUUM"),
    )
)
_ACTS = frozenset(
    (
        *("query", "json_execute_serialized_sql", "checkpoint", "force_checkpoint", "enable_logging"),
        *("disable_logging", "truncate_duckdb_logs", "enable_profiling", "disable_profiling"),
        *("create_external_resource", "destroy_external_resource", "register_external_resource"),
        *("register_external_resource_type", "deregister_external_resource"),
    )
)
"""Table functions that do more than answer, the first two whatever the text that they are given says."""
_TAKEN = """
    SELECT 1 FROM duckdb_functions() WHERE internal AND lower(function_name) = $1
    UNION ALL SELECT 1 FROM duckdb_views() WHERE internal AND lower(view_name) = $1
"""
"""Whether a name is DuckDB's own."""
_STRING, _NAME = re.compile(r"[eExX]?'"), re.compile(r"[eExX]?'\w*'\Z")
_TEMPORARY = ("TEMP", "TEMPORARY")
_MADE = ("TABLE", "VIEW", "MACRO", "FUNCTION")
_SHOWN = "SELECT name FROM (SHOW TABLES) WHERE NOT starts_with(name, '_')"
"""What SHOW TABLES answers: the views for people, and what the asker made; `FROM (SHOW TABLES)` has all, too."""
_CHANGES_NOTHING = "asking a dataset writes and changes nothing but temporary tables, views and macros"


class NotAQuestionError(ValueError):
    """A statement would do more than answer."""


@dataclass(frozen=True)
class Question:
    """One statement that may be run."""

    text: str
    makes: str | None = None  # the temporary table, view or macro that it makes; it has no other answer


@dataclass(frozen=True)
class _Token:
    text: str
    start: int  # in bytes
    quoted: bool = False

    @property
    def word(self) -> str:
        return self.text.upper()


def questions(connection: duckdb.DuckDBPyConnection, text: str, saved: Collection[str] = ()) -> list[Question]:
    """Return the statements of a text, none of which writes, changes a setting or reaches out.

    Args:
        connection: whose parser reads the text; nothing is run.
        text: one statement or several, parted by semicolons.
        saved: names, in lower case, that a temporary table or view may not take.

    Raises:
        NotAQuestionError: a statement does more than answer, or there is none.
        duckdb.ParserException: the text is no SQL.
    """
    parsed = [_question(connection, statement, saved) for statement in connection.extract_statements(text)]
    if not parsed:
        raise NotAQuestionError("there is no statement in it")
    return parsed


def names_in(text: str) -> str:
    """Return what a text may name: it without comments, and without strings that could be no name."""
    return " ".join(token.text for token in _tokens(text) if not _STRING.match(token.text) or _NAME.match(token.text))


def _question(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement, saved: Collection[str]) -> Question:
    tokens = list(_tokens(statement.query))
    first = tokens[0].word
    _check_tokens(tokens)
    if [token.word for token in tokens if token.text != ";"] == ["SHOW", "TABLES"]:
        return Question(_SHOWN)
    try:
        kind: duckdb.StatementType | None = statement.type
    except ValueError:  # one that DuckDB's Python has no name for, as UPDATE EXTENSIONS
        kind = None
    if kind == duckdb.StatementType.CREATE:
        name = _name_of_made(tokens, saved)
        if connection.execute(_TAKEN, [name.lower()]).fetchall():  # views would read it in place of DuckDB's
            raise NotAQuestionError(f"{name} is DuckDB's own; give yours another name")
        return Question(statement.query, name)
    if kind == duckdb.StatementType.EXPLAIN:
        inner = connection.extract_statements(_strip_explain(statement.query, tokens))
        if len(inner) == 1 and inner[0].type in _ANSWERS:
            return Question(statement.query)
        raise NotAQuestionError(f"only a SELECT is explained; {_CHANGES_NOTHING}")
    if kind not in _ANSWERS:
        raise NotAQuestionError(f"{first} does more than answer; {_CHANGES_NOTHING}")
    return Question(statement.query)


def _check_tokens(tokens: list[_Token]) -> None:
    """Raises NotAQuestionError: something within the statement acts, whatever the statement is."""
    for before, after in pairwise(tokens):
        if before.text == "(" and after.word in _WRITES and not after.quoted:
            raise NotAQuestionError(f"{after.word} within a statement does more than answer; {_CHANGES_NOTHING}")
        if after.text == "(" and before.text.lower() in _ACTS:
            raise NotAQuestionError(f"the function {before.text.lower()} does more than answer; {_CHANGES_NOTHING}")


def _name_of_made(tokens: list[_Token], saved: Collection[str]) -> str:
    words = [token.word for token in tokens]
    position = 3 if words[1:3] == ["OR", "REPLACE"] else 1
    if words[position] not in _TEMPORARY or words[position + 1] not in _MADE:
        raise NotAQuestionError(f"CREATE is for a TEMP TABLE, TEMP VIEW or TEMP MACRO here; {_CHANGES_NOTHING}")
    position += 5 if words[position + 2 : position + 5] == ["IF", "NOT", "EXISTS"] else 2
    end = next(
        (i for i in range(position, len(tokens)) if tokens[i].text in ("(", ";") or words[i] == "AS"), len(tokens)
    )
    name = tokens[end - 1].text
    if name.lower() in saved:
        raise NotAQuestionError(f"{name} is the dataset's own; give yours another name")
    return name


def _strip_explain(text: str, tokens: list[_Token]) -> str:
    """What stands behind EXPLAIN, ANALYZE and their options."""
    position = 1
    if tokens[position].word == "ANALYZE":
        position += 1
    if tokens[position].text == "(" and tokens[position + 1].word in (
        "ANALYZE",
        "FORMAT",
    ):  # else it is a SELECT in parentheses
        position = next(i for i in range(position, len(tokens)) if tokens[i].text == ")") + 1
    return text.encode()[tokens[position].start :].decode()


def _tokens(text: str) -> Iterator[_Token]:
    """DuckDB's tokens, names without their quotation marks, comments left out."""
    raw = text.encode()
    tokens = duckdb.tokenize(text)
    ends = [start for start, _ in tokens[1:]] + [len(raw)]
    for (start, kind), end in zip(tokens, ends, strict=True):
        if kind == duckdb.token_type.comment:
            continue
        written = raw[start:end].decode().strip()  # a token's end is the next one's beginning
        if kind == duckdb.token_type.identifier and written.startswith('"'):
            yield _Token(written[1:-1].replace('""', '"'), start, quoted=True)
        else:
            yield _Token(written, start)
