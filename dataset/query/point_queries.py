"""Questions for one id: the views show ids as hexadecimal digits, by which no file can tell that it does not have one.

`SELECT … FROM pairs WHERE pair_id = '0f…'` is answered from the view over those rows alone that have the id in the
files' own bytes; and of an image, measures are looked up for that image alone. The condition stays where it was, so
that the answer is the same; only what is read differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import duckdb

from dataset.ledger.lookup import ROWS, Lookup, Partitions
from dataset.query import sql

_DIGITS = {"pair_id": 32, "url_id": 16, "sha256": 64, "pdq": 64}
_ASKS_FOR = re.compile(r"\b(?:url|page_url|host|pair_id|url_id|sha256|pdq)\b", re.IGNORECASE)
_BEHIND: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    # of a view: the tables that have the values, the columns of these that are narrowed always, and those that are
    # where the dataset has a table of its values: by itself DuckDB asks each file for them
    "candidates": (("_candidates",), ("pair_id",), ("url", "page_url", "host")),
    "matches": (("_candidates",), ("pair_id",), ()),
    "dropped": (("_candidates", "_pairs"), ("pair_id",), ("url", "host")),
    "images": (("_images",), ("sha256", "url_id", "pdq", "url", "host"), ()),
    "scores": (("_pairs",), ("pair_id",), ("url",)),
    "pairs": (("_samples",), ("pair_id", "sha256", "host"), ("url",)),
}
_THROUGH = {("pairs", "host"): {"_pairs": "host = {0}", "_samples": "url IN (SELECT url FROM _pairs)"}}
"""Where a table has no such column: the partitions of pairs, unlike the shards, each have few hosts."""
_BESIDE = {"images": {"_nsfw": "(partition, row) IN (SELECT partition, row FROM _images)"}}
"""What else is narrowed with a view."""
Narrow = Callable[[str, str, str], str | None]
"""The SELECT of a view over the rows alone whose column has a value, by these three; None: read the whole view."""


def narrow_tables(view: str, column: str, value: str, is_looked_up: bool) -> Mapping[str, str]:
    """Return the tables that need not be read whole where a column of a view is to have a value, each with the
    condition on its rows; none where there are none.

    Args:
        value: of an id, its hexadecimal digits.
        is_looked_up: whether it is known which partitions have the value.
    """
    tables, always, then = _BEHIND.get(view, ((), (), ()))
    if column not in always and not (is_looked_up and column in then):
        return {}
    if column in _DIGITS:
        wanted: Mapping[str, str] = dict.fromkeys(tables, _is_id(column, f"unhex({sql.literal(value)})"))
    else:
        through = _THROUGH.get((view, column)) or dict.fromkeys(tables, f"{column} = {{0}}")
        wanted = {table: where.format(sql.literal(value)) for table, where in through.items()}
    return {**wanted, **_BESIDE.get(view, {})}


def _is_id(column: str, value: str) -> str:
    """The condition that a column of ids is a value. DuckDB before 2.0 asks a Bloom filter for the digits that it shows
    of bytes instead of for the bytes (mended by its change 23829), and finds none; it does not ask it for a range.
    """
    return f"{column} BETWEEN {value} AND {value} AND (version() < 'v2' OR {column} = {value})"


def macro(view: str, select: str) -> str | None:
    """Return the statement that makes `FROM view('0f…')`: the view over the rows alone of a pair_id, for a DuckDB that
    nobody translates questions for; None where the view has no ids. Of an image the digits of its address count.

    select: the view's.
    """
    tables = _BEHIND.get(view, ((), (), ()))[0]
    if not tables:
        return None
    url_id = _is_id("url_id", "unhex(left(id, 16))")
    condition = url_id if view == "images" else _is_id("pair_id", "unhex(id)")
    wanted = {**dict.fromkeys(tables, condition), **_BESIDE.get(view, {})}
    if view == "scores":
        wanted["_images"] = url_id
    parts = ", ".join(f"{table} AS (SELECT * FROM temp.{table} WHERE {where})" for table, where in wanted.items())  # noqa: S608
    return f"CREATE OR REPLACE TEMP MACRO {view}(id) AS TABLE WITH {parts}\n{select.rstrip()}"


def places_of(lookup: Lookup, column: str, value: str) -> Partitions:
    """Return the partitions that have a value of a column; none, of columns that are not looked up."""
    if column in ("pair_id", "url_id"):
        return lookup.of_ids(value.ljust(32, "0"), value.ljust(32, "f"))
    for key in ROWS:
        if column == key:
            return lookup.places(key, [value])
    return {}


def narrow_query(connection: duckdb.DuckDBPyConnection, text: str, narrow: Narrow) -> tuple[str, str]:
    """Return a SELECT over the views, with each view that is asked for one value narrowed to it; and the same without
    these.

    Args:
        connection: whose parser reads the text; nothing is run.
        text: one statement.
    """
    if "'" not in text or not _ASKS_FOR.search(text):
        return text, text
    tree = json.loads(sql.parse_statement(connection, text))
    if any(name.startswith("_") or name in _BEHIND for name in _cte_names(tree)):
        return text, text
    raw = rest = text.encode()
    for start, end, instead in sorted(_narrower(tree, narrow), reverse=True):
        raw = raw[:start] + instead.encode() + raw[end:]
        rest = rest[:start] + rest[end:]
    return raw.decode(), rest.decode()


def _cte_names(node: Any) -> Iterator[str]:
    """What a statement itself gives names to by WITH, in lower case."""
    if isinstance(node, list):
        for item in node:
            yield from _cte_names(item)
    elif isinstance(node, dict):
        if "cte_map" in node:
            yield from (item["key"].lower() for item in node["cte_map"]["map"])
        for item in node.values():
            yield from _cte_names(item)


def _narrower(node: Any, narrow: Narrow) -> Iterator[tuple[int, int, str]]:
    """Return, for each view that can be narrowed, from which byte to which it is named, and what stands there
    instead.
    """
    if isinstance(node, list):
        for item in node:
            yield from _narrower(item, narrow)
    elif isinstance(node, dict):
        for item in node.values():
            yield from _narrower(item, narrow)
        table = node.get("from_table") or {}
        if node.get("type") != "SELECT_NODE" or table.get("type") != "BASE_TABLE" or table.get("schema_name"):
            return
        if table["sample"] or table["column_name_alias"]:
            return
        alias = table["alias"] or table["table_name"]
        for column, value in _equal(node.get("where_clause") or {}, alias):
            if select := narrow(table["table_name"].lower(), column, value):
                start = table["query_location"]
                yield start, start + table["query_location_length"], f"({select}\n) AS {sql.identifier(alias)}"
                return


def _equal(condition: Mapping[str, Any], alias: str) -> Iterator[tuple[str, str]]:
    """The columns that a condition wants to be one text, whatever else it wants; and that text."""
    if condition.get("type") == "CONJUNCTION_AND":
        for part in condition["children"]:
            yield from _equal(part, alias)
    elif condition.get("type") == "COMPARE_EQUAL":
        for of, value in ((condition["left"], condition["right"]), (condition["right"], condition["left"])):
            *table, column = (name.lower() for name in of.get("column_names") or [""])
            literal = value.get("literal", {}) if value.get("type") == "VALUE_CONSTANT" else {}
            if table not in ([], [alias.lower()]) or literal.get("kind") != "STRING":
                continue
            text = literal["text"]
            if column not in _DIGITS or re.fullmatch(rf"[0-9a-f]{{{_DIGITS[column]}}}", text):
                yield column, text
