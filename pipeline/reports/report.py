"""OUT/report.html: a dataset on one page, in one file, for a person.

Everything on it that comes from the web is escaped by the template and shown as text; images are decoded, made small
and written into the page. Nothing is loaded from elsewhere, which the page's own content security policy enforces. Of
an image on a hash list nothing was ever stored, and nothing is shown but the count. Of one that may be unsafe (`images`
has a column nsfw_probability, and it is high there) a few blurred pixels are written, unless all are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from crawl.images.store import read_images
from dataset.layout import REPORT
from dataset.ledger.damage import read_table
from dataset.query import sql
from dataset.query.questions import NotAQuestionError
from dataset.query.views import Dataset
from dataset.stages import judging_stages
from pipeline.config_errors import ConfigError
from pipeline.reports import audits, charts, dataset_config
from pipeline.reports.datasheet import without_folders
from pipeline.reports.format import cell, evidence
from pipeline.reports.html import BLUR_ABOVE, environment, sample_image, thumbnail, unsafe
from pipeline.training.runs import runs

_KEPT_SHOWN = 24
_DROPPED_SHOWN = 8  # per reason
_EXAMPLES = 5  # texts per reason
_CLUSTERS, _MEMBERS = 8, 7  # groups shown, and images of each besides the one that stays
_ROWS = 20  # of a table of hosts or queries
_LANGUAGES = 10
_SOURCES = 100
_NAME_CHARS = 200
_CURVE_POINTS = 240
_LENGTHS = (0, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500, 1000)


def write(out: str, *, blur_above: float | None = BLUR_ABOVE, own_audits: str | None = None) -> str:
    """Write the report of a dataset, finished or not; returns the file's URL.

    blur_above: the nsfw_probability above which images are blurred; None blurs none.
    own_audits: a folder of audits of one's own, whose answers the page shows.

    Raises:
        FileNotFoundError: there is no dataset.
        ConfigError: the folder has no audits, or one of them cannot be answered.
    """
    dataset = Dataset(out)
    facts = _Facts(dataset, blur_above).variables()
    page = environment().get_template(REPORT).render(facts | {"own_audits": _own_audits(dataset, own_audits)})
    dataset.storage.write(REPORT, page.encode("utf-8", "replace"))
    return dataset.storage.url_of(REPORT)


def _own_audits(dataset: Dataset, folder: str | None) -> list[dict[str, Any]]:
    """The answers of a folder's audits, the first rows of each."""
    answers = []
    for name in audits.own_names(folder) if folder else ():
        audit = audits.find(name, folder)
        try:
            answer = dataset.answer(audit.text, audit.values())
        except (NotAQuestionError, duckdb.Error) as error:
            raise ConfigError(f"the audit {name} failed: {error}") from None
        names = [column[0] for column in answer.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in answer.fetchmany(_ROWS)]
        answers.append({"name": name, "sentence": audit.sentence, "columns": names, "rows": rows})
    return answers


class _Facts:
    """What the page shows, from a dataset's views."""

    def __init__(self, dataset: Dataset, blur_above: float | None):
        self.dataset = dataset
        self.storage = dataset.storage
        self.blur_above = blur_above
        self.blurred = 0
        self.config = dataset_config.read(self.storage) if self.storage.exists(dataset_config.FILE) else {}

    def variables(self) -> dict[str, Any]:
        """The template's variables."""
        (totals,) = self._ask(sql.load("report/totals"))
        return {
            "name": str(self.config.get("name") or "")[:_NAME_CHARS] or self.dataset.manifest.get("name") or "dataset",
            "complete": bool(self.dataset.manifest["complete"]),
            "totals": totals,
            "funnel": self._ask(sql.load("report/funnel")),
            "reasons": self._reasons(),
            "violations": self._audit("conservation"),
            "tail": self._tail(),
            "tail_coverage": self._audit("tail_coverage"),
            "top_queries": self._audit("top_queries")[:_ROWS],
            "sides": self._sides(),
            "aspects": charts.columns(
                [(f"{row['aspect']:g}", row["pairs"]) for row in self._ask(sql.load("report/aspects"))],
                "width / height",
                "pairs",
            ),
            "lengths": self._lengths(),
            "languages": self._languages(),
            "declared": self._audit("languages")[:_LANGUAGES],
            "hosts": self._audit("domains")[:_ROWS],
            "text_sources": self._audit("text_sources"),
            "splits": self._audit("splits"),
            "kept": self._kept_samples(),
            "clusters": self._clusters(),
            "dropped_images": self._dropped_images(),
            "fetches": self._audit("fetches"),
            "sources": without_folders(self._ask(sql.load("report/sources"), most=_SOURCES)),
            "runs": runs(self.storage),
            "blurred": self.blurred,  # after the galleries
            "blur_above": self.blur_above,
        }

    def _unsafe(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        """The URLs among the rows' whose images are to be blurred."""
        return unsafe(self.dataset, [row["url"] for row in rows], self.blur_above)

    def _thumbnail(self, body: bytes, is_unsafe: bool) -> str | None:
        self.blurred += is_unsafe
        return thumbnail(body, blurred=is_unsafe)

    def _ask(self, query: str, **values: Any) -> list[dict[str, Any]]:
        answer = self.dataset.ask(query, values)
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def _audit(self, name: str) -> list[dict[str, Any]]:
        return self._ask(audits.load(name))

    def _reasons(self) -> list[dict[str, Any]]:
        """Reasons in the order of the stages, each with some of the rows that it dropped."""
        examples: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self._ask(sql.load("report/reason_examples"), most=_EXAMPLES):
            examples.setdefault((row["stage"], row["reason"]), []).append({**row, "evidence": _evidence(row)})
        return [
            {**row, "examples": examples.get((row["stage"], row["reason"]), [])}
            for row in self._audit("dropped_by_reason")
        ]

    def _tail(self) -> Any:
        """How many pairs the queries have, by rank, before the first balance and in the dataset."""
        table: pa.Table = self.dataset.sql(sql.load("report/query_ranks")).to_arrow_table()
        series = {
            name: _rank_counts(table.column(column).to_numpy())
            for name, column in (("before the first balance", "before"), ("in the dataset", "after"))
        }
        section = self.config.get("balance")
        cap = section.get("cap") if isinstance(section, dict) else None
        rule = (f"cap t = {cap:,}", float(cap)) if isinstance(cap, int) and 0 < cap < 2**63 else None
        return charts.lines(series, "query, by rank", "pairs", log=True, rule=rule)

    def _sides(self) -> Any:
        (largest,) = self._ask(sql.load("report/largest_side"))
        step = next(size for size in (8, 16, 32, 64, 128, 256, 512, 1024, 2**20) if largest["side"] <= size * 24)
        rows = self._ask(sql.load("report/sides"), step=step)
        return charts.columns([(str(row["start"]), row["pairs"]) for row in rows], "shorter side, pixels", "pairs")

    def _lengths(self) -> Any:
        rows = self._ask(sql.load("report/text_lengths"))
        characters = np.array([row["characters"] for row in rows], dtype=np.int64)
        counts = np.bincount(
            np.searchsorted(_LENGTHS, characters, side="right") - 1,
            weights=[row["pairs"] for row in rows],
            minlength=len(_LENGTHS),
        )
        labels = [f"{low}+" if low == _LENGTHS[-1] else str(low) for low in _LENGTHS]
        return charts.columns(list(zip(labels, counts.tolist(), strict=True)), "characters of the text, from", "pairs")

    def _languages(self) -> list[dict[str, Any]]:
        """Languages as measured on the candidates' texts."""
        counted: Counter[str] = Counter()
        for file in self.dataset.files("texts").values():
            table = read_table(self.storage, file, ["language"])
            counted.update({row["values"]: row["counts"] for row in table.column(0).value_counts().to_pylist()})
        rows = sorted(counted.items(), key=lambda item: (-item[1], item[0] or ""))
        return [{"language": language or "(none)", "texts": count} for language, count in rows[:_LANGUAGES]]

    def _kept_samples(self) -> list[dict[str, Any]]:
        """Kept pairs, chosen by hash, with their images from the shards."""
        shown = []
        rows = self._ask(sql.load("report/kept"), most=_KEPT_SHOWN)
        unsafe = self._unsafe(rows)
        for row in rows:
            shown.append({**row, "image": self._thumbnail(sample_image(self.storage, row), row["url"] in unsafe)})
        return shown

    def _dropped_images(self) -> list[dict[str, Any]]:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self._add_images(
            self._ask(sql.load("report/dropped_images"), most=_DROPPED_SHOWN, stages=_after_fetching())
        ):
            groups.setdefault((row["stage"], row["reason"]), []).append({**row, "evidence": _evidence(row)})
        return [{"stage": stage, "reason": reason, "rows": rows} for (stage, reason), rows in groups.items()]

    def _clusters(self) -> list[dict[str, Any]]:
        """The largest groups of near-duplicates: the image that stays, and some of those that it stands for."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for row in self._add_images(
            self._ask(sql.load("report/cluster_members"), clusters=_CLUSTERS, members=_MEMBERS)
        ):
            groups.setdefault(row["cluster"], []).append(row)
        return [{"members": rows[0]["members"], "rows": rows} for rows in groups.values()]

    def _add_images(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        columns = [("blob", pa.string()), ("blob_offset", pa.int64()), ("blob_length", pa.int64())]
        columns.append(("blob_checksum", pa.uint64()))
        places = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in columns})
        try:
            bodies = read_images(self.storage, places, lenient=True)
        except FileNotFoundError:  # who needs the space may delete the fetch store of a finished dataset
            bodies = [b""] * len(rows)
        unsafe = self._unsafe(rows)
        return [
            {**row, "image": self._thumbnail(body, row["url"] in unsafe)}
            for row, body in zip(rows, bodies, strict=True)
        ]


def _after_fetching() -> list[str]:
    """The stages that judge pairs whose images are there."""
    stages = judging_stages("pairs")
    fetched = next(index for index, stage in enumerate(stages) if "images" in {table.name for table in stage.tables})
    return [stage.name for stage in stages[fetched + 1 :]]


def _rank_counts(counts: np.ndarray) -> list[tuple[float, float]]:
    """(rank, count) of counts, largest first, at ranks evenly spaced in the logarithm."""
    ordered = np.sort(counts[counts > 0])[::-1]
    if not len(ordered):
        return []
    ranks = np.unique(np.geomspace(1, len(ordered), _CURVE_POINTS).round().astype(np.int64))
    return [(float(rank), float(ordered[rank - 1])) for rank in ranks]


def _evidence(row: Mapping[str, Any]) -> str:
    """Evidence in a line: `count 392, cap 200`."""
    values = evidence(row["evidence"])
    return ", ".join(f"{name.replace('_', ' ')} {cell(value)}" for name, value in values.items() if value is not None)
