"""A dataset of somebody else's, whose files are whole and whose content is made up: every question about it is
answered, or told in a sentence; no page holds what runs, and nothing outside of it is read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import EpsImagePlugin, Image

from dataset.display import UNSAFE
from dataset.images import open_stored
from dataset.schema import PAIRS
from pipeline.cli import main
from pipeline.reports.html import environment, thumbnail
from tests.pipeline.dataset_fixture import HandMade

URL = "http://h.example/d.jpg"
ROWS = [
    *({"url": f"http://h.example/{number}.jpg", "text": f"text {number}"} for number in range(2)),
    {"url": URL, "text": "dropped", "drop": ("image", "image_too_small", {"side": 1})},
]
LOG, EXAMINED, RUN = "log.jsonl", "evaluation.json", "log/run-20260101T000000Z.jsonl"
EVIL = "</title><script>alert(1)</script>\x1b]0;x\x07\u202e\U000e0041"
FAR = json.dumps({"first_partition": 7, "first_row": "x"})
ODD = json.dumps({"query_id": [], "duplicate_of_url_id": 5})
DEEP = json.dumps({"a": json.loads("[" * 200 + "]" * 200)})
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


class MadeUp(HandMade):
    """A HandMade with one value in all rows of some columns: {role: {column: value}}."""

    changes: dict[str, dict[str, Any]]

    def commit(self, phase: str, tables: dict[str, tuple[pa.Table, pa.Schema]], **counts: int) -> None:
        changed = {}
        for role, (table, schema) in tables.items():
            for name, value in self.changes.get(role, {}).items():
                column = pa.array([value] * len(table), table.schema.field(name).type)
                table = table.set_column(table.column_names.index(name), name, column)
            changed[role] = (table, schema)
        super().commit(phase, changed, **counts)


def written(out: Path, **changes: dict[str, Any]) -> HandMade:
    made = MadeUp(out)
    made.changes = changes
    made.write(ROWS)
    return made


def asked(*words: str) -> int:
    """A command's exit status, which no error of openwit's own ends."""
    return main([words[0], *words[1:]])


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> HandMade:
    made = HandMade(tmp_path_factory.mktemp("begun") / "out")
    made.write(ROWS, to="match")
    return made


RUNS = [
    (LOG, b"\xff{"),
    (LOG, b"[1]\n7\n"),
    (LOG, b'{"step": "<script>", "loss": "x"}'),
    (LOG, b'{"step": 1, "steps": 2, "loss": null, "logit_scale": 1, "samples_per_second": 1}'),
    (LOG, b'{"step": 1, "steps": 2, "loss": NaN, "logit_scale": 1, "samples_per_second": 1e999}'),
    (LOG, b"[" * 100_000),
    (EXAMINED, b"{"),
    (EXAMINED, b"[{}, 1, null]"),
    (EXAMINED, b'{"task": 1}'),
    (EXAMINED, b'[{"task": "<script>", "metric": "top1", "value": "x", "chance": null}]'),
]
"""Files of training runs that are none."""


def test_a_training_run_of_anyones_is_shown_as_far_as_it_is_one(tmp_path: Path) -> None:
    made = written(tmp_path / "out")
    for number, (name, content) in enumerate(RUNS):
        made.storage.write(f"runs/x{number}/{name}", content)
    assert asked("report", made.storage.url) == 0
    page = made.storage.read("report.html").decode()
    assert page.count("not as openwit writes them") == len(RUNS) and "<script" not in page


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RUN, b"\xff\x00\n{"),
        (RUN, b'[1]\n{"run": "done"}\n{"phase": "x", "seconds": "a", "rows": 1}\n'),
        ("log/run-yesterday.jsonl", b""),
        ("log/fetch/00000.json", b"[1]"),
        ("log/fetch/00000.json", b'{"outcomes": {"a": "b"}, "urls": -1, "partitions": "x", "updated": 0, "began": 0}'),
        ("lease.json", b'{"pid": "\\u001b[2J", "host": "\\u202eabc", "expires": 1e308}'),
        ("lease.json", b'{"pid": 1, "host": [], "expires": NaN}'),
    ],
)
def test_status_outlives_any_log_and_lease(
    begun: HandMade, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    begun.storage.write(name, content)
    assert asked("status", begun.storage.url) == 0
    begun.storage.delete([name])
    said = capsys.readouterr()
    assert not UNSAFE.search(said.out + said.err)


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": {"offset": -5}, "images": {"blob_offset": -1}, "verdicts": {"evidence": "[1, 2]"}},
        {"samples": {"offset": 2**62}, "images": {"blob_length": 2**62}, "verdicts": {"evidence": "{"}},
        {"samples": {"size": -1}, "images": {"blob_length": None}, "verdicts": {"evidence": "[" * 50_000}},
        {"samples": {"size": 40 * 2**30}, "images": {"blob": "/etc/passwd"}, "verdicts": {"evidence": FAR}},
        {"samples": {"size": 2**62}, "verdicts": {"evidence": ODD}},
        {"samples": {"shard": "../../../../etc/passwd"}, "verdicts": {"reason": EVIL, "evidence": DEEP}},
        {"samples": {"shard": "/etc/passwd", "text": None}, "sources": {"error": EVIL, "candidates": -5}},
        {"samples": {"shard": "", "query_ids": [None]}},
        {"samples": {"shard": "x" * 300, "key": None}},
        {"samples": {"key": "<script>", "width": -5, "height": 0}, "verdicts": {"row": 2**32 - 1}},
    ],
)
def test_whatever_its_tables_say_is_shown_or_told(
    tmp_path: Path, changes: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = written(tmp_path / "out", **changes)
    out = made.storage.url
    balance = [["balance", out, "--caps", "1,2"]] if "row" in changes.get("verdicts", {}) else []
    for words in (["report", out], ["explain", out, URL], *balance):
        status = asked(*words)
        said = capsys.readouterr()
        assert status == 0 or out in said.err or "is outside the dataset" in said.err, said.err
        assert "--debug" not in said.err
        assert not UNSAFE.search(said.out + said.err)
    if made.storage.exists("report.html"):
        page = made.storage.read("report.html").decode()
        assert "<script" not in page and not UNSAFE.search(page) and "root:" not in page


@pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.binary(5)])
def test_a_column_of_another_type_is_told_by_every_command(
    tmp_path: Path, kind: pa.DataType, capsys: pytest.CaptureFixture[str]
) -> None:
    made = written(tmp_path / "out")
    (phase,) = (phase for phase in made.phases if phase["phase"] == "prebalance.pairs")
    made.phases.remove(phase)
    odd = pa.schema([(name, kind if name == "pair_id" else PAIRS.field(name).type) for name in PAIRS.names])
    made.commit("prebalance.pairs", {"pairs": (pa.table([pa.nulls(3, field.type) for field in odd], odd), odd)})
    made.manifest({}, complete=True)
    for words in (["status"], ["sql", "FROM scores"], ["explain", URL], ["report"], ["balance", "--caps", "1"]):
        assert asked(words[0], made.storage.url, *words[1:]) == 1
        said = capsys.readouterr().err
        assert f"its column pair_id is {kind}, not fixed_size_binary[16]" in said and "--debug" not in said


def test_nulls_that_no_stage_writes_are_told_with_the_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = written(tmp_path / "out", candidates={"offset": None, "pair_id": None})
    assert asked("explain", made.storage.url, URL) == 1
    assert f"{made.storage.url} holds what openwit does not write" in capsys.readouterr().err


def test_whatever_a_template_is_given_is_clean_and_escaped() -> None:
    made = environment().from_string("{{ a }}{{ a | truncate(9) }}{{ b[0] }}{{ b }}{{ '<i>' | safe }}{{ 5 }}")
    page = made.render(a=EVIL, b=[EVIL])
    assert not UNSAFE.search(page) and "<script" not in page
    assert page.endswith("<i>5")


@pytest.mark.parametrize("look", [thumbnail, lambda body: open_stored(body).load()], ids=["thumbnail", "opened"])
def test_no_image_is_read_by_a_program(look: Callable[[bytes], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given: ran.append(given) or Image.new("RGB", (1, 1)).im)
    Image.init()
    assert Image.open(io.BytesIO(EPS)).format == "EPS"  # Pillow alone would
    try:
        found = look(EPS)
    except OSError:
        found = None
    assert found is None and not ran
