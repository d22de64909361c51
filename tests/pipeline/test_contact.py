"""Without a contact of one's own nothing is asked of the web: a sentence and exit 2, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import main
from tests.crawl.hostile_server import running

QUERIES = "kettle\n"
UNKEPT = [f"fetch.{key}" for key in ("respect_robots=false", "respect_tdm=false", "min_bytes_per_s=0", "concurrency=4")]


def run(folder: Path, source: str, *settings: str) -> int:
    (folder / "queries.txt").write_text(QUERIES)
    config = folder / "config.yaml"
    config.write_text(
        f"sources: [{source}]\nout: {folder}/out\nmatch: {{queries: {folder}/queries.txt}}\nrun: {{workers: 0}}\n"
    )
    return main(["run", str(config), *(part for item in settings for part in ("--set", item))])


@pytest.mark.parametrize("engine", [[], ["fetch.engine=img2dataset", *UNKEPT]])
def test_a_table_of_the_web_is_not_fetched_without_a_contact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: list[str]
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("url,caption\nhttp://images.example/a.jpg,a kettle on the table\n")
    assert run(tmp_path, str(table), *engine) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wit: ")]
    assert line.startswith("wit: fetch.user_agent names no contact of yours, and images.example is not asked")


def test_a_list_of_pages_is_not_fetched_without_a_contact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages.txt").write_text("http://pages.example/\n")
    assert run(tmp_path, f"{tmp_path}/pages.txt") == 2
    assert "fetch.user_agent names no contact of yours, and pages.example" in capsys.readouterr().err


def test_the_hosts_that_the_config_itself_places_are_asked(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("url,caption\nhttp://images.test/ok.jpg,a kettle on the table\n")
    with running() as server:
        assert run(tmp_path, str(table), f'fetch.resolve={{"images.test": "127.0.0.1:{server.port}"}}') == 0
        assert server.hits["images.test/ok.jpg"] == 1
