"""A run with a query list, and a t, for each language."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dataset
from filters.queries.language_caps import tail_cap
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config_errors import ConfigError
from pipeline.reports import cap_curve
from tests.pipeline import pages

HOST = "http://images.example"
ENGLISH = [*["bridge"] * 12, *["kettle"] * 3, "castle"]
GERMAN = [*["Brücke"] * 6, *["Kessel"] * 4, *["Schloss"] * 2, "Garten"]
FRENCH = "Une photographie de la vieille bridge de pierre au bord de la rivière"
LISTS = {"en": ("bridge", "kettle", "castle", "garten"), "de": ("brücke", "kessel", "schloss", "garten", "bridge")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("languages")
    for language, queries in LISTS.items():
        (made / f"{language}.txt").write_text("\n".join(queries))
    texts = [f"A photograph of the old {noun} by the river in number {n}" for n, noun in enumerate(ENGLISH)]
    texts += [f"Ein Bild von dem alten {noun} an dem Ufer des Flusses Nummer {n}" for n, noun in enumerate(GERMAN)]
    texts.append(FRENCH)
    images, tags = {}, []
    for number, text in enumerate(texts):
        url = f"{HOST}/{number}.jpg"
        images[url] = ("image/jpeg", pages.encoded(pages.texture(number)))
        tags.append(f'<img src="{url}" alt="{text}">')
    listed = [(f"http://page{at}.example/", "".join(tags[at::3])) for at in range(3)]
    pages.write(made / "pages.warc.gz", listed, images)
    return made


def config(folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "sources": [str(folder / "pages.warc.gz")],
        "out": str(out),
        "text": {"languages": []},
        "match": {"queries": {language: str(folder / f"{language}.txt") for language in LISTS}},
        "prebalance": {"oversample": 2.0},
        "fetch": {"origins": ["archive"]},
        "balance": {"cap": 4},
        "image": {"nsfw_model": ""},
        "run": {"workers": 0},
    }
    return {**raw, **more}


def made(raw: dict[str, Any]) -> dataset.Dataset:
    """Build up to the balance. What comes before the balances is done once for a way to cut the work."""
    out, folder = Path(raw["out"]), Path(raw["sources"][0]).parent
    if not out.exists():
        before = folder / "-".join(["dedup", *map(str, raw["run"].values())])
        if not before.exists():
            build(make_config(config(folder, before, run=raw["run"])), to="dedup", quiet=True)
        shutil.copytree(before, out)
    build(make_config(raw), to="balance", quiet=True)
    return dataset.open(raw["out"])


def full(found: dataset.Dataset) -> Counter[tuple[str, str]]:
    """How many pairs the balances dropped, by language and stage."""
    rows = found.sql("SELECT text, stage FROM dropped WHERE reason = 'query_full'").fetchall()
    return Counter(("de" if text.startswith("Ein ") else "en", stage) for text, stage in rows)


def test_a_text_meets_the_queries_of_its_language(folder: Path, tmp_path: Path) -> None:
    found = made(config(folder, tmp_path / "out"))
    matched = found.sql(
        "SELECT DISTINCT q.language, q.query, c.text FROM matches JOIN queries q USING (query_id) "
        "JOIN candidates c USING (pair_id)"
    ).fetchall()
    assert {(language, query) for language, query, _ in matched} == {
        *(("en", noun) for noun in ENGLISH),
        *(("de", noun.lower()) for noun in GERMAN),
    }
    assert all((language == "de") == text.startswith("Ein ") for language, _, text in matched)
    ((evidence,),) = found.sql("SELECT evidence FROM dropped WHERE reason = 'no_query_match'").fetchall()
    assert json.loads(evidence) == {"rule": "words", "language": "fr"}
    assert found.sql("SELECT count(*) FROM caps").fetchall() == [(0,)]

    lists = {"de": str(folder / "de.txt"), "en": str(folder / "en.txt"), "other": str(folder / "en.txt")}
    found = made(config(folder, tmp_path / "out", match={"queries": lists}))
    query = "SELECT q.language, q.query FROM matches JOIN queries q USING (query_id) WHERE q.language = 'other'"
    assert found.sql(query).fetchall() == [("other", "bridge")]


@pytest.mark.parametrize("mode", ["cap", "sample"])
def test_t_follows_from_englishs_tail_share(folder: Path, tmp_path: Path, mode: str) -> None:
    balance = {"cap": 4, "mode": mode, "per_language": True}
    found = made(config(folder, tmp_path / "a", balance=balance))
    german, english = np.array(list(Counter(GERMAN).values())), np.array(list(Counter(ENGLISH).values()))
    expected = tail_cap(german, int(english[english < 4].sum()), int(english.sum()))
    assert expected == 2
    assert found.sql("SELECT * FROM caps ORDER BY language").fetchall() == [("de", 2), ("en", 4)]
    dropped = full(found)
    if mode == "cap":
        assert dropped == {("de", "prebalance"): 2, ("en", "prebalance"): 4, ("de", "balance"): 4, ("en", "balance"): 4}

    query = "SELECT stage, pair_id, evidence FROM dropped WHERE reason = 'query_full' ORDER BY ALL"
    run = {"workers": 0, "piece_bytes": 2**16, "pairs_per_partition": 10}
    again = made(config(folder, tmp_path / "b", balance=balance, run=run))
    assert again.sql(query).fetchall() == found.sql(query).fetchall()

    funnel = {
        stage: (count, kept) for stage, count, kept in found.sql("SELECT stage, input, kept FROM funnel").fetchall()
    }
    (after,) = cap_curve.curve(str(tmp_path / "a"), [4]).to_pylist()
    assert (after["pairs"], after["kept"]) == funnel["balance"]
    before, at_two = cap_curve.curve(str(tmp_path / "a"), [1_000, 2], "prebalance").to_pylist()
    assert (before["full_queries"], before["kept"]) == (0, funnel["prebalance"][0])
    assert at_two["full_queries"] > 2


def test_caps_by_language(folder: Path, tmp_path: Path) -> None:
    plain = full(made(config(folder, tmp_path / "out")))
    capped = made(config(folder, tmp_path / "out", balance={"cap": 4, "caps": {"de": 1}}))
    assert full(capped)["de", "balance"] == 3  # of four queries two pairs each went on, of one one
    assert full(capped)["en", "balance"] == plain["en", "balance"] == 4
    assert cap_curve.curve(str(tmp_path / "out"), [4]).to_pylist()[0]["full_queries"] == 4


@pytest.mark.parametrize(
    ("queries", "balance", "message"),
    [
        ("builtin:en", {"per_language": True}, "balance.per_language needs match.queries to name a list for each"),
        ({"de": "builtin:en"}, {"per_language": True}, "en among them"),
        ({"en": "builtin:en"}, {"caps": {"de": 5}}, "balance.caps.de needs match.queries to name a list for de"),
        ({"en": "builtin:en"}, {"caps": {"en": 0}}, "caps.en must be at least 1"),
    ],
)
def test_what_cannot_be(folder: Path, queries: Any, balance: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config(config(folder, folder / "out", match={"queries": queries}, balance=balance))


def test_a_list_of_a_language_that_is_not_allowed_is_a_mistake(folder: Path) -> None:
    raw = config(folder, folder / "out", text={"languages": ["en", "fr"]})
    with pytest.raises(ConfigError, match=r"match\.queries has a list for de, which text\.languages does not allow"):
        make_config(raw)
    lists = {"en": "builtin:en", "other": "builtin:en"}
    make_config({**raw, "match": {"queries": lists}})


def test_the_same_again_does_nothing(folder: Path, tmp_path: Path) -> None:
    lists = {name: str(folder / "en.txt") for name in ("zh", "en", "other", "de")}
    raw = config(folder, tmp_path / "out", match={"queries": lists}, balance={"cap": 4, "per_language": True})
    found = made(raw)
    rows = found.sql("SELECT language, min(query_id) FROM queries GROUP BY ALL ORDER BY 2").fetchall()
    assert rows == [("de", 0), ("en", 4), ("zh", 8), ("other", 12)]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    made(raw)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
