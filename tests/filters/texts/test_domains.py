"""An address is blocked by an entry that it is below, and by no other."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.texts.domains import DomainIndex, build_index


def rows(*places: tuple[str, str | None]) -> pa.Table:
    return pa.table(
        {
            "row": pa.array(range(5, 5 + len(places)), pa.uint32()),
            "url": pa.array([url for url, _ in places], pa.string()),
            "page_url": pa.array([page for _, page in places], pa.string()),
        }
    )


def found(names: list[Any], *places: tuple[str, str | None]) -> list[list[str]]:
    index = DomainIndex(build_index([str(name) for name in names]))
    return [[item["entry"] for item in items] for items in index.find(rows(*places)).to_pylist()]


def test_domains_stand_for_what_is_below_them(tmp_path: Path) -> None:
    path = tmp_path / "domains.txt.gz"
    path.write_bytes(
        gzip.compress("# list\nBad.example\n*.worse.example\nbücher.example\nexample.net.\nnet\n".encode())
    )
    places: dict[tuple[str, str | None], list[str]] = {
        ("https://bad.example/a.jpg", ""): ["bad.example"],
        ("https://cdn.a.bad.example:8080/a.jpg", ""): ["bad.example"],
        ("https://notbad.example/bad.example/a.jpg?bad.example", ""): [],
        ("https://img.worse.example", ""): ["worse.example"],
        ("https://www.xn--bcher-kva.example/a", ""): ["xn--bcher-kva.example"],
        ("https://a.example.net/a", ""): ["example.net", "net"],
        ("https://good.example/a", "https://me@www.bad.example:81/x"): ["bad.example"],
        ("https://x.worse.example/a", "https://bad.example/"): ["worse.example", "bad.example"],
        ("https://example.org/a", None): [],
        ("a.jpg", "no url"): [],
        ("http://[::1]:80/a", ""): [],
    }
    answers = found([path], *places)
    assert [sorted(entries) for entries in answers] == [sorted(entries) for entries in places.values()]
    assert answers[7] == ["worse.example", "bad.example"]  # the image's first


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("blocked.example.", "http://blocked.example/a"),
        ("blocked.example", "http://blocked.example./a"),
        ("blocked.example", "http://www.blocked.example.:8080/a"),
        ("blocked.example:8080", "http://blocked.example/a"),
        ("BLOCKED。example", "http://blocked.example/a"),
        ("XN--BCHER-KVA.example", "http://xn--bcher-kva.example/a"),
        ("faẞ.example", "http://xn--fa-hia.example/a"),
        ("%62locked.example", "http://blocked.example/a"),
        ("127.1", "http://127.0.0.1/a"),
        ("::1", "http://[::1]:80/a"),
        ("https://me@[2001:DB8:0::1]:80/", "http://[2001:db8::1]/a"),
        ("blocked.example./bücher", "http://blocked.example/b%C3%BCcher/a"),
        ("www.blocked.example.:80/a b", "http://blocked.example/a%20b/c"),
    ],
)
def test_a_host_is_one_in_every_spelling(tmp_path: Path, entry: str, url: str) -> None:
    (tmp_path / "list.txt").write_text(f"{entry}\n")
    answers = found([tmp_path / "list.txt"], (url, ""), ("http://good.example/", url))
    assert [len(entries) for entries in answers] == [1, 1]


def test_addresses_stand_for_what_is_below_them(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("http://www.Hosting.example:80/~Her/pics/\nhosting.example/adult\nshop.example/?cat=xxx\n")
    places: dict[tuple[str, str | None], list[str]] = {
        ("https://hosting.example/~her/pics/1.jpg", ""): ["hosting.example/~her/pics"],
        ("https://cdn.hosting.example/~her/pics", ""): ["hosting.example/~her/pics"],
        ("https://hosting.example/~her/picture.jpg", ""): [],
        ("https://hosting.example/adult?x=1#y", ""): ["hosting.example/adult"],
        ("https://hosting.example/adulthood", ""): [],
        ("https://hosting.example/a/adult/1.jpg", ""): [],
        ("https://shop.example/?cat=xxx", "https://hosting.example/adult/page"): [
            *("shop.example/?cat=xxx", "hosting.example/adult")
        ],
        ("https://shop.example/?cat=xxxl", ""): [],
        ("https://other.example/adult/", ""): [],
    }
    assert found([path], *places) == list(places.values())


def test_categories_of_folders_and_tars(tmp_path: Path) -> None:
    for category, domains, urls in (("adult", "x.example\nboth.example", "y.example/z"), ("games", "both.example", "")):
        folder = tmp_path / "blacklists" / category
        folder.mkdir(parents=True)
        (folder / "domains").write_text(domains)
        (folder / "urls.gz").write_bytes(gzip.compress(urls.encode()))
        (folder / "usage").write_text("neither.example")
    whole = tmp_path / "all.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(tmp_path / "blacklists", "blacklists")
    single = tmp_path / "single"
    single.mkdir()
    (single / "adult.tar.gz").write_bytes(whole.read_bytes())
    places = [(f"https://{name}/z/a.jpg", "") for name in ("x.example", "both.example", "y.example", "neither.example")]
    for name in (tmp_path / "blacklists", whole, single):
        index = DomainIndex(build_index([str(name)]))
        assert index.categories == ["adult", "games"]
        answers = index.find(rows(*places)).to_pylist()
        assert [[(item["entry"], item["category"]) for item in items] for items in answers] == [
            [("x.example", "adult")],
            [("both.example", "adult"), ("both.example", "games")],
            [("y.example/z", "adult")],
            [],
        ]
        assert answers[0][0]["list"] == str(name)
    assert found([tmp_path / "blacklists" / "games" / "domains"], places[1]) == [["both.example"]]
    index = DomainIndex(build_index([str(tmp_path / "blacklists" / "games")]))  # one category of many
    assert index.categories == ["games"]


@settings(max_examples=25)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join), max_size=6),
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), max_size=6),
)
def test_the_index_answers_as_a_search_through_all_entries(entries: list[str], hosts: list[str]) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(entries))
        file.flush()
        answers = found([file.name], *((f"http://{host}/", "") for host in hosts))
    assert [sorted(answer) for answer in answers] == [
        sorted({entry for entry in entries if f".{host}".endswith(f".{entry}")}) for host in hosts
    ]


def test_a_host_of_a_thousand_labels_ends(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("example\n")
    assert found([tmp_path / "list.txt"], ("http://" + "a." * 10_000 + "example/x", "")) == [["example"]]


def test_an_entry_is_found_by_itself(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# out\n*.Example.org\nhttps://bücher.example/\nexample.net/adult\n")
    index = DomainIndex(build_index([str(tmp_path / "list.txt")]))
    assert [name in index for name in ("example.org", "xn--bcher-kva.example", "example.net/adult")] == [True] * 3
    assert [name in index for name in ("a.example.org", "example.net", "", "\ud800", 7)] == [False] * 5


def test_no_entries_and_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    assert found([tmp_path / "empty.txt"], ("http://a.example/", "")) == [[]]
    assert found([tmp_path / "empty.txt"]) == []
    assert len(DomainIndex(build_index([]))) == 0


def test_bad_lists(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build_index([str(tmp_path / "nowhere.txt")])
    (tmp_path / "bad.tar.gz").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"bad\.tar\.gz cannot be read as a tar"):
        build_index([str(tmp_path / "bad.tar.gz")])
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("adult/domains"), io.BytesIO())
    (tmp_path / "cut.tar.gz").write_bytes(whole.getvalue()[:40])
    with pytest.raises(ValueError, match=r"cut\.tar\.gz cannot be read as a tar"):
        build_index([str(tmp_path / "cut.tar.gz")])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="holds no file named domains or urls"):
        build_index([str(tmp_path / "folder")])
    (tmp_path / "latin1.txt").write_bytes("büro.example".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin1\.txt is not UTF-8"):
        build_index([str(tmp_path / "latin1.txt")])
