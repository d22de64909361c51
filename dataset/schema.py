"""The tables of a dataset, as Arrow schemas.

A row is written three times in its life: as a *candidate* (extract), as a *pair* (prebalance) and as a
*sample* (pack). All other tables lie beside one of these, aligned to the same partition by `row`, the row's
index in it: *measures* (what is expensive to know) and *verdicts* (rows that a stage drops).
"""

from __future__ import annotations

import pyarrow as pa

PAIR_ID = pa.binary(16)

PLACE = pa.schema(
    [
        ("page_part", pa.string()),  # in which the image stands, of crawl.pages.places.PARTS
        ("tag_role", pa.string()),  # what the classes around it call it, of ROLES
        ("links_elsewhere", pa.bool_()),  # whether a link around it leads to another site; null if there is no link
        ("tag_width", pa.int32()),  # pixels that the tag gives it
        ("tag_height", pa.int32()),
    ]
)
"""Where on its page an image stands; null if the page does not say, or the text is not of a few words. A WAT says width
and height alone (of any image), a table nothing."""

CANDIDATES = pa.schema(
    [
        ("pair_id", PAIR_ID),
        ("url", pa.string()),  # canonical image URL
        ("text", pa.string()),  # cleaned, personal data masked; never changed later: see CAPTIONS
        ("text_source", pa.string()),  # of crawl.pages.html.TEXT_SOURCES
        ("personal_data", pa.list_(pa.string())),  # the kind of each mask in the text, of personal_data.KINDS
        ("host", pa.string()),  # of url, as dataset.hosts has it: without port and final dot
        ("page_url", pa.string()),
        ("page_status", pa.int32()),  # HTTP status of the page's response
        (
            "page_language",
            pa.string(),
        ),  # as the page declares it: html lang, else og:locale or meta language; null if it does not say
        ("page_noai", pa.bool_()),  # the page's robots meta or X-Robots-Tag says noai or noimageai
        ("page_tdm_reserved", pa.bool_()),  # W3C TDMRep, of the page's header or meta; null if it does not say
        ("page_tdm_unreadable", pa.string()),  # what that says if it is neither 0 nor 1, where nothing reserves them
        ("page_content_signal", pa.string()),  # what the page's header says of training; `unreadable: …` with its text
        ("page_content_usage", pa.string()),  # the same of AIPREF's header, as `train-ai=n`
        ("page_rsl", pa.string()),  # of training, by the RSL license that the page holds; else `license: …`, its URLs
        ("page_license", pa.string()),  # where the page's rel="license" leads; null if it has none
        ("page_date", pa.string()),  # WARC-Date of the page's record, ISO 8601
        *PLACE,
        ("archive", pa.string()),  # the source file, as the config names it
        ("offset", pa.int64()),  # byte offset of the page's record in the (compressed) archive
        ("ordinal", pa.int32()),  # which candidate of the record this is
    ],
    {"row_group_rows": "12500"},  # a host has few candidates in each of many files; a quarter of a usual one is read
)

CAPTIONS = pa.schema(
    [
        ("row", pa.uint32()),
        ("text", pa.string()),  # what is judged, and kept as the pair's text, instead of the candidate's
        ("reworded", pa.list_(pa.string())),  # what was done: markup decoded, a slug made words, a repeat cut off
        ("repeat", pa.string()),  # the phrase of the site that was cut off, or that the text is; null if none
        ("repeat_found", pa.int32()),  # in so many of the site's texts, or, if it is the text, on so many images
        ("repeat_of", pa.int32()),  # that were looked at
        ("is_repeat", pa.bool_()),  # whether the text is nothing else
        ("image_texts", pa.int32()),  # on the site's pages the image has so many texts, if they are too many; else null
        ("image_pages", pa.int32()),  # it has this text on so many of them, if they are most; else null
        ("of_pages", pa.int32()),  # that were looked at; null where image_pages is
    ]
)
"""The candidates whose text is not judged as it was written, or that repeat on their site; `row` as in CANDIDATES."""

ARCHIVE_IMAGES = pa.schema(
    [
        ("url", pa.string()),  # canonical; or what revisits call the image by, which archive_images.names_of says
        ("host", pa.string()),  # of a name the name itself
        ("final_url", pa.string()),  # where redirects led; else url
        ("media_type", pa.string()),  # as the response declares it
        ("archive", pa.string()),
        ("offset", pa.int64()),
        ("archive_checksum", pa.string()),  # of the archive's content; of a remote one, of what its server says of it
    ]
)
"""Responses with an image body that an archive holds; `fetch` can take bytes from there."""

ARCHIVE_LEADS = pa.schema(
    [
        ("url", pa.string()),  # canonical
        ("host", pa.string()),
        ("target", pa.string()),  # canonical; never url itself
        ("target_host", pa.string()),
        ("is_redirect", pa.bool_()),  # else a revisit, whose body was captured at target before
    ]
)
"""Records of an archive that say where else an image may be; `fetch` follows those that a pair's URL leads to."""

SOURCES = pa.schema(
    [
        ("archive", pa.string()),
        ("type", pa.string()),  # warc, wat, arc, table or unknown
        ("start", pa.int64()),  # the byte range that this row speaks of
        ("end", pa.int64()),
        ("records", pa.int64()),
        ("not_sampled", pa.int64()),  # pages, or rows of a table, that extract.sample left out
        ("pages", pa.int64()),
        ("simplified_pages", pa.int64()),  # read without most of their tags, or captions, which would take too long
        ("simplified_page", pa.string()),  # the first of them; null if there is none
        ("images_seen", pa.int64()),  # images in pages (WARC), IMG links (WAT) or rows (table)
        ("candidates", pa.int64()),
        ("no_text", pa.int64()),  # images without any usable text
        ("no_url", pa.int64()),  # images without a usable address
        ("data_uri", pa.int64()),  # images inlined as data:
        ("untyped", pa.int64()),  # bodies without a media type that begin neither as a page nor as an image
        ("damaged_records", pa.int64()),
        ("lost_bytes", pa.int64()),  # bytes that no record could be read from
        ("error", pa.string()),  # why the file could not be read (to its end); null if it could
    ]
)

VERDICTS = pa.schema([("row", pa.uint32()), ("reason", pa.string()), ("evidence", pa.string())])
"""One row for each row that a stage drops; evidence is a JSON object."""

MATCHES = pa.schema([("row", pa.uint32()), ("query_ids", pa.list_(pa.int32()))])
"""Sorted, distinct query ids of each matched row; a row that matches nothing has an empty list."""

QUERIES = pa.schema(
    [
        ("query_id", pa.int32()),
        ("query", pa.string()),
        ("source", pa.string()),
        ("source_score", pa.float64()),
        ("language", pa.string()),  # of the texts that are matched against it; null: of all, by the one list
    ]
)

QUERY_COUNTS = pa.schema([*QUERIES, ("candidate_count", pa.int64()), ("kept_count", pa.int64())])
"""The query list with how many pairs each query had before the first balance, and has in the dataset."""

CAPS = pa.schema([("language", pa.string()), ("cap", pa.int64())])
"""How many pairs fill a query of each language; no rows where one cap holds for all."""

PAIRS = pa.schema(
    [
        *CANDIDATES,  # text: that of CAPTIONS, if there is one; pair_id stays the candidate's
        ("query_ids", pa.list_(pa.int32())),
        ("candidate_partition", pa.int32()),
        ("candidate_row", pa.uint32()),
    ]
)

WISH = ("wish_signal", "wish_value", "wish_place")

OBSERVATIONS = pa.schema(
    [
        ("url", pa.string()),  # canonical
        ("origin", pa.string()),  # http, archive, or adopted (from img2dataset)
        ("outcome", pa.string()),  # ok, or a reason of the fetch stage
        ("detail", pa.string()),  # what exactly, for people; null if an image came
        ("status", pa.int32()),  # HTTP status of the last response; null if there was none
        ("final_url", pa.string()),  # after redirects
        ("attempts", pa.int32()),
        ("fetched_at", pa.string()),  # ISO 8601, UTC; of an archive's image, the date of its record
        ("fetched_bytes", pa.int64()),  # length of the original body
        ("md5", pa.binary(16)),  # of the original body; hash lists are kept in both kinds; null if adopted
        ("sha256", pa.binary(32)),
        ("media_type", pa.string()),  # as decoded, e.g. image/jpeg
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("width", pa.int32()),  # as stored
        ("height", pa.int32()),
        ("pdq", pa.binary(32)),
        ("pdq_quality", pa.int32()),  # 0..100
        ("mean_rgb", pa.binary(3)),
        ("pixel_hash", pa.binary(16)),  # XXH3 of the decoded pixels, reduced to the stored size; null in an older store
        ("data_mining", pa.string()),  # what the file's XMP says by PLUS's term, as DMI-ALLOWED, or its C2PA manifest
        ("other_constraints", pa.string()),  # PLUS's, in words; these and the next: null in an older store
        ("creator", pa.string()),  # of XMP, else EXIF, else IPTC's data sets; several with semicolons between them
        ("credit", pa.string()),
        ("copyright_notice", pa.string()),
        ("rights_url", pa.string()),  # XMP's web statement of rights
        ("blob", pa.string()),  # file of the fetch store that holds the stored bytes
        ("blob_offset", pa.int64()),
        ("blob_length", pa.int64()),
        ("blob_checksum", pa.uint64()),  # XXH3 of these bytes; null where an older version wrote them
        ("wish_signal", pa.string()),  # by which the owner refuses, as Content-Signal; if accepted: what cannot be read
        ("wish_value", pa.string()),  # what it says
        ("wish_place", pa.string()),  # where: robots.txt, header, …
        ("etag", pa.string()),  # of the response, for a conditional request later
        ("last_modified", pa.string()),
        ("archive", pa.string()),  # that the image was taken from; null if it was not taken from one
        ("archive_checksum", pa.string()),  # what it was then; null where an older version wrote the row
        ("archive_offset", pa.int64()),
    ]
)
"""The fetch store: one row per attempt to get an image, append-only."""

_PLACES = ("archive", "archive_checksum", "archive_offset")
_CHANGING = ("fetched_at", "attempts", "detail", "etag", "last_modified", *_PLACES)

IMAGES = pa.schema(
    [
        ("row", pa.uint32()),
        ("url_id", pa.binary(8)),  # the first half of the pair_id
        ("host", pa.string()),  # of url, as in CANDIDATES; what an older version wrote has none
        *[field for field in OBSERVATIONS if field.name not in _CHANGING],
    ]
)
"""One row per distinct URL of a pair partition, without what changes between two runs, or between two archives that
hold the same."""

FACES = pa.schema(
    [
        ("row", pa.uint32()),
        ("face_bboxes", pa.list_(pa.list_(pa.float32()))),  # x_min, y_min, x_max, y_max as shares of width and height
        ("face_scores", pa.list_(pa.float32())),
    ]
)
"""One row per image that a detector of faces looked at; `row` as in IMAGES."""

NSFW = pa.schema([("row", pa.uint32()), ("nsfw_probability", pa.float32())])
"""One row per measured image; `row` as in IMAGES."""

TEXT_MEASURES = pa.schema(
    [
        ("row", pa.uint32()),
        ("language", pa.string()),
        ("language_probability", pa.float32()),
        ("profanity_probability", pa.float32()),  # null where it was not asked for, or the text is not English
        ("is_undetermined", pa.bool_()),  # whether the text is in no language, such as a name
        ("characters", pa.int32()),
        ("words", pa.int32()),
        ("is_filename", pa.bool_()),
        ("texts_on_page", pa.int32()),  # that the image has there, of one source
        ("not_captions", pa.list_(pa.struct([("kind", pa.string()), ("found", pa.string())]))),
        ("blocked_domains", pa.list_(pa.struct([(name, pa.string()) for name in ("entry", "list", "category")]))),
        ("blocked_terms", pa.list_(pa.struct([(name, pa.string()) for name in ("term", "list", "language")]))),
        ("unsafe_address", pa.string()),  # what marks the image's or the page's address so; null where nothing does
    ]
)
"""What the stage `text` measures of a text and where it stands, by which it decides; `row` as in CANDIDATES. A file has
other columns too, and what an older version wrote has fewer."""

CLIP_SCORES = pa.schema([("row", pa.uint32()), ("clip_score", pa.float32())])
"""One row per measured pair; `row` as in PAIRS."""

CELLS = pa.schema([("row", pa.uint32()), ("cell", pa.int32()), ("cell_cosine", pa.float32())])
"""One row per embedded image: which cell of similar images it is in, and how near its centre; `row` as in IMAGES."""

SAMPLES = pa.schema(
    [
        ("shard", pa.string()),  # file name below shards/
        ("key", pa.string()),
        ("split", pa.string()),  # train or heldout
        ("offset", pa.int64()),  # of the sample's first tar header in the shard
        ("size", pa.int64()),  # up to the next sample's first header
        ("pair_id", PAIR_ID),
        ("url", pa.string()),
        ("text", pa.string()),
        ("text_source", pa.string()),
        ("page_url", pa.string()),
        ("archive", pa.string()),
        ("archive_offset", pa.int64()),
        ("query_ids", pa.list_(pa.int32())),
        ("sha256", pa.binary(32)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("checksum", pa.uint64()),  # XXH3 of the sample's bytes in the shard, headers and all
    ],
    {"row_group_rows": "5000"},  # a host has few samples in each of many shards; half a shard's table is read for them
)
SHARD_INDEX = pa.schema(
    [SAMPLES.field(name) for name in ("shard", "key", "split", "offset", "size", "pair_id", "checksum")]
)

LOOKUP = pa.schema(
    [
        ("hash", pa.int64()),  # the first 5 bytes of the MD5 of a value, of a sha256 its own; see dataset.ledger.lookup
        ("key", pa.string()),  # the column whose value it is: url, page_url, host or sha256
        ("rows", pa.string()),  # of which rows: candidates, pairs, samples; or duplicates, dropped for this image
        ("partition", pa.int32()),  # one that has the value: of candidates, of pairs, or a shard's
    ]
)
"""Which partitions have a value, ordered by hash; a row stands for all rows of a partition that have it."""
