"""Retrieval over held-out pairs: which of N texts belongs to an image, and which of N images to a text.

Only captions that occur once in the held-out split are asked, so that there is one right answer; the N pairs with the
least hashes are taken, so that every model is asked the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dataset.ids import mix64
from dataset.store.storage import Storage
from dataset.webdataset.shards import DamagedSampleError, Index, read_index, read_raw_samples
from train.evaluate.features import check_finite
from train.evaluate.view import ranks

if TYPE_CHECKING:
    from train.checkpoints.load import Encoder

CHOICE_SEED = 500
POOL = 20_000
"""Held-out pairs among which a caption must occur once; also the most that are read."""
CHUNK = 1024
"""Samples read at a time."""


Read = Callable[[Sequence[str]], np.ndarray]
See = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Rows of the held-out index -> (bool: which images could be read, the features of those)."""


def held_out_ranks(
    encoder: Encoder, dataset: str, samples: int, see: See | None = None, read: Read | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """Return the rank of what belongs together, by direction, and how many damaged pairs were passed over.

    Args:
        samples: N, the pairs to rank; fewer if the held-out split has no more.
        see, read: how images and texts are encoded, if not by the encoder itself.
    Raises:
        FileNotFoundError: the dataset has no shards.
        ValueError: its held-out split has fewer than two captions that occur once.
    """
    images, texts, damaged = choose(encoder, dataset, samples, see, read)
    similarity = images @ texts.T
    answer = np.arange(len(texts))
    return {
        "image_to_text": ranks(similarity, answer),
        "text_to_image": ranks(similarity.T, answer),
    }, damaged


def choose(
    encoder: Encoder, dataset: str, samples: int, see: See | None = None, read: Read | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Yield (image features, text features) of the pairs to rank, each float32 of shape (n ≤ samples, d), and how many
    pairs had to be passed over because they are damaged.
    """
    storage = Storage(dataset)
    index = read_index(storage, "heldout")
    order = np.argsort(mix64(index.pair_id[:, 0] ^ index.pair_id[:, 1], CHOICE_SEED), kind="stable")[:POOL]
    captions = [_caption(parts) for parts in _read(storage, index, order)]
    occurrences = Counter(_shared_key(caption) for caption in captions)
    once = [place for place, caption in enumerate(captions) if occurrences[_shared_key(caption)] == 1]
    enough = getattr(encoder, "enough", None)  # who brings an encoder of their own may leave it to us: whole images

    def encode_readable(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept: list[bool] = []

        def readable() -> Iterator[Image.Image]:
            for image in seen_images(storage, index, rows, enough):
                kept.append(image is not None)
                if image is not None:
                    yield image

        features = encoder.images(readable())
        return np.array(kept, bool), features

    asked: list[str] = []
    seen: list[np.ndarray] = []
    damaged = place = 0
    while len(asked) < samples and place < len(once):  # further ones stand in for those that are damaged
        part = once[place : place + samples - len(asked)]
        kept, features = (see or encode_readable)(order[part])
        asked += [captions[number] for number, is_kept in zip(part, kept, strict=True) if is_kept]
        seen.append(features)
        damaged, place = damaged + int((~kept).sum()), place + len(part)
    if len(asked) < 2:
        raise ValueError(f"{dataset} has {len(asked)} held-out captions that occur once; retrieval needs at least 2")
    images = np.concatenate([features for features in seen if len(features)])
    return (
        check_finite(images, "held-out images"),
        check_finite((read or encoder.texts)(asked), "held-out captions"),
        damaged,
    )


def seen_images(
    storage: Storage, index: Index, rows: np.ndarray, enough: int | None = None
) -> Iterator[Image.Image | None]:
    """Yield the images of some samples, read as they are asked for; None of a damaged one."""
    from train.data.transforms import decode, image_part

    for parts in _read(storage, index, rows):
        try:
            yield decode(image_part(parts), enough)
        except DamagedSampleError:
            yield None


def _read(storage: Storage, index: Index, rows: np.ndarray) -> Iterator[dict[str, bytes]]:
    """The samples' parts, read as they are asked for; none for a damaged one."""
    for first in range(0, len(rows), CHUNK):
        chunk = rows[first : first + CHUNK]
        for row, raw in zip(chunk, read_raw_samples(storage, index, chunk), strict=True):
            try:
                yield index.sample(int(row), raw)
            except DamagedSampleError:
                yield {}


def _caption(parts: dict[str, bytes]) -> str:
    return parts.get("txt", b"").decode(errors="replace")


def _shared_key(caption: str) -> str:
    """What two captions share that a reader would call the same."""
    return " ".join(caption.casefold().split())
