"""The contrastive loss, forward and backward: ours against open_clip's ClipLoss, on features of width 512.

ClipLoss is that of the open_clip that models come from here, unchanged; either loss runs in a process of its own, on
one core, or on the GPU if there is one. On a CPU the time is the processor's and the memory the process's largest
resident size beyond its inputs. The peer stops at 16,384 pairs, where its logits take 16·N² bytes; ours goes on alone.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.peers.measure import measure
from bench.record import print_record

WIDTH = 512
SCALE = 14.3  # a CLIP's at its start, 1 / 0.07
COMPARED = (4096, 8192, 16384)
ALONE = (32768, 65536)
ROUNDS = 2  # of which the better time counts, for both: a machine has other work to do
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print the figures, and as the last line one JSON object: the ratio is of bytes at the largest compared size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compared", type=int, nargs="+", default=COMPARED, help="pairs, for both")
    parser.add_argument("--alone", type=int, nargs="*", default=ALONE, help="pairs, for ours")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    rows = [compare(count) for count in options.compared]
    for count in options.alone:
        figures = run("ours", count, Path("-"))
        rows.append({"pairs": count, "ours": figures})
        print(f"{count:>7,} pairs: ours {figures_line(figures)}", flush=True)
    last = rows[len(options.compared) - 1]
    slope = slope_of([(row["pairs"], row["ours"]["bytes"]) for row in rows])
    slowest = max(row["ours"]["seconds"] / row["peer"]["seconds"] for row in rows if "peer" in row)
    print(f"memory grows as N to the {slope:.2f}; ours takes at most {slowest:.2f} times the peer's time")
    summary = {
        "bench": "loss",
        "ours": last["ours"]["bytes"],
        "peer": last["peer"]["bytes"],
        "unit": f"bytes at {last['pairs']} pairs",
        "ratio": round(last["peer"]["bytes"] / last["ours"]["bytes"], 1),
        "equal": all(row["error"] <= 1e-5 for row in rows if "error" in row),
        "time_of_peers": round(slowest, 2),
        "memory_slope": round(slope, 3),
        "device": last["ours"]["device"],
        "sizes": rows,
    }
    print_record(summary)


def compare(count: int) -> dict[str, Any]:
    """Return ours and the peer's at one size, by turns, and how far apart their gradients are."""
    best: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / kind for kind in ("ours", "open_clip")}
        for _ in range(ROUNDS):
            for kind, file in files.items():
                figures = run(kind, count, file)
                before = best.get(kind, figures)
                best[kind] = {**figures, "seconds": min(figures["seconds"], before["seconds"])}
        ours, theirs = (torch.load(file) for file in files.values())
    error = max(float((a - b).norm() / b.norm()) for a, b in zip(ours, theirs, strict=True))
    print(
        f"{count:>7,} pairs: ours {figures_line(best['ours'])}; peer {figures_line(best['open_clip'])}; "
        f"apart {error:.1e}",
        flush=True,
    )
    return {"pairs": count, "ours": best["ours"], "peer": best["open_clip"], "error": error}


def run(kind: str, count: int, file: Path) -> dict[str, Any]:
    """Measure seconds and bytes of one loss."""
    script = Path(__file__).parent / "processes" / "loss.py"
    return measure(Path(sys.executable), script, kind, str(count), str(WIDTH), str(SCALE), str(file))


def figures_line(figures: dict[str, Any]) -> str:
    """Return seconds and bytes, for people."""
    return f"{figures['seconds']:7.2f} s {figures['bytes'] / 1e6:7,.0f} MB"


def slope_of(points: list[tuple[int, int]]) -> float:
    """Return the power by which y grows with x: the slope of a line through their logarithms."""
    xs, ys = ([math.log(point[place]) for point in points] for place in (0, 1))
    middle = sum(xs) / len(xs)
    return sum((x - middle) * y for x, y in zip(xs, ys, strict=True)) / sum((x - middle) ** 2 for x in xs)


if __name__ == "__main__":
    main()
