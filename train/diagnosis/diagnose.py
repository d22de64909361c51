"""What to look at when the loss does not fall: a batch as the model sees it, and whether it can be learnt by heart."""

from __future__ import annotations

import base64
import io
import math
import tempfile
from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch
from PIL import Image

from dataset.webdataset import foreign
from train.config import TrainConfig, with_changes
from train.data import captions
from train.data.loader import Batch, Samples, open_corpus, samples_of
from train.distributed.collectives import Peers
from train.logs.metrics import duplicate_share
from train.loop import Progress, TrainingError, train
from train.models.clip import Clip, create_configured

STEPS = 300
LEARNT = 0.1
"""A loss at most this far above `loss_floor`, the least that a batch's repeated texts allow, counts as learnt."""


@dataclass(frozen=True)
class OverfitResult:
    """Whether a model could learn a batch by heart."""

    learnt: bool
    sentence: str


def first_batch(config: TrainConfig) -> tuple[Batch, Samples, Clip]:
    """Return the first batch of a run, the samples that it is of, and the model. Raises as the loop does."""
    corpus = open_corpus(config.dataset, config.data, config.seed, f"{foreign.root(config.dataset)}/runs/{config.name}")
    config.training.steps(len(corpus))
    clip = create_configured(config.model, config.seed, config.training.loss)
    samples = samples_of(config.data, config.training.batch_size, corpus, clip.tokenize, clip.image_size)
    return samples[0], samples, clip


def overfit(config: TrainConfig, count: int, progress: Progress | None = None) -> OverfitResult:
    """Train on the first batch of so many samples again and again, by the config's own loop, and judge.

    Args:
        count: samples; crops are those of the first epoch at every step, and no patch is left out.
    Raises:
        ValueError: the config does not fit the dataset; there are fewer than two samples.
    """
    if count < 2:
        raise ValueError(f"--overfit takes at least 2 samples, to be told from each other, not {count}")
    config = with_changes(
        config, batch_size=count, samples_seen=count * STEPS, warmup_share=0.1, warmup_steps=0, schedule="cosine",
        weight_decay=0.0, crop_min=1.0, patch_dropout=0.0, final_share=0.0, log_every=10, checkpoint_every=STEPS,
        ema=0.0, tensorboard=False, wandb="", tasks=[], evaluators=[], evaluate_every=0,
    )  # fmt: skip
    batch, *_ = first_batch(config)
    records: list[dict[str, Any]] = []

    def watch(record: dict[str, Any]) -> None:
        records.append(record)
        if progress is not None:
            progress(record)

    with tempfile.TemporaryDirectory() as run:
        try:
            train(config, run, watch, batch)
        except TrainingError as error:
            return OverfitResult(False, f"{count} samples could not be learnt: {error}")
    return judge(records, batch, config)


def judge(records: list[dict[str, Any]], batch: Batch, config: TrainConfig) -> OverfitResult:
    """Return what the log of such a run says.

    Args:
        records: its log lines, at least one.
    """
    count = len(batch.texts)
    loss, scale = records[-1]["loss"], records[-1]["logit_scale"]
    softmax = config.training.loss == "softmax"
    floor, chance = (loss_floor(batch), math.log(count)) if softmax else (0.0, records[0]["loss"])
    so_far = f"after {records[-1]['step']} steps on {count} samples the loss is {loss:.3f}"
    least = f"{floor:.3f}, the least that their repeated texts and images allow" if floor > 0.001 else "0"
    if loss <= floor + LEARNT:
        return OverfitResult(True, f"the model learns: {so_far}, and {least} would be perfect")
    silent = [tower for tower in ("image", "text") if all(row[f"gradient_norm_{tower}"] == 0 for row in records)]
    if len(batch.damaged) > count // 2:
        why = f"most of the samples are damaged, for example {batch.damaged[0]}"
    elif silent:
        locked = f", which model.lock: {config.model.lock} does" if config.model.lock in silent else ""
        why = f"the {' and the '.join(silent)} tower got no gradient{locked}"
    elif loss > 0.9 * chance:
        if max(row["gradient_norm_all"] for row in records[-3:]) < 1e-3:
            why = "the gradients are all but zero, so all samples look the same to the model: see --show-batch"
        else:
            why = (
                f"that is no better than {'chance' if softmax else 'at the start'}, {chance:.3f}: see with "
                "--show-batch whether captions belong to their images, and try a lower optimizer.learning_rate "
                f"than {config.optimizer.learning_rate}"
            )
    elif scale > 99:
        why = "the logit scale is at its limit of 100, so pairs that look alike stay apart too little: see --show-batch"
    elif records[-1]["loss"] < 0.9 * records[len(records) // 2]["loss"]:
        why = f"it is still falling: a higher optimizer.learning_rate than {config.optimizer.learning_rate} may do"
    else:
        why = "it no longer falls: the model may be too small, or pairs too much alike: see --show-batch"
    return OverfitResult(False, f"the model does not learn these samples: {so_far}, and should be {least}; {why}")


def loss_floor(batch: Batch) -> float:
    """Return the least softmax loss that a batch allows where texts, or images, are the same: the mean of log how
    often.
    """
    texts = Counter(row.numpy().tobytes() for row in batch.texts)
    images = Counter(row.numpy().tobytes() for row in batch.images)
    return sum(count * math.log(count) for counts in (texts, images) for count in counts.values()) / (
        2 * len(batch.texts)
    )


def show_batch(config: TrainConfig, most: int = 256) -> str:
    """Return the first batch of a run as a page that loads nothing from elsewhere; all that came from the web is
    escaped.

    Args:
        most: how many samples are shown.
    """
    batch, samples, clip = first_batch(config)
    names = samples.corpus.pair_ids(batch.rows.numpy())
    figures = []
    for place, number in enumerate(batch.rows.tolist()[:most]):
        source, row = samples.corpus.locate(number)
        (data,) = samples.readers[source].read(np.array([row]))
        parts = samples.corpus.sources[source].index.sample(row, data)
        text = captions.choose(parts, config.data.captions, config.seed, 0, number)
        tokens = int((batch.texts[place] != 0).sum())
        figures.append(
            f'<figure><img src="{_data_uri(batch.images[place])}" alt=""><figcaption><bdi>{escape(text)}</bdi>'
            f"<small>{tokens} tokens · {names[place]}</small></figcaption></figure>"
        )
    images = torch.from_numpy(samples.corpus.image_keys(batch.rows.numpy()))
    rate = duplicate_share(images, batch.texts, Peers(len(images), images.device)).item()
    damaged = "".join(f"<li>{escape(name)}</li>" for name in batch.damaged[:most])
    title = f"The first batch of {escape(config.name)}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>{len(names):,} samples of <bdi>{escape(config.dataset)}</bdi> as {escape(clip.name)} sees them, "
        f"{len(figures):,} of them below; {rate:.1%} share their image or text with another; "
        f"{len(batch.damaged)} damaged ones were replaced.</p><ul>{damaged}</ul>"
        f"<main>{''.join(figures)}</main></body></html>\n"
    )


_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;color-scheme:light dark}main{display:flex;flex-wrap:wrap;gap:1em}"
    "figure{margin:0;width:224px}img{width:224px;height:224px;image-rendering:pixelated}small{display:block;opacity:.6}"
    "figcaption{overflow-wrap:anywhere}"
)


def _data_uri(pixels: torch.Tensor) -> str:
    sink = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(sink, "PNG")
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"
