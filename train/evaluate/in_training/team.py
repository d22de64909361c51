"""All processes of a run as one encoder: the first one says what to encode, and each encodes a part of it.

Batches have a fixed size and go round the processes, so each image is encoded once, in the same company, and a feature
has the same bits on any number of processes. What evaluators make of the features the first process computes alone;
the others wait for its next word, so that they cannot disagree about what comes next, and none waits in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dataset.store.storage import Storage
from dataset.webdataset.shards import Index, read_index
from train.checkpoints.load import Encoder
from train.distributed.processes import Processes
from train.evaluate.features import Features, Progress, check_finite, concat_features, decode_images
from train.evaluate.held_out import seen_images
from train.evaluate.sets import Picture, Split
from train.failure import TrainingError, sentence

BATCH = 64
"""Images or texts that a process encodes at a time; another number would give features other last bits."""


class StoppedError(RuntimeError):
    """The run was asked to end while it examined the model."""


class EncodingError(TrainingError):
    """A process could not encode its part; the message says which, and why."""


class _Request(NamedTuple):
    """What the first process wants encoded."""

    kind: Literal["pictures", "heldout", "texts"]
    items: list[Any]  # of pictures the Pictures, of held-out pairs their rows in the index, of texts the texts


class _Part(NamedTuple):
    """What a process has encoded in a round."""

    kept: np.ndarray  # bool: which of its items could be read
    embeddings: np.ndarray
    before_projection: np.ndarray


class Team:
    """The processes of a run, to encode what the first one asks for.

    Args:
        encoder: of this process's model.
        asked_to_stop: whether this process is to end.
        dataset: URL of the dataset whose held-out pairs may be asked for.
        in_shards: whether the processes share one model (FSDP): all take part in each batch then.
    """

    def __init__(
        self, encoder: Encoder, processes: Processes, asked_to_stop: Callable[[], bool], dataset: str, in_shards: bool
    ):
        self.encoder, self.processes, self.dataset = encoder, processes, dataset
        self._asked_to_stop, self._in_shards = asked_to_stop, in_shards
        self._index: Index | None = None

    def together(self, work: Callable[[], None]) -> None:
        """Do some work in the first process, for which all encode; returns when it is done.

        Raises:
            Exception: what the work raises, in the first process alone.
        """
        if self.processes.rank:
            while (request := self.processes.gather(None)[0]) is not None:
                for _ in self._rounds(request):
                    pass
            return
        try:
            work()
        finally:
            self.processes.gather(None)

    def ask(self, kind: Literal["pictures", "heldout", "texts"], items: Sequence[Any]) -> _Part:
        """Have items encoded; to be called by the first process, within `together`.

        Raises:
            StoppedError: the run is to end.
            EncodingError: a process could not encode its part.
        """
        request = _Request(kind, list(items))
        self.processes.gather(request)
        parts: list[_Part] = []
        for answers in self._rounds(request):
            for rank, answer in enumerate(answers):
                if isinstance(answer, str):
                    raise EncodingError(answer if self.processes.count == 1 else f"rank {rank}: {answer}")
                if answer is None:
                    raise StoppedError("the run was asked to end")
            parts += [answer for answer in answers if len(answer.kept)]
        kept, embeddings, before = ([part[place] for part in parts] for place in range(3))
        return _Part(np.concatenate([np.empty(0, bool), *kept]), concat_features(embeddings), concat_features(before))

    def _rounds(self, request: _Request) -> Iterator[list[Any]]:
        """What the processes answer, by rank: a part each, or why there is none, or None where one is to stop; after
        the like of these nobody goes on."""
        batches = [request.items[first : first + BATCH] for first in range(0, len(request.items), BATCH)]
        count, rank = self.processes.count, self.processes.rank
        own_batches = batches[rank::count]
        encoded = self._encode_batches(request.kind, own_batches, -(-len(batches) // count))
        for _ in range(0, len(batches), count):
            answers = self.processes.gather(None if self._asked_to_stop() else self._next_part(encoded))
            yield answers
            if any(not isinstance(answer, _Part) for answer in answers):
                return

    def _next_part(self, encoded: Iterator[_Part]) -> _Part | str:
        try:
            return next(encoded)
        except Exception as error:
            if self._in_shards and self.processes.count > 1:
                raise  # the others wait for this process within the model: only the run's end frees them
            return sentence(error)

    def _encode_batches(self, kind: str, batches: list[list[Any]], rounds: int) -> Iterator[_Part]:
        """This process's batches, and as many empty ones as others have more."""
        if kind == "texts":
            for texts in batches:
                features = self.encoder.texts(texts)
                yield _Part(np.ones(len(texts), bool), features, features[:, :0])
        else:
            items = [item for batch in batches for item in batch]
            images = (
                decode_images(items, self.encoder)
                if kind == "pictures"
                else self._held_out_images(np.array(items, np.int64))
            )
            for batch in batches:
                yield self._towers(list(islice(images, len(batch))))
        for _ in range(rounds - len(batches)):
            yield self._idle(kind)

    def _towers(self, images: list[Tensor | None]) -> _Part:
        readable = [pixels for pixels in images if pixels is not None]
        kept = np.array([pixels is not None for pixels in images], bool)
        if not readable:
            nothing = self._idle("pictures")
            return _Part(kept, nothing.embeddings, nothing.before_projection)
        return _Part(kept, *self.encoder.towers(torch.stack(readable)))

    def _idle(self, kind: str) -> _Part:
        """Nothing; where the processes share one model, an empty image or text goes through it for the others' sake."""
        empty = np.empty((0, 0), np.float32)
        if self._in_shards:
            if kind == "texts":
                self.encoder.texts([""])
            else:
                self.encoder.towers(torch.zeros(1, 3, self.encoder.clip.image_size, self.encoder.clip.image_size))
        return _Part(np.empty(0, bool), empty, empty)

    def _held_out_images(self, rows: np.ndarray) -> Iterator[Tensor | None]:
        storage = Storage(self.dataset)
        if self._index is None:
            self._index = read_index(storage, "heldout")
        for image in seen_images(storage, self._index, rows, self.encoder.enough):
            yield None if image is None else self.encoder.pixels(image)


class TeamFeatures(Features):
    """What a team makes of images and texts; kept for one examination, since the next one finds other weights."""

    def __init__(self, team: Team, progress: Progress | None = None):
        super().__init__(team.encoder, None, progress)
        self.team = team

    def held_out(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (which images could be read, their features) of held-out pairs, by their rows in the index."""
        part = self.team.ask("heldout", rows.tolist())
        return part.kept, check_finite(part.embeddings, "held-out images")

    def _encode(self, split: Split, what: str, first: int, total: int) -> dict[str, np.ndarray]:
        pictures: Sequence[Picture] = split.pictures
        part = self.team.ask("pictures", pictures)
        rows = np.flatnonzero(part.kept)
        self.encoded += len(rows)
        return {"rows": rows, "embeddings": part.embeddings, "before_projection": part.before_projection}

    def _encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return self.team.ask("texts", texts).embeddings
