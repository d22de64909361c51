"""openwit in a notebook or a script: build a dataset, ask it, train on it.

>>> import openwit
>>> openwit.run("archive", out="out/mine", set={"sources": ["crawl.warc.gz"]})
>>> openwit.open("out/mine").sql("SELECT reason, count(*) FROM dropped GROUP BY ALL")   # a DuckDB relation
>>> openwit.open("out/mine").images("text ILIKE '%rose%'")                              # a contact sheet
>>> print(openwit.explain("out/mine", "https://example.org/a.jpg")[0].as_text())
>>> openwit.train("train_archive", set={"dataset": "out/mine"})
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.asking.notebook import NotebookDataset
    from pipeline.asking.story import Explanation
    from train.loop import RunResult

__all__ = ["explain", "open", "run", "train"]

_ROOMS = ("crawl", "dataset", "filters", "pipeline", "train")


def _check_rooms() -> None:
    """Raises ImportError if another distribution's package stands where one of openwit's is expected.

    The package index has other distributions that install a package called `dataset` or `pipeline`. One that lies in
    the same folder as ours takes away its `__init__.py` alone, which holds nothing that openwit needs.
    """
    install_dir = Path(__file__).resolve().parent.parent
    for room in _ROOMS:
        spec = importlib.util.find_spec(room)
        places = [Path(place).resolve() for place in (spec.submodule_search_locations or ())] if spec else []
        if install_dir / room not in places:
            found = f"is another one: {places[0]}" if places else "is missing"
            raise ImportError(
                f"openwit needs its own package {room!r}, which {found}; install openwit into a virtual environment of "
                "its own, and start Python outside of folders of that name"
            )


_check_rooms()


def open(out: str | os.PathLike[str], **options: Any) -> NotebookDataset:
    """Open the dataset at a path or `s3://` URL, which shows itself in a notebook.

    `.sql(query)` gives a DuckDB relation over its views; there are `.audit`, `.explain`, `.pairs` and `.images`.

    Raises:
        FileNotFoundError: there is no dataset.
    """
    from pipeline.asking.notebook import NotebookDataset

    return NotebookDataset(os.fspath(out), **options)


def run(
    config: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    set: Mapping[str, Any] | None = None,
    presets: Sequence[str] = (),
    to: str = "pack",
) -> NotebookDataset:
    """Build or resume a dataset, as `wit run` does.

    Args:
        config: a YAML file, or the name of a config that openwit carries, such as `archive`.
        out: where the dataset goes; by default the config's `out`.
        set: keys to override, by their dotted names: `{"balance.cap": 1000}`.
        presets: names of presets to lay over the config.
        to: the last stage to run.

    Raises:
        ValueError: in one sentence, what is wrong with the config and how to mend it.
    """
    from pipeline.asking.notebook import NotebookDataset
    from pipeline.build import build
    from pipeline.config import load

    loaded = load(os.fspath(config), _overrides(set), None if out is None else os.fspath(out), presets)
    build(loaded, to=to)
    return NotebookDataset(loaded.out)


def train(
    config: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, set: Mapping[str, Any] | None = None
) -> RunResult:
    """Train a CLIP on a dataset's shards, or resume that, as `wit train` does.

    Args:
        config: a YAML file, or the name of a config that openwit carries, such as `train_archive`.
        out: the run's folder; DATASET/runs/NAME by default.
        set: keys to override: `{"dataset": "out/mine", "epochs": 10}`.

    Raises:
        ValueError: in one sentence, what is wrong with the config and how to mend it.
    """
    from pipeline.training.commands import load_config, sentences
    from train.loop import train as loop

    checked = load_config(os.fspath(config), _overrides(set))
    with sentences(os.fspath(config)):
        return loop(checked, None if out is None else os.fspath(out))


def explain(
    out: str | os.PathLike[str], which: str | os.PathLike[str], *, most: int = 10, exact: bool = False
) -> Explanation:
    """Tell the whole story of an image, a pair or a text, from the archive to its shard or to its reason.

    Args:
        out: the dataset.
        which: an image's or a page's URL, a pair_id (32 hexadecimal digits, or the first 8 or more of them), a
            SHA-256, a sample's key, an image file, or a part of a text.
        most: how many occurrences are told.
        exact: count the rank of a pair in a full query, which of many million pairs is estimated.

    Returns:
        A sequence of stories, one for each occurrence, which a notebook shows; empty if there is none.
    """
    from pipeline.asking.explain import explain as find_stories

    return find_stories(os.fspath(out), os.fspath(which), most, exact=exact)


def _plain(value: Any) -> Any:
    """A value as YAML knows it: paths are texts."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _overrides(values: Mapping[str, Any] | None) -> list[str]:
    """Overrides as the command line writes them; texts in quotation marks, so that each is what it is here."""
    import yaml

    def written(value: Any) -> str:
        value = _plain(value)
        style = '"' if isinstance(value, str) else None
        text: str = yaml.safe_dump(value, default_flow_style=True, default_style=style, width=10_000)
        return text.removesuffix("...\n").strip()

    return [f"{key}={written(value)}" for key, value in (values or {}).items()]
