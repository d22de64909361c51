"""Imported by a zygote: of the processes that it asks for, the system refuses the second and the third."""

from __future__ import annotations

import errno
import itertools
import os

_fork, _calls = os.fork, itertools.count()


def _refuse_some() -> int:
    if next(_calls) in (1, 2):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
    return _fork()


os.fork = _refuse_some
