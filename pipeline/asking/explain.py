"""One pair's whole story: where it was found, what was measured, and its shard or the reason that it was dropped.

A story is read from the committed files of the row's own partition, so that its cost does not grow with the dataset,
except for the search of what is asked about (`pipeline.asking.lookup`), and of who else has the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.store import FOLDER as FETCH_STORE
from crawl.images.store import newest
from dataset.ledger.commits import FileRef
from dataset.ledger.damage import DamagedError
from dataset.ledger.lookup import Partitions
from dataset.query import sql
from dataset.query.views import Dataset
from dataset.reasons import reasons
from dataset.schema import MATCHES
from dataset.stages import Stage, Table, judging_stages, path
from dataset.store.storage import is_local
from dataset.tables import read_parquet
from pipeline.asking.lookup import RowLocation, look_up
from pipeline.asking.rank import rank_of
from pipeline.asking.story import Explanation, Step, Story, margins
from pipeline.reports.format import evidence as evidence_of

MOST = 10
"""Stories that are told where nobody asks for more or fewer."""
_QUERIES_SHOWN = 10
_OTHERS_SHOWN = 5
_DEEPEST = 20  # that evidence is nested
_TABLES_KEPT = 32
_UNDECIDED = "not decided yet"
_IMAGE_FACTS = ("origin", "outcome", "status", "final_url", "fetched_bytes", "media_type", "original_width",
                "original_height", "width", "height", "sha256", "pdq", "pdq_quality")  # fmt: skip


def explain(out: str | Dataset, which: str, most: int = MOST, *, exact: bool = False) -> Explanation:
    """Return what became of an image, a pair or a text: a story for each of its candidates, in the order of the
    archives.

    Args:
        out: the dataset, or where it is.
        which: an image's or a page's URL, a pair_id (32 hexadecimal digits, or the first 8 or more of them), the
            SHA-256 of an image, a sample's key, alone or as `train-00000.tar/KEY`, an image file of this machine, or a
            part of a text.
        most: how many stories are told.
        exact: count the rank of a pair in a full query, which of many million pairs is estimated.

    Raises:
        FileNotFoundError: there is no dataset.
        ConfigError: the digits begin several pair_ids, or `which` is a file and no image.
    """
    dataset = out if isinstance(out, Dataset) else Dataset(out)
    result = look_up(dataset, which.strip(), most)
    teller = _Teller(dataset, exact)
    stories = tuple(teller.story(place) for place in result.places[:most])
    return Explanation(which, result.sentence, stories, result.total)


class _Teller:
    def __init__(self, dataset: Dataset, exact: bool = False):
        self.dataset = dataset
        self._exact = exact
        self.storage = dataset.storage
        self._tables: dict[str, pa.Table] = {}

    def story(self, place: RowLocation) -> Story:
        """The story of one candidate."""
        row = self._row("candidates", place)
        names = ("archive", "offset", "ordinal", "page_url", "page_date", "page_language", "text_source")
        facts = {**{name: row[name] for name in names}, "personal_data": row["personal_data"]}
        steps = [Step(path()[0].name, "found", _format_place(row), _to_json(facts))]
        reason = self._tell(judging_stages("candidates"), place, row, steps)
        if steps[-1].outcome == "kept":
            pair = self._pair_of(place, row["pair_id"])
            if pair is None:
                steps.append(_waiting_step(judging_stages("pairs")[0]))
            else:
                reason = self._tell(judging_stages("pairs"), pair, self._row("pairs", pair), steps)
                if steps[-1].outcome == "kept":
                    steps.append(self._tell_shard(row["pair_id"]))
        outcome = {"packed": "kept", "dropped": "dropped"}.get(steps[-1].outcome, "waiting")
        return Story(row["pair_id"].hex(), row["url"], row["text"], outcome, reason, tuple(steps))

    def _tell(self, stages: Sequence[Stage], place: RowLocation, row: dict[str, Any], steps: list[Step]) -> str | None:
        """Add a step for each stage up to the one that drops the row; returns that one's reason."""
        for stage in stages:
            if not self.dataset.is_decided(stage):
                steps.append(_waiting_step(stage))
                return None
            facts = self._tell_measures(stage, place, row)
            verdict = self._verdict(stage, place)
            if verdict is not None:
                reason, evidence = verdict
                meaning = reasons().get(reason, ("", "a filter of this dataset's own config says so"))[1]
                facts = {
                    **facts,
                    **evidence,
                    "margin": margins(evidence),
                    **self._try_to_resolve(evidence, stage, row),
                }
                steps.append(Step(stage.name, "dropped", f"{reason}: {meaning}", _to_json(facts)))
                return reason
            if stage.name == "neardup":
                facts = {**facts, **self._tell_duplicates(place.partition, row)}
            steps.append(Step(stage.name, "kept", stage.passed, _to_json(facts)))
        return None

    def _tell_measures(self, stage: Stage, place: RowLocation, row: dict[str, Any]) -> dict[str, Any]:
        """What a stage knows of a row besides its verdict."""
        facts: dict[str, Any] = {}
        for table in stage.tables:
            if table.name == "images":
                facts |= self._image(place.partition, row["url"])
            elif table.schema is MATCHES:
                ids = self._measures(table, place).get("query_ids") or []
                facts |= {"queries": self._queries(ids)} if ids else {}
            elif table.measured_on == "row":
                facts |= self._measures(table, place)
            elif table.measured_on == "image":
                facts |= self._tell_image_scores(table, place.partition, row["url"])
        return facts

    def _tell_image_scores(self, table: Table, partition: int, url: str) -> dict[str, Any]:
        """What models say of an image."""
        rows = self._read_rows(self.dataset.table("images"), partition, "url", url)
        places = [RowLocation(partition, row["row"]) for row in rows]
        return {name: value for partitions in places for name, value in self._measures(table, partitions).items()}

    def _try_to_resolve(self, evidence: Mapping[str, Any], stage: Stage, row: Mapping[str, Any]) -> dict[str, Any]:
        """Look evidence up as `_resolve_evidence` does; it may be anybody's, and point to what is not there."""
        try:
            return self._resolve_evidence(evidence, stage, row)
        except DamagedError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError, pa.ArrowException, duckdb.Error):
            return {"what it points to": "is not there"}

    def _resolve_evidence(self, evidence: Mapping[str, Any], stage: Stage, row: Mapping[str, Any]) -> dict[str, Any]:
        """The rows, images and queries that evidence points to, as people know them."""
        for kind in ("first", "chosen"):
            if f"{kind}_partition" in evidence:
                place = RowLocation(evidence[f"{kind}_partition"], evidence[f"{kind}_row"])
                where = evidence.get(f"{kind}_dataset")
                return {
                    f"the {kind} one": self._candidate(place) if where is None else self._tell_elsewhere(where, place)
                }
        if "duplicate_of_url_id" in evidence:
            where, url_id = evidence.get("duplicate_of_dataset"), evidence["duplicate_of_url_id"]
            image = self._representative(url_id) if where is None else self._tell_elsewhere(where, url_id)
            return {"the image that stands for it": image}
        if "query_id" in evidence:
            rank = rank_of(self.dataset, stage, row["pair_id"], evidence, exact=self._exact)
            nearest = self._queries([evidence["query_id"]])[0]
            return {"the query that came nearest": nearest, "its rank there": rank}
        return {}

    def _tell_duplicates(self, partition: int, row: Mapping[str, Any]) -> dict[str, Any]:
        """Whose image was dropped for this one, and where else its bytes were found."""
        url_id = row["pair_id"][:8].hex()
        places = self._places(url_id)
        duplicates = None if places is None else {"pairs": places["duplicates"]}
        stands_for = self._list_urls(sql.load("asking/stands_for"), url_id, duplicates)
        same = []
        for image in self._read_rows(self.dataset.table("images"), partition, "url", row["url"])[:1]:
            if sha256 := image["sha256"]:
                partitions = self.dataset.places("sha256", [sha256.hex()])
                named = "SELECT DISTINCT url FROM _images WHERE sha256 = ? ORDER BY url"
                same = self._list_urls(named, sha256, partitions, row["url"])
        return {"stands for": stands_for, "the same bytes are at": same}

    def _places(self, url_id: str) -> Partitions | None:
        """The partitions that have rows of an image, where that is known."""
        return self.dataset.places_of_ids(url_id.ljust(32, "0"), url_id.ljust(32, "f"))

    def _list_urls(self, statement: str, value: Any, partitions: Partitions | None, but: str = "") -> list[str]:
        urls = [url for (url,) in self._ask(statement, [value], partitions) if url != but]
        more = len(urls) - _OTHERS_SHOWN
        return urls[:_OTHERS_SHOWN] + ([f"and {more:,} more"] if more > 0 else [])

    def _candidate(self, place: RowLocation) -> dict[str, Any]:
        """Another candidate, and what became of it."""
        row = self._row("candidates", place)
        end = self._end(judging_stages("candidates"), place)
        pair = self._pair_of(place, row["pair_id"]) if end is None else None
        if pair is not None:
            end = self._pair_end(pair, row["pair_id"])
        names = ("url", "text", "page_url", "archive", "offset", "ordinal")
        return {"pair_id": row["pair_id"].hex(), **{name: row[name] for name in names}, "end": end or _UNDECIDED}

    def _known_pair(self, place: RowLocation) -> dict[str, Any]:
        """A pair of this dataset, which another one was compared with."""
        row = self._row("pairs", place)
        names = ("url", "text", "page_url", "archive", "offset", "ordinal")
        pair = {"pair_id": row["pair_id"].hex(), **{name: row[name] for name in names}}
        return {**pair, "end": self._pair_end(place, row["pair_id"])}

    def _representative(self, url_id: str) -> dict[str, Any]:
        """An image by its id: the first of its pairs that was kept, else the first."""
        of_image = {"first": url_id.ljust(32, "0"), "last": url_id.ljust(32, "f")}
        pairs = self._ask(sql.load("asking/pairs_of_image"), of_image, self._places(url_id))
        shown_by = [
            {
                "url": url,
                "text": text,
                "pair_id": pair_id.hex(),
                "end": self._pair_end(RowLocation(partition, row), pair_id),
            }
            for partition, row, pair_id, url, text in pairs
        ]
        return next(
            (item for item in shown_by if item["end"].startswith("shards/")),
            shown_by[0] if shown_by else {"url": url_id},
        )

    def _tell_elsewhere(self, url: str, which: RowLocation | str) -> dict[str, Any]:
        """A pair, or an image by its id, of another dataset, if that is still there.

        Evidence may be anybody's: no server is asked but the one that this dataset itself lies on.
        """
        here, there = urlsplit(self.storage.url), urlsplit(url)
        if not is_local(url) and (here.scheme, here.netloc) != (there.scheme, there.netloc):
            return {"dataset": url, "end": "elsewhere, and not looked at"}
        try:
            teller = _Teller(Dataset(url))
            image = teller._known_pair(which) if isinstance(which, RowLocation) else teller._representative(which)
            return {"dataset": url, **image}
        except (FileNotFoundError, IndexError, ValueError):
            return {"dataset": url, "end": "not there any more"}

    def _pair_end(self, pair: RowLocation, pair_id: bytes) -> str:
        packed = self._tell_shard(pair_id)
        end = packed.sentence if packed.outcome == "packed" else _UNDECIDED
        return self._end(judging_stages("pairs"), pair) or end

    def _end(self, stages: Sequence[Stage], place: RowLocation) -> str | None:
        """The first verdict of the stages, in a few words."""
        for stage in stages:
            verdict = self._verdict(stage, place)
            if verdict is not None:
                return f"dropped by {stage.name}: {verdict[0]}"
        return None

    def _tell_shard(self, pair_id: bytes) -> Step:
        named = 'SELECT shard, key, split, "offset", size FROM _samples WHERE pair_id = ?'
        samples = self._ask(named, [pair_id], self._places(pair_id[:8].hex()))
        if not samples:
            return _waiting_step(path()[-1])
        facts = dict(zip(("shard", "key", "split", "offset", "size"), samples[0], strict=True))
        return Step(path()[-1].name, "packed", f"shards/{facts['shard']}, key {facts['key']}, {facts['split']}", facts)

    def _pair_of(self, place: RowLocation, pair_id: bytes) -> RowLocation | None:
        """The pair that a candidate became."""
        pairs = self._ask(
            "SELECT partition, row FROM _pairs WHERE pair_id = ? AND candidate_partition = ? AND candidate_row = ?",
            [pair_id, *place],
            self._places(pair_id[:8].hex()),
        )
        return RowLocation(*pairs[0]) if pairs else None

    def _image(self, partition: int, url: str) -> dict[str, Any]:
        """What fetching an image came to, with when and what exactly from the fetch store."""
        rows = self._read_rows(self.dataset.table("images"), partition, "url", url)
        if not rows:
            return {}
        facts = {name: rows[0][name] for name in _IMAGE_FACTS}
        if facts["final_url"] == url:
            facts.pop("final_url")
        chunks = [name for name in self._chunks if f"-{partition:05d}-" in name]
        tables = [table for name in chunks if (table := _rows_of_url(read_parquet(self.storage, name), url)).num_rows]
        if tables:
            (seen,) = newest(pa.concat_tables(tables)).to_pylist()
            facts.update({name: seen[name] for name in ("fetched_at", "attempts", "detail")})
        return facts

    @cached_property
    def _chunks(self) -> list[str]:
        files = self.storage.list(FETCH_STORE, recursive=True)
        return [info.name for info in files if info.name.endswith(".parquet")]

    def _queries(self, ids: Sequence[int]) -> list[str]:
        """The first queries by name, with their pairs before the first balance and in the dataset where known."""
        shown = list(ids[:_QUERIES_SHOWN])
        names = [
            query
            if before is None
            else f"{query} ({before:,} {'pair' if before == 1 else 'pairs'} found, {kept or 0:,} kept)"
            for query, before, kept in self._ask(sql.load("asking/queries"), {"ids": shown})
        ]
        return names + ([f"and {len(ids) - len(shown):,} more"] if len(ids) > len(shown) else [])

    def _measures(self, table: Table, place: RowLocation) -> dict[str, Any]:
        rows = self._read_rows(table, place.partition, "row", place.row)
        return {name: value for name, value in rows[0].items() if name != "row"} if rows else {}

    def _verdict(self, stage: Stage, place: RowLocation) -> tuple[str, dict[str, Any]] | None:
        rows = self._read_rows(Table("verdicts", stage.decision, "verdicts"), place.partition, "row", place.row)
        return (rows[0]["reason"], evidence_of(rows[0]["evidence"])) if rows else None

    def _read_rows(self, of: Table, partition: int, column: str, value: Any) -> list[dict[str, Any]]:
        """The rows of a committed file where a column has a value; none if there is no such file."""
        file = self.dataset.file(of, partition)
        if file is None:
            return []
        table = self._table(file)
        sought = pa.scalar(value, table.schema.field(column).type)
        return list(table.filter(pc.equal(table.column(column), sought)).to_pylist())

    def _table(self, file: FileRef) -> pa.Table:
        """A committed table; the last ones are kept, for several stages ask them."""
        if file.name not in self._tables:
            self._tables[file.name] = self.dataset.rows_of(file)
            for name in list(self._tables)[:-_TABLES_KEPT]:
                del self._tables[name]
        return self._tables[file.name]

    def _row(self, table: str, place: RowLocation) -> dict[str, Any]:
        """A row of a file whose rows are numbered by their position."""
        file = self.dataset.file(table, place.partition)
        if file is None:
            raise LookupError(f"the table {table} has no partition {place.partition}")
        return dict(self.dataset.rows_of(file, place.row).to_pylist()[0])

    def _ask(
        self, statement: str, values: list[Any] | dict[str, Any], within: Partitions | None = None
    ) -> list[tuple[Any, ...]]:
        return self.dataset.ask(statement, values, within).fetchall()


def _format_place(row: Mapping[str, Any]) -> str:
    if not row["page_url"]:
        return f"{row['archive']}, row {row['offset']:,}"
    return f"{row['archive']}, byte {row['offset']:,}, image {row['ordinal']} of the page"


def _waiting_step(stage: Stage) -> Step:
    return Step(stage.name, "waiting", "the run has not come this far; `wit run` goes on")


def _rows_of_url(table: pa.Table, url: str) -> pa.Table:
    return table.filter(pa.compute.equal(table.column("url"), url))


def _to_json(value: Any, depth: int = 0) -> Any:
    """A value as JSON knows it, without what is null and what is nested too deeply to be read."""
    if depth > _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _to_json(item, depth + 1) for key, item in value.items() if item is not None and item != []}
    if isinstance(value, (list, tuple)):
        return [_to_json(item, depth + 1) for item in value]
    if isinstance(value, float):
        return round(value, 6)
    return value if isinstance(value, (str, int, bool)) else value.hex() if isinstance(value, bytes) else str(value)
