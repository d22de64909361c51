"""What an image's file says of its use and its maker is read before its pixels, heeded and kept."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crawl.images import c2pa, c2pa_child
from crawl.images.ingest import ImageConfig, ingest
from crawl.images.observations import Ingested, RefusedBody
from crawl.images.rights import Heeds, rights
from crawl.wishes import UNREADABLE
from dataset.images import Notes, read
from filters.images.perceptual import pdq
from tests.crawl.hostile_server import picture
from tests.crawl.hostile_wishes import license_of
from tests.crawl.notes import TERMS, mining, signed, xmp


def with_xmp(packet: bytes, kind: str = "JPEG", **options: Any) -> bytes:
    return picture(kind=kind, xmp=packet, **options) if kind != "PNG" else _png(packet, **options)


def _png(packet: bytes, *, packed: bool = False) -> bytes:
    body = picture(kind="PNG")
    text = zlib.compress(packet) if packed else packet
    data = b"iTXtXML:com.adobe.xmp\0" + (b"\1\0" if packed else b"\0\0") + b"\0\0" + text
    return body[:33] + struct.pack(">I", len(data) - 4) + data + bytes(4) + body[33:]  # its checksum is wrong


def said(body: bytes) -> Any:
    return rights(read(body, 10**6).notes)


def take(body: bytes, **heeds: Any) -> Ingested | RefusedBody:
    return ingest(body, ImageConfig(), pdq, lambda body, pdq: None, Heeds(**heeds))


def outcome(body: bytes, **heeds: Any) -> str:
    result = take(body, **heeds)
    return result.outcome if isinstance(result, RefusedBody) else "ok"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_a_prohibition_of_data_mining_is_heeded_in_every_format(kind: str) -> None:
    refused = take(with_xmp(mining("DMI-PROHIBITED-AIMLTRAINING"), kind))
    assert isinstance(refused, RefusedBody) and refused.outcome == "data_mining_prohibited"
    assert refused.wish == ("plus:DataMining", "DMI-PROHIBITED-AIMLTRAINING", "XMP")
    kept = take(with_xmp(mining("DMI-PROHIBITED"), kind), data_mining=False)
    assert isinstance(kept, Ingested) and kept.data_mining == "DMI-PROHIBITED"
    assert b"DMI" not in kept.body


def test_a_packed_packet_of_a_png_is_read_and_bounded() -> None:
    assert outcome(with_xmp(mining("DMI-PROHIBITED"), "PNG", packed=True)) == "data_mining_prohibited"
    bomb = mining("DMI-ALLOWED") + b" " * 2**24
    assert outcome(with_xmp(bomb, "PNG", packed=True)) == "ok"


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("DMI-ALLOWED", "ok"),
        ("DMI-UNSPECIFIED", "ok"),
        ("DMI-PROHIBITED", "data_mining_prohibited"),
        ("DMI-PROHIBITED-GENAIMLTRAINING", "data_mining_prohibited"),
        ("DMI-PROHIBITED-EXCEPTSEARCHENGINEINDEXING", "data_mining_prohibited"),
        ("DMI-PROHIBITED-SEEEMBEDDEDRIGHTSEXPR", "data_mining_prohibited"),
        ("DMI-PROHIBITED-SEELINKEDRIGHTSEXPR", "data_mining_prohibited"),
        ("perhaps", "wish_unreadable"),
    ],
)
def test_each_term_of_plus(term: str, expected: str) -> None:
    assert outcome(with_xmp(mining(term)), refuses_unreadable=True) == expected
    assert outcome(with_xmp(mining(term))) == ("ok" if expected == "wish_unreadable" else expected)


@pytest.mark.parametrize(
    "packet",
    [
        xmp(attributes=f'plus:DataMining="{TERMS}/DMI-PROHIBITED"'),
        xmp(f'<plus:DataMining rdf:resource="{TERMS}/DMI-PROHIBITED"/>'),
        xmp("<plus:DataMining>Prohibited for AI/ML training</plus:DataMining>"),
        xmp("<plus:DataMining>DMI-ALLOWED</plus:DataMining><plus:DataMining>DMI-PROHIBITED</plus:DataMining>"),
        mining("DMI-PROHIBITED")[:-60],  # cut off
        b'<!DOCTYPE x [<!ENTITY a "DMI-PROHIBITED">]>' + xmp("<plus:DataMining>&a;</plus:DataMining>"),
    ],
)
def test_however_it_is_written(packet: bytes) -> None:
    assert outcome(with_xmp(packet)) == "data_mining_prohibited"


def test_constraints_are_told_where_the_term_points_to_them() -> None:
    constraints = (
        '<plus:OtherConstraints><rdf:Alt><rdf:li xml:lang="en">No AI</rdf:li></rdf:Alt></plus:OtherConstraints>'
    )
    seen = take(with_xmp(xmp(f"<plus:DataMining>DMI-PROHIBITED-SEECONSTRAINT</plus:DataMining>{constraints}")))
    assert isinstance(seen, RefusedBody) and seen.wish and seen.wish.value == "DMI-PROHIBITED-SEECONSTRAINT: No AI"
    alone = take(with_xmp(xmp(constraints)))
    assert isinstance(alone, Ingested) and alone.other_constraints == "No AI"


def test_an_rsl_license_in_xmp_is_heeded() -> None:
    text = license_of(("https://a.example/b.jpg", '<prohibits type="usage">ai-train</prohibits>'))
    assert outcome(with_xmp(xmp(text))) == "rsl_prohibited"
    assert outcome(with_xmp(xmp(text)), rsl=False) == "ok"
    assert (
        outcome(with_xmp(xmp('<r:rsl xmlns:r="https://rslstandard.org/rsl"/>')), refuses_unreadable=True)
        == "rsl_unreadable"
    )


def test_who_made_it_is_kept_of_xmp_then_exif_then_iptc() -> None:
    packet = xmp(
        "<dc:creator><rdf:Seq><rdf:li>Jane</rdf:li><rdf:li>Joe</rdf:li></rdf:Seq></dc:creator>"
        '<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">© 2026\u202e Jane</rdf:li></rdf:Alt></dc:rights>',
        'photoshop:Credit="Agency" xmpRights:WebStatement="https://jane.example/rights"',
    )
    exif = Image.Exif()
    exif[0x013B], exif[0x8298] = "Jim", "(c) Jim"
    iim = b"".join(struct.pack(">BBBH", 28, 2, number, len(v)) + v for number, v in ((80, b"Iim"), (110, b"Press")))
    resources = b"Photoshop 3.0\0" + b"8BIM\4\4\0\0" + struct.pack(">I", len(iim)) + iim + bytes(len(iim) % 2)
    iptc = b"\xff\xed" + struct.pack(">H", 2 + len(resources)) + resources
    body = picture(xmp=packet, exif=exif)
    found = take(body[:2] + iptc + body[2:])
    assert isinstance(found, Ingested)
    assert (found.creator, found.credit, found.rights_url) == (
        "Jane; Joe; Jim",
        "Agency",
        "https://jane.example/rights",
    )
    assert found.copyright_notice == "© 2026 Jane; (c) Jim"
    plain = picture()
    only = said(plain[:2] + iptc + plain[2:])
    assert (only.creator, only.credit, only.copyright_notice) == ("Iim", "Press", None)
    empty = iptc.replace(iim, (b"\x1c\2\x50\0\0" * 9)[: len(iim)].ljust(len(iim), b"\0"))
    assert said(plain[:2] + empty + plain[2:]).creator is None


def test_personal_data_is_masked_only_if_so_configured() -> None:
    body = with_xmp(xmp("<dc:creator>Jane, jane@example.org</dc:creator>"))
    kept, hidden = take(body), take(body, mask=("email_address",))
    assert isinstance(kept, Ingested) and kept.creator == "Jane, jane@example.org"
    assert isinstance(hidden, Ingested) and hidden.creator == "Jane, [email_address]"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_nested_notes_harm_nothing(kind: str) -> None:
    assert outcome(with_xmp(b"<a>" * 15_000, kind)) == "ok"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_notes_raise_anything(data: st.DataObject) -> None:
    packet = bytearray(mining("DMI-PROHIBITED"))
    for _ in range(data.draw(st.integers(0, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    rights(Notes((bytes(packet),), data.draw(st.binary(max_size=40)), data.draw(st.binary(max_size=60))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["DMI-ALLOWED", "DMI-UNSPECIFIED", "what", ""]), max_size=4), st.integers(0, 4))
def test_a_term_that_prohibits_wins_over_all_others(terms: list[str], at: int) -> None:
    more = [*terms[:at], "DMI-PROHIBITED-AIMLTRAINING", *terms[at:]]
    packet = xmp("".join(f"<plus:DataMining>{term}</plus:DataMining>" for term in more))
    assert (rights(Notes((packet,))).data_mining or "").startswith("DMI-PROHIBITED")


# --- C2PA


@pytest.fixture(scope="module")
def refusing() -> Iterator[bytes]:
    yield signed({"cawg.ai_generative_training": {"use": "notAllowed"}, "cawg.data_mining": {"use": "allowed"}})


def test_an_assertion_of_training_and_data_mining_is_heeded(refusing: bytes) -> None:
    refused = take(refusing)
    assert isinstance(refused, RefusedBody) and refused.outcome == "c2pa_training_refused"
    assert refused.wish == ("C2PA training-mining", "notAllowed cawg.ai_generative_training", "C2PA")
    kept = take(refusing, data_mining=False)
    assert isinstance(kept, Ingested) and kept.data_mining == "notAllowed cawg.ai_generative_training"
    allowed = take(signed({"cawg.ai_inference": {"use": "notAllowed"}, "cawg.data_mining": {"use": "allowed"}}))
    assert isinstance(allowed, Ingested) and allowed.data_mining == "allowed cawg.data_mining"


def test_a_damaged_manifest_and_a_dead_reader_cost_one_manifest(refusing: bytes) -> None:
    at = refusing.index(b"jumdc2pa")
    damaged = refusing[: at + 200] + bytes(300) + refusing[at + 500 :]
    assert (c2pa.training_mining(damaged) or "").startswith(UNREADABLE)
    assert outcome(damaged, refuses_unreadable=True) == "wish_unreadable"
    reader = c2pa._READER._process
    assert reader is not None
    os.kill(reader.pid, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c2pa, "TIMEOUT_S", 0.2)
        assert c2pa.training_mining(refusing) == f"{UNREADABLE}its reader died, or took 0.2 s"
    assert c2pa.training_mining(refusing) == "notAllowed cawg.ai_generative_training"
    assert c2pa.training_mining(picture()) is None


_ASKING = "import sys, io, c2pa; c2pa.Reader('image/jpeg', io.BytesIO(sys.stdin.buffer.read()))"


def test_the_reader_of_manifests_opens_no_connection() -> None:
    """Though the library would: a manifest that lies elsewhere is asked for where nothing forbids it.

    Its settings do, and so does what confines the process.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        body = signed({}, remote=f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa")
        child = subprocess.Popen([sys.executable, "-c", _ASKING], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert child.stdin is not None
        child.stdin.write(body)
        child.stdin.close()
        server.accept()[0].close()
        child.wait(10)
        server.setblocking(False)
        with pytest.raises(Exception, match="emote"):
            c2pa_child.assertions("image/jpeg", body)
        assert "error" in c2pa._READER.entries("image/jpeg", body)
        with pytest.raises(BlockingIOError):
            server.accept()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c2pa, "_CHILD", Path(__file__).with_name("child_without_settings.py"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            body = signed({}, remote=f"http://127.0.0.1:{server.getsockname()[1]}/m.c2pa")
            reader = c2pa._Reader()
            assert "error" in reader.entries("image/jpeg", body)
            reader.close()
            with pytest.raises(BlockingIOError):
                server.accept()


def test_without_the_library_a_manifest_says_nothing(refusing: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c2pa, "_is_installed", lambda: False)
    assert c2pa.training_mining(refusing) is None
    assert outcome(refusing) == "ok"
