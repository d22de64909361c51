"""A stranger's checkpoint or exported folder runs nothing and fetches nothing, whatever its model config says."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest

from pipeline.cli import main
from tests.train import tiny
from train.checkpoints import checkpoint
from train.checkpoints.export import export
from train.checkpoints.load import load_clip
from train.config import from_keys
from train.loop import train
from train.models import foreign_config
from train.models.clip import create, preprocess_dict, restore

CODE = """
from pathlib import Path
from transformers import PreTrainedTokenizer

Path({witness!r}).write_text("ran")

class Evil(PreTrainedTokenizer):
    pass
"""


@pytest.fixture
def evil(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """What a stranger writes into text_cfg, and the file that is there once his code has run."""
    witness, folder = tmp_path / "witness", tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(CODE.format(witness=str(witness)))
    settings = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **settings}))
    return {"hf_tokenizer_name": str(folder), "tokenizer_kwargs": {"trust_remote_code": True}}, witness


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The addresses that were asked for, none of which answers."""
    asked: list[Any] = []

    def connect(own: socket.socket, address: Any) -> None:
        asked.append(address)
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(socket.socket(), address))
    return asked


def poisoned_run(run: str, folder: Path, **text: Any) -> str:
    shutil.copytree(run, folder)
    for path in folder.glob(f"checkpoints/step-*/{checkpoint.ABOUT}"):
        described = json.loads(path.read_text())
        del described["checksum"]  # a stranger's would be right; without one it is not asked for
        described["model_config"]["text_cfg"].update(text)
        path.write_text(json.dumps(described))
    return str(folder)


def poisoned_export(run: str, folder: Path, **text: Any) -> str:
    export(run, folder)
    path = folder / "open_clip_config.json"
    described = json.loads(path.read_text())
    described["model_cfg"]["text_cfg"].update(text)
    path.write_text(json.dumps(described))
    evil = Path(text.get("hf_tokenizer_name", ""))
    if evil.is_dir():
        shutil.copytree(evil, folder, dirs_exist_ok=True)
    return str(folder)


USES: dict[str, Callable[[str, str, Path], int]] = {
    "eval": lambda model, dataset, folder: main(["eval", model, "--dataset", dataset]),
    "export": lambda model, dataset, folder: main(["export", model, str(folder / "again")]),
    "overlap": lambda model, dataset, folder: main(["overlap", model, dataset, "--tasks", str(folder)]),
    "pretrained": lambda model, dataset, folder: pretrained(model, dataset, folder),
}


def pretrained(model: str, dataset: str, folder: Path) -> int:
    with pytest.raises(ValueError, match=r"may not|makes no model"):
        train(from_keys(dataset, model=tiny.MODEL, batch_size=16, workers=0, pretrained=model), str(folder / "next"))
    return 2


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("poisoned", [poisoned_run, poisoned_export])
def test_a_strangers_model_runs_no_code(
    tiny_run: str,
    tiny_dataset: str,
    tmp_path: Path,
    evil: tuple[dict[str, Any], Path],
    poisoned: Callable[..., str],
    use: str,
) -> None:
    text, witness = evil
    for number, given in enumerate((text, {"hf_tokenizer_name": text["hf_tokenizer_name"]})):
        model = poisoned(tiny_run, tmp_path / f"model{number}", **given)
        assert USES[use](model, tiny_dataset, tmp_path) == 2
    assert not witness.exists()


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("text_cfg", "hf_tokenizer_name", "stranger/tokenizer"),
        ("text_cfg", "hf_tokenizer_name", ["a"]),
        ("text_cfg", "hf_model_name", "stranger/model"),
        ("text_cfg", "tokenizer_kwargs", {"bpe_path": "/etc/hostname"}),
        ("text_cfg", "tokenizer_kwargs", {"use_fast": False}),
        ("text_cfg", "layers", 10**9),
        ("text_cfg", "vocab_size", True),
        ("text_cfg", "context_length", "77"),
        ("text_cfg", "context_length", 65_536),
        ("text_cfg", "hf_tokenizer_name", "a" * 5_000),
        ("vision_cfg", "mlp_ratio", 10**400),
        ("text_cfg", "newer", 1),
        ("vision_cfg", "timm_model_name", "hf-hub:stranger/model"),
        ("vision_cfg", "timm_model_name", "local-dir:/models"),
        ("vision_cfg", "timm_model_pretrained", True),
        ("vision_cfg", "image_size", 10**6),
        ("vision_cfg", "act_kwargs", {"anything": 1}),
        ("", "multimodal_cfg", {}),
        ("", "embed_dim", float("nan")),
        ("", "vision_cfg", []),
    ],
)
def test_a_key_or_value_that_is_not_listed_is_a_sentence(where: str, key: str, value: Any) -> None:
    config: dict[str, Any] = json.loads(json.dumps(tiny.CONFIG))
    (config[where] if where else config)[key] = value
    with pytest.raises(ValueError, match=r"^FILE (sets|must have) .*(may not|mapping as .*)$") as told:
        restore("tiny", config, {}, None, where="FILE")
    assert len(str(told.value)) < 220


def test_values_that_do_not_fit_together_are_a_sentence() -> None:
    config: dict[str, Any] = json.loads(json.dumps(tiny.CONFIG))
    config["text_cfg"]["heads"] = 7
    with pytest.raises(ValueError, match=r"^FILE makes no model: "):
        restore("tiny", config, {}, None, where="FILE")
    for key, value in (("size", 10**7), ("std", [0, 0, 0]), ("mean", [10**400] * 3)):
        with pytest.raises(ValueError, match=rf"preprocess_cfg\.{key} to"):
            restore("tiny", dict(tiny.CONFIG), {key: value}, None, where="FILE")


def test_a_model_too_large_for_any_machine_is_a_sentence() -> None:
    large: list[tuple[str, dict[str, Any]]] = [
        ("text_cfg", {"layers": 512, "width": 16_384}),
        ("vision_cfg", {"layers": [512] * 4, "width": 512}),
        ("vision_cfg", {"image_size": 4096, "patch_size": 1, "width": 768}),
    ]
    for section, more in large:
        config: dict[str, Any] = json.loads(json.dumps(tiny.CONFIG))
        config[section].update(more)
        with pytest.raises(ValueError, match=r"^FILE describes a model of some \S+ parameters, more than"):
            restore("tiny", config, {}, None, where="FILE")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("step", "../../x"),
        ("step", -1),
        ("score", None),
        ("config", ["ema"]),
        ("name", 7),
        ("index_fingerprint", {}),
        ("preprocess", []),
        ("sums", ["a"]),
        ("sums", {"a": 1}),
        ("scaler", "x"),
        ("", ["step", "score", "config", "index_fingerprint", "name", "model_config", "preprocess"]),
    ],
)
def test_whatever_a_checkpoint_says_of_itself_is_a_sentence(
    tmp_path: Path, tiny_run: str, key: str, value: Any
) -> None:
    run = Path(poisoned_run(tiny_run, tmp_path / "run"))
    for path in run.glob(f"checkpoints/step-*/{checkpoint.ABOUT}"):
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value} if key else value))
    with pytest.raises(ValueError, match="is not a checkpoint of this trainer, or is damaged"):
        load_clip(str(run))


def test_what_open_clip_itself_describes_is_allowed() -> None:
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        if "multimodal_cfg" not in config:
            foreign_config.check({**config, "init_logit_bias": -10.0}, {}, name)
    clip = create(tiny.MODEL)
    foreign_config.check(clip.config, preprocess_dict(clip), "ours")


def test_nothing_is_fetched(tmp_path: Path, tiny_run: str, no_network: list[Any]) -> None:
    named = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP"}  # one of open_clip's own, and not on this machine
    for model in (
        poisoned_run(tiny_run, tmp_path / "run", **named),
        poisoned_export(tiny_run, tmp_path / "x", **named),
    ):
        with pytest.raises(ValueError, match="makes no model"):
            load_clip(model)
    path = tmp_path / "model.json"
    path.write_text(json.dumps({**tiny.CONFIG, "text_cfg": {**tiny.CONFIG["text_cfg"], **named}}))  # type: ignore[dict-item]
    with pytest.raises(Exception, match=r"."):
        create(str(path))
    assert no_network == []
