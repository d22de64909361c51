"""What a dataset is: its tables, its store, its shards and the views to ask it questions.

>>> import openwit
>>> openwit.open("out/demo").sql("SELECT * FROM funnel")        # a DuckDB relation
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataset.query.views import Dataset


def open(url: str, **options: Any) -> Dataset:
    """Open the dataset at a path or `s3://` URL; see `dataset.query.views.Dataset`."""
    from dataset.query.views import Dataset  # duckdb is only needed here; a GPU node has none

    return Dataset(url, **options)
