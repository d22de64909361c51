"""What `wit explain` tells: a story for each occurrence of what was asked about, as lines for people and as JSON."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, overload

from dataset.display import line

_THRESHOLD = re.compile(r"(.*?)(min|max)_(.+)")
_FACTS_FROM = 25  # the column of a terminal in which facts begin
_LEAST_WIDTH = 60


@dataclass(frozen=True)
class Step:
    """What one stage made of the row."""

    stage: str
    outcome: str  # found, kept, dropped, packed, or waiting: the run has not come this far
    sentence: str
    facts: Mapping[str, Any] = field(default_factory=dict)  # measures and evidence, as JSON values


@dataclass(frozen=True)
class Story:
    """One occurrence of an image with a text, from the archive's byte to its end."""

    pair_id: str
    url: str
    text: str
    outcome: str  # kept, dropped or waiting
    reason: str | None
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the story as JSON values."""
        return asdict(self)

    def as_text(self, width: int | None = None) -> str:
        """Return the story as lines, wrapped at a width if one is given; a stranger's control characters are shown as
        �.
        """
        lines = [
            *_wrap(f"pair {self.pair_id}: {self.end}", width, 5),
            *_wrap(f"url  {self.url}", width, 5),
            *_wrap(f"text {self.text}", width, 5),
        ]
        for step in self.steps:
            lines += _wrap(f"  {step.stage:<14}{step.outcome:<8} {step.sentence}", width, _FACTS_FROM)
            for name, value in step.facts.items():
                for fact in _lines(name, value):
                    lines += _wrap(" " * _FACTS_FROM + fact, width, _FACTS_FROM + 2)
        return "\n".join(lines)

    @property
    def end(self) -> str:
        """What became of it, in a few words."""
        last = self.steps[-1]
        if self.outcome == "kept":
            return f"kept, {last.sentence}"
        if self.outcome == "dropped":
            return f"dropped by {last.stage} ({self.reason})"
        return f"{last.stage} has not decided yet"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.as_text())}</pre>"


@dataclass(frozen=True)
class Explanation(Sequence[Story]):
    """The answer to what a person asked about: stories, and how they were found.

    It is the sequence of its stories, which may be the first of more; none if nothing was found.
    """

    asked: str
    found_as: str  # what the dataset knows by it, in a sentence; or why there is nothing, with what is nearest
    stories: tuple[Story, ...]
    total: int  # occurrences, told or not

    @overload
    def __getitem__(self, at: int) -> Story: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Story, ...]: ...
    def __getitem__(self, at: int | slice) -> Story | tuple[Story, ...]:
        return self.stories[at]

    def __len__(self) -> int:
        return len(self.stories)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return a JSON object for each story."""
        return [{"found_as": self.found_as, **story.as_dict()} for story in self.stories]

    def as_text(self, width: int | None = None) -> str:
        """Return all of it as lines."""
        parts = ["\n".join(_wrap(item, width, 0)) for item in self.found_as.splitlines()]
        head = "\n".join(parts)
        more = self.total - len(self.stories)
        tail = [f"and {more:,} more; --most tells how many are shown"] if more > 0 and self.stories else []
        return "\n\n".join([head, *(story.as_text(width) for story in self.stories), *tail])

    def __repr__(self) -> str:
        return self.as_text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.as_text())}</pre>"


def margins(evidence: Mapping[str, Any]) -> list[str]:
    """Return how far what was measured is from each threshold beside it: `characters 4 is 6 below
    min_characters 10`.
    """
    measured = {name: value for name, value in evidence.items() if _is_number(value) and not _THRESHOLD.fullmatch(name)}
    if {"width", "height"} <= measured.keys() and min(measured["width"], measured["height"]) > 0:
        sides = measured["width"], measured["height"]
        measured |= {"side": min(sides), "aspect": round(max(sides) / min(sides), 3)}
    sentences = []
    for name, limit in evidence.items():
        match = _THRESHOLD.fullmatch(name)
        if match is None or not _is_number(limit):
            continue
        of = f"{match[1]}{match[3]}"  # of min_characters characters, of language_min_probability its probability
        near = [other for other in measured if other == of] or [
            other for other in measured if other.endswith(f"_{of}") or of.startswith(f"{other}_")
        ]
        for other in near:
            apart = measured[other] - limit
            where = "exactly at" if apart == 0 else f"{abs(round(apart, 6)):,} {'above' if apart > 0 else 'below'}"
            sentences.append(f"{other} {_number(measured[other])} is {where} {name} {_number(limit)}")
    return sentences


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: float) -> str:
    return f"{round(value, 6):,}"


def _wrap(text: str, width: int | None, indent: int) -> Iterator[str]:
    """A line, parted at a terminal's width; what follows stands `indent` further in."""
    text = line(text)
    if width is None:
        yield text
        return
    wide = max(width, _LEAST_WIDTH)
    yield from textwrap.wrap(
        text, wide, subsequent_indent=" " * indent, drop_whitespace=True, break_on_hyphens=False
    ) or [""]


def _lines(name: str, value: Any) -> list[str]:
    """A fact as lines for people."""
    label = name.replace("_", " ")
    if isinstance(value, Mapping):
        return [f"{label}:", *(f"  {line}" for key, item in value.items() for line in _lines(key, item))]
    if isinstance(value, list):
        return [f"{label}: {'; '.join(_item(item) for item in value)}"]
    return [] if value is None else [f"{label}: {value}"]


def _item(item: Any) -> str:
    """An item of a list in a line: `term porn, list builtin`."""
    if isinstance(item, Mapping):
        return ", ".join(f"{name} {value}" for name, value in item.items())
    return str(item)
