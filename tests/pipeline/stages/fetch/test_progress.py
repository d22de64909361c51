"""What `wit status` says of a fetch stage at work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset.store.storage import Storage
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config import to_builtins
from pipeline.engine.verdicts import warnings
from pipeline.reports.status import status
from pipeline.stages.fetch import progress as fetching
from pipeline.stages.fetch.progress import Tally, clear, describe
from tests.crawl.hostile_server import HostileServer, running
from tests.pipeline import pages


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with running() as server:
        yield server


def test_counts_of_all_partitions_are_added_and_the_rest_is_estimated(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    assert describe(storage, time.time()) is None
    done = Tally(storage, 0, 4, 10)
    done.add_all(["ok"] * 9 + ["timeout"])
    done.finish()
    half = Tally(storage, 1, 4, 30)
    half.add_all(["ok"] * 10)
    half.write()
    began = time.time() - 10
    storage.write(
        "log/fetch/00001.json",
        storage.read("log/fetch/00001.json").replace(b'"began": 1', f'"began": {began}, "was": 1'.encode()),
    )
    line = describe(storage, time.time())
    assert line is not None
    assert line.startswith("fetch: 20 of about 80 URLs, 1/s, about 60 s left; ok 19 (95%), timeout 1 (5%)")
    assert "at rest" in (describe(storage, time.time() + 1_000) or "")
    clear(storage)
    assert describe(storage, time.time()) is None


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    tally = Tally(Storage(str(tmp_path)), 0, 1, 1)
    tally.add("ok")
    tally.finish()


def test_status_while_a_server_is_silent(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "EVERY_S", 0.0)
    urls = [f"http://images.test/many/{n}" for n in range(10)] + ["http://images.test/trickle"]
    tags = "".join(f'<img src="{url}" alt="the kettle at number {n}">' for n, url in enumerate(urls))
    archive = pages.write(tmp_path / "page.warc.gz", [("http://page.test/", f'<html lang="en">{tags}')])
    (tmp_path / "queries.txt").write_text("kettle\n")
    out = str(tmp_path / "out")
    config = make_config(
        {
            "sources": [str(archive)],
            "out": out,
            "match": {"queries": str(tmp_path / "queries.txt")},
            "fetch": {**to_builtins(server.config(timeout_s=4.0).__dict__), "origins": ["http"]},
            "run": {"workers": 0},
        }
    )
    run = threading.Thread(target=build, args=(config,), kwargs={"to": "fetch", "quiet": True})
    run.start()
    said = ""
    while run.is_alive() and "fetch: 10 of 11 URLs" not in said:
        time.sleep(0.05)
        said = status(out).as_text() if (tmp_path / "out" / "manifest.json").exists() else ""
    assert "ok 10 (100%)" in said and "left" in said
    run.join()  # the run ends though its last server does not answer
    assert "fetch: " not in status(out).as_text()


def test_a_stage_that_loses_much_for_what_may_pass_says_so(
    server: HostileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "queries.txt").write_text("kettle\n")
    (tmp_path / "pairs.csv").write_text(
        "url,caption\n" + "".join(f"http://dead.test/{n}.jpg,a kettle of number {n}\n" for n in range(4))
    )
    config = make_config(
        {
            "sources": [str(tmp_path / "pairs.csv")],
            "out": str(tmp_path / "out"),
            "text": {"languages": []},
            "match": {"queries": str(tmp_path / "queries.txt")},
            "fetch": {**to_builtins(server.config().__dict__), "origins": ["http"]},
            "run": {"workers": 0},
        }
    )
    build(config, to="fetch")
    said = capsys.readouterr().err
    assert "warning: fetch dropped 4 of 4 (100%) for connection_failed" in said
    assert "--retry transient" in said


def test_what_is_lost_to_the_web_is_no_outage() -> None:
    assert warnings("fetch", 100, {"connection_failed": 20, "timeout": 5, "http_client_error": 70}) == []
    (one,) = warnings("fetch", 100, {"dns_failed": 21, "connection_failed": 20})
    assert one.startswith("warning: fetch dropped 21 of 100 (21%) for dns_failed: the host's name does not resolve.")
