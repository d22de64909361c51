"""Opens an evaluation set by what lies at a path. Images are not read then, but for the headers of tars."""

from __future__ import annotations

from pathlib import Path

from train.evaluate.sets import ImageSet, SetError
from train.evaluate.sets.composition import pairs_of
from train.evaluate.sets.folders import class_folders, split_folders, subfolders
from train.evaluate.sets.tables import TABLES, coco_captions, read_json, table_set
from train.evaluate.sets.webdataset import webdataset

KINDS = (
    "folders of class folders, CLIP_benchmark's or DataComp's WebDataset folders, a tar, a CSV or Parquet of paths "
    "with labels or captions, WinoGAViL's CSV, COCO's caption JSON, or JSON of SugarCrepe's, ARO's or Winoground's form"
)
_TABLES = frozenset({"labels", "captions", "metadata", "test", "winogavil_dataset"})
"""What a folder's table may be called, where other folders lie beside it."""


def open_set(location: str | Path) -> ImageSet:
    """Return the evaluation set at a path.

    Raises:
        SetError: there is none, or it is not what it should be.
    """
    path = Path(location)
    if not path.exists():
        raise SetError(f"there is no evaluation set {location}")
    if path.is_file():
        return _open_file(path)
    if parts := split_folders(path):
        if any(part.glob("*.tar") for part in parts.values()) and any(parts["test"].glob("*.tar")):
            return webdataset(path, parts)
        return class_folders(path, parts)
    if any(path.glob("*.tar")):
        return webdataset(path, {"test": path})
    files = sorted(entry for entry in path.iterdir() if entry.is_file())
    for kinds in (TABLES, {".json"}):
        tables = [file for file in files if file.suffix.lower() in kinds and file.stem != "hierarchy"]
        labelled = [file for file in tables if file.stem.lower() in _TABLES]
        if labelled or (tables and not subfolders(path)) or (len(tables) == 1 and kinds == {".json"}):
            return _open_file((labelled or tables)[0])
    return class_folders(path, {"test": path})


def _open_file(path: Path) -> ImageSet:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return table_set(path)
    if suffix == ".tar":
        return webdataset(path.parent, {"test": path})
    if suffix == ".json":
        raw = read_json(path)
        if isinstance(raw, dict) and "annotations" in raw and "images" in raw:
            return coco_captions(path, raw)
        return pairs_of(path, raw)
    raise SetError(f"{path} is no evaluation set; these are: {KINDS}")
