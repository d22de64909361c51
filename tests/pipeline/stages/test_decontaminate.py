"""Evaluation images in a whole run: tars and folders, a copy-detection model, the sheet of borderline pairs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import dataset
from pipeline.asking.explain import explain
from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.reports import decontamination_sheet
from pipeline.reports.html import BLUR_ABOVE
from tests.filters.models import mean_colour
from tests.pipeline.pages import IMAGE_HOST, crawl, encoded, texture


def tinted(seed: int, colour: tuple[int, int, int]) -> bytes:
    """A picture whose mean colour is far from grey."""
    return encoded((texture(seed).astype(np.float32) / 255 * np.array(colour)).astype(np.uint8))


IMAGES = {
    "copy.jpg": ("A castle that examines", encoded(texture(1), quality=60)),
    "red.jpg": ("A red castle of stone", tinted(2, (255, 20, 20))),
    "blue.jpg": ("A blue castle by night", tinted(3, (20, 20, 255))),
    "green.jpg": ("A green castle in a wood", tinted(4, (20, 255, 20))),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A set of CLIP_benchmark with the first image, and a folder with other pictures, red ones."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "wds" / "test").mkdir(parents=True)
    with tarfile.open(folder / "wds" / "test" / "0.tar", "w") as archive:
        body = encoded(texture(1))
        info = tarfile.TarInfo("s<b>0.jpg")
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    (folder / "red").mkdir()
    (folder / "red" / "0.jpg").write_bytes(tinted(9, (255, 60, 20)))
    return [str(folder / "wds"), str(folder / "red")]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a dataset `shown` of the images lies that has not come to decontaminate yet; not to be changed."""
    folder = tmp_path_factory.mktemp("begun")
    crawl(folder, "shown", IMAGES, to="neardup")
    return folder


def compared(begun: Path, out: Path, **decontaminate: Any) -> str:
    """A dataset of the images at `out`, up to decontaminate."""
    if not out.exists():
        shutil.copytree(begun / "shown", out)
    return crawl(begun, "shown", IMAGES, to="decontaminate", out=str(out), decontaminate=decontaminate)


def dropped(out: str) -> dict[str, dict[str, object]]:
    """File name -> evidence."""
    rows = dataset.open(out).sql("SELECT url, reason, evidence FROM dropped").fetchall()
    assert {reason for _, reason, _ in rows} <= {"in_evaluation_set"}
    return {url.removeprefix(f"{IMAGE_HOST}/"): json.loads(evidence) for url, _, evidence in rows}


def test_a_model_finds_what_the_hash_does_not(sets: list[str], begun: Path, tmp_path: Path) -> None:
    decontaminate = {"folders": sets, "model": {"path": mean_colour(tmp_path / "copies.onnx"), "size": 8}}
    out = compared(begun, tmp_path / "out", **decontaminate, min_cosine=0.98)
    found = dropped(out)
    assert set(found) == {"copy.jpg", "red.jpg"}
    assert found["copy.jpg"]["evaluation_image"] == "wds/test/0.tar/s<b>0.jpg"
    assert found["red.jpg"]["nearest_by_model"] == "red/0.jpg"
    assert "pdq_hamming" not in found["red.jpg"]
    (story,) = explain(out, f"{IMAGE_HOST}/red.jpg")
    assert story.reason == "in_evaluation_set"
    assert story.steps[-1].facts["cosine"] >= 0.98

    measures = {path: path.stat().st_mtime_ns for path in Path(out).glob("decontaminate/[!d]*/*.parquet")}
    compared(begun, tmp_path / "out", **decontaminate, min_cosine=-1.0)
    assert set(dropped(out)) == set(IMAGES)
    compared(begun, tmp_path / "out", **decontaminate, min_cosine=1.0, max_hamming=0)
    assert "red.jpg" not in dropped(out)
    # A changed threshold reruns the decision alone.
    assert {path: path.stat().st_mtime_ns for path in measures} == measures


def pictures(page: str) -> set[str]:
    return set(re.findall(r"data:image/jpeg;base64,[^\"]+", page))


def test_the_sheet_shows_pairs_on_both_sides_and_escapes_what_it_shows(
    sets: list[str], begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"path": mean_colour(tmp_path / "copies.onnx"), "size": 8}
    out = compared(begun, tmp_path / "out", folders=sets, max_hamming=31, model=model, min_cosine=0.98)
    assert main(["sheet", out]) == 0
    page = Path(capsys.readouterr().out.strip()).read_text()
    assert "wds/test/0.tar/s&lt;b&gt;0.jpg" in page and "s<b>0" not in page
    assert f"{IMAGE_HOST}/blue.jpg" in page  # the model let it pass
    assert page.count("Taken for a copy") == 2 and page.count("Let pass") == 2
    assert page.count("hashes further apart than 31 bits are not measured") == 1  # of PDQ's, at the widest threshold
    assert not re.search(r'(src|href)="(?!data:image/jpeg;base64,)', page)
    monkeypatch.setattr(
        decontamination_sheet, "unsafe", lambda dataset, urls, above: set(urls) if above == BLUR_ABOVE else set()
    )
    blurred = Path(decontamination_sheet.write(out)).read_text()
    assert pictures(blurred) and not pictures(blurred) & pictures(page)
    assert Path(decontamination_sheet.write(out, blur_above=None)).read_text() == page
    found = Path(sets[1]) / "0.jpg"
    found.rename(tmp_path / "away.jpg")
    others = (lambda: None, lambda: found.write_bytes(IMAGES["blue.jpg"][1]), lambda: os.mkfifo(found))
    for make in others:  # gone, another's photograph, and what would be waited for
        make()
        assert "cannot be shown" in Path(decontamination_sheet.write(out, most=1)).read_text()
        found.unlink(missing_ok=True)
    (tmp_path / "away.jpg").rename(found)


def test_a_foreign_dataset_makes_the_sheet_ask_no_server(sets: list[str], begun: Path, tmp_path: Path) -> None:
    out = compared(begun, tmp_path / "out", folders=sets)
    config = Path(out) / "config.yaml"
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decontamination_sheet, "read_image", lambda location, place: asked.append(location) or b"")
        for folder in (sets[1], "http://127.0.0.1:1/sets", "s3://bucket/sets"):
            made = yaml.safe_load(config.read_text())
            made["decontaminate"]["folders"] = [folder] * len(sets)
            config.write_text(yaml.safe_dump(made))
            decontamination_sheet.write(out)
    assert set(asked) == {sets[1]}


def test_a_dataset_that_was_compared_with_nothing_has_no_sheet(begun: Path, tmp_path: Path) -> None:
    out = compared(begun, tmp_path / "out")
    with pytest.raises(ConfigError, match="compared with no evaluation set"):
        decontamination_sheet.write(out)


def test_a_model_that_is_not_there_is_named_before_any_work(sets: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decontaminate.model names nowhere.onnx, which does not exist"):
        crawl(tmp_path, "out", IMAGES, decontaminate={"folders": sets, "model": {"path": "nowhere.onnx"}})
