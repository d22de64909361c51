"""Files of no dataset take their place whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset.store.local_files import replacing


def test_a_draft_takes_a_files_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answer.csv"
    with replacing(path) as draft:
        draft.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1"
    with replacing(path) as draft:
        draft.write_text("2")
        assert path.read_text() == "1"
    assert path.read_text() == "2"
    assert [file.name for file in path.parent.iterdir()] == ["answer.csv"]


def test_after_an_error_nothing_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "answer.csv"
    path.write_text("1")
    with pytest.raises(OSError, match="disk full"), replacing(path) as draft:
        draft.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "1" and list(tmp_path.iterdir()) == [path]
