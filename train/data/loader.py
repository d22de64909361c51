"""Training samples: which ones a step sees, through which crop and with which caption.

All of it is a function of (seed, epoch, sample index), so neither the number of processes nor of readers, nor a stop
in the middle, changes what is learned. The state of the data is one integer, the number of samples seen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from dataset.webdataset.foreign import open_train_index
from dataset.webdataset.shards import DamagedSampleError, Index
from train.data import captions
from train.data.config import DataConfig
from train.data.gpu_decode import Jpegs, collect
from train.data.mixture import Corpus, CorpusPart
from train.data.order import BlockShuffle, FullShuffle, Order
from train.data.prefetch import read_ahead
from train.data.shard_cache import ShardCache
from train.data.shard_reader import ShardReader
from train.data.shared_memory import ReaderPlan, plan
from train.data.tokenizer import Tokenize, fast
from train.data.transforms import Augment, draw, image_part

MAX_REPLACEMENTS = 32
"""How many replacements are tried for a damaged sample. Where all are damaged, so are the shards, and the run ends."""
PART = 512
"""Samples that a reader makes at a time: 77 MB of images of 224 × 224 pixels; fewer where there is less shared memory.
With whole batches of 32,768 each reader would hold 4.9 GB of it and more, and the first would be long in coming."""


@dataclass(frozen=True)
class Batch:
    """One process's share of a step."""

    images: Tensor  # uint8, (n, 3, size, size), channels innermost in memory
    texts: Tensor  # int64, (n, context length)
    rows: Tensor  # int64, (n,): which samples, places among all datasets' (`Corpus.pair_id`)
    damaged: list[str]  # samples that could not be read, named with the reason, and were replaced
    jpegs: Jpegs | None = None  # images that the GPU is still to decode; their places hold anything until then

    def to_shared_memory(self) -> Batch:
        """Return the same batch in memory that another process can take over. It is copied here, and not while it is
        sent, where an error would be lost.
        """
        return self._map(Tensor.share_memory_)

    def clone(self) -> Batch:
        """Return the same batch in this process's own memory."""
        return self._map(Tensor.clone)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        images, texts, rows = (function(tensor) for tensor in (self.images, self.texts, self.rows))
        return Batch(images, texts, rows, self.damaged, self.jpegs and self.jpegs.map(function))

    def pin_memory(self) -> Batch:
        """Return the same batch in page-locked memory, from which a GPU copies while it computes."""
        pinned = self.images.pin_memory(), self.texts.pin_memory()
        return Batch(*pinned, self.rows.clone(), self.damaged, self.jpegs and self.jpegs.map(Tensor.clone))

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on a device, with channels innermost in memory, as convolutions are faster."""
        images = self.images.to(device, non_blocking=True).to(memory_format=torch.channels_last)
        return Batch(images, self.texts.to(device, non_blocking=True), self.rows, self.damaged)


def join(parts: Sequence[Batch]) -> Batch:
    """Return the batch of which these are the parts, in order, but for what the GPU is still to decode."""
    if len(parts) == 1:
        return replace(parts[0], jpegs=None)
    damaged = [name for part in parts for name in part.damaged]
    images, texts, rows = ([getattr(part, name) for part in parts] for name in ("images", "texts", "rows"))
    return Batch(torch.cat(images), torch.cat(texts), torch.cat(rows), damaged)


def open_corpus(dataset: str, config: DataConfig, seed: int, run: str) -> Corpus:
    """Return the datasets that a config names.

    Args:
        dataset: URL of the one that has weight 1 in the mixture.
        run: the URL of the run's directory, which keeps the index of a dataset that has none and cannot be written.
    Raises:
        FileNotFoundError: a dataset has no shards.
        ValueError: a dataset has no training samples, or the cache cannot hold what is read together.
    """
    weights = {dataset: 1.0, **config.mixture}
    sources = [CorpusPart(*open_train_index(url, run, config.workers), weight) for url, weight in weights.items()]
    corpus = Corpus(sources, seed, partial(_order, config.shuffle, config.shuffle_shards))
    if config.cache:
        _check_cache(corpus, config)
    return corpus


def _order(shuffle: str, block: int, index: Index, seed: int) -> Order:
    return BlockShuffle(index.shard, seed, block) if shuffle == "blocks" else FullShuffle(len(index), seed)


def _check_cache(corpus: Corpus, config: DataConfig) -> None:
    """Raises ValueError if the copies of what is read together would drive each other out."""
    needed = 0
    for source in corpus.sources:
        shards = np.sort(np.bincount(source.index.shard, weights=source.index.size))[::-1]
        needed += int(shards[: 2 * config.shuffle_shards].sum() if config.shuffle == "blocks" else shards.sum())
    if needed > config.cache_bytes:
        hint = "" if config.shuffle == "blocks" else ", or data.shuffle must be blocks"
        raise ValueError(
            f"data.cache_bytes must be at least {needed}, the size of the shards that are read together, "
            f"not {config.cache_bytes}{hint}"
        )


def share(batch_size: int, rank: int, processes: int) -> range:
    """Return the places in a batch that are one process's; shares differ by one at most."""
    return range(rank * batch_size // processes, (rank + 1) * batch_size // processes)


class Samples:
    """The steps of a run, by number; any step can be had at any time, on any process.

    Step s has the run's samples s × batch_size and on; a batch may have the end of one epoch and the beginning of the
    next, so that no sample is left out of any.

    Args:
        captions: as in `train.data.captions.choose`.
        stop_at_damage: raise DamagedSampleError at a sample that cannot be read, rather than replace it.
        undecoded: leave JPEGs to the GPU, see `train.data.gpu_decode`.
    Raises:
        ValueError: there are more processes than samples in a batch.
    """

    def __init__(
        self,
        corpus: Corpus,
        tokenize: Tokenize,
        augment: Augment,
        *,
        batch_size: int,
        captions: Mapping[str, float],
        stop_at_damage: bool = False,
        cache: ShardCache | None = None,
        rank: int = 0,
        processes: int = 1,
        undecoded: bool = False,
    ):
        if batch_size < processes:
            raise ValueError(f"batch_size must be at least the number of processes, {processes}, not {batch_size}")
        self.corpus, self.tokenize, self.augment = corpus, fast(tokenize), augment
        self.batch_size, self.captions, self.stop_at_damage = batch_size, captions, stop_at_damage
        self.share = share(batch_size, rank, processes)
        self.cache, self.undecoded = cache, undecoded
        self.part_size = PART
        self.readers = [ShardReader(source.storage, source.index, cache) for source in corpus.sources]

    @property
    def parts(self) -> int:
        """How many parts this process's share of a batch has."""
        return max(1, -(-len(self.share) // self.part_size))

    def fit(self, workers: int, free: int | None) -> ReaderPlan:
        """Cut batches into parts that fit into so many bytes of shared memory; see `train.data.shared_memory.plan`."""
        sample_bytes = 3 * self.augment.size**2 + 8 * self.tokenize(["a"]).shape[1] + 8  # pixels, tokens, its place
        if self.undecoded:  # files are of many sizes
            sample_bytes += int(2 * max(source.index.size.mean() for source in self.corpus.sources))
        reading = plan(sample_bytes, len(self.share), workers, free, self.part_size)
        self.part_size = reading.part
        return reading

    def __getitem__(self, step: int) -> Batch:
        return join([self.part(step * self.parts + number) for number in range(self.parts)])

    def part(self, number: int, only: Sequence[int] | None = None) -> Batch:
        """Return a part, by its number over all steps: part_size samples, of a step's last one what is left.

        Args:
            only: of these places in the part alone, decoded whatever `undecoded` says.
        """
        step, part = divmod(number, self.parts)
        of_batch = self.share[part * self.part_size : (part + 1) * self.part_size]
        first = step * self.batch_size
        places = np.arange(first + of_batch.start, first + of_batch.stop)[slice(None) if only is None else list(only)]
        choice = self.corpus.choose(places)
        self._prefetch(first + of_batch.start)
        raws = self._read(choice.source, choice.row)
        size = self.augment.size
        images = torch.empty((len(places), size, size, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        if get_worker_info() is not None:
            images.share_memory_()  # empty still, so that nothing is copied when it goes to the training process
        numbers = choice.source.tolist(), choice.epoch.tolist(), choice.row.tolist()
        globals_ = self.corpus.first[choice.source] + choice.row
        draws = draw(self.corpus.seed, choice.epoch, globals_).tolist()
        texts: list[str] = []
        damaged: list[str] = []
        jpegs: list[tuple[int, bytes, list[int]]] | None = [] if self.undecoded and only is None else None
        for place, (source, epoch, row) in enumerate(zip(*numbers, strict=True)):
            raw, sample_draw = raws[place], draws[place]
            for attempt in range(MAX_REPLACEMENTS):
                try:
                    texts.append(
                        self._sample(raw, source, epoch, row, sample_draw, images[place : place + 1], place, jpegs)
                    )
                    break
                except DamagedSampleError as error:
                    damaged.append(f"{self.corpus.name(source, row)}: {error}")
                    if self.stop_at_damage:
                        raise DamagedSampleError(f"damaged sample: {damaged[-1]}") from None
                    # Nearby first: in a block shuffle, any other would be read from a shard that is not at hand.
                    nearby = attempt < MAX_REPLACEMENTS // 2
                    row = self.corpus.other(source, epoch, int(choice.position[place]), attempt, nearby)
                    (raw,) = self._read(np.array([source]), np.array([row]))
                    place_of = self.corpus.first[source] + np.array([row])
                    (sample_draw,) = draw(self.corpus.seed, np.array([epoch]), place_of).tolist()
            else:
                url = self.corpus.sources[source].storage.url
                raise DamagedSampleError(f"too many damaged samples in {url}; the last one is {damaged[-1]}")
            globals_[place] = self.corpus.first[source] + row
        batch = Batch(
            images, self.tokenize(texts), torch.from_numpy(globals_), damaged, collect(number, jpegs) if jpegs else None
        )
        return batch.to_shared_memory() if get_worker_info() is not None else batch

    def _read(self, source: np.ndarray, row: np.ndarray) -> list[bytes]:
        raws: list[bytes] = [b""] * len(row)
        for number in np.unique(source):
            of_source = np.flatnonzero(source == number)
            for place, raw in zip(of_source, self.readers[number].read(row[of_source]), strict=True):
                raws[place] = raw
        return raws

    def _sample(
        self,
        raw: bytes,
        source: int,
        epoch: int,
        row: int,
        draws: list[float],
        out: Tensor,
        place: int,
        jpegs: list[tuple[int, bytes, list[int]]] | None,
    ) -> str:
        """Write a sample's pixels, or add its place and its file to `jpegs`; its caption."""
        parts = self.corpus.sources[source].index.sample(row, raw)
        number = int(self.corpus.first[source]) + row
        text = captions.choose(parts, self.captions, self.corpus.seed, epoch, number)
        image = image_part(parts)
        if jpegs is not None and (undecoded := self.augment.crop_undecoded(image, draws)) is not None:
            jpegs.append((place, *undecoded))
        else:
            self.augment.write(image, draws, out)
        return text

    def _prefetch(self, position: int) -> None:
        """Have the shards that are read at a position and next be copied."""
        if self.cache is not None and (ahead := self.corpus.shards_ahead(position)):
            announced = [
                reader.announce([shard for source, shard in ahead if source == number])
                for number, reader in enumerate(self.readers)
            ]
            self.cache.prefetch([shard for shards in announced for shard in shards])


def samples_of(
    config: DataConfig,
    batch_size: int,
    corpus: Corpus,
    tokenize: Tokenize,
    image_size: int,
    rank: int = 0,
    processes: int = 1,
    undecoded: bool = False,
) -> Samples:
    """Return the steps of a config's run, for one of its processes."""
    return Samples(
        corpus,
        tokenize,
        Augment(image_size, config.crop, config.crop_min, config.flip),
        batch_size=batch_size,
        captions=config.captions,
        stop_at_damage=config.damaged == "stop",
        cache=ShardCache(config.cache, config.cache_bytes) if config.cache else None,
        rank=rank,
        processes=processes,
        undecoded=undecoded,
    )


def read_parts(
    samples: Samples,
    first_step: int,
    steps: int,
    workers: int,
    pin_memory: bool,
    timeout_s: float = 0,
    reading: ReaderPlan | None = None,
) -> Generator[list[Batch]]:
    """Yield the batches of the steps first_step … steps-1, in order and each in its parts, read ahead by worker
    processes.

    What comes in shared memory is copied out of it at once, but for a batch of a single part that no GPU wants pinned.

    Args:
        reading: what `Samples.fit` said; without it shared memory is taken to be large.
    Raises:
        DamagedSampleError: a sample cannot be read, and the config says to stop, or none of its replacements can be
            read.
        OSError: a shard cannot be read.
        RuntimeError: a worker was killed, or none answered within timeout_s.
    """
    reading = reading or samples.fit(workers, None)
    parts = samples.parts
    answers = read_ahead(
        samples.part,
        range(first_step * parts, steps * parts),
        workers,
        prefetch=reading.prefetch,
        pin_memory=pin_memory,
        timeout_s=timeout_s,
    )
    with closing(answers):
        while batch := list(islice(_copy_parts(answers, workers > 0 and not pin_memory and parts > 1), parts)):
            yield batch


def _copy_parts(parts: Iterator[Batch], wanted: bool) -> Iterator[Batch]:
    return (part.clone() for part in parts) if wanted else parts


def batches(samples: Samples, first_step: int, steps: int, workers: int, pin_memory: bool) -> Iterator[Batch]:
    """Yield whole batches as `read_parts` does their parts."""
    return map(join, read_parts(samples, first_step, steps, workers, pin_memory))
