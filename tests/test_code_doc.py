"""docs/code.md, which says where what is: its paths are there, and what they are to hold stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/code.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$", PAGE, flags=re.MULTILINE)


def test_the_page_answers_more_than_twenty_questions_each_once() -> None:
    assert len(ROWS) == PAGE.count("\n| ") - 1  # every row of the table but its head
    assert len(ROWS) > 20 and len({question for question, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("question", "path", "name"), ROWS, ids=[question for question, *_ in ROWS])
def test_what_is_looked_for_stands_at_its_path(question: str, path: str, name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", (ROOT / path).read_text(encoding="utf-8")), question


def test_the_page_is_found_from_the_readme() -> None:
    assert "(docs/code.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
