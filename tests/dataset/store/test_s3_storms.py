"""A bucket whose server fails one request in five, in every way, or is busy for a while: same bytes, no hammering."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from bench.faults import faulty_proxy
from dataset.store import s3
from dataset.store.storage import Storage
from tests import s3_server

FILES = {f"folder/{number}": bytes([number]) * (1000 + 200_000 * (number % 3)) for number in range(12)}


@pytest.fixture(scope="module")
def proxy() -> Iterator[faulty_proxy.FaultyProxy]:
    with s3_server.running(), faulty_proxy.before(os.environ["AWS_ENDPOINT_URL"]) as made:
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("AWS_ENDPOINT_URL", made.address)
            s3_server.forget_clients()
            yield made
        s3_server.forget_clients()


@pytest.mark.slow
def test_one_failure_in_five_of_every_kind_changes_no_byte(proxy: faulty_proxy.FaultyProxy) -> None:
    storage = Storage(f"s3://{s3_server.BUCKET}/mixed")
    proxy.plan = faulty_proxy.Plan(every=5)
    for name, data in FILES.items():
        storage.write(name, data)
        assert storage.create(f"{name}.record", data[:10])
        assert not storage.create(f"{name}.record", b"another")
    names = list(FILES)
    assert storage.read_all(names) == list(FILES.values())
    assert [storage.read_ranges(name, [(1, 3), (900, 50)]) for name in names] == [
        [data[1:4], data[900:950]] for data in FILES.values()
    ]
    assert [info.name for info in storage.list("folder")] == sorted([*names, *(f"{name}.record" for name in names)])
    storage.delete(names)
    assert not any(storage.exists(name) for name in names)
    assert set(proxy.plan.met) >= set(faulty_proxy.KINDS)
    proxy.plan = faulty_proxy.Plan()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["arrow", "boto3"])
def test_a_busy_server_is_asked_again_ever_later_and_not_more_often_than_said(
    how: str, proxy: faulty_proxy.FaultyProxy
) -> None:
    storage = Storage(f"s3://{s3_server.BUCKET}/busy-{how}")
    proxy.plan = faulty_proxy.Plan(kind="SlowDown", first=1, times=3)
    if how == "arrow":
        storage.write("a", b"1")
    else:
        assert storage.create("a", b"1")
    asked = Counter(proxy.plan.asked)
    assert sum(asked.values()) == 4 <= s3.ATTEMPTS
    proxy.plan = faulty_proxy.Plan()
    assert storage.read("a") == b"1"
