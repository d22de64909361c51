"""Files of a finished dataset rot; nobody may be told, or taught, anything else than before, without a word.

    python -m bench.rot [--archive FILE] [--cases N] [--seed 0] [--keep DIR]

Each kind of file is damaged in six ways, one file at a time: cut off, a bit flipped, a stretch of zeros, emptied,
removed, and replaced by another file. Then six things are done: `wit verify --deep`, `wit status`, all views are read
whole, all samples are read as training reads them, the same `wit run` again, and, on another copy, `wit verify --deep
--repair` with a run after it. Each notices (it names the file), mends (the result is the undamaged dataset's, byte for
byte), is untouched (its answer is the undamaged one's), is stuck (it ends, and does not name the file), raw (it ends
with what no command says as a sentence), or wrong. Without an archive one of over a thousand pairs is made. With
`--keep` the dataset and what came of each case stay in that folder, and the same command goes on there. A line for
each case, a table at the end; the last line is one JSON object: `ours` is the cases of `cases` of which none was wrong,
stuck or raw. There is no peer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import re
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from bench.record import print_record
from dataset.ledger.damage import DamagedError
from dataset.query.views import Dataset
from dataset.webdataset.foreign import open_train_index
from dataset.webdataset.shards import DamagedSampleError
from pipeline.build import build
from pipeline.config import Config
from pipeline.config import build as make_config
from pipeline.engine.verify import verify
from pipeline.exit_status import is_expected, is_usage
from pipeline.reports.status import status
from tests.pipeline import small_archive
from train.data.shard_reader import ShardReader

WAYS = ("cut", "bit", "zeros", "empty", "removed", "another's")
VIEWS = ("sources", "candidates", "matches", "queries", "images", "scores", "dropped", "pairs", "funnel")
WRONG, NOTICED, MENDED, UNTOUCHED, STUCK, RAW = "wrong", "noticed", "mended", "untouched", "stuck", "raw"
BAD = (WRONG, STUCK, RAW)
_LOST = ("log", "runs")  # no part of what a run makes anew
NOT_COMMITTED = ("log/", "config.yaml", "datasheet.md", "views.sql", "report.html")
"""Files that nobody is told the dataset by: what commits name counts."""
_REPAIRED = ("fetch/", "shards/", "manifest.json", "queries.parquet")
_VARIES = re.compile(r"(-?[0-9a-f]{16,32})+|\d{5}|\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Case:
    """One file, damaged in one way."""

    file: str
    way: str
    kind: str
    is_alone: bool = False  # in its folder


@dataclass(frozen=True)
class Whole:
    """The undamaged dataset and what is read of it."""

    config: Config
    out: Path
    bytes: Mapping[str, bytes]
    written: Mapping[str, tuple[int, int]]  # see `_file_version`
    status: Any
    views: Mapping[str, Any]
    samples: Mapping[str, dict[str, bytes]]

    def is_in(self, copy: Path) -> bool:
        """Return whether a copy that was linked has the same files with the same bytes; what is still linked has."""
        names = names_of(copy)
        return set(names) == set(self.bytes) and all(
            _file_version(path) == self.written[name] or path.read_bytes() == self.bytes[name]
            for name, path in names.items()
        )


def finished(folder: Path, archive: Path | None, pages: int) -> Whole:
    """Build a dataset, of an archive or of so many pages of our own, and read all of it."""
    out = folder / "out"
    archive_file = folder / "small.warc.gz"
    path = archive or (archive_file if (folder / "made").exists() else small_archive.write(archive_file, pages=pages))
    if archive is None:
        many: dict[str, Any] = {
            "balance": {"cap": 1000},
            "pack": {"samples_per_shard": 200},
            "run": {"piece_bytes": 2**20, "pairs_per_partition": 800},
        }
        config = make_config(small_archive.config(path, out, **many))
    else:
        config = make_config(
            {
                "name": "rot",
                "sources": [str(archive)],
                "out": str(out),
                "text": {"languages": []},
                "match": {"queries": "builtin:en"},
                "fetch": {"origins": ["archive"]},
                "image": {"min_side": 32},
                "pack": {"heldout_share": 0.1, "samples_per_shard": 400},
                "run": {"workers": 0},
            }
        )
    if not (folder / "made").exists():
        build(config, quiet=True)
        (folder / "made").touch()
    samples = {name: parts for name, parts in trained(out) if parts is not None}
    files = names_of(out)
    bytes_ = {name: path.read_bytes() for name, path in files.items()}
    written = {name: _file_version(path) for name, path in files.items()}
    return Whole(config, out, bytes_, written, status(str(out)).as_rows(), ask_all_views(out), samples)


def _file_version(path: Path) -> tuple[int, int]:
    """What is another when a file has been replaced, or written into."""
    file_status = path.stat()
    return file_status.st_ino, file_status.st_mtime_ns


def names_of(out: Path) -> dict[str, Path]:
    """Return all files of a dataset that a run makes."""
    paths = (Path(folder) / name for folder, _, names in os.walk(out) for name in names)
    files = {str(path.relative_to(out)): path for path in paths}
    return {name: files[name] for name in sorted(files) if name.partition("/")[0] not in _LOST}


def ask_all_views(out: Path) -> dict[str, Any]:
    """Return every view, as a number that its rows give in any order."""
    dataset = Dataset(str(out))
    return {view: dataset.ask(f"SELECT count(*), sum(hash(t)::HUGEINT) FROM {view} AS t").fetchall() for view in VIEWS}


def trained(out: Path) -> Iterator[tuple[str, dict[str, bytes] | None]]:
    """Yield the training samples by name, as the trainer's reader gives them; None for a damaged one."""
    storage, index = open_train_index(str(out), str(out / "runs"))
    reader = ShardReader(storage, index)
    for first in range(0, len(index), 64):
        rows = np.arange(first, min(first + 64, len(index)))
        for row, raw in zip(rows.tolist(), reader.read(rows), strict=True):
            try:
                yield index.name(row), index.sample(row, raw)
            except DamagedSampleError:
                yield index.name(row), None


def kinds(whole: Whole) -> dict[str, list[str]]:
    """Return the dataset's files by what they are: their names without numbers and fingerprints."""
    names = [
        *whole.bytes,
        *(str(path.relative_to(whole.out)) for path in sorted(whole.out.glob("log/*")) if path.is_file()),
    ]
    of_kind: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if (whole.out / name).stat().st_size:
            of_kind[_VARIES.sub("*", name)].append(name)
    return dict(of_kind)


def cases(whole: Whole, seed: int) -> list[Case]:
    """Return each kind of file in each way, in any order."""
    rng = random.Random(seed)
    folders = Counter(Path(name).parent for name in whole.bytes)
    chosen = [(rng.choice(names), way, kind) for kind, names in sorted(kinds(whole).items()) for way in WAYS]
    all_cases = [Case(name, way, kind, folders[Path(name).parent] == 1) for name, way, kind in chosen]
    rng.shuffle(all_cases)
    return all_cases


def damage(path: Path, way: str, others: list[Path], rng: random.Random) -> bool:
    """Damage a file in place of its link; False where there is nothing to do it with."""
    data = bytearray(path.read_bytes())
    if way == "cut":
        del data[rng.randrange(len(data)) :]
    elif way == "bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == "zeros":
        start = rng.randrange(len(data))
        stretch = data[start : start + 512]
        if not any(stretch):
            return False
        data[start : start + 512] = bytes(len(stretch))
    elif way == "empty":
        data.clear()
    elif way == "another's":
        different = [content for other in others if (content := other.read_bytes()) != data]
        if not different:
            return False
        data[:] = rng.choice(different)
    path.unlink()
    if way != "removed":
        path.write_bytes(data)
    return True


def linked(whole: Whole, to: Path) -> Path:
    """Return a copy of the dataset that shares its bytes: who writes replaces files, and changes none."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(whole.out, to, copy_function=os.link)
    return to


def judged(case: Case, action: Callable[[], bool], expected: str) -> str:
    """Return what came of an action that says whether its result is the undamaged dataset's."""
    try:
        return expected if action() else WRONG
    except Exception as error:
        is_parsers = isinstance(error, (json.JSONDecodeError, UnicodeError))  # who wrote a sentence names the file
        is_told = isinstance(error, (ValueError, duckdb.Error)) and not is_parsers
        if not is_told and not is_usage(error) and not is_expected(error):
            return f"{RAW}: {type(error).__name__}: {error}"
        names = {case.file, Path(case.file).name}
        if case.way == "removed" and case.is_alone:
            names.add(str(Path(case.file).parent))  # of which nothing is left
        return NOTICED if any(name in str(error) for name in names) else f"{STUCK}: {error}"


def tried(whole: Whole, case: Case, folder: Path, seed: int) -> dict[str, str] | None:
    """Return what each of the six came to; None where the damage cannot be done."""
    out = linked(whole, folder / "copy")
    ending = Path(case.file).suffix
    others = [out / name for name in whole.bytes if name != case.file and name.endswith(ending)]
    if not damage(out / case.file, case.way, others, random.Random(f"{seed} {case.file} {case.way}")):
        return None

    def has_same_status() -> bool:
        return bool(status(str(out)).as_rows() == whole.status)

    def verified() -> bool:
        named = {item.file for item in verify(str(out), deep=True).damages}
        if case.file in named or any(case.file.startswith(name.removesuffix(".parquet")) for name in named):
            raise DamagedError(str(out), case.file, "found")
        return not named

    def read() -> bool:
        return ask_all_views(out) == whole.views

    def learned() -> bool:
        got = dict(trained(out))
        if any(parts is not None and parts != whole.samples.get(name) for name, parts in got.items()):
            return False
        if set(got) != set(whole.samples):
            return False
        if None in got.values():
            raise DamagedSampleError(case.file)
        return True

    def run() -> bool:
        log = logging.getLogger("wit")
        before = log.level
        log.setLevel(logging.ERROR)
        try:
            build(make_config({**_config_mapping(whole.config), "out": str(out)}), quiet=True)
        finally:
            log.setLevel(before)
        return whole.is_in(out)

    def repaired() -> bool:
        linked(whole, folder / "copy")
        damage(out / case.file, case.way, others, random.Random(f"{seed} {case.file} {case.way}"))
        verify(str(out), deep=True, repair=True)
        return run() and not verify(str(out), deep=True).damages

    outcome = {
        "verify": judged(case, verified, UNTOUCHED),
        "status": judged(case, has_same_status, UNTOUCHED),
        "read": judged(case, read, UNTOUCHED),
        "train": judged(case, learned, UNTOUCHED),
        "run": judged(case, run, MENDED),
        # Of another file than these, --repair leaves what the way "removed" does.
        **({"repair": judged(case, repaired, MENDED)} if case.file.startswith(_REPAIRED) else {}),
    }
    if not case.file.startswith(NOT_COMMITTED) and outcome["verify"] == UNTOUCHED:
        outcome["verify"] = f"{WRONG}: not noticed"
    return outcome


def outcomes(whole: Whole, chosen: list[Case], folder: Path, seed: int) -> Iterator[tuple[Case, dict[str, str] | None]]:
    """Yield what came of each case; what an earlier call has found is not tried again."""
    file = folder / "outcomes.jsonl"
    earlier = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {tuple(key): outcome for key, outcome in earlier}
    for case in chosen:
        key = (seed, case.file, case.way)
        if key not in known:
            known[key] = tried(whole, case, folder, seed)
            with file.open("a") as more:
                more.write(f"{json.dumps([key, known[key]])}\n")
        yield case, known[key]


def _config_mapping(config: Config) -> dict[str, Any]:
    import yaml

    from pipeline.config import effective_yaml

    return dict(yaml.safe_load(effective_yaml(config)))


def main() -> None:
    """Print a line for each case, a table, and as the last line a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--pages", type=int, default=300, help="of the archive that is made if none is given")
    parser.add_argument("--cases", type=int, help="so many, chosen by the seed; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args()
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    wrong = done = 0
    with contextlib.ExitStack() as stack:
        folder = (options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        whole = finished(folder, options.archive, options.pages)
        chosen = cases(whole, options.seed)[: options.cases]
        print(f"{len(whole.samples):,} training pairs, {len(whole.bytes):,} files, {len(chosen):,} cases", flush=True)
        for case, outcome in outcomes(whole, chosen, folder, options.seed):
            if outcome is None:
                continue
            done += 1
            for act, what in outcome.items():
                table[f"{act} {case.way}"][what.partition(":")[0]] += 1
            bad = any(what.startswith(BAD) for what in outcome.values())
            wrong += bad
            print(f"{'BAD ' if bad else '    '}{case.way:<10} {case.file:<70} {outcome}", flush=True)
    for act, counts in sorted(table.items()):
        print(f"{act:<18} {dict(counts)}")
    print_record({"bench": "rot", "ours": done - wrong, "cases": done, "unit": "cases", "equal": wrong == 0})


if __name__ == "__main__":
    main()
