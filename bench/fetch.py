"""Fetching, reducing and storing images: ours against img2dataset's command, one process each, one loopback server.

The pictures are made once, in build/photographs. CPU time is that of a whole process with its children, start-up
included; the server's is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.inputs.image_server import serving
from bench.peers.measure import VENVS, venv
from bench.record import print_record

IMAGES = 3_000
PHOTOGRAPHS = VENVS.parent / "photographs"
SIDE = 256
PEER = ("image_size", SIDE), ("resize_mode", "keep_ratio"), ("resize_only_if_bigger", True)
"""What the peer is told besides its defaults: the same task as ours."""


@dataclass(frozen=True)
class Took:
    """What a process and its children took."""

    cpu_seconds: float
    wall_seconds: float
    output: str


def measure(*command: str) -> Took:
    """Run a command to its end. Raises CalledProcessError."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # with the children that it has waited for
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.stderr.write(errors.read())
            raise subprocess.CalledProcessError(process.returncode, command)
        return Took(usage.ru_utime + usage.ru_stime, wall, output.read())


def pictures(count: int, sizes: str) -> Path:
    """Return the folder of pictures, made if it is not there."""
    folder = PHOTOGRAPHS / f"{sizes}-{count}"
    if not folder.exists():
        python = venv("photographs", "scikit-image", "scikit-learn", "pillow")
        draft = folder.with_name(f"{folder.name}.draft")
        script = str(Path(__file__).parent / "inputs" / "photographs.py")
        subprocess.run([str(python), script, str(draft), str(count), sizes], check=True)
        draft.rename(folder)
    return folder


def main() -> None:
    """Print the figures, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--sizes", choices=["even", "laion"], default="even", help="see bench/inputs/photographs.py")
    options = parser.parse_args()
    command = venv("img2dataset", "img2dataset==1.47.0").parent / "img2dataset"
    folder = pictures(options.images, options.sizes)
    names = sorted(path.name for path in folder.iterdir())
    with tempfile.TemporaryDirectory() as work_folder, serving(folder) as (server, port):
        urls = [f"http://localhost:{port}/{name}" for name in names]
        flags = [f"--{name}={value}" for name, value in PEER]

        def run(name: str, count: int) -> tuple[Took, Took]:
            folder = Path(work_folder) / name
            folder.mkdir()
            listed = folder / "urls.txt"
            listed.write_text("\n".join(urls[:count]), encoding="utf-8")
            folders = f"--output_folder={folder}/peer", "--output_format=webdataset"
            return (
                measure(sys.executable, "-m", "bench.processes.fetch", str(listed), f"{folder}/ours"),
                measure(str(command), str(listed), *folders, *flags),
            )

        run("compile", 1)  # what both import
        start_up = run("start", 1)
        ours, peer = run("whole", len(urls))
        tables = [pq.read_table(path) for path in sorted((Path(work_folder) / "whole" / "peer").glob("*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    theirs = {row["url"]: [row["width"], row["height"]] for row in rows if row["status"] == "success"}
    report = json.loads(ours.output.splitlines()[-1])
    equal = len(theirs) == len(urls) and theirs == report["sizes"]
    figures = [len(urls) / took.cpu_seconds for took in (ours, peer)]
    total = sum(report["seconds"].values())
    print(f"{len(urls):,} JPEGs ({options.sizes} sizes) from {server}, shorter side reduced to {SIDE}, a process each")
    for name, took, start, figure, got in (
        ("ours", ours, start_up[0], figures[0], len(report["sizes"])),
        ("img2dataset", peer, start_up[1], figures[1], len(theirs)),
    ):
        print(
            f"{name:<12} {figure:>8.1f} images/CPU-second: {took.cpu_seconds:.1f} s CPU, of which start-up "
            f"{start.cpu_seconds:.1f} s; {took.wall_seconds:.1f} s wall; {got:,} images"
        )
    shares = ", ".join(f"{part} {seconds / total:.0%}" for part, seconds in report["seconds"].items())
    print(f"ours by part: {shares}")
    print_record(
        {
            "bench": "fetch",
            "ours": round(figures[0], 1),
            "peer": round(figures[1], 1),
            "unit": "images/CPU-second",
            "ratio": round(figures[0] / figures[1], 2),
            "equal": equal,
            "server": server,
            "sizes": options.sizes,
            "wall_seconds": {"ours": round(ours.wall_seconds, 1), "peer": round(peer.wall_seconds, 1)},
        }
    )


if __name__ == "__main__":
    main()
