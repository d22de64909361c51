"""match: each text against the query list; what matches no query is dropped, as in the paper (section 2.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.schema import MATCHES, QUERIES, VERDICTS
from dataset.store.mapped import map_file
from filters.lines import read_lines
from filters.queries.build import check_all, load_all
from filters.queries.match import STOPWORDS, Matcher, match_by_language
from pipeline.config import Config, ConfigError, options, to_builtins
from pipeline.engine.contract import CANDIDATE_ROWS, roles
from pipeline.engine.phase import Context, Input, Result, Task, all_files, files_of_each, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows, decide_by_sql, measure_in_slices, take_units, verdict_result
from pipeline.stages.artifacts import MATCHES_TABLE, QUERY_LIST, TEXT_TABLE
from pipeline.stages.match import MATCH

_TEXTS_AT_ONCE = 20_000
_NO_LANGUAGES = pa.table({"row": pa.array([], pa.uint32()), "language": pa.array([], pa.string())})


@phase(MATCH, "match.queries", version=3, takes=("queries", "checksum"), gives=roles(queries=QUERIES))
def queries(context: Context) -> Result:
    """Give the query list of this dataset, as it was when it was first used; facts: where each language's begins, and
    which queries are stop words.
    """
    table = load_all(context.options["queries"])
    is_stopword = pc.is_in(table["query"], value_set=read_lines(str(STOPWORDS)))
    facts: dict[str, Any] = {"stopwords": table["query_id"].filter(is_stopword).to_pylist()}
    if not isinstance(context.options["queries"], str):
        languages = table["language"].to_pylist()
        facts["lists"] = [(name, languages.index(name)) for name in dict.fromkeys(languages)]
    return Result(facts=facts).table("queries", table, QUERIES)


@phase(
    MATCH, "match.index", reads=roles(queries=QUERIES), takes=("rule",), may_take=("language",), gives=roles("matcher")
)
def index(context: Context) -> Result:
    """Give the matcher of a list, built once for all workers."""
    table = context.table("queries", ["query", "language"])
    if "language" in context.options:
        table = table.filter(pc.equal(table["language"], context.options["language"]))
    built = Matcher(table["query"], context.options["rule"])
    return Result(files={"matcher": (context.phase_file("matcher", "arrow"), built.to_arrow())})


@phase(
    MATCH,
    "match.measure",
    version=2,
    reads=CANDIDATE_ROWS | roles("matcher"),
    may_read=roles("text"),
    may_take=("lists",),
    gives=roles(measures=MATCHES),
)
def measure(context: Context) -> Result:
    """Give which queries each text contains: of the one list, or of its language's."""
    every, matchers = alive_rows(context, ["text"]), _matchers(context)
    lists: list[tuple[str, int]] = context.options.get("lists", [])
    by_language = {name: (matcher, first) for (name, first), matcher in zip(lists, matchers, strict=bool(lists))}

    def match_texts(rows: pa.Table) -> pa.Table:
        texts = rows.column("text").combine_chunks()
        ids = match_by_language(texts, _languages(context, rows), by_language) if lists else matchers[0].match(texts)
        return pa.table({"row": rows.column("row"), "query_ids": ids})

    table = measure_in_slices(context, take_units(context, every), _TEXTS_AT_ONCE, match_texts, of=every)
    matches = pc.sum(pc.list_value_length(table["query_ids"])).as_py() or 0
    return Result(counts={"matches": matches}).table("measures", table, MATCHES)


def _languages(context: Context, rows: pa.Table) -> pa.Array:
    """The language of each text, as the stage `text` measured it. string (n,)."""
    measured = context.table("text", ["row", "language"])
    indices = np.searchsorted(measured["row"].to_numpy(), rows["row"].to_numpy())
    return measured["language"].combine_chunks().take(pa.array(indices))


def _matchers(context: Context) -> list[Matcher]:
    items = context.files("matcher")
    for checksum in set(_mapped) - {item.checksum for item in items}:
        del _mapped[checksum]
    for item in items:
        if item.checksum not in _mapped:
            _mapped[item.checksum] = Matcher.from_arrow(map_file(context.storage, item.file))
    return [_mapped[item.checksum] for item in items]


_mapped: dict[str, Matcher] = {}  # those of this process's last task


@phase(
    MATCH,
    "match.decide",
    version=2,
    reads=CANDIDATE_ROWS | roles(measures=MATCHES),
    may_read=roles("text"),
    takes=("rule", "ignored_query_ids"),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/match.sql."""
    rows = alive_rows(context, ["pair_id"])
    texts = context.table("text", ["row", "language"]) if "text" in context.task.inputs else _NO_LANGUAGES
    tables = {"measures": context.table("measures"), "texts": texts}
    verdicts = decide_by_sql(context, "decisions/match", rows, tables, context.options)
    return verdict_result(context, rows, verdicts.cast(VERDICTS))


def check(config: Config) -> None:
    """Read the query lists, before any work is done. Raises ConfigError."""
    try:
        check_all(config.match.queries)
    except (OSError, ValueError) as error:
        raise ConfigError(f"match.queries: {error}") from None


def run(run: Run) -> None:
    """Load the queries, match, decide."""
    names = run.config.match.queries
    checksums = _source(names) if isinstance(names, str) else {key: _source(name) for key, name in names.items()}
    listed_queries = run.one(queries, Task(queries.name, 0, {}, {"queries": to_builtins(names), "checksum": checksums}))
    query_list = Input(listed_queries.files["queries"])
    run.artifacts.leave(QUERY_LIST, query_list)
    listed = {"queries": (query_list,)}
    rule = options(run.config.match, "rule")
    lists = listed_queries.facts.get("lists", [])
    texts = [TEXT_TABLE] if lists else []
    which: list[dict[str, Any]] = [{"language": name} for name, _ in lists] or [{}]
    built = run.do(index, [Task(index.name, number, listed, {**rule, **item}) for number, item in enumerate(which)])
    matchers = {"matcher": all_files(built, "matcher")}
    measured = run.map(measure, {"lists": lists} if lists else {}, *texts, shared=matchers, units=True)
    run.leave(MATCHES_TABLE, measured, "measures")
    ignored = listed_queries.facts["stopwords"] if run.config.match.ignore_stopwords else []
    run.decide(decide, {**rule, "ignored_query_ids": ignored}, *texts, each=files_of_each(measured, "measures"))


def _source(name: str) -> str:
    from pipeline.engine.sources.plan import file_checksum

    return name if name.startswith("builtin:") else file_checksum(name)
