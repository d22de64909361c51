"""Pages of updates, as NCMEC, StopNCII and ThreatExchange answer with them: the newest counts, whatever the file."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.images.hashlists import HashLists, HashListsConfig
from filters.images.ncmec import read_updates

BODY = b"the bytes of an image"
MD5 = hashlib.md5(BODY).hexdigest()
OTHER = hashlib.md5(b"another").hexdigest()
PDQ = np.random.default_rng(0).integers(0, 256, 32, dtype=np.uint8).tobytes()
NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"


def image(name: str, hour: int, member: int = 42, **fingerprints: str) -> str:
    """An image of NCMEC's with what else its entries carry."""
    prints = "".join(f"<{kind}>{value}</{kind}>" for kind, value in fingerprints.items())
    return (
        f'<image><member id="{member}">Example &amp; Member</member><timestamp>2024-05-01T{hour:02}:00:00Z</timestamp>'
        f"<id>{name}</id><classification>A1</classification><fingerprints>{prints}</fingerprints>"
        f'<feedback><negativeFeedback type="Md5"><members><member id="7">M</member></members><id>x</id>'
        f"<md5>{OTHER}</md5></negativeFeedback></feedback></image>"
    )


def deleted(name: str, hour: int, member: int = 42) -> str:
    return (
        f'<deletedImage><member id="{member}">Example</member><id>{name}</id>'
        f"<timestamp>2024-05-01T{hour:02}:00:00Z</timestamp></deletedImage>"
    )


def answer(*images: str, videos: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<queryResult xmlns="{NAMESPACE}">'
        f'<images count="{len(images)}" maxTimestamp="2024-05-01T15:00:00Z">{"".join(images)}</images>'
        f"<videos>{videos}</videos><paging><next>/v2/entries?start=1&amp;size=1</next></paging></queryResult>"
    )


def lists(folder: Path, *contents: str | bytes, **keys: Any) -> HashLists:
    """The lists of some files, read in this order."""
    files = []
    for number, content in enumerate(contents):
        files.append(folder / f"page-{number}")
        files[-1].write_bytes(content.encode() if isinstance(content, str) else content)
    return HashLists.load(HashListsConfig(files=tuple(map(str, files)), **keys))


def matched(folder: Path, *contents: str | bytes) -> str | None:
    return lists(folder, *contents).match(BODY, None)


def test_ncmecs_images_count_by_their_md5_and_pdq(tmp_path: Path) -> None:
    page = answer(
        image("a", 15, md5=f" {MD5.upper()}\n", sha1="0" * 40, pdna="x" * 400),
        image("b", 15, pdq=PDQ.hex(), pdna="x"),
        videos=f'<video><member id="42"/><id>v</id><fingerprints><md5>{OTHER}</md5></fingerprints></video>',
    )
    packed = gzip.compress(b"\xef\xbb\xbf\n" + page.encode().partition(b"\n")[2], mtime=0)
    for content in (page, packed, page.replace(f' xmlns="{NAMESPACE}"', "")):
        found = lists(tmp_path, content)
        assert found.match(BODY, None) == "md5"
        assert found.match(b"", PDQ) == "pdq"
        assert found.match(b"another", None) is None  # what is a video's, or a feedback's
    assert lists(tmp_path, answer(), answer(deleted("a", 1))).match(BODY, PDQ) is None


def test_what_ncmec_has_deleted_or_changed_counts_no_more_whatever_the_order(tmp_path: Path) -> None:
    for first, second in ((0, 1), (1, 0)):
        pages = [answer(image("a", 10, md5=MD5)), answer(deleted("a", 12))]
        assert matched(tmp_path, pages[first], pages[second]) is None
        pages = [answer(deleted("a", 10)), answer(image("a", 12, md5=MD5))]
        assert matched(tmp_path, pages[first], pages[second]) == "md5"
        pages = [answer(image("a", 10, md5=MD5)), answer(image("a", 12, md5=OTHER))]
        assert matched(tmp_path, pages[first], pages[second]) is None
    assert matched(tmp_path, answer(image("a", 10, md5=MD5), deleted("a", 12))) is None
    assert matched(tmp_path, answer(image("a", 10, md5=MD5), deleted("a", 12, member=43))) == "md5"
    assert matched(tmp_path, answer(image("a", 10, md5=MD5), image("b", 10, md5=MD5), deleted("a", 12))) == "md5"
    assert matched(tmp_path, answer(image("a", 10, md5=MD5), deleted("a", 12)), f"md5\n{MD5}\n") == "md5"  # another's


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([MD5, OTHER, None])), max_size=8), st.randoms())
def test_the_newest_update_of_each_entry_counts(
    tmp_path_factory: pytest.TempPathFactory, updates: list[tuple[int, str | None]], order: Any
) -> None:
    items = [
        deleted(str(name), hour) if digits is None else image(str(name), hour, md5=digits)
        for hour, (name, digits) in enumerate(updates)
    ]
    state = dict(updates)
    order.shuffle(items)
    folder = tmp_path_factory.mktemp("updates")
    found = lists(folder, answer(*items[:3]), answer(*items[3:]))
    assert found.match(BODY, None) == ("md5" if MD5 in state.values() else None)
    assert found.match(b"another", None) == ("md5" if OTHER in state.values() else None)


BOMB = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"<!DOCTYPE q [{BOMB}]><queryResult>&e9;</queryResult>", "declares a document type"),
        ('<!DOCTYPE q [<!ENTITY x SYSTEM "file:///etc/passwd">]><queryResult>&x;</queryResult>', "declares a document"),
        ('<!DOCTYPE q SYSTEM "http://127.0.0.1:9/x.dtd"><queryResult/>', "declares a document type"),
        ("<queryResult>&e;</queryResult>", "is not well-formed XML: undefined entity"),
        (answer(image("a", 1, md5=MD5))[:-40], "is not well-formed XML"),
        (answer(image("a", 1, md5=MD5)).replace("UTF-8", "UTF-99"), "is not well-formed XML: unknown encoding"),
        (f"<html><body>{MD5}</body></html>", "is no answer of NCMEC's .*: its root is no"),
        (f"<queryResult>{image('a', 1, md5=MD5)}</queryResult>", "entry 1 is not where an answer has its images"),
        (
            answer(image("a", 1, md5=MD5), image("b", 1, md5=MD5[:-1])),
            "entry 2 is no md5 hash of 32 hexadecimal digits",
        ),
        (answer(image("a", 1, sha1="0" * 40)), "holds no hash of the kinds md5, sha256, pdq"),
        (answer(image("a", 1, pdna="x" * 5000)), "entry 1 has a text above 4096 characters"),
        (answer(image("", 1, md5=MD5)), "entry 1 has no member or no id"),
        (answer(image("a", 25, md5=MD5)), "entry 1 has no timestamp"),
        (gzip.compress(answer(image("a", 1, md5=MD5)).encode(), mtime=0)[:-9], "is damaged: its gzip ends too early"),
        (gzip.compress(MD5.encode(), mtime=0)[:-9], "is damaged: its gzip ends too early"),
    ],
)
def test_hostile_or_foreign_xml_is_refused_in_a_sentence_without_an_entry(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        lists(tmp_path, content)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value) and MD5[:-1] not in str(raised.value) and "root:" not in str(raised.value)


def test_an_answer_of_many_images_takes_the_memory_of_their_hashes() -> None:
    """No tree is built: what the parser holds does not grow by more than the columns do."""
    entries = 2_000
    content = answer(*(image(str(n), 1, md5=MD5, pdna="x" * 400) for n in range(entries))).encode()
    tracemalloc.start()
    found = read_updates("a", io.BytesIO(content))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found["md5"]) == entries
    assert peak < 400 * entries < len(content) * 0.6


def stopncii(digits: str, status: str, changed: int) -> dict[str, Any]:
    return {
        "lastModtimestamp": changed,
        "hashValue": digits,
        "hashStatus": status,
        "caseNumbers": {"27664732": status},
        "signalType": "ImagePDQ",
        "CSPFeedbacks": [{"source": "x", "feedbackValue": "Blocked", "tags": ["Nude"]}],
    }


def page(*records: dict[str, Any]) -> str:
    return json.dumps({"count": len(records), "nextPageToken": None, "hasMoreRecords": False, "hashRecords": records})


def test_stopnciis_hashes_count_until_their_case_is_withdrawn(tmp_path: Path) -> None:
    digits = PDQ.hex()
    video = {**stopncii("ab" * 16, "Active", 1), "signalType": "VideoMD5"}
    for status, counts in (("Received", True), ("Active", True), ("Withdrawn", False), ("Deleted", False)):
        found = lists(tmp_path, page(stopncii(digits, status, 1), video))
        assert (found.match(BODY, PDQ) == "pdq") == counts
        assert not found.has_md5
    pages = [page(stopncii(digits, "Active", 1)), page(stopncii(digits, "Withdrawn", 2))]
    assert lists(tmp_path, *pages).match(BODY, PDQ) is None
    assert lists(tmp_path, *pages[::-1]).match(BODY, PDQ) is None
    assert lists(tmp_path, *pages, page(stopncii(digits, "Active", 3))).match(BODY, PDQ) == "pdq"


def test_threatexchanges_entries_count_until_they_are_to_be_deleted(tmp_path: Path) -> None:
    def entry(name: str | None, should_delete: bool, changed: object) -> str:
        item = {
            "id": name,
            "indicator": MD5,
            "type": "HASH_MD5",
            "should_delete": should_delete,
            "last_updated": changed,
        }
        return json.dumps({"data": [{key: value for key, value in item.items() if value is not None}]})

    assert matched(tmp_path, entry("1", False, 5), entry("1", True, 6)) is None
    assert matched(tmp_path, entry("1", True, 6), entry("1", False, 5)) is None
    assert matched(tmp_path, entry("1", True, 5), entry("1", False, 6)) == "md5"
    assert matched(tmp_path, entry("1", False, "2024-05-01T00:00:00+0000"), entry("1", True, 1.8e9)) is None
    assert matched(tmp_path, entry("1", False, None), entry("2", True, None)) == "md5"
    assert matched(tmp_path, entry(None, False, None), entry(None, True, None)) == "md5"
