"""Features of images and texts, computed once per (weights, data): the tenth evaluator encodes nothing.

They lie in a folder, a file each, under a name made of the encoder's weights and of the images'
files (names, sizes, times of change) or of the texts. A file is whole or not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dataset.ids import checksum
from dataset.store.local_files import replacing
from dataset.webdataset.shards import DamagedSampleError
from train.evaluate.sets import Picture, SetError, Split

if TYPE_CHECKING:
    from torch import Tensor

    from train.checkpoints.load import Encoder

_RULES = 1  # raised when the same weights and files give other features
PIECE = 8192
"""Images of a split that are kept together: what is lost at most where an examination is killed."""
_THREADS = min(8, os.cpu_count() or 1)
Progress = Callable[[str, int, int], None]
"""(what is encoded, how many are done, of how many)."""


def default_folder() -> Path:
    """Return the folder that keeps features where none is named: `openwit/features` in XDG_CACHE_HOME or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "openwit" / "features"


@dataclass(frozen=True)
class ImageFeatures:
    """What an encoder makes of a split's images; those that cannot be read are left out."""

    rows: np.ndarray  # which of the split's images these are
    embeddings: np.ndarray  # float32 (n, d), of unit length
    before_projection: np.ndarray  # float32 (n, width)
    damaged: int


class Features:
    """An encoder whose features are kept.

    Attributes:
        encoded: images that had to be encoded, and were not kept already.
    """

    def __init__(self, encoder: Encoder, folder: Path | None, progress: Progress | None = None):
        self.encoder, self.folder, self.progress = encoder, folder, progress
        self.encoded = 0
        self.identity = f"{encoder.identity()}-{_RULES}" if folder is not None else ""
        self._held: dict[str, dict[str, np.ndarray]] = {}

    @property
    def logit_scale(self) -> float:
        """What similarities are multiplied by before a softmax."""
        return self.encoder.logit_scale

    @property
    def device(self) -> str:
        """Where the encoder computes, and probes may: cpu or cuda."""
        return str(self.encoder.device.type)

    def images(self, split: Split, what: str = "images") -> ImageFeatures:
        """Return the features of a split's images, kept a piece at a time. Raises SetError if none can be read."""
        length = max(1, len(split)) if self.folder is None else PIECE
        pieces = []
        for first in range(0, len(split), length):
            whole = len(split) <= length
            piece = split if whole else split.take(np.arange(first, min(first + length, len(split))))
            pieces.append(self._piece(piece, what, first, len(split)))
        if not any(len(each["rows"]) for each in pieces):
            raise SetError(f"no image of {what} can be read")
        rows = np.concatenate([each["rows"] + place * length for place, each in enumerate(pieces)])
        embeddings, before = (
            concat_features([each[name] for each in pieces]) for name in ("embeddings", "before_projection")
        )
        return ImageFeatures(rows, embeddings, before, len(split) - len(rows))

    def _piece(self, split: Split, what: str, first: int, total: int) -> dict[str, np.ndarray]:
        key = f"images-{checksum(f'{self.identity} {split.identity()}'.encode())}"
        arrays = self._load_kept(key)
        if arrays is None:
            arrays = self._encode(split, what, first, total)
            check_finite(arrays["embeddings"], what)
            self._keep(key, arrays)
        return arrays

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return the features of texts: float32 (n, d), of unit length."""
        key = f"texts-{checksum(chr(0).join([self.identity, *texts]).encode('utf-8', 'surrogatepass'))}"
        arrays = self._load_kept(key)
        if arrays is None:
            distinct = list(dict.fromkeys(texts))
            encoded = check_finite(self._encode_texts(distinct), "texts")
            place = {text: number for number, text in enumerate(distinct)}
            arrays = {"embeddings": encoded[[place[text] for text in texts]]}
            self._keep(key, arrays)
        return arrays["embeddings"]

    def _encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.encoder.texts(texts)

    def _encode(self, split: Split, what: str, first: int, total: int) -> dict[str, np.ndarray]:
        """The features of a piece, which begins at an image of the whole split, of so many."""
        import torch

        rows: list[int] = []
        embeddings, before = [], []
        batch: list[Tensor] = []

        def flush() -> None:
            embedded, seen = self.encoder.towers(torch.stack(batch))
            embeddings.append(embedded)
            before.append(seen)
            batch.clear()

        for place, pixels in enumerate(decode_images(split.pictures, self.encoder)):
            if pixels is not None:
                rows.append(place)
                batch.append(pixels)
            if len(batch) == self.encoder.batch_size:
                flush()
                if self.progress is not None and place + 1 < len(split):
                    self.progress(what, first + place + 1, total)
        if batch:
            flush()
        if self.progress is not None:
            self.progress(what, first + len(split), total)
        self.encoded += len(rows)
        return {
            "rows": np.array(rows, np.int64),
            "embeddings": concat_features(embeddings),
            "before_projection": concat_features(before),
        }

    def _load_kept(self, key: str) -> dict[str, np.ndarray] | None:
        if key in self._held:
            return self._held[key]
        if self.folder is None:
            return None
        arrays = kept_arrays(self.folder, key)
        if arrays is not None:
            self._held[key] = arrays
        return arrays

    def _keep(self, key: str, arrays: dict[str, np.ndarray]) -> None:
        self._held[key] = arrays
        if self.folder is not None:
            keep_arrays(self.folder, key, arrays)


def kept_arrays(folder: Path, key: str) -> dict[str, np.ndarray] | None:
    """Return what `keep_arrays` kept; None if it is not there, or damaged."""
    try:
        with np.load(folder / f"{key}.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError):
        return None
    except Exception as error:  # zipfile's own error, without its import
        if type(error).__name__ != "BadZipFile":
            raise
        return None


def keep_arrays(folder: Path, key: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays in a folder under a name: whole, or not at all."""
    with replacing(folder / f"{key}.npz") as draft, draft.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def concat_features(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Return features of all batches, of those of each: (n, d); (0, 0) of none."""
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled) if filled else np.empty((0, 0), np.float32)


def check_finite(features: np.ndarray, what: str) -> np.ndarray:
    """Return the features. Raises SetError if some are no numbers: a class would be nearest to them by accident."""
    if not np.isfinite(features).all():
        raise SetError(f"the model's features of {what} are no numbers; its weights are damaged, or training diverged")
    return features


def decode_images(pictures: Sequence[Picture], encoder: Encoder) -> Iterator[Tensor | None]:
    """Yield what the model sees of each image, in order, decoded by threads; None of one that cannot be read."""
    from train.data.transforms import decode

    def see(picture: Picture) -> Tensor | None:
        try:
            return encoder.pixels(decode(picture.read()))  # whole, as CLIP_benchmark: equal figures
        except DamagedSampleError:
            return None

    ahead = 4 * _THREADS
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = [pool.submit(see, picture) for picture in pictures[:ahead]]
        for place in range(len(pictures)):
            yield waiting.pop(0).result()
            if place + ahead < len(pictures):
                waiting.append(pool.submit(see, pictures[place + ahead]))
