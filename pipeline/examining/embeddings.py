"""A dataset's images and captions as an encoder sees them, a part at a time.

What the `image` stage has committed for the same encoder is taken from there. All else is encoded once, shard by shard,
and kept in a folder outside of the dataset, so that what was stopped goes on there, and a dataset that grew or lost
samples has only the shards encoded that changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from dataset.ids import checksum, words64
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import read_table
from dataset.query.views import Dataset
from dataset.webdataset.shards import DamagedSampleError, Index, read_index, read_raw_samples
from filters.images.embeddings import from_column
from pipeline.engine.phase import method_of
from train.evaluate.features import keep_arrays, kept_arrays

if TYPE_CHECKING:
    from torch import Tensor

    from train.checkpoints.load import Encoder

SPLITS = ("train", "heldout")
_RULES = 1  # raised when the same weights and samples give other embeddings
_THREADS = min(8, os.cpu_count() or 1)
Progress = Callable[[str, int, int], None]
"""(what is encoded, how many are done, of how many)."""


class Part(NamedTuple):
    """Some of a dataset's images or captions, each once."""

    ids: np.ndarray  # of images the first half of their pairs' pair_id, uint64 (n,); of captions the pair_id (n, 2)
    vectors: np.ndarray  # float32 (n, d), of unit length


class Embeddings:
    """A dataset's embeddings by one encoder.

    Args:
        identity: what the `image` stage knows the encoder by; None if it cannot.
        folder: where what had to be encoded is kept.
        progress: told how many images or captions of a shard are encoded.

    Attributes:
        damaged: images that cannot be read, of the parts that were read so far.

    Raises:
        FileNotFoundError, ValueError: the dataset has no index of shards.
    """

    def __init__(
        self,
        dataset: Dataset,
        encoder: Encoder,
        identity: str | None,
        folder: Path,
        progress: Progress = lambda what, done, total: None,
    ):
        self.dataset, self.encoder, self.folder, self.progress = dataset, encoder, folder, progress
        self.damaged = 0
        self._encoder_identity = f"{encoder.identity()}-{_RULES}"
        self._indexes = [index for split in SPLITS if len(index := read_index(dataset.storage, split))]
        self._committed = self._stage_files(identity)

    @property
    def fingerprint(self) -> str:
        """What tells these images, as this encoder sees them, from others."""
        return checksum("\n".join([self._encoder_identity, *(index.fingerprint for index in self._indexes)]).encode())

    def count(self) -> int:
        """Return how many images the dataset has, at most: samples of one address are one image."""
        return len(self._image_ids())

    def images(self) -> Iterator[Part]:
        """Yield all images, each once, in an order of their own."""
        yield from self._committed_parts() if self._committed else self._encoded_parts()

    def captions(self) -> Iterator[Part]:
        """Yield all captions, by their pairs."""
        for index, rows in self._shards():
            arrays = self._load_or_encode("captions", index, rows, self._read)
            if len(arrays["rows"]):
                yield Part(index.pair_id[rows[arrays["rows"]]], arrays["vectors"].astype(np.float32))

    def _image_ids(self) -> np.ndarray:
        return np.unique(np.concatenate([np.empty(0, np.uint64), *(index.pair_id[:, 0] for index in self._indexes)]))

    def _stage_files(self, identity: str | None) -> list[tuple[int, FileRef]]:
        """The partitions' files in which the `image` stage has these embeddings; none if it has not."""
        if identity is None:
            return []
        from pipeline.stages.image.embed import embed

        method = method_of(embed.name, {"identity": identity})
        commits = self.dataset.commits(embed.name)
        if not commits or any(commit.facts.get("method") != method for commit in commits):
            return []
        return [(commit.partition, commit.files["images"]) for commit in commits]

    def _committed_parts(self) -> Iterator[Part]:
        wanted, images = self._image_ids(), self.dataset.files("images")
        for partition, file in self._committed:
            table = read_table(self.dataset.storage, file)
            named = read_table(self.dataset.storage, images[partition], ["row", "url_id"])
            place = pc.index_in(table.column("row"), value_set=named.column("row").combine_chunks())
            ids = words64(named.column("url_id").take(place))[:, 0]
            stays = np.isin(ids, wanted)
            if stays.any():
                yield Part(ids[stays], from_column(table.column("embedding"))[stays])

    def _encoded_parts(self) -> Iterator[Part]:
        first = self._is_first_of_image()
        for index, rows in self._shards():
            rows = rows[first[index.split][rows]]
            if not len(rows):
                continue
            arrays = self._load_or_encode("images", index, rows, self._look)
            self.damaged += len(rows) - len(arrays["rows"])
            if len(arrays["rows"]):
                yield Part(index.pair_id[rows[arrays["rows"]], 0], arrays["vectors"].astype(np.float32))

    def _shards(self) -> Iterator[tuple[Index, np.ndarray]]:
        """Each shard of each split, and its samples' rows in the index."""
        for index in self._indexes:
            order = np.argsort(index.shard, kind="stable")
            edges = np.searchsorted(index.shard[order], np.arange(len(index.shards) + 1))
            for first, last in pairwise(edges.tolist()):
                yield index, order[first:last]

    def _is_first_of_image(self) -> dict[str, np.ndarray]:
        """Which samples are the first of their image in each split; bool (samples,)."""
        if not self._indexes:
            return {}
        ids = np.concatenate([index.pair_id[:, 0] for index in self._indexes])
        first = np.zeros(len(ids), bool)
        first[np.unique(ids, return_index=True)[1]] = True
        edges = np.cumsum([len(index) for index in self._indexes])[:-1]
        return {index.split: part for index, part in zip(self._indexes, np.split(first, edges), strict=True)}

    def _load_or_encode(
        self, kind: str, index: Index, rows: np.ndarray, encode: Callable[[Index, np.ndarray, str], dict[str, Any]]
    ) -> dict[str, np.ndarray]:
        """What was kept of a shard, or what is encoded now: `rows`, the places in rows that could be, and `vectors`."""
        content = (index.pair_id[rows], index.checksum[rows], index.offset[rows], index.size[rows])
        said = "\n".join([kind, self._encoder_identity, *(checksum(np.ascontiguousarray(each)) for each in content)])
        key = f"dataset-{kind}-{checksum(said.encode())}"
        arrays = kept_arrays(self.folder, key)
        if arrays is None or set(arrays) != {"rows", "vectors"}:
            arrays = encode(index, rows, f"{kind} of {index.shards[index.shard[rows[0]]]}")
            keep_arrays(self.folder, key, arrays)
        return arrays

    def _samples(self, index: Index, rows: np.ndarray, what: str) -> Iterator[tuple[int, list[dict[str, bytes]]]]:
        """A batch of samples at a time, and the place of its first; a damaged one has no parts."""
        for first in range(0, len(rows), self.encoder.batch_size):
            chosen = rows[first : first + self.encoder.batch_size]
            batch = []
            for row, raw in zip(chosen.tolist(), read_raw_samples(self.dataset.storage, index, chosen), strict=True):
                try:
                    batch.append(index.sample(row, raw))
                except DamagedSampleError:
                    batch.append({})
            yield first, batch
            self.progress(what, min(len(rows), first + len(chosen)), len(rows))

    def _look(self, index: Index, rows: np.ndarray, what: str) -> dict[str, np.ndarray]:
        import torch

        places: list[int] = []
        vectors = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for first, batch in self._samples(index, rows, what):
                pixels = list(pool.map(self._pixels, batch))
                seen = [each for each in pixels if each is not None]
                places += [first + place for place, each in enumerate(pixels) if each is not None]
                if seen:
                    vectors.append(self.encoder.towers(torch.stack(seen))[0])
        return _to_float16(places, vectors)

    def _pixels(self, parts: dict[str, bytes]) -> Tensor | None:
        from train.data.transforms import decode, image_part

        try:
            return self.encoder.pixels(decode(image_part(parts), self.encoder.enough))
        except DamagedSampleError:
            return None

    def _read(self, index: Index, rows: np.ndarray, what: str) -> dict[str, np.ndarray]:
        places: list[int] = []
        vectors = []
        for first, batch in self._samples(index, rows, what):
            chosen = [place for place, parts in enumerate(batch) if parts.get("txt", b"").strip()]
            places += [first + place for place in chosen]
            if chosen:
                vectors.append(self.encoder.texts([batch[place]["txt"].decode(errors="replace") for place in chosen]))
        return _to_float16(places, vectors)


def _to_float16(places: list[int], vectors: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return features as they are kept: in 16 bits, in which the `image` stage keeps them as well."""
    features = np.concatenate(vectors) if vectors else np.empty((0, 0))
    return {"rows": np.array(places, np.int64), "vectors": features.astype(np.float16)}
