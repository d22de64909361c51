"""A run is one YAML file; every room owns the dataclass of its own keys, a stage may bring one: this module composes
and checks them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from crawl.archives.commoncrawl import CommonCrawlConfig
from crawl.candidates.config import ExtractConfig
from crawl.images.ingest import ImageConfig
from crawl.web.config import FetchConfig
from dataset import stages
from dataset.config_check import ConfigValueError, checked_config
from dataset.reasons import reasons
from dataset.store.faults import PATIENCE_S
from dataset.store.secrets import public_values
from dataset.store.storage import is_local
from dataset.store.web import PATIENCE_S as PATIENCE_WEB_S
from filters.duplicates.decontaminate import DecontaminateConfig
from filters.duplicates.exact import DedupConfig
from filters.duplicates.near import NearDupConfig
from filters.duplicates.semantic import SemanticConfig
from filters.images.config import ImageFilterConfig
from filters.images.faces import FacesConfig
from filters.images.hashlists import HashListsConfig
from filters.queries.balance import BalanceConfig
from filters.queries.language_caps import ENGLISH
from filters.queries.match import OTHER, MatchConfig
from filters.texts.text import TextConfig
from pipeline import config_files
from pipeline.config_errors import ConfigError
from pipeline.config_files import with_presets

T = TypeVar("T")


@dataclass(frozen=True)
class PrebalanceConfig:
    """How much more than the cap is fetched, because some of it will be dropped later."""

    oversample: float = 2.0
    """How many times balance.cap pairs a query may keep before the download."""

    def __post_init__(self) -> None:
        if self.oversample < 1:
            raise ValueError(f"oversample must be at least 1, not {self.oversample}")


@dataclass(frozen=True)
class PackConfig:
    """Shards and the held-out split."""

    samples_per_shard: int = 10_000
    """About how many samples a tar holds; img2dataset's default."""
    heldout_share: float = 0.01
    """Share of the images set aside for examination; training never reads them."""

    def __post_init__(self) -> None:
        if self.samples_per_shard < 1:
            raise ValueError(f"samples_per_shard must be at least 1, not {self.samples_per_shard}")
        if not 0 <= self.heldout_share < 0.5:
            raise ValueError(f"heldout_share must be from 0 to below 0.5, not {self.heldout_share}")


@dataclass(frozen=True)
class CustomFilter:
    """A filter of the user's own: a function that measures, a SQL predicate that decides."""

    name: str
    """The reason that its verdicts carry."""
    stage: Literal["text", "image"]
    """The stage that it belongs to: its own rules decide first."""
    drop_when: str
    """A SQL predicate over the columns of `rows` and `measures`: rows for which it is true are dropped."""
    measure: str = ""
    """`path/to/file.py:function`, from a table of rows to a table (or dict) of columns; empty if SQL alone decides."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ValueError(f"name must be lower_case_with_underscores, not {self.name!r}")
        if self.name in reasons():
            raise ValueError(f"name {self.name!r} is a reason of openwit's own; choose another")
        if self.measure and not re.fullmatch(r".+\.py:[A-Za-z_]\w*", self.measure):
            raise ValueError(f"measure must be path/to/file.py:function, not {self.measure!r}")


@dataclass(frozen=True)
class RunConfig:
    """How a run is cut into tasks and carried out; workers and address change nothing but the time."""

    workers: int | None = None
    """CPUs to use. By default all, and a run whose sources have at most `small_bytes` starts no Ray: child processes do
    its tasks. 0 does one task at a time in one child process; a number above has Ray on this machine."""
    address: str | None = None
    """A Ray cluster's address (`auto`, host:port); by default the run stays on this machine."""
    gpus_per_model_task: float = 0.0
    """The share of a GPU that is reserved for a task whose model can use one: 0.25 lets four share it. 0 reserves none:
    such a task still uses a GPU that it finds, the first of its node."""
    small_bytes: int = 256 * 2**20
    """The most bytes of sources with which a run counts as small: see `workers`."""
    record_cpu_s: float = 10.0
    """Seconds of CPU time that one record (a page, a row, an image) may take. One that takes more is dropped with the
    reason `processing_time_exceeded`, and its worker begins again without it."""
    record_memory_bytes: int = 1_250_000_000
    """Bytes of memory that one record may take, beyond what its worker has; one that takes more is dropped with the
    reason `processing_memory_exceeded`."""
    max_quarantined: int = 10
    """How many inputs (rows, files, URLs) may crash their worker before the run fails."""
    patience_s: float = PATIENCE_S
    """How many seconds a task waits, in all, for an environment that fails (a full disk, a busy server, a lost node)
    and is tried again; then the run ends, and the same command goes on where it was."""
    web_patience_s: float = PATIENCE_WEB_S
    """How many seconds, in all, one request to a server of http or https sources (Common Crawl's) waits between its
    tries when the server is busy or cannot be reached: 1 s, then twice as long each time, or as long as the server
    asks."""
    piece_bytes: int = 32 * 2**20
    """The most bytes of archive in a partition: larger files are split, smaller ones share one. Inputs of less than
    eight times as much are cut into eight partitions of at least 4 MiB, so that all CPUs of a laptop work."""
    pairs_per_partition: int = 10_000
    """About how many pairs, and so URLs to fetch, a partition holds."""

    def __post_init__(self) -> None:
        for key, least in (
            ("small_bytes", 0),
            ("record_cpu_s", 0.1),
            ("record_memory_bytes", 2**20),
            ("max_quarantined", 0),
            ("patience_s", 0),
            ("web_patience_s", 0),
            ("piece_bytes", 2**16),
            ("pairs_per_partition", 1),
        ):
            if not getattr(self, key) >= least:  # neither is a .nan
                raise ValueError(f"{key} must be at least {least}, not {getattr(self, key)}")
        gpus = self.gpus_per_model_task
        if not 0 <= gpus < math.inf or (gpus > 1 and gpus % 1):
            raise ValueError(f"gpus_per_model_task must be 0, a share of 1 or whole, not {self.gpus_per_model_task}")
        if self.workers is not None and self.workers < 0:
            raise ValueError(f"workers must be 0 or more, not {self.workers}")
        if gpus and self.workers == 0:
            raise ValueError("gpus_per_model_task is Ray's, which workers: 0 does without; set one or the other")


@dataclass(frozen=True)
class Config:
    """All that a run is told."""

    sources: tuple[str, ...]
    """Paths, globs or URLs of archives (WARC, WAT, ARC, WACZ), of tables of (URL, text) (Parquet, CSV) and of lists of
    pages to fetch; or a crawl of Common Crawl's, `cc:CC-MAIN-2026-40[0:100]`. See docs/sources.md."""
    out: str = ""
    """Where the dataset goes: a path or s3:// URL; `--out` overrides it."""
    name: str = "openwit"
    """The dataset's name in its datasheet and report."""
    against: tuple[str, ...] = ()
    """Datasets (paths or URLs) that exist already: pairs and images that they kept are duplicates here."""
    allow_programs: bool = False
    """Whether the programs that this config names may run: custom filters that measure, and TorchScript models. They
    can do whatever you can; ONNX models and predicates of SQL cannot, and need no such word. See docs/security.md."""
    seed: int = 0
    """The number that every random choice is a hash of, together with an id: another seed makes other choices."""
    commoncrawl: CommonCrawlConfig = field(default_factory=CommonCrawlConfig)
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    text: TextConfig = field(default_factory=TextConfig)
    match: MatchConfig = field(default_factory=MatchConfig)
    dedup: DedupConfig = field(default_factory=DedupConfig)
    prebalance: PrebalanceConfig = field(default_factory=PrebalanceConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    store: ImageConfig = field(default_factory=ImageConfig)
    hashlists: HashListsConfig = field(default_factory=HashListsConfig)
    image: ImageFilterConfig = field(default_factory=ImageFilterConfig)
    faces: FacesConfig = field(default_factory=FacesConfig)
    neardup: NearDupConfig = field(default_factory=NearDupConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    decontaminate: DecontaminateConfig = field(default_factory=DecontaminateConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    pack: PackConfig = field(default_factory=PackConfig)
    filters: tuple[CustomFilter, ...] = ()
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources must name at least one archive")
        if self.semantic.wanted and not self.image.embedding_model:
            raise ValueError("semantic.min_cosine and semantic.target_folders need image.embedding_model")
        names = [filter_.name for filter_ in self.filters]
        if len(set(names)) != len(names):
            raise ValueError("filters must have distinct names")
        self._check_languages()

    def section(self, kind: type[T]) -> T:
        """The section that a stage brings: by its class, of which it is. Raises KeyError: no stage brings one."""
        for item in fields(self):
            if isinstance(section := getattr(self, item.name), kind):
                return section
        raise KeyError(f"no section of the config is a {kind.__name__}")

    def _check_languages(self) -> None:
        lists = {} if isinstance(self.match.queries, str) else self.match.queries
        for language in lists:
            if self.text.languages and language not in (*self.text.languages, OTHER):
                raise ValueError(
                    f"match.queries has a list for {language}, which text.languages does not allow; add it there"
                )
        if self.balance.per_language and ENGLISH not in lists:
            raise ValueError("balance.per_language needs match.queries to name a list for each language, en among them")
        for language in self.balance.caps:
            if language not in lists:
                raise ValueError(f"balance.caps.{language} needs match.queries to name a list for {language}")


def load(path: str, overrides: Sequence[str] = (), out: str | None = None, presets: Sequence[str] = ()) -> Config:
    """Read a YAML config, lay presets over it, apply `key=value` overrides, check everything.

    Raises:
        ConfigError: in one sentence, what is wrong and how to mend it.
    """
    return build(config_files.read(path, overrides, presets), path, out)


def _add_stage_sections() -> type[Config]:
    """Config with a section more for each stage of the path that brings one."""
    return _config_class(tuple((stage.name, stage.config) for stage in stages.path() if stage.config is not None))


@cache
def _config_class(sections: tuple[tuple[str, type], ...]) -> type[Config]:
    if taken := {name for name, _ in sections} & {item.name for item in fields(Config)}:
        raise ValueError(f"the stage {min(taken)} brings a section that the config has already")
    brought = [(name, kind, field(default_factory=kind)) for name, kind in sections]
    return make_dataclass(Config.__name__, brought, bases=(Config,), frozen=True) if brought else Config


def build(raw: Mapping[str, Any], path: str = "config", out: str | None = None) -> Config:
    """Check a mapping and make the config. Raises ConfigError."""
    raw = with_presets(raw)
    if isinstance(raw.get("sources"), str):
        raw = {**raw, "sources": [raw["sources"]]}
    if out:
        raw = {**raw, "out": out}
    try:
        config = checked_config(_add_stage_sections(), raw)
    except ConfigValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not config.out:
        raise ConfigError(f"{path} names no `out`, and no --out was given: where shall the dataset go?")
    return config


def check_files(key: str, paths: Iterable[str]) -> None:
    """Check that the files and folders which a key names are there, those of this machine. Raises ConfigError."""
    for path in paths:
        if is_local(path) and not Path(path).expanduser().exists():
            raise ConfigError(f"{key} names {path}, which does not exist")


def effective_yaml(config: Config) -> str:
    """The whole config as YAML, defaults included, without what changes nothing but the time."""
    values = asdict(config)
    for key in ("workers", "address", "gpus_per_model_task", "patience_s", "web_patience_s", "small_bytes"):
        values["run"].pop(key)
    values.pop("out")
    return yaml.safe_dump(public_values(to_builtins(values)), sort_keys=False, allow_unicode=True)


def to_builtins(value: Any) -> Any:
    """A config's value as YAML and JSON know it: tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): to_builtins(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_builtins(item) for item in value]
    return value


def options(config: Any, *keys: str) -> dict[str, Any]:
    """A section's keys as a task's options; all of them if none is named."""
    values = to_builtins(asdict(config))
    return {key: values[key] for key in keys} if keys else values
