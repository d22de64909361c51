"""Anyone's WebDataset: tars without an index, given as a folder, or as the tars' pattern with braces.

The index is built once, by one pass over the tars, and kept under a name made of the tars' names, sizes and
times: other tars are another index, and what is kept is never out of date. What cannot be read of a tar is said at
every use.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa

from dataset.display import say
from dataset.ids import checksum
from dataset.layout import INDEX_PARTS
from dataset.ledger.commits import MANIFEST
from dataset.ledger.damage import DamagedError
from dataset.schema import SHARD_INDEX
from dataset.store.storage import FileInfo, Storage, absolute, is_local
from dataset.tables import concat, read_parquet, to_parquet
from dataset.webdataset.index_arrays import INDEX_DAMAGE
from dataset.webdataset.index_parts import has_index
from dataset.webdataset.shards import FOLDER, Index, build_index, read_index, to_index
from dataset.webdataset.tar import DamagedTarError

MOST_NAMES = 1_000_000
"""The most names that one pattern may mean."""
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d{1,9}))?")
_MOST_DIGITS, _MOST_BRACES = 12, 20
_LETTERS = 58  # from A to z
_RULES = 2  # raised when the same tars give another index
DAMAGE = ".damage.txt"
"""What the name of an index ends in where it says which tars cannot be read to their end: one sentence a line."""


def root(dataset: str) -> str:
    """Return the folder in which a dataset lies: itself, or what lies above a pattern of tars.

    Raises:
        ValueError: what lies above it is a pattern of hosts or buckets.
    """
    folder = dataset
    if _are_tars(dataset):
        folder = posixpath.dirname(dataset if _is_file(dataset) else dataset.partition("{")[0])
        if "://" in dataset and "://" not in folder:
            raise ValueError(f"{dataset[:200]} names several buckets or hosts; name one, and braces behind it")
    return folder.rstrip("/") or ("/" if dataset.startswith("/") else ".")


def _pattern_below_root(tars: str) -> str:
    """What of a pattern of tars lies below its root."""
    above = root(tars)
    return tars[len(above) :].lstrip("/") if tars.startswith((f"{above}/", "/")) else tars


def _are_tars(dataset: str) -> bool:
    """Whether a URL names tars, and not a folder of that name."""
    return dataset.endswith(".tar") and not (is_local(dataset) and Path(absolute(dataset)).is_dir())


def _is_file(url: str) -> bool:
    """Whether a path, braces and all, is one file's own."""
    return is_local(url) and Path(absolute(url)).is_file()


def open_train_index(dataset: str, fallback: str, workers: int = 0) -> tuple[Storage, Index]:
    """Return the training samples of openwit's dataset, or of anyone's.

    Args:
        dataset: the URL of a folder with `shards/index`; else of one with tars, in it or in its `shards`; or
            the tars' own URL, which may have braces: `s3://bucket/{00000..00099}.tar`.
        fallback: the URL of a folder that keeps the index where the dataset's own cannot be written.
        workers: processes that build it.
    Raises:
        FileNotFoundError: there are no shards there.
        ValueError: a tar is none, or no tar has a sample.
    """
    storage = Storage(root(dataset))
    if not _are_tars(dataset) and has_index(storage):
        return storage, read_index(storage, "train")
    tars = _tars(storage, dataset)
    listed = repr([_RULES, *((tar.name, tar.bytes, tar.mtime_ns) for tar in tars)])
    name = f"openwit-index-{checksum(listed.encode())}.parquet"
    homes = [storage, Storage(fallback)]
    for store in homes:
        if store.exists(name):
            try:
                kept = to_index(read_parquet(store, name), "train", folder="")
            except (DamagedError, *INDEX_DAMAGE):
                continue  # it lies among somebody else's files; it is made anew
            if store.exists(f"{name}{DAMAGE}"):
                say(store.read(f"{name}{DAMAGE}").decode("utf-8", "replace").rstrip("\n"), to_errors=True)
            return storage, kept
    indexes = list(_indexes(storage, tars, workers))
    table = concat((index for index, _ in indexes), SHARD_INDEX)
    damage = "".join(f"{sentence}\n" for _, sentence in indexes if sentence)
    if damage:
        say(damage.rstrip("\n"), to_errors=True)
    if not len(table):
        raise ValueError(f"{dataset} has tars, but no samples in them: their members must be KEY.jpg, KEY.txt, …")
    files = {f"{name}{DAMAGE}": damage.encode()} if damage else {}
    files[name] = to_parquet(table, SHARD_INDEX)
    for file, data in files.items():
        try:
            storage.write(file, data)
        except OSError:
            homes[1].write(file, data)
    return storage, to_index(table, "train", folder="")


def find_shards(dataset: str) -> None:
    """Raise FileNotFoundError or ValueError, in a sentence, if no shards are where `open_train_index` would look."""
    storage = Storage(root(dataset))
    if dataset.endswith(".tar") or not has_index(storage):
        _tars(storage, dataset)


def _tars(storage: Storage, dataset: str) -> list[FileInfo]:
    """The tars' names below the storage's root, and their sizes."""
    is_ours = not _are_tars(dataset) and storage.exists(MANIFEST)
    if is_ours:  # its tars hold what is held out, too, which only the index tells apart
        raise FileNotFoundError(f"{storage.url_of(INDEX_PARTS)} is gone; the same `wit run` makes it again")
    if not _are_tars(dataset):
        for folder in ("", FOLDER):
            if tars := [info for info in storage.list(folder) if info.name.endswith(".tar")]:
                return tars
        raise FileNotFoundError(
            f"{dataset} has no {INDEX_PARTS}, and no tars of which to make one; `wit run` makes a dataset"
        )
    names = [_pattern_below_root(dataset)] if _is_file(dataset) else expand_braces(_pattern_below_root(dataset))
    sizes = {info.name: info for folder in {posixpath.dirname(name) for name in names} for info in storage.list(folder)}
    if missing := [name for name in names if name not in sizes]:
        raise FileNotFoundError(f"{storage.url_of(missing[0])} does not exist; {dataset} names it")
    return [sizes[name] for name in names]


def expand_braces(pattern: str) -> list[str]:
    """Return the names that a pattern with braces means: `{00000..00099}.tar`, `{a,b}.tar`. Raises ValueError: too
    many.
    """
    from braceexpand import braceexpand

    # Braces are worked out whole before the first name is known, so what they come to at most is found out first.
    most, left = 1, pattern
    while most <= MOST_NAMES and (innermost := _BRACES.search(left)):
        most *= _choices(innermost[1])
        left = left[: innermost.start()] + left[innermost.end() :]
    if most > MOST_NAMES or pattern.count("{") > _MOST_BRACES:
        raise ValueError(f"{pattern[:200]} names more than {MOST_NAMES:,} files; name fewer, or their folder")
    try:
        return list(braceexpand(pattern))
    except ValueError as error:
        raise ValueError(f"{pattern[:200]}: {error}") from None


def _choices(braces: str) -> int:
    ends = _RANGE.fullmatch(braces)
    if ends is None:
        return _LETTERS if ".." in braces else 1 + braces.count(",")
    if max(map(len, ends.group(1, 2))) > _MOST_DIGITS:
        return MOST_NAMES + 1
    return 1 + abs(int(ends[1]) - int(ends[2])) // max(1, abs(int(ends[3] or 1)))


def _indexes(storage: Storage, tars: list[FileInfo], workers: int) -> Iterator[tuple[pa.Table, str]]:
    tasks = [(storage.url_of(tar.name), tar.name) for tar in tars]
    if workers < 2 or len(tasks) < 2:
        yield from starmap(_index, tasks)
        return
    with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn")) as pool:
        yield from pool.map(_index, *zip(*tasks, strict=True))


def _index(url: str, name: str) -> tuple[pa.Table, str]:
    try:
        table, damage = build_index(url)
    except DamagedTarError as error:
        raise ValueError(f"{url} is not a tar: {error}") from None
    return table.set_column(0, "shard", pa.array([name] * len(table), pa.string())), damage
