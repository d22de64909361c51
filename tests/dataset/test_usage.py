"""What is asked of storage is counted: as a real S3 server is asked, and for a folder the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from bench.faults import faulty_proxy
from dataset import usage
from dataset.store.storage import Storage
from dataset.tables import read_parquet, to_parquet
from tests import s3_server

TABLE = to_parquet(pa.table({name: range(100_000) for name in "abcd"}))
ACTIONS: list[tuple[str, Callable[[Storage], object]]] = [
    ("write", lambda storage: storage.write("small", b"x" * 1000)),
    ("write in parts", lambda storage: storage.write("large", b"x" * (11 * 2**20))),
    ("write a table", lambda storage: storage.write("t.parquet", TABLE)),
    ("read", lambda storage: storage.read("small")),
    ("ranges", lambda storage: storage.read_ranges("large", [(0, 9), (20, 9), (10_000_000, 5)])),
    ("two columns of four", lambda storage: read_parquet(storage, "t.parquet", ["a", "c"])),
    ("list", lambda storage: storage.list()),
    ("exists", lambda storage: storage.exists("small")),
    ("create", lambda storage: storage.create("new", b"1")),
    ("replace", lambda storage: storage.replace("new", b"1", b"2")),
    ("delete", lambda storage: storage.delete(["small", "large"])),
]


def counted(storage: Storage) -> dict[str, dict[str, float]]:
    """Return the requests and bytes by action."""
    answer = {}
    for name, act in ACTIONS:
        before = usage.so_far()
        act(storage)
        answer[name] = {kind: amount for kind, amount in usage.since(before).items() if kind != usage.CPU}
    return answer


def kind_of(asked: str) -> str:
    method, _, path = asked.partition(" ")
    if method == "GET" and "list-type=2" in path:
        return "list"
    if method == "DELETE" or (method == "POST" and path.endswith("?delete")):
        return "delete"
    return "get" if method in ("GET", "HEAD") else "put"


@pytest.mark.slow
def test_an_s3_server_is_asked_what_is_counted_and_a_folder_counts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server.running() as url, faulty_proxy.before(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        s3_server.forget_clients()
        storage = Storage(f"{url}/x")
        asked = {}
        for name, act in ACTIONS:
            proxy.plan.asked.clear()
            act(storage)
            asked[name] = dict(Counter(kind_of(line) for line in proxy.plan.asked))
        found = counted(Storage(f"{url}/y"))
    s3_server.forget_clients()
    requests = {name: {k: n for k, n in each.items() if k in usage.REQUESTS} for name, each in found.items()}
    assert requests == asked
    local = counted(Storage(str(tmp_path / "local")))
    for name, _ in ACTIONS:
        if name != "replace":  # on disk nobody asks what the file's tag is
            assert local[name] == found[name], name
