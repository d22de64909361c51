"""fetch: image bytes from the archives that hold them, or over HTTP; a recorded observation, kept for ever.

The fetch store is append-only and keyed by canonical URL. A run gets only what the store lacks or what the config
says to try again. Everything after this stage is pure again: `images` holds no times and no attempts.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from crawl.images import store
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import OK, Ingested, Observation, RefusedBody
from crawl.images.rights import Heeds
from crawl.web import img2dataset_engine
from crawl.web.address_guard import Guard
from crawl.web.client import opted_out
from crawl.web.config import FetchConfig
from crawl.web.contact import Contact, NoContactError
from crawl.web.fetch import fetch
from dataset import heartbeat
from dataset.hosts import hostname
from dataset.ids import pair_id
from dataset.layout import WITH_PICTURES
from dataset.ledger.commits import FileRef, fingerprint
from dataset.reasons import TRANSIENT
from dataset.schema import ARCHIVE_IMAGES, IMAGES, OBSERVATIONS, VERDICTS
from dataset.store.storage import Storage
from filters.images.hashlists import HashLists, HashListsConfig
from filters.images.perceptual import pdq
from pipeline.config import Config, ConfigError, check_files, options
from pipeline.engine.contract import PAIR_ROWS, roles, settings
from pipeline.engine.phase import Context, Input, Result, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.plan import file_checksum
from pipeline.engine.verdicts import alive_rows, decide_by_sql, first_verdicts, lost_verdicts, verdict_result
from pipeline.stages.artifacts import ARCHIVE_IMAGES_TABLE, ARCHIVE_LOCATIONS, HOST_LANES, IMAGES_TABLE, LICENSED_TABLE
from pipeline.stages.domain_lists import built_domains, domain_index, domain_task
from pipeline.stages.fetch import FETCH, adopt, img2dataset_ray, licenses, redirects
from pipeline.stages.fetch.current_rules import KEPT_OF_REFUSED, refuse_listed, with_masks, with_unread
from pipeline.stages.fetch.fetch_store import chunk_key, chunk_name, held_images, keep_locations, look
from pipeline.stages.fetch.from_archives import from_adopted, from_archives
from pipeline.stages.fetch.licenses import SAID
from pipeline.stages.fetch.progress import Tally, clear
from pipeline.stages.fetch.slow_hosts import with_slow_hosts
from pipeline.stages.prebalance.stage import LANES
from pipeline.workers.ray_worker import IN_WORKER

DAMAGED = "damaged"  # in place of the outcome of an observation whose image the store has lost
ENGINES: dict[str, Callable[..., list[Observation]]] = {"openwit": fetch, "img2dataset": img2dataset_engine.fetch}


@phase(FETCH, "fetch.domains", version=2, takes=("lists", "checksums"), gives=roles("index"))
def domains(context: Context) -> Result:
    """Give the index of the lists that `fetch.opted_out_domains` names."""
    return built_domains(context)


@phase(
    FETCH,
    "fetch.get",
    version=14,
    reads=PAIR_ROWS
    | roles("adopted", lanes=LANES, archive_images=ARCHIVE_IMAGES, redirected=ARCHIVE_IMAGES, licensed=SAID),
    may_read=roles("domains"),
    takes=("fetch", "store", "hashlists", "folder", "route"),
    gives=roles(images=IMAGES, licensed=SAID),
    may_give=roles("blob"),
)
def get(context: Context) -> Result:
    """Get every URL of the partition that the store lacks; then give the newest observation of each."""
    licensed = licenses.strictest_by_pair(context.concat("licensed", SAID))
    urls, disowned = licenses.urls_to_get(context, licensed)
    left_out = with_slow_hosts(urls, context.task.without)
    wanted = [urls[unit] for unit in context.units(len(urls)) if unit not in left_out]
    heartbeat.name_units({url: unit for unit, url in enumerate(urls)})
    for unit, lost_unit in sorted(left_out.items()):
        context.leave_out(lost_unit, url=urls[unit])
    held = held_images(context)
    stored = look(context, [*wanted, *disowned], held)
    known = store.newest(stored.rows)
    config = settings(FetchConfig, context.options["fetch"])
    domains = domain_index(context.storage, context.files("domains")) or frozenset[str]()
    is_damaged = pa.array(store.find_damaged(context.storage, known), pa.bool_())
    damaged, known = known.filter(is_damaged), known.filter(pc.invert(is_damaged))
    have = {row["url"]: row for row in known.to_pylist()}
    have |= {row["url"]: {**row, "outcome": DAMAGED} for row in damaged.to_pylist()}
    need = [
        url for url in wanted if opted_out(hostname(url), domains) is None and _is_due(have.get(url), config, domains)
    ]
    try:
        observations, chunks = _observe(context, need, config, domains, have, held)
    except NoContactError as error:
        raise ConfigError(str(error)) from error
    if context.is_probe:
        return Result()
    observations = store.restore(context.storage, damaged, observations)
    known = pa.concat_tables(
        [known, damaged.filter(pc.invert(pa.array(store.find_damaged(context.storage, damaged), pa.bool_())))]
    )
    if observations:
        name = chunk_name(context, need, [chunk_key(have.get(url)) for url in need])
        with contextlib.suppress(FileExistsError):  # a node taken for dead has done it after all; its answers stand
            store.write_chunk(context.storage, name, observations, stored.outdated)
        chunks = [*chunks, name]
    store.discard(context.storage, stored.outdated)
    known = store.newest(pa.concat_tables([known, *(store.read_chunk(context.storage, name) for name in chunks)]))
    known = known.filter(pc.is_in(known["url"], pa.array(wanted, pa.string())))
    store.trim(context.storage, known)
    listed_now = refuse_listed(
        known, _hash_lists(context.options), domains, respects_data_mining=config.respect_data_mining
    )
    unread = licensed.filter(pc.is_null(licensed["reason"]))
    masked = with_masks(listed_now, config.mask_personal_data)
    result = _images(context, with_unread(masked, unread), wanted, domains).table("licensed", licensed, SAID)
    listed, said = _find_newly_listed(context, stored.rows)
    every = pa.concat_tables([stored.rows, stored.older])
    result.facts["listed"] = sorted({*listed, *_find_newly_refused(every, known, disowned)})
    result.facts["chunks"] = sorted({*stored.chunks, *chunks, *said})
    return result


def _find_newly_listed(context: Context, stored: pa.Table) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Where the store holds images that it took under older lists, and that a list holds by now: they will be erased;
    and the chunks that say so.

    The store says so from now on, for they do not come back when the list changes again.
    """
    held = stored.filter(pc.is_valid(stored.column("blob")))
    rows = held.filter(pa.array(_hash_lists(context.options).is_listed(held))).to_pylist()
    refused = [
        Observation(**{name: row[name] for name in KEPT_OF_REFUSED}, outcome="hash_list_match", detail=None, image=None)
        for row in rows
    ]
    said = []
    if refused:
        said.append(chunk_name(context, [row["url"] for row in rows], [chunk_key(row) for row in rows]))
        with contextlib.suppress(FileExistsError):  # said already
            store.write_chunk(context.storage, said[0], refused)
    return sorted({(row["blob"], row["blob_offset"], row["blob_length"]) for row in rows}), said


def _find_newly_refused(stored: pa.Table, known: pa.Table, disowned: Sequence[str]) -> list[tuple[str, int, int]]:
    """Where the store holds images whose owners, or the pages of all their pairs, have refused since they were got:
    they will be erased. What another URL has the same bytes of, which nobody refused, stays.
    """
    refusing = known.filter(pc.and_(pc.is_valid(known["wish_signal"]), pc.not_equal(known["outcome"], OK)))
    refused = pa.chunked_array([*refusing["url"].chunks, pa.array(disowned, pa.string())], pa.string())
    of_refusing = pc.is_in(stored["url"], refused.combine_chunks())

    def places(rows: pa.Table) -> set[tuple[str, int, int]]:
        held = rows.filter(pc.is_valid(rows["blob"])).select(["blob", "blob_offset", "blob_length"])
        return set(zip(*held.to_pydict().values(), strict=True))

    return sorted(places(stored.filter(of_refusing)) - places(stored.filter(pc.invert(of_refusing))))


def _is_due(row: Mapping[str, Any] | None, config: FetchConfig, domains: Container[str]) -> bool:
    """Whether a URL is to be asked for, by the newest observation of it."""
    if row is None:
        return True
    outcome = row["outcome"]
    if outcome == DAMAGED:
        return True
    if outcome == "domain_opted_out":  # a redirect led to a domain that may be off the list by now
        return opted_out(hostname(row["final_url"]), domains) is None
    if config.retry == "transient" and outcome in TRANSIENT:
        return True
    return row["origin"] == "http" and row["fetched_at"] < config.refresh_before


def _observe(
    context: Context,
    need: Sequence[str],
    config: FetchConfig,
    domains: Container[str],
    have: Mapping[str, Mapping[str, Any]],
    held: pa.Table,
) -> tuple[list[Observation], list[str]]:
    """What came of the URLs, and the chunks of the store that what came of others was written to."""
    image_config = settings(ImageConfig, context.options["store"])
    take = _taker(context.options)
    _warm_up(take)
    partitions = context.task.hints.get("partitions", 1)
    tally = Tally(context.storage, context.task.partition, partitions, len(need), is_shown=not context.is_probe)
    done = from_adopted(
        context,
        need,
        config,
        _hash_lists(context.options),
        lambda body, listed: ingest(body, image_config, pdq, listed, _heeds(config)),
    )
    tally.add_all(item.outcome for item in done.values())
    chunks: list[str] = []
    for origin in config.origins:
        left = [url for url in need if url not in done]
        if origin == "http":
            Contact(config.user_agent, Guard(config.resolve)).check_all(left)
        if origin == "http" and config.distributor == "ray" and not context.is_probe:
            chunks = _distribute(context, left, have)
            break  # each URL has been asked for
        if origin == "archive":
            observations = from_archives(context, left, config, take, held, domains)
            tally.add_all(item.outcome for item in observations.values())
        else:
            engine_options: dict[str, Any] = {"opted_out": domains, "done": lambda item: tally.add(item.outcome)}
            if config.engine == "openwit":
                engine_options["earlier"] = {
                    url: have[url] for url in left if url in have and have[url]["outcome"] == OK
                }
            asked = ENGINES[config.engine](left, _share(context, config), take, **engine_options)
            observations = {item.url: item for item in asked}
        done.update(observations)
    tally.finish()
    return list(done.values()), chunks


_is_warm = False


def _warm_up(take: Callable[[bytes], Ingested | RefusedBody]) -> None:
    """Load what the first image takes, which is not that image's expense."""
    global _is_warm
    if not _is_warm:
        body = io.BytesIO()
        Image.new("RGB", (64, 64)).save(body, "JPEG")
        take(body.getvalue())
        _is_warm = True


def _taker(chosen: Mapping[str, Any]) -> Callable[[bytes], Ingested | RefusedBody]:
    """Return what makes a body an image that is stored, by a task's options."""
    config = settings(ImageConfig, chosen["store"])
    match = _hash_lists(chosen).match
    heeds = _heeds(settings(FetchConfig, chosen["fetch"]))
    return lambda body: ingest(body, config, pdq, match, heeds)


def _heeds(config: FetchConfig) -> Heeds:
    return Heeds(
        data_mining=config.respect_data_mining,
        rsl=config.respect_rsl,
        refuses_unreadable=config.unreadable_policy == "refuse",
        mask=config.mask_personal_data,
    )


def _distribute(context: Context, urls: Sequence[str], have: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The chunks that img2dataset's distributor made of the URLs."""
    parts = [
        urls[offset : offset + img2dataset_ray.SHARD_URLS] for offset in range(0, len(urls), img2dataset_ray.SHARD_URLS)
    ]
    shards = {chunk_name(context, part, [chunk_key(have.get(url)) for url in part]): part for part in parts}
    listed = context.files("domains")
    img2dataset_ray.distribute(
        context.storage, partial(_shard, context.storage.url, dict(context.options), listed), shards
    )
    return list(shards)


def _shard(url: str, chosen: Mapping[str, Any], listed: Sequence[Input], urls: Sequence[str]) -> list[Observation]:
    """What img2dataset got of a shard's URLs, in a process of its own, by a task's options and lists."""
    config = settings(FetchConfig, chosen["fetch"])
    domains = domain_index(Storage(url), listed) or frozenset[str]()
    return img2dataset_engine.fetch(urls, config, _taker(chosen), opted_out=domains)


def _share(context: Context, config: FetchConfig) -> FetchConfig:
    """A host that is split into lanes has its budget divided among them."""
    hosts = context.table("rows", ["host"]).column("host")
    lanes = context.concat("lanes", LANES)
    mine = lanes.filter(pc.is_in(lanes.column("host"), value_set=pc.unique(hosts)))
    most = max(mine.column("lanes").to_pylist(), default=1)
    if most == 1 or config.engine != "openwit":  # another knows no budget
        return config
    return replace(
        config,
        per_host_concurrency=max(1, config.per_host_concurrency // most),
        per_host_delay_s=config.per_host_delay_s * most,
    )


def _hash_lists(chosen: Mapping[str, Any]) -> HashLists:
    """The lists that a task's options name; their checksums tell one content from another."""
    section = {key: value for key, value in chosen["hashlists"].items() if key != "checksums"}
    return _load_hash_lists(settings(HashListsConfig, section))


@lru_cache(maxsize=1)
def _load_hash_lists(config: HashListsConfig) -> HashLists:
    return HashLists.load(config)


def _images(context: Context, known: pa.Table, wanted: Sequence[str], domains: Container[str]) -> Result:
    """The observations as IMAGES, ordered by URL id, and the store's files that they need.

    What no archive holds, or was not asked for, is no observation of the world, so it is here alone, not in the store.
    """
    absent = []
    for url in sorted(set(wanted) - set(known.column("url").to_pylist())):
        out = opted_out(hostname(url), domains) is not None
        why = {"outcome": "domain_opted_out"} if out else {"outcome": "not_in_archive", "origin": "archive"}
        absent.append({"url": url, "final_url": url, **why})
    known = pa.concat_tables([known, pa.Table.from_pylist(absent, schema=OBSERVATIONS)])
    urls = known.column("url").to_pylist()
    ids = pa.array([pair_id(url, "")[:8] for url in urls], pa.binary(8))
    hosts = pa.array([hostname(url) for url in urls], pa.string())
    table = known.append_column("url_id", ids).append_column("host", hosts).sort_by("url_id")
    table = table.append_column("row", pa.array(range(table.num_rows), pa.uint32()))
    result = Result(counts={"images": table.num_rows}).table("images", table.select(IMAGES.names), IMAGES)
    for blob in sorted(set(pc.drop_null(pc.unique(table.column("blob"))).to_pylist())):
        (info,) = (item for item in context.storage.list(blob.rpartition("/")[0]) if item.name == blob)
        result.refs[f"blob:{blob}"] = FileRef(blob, info.bytes, "")
    return result


@phase(
    FETCH,
    "fetch.decide",
    version=3,
    reads=PAIR_ROWS | roles(images=IMAGES, licensed=SAID),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/fetch.sql: what each pair's page permits, and the outcome of its image."""
    rows = alive_rows(context)
    images, licensed = context.table("images"), context.table("licensed")
    wanted, _ = licenses.urls_to_get(context, licensed)
    asked = rows.filter(pc.is_in(rows.column("url"), pa.array(wanted, pa.string())))
    present = pc.is_in(asked.column("url"), value_set=images.column("url").combine_chunks())
    missing = lost_verdicts(context, asked, asked.filter(present).column("row"))
    verdicts = decide_by_sql(
        context, "decisions/fetch", rows, {"images": images, "licensed": licensed}, context.options
    )
    return verdict_result(context, rows, first_verdicts([missing, verdicts.cast(VERDICTS)]))


def check(config: Config) -> None:
    """Read the lists of hashes, and look at the downloads to adopt, before any work is done. Raises ConfigError."""
    if config.fetch.distributor == "ray" and config.run.workers == 0:
        raise ConfigError("fetch.distributor is ray, which run.workers: 0 does without; set one or the other")
    if config.fetch.opted_out_domains:
        check_files("fetch.opted_out_domains", [config.fetch.opted_out_domains])
    check_files("hashlists.files", config.hashlists.files)
    try:
        lists = HashLists.load(config.hashlists)
    except (OSError, ValueError) as error:
        raise ConfigError(f"hashlists.files: {error}") from None
    adopt.check(config, lists)


def run(run: Run) -> None:
    """Get what is missing; decide by the outcomes."""
    config = run.config
    images = options(config.store)
    lists = {**options(config.hashlists), "checksums": [file_checksum(path) for path in config.hashlists.files]}
    # Stored bytes depend on how they are resized, so another setting has another folder.
    folder = fingerprint("store", 3, images, [])
    lanes = run.artifacts.take(HOST_LANES)
    route = fingerprint("route", len(run.partitions), {}, [item.checksum for item in lanes])
    opted_out_domains: dict[str, tuple[Input, ...]] = {}
    if config.fetch.opted_out_domains:
        built = run.one(domains, domain_task(domains.name, [config.fetch.opted_out_domains]))
        opted_out_domains = {"domains": (Input(built.files["index"]),)}
    settings_ = {"fetch": options(config.fetch), "store": images, "hashlists": lists, "folder": folder, "route": route}
    adopted = adopt.run(run)
    redirected = redirects.run(run) if "archive" in config.fetch.origins else []
    licensed = licenses.run(run, options(config.fetch), opted_out_domains)
    hints: dict[str, Any] = {
        **keep_locations(run.storage, run.artifacts.take(ARCHIVE_LOCATIONS)),
        "partitions": len(run.partitions),
    }
    hints[IN_WORKER] = config.fetch.distributor == "ray"
    clear(run.storage)
    elsewhere = [
        {
            "adopted": adopted.bucket(partition.number),
            "licensed": licensed.bucket(partition.number) if licensed else (),
            "redirected": tuple(item for one in redirected for item in one.bucket(partition.number)),
        }
        for partition in run.partitions
    ]
    listed = {"lanes": lanes, **opted_out_domains}
    got = run.map(get, settings_, ARCHIVE_IMAGES_TABLE, shared=listed, each=elsewhere, units=True, hints=hints)
    erased = store.erase(run.storage, [place for commit in got for place in commit.facts["listed"]])
    if erased:
        run.storage.delete(WITH_PICTURES)
    run.leave(IMAGES_TABLE, got, "images")
    run.leave(LICENSED_TABLE, got, "licensed")
    run.decide(decide, {}, IMAGES_TABLE, LICENSED_TABLE)
