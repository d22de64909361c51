"""What repeats on one site: phrases that begin or end many of its captions, texts that stand on many of its images,
images that stand for many texts, and images that stand with one text on most of its pages.

A site is a page's host, or where there is no page the image's. Of each site at most SAMPLE images are looked at, those
whose addresses have the least hashes: so what is found is the same however candidates are partitioned, a site of a
billion images costs as much as one of a thousand, and "many" is a share of the site. Where an
image stands is looked at on SAMPLE_PAGES of the site's pages, chosen alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from dataset.schema import CAPTIONS
from filters.texts.text import TextConfig

SAMPLE = 1_000
SAMPLE_PAGES = 300
"""A share of so many pages is within six in a hundred of the share of all, in 95 of 100 cases; each has its images."""
SAMPLE_OF_IMAGE = 300
"""The number of pages, those of the least hashes, on which the texts of a sampled image are looked at: a button
is on all.
"""
LEAST_PAGES_OF_SITE = 10
"""How many pages of a site must have been seen for an image on most of them to be the site's."""
LEAST_TEXTS, LEAST_SHARE = 10, 0.3
"""How many of a site's different texts must have a phrase, in number and in share, for it to be the site's."""
LEAST_PAGES = 3
"""The pages of the site on which it must stand: what all captions of one page begin with is what the page is about."""
ROWS_AT_ONCE = 20_000
"""Rows of whole sites that one query looks at: it takes up to 20 KB a row, where all captions of a site begin alike."""
SAMPLES = pa.schema(
    [("site", pa.string()), ("url_hash", pa.uint64()), ("page_hash", pa.uint64()), ("text", pa.string())]
)
REPEATS = pa.schema(
    [
        ("site", pa.string()),
        ("place", pa.string()),  # where it stands: begin, end, whole (of texts); or image, page
        ("url_hash", pa.uint64()),  # of an image: that has many texts, or stands with one on most pages
        ("phrase", pa.string()),  # null of an image with many texts
        # in so many different texts of the site; a whole text: on so many images; an image: with so many texts, or on
        # so many pages with one
        ("found", pa.int32()),
        ("of", pa.int32()),  # that were looked at; an image with many texts: pages on which it stands
    ]
)
_SITE = """coalesce(
    nullif(lower(regexp_extract(page_url, '^[A-Za-z]+://(?:[^/?#@]*@)?(?:www\\.)?([^/?#:]+)', 1)), ''),
    regexp_replace(host, '^www\\.', ''), ''
)"""
_URL_HASH = "(md5_number(url) & 18446744073709551615)::UBIGINT"
_OF_IMAGES = f"""dense_rank() OVER (PARTITION BY site ORDER BY url_hash) <= {SAMPLE}
        AND row_number() OVER (PARTITION BY site, url_hash ORDER BY page_hash NULLS LAST, text) <= {SAMPLE_OF_IMAGE}"""
_LEAST = f"""
SELECT * FROM known
QUALIFY {_OF_IMAGES}
    OR page_hash IS NOT NULL AND dense_rank() OVER (PARTITION BY site ORDER BY page_hash NULLS LAST) <= {SAMPLE_PAGES}
ORDER BY ALL
"""  # noqa: S608
"""The least of the least of parts are the least of all."""
_SAMPLES = f"""
WITH known AS (
    SELECT DISTINCT
        {_SITE} AS site, {_URL_HASH} AS url_hash,
        (md5_number(nullif(page_url, '')) & 18446744073709551615)::UBIGINT AS page_hash, text
    FROM rows
    WHERE {_SITE} <> ''
)
{_LEAST}
"""  # noqa: S608
_NARROWED = f"WITH known AS (SELECT DISTINCT * FROM samples) {_LEAST}"  # noqa: S608
# Phrases of three words or more, and shorter ones that a separator sets apart: `… | Site name`.
_FIND = rf"""
WITH known AS (
    SELECT DISTINCT * FROM samples
),
sampled AS (
    SELECT * FROM known QUALIFY {_OF_IMAGES}
),
wholes AS (
    SELECT site, text, count(DISTINCT url_hash) AS found FROM sampled GROUP BY ALL
),
images AS (
    SELECT site, count(DISTINCT url_hash) AS of FROM sampled GROUP BY ALL
),
texts AS (
    SELECT site, text, string_split(text, ' ') AS words, pages, count(*) OVER (PARTITION BY site) AS of
    FROM (SELECT site, text, list(DISTINCT page_hash) AS pages FROM sampled GROUP BY ALL)
    QUALIFY of >= {LEAST_TEXTS}
),
parts AS (
    SELECT site, of, 'begin' AS place, words, text, pages FROM texts
    UNION ALL
    SELECT site, of, 'end', list_reverse(words), text, pages FROM texts
),
-- Few sites have a phrase, and its first three words, or its separator, tell which.
begun AS (
    SELECT * FROM parts WHERE len(words) > 3
    QUALIFY count(*) OVER (PARTITION BY site, place, words[:3]) >= greatest({LEAST_TEXTS}, {LEAST_SHARE} * of)
),
long AS (
    SELECT site, of, place, text, pages, words[:size.n] AS words
    FROM begun, (SELECT unnest(range(3, 16)) AS n) AS size
    WHERE size.n < len(words)
),
apart AS (
    SELECT site, of, place, text, pages, words[:bound] AS words
    FROM (
        SELECT *, list_position(list_transform(words[:4], lambda x: regexp_full_match(x, '[|–—•·»:-]+')), true) AS bound
        FROM parts
    )
    WHERE bound BETWEEN 2 AND len(words) - 1
),
counted AS (
    SELECT site, place, words, of, count(DISTINCT text) AS found
    FROM (SELECT * FROM long UNION ALL SELECT * FROM apart)
    GROUP BY ALL
    HAVING found >= greatest({LEAST_TEXTS}, {LEAST_SHARE} * of)
        -- a table's rows are on no page
        AND len(list_distinct(flatten(list(pages)))) NOT BETWEEN 1 AND {LEAST_PAGES} - 1
),
paged AS (
    SELECT * FROM known WHERE page_hash IS NOT NULL
    QUALIFY dense_rank() OVER (PARTITION BY site ORDER BY page_hash) <= {SAMPLE_PAGES}
),
pages AS (
    SELECT site, count(DISTINCT page_hash) AS pages FROM paged GROUP BY ALL
)
SELECT
    site, place, NULL AS url_hash,
    array_to_string(CASE place WHEN 'end' THEN list_reverse(words) ELSE words END, ' ') AS phrase, found, of
FROM counted
UNION ALL
SELECT site, 'whole', NULL, text, found, of
FROM wholes JOIN images USING (site) CROSS JOIN config
WHERE max_site_images_per_text > 0 AND found > max_site_images_per_text
UNION ALL
-- Several texts of one page are few, and none of them another page's.
SELECT site, 'image', url_hash, NULL, least(count(DISTINCT text), count(DISTINCT page_hash)), count(DISTINCT page_hash)
FROM paged CROSS JOIN config
WHERE max_site_texts_per_image > 0
GROUP BY site, url_hash, max_site_texts_per_image
HAVING least(count(DISTINCT text), count(DISTINCT page_hash)) > max_site_texts_per_image
UNION ALL
SELECT site, 'page', url_hash, text, count(DISTINCT page_hash), pages
FROM paged JOIN pages USING (site) CROSS JOIN config
WHERE max_site_page_share < 1 AND pages >= {LEAST_PAGES_OF_SITE}
GROUP BY site, url_hash, text, pages, max_site_page_share
HAVING count(DISTINCT page_hash) > max_site_page_share * pages
ORDER BY ALL
"""  # noqa: S608
# A phrase is cut off where punctuation sets it apart, for "Portrait of" and "A map of" belong to their captions however
# many of a site's begin so; of several the longest; and if words are left that may say something.
_CUT = rf"""
WITH sited AS (
    SELECT row, text, {_SITE} AS site FROM rows
),
found AS (
    SELECT row, text, phrase, found, of, place = 'whole' AS is_repeat,
        CASE place
            WHEN 'begin' THEN substr(text, length(phrase) + 1)
            WHEN 'end' THEN left(text, length(text) - length(phrase))
            ELSE ''
        END AS rest,
        CASE place
            WHEN 'begin' THEN regexp_matches(phrase, '[|–—•·»:.!?…)\]-]$')
            ELSE regexp_matches(phrase, '^[|–—•·»:(\[-]') OR regexp_matches(rest, '[|–—•·»:.!?…)\]-] *$')
        END AS is_apart
    FROM sited JOIN (FROM repeats WHERE place IN ('begin', 'end', 'whole')) USING (site) CROSS JOIN config
    WHERE CASE place
        WHEN 'begin' THEN config.cut_repeats AND starts_with(text, phrase || ' ')
        WHEN 'end' THEN config.cut_repeats AND ends_with(text, ' ' || phrase)
        ELSE text = phrase
    END
),
trimmed AS (
    SELECT * REPLACE (trim(regexp_replace(rest, '^[ |–—•·»:,-]+|[ |–—•·»:,(-]+$', '', 'g')) AS rest) FROM found
)
SELECT row, rest, phrase, found, of, is_repeat
FROM trimmed
WHERE is_repeat OR is_apart AND regexp_matches(rest, '\S\S+ +\S\S+')
QUALIFY row_number() OVER (PARTITION BY row ORDER BY is_repeat DESC, length(rest), phrase) = 1
ORDER BY row
"""  # noqa: S608


_STAND = f"""
WITH sited AS (
    SELECT row, text, {_SITE} AS site, {_URL_HASH} AS url_hash FROM rows
)
SELECT
    row,
    max(found) FILTER (place = 'image') AS image_texts,
    max(found) FILTER (place = 'page') AS image_pages,
    max(of) FILTER (place = 'page') AS of_pages
FROM sited JOIN repeats USING (site, url_hash)
WHERE phrase IS NULL OR phrase = text
GROUP BY row
ORDER BY row
"""  # noqa: S608


def samples(rows: pa.Table) -> pa.Table:
    """Map side: each site's images and pages with the least hashes, of a partition. SAMPLES, ordered by all columns.

    rows: url, text, host, page_url.
    """
    return sql.run(_SAMPLES, {"rows": rows}).cast(SAMPLES)


def narrow_samples(
    parts: Iterable[pa.Table], most_rows: int = 1_000_000, rows_at_once: int = ROWS_AT_ONCE
) -> Iterator[pa.Table]:
    """Yield what `samples` would have found in all of some partitions together, whose samples are read one after
    another. SAMPLES of whole sites, `rows_at_once` or one site's, the sites ascending; of a site that is in all
    partitions no more is held than `most_rows`, or what one sample of it may have.
    """
    held, rows = [SAMPLES.empty_table()], 0
    for part in parts:
        held.append(part)
        rows += part.num_rows
        if rows > most_rows:
            held = [SAMPLES.empty_table(), *_narrow_by_sites(pa.concat_tables(held), rows_at_once)]
            rows, most_rows = 0, max(most_rows, 2 * sum(sites.num_rows for sites in held))
    yield from _narrow_by_sites(pa.concat_tables(held), rows_at_once)


def _narrow_by_sites(samples: pa.Table, rows_at_once: int) -> Iterator[pa.Table]:
    for sites in by_sites(samples, rows_at_once):
        yield sql.run(_NARROWED, {"samples": sites}).cast(SAMPLES)


def by_sites(samples: pa.Table, rows_at_once: int) -> Iterator[pa.Table]:
    """Yield the rows of some whole sites after those of others, the sites ascending, each site's rows in the order
    given.

    Args:
        samples: SAMPLES.
        rows_at_once: how many rows a table has, and those of one site more at most.
    """
    number = _slices(samples["site"], rows_at_once)
    for one in np.unique(number):
        yield samples.filter(pa.array(number == one))


def _slices(site: pa.ChunkedArray, rows_at_once: int) -> np.ndarray:
    """Return the number of the slice that each row is in: int32 (n,)."""
    encoded = site.combine_chunks().dictionary_encode()
    sites = encoded.indices.to_numpy()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    last = np.cumsum(np.bincount(sites, minlength=len(order))[order]) - 1
    slices = np.empty(len(order), np.int32)
    slices[order] = last // rows_at_once
    return slices[sites]


def repeats_of_parts(parts: Iterable[pa.Table], config: TextConfig, rows_at_once: int = ROWS_AT_ONCE) -> pa.Table:
    """Return what repeats on each site, of the samples of partitions that have all there is of these sites. REPEATS,
    ordered by all columns.
    """
    tables = [repeats(sites, config) for sites in narrow_samples(parts, rows_at_once=rows_at_once)]
    return pa.concat_tables([REPEATS.empty_table(), *tables])


def repeats(samples: pa.Table, config: TextConfig) -> pa.Table:
    """Return what repeats on each site. REPEATS, ordered by all columns.

    samples: SAMPLES of whole sites, from any number of partitions, in any order.
    """
    limits = ("max_site_images_per_text", "max_site_texts_per_image", "max_site_page_share")
    keys = {name: getattr(config, name) for name in limits}
    return sql.run(_FIND, {"samples": samples}, keys).cast(REPEATS)


def without_repeats(rows: pa.Table, repeats: pa.Table, config: TextConfig) -> pa.Table:
    """Return what repeats in texts: row, rest, phrase, found, of, is_repeat; ordered by row, those without it left out.

    rows: row, text, host, page_url. repeats: REPEATS, at least of these rows' sites.
    """
    return sql.run(_CUT, {"rows": rows, "repeats": repeats}, {"cut_repeats": config.cut_repeats})


def captions(rows: pa.Table, reworded: pa.Array, changes: pa.Array, repeats: pa.Table, config: TextConfig) -> pa.Table:
    """Return the rows whose text is not as extraction wrote it, or that repeat. CAPTIONS, ordered by row.

    rows: row, url, text, host, page_url; ordered by row. reworded, changes: of `filters.texts.wording.reword`.
    """
    table = pa.table({"row": rows["row"], "text": reworded, "reworded": changes})
    cut = without_repeats(rows.set_column(rows.schema.get_field_index("text"), "text", reworded), repeats, config)
    stand = sql.run(_STAND, {"rows": rows, "repeats": repeats})  # by the texts as the samples have them
    return sql.run(_JOINED, {"texts": table, "cut": cut, "stand": stand}).cast(CAPTIONS)


_JOINED = """
SELECT
    row, CASE WHEN is_repeat OR rest IS NULL THEN text ELSE rest END AS text,
    CASE WHEN rest IS NULL OR is_repeat THEN reworded ELSE list_append(reworded, 'repeat') END AS reworded,
    phrase AS repeat, found AS repeat_found, of AS repeat_of, coalesce(is_repeat, false) AS is_repeat,
    image_texts, image_pages, of_pages
FROM texts LEFT JOIN cut USING (row) LEFT JOIN stand USING (row)
WHERE len(reworded) > 0 OR rest IS NOT NULL OR stand.row IS NOT NULL
ORDER BY row
"""
