"""img2dataset 1.45's own output (its writer.py and logger.py), of a partition of `bench.inputs.large_dataset`."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def like_img2dataset(
    out: str, partition: int, connection: duckdb.DuckDBPyConnection, rows: pa.Table, images: pa.Table
) -> None:
    """Write pairs, and what became of their images, in OUT/img2dataset.

    rows, images: as `bench.inputs.large_dataset.pairs` has them; the connection's queries see them by these names.
    """
    table = connection.sql("""
        SELECT url, text AS caption, lpad(images.row::VARCHAR, 9, '0') AS key,
               CASE outcome WHEN 'ok' THEN 'success' ELSE 'failed_to_download' END AS status,
               CASE outcome WHEN 'ok' THEN NULL WHEN 'dns_failed'
                    THEN '<urlopen error [Errno -2] Name or service not known>'
                    ELSE 'HTTP Error 404: Not Found' END AS error_message,
               width, height, original_width, original_height, '{}' AS exif, lower(hex(sha256)) AS sha256
        FROM rows JOIN images USING (row, url) ORDER BY row
    """).to_arrow_table()
    there = Path(out) / "img2dataset"
    there.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, there / f"{partition:05d}.parquet")
    failed = pc.sum(pc.equal(table.column("status"), "failed_to_download")).as_py() or 0
    causes = {row["values"]: row["counts"] for row in pc.value_counts(table.column("error_message")).to_pylist()}
    stats = {"count": table.num_rows, "successes": table.num_rows - failed, "failed_to_download": failed}
    stats |= {
        "failed_to_resize": 0,
        "duration": 100.0,
        "status_dict": {key or "success": n for key, n in causes.items()},
    }
    (there / f"{partition:05d}_stats.json").write_text(json.dumps(stats))
