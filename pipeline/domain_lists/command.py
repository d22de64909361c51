"""`wit lists`: which public lists of domains there are, under which licence, and one of them in a folder of yours."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from crawl.urls import canonical_url
from crawl.web.config import FetchConfig
from crawl.web.contact import is_own
from crawl.web.download import download
from dataset.display import say
from filters.lines import lines_of
from filters.texts.domains import DomainIndex, build_index
from pipeline.asking import answers
from pipeline.exit_status import UsageError

MOST_BYTES = 2**28
"""The largest list is UT1's, of 4.6 million domains: some 30 MB packed."""
_HOSTS_LINE = re.compile(r"^(?:0\.0\.0\.0|127\.0\.0\.1)\s+(\S+\.\S+)")


@dataclass(frozen=True)
class DomainList:
    """A list that somebody publishes."""

    name: str
    about: str
    licence: str
    url: str
    form: Literal["tar", "hosts"]
    """tar: of categories, as `text.blocked_domains` reads it; hosts: lines of a hosts file, `0.0.0.0 example.org`."""


LISTS = (
    DomainList(
        "ut1-adult",
        "Université Toulouse Capitole, category adult: pornography, some 4.6 million domains",
        "CC BY-SA",
        "https://dsi.ut-capitole.fr/blacklists/download/adult.tar.gz",
        "tar",
    ),
    DomainList(
        "ut1",
        "Université Toulouse Capitole, all categories: choose with text.blocked_categories",
        "CC BY-SA",
        "https://dsi.ut-capitole.fr/blacklists/download/blacklists.tar.gz",
        "tar",
    ),
    DomainList(
        "stevenblack-porn",
        "Steven Black's unified hosts, pornography alone",
        "MIT",
        "https://raw.githubusercontent.com/StevenBlack/hosts/master/alternates/porn-only/hosts",
        "hosts",
    ),
    DomainList(
        "sinfonietta-porn",
        "Sinfonietta's hosts of pornography",
        "MIT",
        "https://raw.githubusercontent.com/Sinfonietta/hostfiles/master/pornography-hosts",
        "hosts",
    ),
)


def lists(arguments: argparse.Namespace) -> int:
    """Show the lists, or fetch one."""
    if arguments.name is None:
        table = pa.Table.from_pylist(
            [{"name": item.name, "licence": item.licence, "about": item.about, "url": item.url} for item in LISTS]
        )
        answers.write(duckdb.connect().register("found", table).execute("FROM found"), arguments.format)
        return 0
    chosen = {item.name: item for item in LISTS}.get(arguments.name)
    if chosen is None:
        raise UsageError(f"there is no list {arguments.name}; there are {', '.join(item.name for item in LISTS)}")
    if not is_own(arguments.user_agent or ""):
        raise UsageError(
            "a list is asked for by somebody who can be reached: --user-agent 'mylab/1.0 (+https://example.org/bot)'"
        )
    config = FetchConfig(
        user_agent=arguments.user_agent, max_body_bytes=MOST_BYTES, timeout_s=600.0, also_heed=(), origins=("http",)
    )
    file, entries = fetch_list(chosen, Path(arguments.dir), config)
    say(f"{file}: {entries:,} entries, {chosen.licence}, from {chosen.url}")
    say(f"in a config:\ntext:\n  blocked_domains: {file}")
    return 0


def fetch_list(chosen: DomainList, folder: Path, config: FetchConfig) -> tuple[Path, int]:
    """Fetch a list into a folder, in a form that `text.blocked_domains` reads; one that is there is replaced.

    Returns: the file, and how many entries it has.

    Raises:
        OSError: it could not be fetched, or not be written.
        ValueError: it is no list of domains; a file that is there stays as it is.
    """
    data = download(canonical_url(chosen.url) or chosen.url, config)
    ending = ".tar.gz" if chosen.form == "tar" else ".txt"
    if chosen.form == "hosts":
        domains = [match[1] for line in lines_of(chosen.url, data).to_pylist() if (match := _HOSTS_LINE.match(line))]
        head = f"# {chosen.name}: {chosen.about}; {chosen.licence}; {chosen.url}"
        data = "".join(f"{line}\n" for line in [head, *sorted(set(domains) - {"0.0.0.0"})]).encode()  # noqa: S104
    folder.mkdir(parents=True, exist_ok=True)
    file, part = folder / f"{chosen.name}{ending}", folder / f".{chosen.name}.part{ending}"
    try:
        part.write_bytes(data)
        entries = len(DomainIndex(build_index([str(part)])))
        if not entries:
            raise ValueError(f"{chosen.url} holds no domain; {file} was not written")
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    return file, entries
