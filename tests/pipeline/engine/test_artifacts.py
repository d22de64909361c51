"""What a stage leaves is there for later ones, once, under its name."""

from __future__ import annotations

import pytest

from pipeline.engine.artifacts import Artifact, Artifacts
from pipeline.engine.contract import ContractError

SHEETS = Artifact[int]("the count of sheets")


def test_what_was_left_is_taken_as_often_as_it_is_wanted() -> None:
    left = Artifacts()
    left.leave(SHEETS, 3)
    assert left.take(SHEETS) + left.take(SHEETS) == 6


def test_what_nobody_left_is_named() -> None:
    with pytest.raises(ContractError, match="no stage before this one leaves the count of sheets"):
        Artifacts().take(SHEETS)


def test_two_stages_do_not_leave_the_same() -> None:
    left = Artifacts()
    left.leave(SHEETS, 3)
    with pytest.raises(ContractError, match="two stages leave the count of sheets"):
        left.leave(Artifact[int]("the count of sheets"), 4)
