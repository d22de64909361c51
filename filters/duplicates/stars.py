"""Connected components in rounds, of which no task sees the whole graph: alternating stars.

Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii: Connected Components in MapReduce and Beyond (SoCC 2014). An edge
is exchanged by its ends, and two operations alternate, neither of which disconnects or connects anything:

- *small star*: a task has the edges whose larger end is in its bucket. What they connect is tied to the least of it.
  (The paper does so for each larger end alone; for all of a bucket at once, fewer rounds are needed.)
- *large star*: a task has all edges of the nodes in its bucket. A node's larger neighbours are tied to the least of it
  and its neighbours.

Neither makes more edges, and each change replaces an end by a smaller one, so there is an end: every node that is not
the least of its component has one edge, to the least. The result is a function of the graph, whatever the buckets.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dataset.ids import mix64, words64
from filters.duplicates.components import codes, least_node


def edges_schema(key: pa.DataType) -> pa.Schema:
    """Return the columns of a graph's edges, whose nodes are named by int64 or by a hash, fixed-size binary of 8·k
    bytes.
    """
    return pa.schema([("node", key), ("other", key)])


def larger_first(edges: pa.Table) -> pa.Table:
    """Return edges, each once and with its larger end as `node`, in order; no loops."""
    node, other, names = _rank_names(edges)
    return _edges_by_name(np.maximum(node, other), np.minimum(node, other), names, edges.schema)


def from_both_ends(edges: pa.Table) -> pa.Table:
    """Return each edge twice, as either end sees it."""
    return pa.concat_tables([edges, edges.select(["other", "node"]).rename_columns(["node", "other"])])


def small_star(edges: pa.Table) -> pa.Table:
    """Return what edges connect, tied to the least of it: edges from every other node to that one, in order."""
    node, other, names = _rank_names(edges)
    return _edges_by_name(np.arange(len(names)), least_node(len(names), node, other), names, edges.schema)


def large_star(edges: pa.Table) -> tuple[pa.Table, int]:
    """Return the larger neighbours of each node, tied to the least of it and its neighbours.

    Args:
        edges: from both ends; of some nodes, all that they have.

    Returns:
        The edges, larger end first, in order, and how many of the nodes were neither the centre of a star nor a ray: if
        none is anywhere, `edges` are the answer.
    """
    node, other, names = _rank_names(edges)
    node, other = _distinct(node, other, len(names))
    least = np.arange(len(names))
    np.minimum.at(least, node, other)
    smaller = np.bincount(node[other < node], minlength=len(names))
    larger = np.bincount(node[other > node], minlength=len(names))
    strange = int(np.count_nonzero((smaller > 1) | ((smaller > 0) & (larger > 0))))
    up = other > node
    return _edges_by_name(other[up], least[node[up]], names, edges.schema), strange


def labels(stars: pa.Table) -> pa.Table:
    """Return the nodes whose edges, from both ends, these are, each with the least node of its component; in order.

    Args:
        stars: of some nodes, all that they have in the answer.
    """
    node, other, names = _rank_names(stars)
    node, least = _distinct(node, np.minimum(node, other), len(names), loops=True)
    return pa.table([names.take(pa.array(node)), names.take(pa.array(least))], schema=stars.schema)


def bucket_words(keys: pa.ChunkedArray) -> np.ndarray:
    """Return uniform 64 bits of each node, by which it is dealt to a bucket. uint64 (n,)."""
    if pa.types.is_integer(keys.type):
        return mix64(keys.to_numpy().astype(np.uint64), 0)
    return words64(keys)[:, 0] if len(keys) else np.zeros(0, np.uint64)


def _rank_names(edges: pa.Table) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Both ends of the edges as ranks among the names, and the names ascending."""
    ends = pa.concat_arrays([edges.column(end).combine_chunks() for end in ("node", "other")])
    if pa.types.is_integer(ends.type):
        nodes, rank = np.unique(ends.to_numpy(), return_inverse=True)
        names = pa.array(nodes, ends.type)
    else:
        rank, names = codes(ends)
    return rank[: len(edges)], rank[len(edges) :], names


def _distinct(node: np.ndarray, other: np.ndarray, count: int, *, loops: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Edges in order, each once."""
    goes = slice(None) if loops else node != other
    keys = np.unique(node[goes] * np.int64(count) + other[goes])
    return keys // max(1, count), keys % max(1, count)


def _edges_by_name(node: np.ndarray, other: np.ndarray, names: pa.Array, schema: pa.Schema) -> pa.Table:
    node, other = _distinct(node, other, len(names))
    return pa.table([names.take(pa.array(node)), names.take(pa.array(other))], schema=schema)
