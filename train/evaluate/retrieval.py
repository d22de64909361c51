"""Retrieval over held-out pairs: which of N texts belongs to an image, and which of N images to a text.

Only captions that occur once in the held-out split are asked, so that there is one right answer; the N pairs with the
least hashes are taken, so that every model is asked the same.
"""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
from PIL import Image

from dataset.ids import mix64
from dataset.shards import IMAGE_PARTS, DamagedSampleError, Index, parse_sample, read_index, read_raw_samples
from dataset.storage import Storage
from train.data import decode
from train.evaluate.load import Encoder
from train.evaluate.result import Result
from train.evaluate.zero_shot import rank_of

CHOICE_SEED = 500
POOL = 20_000
"""Held-out pairs among which a caption must occur once; also the most that are read."""
CHUNK = 1024
"""Samples read at a time."""


def retrieval(encoder: Encoder, dataset: str, samples: int = 500) -> list[Result]:
    """R@1, R@5, R@10 and median rank, image to text and text to image.

    Fewer than `samples` pairs are ranked if the held-out split has no more; the results say how many.

    Raises:
        FileNotFoundError: the dataset has no shards.
        ValueError: its held-out split has fewer than two captions that occur once.
    """
    images, texts = choose(encoder, dataset, samples)
    count = len(texts)
    similarity = images @ texts.T
    results: list[Result] = []
    for direction, scores in (("image_to_text", similarity), ("text_to_image", similarity.T)):
        rank = rank_of(scores, np.arange(count))
        figures = [(f"r{k}", float((rank <= k).mean()), min(1.0, k / count)) for k in (1, 5, 10)]
        figures.append(("median_rank", float(np.median(rank)), (count + 1) / 2))
        results += [
            Result(
                task="retrieval",
                metric=f"{direction}_{metric}",
                value=value,
                chance=chance,
                samples=count,
                candidates=count,
            )
            for metric, value, chance in figures
        ]
    return results


def choose(encoder: Encoder, dataset: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Image and text features of the pairs to rank, each float32 of shape (n ≤ samples, d)."""
    storage = Storage(dataset)
    index = read_index(storage, "heldout")
    order = np.argsort(mix64(index.pair_id[:, 0] ^ index.pair_id[:, 1], CHOICE_SEED), kind="stable")[:POOL]
    captions = [
        _caption(parts)
        for first in range(0, len(order), CHUNK)
        for parts in _read(storage, index, order[first : first + CHUNK])
    ]
    occurrences = Counter(_same(caption) for caption in captions)
    once = [(row, caption) for row, caption in zip(order, captions, strict=True) if occurrences[_same(caption)] == 1]

    images: list[Image.Image] = []
    texts: list[str] = []
    for first in range(0, len(once), samples):  # as many as are wanted, and more only for those that are damaged
        block = once[first : first + samples]
        for (_, caption), parts in zip(block, _read(storage, index, np.array([row for row, _ in block])), strict=True):
            data = next((parts[part] for part in IMAGE_PARTS if part in parts), b"")
            with contextlib.suppress(DamagedSampleError):
                images.append(decode(data, encoder.clip.image_size))
                texts.append(caption)
        if len(texts) >= samples:
            break
    if len(texts) < 2:
        raise ValueError(f"{dataset} has {len(texts)} held-out captions that occur once; retrieval needs at least 2")
    return encoder.images(images[:samples]), encoder.texts(texts[:samples])


def _read(storage: Storage, index: Index, rows: np.ndarray) -> list[dict[str, bytes]]:
    """The samples' parts; none for a damaged one."""
    answer: list[dict[str, bytes]] = []
    for row, raw in zip(rows, read_raw_samples(storage, index, rows), strict=True):
        try:
            answer.append(parse_sample(raw, index.keys[int(row)].as_py()))
        except DamagedSampleError:
            answer.append({})
    return answer


def _caption(parts: dict[str, bytes]) -> str:
    return parts.get("txt", b"").decode(errors="replace")


def _same(caption: str) -> str:
    """What two captions share that a reader would call the same."""
    return " ".join(caption.casefold().split())
