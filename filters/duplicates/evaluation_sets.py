"""The images of evaluation sets: folders of image files, and WebDataset tars as CLIP_benchmark keeps its sets.

Of a folder all below it counts. A folder that holds `test/*.tar` is a set of CLIP_benchmark
(github.com/LAION-AI/CLIP_benchmark, README, "webdataset"): the tars of its `train`, on which nobody is examined, are
passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from dataset.store.storage import Storage
from dataset.webdataset.tar import DamagedTarError, by_offset, members

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".bmp"})
MAX_BYTES = 256 * 2**20
"""The largest file that is read as an image; a tar's member may claim any size."""


@dataclass(frozen=True)
class ImagePlace:
    """Where an evaluation image lies."""

    file: str  # below the set's location; the tar, if it is in one
    member: str | None  # its name in the tar

    def name(self, location: str) -> str:
        """The name by which people know it: the location's own name, then the path in it."""
        return "/".join([PurePosixPath(location.rstrip("/")).name, *([self.file] if self.file else []), *self._member])

    @property
    def _member(self) -> list[str]:
        return [] if self.member is None else [self.member]


def read_set(location: str) -> Iterator[tuple[ImagePlace, bytes | str]]:
    """Yield every image file of a set with its bytes, or with what is wrong with it; tars in the order of their
    members.

    Args:
        location: path or URL of a folder or of a tar; files whose suffix is not in SUFFIXES are passed over.

    Raises:
        OSError: the folder or a file of it cannot be read.
        ValueError: a tar is none.
    """
    if location.endswith(".tar"):
        folder, _, tar = location.rstrip("/").rpartition("/")
        for member, body in _members(Storage(folder or ".", leave=True), tar):
            yield ImagePlace("", member), body
        return
    storage = Storage(location, leave=True)  # the user laid it out, links and all
    names = [info.name for info in storage.list(recursive=True)]
    examined = {parent.parent for parent in map(_parent, names) if parent.name == "test"}
    for name in names:
        if name.endswith(".tar"):
            parent = _parent(name)
            if parent.name == "train" and parent.parent in examined:
                continue
            for member, body in _members(storage, name):
                yield ImagePlace(name, member), body
        elif PurePosixPath(name).suffix.lower() in SUFFIXES:
            yield ImagePlace(name, None), storage.read(name)


def read_image(location: str, place: ImagePlace) -> bytes:
    """Return one image of a set again.

    Raises:
        OSError: it cannot be read, is no file of its own, or is larger than an image.
        ValueError: its tar is none.
    """
    tar = location.endswith(".tar")
    folder, _, name = location.rstrip("/").rpartition("/") if tar else (location, "", place.file)
    storage = Storage(folder or ".", leave=True)
    size = storage.size(name)  # of no device or pipe, which might be read for ever
    if size is None or (place.member is None and size > MAX_BYTES):
        raise FileNotFoundError(f"{location} has no image {place.file}")
    if place.member is None:
        return storage.read(name)
    for member, body in _members(storage, name, place.member):
        if member == place.member and isinstance(body, bytes):
            return body
    raise FileNotFoundError(f"{location} has no {place.file}/{place.member} any more")


def _parent(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    return path.parent if path.suffix == ".tar" else PurePosixPath()


def _members(storage: Storage, tar: str, only: str | None = None) -> Iterator[tuple[str, bytes | str]]:
    try:
        with storage.open(tar) as file:
            read = by_offset(file, storage.local)
            for member in members(read, file.size()):
                wanted = member.kind != "other" and PurePosixPath(member.name).suffix.lower() in SUFFIXES
                if not wanted or (only is not None and member.name != only):
                    continue
                if member.kind == "sparse":
                    yield member.name, "a sparse file, which is not read"
                elif member.size > MAX_BYTES:
                    yield member.name, f"{member.size:,} bytes are too many for an image"
                else:
                    yield member.name, read(member.data, member.size)
    except DamagedTarError as error:
        raise ValueError(f"{storage.url_of(tar)} cannot be read as a tar: at byte {error.position}, {error}") from None
