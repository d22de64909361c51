"""dedup: spam texts, repeated (URL, text), one URL with many texts. An exchange of keys."""

from __future__ import annotations

from dataset.stages import Stage

DEDUP = Stage(
    name="dedup",
    code=f"{__name__}.stage",
    phases=(
        "dedup.texts",
        "dedup.spam",
        "dedup.possible_spam",
        "dedup.urls",
        "dedup.against",
        "dedup.duplicates",
        "dedup.decide",
    ),
    judges="candidates",
    passed="the first of its kind",
    sections=("dedup",),
    reasons={
        "text_spam": "the same text stands on more distinct images than the config allows",
        "duplicate_pair": "the same image address with the same text occurs earlier",
        "url_has_other_text": "another text of the same image address was chosen",
    },
)
