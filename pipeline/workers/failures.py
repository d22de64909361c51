"""How a task can fail, and the inputs that are left out because of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Span = tuple[int, int]
"""Units of a task, from the first to before the last."""

TIME, MEMORY, CRASHED = "processing_time_exceeded", "processing_memory_exceeded", "quarantined"


class PhaseFailedError(RuntimeError):
    """A task failed and could not be contained."""


@dataclass(frozen=True)
class Failure:
    """What became of a task that gave no commit."""

    error: Exception
    kind: Literal["raised", "died", "time", "memory"] = "raised"
    suspects: tuple[Span, ...] = ()  # the units that were at work; none if the task did not say
    place: str = ""  # what they are, for people
    used: float = 0.0  # seconds of CPU, or bytes, of a budget that was exceeded
    limit: float = 0.0
    peak_bytes: int = 0  # the most memory that the process was seen to have

    @property
    def reason(self) -> str:
        """The word of the vocabulary for a unit that fails like this."""
        return {"time": TIME, "memory": MEMORY}.get(self.kind, CRASHED)

    def as_lost(self, unit: int) -> Lost:
        """Return the unit left out for this failure."""
        return Lost(unit, self.reason, summarize(self.error), self.place, self.used, self.limit)


@dataclass(frozen=True)
class Lost:
    """A unit that is left out, and why: an observation, which a later run does not make again."""

    unit: int
    reason: str = CRASHED
    error: str = ""
    place: str = ""
    used: float = 0.0
    limit: float = 0.0

    @property
    def evidence(self) -> dict[str, Any]:
        """The evidence of the verdict, as JSON has it."""
        if self.reason == TIME:
            return {"cpu_s": round(self.used, 2), "limit_s": self.limit, "place": self.place}
        if self.reason == MEMORY:
            return {"bytes": int(self.used), "limit_bytes": int(self.limit), "place": self.place}
        return {"error": self.error, "place": self.place}

    @property
    def sentence(self) -> str:
        """What became of it, as people read it."""
        if self.reason == TIME:
            return f"took more than {self.limit:g} s of CPU (run.record_cpu_s)"
        if self.reason == MEMORY:
            return f"took more than {self.limit / 1e6:,.0f} MB of memory (run.record_memory_bytes)"
        return f"crashed its worker ({self.error})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


@dataclass
class Working:
    """A task at work, as its executor sees it."""

    partition: int
    done: int = 0
    total: int = 0
    place: str = ""  # what it is at, for people
    seconds: float = 0.0  # for how long at that place


def summarize(error: BaseException) -> str:
    """Return an exception as one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def unwrap(error: Exception) -> Exception:
    """Return the exception of our own code inside a RayTaskError, in however many tasks it was raised; or the error
    itself.
    """
    while isinstance(cause := getattr(error, "cause", None), Exception):
        error = cause
    return error
