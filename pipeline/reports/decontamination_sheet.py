"""OUT/decontamination.html: pairs of images around `decontaminate`'s threshold, side by side, for a person to judge.

The paper set its detector's threshold so: by looking at the pairs just above and just below (Radford et al. 2021,
section 5). One file, nothing is loaded from elsewhere; everything that comes from the web or a set is escaped.

Where the sets are is said by the dataset's own config, and that may be somebody else's. So an image of a set is shown
only if it is the one that was compared, by its SHA-256: whoever made the dataset had it, and no other file of this
machine gets into the page. Nothing is asked of a network for a dataset that lies on this machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.store import read_images
from dataset.layout import SHEET
from dataset.ledger.damage import read_table
from dataset.query.views import Dataset
from dataset.store.storage import absolute
from filters.duplicates.decontaminate import DecontaminateConfig
from filters.duplicates.evaluation_sets import ImagePlace, read_image
from filters.images.perceptual import MAX_SEARCH_HAMMING
from pipeline.config_errors import ConfigError
from pipeline.reports import dataset_config
from pipeline.reports.html import BLUR_ABOVE, environment, thumbnail, unsafe

MOST = 40  # pairs shown on each side of a threshold

_MEASURES: dict[str, tuple[str, str, bool]] = {
    # measure: (who says so, the config key of its threshold, whether a copy is near by a small value)
    "pdq_hamming": ("name", "max_hamming", True),
    "cosine": ("cosine_name", "min_cosine", False),
}


def write(out: str, most: int = MOST, *, blur_above: float | None = BLUR_ABOVE) -> str:
    """Write the sheet of a dataset whose `decontaminate` is done; returns the file's URL.

    blur_above: the nsfw_probability above which both images of a pair are blurred; None blurs none.

    Raises:
        FileNotFoundError: there is no dataset.
        ConfigError: the stage has not run, or it had no evaluation set.
    """
    dataset = Dataset(out)
    config = dataset_config.section(dataset.storage, "decontaminate", DecontaminateConfig)
    if not dataset.records("nearest_evaluation_images") or not config.folders:
        raise ConfigError(f"{out} has been compared with no evaluation set; name them in decontaminate.folders")
    places = _places(dataset, config.folders)
    sections = []
    for measure, (name, key, small) in _MEASURES.items():
        limit = getattr(config, key)
        rows = _borderline(dataset, measure, limit, small, most)
        for title, side in (("Taken for a copy", True), ("Let pass", False)):
            chosen = [row for row in rows if row["is_copy"] == side]
            if chosen or (rows and small and not side):  # what is not near by PDQ is not measured, which the page says
                blurred = unsafe(dataset, [row["url"] for row in chosen], blur_above) if chosen else set()
                pairs = [
                    _pair(dataset, row, row[name], measure, places, is_blurred=row["url"] in blurred) for row in chosen
                ]
                sections.append({"title": title, "measure": measure, "key": key, "limit": limit, "pairs": pairs})
    page = (
        environment()
        .get_template("sheet.html")
        .render(name=dataset.manifest.get("name", "dataset"), sections=sections, most_hamming=MAX_SEARCH_HAMMING)
    )
    dataset.storage.write(SHEET, page.encode("utf-8", "replace"))
    return dataset.storage.url_of(SHEET)


class _Known(NamedTuple):
    """An evaluation image: its set's location, where it lies in it, and what it was."""

    location: str
    place: ImagePlace
    sha256: bytes | None


def _places(dataset: Dataset, folders: Sequence[str]) -> dict[str, _Known]:
    """Evaluation images by their names."""
    places: dict[str, _Known] = {}
    for number, file in dataset.files("evaluation_images").items():
        if number >= len(folders):
            raise ConfigError(f"{dataset.storage.url}/config.yaml names {len(folders)} decontaminate.folders of more")
        location = absolute(folders[number])
        table = read_table(dataset.storage, file, ["name", "file", "member", "sha256"])
        for row in table.to_pylist():
            places[row["name"]] = _Known(location, ImagePlace(row["file"] or "", row["member"]), row["sha256"])
    return places


def _borderline(dataset: Dataset, measure: str, limit: float, small: bool, most: int) -> list[dict[str, Any]]:
    """The images nearest to the threshold, up to `most` on each side, nearest first."""
    images = dataset.files("images")
    best: list[dict[str, Any]] = []
    for number, file in dataset.files("nearest_evaluation_images").items():
        nearest = read_table(dataset.storage, file)
        nearest = nearest.filter(pc.is_valid(nearest.column(measure)))
        rows = nearest.to_pylist()
        for row in rows:
            apart = (row[measure] - limit) if small else (limit - row[measure])
            row |= {"is_copy": apart <= 0, "apart": abs(apart), "partition": number}
        best = _take_nearest(best + rows, most)
    for partition in {row["partition"] for row in best}:
        columns = ["row", "url", "sha256", "blob", "blob_offset", "blob_length"]
        table = read_table(dataset.storage, images[partition], columns, if_there=["blob_checksum"])
        for row in best:
            if row["partition"] == partition:
                row["image"] = table.filter(pc.equal(table.column("row"), pa.scalar(row["row"], pa.uint32())))
                (row["url"],) = row["image"].column("url").to_pylist()
    return best


def _take_nearest(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    ordered = sorted(rows, key=lambda row: (row["apart"], row["partition"], row["row"]))
    return [row for side in (True, False) for row in [item for item in ordered if item["is_copy"] == side][:most]]


def _evaluation_image(known: _Known | None, *, is_local: bool) -> bytes:
    """The evaluation image that was compared; no bytes if it is not to be had, for the set has been moved since."""
    if known is None or (is_local and "://" in known.location):
        return b""
    try:
        body = read_image(known.location, known.place)
    except (OSError, ValueError):
        return b""
    return body if hashlib.sha256(body).digest() == known.sha256 else b""


def _pair(
    dataset: Dataset,
    row: Mapping[str, Any],
    name: str,
    measure: str,
    places: Mapping[str, _Known],
    *,
    is_blurred: bool,
) -> dict[str, Any]:
    (body,) = read_images(dataset.storage, row["image"], lenient=True)
    image = thumbnail(body, blurred=is_blurred)
    compared = _evaluation_image(places.get(name), is_local=dataset.storage.local)
    evaluation = thumbnail(compared, blurred=is_blurred) if compared else None  # which looks the same
    return {"url": row["url"], "image": image, "name": name, "evaluation": evaluation, "distance": row[measure]}
