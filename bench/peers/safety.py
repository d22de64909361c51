"""The peers of `bench.safety`, in environments of their own: masking or domains FOLDER ROUNDS, pdq FOLDER BITS."""

import json
import re
import sys
import time
from pathlib import Path


def main() -> None:
    part, folder, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    print(json.dumps({"masking": masking, "domains": domains, "pdq": pdq}[part](folder, number)))


def megabytes() -> float:
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    return int(re.findall(r"^Anonymous:\s+(\d+) kB", rollup, flags=re.MULTILINE)[0]) / 1e3


def masking(folder: Path, rounds: int) -> dict:
    from datatrove.pipeline.formatters.pii import PIIFormatter

    texts, planted = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("texts", "planted")
    )
    formatter = PIIFormatter()
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        for text in texts:
            formatter.format(text)
        seconds.append(time.process_time() - began)
    emails, ips = PIIFormatter(remove_ips=False), PIIFormatter(remove_emails=False)
    masked = {
        name: sum(only.format(text) != text for text in texts)
        for name, only in (("email_address", emails), ("ip_address", ips))
    }
    rows = [row for row, text in enumerate(planted) if formatter.format(text) != text]
    return {"seconds": min(seconds), "found": masked, "planted": rows}


def domains(folder: Path, rounds: int) -> dict:
    from datatrove.data import Document
    from datatrove.pipeline.filters.url_filter import URLFilter

    urls = json.loads((folder / "urls.json").read_text(encoding="utf-8"))
    before = megabytes()
    began = time.process_time()
    with (folder / "domains.txt").open(encoding="utf-8") as file:
        only = URLFilter(use_integrated_lists=False, extra_domains=file)
    built = time.process_time() - began
    documents = [Document(text="", id=str(row), metadata={"url": url}) for row, url in enumerate(urls)]
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        answers = [only.filter(document) for document in documents]
        seconds.append(time.process_time() - began)
    rows = [row for row, answer in enumerate(answers) if answer is not True]
    return {"seconds": min(seconds), "build_seconds": built, "megabytes": megabytes() - before, "rows": rows}


def pdq(folder: Path, bits: int) -> dict:
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    entries, images = (np.load(folder / f"{name}.npy") for name in ("entries", "images"))
    # m hashes with up to f bits flipped miss nothing within m · (f + 1) - 1 bits.
    settings = [(16, 16, 1), (11, 23, 2), (8, 28, 3), (8, 32, 3)]
    assert all(count * (flips + 1) > bits for count, _, flips in settings)

    def make_index(setting):
        began = time.process_time()
        if setting is None:
            index = faiss.IndexBinaryFlat(256)
        else:
            index = faiss.IndexBinaryMultiHash(256, setting[0], setting[1])
            index.nflip = setting[2]
        index.add(entries)
        return index, time.process_time() - began

    def search(index, rows):
        began = time.process_time()
        matches = []
        for row in rows:
            _, distances, labels = index.range_search(images[row : row + 1], bits + 1)  # it answers what is below
            matches += [[row, int(label), int(away)] for label, away in sorted(zip(labels, distances, strict=True))]
        return matches, time.process_time() - began

    tried = {}
    for setting in (None, *settings):
        index, _ = make_index(setting)
        search(index, range(5))
        tried[setting] = 50 / search(index, range(50))[1]
        del index
    best = max(tried, key=lambda key: tried[key])
    index, built = make_index(best)
    search(index, range(100))
    matches, seconds = search(index, range(len(images)))
    names = {key: "flat" if key is None else f"{key[0]} x {key[1]} bits, {key[2]} flips" for key in tried}
    return {
        "seconds": seconds,
        "build_seconds": built,
        "found": matches,
        "how": f"faiss, {names[best]}",
        "tried": {names[key]: round(rate) for key, rate in tried.items()},
    }


main()
