"""Images that the run's own archives hold under another address than the page's."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataset
from pipeline.build import build
from pipeline.config import Config
from pipeline.config import build as make_config
from pipeline.engine.sources import plan
from pipeline.stages.extract import stage as extract
from tests.crawl.warc_bytes import http, members, page, record, redirect, revisit
from tests.pipeline import pages

HOST = "http://page.example"
Lead = tuple[int, int, bool]  # from, to, whether it is a redirect
BODY = pages.encoded(pages.texture(1))


def config(folder: Path, archives: list[bytes], out: str = "out", **run: int) -> Config:
    for number, data in enumerate(archives):
        (folder / f"{number}.warc.gz").write_bytes(data)
    (folder / "queries.txt").write_text("castle\n")
    return make_config(
        {
            "sources": [str(folder / f"{number}.warc.gz") for number in range(len(archives))],
            "out": str(folder / out),
            "match": {"queries": str(folder / "queries.txt")},
            "fetch": {"origins": ["archive"]},
            "run": {"workers": 0, **run},
        }
    )


def images(made: Config) -> dict[str, tuple[str, str]]:
    """Where each URL's image was found, and what came of it."""
    build(made, to="fetch", quiet=True)
    rows = dataset.open(made.out).sql("SELECT url, final_url, outcome FROM images").fetchall()
    return {url.removeprefix(HOST): (final_url.removeprefix(HOST), outcome) for url, final_url, outcome in rows}


def showing(*urls: str) -> bytes:
    """A record of a page that shows images."""
    tags = "".join(f'<img src="{url}" alt="A castle at {number} o clock">' for number, url in enumerate(urls))
    return page(f'<html lang="en">{tags}', f"{HOST}/")


def image(url: str) -> bytes:
    return record(http(BODY, "image/jpeg"), url)


def test_redirects_are_followed_in_the_archives(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(2**16)  # what lies between is in another piece
    filler = record(http(noise, "application/pdf"), f"{HOST}/filler")
    chain = [redirect(f"{HOST}/{n}.jpg", f"{HOST}/{n + 1}.jpg") for n in range(6)]
    first = members(
        redirect(f"{HOST}/early.jpg", "http://cdn.example/a.jpg"),
        redirect(f"{HOST}/far.jpg", "//far.example/a.jpg"),
        redirect(f"{HOST}/both.jpg", f"{HOST}/gone.jpg"),
        redirect(f"{HOST}/loop.jpg", f"{HOST}/pool.jpg"),
        *chain[::2],
        filler,
        showing(
            *(f"/{name}.jpg" for name in ("early", "late", "far", "both", "loop", "same", "copy", "0", "1", "none"))
        ),
        image(f"{HOST}/both.jpg"),
        image("http://cdn.example/a.jpg"),
        image(f"{HOST}/6.jpg"),
        filler,
        *chain[1::2],
        redirect(f"{HOST}/late.jpg", "http://cdn.example/a.jpg"),
        redirect(f"{HOST}/pool.jpg", f"{HOST}/loop.jpg"),
        redirect(f"{HOST}/same.jpg", f"{HOST}/same.jpg"),
    )
    second = members(image("http://far.example/a.jpg"), revisit(f"{HOST}/copy.jpg", f"{HOST}/early.jpg"))
    expected = {
        "/early.jpg": ("http://cdn.example/a.jpg", "ok"),
        "/late.jpg": ("http://cdn.example/a.jpg", "ok"),
        "/far.jpg": ("http://far.example/a.jpg", "ok"),
        "/both.jpg": ("/both.jpg", "ok"),  # what is held itself is not looked for elsewhere
        "/loop.jpg": ("/loop.jpg", "not_in_archive"),
        "/same.jpg": ("/same.jpg", "not_in_archive"),
        "/copy.jpg": ("http://cdn.example/a.jpg", "ok"),
        "/0.jpg": ("/0.jpg", "not_in_archive"),  # six hops away
        "/1.jpg": ("/6.jpg", "ok"),
        "/none.jpg": ("/none.jpg", "not_in_archive"),
    }
    pieces = config(tmp_path, [first, second], piece_bytes=2**16, pairs_per_partition=2)
    whole = config(tmp_path, [first, second], "whole")
    assert images(pieces) == images(whole) == expected
    assert [len(dataset.open(made.out).commits("extract.candidates")) for made in (pieces, whole)] == [3, 1]
    assert not build(pieces, to="fetch", quiet=True).did


def test_revisits_that_name_a_record_or_a_payload_are_followed_to_any_archive(tmp_path: Path) -> None:
    told = "\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Payload-Digest: sha1:ABC"
    first = members(
        showing("/by-id.jpg", "/by-digest.jpg", "/by-both.jpg", "/by-none.jpg"),
        record(http(b""), f"{HOST}/by-id.jpg", type_="revisit\r\nWARC-Refers-To: <urn:uuid:1>"),
        record(http(b""), f"{HOST}/by-digest.jpg", type_="revisit\r\nWARC-Payload-Digest: sha1:abc"),
        record(
            http(b""),
            f"{HOST}/by-both.jpg",
            type_="revisit\r\nWARC-Refers-To: <urn:uuid:2>\r\nWARC-Payload-Digest: sha1:abc",
        ),
        record(http(b""), f"{HOST}/by-none.jpg", type_="revisit\r\nWARC-Refers-To: <urn:uuid:3>"),
    )
    second = members(record(http(BODY, "image/png"), "http://far.example/a.jpg", type_=f"response{told}"))
    assert images(config(tmp_path, [first, second], piece_bytes=2**16, pairs_per_partition=1)) == {
        "/by-id.jpg": ("/by-id.jpg", "ok"),
        "/by-digest.jpg": ("/by-digest.jpg", "ok"),
        "/by-both.jpg": ("/by-both.jpg", "ok"),
        "/by-none.jpg": ("/by-none.jpg", "not_in_archive"),
    }


def test_a_redirect_to_an_opted_out_domain_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("opted-out.example\n")
    moved = redirect(f"{HOST}/out.jpg", "http://opted-out.example/a.jpg")
    (tmp_path / "moved.warc.gz").write_bytes(
        members(showing("/out.jpg"), moved, image("http://opted-out.example/a.jpg"))
    )
    fetch = {"origins": ["archive"], "opted_out_domains": str(tmp_path / "out.txt")}
    out = pages.crawl(tmp_path, "moved", {}, to="fetch", fetch=fetch)
    assert dataset.open(out).sql("SELECT outcome FROM images").fetchall() == [("domain_opted_out",)]


def final(number: int, leads: list[Lead], held: set[int]) -> int | None:
    """The address of the image that a URL leads to; None if it leads to none."""
    first = {start: (end, is_redirect) for start, end, is_redirect in reversed(leads) if start != end}
    address = number
    for _ in range(6):
        if number in held:
            return address
        number, is_redirect = first.get(number, (number, False))
        address = number if is_redirect else address
    return None


@settings(max_examples=2)
@given(
    leads=st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29), st.booleans()), min_size=20, max_size=40),
    held=st.sets(st.integers(0, 29), min_size=3, max_size=9),
    order=st.randoms(use_true_random=False),
    piece_bytes=st.integers(9000, 20_000),
    pairs_per_partition=st.integers(16, 60),
)
def test_however_archives_are_split(
    leads: list[Lead], held: set[int], order: random.Random, piece_bytes: int, pairs_per_partition: int
) -> None:
    def url(number: int) -> str:
        return f"http://{number % 3}.example/{number}.jpg"

    said = [(redirect if is_redirect else revisit)(url(start), url(end)) for start, end, is_redirect in leads]
    others = [showing(*map(url, range(30))), *(image(url(number)) for number in held)]
    records = list(said)
    for other in others:
        records.insert(order.randint(0, len(records)), other)  # the order of the leads counts, of the others does not
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "partitions", lambda sources, _: plan.partitions(sources, piece_bytes))
        found = images(config(Path(folder), [members(*records)], pairs_per_partition=pairs_per_partition))
    ends = {number: final(number, leads, held) for number in range(30)}
    assert found == {
        url(number): (url(number), "not_in_archive") if end is None else (url(end), "ok")
        for number, end in ends.items()
    }
