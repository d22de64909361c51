"""A text is blocked by whole words of a list, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from filters.blocklist import blocked_terms


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("free PORN here", "porn"),
        ("ｐｏｒｎ", "porn"),
        ("por\u200bn", "porn"),
        ("a Sex  Tape leaked", "sex tape"),
        ("Scunthorpe United", None),
        ("blue tit on a branch, Sussex, Essex", None),
        ("a nude by Modigliani", None),
        (None, None),
        ("", None),
    ],
)
def test_builtin(text: str | None, term: str | None) -> None:
    assert blocked_terms(pa.array([text], pa.string())).to_pylist() == [term]


def test_own_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\n\nUgly Word\r\nzwei\n", encoding="utf-8-sig")
    texts = pa.array(["an ugly word", "# a comment", "eins zwei", "porn"])
    assert blocked_terms(texts, str(path)).to_pylist() == ["Ugly Word", None, "zwei", None]


def test_no_list() -> None:
    assert blocked_terms(pa.array(["porn"]), "").to_pylist() == [None]


def test_unreadable_lists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        blocked_terms(pa.array(["a"]), str(tmp_path / "nowhere.txt"))
    path = tmp_path / "latin1.txt"
    path.write_bytes("häßlich".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin1\.txt is not UTF-8"):
        blocked_terms(pa.array(["a"]), str(path))
