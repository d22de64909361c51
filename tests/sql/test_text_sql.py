"""sql/decisions/text.sql: the rows, the expected reasons, nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pytest

from dataset.query import sql
from dataset.schema import CANDIDATES, CAPTIONS, PLACE, VERDICTS
from filters.texts.blocklist import TERM
from filters.texts.domains import ENTRY
from filters.texts.not_captions import FOUND, KINDS
from filters.texts.text import TextConfig
from pipeline.stages.text import TEXT

MEASURES = pa.schema(
    [
        ("row", pa.uint32()),
        ("characters", pa.int32()),
        ("words", pa.int32()),
        ("is_filename", pa.bool_()),
        ("blocked_domains", pa.list_(ENTRY)),
        ("language", pa.string()),
        ("language_probability", pa.float32()),
        ("is_undetermined", pa.bool_()),
        ("blocked_terms", pa.list_(TERM)),
        ("profanity_probability", pa.float32()),
        ("texts_on_page", pa.int32()),
        ("not_captions", pa.list_(FOUND)),
        ("unsafe_address", pa.string()),
    ]
)
GOOD = {
    "url": "https://img.example.org/cat.jpg",
    "text": "a cat on a mat",
    "host": "img.example.org",
    "page_status": 200,
    "page_noai": False,
    "page_tdm_reserved": None,
    **dict.fromkeys(["page_license", *PLACE.names]),
    "page_language": None,
    "characters": 14,
    "words": 5,
    "is_filename": False,
    "language": "en",
    "language_probability": 0.9,
    "is_undetermined": False,
}


def decide(*items: dict[str, Any], allowed_hosts: tuple[str, ...] = (), **keys: Any) -> pa.Table:
    full = [{**GOOD, **item, "row": index} for index, item in enumerate(items)]
    rows = pa.Table.from_pylist(full, schema=pa.schema([pa.field("row", pa.uint32()), *CANDIDATES]))
    measures = pa.Table.from_pylist(full[::-1], schema=MEASURES)
    captions = pa.Table.from_pylist([item for item in full if "is_repeat" in item], schema=CAPTIONS)
    config = {**asdict(TextConfig(**keys)), "allowed_hosts": allowed_hosts}
    return sql.run(sql.load("decisions/text"), {"rows": rows, "measures": measures, "captions": captions}, config)


def reasons(*items: dict[str, Any], **keys: Any) -> list[str | None]:
    verdicts = decide(*items, **keys).to_pylist()
    by_row = {verdict["row"]: verdict["reason"] for verdict in verdicts}
    return [by_row.get(index) for index in range(len(items))]


def at(host: str, scheme: str = "http") -> dict[str, Any]:
    return {"url": f"{scheme}://{host}/a.jpg", "host": host}


def entry(name: str, list_: str = "own.txt", category: str | None = None) -> dict[str, str | None]:
    return {"entry": name, "list": list_, "category": category}


def term(text: str, language: str | None = None) -> dict[str, str | None]:
    return {"term": text, "list": "own.txt", "language": language}


def found(*kinds: str) -> list[dict[str, str]]:
    return [{"kind": kind, "found": f"{kind}.png"} for kind in kinds]


def wish(signal: str, value: str, place: str) -> dict[str, str]:
    return {"signal": signal, "value": value, "place": place}


REPEAT = {"is_repeat": True, "repeat": "x", "repeat_found": 22, "repeat_of": 90}
ALL_OVER = {"is_repeat": False, "image_texts": 11}
ON_MOST = {"is_repeat": False, "image_pages": 6, "of_pages": 11, "words": 4}
NOT_CAPTIONS = {
    "stand_in": "image_is_stand_in",
    "interface": "text_is_interface",
    "avatar": "image_is_avatar",
    "logo": "image_is_logo",
    "advertisement": "image_is_advertisement",
    "credit": "text_is_credit",
    "code": "text_is_code",
}

# column, what it holds, the reason; signal, value and place of its evidence
WISHES = [
    ("page_content_signal", "ai-train=no", "page_content_signal", "Content-Signal", "ai-train=no", "header"),
    ("page_content_usage", "train-ai=n", "page_content_usage", "Content-Usage", "train-ai=n", "header"),
    ("page_rsl", "prohibited: ai-train", "page_rsl_prohibited", "RSL", "prohibited: ai-train", "page"),
    ("page_rsl", "payment: crawl", "page_rsl_payment_required", "RSL", "payment: crawl", "page"),
    ("page_rsl", "unreadable: no XML", "page_rsl_unreadable", "RSL", "unreadable: no XML", "page"),
    ("page_content_signal", "unreadable: ###", "page_wish_unreadable", "Content-Signal", "unreadable: ###", "header"),
    ("page_content_usage", "unreadable: ###", "page_wish_unreadable", "Content-Usage", "unreadable: ###", "header"),
    ("page_tdm_unreadable", "maybe", "page_wish_unreadable", "tdm-reservation", "unreadable: maybe", "page"),
]
CASES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"url": "a.jpg", "host": ""}, "url_invalid", {"host": "", "url_characters": 5}),
    ({"url": "http:///a.jpg", "host": None}, "url_invalid", {"host": "", "url_characters": 13}),
    ({"url": "https://e.org/" + "a" * 2048, "host": "e.org"}, "url_invalid", {"host": "e.org", "url_characters": 2062}),
    ({"url": "ftp://e.org/a.jpg", "host": "e.org"}, "url_scheme_not_allowed", {"scheme": "ftp"}),
    ({"url": "JavaScript:void(0)", "host": ""}, "url_scheme_not_allowed", {"scheme": "javascript"}),
    (at("127.0.0.1:8000"), "url_private", {"host": "127.0.0.1"}),
    (
        {"blocked_domains": [entry("example.org"), entry("org", "ut1", "adult")]},
        "domain_blocked",
        {"blocked_domain": "example.org", "list": "own.txt", "category": None},
    ),
    ({"unsafe_address": "worldsex"}, "address_unsafe", {"found": "worldsex"}),
    ({"page_status": 404}, "page_error", {"page_status": 404}),
    (ALL_OVER, "image_is_stand_in", {"texts_on_site": 11, "max_site_texts_per_image": 10}),
    (ON_MOST, "text_is_interface", {"pages": 6, "of_pages": 11, "max_site_page_share": 0.5}),
    (REPEAT, "text_repeats_on_site", {"repeat": "x", "images": 22, "of_images": 90, "max_site_images_per_text": 20}),
    ({"page_noai": True}, "page_noai", {"page_noai": True, **wish("robots meta or X-Robots-Tag", "noai", "page")}),
    (
        {"page_tdm_reserved": True},
        "page_tdm_reserved",
        {"page_tdm_reserved": True, **wish("tdm-reservation", "1", "page")},
    ),
    *(({column: said}, reason, wish(*shown)) for column, said, reason, *shown in WISHES),
    (
        {"page_content_signal": "unreadable: ###", "page_content_usage": "unreadable: ###"},
        "page_wish_unreadable",
        wish("Content-Signal", "unreadable: ###", "header"),
    ),
    (
        {"personal_data": ["email_address", "phone_number", "email_address"]},
        "personal_data",
        {"kinds": ["email_address", "phone_number"], "places": 3},
    ),
    (
        {"characters": 4, "words": 1},
        "text_too_short",
        {"characters": 4, "min_characters": 5, "words": 1, "min_words": 1},
    ),
    ({"characters": 1001}, "text_too_long", {"characters": 1001, "max_characters": 1000}),
    ({"is_filename": True}, "text_is_filename", {"is_filename": True}),
    *(({"not_captions": found(kind)}, reason, {"found": f"{kind}.png"}) for kind, reason in NOT_CAPTIONS.items()),
    ({"texts_on_page": 3}, "image_is_stand_in", {"texts_on_page": 3, "max_texts_on_page": 2}),
    (
        {"language": "de", "language_probability": 0.75, "page_language": "en"},
        "language_not_allowed",
        {
            "language": "de",
            "language_probability": 0.75,
            "language_min_probability": 0.4,
            "page_language": "en",
            "languages": ["en"],
        },
    ),
    (
        {"blocked_terms": [term("nicht", "nl"), term("porn")]},
        "text_blocked",
        {"blocked_term": "porn", "list": "own.txt", "language": None},
    ),
    (
        {"profanity_probability": 0.75},
        "text_profane",
        {"profanity_probability": 0.75, "max_profanity_probability": 0.7},
    ),
]


@pytest.mark.parametrize(("item", "reason", "evidence"), CASES)
def test_each_reason_and_its_evidence(item: dict[str, Any], reason: str, evidence: dict[str, Any]) -> None:
    verdicts = decide(item, {}, drop_personal_data=True, max_profanity_probability=0.7, unreadable_policy="refuse")
    assert verdicts.schema.names == VERDICTS.names
    (verdict,) = verdicts.to_pylist()
    assert (verdict["row"], verdict["reason"], json.loads(verdict["evidence"])) == (0, reason, evidence)


def test_every_reason_of_the_stage_has_a_case() -> None:
    assert {reason for _, reason, _ in CASES} == set(TEXT.reasons)


def test_the_first_true_condition_gives_the_reason() -> None:
    everything = {key: value for item, _, _ in reversed(CASES) for key, value in item.items()}
    assert reasons(everything) == ["url_invalid"]
    assert reasons({**CASES[-2][0], **CASES[-3][0]}) == ["language_not_allowed"]


def test_the_kinds_asked_for_drop() -> None:
    assert set(NOT_CAPTIONS) == set(KINDS)
    both = {"not_captions": found("avatar", "logo")}
    assert reasons(both) == ["image_is_avatar"]
    assert reasons(both, not_captions=("logo", "code")) == ["image_is_logo"]
    assert reasons(both, not_captions=()) == [None]


def test_as_many_texts_as_the_config_allows_an_image() -> None:
    items = ({"texts_on_page": 1}, {"texts_on_page": 5}, {"texts_on_page": None})
    assert reasons(*items) == [None, "image_is_stand_in", None]
    assert reasons(*items, max_texts_on_page=5) == reasons(*items, max_texts_on_page=0) == [None, None, None]


def test_a_word_counts_in_its_own_language() -> None:
    dutch = {"blocked_terms": [term("nicht", "nl")], "page_language": "nl-BE"}
    german = {"language": "de", "language_probability": 0.9}
    unsure = {"language": "de", "language_probability": 0.3}
    keys = {"languages": (), "language_min_probability": 0.4, "language_context": False}
    assert reasons({**dutch, **german}, {**dutch, **unsure}, dutch | unsure | {"page_language": None}, **keys) == [
        *(None, "text_blocked", None)
    ]
    assert reasons({**dutch, **unsure}, allowed_terms=("nicht",), **keys) == [None]


def test_terms_of_weak_lists_count_together_alone() -> None:
    def weak(*terms: str, list_: str = "ldnoobw") -> dict[str, Any]:
        return {"blocked_terms": [{"term": term, "list": list_, "language": None} for term in terms]}

    mixed = {"blocked_terms": weak("sado")["blocked_terms"] + weak("domina", list_="doubtful")["blocked_terms"]}
    twice = {"blocked_terms": weak("tits")["blocked_terms"] + weak("Tits", list_="doubtful")["blocked_terms"]}
    others = (weak("bitch", list_="ldnoobw:all"), weak("x", list_="my"))
    items = (weak("bitch"), weak("bitch", "tits"), mixed, twice, *others)
    dropped = "text_blocked"
    assert reasons(*items) == [None, dropped, dropped, None, dropped, dropped]
    assert reasons(*items, min_weak_terms=1) == [dropped] * 6
    assert reasons(*items, min_weak_terms=3) == [None, None, None, None, dropped, dropped]
    assert reasons(items[1], allowed_terms=("tits",)) == [None]


def test_unsafe_addresses_stay_where_the_config_lets_them() -> None:
    assert reasons({"unsafe_address": "porn"}, drop_unsafe_addresses=False) == [None]


def test_only_the_categories_asked_for_block() -> None:
    adult = {"blocked_domains": [entry("a.example", "ut1", "adult"), entry("a.example", "ut1", "games")]}
    own = {"blocked_domains": [entry("a.example")]}
    assert reasons(adult, own) == ["domain_blocked", "domain_blocked"]
    assert reasons(adult, own, blocked_categories=("games",)) == ["domain_blocked", "domain_blocked"]
    assert reasons(adult, own, blocked_categories=("drugs",)) == [None, "domain_blocked"]


def test_a_text_that_nobody_asked_the_classifier_about_stays() -> None:
    items = ({"profanity_probability": None}, {"profanity_probability": 0.5}, {"profanity_probability": 0.51})
    assert reasons(*items, max_profanity_probability=0.5) == [None, None, "text_profane"]


def test_masked_texts_stay_unless_the_config_drops_them() -> None:
    masked = {"personal_data": ["email_address"]}
    assert reasons(masked, {"personal_data": []}, {"personal_data": None}) == [None, None, None]
    assert reasons(masked, {"personal_data": []}, {"personal_data": None}, drop_personal_data=True) == [
        *("personal_data", None, None)
    ]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:80",
        "a.localhost",
        "printer",
        "printer.local",
        "db.internal",
        "router.home.arpa",
        "localhost.",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.1.2.3",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.9.9",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]:8080",
        "[::ffff:7f00:1]",
        "[fc00::1]",
        "[fd12::1]",
        "[fe80::1]",
        "[FE80::1]",
        "[ff02::1]",
        "[64:ff9b::a00:1]",
    ],
)
def test_private_hosts(host: str) -> None:
    assert reasons(at(host)) == ["url_private"]


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "notlocal.org",
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "172.15.0.1",
        "11.0.0.1",
        "1.10.0.1",
        "192.169.0.1",
        "[2606:4700::1111]:443",
        "10.example.org",
    ],
)
def test_public_hosts(host: str) -> None:
    assert reasons(at(host)) == [None]


def test_hosts_that_the_config_resolves_are_allowed() -> None:
    items = [at("shop.internal"), at("shop.internal:8080"), at("127.0.0.1:9"), at("bank.internal")]
    assert reasons(*items, allowed_hosts=("shop.internal", "127.0.0.1:9")) == [None, None, None, "url_private"]


def test_an_unsure_guess_leaves_it_to_the_page() -> None:
    sure, unsure = {"language_probability": 0.4}, {"language_probability": 0.2}
    items = [
        {**sure, "language": "en", "page_language": "de-AT"},
        {**sure, "language": "de", "page_language": "en"},
        {**unsure, "language": "it", "page_language": "EN-us"},
        {**unsure, "language": "it", "page_language": " "},
        {**unsure, "language": "it"},
        {**unsure, "language": "en", "page_language": "de_DE"},
        {"language": None, "language_probability": None},
    ]
    dropped = "language_not_allowed"
    keys = {"language_context": False}
    assert reasons(*items, **keys) == [None, dropped, None, None, None, dropped, None]
    assert reasons(*items, language_min_probability=0.1, **keys) == [
        *(None, dropped, dropped, dropped, dropped, None, None)
    ]


def test_in_context_the_language_is_what_it_is_measured_as() -> None:
    items = [
        {"language": "de", "language_probability": 0.2},
        {"language": "en", "language_probability": 0.2, "page_language": "de"},
        {"language": "de", "is_undetermined": True},
        {"language": "en", "is_undetermined": True},
    ]
    dropped = "language_not_allowed"
    assert reasons(*items) == [dropped, None, None, None]
    assert reasons(*items, undetermined="page") == [dropped, None, dropped, None]


def test_what_cannot_be_read_is_dropped_only_if_the_config_says_so() -> None:
    odd = {"page_content_usage": "unreadable: train-ai=perhaps", "page_content_signal": "ai-train=yes"}
    assert reasons(odd) == [None]
    assert reasons(odd, unreadable_policy="refuse") == ["page_wish_unreadable"]
    assert reasons(odd, unreadable_policy="refuse", respect_content_usage=False) == [None]
    maybe = {"page_tdm_unreadable": "maybe", "page_tdm_reserved": False}
    assert reasons(maybe) == [None]
    assert reasons(maybe, unreadable_policy="refuse") == ["page_wish_unreadable"]
    assert reasons(maybe, unreadable_policy="refuse", respect_tdm=False) == [None]


@pytest.mark.parametrize(
    ("item", "keys"),
    [
        ({"characters": 2}, {"min_characters": 2}),
        ({"characters": 2000}, {"max_characters": 2000}),
        ({"language": "de"}, {"languages": ("en", "de")}),
        ({"language": "de"}, {"languages": ()}),
        ({"is_filename": True}, {"drop_filenames": False}),
        ({"page_noai": True}, {"respect_noai": False}),
        ({"page_tdm_reserved": True}, {"respect_tdm": False}),
        ({"page_content_signal": "ai-train=no"}, {"respect_content_signal": False}),
        ({"page_content_usage": "bots=n"}, {"respect_content_usage": False}),
        ({"page_rsl": "prohibited: all"}, {"respect_rsl": False}),
        ({"page_rsl": "unreadable: no XML"}, {"unreadable_license": "allow"}),
    ],
)
def test_each_key_changes_the_verdict(item: dict[str, Any], keys: dict[str, Any]) -> None:
    assert reasons(item)[0] is not None
    assert reasons(item, **keys) == [None]


def test_pages_that_permit_or_say_nothing_are_kept() -> None:
    assert reasons(*({"page_tdm_reserved": value} for value in (False, None))) == [None, None]
    assert reasons({"page_noai": None, "page_status": None}) == [None]  # a table's row has no page


def test_limits_of_words() -> None:
    assert reasons(ON_MOST) + reasons({**ON_MOST, "words": 5}) == ["text_is_interface", None]
    assert reasons({"words": 2}) + reasons({"words": 2}, min_words=3) == [None, "text_too_short"]
