"""sql/views/candidates.sql: variants of one image share a url_group, and nothing else does."""

from __future__ import annotations

import duckdb
import pytest

from dataset.query import sql

VIEW = sql.load("views/candidates")


def group(url: str) -> str:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE _candidates AS SELECT '\\x01'::BLOB AS pair_id, $1 AS url", [url])
    row = connection.execute(f"SELECT url, url_group FROM ({VIEW})").fetchone()
    assert row is not None
    assert row[0] == url
    return str(row[1])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/cat-300x200.jpg", "http://h/cat.jpg"),
        ("http://h/cat_300x.jpg?v=1", "http://h/cat.jpg?v=1"),
        ("http://h/300x200/cat.jpg", "http://h/cat.jpg"),
        ("http://h/fit-in/300x200/cat.jpg", "http://h/cat.jpg"),
        ("http://h/resize/300/cat.jpg", "http://h/cat.jpg"),
        ("http://h/cat.jpg?w=300&h=200&fit=crop&v=2", "http://h/cat.jpg?v=2"),
        ("http://h/cat.jpg?id=7&q=80", "http://h/cat.jpg?id=7"),
        ("http://h/image/upload/w_300,h_200,c_fill/v1/cat.jpg", "http://h/image/upload/v1/cat.jpg"),
        ("http://h/cdn-cgi/image/width=80,quality=75/cat.jpg", "http://h/cdn-cgi/image/cat.jpg"),
        ("http://h/thumb/a/ab/Cat.jpg/320px-Cat.jpg", "http://h/a/ab/Cat.jpg"),
    ],
)
def test_variants(url: str, expected: str) -> None:
    assert group(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://h/cat-1.jpg",
        "http://h/cat-0x1f.jpg",
        "http://h/2024/05/cat.jpg",
        "http://h/image/upload/v1/cat.jpg",
        "http://h/show?id=300x200&shade=7",
        "http://h/thumb/cat.jpg",
        "data:,x",
        "",
    ],
)
def test_other_addresses_stand_alone(url: str) -> None:
    assert group(url) == url


def test_addresses_without_a_sign_of_a_variant_are_passed_over_alone() -> None:
    """The view asks for such a sign first; what it passes over the whole chain would leave, too."""
    parts = [
        "/thumb",
        "/a/320px-b.jpg",
        "/image/upload/w_3/",
        "/cdn-cgi/image/q=1/",
        "/30x20/",
        "/rs/30x20/",
        "-30x.png",
    ]
    parts += [
        "/resize/30/",
        "/height/30/",
        "_30x20.jpg",
        "?w=1",
        "&h=2",
        "?",
        "&&",
        "/cat.jpg",
        "/images/7.jpg",
        "/12/x",
    ]
    urls = [f"http://h{one}{other}" for one in parts for other in parts]
    guard = VIEW[VIEW.index("    CASE") : VIEW.index("ELSE url.")]
    chain = VIEW.replace(guard, "").replace("ELSE url.", "url.").replace("END AS url_group", "AS url_group")
    connection = duckdb.connect()
    connection.execute("CREATE TABLE _candidates AS SELECT '\\x01'::BLOB AS pair_id, unnest($1) AS url", [urls])
    ask = "SELECT url, url_group FROM ({}) ORDER BY url".format
    assert connection.execute(ask(VIEW)).fetchall() == connection.execute(ask(chain)).fetchall()
