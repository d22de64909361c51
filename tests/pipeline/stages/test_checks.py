"""A stage says of the files that its keys name, before any work is done, which are not there."""

from __future__ import annotations

from typing import Any

import pytest

from dataset.stages import path
from pipeline.config import build
from pipeline.config_errors import ConfigError

NOWHERE = "nowhere/file.txt"


@pytest.mark.parametrize(
    ("stage", "section", "key"),
    [
        ("extract", {"sources": [NOWHERE]}, f"sources: {NOWHERE}"),
        ("text", {"text": {"language_model": NOWHERE}}, "text.language_model"),
        ("text", {"text": {"blocklist": ["builtin", NOWHERE]}}, "text.blocklist"),
        ("text", {"text": {"blocked_domains": NOWHERE}}, "text.blocked_domains"),
        (
            "text",
            {"filters": [{"name": "own", "stage": "text", "drop_when": "a > 1", "measure": "nowhere.py:f"}]},
            "filters.measure",
        ),
        ("match", {"match": {"queries": NOWHERE}}, "match.queries"),
        ("fetch", {"fetch": {"opted_out_domains": NOWHERE}}, "fetch.opted_out_domains"),
        ("fetch", {"hashlists": {"files": [NOWHERE]}}, "hashlists.files"),
        ("fetch", {"fetch": {"adopt": [NOWHERE]}}, "fetch.adopt"),
        (
            "image",
            {"semantic": {"target_folders": [NOWHERE]}, "image": {"embedding_model": "ViT-B-32/openai"}},
            "semantic.target_folders",
        ),
        ("decontaminate", {"decontaminate": {"folders": [NOWHERE]}}, "decontaminate.folders"),
        ("decontaminate", {"decontaminate": {"model": {"path": NOWHERE}}}, "decontaminate.model"),
    ],
)
def test_a_file_that_is_not_there_is_told_by_the_stage_that_reads_it(
    stage: str, section: dict[str, Any], key: str
) -> None:
    config = build({"sources": ["a.warc"], "out": "out", **section})
    (code,) = [item.load() for item in path() if item.name == stage]
    with pytest.raises(ConfigError, match=f"^{key}") as error:
        code.check(config)
    assert "nowhere" in str(error.value)


def test_folders_that_are_there_and_lists_that_openwit_brings_are_no_error(tmp_path: Any) -> None:
    config = build({"sources": ["a.warc"], "out": "out", "decontaminate": {"folders": [str(tmp_path)]}})
    for name in ("text", "match", "fetch", "decontaminate"):
        (code,) = [item.load() for item in path() if item.name == name]
        code.check(config)
