"""What the stages leave for each other besides the rows and the tables beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataset.commits import Commit
from pipeline.engine.artifacts import Artifact
from pipeline.engine.phase import Input

ARCHIVE_LOCATIONS = Artifact[Mapping[str, str]]("the archives' locations")
"""From extract: an archive's name, as rows have it, -> where it can be read."""

QUERY_LIST = Artifact[Input]("the query list")
"""From match: QUERIES."""

LANGUAGE_CAPS = Artifact[Input]("the caps of the languages")
"""From prebalance, where the config asks for caps of languages: CAPS."""

MATCHED_COUNTS = Artifact[Input]("the matches of each query")
"""From prebalance: how many pairs each query had before the first balance."""

HOST_LANES = Artifact[Input]("the lanes of hosts")
"""From prebalance: the hosts whose pairs are spread over several partitions, and over how many."""

ARCHIVE_LEADS = Artifact[Sequence[Commit]]("the archives' leads")
"""From prebalance: the commits whose exchange files have ARCHIVE_LEADS, by the partition of their host."""
