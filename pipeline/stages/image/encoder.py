"""The encoder that `image.embedding_model` names: one of open_clip's, or one that `wit train` has made."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dataset.ids import checksum
from dataset.store.storage import absolute, is_local
from filters.images.embeddings import Head, OpenClipEncoder, load_head, load_open_clip
from filters.lines import locate
from pipeline.config import Config, ConfigError
from pipeline.engine.sources.plan import file_checksum, stored_checksum

KEY = "image.embedding_model"


def check(config: Config) -> None:
    """Load the encoder and the heads and try them on nothing much. Raises ConfigError, in one sentence."""
    name = config.image.embedding_model
    if not name:
        return
    try:
        vectors = load(location(name), identity(name)).texts(["a photograph"])
        for head in config.image.heads:
            load_head(head, head_key(head))(vectors.astype("float32"))
    except (OSError, ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(text if text.startswith("image.") else f"{KEY}: {text}") from None


def head_key(head: Head) -> str:
    """Return the config key of a head, for messages."""
    return f"image.heads.{head.name}"


def head_checksum(head: Head) -> str:
    """Return the checksum of a head's file, which `check` has read."""
    return file_checksum(locate(head.path))


def identity(name: str) -> str:
    """Return what tells one encoder from another: the content of its files where they can be had, else open_clip's
    name.
    """
    if name.startswith("local-dir:"):
        return file_checksum(name.removeprefix("local-dir:"))
    if _is_open_clip(name):
        model, _, weights = name.partition("/")
        return f"{model}/{file_checksum(weights)}" if _is_file(weights) else name
    from train.checkpoints import checkpoint

    if is_local(name) and (Path(name).expanduser() / "open_clip_config.json").is_file():
        return file_checksum(name)
    run, name_of_checkpoint = checkpoint.find(name)
    files = sorted(file.name for file in run.list(name_of_checkpoint))
    return checksum("\n".join(f"{file} {stored_checksum(run, file)}" for file in files).encode())


def location(name: str) -> str:
    """Return the name as any process understands it: paths of this machine made absolute."""
    if name.startswith("local-dir:"):
        return f"local-dir:{absolute(name.removeprefix('local-dir:'))}"
    if _is_open_clip(name):
        model, _, weights = name.partition("/")
        return f"{model}/{absolute(weights)}" if _is_file(weights) else name
    return absolute(name)


@lru_cache(maxsize=2)
def load(name: str, identity: str) -> OpenClipEncoder:
    """Return the encoder, loaded once in a process; again if its content has changed.

    Args:
        name: as `location` gives it.

    Raises:
        FileNotFoundError, ValueError: there is nothing of that name, or it is no model.
    """
    from train.checkpoints.load import load_clip
    from train.models import foreign_config

    if name.startswith("hf-hub:"):
        foreign_config.check_repository(name.removeprefix("hf-hub:"))
    if _is_open_clip(name) and not name.startswith("local-dir:"):
        return load_open_clip(name)
    clip = load_clip(name.removeprefix("local-dir:"))
    return OpenClipEncoder(clip.model, clip.transform, clip.tokenize)


def _is_open_clip(name: str) -> bool:
    """Whether a name is one of open_clip's; else it is the path or URL of what `wit train` or `wit export` wrote."""
    if name.startswith(("local-dir:", "hf-hub:")):
        return True
    import open_clip

    return name.partition("/")[0] in open_clip.list_models()


def _is_file(path: str) -> bool:
    return bool(path) and is_local(path) and Path(path).expanduser().is_file()
