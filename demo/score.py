"""The score card: what was planted, what was caught, what good was lost; the truth is known here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataset.query import sql
from dataset.reasons import reasons
from demo.web import KEEP
from demo.world import COLOUR_WORDS, HELD_OUT, PLURALS, SHAPE_WORDS

UNPROVOKED = frozenset(
    {
        *("quarantined", "processing_time_exceeded", "processing_memory_exceeded"),
        *("not_in_archive", "page_error", "text_profane"),
        "c2pa_training_refused",  # whose reader is an extra
        # These take a model, or pictures that a demo does not draw.
        *("nsfw_image", "clip_score_low", "image_has_face", "unlike_target_images", "semantic_duplicate"),
    }
)
"""Reasons that the demo has no dirt for: nothing crashes a worker, the web may be asked for images, our own crawl keeps
no error pages, the classifier of texts is not asked, nor are models of images."""


@dataclass(frozen=True)
class FilterScore:
    """One filter. Precision and recall are None where nothing was dropped or planted."""

    reason: str
    stage: str
    planted: int | None
    caught: int
    dropped: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class PhraseScore:
    """The phrases that sites put to their captions: how many were planted and cut off, and how many other texts cut."""

    planted: int
    caught: int
    others: int


@dataclass(frozen=True)
class ScoreCard:
    """All filters, and what happened to what is good."""

    filters: tuple[FilterScore, ...]
    good: int
    lost: dict[str, int]  # reason -> good pairs that it dropped; query_full is not a loss
    dirt_kept: dict[str, int]  # kind -> dirt that reached the dataset
    unplanned: int  # rows of the dataset that nobody planted
    phrases: PhraseScore
    query_full_share: float  # of the pairs that reached the final balance

    @property
    def lost_share(self) -> float:
        """Share of the good that a filter dropped by mistake."""
        return sum(self.lost.values()) / self.good if self.good else 0.0

    @property
    def silent(self) -> tuple[str, ...]:
        """Reasons of the vocabulary that dropped nothing though dirt for them was planted, or should have been."""
        spoken = {score.reason for score in self.filters if score.dropped}
        return tuple(reason for reason in reasons() if reason not in spoken and reason not in UNPROVOKED)


def score(truth: pa.Table, dropped: pa.Table, pairs: pa.Table, funnel: pa.Table, cut: pa.Table) -> ScoreCard:
    """Compare a finished dataset with the truth.

    Args:
        truth: demo.site.TRUTH.
        dropped: columns url, text, stage, reason; texts as written, or as judged.
        pairs: columns url, text.
        funnel: columns stage, input, kept, dropped.
        cut: columns url, text; texts from which a phrase of their site was cut off, without it.
    """
    known = reasons()
    each = [stage in ("text", "match") or reason == "text_spam" for reason, (stage, _) in known.items()]
    listed = pa.table({"reason": list(known), "each_occurrence": each})
    dropped = sql.run(_AS_JUDGED, {"truth": truth, "dropped": dropped})
    tables = {"truth": truth, "dropped": dropped, "pairs": pairs, "reasons": listed, "funnel": funnel, "cut": cut}
    filters = [FilterScore(**{**row, "stage": _stage(row)}) for row in _rows(_FILTERS, tables)]
    order = list(known)
    filters.sort(key=lambda score: order.index(score.reason) if score.reason in order else len(order))
    (good,) = _rows(_GOOD, tables)
    return ScoreCard(
        filters=tuple(filters),
        good=good["n"],
        lost={row["reason"]: row["n"] for row in _rows(_LOST, tables)},
        dirt_kept={row["kind"]: row["n"] for row in _rows(_DIRT_KEPT, tables)},
        unplanned=_rows(_UNPLANNED, tables)[0]["n"],
        phrases=PhraseScore(**_rows(_PHRASES, tables)[0]),
        query_full_share=_rows(_QUERY_FULL, tables)[0]["share"] or 0.0,
    )


def held_out_captions(texts: Iterable[str]) -> list[str]:
    """Return texts that hold both a colour's and a shape's word of a held-out combination."""
    captions = []
    for text in texts:
        words = set(re.findall(r"\w+", text.casefold()))
        colours = {colour for colour, names in COLOUR_WORDS.items() if words & set(names)}
        shapes = {shape for shape, names in SHAPE_WORDS.items() if words & _add_plurals(names)}
        if any((colour, shape) in HELD_OUT for colour in colours for shape in shapes):
            captions.append(text)
    return captions


def _add_plurals(names: tuple[str, ...]) -> set[str]:
    return {form for name in names for form in (name, PLURALS.get(name, f"{name}s"))}


def _stage(row: dict[str, Any]) -> str:
    return reasons()[row["reason"]][0] if row["reason"] in reasons() else row["stage"]


def _rows(query: str, tables: dict[str, pa.Table]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sql.run(query, tables).to_pylist()
    return rows


_FILTERS = (Path(__file__).parent / "score.sql").read_text(encoding="utf-8")

_AS_JUDGED = """
-- Candidates are told as extraction wrote them, with the phrase of their site.
SELECT dropped.* REPLACE (coalesce(truth.text, dropped.text) AS text)
FROM dropped LEFT JOIN truth ON truth.url = dropped.url AND truth.with_phrase = dropped.text
"""

_PHRASES = """
SELECT
    (SELECT count(*) FROM truth WHERE with_phrase IS NOT NULL) AS planted,
    (SELECT count(*) FROM truth SEMI JOIN cut USING (url, text) WHERE with_phrase IS NOT NULL) AS caught,
    (SELECT count(*) FROM cut ANTI JOIN (FROM truth WHERE with_phrase IS NOT NULL) USING (url, text)) AS others
"""

_GOOD = f"SELECT count(*) AS n FROM truth WHERE expected = '{KEEP}'"

_LOST = f"""
-- Good pairs without a look-alike, and groups of look-alikes of which none was kept.
WITH fate AS (SELECT url, text, reason FROM dropped WHERE reason <> 'duplicate_pair' GROUP BY ALL),
lost AS (
    SELECT f.reason FROM truth t JOIN fate f USING (url, text)
    WHERE t.expected = '{KEEP}' AND t.copy_of IS NULL AND f.reason <> 'query_full'
    UNION ALL
    SELECT min(f.reason) FROM truth t LEFT JOIN fate f USING (url, text) WHERE t.copy_of IS NOT NULL
    GROUP BY t.copy_of HAVING bool_and(f.reason IS NOT NULL) AND NOT bool_or(f.reason = 'query_full')
)
SELECT reason, count(*) AS n FROM lost GROUP BY reason ORDER BY n DESC, reason
"""

_DIRT_KEPT = f"""
SELECT kind, count(*) AS n FROM truth t SEMI JOIN pairs p USING (url, text)
WHERE t.expected <> '{KEEP}' AND t.copy_of IS NULL
   OR t.copy_of IN (
       SELECT copy_of FROM truth SEMI JOIN pairs USING (url, text) WHERE copy_of IS NOT NULL
       GROUP BY copy_of HAVING count(*) > 1
   ) AND t.expected <> '{KEEP}'
GROUP BY kind ORDER BY n DESC, kind
"""

_UNPLANNED = """
SELECT count(*) AS n
FROM (SELECT url, text FROM dropped UNION ALL SELECT url, text FROM pairs) ANTI JOIN truth USING (url, text)
"""

_QUERY_FULL = (
    "SELECT dropped / nullif(input, 0) AS share FROM funnel WHERE stage = 'balance' UNION ALL SELECT NULL LIMIT 1"
)
