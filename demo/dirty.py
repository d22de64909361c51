"""`python -m demo.dirty ARCHIVE DIR`: an archive of a gallery, with a stated share of its texts spoilt, and its tests.

For experiments on filters, whose truth is known. ARCHIVE is a WARC whose pages name images by `<img src alt>` and hold
them at addresses `…/CLASS/NAME`. Of the images, by a hash of their address:

- a part is held out: `DIR/tasks/categories` has them as class folders, `DIR/tasks/captions` with their texts. Pages
  name them no more, nor any image of the same bytes;
- of a share of the rest (`--share`) the text is replaced, in equal parts by a camera's file name, by words of the
  page's interface, by the same advertisement, by placeholder Latin, and by another image's text. Each but the last is
  what a filter of texts can know.

`DIR/dirty.warc.gz` is the archive, `DIR/spoilt.csv` names every spoilt image, how, and its true text.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from fastwarc.warc import ArchiveIterator, WarcRecordType
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from dataset.ids import checksum, hash64

_IMAGE = re.compile(r'<img src="([^"]+)" alt="([^"]*)"')
_CAPTION = re.compile(r"<figcaption>.*?</figcaption>", re.DOTALL)
INTERFACE = ("Click to enlarge", "image", "Next", "Close window", "Share this", "Download", "thumbnail", "Loading...")
ADVERTISEMENT = "Buy cheap designer handbags online with free shipping, click here for the best price"
LATIN = (
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit",
    "sed do eiusmod tempor incididunt ut labore et dolore magna aliqua",
    "Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris",
    "Duis aute irure dolor in reprehenderit in voluptate velit esse",
)
KINDS = ("file name", "interface", "advertisement", "latin", "another's")


def main(arguments: list[str] | None = None) -> int:
    """Write the folder; prints how many images are held out, and how many of each kind are spoilt."""
    parser = argparse.ArgumentParser(prog="python -m demo.dirty", description=__doc__.partition("\n")[0])
    parser.add_argument("archive", metavar="ARCHIVE")
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the texts that are spoilt; 0.5")
    parser.add_argument("--heldout", type=float, default=0.15, help="share of the images that are held out; 0.15")
    parser.add_argument("--classes", type=int, default=10, help="the largest classes are asked for; 10")
    options = parser.parse_args(arguments)
    counts = spoil(options.archive, options.folder, options.share, options.heldout, options.classes)
    print(", ".join(f"{name}: {count:,}" for name, count in counts.items()))
    return 0


def spoil(archive: str, folder: Path, share: float, heldout: float, classes: int) -> dict[str, int]:
    """Write the archive and its tests; returns how many images are held out, and spoilt in each way."""
    images: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    for url, kind, body in _records(archive):
        if "html" in kind:
            for source, text in _IMAGE.findall(body.decode(errors="replace")):
                texts.setdefault(urljoin(url, source), html.unescape(text))
        else:
            images[url] = body
    texts = {url: text for url, text in texts.items() if url in images and text}
    aside = {url for url in texts if _portion("heldout", url) < heldout}
    bytes_aside = {checksum(images[url]) for url in aside}
    gone = {url for url, body in images.items() if checksum(body) in bytes_aside}
    left = sorted(set(texts) - gone)
    spoilt = {url: KINDS[hash64("kind", url) % len(KINDS)] for url in left if _portion("spoilt", url) < share}
    strangers = [url for url, kind in spoilt.items() if kind == "another's"]
    others = dict(zip(strangers, strangers[1:] + strangers[:1], strict=True))
    new = {url: _spoil(url, kind, texts, others) for url, kind in spoilt.items()}
    folder.mkdir(parents=True, exist_ok=True)
    _write_archive(archive, folder / "dirty.warc.gz", new, gone)
    _write_tasks(folder / "tasks", {url: images[url] for url in sorted(aside)}, texts, classes)
    with (folder / "spoilt.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["url", "kind", "text", "true_text"])
        rows.writerows((url, spoilt[url], new[url], texts[url]) for url in sorted(spoilt))
    return {"images": len(left), "held out": len(aside), **Counter(spoilt.values())}


def _portion(salt: str, url: str) -> float:
    return hash64(salt, url) / 2**64


def _spoil(url: str, kind: str, texts: dict[str, str], others: dict[str, str]) -> str:
    number = hash64("text", url)
    if kind == "file name":
        return f"IMG_{number % 10_000:04d}.JPG"
    if kind == "interface":
        return INTERFACE[number % len(INTERFACE)]
    if kind == "latin":
        return LATIN[number % len(LATIN)]
    return ADVERTISEMENT if kind == "advertisement" else texts[others[url]]


def _records(archive: str) -> Iterator[tuple[str, str, bytes]]:
    """(address, content type, body) of each response."""
    with Path(archive).open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            yield record.headers["WARC-Target-URI"], record.http_content_type or "", record.reader.read()


def _write_archive(archive: str, path: Path, new: dict[str, str], gone: set[str]) -> None:
    with path.open("wb") as file:
        writer: Any = WARCWriter(file, gzip=True)
        for url, kind, body in _records(archive):
            if url in gone:
                continue
            if "html" in kind:
                body = _page(url, body.decode(errors="replace"), new, gone).encode()
            headers = StatusAndHeaders("200 OK", [("Content-Type", kind)], protocol="HTTP/1.1")
            date = {"WARC-Date": "2026-01-01T00:00:00Z"}
            record = writer.create_warc_record(
                url, "response", payload=io.BytesIO(body), http_headers=headers, warc_headers_dict=date
            )
            writer.write_record(record)


def _page(url: str, page: str, new: dict[str, str], gone: set[str]) -> str:
    """A page whose figures have the new texts; those that are gone are left out, and captions of the spoilt."""
    figures = re.split(r"(?=<figure>)", page)
    kept = [figures[0]]
    for figure in figures[1:]:
        image = _IMAGE.search(figure)
        source = urljoin(url, image[1]) if image else ""
        if source in gone:
            kept.append(figure.partition("</figure>")[2])
        elif source in new and image:
            named = figure.replace(image[0], f'<img src="{image[1]}" alt="{html.escape(new[source], quote=True)}"', 1)
            kept.append(_CAPTION.sub("", named, count=1))
        else:
            kept.append(figure)
    return "".join(kept)


def _write_tasks(folder: Path, images: dict[str, bytes], texts: dict[str, str], classes: int) -> None:
    """Class folders of the classes with most images, and all images with their texts."""
    named = {url: unquote(urlsplit(url).path).split("/")[-2:] for url in images}
    largest = Counter(parts[0] for parts in named.values()).most_common()
    chosen = {name for name, _ in sorted(largest, key=lambda item: (-item[1], item[0]))[:classes]}
    places = folder / "categories"
    lines = []
    for url, (name, file) in named.items():
        safe = re.sub(r"[^\w.-]", "_", file)
        if name in chosen:
            (places / name).mkdir(parents=True, exist_ok=True)
            (places / name / safe).write_bytes(images[url])
        path = folder / "captions" / "images" / f"{name}-{safe}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images[url])
        lines.append((f"images/{path.name}", texts[url]))
    (places / "templates.txt").write_text("{}\na picture of {}.\nclip art of {}.\n")
    with (folder / "captions" / "captions.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("path", "caption"), *lines])


if __name__ == "__main__":
    sys.exit(main())
