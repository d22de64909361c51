"""Every report that goes by a dataset's own config says in one sentence what is wrong with a damaged or foreign one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from filters.queries.balance import BalanceConfig
from pipeline.config_errors import ConfigError
from pipeline.reports import cap_curve, dataset_config, decontamination_sheet, overlap, report
from tests.pipeline.dataset_fixture import HandMade

REPORTS: dict[str, Callable[[str], object]] = {
    "cap_curve": lambda out: cap_curve.curve(out, [10]),
    "decontamination_sheet": decontamination_sheet.write,
    "overlap": lambda out: overlap.overlap("none", out, []),
    "report": report.write,
}


@pytest.fixture
def made(tmp_path: Path) -> HandMade:
    made = HandMade(tmp_path / "out")
    made.write([{"url": "http://a.example/1.jpg", "text": "a rose"}])
    return made


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"balance: {cap: 1\xff}", "config.yaml: it is not UTF-8"),
        (b"balance: {cap: 1", "config.yaml, line 1: "),
        (b"a: 1\na: 2", "config.yaml, line 2: the key a stands here"),
        (b"- 1", "config.yaml: it holds no keys and values"),
        (b"", "config.yaml: it holds no keys and values"),
        (b"a: &a [x]\nname: [*a, *a]", "config.yaml, line 2: an alias stands here"),
    ],
)
def test_a_config_that_is_none(made: HandMade, name: str, text: bytes, problem: str) -> None:
    made.storage.write("config.yaml", text)
    with pytest.raises(ConfigError) as caught:
        REPORTS[name](made.storage.url)
    assert f"{made.storage.url}/{problem}" in str(caught.value)
    assert str(caught.value).endswith("it is not what a run wrote: `wit run` with the dataset's config writes it again")


@pytest.mark.parametrize("name", ["cap_curve", "decontamination_sheet", "overlap"])
def test_a_config_that_is_not_there(made: HandMade, name: str) -> None:
    Path(made.storage.url, "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"config.yaml is not there; `wit run`"):
        REPORTS[name](made.storage.url)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cap_curve", "balance: {cap: many}"),
        ("cap_curve", "balance: [1]"),
        ("cap_curve", "{balance: {cap: 5}, seed: [1]}"),
        ("decontamination_sheet", "decontaminate: {folders: 7}"),
        ("decontamination_sheet", "decontaminate: {max_hamming: near}"),
        ("overlap", "decontaminate: [1]"),
        ("overlap", "{decontaminate: {}, store: {quality: x}}"),
    ],
)
def test_a_section_that_cannot_be(made: HandMade, name: str, text: str) -> None:
    made.storage.write("config.yaml", text.encode())
    with pytest.raises(ConfigError, match=r"config.yaml: .*"):
        REPORTS[name](made.storage.url)


def test_keys_of_other_versions_are_passed_over(made: HandMade) -> None:
    made.storage.write("config.yaml", b"balance: {cap: 7, forgotten: 1}")
    assert dataset_config.section(made.storage, "balance", BalanceConfig).cap == 7
    for text in (b"{name: [1, 2], balance: [3]}", b"{balance: {cap: 9" + b"9" * 400 + b"}}"):
        made.storage.write("config.yaml", text)
        report.write(made.storage.url)
