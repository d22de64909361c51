"""`wit search`: a dataset's images that are nearest to a text or to an image; and whether an image is in the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dataset.display import clean
from dataset.query import sql
from dataset.query.views import Dataset
from dataset.webdataset.shards import DamagedSampleError
from pipeline.config_errors import ConfigError
from pipeline.examining.embeddings import Embeddings
from pipeline.examining.nearest import search
from pipeline.examining.same_image import MAX_BYTES, Same, measure_image, same_images
from pipeline.reports.html import environment, sample_image, thumbnail, unsafe

ANSWERS = pa.schema(
    [
        ("rank", pa.int32()),  # 0: found by its bytes or its look alone
        ("pair_id", pa.string()),
        ("url", pa.string()),
        ("text", pa.string()),
        ("score", pa.float64()),  # cosine of the embeddings; null where the encoder was not asked
        ("same_bytes", pa.bool_()),  # of a search by image
        ("pdq_hamming", pa.int32()),  # of a search by image: bits of 256; null if it does not look the same
        ("pairs", pa.int64()),  # of the dataset that have this image
        ("dropped", pa.string()),  # the reason for which an image that is not in the dataset was dropped; else null
        ("page_url", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("key", pa.string()),
    ]
)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        sentence: of a search by image, whether it is in the data.
        rows: columns ANSWERS, and of rows in the dataset what `sample_image` takes.
    """

    asked: str
    sentence: str
    rows: list[dict[str, Any]]
    is_exact: bool
    images: int

    def table(self) -> pa.Table:
        """Return the rows, as ANSWERS."""
        return pa.Table.from_pylist([{name: row[name] for name in ANSWERS.names} for row in self.rows], ANSWERS)


def by_text(embeddings: Embeddings, text: str, count: int, *, exact: bool = False) -> SearchResult:
    """Return the images nearest to a text. Raises ConfigError."""
    return _search_result(embeddings, text, embeddings.encoder.texts([text]), count, exact, "", [])


def by_image(embeddings: Embeddings, file: str, count: int, *, exact: bool = False) -> SearchResult:
    """Return the images nearest to an image, and those that are the same by their bytes or their look. Raises
    ConfigError.
    """
    from train.data.transforms import decode

    body = read_image(file)
    same = same_images(embeddings.dataset, measure_image(body, embeddings.dataset, file))
    try:
        vector = embeddings.encoder.images([decode(body, embeddings.encoder.enough)])
    except DamagedSampleError as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    return _search_result(embeddings, file, vector, count, exact, file, same)


def read_image(file: str) -> bytes:
    """Return an image's bytes. Raises ConfigError if there is no such file, or it is too large."""
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"there is no file {file}, which --image names")
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file} has more than {MAX_BYTES:,} bytes; give a smaller copy of the image")
    return path.read_bytes()


def _search_result(
    embeddings: Embeddings, asked: str, vector: np.ndarray, count: int, exact: bool, file: str, same: Sequence[Same]
) -> SearchResult:
    ids, cosines, is_exact = search(embeddings, vector, count, exact=exact)
    scores = dict(zip(ids[0].tolist(), cosines[0].tolist(), strict=True))
    known = {each.image_id: each for each in same}
    wanted = [*dict.fromkeys([*scores, *known])]
    pairs = _pairs(embeddings.dataset, wanted)
    dropped = _reasons(embeddings.dataset, [each.url for each in same if each.image_id not in pairs])
    rows = []
    for number in wanted:
        row: dict[str, Any] = {**dict.fromkeys(ANSWERS.names), "pairs": 0, **pairs.get(number, {})}
        if twin := known.get(number):
            row |= {"url": twin.url, "same_bytes": twin.same_bytes, "pdq_hamming": twin.pdq_hamming}
            row["dropped"] = None if row["pairs"] else dropped.get(twin.url, "not in this version")
        elif not row["pairs"]:
            continue  # it has left the dataset since it was embedded
        elif file:
            row["same_bytes"] = False
        rows.append({**row, "score": scores.get(number)})
    rows.sort(key=lambda row: (not row["same_bytes"], row["pdq_hamming"] is None, -(row["score"] or -2)))
    for place, row in enumerate(rows, 1):
        row["rank"] = place
    return SearchResult(asked, _sentence(file, rows) if file else "", rows, is_exact, embeddings.count())


def _pairs(dataset: Dataset, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """The first pair of each image, and how many it has."""
    answer = dataset.ask(sql.load("examining/images"), {"ids": [f"{number:016x}" for number in ids]}).fetchall()
    return {int(image, 16): {**first, "pairs": count} for image, first, count in answer}


def _reasons(dataset: Dataset, urls: Sequence[str]) -> dict[str, str]:
    return dict(dataset.ask(sql.load("examining/dropped_urls"), {"urls": list(urls)}).fetchall()) if urls else {}


def _sentence(file: str, rows: Sequence[dict[str, Any]]) -> str:
    """Whether an image is in the data."""
    equal = [row for row in rows if row["same_bytes"]]
    alike = [row for row in rows if row["pdq_hamming"] is not None and not row["same_bytes"]]
    for same, how in ((equal, "has the same bytes as"), (alike, "looks the same as (by PDQ)")):
        kept = [row for row in same if row["pairs"]]
        if kept:
            pairs = sum(row["pairs"] for row in kept)
            return f"{file} is in the dataset: it {how} {len(kept):,} of its images, in {pairs:,} pairs"
    if gone := [*equal, *alike]:
        return f"{file} is not in the dataset: it was fetched, and dropped ({gone[0]['dropped']})"
    best = next((row["score"] for row in rows if row["score"] is not None), None)
    nearest = "" if best is None else f"; the nearest image has a cosine of {best:.3f}"
    return f"{file} is not in the data, neither by its bytes nor by its look{nearest}"


def page(
    dataset: Dataset, result: SearchResult, model: str, blur_above: float | None, asked_image: bytes | None
) -> str:
    """Return a contact sheet as HTML: one file, nothing is loaded.

    blur_above: the nsfw_probability above which an image is blurred; None blurs none.
    """
    blurred = unsafe(dataset, [row["url"] for row in result.rows], blur_above)
    cards = [
        {**row, "image": thumbnail(sample_image(dataset.storage, row), blurred=row["url"] in blurred)}
        if row["pairs"]
        else {**row, "image": None}
        for row in result.rows
    ]
    return (
        environment(Path(__file__).parent)
        .get_template("search.html")
        .render(
            found=result,
            cards=cards,
            model=model,
            name=dataset.manifest.get("name", "dataset"),
            asked_image=None if asked_image is None else thumbnail(asked_image),
            blurred=len(blurred),
            blur_above=blur_above,
        )
    )


def text_of(result: SearchResult) -> str:
    """Return the answer in lines, for a terminal."""
    lines = [result.sentence] if result.sentence else []
    for row in result.rows:
        score = "     " if row["score"] is None else f"{row['score']:.3f}"
        marks = [
            "same bytes" if row["same_bytes"] else "",
            "" if row["pdq_hamming"] is None else f"PDQ {row['pdq_hamming']}",
            f"dropped: {row['dropped']}" if row["dropped"] else "",
        ]
        marks_shown = ", ".join(mark for mark in marks if mark)
        lines.append(f"{score}  {row['pair_id'] or '':<32}  {' '.join(str(row['text'] or '').split())[:80]}")
        lines.append(f"{'':7}{row['url']}{f'  ({marks_shown})' if marks_shown else ''}")
    return clean("\n".join(lines) or "the dataset has no image")
