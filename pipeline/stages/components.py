"""Connected components of a graph that is in buckets, in as many rounds as it needs; see `filters.duplicates.stars`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from dataset.ledger.commits import Commit
from dataset.stages import Stage
from filters.duplicates import stars
from pipeline.engine.contract import roles
from pipeline.engine.exchanges.exchange import Buckets, Exchange, bucket_of, write_buckets
from pipeline.engine.exchanges.gathering import exchange
from pipeline.engine.phase import PHASES, Context, Phase, Result, again, phase
from pipeline.engine.run import Run

ROUNDS = 40
"""More than any graph needs: a path of n nodes takes log2 n rounds, small clusters one to three."""


def by_node(edges: pa.Table, buckets: int) -> Buckets:
    """Return edges as an exchange by the bucket of their `node`."""
    return write_buckets(edges, bucket_of(stars.bucket_words(edges.column("node")), buckets))


def component_labels(context: Context, key: pa.DataType) -> pa.Table:
    """Return the nodes of a bucket of `Connecting.run`'s answer, each with the least of its component; in order.

    A file at a time: what many are connected to has an edge from each of them.
    """
    labelled = [stars.labels(edges) for edges in context.each("edges")]
    return stars.labels(pa.concat_tables([stars.edges_schema(key).empty_table(), *labelled]))


def _small_star(context: Context) -> Result:
    """What the edges of a bucket connect, tied to the least of it; sent to both ends of each edge."""
    tied = stars.small_star(pa.concat_tables(context.table_list("edges")))
    return Result(buckets={"edges": by_node(stars.from_both_ends(tied), context.options["buckets"])})


def _large_star(context: Context) -> Result:
    """The larger neighbours of each node of a bucket, tied to the least of it and its neighbours."""
    tied, left = stars.large_star(pa.concat_tables(context.table_list("edges")))
    return Result(counts={"left": left}, buckets={"edges": by_node(tied, context.options["buckets"])})


@dataclass(frozen=True)
class Connecting:
    """The phases of a stage that connects."""

    small_star: Phase
    large_star: Phase

    @classmethod
    def declare(cls, stage: Stage, small_star: str, large_star: str, key: pa.DataType) -> Connecting:
        """Return the phases by their names.

        key: what names a node; see `filters.duplicates.stars.edges_schema`.
        """
        edges, takes = roles(edges=stars.edges_schema(key)), ("buckets",)
        return cls(
            *(
                phase(stage, name, reads=edges, takes=takes, exchanges=edges, rounds=ROUNDS)(function)
                for name, function in ((small_star, _small_star), (large_star, _large_star))
            )
        )

    def run(self, run: Run, commits: Sequence[Commit], buckets: int) -> Exchange:
        """Connect.

        Args:
            commits: with an exchange `edges`, larger end first, by `by_node`.

        Returns:
            The same exchange of the answer: an edge from every node to the least of its component, from both ends.

        Raises:
            RuntimeError: it is not done in ROUNDS rounds.
        """
        options = {"buckets": buckets}
        edges = exchange(run, commits, "edges")
        for number in range(ROUNDS):
            tied = run.reduce(PHASES[again(self.small_star.name, number)], options, {"edges": [edges]})
            answer = exchange(run, tied, "edges")
            if buckets == 1:  # whose task has seen all
                return answer
            looked = run.reduce(PHASES[again(self.large_star.name, number)], options, {"edges": [answer]})
            if not any(commit.counts["left"] for commit in looked):
                return answer
            edges = exchange(run, looked, "edges")
        raise RuntimeError(f"{self.large_star.name}: connected components are not found in {ROUNDS} rounds")
