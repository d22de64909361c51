"""A run is killed, meets a full disk or a failing storage server, at many moments; then the same command goes on.

    python -m bench.matrix kill|full|faults [--archive FILE] [--sample SHARE] [--moments 20] [--on disk,s3]

The dataset must then be the undisturbed run's, byte for byte, with nothing left beside it. Moments are counted in
operations on storage, not in seconds. `kill` sends SIGKILL to all processes of the run. `full` is, on disk, a
filesystem of too few bytes (a tmpfs, where this user may mount one) and operations that fail from one on; on S3, a
server without room. `faults` are a server's answers that fail twice, which a run must outlast. Without an archive one
of over a thousand pairs is made. A line for each moment; the last is one JSON object: `ours` is the moments after which
all was right, of `moments`; `silent` counts runs that ended as if they had done what they had not. There is no peer.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import dataset
from bench.faulty_proxy import FULL, KINDS, FaultyProxy, Plan, before
from bench.interrupting import AT, Fault
from bench.record import print_record
from dataset.store.storage import Storage
from tests import s3_server
from tests.pipeline import small_archive

ROOT = Path(__file__).resolve().parents[1]
_TIMEOUT_S = 1800
_OURS = ("log/", "lease.json")  # not the dataset's content
_WORDS = ("a", "the", "of", "and", "with", "red", "old", "house", "tree", "cat", "bird", "icon", "flag", "man", "blue")


@dataclass(frozen=True)
class Outcome:
    """What became of one moment."""

    status: int  # of the disturbed run; negative: the signal
    said: str  # its last line
    wrong: str = ""  # what is wrong after the resume; nothing if all is right
    is_silent: bool = False


class Matrix:
    """The runs over one archive.

    folder: where all of it lies.
    """

    def __init__(self, folder: Path, archive: Path | None, sample: str):
        self.folder = folder
        (folder / "queries.txt").write_text("".join(f"{word}\n" for word in (*_WORDS, *small_archive.QUERIES)))
        self.archive = archive or small_archive.write(folder / "small.warc.gz", pages=300)
        self.sample = sample
        self.reference: dict[str, bytes] = {}

    def command(self, out: str, patience_s: float, module: str = "pipeline run") -> list[str]:
        """The run of a dataset."""
        raw: dict[str, Any] = {
            "name": "matrix",
            "sources": [str(self.archive)],
            "out": out,
            "text": {"languages": []},
            "match": {"queries": str(self.folder / "queries.txt")},
            "fetch": {"origins": ["archive"]},
            "image": {"min_side": 32, "nsfw_model": ""},
            "pack": {"samples_per_shard": 400},
            "run": {"pairs_per_partition": 800, "patience_s": patience_s, "max_quarantined": 0},
        }
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(raw))
        sample = ["--sample", self.sample] if self.sample else []
        return [sys.executable, "-m", *module.split(), str(config), *sample]

    def run(self, command: list[str], **environment: str) -> tuple[int, str]:
        """A command's exit status, and its last line."""
        done = self.start(command, environment)
        said = done.communicate(timeout=_TIMEOUT_S)[0].decode(errors="replace").strip().splitlines()
        return done.returncode, next((line for line in reversed(said) if line.startswith("wit:")), (said or [""])[-1])

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """A command in a process group of its own."""
        merged = {**os.environ, **environment}
        return subprocess.Popen(
            command, cwd=ROOT, env=merged, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )

    def judge(self, out: str, status: int, said: str) -> Outcome:
        """Go on with the same command, and compare."""
        is_silent = status == 0 and bool(differences(self.reference, contents(out)))
        resumed, why = self.run(self.command(out, 60.0))
        if resumed:
            return Outcome(status, said, f"the resume ended with {resumed}: {why}", is_silent)
        wrong = differences(self.reference, contents(out))
        lost = dataset.open(out).sql("SELECT count(*) FROM dropped WHERE reason = 'quarantined'").fetchall()[0][0]
        if lost:
            wrong += f"; {lost} healthy pairs quarantined"
        return Outcome(status, said, wrong, is_silent)


def contents(out: str) -> dict[str, bytes]:
    """Every file but logs and the lease; on disk also what readers pass over."""
    storage = Storage(out)
    names = [info.name for info in storage.list(recursive=True) if not info.name.startswith(_OURS)]
    found = dict(zip(names, storage.read_all(names), strict=True))
    if storage.local:
        found |= {str(path.relative_to(out)): b"" for path in Path(out).rglob(".tmp-*")}
    return found


def differences(wanted: dict[str, bytes], found: dict[str, bytes]) -> str:
    """How two datasets differ; nothing if they do not."""
    wanted, found = ({name: data for name, data in of.items() if name != "config.yaml"} for of in (wanted, found))
    if wanted == found:
        return ""
    lost, more = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    other = sorted(name for name in set(wanted) & set(found) if wanted[name] != found[name])
    parts = (("missing", lost), ("left over", more), ("other bytes", other))
    return "; ".join(f"{what}: {len(names)} ({names[0]})" for what, names in parts if names)


def spread(count: int, moments: int) -> list[int]:
    """So many numbers from 1 to count, evenly."""
    return sorted({1 + round(at * (count - 1) / max(1, moments - 1)) for at in range(min(moments, count))})


def on_disk(matrix: Matrix, kind: str, moments: int) -> Iterator[tuple[str, Outcome]]:
    """Kills and full disks of a folder."""
    out, counter = matrix.folder / "out", matrix.folder / "counter"
    fault = Fault(kind, 0, "before", str(counter))
    status, said = matrix.run(matrix.command(str(out), 0.0, "bench.interrupting"), **fault.set())
    assert status == 0, said
    names = counter.read_text().splitlines()
    assert not differences(matrix.reference, contents(str(out))), "two undisturbed runs differ"
    for operation, at in zip(spread(len(names), moments), itertools.cycle(AT)):
        shutil.rmtree(out)
        counter.unlink()
        fault = Fault(kind, operation, at, str(counter))
        status, said = matrix.run(matrix.command(str(out), 0.0, "bench.interrupting"), **fault.set())
        met = counter.read_text().splitlines()[operation - 1]
        where = {"before": "before", "half": "half of", "whole": "before the move of", "after": "after"}[at]
        yield f"operation {operation:,} of {len(names):,}, {where} {met}", matrix.judge(str(out), status, said)


def on_small_disk(matrix: Matrix, moments: int) -> Iterator[tuple[str, Outcome]]:
    """Filesystems that are really full: after the run has ended, they are given room."""
    mount = matrix.folder / "mount"
    mount.mkdir()
    whole = sum(len(data) for data in matrix.reference.values())
    for share in (at / (moments + 1) for at in range(1, moments + 1)):
        size = f"size={max(2**16, round(whole * share))}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(mount)], check=True)
        try:
            out = str(mount / "out")
            status, said = matrix.run(matrix.command(out, 0.0))
            subprocess.run(["mount", "-o", f"remount,size={4 * whole + 2**26}", str(mount)], check=True)
            yield f"a disk of {share:.0%} of the dataset's {whole / 1e6:,.0f} MB", matrix.judge(out, status, said)
        finally:
            subprocess.run(["umount", "-l", str(mount)], check=True)


def on_s3(
    matrix: Matrix, proxy: FaultyProxy, bucket: str, kind: str, moments: int
) -> Iterator[tuple[str, Outcome | None]]:
    """A server in front of which requests fail."""
    plan = proxy.plan = Plan(only_writes=kind != "faults")
    status, said = matrix.run(matrix.command(f"{bucket}/whole", 0.0))
    assert status == 0, said
    assert not differences(matrix.reference, contents(f"{bucket}/whole")), "a bucket differs from a disk"
    count = len(plan.asked)
    kinds = {"kill": ("kill", "kill-after"), "full": (FULL,), "faults": KINDS}[kind]
    for number, (request, met) in enumerate(zip(spread(count, moments), itertools.cycle(kinds))):
        out = f"{bucket}/{number}"
        times = {"kill": 1, "full": 10**9, "faults": 2}[kind]
        plan = proxy.plan = Plan(met, request, times, only_writes=kind != "faults")
        process = matrix.start(matrix.command(out, 1.0), {})
        plan.group = process.pid
        said = process.communicate(timeout=_TIMEOUT_S)[0].decode(errors="replace").strip().splitlines()
        if len(plan.asked) < request:  # the order of requests is not always the same, nor their number
            yield f"request {request:,} of {count:,}, {met}: there was none", None
            continue
        where = plan.asked[request - 1].split("?")[0]
        proxy.plan = Plan()
        last = next((line for line in reversed(said) if line.startswith("wit:")), (said or [""])[-1])
        yield f"request {request:,} of {count:,}, {met}: {where}", matrix.judge(out, process.returncode, last)


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a tmpfs."""
    if shutil.which("mount") is None:
        return False
    tried = subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=False, capture_output=True)
    return tried.returncode == 0 and subprocess.run(["umount", str(folder)], check=False).returncode == 0


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[FaultyProxy, str]]:
    """A real S3 server behind a proxy that fails when it is told to."""
    with s3_server.running(folder) as bucket, before(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        s3_server.forget_clients()
        yield proxy, bucket


def outcomes(matrix: Matrix, kind: str, places: list[str], moments: int) -> Iterator[tuple[str, str, Outcome | None]]:
    """(place, moment, outcome); without an outcome where the moment did not come."""
    if "disk" in places and kind != "faults":
        probe = matrix.folder / "probe"
        probe.mkdir()
        small = on_small_disk(matrix, moments) if kind == "full" and can_mount(probe) else iter(())
        for moment, outcome in itertools.chain(small, on_disk(matrix, kind, moments)):
            yield "disk", moment, outcome
    if "s3" in places:
        with served(matrix.folder / "s3") as (proxy, bucket):
            for moment, outcome in on_s3(matrix, proxy, bucket, kind, moments):
                yield "s3", moment, outcome


def main() -> None:
    """Print a line for each moment, and as the last one a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("kill", "full", "faults"), nargs="?", default="kill")
    parser.add_argument("--archive", type=Path, help="a WARC that holds its images; one is made by default")
    parser.add_argument("--sample", default="", help="a share of its pages, e.g. 0.25")
    parser.add_argument("--moments", type=int, default=20, help="on each kind of storage")
    parser.add_argument("--on", default="disk,s3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        matrix = Matrix(Path(name), options.archive and options.archive.absolute(), options.sample)
        out = str(matrix.folder / "reference")
        status, said = matrix.run(matrix.command(out, 0.0))
        assert status == 0, said
        matrix.reference = contents(out)
        pairs = dataset.open(out).sql("SELECT count(*) FROM candidates").fetchall()[0][0]
        print(f"{pairs:,} pairs, {len(matrix.reference):,} files", flush=True)
        count = right = silent = missed = 0
        for place, moment, outcome in outcomes(matrix, options.kind, options.on.split(","), options.moments):
            if outcome is None:
                missed += 1
                print(f"wit run on {place} | {moment} | not counted", flush=True)
                continue
            count += 1
            right += not outcome.wrong and not outcome.is_silent
            silent += outcome.is_silent
            ended = f"killed by {-outcome.status}" if outcome.status < 0 else f"exit {outcome.status}: {outcome.said}"
            result = outcome.wrong or ("SILENT" if outcome.is_silent else "same bytes")
            print(f"wit run on {place} | {moment} | {ended} | {result}", flush=True)
    figures = {"ours": right, "peer": None, "unit": "moments survived", "ratio": right / max(1, count)}
    more = {"equal": right == count > missed, "moments": count, "missed": missed, "silent": silent, "pairs": pairs}
    print_record({"bench": "matrix", "kind": options.kind, **figures, **more})


if __name__ == "__main__":
    main()
