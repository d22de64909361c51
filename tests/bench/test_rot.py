"""A sample of `make bench-rot`: nobody is told, or taught, anything else by a file that rots, without a word."""

from __future__ import annotations

import random
from pathlib import Path

from bench import rot


def test_what_rots_is_noticed_or_mended(tmp_path: Path) -> None:
    whole = rot.finished(tmp_path, None, pages=8)
    of_way: dict[str, list[rot.Case]] = {}
    for case in rot.cases(whole, seed=0):
        of_way.setdefault(case.way, []).append(case)
    rng = random.Random(1)
    for way in rot.WAYS:
        outcome = None
        while outcome is None:  # an empty stretch cannot be emptied
            case = rng.choice(of_way[way])
            outcome = rot.tried(whole, case, tmp_path, seed=0)
        assert not any(what.startswith(rot.BAD) for what in outcome.values()), (case, outcome)
        if not case.file.startswith(rot.NOT_COMMITTED):
            assert outcome["verify"] == rot.NOTICED, (case, outcome)
