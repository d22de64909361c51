"""The trainer needs little: what a GPU node may lack is not imported, or has an equal stand-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LACKING = {
    *("ray", "duckdb", "fasttext", "pydantic", "polars", "fastwarc", "warcio", "aiohttp", "selectolax", "msgspec"),
    *(
        "can_ada",
        "img2dataset",
        "cv2",
        "scipy",
        "sklearn",
        "mwparserfromhell",
        "onnxruntime",
        "phonenumbers",
    ),
    *("stdnum", "imagehash", "rich", "matplotlib", "jinja2", "simplejpeg", "tensorboard", "transformers", "tokenizers"),
    *("onnx", "onnxscript", "wandb", "pipeline", "crawl", "filters"),
}
CODE = f"""
import sys

assert not {LACKING!r} & set(sys.modules)

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {LACKING!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import train.evaluate, train.checkpoints.export, train.checkpoints.model_card, train.diagnosis.diagnose, train.__main__
sys.exit(train.__main__.main(sys.argv[1:]))
"""


def test_it_trains_with_nothing_but_torch_open_clip_and_arrow(
    tiny_dataset: str, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text(f"dataset: {tiny_dataset}\nmodel: {tiny_model}\n")
    settings = ["batch_size=16", "epochs=1", "workers=1", "device=cpu", "log_every=1"]
    words = [str(tmp_path / "train.yaml"), "--out", str(tmp_path / "run"), "--set", *settings]
    done = subprocess.run([sys.executable, "-c", CODE, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "log.jsonl").read_text().count("\n") == 4
