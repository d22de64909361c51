"""Exact duplicates: spam texts, a (URL, text) that occurs again, and one URL with several texts.

An exchange of keys in two rounds. Spam is decided first, so that a text which is going to be dropped cannot win a
URL over a good one. Keys are whole MD5 hashes of URL and of text, 256 bits for a pair: no row is dropped because
two 64-bit ids happen to be equal.

A locator is `partition << 32 | row`; partitions of candidates are numbered in the order of (archive, offset), so that
the least locator is the first occurrence. Pairs that a dataset of `against` kept come before all others: their locator
is that of the pair in it, and `dataset` says in which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from dataset.query import sql
from dataset.schema import VERDICTS

TEXT_KEYS = pa.schema([("text_key", pa.binary(16)), ("url_key", pa.binary(16))])
REPEATED = pa.schema([("text_key", pa.binary(16)), ("images", pa.int64())])
"""Texts on many images; a row without text_key counts all distinct (image address, text) of a part."""
SPAM = pa.schema([*REPEATED, ("of_all", pa.int64())])
URL_KEYS = pa.schema(
    [
        ("url_key", pa.binary(16)),
        ("text_key", pa.binary(16)),
        ("characters", pa.int32()),
        ("locator", pa.int64()),
        ("dataset", pa.int16()),
    ]
)
LOCATED_VERDICTS = pa.schema([("locator", pa.int64()), ("reason", pa.string()), ("evidence", pa.string())])


@dataclass(frozen=True)
class DedupConfig:
    """Which texts and which pairs count as repeated."""

    max_images_per_text: int = 100
    """A text on more distinct image addresses than this, and on more than `max_share_per_text` of the dataset, is spam
    (a shop's name, "image"), and all its rows go. What repeats on a site is for `text.max_site_images_per_text`."""
    max_share_per_text: float = 0.0001
    """The largest share of all distinct (image address, text) on which a text may stand: of a million on 100,
    of 400 million on 40,000. 0: `max_images_per_text` decides whatever the dataset's size.
    """
    texts_per_url: Literal["all", "first", "longest"] = "all"
    """Which texts of one image address stay: `all`, the `first` that occurs, or the `longest` (or first of these)."""

    def __post_init__(self) -> None:
        if self.max_images_per_text < 1:
            raise ValueError(f"max_images_per_text must be at least 1, not {self.max_images_per_text}")
        if not 0 <= self.max_share_per_text <= 1:
            raise ValueError(f"max_share_per_text must be from 0 to 1, not {self.max_share_per_text}")
        if self.texts_per_url not in ("all", "first", "longest"):
            raise ValueError(f"texts_per_url must be all, first or longest, not {self.texts_per_url!r}")


def text_keys(rows: pa.Table) -> pa.Table:
    """Map side of the search for spam: distinct (text, URL) of one partition.

    Args:
        rows: columns url, text.

    Returns:
        TEXT_KEYS, ordered by both columns; to be exchanged by text_key.
    """
    return sql.run(sql.load("dedup/text_keys"), {"rows": rows.select(["url", "text"])}).cast(TEXT_KEYS)


def repeated_texts(keys: pa.Table, config: DedupConfig) -> pa.Table:
    """Return texts on more distinct URLs than `max_images_per_text`, and the count of all.

    Args:
        keys: TEXT_KEYS of whole texts, from any number of partitions, in any order.

    Returns:
        REPEATED, ordered by text_key.
    """
    options = {"max_images_per_text": config.max_images_per_text}
    return sql.run(sql.load("dedup/spam"), {"keys": keys}, options).cast(REPEATED)


def possible_spam(repeated: pa.Table, config: DedupConfig) -> pa.Table:
    """Return what `spam` needs of the repeated texts of some parts: few, of however many there are.

    Args:
        repeated: REPEATED of some parts of the dataset.

    Returns:
        REPEATED, ordered by text_key; with one row that counts all of these parts. With a share of 0.0001 it has 10,000
        texts at most.
    """
    options = {"max_share_per_text": config.max_share_per_text}
    return sql.run(sql.load("dedup/possible_spam"), {"spam": repeated}, options).cast(REPEATED)


def spam(repeated: pa.Table, config: DedupConfig) -> pa.Table:
    """Return the repeated texts that stand on more than `max_share_per_text` of the dataset.

    Args:
        repeated: REPEATED of all parts of the dataset, or what `possible_spam` has of them.

    Returns:
        SPAM, ordered by text_key.
    """
    options = {"max_share_per_text": config.max_share_per_text}
    return sql.run(sql.load("dedup/spam_of_all"), {"spam": repeated}, options).cast(SPAM)


def text_spam(rows: pa.Table, spam: pa.Table, config: DedupConfig) -> pa.Table:
    """Return verdicts on the rows of one partition whose text is in SPAM. Rows: columns row, text."""
    tables = {"rows": rows.select(["row", "text"]), "spam": spam}
    options = {key: getattr(config, key) for key in ("max_images_per_text", "max_share_per_text")}
    return sql.run(sql.load("decisions/text_spam"), tables, options).cast(VERDICTS)


def url_keys(rows: pa.Table, spam: pa.Table, dataset: int | None = None) -> pa.Table:
    """Map side of the search for duplicates: the rows of one partition whose text is no spam.

    Args:
        rows: columns url, text, locator.
        spam: SPAM; at least every text of these rows that is spam.
        dataset: which one of `against` they are kept pairs of; None if they are this run's.

    Returns:
        URL_KEYS, ordered by (url_key, text_key, locator); to be exchanged by url_key.
    """
    tables = {"rows": rows.select(["url", "text", "locator"]), "spam": spam}
    keys = sql.run(sql.load("dedup/url_keys"), tables)
    return keys.append_column("dataset", pa.array([dataset] * len(keys), pa.int16())).cast(URL_KEYS)


def duplicates(keys: pa.Table, config: DedupConfig, against: Sequence[str] = ()) -> pa.Table:
    """Return which rows repeat an earlier pair, or stand on a URL for which another text was chosen.

    Exactly one row of every distinct (URL, text) is left, or, unless `texts_per_url` is `all`, of every URL.

    Args:
        keys: URL_KEYS of whole URLs, from any number of partitions, in any order.
        against: URLs of the datasets that the keys' column `dataset` numbers.

    Returns:
        LOCATED_VERDICTS on this run's rows, ordered by locator. Evidence names the row that stays instead, by partition
        and row, and by its dataset if that is another one.
    """
    options = {"texts_per_url": config.texts_per_url, "against": list(against)}
    return sql.run(sql.load("dedup/duplicates"), {"keys": keys}, options).cast(LOCATED_VERDICTS)
