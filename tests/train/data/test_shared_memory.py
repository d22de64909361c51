"""Batches are handed over in parts that fit into the shared memory that there is, and are the same however small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.train.test_loop import config_of, quiet
from train.data import shared_memory
from train.data.loader import PART
from train.data.shared_memory import free_bytes, plan
from train.loop import train

PIXELS_224 = 3 * 224**2 + 8 * 77 + 8
DOCKER = 64 * 2**20  # what its containers have


def test_where_there_is_room_parts_are_large_and_a_batch_is_held_ready() -> None:
    assert plan(PIXELS_224, 32_768, 8, 64 * 2**30, PART) == (PART, 8, "")
    assert plan(PIXELS_224, 256, 2, 64 * 2**30, PART) == (256, 2, "")
    assert plan(PIXELS_224, 32_768, 0, 1, PART).part == PART  # in one process nothing is shared
    assert plan(PIXELS_224, 32_768, 8, None, PART).note == ""


def test_docker_s_default_suffices_for_small_parts_and_the_sentence_says_what_is_best() -> None:
    reading = plan(PIXELS_224, 256, 2, DOCKER, PART)
    assert reading.part == 36 and reading.prefetch >= 2
    assert "has 68 MB left" in reading.note and "465 MB are best" in reading.note and "--shm-size" in reading.note


def test_what_cannot_fit_is_refused_with_what_does() -> None:
    with pytest.raises(ValueError, match=r"whose 2 readers need at least (\d+) MB") as told:
        plan(PIXELS_224, 256, 2, 500_000, PART)
    least = int(re.findall(r"at least (\d+) MB", str(told.value))[0])
    assert plan(PIXELS_224, 256, 2, least * 10**6, PART).part >= 1


@settings(max_examples=200, deadline=None)
@given(
    sample_bytes=st.integers(1000, 500_000),
    samples=st.integers(1, 50_000),
    workers=st.integers(1, 32),
    free=st.integers(0, 2**36),
)
def test_what_all_readers_hold_is_at_most_a_third_of_the_room(
    sample_bytes: int, samples: int, workers: int, free: int
) -> None:
    try:
        reading = plan(sample_bytes, samples, workers, free, PART)
    except ValueError:
        assert free < 3 * workers * 2 * (sample_bytes + 3 * 4096)
        return
    assert 1 <= reading.part <= PART
    assert 3 * workers * reading.prefetch * (reading.part * sample_bytes + 3 * 4096) <= free


def test_a_run_says_what_it_lacks_before_it_trains(
    tiny_dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 1000)
    with pytest.raises(ValueError, match=r"^/dev/shm has 1 MB left .*--shm-size.*set workers lower, or to 0$"):
        train(config_of(tiny_dataset, workers=1), str(tmp_path), quiet)
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 100_000)
    train(config_of(tiny_dataset, workers=1, samples_seen=16), str(tmp_path), quiet)
    assert "samples at a time" in capsys.readouterr().err


def test_a_system_without_such_a_folder_has_no_limit(tmp_path: Path) -> None:
    assert free_bytes(str(tmp_path / "none")) is None
    assert (free_bytes(str(tmp_path)) or 0) > 0
