"""Models are open_clip's, or ours, or a file's; the optimizer is the paper's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.train import tiny
from train.config import from_keys
from train.models.clip import create, pick_device, preprocess_dict, restore
from train.models.names import our_models
from train.optimizers import make_optimizers


def test_a_seed_gives_the_weights_and_leaves_torchs_own_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (create(tiny.MODEL, seed).model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visual.proj"], other["visual.proj"])


def test_our_models_embed_and_start_at_the_papers_scale() -> None:
    assert "openwit-tiny" in our_models()
    for name in our_models():
        clip = create(name)
        size = clip.image_size
        with torch.inference_mode():
            images, texts, scale = clip.model.eval()(torch.zeros(2, 3, size, size), clip.tokenize(["a cat", "a dog"]))
        assert images.shape == texts.shape == (2, clip.config["embed_dim"])
        assert scale.item() == pytest.approx(1 / 0.07)


def test_a_model_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "test-from-file.json"
    path.write_text(json.dumps({**tiny.CONFIG, "embed_dim": 12}))
    clip = create(str(path))
    assert (clip.name, clip.config["embed_dim"], clip.image_size) == ("test-from-file", 12, 32)


def test_an_unknown_model_is_one_sentence_with_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"^model must be an open_clip model or one of .*openwit-tiny.* mean ViT-B-32"):
        create("ViT-B-322")


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"embed_dim": 3}', "3"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"^model must "):
        create(str(path))
    with pytest.raises(ValueError, match=r"^model must be a readable JSON file"):
        create(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("name", "loss", "message"),
    [
        ("coca_base", "softmax", "model must be trained by contrast alone; 'coca_base' is not"),
        ("ViT-B-16-SigLIP", "softmax", "loss must be sigmoid for 'ViT-B-16-SigLIP', as its init_logit_bias says"),
    ],
)
def test_models_with_another_loss_are_refused(name: str, loss: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        create(name, loss=loss)


def test_the_sigmoid_loss_starts_from_siglips_scale_and_bias(tmp_path: Path) -> None:
    clip = create(tiny.MODEL, loss="sigmoid")
    own = tmp_path / "biased.json"
    own.write_text(json.dumps({**tiny.CONFIG, "init_logit_bias": -3.0}))
    biased = create(str(own), loss="sigmoid")
    again = restore(tiny.MODEL, clip.config, preprocess_dict(clip), clip.model.state_dict())
    values = [(model.logit_scale.exp().item(), model.logit_bias.item()) for model in (clip.model, biased.model)]
    assert values == [pytest.approx((10, -10)), pytest.approx((1 / 0.07, -3))]
    assert again.model.logit_bias.item() == -10
    assert create(tiny.MODEL).model.logit_bias is None


def test_a_checkpoints_model_is_restored_though_its_name_means_another_now() -> None:
    clip = create(tiny.MODEL, 3)
    config = {**clip.config, "text_cfg": {**clip.config["text_cfg"], "context_length": 9}}
    weights = clip.model.state_dict()
    weights["positional_embedding"] = weights["positional_embedding"][:9]
    preprocess = {**preprocess_dict(clip), "mean": [0.1, 0.2, 0.3]}
    back = restore(tiny.MODEL, config, preprocess, weights)
    assert back.tokenize(["a"]).shape == (1, 9)
    assert list(back.preprocess.mean) == [0.1, 0.2, 0.3]
    assert torch.equal(back.model.state_dict()["visual.proj"], weights["visual.proj"])
    assert create(tiny.MODEL).tokenize(["a"]).shape == (1, 12)


def test_gains_biases_and_the_logit_scale_are_not_decayed() -> None:
    model = create(tiny.MODEL).model
    decayed, others = make_optimizers(model, from_keys("out", weight_decay=0.2).optimizer)[0].param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {names[id(parameter)] for parameter in others["params"]}
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.2, 0.0)
    assert "logit_scale" in kept
    assert all(
        name.endswith("bias") or "ln_" in name or name in ("logit_scale", "visual.class_embedding") for name in kept
    )
    assert len(decayed["params"]) + len(kept) == len(names)


def test_betas_are_the_papers_by_kind_of_image_tower_or_the_configs() -> None:
    def kind(name: str, **more: float) -> tuple[tuple[float, float], float]:
        group = make_optimizers(create(name).model, from_keys("out", **more).optimizer)[0].param_groups[0]
        return group["betas"], group["eps"]

    assert kind(tiny.MODEL) == ((0.9, 0.98), 1e-6)
    assert kind("openwit-tiny") == ((0.9, 0.999), 1e-8)
    assert kind("openwit-tiny", beta1=0.8, beta2=0.95, epsilon=1e-6) == ((0.8, 0.95), 1e-6)


def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"^device must be auto or cpu here"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert pick_device("auto") == torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # as a scheduler does that gives each process one
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"^this machine has 2 GPUs, too few for its process number 4$"):
        pick_device("auto")
