"""`wit queries build` counts a Wikipedia, writes a list and says where it is from."""

from __future__ import annotations

import bz2
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from filters.queries.build import QUERY_LIST, load
from pipeline.cli import main
from pipeline.config_errors import ConfigError
from pipeline.query_list import count as wikipedia
from pipeline.query_list.build import build_list

WORDS = "the red car stood by the old bridge in New York and the red car was old"


def dump(path: Path, pages: int = 30, language: str = "en") -> Path:
    """A dump of articles of the same words, five to a stream."""
    made = [
        f"<page><title>{n}</title><ns>0</ns><revision><text>{WORDS} {n}.</text></revision></page>" for n in range(pages)
    ]
    streams = [f'<mediawiki xml:lang="{language}">', *("".join(made[n : n + 5]) for n in range(0, pages, 5))]
    path.write_bytes(b"".join(bz2.compress(stream.encode()) for stream in [*streams, "</mediawiki>"]))
    return path


def built(folder: Path, **config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The list, by query, and its provenance."""
    (folder / "c.yaml").write_text(yaml.safe_dump({**config, "out": str(folder / "q.parquet")}))
    build_list(str(folder / "c.yaml"), [], None, workers=0)
    table = pq.read_table(folder / "q.parquet")
    assert table.schema == QUERY_LIST
    return {row["query"]: row for row in table.to_pylist()}, json.loads((folder / "q.json").read_text())


def test_a_dump_in_parts_is_counted_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "d.xml.bz2")
    whole, provenance = built(tmp_path, dumps=[str(path)], min_count=30, min_pmi=-99.0)
    words = Counter(word for word in WORDS.lower().split())
    assert {query: row["count"] for query, row in whole.items() if " " not in query} == {
        word if word not in ("new", "york") else word.title(): 30 * count for word, count in words.items()
    }
    assert whole["red car"]["count"] == 60
    assert whole["New York"]["source"] == "bigram"
    (entry,) = provenance["inputs"]
    assert (entry["key"], entry["file"], entry["bytes"]) == ("dumps", str(path), path.stat().st_size)
    assert len(entry["checksum"]) == 32
    assert len(entry["modified"]) == 10
    monkeypatch.setattr(wikipedia, "PART_BYTES", 1)
    monkeypatch.setattr(wikipedia, "BYTES_PER_BUCKET", 100)
    (tmp_path / "parts").mkdir()
    parts, _ = built(tmp_path / "parts", dumps=[str(tmp_path / "d*.bz2")], min_count=30, min_pmi=-99.0)
    assert parts == whole


def test_a_second_build_counts_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "d.xml.bz2")
    first, _ = built(tmp_path, dumps=[str(path)], min_count=30)
    monkeypatch.setattr(wikipedia, "article", lambda page: pytest.fail("counted again"))
    monkeypatch.setattr("filters.queries.ngrams.fold", lambda *_: pytest.fail("folded again"))
    assert built(tmp_path, dumps=[str(path)], min_count=30, min_pmi=3.0)[0] == first


def test_views_of_hours_are_summed(tmp_path: Path) -> None:
    for hour in range(2):
        (tmp_path / f"pageviews-{hour}").write_text(
            "en Eiffel_Tower 60 0\nen Old_Bridge 40 0\nen Once 65 0\n"[: 63 - 22 * hour]
        )
    found, provenance = built(tmp_path, pageviews=[str(tmp_path / "pageviews-*")], min_title_count=70)
    assert {query: row["source_score"] for query, row in found.items()} == {"Eiffel Tower": 120}
    assert [item["key"] for item in provenance["inputs"]] == ["pageviews"] * 2
    more, _ = built(tmp_path, pageviews=[str(tmp_path / "pageviews-*")], min_title_count=70, min_hourly_views=40)
    assert set(more) == {"Eiffel Tower", "Old Bridge"}


def test_a_segmenter_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "cut.py").write_text("def pairs(text):\n    return [text[i : i + 2] for i in range(0, len(text), 2)]\n")
    page = "<page><title>a</title><ns>0</ns><revision><text>東京大学</text></revision></page>"
    (tmp_path / "d.bz2").write_bytes(bz2.compress(page.encode()))
    given = {"dumps": [str(tmp_path / "d.bz2")], "language": "ja", "min_count": 1, "min_pmi": -9.0}
    found, _ = built(tmp_path, **given, segmenter=f"{tmp_path}/cut.py:pairs")
    assert list(found) == ["大学", "東京", "東京大学"]
    with pytest.raises(ConfigError, match="the file defines no function other"):
        built(tmp_path, **given, segmenter=f"{tmp_path}/cut.py:other")
    with pytest.raises(ConfigError, match="cuts ja into words"):
        built(tmp_path, **given)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dumps": ["nowhere.bz2"]}, "dumps: nowhere.bz2 does not exist"),
        ({"pageviews": ["nowhere/*.gz"]}, "pageviews: nowhere/\\*.gz matches nothing"),
        ({"unigrams": "package:nowhere/words.gz"}, "the package nowhere is not installed"),
        ({"numbers": 1, "max_per_source": {"words": 1}}, "max_per_source"),
        ({"number": 1}, "there is no key number; did you mean numbers"),
        ({}, "must be built from something"),
    ],
)
def test_a_bad_config_is_one_sentence(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(tmp_path, **config)


def test_a_dump_of_another_language(tmp_path: Path) -> None:
    path = dump(tmp_path / "d.xml.bz2", language="fr")
    with pytest.raises(ConfigError, match="dump of the Wikipedia fr, but `language` is en"):
        built(tmp_path, dumps=[str(path)])


def test_a_dump_without_articles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no article in"):
        built(tmp_path, dumps=[str(dump(tmp_path / "d.xml.bz2", pages=0))])


def test_the_command_prints_what_each_source_gave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more.txt").write_text("a cat\n7\n")
    (tmp_path / "c.yaml").write_text(f"extra: [{tmp_path}/more.txt]\nnumbers: 10\n")
    assert main(["queries", "build", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "q.parquet")]) == 0
    printed = capsys.readouterr().out
    assert "over_cap" in printed
    assert "11 queries" in printed
    assert len(load(str(tmp_path / "q.parquet"))) == 11
