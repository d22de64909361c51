"""What stands around a text: its page, its image's address, and the page's other texts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from filters.texts.language import first_guess
from filters.texts.not_captions import not_captions
from filters.texts.text import TextConfig
from filters.texts.unsafe_addresses import unsafe_addresses

_TEXTS_ON_PAGE = """
WITH texts AS (
    SELECT archive, "offset", url, text_source, count(DISTINCT text) AS texts
    FROM rows
    WHERE coalesce(page_url, '') <> ''  -- a table's rows are on no page
    GROUP BY ALL
), most AS (
    SELECT archive, "offset", url, max(texts) AS texts FROM texts GROUP BY ALL
)
SELECT coalesce(texts, 1)::INTEGER AS texts_on_page
FROM rows LEFT JOIN most USING (archive, "offset", url)
ORDER BY rows.row
"""


def in_context(rows: pa.Table, measures: pa.Table, config: TextConfig) -> pa.Table:
    """Return what is measured on texts, with what their surroundings say.

    rows: row, url, text, text_source, page_url, page_language, archive, offset; all of a partition, so that a page is
    whole, whether they were measured or not.
    measures: of `filters.texts.text.measure_text`; both ordered by row.
    Returns: measures with language, language_probability and is_undetermined (by sql/decisions/language.sql),
    texts_on_page (how many texts the image has on its page), not_captions (list of filters.texts.not_captions.FOUND)
    and unsafe_address (what marks an address so, else null); ordered by row.
    """
    language = _language(rows, measures, config)
    rows = rows.append_column("texts_on_page", sql.run(_TEXTS_ON_PAGE, {"rows": rows})["texts_on_page"])
    rows = rows.append_column("not_captions", not_captions(rows))
    rows = rows.append_column("unsafe_address", unsafe_addresses(rows))
    if rows.num_rows != measures.num_rows:  # some were left out
        rows = rows.filter(pc.is_in(rows["row"], value_set=measures["row"].combine_chunks()))
    for table, names in (
        (language, language.column_names[1:]),
        (rows, ("texts_on_page", "not_captions", "unsafe_address")),
    ):
        for name in names:
            measures = measures.append_column(name, table[name])
    return measures


def _language(rows: pa.Table, measures: pa.Table, config: TextConfig) -> pa.Table:
    """row, language, language_probability, is_undetermined; ordered by row."""
    if config.language_context:
        keys = {"language_min_probability": config.language_min_probability}
        return sql.run(sql.load("decisions/language"), {"rows": rows, "measures": measures}, keys)
    best = first_guess(measures["language_guesses"].combine_chunks())
    return pa.table(
        {
            "row": measures["row"],
            "language": pc.struct_field(best, "language"),
            "language_probability": pc.struct_field(best, "probability"),
            "is_undetermined": pa.repeat(pa.scalar(False), len(measures)),
        }
    )
