"""Every key of the config is felt, and does what it says."""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from tests.train import ranks, tiny
from tests.train.test_loop import config_of, log_of, losses, quiet, weights
from train import loop
from train.checkpoints.export import export
from train.checkpoints.load import load_clip
from train.config import OLD_KEYS, from_keys, load, with_changes
from train.data import gpu_decode
from train.distributed.processes import Processes, deterministic
from train.loop import TrainingError, train
from train.models.clip import create
from train.optimizers import MovingAverage, make_optimizers
from train.schedule import learning_rate


@pytest.fixture(scope="module")
def plain(tiny_dataset: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four steps by the defaults."""
    run = tmp_path_factory.mktemp("plain")
    four_steps(tiny_dataset, run)
    return str(run)


def four_steps(dataset: str, run: Path, **changes: Any) -> dict[int, float]:
    train(config_of(dataset, **{"epochs": 1, "checkpoint_every": 100, **changes}), str(run), quiet)
    return losses(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon"},
        {"schedule": "constant"},
        {"schedule": "constant", "cooldown_share": 0.9},
        {"warmup_steps": 3},
        {"image_size": 16},
        {"context_length": 6},
        {"patch_dropout": 0.5},
        {"precision": "fp16"},
        {"precision": "bf16"},
        {"seed": 1},
        {"weight_decay": 0.0},
        {"grad_clip": 0.1},
        {"crop_min": 0.5},
        {"warmup_share": 0.5},
        {"learning_rate": 1e-2},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_what_changes_the_learning_changes_the_loss(
    tiny_dataset: str, plain: str, tmp_path: Path, changes: dict[str, Any]
) -> None:
    found = four_steps(tiny_dataset, tmp_path, **changes)
    assert found != losses(plain)
    assert found[4] < 3.2


def test_what_only_saves_memory_or_time_does_not(tiny_dataset: str, plain: str, tmp_path: Path) -> None:
    assert four_steps(tiny_dataset, tmp_path / "a", grad_checkpointing=True) == pytest.approx(losses(plain), abs=1e-5)
    assert four_steps(tiny_dataset, tmp_path / "b", deterministic=True) == losses(plain)
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_the_gpu_decodes_is_learned_from(
    tiny_dataset: str, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By torchvision on the CPU, whose pixels differ a little: this one computes them in float32."""
    decoded: list[int] = []
    real = gpu_decode._decode
    monkeypatch.setattr(gpu_decode, "check", lambda device: None)
    monkeypatch.setattr(gpu_decode, "_decode", lambda files, device: decoded.append(len(files)) or real(files, device))
    found = four_steps(tiny_dataset, tmp_path, decode="gpu", workers=1)
    assert decoded == [16] * 4
    assert found == pytest.approx(losses(plain), abs=0.01)


def test_within_repeatable_what_cannot_be_repeated_raises() -> None:
    with deterministic(True):
        assert torch.are_deterministic_algorithms_enabled()
    with deterministic(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_the_budget_can_be_samples_seen(tiny_dataset: str, tmp_path: Path) -> None:
    result = train(config_of(tiny_dataset, samples_seen=100, epochs=50), str(tmp_path), quiet)
    assert (result.steps, result.samples_seen) == (6, 96)


def test_a_constant_rate_cools_down_to_zero() -> None:
    config = from_keys("out", learning_rate=1.0, warmup_steps=10, schedule="constant", cooldown_share=0.2)
    rates = [learning_rate(step, 100, config.optimizer.learning_rate, config.schedule) for step in range(100)]
    assert rates[4] == 0.5
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([1 - (step + 1) / 21 for step in range(20)])


def test_muon_takes_the_matrices_of_blocks_and_nothing_else() -> None:
    model = create(tiny.MODEL).model
    adamw, muon = make_optimizers(model, from_keys("out", optimizer="muon").optimizer)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    taken = {names[id(parameter)] for group in muon.param_groups for parameter in group["params"]}
    rest = {names[id(parameter)] for group in adamw.param_groups for parameter in group["params"]}
    assert taken | rest == set(names.values())
    assert not taken & rest
    weights_of_blocks = {name for name in names.values() if "resblocks" in name and name.endswith("weight")}
    assert taken == {name for name in weights_of_blocks if "ln_" not in name}
    assert {"token_embedding.weight", "positional_embedding", "visual.proj", "text_projection", "logit_scale"} <= rest


def test_a_muon_run_goes_on_to_the_same_bits(tiny_dataset: str, tmp_path: Path) -> None:
    config = config_of(tiny_dataset, optimizer="muon", precision="fp16", ema=0.9)
    train(config, str(tmp_path / "whole"), quiet)

    def progress(record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path / "run"), progress)
    train(config, str(tmp_path / "run"), quiet)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    for kind in ("model", "ema"):
        here, there = (load_clip(str(tmp_path / name), kind).model.state_dict() for name in ("run", "whole"))
        assert all(torch.equal(here[name], there[name]) for name in there)


def test_the_moving_average_is_one() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.ones_(model.weight)
    average = MovingAverage(model, 0.75)
    with torch.no_grad():
        model.weight.fill_(5)
    average.update()
    assert average.average["weight"].tolist() == [[2, 2]]


def test_a_run_begins_with_given_weights(tiny_dataset: str, plain: str, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    _, file = export(plain, folder)
    first = {}
    for number, source in enumerate((plain, str(folder), str(file))):
        first[source] = four_steps(tiny_dataset, tmp_path / str(number), pretrained=source)[1]
    assert len(set(first.values())) == 1
    assert first[plain] < losses(plain)[1]
    resized = four_steps(tiny_dataset, tmp_path / "resized", pretrained=plain, image_size=48, context_length=20)
    assert resized[1] < losses(plain)[1] + 0.5


def test_an_open_clip_tag_is_taken(tiny_dataset: str, plain: str, tmp_path: Path, monkeypatch: Any) -> None:
    (_, file) = export(plain, tmp_path / "exported")
    make = open_clip.create_model

    def from_the_hub(name: str, pretrained: str | None = None, **more: Any) -> Any:
        if pretrained == "a_tag":
            return make(name, str(file), force_preprocess_cfg={"mean": (0.5, 0.5, 0.5)}, **more)
        return make(name, pretrained, **more)

    monkeypatch.setattr(open_clip, "create_model", from_the_hub)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["a_tag"])
    four_steps(tiny_dataset, tmp_path / "run", pretrained="a_tag")
    assert list(load_clip(str(tmp_path / "run")).preprocess.mean) == [0.5, 0.5, 0.5]


def test_weights_that_do_not_fit_are_one_sentence(tiny_dataset: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    torch.save({"other": torch.ones(1)}, tmp_path / "other.pt")
    for source, words in (
        ("nothing", r"^pretrained must be a file, .* not 'nothing'$"),
        (str(tmp_path / "bad.pt"), r"^pretrained '.*bad.pt' does not fit test-tiny: "),
        (str(tmp_path / "other.pt"), r"^pretrained '.*other.pt' does not fit test-tiny: "),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            train(config_of(tiny_dataset, pretrained=source), str(tmp_path / "run"), quiet)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("tower", "prefix"), [("image", "visual."), ("text", "")])
def test_a_locked_tower_stays_and_the_other_learns(
    tiny_dataset: str, plain: str, tmp_path: Path, tower: str, prefix: str
) -> None:
    four_steps(tiny_dataset, tmp_path, pretrained=plain, lock=tower)
    before, after = weights(plain), weights(tmp_path)
    locked = {name for name in before if name.startswith("visual.") == (tower == "image")} - {"logit_scale"}
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert locked <= same
    assert len(same - locked) < 3
    assert log_of(tmp_path)[-1][f"gradient_norm_{tower}"] == 0
    again = tmp_path / "again"
    config = config_of(tiny_dataset, epochs=1, pretrained=plain, lock=tower, checkpoint_every=2)

    def progress(record: dict[str, Any]) -> None:
        if record["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, str(again), progress)
    train(config, str(again), quiet)
    assert losses(again) == losses(tmp_path)
    unlocked = tmp_path / "unlocked"
    four_steps(tiny_dataset, unlocked, pretrained=plain, lock=tower, unlocked_groups=1)
    learnt = weights(unlocked)
    assert not locked <= {name for name in before if torch.equal(before[name], learnt[name])}


def test_small_images_and_short_texts_first_then_the_models_own(tiny_dataset: str, tmp_path: Path) -> None:
    config = config_of(tiny_dataset, image_size=16, context_length=6, epochs=2, final_share=0.25, learning_rate=3e-3)
    shapes = []
    exact = loop.samples_of

    def watch(*arguments: Any) -> Any:
        samples = exact(*arguments)
        batch = samples[0]
        shapes.append((batch.images.shape[-1], batch.texts.shape[-1]))
        return samples

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "samples_of", watch)
        result = train(config, str(tmp_path / "run"), quiet)
    assert shapes == [(16, 6), (32, 12)]
    assert result.steps == result.step == 8
    assert list(losses(tmp_path / "run")) == list(range(1, 9))
    assert all(loss < 3 for step, loss in losses(tmp_path / "run").items() if step >= 6)
    clip = load_clip(str(tmp_path / "run"))
    assert (clip.image_size, clip.config["text_cfg"]["context_length"]) == (32, 12)

    def progress(record: dict[str, Any]) -> None:
        if record["step"] == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, str(tmp_path / "again"), progress)
    train(config, str(tmp_path / "again"), quiet)
    assert losses(tmp_path / "again") == losses(tmp_path / "run")


def write_tokenizer(folder: Path, ends: bool = True) -> str:
    """A Hugging Face tokenizer that knows the colours."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<unk>", *tiny.COLOURS]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    if ends:
        made.post_processor = processors.TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_can_be_a_folder(tiny_dataset: str, tmp_path: Path) -> None:
    tokenizer = write_tokenizer(tmp_path / "words")
    found = four_steps(tiny_dataset, tmp_path / "run", tokenizer=tokenizer, epochs=5, learning_rate=1e-2)
    assert found[20] < 2.2
    clip = load_clip(str(tmp_path / "run"))
    assert clip.tokenize(["red blue"]).tolist()[0][:4] == [5, 7, 1, 0]
    assert clip.model.state_dict()["token_embedding.weight"].shape[0] == 11
    export(str(tmp_path / "run"), tmp_path / "model")
    again = load_clip(str(tmp_path / "model"))
    assert torch.equal(again.tokenize(["red blue"]), clip.tokenize(["red blue"]))


def test_a_tokenizer_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^tokenizer must be a folder"):
        create(tiny.MODEL, tokenizer=str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"must end a text with a token"):
        create(tiny.MODEL, tokenizer=write_tokenizer(tmp_path / "endless", ends=False))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^tokenizer '.*empty' cannot be read: "):
        create(tiny.MODEL, tokenizer=str(tmp_path / "empty"))


def spoiled(steps: set[int]) -> Any:
    """A loss that is no number at some steps."""
    exact, calls = loop.LOSSES["softmax"], iter(range(1, 1000))
    return lambda *features, **more: exact(*features, **more) * (float("nan") if next(calls) in steps else 1.0)


def test_a_step_whose_loss_is_no_number_is_skipped_and_its_samples_named(
    tiny_dataset: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setitem(loop.LOSSES, "softmax", spoiled({3}))
    result = train(config_of(tiny_dataset, on_nan="skip"), str(tmp_path), quiet)
    assert math.isfinite(result.loss)
    assert [record["skipped_steps"] for record in log_of(tmp_path)] == [0, 0, *[1] * 4]
    assert "step 3 skipped: the loss is nan on the samples " in capsys.readouterr().err
    (line,) = (tmp_path / "bad_batches.jsonl").read_text().splitlines()
    assert (json.loads(line)["step"], len(set(json.loads(line)["pair_ids"]))) == (3, 16)


def test_a_run_that_skips_too_much_stops(tiny_dataset: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(loop.LOSSES, "softmax", spoiled({2, 3, 5}))
    with pytest.raises(TrainingError, match=r"at step 5, .*; 3 steps were skipped, more than training\.max_sk"):
        train(config_of(tiny_dataset, on_nan="skip", max_skipped=2), str(tmp_path), quiet)


def test_the_first_bad_step_is_named_though_found_later(tiny_dataset: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(loop.LOSSES, "softmax", spoiled({4}))
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 4, on the samples"):
        train(config_of(tiny_dataset, log_every=6, checkpoint_every=100), str(tmp_path), quiet)


def test_the_log_goes_to_tensorboard_and_wandb_too(tiny_dataset: str, tmp_path: Path, monkeypatch: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said: list[Any] = []
    wandb = types.ModuleType("wandb")
    run = types.SimpleNamespace(log=lambda values, step: said.append((step, values["train/loss"])), finish=lambda: None)
    wandb.init = lambda **options: said.append(options["project"]) or run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    four_steps(tiny_dataset, tmp_path, tensorboard=True, wandb="colours")
    assert said == ["colours", *losses(tmp_path).items()]
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in board.Scalars("train/loss")] == pytest.approx(list(losses(tmp_path).values()))

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"^log\.wandb needs the package wandb"):
        four_steps(tiny_dataset, tmp_path / "none", wandb="colours")


def test_without_tensorboard_the_log_says_so_once(
    tiny_dataset: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    four_steps(tiny_dataset, tmp_path, tensorboard=True)
    assert capsys.readouterr().err.count("TensorBoard is not installed") == 1


def test_every_key_has_a_word_here_or_in_the_loops_tests() -> None:
    told = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    keys = ["dataset", "name", "seed", *OLD_KEYS]
    assert not [key for key in keys if f'"{key}"' not in told and f"{key}=" not in told]


def test_what_only_costs_time_may_change_when_a_run_goes_on(tiny_dataset: str, tmp_path: Path) -> None:
    config = config_of(tiny_dataset, epochs=1)
    train(config, str(tmp_path), quiet)
    other = with_changes(config, compile=True, parallel="fsdp", on_nan="skip", grad_checkpointing=True, peak_tflops=1.0)
    assert train(with_changes(other, compile=False), str(tmp_path), quiet).step == 4
    with pytest.raises(ValueError, match=r"was begun with optimizer\.name 'adamw', not 'muon'"):
        train(with_changes(config, optimizer="muon"), str(tmp_path), quiet)


def test_numbers_of_one_process_need_no_other() -> None:
    alone = Processes(0, 1, torch.device("cpu"))
    assert (alone.sum(3), alone.gather("a")) == (3, ["a"])


def test_muon_in_shards_is_muon(tiny_dataset: str, tmp_path: Path) -> None:
    config = config_of(tiny_dataset, epochs=0.5, optimizer="muon", warmup_share=0.0, checkpoint_every=100)
    train(config, str(tmp_path / "one"), quiet)
    ranks.run(2, ranks.training(with_changes(config, parallel="fsdp"), str(tmp_path / "two")))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    here, there = weights(tmp_path / "two"), weights(tmp_path / "one")
    for name in there:
        torch.testing.assert_close(here[name], there[name], atol=1e-3, rtol=1e-2)


def test_a_config_of_true_and_false_is_read() -> None:
    assert load({"dataset": "out", "compile": True}).compute.compile is True
