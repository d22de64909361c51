"""Lists of hashes of images that nobody may keep: MD5 and SHA-256 of the bytes, PDQ of the look.

The lists stay with whoever may hold them: neither an entry nor its place in a list is ever written or logged, only
which kind of list an image was on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.images.hash_files import BYTES, read_hashes
from filters.images.perceptual import MAX_SEARCH_HAMMING, HashIndex, words


@dataclass(frozen=True)
class HashListsConfig:
    """The lists of hashes that images are compared with."""

    files: tuple[str, ...] = ()
    """Files (paths or URLs, plain or gzip) of MD5, SHA-256 or PDQ hashes: lines, CSV, JSON of Project VIC,
    ThreatExchange or StopNCII, XML of NCMEC, as `filters.images.hash_files` reads them."""
    max_pdq_hamming: int = 31
    """The most of its 256 bits in which an image's PDQ may differ from an entry for both to match; what PDQ's authors
    recommend (hashing.pdf of facebook/ThreatExchange), and the most that is searched completely. An entry's own
    distance counts if it is less."""
    min_pdq_quality: int = 50
    """An entry of a lower quality, 0..100, is passed over: the hash of a flat image is noise, and is like those of many
    others (hashing.pdf, as above, discards them below 50). A list without qualities is taken as it is."""
    categories: tuple[int, ...] = (1, 2, 3)
    """Categories of Project VIC whose entries count; 0 is what has been found harmless there, 4 and 5 are images to
    compare with and not categorized. Entries without a category count always."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_pdq_hamming <= MAX_SEARCH_HAMMING:
            raise ValueError(f"max_pdq_hamming must be from 0 to {MAX_SEARCH_HAMMING}, not {self.max_pdq_hamming}")
        if not 0 <= self.min_pdq_quality <= 100:
            raise ValueError(f"min_pdq_quality must be from 0 to 100, not {self.min_pdq_quality}")


class HashLists:
    """The entries of all lists, in memory, 16 or 32 bytes each. Picklable.

    Args:
        md5, sha256, pdq: distinct digests, ascending.
        pdq_hamming: int64 (pdq,), within how many bits each of the last is a match.
    """

    def __init__(self, md5: np.ndarray, sha256: np.ndarray, pdq: np.ndarray, pdq_hamming: np.ndarray):
        self._digests = {"md5": md5, "sha256": sha256}
        self._pdq = HashIndex(words(_to_binary_column(pdq))) if len(pdq) else None
        self._pdq_hamming, self._widest = pdq_hamming, int(pdq_hamming.max(initial=0))

    @classmethod
    def load(cls, config: HashListsConfig) -> HashLists:
        """Read all files.

        Raises:
            FileNotFoundError, OSError: a file cannot be read.
            ValueError: a file's kind is not told, or a line holds no hash of that kind: a list that is not understood
                must not pass for one that was applied.
        """
        digests: dict[str, list[np.ndarray]] = {kind: [np.zeros(0, f"S{size}")] for kind, size in BYTES.items()}
        distances = [np.zeros(0, np.int64)]
        for entries in read_hashes(config.files, config.categories, config.min_pdq_quality):
            digests[entries.kind].append(entries.digests)
            if entries.kind == "pdq":
                distances.append(entries.distances)
        # Sorted by np.unique. NumPy pads S with zeros, which at a fixed width changes no comparison.
        unique = {kind: np.unique(np.concatenate(parts)) for kind, parts in digests.items()}
        # Of several distances of one hash the widest counts; a distance that is not given is the config's.
        asked = np.concatenate(distances)
        asked = np.where(asked < 0, config.max_pdq_hamming, np.minimum(asked, config.max_pdq_hamming))
        widest = np.zeros(len(unique["pdq"]), np.int64)
        np.maximum.at(widest, np.searchsorted(unique["pdq"], np.concatenate(digests["pdq"])), asked)
        return cls(**unique, pdq_hamming=widest)

    @property
    def has_md5(self) -> bool:
        """Whether an MD5 is on any list."""
        return len(self._digests["md5"]) > 0

    def match_sha256(self, digest: bytes) -> str | None:
        """Return `sha256` if a file of that digest is on a list: for a file that is no longer there."""
        digests = self._digests["sha256"]
        return "sha256" if len(digests) and _holds(digests, digest) else None

    def match(self, body: bytes, pdq: bytes | None) -> str | None:
        """Return which kind of list the image is on: md5, sha256 or pdq; None if it is on none.

        Args:
            body: the file as it came.
            pdq: of the decoded image; None as long as it is not decoded.
        """
        for kind, digests in self._digests.items():
            if len(digests) and _holds(digests, hashlib.new(kind, body, usedforsecurity=False).digest()):
                return kind
        if pdq is not None and len(self._near_entries(pa.array([pdq], pa.binary(32)))):
            return "pdq"
        return None

    def _near_entries(self, hashes: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Indices of the PDQs that are near enough to an entry."""
        if self._pdq is None:
            return np.zeros(0, np.int64)
        position, entry, hamming = self._pdq.search(words(hashes), self._widest)
        return position[hamming <= self._pdq_hamming[entry]]

    def is_listed(self, images: pa.Table) -> np.ndarray:
        """Return which images that were accepted earlier are on a list now. bool (n,)

        Args:
            images: columns md5, sha256 (of the file as it came) and pdq, without nulls.
        """
        is_listed = np.zeros(images.num_rows, dtype=bool)
        for kind, digests in self._digests.items():
            if len(digests):
                is_listed |= pc.is_in(images.column(kind), value_set=_to_binary_column(digests)).to_numpy()
        if images.num_rows:
            is_listed[self._near_entries(images.column("pdq"))] = True
        return is_listed


def _holds(ascending: np.ndarray, digest: bytes) -> bool:
    index = int(np.searchsorted(ascending, np.array(digest, dtype=ascending.dtype)))
    return index < len(ascending) and bool(ascending[index : index + 1].tobytes() == digest)


def _to_binary_column(digests: np.ndarray) -> pa.Array:
    width = digests.dtype.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(digests), [None, pa.py_buffer(digests.tobytes())])
