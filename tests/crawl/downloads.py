"""What img2dataset makes of addresses: its own downloader, resizer and writer, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa


def download(folder: Path, urls: Sequence[str], shard: int = 0, **changes: Any) -> Path:
    """The Parquet file of a shard of img2dataset's output, with its defaults but for the size; the tar is beside it."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for its newest version
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    folder.mkdir(exist_ok=True)
    listed = folder / f"{shard}.feather"
    with pa.ipc.new_file(str(listed), pa.schema([("url", pa.string())])) as writer:
        writer.write_table(pa.table({"url": list(urls)}))
    options: dict[str, Any] = {
        "sample_writer_class": WebDatasetSampleWriter,
        "resizer": Resizer(256, "keep_ratio", True),
        "thread_count": 4,
        "save_caption": False,
        "extract_exif": True,
        "output_folder": str(folder),
        "column_list": ["url"],
        "timeout": 10,
        "number_sample_per_shard": 10_000,
        "oom_shard_count": 5,
        "compute_hash": "sha256",
        "verify_hash_type": None,
        "encode_format": "jpg",
        "retries": 0,
        "user_agent_token": None,
        "disallowed_header_directives": ["noai"],
    }
    Downloader(**{**options, **changes})((shard, str(listed)))
    return folder / f"{shard:05d}.parquet"
