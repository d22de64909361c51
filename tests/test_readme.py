"""What the README tells people to type works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import webdataset
import yaml

import dataset
from pipeline.cli import main
from tests.pipeline import small_archive
from tests.pipeline.inline import tasks_in_this_process

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
@tasks_in_this_process()
def test_the_commands_of_the_archive_section_work_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    archive = small_archive.write(tmp_path / "crawl.warc.gz", pages=24)
    lines = [
        line
        for block in blocks("sh")
        for line in block.splitlines()
        if line.startswith("wit ") and "submit" not in line
    ]
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    assert {words[0] for words in commands} == {
        "run",
        "status",
        "sql",
        "audit",
        "balance",
        "explain",
        "report",
        "train",
        "eval",
        "export",
    }
    out = tmp_path / "mine"
    for words in commands:
        words = [
            word.replace("crawl.warc.gz", str(archive))
            .replace("out/mine", str(out))
            .replace("out/model", str(tmp_path / "model"))
            for word in words
        ]
        if words[0] == "run":
            words += ["--workers", "0"]
        if words[0] == "explain":
            words[-1] = dataset.open(str(out)).sql("SELECT url FROM pairs ORDER BY url LIMIT 1").fetchall()[0][0]
        if words[0] == "train":
            words += ["--set", "batch_size=16", "--set", "epochs=1", "--set", "workers=0"]
        status = main(words)
        printed = capsys.readouterr()
        assert status == 0 and printed.out, f"wit {shlex.join(words)}\n{printed.err}"
    assert (out / "report.html").stat().st_size > 10_000

    namespace: dict[str, object] = {}
    python = [block.replace("out/mine", str(out)) for block in blocks("python")]
    exec(python[0], namespace)
    for sample in webdataset.WebDataset(str(out / "shards" / "train-00000.tar"), shardshuffle=False).decode("pil"):
        assert sample["jpg"].size and sample["json"]["archive"]
    exec(python[1], namespace)


@tasks_in_this_process()
def test_the_filter_of_the_readme_is_ten_lines_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.build import build
    from pipeline.config import build as make_config

    (source,) = (block for block in blocks("python") if block.startswith("# shouting.py"))
    (text,) = blocks("yaml")
    rules = yaml.safe_load(text)["filters"]
    code = [line for line in (source + text).splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 10
    (tmp_path / "shouting.py").write_text(source)
    rules[0]["drop_when"] = rules[0]["drop_when"].replace("0.6", "0.012")  # nobody shouts in the small archive
    monkeypatch.chdir(tmp_path)
    archive = small_archive.write(tmp_path / "small.warc.gz", pages=12)
    build(make_config(small_archive.config(archive, tmp_path / "out", filters=rules)), to="text", quiet=True)
    ((count,),) = (
        dataset.open(str(tmp_path / "out")).sql("SELECT count(*) FROM dropped WHERE reason = 'shouting'").fetchall()
    )
    assert count > 0
