"""A dataset in a notebook: it shows itself, and gives tables, data frames, pictures and plots."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from PIL import Image

from dataset.images import ImageError, to_rgb
from dataset.query.views import Dataset
from dataset.store.storage import Storage
from pipeline.asking.story import Explanation
from pipeline.reports import audits
from pipeline.reports.html import BLUR_ABOVE, MOST_PIXELS, environment, sample_image, thumbnail, unsafe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12
_PLACE = frozenset(("shard", "key", "offset", "size", "checksum"))
"""The columns by which an image is found."""
_SHEET = """
<div style="display:flex;flex-wrap:wrap;gap:8px">
{% for row in rows %}<figure style="margin:0;width:168px;font-size:80%">
{% if row.image %}<img src="{{ row.image }}" alt="">{% else %}<div>cannot be shown</div>{% endif %}
<figcaption><bdi>{{ row.text | string | truncate(120, true) }}</bdi></figcaption></figure>
{% endfor %}</div>
{% if blurred %}<p>{{ blurred | number }} of these are blurred: they may be unsafe.</p>{% endif %}
"""
_WHOLE = """
<h3><bdi>{{ name }}</bdi></h3>
<p>{{ candidates | number }} candidates, {{ pairs | number }} pairs{% if not complete %};
the run has not ended{% endif %}.
Ask with .sql(query), .audit(name), .explain(which), .pairs(where) and .images(where).</p>
<table><thead><tr><th>stage</th><th>input</th><th>kept</th><th>dropped</th></tr></thead>
{% for row in funnel %}<tr><td>{{ row[0] }}</td>{% for n in row[1:] %}<td>{{ n | number }}</td>{% endfor %}</tr>
{% endfor %}</table>
"""


class NotebookDataset(Dataset):
    """A dataset to ask questions of, as a notebook shows it; see `dataset.query.views.Dataset`."""

    def audit(self, name: str, **parameters: object) -> duckdb.DuckDBPyRelation:
        """Return the answer of a named query, as a relation.

        Args:
            name: as `wit audit` lists them.
            parameters: instead of its defaults.

        Raises:
            ConfigError: there is no such audit or parameter.
        """
        audit = audits.find(name)
        values = audit.values([f"{key}={value}" for key, value in parameters.items()])
        return self.sql(audit.text, params=values or None)

    def explain(self, which: str, most: int = 10, *, exact: bool = False) -> Explanation:
        """Return the whole story of what a URL, an id, a hash, a key, an image file or a part of a text stands for."""
        from pipeline.asking.explain import explain

        return explain(self, which, most, exact=exact)

    def pairs(self, where: str = "true") -> Pairs:
        """Return the pairs of the dataset for which a condition in SQL holds, in the order of the shards."""
        return Pairs(self, where)

    def images(self, where: str = "true", most: int = 24, blur_above: float | None = BLUR_ABOVE) -> ContactSheet:
        """Return the first images of the pairs for which a condition in SQL holds, with their texts.

        blur_above: the nsfw_probability above which an image is blurred; None blurs none.
        """
        return ContactSheet(self, where, most, blur_above)

    def plot_funnel(self) -> Figure:
        """Return what each stage kept and dropped, as bars; its `savefig("funnel.svg")` writes it."""
        from matplotlib.figure import Figure

        rows = self.sql("SELECT stage, kept, dropped FROM funnel").fetchall()
        figure = Figure(figsize=(7, 0.35 * len(rows) + 1), layout="constrained")
        axes = figure.subplots()
        stages = [row[0] for row in reversed(rows)]
        kept, dropped = ([row[offset] for row in reversed(rows)] for offset in (1, 2))
        axes.barh(stages, kept, label="kept")
        axes.barh(stages, dropped, left=kept, label="dropped")
        axes.set_xlabel("rows")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        return figure

    def _repr_html_(self) -> str:
        funnel = self.sql("SELECT stage, input, kept, dropped FROM funnel").fetchall()
        done = {row[0]: row[2] for row in funnel}
        facts = {
            "name": self.manifest.get("name") or self.storage.url,
            "candidates": funnel[0][1] if funnel else 0,
            "pairs": done.get("pack", 0),
            "complete": bool(self.manifest.get("complete")),
            "funnel": funnel,
        }
        whole = environment().from_string(_WHOLE).render(facts)
        return whole + self.images(most=_SHOWN)._repr_html_()


class Pairs:
    """Pairs of a dataset, in the form that is asked for. Nothing is read before that."""

    def __init__(self, dataset: NotebookDataset, where: str):
        self._dataset = dataset
        self.relation = dataset.sql(f'SELECT * FROM pairs WHERE ({where}\n) ORDER BY shard, "offset"')  # noqa: S608

    def arrow(self) -> pa.Table:
        """Return the columns of the view `pairs`."""
        return self.relation.to_arrow_table()

    def pandas(self) -> Any:
        """Return a pandas DataFrame. Raises ImportError: pandas is not installed."""
        _import_or_explain("pandas")
        return self.relation.df()

    def polars(self) -> Any:
        """Return a polars DataFrame. Raises ImportError: polars is not installed."""
        _import_or_explain("polars")
        return self.relation.pl()

    def torch(self) -> ImageTextDataset:
        """Return what torch's DataLoader takes as a dataset: (image, text) of each pair, images as PIL has
        them, RGB.
        """
        return ImageTextDataset(self._dataset.storage, self.arrow())

    def huggingface(self, *, images: bool = False) -> Any:
        """Return a `datasets.Dataset` of the columns; with `images` each row has an `image` too, read when it is asked
        for, by the columns shard, key, offset, size and checksum.

        Raises:
            ImportError: the package datasets is not installed.
        """
        rows = _import_or_explain("datasets").Dataset(self.arrow())
        return rows.with_transform(_WithImages(self._dataset.storage.url)) if images else rows

    def __len__(self) -> int:
        return len(self.relation)

    def _repr_html_(self) -> str:
        return f"<p>{len(self):,} pairs: .arrow(), .pandas(), .polars(), .torch(), .huggingface()</p>"


class ImageTextDataset(Sequence[tuple[Image.Image, str]]):
    """Images and texts of pairs, read from the shards one by one: a dataset of torch's map style.

    Raises:
        ValueError: at a pair whose sample is damaged or gone.
    """

    def __init__(self, storage: Storage, rows: pa.Table):
        self._storage = storage
        self._rows = rows

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, at: Any) -> Any:
        row = self._rows.slice(range(len(self))[at], 1).to_pylist()[0]
        return _image(self._storage, row), row["text"]


@dataclass(frozen=True)
class _WithImages:
    """Puts images beside the columns of some rows. Whoever takes it copies and pickles it, so it holds a name alone."""

    url: str  # of the dataset

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if not columns.keys() >= _PLACE:  # of rows that somebody has taken columns from
            return columns
        storage = Storage(self.url)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return {**columns, "image": [_image(storage, row) for row in rows]}


def _image(storage: Storage, row: dict[str, Any]) -> Image.Image:
    """A pair's image, RGB. Raises ValueError: its sample is damaged or gone."""
    try:
        return Image.fromarray(to_rgb(sample_image(storage, row), MOST_PIXELS, MOST_PIXELS))
    except ImageError:
        message = f"the sample {row['key']} of {row['shard']} is damaged or gone; `wit verify` tells more"
        raise ValueError(message) from None


class ContactSheet:
    """Images with their texts, as a notebook shows them."""

    def __init__(self, dataset: NotebookDataset, where: str, most: int, blur_above: float | None):
        self._dataset = dataset
        self._blur_above = blur_above
        columns = 'url, text, shard, key, "offset", size, checksum'
        query = f"SELECT {columns} FROM pairs WHERE ({where}\n) LIMIT {int(most)}"  # noqa: S608
        self.rows: list[dict[str, Any]] = dataset.sql(query).to_arrow_table().to_pylist()

    def __len__(self) -> int:
        return len(self.rows)

    def _thumbnails(self, hidden: set[str]) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            body = sample_image(self._dataset.storage, row)
            yield {**row, "image": thumbnail(body, blurred=row["url"] in hidden) if body else None}

    def _repr_html_(self) -> str:
        hidden = unsafe(self._dataset, [row["url"] for row in self.rows], self._blur_above)
        facts = {"rows": list(self._thumbnails(hidden)), "blurred": len(hidden)}
        return environment().from_string(_SHEET).render(facts)


def _import_or_explain(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(f"this needs the package {name}, which is not installed: pip install {name}") from None
