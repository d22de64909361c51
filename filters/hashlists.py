"""Lists of hashes of images that nobody may keep: MD5 and SHA-256 of the bytes, PDQ of the look.

The lists stay with whoever may hold them: neither an entry nor its place in a list is ever written or logged, only
which kind of list an image was on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.lines import read_lines
from filters.perceptual import HashIndex, words

MAX_PDQ_HAMMING = 31
"""Bits of 256; the threshold that PDQ's authors recommend for a match (hashing.pdf of facebook/ThreatExchange)."""
_BYTES = {"md5": 16, "sha256": 32, "pdq": 32}


@dataclass(frozen=True)
class HashListsConfig:
    """Which lists to hold images against."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    files: tuple[str, ...] = ()
    """Text files (paths or URLs, plain or gzip) of hexadecimal hashes, one a line, named .md5, .sha256 or .pdq, or CSV
    with a header that names its columns so; further columns and lines that begin with # are passed over."""


class HashLists:
    """The entries of all lists, in memory, 16 or 32 bytes each. Picklable.

    Args:
        md5, sha256, pdq: distinct digests.
    """

    def __init__(self, md5: np.ndarray, sha256: np.ndarray, pdq: np.ndarray):
        self._digests = {"md5": md5, "sha256": sha256}
        self._pdq = HashIndex(words(_fixed(pdq))) if len(pdq) else None

    @classmethod
    def load(cls, config: HashListsConfig) -> HashLists:
        """Read all files.

        Raises:
            FileNotFoundError, OSError: a file cannot be read.
            ValueError: a file's kind is not told, or a line holds no hash of that kind: a list that is not understood
                must not pass for one that was applied.
        """
        found: dict[str, list[np.ndarray]] = {kind: [np.zeros(0, f"S{size}")] for kind, size in _BYTES.items()}
        for file in config.files:
            for kind, digests in _read(file):
                found[kind].append(digests)
        # Sorted by np.unique. NumPy pads S with zeros, which at a fixed width changes no comparison.
        return cls(**{kind: np.unique(np.concatenate(parts)) for kind, parts in found.items()})

    @property
    def has_md5(self) -> bool:
        """Whether an MD5 is on any list."""
        return len(self._digests["md5"]) > 0

    def match_sha256(self, digest: bytes) -> str | None:
        """`sha256` if a file of that digest is on a list: for a file that is no longer there."""
        digests = self._digests["sha256"]
        return "sha256" if len(digests) and _holds(digests, digest) else None

    def match(self, body: bytes, pdq: bytes | None) -> str | None:
        """Which kind of list the image is on: md5, sha256 or pdq; None if it is on none.

        Args:
            body: the file as it came.
            pdq: of the decoded image; None as long as it is not decoded.
        """
        for kind, digests in self._digests.items():
            if len(digests) and _holds(digests, hashlib.new(kind, body, usedforsecurity=False).digest()):
                return kind
        if pdq is not None and self._pdq is not None:
            query = words(pa.array([pdq], pa.binary(32)))
            if len(self._pdq.search(query, MAX_PDQ_HAMMING)[0]):
                return "pdq"
        return None

    def listed(self, images: pa.Table) -> np.ndarray:
        """Which images that were accepted earlier are on a list now. bool (n,)

        Args:
            images: columns md5, sha256 (of the file as it came) and pdq, without nulls.
        """
        found = np.zeros(images.num_rows, dtype=bool)
        for kind, digests in self._digests.items():
            if len(digests):
                found |= pc.is_in(images.column(kind), value_set=_fixed(digests)).to_numpy()
        if self._pdq is not None and images.num_rows:
            found[self._pdq.search(words(images.column("pdq")), MAX_PDQ_HAMMING)[0]] = True
        return found


def _holds(ascending: np.ndarray, digest: bytes) -> bool:
    at = int(np.searchsorted(ascending, np.array(digest, dtype=ascending.dtype)))
    return at < len(ascending) and bool(ascending[at : at + 1].tobytes() == digest)


def _fixed(digests: np.ndarray) -> pa.Array:
    width = digests.dtype.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(digests), [None, pa.py_buffer(digests.tobytes())])


def _read(file: str) -> Iterator[tuple[str, np.ndarray]]:
    """The digests of a file by kind, as S16 or S32."""
    lines = read_lines(file)
    lines = pc.utf8_lower(lines.filter(pc.invert(pc.starts_with(lines, "#"))))
    cells = pc.split_pattern_regex(lines, r"[\s,;]+")
    header = cells[0].as_py() if len(lines) else []
    columns = {name.strip('"'): at for at, name in enumerate(header) if name.strip('"') in _BYTES}
    if columns:
        cells = cells.slice(1)
    elif len(lines):
        columns = {_kind(file, header[0]): 0}
    for kind, at in columns.items():
        if pc.any(pc.less_equal(pc.list_value_length(cells), at)).as_py():
            raise ValueError(f"{file}: a line has no column {kind}")
        values = pc.utf8_trim(pc.list_element(cells, at), '"')
        bad = pc.index(pc.match_substring_regex(values, f"^[0-9a-f]{{{2 * _BYTES[kind]}}}$"), False).as_py()
        if bad >= 0:
            raise ValueError(f"{file}: entry {bad + 1} is no {kind} hash of {2 * _BYTES[kind]} hexadecimal digits")
        yield kind, np.frombuffer(bytes.fromhex("".join(values.to_pylist())), dtype=f"S{_BYTES[kind]}")


def _kind(file: str, entry: str) -> str:
    """The kind of a list without a header."""
    for suffix in PurePosixPath(file).suffixes:
        if suffix.lower().removeprefix(".") in _BYTES:
            return suffix.lower().removeprefix(".")
    if len(entry) == 2 * _BYTES["md5"]:
        return "md5"
    raise ValueError(
        f"{file}: name it .md5, .sha256 or .pdq, or give it a header that says so; 64 digits may be either"
    )
