"""Questions of composition as JSON: which of two captions fits an image.

- SugarCrepe's: an object of `{"filename": …, "caption": …, "negative_caption": …}` by number, or a list of them.
- ARO's: a list of `{"image_path": …, "true_caption": …, "false_caption": …}`.
- Winoground's: a list of `{"image_0": …, "image_1": …, "caption_0": …, "caption_1": …}`, two images and their captions.

A file's name is the kind of question, unless an entry has `kind`, `tag`, `relation_name` or `attributes`' names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.evaluate.sets import ImageSet, Pair, Picture, SetError, Split

_FORMS = (
    (("filename",), ("caption", "negative_caption")),
    (("image_path",), ("true_caption", "false_caption")),
    (("image_0", "image_1"), ("caption_0", "caption_1")),
    (("image",), ("caption", "negative_caption")),
)
_BOX = ("bbox_x", "bbox_y", "bbox_w", "bbox_h")


def pairs_of(path: Path, raw: Any) -> ImageSet:
    """Return the questions of a file. Raises SetError if an entry has none of the forms."""
    entries = list(raw.values()) if isinstance(raw, dict) else raw
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise SetError(f"{path} must be a list, or an object, of entries with an image and two captions")
    places: dict[str, int] = {}
    pictures: list[Picture] = []
    pairs: list[Pair] = []
    for number, entry in enumerate(entries):
        form = next(
            (form for form in _FORMS if all(isinstance(entry.get(key), str) for key in form[0] + form[1])), None
        )
        if form is None:
            raise SetError(
                f"{path} has an entry (number {number}) that is neither SugarCrepe's, ARO's nor Winoground's: it needs "
                "filename, caption and negative_caption, or what those sets call them"
            )
        images = []
        for key in form[0]:
            name = entry[key]
            if name not in places:
                places[name] = len(pictures)
                pictures.append(Picture(name, _find_image(path.parent, name)))
            images.append(places[name])
        captions = [" ".join(entry[key].split()) for key in form[1]]
        kind = next((str(entry[key]) for key in ("kind", "tag", "relation_name") if entry.get(key)), path.stem)
        pairs.append(Pair(images, captions, kind))
    notes = []
    if same := sum(len(set(pair.captions)) == 1 for pair in pairs):
        notes.append(f"{same} of {len(pairs)} questions have two equal captions and are not asked")
    if any(all(isinstance(entry.get(key), (int, float)) for key in _BOX) for entry in entries):
        notes.append("bounding boxes are not cropped: the whole image is asked")
    asked = [pair for pair in pairs if len(set(pair.captions)) > 1]
    if not asked:
        raise SetError(f"{path} has no question whose captions differ")
    return ImageSet(path.stem, path, {"test": Split(pictures)}, pairs=asked, notes=notes)


def _find_image(folder: Path, name: str) -> Path:
    """An image beside the file or in one of its usual folders."""
    for place in (folder / name, folder / "images" / name, folder / "val2017" / name):
        if place.is_file():
            return place
    return folder / name
