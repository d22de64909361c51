"""A run is killed, meets a full disk or a failing storage server, at many moments; then the same command goes on.

    python -m bench.matrix kill|full|faults [--archive FILE] [--sample SHARE] [--moments 20] [--on disk,s3] [--keep DIR]

The dataset must then be the undisturbed run's, byte for byte, with nothing left beside it. Moments are counted in
operations on storage, not in seconds. `kill` sends SIGKILL to all processes of the run. `full` is, on disk, a
filesystem of too few bytes (a tmpfs, where this user may mount one) and operations that fail from one on; on S3, a
server without room. `faults` are a server's answers that fail twice, which a run must outlast. Without an archive one
of over a thousand pairs is made. With `--keep` what is done stays in that folder, and the same command goes on there.
A line for each moment; the last is one JSON object: `ours` is the moments after which all was right, of `moments`;
`silent` counts runs that ended as if they had done what they had not. There is no peer.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import dataset
from bench.faults.faulty_proxy import FULL, KINDS, FaultyProxy, Plan, before
from bench.faults.interrupt import AT, Fault
from bench.record import print_record
from dataset.store.storage import Storage
from tests import s3_server
from tests.pipeline import small_archive

if TYPE_CHECKING:
    from bench.forked import Started

_TIMEOUT_S = 1800
_OURS = ("log/", "lease.json")  # not the dataset's content
_WORDS = ("a", "the", "of", "and", "with", "red", "old", "house", "tree", "cat", "bird", "icon", "flag", "man", "blue")


@dataclass(frozen=True)
class Outcome:
    """What became of one moment."""

    moment: str
    status: int  # of the disturbed run; negative: the signal
    said: str  # its last line
    wrong: str = ""  # what is wrong after the resume; nothing if all is right
    is_silent: bool = False
    has_come: bool = True  # a moment that did not come is not counted


Moment = tuple[str, Callable[[], Outcome]]
"""A moment's name, and what finds out what becomes of it."""


class Matrix:
    """The runs over one archive.

    folder: where all of it lies; what is there already is not made again.
    """

    def __init__(self, folder: Path, archive: Path | None, sample: str):
        self.folder = folder
        self.queries = folder / "words.txt"  # `queries.txt` lies beside the small archive, and is its own
        self.queries.write_text("".join(f"{word}\n" for word in (*_WORDS, *small_archive.QUERIES)))
        archive_file = folder / "small.warc.gz"
        self.archive = archive or (
            archive_file if archive_file.exists() else small_archive.write(archive_file, pages=300)
        )
        self.sample = sample
        self.reference: dict[str, bytes] = {}

    def build_reference(self) -> int:
        """Build the dataset undisturbed; how many pairs it is made of."""
        whole = str(self.folder / "reference")
        if not (self.folder / "made").exists():
            self.run(whole)
            (self.folder / "made").touch()
        self.reference = contents(whole)
        return int(dataset.open(whole).sql("SELECT count(*) FROM candidates").fetchall()[0][0])

    def arguments(self, out: str, patience_s: float) -> list[str]:
        """Return the arguments of `wit run` for a dataset."""
        raw: dict[str, Any] = {
            "name": "matrix",
            "sources": [str(self.archive)],
            "out": out,
            "text": {"languages": []},
            "match": {"queries": str(self.queries)},
            "fetch": {"origins": ["archive"]},
            "image": {"min_side": 32, "nsfw_model": ""},
            "pack": {"samples_per_shard": 400},
            "run": {"pairs_per_partition": 800, "patience_s": patience_s, "max_quarantined": 0},
        }
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(raw))
        return [str(config), *(["--sample", self.sample] if self.sample else [])]

    def start(self, out: str, patience_s: float, fault: Fault | None = None) -> Started:
        """Return the run of a dataset, at work."""
        from bench.forked import Started  # imports all that a run needs

        environment = {**os.environ, **(fault.set() if fault else {})}
        return Started(self.arguments(out, patience_s), environment, self.folder / "said")

    def run(self, out: str, fault: Fault | None = None) -> None:
        """Do a run that nothing disturbs."""
        status, said = self.start(out, 0.0, fault).wait_for_end(_TIMEOUT_S)
        assert status == 0, said

    def counted(self, name: str, count: Callable[[], list[str]]) -> list[str]:
        """Return the operations of an undisturbed run, counted once."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            file.write_text(json.dumps(count()))
        return [str(operation) for operation in json.loads(file.read_text())]

    def judge(self, moment: str, out: str, started: Started) -> Outcome:
        """Wait for the end, go on with the same command, and compare."""
        status, said = started.wait_for_end(_TIMEOUT_S)
        is_silent = status == 0 and bool(differences(self.reference, contents(out)))
        again, why = self.start(out, 60.0).wait_for_end(_TIMEOUT_S)
        if again:
            wrong = f"the resume ended with {again}: {_last_line(why)}"
            return Outcome(moment, status, _last_line(said), wrong, is_silent)
        wrong = differences(self.reference, contents(out))
        lost = dataset.open(out).sql("SELECT count(*) FROM dropped WHERE reason = 'quarantined'").fetchall()[0][0]
        if lost:
            wrong += f"; {lost} healthy pairs quarantined"
        return Outcome(moment, status, _last_line(said), wrong, is_silent)


def _last_line(said: str) -> str:
    lines = said.strip().splitlines()
    return next((line for line in reversed(lines) if line.startswith("wit:")), (lines or [""])[-1])


def contents(out: str) -> dict[str, bytes]:
    """Return every file but logs and the lease; on disk also what readers pass over."""
    storage = Storage(out)
    names = [info.name for info in storage.list(recursive=True) if not info.name.startswith(_OURS)]
    files = dict(zip(names, storage.read_all(names), strict=True))
    if storage.local:
        files |= {str(path.relative_to(out)): b"" for path in Path(out).rglob(".tmp-*")}
    return files


def differences(wanted: dict[str, bytes], files: dict[str, bytes]) -> str:
    """Return how two datasets differ; nothing if they do not."""
    wanted, files = ({name: data for name, data in of.items() if name != "config.yaml"} for of in (wanted, files))
    if wanted == files:
        return ""
    lost, more = sorted(set(wanted) - set(files)), sorted(set(files) - set(wanted))
    other = sorted(name for name in set(wanted) & set(files) if wanted[name] != files[name])
    parts = (("missing", lost), ("left over", more), ("other bytes", other))
    return "; ".join(f"{what}: {len(names)} ({names[0]})" for what, names in parts if names)


def spread(count: int, moments: int) -> list[int]:
    """Return so many numbers from 1 to count, evenly."""
    return sorted({1 + round(offset * (count - 1) / max(1, moments - 1)) for offset in range(min(moments, count))})


def on_disk(matrix: Matrix, kind: str, moments: int) -> Iterator[Moment]:
    """Yield kills and full disks of a folder."""
    out, counter = matrix.folder / "out", matrix.folder / "counter"

    def disturbed(operation: int, at: str) -> Started:
        shutil.rmtree(out, ignore_errors=True)
        counter.unlink(missing_ok=True)
        return matrix.start(str(out), 0.0, Fault(kind, operation, at, str(counter)))

    def count() -> list[str]:
        status, said = disturbed(0, "before").wait_for_end(_TIMEOUT_S)
        assert status == 0, said
        assert not differences(matrix.reference, contents(str(out))), "two undisturbed runs differ"
        return counter.read_text().splitlines()

    def met(operation: int, at: str) -> Outcome:
        where = {"before": "before", "half": "half of", "whole": "before the move of", "after": "after"}[at]
        moment = f"operation {operation:,} of {len(names):,}, {where} {names[operation - 1]}"
        return matrix.judge(moment, str(out), disturbed(operation, at))

    names = matrix.counted("operations", count)
    for operation, at in zip(spread(len(names), moments), itertools.cycle(AT)):
        yield f"{operation} {at}", partial(met, operation, at)


def on_small_disk(matrix: Matrix, moments: int) -> Iterator[Moment]:
    """Yield filesystems that are really full: after the run has ended, they are given room."""
    mount = matrix.folder / "mount"
    mount.mkdir(exist_ok=True)
    whole = sum(len(data) for data in matrix.reference.values())

    def met(share: float) -> Outcome:
        size = f"size={max(2**16, round(whole * share))}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(mount)], check=True)
        try:
            started = matrix.start(str(mount / "out"), 0.0)
            started.wait_for_end(_TIMEOUT_S)
            subprocess.run(["mount", "-o", f"remount,size={4 * whole + 2**26}", str(mount)], check=True)
            return matrix.judge(
                f"a disk of {share:.0%} of the dataset's {whole / 1e6:,.0f} MB", str(mount / "out"), started
            )
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=True)

    for share in (index / (moments + 1) for index in range(1, moments + 1)):
        yield f"share {share:.3f}", partial(met, share)


def on_s3(matrix: Matrix, proxy: FaultyProxy, bucket: str, kind: str, moments: int) -> Iterator[Moment]:
    """Yield a server in front of which requests fail."""

    def count() -> list[str]:
        plan = proxy.plan = Plan(only_writes=kind != "faults")
        matrix.run(f"{bucket}/whole")
        assert not differences(matrix.reference, contents(f"{bucket}/whole")), "a bucket differs from a disk"
        return plan.asked

    def met(request: int, failure: str) -> Outcome:
        out = f"{bucket}/{request}-{failure}"
        times = {"kill": 1, "full": 10**9, "faults": 2}[kind]
        plan = proxy.plan = Plan(failure, request, times, only_writes=kind != "faults")
        started = matrix.start(out, 1.0)
        plan.group = started.group
        status, said = started.wait_for_end(_TIMEOUT_S)
        proxy.plan = Plan()
        moment = f"request {request:,} of {len(names):,}, {failure}"
        if len(plan.asked) < request:  # the order of requests is not always the same, nor their number
            return Outcome(f"{moment}: there was none", status, _last_line(said), has_come=False)
        return matrix.judge(f"{moment}: {plan.asked[request - 1].split('?')[0]}", out, started)

    names = matrix.counted(f"requests-{kind}", count)
    failures = {"kill": ("kill", "kill-after"), "full": (FULL,), "faults": KINDS}[kind]
    for request, failure in zip(spread(len(names), moments), itertools.cycle(failures)):
        yield f"{request} {failure}", partial(met, request, failure)


def can_mount(folder: Path) -> bool:
    """Return whether this user may mount a tmpfs."""
    if shutil.which("mount") is None:
        return False
    tried = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False, capture_output=True)
    return tried.returncode == 0 and subprocess.run(["umount", str(folder)], check=False).returncode == 0


@contextlib.contextmanager
def served() -> Iterator[tuple[FaultyProxy, str]]:
    """Yield a real S3 server behind a proxy that fails when it is told to."""
    with s3_server.running() as bucket, before(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        s3_server.forget_clients()
        yield proxy, bucket


def all_moments(matrix: Matrix, kind: str, places: list[str], moments: int) -> Iterator[tuple[str, Moment]]:
    """Yield (place, moment)."""
    if "disk" in places and kind != "faults":
        probe = matrix.folder / "probe"
        probe.mkdir(exist_ok=True)
        small = on_small_disk(matrix, moments) if kind == "full" and can_mount(probe) else iter(())
        for moment in itertools.chain(small, on_disk(matrix, kind, moments)):
            yield "disk", moment
    if "s3" in places:
        with served() as (proxy, bucket):
            for moment in on_s3(matrix, proxy, bucket, kind, moments):
                yield "s3", moment


def outcomes(matrix: Matrix, kind: str, places: list[str], moments: int) -> Iterator[tuple[str, Outcome]]:
    """Yield (place, outcome); what an earlier call has found is not tried again."""
    file = matrix.folder / "outcomes.jsonl"
    earlier = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {key: Outcome(**outcome) for key, outcome in earlier}
    for place, (name, act) in all_moments(matrix, kind, places, moments):
        key = f"{kind} {place} {name}"
        if key not in known:
            known[key] = act()
            with file.open("a") as more:
                more.write(f"{json.dumps([key, asdict(known[key])])}\n")
        yield place, known[key]


def main() -> None:
    """Print a line for each moment, and as the last one a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("kill", "full", "faults"), nargs="?", default="kill")
    parser.add_argument("--archive", type=Path, help="a WARC that holds its images; one is made by default")
    parser.add_argument("--sample", default="", help="a share of its pages, e.g. 0.25")
    parser.add_argument("--moments", type=int, default=20, help="on each kind of storage")
    parser.add_argument("--on", default="disk,s3")
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = (options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        matrix = Matrix(folder, options.archive and options.archive.absolute(), options.sample)
        pairs = matrix.build_reference()
        print(f"{pairs:,} pairs, {len(matrix.reference):,} files", flush=True)
        count = right = silent = missed = 0
        for place, outcome in outcomes(matrix, options.kind, options.on.split(","), options.moments):
            if not outcome.has_come:
                missed += 1
                print(f"wit run on {place} | {outcome.moment} | not counted", flush=True)
                continue
            count += 1
            right += not outcome.wrong and not outcome.is_silent
            silent += outcome.is_silent
            ended = f"killed by {-outcome.status}" if outcome.status < 0 else f"exit {outcome.status}: {outcome.said}"
            result = outcome.wrong or ("SILENT" if outcome.is_silent else "same bytes")
            print(f"wit run on {place} | {outcome.moment} | {ended} | {result}", flush=True)
    figures = {"ours": right, "peer": None, "unit": "moments survived", "ratio": right / max(1, count)}
    more = {"equal": right == count > missed, "moments": count, "missed": missed, "silent": silent}
    print_record({"bench": "matrix", "kind": options.kind, **figures, **more, "pairs": pairs})


if __name__ == "__main__":
    main()
