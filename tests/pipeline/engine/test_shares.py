"""A large partition is measured in shares: more tasks, the same bytes, the same units left out."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import dataset
from bench.matrix import contents, differences
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.engine import phase, shares
from pipeline.engine.phase import Task
from pipeline.stages.image import models
from pipeline.workers.executor import InlineExecutor
from tests.pipeline.tinted import World


class Recording(InlineExecutor):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def run(self, url: str, tasks: Any, show: Any = None) -> Iterator[Any]:
        self.tasks += tasks
        yield from super().run(url, tasks)

    def shares(self, name: str) -> set[tuple[int, int] | None]:
        return {task.share for task in self.tasks if task.phase == name}


def run(world: World, out: Path) -> Recording:
    executor = Recording()
    sections = {
        "image": {"nsfw_model": "", "models": [world.redness], "embedding_model": str(world.run)},
        "run": {"pairs_per_partition": 1000, "max_quarantined": 10},
    }
    if not out.exists():
        shutil.copytree(world.fetched, out)
    build(make_config(world.config(out, **sections)), to="image", executor=executor, quiet=True)
    return executor


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    assert run(world, out).shares("image.models") == {None}  # too small
    return out


def test_shares_make_the_same_bytes(world: World, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "LEAST_UNITS", 3)
    done = run(world, tmp_path / "out")
    for name in ("image.models", "image.embed"):
        assert done.shares(name) == {None, *((number, 5) for number in range(5))}
    assert not differences(contents(str(whole)), contents(str(tmp_path / "out")))
    assert run(world, tmp_path / "out").tasks == []


def test_what_was_measured_in_shares_is_not_measured_again_when_a_run_goes_on(
    world: World, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "LEAST_UNITS", 3)
    real, measured = models.measure, list[int]()

    def measure(storage: Any, images: pa.Table, *more: Any) -> Any:
        measured.append(images.num_rows)
        if sum(measured) > 10:
            raise KeyboardInterrupt
        return real(storage, images, *more)

    with monkeypatch.context() as patch:
        patch.setattr(models, "measure", measure)
        with pytest.raises(KeyboardInterrupt):
            run(world, tmp_path / "out")
    again = run(world, tmp_path / "out").shares("image.models")
    assert None in again and 1 < len(again) < 6
    assert not differences(contents(str(whole)), contents(str(tmp_path / "out")))


def test_a_unit_that_crashes_its_share_is_left_out_of_the_whole(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = models.measure

    def measure(storage: Any, images: pa.Table, *more: Any) -> Any:
        if any(url.endswith("/7.jpg") for url in images["url"].to_pylist()):
            raise ValueError("odd")
        return real(storage, images, *more)

    monkeypatch.setattr(models, "measure", measure)
    run(world, tmp_path / "whole")
    monkeypatch.setattr(shares, "LEAST_UNITS", 3)
    run(world, tmp_path / "shares")
    assert not differences(contents(str(tmp_path / "whole")), contents(str(tmp_path / "shares")))
    query = "SELECT url FROM dropped WHERE reason = 'quarantined'"
    assert dataset.open(str(tmp_path / "shares")).sql(query).fetchall() == [("http://images.example/7.jpg",)]


def test_the_units_of_shares_are_those_of_the_whole() -> None:
    def units(count: int, **more: Any) -> list[int]:
        return phase.Context(None, Task("a.phase", 0, {}, {}, **more)).units(count)  # type: ignore[arg-type]

    for count in (0, 1, 7, 100):
        parts = [units(count, share=(number, 8)) for number in range(8)]
        assert list(itertools.chain(*parts)) == list(range(count))
    assert units(100, share=(1, 4), only=(20, 30)) == [25, 26, 27, 28, 29]
