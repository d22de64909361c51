"""A run that is killed or stopped goes on as if it had not been, on as many processes or on others."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from dataset.store.storage import Storage
from tests import s3_server
from tests.train import ranks, tiny
from tests.train.test_loop import config_of, log_of, losses, quiet, weights
from train.checkpoints import checkpoint
from train.checkpoints.load import load, load_clip
from train.config import TrainConfig
from train.failure import TrainingError
from train.loop import train

STEPS = 6


def exact(dataset: str, **changes: Any) -> TrainConfig:
    return config_of(dataset, **{"batch_size": 12, "samples_seen": 12 * STEPS, "deterministic": True, **changes})


def trained(count: int, config: TrainConfig, run: Path) -> dict[int, float]:
    ranks.run(count, ranks.training(config, str(run)))
    return losses(run)


def killed_after(count: int, config: TrainConfig, run: Path, step: int) -> None:
    """Train in some processes until `latest` names a step or a later one, then kill them all."""
    processes = ranks.start(count, ranks.training(config, str(run)))
    latest = run / "checkpoints" / "latest"
    while not (latest.exists() and int(latest.read_text()[5:]) >= step):
        assert all(process.exitcode is None for process in processes)
        time.sleep(0.001)
    ranks.kill(processes)


@pytest.fixture(scope="module")
def whole(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[int, float]]:
    """The losses of unbroken runs on 1, 2 and 3 processes."""
    folder = tmp_path_factory.mktemp("whole")
    return {count: trained(count, exact(tiny_dataset), folder / str(count)) for count in (1, 2, 3)}


def test_the_number_of_processes_changes_no_more_than_the_order_of_sums(whole: dict[int, dict[int, float]]) -> None:
    for count in (2, 3):
        assert whole[count] == pytest.approx(whole[1], abs=1e-4)


@pytest.mark.parametrize("count", [2, 3])
def test_killed_processes_go_on_to_the_same_bits(
    tiny_dataset: str, whole: dict[int, dict[int, float]], tmp_path: Path, count: int
) -> None:
    config = exact(tiny_dataset, checkpoint_every=2)
    killed_after(count, config, tmp_path / "run", 2)
    assert trained(count, config, tmp_path / "run") == whole[count]


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 1)])
def test_another_number_of_processes_goes_on_within_rounding(
    tiny_dataset: str, whole: dict[int, dict[int, float]], tmp_path: Path, before: int, after: int
) -> None:
    config = exact(tiny_dataset, checkpoint_every=2)
    killed_after(before, config, tmp_path / "run", 2)
    assert trained(after, config, tmp_path / "run") == pytest.approx(whole[before], abs=1e-4)


def test_shards_of_a_model_train_as_a_whole_one_and_resume_as_one(
    tiny_dataset: str, whole: dict[int, dict[int, float]], tmp_path: Path
) -> None:
    sharded = exact(tiny_dataset, parallel="fsdp", checkpoint_every=3, ema=0.5)
    killed_after(2, sharded, tmp_path / "run", 3)
    assert trained(3, sharded, tmp_path / "run") == pytest.approx(whole[1], abs=1e-4)
    single = tmp_path / "one"
    train(exact(tiny_dataset, ema=0.5), str(single), quiet)
    for kind in ("model", "ema"):
        here, there = (load_clip(str(run), kind).model.state_dict() for run in (tmp_path / "run", single))
        for name in there:
            torch.testing.assert_close(here[name], there[name], atol=2e-4, rtol=1e-3)


def test_a_model_with_batch_norm_learns_the_same_on_other_numbers_of_processes(
    tiny_dataset: str, tmp_path: Path
) -> None:
    config = exact(tiny_dataset, model=tiny.RESNET, samples_seen=12 * 4, checkpoint_every=2)
    train(config, str(tmp_path / "one"), quiet)
    killed_after(2, config, tmp_path / "two", 2)
    assert trained(3, config, tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    here, there = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name in ("visual.bn1.running_var", "visual.layer4.0.bn2.running_mean"):
        torch.testing.assert_close(here[name], there[name], atol=1e-4, rtol=1e-3)


def test_sigterm_saves_and_the_same_command_goes_on(
    tiny_dataset: str, whole: dict[int, dict[int, float]], tmp_path: Path
) -> None:
    config = exact(tiny_dataset, checkpoint_every=100, workers=1)

    def progress(record: dict[str, Any]) -> None:
        if record["step"] == 3:
            for reader in multiprocessing.active_children():
                os.kill(reader.pid or 0, signal.SIGTERM)  # as SLURM does
            os.kill(os.getpid(), signal.SIGTERM)  # to rank 0 alone: the others must learn it

    ranks.run(2, ranks.training(config, str(tmp_path), progress))
    run = checkpoint.find(str(tmp_path))
    step = checkpoint.about(*run)["step"]
    assert step in (3, 4)
    assert [record["step"] for record in log_of(tmp_path)] == list(range(1, step + 1))
    assert trained(2, config, tmp_path) == whole[2]


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_run_in_a_bucket_goes_on_to_the_same_bits(
    tiny_dataset: str, whole: dict[int, dict[int, float]], tmp_path: Path, kind: str
) -> None:
    def stopping(record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    config = exact(tiny_dataset, checkpoint_every=2, keep=1)
    with s3_server.running() if kind == "s3" else nullcontext("memory://resume") as bucket:
        home = f"{bucket}/run"
        with pytest.raises(KeyboardInterrupt):
            train(config, home, stopping)
        train(config, home, quiet)
        run = Storage(home)
        log = [json.loads(line) for line in run.read("log.jsonl").decode().splitlines()]
        assert {record["step"]: record["loss"] for record in log} == whole[1]
        left = {info.name.split("/")[1] for info in run.list("checkpoints", recursive=True)}
        best = run.read("checkpoints/best").decode().strip()
        assert left == {"latest", "best", "step-00000006", best}
        assert load_clip(home) is not None


class CountedFile:
    """A file of a bucket whose reads are counted: each is a request."""

    def __init__(self, file: Any, reads: list[int]):
        self._file, self._reads = file, reads

    def __enter__(self) -> CountedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int | None = None) -> bytes:
        self._reads.append(size or 0)
        return bytes(self._file.read(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_each_tensor_in_a_bucket_is_one_request(tiny_dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(config_of(tiny_dataset, epochs=0.25), "memory://requests", quiet).run
    reads: list[int] = []
    whole_file = Storage.open

    def counted(storage: Storage, name: str) -> Any:
        file = whole_file(storage, name)
        return CountedFile(file, reads) if name.endswith(".distcp") else file

    monkeypatch.setattr(Storage, "open", counted)
    model = load_clip(run).model
    sums = 2  # the file is read whole for its checksum first, to the last piece, which is empty
    assert len(reads) == len(model.state_dict()) + sums


def test_a_checkpoint_of_a_stranger_runs_no_code(tiny_dataset: str, tmp_path: Path) -> None:
    import pickle

    result = train(config_of(tiny_dataset, epochs=0.25), str(tmp_path), quiet)

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (Path(result.checkpoint) / ".metadata").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
        load(str(tmp_path), "cpu")
    assert not (tmp_path / "exploded").exists()
    # Kept at place 2**31, for which an unpickler makes room of 16 GB.
    (Path(result.checkpoint) / ".metadata").write_bytes(b"\x80\x04}r\x00\x00\x00\x80.")
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer"):
        load(str(tmp_path), "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8e6


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "checkpoint.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tiny_dataset: str, tmp_path: Path, whole: dict[int, dict[int, float]], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = exact(tiny_dataset, checkpoint_every=2)

    def stopping(record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path), stopping)
    path = tmp_path / "checkpoints" / "step-00000004" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged"):
        load_clip(str(tmp_path))
    train(config, str(tmp_path), quiet)
    assert losses(tmp_path) == whole[1]
    said = capsys.readouterr().err
    assert "step-00000004 is damaged (" in said and "goes on from" in said and "step-00000002" in said


@pytest.mark.parametrize("said", [None, b"", b"step-0p000006", bytes(14), b"step-00000008", b"../../etc", b"step-0000"])
def test_a_run_whose_latest_names_no_checkpoint_has_its_newest(tmp_path: Path, said: bytes | None) -> None:
    run = Storage(str(tmp_path))
    for step, files in ((2, ("checkpoint.json", ".metadata")), (4, ("checkpoint.json",)), (6, (".metadata",))):
        for file in files:
            run.write(f"checkpoints/step-{step:08d}/{file}", b"{}")
    if said is not None:
        run.write("checkpoints/latest", said)
    assert checkpoint.latest_checkpoint(run) == "checkpoints/step-00000004"  # the write of the sixth was cut short
    run.write("checkpoints/latest", b"step-00000002\n")
    assert checkpoint.latest_checkpoint(run) == "checkpoints/step-00000002"


def test_two_runs_in_one_folder_are_refused(tiny_dataset: str, tmp_path: Path) -> None:
    def second(record: dict[str, Any]) -> None:
        with pytest.raises(TrainingError, match=r"is being written by process .*; stop that run"):
            train(exact(tiny_dataset), str(tmp_path), quiet)

    train(exact(tiny_dataset, samples_seen=12), str(tmp_path), second)
    train(exact(tiny_dataset, samples_seen=12), str(tmp_path), quiet)  # it was let go


def test_what_was_left_of_a_write_is_swept_away(tiny_dataset: str, tmp_path: Path) -> None:
    half = tmp_path / "checkpoints" / "step-00000007"
    half.mkdir(parents=True)
    (half / "__0_0.distcp").write_bytes(b"half")
    train(config_of(tiny_dataset, epochs=1), str(tmp_path), quiet)
    assert not half.exists()
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000004\n"


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tiny_dataset: str, tmp_path: Path) -> None:
    def progress(record: dict[str, Any]) -> None:
        if record["step"] == 4:
            (tmp_path / "checkpoints").write_bytes(b"in its place")

    with pytest.raises(OSError, match=r"a checkpoint in .* could not be written"):
        train(config_of(tiny_dataset, checkpoint_every=5), str(tmp_path), progress)


def test_the_best_and_any_other_checkpoint_can_be_named(tiny_dataset: str, tmp_path: Path) -> None:
    train(config_of(tiny_dataset, keep=3, ema=0.9), str(tmp_path), quiet)
    run = str(tmp_path)
    named = {name: load_clip(f"{run}/checkpoints/{name}").model.state_dict() for name in ("step-00000004", "latest")}
    chosen = load_clip(run).model.state_dict()
    assert all(torch.equal(named["latest"][key], chosen[key]) for key in named["latest"])
    assert not torch.equal(named["latest"]["visual.proj"], named["step-00000004"]["visual.proj"])
    assert not torch.equal(named["latest"]["visual.proj"], weights(run)["visual.proj"])  # the moving average
    scores = {
        step: checkpoint.about(*checkpoint.find(f"{run}/checkpoints/step-{step:08d}"))["score"] for step in (2, 4)
    }
    assert scores == pytest.approx({step: sum(losses(run)[step - n] for n in range(2)) / 2 for step in (2, 4)})
    with pytest.raises(FileNotFoundError, match="neither a run with checkpoints"):
        load_clip(f"{run}/checkpoints/step-00000005")
    with pytest.raises(ValueError, match="has no moving average"):
        train(config_of(tiny_dataset, epochs=0.25), f"{run}/plain", quiet)
        load_clip(f"{run}/plain", "ema")
