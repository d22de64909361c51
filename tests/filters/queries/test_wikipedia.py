"""A dump gives every article once, however it is cut, and an article the text that its reader sees."""

from __future__ import annotations

import bz2
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.queries import wikipedia
from filters.queries.wikipedia import DumpPart, article, pages, plan

pytestmark = pytest.mark.skipif(
    find_spec("mwparserfromhell") is None, reason="mwparserfromhell has no wheel for this Python"
)
HEADER = b'<mediawiki xml:lang="en">\n<siteinfo><dbname>simplewiki</dbname></siteinfo>\n'


def page(text: str, title: str = "A", more: str = "", ns: int = 0) -> bytes:
    return (f"<page><title>{title}</title><ns>{ns}</ns>{more}<revision><text>{text}</text></revision></page>").encode()


def gensim_dump(language: str = "en") -> str:
    """A shortened dump of a real Wikipedia, as gensim's tests have it."""
    spec = find_spec("gensim")
    if spec is None or spec.origin is None:
        pytest.skip("gensim, which carries the dump, has no wheel for this Python")
    (file,) = (Path(spec.origin).parent / "test/test_data").glob(f"{language}wiki-latest-pages-articles*-shortened*bz2")
    return str(file)


@given(
    bodies=st.lists(st.integers(0, 40), max_size=8),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    part_bytes=st.integers(1, 400),
)
def test_parts_of_any_size_over_streams_of_any_length_give_every_page_once(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[int], cuts: list[int], part_bytes: int
) -> None:
    made = [page(f"{number} " + "x" * length) for number, length in enumerate(bodies)]
    whole = HEADER + b"\n".join(made) + b"\n</mediawiki>"
    edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    path = tmp_path_factory.mktemp("dump") / "dump.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(whole[a:b]) for a, b in pairwise(edges)))
    parts = plan(str(path), "en", part_bytes)
    assert [found for part in parts for found in pages(part)] == made
    assert (parts[0].start, parts[-1].end) == (0, path.stat().st_size)


def test_a_real_dump(tmp_path: Path) -> None:
    (part,) = plan(gensim_dump(), "en", 1 << 30)
    texts = [text for text in map(article, pages(part)) if text is not None]
    assert len(texts) == 106
    (anarchism,) = (text for text in texts if text.lstrip().startswith("Anarchism is a"))
    assert "self-governed" in anarchism
    assert not any(mark in anarchism for mark in ("[[", "{{", "'''", "Category:"))
    again = tmp_path / "bg.bz2"  # gensim's Bulgarian one is in UTF-16, unlike Wikipedia's own
    again.write_bytes(bz2.compress(bz2.decompress(Path(gensim_dump("bg")).read_bytes()).decode("utf-16").encode()))
    (bulgarian,) = plan(str(again), "bg", 1 << 30)
    assert any("България" in (text or "") for text in map(article, pages(bulgarian)))


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("The '''Eiffel Tower''' is in [[Paris|the city]].", "The Eiffel Tower is in the city."),
        ("A[[File:a.jpg|thumb|left|A [[tower]]]] b[[Datei:b.jpg]] c[[Category:Towers]]", "A b c"),
        ("[[Star Trek: Discovery]]", "Star Trek: Discovery"),
        ("A&lt;ref&gt;a note&lt;/ref&gt; b {{cite|x}}c &lt;!-- hidden --&gt;", "A b c "),
    ],
)
def test_article(wikitext: str, text: str) -> None:
    assert article(page(wikitext)) == text


@pytest.mark.parametrize(
    "other", [page("a", ns=1), page("a", more='<redirect title="B" />'), page("a", more="<x/>", ns=10)]
)
def test_what_is_no_article(other: bytes) -> None:
    assert article(other) is None


def test_hostile_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="not XML"):
        article(b"<page><title>&undefined;</title></page>")
    deep = article(page("{{" * 5000 + "[[" * 5000 + "''" * 5000))
    assert deep is not None
    monkeypatch.setattr(wikipedia, "MAX_PAGE_BYTES", 1000)
    long, short = page("y" * 5000), page("short")
    path = tmp_path / "d.bz2"
    path.write_bytes(bz2.compress(HEADER + long + short))
    first, second = pages(DumpPart(str(path), 0, path.stat().st_size))
    assert len(first) == 1000
    assert second == short


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "d.bz2"
    whole = bz2.compress(HEADER + page("a" * 1000))
    path.write_bytes(b"<mediawiki>")
    with pytest.raises(ValueError, match="is no bz2 file"):
        plan(str(path), "en", 1 << 20)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is a dump of the Wikipedia en, but `language` is de"):
        plan(str(path), "de", 1 << 20)
    assert plan(str(path), "simple", 1 << 20)  # its own code, in the language of another
    path.write_bytes(whole[:-20])
    with pytest.raises(OSError, match="breaks off"):
        list(pages(DumpPart(str(path), 0, len(whole))))
    path.write_bytes(whole[:30] + b"\xff" * 30 + whole[60:])
    with pytest.raises(OSError, match="is damaged before byte"):
        list(pages(DumpPart(str(path), 0, len(whole))))


def test_without_its_parser_a_dump_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wikipedia, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="mwparserfromhell, which has no wheel for Python"):
        plan("dump.xml.bz2", "en", 1)
