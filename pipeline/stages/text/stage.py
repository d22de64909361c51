"""text: length, language, file names, blocklists, and the config's own text filters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.candidates.personal_data import mask_texts
from dataset.hosts import canonical_host
from dataset.ids import hash64
from dataset.schema import CANDIDATES, CAPTIONS, PLACE, VERDICTS
from filters.texts import repeats as site_repeats
from filters.texts.blocklist import TERM
from filters.texts.context import in_context
from filters.texts.domains import ENTRY
from filters.texts.language import GUESS
from filters.texts.not_captions import FOUND
from filters.texts.repeats import REPEATS, SAMPLES
from filters.texts.text import TextConfig, as_names, measure_text, word_files
from filters.texts.wording import reword
from pipeline.config import Config, ConfigError, check_files, options, to_builtins
from pipeline.engine.contract import CANDIDATE_ROWS, roles, settings
from pipeline.engine.exchanges.exchange import ROWS_PER_BUCKET, bucket_count, bucket_of, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import Context, Input, Inputs, Result, files_of_each, phase
from pipeline.engine.run import Run
from pipeline.engine.sources.plan import file_checksum
from pipeline.engine.verdicts import (
    alive_rows,
    decide_by_sql,
    left_join_by_row,
    measure_in_slices,
    take_units,
    verdict_result,
)
from pipeline.stages import custom_filters
from pipeline.stages.artifacts import CAPTIONS_TABLE, TEXT_TABLE
from pipeline.stages.domain_lists import built_domains, domain_index, domain_task
from pipeline.stages.text import TEXT

MEASURES = pa.schema(
    [
        ("row", pa.uint32()),
        ("characters", pa.int32()),
        ("words", pa.int32()),
        ("is_filename", pa.bool_()),
        ("has_letters", pa.bool_()),
        ("is_latin", pa.bool_()),
        ("accents", pa.int32()),
        ("is_name_like", pa.bool_()),
        ("function_words", pa.list_(pa.string())),
        ("blocked_domains", pa.list_(ENTRY)),
        ("language_guesses", pa.list_(GUESS)),
        ("blocked_terms", pa.list_(TERM)),
        ("profanity_probability", pa.float32()),
        ("language", pa.string()),
        ("language_probability", pa.float32()),
        ("is_undetermined", pa.bool_()),
        ("texts_on_page", pa.int32()),
        ("not_captions", pa.list_(FOUND)),
        ("unsafe_address", pa.string()),
    ]
)
"""What sql/decisions/text.sql and the config's own predicates decide by."""

_OF_SITES = ("cut_repeats", "max_site_images_per_text", "max_site_texts_per_image", "max_site_page_share")
_KEEPING_TEXTS = ("decode_markup", "slugs_to_words", "cut_repeats")
_TEXTS_AT_ONCE = 20_000  # to compile what is looked for takes as long as to look for it in a thousand
_BYTES_AT_ONCE = 2**23


@phase(TEXT, "text.samples", version=4, reads=CANDIDATE_ROWS, takes=("buckets",), exchanges=roles("samples"))
def samples(context: Context) -> Result:
    """Give some captions and pages of each site, by site; and in which partition the site is."""
    sampled = site_repeats.samples(alive_rows(context, ["url", "text", "host", "page_url"]))
    distinct = sampled["site"].combine_chunks().dictionary_encode()
    keys = np.array([hash64(site) for site in distinct.dictionary.to_pylist()], np.uint64)
    bucket = bucket_of(keys, context.options["buckets"])[distinct.indices.to_numpy()]
    partition = pa.array(np.full(sampled.num_rows, context.task.partition, np.int32))
    return Result(buckets={"samples": write_buckets(sampled.append_column("home", partition), bucket)})


@phase(
    TEXT,
    "text.repeats",
    version=4,
    reads=roles("samples"),
    takes=_OF_SITES,
    exchanges=roles(repeats=REPEATS),
)
def repeats(context: Context) -> Result:
    """Give what repeats on each site; by the partitions that have it."""
    of_parts: list[pa.Table] = []

    def parts() -> Iterator[pa.Table]:
        for sent in context.each("samples"):
            of_parts.append(sent.group_by(["site", "home"]).aggregate([]))
            yield sent.select(SAMPLES.names)

    repeated = site_repeats.repeats_of_parts(parts(), settings(TextConfig, context.options))
    sites = repeated["site"].unique()
    of_repeated = [part.filter(pc.is_in(part["site"], sites)) for part in of_parts]
    homes = pa.concat_tables(of_repeated).group_by(["site", "home"]).aggregate([])
    order = [(name, "ascending") for name in ("home", *REPEATS.names)]
    returned = homes.join(repeated, "site", join_type="inner").sort_by(order)
    partition = returned["home"].to_numpy().astype(np.int64)
    return Result(buckets={"repeats": write_buckets(returned.select(REPEATS.names), partition)})


@phase(
    TEXT,
    "text.captions",
    version=4,
    reads=CANDIDATE_ROWS,
    may_read=roles(repeats=REPEATS),
    takes=("decode_markup", "slugs_to_words", "cut_repeats", "mask_personal_data"),
    gives=roles(captions=CAPTIONS),
)
def captions(context: Context) -> Result:
    """Give the texts that are judged otherwise than they were written, and what repeats on its site."""
    rows = alive_rows(context, ["url", "text", "host", "page_url", "page_language"])
    keys = {name: context.options[name] for name in _KEEPING_TEXTS}
    config = settings(TextConfig, keys)
    texts, changes = reword(rows, config)
    # What was encoded was not seen when the text was first written.
    is_other = pc.greater(pc.list_value_length(changes), 0)
    if pc.any(is_other).as_py():
        languages = rows["page_language"].combine_chunks().filter(is_other)
        masked, _ = mask_texts(texts.filter(is_other), languages, context.options["mask_personal_data"])
        texts = pc.replace_with_mask(texts, is_other, masked)
    judged = site_repeats.captions(rows, texts, changes, context.concat("repeats", REPEATS), config)
    return Result().table("captions", judged, CAPTIONS)


@phase(TEXT, "text.domains", version=2, takes=("lists", "checksums"), gives=roles("index"))
def domains(context: Context) -> Result:
    """Give the index of the lists that `text.blocked_domains` names."""
    return built_domains(context)


@phase(
    TEXT,
    "text.measure",
    version=7,
    reads=CANDIDATE_ROWS,
    may_read=roles("domains"),
    takes=("text", "has_profanity", "external"),
    gives=roles("measures"),
)
def measure(context: Context) -> Result:
    """Give what is expensive to know of a text."""
    alive = alive_rows(context, ["url", "text", "page_url"])
    rows = take_units(context, alive)
    index = domain_index(context.storage, context.files("domains"))
    config, has_profanity = settings(TextConfig, context.options["text"]), context.options["has_profanity"]

    def measure_rows(rows: pa.Table) -> pa.Table:
        return measure_text(rows, config, index, has_profanity)

    bytes_each = rows["text"].nbytes // max(1, rows.num_rows) + 1
    size = min(_TEXTS_AT_ONCE, _BYTES_AT_ONCE // bytes_each + 1)
    return Result().table("measures", measure_in_slices(context, rows, size, measure_rows, of=alive))


@phase(
    TEXT,
    "text.context",
    version=6,
    reads=CANDIDATE_ROWS | roles("measures"),
    takes=("language_context", "language_min_probability"),
    gives=roles(measures=MEASURES),
)
def context(context: Context) -> Result:
    """Give the measures, and what stands around each text says of it; no page is in two partitions."""
    columns = ["url", "text", "text_source", "page_url", "page_language", *PLACE.names, "archive", "offset"]
    config = settings(TextConfig, context.options)
    return Result().table("measures", in_context(alive_rows(context, columns), context.table("measures"), config))


@phase(TEXT, "text.custom", reads=CANDIDATE_ROWS, takes=("filters",), gives=roles("measures"))
def custom(context: Context) -> Result:
    """Give what the config's own text filters measure."""
    rows = take_units(context, alive_rows(context))
    return Result().table("measures", custom_filters.measure(rows, context.options["filters"]))


@phase(
    TEXT,
    "text.decide",
    version=6,
    reads=CANDIDATE_ROWS | roles("measures"),
    may_read=roles("own"),
    takes=("text", "filters"),
    gives=roles(verdicts=VERDICTS),
)
def decide(context: Context) -> Result:
    """Give verdicts by sql/decisions/text.sql and the config's own predicates."""
    rows = alive_rows(context)
    repeated = context.table("captions") if "captions" in context.task.inputs else CAPTIONS.empty_table()
    measures, names = context.table("measures"), list[str]()
    for table in context.table_list("own"):
        names = [name for name in table.column_names if name != "row"]
        measures = left_join_by_row(measures, measures.column("row"), table)
    filters = [{**item, "columns": names} for item in context.options["filters"]]
    config = context.options["text"]
    verdicts = decide_by_sql(
        context, "decisions/text", rows, {"measures": measures, "captions": repeated}, config, filters
    )
    return verdict_result(context, rows, verdicts, [item["name"] for item in filters])


def check(config: Config) -> None:
    """Check whether the lists are there and the config's own filters of texts can be run, before any work is done.
    Raises ConfigError."""
    if config.text.language_model != "builtin":
        check_files("text.language_model", [config.text.language_model])
    check_files("text.blocklist", word_files(config.text))
    check_files("text.blocked_domains", as_names(config.text.blocked_domains))
    custom_filters.check(config, "text", CANDIDATES, MEASURES)


def run(run: Run) -> None:
    """Measure and decide."""
    config = run.config.text
    _word(run)
    files = [path for path in (config.language_model, *word_files(config)) if path != "builtin"]
    keys = {
        "text": options(config, "language_model", "blocklist", "blocked_patterns"),
        "has_profanity": config.max_profanity_probability < 1,  # its threshold is the decision's
        "external": {path: file_checksum(path) for path in files},
    }
    lists = _listed_domains(run)
    measured = run.map(measure, keys, shared=lists, units=True)
    surroundings = options(config, "language_context", "language_min_probability")
    measured = run.map(context, surroundings, each=files_of_each(measured, "measures"))
    run.leave(TEXT_TABLE, measured, "measures")
    measures = files_of_each(measured, "measures")
    if functions := custom_filters.measuring_filters(run.config, "text"):
        answered = run.map(custom, {"filters": functions}, units=True)
        measures = [
            {**item, "own": (Input(commit.files["measures"]),)} for item, commit in zip(measures, answered, strict=True)
        ]
        custom_filters.check_answers(run, "text", CANDIDATES, MEASURES, answered)
    allowed = sorted(map(canonical_host, run.config.fetch.resolve))
    run.decide(
        decide,
        {
            "text": {**to_builtins(asdict(config)), "allowed_hosts": allowed},
            "filters": custom_filters.deciding_filters(run.config, "text"),
        },
        each=measures,
    )


def _word(run: Run) -> None:
    """Say which texts are judged otherwise than they were written, and what repeats, if the config asks for it."""
    config = run.config.text
    inputs: list[dict[str, Inputs]] | None = None
    has_limits = config.max_site_images_per_text or config.max_site_texts_per_image or config.max_site_page_share < 1
    if config.cut_repeats or has_limits:
        of_sites = run.map(samples, {"buckets": bucket_count(run.alive, ROWS_PER_BUCKET)})
        keys = options(config, *_OF_SITES)
        sites = exchange(run, of_sites, "samples")
        returned = exchange(run, run.reduce(repeats, keys, {"samples": [sites]}), "repeats")
        inputs = [{"repeats": returned.bucket(partition.number)} for partition in run.partitions]
    if inputs or config.decode_markup or config.slugs_to_words:
        keys = {**options(config, *_KEEPING_TEXTS), **options(run.config.extract, "mask_personal_data")}
        run.leave(CAPTIONS_TABLE, run.map(captions, keys, each=inputs), "captions")


def _listed_domains(run: Run) -> dict[str, tuple[Input, ...]]:
    """The index of the config's lists of domains, if it has any.

    Raises:
        ConfigError: it names a category that no list has.
    """
    names = list(as_names(run.config.text.blocked_domains))
    if not names:
        return {}
    built = run.one(domains, domain_task(domains.name, names))
    known = built.facts["categories"]
    for category in run.config.text.blocked_categories:
        if category not in known:
            raise ConfigError(
                f"text.blocked_categories names {category}, which text.blocked_domains lacks; it has {', '.join(known)}"
            )
    return {"domains": (Input(built.files["index"]),)}
