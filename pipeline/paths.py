"""What a path means, in a shell, in a Ray job and in Ray Train: one rule, and everything that it is about.

A relative path, as an argument of a command or as the value of a config's key, is below the folder in which the command
was typed. Arguments, and the keys of a training config, are made absolute (`dataset.store.storage.absolute`) before
anything else is done, so that they mean the same in every process. The keys of a build's config stand in the dataset as
they were written, for it must not depend on where its user's files lie: a build's processes work in that folder
instead.

In a job on another machine that folder is not there. What is read is then a file of what was sent, and what would be
written is refused, since it would be lost with the job's copy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dataset.store.storage import absolute
from pipeline import submit
from train.config import PATHS as TRAIN_KEYS

Kind = Literal["read", "written", "name"]
"""name: of a config, which may be one that openwit carries, or of a new file; both stay as typed."""

_DATASET: dict[str, Kind] = {"out": "read"}
_ANSWER: dict[str, Kind] = {"output": "written", **_DATASET}
_OUTPUT: dict[str, Kind] = {"out": "written"}
ARGUMENTS: Mapping[str, Mapping[str, Kind]] = {
    "run": {"config": "name", "preset": "name", **_OUTPUT},
    "new": {"name": "name", "like": "name"},
    "lists": {"dir": "written"},
    "plan": {"config": "name", "trial": "read"},
    "status": _ANSWER,
    "sql": {"file": "read", **_ANSWER},
    "audit": {"audits": "read", **_ANSWER},
    "verify": _OUTPUT,
    "balance": _ANSWER,
    "explain": _DATASET,
    "report": {"audits": "read", **_OUTPUT},
    "sheet": _OUTPUT,
    "overlap": {"checkpoint": "read", "tasks": "read", "detector": "name", **_OUTPUT},
    "queries": {},
    "queries build": {"config": "name", **_OUTPUT},
    "train": {
        "config": "name",
        "from_open_clip": "read",
        "write_config": "written",
        "show_batch": "written",
        **_OUTPUT,
    },
    "eval": {
        "checkpoint": "written",
        "tasks": "read",
        "dataset": "read",
        "output": "written",
        "in_distribution": "read",
        "references": "read",
        "hierarchy": "read",
        "features": "written",
    },
    "compare": {"examined": "read"},
    "search": {"checkpoint": "read", "image": "read", "features": "written", **_ANSWER},
    "why": {"checkpoint": "read", "task": "read", "dataset": "read", "features": "written", "output": "written"},
    "experiment": {"config": "name"},
    "human": {"dir": "read", "answers": "written", "model": "read"},
    "export": {"run": "read", "dir": "written"},
    "submit": {"working_dir": "read"},
}
"""Every argument of every command that is a path."""

KEYS: Mapping[str, frozenset[str]] = {
    "run": frozenset(
        {
            *("sources", "out", "against", "commoncrawl.base", "match.queries", "hashlists.files"),
            *(
                "text.language_model",
                "text.blocklist",
                "text.blocked_domains",
                "fetch.adopt",
                "fetch.opted_out_domains",
            ),
            *("image.models.path", "image.heads.path", "image.embedding_model", "faces.yunet", "faces.model.path"),
            *("semantic.target_folders", "decontaminate.folders", "decontaminate.model.path", "filters.measure"),
        }
    ),
    "queries build": frozenset(
        {"dumps", "segmenter", "unigrams", "bigrams", "bigram_words", "titles", "pageviews", "wordnet", "extra"}
    ),
    "train": frozenset(TRAIN_KEYS),
}
"""Every key of a command's config whose value is a path, or has paths in it."""


_OPEN_CLIP = "open_clip:"  # train.evaluate.encoders', which needs torch


def _absolute_model(value: str) -> str:
    """`open_clip:NAME:FILE` with its file's path made absolute; a tag of open_clip's, and no file, stay as they are."""
    model, _, source = value.removeprefix(_OPEN_CLIP).partition(":")
    is_file = "/" in source or Path(source).is_file()
    return f"{_OPEN_CLIP}{model}:{absolute(source)}" if is_file else value


def settle(command: str, arguments: argparse.Namespace) -> None:
    """Make the paths among a command's arguments absolute. Raises ConfigError if one would be written and lost."""
    for name, kind in ARGUMENTS[command].items():
        value = getattr(arguments, name)
        if kind == "name" or not value:
            continue
        if isinstance(value, str) and value.startswith(_OPEN_CLIP):
            setattr(arguments, name, _absolute_model(value))
            continue
        if kind == "written":
            submit.check_out(value, name)
        setattr(arguments, name, [absolute(item) for item in value] if isinstance(value, list) else absolute(value))
