import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.web.rules.tdm import NONE, is_unreadable, parse


def reserved(location: str, path: str) -> bool:
    return parse(json.dumps([{"location": location, "tdm-reservation": 1}]).encode()).is_reserved(
        f"http://a.example{path}"
    )


@pytest.mark.parametrize(
    ("location", "path", "expected"),
    [
        ("/", "/a.jpg", True),
        ("/images", "/images/a.jpg", True),
        ("/images/", "/image/a.jpg", False),
        ("/*.jpg", "/a/b.jpg?x", True),
        ("/*.jpg$", "/a/b.jpg?x", False),
        ("/*.jpg$", "/a.jpg/b.jpg", True),
        ("/a*b*c", "/a-c-b", False),
        ("/a$", "/a", True),
        ("/a$", "/ab", False),
        ("/*", "", True),
        ("/?id=*", "/?id=7", True),
    ],
)
def test_a_location_is_a_pattern_as_in_robots_txt(location: str, path: str, expected: bool) -> None:
    assert reserved(location, path) is expected


def test_the_first_rule_that_matches_counts() -> None:
    rules = [("/free/", 0), ("/", "1")]
    rights = parse(json.dumps([{"location": where, "tdm-reservation": flag} for where, flag in rules]).encode())
    assert not rights.is_reserved("http://a.example/free/a.jpg")
    assert rights.is_reserved("http://a.example/a.jpg")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[1, null, {}]", b"[" * 100_000, b"\xff", b'[{"location": 1}]']
)
def test_what_is_no_such_file_reserves_nothing(body: bytes) -> None:
    assert parse(body) == NONE


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"[" * 100_000, b'[{"location": "/"', b'[{"tdm-reservation": 1}]'])
def test_what_begins_as_such_a_file_and_is_none_is_unreadable(body: bytes) -> None:
    assert is_unreadable(body)


@pytest.mark.parametrize("body", [b"", b"<html>", b"not found", b"[]", b'[{"location": "/", "tdm-reservation": 0}]'])
def test_a_page_in_its_place_or_a_sound_file_is_not(body: bytes) -> None:
    assert not is_unreadable(body)


@given(st.binary(max_size=200))
def test_no_bytes_raise(body: bytes) -> None:
    parse(body).is_reserved("http://a.example/a.jpg")


def test_stars_take_no_longer_than_letters() -> None:
    start = time.process_time()
    assert not reserved("/" + "*a" * 1_000 + "$", "/" + "a" * 1_900 + "b")
    assert time.process_time() - start < 1
