"""Lists of domains and of addresses, each of which stands for all that is below it; of millions of entries.

A list is a text file, or a folder or tar of categories as UT1 (Université Toulouse Capitole) and squidGuard lay them
out: `adult/domains`, `adult/urls`. An entry without a path stands for its subdomains too; one with a path
(`example.org/adult`) for what is below it on that domain.

All lists become one array of hashes in ascending order, which workers map into memory instead of loading it.
"""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from dataset.hosts import canonical_host
from dataset.query import sql
from dataset.store.storage import filesystem, open_input
from filters.lines import lines_of

ENTRY = pa.struct([("entry", pa.string()), ("list", pa.string()), ("category", pa.string())])
"""An entry that an address is below, its list as the config names it, and its category there; null if it has none."""
_SAFE = "!$%&'()*+,/:;=?@[]|~"  # what a path or query holds as it is
_FILES = ("domains", "urls")  # of a category; squidGuard's third, `expressions`, is not read
_INDEX_MEMORY = "8GB"  # for the sort of some ten million entries, at most


# Entries spelled as in a canonical URL. The last label of a name begins with a letter, for else it
# may be an IPv4 address.
_PLAIN = r"^(?:[a-z0-9_-]+\.)*[a-z][a-z0-9_-]*(?:/[!$&()*+,./0-9:;=?@a-z\[\]_|~-]*)?$"


def _normal(lines: pa.Array) -> pa.Array:
    """Entries as they are compared: the host as `dataset.hosts` spells it, a path percent-encoded; all in lower case,
    without scheme, `*.`, slash at the end, or `www.` before a path."""
    entries = pc.utf8_lower(lines.filter(pc.invert(pc.starts_with(lines, "#"))))
    entries = pc.replace_substring_regex(entries, r"^[a-z]+://(?:[^/@]*@)?|^\*?\.|[/.]+$", "")
    plain = pc.and_not(pc.match_substring_regex(entries, _PLAIN), pc.match_substring_regex(entries, r"xn--|/\."))
    others = [_normalize_entry(entry) for entry in entries.filter(pc.invert(plain)).to_pylist()]
    entries = pa.concat_arrays([entries.filter(plain), pa.array(others, pa.string())])
    return pc.replace_substring_regex(entries, r"^www\d?\.([^/]+/)", r"\1")


def _normalize_entry(entry: str) -> str:
    host, slash, rest = entry.partition("/")
    path = quote(rest, _SAFE).lower()  # lower case, as the addresses that are looked up
    return f"{canonical_host(host)}{slash}{path}"


def _read(name: str) -> Iterator[tuple[str | None, pa.Array]]:
    """(category or None, lines) of a list's files."""
    system, root = filesystem(name)
    info = system.get_file_info(root)
    if info.type == fs.FileType.Directory:
        inside = system.get_file_info(fs.FileSelector(root, recursive=True))
        paths = sorted(item.path for item in inside if item.type == fs.FileType.File)
        files = [(path, path[len(root) :]) for path in paths if _category(path) or _is_tar(path)]
        if not files:
            raise ValueError(f"{name} holds no file named domains or urls; a list of categories is CATEGORY/domains")
        for path, below in files:
            with system.open_input_stream(path, compression=None) as stream:
                yield from _parts(name + below, stream.read())
    else:
        with open_input(name) as file:
            yield from _parts(name, file.read())


def _parts(name: str, data: bytes) -> Iterator[tuple[str | None, pa.Array]]:
    if not _is_tar(name):
        yield _category(name), lines_of(name, data)
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                file = archive.extractfile(member) if _category(member.name) and member.isfile() else None
                if file is not None:
                    yield _category(member.name), lines_of(f"{name}: {member.name}", file.read())
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{name} cannot be read as a tar: {error}") from None


def _is_tar(name: str) -> bool:
    return name.endswith((".tar", ".tar.gz", ".tgz"))


def _category(path: str) -> str | None:
    """`adult` of …/adult/domains; None of a file that is of no category."""
    folder, _, file = path.rpartition("/")
    return folder.rpartition("/")[2] or None if file.removesuffix(".gz") in _FILES else None


def build_index(names: Sequence[str]) -> pa.Buffer:
    """Return all entries of some lists as an Arrow IPC file, for `DomainIndex`.

    names: paths or URLs of text files, of folders or of tars; gzip is known by its content.

    Raises:
        FileNotFoundError, OSError, ValueError: a list cannot be read.
    """
    lists: list[tuple[str, str | None]] = []
    entries, sources = [pa.array([], pa.string())], [np.zeros(0, np.int32)]
    for name in names:
        for category, lines in _read(name):
            entries.append(_normal(lines))
            sources.append(np.full(len(entries[-1]), len(lists), np.int32))
            lists.append((name, category))
    table = pa.table(
        {
            "entry": pa.chunked_array(entries, pa.string()),
            "source": pa.array(np.concatenate(sources)),
        }
    )
    entries_by_hash = sql.load("domains/entries")
    table = sql.run(entries_by_hash, {"entries": table}, memory_limit=_INDEX_MEMORY).combine_chunks()
    about = {"lists": repr(lists)}
    with_path = table["entry"].filter(pc.match_substring(table["entry"], "/"))
    hosts = sql.run(sql.load("domains/hosts_with_paths"), {"entries": pa.table({"entry": with_path})})
    sink = pa.BufferOutputStream()
    whole = pa.table(
        {
            **{name: _wrap_in_list(table[name]) for name in table.column_names},
            "hosts": _wrap_in_list(hosts["hash"]),
        }
    ).replace_schema_metadata(about)
    with pa.ipc.new_file(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sink.getvalue()


def _wrap_in_list(column: pa.ChunkedArray) -> pa.Array:
    """A column as the one element of a list, so that columns of different lengths fit one table."""
    values = column.combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], column.type)
    return pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)


# Names of a host: itself and all above it, a.b.example: a.b.example, b.example, example. A name of the DNS has at most
# 127 labels (RFC 1035, section 2.3.4: 255 bytes); of a longer one only what may be one is looked at.
_NAMES = """
SELECT name, suffix, md5_number_lower(suffix) AS hash FROM (
    SELECT name, unnest(list_transform(
        generate_series(1, len(labels)), lambda i: array_to_string(labels[i:], '.')
    )) AS suffix
    FROM (
        SELECT name, string_split(name, '.')[-127:] AS labels FROM (SELECT DISTINCT name FROM places WHERE name <> '')
    )
) ORDER BY name, suffix
"""
_PLACES = r"""
SELECT row, position,
       rtrim(regexp_extract(url, '^[a-z][a-z0-9+.-]*://(?:[^/?#@]*@)?(\[[^\]/]*\]|[^/?#:]*)', 1), '.') AS name,
       regexp_extract(url, '^[a-z][a-z0-9+.-]*://[^/?#]*([^#]*)', 1, 's') AS path
FROM (
    SELECT row, 0 AS position, lower(url) AS url FROM rows
    UNION ALL SELECT row, 1, lower(page_url) FROM rows WHERE page_url <> ''
) ORDER BY row, position
"""
# What is above an address on a domain: example.org/a/b.jpg?c is below example.org/a, example.org/a/b.jpg and itself.
_PREFIXES = """
SELECT row, position, suffix || prefix AS address, md5_number_lower(suffix || prefix) AS hash FROM (
    SELECT row, position, suffix, unnest(list_distinct(list_transform(
        generate_series(1, least(len(parts), 64)), lambda i: rtrim(array_to_string(parts[:i], ''), '/')
    ))) AS prefix
    FROM (SELECT row, position, name, regexp_extract_all(path, '[/?][^/?]*') AS parts FROM places)
    JOIN above USING (name)
) WHERE prefix <> '' ORDER BY row, position, address
"""
_FOUND = """
WITH found AS (
    SELECT row, position, entry FROM places JOIN (
        SELECT name, entry FROM names JOIN name_hits ON name_hits.at = names.at
    ) USING (name)
    UNION ALL
    SELECT row, position, entry FROM addresses JOIN address_hits ON address_hits.at = addresses.at
)
SELECT row, list(entry ORDER BY position, entry) AS entries FROM (
    SELECT row, min(position) AS position, entry FROM found GROUP BY row, entry
) GROUP BY row ORDER BY row
"""


class DomainIndex:
    """The entries of lists, looked up in the buffer that `build_index` made, in place."""

    def __init__(self, data: pa.Buffer):
        table = pa.ipc.open_file(data).read_all()
        self._lists: list[tuple[str, str | None]] = ast.literal_eval(table.schema.metadata[b"lists"].decode())
        columns = {name: table[name].chunk(0).flatten() for name in table.column_names}
        self._hashes, self._hosts = columns["hash"].to_numpy(), columns["hosts"].to_numpy()
        self._entries, self._sources = columns["entry"], columns["source"].to_numpy()

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, domain: object) -> bool:
        """Whether a domain is an entry itself; see `find` for what is below entries."""
        digest = hashlib.md5(str(domain).encode("utf-8", "surrogatepass"), usedforsecurity=False).digest()
        sought = np.uint64(int.from_bytes(digest[8:], "little"))  # DuckDB's md5_number_lower
        first, last = (int(np.searchsorted(self._hashes, sought, side=side)) for side in ("left", "right"))
        return any(self._entries[index].as_py() == domain for index in range(first, last))

    @property
    def categories(self) -> list[str]:
        """All categories of all lists, in order."""
        return sorted({category for _, category in self._lists if category is not None})

    def find(self, rows: pa.Table) -> pa.ListArray:
        """Return the entries that each row's image or page is below, the image's first. list<ENTRY> (n,).

        rows: row (ascending), url, page_url (may be empty).
        """
        places = sql.run(_PLACES, {"rows": rows.select(["row", "url", "page_url"])})
        names = _number_rows(sql.run(_NAMES, {"places": places}))
        tables = {"places": places, "names": names, "name_hits": self._hits(names["hash"], names["suffix"])}
        hashes = names["hash"].to_numpy()
        above = names.filter(pa.array(_holds(self._hosts, hashes)))
        addresses = _number_rows(sql.run(_PREFIXES, {"places": places, "above": above}))
        tables |= {"addresses": addresses, "address_hits": self._hits(addresses["hash"], addresses["address"])}
        entries = sql.run(_FOUND, tables)
        counts = np.zeros(len(rows), np.int64)
        lengths = pc.list_value_length(entries["entries"]).to_numpy()
        counts[np.searchsorted(rows["row"].to_numpy(), entries["row"].to_numpy())] = lengths
        offsets = pa.array(np.append(0, np.cumsum(counts)), pa.int32())
        return pa.ListArray.from_arrays(offsets, self._describe_entries(entries["entries"].combine_chunks().flatten()))

    def _hits(self, hashes: pa.ChunkedArray, strings: pa.ChunkedArray) -> pa.Table:
        """(at: index of the string, entry: index of the entry) for all that are equal."""
        sought = hashes.to_numpy()
        first = np.searchsorted(self._hashes, sought)
        counts = np.searchsorted(self._hashes, sought, side="right") - first
        indices = np.repeat(np.arange(len(sought)), counts)
        entry = np.arange(len(indices)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
        equal = pc.equal(self._entries.take(pa.array(entry)), strings.take(pa.array(indices)))
        return pa.table({"at": pa.array(indices), "entry": pa.array(entry)}).filter(equal)

    def _describe_entries(self, entries: pa.Array) -> pa.StructArray:
        sources = self._sources[entries.to_numpy()]
        labels = [pa.array([self._lists[source][i] for source in sources], pa.string()) for i in range(2)]
        return pa.StructArray.from_arrays([self._entries.take(entries), *labels], fields=list(ENTRY))


def _number_rows(table: pa.Table) -> pa.Table:
    return table.append_column("at", pa.array(np.arange(len(table))))


def _holds(ascending: np.ndarray, sought: np.ndarray) -> np.ndarray:
    if not len(ascending):
        return np.zeros(len(sought), bool)
    indices = np.minimum(np.searchsorted(ascending, sought), len(ascending) - 1)
    return ascending[indices] == sought
