"""Figures with their chance, interval and random-init baseline; features are encoded once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from tests.train import tiny
from tests.train.evaluate import helpers
from train.evaluate import features as module
from train.evaluate import registry
from train.evaluate.encoders import open_encoder, random_init
from train.evaluate.evaluators import retrieval, zero_shot
from train.evaluate.features import Features
from train.evaluate.results import row
from train.evaluate.results.row import Row
from train.evaluate.sets import SetError
from train.evaluate.sets.open import open_set
from train.evaluate.view import ensemble, prompt_features, ranks


def test_zero_shot_is_the_nearest_class_and_says_how_sure_it_is(tmp_path: Path) -> None:
    what = open_set(helpers.clip_benchmark_folder(tmp_path / "set"))
    features = Features(helpers.encoder(), None)
    found = helpers.run("zero_shot", what, features)
    texts = [template.replace("{c}", name) for name in what.classes for template in what.templates]
    classes = features.encoder.texts(texts).reshape(6, 3, -1).mean(1)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    embedded = features.images(what.test).embeddings
    assert what.test.labels is not None
    right = (embedded @ classes.T).argmax(1) == what.test.labels
    acc1 = found.figures["acc1"]
    assert (acc1.value, acc1.n, acc1.chance) == (right.mean(), 18, 1 / 6)
    assert acc1.low is not None and acc1.high is not None and acc1.low <= right.mean() <= acc1.high
    assert found.right == "".join("1" if each else "0" for each in right)
    assert [line["n"] for line in found.tables["per_class"]] == [3] * 6
    assert np.array(found.tables["confusion"]).sum() == 18


def test_templates_are_ensembled_as_the_unit_mean_of_unit_features() -> None:
    def read(texts: Sequence[str]) -> np.ndarray:
        rows = [np.random.default_rng(list(text.encode())).normal(size=8) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)

    templates = ["{}", "a photo of a {}.", "{c} and {}"]
    features = ensemble(prompt_features(read, ["cat", "dog"], templates))
    for found, name in zip(features, ["cat", "dog"], strict=True):
        mean = read([name, f"a photo of a {name}.", f"{name} and {name}"]).mean(0)
        assert found == pytest.approx(mean / np.linalg.norm(mean), rel=1e-5)


def test_a_damaged_image_is_counted_and_not_asked(tmp_path: Path) -> None:
    folder = helpers.class_folders(tmp_path / "set")
    (folder / "red_blue" / "1.jpg").write_bytes(b"no image")
    found = helpers.run("zero_shot", open_set(folder))
    assert (found.damaged, found.figures["acc1"].n) == (1, 11)
    for file in folder.glob("*/*.jpg"):
        file.write_bytes(b"")
    with pytest.raises(SetError, match="no image of set test can be read"):
        helpers.run("zero_shot", open_set(folder))


def test_prompts_are_ablated_in_one_table(tmp_path: Path) -> None:
    what = open_set(helpers.clip_benchmark_folder(tmp_path / "set"))
    features = Features(helpers.encoder(), None)
    found = helpers.run("prompt_ablation", what, features)
    ways = ("name_only", "one_template", "ensemble_probability", "ensemble_embedding")
    assert [name.removeprefix("acc1_") for name in found.figures if name.startswith("acc1")] == list(ways)
    whole = helpers.run("zero_shot", what, features)
    assert found.metrics["acc1_ensemble_embedding"] == whole.metrics["acc1"]


def test_any_caption_of_an_image_is_a_hit_and_chance_knows_how_many_there_are() -> None:
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[0, 1, 0], [0.9, 0.1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    owner = np.array([0, 0, 1, 1, 2])
    by_text, by_image = retrieval.rank_both(images, texts, owner)
    assert by_text.tolist() == [2, 1, 1, 2, 1]
    assert by_image.tolist() == [2, 2, 1]  # image 1: its own caption ties with one that stands before it
    figures = retrieval.recalls(by_text, by_image, owner)
    assert figures["image_retrieval_recall@1"].value == pytest.approx(3 / 5)
    assert figures["image_retrieval_recall@1"].chance == pytest.approx(1 / 3)
    assert figures["text_retrieval_recall@1"].chance == pytest.approx((2 / 5 + 2 / 5 + 1 / 5) / 3)
    assert figures["text_retrieval_recall@10"].value == 1 == figures["text_retrieval_recall@10"].chance


def test_a_model_that_sees_no_difference_gets_what_chance_gives() -> None:
    scores = np.ones((60, 6), np.float32)
    answer = np.arange(60) % 6
    assert (ranks(scores, answer) == 1).mean() == pytest.approx(1 / 6)


def test_the_mean_over_classes_leaves_out_those_without_images() -> None:
    right, labels = np.array([True, False, True, True]), np.array([0, 0, 2, 2])
    figure = row.mean_share(right, labels, 1 / 3)
    assert figure.value == pytest.approx(0.75)
    assert figure.low is not None and figure.high is not None and figure.low < 0.75 < figure.high <= 1


def test_wilsons_interval_is_the_textbooks() -> None:
    assert row.wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert row.wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_average_precision_is_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 4)), rng.random((50, 4)) < 0.3
    expected = [metrics.average_precision_score(labels[:, k], scores[:, k]) for k in range(4)]
    assert zero_shot.average_precisions(scores, labels) == pytest.approx(expected)


def test_features_are_encoded_once_per_weights_and_files(tmp_path: Path) -> None:
    folder = helpers.class_folders(tmp_path / "set")
    kept = tmp_path / "kept"
    first = Features(helpers.encoder(), kept)
    one = helpers.run("zero_shot", open_set(folder), first)
    assert first.encoded == 12
    again = Features(helpers.encoder(), kept)
    assert helpers.run("zero_shot", open_set(folder), again).to_dict() == one.to_dict()
    helpers.run("prompt_ablation", open_set(folder), again)
    assert again.encoded == 0
    other = Features(helpers.encoder(seed=1), kept)
    helpers.run("zero_shot", open_set(folder), other)
    assert other.encoded == 12
    (folder / "red_blue" / "0.jpg").write_bytes(helpers.picture("red blue", 7))
    changed = Features(helpers.encoder(), kept)
    helpers.run("zero_shot", open_set(folder), changed)
    assert changed.encoded == 12
    for file in kept.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:100])  # damaged: encoded anew, never believed
    damaged = Features(helpers.encoder(), kept)
    assert helpers.run("zero_shot", open_set(helpers.class_folders(tmp_path / "b")), damaged).metrics
    assert helpers.run("zero_shot", open_set(folder), damaged).metrics and damaged.encoded == 24


def test_what_was_killed_goes_on_after_the_last_whole_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    what = open_set(helpers.class_folders(tmp_path / "set", each=5))
    (tmp_path / "set" / "red_blue" / "0.jpg").write_bytes(b"no image")
    whole = Features(helpers.encoder(), None).images(what.test)
    monkeypatch.setattr(module, "PIECE", 8)
    killed = Features(helpers.encoder(), tmp_path / "kept")
    real, calls = killed.encoder.towers, iter([True, True, False])
    monkeypatch.setattr(killed.encoder, "towers", lambda pixels: real(pixels) if next(calls) else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        killed.images(what.test)
    told: list[tuple[str, int, int]] = []
    again = Features(helpers.encoder(), tmp_path / "kept", lambda *each: told.append(each))
    found = again.images(what.test)
    assert again.encoded == 29 - 16 and told[-1] == ("images", 30, 30)
    assert found.rows.tolist() == whole.rows.tolist() and found.damaged == 1
    assert found.embeddings == pytest.approx(whole.embeddings, abs=1e-6)
    assert found.before_projection == pytest.approx(whole.before_projection, abs=1e-5)


def test_random_weights_are_of_the_same_architecture_and_of_a_seed() -> None:
    model = helpers.encoder(seed=5)
    first, again, other = random_init(model, 1), random_init(model, 1), random_init(model, 2)
    assert first.identity() == again.identity() != other.identity() != model.identity()
    assert first.texts(["a"]).shape == model.texts(["a"]).shape


def test_what_is_before_the_projection_is_what_the_projection_is_given() -> None:
    import torch

    encoder = helpers.encoder()
    pixels = torch.zeros(2, 3, 32, 32)
    embedded, before = encoder.towers(pixels)
    assert before.shape == (2, 32) and embedded.shape == (2, 16)
    projected = before @ encoder.model.visual.proj.detach().numpy()
    assert projected / np.linalg.norm(projected, axis=1, keepdims=True) == pytest.approx(embedded, abs=1e-5)


def test_rows_go_through_json_unchanged(tmp_path: Path) -> None:
    found = helpers.run("zero_shot", open_set(helpers.class_folders(tmp_path / "set")))
    assert Row.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="not a row"):
        Row.from_dict({"dataset": "x"})


def test_the_command_line_gives_rows_with_dataset_model_task_and_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helpers.class_folders(tmp_path / "set")
    retrieved = helpers.retrieval_folder(tmp_path / "r")
    words = [
        "eval",
        f"open_clip:{tiny.MODEL}",
        "--tasks",
        str(folder),
        str(retrieved),
        "--features",
        str(tmp_path / "f"),
    ]
    assert main([*words, "--format", "json", "--output", str(tmp_path / "rows.json"), "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {(line["dataset"], line["task"]) for line in rows} >= {
        ("set", "zero_shot"),
        ("r", "retrieval"),
        ("set", "prompt_ablation"),
    }
    for line in rows:
        assert line["model"] == tiny.MODEL and line["pretrained"] == "random"
        for name, figure in line["figures"].items():
            assert line["metrics"][name] == figure["value"]
            if figure["value"] is not None:
                assert figure["n"] and figure["low"] <= figure["value"] <= figure["high"]
                assert figure["random_init"] is not None
    capsys.readouterr()
    assert main([*words, "--evaluators", "zero_shot,retrieval", "--format", "csv", "--no-baseline"]) == 0
    assert capsys.readouterr().out.startswith("dataset,model,pretrained,task,metric")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--evaluators", "zeroshot"], "did you mean zero_shot?"),
        (["--output", "nowhere/x.json"], "there is no folder"),
        (["--format", "parquet"], "needs --output FILE"),
        (["--pairs", "1"], "--pairs must be at least 2"),
    ],
)
def test_usage_errors_are_told_in_a_sentence(
    tmp_path: Path, more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = helpers.class_folders(tmp_path / "set", each=1)
    assert main(["eval", f"open_clip:{tiny.MODEL}", "--tasks", str(folder), *more]) == 2
    assert words in capsys.readouterr().err


def test_an_evaluator_that_fits_no_set_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = helpers.class_folders(tmp_path / "set", each=1)
    words = [
        "eval",
        f"open_clip:{tiny.MODEL}",
        "--tasks",
        str(folder),
        "--evaluators",
        "retrieval",
        "--features",
        str(tmp_path),
    ]
    assert main(words) == 2
    assert "retrieval can examine none of the sets: its images have no captions" in capsys.readouterr().err


def test_the_evaluators_are_the_files() -> None:
    assert {"zero_shot", "retrieval", "prompt_ablation"} <= set(registry.names())
    with pytest.raises(ValueError, match="zero_shot has no option shots"):
        registry.evaluators({"zero_shot": {"shots": 1}})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("few_shot", {"seeds": 0}),
        ("few_shot", {"shots": [2, 0]}),
        ("few_shot", {"shots": ["a"]}),
        ("few_shot", {"seeds": True}),
        ("retrieval", {"pairs": -1}),
        ("bias", {"thresholds": [0.5, "a"]}),
        ("hierarchy", {"depths": 2}),
    ],
)
def test_options_are_of_the_kind_and_size_of_their_defaults(name: str, options: dict[str, object]) -> None:
    (key,) = options
    with pytest.raises(ValueError, match=rf"{name}\.{key} must be such as"):
        registry.evaluators({name: options})
    assert registry.evaluators({"bias": {"thresholds": [0, 0.5], "attributes": ["race"]}})


def test_what_a_set_lacks_for_one_evaluator_leaves_the_others_unless_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    helpers.class_folders(tmp_path / "set" / "test", each=1)
    helpers.class_folders(tmp_path / "set" / "train", each=1, classes=["red blue"])
    words = ["eval", f"open_clip:{tiny.MODEL}", "--tasks", str(tmp_path / "set"), "--features", str(tmp_path / "f")]
    assert main([*words, "--format", "csv", "--no-baseline"]) == 0
    told = capsys.readouterr()
    assert ",zero_shot,acc1" in told.out
    assert "linear_probe passes over set: set has training images of fewer than two classes" in told.err
    assert main([*words, "--evaluators", "zero_shot,linear_probe"]) == 2
    assert "fewer than two classes" in capsys.readouterr().err


def test_a_random_model_is_at_chance(tmp_path: Path) -> None:
    """Over five seeds, within a 99 % interval of the mean."""
    folder = helpers.class_folders(tmp_path / "set", each=1, classes=tiny.CAPTIONS)
    (folder / "templates.txt").write_text("{}")
    what = open_set(folder)
    values = [
        helpers.run("zero_shot", what, Features(helpers.encoder(seed), None)).metrics["acc1"] for seed in range(5)
    ]
    n, chance = 5 * 64, 1 / 64
    assert abs(np.mean(np.array(values, float)) - chance) < 2.58 * np.sqrt(chance * (1 - chance) / n)


def test_a_hugging_face_folder_gives_what_transformers_gives(tmp_path: Path) -> None:
    import torch
    import transformers

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 49408, "max_position_embeddings": 16, "eos_token_id": 49407},
        vision_config={**sizes, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    theirs = transformers.CLIPModel(config).eval()
    theirs.save_pretrained(tmp_path / "hf")
    ours = open_encoder(str(tmp_path / "hf"), "cpu", 4)
    pixels, tokens = torch.randn(3, 3, 32, 32), ours.clip.tokenize(["a cat", "two dogs on grass"])
    with torch.inference_mode():
        seen = theirs.vision_model(pixels).pooler_output
        expected = torch.nn.functional.normalize(theirs.visual_projection(seen), dim=-1).numpy()
        read = theirs.text_model(input_ids=tokens).pooler_output
        texts = torch.nn.functional.normalize(theirs.text_projection(read), dim=-1).numpy()
    embedded, before = ours.towers(pixels)
    assert embedded == pytest.approx(expected, abs=1e-5)
    assert before == pytest.approx(seen.numpy(), abs=1e-4)
    assert ours.texts(["a cat", "two dogs on grass"]) == pytest.approx(texts, abs=1e-5)
