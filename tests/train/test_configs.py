"""Every config that we give is one, and says of the papers what the papers say."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import open_clip
import pytest

from train.config import load
from train.logs.metrics import flops_per_sample
from train.models.clip import create, known_name

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
PAPER = {  # Radford et al. 2021, Tables 19 and 20: learning rate, embedding, pixels
    "clip_rn50": (5e-4, 1024, 224),
    "clip_rn101": (5e-4, 512, 224),
    "clip_rn50x4": (5e-4, 640, 288),
    "clip_rn50x16": (4e-4, 768, 384),
    "clip_rn50x64": (3.6e-4, 1024, 448),
    "clip_vit_b32": (5e-4, 512, 224),
    "clip_vit_b16": (5e-4, 512, 224),
    "clip_vit_l14": (4e-4, 768, 224),
    "clip_vit_l14_336": (2e-5, 768, 336),
}
FILES = sorted([*CONFIGS.glob("train_*.yaml"), *(CONFIGS / "train").glob("*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_names_a_model(path: Path) -> None:
    config = load(path)
    assert known_name(config.model.name)
    steps_per_epoch, steps = config.training.steps(400_000_000)
    assert config.schedule.warmup_steps < 0.2 * steps
    assert steps_per_epoch > 0
    if path.parent.name == "train":
        assert config.name in (path.stem, "b32")


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_models_have_the_papers_hyperparameters(name: str) -> None:
    config = load(CONFIGS / "train" / f"{name}.yaml")
    learning_rate, embedding, pixels = PAPER[name]
    model = open_clip.get_model_config(config.model.name)
    assert (config.optimizer.learning_rate, model["embed_dim"]) == (learning_rate, embedding)
    assert model["vision_cfg"]["image_size"] == pixels
    assert model["quick_gelu"]
    schedule, optimizer = config.schedule, config.optimizer
    assert (config.training.batch_size, optimizer.weight_decay, schedule.warmup_steps) == (32768, 0.2, 2000)
    assert config.optimizer.grad_clip == float("inf")  # neither the text nor a table of the paper has it
    assert config.training.epochs == (1 if name.endswith("336") else 32)
    assert config.training.steps(400_000_000)[1] == pytest.approx(390_625 * config.training.epochs / 32, rel=1e-3)


def test_datacomps_scales_see_what_they_may() -> None:
    for scale, seen in (("small", 12.8e6), ("medium", 128e6)):
        config = load(CONFIGS / "train" / f"datacomp_{scale}.yaml")
        assert config.training.steps(10_000_000)[1] * config.training.batch_size == pytest.approx(seen, rel=1e-3)


def test_the_hours_of_the_24_gb_config_are_its_operations_over_the_cards_speed() -> None:
    path = CONFIGS / "train" / "one_24gb_gpu.yaml"
    told = re.search(r"ETA: ([\d.]+) hours on an RTX 4090 at an MFU of (\d+) %", path.read_text())
    assert told is not None
    config = load(path)
    flops = flops_per_sample(create(config.model.name)) * config.training.samples_seen
    seconds = flops / (165.2e12 * int(told[2]) / 100)
    assert float(told[1]) == pytest.approx(seconds / 3600, abs=0.05)


def test_the_slurm_example_is_a_script_that_torchrun_and_the_trainer_understand(tmp_path: Path) -> None:
    from torch.distributed.run import get_args_parser

    path = CONFIGS / "train" / "slurm.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, flags=re.MULTILINE))
    assert options["ntasks-per-node"] == "1"
    assert options["signal"].startswith("TERM@")
    (example,) = re.findall(r"^#   sbatch (\S+) (\S+)$", text, flags=re.MULTILINE)
    assert all((CONFIGS.parent / name).is_file() for name in example)
    # What srun is given there, with SLURM's variables as it sets them.
    told = tmp_path / "told"
    for name, body in (("srun", f'printf "%q " "$@" > {told}'), ("scontrol", "echo node1")):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_NNODES": "4", "SLURM_JOB_ID": "7"}
    subprocess.run(["bash", str(path), *example[1:]], check=True, env=environment)
    words = shlex.split(told.read_text())
    assert words[1].endswith("torchrun")
    given = get_args_parser().parse_args(words[2:])
    assert (given.nnodes, given.nproc_per_node, given.rdzv_endpoint) == ("4", options["gpus-per-node"], "node1:29400")
    assert (given.module, given.training_script, given.training_script_args) == (True, "train", [example[1]])


def test_a_resnet_whose_images_end_as_one_pixel_has_its_operations_counted() -> None:
    small, own = (flops_per_sample(create("openwit-tiny", image_size=side)) for side in (32, 0))
    assert 0 < small < own
