"""Answers of NCMEC's Hash Sharing API v2 (https://report.cybertip.org/hashsharing/v2/documentation.pdf), which are XML.

    <queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">
      <images count="2" maxTimestamp="…">
        <image><member id="42">…</member><timestamp>…</timestamp><id>…</id>
               <fingerprints><md5>…</md5><sha1>…</sha1><pdna>…</pdna><pdq>…</pdq></fingerprints></image>
        <deletedImage><member id="43">…</member><timestamp>…</timestamp><id>…</id></deletedImage>
      </images>
      <videos>…</videos>
    </queryResult>

An image is read at a time and no tree is built: a file of millions takes no more memory than what is kept of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO, Any
from xml.parsers import expat

_KINDS = ("md5", "sha256", "pdq")
_ENTRIES = {"image": "", "deletedImage": "true"}  # element -> whether it takes an entry back
_FIELDS = {"": ("id", "timestamp"), "fingerprints": _KINDS}  # where in an entry -> what is read there
_MOST_CHARACTERS = 4096  # of one text; PhotoDNA's, the longest that is known, has some 400
COLUMNS = ("origin", "time", "deleted", *_KINDS)


def read_updates(file: str, source: IO[bytes]) -> dict[str, list[Any]]:
    """Return the images of an answer, in its order; videos are passed over.

    Args:
        file: what an error calls it.
        source: its bytes, decompressed.

    Returns:
        COLUMNS: origin, the member's and the entry's id, by which a later update or deletion replaces it; time, of the
        update, seconds since 1970; deleted, `true` or nothing; and each kind of hash, null where an image has none.

    Raises:
        ValueError: it is no such answer, or asks a parser for more than to read it (a document type, entities).
    """
    reader = _Reader(file)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    # Entities are declared in a document type alone; without one nothing can be expanded or fetched.
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.ParseFile(source)
    except (expat.ExpatError, LookupError) as error:  # the latter of an encoding that nobody knows
        raise ValueError(f"{file} is not well-formed XML: {error}") from None
    return reader.found


class _Reader:
    def __init__(self, file: str):
        self.found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._file = file
        self._path: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._entry: dict[str, str] | None = None

    def doctype(self, *_: Any) -> None:
        raise ValueError(f"{self._file} declares a document type, which an answer of NCMEC's does not; it is not read")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        tag = name.rpartition(" ")[2]
        if not self._path and tag != "queryResult":
            raise ValueError(f"{self._file} is no answer of NCMEC's Hash Sharing API: its root is no queryResult")
        self._path.append(tag)
        self._text, self._length = [], 0
        if self._entry is None and tag in _ENTRIES:
            if self._path[:-1] != ["queryResult", "images"]:
                raise ValueError(f"{self._file}: entry {self._number} is not where an answer has its images")
            self._entry = {"deleted": _ENTRIES[tag]}
        elif self._entry is not None and tag == "member" and len(self._path) == 4:  # not of a feedback
            self._entry["member"] = attributes.get("id", "")

    def text(self, text: str) -> None:
        self._length += len(text)
        if self._length > _MOST_CHARACTERS and self._entry is not None:
            raise ValueError(f"{self._file}: entry {self._number} has a text above {_MOST_CHARACTERS} characters")
        if self._entry is not None:
            self._text.append(text)

    def end(self, name: str) -> None:
        tag = self._path.pop()
        if self._entry is None:
            return
        text = "".join(self._text).strip()
        self._text, self._length = [], 0
        if len(self._path) == 2:
            self._close(self._entry)
            self._entry = None
        elif tag in _FIELDS.get("/".join(self._path[3:]), ()):
            self._entry[tag] = text

    def _close(self, entry: dict[str, str]) -> None:
        if not entry.get("member") or not entry.get("id"):
            raise ValueError(f"{self._file}: entry {self._number} has no member or no id")
        try:
            when = datetime.fromisoformat(entry.get("timestamp", ""))
            time = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ValueError(f"{self._file}: entry {self._number} has no timestamp in the form of ISO 8601") from None
        row = {**entry, "origin": f"ncmec {entry['member']} {entry['id']}", "time": time}
        for column, values in self.found.items():
            values.append(row.get(column))

    @property
    def _number(self) -> int:
        return len(self.found["time"]) + 1
