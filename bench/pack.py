"""What pack asks a bucket for: the exchange of bytes beside an image at a time, on a real S3 server.

    make bench-pack

A dataset is built of the clip-art archive of ../shared/data in SeaweedFS on loopback; then its shards are taken away
and written again, by the exchange (`pipeline.stages.pack.images`) and from the store itself, an image at a time.
Requests and bytes are those that the tasks of pack count (`dataset.usage`), CPU seconds theirs too; both must write the
same bytes. Of the exchange the requests of the fetch store are told apart, as are the bytes read of it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import dataset
from bench.match import LAION
from bench.record import print_record
from dataset.ids import checksum
from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import load
from pipeline.stages.pack import images
from pipeline.workers.executor import InlineExecutor
from tests import s3_server

ARCHIVE = LAION.parent / "openclipart.warc.gz"
OF_BYTES = ("pack.places", "pack.images", "pack.regrouped", "pack.shard")


class Counting(InlineExecutor):
    """Keeps what the tasks that move images have spent, by phase."""

    def __init__(self) -> None:
        self.spent: dict[str, Counter[str]] = {}

    def run(self, url, tasks, show=None) -> Iterator:  # type: ignore[no-untyped-def]
        """See `InlineExecutor`."""
        for task, answer in super().run(url, tasks):
            if task.phase in OF_BYTES and hasattr(answer, "spent"):
                self.spent.setdefault(task.phase, Counter()).update(answer.spent)
            yield task, answer


def shards(out: str) -> dict[str, str]:
    """Return the shards' checksums."""
    storage = Storage(out)
    return {info.name: checksum(storage.read(info.name)) for info in storage.list("shards") if info.name[-4:] == ".tar"}


def packed(out: str, overrides: list[str], *, exchanged: bool) -> dict[str, Counter[str]]:
    """Write the shards anew; what that took, by phase."""
    storage = Storage(out)
    storage.delete([info.name for info in storage.list("shards") if info.name[-4:] == ".tar"])
    executor = Counting()
    with mock.patch.object(images, "is_worth_it", lambda run, count, of: exchanged):
        build(load("archive", overrides, out), executor=executor, quiet=True)
    return executor.spent


def main() -> None:
    """Print what both asked for, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples-per-shard", type=int, default=1000)
    parser.add_argument("--sample", type=float, default=1.0, help="of the archive's pages")
    options = parser.parse_args()
    settings = [f"sources=[{ARCHIVE}]", f"extract.sample={options.sample}", 'image.nsfw_model=""']
    settings += [f"pack.samples_per_shard={options.samples_per_shard}"]
    with s3_server.running() as bucket:
        out = f"{bucket}/packed"
        build(load("archive", settings, out), quiet=True)
        checksums = shards(out)
        images_of = "(SELECT sha256, any_value(blob_length) AS bytes FROM _images WHERE blob IS NOT NULL GROUP BY ALL)"
        asked = f"SELECT count(*), sum(bytes) FROM _samples JOIN {images_of} USING (sha256)"
        samples, bytes_ = dataset.open(out).sql(asked).fetchall()[0]
        spent_by_way = {}
        for way in (True, False):
            spent_by_way[way] = packed(out, settings, exchanged=way)
            if shards(out) != checksums:
                raise SystemExit("the shards differ")
    for way, by_phase in spent_by_way.items():
        print("exchanged" if way else "image by image")
        for phase, spent in by_phase.items():
            asked, read, written = spent["get"] / samples, spent["bytes_read"] / bytes_, spent["bytes_written"] / bytes_
            print(
                f"  {phase:<16}{asked:>8.3f} GET a sample {read:>7.2f} x the bytes read {written:>7.2f} x written "
                f"{spent['cpu_s']:>7.2f} CPU-s"
            )
    ours, peer = (sum(spent["get"] for spent in spent_by_way[way].values()) / samples for way in (True, False))
    store = spent_by_way[True]["pack.images"]
    last = {"bench": "pack", "ours": round(ours, 4), "peer": round(peer, 4), "unit": "GET requests a sample"}
    more = {"store_requests": round(store["get"] / samples, 4), "store_bytes": round(store["bytes_read"] / bytes_, 3)}
    equal = more["store_requests"] <= 0.05 and more["store_bytes"] <= 1.3
    print_record({**last, "ratio": round(peer / ours, 1), "equal": equal, "samples": samples, **more})


if __name__ == "__main__":
    main()
