"""open_clip_train's params.txt, which it writes into LOGS/NAME, as a config of ours."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset.store.storage import is_local
from dataset.webdataset.foreign import expand_braces
from train.from_open_clip.flags import DERIVED, FLAGS

FILE = "params.txt"
_LINE = re.compile(r"(\w+): ?(.*)")
_COPIED = re.compile(r"pipe:\s*aws\s+s3\s+cp\s+(s3://\S+)\s+-\s*")
_PURE = {"bf16": "bf16", "pure_bf16": "bf16", "fp16": "fp16", "pure_fp16": "fp16"}
_PRECISIONS = {"amp": "fp16", "amp_bf16": "bf16", "amp_bfloat16": "bf16", "fp32": "fp32", **_PURE}
_SCHEDULES = {"cosine": "cosine", "const": "constant", "const-cooldown": "constant"}


@dataclass
class Carried:
    """What a run of open_clip_train comes to here."""

    values: dict[str, Any] = field(default_factory=dict)
    """Keys of our config and their values."""
    lost: list[str] = field(default_factory=list)
    """What could not be carried over, a sentence each."""


def read(path: str) -> dict[str, str]:
    """Return the flags of a run, as written, by its params.txt or the folder that it lies in.

    Raises:
        ValueError: it is no params.txt.
        FileNotFoundError: there is none.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / FILE
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; open_clip_train writes it into LOGS/NAME")
    flags: dict[str, str] = {}
    last = ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if known := _LINE.fullmatch(line):
            last = known[1]
            flags[last] = known[2]
        elif last:  # a note of several lines
            flags[last] += f"\n{line}"
    if not {"model", "batch_size", "lr"} <= set(flags):
        raise ValueError(f"{file} is no {FILE} of open_clip_train's: it names no model, batch_size or lr")
    return flags


def carry(flags: Mapping[str, str]) -> Carried:
    """Return the config that does what these flags do, and what it cannot do. Raises ValueError for a flag's value that
    cannot be one.
    """
    run = _Run(flags)
    carried = Carried()
    for part in (_data, _batch, _optimizer, _schedule, _model, _tower, _pixels, _device, _log):
        part(run, carried)
    for name, text in flags.items():
        known = FLAGS.get(name)
        if known is None:
            if name not in DERIVED:
                carried.lost.append(f"{_flag(name)} {text} is not known here")
        elif known.kind in ("elsewhere", "none") and run.value(name) not in (known.default, None):
            by = f" ({known.ours})" if known.ours else ""
            carried.lost.append(f"{_flag(name)} {text} is not carried over: {known.remark}{by}".replace("`", ""))
    return carried


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class _Run:
    """A run's flags, by the kind of their values."""

    def __init__(self, flags: Mapping[str, str]):
        self.flags = flags

    def text(self, name: str) -> str:
        """A flag's text; empty where it is not set."""
        text = self.flags.get(name, str(FLAGS[name].default))
        return "" if text == "None" else text

    def value(self, name: str) -> Any:
        """A flag's value; its own default where it is not there."""
        if name not in self.flags:
            return FLAGS[name].default if name in FLAGS else None
        text = self.flags[name]
        try:
            return ast.literal_eval(text) if len(text) < 10_000 else text
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text

    def number(self, name: str, least: float = 0) -> Any:
        """A flag's number, or None where it is not set. Raises ValueError."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < math.inf:
            raise ValueError(f"{name} must be a number from {least:g} in {FILE}, not {self.flags.get(name)!r}")
        return value

    def whole(self, name: str, least: int = 1) -> int:
        """A flag's whole number. Raises ValueError."""
        value = self.number(name, least)
        if not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number from {least} in {FILE}, not {self.flags.get(name)!r}")
        return value

    def on(self, name: str) -> bool:
        """Whether a flag that is there or not is there."""
        return self.value(name) is True

    @property
    def processes(self) -> int:
        return self.whole("world_size") if "world_size" in self.flags else 1

    @property
    def steps_per_epoch(self) -> int | None:
        """The steps of an epoch as open_clip_train counts them for tars: its loader rounds up to whole batches
        of each of its workers.
        """
        samples = self.number("train_num_samples")
        if not samples:
            return None
        workers = max(1, self.whole("workers", 0))
        batches = math.ceil(samples / (self.whole("batch_size") * self.processes))
        return math.ceil(batches / workers) * workers // self.whole("accum_freq")


def _data(run: _Run, carried: Carried) -> None:
    kind = run.text("dataset_type")
    sources: dict[str, float] = {}
    parts = run.text("train_data").split("::") if run.text("train_data") else []
    factors_text = run.text("train_data_upsampling_factors")
    factors = factors_text.split("::") if factors_text else ["1"] * len(parts)
    if len(factors) != len(parts):
        raise ValueError(
            f"train_data_upsampling_factors must be one for each of train_data's in {FILE}, not {factors_text!r}"
        )
    for part, factor in zip(parts, factors, strict=True):
        url = copied[1] if (copied := _COPIED.fullmatch(part)) else part.strip()
        if url.startswith("pipe:"):
            carried.lost.append(
                f"--train-data {part} is not carried over: a program's output is not read; name the tars' URL"
            )
        elif kind not in ("webdataset", "auto") or not url.endswith(".tar"):
            carried.lost.append(
                f"--train-data {part} is not carried over: {FLAGS['csv_separator'].remark}".replace("`", "")
            )
        else:
            sources[url] = sources.get(url, 0) + _positive(factor) * _tars(url)
    if kind == "synthetic":
        carried.lost.append("--dataset-type synthetic is not carried over: a run reads tars")
    if not sources:
        carried.lost.append("the config has no dataset: name it with --set dataset=URL")
        return
    first, *others = sources
    carried.values["dataset"] = first
    if others:
        carried.values["mixture"] = {url: round(sources[url] / sources[first], 6) for url in others}
        carried.lost.append(
            "the weights of the mixture are those of the numbers of tars, as if all tars were equally large"
        )
    if not all(map(is_local, sources)):
        carried.values["shuffle"] = "blocks"


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"train_data_upsampling_factors must be numbers above 0 in {FILE}, not {text!r}")
    return number


def _tars(url: str) -> int:
    return len(expand_braces(url))


def _batch(run: _Run, carried: Carried) -> None:
    at_once, turns = run.whole("batch_size"), run.whole("accum_freq")
    carried.values["batch_size"] = at_once * turns * run.processes
    if turns > 1 or run.processes > 1:
        carried.values["micro_batch"] = at_once
    if "world_size" not in run.flags:
        carried.lost.append("params.txt has no world_size: batch_size is that of one process")
    epochs = run.whole("epochs")
    if (steps := run.steps_per_epoch) is not None:
        carried.values["samples_seen"] = steps * epochs * carried.values["batch_size"]
    carried.values["epochs"] = float(epochs)
    carried.values["workers"] = run.whole("workers", 0)
    carried.values["seed"] = run.whole("seed", 0)
    if name := run.text("name").replace("/", "-").lstrip("."):
        carried.values["name"] = name


def _optimizer(run: _Run, carried: Carried) -> None:
    values = carried.values
    names = {"lr": "learning_rate", "wd": "weight_decay", "beta1": "beta1", "beta2": "beta2", "eps": "epsilon"}
    for theirs, ours in names.items():
        if (value := run.number(theirs)) is not None:
            values[ours] = float(value)
    limit = run.number("grad_clip_norm")
    values["grad_clip"] = math.inf if limit is None else float(limit)
    optimizer = run.text("opt").lower()
    values["optimizer"] = "muon" if optimizer == "timm/muon" else "adamw"
    if optimizer != "adamw":
        taken = f"{values['optimizer']}, for the matrices of blocks" if values["optimizer"] == "muon" else "adamw"
        carried.lost.append(f"--opt {optimizer} is not here as it is there; the config has {taken}")


def _schedule(run: _Run, carried: Carried) -> None:
    values = carried.values
    name = run.text("lr_scheduler")
    if name not in _SCHEDULES:
        raise ValueError(f"lr_scheduler must be {', '.join(_SCHEDULES)} in {FILE}, not {name!r}")
    values["schedule"] = _SCHEDULES[name]
    values["warmup_steps"] = run.whole("warmup", 0)
    values["cooldown_share"] = 0.0
    if name == "const-cooldown" and (cooldown := run.number("epochs_cooldown")) is not None:
        values["cooldown_share"] = cooldown / run.whole("epochs")
    if run.on("skip_scheduler"):
        values |= {"schedule": "constant", "warmup_steps": 0, "cooldown_share": 0.0}
    if not values["warmup_steps"] or values["schedule"] == "constant":
        values["warmup_share"] = 0.0
    if values["schedule"] == "cosine":
        del values["cooldown_share"]


def _model(run: _Run, carried: Carried) -> None:
    model = run.text("model")
    if run.on("force_quick_gelu") and not model.endswith("-quickgelu"):
        model = f"{model}-quickgelu"
    carried.values["model"] = model
    if ":" in model:
        carried.lost.append(f"--model {model} is not carried over: export it, and name its JSON by the key model")
    for theirs, ours in (("pretrained", "pretrained"), ("resume", "resume")):
        if (text := run.text(theirs)) and text != "latest":
            carried.values[ours] = text
    for theirs, ours in (("force_context_length", "context_length"), ("force_patch_dropout", "patch_dropout")):
        if (value := run.number(theirs)) is not None:
            carried.values[ours] = value
    size = run.value("force_image_size")
    sides = set(size) if isinstance(size, (list, tuple)) else {size} - {None}
    if len(sides) > 1:
        carried.lost.append(f"--force-image-size {size} is not carried over: images are square")
    elif sides:
        carried.values["image_size"] = sides.pop()
    carried.values["loss"] = "sigmoid" if run.on("siglip") else "softmax"


def _tower(run: _Run, carried: Carried) -> None:
    groups = {"image": "lock_image_unlocked_groups", "text": "lock_text_unlocked_layers"}
    locked = [tower for tower in groups if run.on(f"lock_{tower}")]
    if len(locked) > 1:
        carried.lost.append("--lock-text is not carried over: one tower can be locked, not both")
    if locked and "pretrained" not in carried.values:
        carried.lost.append(f"--lock-{locked[0]} is not carried over: it needs --pretrained")
    elif locked:
        carried.values["lock"] = locked[0]
        carried.values["unlocked_groups"] = run.whole(groups[locked[0]], 0)


def _pixels(run: _Run, carried: Carried) -> None:
    augmentations = run.value("aug_cfg")
    changes = dict(augmentations) if isinstance(augmentations, dict) else {}
    scale = changes.pop("scale", (0.9, 1.0))
    try:
        least, most = map(float, scale)
    except (TypeError, ValueError):
        raise ValueError(f"aug_cfg's scale must be two numbers in {FILE}, not {scale!r}") from None
    carried.values |= {"crop": "resized", "crop_min": least}
    if most != 1:
        carried.lost.append(
            f"--aug-cfg scale={scale} is carried over without its upper end: a crop may be the whole image"
        )
    if rest := ", ".join(f"{name}={value}" for name, value in changes.items() if value not in (None, False)):
        carried.lost.append(f"--aug-cfg {rest} is not carried over: the crop alone is drawn")


def _device(run: _Run, carried: Carried) -> None:
    device = run.text("device").partition(":")[0]
    if device not in ("cuda", "cpu"):
        carried.lost.append(f"--device {device} is not carried over: a run computes on CUDA or the CPU")
    carried.values["device"] = "cpu" if device == "cpu" else "auto"
    precision = run.text("precision")
    if precision not in _PRECISIONS:
        raise ValueError(f"precision must be {', '.join(_PRECISIONS)} in {FILE}, not {precision!r}")
    carried.values["precision"] = _PRECISIONS[precision]
    if precision in _PURE:
        carried.lost.append(
            f"--precision {precision}: the towers compute in 16 bits, but weights and loss stay float32"
        )
    carried.values["grad_checkpointing"] = run.on("grad_checkpointing")
    carried.values["compile"] = run.on("torchcompile")


def _log(run: _Run, carried: Carried) -> None:
    values = carried.values
    values["log_every"] = run.whole("log_every_n_steps")
    reported = run.text("report_to")
    if "wandb" in reported or "all" in reported:
        values["wandb"] = run.text("wandb_project_name")
    epochs, every = run.whole("epochs"), run.whole("save_frequency", 0) or run.whole("epochs")
    values["keep"] = 1 if run.on("delete_previous_checkpoint") else math.ceil(epochs / every)
    if (steps := run.steps_per_epoch) is not None:
        values["checkpoint_every"] = max(1, steps * min(every, epochs))
    else:
        carried.lost.append(
            "--save-frequency is not carried over: without --train-num-samples the steps of an epoch are not known; "
            "checkpoint_every is its default"
        )
