"""What each measure of a text costs by the text's length: 10,000, 100,000 and 1,000,000 characters, honest and hostile.

Texts in archives are cut to 10,000 characters when they are cleaned, so the longer ones only show that time grows with
length alone. A hostile text is made to be slow in one way: numbers in a row, of which each hides the one before, marks
of e-mail addresses, mojibake, white space, combining marks. For each measure the slowest of them counts.

    python -m bench.text_measures [--captions 100000]

How many captions stage text measures, and how many rows of a table of them extract reads, a second, stands first:
LAION-400M's where ../shared/data holds them, with a number behind each, so that all differ.

The peer is the measure itself at a tenth of the length: `ratio` is ten times its seconds over ours, of the worst
measure; 1 is linear, 0.1 quadratic. CPU time of one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.growth import captions
from bench.record import print_record
from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from crawl.candidates.personal_data import mask_texts
from crawl.clean_text import clean_texts
from filters.texts.blocklist import blocked_terms
from filters.texts.language import predict
from filters.texts.profanity import profanity_probability
from filters.texts.text import TextConfig, as_names, measure_text

_LENGTHS = (10_000, 100_000, 1_000_000)
_LEAST_S = 0.05  # below this, growth is the measuring's
_UNITS = {
    "sentence": "Several people stand on a hill, and the dog looks at the sea. ",
    "letters": "x",
    "digits": "1",
    "card numbers": "4111 1111 1111 1111 ",
    "identity numbers": "536-90-4399 ",
    "telephone numbers": "+49 30 901820 ",
    "IP addresses": "188.102.128.236 ",
    "e-mail addresses": "jean@example.fr ",
    "at signs": "@",
    "dots": "a.",
    "hyphens": "-a",
    "underscores": "_a",
    "brackets": "([",
    "mojibake": "Ã¼â€™",
    "combining marks": "\u0301",
    "white space": " \u00a0\t",
    "invisible": "\u200b\U000e0041",
    "ideographs": "猫",
}

_NUMBERS = ("card numbers", "identity numbers", "IP addresses", "e-mail addresses")


def _measures() -> dict[str, Callable[[pa.Array], object]]:
    config = TextConfig()
    english = pa.array(["en"])
    return {
        "clean": clean_texts,
        "mask personal data": lambda texts: mask_texts(texts, pa.array(["en-US"])),
        "language": predict,
        "blocklist": lambda texts: blocked_terms(texts, as_names(config.blocklist), (r"(?i)\bcasino\b",)),
        "profanity": lambda texts: profanity_probability(texts, english),
        "all of stage text": _measured,
    }


def _measured(texts: pa.Array) -> object:
    rows = pa.table(
        {
            "row": pa.array(range(len(texts)), pa.uint32()),
            "url": pa.array([f"http://a.example/{number}.jpg" for number in range(len(texts))]),
            "text": texts,
            "page_url": pa.array([""] * len(texts)),
        }
    )
    return measure_text(rows, TextConfig())


def _captions_a_second(count: int) -> dict[str, int]:
    """Captions a second that are measured, and rows of a table of them that are read, of one core."""
    known = captions()
    texts = pa.array([f"{known[number % len(known)]} {number // len(known)}" for number in range(count)])
    urls = pa.array([f"http://a.example/{number}.jpg" for number in range(count)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "captions.parquet"
        pq.write_table(pa.table({"url": urls, "text": texts}), path)

        def read(_: pa.Array) -> object:
            return extract([Piece(path.name, str(path), 0, -1)], ExtractConfig())

        rates = {}
        for name, work in {"measured": _measured, "read": read}.items():
            work(texts[:100])  # models are loaded, code is compiled
            start = time.process_time()
            work(texts)
            rates[name] = round(count / (time.process_time() - start))
    print(f"{count:,} captions: {rates['measured']:,} measured and {rates['read']:,} rows read a second", flush=True)
    return rates


def _text(unit: str, length: int) -> str:
    """Whole units, and a space."""
    return unit * (length // len(unit)) + " "


def _seconds(measure: Callable[[pa.Array], object], unit: str, length: int) -> float:
    texts = pa.array([_text(unit, length)])
    start = time.process_time()
    measure(texts)
    return time.process_time() - start


def _masks(unit: str, length: int) -> int:
    return len(mask_texts(pa.array([_text(unit, length)]), pa.array(["en-US"]))[1][0].as_py())


def main() -> None:
    """Print the table, then the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=100_000)
    rates = _captions_a_second(parser.parse_args().captions)
    worst, ours, peer = 1.0, 0.0, 0.0
    print(f"{'measure':20} {'slowest text':18} {'10 k':>8} {'100 k':>8} {'1 M':>8}   seconds")
    for name, measure in _measures().items():
        _seconds(measure, "warm ", 100)
        seconds_of = {kind: [_seconds(measure, unit, length) for length in _LENGTHS] for kind, unit in _UNITS.items()}
        slowest = max(seconds_of, key=lambda kind: seconds_of[kind][-1])
        print(f"{name:20} {slowest:18} " + " ".join(f"{seconds:8.3f}" for seconds in seconds_of[slowest]))
        for seconds in seconds_of.values():
            for shorter, longer in pairwise(seconds):
                if shorter >= _LEAST_S and 10 * shorter / longer < worst:
                    worst, ours, peer = 10 * shorter / longer, longer, 10 * shorter
    # Whether a text of ten times the length has ten times the personal data: none is passed over for its place.
    masks = {unit: [_masks(unit, length) for length in _LENGTHS[:2]] for unit in map(_UNITS.get, _NUMBERS) if unit}
    equal = all(few > 0 and abs(many / few - 10) < 0.1 for few, many in masks.values())
    summary = {"bench": "text_measures", "ours": ours, "peer": peer, "unit": "s", "ratio": worst, "equal": equal}
    print_record({**summary, "captions_per_s": rates})


if __name__ == "__main__":
    main()
