"""fetch: what the store took under an older config, as the config and its lists have it now."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crawl.images.observations import OK
from crawl.images.rights import TEXTS, mask_personal_data, refusal_of
from crawl.web.client import opted_out
from dataset.hosts import hostname
from dataset.schema import OBSERVATIONS, WISH
from filters.images.hashlists import HashLists

KEPT_OF_REFUSED = ("url", "origin", "status", "final_url", "attempts", "fetched_at", "fetched_bytes",
                   "archive", "archive_checksum", "archive_offset")  # fmt: skip
"""Columns of an observation that stay when its image is refused."""


def with_masks(known: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """Return the observations; what was stored before the config asked for masks has them, too."""
    for name in TEXTS if kinds else ():
        texts = [None if text is None else mask_personal_data(text, kinds) for text in known.column(name).to_pylist()]
        known = known.set_column(known.column_names.index(name), name, pa.array(texts, pa.string()))
    return known


def with_unread(known: pa.Table, licensed: pa.Table) -> pa.Table:
    """Return the observations; an accepted image has what a license cannot be read of that its page names.

    licensed: url, signal, value, place.
    """
    said = {row["url"]: [row[name.removeprefix("wish_")] for name in WISH] for row in licensed.to_pylist()}
    if not said:
        return known
    rows = zip(known["url"].to_pylist(), known["outcome"].to_pylist(), known["wish_signal"].to_pylist(), strict=True)
    new = [said.get(url) if outcome == OK and signal is None else None for url, outcome, signal in rows]
    for index, name in enumerate(WISH):
        old = known[name].to_pylist()
        texts = [before if wish is None else wish[index] for before, wish in zip(old, new, strict=True)]
        known = known.set_column(known.column_names.index(name), name, pa.array(texts, pa.string()))
    return known


def refuse_listed(
    known: pa.Table, lists: HashLists, domains: Container[str], *, respects_data_mining: bool
) -> pa.Table:
    """Return the observations; what a list holds by now is refused, though the store took it under an older list, and
    so is what prohibits data mining, though a config that did not heed that took it.
    """
    accepted = pc.equal(known.column("outcome"), OK).combine_chunks()
    listed = np.zeros(known.num_rows, dtype=bool)
    listed[accepted.to_numpy(False)] = lists.is_listed(known.filter(accepted))
    out = np.zeros(known.num_rows, dtype=bool)
    places = zip(known.column("url").to_pylist(), known.column("final_url").to_pylist(), strict=True)
    out[:] = [_domain(url, final_url, domains) is not None for url, final_url in places]
    refused = [_refuse_rows(known, listed & ~out, "hash_list_match"), _refuse_rows(known, out, "domain_opted_out")]
    known = known.filter(pa.array(~(listed | out)))
    if not respects_data_mining:
        return pa.concat_tables([known, *refused])
    why = [None if said is None else refusal_of(said) for said in known.column("data_mining").to_pylist()]
    asks = pa.array([item is not None for item in why], pa.bool_())
    rows = known.filter(asks).select(KEPT_OF_REFUSED).to_pylist()
    refusals = [item for item in why if item is not None]
    mined = [
        {**row, **dict(zip(WISH, item.wish or (), strict=True)), "outcome": item.outcome}
        for row, item in zip(rows, refusals, strict=True)
    ]
    left = known.filter(pc.invert(asks))
    return pa.concat_tables([left, *refused, pa.Table.from_pylist(mined, schema=OBSERVATIONS)])


def _refuse_rows(known: pa.Table, mask: np.ndarray, outcome: str) -> pa.Table:
    rows = known.filter(pa.array(mask)).select(KEPT_OF_REFUSED).to_pylist()
    return pa.Table.from_pylist([{**row, "outcome": outcome} for row in rows], schema=OBSERVATIONS)


def _domain(url: str, final_url: str | None, domains: Container[str]) -> str | None:
    """The entry of the opt-out list that an address, or where it led, belongs to."""
    return opted_out(hostname(url), domains) or opted_out(hostname(final_url or ""), domains)
