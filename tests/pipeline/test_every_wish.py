"""Every signal of owners in every place is heeded and counted, and nothing else is refused (docs/wishes.md)."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dataset
from crawl.images.ingest import ImageConfig, ingest
from crawl.web.config import FetchConfig
from crawl.web.fetch import fetch
from crawl.web.rules import robots, tdm
from filters.images.perceptual import pdq
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.reports import audits
from tests.crawl.asking_web import ASKED, BOTH, FREE, IMAGES, NO, PAID, RSL, YES, Asker, AskingWeb, asking
from tests.crawl.notes import mining
from tests.pipeline import pages

CONTACT = "openwit/0.1 (+https://crawler.test/; crawler@crawler.test)"


def _meta(name: str, content: str) -> str:
    return f'<meta name="{name}" content="{content}">'


def _inline(license_: str) -> str:
    return f'<script type="{RSL}">{license_}</script>'


def _named(place: str, name: str) -> str:
    return f"http://licenses.test/page-{place}-{name}.xml"


PAGES: dict[str, tuple[str | None, str, str]] = {
    # name: (reason of its pair, a header, what stands in its head)
    "noai-meta": ("page_noai", "", _meta("robots", "noai, noimageai")),
    "noai-header": ("page_noai", "X-Robots-Tag: noai", ""),
    "noai-malformed": (None, "X-Robots-Tag: no;ai", _meta("robots", "no-ai")),
    "noai-contradictory": ("page_noai", "X-Robots-Tag: all", _meta("robots", "all, noai")),
    "tdm-meta": ("page_tdm_reserved", "", _meta("tdm-reservation", "1")),
    "tdm-header": ("page_tdm_reserved", "TDM-Reservation: 1", ""),
    "tdm-malformed": (None, "", _meta("tdm-reservation", "?")),
    "tdm-header-malformed": (None, "TDM-Reservation: maybe", ""),
    "tdm-contradictory": ("page_tdm_reserved", "TDM-Reservation: 1", _meta("tdm-reservation", "?")),
    "signal": ("page_content_signal", "Content-Signal: search=yes, ai-train=no", ""),
    "signal-malformed": (None, "Content-Signal: ai-train=perhaps", ""),
    "signal-contradictory": ("page_content_signal", "Content-Signal: ai-train=yes, ai-train=no", ""),
    "signal-huge": ("page_content_signal", "Content-Signal: " + "k=y, " * 4_000 + "ai-train=no", ""),
    "usage": ("page_content_usage", "Content-Usage: train-ai=n", ""),
    "usage-malformed": (None, "Content-Usage: train-ai=?", ""),
    "usage-contradictory": ("page_content_usage", "Content-Usage: train-ai=y, bots=n", ""),
    "license": ("page_rsl_prohibited", "", _inline(NO)),
    "license-paid": ("page_rsl_payment_required", "", _inline(PAID)),
    "license-yes": (None, "", _inline(YES)),
    "license-malformed": ("page_rsl_unreadable", "", _inline("<rsl")),
    "license-contradictory": ("page_rsl_prohibited", "", _inline(YES) + _inline(BOTH)),
    "license-huge": ("page_rsl_unreadable", "", _inline(NO + " " * 300_000)),
    **{
        f"license-{place}-{name}": (
            reason,
            f"Link: <{_named(place, name)}>; rel=license; type={RSL}" if place == "http" else "",
            f'<link rel="license" type="{RSL}" href="{_named(place, name)}">' if place == "link" else "",
        )
        for place in ("http", "link")
        for name, reason in (
            ("no", "rsl_prohibited"),
            ("paid", "rsl_payment_required"),
            ("yes", None),
            ("lost", "rsl_unreadable"),
            ("slow", "rsl_unreadable"),
        )
    },
    "nothing": (None, "", ""),
}  # fmt: skip
UNREAD_PAGES = {
    "tdm-malformed": tdm.HEADER,
    "tdm-header-malformed": tdm.HEADER,
    "signal-malformed": "Content-Signal",
    "usage-malformed": "Content-Usage",
}


@pytest.fixture(scope="module")
def asked() -> Iterator[AskingWeb]:
    with asking(IMAGES) as made:
        yield made


@pytest.fixture(scope="module")
def out(asked: AskingWeb, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of that web up to its images."""
    folder = tmp_path_factory.mktemp("asking")
    (folder / "queries.txt").write_text("kettle\n")
    urls = [f"http://{name}.test{path}" for name in IMAGES for path in (ASKED, FREE)]
    tags = "".join(f'<img src="{url}" alt="a kettle at {escape(url)}">' for url in urls)
    written = [
        (
            header or "X-Nothing: 1",
            f"http://pages.test/{name}",
            f'<html lang="en"><head>{head}</head><img src="http://plain.test/{name}.jpg" alt="a kettle of {name}">',
        )
        for name, (_, header, head) in PAGES.items()
    ]
    archive = pages.write(folder / "a.warc.gz", [("http://pages.test/", f'<html lang="en">{tags}')], asking=written)
    fetch = {"resolve": asked.resolve, "user_agent": CONTACT, "timeout_s": 4.0, "attempts": 1, "concurrency": 256}
    raw = {
        "sources": [str(archive)],
        "out": str(folder / "out"),
        "match": {"queries": str(folder / "queries.txt")},
        "fetch": fetch,
        "run": {"workers": 0},
    }
    build(make_config(raw), to="fetch", quiet=True)
    return str(folder / "out")


@pytest.fixture(scope="module")
def dropped(out: str) -> dict[str, tuple[str, str | None]]:
    """URL -> reason, and the signal in its evidence."""
    rows = dataset.open(out).sql("SELECT url, reason, evidence ->> 'signal' FROM dropped").fetchall()
    return {url: (reason, signal) for url, reason, signal in rows}


def test_each_wish_for_an_image_is_heeded_and_nothing_else_is_refused(
    dropped: dict[str, tuple[str, str | None]],
) -> None:
    def found(path: str) -> dict[str, str]:
        return {name: dropped.get(f"http://{name}.test{path}", ("ok", None))[0] for name in IMAGES}

    assert found(ASKED) == {name: asker.outcome for name, asker in IMAGES.items()}
    assert found(FREE) == {name: asker.free for name, asker in IMAGES.items()}


def test_each_wish_for_a_page_is_heeded_and_nothing_else_is_refused(dropped: dict[str, tuple[str, str | None]]) -> None:
    found = {name: dropped.get(f"http://plain.test/{name}.jpg", (None, None))[0] for name in PAGES}
    assert found == {name: reason for name, (reason, _, _) in PAGES.items()}


def test_each_wish_is_counted(out: str, dropped: dict[str, tuple[str, str | None]]) -> None:
    rows = dataset.open(out).sql(audits.load("wishes")).fetchall()
    refused = {(host, reason) for _, _, _, host, reason, count, _ in rows if count}
    unread = {(host, signal) for signal, _, _, host, _, _, count in rows if count}
    wishes = {name: asker for name, asker in IMAGES.items() if asker.outcome not in ("ok", "timeout")}
    assert {(f"{name}.test", asker.outcome) for name, asker in wishes.items()} <= refused
    of_images = {(f"{name}.test", asker.unread) for name, asker in IMAGES.items() if asker.unread}
    assert unread == of_images | {("pages.test", signal) for signal in UNREAD_PAGES.values()}
    for name, (reason, _, _) in PAGES.items():
        assert reason is None or (("pages.test" if reason.startswith("page_") else "plain.test"), reason) in refused, (
            name
        )


def test_no_file_is_asked_for_twice_nor_any_that_no_signal_names(asked: AskingWeb, out: str) -> None:
    assert max(asked.hits.values()) == 1, asked.hits.most_common(3)
    named = {f"licenses/{name}.xml" for name, asker in IMAGES.items() if asker.license or "lost" in name}
    assert {url for url in asked.hits if url.startswith("licenses/") and url.endswith(".xml")} <= named
    assert {url for url in asked.hits if url.endswith(robots.AI_TXT)} == {
        f"{name}{robots.AI_TXT}" for name, asker in IMAGES.items() if b"ai.txt" in (asker.robots or b"")
    }
    known = {"/robots.txt", robots.AI_TXT, tdm.PATH, ASKED, FREE}
    assert all(
        any(url.endswith(path) for path in known) for url in asked.hits if not url.startswith(("licenses", "plain"))
    )


PERMITTING = st.sampled_from(
    [
        {"robots": b"User-agent: openwit\nAllow: /\n\n"},
        {"robots": b"User-agent: *\nContent-Signal: ai-train=yes\n\n"},
        {"robots": b"User-agent: *\nContent-Usage: train-ai=?\nAllow: /asked/a.jpg\n\n"},
        {"headers": [("X-Robots-Tag", "all")]},
        {"headers": [("TDM-Reservation", "0")]},
        {"headers": [("TDM-Reservation", "?")]},
        {"headers": [("Content-Usage", "train-ai=y")]},
        {"headers": [("Content-Signal", "ai-train=yes, ###")]},
        {"tdmrep": b'[{"location": "/", "tdm-reservation": 0}]'},
        {"xmp": mining("DMI-ALLOWED")},
    ]
)
REFUSING = st.sampled_from(
    [
        {"robots": b"User-agent: CCBot\nDisallow: /asked/\n\n"},
        {"robots": b"User-agent: *\nUser-agent: openwit\nContent-Signal: ai-train=no\n\n"},
        {"headers": [("X-Robots-Tag", "noai")]},
        {"headers": [("TDM-Reservation", "1")]},
        {"headers": [("Content-Usage", "train-ai=n")]},
        {"headers": [("Content-Signal", "ai-train=no")]},
        {"headers": [("Link", f'<http://licenses.test/no.xml>; rel="license"; type="{RSL}"')]},
        {"tdmrep": b'[{"location": "/asked/", "tdm-reservation": 1}]'},
        {"xmp": mining("DMI-PROHIBITED")},
    ]
)  # fmt: skip


def _asker(parts: list[dict[str, Any]]) -> Asker:
    """One that asks all of this; of files of one kind the last."""
    found: dict[str, Any] = {"robots": b"", "headers": []}
    for part in parts:
        for key, value in part.items():
            found[key] = found[key] + value if key in ("robots", "headers") else value
    return Asker(**found)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PERMITTING, max_size=5), REFUSING)
def test_adding_a_refusal_never_admits_more(
    asked: AskingWeb, parts: list[dict[str, Any]], refusing: dict[str, Any]
) -> None:
    """Wherever it stands, and whatever else is asked elsewhere."""
    asked.askers = {"before": _asker(parts), "after": _asker([*parts, refusing]), "no": Asker(license=NO)}
    config = FetchConfig(resolve=asked.resolve, user_agent=CONTACT, attempts=1)
    urls = [f"http://{name}.test{ASKED}" for name in ("before", "after")]
    before, after = fetch(urls, config, lambda body: ingest(body, ImageConfig(), pdq, lambda body, pdq: None))
    assert (before.outcome, after.outcome == "ok") == ("ok", False)
    assert after.wish is not None
