"""A few inputs of `make fuzz`, always the same ones; and that it finds what is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz.readers import READERS
from tests.fuzz.seeds import made, seeds


@pytest.fixture(scope="module")
def of() -> dict[str, list[bytes]]:
    return seeds()


@pytest.mark.parametrize("reader", READERS)
def test_no_input_breaks_a_reader(reader: str, of: dict[str, list[bytes]], tmp_path: Path) -> None:
    few = reader in ("archive", "wacz", "table", "image", "boxes")
    for data in [*of[reader], *(made(reader, number, of[reader]) for number in range(15 if few else 60))]:
        assert fuzz.wrong(reader, data, tmp_path) is None


@pytest.mark.parametrize(
    ("reader", "data"),
    [
        ("hashes", b';"value": [{"fingerprint": "ab"}]}'),
        (
            "examined",
            b'{"dataset": "a", "task": "\\ud800", "figures": {"b": {"value": 1, "n": 1}},"main_metric":"b"}',
        ),
    ],
)
def test_what_was_found_once_breaks_nothing(reader: str, data: bytes, tmp_path: Path) -> None:
    assert fuzz.wrong(reader, data, tmp_path) is None


def test_equal_numbers_are_equal_inputs(of: dict[str, list[bytes]]) -> None:
    assert made("page", 7, of["page"]) == made("page", 7, seeds()["page"])
    assert made("page", 7, of["page"]) != made("page", 8, of["page"])


def test_what_breaks_is_saved_and_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reader(data: bytes, file: Path) -> None:
        raise KeyError("lost")

    monkeypatch.setitem(READERS, "page", reader)
    words = fuzz.wrong("page", b"<b>", tmp_path)
    assert words is not None
    fuzz.save(tmp_path / "saved", "page", b"<b>", words)
    assert "KeyError: 'lost'" in capsys.readouterr().out
    (saved,) = (tmp_path / "saved").iterdir()
    assert saved.read_bytes() == b"<b>"
