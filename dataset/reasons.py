"""Why a row can be dropped: a closed vocabulary, each word with its stage and a sentence for people.

A stage declares its own reasons (see `dataset.stages`); those that any stage may give stand here. A config's own
filters add their names for that dataset (see `pipeline.stages.custom_filters`).
"""

from __future__ import annotations

from dataset import stages

ANY_STAGE: dict[str, str] = {
    "processing_time_exceeded": "this row took more CPU time than run.record_cpu_s allows",
    "processing_memory_exceeded": "this row took more memory than run.record_memory_bytes allows",
    "quarantined": "measuring this row crashed or exhausted a worker, repeatedly",
}
"""reason -> sentence."""

TRANSIENT = frozenset({"dns_failed", "connection_failed", "timeout", "http_server_error", "rsl_unreadable"})
"""Fetch outcomes worth another attempt in a later run."""


def reasons() -> dict[str, tuple[str, str]]:
    """Return reason -> (its stages, sentence), in the order of the path."""
    by_reason: dict[str, tuple[str, str]] = {}
    for stage in stages.path():
        for reason, sentence in stage.reasons.items():
            label = f"{by_reason[reason][0]}, {stage.name}" if reason in by_reason else stage.name
            by_reason[reason] = (label, sentence)
    return by_reason | {reason: ("any", sentence) for reason, sentence in ANY_STAGE.items()}
