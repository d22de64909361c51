"""Named filters of others: what they ask for, and how they combine with a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import dataset
from filters.queries.build import load as load_queries
from pipeline import config as configs
from pipeline.build import build
from pipeline.cli import main
from pipeline.config_files import PRESETS, laid_over
from tests.pipeline import pages

NAMES = sorted(file.stem for file in PRESETS.glob("*.yaml"))
HOST = "http://images.example"


def written(folder: Path, name: str, **keys: Any) -> str:
    (folder / name).write_text(yaml.safe_dump(keys))
    return str(folder / name)


def test_on_the_command_line_a_preset_lies_over_the_config_and_in_it_below(tmp_path: Path) -> None:
    own = {"sources": ["a"], "out": "b", "image": {"min_side": 32}}
    plain = written(tmp_path, "plain.yaml", **own)
    named = written(tmp_path, "named.yaml", presets="datacomp_basic", **own)
    several = written(tmp_path, "several.yaml", presets=["datacomp_caption_length", named], **own)

    def sizes(path: str, *presets: str, overrides: tuple[str, ...] = ()) -> tuple[int, int]:
        config = configs.load(path, overrides, presets=presets)
        return config.image.min_side, config.text.min_words

    assert sizes(plain) == (32, 1)
    assert sizes(plain, "datacomp_basic") == (200, 3)
    assert sizes(plain, "datacomp_basic", overrides=("image.min_side=100",)) == (100, 3)
    assert sizes(named) == (32, 3)
    assert sizes(several) == (32, 3)
    assert sizes(plain, written(tmp_path, "mine.yaml", text={"min_words": 7})) == (32, 7)
    assert "presets" not in yaml.safe_load(configs.effective_yaml(configs.load(named)))


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_is_a_config_that_says_what_it_is(name: str) -> None:
    text = (PRESETS / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    raw = yaml.safe_load(text)
    config = configs.build({"sources": ["a"], "out": "b", "presets": [name]})
    effective = yaml.safe_load(configs.effective_yaml(config))
    assert laid_over(effective, raw) == effective  # every key of it is there


def test_an_unknown_preset_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "a.yaml", sources=["a"], out="b")
    assert main(["run", path, "--preset", "datacomp"]) == 2
    assert "there is no preset datacomp; there are clip_score, datacomp_basic, " in capsys.readouterr().err
    loop = written(tmp_path, "loop.yaml", presets=[str(tmp_path / "loop.yaml")])
    with pytest.raises(configs.ConfigError, match="names itself"):
        configs.load(path, presets=[loop])
    with pytest.raises(configs.ConfigError, match="there is no preset 7"):
        configs.build({"sources": ["a"], "out": "b", "presets": [7]})


def test_the_names_of_imagenet() -> None:
    queries = load_queries("builtin:imagenet21k")
    names = queries["query"].to_pylist()
    assert len(set(names)) == len(names) > 36_000
    assert {"tench", "living room", "organism"} <= set(names)
    assert not {"A", "OR"} & set(names)
    assert set(queries["source"].to_pylist()) == {"wordnet"}


PAIRS = {
    "basic.jpg": ("an old steam engine", 240, 200),
    "short.jpg": ("steam engine", 240, 200),
    "five.jpg": ("a b c", 240, 200),
    "small.jpg": ("a small steam engine", 240, 199),
    "wide.jpg": ("a wide steam engine", 640, 210),
    "german.jpg": ("eine alte Dampflok im Schnee", 240, 200),
    "unnamed.jpg": ("all of this was then quite so", 240, 200),
}
DROPPED = {
    "datacomp_basic": {"short.jpg", "five.jpg", "small.jpg", "wide.jpg", "german.jpg"},
    "datacomp_caption_length": {"short.jpg", "five.jpg"},
    "datacomp_text": {"five.jpg", "german.jpg", "unnamed.jpg"},
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_a_preset_drops(name: str, tmp_path: Path) -> None:
    tags, images = "", {}
    for number, (file, (text, width, height)) in enumerate(PAIRS.items()):
        body = pages.encoded(pages.texture(number, side=640)[:height, :width])
        images[f"{HOST}/{file}"] = ("image/jpeg", body)
        tags += f'<img src="{HOST}/{file}" alt="{text}">'
    archive = pages.write(tmp_path / "a.warc.gz", [("http://page.example/", f'<html lang="en">{tags}')], images)
    (tmp_path / "queries.txt").write_text("\n".join(word for text, _, _ in PAIRS.values() for word in text.split()))
    path = written(
        tmp_path,
        "own.yaml",
        sources=[str(archive)],
        out=str(tmp_path / "out"),
        text={"languages": [], "min_characters": 1},
        match={"queries": str(tmp_path / "queries.txt")},
        fetch={"origins": ["archive"]},
        image={"min_side": 1, "max_aspect": 100},
        run={"workers": 0},
    )
    build(configs.load(path, presets=[name]), to="image", quiet=True)
    rows = dataset.open(str(tmp_path / "out")).sql("SELECT url FROM dropped").fetchall()
    assert {url.rpartition("/")[2] for (url,) in rows} == DROPPED[name]
