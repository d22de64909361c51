"""Every flag of open_clip_train, and what says the same here. docs/open_clip_train.md shows this table.

A flag is `carried` into keys of our config; or `met`, where a run of ours does as the flag says, or has no need of it;
or it is another command's (`elsewhere`); or there is nothing like it (`none`). A flag of the last two kinds that a run
has set is said to its user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from train.config import place_of


@dataclass(frozen=True)
class Flag:
    """One of open_clip_train's flags."""

    kind: Literal["carried", "met", "elsewhere", "none"]
    ours: str
    """Our keys, or what else says the same; empty where nothing does."""
    remark: str
    """How the two differ, or why there is nothing like it."""
    default: Any = None
    """The flag's own default: a run that has it has set nothing."""


def _carried(keys: str, remark: str, default: Any = None) -> Flag:
    return Flag("carried", ", ".join(map(place_of, keys.split(", "))), remark, default)


def _met(remark: str, default: Any = False) -> Flag:
    return Flag("met", "", remark, default)


def _elsewhere(ours: str, remark: str, default: Any = None) -> Flag:
    return Flag("elsewhere", ours, remark, default)


def _none(remark: str, default: Any = None) -> Flag:
    return Flag("none", "", remark, default)


_EXAMINED = (
    "a model is examined while it trains by `tasks`, `evaluators` and `evaluate_every` (in steps), and any checkpoint "
    "by `wit eval`"
)
_CSV = "a run reads tars alone; `wit run` makes them of a table of URLs and captions"
_COCA = "a CoCa model, which also writes captions, is refused: the loss is contrastive alone"
_DISTILLED = "a model learns from its data, not from another model"
_SIZES = "images are prepared as the model's config says, or as `pretrained` was"

FLAGS = {
    # Data
    "train_data": _carried(
        "dataset, mixture",
        "the tars' URL, with its braces. Sources parted by `::` are a mixture by the number of their tars; "
        "`pipe:aws s3 cp URL -` becomes the URL",
    ),
    "train_data_upsampling_factors": _carried("mixture", "the factor × the number of the source's tars"),
    "train_num_samples": _carried(
        "samples_seen",
        "with `epochs`, as many steps as open_clip_train makes, which rounds an epoch up to whole batches of each "
        "loader; without it, `epochs` counts what the tars have",
    ),
    "val_data": _elsewhere("wit eval --dataset OUT", _EXAMINED),
    "val_num_samples": _elsewhere("wit eval --pairs N", _EXAMINED),
    "dataset_type": _carried("dataset", f"`webdataset`; {_CSV}", "auto"),
    "dataset_resampled": _none("an epoch has each sample once; nothing is drawn twice", False),
    "csv_separator": _none(_CSV, "\t"),
    "csv_img_key": _none(_CSV, "filepath"),
    "csv_caption_key": _none(_CSV, "title"),
    "imagenet_val": _elsewhere("wit eval --tasks DIR", _EXAMINED),
    "imagenet_v2": _elsewhere("wit eval --tasks DIR", _EXAMINED),
    "workers": _carried("workers", "processes that read, of each rank", 4),
    "seed": _carried("seed", "the weights and the order that it gives are not the same", 0),
    # Where
    "name": _carried("name", "without a name, the run has that which open_clip_train made for it"),
    "logs": _elsewhere("--out RUN", "a run lies in DATASET/runs/NAME, or where `--out` says", "./logs/"),
    "cache_dir": _elsewhere("HF_HOME", "the environment says where downloads are kept"),
    "remote_sync": _elsewhere("--out s3://…", "a run may lie in a bucket: checkpoints are written there at once"),
    "remote_sync_frequency": _met("every checkpoint is in the bucket when it is written", 300),
    "remote_sync_protocol": _met("the URL says it", "s3"),
    "copy_codebase": _none("nothing copies the code; name the version that you run", False),
    # Steps
    "batch_size": _carried(
        "batch_size, micro_batch",
        "ours counts all processes and micro-batches: × `world_size` × `accum_freq`; `micro_batch` is what a device "
        "held at a time",
        64,
    ),
    "accum_freq": _carried("batch_size, micro_batch", "gradients are those of the whole batch, in both", 1),
    "epochs": _carried("epochs, samples_seen", "see `--train-num-samples`", 32),
    "lr": _carried("learning_rate", ""),
    "beta1": _carried("beta1", ""),
    "beta2": _carried("beta2", "0, our default, goes by the image tower, theirs by the model's name"),
    "eps": _carried("epsilon", "as `beta2`"),
    "wd": _carried("weight_decay", "", 0.2),
    "momentum": _none("AdamW has none; Muon's is torch's default"),
    "opt": _carried("optimizer", "`adamw`; timm's optimizers are not here, but for muon", "adamw"),
    "grad_clip_norm": _carried("grad_clip", "without it `.inf`: our default is 1.0"),
    "lr_scheduler": _carried("schedule, cooldown_share", "`const` is constant with `cooldown_share: 0`", "cosine"),
    "warmup": _carried("warmup_steps", "without a warm-up `warmup_share: 0`", 10000),
    "epochs_cooldown": _carried("cooldown_share", "its share of `epochs`"),
    "lr_cooldown_end": _none("a cooldown ends at zero", 0.0),
    "lr_cooldown_power": _none("a cooldown is linear", 1.0),
    "skip_scheduler": _carried("schedule, cooldown_share", "constant, without warm-up and cooldown", False),
    # Model
    "model": _carried("model", "a name of open_clip's; of a model of the Hub, its JSON file", "RN50"),
    "pretrained": _carried("pretrained", "a tag of open_clip's or a file", ""),
    "pretrained_image": _none("timm's ImageNet weights are not loaded; `pretrained` is a whole CLIP's", False),
    "force_quick_gelu": _carried("model", "the model's twin, such as ViT-B-32-quickgelu, where it has one", False),
    "force_image_size": _carried("image_size", "square"),
    "force_context_length": _carried("context_length", ""),
    "force_patch_dropout": _carried("patch_dropout", ""),
    "force_custom_text": _none("the towers are as the model's config has them", False),
    "use_bnb_linear": _none("no layer computes in 8 bits"),
    "lock_image": _carried("lock", "needs `pretrained`", False),
    "lock_image_unlocked_groups": _carried("unlocked_groups", "", 0),
    "lock_image_freeze_bn_stats": _met("a locked tower's statistics are always frozen"),
    "lock_text": _carried("lock", "needs `pretrained`; one tower can be locked, not both", False),
    "lock_text_unlocked_layers": _carried("unlocked_groups", "", 0),
    "lock_text_freeze_layer_norm": _met("a locked tower's LayerNorms are always frozen"),
    # Pixels
    "aug_cfg": _carried("crop, crop_min", "`resized` by `scale`; the colours stay as they are", {}),
    "image_mean": _none(_SIZES),
    "image_std": _none(_SIZES),
    "image_interpolation": _none(f"{_SIZES}; training crops are bicubic"),
    "image_resize_mode": _none(_SIZES),
    # Loss
    "siglip": _carried("loss", "sigmoid", False),
    "local_loss": _met("the loss is of all pairs, in tiles: no process holds the whole matrix"),
    "gather_with_grad": _met("gradients are those of the whole batch"),
    "loss_dist_impl": _met("one implementation for both losses", None),
    "coca_caption_loss_weight": _none(_COCA, 2.0),
    "coca_contrastive_loss_weight": _none(_COCA, 1.0),
    "distill_model": _none(_DISTILLED),
    "distill_pretrained": _none(_DISTILLED),
    # Device
    "device": _carried("device", "`cuda` is `auto`; others than CUDA and CPU are not here", "cuda"),
    "precision": _carried(
        "precision",
        "`amp` is fp16, `amp_bf16` bf16; with the pure ones, whose weights have 16 bits, ours stay float32",
        "amp",
    ),
    "grad_checkpointing": _carried("grad_checkpointing", "", False),
    "torchcompile": _carried("compile", "", False),
    "torchscript": _none("models are compiled by torch.compile alone", False),
    "trace": _none("for evaluation alone; `wit export --onnx` writes a graph", False),
    "use_bn_sync": _met("BatchNorm takes its statistics over all processes, always"),
    "ddp_static_graph": _met("needs no word"),
    "horovod": _none("torchrun, SLURM or Ray start the processes", False),
    "dist_url": _elsewhere("torchrun", "torchrun, SLURM or Ray say where processes meet"),
    "dist_backend": _met("NCCL on GPUs, gloo on CPUs", None),
    "no_set_device_rank": _met("a process that is shown one GPU takes it"),
    # Checkpoints and log
    "save_frequency": _carried("checkpoint_every, keep", "in steps, if `--train-num-samples` is there; all stay", 1),
    "save_most_recent": _met("`checkpoints/latest` names the newest"),
    "delete_previous_checkpoint": _carried("keep", "1; the best is kept besides", False),
    "resume": _carried("resume", "`latest` needs no word: the same command goes on where the run was"),
    "zeroshot_frequency": _elsewhere("wit eval", _EXAMINED, 2),
    "val_frequency": _elsewhere("wit eval", _EXAMINED, 1),
    "log_every_n_steps": _carried("log_every", "", 100),
    "log_local": _met("the first process logs; each writes its own failure"),
    "report_to": _carried("tensorboard, wandb", "log.jsonl is written always", ""),
    "wandb_project_name": _carried("wandb", "", "open-clip"),
    "wandb_notes": _none("notes are written in Weights & Biases itself", ""),
    "debug": _elsewhere("wit --debug train", "shows the whole trace of an error", False),
}  # fmt: skip

DERIVED = frozenset(
    {
        *(
            "rank",
            "world_size",
            "local_rank",
            "distributed",
            "distill",
            "log_path",
            "log_level",
            "wandb",
            "tensorboard",
        ),
        *("tensorboard_path", "checkpoint_path"),
    }
)
"""What params.txt has besides: open_clip_train makes it of the flags and of the processes that it is started in."""
