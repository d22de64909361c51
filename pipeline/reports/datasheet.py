"""OUT/datasheet.md: what a dataset is made of and what is not known of it, under the headings of Gebru et al. 2021,
"Datasheets for Datasets".

It is filled from the dataset alone, holds neither a clock's time nor a folder of this machine, and so is the same bytes
for the same dataset.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import jinja2

from dataset.query import sql
from dataset.query.views import Dataset
from dataset.store.storage import Storage, is_local
from filters.queries.build import DATA as QUERY_DATA
from filters.queries.build import languages_of
from pipeline.config import Config
from pipeline.engine.sources.inputs import Source
from pipeline.reports import audits

NAME = "datasheet.md"
TEMPLATE = Path(__file__).with_name("datasheet.txt")
_HOSTS = 20
_SOURCES = 200


def write(storage: Storage, config: Config, sources: Sequence[Source]) -> None:
    """Write the datasheet of a dataset, if it differs from the one that is there.

    Args:
        sources: what the config's `sources` name, with their checksums.
    """
    text = _render(Dataset(storage.url), config, {source.archive: source.checksum for source in sources}).encode()
    if not storage.exists(NAME) or storage.read(NAME) != text:
        storage.write(NAME, text)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(  # noqa: S701 - Markdown; what a stranger wrote passes through `cell`
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters.update(cell=_cell, table=_table)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _render(dataset: Dataset, config: Config, checksums: Mapping[str, str]) -> str:
    def ask(query: str, **values: Any) -> list[dict[str, Any]]:
        answer = dataset.ask(query, values)
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def audit(name: str) -> list[dict[str, Any]]:
        return ask(audits.load(name))

    hosts = ask(sql.load("datasheet/hosts"), most=_HOSTS)
    files = ask(sql.load("datasheet/files"), most=_SOURCES)
    queries = ask(sql.load("datasheet/queries"), cap=config.balance.cap)
    (median,), (totals,) = ask(sql.load("datasheet/quantiles")), ask(sql.load("datasheet/totals"))
    return _template().render(
        config=config,
        audit=audit,
        number=_cell,
        splits=ask(sql.load("datasheet/splits")),
        median=median,
        hosts=[{name: value for name, value in row.items() if name != "hosts"} for row in hosts],
        hosts_in_all=hosts[0]["hosts"] if hosts else 0,
        query_list=_query_list(config),
        query_notes=_query_notes(config),
        queries=[{name: value for name, value in row.items() if name != "over_cap"} for row in queries],
        caps=ask(sql.load("datasheet/caps")),
        over_cap=sum(row["over_cap"] for row in queries),
        totals=totals,
        sources=without_folders([{**row, "checksum": checksums.get(row["file"], "unknown")} for row in files]),
        gaps=without_folders(audit("sources_failed")),
        funnel=ask(sql.load("report/funnel")),
        evaluation_sets=[PurePath(folder).name for folder in config.decontaminate.folders],
        against=[PurePath(url).name for url in config.against],
    )


def _query_list(config: Config) -> str:
    lists = config.match.queries
    if isinstance(lists, str):
        return _describe_list(lists)
    return "one for each language: " + ", ".join(f"{key} ({_describe_list(lists[key])})" for key in languages_of(lists))


def _describe_list(name: str) -> str:
    return name if name.startswith("builtin:") else f"the file {PurePath(name).name}"


def _query_notes(config: Config) -> str:
    """Where built-in lists are from, and on which terms; their headings below ours."""
    lists = config.match.queries
    names = {lists} if isinstance(lists, str) else set(lists.values())
    built_in = sorted(name.removeprefix("builtin:").upper() for name in names if name.startswith("builtin:"))
    files = [file for name in built_in if (file := QUERY_DATA / f"QUERIES_{name}.md").exists()]
    notes = "\n\n".join(file.read_text(encoding="utf-8").strip() for file in files)
    return re.sub(r"^#", "####", notes, flags=re.MULTILINE)


def without_folders(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows whose `file` is without this machine's folders (see `shown_names`), in their `error` too."""
    names = shown_names(row["file"] for row in rows)
    return [
        {
            name: value.replace(row["file"], names[row["file"]]) if name in ("file", "error") and value else value
            for name, value in row.items()
        }
        for row in rows
    ]


def shown_names(names: Iterable[str]) -> dict[str, str]:
    """Return archives' names without the folder of this machine that the absolute ones have in common."""
    archives = sorted(set(names))
    local = [name for name in archives if is_local(name) and PurePath(name).is_absolute()]
    base = os.path.commonpath([str(PurePath(name).parent) for name in local]) if local else ""
    return {name: str(PurePath(name).relative_to(base)) if name in local else name for name in archives}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table."""
    if not rows:
        return "None."
    names = list(rows[0])
    numeric = [all(isinstance(row[name], (int, float)) or row[name] is None for row in rows) for name in names]
    lines = [
        f"| {' | '.join(name.replace('_', ' ') for name in names)} |",
        f"|{'|'.join('---:' if number else '---' for number in numeric)}|",
    ]
    return "\n".join(lines + [f"| {' | '.join(_cell(row[name]) for name in names)} |" for row in rows])


def _cell(value: Any) -> str:
    """A value as Markdown; what a stranger wrote can neither end a table's cell nor be taken for markup."""
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return re.sub(r"([\\`*_\[\]<>|#!~&])", r"\\\1", " ".join(str(value).split()))
