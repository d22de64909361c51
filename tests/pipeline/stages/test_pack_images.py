"""However a shard's images come from the store, the dataset is the same bytes, and what was on the way is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.matrix import contents, differences
from crawl.images import store
from dataset.store.ranges import GAP_BYTES
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.stages.pack import images
from pipeline.workers.executor import InlineExecutor
from tests.pipeline import small_archive
from tests.pipeline.prebuilt import Prebuilt

SAMPLES = 100


@pytest.fixture(scope="module")
def whole(small: Prebuilt) -> dict[str, bytes]:
    return contents(str(small.at()))


@pytest.fixture
def unpacked(small: Prebuilt, tmp_path: Path) -> Path:
    """A finished dataset that has lost its shards."""
    out = small.copy(tmp_path / "out")
    for tar in (out / "shards").glob("*.tar"):
        tar.unlink()
    return out


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some files of some pieces, of images of some kilobytes."""
    monkeypatch.setattr(images, "PIECE_BYTES", 5_000)
    monkeypatch.setattr(images, "TASK_BYTES", 20_000)
    monkeypatch.setattr(images, "is_worth_it", lambda run, shards, of: True)


def run(archive: Path, out: Path, **overrides: Any) -> dict[str, int]:
    config = make_config(small_archive.config(archive, out, **overrides))
    return build(config, executor=InlineExecutor(), quiet=True).did


@pytest.mark.parametrize(
    ("few_files", "most_files", "phases"),
    [
        (1000, 256, {"pack.places", "pack.images", "pack.shard"}),
        (1, 256, {"pack.places", "pack.images", "pack.regrouped", "pack.shard"}),
        (1, 2, {"pack.places", "pack.images", "pack.regrouped", "pack.shard"}),
    ],
    ids=["each shard asks all files", "groups of shards", "groups of few files"],
)
def test_images_that_were_exchanged_make_the_same_shards(
    few_files: int,
    most_files: int,
    phases: set[str],
    small: Prebuilt,
    unpacked: Path,
    whole: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "FEW_FILES", few_files)
    monkeypatch.setattr(images, "MOST_FILES", most_files)
    did = run(small.archive, unpacked)
    assert did.keys() == phases
    assert did["pack.images"] > 5 and did["pack.shard"] > 2
    assert not differences(whole, contents(str(unpacked)))
    assert not any((unpacked / "pack" / name).exists() and list((unpacked / "pack" / name).rglob("*.*"))
                   for name in ("places", "images", "regrouped"))  # fmt: skip
    assert run(small.archive, unpacked) == {}


@pytest.mark.parametrize("at", ["pack.images", "pack.regrouped", "pack.shard"])
def test_a_run_that_was_killed_while_images_were_on_the_way_goes_on(
    at: str, small: Prebuilt, unpacked: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FEW_FILES", 1)
    done = 0

    class Killed(BaseException):
        pass

    class Dying(InlineExecutor):
        def run(self, url: str, tasks: Any, show: Any = None) -> Iterator[Any]:
            nonlocal done
            for task in tasks:
                if task.phase == at and done == 2:
                    raise Killed
                done += task.phase == at
                yield from super().run(url, [task])

    config = make_config(small_archive.config(small.archive, unpacked))
    with pytest.raises(Killed):
        build(config, executor=Dying(), quiet=True)
    left = run(small.archive, unpacked)
    assert left.get("pack.places") is None and left[at] > 0
    assert ("pack.images" in left) == (at == "pack.images")
    assert not differences(whole, contents(str(unpacked)))


def test_what_was_on_the_way_for_shards_that_are_no_longer_wanted_goes_too(
    small: Prebuilt, unpacked: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = unpacked / "pack" / "images"
    (left / "commits").mkdir(parents=True)
    (left / "images-00000-0123456789abcdef.arrows").write_bytes(b"of another config")
    monkeypatch.setattr(images, "is_worth_it", lambda run, shards, of: False)
    assert run(small.archive, unpacked).keys() == {"pack.shard"}
    assert not differences(whole, contents(str(unpacked)))


def test_gaps_are_read_for_few_requests_and_at_most_a_fifth_more_bytes() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5_000, 30_000, SAMPLES * 10)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    for share, most in ((1.0, 1.0), (0.9, 1.2), (0.5, 2.3)):
        kept = rng.random(len(lengths)) < share
        ranges = list(zip(offsets[kept].tolist(), lengths[kept].tolist(), strict=True))
        reads, bytes_ = read(ranges, store.worth_reading(ranges))
        assert reads <= max(1, 0.02 * len(ranges)) or share == 1
        assert bytes_ <= most * lengths[kept].sum()
    far = [(0, 1_000), (50_000_000, 1_000), (100_000_000, 1_000)]
    assert store.worth_reading(far) == GAP_BYTES
    assert store.worth_reading([]) == store.worth_reading([(5, 9), (5, 9)]) == GAP_BYTES


def read(ranges: list[tuple[int, int]], gap: int) -> tuple[int, int]:
    """Reads and bytes of them."""
    reads, bytes_, end = 0, 0, None
    for offset, length in sorted(ranges):
        if end is None or offset > end + gap:
            reads, bytes_ = reads + 1, bytes_ + length
        else:
            bytes_ += offset + length - end
        end = offset + length
    return reads, bytes_
