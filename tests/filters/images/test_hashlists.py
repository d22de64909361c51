"""Hash lists: what is on them is known by its kind only."""

from __future__ import annotations

import gzip
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filters.images.hashlists import HashLists, HashListsConfig
from tests.filters.pictures import flip

BODY = b"the bytes of an image"
MD5 = hashlib.md5(BODY).hexdigest()
SHA256 = hashlib.sha256(BODY).hexdigest()
VICS = {"MediaID": 1, "Category": 1, "MD5": MD5.upper(), "SHA1": "0" * 40, "MediaSize": 21, "PhotoDNA": "AAAA"}
PDQ = np.random.default_rng(0).integers(0, 256, 32, dtype=np.uint8)
OTHER = hashlib.sha256(b"another").hexdigest()


def load(path: Path, content: str | bytes, **keys: Any) -> HashLists:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return HashLists.load(HashListsConfig(files=(str(path),), **keys))


def near(bits: int) -> bytes:
    return flip(PDQ[None], bits, np.random.default_rng(1)).tobytes()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("list.md5", f"# a comment\n\n{MD5.upper()}\r\n", "md5"),
        ("list.txt", f"{MD5}  image.jpg\n", "md5"),
        ("list.sha256", f"{OTHER}\n{SHA256}\n", "sha256"),
        ("list.sha256.txt", SHA256, "sha256"),
        ("list.csv", f'id,"SHA256",note\n7,"{SHA256}",seen\n8,{OTHER},\n', "sha256"),
        ("list.csv", f"md5;sha256\n{hashlib.md5(b'x').hexdigest()};{SHA256}\n", "sha256"),
        ("list.tsv", f"Algorithm\tHash\nSHA-1\tab\nSHA-256\t{SHA256.upper()}\n", "sha256"),
        ("list.csv", f'id,type,indicator,"tags"\n1,HASH_MD5,{MD5},"a, b"\n2,HASH_TMK,x,\n', "md5"),
        ("stopncii.md5.csv", f"hash,note\n{MD5},x\n", "md5"),
        ("vics.json", json.dumps({"@odata.context": "x", "value": [VICS, {"MediaID": 2, "SHA1": "0"}]}), "md5"),
        ("threat.json", json.dumps({"data": [{"id": "1", "indicator": SHA256, "type": "HASH_SHA256"}]}), "sha256"),
        ("list.jsonl", json.dumps({"md5": None, "sha256": SHA256}) + "\n" + json.dumps({"md5": MD5}) + "\n", "md5"),
        ("list.md5.gz", gzip.compress(MD5.encode(), mtime=0), "md5"),
    ],
)
def test_an_entry_is_found_by_the_bytes_alone(tmp_path: Path, name: str, content: str | bytes, kind: str) -> None:
    lists = load(tmp_path / name, content)
    assert lists.match(BODY, None) == kind
    assert lists.match(BODY + b" ", None) is None
    assert lists.match(b"", PDQ.tobytes()) is None


def test_pdq_is_found_within_31_bits_once_the_image_is_decoded(tmp_path: Path) -> None:
    lists = load(tmp_path / "list.pdq", f"{PDQ.tobytes().hex()}\n{OTHER}\n{OTHER}\n")
    assert lists.match(BODY, None) is None
    assert [lists.match(BODY, near(bits)) for bits in (0, 15, 16, 31, 32)] == ["pdq"] * 4 + [None]


def test_what_is_said_of_an_entry_counts(tmp_path: Path) -> None:
    """Its quality, its own distance, its category, and that it is to be deleted."""
    digits = PDQ.tobytes().hex()
    table = f"pdq,quality,distance\n{digits},{{quality}},{{distance}}\n{OTHER},100,\n"

    def found(content: str, bits: int, name: str = "list.csv", **keys: Any) -> bool:
        lists = load(tmp_path / name, content, **keys)
        return lists.match(BODY, near(bits) if bits >= 0 else None) is not None

    assert found(table.format(quality=80, distance=""), 31)
    assert not found(table.format(quality=80, distance=""), 31, max_pdq_hamming=30)
    assert not found(table.format(quality=49, distance=""), 0)
    assert found(table.format(quality=49, distance=""), 0, min_pdq_quality=0)
    assert [found(table.format(quality=80, distance=12), bits) for bits in (12, 13)] == [True, False]
    assert not found(table.format(quality=80, distance=31), 20, max_pdq_hamming=16)
    assert [found(f"{digits},{quality},a.jpg", 0, "list.pdq") for quality in (49, 50)] == [False, True]
    for category, counts in ((0, False), (1, True), (3, True), (5, False), (None, True)):
        content = json.dumps({"value": [{**VICS, "Category": category}]})
        assert found(content, -1, "vics.json") == counts
    assert found(json.dumps({"value": [{**VICS, "Category": 5}]}), -1, "vics.json", categories=(5,))
    for deleted in (True, False):
        content = json.dumps({"data": [{"indicator": MD5, "type": "HASH_MD5", "should_delete": deleted}]})
        assert found(content, -1, "threat.json") != deleted


def test_hashes_that_end_in_zeros_are_whole(tmp_path: Path) -> None:
    bodies = [str(number).encode() for number in range(2000)]
    zero = next(body for body in bodies if hashlib.md5(body).digest()[15] == 0)
    shortened = hashlib.md5(zero).hexdigest()
    lists = load(tmp_path / "list.md5", f"{shortened}\n{'0' * 32}\n")
    assert [body for body in bodies if lists.match(body, None)] == [zero]


def test_lists_travel_to_another_process(tmp_path: Path) -> None:
    lists = pickle.loads(pickle.dumps(load(tmp_path / "list.pdq", PDQ.tobytes().hex())))
    assert lists.match(BODY, near(20)) == "pdq"


def test_no_lists_match_nothing() -> None:
    assert HashLists.load(HashListsConfig()).match(BODY, PDQ.tobytes()) is None


def test_an_empty_list_matches_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "list.md5", "# none yet\n").match(BODY, None) is None
    assert load(tmp_path / "list.csv", "sha256\n").match(BODY, None) is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.txt", SHA256, "name it .md5, .sha256 or .pdq"),
        ("list.md5", f"{MD5}\n{SHA256}\n", "entry 2 is no md5 hash of 32 hexadecimal digits"),
        ("list.sha256", f"{SHA256[:-1]}g\n", "entry 1 is no sha256 hash"),
        ("list.csv", f"id,md5\n1,{MD5}\n2\n", "a line has more or fewer columns than the first"),
        ("list.csv", f"id,md5\n0,{MD5}\n1,\n", "entry 2 has no hash"),
        ("list.csv", f"type,value\nSHA1,{MD5}\n", "holds no hash of the kinds md5, sha256, pdq"),
        ("list.csv", f"type,value\nMD5,{SHA256}\n", "entry 1 is no md5 hash"),
        ("list.json", f'{{"MD5": "{MD5}"', "is neither JSON nor a JSON object a line"),
        ("list.json", f'[{{"MD5": "{MD5}"}}, "{SHA256}"]', "an entry is no JSON object"),
        ("list.json", '{"value": [{"SHA1": "00"}]}', "holds no hash of the kinds"),
        ("list.md5", b"\xff\xfe\x00", "is not UTF-8"),
    ],
)
def test_a_list_that_is_not_understood_is_an_error_that_shows_no_entry(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path / name, content)
    assert not {MD5, SHA256, SHA256[:-1]} & set(str(caught.value).split())


def test_a_missing_list_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        HashLists.load(HashListsConfig(files=("/no/such/list.md5",)))
