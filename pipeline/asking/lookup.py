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
from dataset.query import sql
from dataset.query.views import Dataset
from pipeline.asking import picture
from pipeline.config_errors import ConfigError

_URL = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//\S", re.IGNORECASE)
_BARE_URL = re.compile(r"[^\s/@]+\.[^\s/@.]{2,}(?::\d+)?/\S*")  # example.org/a.jpg, as people type it
_NEAREST = 3
_REASONS = 3


class Place(NamedTuple):
    """A row of a partition."""

    partition: int
    row: int


@dataclass(frozen=True)
class Found:
    """Candidates, the first of `total`, and in a sentence how they were found; without any, what is near."""

    sentence: str
    places: tuple[Place, ...] = ()
    total: int = 0


def look_up(dataset: Dataset, which: str, most: int) -> Found:
    """The candidates of what a person gives, the first `most` of them.

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
        return finder.sha256(digits) or Found(f"no image of the dataset has the SHA-256 {digits}")
    if re.fullmatch(r"[0-9a-f]{8,32}", digits):
        return finder.pair_id(digits) or finder.key(which) or finder.text(which) or finder.nothing(which)
    if _is_file(which):
        return finder.file(which)
    found = finder.url(which) if _BARE_URL.match(which) else None
    found = found or finder.key(which) or finder.text(which)
    if found is None and _BARE_URL.match(which):
        return finder.never_seen(f"http://{which}")
    return found or finder.nothing(which)


def _is_file(which: str) -> bool:
    try:
        return Path(which).is_file()
    except OSError:  # longer than a name may be
        return False


class _Finder:
    def __init__(self, dataset: Dataset, most: int):
        self._dataset = dataset
        self._most = most

    def url(self, which: str) -> Found | None:
        """The candidates of an image's URL; if there are none, those of a page's."""
        spelled = _spellings(which)
        for column, kind in (("url", "the image"), ("page_url", "the page")):
            found = self._where(f"{column} IN (SELECT unnest($values))", {"values": spelled}, "")
            if found:
                ((name,),) = self._ask(
                    f"SELECT min({column}) FROM _candidates WHERE {column} IN (SELECT unnest($values))",  # noqa: S608
                    {"values": spelled},
                )
                return Found(f"{kind} {name} has {_candidates(found.total)}", found.places, found.total)
        return None

    def pair_id(self, digits: str) -> Found | None:
        """The candidates of a pair, by its pair_id or the first digits of it."""
        values = {"low": digits.ljust(32, "0"), "high": digits.ljust(32, "f")}
        between = "pair_id BETWEEN unhex($low) AND unhex($high)"
        several = self._ask(
            f"SELECT DISTINCT lower(hex(pair_id)) FROM _candidates WHERE {between} ORDER BY 1 LIMIT 2",  # noqa: S608
            values,
        )
        if len(several) > 1:
            raise ConfigError(
                f"{digits} begins several pair_ids, {several[0][0]} and {several[1][0]} among them; give more digits"
            )
        return self._where(between, values, f"the pair {several[0][0]}") if several else None

    def sha256(self, digits: str) -> Found | None:
        """The candidates of the images with a SHA-256."""
        rows = self._ask("SELECT DISTINCT url FROM _images WHERE sha256 = unhex(?) ORDER BY url", [digits])
        return self._images([url for (url,) in rows], f"the SHA-256 {digits} is of") if rows else None

    def key(self, which: str) -> Found | None:
        """The candidates that became a sample, by its key, alone or behind its shard."""
        shard, _, key = which.removeprefix("shards/").rpartition("/")
        if not re.fullmatch(r"[\w-]+", key):
            return None
        rows = self._ask(sql.load("asking/samples_by_key"), {"key": key, "shard": shard})
        if not rows:
            return None
        pair_id, name, archive, offset = rows[0]
        found = self._where(
            'pair_id = $pair_id AND archive = $archive AND "offset" = $offset',
            {"pair_id": pair_id, "archive": archive, "offset": offset},
            f"the key {key} of shards/{name}",
        )
        return found or self._where("pair_id = $pair_id", {"pair_id": pair_id}, f"the key {key} of shards/{name}")

    def text(self, which: str) -> Found | None:
        """The candidates with a part of their text, in any case."""
        if not which:
            return None
        return self._where("contains(lower(text), lower($text))", {"text": which}, f"“{which}” in a text")

    def file(self, name: str) -> Found:
        """The candidates of an image file: of its bytes, of its bytes as stored, or of an image that looks like it."""
        found = picture.look_up(self._dataset, name)
        return (self._images(found.urls, found.sentence) if found.urls else None) or Found(found.sentence)

    def never_seen(self, which: str) -> Found:
        """What there is instead of a URL that no candidate has."""
        url = canonical_url(html.unescape(which if "//" not in which[:2] else f"http:{which}"))
        if url is None:
            return Found(f"{which} is no address of the web, and no candidate has it")
        host = hostname(url)
        said = f"no candidate has the image or page {url}"
        for name in (host, host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"):
            given_by = self._given_by(name, url)
            if given_by:
                return Found(f"{said}\n{given_by}")
        return Found(f"{said}\nno candidate's image is from the host {host}")

    def nothing(self, which: str) -> Found:
        """Where nothing was found."""
        return Found(
            f"no candidate has {which} as its URL, page, pair_id, SHA-256, key or in its text; "
            "the view sources counts images without a text, which never become candidates"
        )

    def _given_by(self, host: str, url: str) -> str | None:
        """What a host did give, and its addresses that are most like one; None if it gave nothing."""
        if not self._ask("SELECT 1 FROM _candidates WHERE host = $host LIMIT 1", {"host": host}):
            return None
        ((candidates, pairs, reasons, near),) = self._ask(
            sql.load("asking/host"), {"host": host, "url": url, "near": _NEAREST, "reasons": _REASONS}
        )
        dropped = ", ".join(f"{item['reason']} {item['count']:,}" for item in reasons)
        return (
            f"the host {host} gave {_candidates(candidates)}, {pairs:,} of them in the dataset"
            f"{f'; dropped: {dropped}' if dropped else ''}\n"
            f"its addresses most like it: {', '.join(near)}"
        )

    def _images(self, urls: Sequence[str], said: str) -> Found | None:
        others = f" and {len(urls) - 1:,} more" if len(urls) > 1 else ""
        return self._where("url IN (SELECT unnest($urls))", {"urls": list(urls)}, f"{said} {urls[0]}{others}")

    def _where(self, where: str, values: dict[str, Any], said: str) -> Found | None:
        rows = self._ask(
            f"SELECT partition, row, count(*) OVER () FROM _candidates WHERE {where} "  # noqa: S608
            f"ORDER BY partition, row LIMIT {int(self._most)}",
            values,
        )
        if not rows:
            return None
        places = tuple(Place(partition, row) for partition, row, _ in rows)
        return Found(f"{said}: {_candidates(rows[0][2])}", places, rows[0][2])

    def _ask(self, statement: str, values: dict[str, Any] | list[Any]) -> list[tuple[Any, ...]]:
        return self._dataset.ask(statement, values).fetchall()


def _spellings(which: str) -> list[str]:
    """The canonical forms of a URL as people write and copy it: without a scheme, or with a page's `&amp;`."""
    given = {which, html.unescape(which)}
    if not _URL.match(which):
        given = {f"{scheme}://{url}" for url in given for scheme in ("http", "https")}
    elif which.startswith("//"):
        given = {f"{scheme}:{url}" for url in given for scheme in ("http", "https")}
    return sorted({which, *(url for item in given if (url := canonical_url(item)))})


def _candidates(count: int) -> str:
    return "1 candidate" if count == 1 else f"{count:,} candidates"
