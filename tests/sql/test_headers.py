"""Every SQL file says what its rows are, and every parameter that it takes, before its first statement."""

from __future__ import annotations

import re

import pytest

from dataset.query.sql import FOLDER

FILES = sorted(str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.sql"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_begins_with_a_sentence_that_names_its_parameters(name: str) -> None:
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    header, body = "\n".join(lines[:end]), "\n".join(line.partition("--")[0] for line in lines[end:])
    assert re.search(r"[.:](\s|$)", header), "it begins with no sentence"
    for parameter in set(re.findall(r"\$(\w+)", re.sub(r"'[^']*'", "", body))):
        assert re.search(rf"\b{parameter}\b", header), f"${parameter} is not explained"
