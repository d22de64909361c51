"""Questions for one id: the views show ids as hexadecimal digits, by which no file can tell that it does not have one.

`SELECT … FROM pairs WHERE pair_id = '0f…'` is answered from the view over those rows alone that have the id in the
files' own bytes; and of an image, measures are looked up for that image alone. The condition stays where it was, so
that the answer is the same; only what is read differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from dataset.query import sql

_DIGITS = {"pair_id": 32, "url_id": 16, "sha256": 64, "pdq": 64}
_ASKS_FOR = re.compile(r"\b(?:url|host|pair_id|url_id|sha256|pdq)\b", re.IGNORECASE)
_BEHIND: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    # of a view: the tables that have the values, and the columns of these
    "candidates": (("_candidates",), ("pair_id",)),
    "matches": (("_candidates",), ("pair_id",)),
    "dropped": (("_candidates", "_pairs"), ("pair_id",)),
    "images": (("_images",), ("sha256", "url_id", "pdq", "url", "host")),
    "scores": (("_pairs",), ("pair_id",)),
    "pairs": (("_samples",), ("pair_id", "sha256", "host")),
}
_THROUGH = {("pairs", "host"): "url IN (SELECT url FROM temp._pairs WHERE host = {0})"}
"""Where a table has no such column: the partitions of pairs, unlike the shards, each have few hosts."""
_BESIDE = {"images": "_nsfw AS (SELECT * FROM temp._nsfw SEMI JOIN _images USING (partition, row))"}
"""Of a view: what else is narrowed then."""


def narrowed(connection: duckdb.DuckDBPyConnection, text: str, views: Mapping[str, str]) -> str:
    """A SELECT over the views, with each view that is asked for one id narrowed to it.

    Args:
        connection: whose parser reads the text; nothing is run.
        text: one statement.
        views: the SELECT of each view.
    """
    if "'" not in text or not _ASKS_FOR.search(text):
        return text
    found = json.loads(sql.parsed(connection, text))
    if any(name.startswith("_") or name in views for name in _named(found)):
        return text
    raw = text.encode()
    for start, end, narrow in sorted(_narrower(found, views), reverse=True):
        raw = raw[:start] + narrow.encode() + raw[end:]
    return raw.decode()


def _named(node: Any) -> Iterator[str]:
    """What a statement itself gives names to by WITH, in lower case."""
    if isinstance(node, list):
        for item in node:
            yield from _named(item)
    elif isinstance(node, dict):
        if "cte_map" in node:
            yield from (item["key"].lower() for item in node["cte_map"]["map"])
        for item in node.values():
            yield from _named(item)


def _narrower(node: Any, views: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """Of each view that can be narrowed: from which byte to which it is named, and what stands there instead."""
    if isinstance(node, list):
        for item in node:
            yield from _narrower(item, views)
    elif isinstance(node, dict):
        for item in node.values():
            yield from _narrower(item, views)
        table = node.get("from_table") or {}
        if node.get("type") != "SELECT_NODE" or table.get("type") != "BASE_TABLE" or table.get("schema_name"):
            return
        name = table["table_name"].lower()
        tables, columns = _BEHIND.get(name, ((), ()))
        alias = table["alias"] or table["table_name"]
        for column, value in _equal(node.get("where_clause") or {}, alias):
            if column in columns and not table["sample"] and not table["column_name_alias"]:
                where = _THROUGH.get((name, column), f"{column} = {{0}}").format(value)
                parts = [f"{behind} AS (SELECT * FROM temp.{behind} WHERE {where})" for behind in tables]  # noqa: S608
                only = ", ".join([*parts, *([_BESIDE[name]] if name in _BESIDE else [])])
                start = table["query_location"]
                instead = f"(WITH {only}\n{views[name]}\n) AS {sql.identifier(alias)}"
                yield start, start + table["query_location_length"], instead
                return


def _equal(condition: Mapping[str, Any], alias: str) -> Iterator[tuple[str, str]]:
    """The columns that a condition wants to be one text, whatever else it wants; and that as SQL of the files' type."""
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
            if column not in _DIGITS:
                yield column, sql.literal(text)
            elif re.fullmatch(rf"[0-9a-f]{{{_DIGITS[column]}}}", text):
                yield column, f"unhex({sql.literal(text)})"
