"""Images that img2dataset has downloaded already: its Parquet files and the WebDataset tars beside them.

What a shard's Parquet says of a row (URL, status, SHA-256 and size of the original) is believed; the bytes, which
img2dataset has made anew, are decoded and held against the hash lists like any others. What it does not record stays
null: the original's MD5, type, length, and when it was fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawl.images.observations import Ingested, RefusedBody
from crawl.tables.parquet import strings
from crawl.urls import canonical_url
from dataset.hosts import hostname
from dataset.store.storage import is_local, open_input
from dataset.tables import read_parquet_file
from dataset.webdataset.tar import DamagedTarError, by_offset, members

ADOPTED = pa.schema(
    [
        ("url", pa.string()),  # canonical
        ("host", pa.string()),  # as dataset.hosts has it
        ("tar", pa.string()),
        ("offset", pa.int64()),  # of the image's bytes in the tar
        ("length", pa.int64()),
        ("sha256", pa.binary(32)),  # of the original body
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
    ]
)
_COLUMNS = ("url", "key", "status", "sha256", "original_width", "original_height")
_SIZES = ("original_width", "original_height")
_ENDINGS = (".jpg", ".webp", ".png")
_SHA256 = "^[0-9a-f]{64}$"


def check(parquet: str) -> None:
    """Check whether a file can be adopted, by its columns and the tar beside it.

    Raises:
        ValueError: it cannot; the message is a sentence that names the file.
    """
    try:
        with open_input(parquet) as file:
            names = pq.read_schema(file).names
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ValueError(f"{parquet} cannot be read as Parquet: {error}") from None
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise ValueError(
            f"{parquet} has no column {missing[0]}; only what img2dataset wrote with compute_hash=sha256 can be adopted"
        )
    try:
        with open_input(_tar(parquet)):
            pass
    except OSError:
        raise ValueError(
            f"{parquet} has no {_tar(parquet)} beside it; only output_format=webdataset can be adopted"
        ) from None


def index(parquet: str) -> pa.Table:
    """Return the images of one shard, as ADOPTED, in the order of the file: its rows of success whose bytes are in the
    tar.

    Raises:
        ValueError: see `check`; or a column holds something else, or the tar is none.
    """
    check(parquet)
    table = _table(parquet)
    whole = pc.and_(pc.equal(table["status"], "success"), pc.match_substring_regex(table["sha256"], _SHA256))
    places = _members(_tar(parquet))
    rows = []
    for row in table.filter(pc.fill_null(whole, False)).to_pylist():
        url, place = canonical_url(row["url"] or ""), places.get(row["key"])
        if url is not None and place is not None:
            rows.append(
                {
                    "url": url,
                    "host": hostname(url),
                    "tar": _tar(parquet),
                    "offset": place[0],
                    "length": place[1],
                    "sha256": bytes.fromhex(row["sha256"]),
                    "original_width": row["original_width"],
                    "original_height": row["original_height"],
                }
            )
    return pa.Table.from_pylist(rows, schema=ADOPTED)


def _table(parquet: str) -> pa.Table:
    """The columns of a shard's Parquet file; bytes of a text that are not UTF-8 become U+FFFD."""
    with open_input(parquet) as file:
        table = read_parquet_file(file, parquet, _COLUMNS)
    columns = {}
    for name in _COLUMNS:
        values = table[name].combine_chunks()
        try:
            columns[name] = values.cast(pa.int32()) if name in _SIZES else strings(values)
        except pa.ArrowException:
            raise ValueError(
                f"{parquet} holds {str(values.type)[:80]} in its column {name}, which is none of img2dataset's; "
                "take the file out of fetch.adopt"
            ) from None
    return pa.table(columns)


def _tar(parquet: str) -> str:
    return parquet.removesuffix(".parquet") + ".tar"


def _members(tar: str) -> dict[str, tuple[int, int]]:
    """Key -> (offset, length) of its image."""
    place_of_key: dict[str, tuple[int, int]] = {}
    try:
        with open_input(tar) as file:
            for member in members(by_offset(file, is_local(tar)), file.size()):
                key, dot, ending = member.name.partition(".")
                if member.kind == "file" and f"{dot}{ending}" in _ENDINGS:
                    place_of_key[key] = member.data, member.size
    except DamagedTarError as error:
        raise ValueError(f"{tar} cannot be read as a tar: at byte {error.position}, {error}") from None
    return place_of_key


def read(rows: pa.Table, limit: int) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Yield rows of ADOPTED and their images' bytes, tar by tar; None for one of more than `limit` bytes.

    Raises:
        OSError: a tar is gone or cannot be read.
    """
    by_tar: dict[str, list[dict[str, Any]]] = {}
    for row in rows.sort_by([("tar", "ascending"), ("offset", "ascending")]).to_pylist():
        by_tar.setdefault(row["tar"], []).append(row)
    for tar, listed in by_tar.items():
        with open_input(tar) as file:
            for row in listed:
                file.seek(row["offset"])
                yield row, file.read(row["length"]) if row["length"] <= limit else None


def ingest_download(
    row: Mapping[str, Any], body: bytes | None, ingest: Callable[[bytes], Ingested | RefusedBody]
) -> Ingested | RefusedBody:
    """Return what an image's bytes, as `read` gives them, come to: under the SHA-256 and the size that its original
    had.
    """
    if body is None:
        return RefusedBody("body_too_large", f"{row['length']} bytes in {row['tar']}")
    result = ingest(body)
    if isinstance(result, RefusedBody):
        return result
    return replace(
        result,
        md5=None,
        media_type=None,
        sha256=row["sha256"],
        original_width=row["original_width"],
        original_height=row["original_height"],
    )
