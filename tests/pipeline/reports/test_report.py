"""The report: one file that loads nothing, shows hostile text as text, and answers on any dataset."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Collection
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dataset.query import sql
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from pipeline.reports import charts
from pipeline.reports import report as reports
from pipeline.reports.html import thumbnail
from pipeline.reports.report import write
from tests.pipeline import dataset_fixture
from tests.pipeline.dataset_fixture import HandMade, picture

SCRIPT = '"><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>\u202e\x1b[0m'
ROWS: list[dict[str, Any]] = [
    {"url": "http://a.example/1.jpg", "text": SCRIPT},
    {"url": "javascript:alert(3)", "text": "a rose", "drop": ("text", "url_scheme_not_allowed", {"scheme": SCRIPT})},
    {"url": "http://a.example/small.jpg", "text": "a small rose", "drop": ("image", "image_too_small", {"width": 9})},
    {"url": "http://a.example/listed.jpg", "text": "listed", "drop": ("fetch", "hash_list_match", {})},
    {"url": "http://a.example/4.jpg", "text": "a rose once more"},
]


class Page(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def report(out: str) -> str:
    assert write(out) == f"{out}/report.html"
    return Storage(out).read("report.html").decode()


@pytest.fixture
def out(tmp_path: Path) -> str:
    return HandMade(tmp_path, name="<i>garden</i>").write(ROWS)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the rows."""
    return report(HandMade(tmp_path_factory.mktemp("report"), name="<i>garden</i>").write(ROWS))


def test_it_loads_nothing_and_runs_nothing(text: str) -> None:
    page = Page(text)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    policies = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_what_the_web_wrote_is_text(text: str) -> None:
    assert "<script>" not in text and "<i>garden" not in text and "<b>rose</b>" not in text
    assert "&lt;script&gt;alert(1)" in text and "&lt;b&gt;rose&lt;/b&gt;" in text
    assert not set(text) & set("\x1b\u202e")


def test_only_web_addresses_can_be_clicked_and_they_learn_nothing(text: str) -> None:
    links = Page(text).all("a")
    assert links
    assert all(link["href"].startswith(("http://", "https://")) for link in links)
    assert all("noreferrer" in link["rel"] for link in links)


def test_an_image_on_a_hash_list_is_counted_and_not_shown(tmp_path: Path) -> None:
    listed = [{"url": "http://a.example/listed.jpg", "text": "listed", "drop": ("fetch", "hash_list_match", {})}]
    text = report(HandMade(tmp_path).write(listed))
    assert "hash_list_match" in text
    assert not Page(text).all("img")  # though the hand-made store holds bytes at its address


def test_kept_and_dropped_images_are_shown_with_their_reason(text: str) -> None:
    assert len(Page(text).all("img")) == 3  # two kept, one too small
    assert "image_too_small" in text and "width 9" in text


def test_a_violation_of_conservation_is_shouted(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    out = made.write(ROWS)
    made.manifest({"extract": {"input": 9, "kept": 9, "dropped": 0}}, complete=True)
    assert "Rows are missing" in report(out)


@pytest.mark.parametrize("to", ["extract", "match", "prebalance", "neardup", "balance"])
def test_a_half_built_dataset_has_a_report(to: str, tmp_path: Path) -> None:
    assert "not complete" in report(HandMade(tmp_path).write(ROWS, to=to))


def test_a_dataset_with_a_config_alone_has_a_report(tmp_path: Path) -> None:
    assert "no stage is done yet" in report(HandMade(tmp_path).storage.url)


def test_what_cannot_be_read_any_more_is_said(tmp_path: Path) -> None:
    made = HandMade(tmp_path)
    out = made.write(ROWS)
    made.storage.write("shards/train-00000.tar", bytes(len(made.storage.read("shards/train-00000.tar"))))
    assert report(out).count("cannot be shown") == 2
    made.storage.delete(["shards/train-00000.tar", "fetch/store/by-hand.blob"])
    assert report(out).count("cannot be shown") == 3


def test_another_filesystem_will_do() -> None:
    assert len(Page(report(HandMade("memory://report-test").write(ROWS))).all("img")) == 3


def test_training_runs_are_shown_with_chance(out: str) -> None:
    record = {"step": 10, "steps": 20, "loss": 2.5, "logit_scale": 14.0, "samples_per_second": 100.0}
    result = {
        "task": "shapes",
        "metric": "top1",
        "value": 0.2,
        "chance": 0.0125,
        "samples": 800,
        "candidates": 80,
    }
    storage = Storage(out)
    lines = [{**record, "step": step, "loss": 5 / step, "gradient_norm_image": 1.0} for step in (5, 10)]
    log = "".join(json.dumps(line) + "\n" for line in lines)
    storage.write("runs/tiny/log.jsonl", log.encode())
    storage.write("runs/tiny/evaluation.json", json.dumps([result]).encode())
    storage.write("runs/empty/log.jsonl", b"")
    text = report(out)
    assert "gradient norm over step" in text
    assert "10 of 20 steps" in text and "20.0%" in text and "1.2%" in text and "16.0 ×" in text


def test_the_same_dataset_gives_the_same_page(out: str, text: str) -> None:
    assert report(out) == text


@given(st.binary(max_size=300))
def test_bytes_that_are_no_image_have_no_thumbnail(body: bytes) -> None:
    assert thumbnail(body) is None


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
def test_an_image_of_any_mode_becomes_a_small_jpeg(mode: str) -> None:
    sink = io.BytesIO()
    Image.new("RGB", (900, 300), "red").convert(mode).save(sink, "JPEG" if mode == "CMYK" else "PNG")
    made = thumbnail(sink.getvalue())
    assert made is not None
    small = Image.open(io.BytesIO(base64.b64decode(made.partition(",")[2])))
    assert (small.format, small.size) == ("JPEG", (168, 56))


def test_a_truncated_image_has_no_thumbnail() -> None:
    assert thumbnail(picture(1)[:300]) is None


@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9, allow_subnormal=False)), max_size=20),
    st.booleans(),
)
def test_a_chart_draws_any_numbers_within_its_frame(points: list[tuple[float, float]], log: bool) -> None:
    drawn = str(charts.lines({"<x>": points}, "<x>", "y", log=log))
    assert "<x>" not in drawn and "nan" not in drawn and "inf" not in drawn
    for path in re.findall(r'points="([^"]*)"', drawn):
        places = np.array([place.split(",") for place in path.split()], dtype=float)
        assert ((places >= -1) & (places <= charts.WIDTH + 1)).all()


def test_columns_name_their_values() -> None:
    assert "a&lt;b: 1,200" in charts.columns([("a<b", 1200.0), ("c", 1.0)], "x", "y")


class Measured(Dataset):
    """A dataset whose images have a probability of being unsafe: the first kept one's is high."""

    def _make(self, names: Collection[str]) -> None:
        super()._make(names)
        if "images" not in names:
            return
        images = sql.load("views/images")
        probability = f"CASE WHEN url = '{ROWS[0]['url']}' THEN 0.9 ELSE 0.1 END::FLOAT"
        self.connection.execute(
            "CREATE OR REPLACE TEMP VIEW images AS "
            f"SELECT * REPLACE ({probability} AS nsfw_probability) FROM ({images})"
        )


def test_what_may_be_unsafe_is_blurred_in_the_file_itself_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "Dataset", Measured)
    sharp = Image.effect_mandelbrot((96, 64), (-2, -1, 1, 1), 50).convert("RGB")
    monkeypatch.setattr(dataset_fixture, "picture", lambda number: jpeg(sharp))
    out = HandMade(tmp_path).write(ROWS)

    def detail(**options: Any) -> list[float]:
        reports.write(out, **options)
        uris = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', (tmp_path / "report.html").read_text())
        images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("L"), float) for uri in uris]
        return [float(np.abs(np.diff(image, axis=1)).mean()) for image in images]

    before, after = detail(blur_above=None), detail()
    assert "1 image is blurred: nsfw_probability above 0.2" in (tmp_path / "report.html").read_text()
    assert len(before) == len(after)
    assert [index for index, (sharp, soft) in enumerate(zip(before, after, strict=True)) if soft != sharp] == [
        index for index, soft in enumerate(after) if soft < before[index] / 2
    ]
    assert sum(soft != sharp for sharp, soft in zip(before, after, strict=True)) == 1
    assert detail(blur_above=0.95) == before


def test_without_a_measure_nothing_is_blurred(text: str) -> None:
    assert "blurred" not in text


def jpeg(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG")
    return sink.getvalue()
