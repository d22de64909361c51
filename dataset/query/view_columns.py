"""What each view is, and each of its columns, in a sentence: for `views.sql`, docs/views.md and the shell.

`python -m dataset.query.view_columns` prints docs/views.md.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import duckdb

from dataset.ledger.committed import Committed
from dataset.query.view_tables import constants, tables, views
from dataset.store.storage import Storage

OWN = "A measure of the config's own image models, heads or filters."
"""What is said of a column that a config names, which only its dataset has."""
_PAIR_ID = "32 hexadecimal digits: 16 of the canonical URL's hash, 16 of the text's."
_URL = "The image's canonical address."
_HOST = "The host of the image's address."
_TEXT = "The caption or alt text: cleaned, personal data masked."
_ARCHIVE = "The source file, as the config names it."
_OFFSET = "The byte at which the page's record begins in the source file; of a table, the row."
_ORDINAL = "Which candidate of its record this is, from 0."
_PARTITION = "Which partition of the work the row is in."
_ROW = "Which row of its partition this is, from 0."
_WIDTH, _HEIGHT = "Width of the stored image, in pixels.", "Height of the stored image, in pixels."
_SHA256 = "SHA-256 of the image's bytes as they were fetched, in hexadecimal digits."
_SAFE = "How likely the image is not safe for work, from 0 to 1; null where no model measured it."
VIEW_COLUMNS: dict[str, tuple[str, dict[str, str]]] = {
    "funnel": (
        "How many rows each stage got, kept and dropped, in the order of the stages.",
        {
            "stage": "The stage's name.",
            "input": "Rows that the stage got: candidates up to prebalance, pairs after it.",
            "kept": "Rows that it passed on.",
            "dropped": "Rows that it dropped, each with its reason in `dropped`; input is kept plus dropped.",
        },
    ),
    "sources": (
        "One row per source file: what was in it, what became candidates, and what did not and why.",
        {
            "file": _ARCHIVE,
            "type": "What it is by its first bytes: warc, wat, arc, table or unknown.",
            "records": "Records, or rows of a table.",
            "not_sampled": "Pages or rows that extract.sample left out.",
            "pages": "Pages that were read.",
            "simplified_pages": "Pages that were read without most of their tags, which would take too long.",
            "simplified_page": "The first of these pages; null if there is none.",
            "images_seen": "Images in pages, IMG links of a WAT, or rows of a table.",
            "candidates": "Images with a text and a usable address.",
            "no_text": "Images without any usable text.",
            "no_url": "Images without a usable address.",
            "data_uri": "Images that the page holds itself, as data: addresses.",
            "untyped": "Bodies without a media type that begin neither as a page nor as an image.",
            "damaged_records": "Records that could not be read.",
            "lost_bytes": "Bytes that no record could be read from.",
            "error": "Why the file could not be read to its end; null if it could.",
        },
    ),
    "candidates": (
        "One row per occurrence of an image with a text in a source file.",
        {
            "pair_id": _PAIR_ID,
            "partition": _PARTITION,
            "row": _ROW,
            "url": _URL,
            "text": _TEXT,
            "text_source": "Where the text stood: alt, title, a caption and others, see docs/sources.md.",
            "personal_data": "The kind of each mask in the text.",
            "host": _HOST,
            "page_url": "The page's address.",
            "page_status": "HTTP status of the page's response.",
            "page_language": "The language that the page says it is in; null if it does not say.",
            "page_noai": "Whether the page asks not to be used for machine learning (noai, noimageai).",
            "page_tdm_reserved": "Whether the page reserves text and data mining (TDMRep); null if it does not say.",
            "page_tdm_unreadable": "What the page's tdm-reservation says if it is neither 0 nor 1; else null.",
            "page_content_signal": "What the page's Content-Signal says of training; null if it says nothing.",
            "page_content_usage": "What the page's Content-Usage says (AIPREF); null if it has none.",
            "page_rsl": "What an RSL license in the page says of training, or `license: ` and where those are that it "
            "names; null if there is none.",
            "page_license": "Where the page's rel=license leads; null if it has none.",
            "page_date": "When the page was captured, ISO 8601.",
            "page_part": "In which part of the page the image stands: navigation, header, footer, aside or content; "
            "null if it does not say, or the text is no short one.",
            "tag_role": "What the classes around the image call it: logo, avatar or advertisement; null if nothing.",
            "links_elsewhere": "Whether a link around the image leads to another site; null if there is none.",
            "tag_width": "The width that the image's tag says, in pixels; null if it says none.",
            "tag_height": "The height that the image's tag says, in pixels; null if it says none.",
            "archive": _ARCHIVE,
            "offset": _OFFSET,
            "ordinal": _ORDINAL,
            "url_group": "The address without what makes variants of one image in other sizes or formats; a guess.",
        },
    ),
    "matches": (
        "Which queries each candidate's text contains: one row per candidate and query.",
        {
            "pair_id": _PAIR_ID,
            "query_id": "The query, as in `queries`.",
            "partition": _PARTITION,
            "row": _ROW,
        },
    ),
    "queries": (
        "The query list, with how many pairs each query has.",
        {
            "query_id": "The query's number in the list, from 0.",
            "query": "The query: a word or several.",
            "source": "Where the list has it from.",
            "source_score": "What that source ranks it by, such as how often it occurs.",
            "language": "The language of the texts that are matched against it; null: all texts.",
            "candidate_count": "Distinct pairs whose text contains it, before the first balance; null before that.",
            "kept_count": "Pairs of the dataset whose text contains it; null before pack.",
        },
    ),
    "caps": (
        "How many pairs fill a query of each language; no rows where one cap holds for all.",
        {"language": "The language of the queries.", "cap": "How many pairs fill one of them."},
    ),
    "dropped": (
        "Every row that did not reach the shards: which stage dropped it, why, and on what evidence.",
        {
            "pair_id": _PAIR_ID,
            "url": _URL,
            "host": _HOST,
            "text": _TEXT,
            "stage": "The stage that dropped it.",
            "reason": "Why, in one word of `reasons`.",
            "evidence": "What the reason rests on, as a JSON object: a score, the duplicate, the query that was full.",
            "page_url": "The page's address.",
            "archive": _ARCHIVE,
            "offset": _OFFSET,
            "ordinal": _ORDINAL,
        },
    ),
    "settings": (
        "The config that the dataset was made by: a row a key.",
        {"key": "The key's dotted name, such as image.min_side.", "value": "Its value; lists and numbers as JSON."},
    ),
    "reasons": (
        "Why a row can be dropped: every reason, the stage that gives it, and a sentence.",
        {"reason": "The word in `dropped`.", "stage": "The stage that gives it.", "meaning": "What it means."},
    ),
    "images": (
        "What fetching each image came to, and what was measured on it; one row per image URL and partition.",
        {
            "url": _URL,
            "host": _HOST,
            "origin": "Where its bytes are from: http, archive, or adopted from img2dataset.",
            "outcome": "ok, or the reason why there is no image.",
            "status": "HTTP status of the last response; null if there was none.",
            "final_url": "The address after redirects.",
            "fetched_bytes": "Length of the body as it was fetched.",
            "sha256": _SHA256,
            "media_type": "What the image is, as it was decoded.",
            "original_width": "Width of the fetched image, in pixels.",
            "original_height": "Height of the fetched image, in pixels.",
            "width": _WIDTH,
            "height": _HEIGHT,
            "pdq": "PDQ, a perceptual hash of 256 bits, in hexadecimal digits.",
            "pdq_quality": "How much PDQ found to go by, from 0 to 100.",
            "nsfw_probability": _SAFE,
            "data_mining": "What its file says of data mining: PLUS's term, as DMI-ALLOWED, else its C2PA manifest's.",
            "other_constraints": "PLUS's other constraints of its XMP, in words.",
            "creator": "Who made it, by its file's XMP, EXIF or IPTC data sets.",
            "credit": "Whom to credit, by the same.",
            "copyright_notice": "Its copyright notice, by the same.",
            "rights_url": "Where its rights are stated, by its XMP.",
            "wish_signal": "By which signal the owner refuses; of an accepted image, the one that cannot be read.",
            "wish_value": "What that signal says.",
            "wish_place": "Where it stands: header, robots.txt, /.well-known/tdmrep.json.",
            "blob": "The file of the fetch store that holds the stored bytes.",
            "blob_offset": "Where in that file they begin.",
            "blob_length": "How many bytes they are.",
            "blob_checksum": "XXH3 of these bytes.",
            "url_id": "The first 16 digits of its pairs' pair_id.",
            "partition": _PARTITION,
            "row": "Which row of its partition this is, from 0; of images, not of pairs.",
        },
    ),
    "scores": (
        "What models say of each pair: one row per pair whose image came, null where nobody measured it.",
        {
            "pair_id": _PAIR_ID,
            "url": _URL,
            "text": _TEXT,
            "language": "The text's language by lid.176.",
            "language_probability": "How sure that model is, from 0 to 1.",
            "profanity_probability": "How likely an English text is profane, from 0 to 1.",
            "nsfw_probability": _SAFE,
            "clip_score": "Cosine of the image's and the text's embeddings.",
            "face_bboxes": "Faces: x_min, y_min, x_max, y_max as shares of width and height.",
            "face_scores": "How sure the detector is of each face, from 0 to 1.",
            "cell": "Which cell of similar images it is in.",
            "cell_cosine": "How near the centre of that cell it is.",
        },
    ),
    "pairs": (
        "The dataset: every sample, with where it lies in the shards and where it came from.",
        {
            "pair_id": _PAIR_ID,
            "url": _URL,
            "host": _HOST,
            "text": _TEXT,
            "text_source": "Where the text stood, as in `candidates`.",
            "page_url": "The page's address.",
            "archive": _ARCHIVE,
            "archive_offset": _OFFSET,
            "shard": "The tar below shards/ that holds the sample.",
            "key": "The sample's key in it.",
            "split": "train, or heldout: never trained on.",
            "offset": "The byte at which the sample begins in the tar.",
            "size": "How many bytes of the tar it takes.",
            "checksum": "XXH3 of these bytes.",
            "width": _WIDTH,
            "height": _HEIGHT,
            "sha256": _SHA256,
            "query_ids": "The queries that the text contains, as in `queries`.",
        },
    ),
}
"""View -> its sentence, and column -> sentence; in the order in which a dataset is best read."""


@cache
def types() -> dict[str, dict[str, str]]:
    """Return the columns that every dataset's views have, in their order, with DuckDB's types."""
    connection = duckdb.connect()
    nothing = Committed(Storage(str(Path(__file__).with_name("no dataset"))))
    for table in tables(nothing):
        connection.register(table.name, table.numbered_schema.empty_table())
    for name, make in constants(nothing).items():
        connection.register(name, make())
    for view, text in views().items():
        connection.execute(f"CREATE TEMP VIEW {view} AS {text}")
    return {
        view: {row[0]: row[1] for row in connection.execute(f"DESCRIBE {view}").fetchall()} for view in VIEW_COLUMNS
    }


def markdown() -> str:
    """Return the text of docs/views.md."""
    lines = [
        "# The views of a dataset",
        "",
        "Written by `python -m dataset.query.view_columns`. Every view is there always; of a stage that has not run,",
        "or is switched off, it is empty. `OUT/views.sql` makes the same views in any DuckDB: see [asking](asking.md).",
    ]
    for view, (sentence, columns) in VIEW_COLUMNS.items():
        lines += ["", f"## {view}", "", sentence, "", "| column | type | |", "| --- | --- | --- |"]
        lines += [f"| `{name}` | {kind} | {columns[name]} |" for name, kind in types()[view].items()]
        if view == "scores":
            lines += ["", f"Further columns have the names that the config gives them. {OWN}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
