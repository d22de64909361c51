"""What docs/examples.md shows can be typed, in its order."""

from __future__ import annotations

import io
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cli import main
from tests.crawl.warc_bytes import members, wat, wat_record
from tests.pipeline.inline import tasks_in_this_process

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "examples.md").read_text(encoding="utf-8")
ANIMALS = ("cat", "dog", "horse", "sheep", "rabbit", "mouse", "snake", "eagle")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def picture(seed: int) -> bytes:
    """A JPEG that is like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def port() -> Iterator[int]:
    """A web server on loopback whose every path but robots.txt is an image."""

    class Images(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_image = re.fullmatch(r"/(\d+)\.jpg", self.path)
            body = picture(int(is_image[1])) if is_image else b""
            self.send_response(200 if is_image else 404)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Images)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.slow
@tasks_in_this_process()
def test_the_page_from_its_top_to_its_end(
    tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    links = [
        {
            "path": "IMG@/src",
            "url": f"http://images.test/{n}.jpg",
            "alt": f"a {ANIMALS[n % 8]} in the garden number {n}",
        }
        for n in range(64)
    ]
    Path("one.warc.wat.gz").write_bytes(members(wat_record(wat({"Links": links}))))
    for number, name in enumerate(("cat", "golden_dog")):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        (folder / "0001.jpg").write_bytes(picture(number))
    classes, templates = blocks("text")
    Path("pets/classes.txt").write_text(classes)
    Path("pets/templates.txt").write_text(templates)

    more = {
        "run": ["--workers", "0", "--set", f'fetch.resolve={{"images.test": "127.0.0.1:{port}"}}'],
        "train": ["--set", "batch_size=16", "--set", "epochs=1", "--set", "workers=0"],
    }
    for line in "".join(blocks("sh")).splitlines():
        words = shlex.split(line, comments=True)[1:]
        status = main([*words, *more.get(words[0], [])])
        printed = capsys.readouterr()
        assert status == 0 and printed.out, f"{line}\n{printed.err}"
    assert "golden" not in printed.out and "top1" in printed.out

    monkeypatch.setenv("MPLBACKEND", "agg")
    (code,) = blocks("python")
    exec(code, {})
    assert Path("pets.svg").read_text(encoding="utf-8").count("<path") > 50
