"""match: a text that holds nothing but stop words, where they are queries and where they are not enough."""

from __future__ import annotations

import json
from pathlib import Path

import dataset
from pipeline.build import build
from pipeline.config import build as make_config


def test_stop_words_alone_match_unless_the_config_ignores_them(tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("kettle\nthe\nof\n")
    texts = ("the kettle of the house", "the end of the world", "some other words")
    lines = (json.dumps({"url": f"http://e.example/{n}.jpg", "text": text}) for n, text in enumerate(texts))
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))

    def dropped(*, ignored: bool) -> list[tuple[str, str]]:
        raw = {
            "sources": [str(tmp_path / "pairs.jsonl")],
            "out": str(tmp_path / "out"),
            "match": {"queries": str(tmp_path / "queries.txt"), "ignore_stopwords": ignored},
            "run": {"workers": 0},
        }
        build(make_config(raw), to="match", quiet=True)
        rows = dataset.open(raw["out"]).sql("SELECT text, evidence FROM dropped WHERE stage = 'match' ORDER BY url")
        return [tuple(row) for row in rows.fetchall()]

    nothing = ("some other words", '{"rule":"words"}')
    assert dropped(ignored=False) == [nothing]
    assert dropped(ignored=True) == [("the end of the world", '{"rule":"words","stopwords":2}'), nothing]
