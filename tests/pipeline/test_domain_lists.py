"""wit lists: public lists of domains, fetched from loopback in the form that text.blocked_domains reads."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from filters.texts.domains import DomainIndex, build_index
from pipeline.cli import main
from pipeline.domain_lists.command import LISTS, DomainList, fetch_list
from tests.crawl.hostile_server import HostileServer
from tests.crawl.web.fetching import one_server

__all__ = ["one_server"]

HOSTS = b"# a hosts file\n127.0.0.1 localhost\n0.0.0.0 0.0.0.0\n0.0.0.0 bad.example # why\n0.0.0.0\tworse.example\n"


def archive() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, body in (("adult/domains", b"bad.example\nworse.example\n"), ("adult/usage", b"black\n")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return file.getvalue()


def public(path: str, form: str = "hosts") -> DomainList:
    return replace(LISTS[0], name="ours", url=f"http://images.test{path}", form=form)  # type: ignore[arg-type]


@pytest.mark.parametrize(("form", "body", "name"), [("hosts", HOSTS, "ours.txt"), ("tar", archive(), "ours.tar.gz")])
def test_a_list_is_fetched_into_a_folder_and_blocks(
    form: str, body: bytes, name: str, server: HostileServer, tmp_path: Path
) -> None:
    server.more[f"/{form}"] = ("application/octet-stream", body)
    file, entries = fetch_list(public(f"/{form}", form), tmp_path / "lists", server.config())
    assert (file, entries) == (tmp_path / "lists" / name, 2)
    rows = pa.table(
        {"row": [0, 1], "url": ["http://a.bad.example/1.jpg", "http://good.example/"], "page_url": ["", ""]}
    )
    found = DomainIndex(build_index([str(file)])).find(rows).to_pylist()
    assert [[item["entry"] for item in row] for row in found] == [["bad.example"], []]


def test_what_is_no_list_changes_nothing(server: HostileServer, tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("before.example\n")
    server.more["/page"] = ("text/html", b"<html>come back later</html>")
    for path, error, said in (
        ("/page", ValueError, "holds no domain"),
        ("/status/404", OSError, "http_client_error"),
        ("/to/private", OSError, "could not be fetched"),
        ("/to/loopback", OSError, "could not be fetched"),
    ):
        with pytest.raises(error, match=said):
            fetch_list(public(path), tmp_path, server.config())
    with pytest.raises(ValueError, match="tar"):
        fetch_list(public("/page", "tar"), tmp_path, server.config())
    assert [path.name for path in tmp_path.iterdir()] == ["ours.txt"]
    assert (tmp_path / "ours.txt").read_text() == "before.example\n"
    assert server.secrets == 0


def test_a_list_longer_than_allowed_is_refused(server: HostileServer, tmp_path: Path) -> None:
    server.more["/long"] = ("text/plain", HOSTS * 1000)
    with pytest.raises(OSError, match="could not be fetched"):
        fetch_list(public("/long"), tmp_path, server.config(max_body_bytes=1000))


def test_the_command_shows_licences_and_asks_who_asks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["lists"]) == 0
    shown = capsys.readouterr().out
    assert all(item.licence in shown and item.url in shown for item in LISTS)
    assert main(["lists", "nothing"]) == 2
    assert main(["lists", "ut1-adult", str(tmp_path)]) == 2
    assert "--user-agent" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
