"""What a process that Ray Train placed does: this is all that it imports, and an import is most of a restart's time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

_ANSWER_SECONDS = 30.0


class FirstError:
    """The error that ends a run, as an actor of Ray's: the processes that it ended, started again, learn of it here."""

    def __init__(self) -> None:
        self._error: Exception | None = None

    def tell(self, error: Exception) -> None:
        """Keep an error; the first one counts."""
        self._error = self._error or error

    def get(self) -> Exception | None:
        """Return the error, if there was one."""
        return self._error


def work(job: dict[str, Any]) -> dict[str, Any] | Exception:
    """Return one process's part. An error that would come again is an answer, and ends the run; Ray Train tries others
    again.

    Args:
        job: `config`, the keys and values of a TrainConfig; `run`, the URL of the run's directory; `first_error`, the
            handle of a FirstError, if there are several processes.

    Returns:
        The fields of a RunResult, or the error, which is a ValueError, FileNotFoundError or TrainingError.
    """
    known = _first_error(job)
    if known is not None:  # another process had it, and this one was ended or lost for that
        return known
    # Here, for Ray's process that directs the others reads this module, too, and needs no torch.
    from train.config import load
    from train.failure import TrainingError, outlet, would_recur
    from train.loop import train

    try:
        return asdict(train(load(job["config"]), job["run"]))
    except Exception as error:
        if not would_recur(error):
            if (known := _first_error(job)) is not None:
                return known
            raise
        kinds: tuple[type[Exception], ...] = (FileNotFoundError, ValueError)
        kept = next((kind for kind in kinds if isinstance(error, kind)), None)
        answer = TrainingError(outlet(error)) if kept is None else kept(str(error))
        _tell(job, answer)
        return answer


def _first_error(job: dict[str, Any]) -> Exception | None:
    """What ended the run; None if nothing did, or the actor is gone with its node."""
    import ray

    if (actor := job.get("first_error")) is None:
        return None
    try:
        known: Exception | None = ray.get(actor.get.remote(), timeout=_ANSWER_SECONDS)
    except ray.exceptions.RayError:
        return None
    return known


def _tell(job: dict[str, Any], error: Exception) -> None:
    """Let the others know, now and when they are started again."""
    import ray

    if (actor := job.get("first_error")) is not None:
        try:
            ray.get(actor.tell.remote(error), timeout=_ANSWER_SECONDS)
        except ray.exceptions.RayError:
            return  # gone with its node; the others are started again, and this process has the error again
