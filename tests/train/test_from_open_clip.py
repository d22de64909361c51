"""Who comes from open_clip_train finds their flags, their params.txt and their checkpoints understood.

The run that is carried over is one of open_clip_train's own main(), on batches that are known.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch
import yaml
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from pipeline.cli import main as wit
from tests.train import tiny
from tests.train.logs.test_log import scalars
from tests.train.test_loop import losses, quiet, weights
from train.config import by_place, load
from train.data.loader import Batch
from train.from_open_clip.flags import DERIVED, FLAGS
from train.from_open_clip.params import carry, read
from train.loop import train

DOC = (Path(__file__).resolve().parents[2] / "docs" / "open_clip_train.md").read_text(encoding="utf-8")
BATCH, PER_EPOCH, EPOCHS = 16, 2, 3


def their_defaults() -> dict[str, Any]:
    """open_clip_train's flags and their defaults, as its own parser has them."""
    from open_clip_train import params

    found: dict[str, Any] = {}

    class Parser(argparse.ArgumentParser):
        def parse_args(self, *arguments: Any, **more: Any) -> Any:
            found.update({action.dest: action.default for action in self._actions if action.dest != "help"})
            return super().parse_args(*arguments, **more)

    before = params.argparse
    params.argparse = SimpleNamespace(ArgumentParser=Parser, Action=argparse.Action)
    try:
        params.parse_args([])
    finally:
        params.argparse = before
    return found


@functools.cache
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), generator=generator, dtype=torch.uint8)
    texts = open_clip.get_tokenizer(tiny.MODEL)(tiny.CAPTIONS[:BATCH])
    return Batch(images, texts, torch.arange(BATCH), [])


def normalised(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD))
    return (images / 255 - mean) / std


class Loader:
    """The same batch again and again."""

    num_batches, num_samples = PER_EPOCH, PER_EPOCH * BATCH

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([(normalised(batch().images), batch().texts)] * PER_EPOCH)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The log folder of a run of open_clip_train."""
    from open_clip_train import main

    logs = tmp_path_factory.mktemp("logs")
    known = {"train": SimpleNamespace(dataloader=Loader(), set_epoch=int)}
    before = main.get_data, main.setup_logging
    main.get_data, main.setup_logging = (lambda *_, **__: known), (lambda *_: None)
    try:
        with torch.random.fork_rng():
            main.main(
                [
                    *("--train-data", "pipe:aws s3 cp s3://bucket/{000..003}.tar -::/data/{00..01}.tar"),
                    *("--train-num-samples", str(PER_EPOCH * BATCH), "--dataset-type", "webdataset", "--workers", "0"),
                    *("--model", tiny.MODEL, "--batch-size", str(BATCH), "--epochs", str(EPOCHS), "--device", "cpu"),
                    *(
                        "--lr",
                        "0.002",
                        "--warmup",
                        "3",
                        "--wd",
                        "0.1",
                        "--precision",
                        "fp32",
                        "--grad-clip-norm",
                        "1.0",
                    ),
                    *(
                        "--logs",
                        str(logs),
                        "--name",
                        "theirs",
                        "--report-to",
                        "tensorboard",
                        "--log-every-n-steps",
                        "1",
                    ),
                    *("--imagenet-val", "/data/imagenet", "--lr-cooldown-power", "2.0", "--local-loss"),
                ]
            )
    finally:
        main.get_data, main.setup_logging = before
    return logs / "theirs"


def their_losses(run: Path) -> dict[int, float]:
    """Return the losses by the number of steps done."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard")).Reload()
    return {event.step + 1: event.value for event in board.Scalars("train/loss")}


def test_every_flag_has_its_line_and_its_own_default() -> None:
    defaults = their_defaults()
    assert {name: flag.default for name, flag in FLAGS.items()} == defaults
    assert not DERIVED & set(FLAGS)
    keys = set(by_place(load({"dataset": "out"})))
    for name, flag in FLAGS.items():
        assert flag.kind != "carried" or set(flag.ours.split(", ")) <= keys, name


def test_the_page_shows_the_table() -> None:
    shown = re.findall(r"^\| `--([a-z0-9-]+)` \| (.*?) \| (.*?) \|$", DOC, flags=re.MULTILINE)
    kinds = {"met": "always so", "none": "none"}
    expected = [
        (
            name.replace("_", "-"),
            ", ".join(f"`{ours}`" for ours in flag.ours.split(", ")) if flag.ours else kinds[flag.kind],
            flag.remark,
        )
        for name, flag in FLAGS.items()
    ]
    assert shown == expected


def test_a_real_params_txt_becomes_a_config_and_says_what_is_lost(theirs: Path) -> None:
    made = carry(read(str(theirs)))
    assert made.values == {
        "dataset": "s3://bucket/{000..003}.tar",
        "mixture": {"/data/{00..01}.tar": 0.5},
        "shuffle": "blocks",
        "batch_size": BATCH,
        "samples_seen": PER_EPOCH * EPOCHS * BATCH,
        "epochs": 3.0,
        "workers": 0,
        "seed": 0,
        "name": "theirs",
        "learning_rate": 0.002,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "grad_clip": 1.0,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_steps": 3,
        "model": tiny.MODEL,
        "loss": "softmax",
        "crop": "resized",
        "crop_min": 0.9,
        "device": "cpu",
        "precision": "fp32",
        "grad_checkpointing": False,
        "compile": False,
        "log_every": 1,
        "keep": 3,
        "checkpoint_every": 2,
    }
    lost = "\n".join(made.lost)
    said = ("--imagenet-val ", "--lr-cooldown-power ", "numbers of tars", "--logs ")
    assert [lost.count(name) for name in said] == [1] * len(made.lost)
    assert load(made.values).training.steps(1000)[1] == PER_EPOCH * EPOCHS


PARAMS = {"model": "ViT-B-32", "batch_size": "256", "lr": "0.0005", "train_data": "/d/{0..9}.tar", "world_size": "8"}


@pytest.mark.parametrize(
    ("flags", "values"),
    [
        ({"accum_freq": "4"}, {"batch_size": 8192, "micro_batch": 256}),
        ({"train_num_samples": "10000", "workers": "4"}, {"samples_seen": 8 * 2048 * 32, "checkpoint_every": 8}),
        (
            {"lr_scheduler": "const", "warmup": "0"},
            {"schedule": "constant", "cooldown_share": 0.0, "warmup_share": 0.0},
        ),
        ({"lr_scheduler": "const-cooldown", "epochs_cooldown": "8"}, {"cooldown_share": 0.25, "warmup_steps": 10000}),
        ({"skip_scheduler": "True"}, {"schedule": "constant", "warmup_steps": 0, "warmup_share": 0.0}),
        ({"precision": "amp"}, {"precision": "fp16"}),
        ({"precision": "amp_bfloat16", "siglip": "True"}, {"precision": "bf16", "loss": "sigmoid"}),
        ({"force_quick_gelu": "True"}, {"model": "ViT-B-32-quickgelu"}),
        ({"force_image_size": "[112]", "force_context_length": "32"}, {"image_size": 112, "context_length": 32}),
        ({"force_patch_dropout": "0.5"}, {"patch_dropout": 0.5}),
        (
            {"lock_image": "True", "lock_image_unlocked_groups": "2", "pretrained": "openai"},
            {"lock": "image", "unlocked_groups": 2, "pretrained": "openai"},
        ),
        ({"aug_cfg": "{'scale': (0.4, 1.0)}"}, {"crop": "resized", "crop_min": 0.4}),
        ({"grad_clip_norm": "None"}, {"grad_clip": math.inf}),
        ({"report_to": "wandb,tensorboard", "wandb_project_name": "mine"}, {"wandb": "mine"}),
        ({"delete_previous_checkpoint": "True"}, {"keep": 1}),
        ({"name": "2026/a"}, {"name": "2026-a"}),
        ({"resume": "logs/a/checkpoints/epoch_5.pt"}, {"resume": "logs/a/checkpoints/epoch_5.pt"}),
        (
            {"train_data": "/a/{0..3}.tar::/b/{0..1}.tar", "train_data_upsampling_factors": "1::4"},
            {"dataset": "/a/{0..3}.tar", "mixture": {"/b/{0..1}.tar": 2.0}},
        ),
    ],
)
def test_a_flag_is_carried_into_our_keys(flags: dict[str, str], values: dict[str, Any]) -> None:
    made = carry({**PARAMS, **flags}).values
    assert {key: made.get(key) for key in values} == values
    load(made)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"distill_model": "ViT-L-14"}, "--distill-model ViT-L-14 is not carried over: a model learns from its data"),
        ({"train_data": "a.csv", "dataset_type": "csv"}, "a.csv is not carried over: a run reads tars alone"),
        ({"train_data": "pipe:cat a.tar"}, "a program's output is not read; name the tars' URL"),
        ({"dataset_type": "synthetic"}, "--dataset-type synthetic is not carried over"),
        ({"opt": "timm/lamb"}, "--opt timm/lamb is not here as it is there; the config has adamw"),
        ({"precision": "pure_bf16"}, "--precision pure_bf16: the towers compute in 16 bits"),
        ({"lock_image": "True"}, "--lock-image is not carried over: it needs --pretrained"),
        ({"lock_image": "True", "lock_text": "True", "pretrained": "x"}, "one tower can be locked, not both"),
        ({"aug_cfg": "{'color_jitter': 0.3}"}, "--aug-cfg color_jitter=0.3 is not carried over"),
        ({"force_image_size": "[112, 96]"}, "--force-image-size [112, 96] is not carried over"),
        ({"device": "npu:0"}, "--device npu is not carried over"),
        ({"model": "hf-hub:org/name"}, "--model hf-hub:org/name is not carried over"),
        ({"flag_of_tomorrow": "7"}, "--flag-of-tomorrow 7 is not known here"),
        ({"wandb_notes": "two\nlines"}, "--wandb-notes two"),
    ],
)
def test_what_is_lost_is_said_once(flags: dict[str, str], sentence: str) -> None:
    assert "\n".join(carry({**PARAMS, **flags}).lost).count(sentence) == 1
    assert sentence not in "\n".join(carry(PARAMS).lost)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("model: x\n", "is no params.txt of open_clip_train's"),
        ("model: x\nbatch_size: many\nlr: 1e-3\n", "batch_size must be a number from 1 in params.txt, not 'many'"),
        ("model: x\nbatch_size: 64\nlr: 1e-3\nprecision: int4\n", "precision must be amp, amp_bf16"),
        ("model: x\nbatch_size: 64\nlr: 1e-3\naug_cfg: " + "{" * 5000, "dataset must be the URL of a dataset"),
    ],
)
def test_a_file_that_is_wrong_is_one_sentence(tmp_path: Path, capsys: Any, text: str, sentence: str) -> None:
    (tmp_path / "params.txt").write_text(text)
    assert wit(["train", "--from-open-clip", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert sentence in said[-1] and "Traceback" not in "".join(said)


def test_the_config_is_written_where_asked(theirs: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "mine.yaml"
    command = ["train", "--from-open-clip", str(theirs / "params.txt"), "--write-config", str(file)]
    assert wit([*command, "--set", "dataset=out/mine", "--set", "ranks=2"]) == 0
    assert "params.txt: --imagenet-val /data/imagenet is not carried over" in capsys.readouterr().err
    written = yaml.safe_load(file.read_text())
    assert (written["distributed"].pop("ranks"), written["dataset"]) == (2, "out/mine")
    assert load(file).optimizer.learning_rate == load(written).optimizer.learning_rate == 0.002
    assert wit(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert wit(["train"]) == 2
    assert "wit train takes a CONFIG, or --from-open-clip PARAMS" in capsys.readouterr().err


def config_of(theirs: Path, dataset: str, **changes: Any) -> Any:
    values = carry(read(str(theirs))).values
    values |= {"dataset": dataset, "mixture": {}, "shuffle": "full", "tensorboard": True}
    return load({**values, "resume": str(theirs / "checkpoints" / "epoch_1.pt"), **changes})


def test_a_run_goes_on_from_a_real_checkpoint_with_the_losses_of_the_real_trainer(
    theirs: Path, tiny_dataset: str, tmp_path: Path
) -> None:
    expected = their_losses(theirs)
    config = config_of(theirs, tiny_dataset)
    result = train(config, str(tmp_path), quiet, only=batch())
    assert result.step == PER_EPOCH * EPOCHS == max(expected)
    ours = losses(tmp_path)
    assert ours == pytest.approx({step: loss for step, loss in expected.items() if step > PER_EPOCH}, rel=1e-5)
    last = torch.load(theirs / "checkpoints" / f"epoch_{EPOCHS}.pt")["state_dict"]
    found = weights(tmp_path)
    # The bias of the attention's keys has no true gradient: AdamW follows rounding there.
    for name in [name for name in last if name.endswith("in_proj_bias")]:
        for values in (found[name], last[name]):
            values.chunk(3)[1].zero_()
    apart = {name: (found[name] - value).abs().max().item() for name, value in last.items()}
    assert max(apart.values()) < 1e-6
    assert set(scalars(theirs)) <= set(scalars(tmp_path))  # every tag of theirs is one of ours
    assert scalars(tmp_path)["train/lr"] == (6, pytest.approx(scalars(theirs)["train/lr"][1]))


def test_what_a_checkpoint_has_not_begins_anew_and_is_said(
    theirs: Path, tiny_dataset: str, tmp_path: Path, capsys: Any
) -> None:
    raw = torch.load(theirs / "checkpoints" / "epoch_1.pt")
    raw["state_dict"] = {f"module._orig_mod.{name}": value for name, value in raw["state_dict"].items()}
    raw["scaler"] = {
        "scale": 4.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 7,
    }
    torch.save(raw, tmp_path / "epoch_1.pt")
    again = {"resume": str(tmp_path / "epoch_1.pt"), "precision": "fp16", "optimizer": "muon", "ema": 0.9}
    config = config_of(theirs, tiny_dataset, batch_size=8, samples_seen=8 * 4, **again)
    assert train(config, str(tmp_path / "run"), quiet).step == 4
    said = capsys.readouterr().err
    assert "the optimizer's state of 8 parameters is not in it, and begins anew" in said
    assert "its 1 epochs had 2 steps, and have 8 here: batch_size or the dataset is another" in said
    train(config, str(tmp_path / "run"), quiet)
    assert "begins anew" not in capsys.readouterr().err  # a run with checkpoints goes on from its own


def test_a_checkpoint_that_does_not_fit_is_one_sentence(theirs: Path, tiny_dataset: str, tmp_path: Path) -> None:
    def refused(sentence: str, **changes: Any) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            train(config_of(theirs, tiny_dataset, **changes), str(tmp_path / "run"), quiet)

    epoch = theirs / "checkpoints" / "epoch_1.pt"
    refused("has made 2 steps, and the run is to make 2$", samples_seen=2 * BATCH)
    refused("is of another model: it has .*, which this one has not", model="openwit-tiny")
    refused("is of another model: of logit_bias it has nothing", loss="sigmoid")
    refused("which does not exist", resume=str(tmp_path / "none.pt"))
    raw = torch.load(epoch)
    deeper = {**raw["state_dict"], "transformer.resblocks.1.ln_1.weight": torch.ones(32)}
    torch.save({**raw, "state_dict": deeper}, tmp_path / "deeper.pt")
    refused("it has transformer.resblocks.1.ln_1.weight, which this one has not", resume=str(tmp_path / "deeper.pt"))
    torch.save(raw["state_dict"], tmp_path / "weights.pt")
    refused("has weights alone; name them by the key pretrained", resume=str(tmp_path / "weights.pt"))
    odd = {**raw["optimizer"], "state": {0: {"step": torch.zeros(2)}, 1: {"step": torch.tensor(math.inf)}}}
    wrongs = (
        {**raw, "epoch": "x"},
        {**raw, "optimizer": []},
        [1],
        {**raw, "state_dict": {}},
        {**raw, "optimizer": odd},
    )
    for number, wrong in enumerate(wrongs):
        torch.save(wrong, tmp_path / f"{number}.pt")
        refused("is no checkpoint of open_clip_train's", resume=str(tmp_path / f"{number}.pt"))


class Acts:
    def __reduce__(self) -> Any:
        return sys.exit, ("unpickled",)


def test_a_checkpoint_that_would_run_something_is_refused(theirs: Path, tiny_dataset: str, tmp_path: Path) -> None:
    torch.save({**torch.load(theirs / "checkpoints" / "epoch_1.pt"), "name": Acts()}, tmp_path / "epoch_1.pt")
    with pytest.raises(ValueError, match="is no checkpoint of open_clip_train's"):
        train(config_of(theirs, tiny_dataset, resume=str(tmp_path / "epoch_1.pt")), str(tmp_path / "run"), quiet)
