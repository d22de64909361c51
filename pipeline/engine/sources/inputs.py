"""What the config's `sources` name: files, crawls of Common Crawl, members of WACZ files, lists of pages to fetch."""

from __future__ import annotations

import difflib
import json
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import xxhash
from pyarrow import fs

from crawl.archives import commoncrawl
from crawl.archives.decoding.inflate import GZIP_SIGNATURE, GzipStream
from crawl.archives.open_source import MEMBER, kind_of, warc_members
from crawl.web.contact import NoContactError
from crawl.web.crawl_pages import harvest
from dataset.store import rate_limit, s3
from dataset.store.secrets import public, without
from dataset.store.storage import Storage, absolute, filesystem, is_local, open_input
from dataset.store.web import info as web_info
from dataset.store.web import is_web
from filters.texts.domains import DomainIndex, build_index
from pipeline.config import Config, ConfigError
from pipeline.engine.sources import cache
from pipeline.engine.sources.patterns import MAGIC, matches, split_pattern

_KNOWN = "log/commoncrawl.json"
_ASKERS = 8  # requests in flight, to the storage of sources
_UNUSUAL_BYTES = 2**36  # of a remote file; archives have about 2**30
_MAX_LIST_BYTES = 256 * 2**20  # of a list of pages


@dataclass(frozen=True)
class Source:
    """An archive or table: its name as the config gives it, where it is, and what is in it."""

    archive: str
    location: str  # absolute
    size: int
    identity: str  # changes when the file does; cheap to know
    checksum: str = ""  # of the content


def check(config: Config) -> None:
    """Check what can be known of the sources before any work is done.

    Raises:
        ConfigError: a source does not exist, a glob matches nothing, or a crawl's name is none.
    """
    for pattern in config.sources:
        if pattern.startswith(commoncrawl.PREFIX):
            try:
                commoncrawl.parse(pattern)
            except ValueError as error:
                raise ConfigError(f"sources: {error}") from None
        else:
            _list_matches(pattern)


def expand(config: Config, storage: Storage) -> list[Source]:
    """Return the archives and tables that the config's `sources` name, in the order given, globs sorted.

    Lists of pages are fetched, politely, the first time that a dataset sees them; what came of it stays in `harvest/`.

    Raises:
        ConfigError: a source does not exist or cannot be read, or a glob matches nothing.
    """
    by_name: dict[str, Source] = {}
    names: dict[str, Source] = {}  # one file may be named twice, by an address and by the same one signed anew
    for pattern in config.sources:
        try:
            if pattern.startswith(commoncrawl.PREFIX):
                sources = _crawl(pattern, config, storage)
            else:
                sources = list(_open_containers(_list_matches(pattern), config, storage))
        except (OSError, ValueError, zlib.error) as error:
            message = without(str(error), pattern)
            raise error if isinstance(error, ConfigError) else ConfigError(f"sources: {message}") from None
        for source in sources:
            twin = names.setdefault(source.archive, source)
            if twin.identity != source.identity:
                raise ConfigError(f"sources: {source.archive} stands for two files, told apart by a secret alone")
            if twin.location == source.location:
                by_name.setdefault(source.location, source)
    return list(by_name.values())


def _crawl(pattern: str, config: Config, storage: Storage) -> list[Source]:
    """A crawl's files, which never change: each is asked for its length once."""
    locations = commoncrawl.files(pattern, config.commoncrawl)
    known: dict[str, dict[str, str | int]] = cache.read(storage, _KNOWN)
    missing = [location for location in locations if public(location) not in known]
    with ThreadPoolExecutor(_ASKERS) as pool:
        for source in pool.map(lambda location: _list_matches(location)[0], missing):
            known[source.archive] = {"size": source.size, "identity": source.identity}
    if missing:
        cache.write(storage, _KNOWN, known)
    return [
        Source(name, location, int(known[name]["size"]), str(known[name]["identity"]))
        for name, location in zip(map(public, locations), locations, strict=True)
    ]


def _open_containers(sources: Sequence[Source], config: Config, storage: Storage) -> Iterator[Source]:
    """Sources as they can be read record by record: the members of a WACZ, the harvest of a list of pages."""
    with ThreadPoolExecutor(_ASKERS) as pool:
        kinds = list(pool.map(lambda source: kind_of(source.location), sources))
    for source, kind in zip(sources, kinds, strict=True):
        if kind == "wacz":
            try:
                members = warc_members(source.location)
            except ValueError:
                yield source  # reading it says in `sources` what is wrong
                continue
            for name, size in members:
                part = MEMBER + name
                yield Source(source.archive + part, source.location + part, size, source.identity + part)
        elif kind == "urls":
            yield _harvest(source, config, storage)
        else:
            yield source


def _harvest(source: Source, config: Config, storage: Storage) -> Source:
    """The WARC of a list's pages, fetched if this dataset does not have it yet. The list's content names the file."""
    lines = [line.strip() for line in _content(source).decode("utf-8-sig", "replace").splitlines()]
    seeds = sorted({line for line in lines if line and not line.startswith("#")})
    name = f"harvest/{xxhash.xxh3_128_hexdigest(chr(10).join(seeds).encode())}.warc.gz"
    if not storage.exists(name):
        to = storage.url_of(name)
        listed = config.fetch.opted_out_domains
        domains = DomainIndex(build_index([listed] if listed else []))
        try:
            report = harvest(
                seeds, to, config.fetch, max_pages=len(seeds), follow=False, same_hosts=False, opted_out=domains
            )
        except NoContactError as error:
            raise ConfigError(str(error)) from None
        storage.write(f"{name}.json", json.dumps(asdict(report), indent=1).encode())
    harvested = _list_matches(storage.url_of(name))[0]
    return replace(harvested, archive=source.archive)


def _content(source: Source) -> bytes:
    """A list of pages, out of its gzip members if it has any. Raises ConfigError if not all of it can be had."""
    parts, left = [], _MAX_LIST_BYTES + 1
    with open_input(source.location) as file:
        is_gzip = bytes(file.read(len(GZIP_SIGNATURE))) == GZIP_SIGNATURE
        file.seek(0)
        members = GzipStream(file.read)
        read = members.read if is_gzip else file.read
        while left > 0 and (part := bytes(read(min(left, 2**20)))):
            parts.append(part)
            left -= len(part)
    if left <= 0:
        limit = f"{_MAX_LIST_BYTES // 2**20} MiB"
        raise ConfigError(f"sources: {source.archive} is a list of pages of more than {limit}; split it")
    if members.is_damaged or members.is_cut_off:
        raise ConfigError(f"sources: {source.archive} is a damaged gzip file; pack the list of pages anew")
    return b"".join(parts)


def files(patterns: Sequence[str], key: str) -> list[Source]:
    """Return the files that a key of the config names by path, glob or URL, in the order given, globs sorted.

    Raises:
        ConfigError: one does not exist, or a glob matches nothing.
    """
    sources: dict[str, Source] = {}
    for pattern in patterns:
        for source in _list_matches(pattern, key):
            sources.setdefault(source.location, source)
    return list(sources.values())


def _list_matches(pattern: str, key: str = "sources") -> list[Source]:
    """The files of a path, glob or URL."""
    if is_web(pattern):
        try:
            web_file = web_info(pattern)
        except FileNotFoundError as error:
            raise ConfigError(f"{key}: {error}") from None
        name = public(pattern)
        if web_file.size > _UNUSUAL_BYTES:
            _check_end(pattern, web_file.size)
        return [Source(name, pattern, web_file.size, f"{name}:{web_file.size}:{web_file.version}")]
    local = is_local(pattern)
    try:
        filesystem_, path = filesystem(pattern)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{key}: {public(pattern)}: {without(str(error), pattern)}") from None
    magic, below = MAGIC.search(pattern) is not None, ""
    if not local:
        rate_limit.wait()
    if magic and filesystem_.get_file_info(path).type == fs.FileType.File:
        magic = False  # a file of that very name is meant
    if magic:
        base, below = split_pattern(path, lambda name: filesystem_.get_file_info(name).type == fs.FileType.Directory)
        selector = fs.FileSelector(base or "/" * local, allow_not_found=True, recursive=True)
        infos = [info for info in filesystem_.get_file_info(selector) if matches(info.path, base, below)]
    else:
        infos = [filesystem_.get_file_info(path)]
    if local and not magic and infos[0].type not in (fs.FileType.File, fs.FileType.NotFound):
        raise ConfigError(f"{key}: {pattern} {_no_file(infos[0], pattern)}")
    infos = sorted((info for info in infos if info.type == fs.FileType.File), key=lambda info: info.path)
    if not infos:
        near = ""
        if local and not magic:
            folder = Path(path).parent
            names = difflib.get_close_matches(Path(path).name, [p.name for p in folder.glob("*")], n=1)
            near = f"; did you mean {Path(pattern).parent / names[0]}?" if names else ""
        raise ConfigError(f"{key}: {public(pattern)} {'matches nothing' if magic else 'does not exist'}{near}")
    answer = []
    for info in infos:
        if local:
            # The name as the user wrote it, so that a dataset does not depend on where its user's files lie.
            name = info.path if magic and Path(pattern).is_absolute() else _as_user_wrote(pattern, info.path, below)
            answer.append(Source(name, info.path, info.size, f"{info.path}:{info.size}:{info.mtime_ns}"))
        else:
            scheme = urlsplit(pattern).scheme
            location = f"{scheme}://{info.path}"
            name = public(location)
            answer.append(Source(name, location, info.size, f"{name}:{info.size}:{_remote_version(location)}"))
    return answer


def _check_end(url: str, size: int) -> None:
    """Whether a remote file has the last byte that it should. Raises OSError, ConfigError."""
    with open_input(url) as file:
        file.seek(size - 1)
        try:
            is_there = len(file.read(1)) == 1
        except OSError:
            is_there = False
    if not is_there:
        raise ConfigError(f"sources: the server says that {public(url)} has {size:,} bytes, and does not give the last")


def _no_file(info: fs.FileInfo, pattern: str) -> str:
    if info.type == fs.FileType.Directory:
        return f"is a folder; name the files in it, such as {pattern.rstrip('/')}/*.warc.gz"
    return "is no file but a device, a pipe or a socket; write what it gives to a file, and name that"


def _as_user_wrote(pattern: str, path: str, below: str) -> str:
    """below: the part of the pattern that is one; empty if it is a file's name."""
    if not below:
        return pattern.removeprefix("file://")
    if not pattern.endswith(below):  # of parts that mean nothing, as `a*//b`
        return path
    head = pattern.removesuffix(below).removesuffix("/")
    base = absolute(head or ".")
    return f"{head}/{path[len(base) + 1 :]}" if head else path[len(base) + 1 :]


def _remote_version(location: str) -> str:
    """What the server says of a remote file's content: its ETag, or its time of change."""
    parts = urlsplit(location)
    rate_limit.wait()
    if parts.scheme in ("s3", "s3a"):
        return s3.version(location, parts.netloc, parts.path.lstrip("/"))
    import fsspec

    filesystem_, path = fsspec.url_to_fs(location)
    info = filesystem_.info(path)
    return str(info.get("ETag") or info.get("mtime") or info.get("LastModified") or "")
