"""Which candidates a person means by a URL, an id, a hash, a key, an image file, or a part of a text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from crawl.urls import canonical_url
from dataset.hosts import hostname
from dataset.ledger.lookup import Key, Partitions
from dataset.query import sql
from dataset.query.views import Dataset
from dataset.store.storage import is_local
from pipeline.config_errors import ConfigError

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//\S", re.IGNORECASE)
_BARE_URL = re.compile(r"[^\s/@]+\.[^\s/@.]{2,}(?::\d+)?/\S*")  # example.org/a.jpg, as people type it
_NEAREST = 3
_REASONS = 3
_MOST_FILES, _MOST_FILES_OF_A_BUCKET = 64, 4
"""So many files of candidates are read to say what a host gave: of each those of verdicts, too."""


class RowLocation(NamedTuple):
    """A row of a partition."""

    partition: int
    row: int


@dataclass(frozen=True)
class LookupResult:
    """Candidates, the first of `total`, and in a sentence how they were found; without any, what is near."""

    sentence: str
    places: tuple[RowLocation, ...] = ()
    total: int = 0


def look_up(dataset: Dataset, which: str, most: int) -> LookupResult:
    """Return the candidates of what a person gives, the first `most` of them.

    Args:
        which: see `pipeline.asking.explain`.

    Raises:
        ConfigError: the digits begin several pair_ids, or `which` is a file and no image.
    """
    finder = _Finder(dataset, most)
    if _URL.match(which):
        return finder.url(which) or finder.never_seen(which)
    digits = which.lower()
    if re.fullmatch(r"[0-9a-f]{64}", digits):
        return finder.sha256(digits) or LookupResult(f"no image of the dataset has the SHA-256 {digits}")
    if re.fullmatch(r"[0-9a-f]{8,32}", digits):
        return finder.pair_id(digits) or finder.key(which) or finder.text(which) or finder.report_nothing(which)
    if _is_file(which):
        return finder.file(which)
    result = finder.url(which) if _BARE_URL.match(which) else None
    result = result or finder.key(which) or finder.text(which)
    if result is None and _BARE_URL.match(which):
        return finder.never_seen(f"http://{which}")
    return result or finder.report_nothing(which)


def _is_file(which: str) -> bool:
    try:
        return Path(which).is_file()
    except OSError:  # longer than a name may be
        return False


class _Finder:
    def __init__(self, dataset: Dataset, most: int):
        self._dataset = dataset
        self._most = most

    def url(self, which: str) -> LookupResult | None:
        """The candidates of an image's URL; if there are none, those of a page's."""
        spelled = _spellings(which)
        columns: tuple[tuple[Key, str], ...] = (("url", "the image"), ("page_url", "the page"))
        for column, kind in columns:
            partitions = self._dataset.places(column, spelled)
            where = f"{column} IN ({', '.join(map(sql.literal, spelled))})"  # as constants, files can tell
            rows = self._rows(where, {}, partitions, f"min({column}) OVER ()")
            if rows:
                *_, total, name = rows[0]
                return LookupResult(f"{kind} {name} has {_candidates(total)}", _places(rows), total)
        return None

    def pair_id(self, digits: str) -> LookupResult | None:
        """The candidates of a pair, by its pair_id or the first digits of it."""
        values = {"low": digits.ljust(32, "0"), "high": digits.ljust(32, "f")}
        between = "pair_id BETWEEN unhex($low) AND unhex($high)"
        several = self._ask(
            f"SELECT DISTINCT lower(hex(pair_id)) FROM _candidates WHERE {between} ORDER BY 1 LIMIT 2",  # noqa: S608
            values,
            partitions := self._dataset.places_of_ids(values["low"], values["high"]),
        )
        if len(several) > 1:
            raise ConfigError(
                f"{digits} begins several pair_ids, {several[0][0]} and {several[1][0]} among them; give more digits"
            )
        return self._find_where(between, values, f"the pair {several[0][0]}", partitions) if several else None

    def sha256(self, digits: str) -> LookupResult | None:
        """The candidates of the images with a SHA-256."""
        partitions = self._dataset.places("sha256", [digits])
        rows = self._ask("SELECT DISTINCT url FROM _images WHERE sha256 = unhex(?) ORDER BY url", [digits], partitions)
        return self._images([url for (url,) in rows], f"the SHA-256 {digits} is of") if rows else None

    def key(self, which: str) -> LookupResult | None:
        """The candidates that became a sample, by its key, alone or behind its shard."""
        shard, _, key = which.removeprefix("shards/").rpartition("/")
        if not re.fullmatch(r"[\w-]+", key):
            return None
        rows = self._ask(sql.load("asking/samples_by_key"), {"key": key, "shard": shard})
        if not rows:
            return None
        pair_id, name, archive, offset = rows[0]
        partitions, said = self._dataset.places_of_ids(pair_id.hex(), pair_id.hex()), f"the key {key} of shards/{name}"
        located = self._find_where(
            'pair_id = $pair_id AND archive = $archive AND "offset" = $offset',
            {"pair_id": pair_id, "archive": archive, "offset": offset},
            said,
            partitions,
        )
        return located or self._find_where("pair_id = $pair_id", {"pair_id": pair_id}, said, partitions)

    def text(self, which: str) -> LookupResult | None:
        """The candidates with a part of their text, in any case."""
        if not which:
            return None
        return self._find_where("contains(lower(text), lower($text))", {"text": which}, f"“{which}” in a text")

    def file(self, name: str) -> LookupResult:
        """The candidates of an image file: of its bytes, of its bytes as stored, or of an image that looks like it."""
        from pipeline.asking import picture  # most ask of a URL, which needs no image library

        like = picture.look_up(self._dataset, name)
        return (self._images(like.urls, like.sentence) if like.urls else None) or LookupResult(like.sentence)

    def never_seen(self, which: str) -> LookupResult:
        """What there is instead of a URL that no candidate has."""
        url = canonical_url(html.unescape(which if "//" not in which[:2] else f"http:{which}"))
        if url is None:
            return LookupResult(f"{which} is no address of the web, and no candidate has it")
        host = hostname(url)
        said = f"no candidate has the image or page {url}"
        for name in (host, host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"):
            given_by = self._describe_host(name, url)
            if given_by:
                return LookupResult(f"{said}\n{given_by}")
        return LookupResult(f"{said}\nno candidate's image is from the host {host}")

    def report_nothing(self, which: str) -> LookupResult:
        """Where nothing was found."""
        return LookupResult(
            f"no candidate has {which} as its URL, page, pair_id, SHA-256, key or in its text; "
            "the view sources counts images without a text, which never become candidates"
        )

    def _describe_host(self, host: str, url: str) -> str | None:
        """What a host did give, and its addresses that are most like one; None if it gave nothing."""
        partitions, least = self._dataset.places("host", [host]), ""
        most = _MOST_FILES if is_local(self._dataset.storage.url) else _MOST_FILES_OF_A_BUCKET
        if partitions is not None and len(partitions["candidates"]) > most:
            least = f" (by {most} of its {len(partitions['candidates'])} files)"
            partitions = {**partitions, "candidates": sorted(partitions["candidates"])[:most]}
        values = {"host": host, "url": url, "near": _NEAREST, "reasons": _REASONS}
        ((candidates, kept, reasons, near),) = self._ask(sql.load("asking/host"), values, partitions)
        if not candidates:
            return None
        dropped = ", ".join(f"{item['reason']} {item['count']:,}" for item in reasons)
        return (
            f"the host {host} gave {_candidates(candidates)}{least}, {kept:,} of them in the dataset"
            f"{f'; dropped: {dropped}' if dropped else ''}\n"
            f"its addresses most like it: {', '.join(near)}"
        )

    def _images(self, urls: Sequence[str], said: str) -> LookupResult | None:
        others = f" and {len(urls) - 1:,} more" if len(urls) > 1 else ""
        partitions = self._dataset.places("url", urls)
        return self._find_where(
            "url IN (SELECT unnest($urls))", {"urls": list(urls)}, f"{said} {urls[0]}{others}", partitions
        )

    def _find_where(
        self, where: str, values: dict[str, Any], said: str, partitions: Partitions | None = None
    ) -> LookupResult | None:
        rows = self._rows(where, values, partitions)
        return LookupResult(f"{said}: {_candidates(rows[0][2])}", _places(rows), rows[0][2]) if rows else None

    def _rows(
        self, where: str, values: dict[str, Any], partitions: Partitions | None, also: str = "NULL"
    ) -> list[tuple[Any, ...]]:
        """Return, of the first candidates of a condition, partition, row, how many there are, and what else is
        asked.
        """
        return self._ask(
            f"SELECT partition, row, count(*) OVER (), {also} FROM _candidates WHERE {where} "  # noqa: S608
            f"ORDER BY partition, row LIMIT {int(self._most)}",
            values,
            partitions,
        )

    def _ask(
        self, statement: str, values: dict[str, Any] | list[Any], within: Partitions | None = None
    ) -> list[tuple[Any, ...]]:
        return self._dataset.ask(statement, values, within).fetchall()


def _spellings(which: str) -> list[str]:
    """The canonical forms of a URL as people write and copy it: without a scheme, or with a page's `&amp;`."""
    spellings = {which, html.unescape(which)}
    if not _URL.match(which):
        spellings = {f"{scheme}://{url}" for url in spellings for scheme in ("http", "https")}
    elif which.startswith("//"):
        spellings = {f"{scheme}:{url}" for url in spellings for scheme in ("http", "https")}
    return sorted({which, *(url for item in spellings if (url := canonical_url(item)))})


def _places(rows: Sequence[tuple[Any, ...]]) -> tuple[RowLocation, ...]:
    return tuple(RowLocation(partition, row) for partition, row, *_ in rows)


def _candidates(count: int) -> str:
    return "1 candidate" if count == 1 else f"{count:,} candidates"
