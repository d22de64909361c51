"""What the stages leave for each other besides the rows: values, and tables beside the rows of each partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataset.ledger.commits import FileRef
from dataset.schema import ARCHIVE_IMAGES, ARCHIVE_LEADS, CAPTIONS, CELLS, FACES, IMAGES, MATCHES
from filters.duplicates.near import CLUSTERS
from pipeline.engine.artifacts import Artifact, RowTable
from pipeline.engine.exchanges.exchange import Exchange
from pipeline.engine.phase import CAPTIONS_ROLE, Input, Inputs

ARCHIVE_LOCATIONS = Artifact[Mapping[str, str]]("the archives' locations")
"""What extract leaves: an archive's name, as rows have it, -> where it can be read."""

CANDIDATE_FILES = Artifact[Sequence[FileRef]]("the files of the candidates")
"""What extract leaves: CANDIDATES, a file a partition, which are numbered from 0."""

QUERY_LIST = Artifact[Input]("the query list")
"""What match leaves: QUERIES."""

LANGUAGE_CAPS = Artifact[Input]("the caps of the languages")
"""What prebalance leaves, where the config asks for caps of languages: CAPS."""

MATCHED_COUNTS = Artifact[Input]("the matches of each query")
"""What prebalance leaves: how many pairs each query had before the first balance."""

HOST_LANES = Artifact[Inputs]("the lanes of hosts")
"""What prebalance leaves: the hosts whose pairs are spread over several partitions, and over how many."""

MOVED_LEADS = Artifact[Exchange]("the archives' leads")
"""What prebalance leaves: the exchange of ARCHIVE_LEADS, by the partition of their host."""

ARCHIVE_IMAGES_TABLE = RowTable("archive_images", ARCHIVE_IMAGES)
"""What extract leaves, and prebalance by the partition of their host: the images that the archives hold."""

ARCHIVE_LEADS_TABLE = RowTable("archive_leads", ARCHIVE_LEADS)
"""What extract leaves: where else the archives say that an image may be."""

CAPTIONS_TABLE = RowTable(CAPTIONS_ROLE, CAPTIONS)
"""What text leaves, where the config asks for any: the texts that are judged instead of those that were
written. Every task over candidates reads it.
"""

TEXT_TABLE = RowTable("text")
"""What text leaves: TEXT_MEASURES, and whatever else it has measured."""

MATCHES_TABLE = RowTable("matches", MATCHES)
"""What match leaves: the queries of each text."""

IMAGES_TABLE = RowTable("images", IMAGES)
"""What fetch leaves: the image of each URL."""

LICENSED_TABLE = RowTable("licensed")
"""What fetch keeps for itself: what the licenses say that the pages of the pairs name."""

FACES_TABLE = RowTable("faces", FACES)
"""What image leaves, where the config asks for faces."""

EMBEDDINGS_TABLE = RowTable("embeddings")
"""What image leaves, where the config asks for embeddings: `row` as in IMAGES, and the vector."""

CELLS_TABLE = RowTable("cells", CELLS)
"""What image leaves, where the config asks for cells of similar images."""

CLUSTERS_TABLE = RowTable("clusters", CLUSTERS)
"""What neardup leaves: which image stands for which."""
