"""`wit queries build`: makes a query list from the sources that a config names."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from dataset.schema import QUERIES
from dataset.storage import Storage, absolute
from dataset.tables import to_parquet
from filters.queries import QueriesConfig, build
from pipeline.config import ConfigError, read_yaml, sentence, with_overrides


def build_list(path: str, overrides: Sequence[str], out: str | None) -> None:
    """Build, print what each source gave, write the list as Parquet. Raises ConfigError."""
    raw = with_overrides(read_yaml(path), overrides)
    target = out or raw.pop("out", None)
    raw.pop("out", None)
    if not target:
        raise ConfigError(f"{path} names no `out`, and no --out was given: where shall the list go?")
    try:
        config = TypeAdapter(QueriesConfig).validate_python(raw)
        queries, summary = build(config)
    except ValidationError as error:
        raise ConfigError(f"{path}: {sentence(error, QueriesConfig)}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    folder, _, name = absolute(str(target)).rpartition("/")
    Storage(folder).write(name, to_parquet(queries, QUERIES))
    table = Table(box=None, header_style="bold")
    for column in summary.column_names:
        table.add_column(column, justify="left" if column == "source" else "right")
    for row in summary.to_pylist():
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    Console(highlight=False, markup=False).print(table)
    print(f"{target}: {queries.num_rows:,} queries")
