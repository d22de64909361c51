"""Which encoder looks at a dataset, and what the `image` stage calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dataset.query.views import Dataset
from dataset.store.storage import is_local
from pipeline.config_errors import ConfigError
from pipeline.reports import dataset_config

if TYPE_CHECKING:
    from train.checkpoints.load import Encoder

_OPEN_CLIP = "open_clip:"


def default_checkpoint(dataset: Dataset) -> str:
    """Return the encoder of a dataset whose embeddings are kept or, if it keeps none, its only run of `wit train`.

    Raises:
        ConfigError: there is neither.
    """
    from pipeline.stages.image.embed import embed

    if dataset.commits(embed.name):
        named = (dataset_config.read(dataset.storage).get("image") or {}).get("embedding_model")
        if (
            isinstance(named, str) and named and is_local(named)
        ):  # a stranger's dataset has nothing loaded from elsewhere
            return _encoder_name(named)
    runs = sorted({info.name.split("/")[1] for info in dataset.storage.list("runs", recursive=True)})
    if len(runs) == 1:
        return dataset.storage.url_of(f"runs/{runs[0]}")
    which = f"it has {len(runs)} runs, such as {runs[0]}" if runs else "it has no run of `wit train`"
    raise ConfigError(f"{dataset.storage.url} does not say what encodes its images ({which}); give --checkpoint")


def open_checkpoint(name: str, device: str, batch_size: int) -> Encoder:
    """Return the encoder of a checkpoint, as `wit eval` takes it. Raises ConfigError."""
    from train.evaluate.encoders import open_encoder

    try:
        return open_encoder(name, device, batch_size)
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error


def stage_identity(checkpoint: str) -> str | None:
    """Return what the `image` stage knows a checkpoint by; None for one that it cannot be given."""
    from pipeline.stages.image.encoder import identity

    if checkpoint.startswith(_OPEN_CLIP):
        model, _, source = checkpoint.removeprefix(_OPEN_CLIP).partition(":")
        return identity(f"{model}/{source}") if source else None
    if (Path(checkpoint) / "config.json").is_file():
        return None
    return identity(checkpoint)


def _encoder_name(name: str) -> str:
    """The name of a config's `image.embedding_model`, as the encoders of `wit eval` are named."""
    import open_clip

    if name.startswith("local-dir:"):
        return name.removeprefix("local-dir:")
    model, _, source = name.partition("/")
    return f"{_OPEN_CLIP}{model}:{source}" if model in open_clip.list_models() else name
