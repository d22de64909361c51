"""What each reader promises of any bytes. A promise that is broken is an exception."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from crawl import rsl
from crawl.archives.decoding.content_encoding import ContentDecoder
from crawl.archives.open_source import MEMBER, kind_of, warc_members
from crawl.archives.payload import decoded_body, decoded_start, parse_response
from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, RefusedBody
from crawl.pages.charset import to_utf8
from crawl.pages.html import TEXT_SOURCES, parse_page
from crawl.pages.image_address import best_url
from crawl.pages.srcset import image_sources
from crawl.web.connection import OddHeadError, put_right
from crawl.web.rules import robots, tdm
from crawl.wishes import MAX_CHARS, content_signal, content_usage, refuses
from dataset.images import ImageError, decode, read
from dataset.layout import INDEX
from dataset.ledger.commits import MANIFEST, Commit, RecordError, read_manifest
from dataset.store.storage import OutsideError, Storage
from dataset.webdataset.shards import DamagedSampleError, build_index, read_index
from dataset.webdataset.tar import DamagedTarError
from dataset.yaml_text import YamlError, parse
from filters.images.hash_files import read_hashes
from pipeline.reports.format import parse_json
from tests.crawl.archives.bodies import read_bodies
from train.checkpoints import checkpoint
from train.data.shard_reader import ShardReader
from train.evaluate.results.formats import format_rows
from train.evaluate.results.row import Row
from train.models import foreign_config

_CONFIG = ExtractConfig(text_sources=TEXT_SOURCES, texts_per_image="all")
_LIMIT = 2**20  # of a body
_PIXELS = 2**22  # of an image


def _extract(data: bytes, file: Path) -> None:
    """Nothing that a file holds is an error; every image is a candidate or counted."""
    file.write_bytes(data)
    kind_of(str(file))
    _conserves([Piece("a", str(file), 0, -1)])
    half = len(data) // 2
    _conserves([Piece("a", str(file), 0, half), Piece("a", str(file), half, -1)])
    list(read_bodies(str(file), [0, half]))


def _conserves(pieces: list[Piece]) -> None:
    first = ExtractConfig(text_sources=TEXT_SOURCES)
    found = extract(pieces, first)
    for name in ("candidates", "damaged_records", "lost_bytes"):
        assert pc.min(found.sources[name]).as_py() >= 0, name
    seen, *parts = (
        pc.sum(found.sources[name]).as_py() for name in ("images_seen", "candidates", "no_text", "no_url", "data_uri")
    )
    assert seen == sum(parts), f"{seen} images are {parts}"
    assert len(found.candidates) == parts[0]


def _wacz(data: bytes, file: Path) -> None:
    """What is no readable zip is a ValueError, in a sentence that names it."""
    file.write_bytes(data)
    try:
        members = warc_members(str(file))
    except ValueError as error:
        assert str(error).startswith(str(file)), error
        return
    for name, _ in members[:3]:
        _conserves([Piece(name, f"{file}{MEMBER}{name}", 0, -1)])


def _tar(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    try:
        index, _ = build_index(str(file))
    except DamagedTarError:
        return
    assert (pc.max(index["offset"]).as_py() or 0) <= len(data)


def _image(data: bytes, file: Path) -> None:
    result = ingest(data, ImageConfig(), lambda thumbnail: (bytes(32), 100), lambda body, pdq: None)
    assert isinstance(result, (Ingested, RefusedBody))


def _boxes(data: bytes, file: Path) -> None:
    """A HEIC or AVIF that is decoded has the pixels that were said of it, whatever its parts say."""
    with contextlib.suppress(ImageError):
        image = read(data, _PIXELS)
        pixels = decode(image)
        assert pixels.shape[:2] == (image.height, image.width), pixels.shape
    _image(data, file)


def _page(data: bytes, file: Path) -> None:
    page = parse_page(to_utf8(data).html, TEXT_SOURCES)
    assert {len(column) for column in page.texts} == {len(page.urls)}
    assert sum(len(text) for column in page.texts for text in column) < 2**25


def _srcset(data: bytes, file: Path) -> None:
    text = data.decode("utf-8", "replace")
    assert sum(len(source.url) for source in image_sources(text)) <= len(text)
    best_url({"src": text[:40], "srcset": text, "data-src": text[-40:]})


def _robots(data: bytes, file: Path) -> None:
    rules = robots.parse(data, "openwit/1.0", ("CCBot", "GPTBot"))
    for url in ("http://h.example/a/b", "http://h.example/%7Ex?y", "http://h.example/"):
        rules.allow(url)


def _wish(data: bytes, file: Path) -> None:
    """A refusal that stands in a field by itself is heard, whatever stands around it."""
    text = data.decode("latin-1")
    content_signal([text])
    content_usage(text.splitlines())
    robots.refusal(text.splitlines(), "openwit/1.0", ("CCBot",))
    if len(text) < MAX_CHARS - 20 and '"' not in text:
        assert refuses(content_signal([text, "ai-train=no"])), text
    tdm.is_unreadable(data)
    tdm.parse(data).is_reserved("http://h.example/a/b")
    rsl.licenses_of_links([text], "http://h.example/a")


def _license(data: bytes, file: Path) -> None:
    said = rsl.of_page([data.decode("utf-8", "replace")], ["http://h.example/l"])
    assert said is not None and (rsl.refuses(said) or rsl.named_by(said) == ["http://h.example/l"]), said
    try:
        license_ = rsl.parse(data)
    except rsl.UnreadableError:
        return
    for url in ("http://h.example/a/b", "https://[::1]:8/?x", "x"):
        license_.terms_for(url)


def _config(data: bytes, file: Path) -> None:
    """A config that a dataset keeps, which may be anybody's."""
    try:
        parse(data, is_written=True)
    except YamlError:
        return


def _response(data: bytes, file: Path) -> None:
    response = parse_response(data)
    assert len(decoded_body(response, _LIMIT)) <= _LIMIT
    decoded_start(response)
    try:
        put_right(data)
    except OddHeadError:
        return


def _coded(data: bytes, file: Path) -> None:
    """Check that, in whatever parts a body comes, it decodes to the same, within the limit."""
    for header in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        results = []
        for step in (len(data) or 1, 7 + len(data) // 5):
            decoder, parts = ContentDecoder(header, _LIMIT), []
            for at in range(0, len(data), step):
                if not decoder.is_done:
                    parts.append(decoder.feed(data[at : at + step]))
            results.append((b"".join([*parts, decoder.finish()]), decoder.is_too_large))
        assert len(results[0][0]) <= _LIMIT
        assert results[0] == results[1]


def _record(data: bytes, file: Path) -> None:
    try:
        record = Commit.from_json(data)
    except RecordError:
        return
    assert Commit.from_json(record.to_json()) == record


def _manifest(data: bytes, file: Path) -> None:
    file.mkdir(exist_ok=True)
    (file / MANIFEST).write_bytes(data)
    try:
        read_manifest(Storage(str(file)))
    except RecordError as error:
        assert MANIFEST in str(error), error


def _index(data: bytes, file: Path) -> None:
    """What an index claims of sizes and places is believed of nothing that is read."""
    (file / "shards").mkdir(parents=True, exist_ok=True)
    (file / INDEX).write_bytes(data)
    (file / "shards" / "a.tar").write_bytes(b"tar" * 99)
    storage = Storage(str(file))
    try:
        index = read_index(storage, "train")
    except (ValueError, OutsideError):
        return
    rows = np.arange(min(len(index), 20))
    for row, raw in zip(rows.tolist(), ShardReader(storage, index).read(rows), strict=True):
        with contextlib.suppress(DamagedSampleError):
            index.sample(row, raw)


def _checkpoint(data: bytes, file: Path) -> None:
    """Both files that describe a checkpoint: what it says of itself, and where its tensors lie."""
    name = checkpoint.name_of(7)
    (file / name).mkdir(parents=True, exist_ok=True)
    run = Storage(str(file))
    (file / name / checkpoint.ABOUT).write_bytes(data)
    (file / name / ".metadata").write_bytes(data)
    with contextlib.suppress(ValueError):
        described = checkpoint.about(run, name)
        foreign_config.check(described["model_config"], described["preprocess"], "a")
    checkpoint.damage(run, name)
    with contextlib.suppress(ValueError):
        checkpoint.load(run, name, {"a": torch.zeros(4)}, None)


def _examined(data: bytes, file: Path) -> None:
    """A row that is one can be shown in every form."""
    raw = parse_json(data)
    for each in raw if isinstance(raw, list) else [raw]:
        try:
            row = Row.from_dict(each)
        except ValueError:
            continue
        for form in ("table", "json", "csv", "markdown", "datacomp", "clip-benchmark", "parquet"):
            format_rows([row], form)


def _hashes(data: bytes, file: Path) -> None:
    for suffix in (".csv", ".json", ".xml"):
        path = file.with_suffix(suffix)
        path.write_bytes(data)
        try:
            list(read_hashes([str(path)], (1,), 0))
        except ValueError as error:
            assert str(path) in str(error), error


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "archive": _extract,
    "wacz": _wacz,
    "table": _extract,
    "tar": _tar,
    "image": _image,
    "boxes": _boxes,
    "page": _page,
    "srcset": _srcset,
    "robots": _robots,
    "response": _response,
    "coded": _coded,
    "record": _record,
    "wish": _wish,
    "license": _license,
    "config": _config,
    "manifest": _manifest,
    "index": _index,
    "checkpoint": _checkpoint,
    "examined": _examined,
    "hashes": _hashes,
}
