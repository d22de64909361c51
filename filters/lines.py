"""Lists that people keep as text files, one entry a line."""

from __future__ import annotations

import gzip
import re
import zlib
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dataset.store.storage import open_input

_PACKAGE_FILE = re.compile(r"package:(\w+)/(.+)")


def locate(name: str) -> str:
    """Return the path or URL of a file; `package:NAME/FILE` is a file inside an installed package.

    Raises:
        FileNotFoundError: the package is not installed.
    """
    match = _PACKAGE_FILE.fullmatch(name)
    if match is None:
        return name
    package, file = match.groups()
    spec = find_spec(package)  # found, not imported: only the file is wanted
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{name}: the package {package} is not installed")
    return str(Path(spec.submodule_search_locations[0]) / file)


def read_lines(name: str) -> pa.StringArray:
    """Return the lines of a UTF-8 text file, plain or gzip, without surrounding white space and without empty lines.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
        ValueError: it is not UTF-8, or damaged.
    """
    with open_input(locate(name)) as file:
        return lines_of(name, file.read())


def lines_of(name: str, data: bytes) -> pa.StringArray:
    """See `read_lines`, of bytes that are read already; name: what an error calls them."""
    try:
        text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8-sig")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} is damaged: its gzip ends too early or is none ({error}); fetch it again") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 text: {error}; save it as UTF-8, an entry a line") from None
    lines = pc.utf8_trim_whitespace(pc.split_pattern(pa.array([text]), "\n").values)
    return lines.filter(pc.not_equal(lines, ""))
