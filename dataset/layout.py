"""Where the files lie in a dataset's folder that a person opens."""

from __future__ import annotations

REPORT, SHEET = "report.html", "decontamination.html"
INDEX_PARTS, QUERIES = "shards/index", "queries.parquet"
INDEX = "shards/index.parquet"
"""Where older versions of openwit wrote the whole index, as one file."""
WITH_PICTURES = (REPORT, SHEET)
"""The pages that may show an image, and so must go when a hash list names it."""
