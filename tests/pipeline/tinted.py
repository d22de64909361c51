"""Pictures of more and less red, and models that see it."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import dataset
from pipeline.build import build
from pipeline.config import build as make_config
from tests.filters import models
from tests.pipeline import pages

HOST = "http://images.example"


def tinted(seed: int, red: float) -> np.ndarray:
    """A picture of its own with this much red, 0..1. uint8 (96, 96, 3)."""
    pixels = pages.texture(seed).copy()
    pixels[:, :, 0] = round(255 * red)
    return pixels


PLAIN: dict[str, Any] = {"image": {"nsfw_model": ""}}
REDS = [place / 16 for place in range(16)]


class World:
    """Sixteen pictures from no red to nearly all red, one of them with two texts, and models that see it."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "queries.txt").write_text("kettle\n")
        images = {
            f"{HOST}/{place}.jpg": ("image/jpeg", pages.encoded(tinted(place, red))) for place, red in enumerate(REDS)
        }
        tags = "".join(f'<img src="{url}" alt="a kettle that is number {n}">' for n, url in enumerate(images))
        again = f'<img src="{HOST}/15.jpg" alt="another text of the kettle">'
        self.archive = pages.write(
            folder / "a.warc.gz", [("http://page.example/", f"<html lang=en>{tags}{again}")], images
        )
        self.redness = {"name": "redness", "path": models.mean_colour(folder / "red.onnx"), "size": 8, "answer": 0}

    @cached_property
    def run(self) -> str:
        """A run of `wit train` on nothing."""
        return models.tiny_run(self.folder)

    def config(self, out: Path | str, **sections: Any) -> dict[str, Any]:
        return {
            "sources": [str(self.archive)],
            "out": str(out),
            "match": {"queries": str(self.folder / "queries.txt")},
            "fetch": {"origins": ["archive"]},
            "pack": {"heldout_share": 0.0},
            "run": {"workers": 0, "pairs_per_partition": 6},
            **sections,
        }

    @cached_property
    def fetched(self) -> Path:
        """A dataset up to its images, which each build begins from."""
        self.anew(self.folder / "fetched", "fetch")
        return self.folder / "fetched"

    def embedded(self, out: Path, pairs_per_partition: int = 6) -> None:
        """Have `build` begin from the embeddings of `run`, which are made once for a size of the partitions."""
        made = self.folder / f"embedded-{pairs_per_partition}"
        if not made.exists():
            run = {"workers": 0, "pairs_per_partition": pairs_per_partition}
            self.build(made, "image", image={"nsfw_model": "", "embedding_model": self.run}, run=run)
        shutil.copytree(made, out)

    def anew(self, out: Path | str, to: str | None = None, **sections: Any) -> dict[str, int]:
        """Build from the archive on, up to a stage; the tasks that were done, by phase."""
        return build(make_config(self.config(out, **sections)), to=to, quiet=True).did

    def build(self, out: Path, to: str | None = None, **sections: Any) -> dict[str, int]:
        """Build from the images on, up to a stage; the tasks that were done, by phase."""
        if not out.exists():
            shutil.copytree(self.fetched, out)
        return self.anew(out, to, **sections)

    def built(self, out: Path, **sections: Any) -> Path:
        """Build without a model of NSFW; where."""
        self.build(out, **PLAIN, **sections)
        return out


def dropped(out: Path, stage: str = "image") -> dict[str, tuple[str, dict[str, Any]]]:
    """text -> (reason, evidence)."""
    rows = dataset.open(str(out)).sql(f"SELECT text, reason, evidence FROM dropped WHERE stage = '{stage}'").fetchall()
    return {text: (reason, json.loads(evidence)) for text, reason, evidence in rows}
