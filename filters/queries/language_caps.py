"""How many pairs fill a query of each language, as in MetaCLIP 2 (Chuang et al. 2025, section 3.2, arXiv:2507.22062).

A language with less text on the web than English has smaller counts: English's t would balance nothing there. What is
kept alike is the *tail share* p: of all matches of English, those whose query has fewer than t_en pairs. A language's
own t is the count of the query at which, its queries taken by rising count, the share of matches taken so far comes
nearest to p; of two as near, the smaller count.

The counts are of all matched pairs, before the first balance: what a balance has cut says nothing of the web.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataset.schema import CAPS

ENGLISH = "en"
"""The language whose t is given, and whose tail share is the others' aim."""


def language_caps(
    counts: pa.Table, queries: pa.Table, cap: int, caps: Mapping[str, int], *, per_language: bool
) -> pa.Table:
    """Return the t of each language that has queries. dataset.schema.CAPS, by language.

    Args:
        counts: filters.queries.balance.COUNTS of all matched pairs.
        queries: dataset.schema.QUERIES, whose query_id counts from 0.
        cap: t of English, and of every language that has no other.
        caps: t of single languages, which no rule changes.
        per_language: whether t follows from English's tail share; English without a match leaves `cap` to all.
    """
    languages = queries.column("language").combine_chunks()
    of_count = languages.take(counts.column("query_id").combine_chunks())
    count = counts.column("count").to_numpy()
    by_language = {name: count[np.array(pc.equal(of_count, name))] for name in sorted(pc.unique(languages).to_pylist())}
    english = by_language.get(ENGLISH, count[:0])
    t_english = caps.get(ENGLISH, cap)
    tail, total = int(english[english < t_english].sum()), int(english.sum())
    cap_of = {
        name: tail_cap(tokens, tail, total) if per_language and name != ENGLISH and len(tokens) and total else cap
        for name, tokens in by_language.items()
    }
    cap_of |= {name: value for name, value in caps.items() if name in cap_of}
    return pa.table([list(cap_of), list(cap_of.values())], schema=CAPS)


def tail_cap(counts: np.ndarray, tail: int, total: int) -> int:
    """Return the t at which a language's tail share is nearest to tail/total, exactly.

    counts: of its queries, all above 0; int64 (n,), n > 0.
    """
    counts = np.sort(counts)
    reached = np.cumsum(counts)
    aim = tail * int(reached[-1])  # of reached · total
    index = int(np.searchsorted(reached, -(-aim // total)))
    if index > 0 and aim - int(reached[index - 1]) * total <= int(reached[index]) * total - aim:
        index -= 1
    return int(counts[index])


def caps_of(counts: pa.Table, queries: pa.Table, caps: pa.Table, oversample: float = 1.0) -> np.ndarray:
    """Return the t of each row of filters.queries.balance.COUNTS, times `oversample`. int64 (n,)."""
    languages = queries.column("language").combine_chunks().take(counts.column("query_id").combine_chunks())
    indices = pc.index_in(languages, value_set=caps.column("language").combine_chunks()).to_numpy()
    return np.maximum(1, np.rint(caps.column("cap").to_numpy()[indices] * oversample).astype(np.int64))
