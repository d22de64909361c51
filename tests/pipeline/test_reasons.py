"""Every reason of the vocabulary is given by a run that provokes it, and by nothing that does not."""

from __future__ import annotations

from html import escape

import pytest

import crawl.web.response
import dataset
from dataset.reasons import reasons
from pipeline.build import build
from pipeline.config import build as make_config
from pipeline.config import to_builtins
from pipeline.reports import audits
from tests.crawl.hostile_server import picture, running
from tests.crawl.hostile_wishes import license_of
from tests.crawl.notes import mining, signed
from tests.pipeline import pages, small_archive
from tests.pipeline.engine import test_budgets
from tests.pipeline.stages import test_captions
from tests.pipeline.stages.image import test_models
from tests.pipeline.stories import told

HTTP = {
    "http://images.test/to/metadata": "address_private",
    "http://images.test/endless": "body_too_large",
    "http://dead.test/a.jpg": "connection_failed",
    "http://no-such-name.invalid/a.jpg": "dns_failed",
    "http://images.test:6379/a.jpg": "port_not_allowed",
    "http://images.test/status/404": "http_client_error",
    "http://images.test/status/500": "http_server_error",
    "http://images.test/bomb.png": "image_too_many_pixels",
    "http://images.test/half.jpg": "image_truncated",
    "http://images.test/animated.gif": "image_animated",
    "http://images.test/html.jpg": "not_an_image",
    "http://disallow.test/private/a.jpg": "robots_disallowed",
    "http://images.test/noai": "robots_noai",
    "http://images.test/reserved": "tdm_reserved",
    "http://images.test/signal": "content_signal_refused",
    "http://images.test/usage": "content_usage_refused",
    "http://images.test/odd-usage": "wish_unreadable",
    "http://images.test/mined.jpg": "data_mining_prohibited",
    "http://images.test/signed.jpg": "c2pa_training_refused",
    "http://licensed.test/ok/no/a.jpg": "rsl_prohibited",
    "http://images.test/licensed/paid.xml": "rsl_payment_required",
    "http://images.test/licensed/gone.xml": "rsl_unreadable",
    "http://wishes.test/ok/others/a.jpg": "robots_disallowed_others",
    "http://wishes.test/ok/untrained/a.jpg": "ai_txt_disallowed",
    "http://images.test/to/opted-out": "domain_opted_out",
    "http://silent.test/a.jpg": "timeout",
    "http://images.test/to/self": "too_many_redirects",
}
TEXT = {
    ("http://images.test/ok1.jpg", "a kettle on the table " * 60): "text_too_long",
    ("http://images.test/ok2.jpg", "a kettle of the forbiddenword kind"): "text_blocked",
    ("http://blocked.test/ok.jpg", "a kettle on a shelf"): "domain_blocked",
    ("http://images.test/ok6.jpg", "a kettle of [email_address]"): "personal_data",
    ("http://images.test/ok7.jpg", "a fucking kettle of shit"): "text_profane",
    ("http://images.test/porn/1.jpg", "a kettle in bad company"): "address_unsafe",
    ("http://images.test/spacer.gif", "a kettle that a script puts here"): "image_is_stand_in",
    ("http://images.test/icons/kettle.png", "a kettle for the menu"): "text_is_interface",
    ("http://images.test/avatars/1.jpg", "kettle lover"): "image_is_avatar",
    ("http://images.test/kettle-logo.png", "a brand of kettle"): "image_is_logo",
    ("http://images.test/banner.jpg", "a kettle for sale"): "image_is_advertisement",
    ("http://images.test/ok8.jpg", "Photo: the kettle company"): "text_is_credit",
    ("http://images.test/ok9.jpg", "a kettle of the [object Object] kind"): "text_is_code",
    ("http://", "a kettle without a place"): "url_invalid",
    ("http://images.test/ok3.jpg", "a shorter kettle text"): "url_has_other_text",
    ("http://images.test/ok4.jpg", "a kettle that crashes the measure"): "quarantined",
}
RESERVED = ("http://images.test/ok5.jpg", "a kettle whose page reserves its rights")
ASKING = {
    "Content-Signal: search=yes, ai-train=no": "page_content_signal",
    "Content-Usage: train-ai=n": "page_content_usage",
    "TDM-Reservation: perhaps": "page_wish_unreadable",
}
"""A header of a page -> the reason that its images have."""
LICENSES = {
    '<prohibits type="usage">all</prohibits>': "page_rsl_prohibited",
    '<payment type="crawl"/>': "page_rsl_payment_required",
    "<permit>all</permit>": "page_rsl_unreadable",
}
"""An RSL license in a page -> the reason that its images have."""
NAMED = {
    "no": "rsl_prohibited",
    "paid": "rsl_payment_required",
    "gone": "rsl_unreadable",
    "yes": "image_too_small",  # which fetch lets pass
}
"""A license that a page names -> the reason that its pairs have."""
LOST = ("http://images.test/logo.jpg", "a kettle that the error page shows")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of the wild web."""
    folder = tmp_path_factory.mktemp("wild")
    (folder / "queries.txt").write_text("kettle\n")
    (folder / "blocked.txt").write_text("forbiddenword\n")
    (folder / "domains.txt").write_text("blocked.test\n")
    (folder / "opted_out.txt").write_text("*.opted-out.test\n")
    (folder / "own.py").write_text(
        "def fragile(rows):\n"
        "    assert not any('crashes' in text for text in rows['text'].to_pylist())\n"
        "    return {'looked': [True] * len(rows)}\n"
    )
    kept = [("http://images.test/ok3.jpg", "a much longer text about the same kettle")]
    listed = [*((url, f"a kettle, and {reason}") for url, reason in HTTP.items()), *TEXT, *kept]
    written = [(url, text.replace("[email_address]", "someone@example.org")) for url, text in listed]
    images = "".join(f'<img src="{escape(url)}" alt="{escape(text)}">' for url, text in written)
    gone = f'<html lang="en"><body><img src="{LOST[0]}" alt="{LOST[1]}">'
    reserved = f'<meta name="tdm-reservation" content="1"><img src="{RESERVED[0]}" alt="{RESERVED[1]}">'
    licensed = [
        (
            f"http://page.test/{reason}",
            f'<script type="application/rsl+xml">{license_of(("", terms))}</script>'
            f'<img src="http://images.test/ok-{reason}.jpg" alt="a kettle of {reason}">',
        )
        for terms, reason in LICENSES.items()
    ]
    licensed += [
        (
            f"http://page.test/naming-{name}",
            f'<link rel="license" type="application/rsl+xml" href="http://licenses.test/{name}.xml">'
            f'<img src="http://images.test/ok-named-{name}.jpg" alt="a kettle by a page naming {name}">',
        )
        for name in NAMED
    ]
    archive = pages.write(
        folder / "wild.warc.gz",
        [("http://page.test/", f'<html lang="en"><body>{images}'), ("http://page.test/tdm", reserved), *licensed],
        missing=[("http://page.test/gone", gone)],
        asking=[
            (
                header,
                f"http://page.test/{reason}",
                f'<img src="http://images.test/ok-{reason}.jpg" alt="a kettle of {reason}">',
            )
            for header, reason in ASKING.items()
        ],
    )
    with running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(crawl.web.response, "BACKOFF_S", 0.05)
        server.more["/mined.jpg"] = "image/jpeg", picture(xmp=mining("DMI-PROHIBITED"))
        server.more["/signed.jpg"] = "image/jpeg", signed({"cawg.ai_training": {"use": "constrained"}})
        fetch = to_builtins(server.config(timeout_s=3.0).__dict__)
        config = make_config(
            {
                "sources": [str(archive)],
                "out": str(folder / "out"),
                "text": {
                    "blocklist": str(folder / "blocked.txt"),
                    "blocked_domains": str(folder / "domains.txt"),
                    "drop_personal_data": True,
                    "max_profanity_probability": 0.9,
                    "unreadable_policy": "refuse",
                },
                "match": {"queries": str(folder / "queries.txt")},
                "dedup": {"texts_per_url": "longest"},
                "fetch": {
                    **fetch,
                    "origins": ["archive", "http"],
                    "unreadable_policy": "refuse",
                    "opted_out_domains": str(folder / "opted_out.txt"),
                },
                "filters": [
                    {"name": "own", "stage": "text", "measure": f"{folder}/own.py:fragile", "drop_when": "NOT looked"}
                ],
                "image": {"nsfw_model": ""},
                "run": {"workers": 0},
                "allow_programs": True,
            }
        )
        build(config, quiet=True)
    return str(folder / "out")


@pytest.fixture(scope="module")
def given(out: str) -> dict[tuple[str, str], str]:
    """(url, text) -> the reason for which it was dropped."""
    rows = dataset.open(out).sql("SELECT url, text, reason FROM dropped").fetchall()
    return {(url, text): reason for url, text, reason in rows}


@pytest.mark.parametrize("url", HTTP)
def test_what_a_server_does_has_its_reason(given: dict[tuple[str, str], str], url: str) -> None:
    assert given[url, f"a kettle, and {HTTP[url]}"] == HTTP[url]


@pytest.mark.parametrize(("url", "text"), TEXT)
def test_what_a_page_says_has_its_reason(given: dict[tuple[str, str], str], url: str, text: str) -> None:
    assert given[url, " ".join(text.split())] == TEXT[url, text]


def test_an_error_page_has_its_reason(given: dict[tuple[str, str], str]) -> None:
    assert given[LOST] == "page_error"


def test_a_page_that_reserves_its_rights_has_its_reason(given: dict[tuple[str, str], str]) -> None:
    assert given[RESERVED] == "page_tdm_reserved"


def test_what_a_page_s_headers_and_licenses_ask_has_its_reason(given: dict[tuple[str, str], str]) -> None:
    asking = [*ASKING.values(), *LICENSES.values()]
    asked = [given[f"http://images.test/ok-{reason}.jpg", f"a kettle of {reason}"] for reason in asking]
    assert asked == asking


def test_a_license_that_a_page_names_has_its_reason(out: str, given: dict[tuple[str, str], str]) -> None:
    asked = {name: (f"http://images.test/ok-named-{name}.jpg", f"a kettle by a page naming {name}") for name in NAMED}
    assert {name: given.get(pair) for name, pair in asked.items()} == NAMED
    query = "SELECT evidence ->> 'place' FROM dropped WHERE text = 'a kettle by a page naming no'"
    ((place,),) = dataset.open(out).sql(query).fetchall()
    assert place == "page http://page.test/naming-no: http://licenses.test/no.xml"


def test_the_audit_tells_what_was_asked_and_by_whom(out: str) -> None:
    found = {row[:4]: row[5] for row in dataset.open(out).sql(audits.load("wishes")).fetchall()}
    for signal, value, place, host in (
        ("Content-Signal", "ai-train=no", "header", "images.test"),
        ("Content-Signal", "ai-train=no", "header", "page.test"),
        ("robots.txt", "Disallow", "robots.txt of ccbot", "wishes.test"),
        ("X-Robots-Tag", "noai", "header", "images.test"),
        ("RSL", "payment: use", "header: http://licenses.test/paid.xml", "images.test"),
        ("RSL", "prohibited: all", "page", "page.test"),
        ("RSL", "prohibited: all", "page http://page.test/naming-no: http://licenses.test/no.xml", "images.test"),
        ("opt-out list", None, "fetch.opted_out_domains", "images.test"),
    ):
        assert found[signal, value, place, host] >= 1


def test_every_reason_has_a_story_with_its_evidence(out: str, given: dict[tuple[str, str], str]) -> None:
    assert told(out) == set(given.values())


def test_the_vocabulary_is_provoked_whole(given: dict[tuple[str, str], str]) -> None:
    """With `small_archive`, whose reasons are asserted in test_build and test_explain, test_models and test_budgets."""
    assert set(given.values()) | (
        small_archive.PROVOKES | test_models.PROVOKES | test_budgets.PROVOKES | test_captions.PROVOKES
    ) == set(reasons())
