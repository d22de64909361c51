"""Other people's extraction, each in its own environment: cc2dataset, metaclip, reading or survivors, IN, OUT.

`reading` only reads the records. `cc2dataset` calls the peer's own function; `metaclip` is the loop of MetaCLIP's
cc_matching.py (language test off, which is another stage here) on FastWARC instead of warcio, which is faster;
`survivors` writes the records of a WAT that cc2dataset's function does not lose the rest of the file at.
"""

import hashlib
import io
import itertools
import json
import sys
import time
from pathlib import Path
from urllib.parse import urljoin

from fastwarc.warc import ArchiveIterator, WarcRecordType


def cc2dataset(path):
    from cc2dataset.main import process_wat
    from loguru import logger

    logger.remove()
    began = time.process_time()
    rows = list(process_wat(str(path), "image"))
    return time.process_time() - began, [[page, url, alt] for _, url, alt, _, page in rows]


def survivors(path):
    from cc2dataset.main import extract_documents_from_wat
    from loguru import logger

    logger.remove()
    complaints = []
    logger.add(complaints.append)
    data = path.read_bytes()
    starts = [record.stream_pos for record in ArchiveIterator(io.BytesIO(data), parse_http=False)] + [len(data)]
    kept = []
    for start, end in itertools.pairwise(starts):
        before = len(complaints)
        extract_documents_from_wat(io.BytesIO(data[start:end]), "image")
        if len(complaints) == before:
            kept.append(data[start:end])
    return b"".join(kept), len(starts) - 1 - len(kept)


def metaclip(path):
    from selectolax.parser import HTMLParser

    keys = ("alt", "title", "data-image-title")
    seen = {}
    rows = []
    began = time.process_time()
    with path.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            page = record.headers["WARC-Target-URI"]
            for node in HTMLParser(record.reader.read().strip()).tags("img"):
                url, texts = None, []
                for key, value in node.attrs.items():
                    if key not in (*keys, "src") or value is None:
                        continue
                    text = value.strip().replace("\n", "").replace("\r", "")
                    if not text:
                        continue
                    if key == "src":
                        try:
                            url = urljoin(page, text)
                        except ValueError:
                            continue
                    else:
                        texts.append(text)
                if url is None:
                    continue
                known = seen.setdefault(hashlib.sha224(url.encode("utf-8", "surrogatepass")).hexdigest()[:24], set())
                for text in texts:
                    if text not in known:
                        known.add(text)
                        rows.append([page, url, text])
    return time.process_time() - began, rows


def reading(path):
    began = time.process_time()
    with path.open("rb") as file:
        size = sum(len(record.reader.read()) for record in ArchiveIterator(file, parse_http=False))
    return time.process_time() - began, size


def main() -> None:
    what, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "survivors":
        data, lost = survivors(source)
        target.write_bytes(data)
        print(json.dumps({"lost": lost}))
        return
    seconds, pairs = {"cc2dataset": cc2dataset, "metaclip": metaclip, "reading": reading}[what](source)
    target.write_text(json.dumps(pairs), encoding="utf-8")
    print(json.dumps({"seconds": seconds}))


main()
