"""A dataset made by hand: what a stage would have committed, without the stage, so that a test can say exactly what
is in it, hostile text and missing rows included.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from dataset.ids import checksum, pair_id
from dataset.ledger.commits import Commit, FileRef, Ledger, folder, write_manifest
from dataset.schema import CANDIDATES, IMAGES, PAIRS, QUERIES, SAMPLES, SOURCES, VERDICTS
from dataset.schema import MATCHES as MATCHED
from dataset.stages import judging_stages, names
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import write_shard

ARCHIVE = "/somewhere/on/a/disk/crawl.warc.gz"
COUNTED = pa.schema([*QUERIES, ("candidate_count", pa.int64()), ("kept_count", pa.int64())])


class HandMade:
    """Candidates of one archive and one partition; each is kept, or dropped by a stage."""

    def __init__(self, out: Path | str, name: str = "hand-made", cap: int = 2):
        self.storage = Storage(str(out))
        self.phases: list[dict[str, Any]] = []
        self.storage.write("config.yaml", json.dumps({"name": name, "balance": {"cap": cap}}).encode())

    def commit(self, phase: str, tables: dict[str, tuple[pa.Table, pa.Schema]], **counts: int) -> None:
        """Commit a phase of one partition."""
        files = {}
        for role, (table, schema) in tables.items():
            data = to_parquet(table, schema)
            name = f"{folder(phase)}/{role}-00000-by-hand.parquet"
            self.storage.write(name, data)
            files[role] = FileRef(name, len(memoryview(data)), checksum(data), table.num_rows)
        ledger = Ledger(self.storage, phase)
        digest = ledger.close([Commit(phase, 0, "by-hand", files, counts)])
        self.phases.append({"phase": phase, "partitions": 1, "records": ledger.closed_name, "checksum": digest})

    def write(self, candidates: Sequence[dict[str, Any]], error: str | None = None, to: str = names()[-1]) -> str:
        """Write all stages up to `to`; returns where.

        Each candidate has `url` and `text`, and `drop`: (stage, reason, evidence) if it is dropped.
        """
        rows = [_candidate(number, item) for number, item in enumerate(candidates)]
        source = {**dict.fromkeys(SOURCES.names, 0), "archive": ARCHIVE, "type": "warc", "candidates": len(rows)}
        source["simplified_page"] = None
        self.commit(
            "extract.candidates",
            {
                "candidates": (pa.Table.from_pylist(rows, CANDIDATES), CANDIDATES),
                "sources": (pa.Table.from_pylist([{**source, "error": error}], SOURCES), SOURCES),
            },
        )
        alive = list(range(len(rows)))
        funnel = {"extract": {"input": len(rows), "kept": len(rows), "dropped": 0}}
        of_pair: dict[int, int] = {}
        for stage in names()[1 : names().index(to) + 1]:
            if stage == "match":
                matches = pa.table({"row": pa.array(alive, pa.uint32()), "query_ids": [[0]] * len(alive)})
                self.commit("match.measure", {"measures": (matches, MATCHED)})
                self._queries("match.queries", QUERIES, len(alive))
            if stage == "fetch":
                of_pair = self._pairs(rows, alive)
            if stage == "pack":
                self._shard(rows, alive)
                self._queries("pack.queries", COUNTED, len(alive))
                funnel[stage] = {"input": len(alive), "kept": len(alive), "dropped": 0}
                break
            gone = [row for row in alive if candidates[row].get("drop", ("",))[0] == stage]
            numbers = (
                gone
                if stage in {item.name for item in judging_stages("candidates")}
                else [of_pair[row] for row in gone]
            )
            drops = [candidates[row]["drop"] for row in gone]
            verdicts = pa.table(
                {
                    "row": pa.array(numbers, pa.uint32()),
                    "reason": pa.array([drop[1] for drop in drops], pa.string()),
                    "evidence": pa.array([json.dumps(drop[2]) for drop in drops], pa.string()),
                }
            ).sort_by("row")
            left = [row for row in alive if row not in gone]
            counts = {f"reason:{drop[1]}": sum(other[1] == drop[1] for other in drops) for drop in drops}
            self.commit(f"{stage}.decide", {"verdicts": (verdicts, VERDICTS)}, **counts)
            funnel[stage] = {"input": len(alive), "kept": len(left), "dropped": len(gone)}
            alive = left
        self.manifest(funnel, complete=to == names()[-1])
        return self.storage.url

    def manifest(self, funnel: dict[str, dict[str, int]], *, complete: bool) -> None:
        """Write the manifest."""
        write_manifest(
            self.storage, {"format": 1, "complete": complete, "name": "x", "phases": self.phases, "funnel": funnel}
        )

    def _queries(self, phase: str, schema: pa.Schema, count: int) -> None:
        row = {"query_id": 0, "query": "<b>rose</b>", "source": "extra", "candidate_count": 9, "kept_count": count}
        self.commit(phase, {"queries": (pa.Table.from_pylist([row], COUNTED), schema)})

    def _pairs(self, rows: Sequence[dict[str, Any]], alive: Sequence[int]) -> dict[int, int]:
        """Pairs and their images; the row of each candidate's pair."""
        order = sorted(alive, key=lambda row: rows[row]["pair_id"])
        extra = {"query_ids": [0], "candidate_partition": 0}
        pairs = [{**rows[row], **extra, "candidate_row": row} for row in order]
        self.commit("prebalance.pairs", {"pairs": (pa.Table.from_pylist(pairs, PAIRS), PAIRS)})
        urls = sorted({rows[row]["url"] for row in alive}, key=lambda url: pair_id(url, ""))
        bodies = [picture(number) for number in range(len(urls))]
        self.storage.write("fetch/store/by-hand.blob", b"".join(bodies))
        images = [
            {
                "row": number,
                "url": url,
                "url_id": pair_id(url, "")[:8],
                "origin": "archive",
                "outcome": "ok",
                "fetched_bytes": len(bodies[number]),
                "blob": "fetch/store/by-hand.blob",
                "blob_offset": sum(map(len, bodies[:number])),
                "blob_length": len(bodies[number]),
            }
            for number, url in enumerate(urls)
        ]
        self.commit("fetch.get", {"images": (pa.Table.from_pylist(images, IMAGES), IMAGES)})
        return {row: number for number, row in enumerate(order)}

    def _shard(self, rows: Sequence[dict[str, Any]], alive: Sequence[int]) -> None:
        tar = io.BytesIO()
        samples = [(f"{row:011d}", {"jpg": picture(row), "txt": rows[row]["text"].encode()}) for row in alive]
        entries = write_shard(samples, tar)
        self.storage.write("shards/train-00000.tar", tar.getvalue())
        table = pa.Table.from_pylist(
            [
                {
                    **rows[row],
                    "shard": "train-00000.tar",
                    "key": key,
                    "split": "train",
                    "offset": offset,
                    "size": size,
                    "checksum": digest,
                    "archive_offset": rows[row]["offset"],
                    "query_ids": [0],
                    "sha256": row.to_bytes(32, "big"),
                    "width": 96,
                    "height": 64,
                }
                for row, (key, offset, size, digest) in zip(alive, entries, strict=True)
            ],
            SAMPLES,
        )
        self.commit("pack.shard", {"samples": (table, SAMPLES)})


SILENT_PAGE = {
    "page_status": 200,
    "page_noai": False,
    **dict.fromkeys(("page_tdm_reserved", "page_tdm_unreadable", "page_content_signal", "page_content_usage")),
    **dict.fromkeys(("page_rsl", "page_license", "page_part", "tag_role", "links_elsewhere")),
    **dict.fromkeys(("tag_width", "tag_height")),
}
"""What a candidate has of a page that asks nothing and of a tag that says nothing."""


def picture(number: int) -> bytes:
    """A JPEG of one colour."""
    sink = io.BytesIO()
    Image.new("RGB", (96, 64), (40 * number % 256, 120, 200)).save(sink, "JPEG")
    return sink.getvalue()


def _candidate(number: int, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "pair_id": pair_id(item["url"], item["text"]),
        "url": item["url"],
        "text": item["text"],
        "text_source": "alt",
        "host": item["url"].split("/")[2] if "://" in item["url"] else "",
        "page_url": "http://page.example/",
        "page_language": "en",
        **SILENT_PAGE,
        "page_date": "2024-05-01T12:00:00Z",
        "archive": ARCHIVE,
        "offset": 100 * number,
        "ordinal": number,
    }
