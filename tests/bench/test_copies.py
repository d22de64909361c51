"""Which transformed copies are caught: the bench, on a few made pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from bench import copies
from tests.filters.models import mean_colour
from tests.pipeline.pages import encoded, texture, write
from tests.train import tiny


def test_each_copy_is_looked_for_by_each_hash_and_by_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = {f"http://a.test/{n}.jpg": ("image/jpeg", encoded(texture(n))) for n in range(6)}
    archive = write(tmp_path / "pictures.warc.gz", [("http://a.test/", "<html>")], bodies)
    model = {"path": mean_colour(tmp_path / "model.onnx"), "size": 8, "mean": [0.49] * 3}
    (tmp_path / "model.yaml").write_text(yaml.safe_dump({"decontaminate": {"model": model}}))
    copies.main(["--archive", str(archive), "--pictures", "5", "--model", str(tmp_path / "model.yaml")])
    first, *lines, last = capsys.readouterr().out.splitlines()
    assert first.startswith("5 pictures, 100.0%")
    assert [line[:20].strip() for line in lines] == ["copy", *copies.TRANSFORMS, "two pictures"]
    assert lines[0].count("model ≥") == 2 and lines[-1].count(" 0 ppm") >= 7  # PDQ takes no stranger
    summary = json.loads(last)
    assert (summary["bench"], summary["ours"], summary["peer"], summary["equal"]) == ("copies", 1.0, 1.0, True)
    caught = summary["copies"]
    assert caught["JPEG 75"]["pdq 31"] == 1.0 and caught["border 5 %"]["pdq 31"] == 0.0
    *_, by_model = (share for column, share in caught["flip"].items() if column.startswith("model"))
    assert lines[0].endswith("nearest") and caught["JPEG 75"]["nearest"] == 1.0
    assert by_model > caught["flip"]["pdq 31"]  # a mean colour hardly changes


def test_held_out_pictures_of_a_dataset_are_taken(tmp_path: Path) -> None:
    folder = tiny.write_dataset(tmp_path)
    assert len(list(copies.heldout(folder, 5))) == 5
    assert len(list(copies.heldout(folder, 100))) == 16


def test_a_config_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("decontaminate: {max_hamming: 3}\n")
    with pytest.raises(ValueError, match=r"empty\.yaml has no decontaminate\.model"):
        copies.model_of(tmp_path / "empty.yaml")
