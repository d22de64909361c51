"""How well unsafe texts and addresses are told from their neighbours: precision and recall of the text decisions.

    python -m bench.unsafe_texts [FILE] [--preset NAME]

FILE is labelled candidates as `bench.captions` has them; by default bench/unsafe_texts.jsonl, written for this bench
under openwit's licence: pornography and slurs in a dozen languages, addresses that call themselves so, and what looks
alike and is harmless: names, places, art, medicine, news. Its hosts are made up; so the figures are of these kinds, as
often as they stand there, and of no crawl.

Precision is the unsafe ones among those dropped as unsafe, recall those dropped among the unsafe, with 95 % intervals
(Wilson's). Other drops count as neither. The last line is JSON.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.captions import Judged, Share, judge, read_labels
from bench.record import print_record
from pipeline.config import build

LABELS = Path(__file__).with_name("unsafe_texts.jsonl")
REASONS = ("address_unsafe", "domain_blocked", "text_blocked", "text_profane")


def precision_and_recall(judged: Sequence[Judged]) -> tuple[Share, Share]:
    """Return precision and recall."""
    dropped = [item for item in judged if item.reason in REASONS]
    unsafe = [item for item in judged if item.label["verdict"] == "unsafe"]
    both = sum(item.label["verdict"] == "unsafe" for item in dropped)
    return Share(both, len(dropped)), Share(both, len(unsafe))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, each one that is wrong, then the summary."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.unsafe_texts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=LABELS, help="labelled candidates, a line of JSON each")
    parser.add_argument("--preset", action="append", default=[], help="of configs/presets, or a YAML file")
    options = parser.parse_args(arguments)
    config = build({"sources": ["labels"], "presets": options.preset}, out="nowhere").text
    # Only what is unsafe is asked, in any language.
    config = replace(config, languages=(), not_captions=(), min_characters=1)
    judged = judge(read_labels(options.file), config)
    groups: dict[str, list[Judged]] = defaultdict(list)
    for item in judged:
        groups[f"{item.label['verdict']:8} {item.label['kind']:8} {item.label['language']}"].append(item)
    print("verdict  kind     language  dropped as unsafe")
    for name, items in sorted(groups.items()):
        print(f"{name:25}  {Share(sum(item.reason in REASONS for item in items), len(items))}")
    for item in judged:
        if (item.label["verdict"] == "unsafe") != (item.reason in REASONS):
            said = f"{item.label['verdict']} {item.label['language']} as {item.language}"
            print(f"wrong: {said} | {item.reason} | {item.label['text']} | {item.label['url']}")
    precision, recall = precision_and_recall(judged)
    print(f"precision {precision}\nrecall    {recall}")
    print_record({"bench": "unsafe_texts", "precision": precision.share, "recall": recall.share, "of": len(judged)})


if __name__ == "__main__":
    main()
