"""Models that train in a second, and a dataset for them: pictures of two colours side by side, captioned by them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import open_clip
import pyarrow as pa
from PIL import Image

from dataset.ids import pair_id
from dataset.schema import SHARD_INDEX
from dataset.store.storage import Storage
from dataset.tables import to_parquet
from dataset.webdataset.shards import write_shard

MODEL = "test-tiny"
RESNET = "test-resnet"
WIDER_RESNET = "test-wider-resnet"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "width": 8, "heads": 2, "layers": 1},
}
"""Of narrow texts: the vocabulary's embedding is nearly all of the model's weights."""
RESNET_CONFIG = {**CONFIG, "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}}
WIDER_RESNET_CONFIG = {
    **CONFIG,
    "embed_dim": 192,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
}
"""Whose gradients round less: the image tower of openwit-tiny."""
COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "green": (30, 160, 40),
    "blue": (30, 50, 220),
    "yellow": (240, 220, 40),
    "pink": (250, 150, 200),
    "gray": (128, 128, 128),
}
CAPTIONS = [f"{left} {right}" for left in COLOURS for right in COLOURS]  # 64


def register(folder: Path) -> Path:
    """Make the models known to open_clip; returns the config's file of the transformer."""
    for name, config in ((MODEL, CONFIG), (RESNET, RESNET_CONFIG), (WIDER_RESNET, WIDER_RESNET_CONFIG)):
        path = folder / f"{name}.json"
        path.write_text(json.dumps(config))
        open_clip.add_model_config(path)
    return folder / f"{MODEL}.json"


def picture(caption: str, suffix: str = "jpeg") -> bytes:
    """The picture of a caption such as `red blue`, 40 x 36 pixels."""
    left, right = (COLOURS[word] for word in caption.casefold().split())
    image = Image.new("RGB", (40, 36), left)
    image.paste(right, (20, 0, 40, 36))
    file = io.BytesIO()
    image.save(file, suffix, quality=95)
    return file.getvalue()


def write_dataset(
    root: Path,
    train: Sequence[str] = CAPTIONS,
    heldout: Sequence[str] = CAPTIONS[:16],
    shard_sizes: Sequence[int] | None = None,
) -> str:
    """Shards and an index of some captions' pictures; returns the dataset's URL.

    Args:
        shard_sizes: how many training samples each shard has; all lie in one by default.
    """
    rows: list[dict[str, object]] = []
    storage = Storage(str(root))
    places = iter(range(len(train)))
    shards = [("train", list(islice(places, size))) for size in shard_sizes or [len(train)]]
    for number, (split, chosen) in enumerate([*shards, ("heldout", list(range(len(heldout))))]):
        captions = heldout if split == "heldout" else train
        ids = [pair_id(f"http://a.test/{split}/{place}.jpg", captions[place]) for place in chosen]
        samples = (
            (
                key.hex(),
                {
                    "jpg": picture(captions[place]),
                    "txt": captions[place].encode(),
                    "json": json.dumps({"pair_id": key.hex()}).encode(),
                },
            )
            for key, place in zip(ids, chosen, strict=True)
        )
        file = io.BytesIO()
        entries = write_shard(samples, file)
        shard = f"{split}-{0 if split == 'heldout' else number:05d}.tar"
        storage.write(f"shards/{shard}", file.getvalue())
        rows += [
            {"shard": shard, "split": split, "pair_id": key, **entry._asdict()}
            for key, entry in zip(ids, entries, strict=True)
        ]
    storage.write("shards/index.parquet", to_parquet(pa.Table.from_pylist(rows, SHARD_INDEX)))
    return storage.url
