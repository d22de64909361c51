"""A wrong config ends in one sentence that names the key, with exit status 2, before any work."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pipeline.cli import main
from pipeline.config import Config, ConfigError, build, effective_yaml, load
from pipeline.config_files import with_overrides

SOURCES = {"sources": ["a.warc.gz"], "out": "out"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"balanse": {}}, "there is no key balanse; did you mean balance?"),
        ({"balance": {"capp": 3}}, "there is no key balance.capp; did you mean cap?"),
        ({"balance": {"cap": 0}}, "balance: cap must be at least 1, not 0"),
        ({"balance": {"cap": "many"}}, "balance.cap must be a whole number, such as 20000, not many"),
        ({"text": {"languages": "english"}}, "text.languages must be a list of texts, such as [en], not english"),
        ({"text": {"languages": ["english"]}}, "languages must be codes of lid.176 such as [en, de], not 'english'"),
        ({"match": {"queries": 3}}, "match.queries must be a text or a mapping of names to texts, such as"),
        ({"fetch": {"origins": "http"}}, "such as [archive, http], not http"),
        ({"run": {"workers": "x"}}, "run.workers must be a whole number or empty"),
        ({"filters": [{"nme": "a", "stage": "text"}]}, "filters.0"),
        ({"filters": {"name": "a"}}, "filters must be a list of sections, such as [{name: name}], not {name: a}"),
        ({"text": {"language_min_probability": 2}}, "language_min_probability"),
        ({"prebalance": {"oversample": 0.5}}, "oversample must be at least 1"),
        ({"pack": {"heldout_share": 0.9}}, "heldout_share"),
        ({"fetch": {"origins": ["ftp"]}}, "fetch.origins.0 must be one of archive, http, such as archive, not ftp"),
        ({"sources": []}, "sources must name at least one archive"),
        ({"filters": [{"name": "Shouting", "stage": "text", "drop_when": "true"}]}, "lower_case_with_underscores"),
        ({"filters": [{"name": "query_full", "stage": "text", "drop_when": "true"}]}, "a reason of openwit's own"),
        ({"run": {"workers": -1}}, "workers must be 0 or more"),
        ({"run": {"record_cpu_s": 0}}, "record_cpu_s must be at least 0.1, not 0"),
        ({"run": {"record_memory_bytes": -1}}, "record_memory_bytes must be at least 1048576, not -1"),
        ({"run": {"small_bytes": -1}}, "small_bytes must be at least 0, not -1"),
        ({"run": {"patience_s": float("nan")}}, "patience_s must be at least 0, not nan"),
    ],
)
def test_a_wrong_key_or_value_is_named(wrong: dict, says: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError) as error:
        build({**SOURCES, **wrong}, "c.yaml")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError, match="sources is missing"):
        build({"out": "x"})
    with pytest.raises(ConfigError, match="names no `out`"):
        build({"sources": ["a"]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": ["nowhere.warc.gz"]},
        {"match": {"queries": "nowhere.txt"}},
        {"text": {"blocklist": "nowhere.txt"}},
        {"hashlists": {"files": ["nowhere.md5"]}},
        {"decontaminate": {"folders": ["nowhere"]}},
        {"filters": [{"name": "own", "stage": "text", "measure": "nowhere.py:f", "drop_when": "true"}]},
    ],
)
def test_a_missing_file_ends_the_command_with_2_before_any_work(
    wrong: dict,  # type: ignore[type-arg]
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.warc.gz").write_bytes(b"")
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump({"sources": [str(tmp_path / "a.warc.gz")], "out": str(tmp_path / "out"), **wrong}))
    assert main(["run", str(config)]) == 2
    message = capsys.readouterr().err
    assert "nowhere" in message
    assert len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "\x00"])
def test_what_is_no_mapping_is_no_config(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load(str(tmp_path / "c.yaml"))


def test_overrides_reach_nested_keys_and_are_yaml() -> None:
    raw = with_overrides(dict(SOURCES), ["balance.cap=7", "text.languages=[de, en]", "sources=b.warc"])
    config = build(raw)
    assert (config.balance.cap, config.text.languages, config.sources) == (7, ("de", "en"), ("b.warc",))
    for wrong in ("balance.cap", "=3", "sources.x=1"):
        with pytest.raises(ConfigError, match="--set"):
            with_overrides({"sources": ["a"]}, [wrong])


def test_the_effective_config_is_a_config_and_says_everything() -> None:
    config = build({**SOURCES, "run": {"workers": 3}})
    text = effective_yaml(config)
    assert "workers" not in text  # it changes nothing but the time
    again = build({**yaml.safe_load(text), "out": "out"})
    assert effective_yaml(again) == text
    assert set(yaml.safe_load(text)) == {item.name for item in fields(Config)} - {"out"}


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml"), key=str))
def test_every_config_of_the_repo_is_valid(path: Path) -> None:
    raw = yaml.safe_load(path.read_text())
    if "sources" in raw:
        build(raw, str(path), out="out")
    elif "dataset" in raw:
        from train.config import load as load_training

        load_training(raw)
    elif "seeds" in raw:
        from pipeline.experiment.config import read

        read(str(path))
    else:
        from dataset.config_check import checked_config
        from filters.queries.build import QueriesConfig

        raw.pop("out", None)
        checked_config(QueriesConfig, raw)
