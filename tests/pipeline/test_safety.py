"""What may not be kept is nowhere: in no file of the dataset, no log, no report, no explanation, no temporary file."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dataset
from pipeline import report
from pipeline.build import build
from pipeline.config import ConfigError
from pipeline.config import build as make_config
from pipeline.explain import explain
from tests.pipeline import pages

SECRETS = ("secret.person@example.org", "+49 30 901820", "DE89 3704 0044 0532 0130 00")
HOST = "http://images.example"


def contents(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below the folders as bytes that can be searched: unpacked, Parquet as its cells."""
    for folder in folders:
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            data = path.read_bytes()
            yield str(path), gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if path.suffix == ".parquet":
                yield str(path), repr(pq.read_table(path).to_pydict()).encode()


def secrets(folder: Path, **sections: Any) -> Path:
    """A dataset of a page and of two tables that hold personal data, one of them without a header line."""
    texts = [f"a kettle of {secret} on a shelf" for secret in SECRETS]
    tags = "".join(f'<img src="{HOST}/{n}.jpg" alt="{escape(text)}">' for n, text in enumerate(texts))
    images = {f"{HOST}/{n}.jpg": ("image/jpeg", pages.encoded(pages.texture(n))) for n in range(3)}
    archive = pages.write(folder / "page.warc.gz", [("http://page.example/", f'<html lang="de">{tags}')], images)
    pq.write_table(pa.table({"URL": [f"{HOST}/t.jpg"], "TEXT": [texts[0]]}), folder / "table.parquet")
    (folder / "headless.csv").write_text(f"{HOST}/c.jpg,{texts[0]}\n{HOST}/d.jpg,{texts[1]}\n")
    (folder / "queries.txt").write_text("kettle\nshelf\n")
    (folder / "crash.py").write_text(
        "def look(rows):\n"
        "    if rows.num_rows:\n"
        "        raise SystemError(rows['text'].to_pylist())\n"
        "    return {'looked': []}\n"
    )
    raw = {
        "sources": [str(archive), str(folder / "table.parquet"), str(folder / "headless.csv")],
        "out": str(folder / "out"),
        "text": {"languages": []},
        "match": {"queries": str(folder / "queries.txt")},
        "filters": [{"name": "own", "stage": "text", "measure": f"{folder}/crash.py:look", "drop_when": "looked"}],
        "run": {"workers": 0},
        **sections,
    }
    build(make_config(raw), quiet=True)
    report.write(raw["out"])
    return folder / "out"


@pytest.mark.parametrize("drop", [False, True])
def test_masked_personal_data_survives_nowhere(drop: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither where rows are kept, nor where they are dropped, nor where they crash a filter and are quarantined."""
    caplog.set_level(logging.DEBUG)
    sections: dict[str, Any] = {"text": {"languages": [], "drop_personal_data": True}, "filters": []} if drop else {}
    out = secrets(tmp_path, **sections)
    made = dataset.open(str(out))
    masks = made.sql("SELECT DISTINCT text, personal_data FROM candidates ORDER BY text").fetchall()
    assert masks == [
        (f"a kettle of [{kind}] on a shelf", [kind]) for kind in ("email_address", "iban_code", "phone_number")
    ]
    reasons = {reason for (reason,) in made.sql("SELECT DISTINCT reason FROM dropped").fetchall()}
    assert reasons == ({"personal_data"} if drop else {"quarantined"})
    stories = "".join(story.as_text() + json.dumps(story.as_dict()) for story in explain(str(out), f"{HOST}/0.jpg"))
    assert "personal data: email_address" in stories
    assert [error for (error,) in made.sql("SELECT error FROM sources WHERE error IS NOT NULL").fetchall()]
    for secret in SECRETS:
        assert secret not in caplog.text + stories
        for name, data in contents(out):
            assert secret.encode() not in data, name


def test_the_pair_is_of_the_masked_text(tmp_path: Path) -> None:
    from dataset.ids import pair_id

    out = secrets(tmp_path, filters=[])
    pairs = dataset.open(str(out)).sql("SELECT pair_id, url, text FROM candidates").fetchall()
    assert all(digits == pair_id(url, text).hex() for digits, url, text in pairs)


def test_another_choice_of_categories_and_words_reruns_only_the_decision(tmp_path: Path) -> None:
    """And a category that no list has is one sentence."""
    for category in ("adult", "games"):
        (tmp_path / "lists" / category).mkdir(parents=True)
        (tmp_path / "lists" / category / "domains").write_text(f"{category}.example\n")
    names = ("adult", "games", "other")
    tags = "".join(f'<img src="http://{name}.example/a.jpg" alt="a kettle for {name} people">' for name in names)
    archive = pages.write(tmp_path / "page.warc.gz", [("http://page.example/", f'<html lang="en">{tags}')])

    def dropped(**text: Any) -> tuple[dict[str, str], set[str]]:
        raw = {
            "sources": [str(archive)],
            "out": str(tmp_path / "out"),
            "text": {"blocked_domains": str(tmp_path / "lists"), "blocked_patterns": ["other"], **text},
            "run": {"workers": 0},
        }
        did = set(build(make_config(raw), to="text", quiet=True).did)
        rows = dataset.open(raw["out"]).sql("SELECT url, evidence FROM dropped").fetchall()
        return {url.split("/")[2]: evidence for url, evidence in rows}, did

    everything, _ = dropped()
    evidence = json.loads(everything["adult.example"])
    assert evidence == {"blocked_domain": "adult.example", "list": str(tmp_path / "lists"), "category": "adult"}
    assert set(everything) == {"adult.example", "games.example", "other.example"}
    assert dropped(blocked_categories=["games"], allowed_terms=["other"]) == (
        {"games.example": everything["games.example"]},
        {"text.decide"},
    )
    with pytest.raises(ConfigError, match=r"names drugs, which text\.blocked_domains lacks; it has adult, games"):
        dropped(blocked_categories=["drugs"])
    story = "".join(story.as_text() for story in explain(str(tmp_path / "out"), "http://games.example/a.jpg"))
    assert "domain_blocked" in story
    assert "category: games" in story
