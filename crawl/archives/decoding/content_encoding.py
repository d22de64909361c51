"""Content-Encoding undone while a body arrives, in linear time and within bounds, however the body was made.

Servers and crawlers name codings that a body does not have, or name one twice. So a coding counts only if the body
begins as it asks; else its bytes pass as they are. A name that is none (`utf-8`, `none`, a media type) means nothing.
"""

from __future__ import annotations

import io
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from fastwarc.stream_io import BrotliReader, ZstdReader

from crawl.archives.decoding.inflate import GZIP, GZIP_SIGNATURE, RAW, ZLIB, inflate

MAX_LAYERS = 5
"""Codings one around the other; more are an attack."""
MAX_MEMBERS = 1_000
"""Gzip members one after the other in one body; what stands behind them is left."""
MAX_BEHIND_BYTES = 64 * 1024
"""Bytes behind the end of a compressed body; who sends more is not listened to."""

_STEP_BYTES = 2**16  # taken or given at a time: zlib copies what it has not used yet
_PROOF_BYTES = 4096  # by which it is known whether a body has a coding that has no signature
_MAX_RATIO = 1032  # by which deflate can compress (zlib's technical notes)
_OVERHEAD_BYTES = 2**16  # by which a coded body may exceed the limit of the body, with a 64th of that
_NAME = re.compile(r"[^\s;\"']+")
_KNOWN = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}


def codings(header: str) -> list[str]:
    """Return the codings that a Content-Encoding names and that mean something, in the order in which they were
    applied.
    """
    # Split first: a search that begins anew at each of a hostile header's signs takes the square of its length.
    names = (match[0].lower() for part in header.split(",") if (match := _NAME.search(part)))
    return [_KNOWN[name] for name in names if name in _KNOWN]


class ContentDecoder:
    """Undoes the codings of one body.

    Feed it until `is_done` or the body's end, then `finish`. What these return is the body, or its beginning.
    """

    def __init__(self, header: str, limit: int):
        """header: the Content-Encoding, all its values joined by commas; limit: bytes of the body, once decoded."""
        named = codings(header)
        self.damage: str | None = None
        """What is wrong with the body, in words; what was decoded before is right."""
        self.is_too_large = False
        """Whether the body has more bytes than the limit; those up to it were returned."""
        self.is_done = False
        """Whether nothing that follows counts: the body is too large, damaged, or long at its end."""
        self._left = limit
        self._layers: list[_Layer] = []
        if len(named) > MAX_LAYERS:
            self._fail(f"Content-Encoding names {len(named)} codings, more than {MAX_LAYERS}")
        else:
            self._layers = [_Layer(name, limit) for name in reversed(named)]  # the last applied is undone first

    def feed(self, data: bytes) -> bytes:
        """Return the next bytes of the body as it was sent; what they decode to."""
        return self._take_parts(self._decode_through(data, 0))

    def finish(self) -> bytes:
        """Return the rest of the body, which has no more bytes; `damage` is set if it was cut off."""
        return self._take_parts(self._ends(0))

    def _take_parts(self, parts: Iterator[bytes]) -> bytes:
        taken = []
        while not self.is_done:
            try:
                part = next(parts, None)
            except _DamageError as error:
                self._fail(str(error))
                break
            if part is None:
                self.is_done = any(layer.behind > MAX_BEHIND_BYTES for layer in self._layers)
                break
            if len(part) > self._left:
                self.is_too_large = self.is_done = True
            taken.append(part[: self._left])
            self._left -= len(taken[-1])
        return b"".join(taken)

    def _fail(self, words: str) -> None:
        self.damage, self.is_done = words, True

    def _decode_through(self, data: bytes, first: int) -> Iterator[bytes]:
        """What data come to by the layers from the first on; no more of them is decoded than is asked for."""
        if first == len(self._layers):
            yield data
            return
        for part in self._layers[first].feed(data):
            yield from self._decode_through(part, first + 1)

    def _ends(self, first: int) -> Iterator[bytes]:
        if first < len(self._layers):
            for part in self._layers[first].finish():
                yield from self._decode_through(part, first + 1)
            yield from self._ends(first + 1)


class _DamageError(Exception):
    """A body that cannot be decoded any further."""


class _Layer:
    """One coding, once it is known whether the body has it."""

    def __init__(self, name: str, limit: int):
        self._name = name
        self._limit = limit + limit // 64 + _OVERHEAD_BYTES
        self._head: bytearray | None = bytearray()  # until that is known
        self._coding: _Coding | None = None
        self._fed = 0

    @property
    def behind(self) -> int:
        return self._coding.behind if self._coding is not None else 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._head is not None:
            self._head += data
            if len(self._head) < _PROOF_BYTES:
                return
            data = self._chosen()
        yield from self._decode_data(data)

    def finish(self) -> Iterator[bytes]:
        if self._head is not None:
            yield from self._decode_data(self._chosen())
        if self._coding is not None:
            yield from self._coding.finish()

    def _chosen(self) -> bytes:
        head, self._head = bytes(self._head or b""), None
        self._coding = _coding_of(self._name, head)
        return head

    def _decode_data(self, data: bytes) -> Iterator[bytes]:
        if self._coding is None:
            yield data
            return
        self._fed += len(data)
        if self._fed - self._coding.behind > self._limit:
            raise _DamageError("the coded body is larger than the body may be")
        yield from self._coding.feed(data)


def _coding_of(name: str, head: bytes) -> _Coding | None:
    """The decoder of what a body begins with, all of it or `_PROOF_BYTES`; None if it does not have the coding."""
    if name == "gzip":
        return _Deflated(GZIP) if head.startswith(GZIP_SIGNATURE) else None
    if name == "deflate":  # zlib by the standard, raw deflate by some servers
        return next((_Deflated(format_) for format_ in (ZLIB, RAW) if _inflates(format_, head)), None)
    return _Collected(BrotliReader if name == "br" else ZstdReader)


def _inflates(format_: int, head: bytes) -> bool:
    """Whether bytes are the beginning of a deflated body, or all of it."""
    inflater = zlib.decompressobj(format_)
    try:
        data = inflater.decompress(head[:_PROOF_BYTES], _MAX_RATIO * _PROOF_BYTES)
    except zlib.error:
        # What has zlib's header is not likely to be anything else: it is damaged further on.
        return format_ == ZLIB and len(inflate(zlib.decompressobj(ZLIB), head[:_PROOF_BYTES], 1)[0]) > 0
    return inflater.eof or len(head) >= _PROOF_BYTES or (format_ == ZLIB and len(data) > 0)


class _Coding(ABC):
    behind = 0  # bytes that were fed behind the end

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[bytes]: ...
    @abstractmethod
    def finish(self) -> Iterator[bytes]: ...


class _Deflated(_Coding):
    def __init__(self, format_: int):
        self._format = format_
        self._inflater: Any = zlib.decompressobj(format_)
        self._members = 1
        self._is_ended = False  # nothing but what is left stands behind the last member
        self._between = b""  # of a signature that is not there whole yet

    def feed(self, data: bytes) -> Iterator[bytes]:
        for offset in range(0, len(data), _STEP_BYTES):
            yield from self._step(data[offset : offset + _STEP_BYTES])

    def finish(self) -> Iterator[bytes]:
        if not self._inflater.eof:
            raise _DamageError("the coded body is cut off")
        yield from ()

    def _step(self, data: bytes) -> Iterator[bytes]:
        is_pending = False  # output that zlib holds back
        while data or is_pending:
            if self._inflater.eof:
                data = self._begin_next_member(data)
                continue
            part, is_unharmed = inflate(self._inflater, data, _STEP_BYTES)
            if part:
                yield part
            if not is_unharmed:
                raise _DamageError("the coded body is damaged")
            is_pending = len(part) == _STEP_BYTES and not self._inflater.eof
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail

    def _begin_next_member(self, data: bytes) -> bytes:
        """Begin with a member behind the one that has ended; its bytes, empty if there is none (yet)."""
        if not self._is_ended:
            begun = (self._between + data).lstrip(b"\x00")
            self._between = b""
            if self._format == GZIP and self._members < MAX_MEMBERS and begun.startswith(GZIP_SIGNATURE):
                self._members += 1
                self._inflater = zlib.decompressobj(GZIP)
                return begun
            if self._format == GZIP and GZIP_SIGNATURE.startswith(begun):
                self._between = begun
            else:
                self._is_ended = True
        self.behind += len(data)
        return b""


class _Collected(_Coding):
    """A coding whose decoder reads from a file: it begins when all is there."""

    def __init__(self, decoder: type):
        self._decoder = decoder
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._data += data
        return iter(())

    def finish(self) -> Iterator[bytes]:
        data, is_coded = bytes(self._data), False
        reader = self._decoder(io.BytesIO(data))
        try:
            while part := reader.read(_STEP_BYTES):
                is_coded = True
                yield part
            is_coded = True  # of an empty body, too
        except OSError:
            if is_coded:
                raise _DamageError("the coded body is damaged or cut off") from None
        if not is_coded:
            yield data


def decode_body(data: bytes, header: str, limit: int) -> bytes:
    """Return a whole body with its codings undone, at most `limit` bytes, or what stands before damage."""
    decoder = ContentDecoder(header, limit)
    return decoder.feed(data) + decoder.finish()
