"""fetch.licenses: what the RSL licenses say that pages name, wherever their images are from.

A page's license is asked for once a run, in the partition of its host, and told to the partitions of the page's pairs.
It speaks of the page, whose text a pair holds, and of images of the page's own site; another's image, on which others
have pairs too, it cannot refuse. So it is pairs that it drops, and an image that no pair is left of is not asked for.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crawl import rsl
from crawl.web.config import FetchConfig
from crawl.web.fetch import heed_licenses
from crawl.web.response import Refused
from crawl.wishes import Wish
from dataset.hosts import hostname, site_of
from pipeline.engine.contract import PAIR_ROWS, roles, settings
from pipeline.engine.exchanges.exchange import Exchange, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import Context, Inputs, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.verdicts import alive_rows
from pipeline.stages.artifacts import HOST_LANES
from pipeline.stages.domain_lists import domain_index
from pipeline.stages.fetch import FETCH
from pipeline.stages.prebalance.stage import LANES, partition_of

NAMED = pa.schema(
    [
        ("url", pa.string()),  # of a pair's image
        ("host", pa.string()),
        ("page_url", pa.string()),
        ("license", pa.string()),
        ("license_host", pa.string()),
    ]
)
SAID = pa.schema(
    [
        ("url", pa.string()),
        ("host", pa.string()),
        ("page_url", pa.string()),
        ("reason", pa.string()),  # null: it cannot be read, and refuses nothing
        ("signal", pa.string()),
        ("value", pa.string()),
        ("place", pa.string()),
    ]
)
"""Pairs of a page's license that does not permit, or cannot be read."""


@phase(FETCH, "fetch.named", reads=PAIR_ROWS | roles(lanes=LANES), takes=("partitions",), exchanges=roles(named=NAMED))
def named(context: Context) -> Result:
    """Give the licenses that the pages of the pairs name, to the partitions of the licenses' hosts."""
    rows = alive_rows(context, ["url", "host", "page_url", "page_rsl"])
    rows = rows.filter(pc.match_substring(rows.column("page_rsl"), rsl.NAMED))
    licenses_of = {
        (row["url"], row["host"], row["page_url"], license_): hostname(license_)
        for row in rows.to_pylist()
        for license_ in rsl.named_by(row["page_rsl"])
    }
    names = NAMED.names[:4]
    table = pa.Table.from_pylist(
        [{**dict(zip(names, key, strict=True)), "license_host": host} for key, host in licenses_of.items()], NAMED
    )
    places = table.select(["license", "license_host"]).rename_columns(["url", "host"])
    return Result(buckets={"named": write_buckets(table, partition_of(context, places))})


@phase(
    FETCH,
    "fetch.licenses",
    reads=roles("named", lanes=LANES),
    may_read=roles("domains"),
    takes=("fetch", "partitions"),
    exchanges=roles(said=SAID),
)
def licenses(context: Context) -> Result:
    """Give what the licenses of some hosts say, to the partitions of the pairs whose pages name them."""
    config = settings(FetchConfig, context.options["fetch"])
    domains = domain_index(context.storage, context.files("domains")) or frozenset[str]()
    rows = context.concat("named", NAMED).to_pylist()
    said = pa.Table.from_pylist(_ask_licenses(rows, config, domains), SAID)
    return Result(buckets={"said": write_buckets(said, partition_of(context, said))})


def _ask_licenses(
    rows: Sequence[Mapping[str, Any]], config: FetchConfig, domains: Container[str]
) -> list[dict[str, Any]]:
    """SAID, by pair, of NAMED."""
    asked: dict[tuple[str, str, str], Refused | Wish | None] = {}
    for row in rows:
        for url in _licensed_urls(row):
            asked[row["license"], f"page {row['page_url']}", url] = None
    asked.update(zip(asked, heed_licenses(list(asked), config, domains), strict=True))
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        for url in _licensed_urls(row):
            answer = asked[row["license"], f"page {row['page_url']}", url]
            wish = answer.wish if isinstance(answer, Refused) else answer
            pair = row["url"], row["page_url"]
            if wish is None or (pair in answers and (not isinstance(answer, Refused) or answers[pair]["reason"])):
                continue
            reason = answer.outcome if isinstance(answer, Refused) else None
            answers[pair] = {name: row[name] for name in SAID.names[:3]} | {"reason": reason, **wish._asdict()}
    return [answers[pair] for pair in sorted(answers)]


def _licensed_urls(row: Mapping[str, Any]) -> list[str]:
    """What a page's license may speak of: the page, and its image if that is of the same site."""
    is_own = site_of(row["url"]) == site_of(row["page_url"])
    return [row["page_url"], row["url"]] if is_own else [row["page_url"]]


def strictest_by_pair(said: pa.Table) -> pa.Table:
    """Return one answer a pair, where several licenses speak of it: the one that refuses, else one that cannot
    be read.
    """
    rows = sorted(
        said.to_pylist(),
        key=lambda row: (row["url"], row["page_url"], row["reason"] is None, row["reason"] or "", row["place"]),
    )
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        first.setdefault((row["url"], row["page_url"]), row)
    return pa.Table.from_pylist(list(first.values()), SAID)


def urls_to_get(context: Context, licensed: pa.Table) -> tuple[list[str], list[str]]:
    """Return the URLs to get; and those that the licenses of all their pages refuse, but for what could not be had or
    read.
    """
    pairs = alive_rows(context, ["url", "page_url"])
    refused = licensed.filter(pc.is_valid(licensed["reason"])).select(["url", "page_url", "reason"])
    if not refused.num_rows:
        return sorted(pc.unique(pairs.column("url")).to_pylist()), []
    rows = pairs.select(["url", "page_url"]).join(refused, ["url", "page_url"], join_type="left outer")
    left = pc.unique(rows.filter(pc.is_null(rows["reason"]))["url"])
    rest = rows.filter(pc.invert(pc.is_in(rows["url"], left)))
    unread = pc.unique(rest.filter(pc.equal(rest["reason"], "rsl_unreadable"))["url"])
    gone = pc.unique(rest.filter(pc.invert(pc.is_in(rest["url"], unread)))["url"])
    return sorted(left.to_pylist()), sorted(gone.to_pylist())


def run(run: Run, fetch: Mapping[str, Any], domains: Mapping[str, Inputs]) -> Exchange | None:
    """Ask for every license that a page names. Answers an exchange of SAID, or None if nobody is to be asked."""
    if not run.config.fetch.respect_rsl:
        return None
    shared = {"lanes": run.artifacts.take(HOST_LANES)}
    partitions = {"partitions": len(run.partitions)}
    asked = exchange(run, run.map(named, partitions, shared=shared), "named")
    if not asked.buckets:
        return None
    answered = run.reduce(licenses, {"fetch": fetch, **partitions}, {"named": [asked]}, shared={**shared, **domains})
    return exchange(run, answered, "said")
