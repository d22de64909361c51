"""What the text decisions keep and drop of captions that people have read: the measure of `text` against readers.

    python -m bench.captions [FILE] [--languages en] [--preset NAME] [--half 0|1]

FILE is JSON lines with a candidate each: `set`, `url`, `text`, `page_url`, `page_language` and `texts_of_url` (how many
texts this image has); and what a reader says of it: `language` (`und` for names, numbers and symbols), `verdict`
(caption, junk or unsafe) and `kind`. Without it, the labels of ../shared/labels are read where that is.

For each set: how much of what is kept is junk (unsafe ones among it), how many captions in a language that is asked
for, or in none, are lost, and how often the language is right where a text has one; with 95 % intervals (Wilson's). For
each set and kind: how many were kept. `--half` takes those of an even or odd hash alone, so that a rule which is made
on one half can be tried on the other. The last line is the shares as JSON.

The archives that these labels are of, if ../shared/data has them, say what else stands on a candidate's page, as in a
run. Only decisions on a candidate itself are tried: what repeats over a dataset is for `dedup` to say.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from bench.record import print_record
from crawl.archives.records import Piece
from crawl.candidates.config import ExtractConfig
from crawl.candidates.extract import extract
from dataset.hosts import hostname
from dataset.query import sql
from dataset.schema import CANDIDATES, CAPTIONS, PLACE
from filters.texts.context import in_context
from filters.texts.text import TextConfig, measure_text
from filters.texts.wording import reword
from pipeline.config import build, to_builtins
from train.evaluate.results.row import wilson

LABELS = Path(__file__).parents[2] / "shared" / "labels" / "captions.jsonl"
_DATA = Path(__file__).parents[2] / "shared" / "data"
ARCHIVES = {"news": _DATA / "news-and-blogs.warc.gz", "news_wat": _DATA / "news-and-blogs.warc.wat.gz"}
"""Where the labels of ../shared/labels are from."""
SETS = ("news", "news_wat", "laion")
NO_LANGUAGE = "und"
_KEYS = ("set", "url", "text", "language", "verdict", "kind")
_ROWS = pa.schema([pa.field("row", pa.uint32()), *CANDIDATES])


@dataclass
class Judged:
    """What is decided of a labelled candidate."""

    label: dict[str, Any]
    reason: str | None  # null if it is kept
    language: str | None


@dataclass
class Share:
    """Some of many, with the interval that holds the true share in 95 of 100 cases (Wilson 1927)."""

    some: int
    of: int

    @property
    def share(self) -> float | None:
        """None of nothing."""
        return self.some / self.of if self.of else None

    def __str__(self) -> str:
        if not self.of:
            return "-"
        low, high = wilson(self.some / self.of, self.of)
        return f"{self.some}/{self.of} {100 * self.some / self.of:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def read_labels(file: Path, half: int | None = None) -> list[dict[str, Any]]:
    """Return the labelled candidates of a file, or of one half of it.

    Raises:
        SystemExit: in a sentence, what is wrong with the file.
    """
    if not file.is_file():
        raise SystemExit(f"there is no file {file}; name one with a labelled candidate a line, as JSON")
    try:
        labels = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        missing = {key for label in labels for key in set(_KEYS).difference(label.keys())}
    except (ValueError, AttributeError) as error:
        raise SystemExit(f"{file} is no file of labelled candidates, a line of JSON each: {error}") from None
    if missing:
        raise SystemExit(f"{file} has lines without {', '.join(sorted(missing))}; python -m bench.captions --help")
    halves = [xxhash.xxh64_intdigest(f"{label['url']} {label['text']}".encode()) % 2 for label in labels]
    return [label for label, which in zip(labels, halves, strict=True) if half in (None, which)]


def judge(
    labels: Sequence[dict[str, Any]], config: TextConfig, archives: Mapping[str, Path] | None = None
) -> list[Judged]:
    """Measure the candidates and decide on them, as the stage `text` does.

    archives: the archive that a set's candidates are of, if it is there: what else stands on their pages counts then.
    """
    rows = _rows(labels)
    for name, file in (archives or {}).items():
        if file.is_file():
            rows = _add_pages(rows, name, file)
    rows = rows.set_column(0, _ROWS.field("row"), pa.array(range(len(rows)), pa.uint32()))
    texts, _ = reword(rows, config)
    rows = rows.set_column(rows.schema.get_field_index("text"), "text", texts)
    measures = in_context(rows, measure_text(rows, config), config)
    column_index = measures.schema.get_field_index("texts_on_page")  # a labelled page is not whole
    known = [int(label.get("texts_of_url") or 1) for label in labels]
    texts = pa.array(known + measures["texts_on_page"].to_pylist()[len(known) :], pa.int32())
    measures = measures.set_column(column_index, "texts_on_page", texts)
    keys = {**to_builtins(asdict(config)), "allowed_hosts": []}
    tables = {"rows": rows, "measures": measures, "captions": CAPTIONS.empty_table()}
    verdicts = sql.run(sql.load("decisions/text"), tables, keys).to_pylist()
    reasons = {verdict["row"]: verdict["reason"] for verdict in verdicts}
    languages = measures["language"].to_pylist()
    return [Judged(label, reasons.get(row), languages[row]) for row, label in enumerate(labels)]


def _add_pages(rows: pa.Table, name: str, file: Path) -> pa.Table:
    """Rows, and behind them the other candidates of the pages of a set, as its archive has them. Columns of _ROWS.

    A label may lack the language that its page declares elsewhere than in <html lang>.
    """
    mine = rows.filter(pc.equal(rows["archive"], name))
    named = ("page_url", "url", "text")
    candidates = extract([Piece(name, str(file), 0, -1)], ExtractConfig()).candidates
    pages = dict(zip(mine["page_url"].to_pylist(), mine["offset"].to_pylist(), strict=True))
    declared = dict(zip(candidates["page_url"].to_pylist(), candidates["page_language"].to_pylist(), strict=True))
    known = set(zip(*(mine[key].to_pylist() for key in named), strict=True))
    places = candidates.select(PLACE.names).to_pylist()
    stand = dict(zip(zip(*(candidates[key].to_pylist() for key in named), strict=True), places, strict=True))
    others = [
        {**row, "row": 0, "offset": pages[row["page_url"]]}
        for row in candidates.to_pylist()
        if row["page_url"] in pages and (row["page_url"], row["url"], row["text"]) not in known
    ]
    table = pa.Table.from_pylist(others, _ROWS)
    languages = [
        said or (declared.get(page) if archive == name else None)
        for said, page, archive in zip(
            *(rows[key].to_pylist() for key in ("page_language", "page_url", "archive")), strict=True
        )
    ]
    columns = {"page_language": languages} | {
        key: [
            stand.get(place, {}).get(key) if archive == name else said
            for said, place, archive in zip(
                rows[key].to_pylist(),
                zip(*(rows[part].to_pylist() for part in named), strict=True),
                rows["archive"].to_pylist(),
                strict=True,
            )
        ]
        for key in PLACE.names
    }
    for key, values in columns.items():
        column_index = rows.schema.get_field_index(key)
        rows = rows.set_column(column_index, _ROWS.field(key), pa.array(values, _ROWS.field(key).type))
    return pa.concat_tables([rows, table])


def _rows(labels: Sequence[dict[str, Any]]) -> pa.Table:
    """The candidates as extraction writes them; each page a record of its own."""
    pages = {page: number for number, page in enumerate(dict.fromkeys(label.get("page_url") for label in labels))}
    known: dict[str, list[Any]] = {
        "row": list(range(len(labels))),
        "url": [label["url"] for label in labels],
        "text": [label["text"] for label in labels],
        "text_source": [label.get("text_source") for label in labels],
        "personal_data": [[] for _ in labels],
        "host": [hostname(label["url"]) for label in labels],
        "page_url": [label.get("page_url") or "" for label in labels],
        "page_language": [label.get("page_language") for label in labels],
        "page_noai": [False] * len(labels),
        "archive": [label["set"] for label in labels],
        "offset": [pages[label.get("page_url")] for label in labels],
        "ordinal": list(range(len(labels))),
    }
    columns = [known.get(field.name, [None] * len(labels)) for field in _ROWS]
    return pa.table(dict(zip(_ROWS.names, columns, strict=True)), _ROWS)


def shares(judged: Sequence[Judged], languages: Sequence[str]) -> dict[str, Any]:
    """Return the figures of one set."""
    kept = [item for item in judged if item.reason is None]
    wanted = [item for item in judged if _is_wanted(item.label, languages)]
    spoken = [item for item in judged if item.label["language"] != NO_LANGUAGE]
    return {
        "kept": Share(len(kept), len(judged)),
        "junk_among_kept": Share(sum(item.label["verdict"] != "caption" for item in kept), len(kept)),
        "captions_lost": Share(sum(item.reason is not None for item in wanted), len(wanted)),
        "language_right": Share(sum(item.language == item.label["language"] for item in spoken), len(spoken)),
        "unsafe_kept": Share(
            sum(item.label["verdict"] == "unsafe" for item in kept),
            sum(item.label["verdict"] == "unsafe" for item in judged),
        ),
    }


def _is_wanted(label: dict[str, Any], languages: Sequence[str]) -> bool:
    return label["verdict"] == "caption" and (not languages or label["language"] in {*languages, NO_LANGUAGE})


def _report(name: str, judged: Sequence[Judged], languages: Sequence[str]) -> dict[str, Any]:
    figures = shares(judged, languages)
    lost, junk = figures["captions_lost"], figures["junk_among_kept"]
    print(f"\n{name}: {len(judged)} candidates, {figures['kept'].some} kept")
    print(f"  junk among the kept   {junk}")
    print(f"  captions lost         {lost}")
    print(f"  precision             {Share(junk.of - junk.some, junk.of)}   captions among the kept")
    print(f"  recall                {Share(lost.of - lost.some, lost.of)}   kept among the captions asked for")
    print(f"  language right        {figures['language_right']}")
    print(f"  unsafe kept           {figures['unsafe_kept']}")
    kinds: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for item in judged:
        kinds[item.label["verdict"], item.label["kind"]].append(item)
    print(f"  {'verdict':8} {'kind':16} kept of all, and why others were dropped")
    for (verdict, kind), items in sorted(kinds.items()):
        reasons: dict[str | None, int] = defaultdict(int)
        for item in items:
            reasons[item.reason] += 1
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items(), key=str) if reason)
        print(f"  {verdict:8} {kind:16} {reasons[None]:3} of {len(items):3}   {why}")
    return {key: value.some if key in ("kept", "unsafe_kept") else value.share for key, value in figures.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, then the shares as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.captions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=LABELS, help="labelled candidates, a line of JSON each")
    parser.add_argument("--languages", default="en", help="the languages asked for, comma-separated; all: every one")
    parser.add_argument("--preset", action="append", default=[], help="of configs/presets, or a YAML file")
    parser.add_argument("--half", type=int, choices=(0, 1), help="only those whose hash is even, or odd")
    parser.add_argument("--alone", action="store_true", help="without what else stands on the pages of ../shared/data")
    parser.add_argument("--show", action="store_true", help="print each one that is kept or dropped wrongly")
    options = parser.parse_args(arguments)
    languages = [] if options.languages == "all" else options.languages.split(",")
    raw = {"sources": ["labels"], "presets": options.preset, "text": {"languages": languages}}
    labels = read_labels(options.file, options.half)
    judged = judge(labels, build(raw, out="nowhere").text, {} if options.alone else ARCHIVES)
    sets = {}
    for name in dict.fromkeys([*SETS, *(label["set"] for label in labels)]):
        sets[name] = _report(name, [item for item in judged if item.label["set"] == name], languages)
    if options.show:
        _show(judged, languages)
    print_record({"bench": "captions", "sets": sets})


def _show(judged: Sequence[Judged], languages: Sequence[str]) -> None:
    for item in judged:
        label = item.label
        if _is_wanted(label, languages) != (item.reason is None):
            said = f"{label['set']} {label['verdict']} {label['kind']} {label['language']}"
            print(f"{said} | {item.reason} {item.language} | {label['text'][:100]} | {label['url'][-80:]}")


if __name__ == "__main__":
    main()
