"""`wit search` and `wit why`: what may be asked, and what is opened to answer it.

Usage errors are told before torch is imported.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from dataset.display import escaped_json, say
from dataset.layout import INDEX_PARTS
from dataset.query.views import Dataset
from dataset.webdataset.index_parts import has_index
from pipeline.asking import answers
from pipeline.config_errors import ConfigError
from pipeline.reports.html import BLUR_ABOVE
from pipeline.training.commands import run_of
from pipeline.training.examine import EncodingProgress

if TYPE_CHECKING:
    from pipeline.examining.embeddings import Embeddings
    from pipeline.examining.search import SearchResult
    from pipeline.examining.why import Why
    from train.evaluate.sets import ImageSet

_NAMED = "open_clip:"  # train.evaluate.encoders', which needs torch
MOST = 10_000
"""Images that one search finds; a page of more is of no use to a person."""


@dataclass(frozen=True)
class Search:
    """What a search found, in the forms in which it is told."""

    dataset: Dataset
    found: SearchResult
    model: str
    blur_above: float | None
    asked_image: bytes | None

    def table(self) -> pa.Table:
        """Return the rows as data."""
        return self.found.table()

    def text(self) -> str:
        """Return what a terminal shows."""
        from pipeline.examining.search import text_of

        return text_of(self.found)

    def page(self) -> str:
        """Return a contact sheet as HTML."""
        from pipeline.examining.search import page

        return page(self.dataset, self.found, self.model, self.blur_above, self.asked_image)


def search(arguments: argparse.Namespace) -> pa.Table | None:
    """Search a dataset, and write a page or a text; else return the rows. Raises ConfigError, FileNotFoundError."""
    form = _form(arguments)
    result = search_dataset(arguments)
    if form not in ("html", "table"):
        return result.table()
    _write(result.page() if form == "html" else result.text(), arguments.output, arguments.out)
    return None


def why(arguments: argparse.Namespace) -> int:
    """Say why a model does as it does on a set. Raises ConfigError, FileNotFoundError."""
    form = _form(arguments)
    if form not in ("html", "json", "table"):
        raise ConfigError(f"wit why writes a table, JSON or HTML, not {form}; give --format")
    explained = explain_model(arguments)
    text = {"html": explained.page, "json": explained.json, "table": explained.text}[form]()
    _write(text, arguments.output, arguments.dataset)
    return 0


def _form(arguments: argparse.Namespace) -> str:
    """The form that is asked for, or that the output's name ends in: HTML is one of them."""
    is_page = arguments.format is None and str(arguments.output).lower().endswith(".html")
    return "html" if is_page else answers.form_of(arguments.format, arguments.output)


def _write(text: str, output: str | None, inside: str) -> None:
    """Write a text to a file, or print it; never into the dataset."""
    try:
        answers.write_text(text, output, inside=inside)
    except answers.AnswerError as error:
        raise ConfigError(str(error)) from None


def search_dataset(arguments: argparse.Namespace) -> Search:
    """Search a dataset by a text or an image. Raises ConfigError, FileNotFoundError."""
    if (arguments.query is None) == (arguments.image is None):
        raise ConfigError('wit search takes a TEXT, such as "two red circles", or --image FILE')
    if arguments.query is not None and not arguments.query.strip():
        raise ConfigError("the text to search for is empty")
    if not 1 <= arguments.count <= MOST:
        raise ConfigError(f"--count must be from 1 to {MOST:,}, not {arguments.count}")
    if arguments.image is not None and not Path(arguments.image).is_file():
        raise ConfigError(f"there is no file {arguments.image}, which --image names")
    dataset = open_dataset(arguments.out)
    with open_embeddings(dataset, arguments) as (embeddings, checkpoint):
        from pipeline.examining.search import by_image, by_text, read_image

        if arguments.image is None:
            result = by_text(embeddings, arguments.query, arguments.count, exact=arguments.exact)
        else:
            result = by_image(embeddings, arguments.image, arguments.count, exact=arguments.exact)
        body = None if arguments.image is None else read_image(arguments.image)
        if embeddings.damaged:
            say(f"images that cannot be read, and are not found: {embeddings.damaged:,}", to_errors=True)
    return Search(dataset, result, checkpoint, None if arguments.show_unsafe else BLUR_ABOVE, body)


@dataclass(frozen=True)
class Explained:
    """Why a model does as it does on a set, in the forms in which it is told."""

    dataset: Dataset
    found: Why
    what: ImageSet
    blur_above: float | None

    def json(self) -> str:
        """Return an array of one object."""
        return escaped_json(json.dumps([self.found.to_dict()]))

    def text(self) -> str:
        """Return what a terminal shows."""
        from pipeline.examining.why_page import table

        return table(self.found)

    def page(self) -> str:
        """Return HTML that loads nothing."""
        from pipeline.examining.why_page import page

        return page(self.found, self.what, self.dataset, self.blur_above)


def explain_model(arguments: argparse.Namespace) -> Explained:
    """Find out why a model does as it does on a set. Raises ConfigError, FileNotFoundError."""
    if not Path(arguments.task).exists():
        raise ConfigError(f"there is no task directory {arguments.task}")
    if arguments.most < 1:
        raise ConfigError(f"--most must be at least 1, not {arguments.most}")
    dataset = open_dataset(arguments.dataset)
    with open_embeddings(dataset, arguments) as (embeddings, checkpoint):
        from pipeline.examining.why import why as explain
        from train.evaluate.sets.open import open_set

        reasons, what = explain(embeddings, open_set(arguments.task), checkpoint, arguments.most, arguments.seed)
        if embeddings.damaged:
            reasons.notes.append(
                f"{embeddings.damaged:,} images of the dataset, as often as it was read, cannot be read"
            )
    return Explained(dataset, reasons, what, None if arguments.show_unsafe else BLUR_ABOVE)


def open_dataset(out: str) -> Dataset:
    """Return a finished dataset. Raises ConfigError, FileNotFoundError."""
    dataset = Dataset(out)
    if not has_index(dataset.storage):
        raise ConfigError(f"{out} has no {INDEX_PARTS}, and so no images to look at; `wit run` makes it")
    return dataset


@contextlib.contextmanager
def open_embeddings(dataset: Dataset, arguments: argparse.Namespace) -> Iterator[tuple[Embeddings, str]]:
    """Yield a dataset's embeddings, and the name of the checkpoint by which they are. Raises ConfigError.

    arguments: with checkpoint, device, batch_size and features.
    """
    from pipeline.examining.encoders import default_checkpoint, open_checkpoint, stage_identity

    if arguments.batch_size < 1:
        raise ConfigError("--batch-size must be at least 1")
    checkpoint = arguments.checkpoint or default_checkpoint(dataset)
    if not checkpoint.startswith(_NAMED) and not (Path(checkpoint) / "config.json").is_file():
        run_of(checkpoint)
    encoder = open_checkpoint(checkpoint, arguments.device, arguments.batch_size)
    from pipeline.examining.embeddings import Embeddings
    from train.evaluate.features import default_folder

    folder = Path(arguments.features) if arguments.features else default_folder()
    try:
        with EncodingProgress() as progress:
            identity = stage_identity(checkpoint)
            yield Embeddings(dataset, encoder, identity, folder, progress.update), checkpoint
    except ConfigError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(str(error)) from error
