"""Addresses whose own words mark them as pornography: `worldsex.example`, `/porn/`, `.xxx`.

Hosts write words together, so some count within a host's name wherever they stand; of "sex" and "porn", which Essex
and Pornic have too, only what stands at the end of a name, alone or before a word of the trade. In paths words stand
between slashes, hyphens, dots and underscores. This knows what calls itself so, in English; lists of domains know the
rest.
"""

from __future__ import annotations

import pyarrow as pa

from dataset.query import sql

_KINDS = "cams?|chat|clips?|films?|girls?|movies?|photos?|pics?|pix|porn|shops?|shows?|stars?|teens?|tubes?|videos?|xxx"
_HOST = "|".join(
    (
        r"\.(?:xxx|porn|adult|sex|sexy)\.$",
        # parts of names, wherever they stand
        "xnxx|xhamster|redtube|hentai|fuck|blowjob|cumshot|bdsm|femdom|bukkake|gangbang|shemale|youporn|pornhub",
        r"(?:nude|naked)(?:girls?|teens?|celebs?)|(?:hot|teens?|girls?)(?:nude|naked)",
        # parts of names, at the end or the beginning of one: Pornic is a town, Sexton a name
        rf"[.-]xvideos?|porno?s?[.-]|[.-]porn(?:o|hd|{_KINDS})?s?[.-]|[.-](?:sex|milf)(?:{_KINDS})?[.-]|(?:sex|milfs?)(?:{_KINDS})?\.",
    )
)
_INNOCENT = r"(?:es|sus|middle|wes|uni|inter|same|bi|homo|a)-?sex\."
"""Essex, Sussex, Wessex, Middlesex, unisex."""
_PATH = (
    r"[/._+-](?:porno?s?|porn(?:star|hub)s?|hentai|milfs?|blowjobs?|cumshots?|bdsm|femdom|xvideos|xnxx|gangbangs?"
    r"|upskirts?|camgirls?|bukkake|shemales?|sex-(?:cam|pic|tape|video)s?)(?:$|[/._+-])"
)


def _mark(column: str) -> str:
    """SQL: what marks an address as unsafe, or null. Hosts are looked at between dots: `.www.example.org.`"""
    host = rf"'.' || regexp_extract(lower({column}), '^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?([^/?#:]*)', 1) || '.'"
    path = rf"regexp_extract(lower({column}), '^[a-z][a-z0-9+.-]*://[^/?#]*([^?#]*)', 1)"
    return (
        f"nullif(regexp_extract(regexp_replace({host}, '{_INNOCENT}', '.', 'g'), '{_HOST}'), ''), "
        f"nullif(regexp_extract({path}, '{_PATH}'), '')"
    )


_ANY = (
    "xxx|porn|adult|sex|milf|xvideo|xnxx|xhamster|redtube|hentai|fuck|blowjob|cumshot|bdsm|femdom|bukkake|gangbang|shemale"
    "|nude|naked|upskirt|camgirl"
)
"""What each of these patterns holds one of, as few addresses do."""
_SQL = f"""
WITH marked AS (
    SELECT row, url, page_url,
        regexp_matches(lower(concat_ws(' ', url, page_url)), '{_ANY}') AS is_marked
    FROM rows
)
SELECT CASE WHEN is_marked THEN trim(coalesce({_mark("url")}, {_mark("page_url")}), '/._+-') END AS unsafe_address
FROM marked
ORDER BY row
"""  # noqa: S608


def unsafe_addresses(rows: pa.Table) -> pa.ChunkedArray:
    """Return what marks the image's or the page's address as unsafe, null if nothing does. string (n,).

    rows: row, url, page_url; ordered by row.
    """
    return sql.run(_SQL, {"rows": rows})["unsafe_address"]
