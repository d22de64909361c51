"""Personal data is found by its form and its checksum, and what only looks like it is left alone."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.candidates import personal_data, phone_numbers
from crawl.candidates.personal_data import _ANY_ID, _IDS, _SUSPECT, KINDS, _id_forms, country, mask_text, mask_texts

SAMPLES = {  # what it is, and where the page is from
    "jean.dupont@example.fr": ("email_address", None),
    "Größe.x+news@bücher.example.co.uk": ("email_address", None),
    "someone [at] example [dot] org": ("email_address", None),
    "188.102.128.236": ("ip_address", None),
    "2a00:1450:4001:81b::200e": ("ip_address", None),
    "DE89 3704 0044 0532 0130 00": ("iban_code", None),
    "GB82WEST12345698765432": ("iban_code", None),
    "4111 1111 1111 1111": ("credit_card", None),
    "378282246310005": ("credit_card", None),
    "536-90-4399": ("national_id", None),
    "RSSMRA85T10A562S": ("national_id", None),
    "390.533.447-05": ("national_id", None),
    "54362315K": ("national_id", None),
    "44051401359": ("national_id", None),
    "+49 (0) 30 901820": ("phone_number", None),
    "(212) 736-5000": ("phone_number", None),
    "1-800-273-8255": ("phone_number", None),
    "(089) 99 52 97 27": ("phone_number", "DE"),
    "020 7946 0018": ("phone_number", "GB"),
    "01 42 68 53 00": ("phone_number", "FR"),
    "51 37 16 06": ("phone_number", "NO"),
}
NEAR_MISSES = [
    "icon@2x.png",
    "BMX KING OF BERLIN @YOU 2012",
    "Stinger 12.2.0.79, version 110.12.13.141, your router at 192.168.178.100",
    "DE88 3704 0044 0532 0130 00",
    "4111 1111 1111 1112",
    "9780340829752: Dark Tower I: The Gunslinger",
    "ISBN 0-340-82975-2",
    "1994 1995 1996-2003 KAWASAKI ZX9R",
    "For 99 00 01 02 03 04 Jeep Grand Cherokee",
    "Algeria Lottery ticket 1943. Serial # 055588/060688 (used)",
    "Stock Photo - Premium Royalty-Free, Artist: someone, Code: 600-06382904",
    "MLS# 718-952-0500",
    "76x127mm (Pack of 12) 655-12SSCY, 1920 x 1080 px, 1.234.567,89 EUR",
    "5 March 2011, 05.11.2023 um 14:25 Uhr, 02.02. - 23.02.23, 07-30-2008, 2019-04-12 10:11:12",
    "12:30:45:00 and std::dead",
    "219-09-9999",
    "RSSMRA85T10A562T",
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_what_is_found(sample: str) -> None:
    kind, region = SAMPLES[sample]
    assert mask_text(f"Ask {sample}, please", region) == (f"Ask [{kind}], please", [kind])


@pytest.mark.parametrize("text", NEAR_MISSES)
@pytest.mark.parametrize("region", [None, "DE"])
def test_what_only_looks_like_it(text: str, region: str | None) -> None:
    assert mask_text(text, region) == (text, [])


def test_a_number_without_its_country_is_one_only_on_a_page_of_that_country() -> None:
    text = "Besuchen Sie uns: 0221 / 92 59 61 0"
    texts = pa.array([text] * 4)
    masked, found = mask_texts(texts, pa.array([None, "de", "fr-FR", "en-US"]))
    assert [len(kinds) for kinds in found.to_pylist()] == [0, 1, 0, 0]
    assert masked[1].as_py() == "Besuchen Sie uns: [phone_number]"
    assert [country(language) for language in ("de_CH", "EN-gb", "en", "tlh", "", "de-DE-x-long")] == [
        *("CH", "GB", None, None, None, "DE")
    ]


def test_only_the_kinds_asked_for() -> None:
    texts = pa.array(["a@example.org at (212) 736-5000", "nothing", ""])
    assert mask_texts(texts, kinds=["phone_number"])[0].to_pylist() == [
        "a@example.org at [phone_number]",
        "nothing",
        "",
    ]
    assert mask_texts(texts, kinds=[])[0].equals(texts)
    assert mask_texts(texts)[1].to_pylist() == [["email_address", "phone_number"], [], []]


pieces = st.one_of(
    st.sampled_from([*SAMPLES, *NEAR_MISSES, *(f"[{kind}]" for kind in KINDS)]),
    st.sampled_from(["ISBN ", "Tel. ", "+", "(", ")", "@", ".", "-", " ", "/", "1", "00", "x", "[at]", "٤", "9"]),
    st.text(max_size=6),
)


@given(st.lists(st.lists(pieces, max_size=8).map("".join), max_size=4), st.sampled_from([None, "de", "fr", "en-GB"]))
def test_masked_texts_hold_nothing_more(texts: list[str], language: str | None) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    languages = pa.array([language] * len(texts), pa.string())
    masked, found = mask_texts(pa.array(texts, pa.string()), languages)
    again, nothing = mask_texts(masked, languages)
    assert again.equals(masked)
    assert not any(nothing.to_pylist())
    one_by_one = [mask_text(text, country(language)) for text in texts]
    assert masked.to_pylist() == [text for text, _ in one_by_one]  # the prefilter lets nothing slip
    assert found.to_pylist() == [kinds for _, kinds in one_by_one]


@given(
    st.sampled_from(sorted(SAMPLES)),
    st.text(alphabet="abc äß,;!", max_size=12),
    st.text(alphabet="abc äß,;!", max_size=12),
)
def test_nothing_of_it_is_left_whatever_stands_around_it(sample: str, before: str, after: str) -> None:
    kind, region = SAMPLES[sample]
    text, found = mask_text(f"{before} {sample} {after}", region)
    assert sample not in text
    assert kind in found


def test_a_page_of_digits_ends() -> None:
    for text in ("1234567890 " * 900, "1" * 10_000, "a@" * 5_000, "a.b-" * 2_500 + "@", "1:" * 5_000, "+1 " * 3_000):
        masked, _ = mask_text(text, "DE")
        assert mask_text(masked, "DE")[1] == []


@given(
    st.lists(
        st.sampled_from(sorted(_IDS.values())).flatmap(lambda form: st.from_regex(form, fullmatch=True)), max_size=2
    ),
    st.sampled_from(["", " ", "-", ".", "7", "x"]),
    st.text(max_size=3),
)
def test_one_search_tells_whether_any_identity_number_can_be_there(numbers: list[str], between: str, at: str) -> None:
    text = at + between.join(numbers) + at
    assert (_ANY_ID.search(text) is not None) == any(form.search(text) for _, form in _id_forms())


PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)  # texts are clean when they are looked at
FORMS = {
    "email_address": [personal_data._EMAIL.pattern],
    "ip_address": [personal_data._IPV4.pattern, personal_data._IPV6.pattern],
    "iban_code": [personal_data._IBAN.pattern],
    "credit_card": [personal_data._CARD.pattern],
    "national_id": sorted(_IDS.values()),
    "phone_number": [phone_numbers._NANP.pattern],
}


@pytest.mark.parametrize("kind", KINDS)
@given(st.data())
def test_whatever_has_a_form_is_looked_at(kind: str, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS[kind]))
    text = data.draw(st.from_regex(form, fullmatch=True, alphabet=PRINTABLE))
    assert pc.match_substring_regex(pa.array([text]), _SUSPECT[kind])[0].as_py()


@pytest.mark.parametrize(("number", "kind"), [("4111 1111 1111 1111 ", "credit_card"), ("536-90-4399 ", "national_id")])
def test_a_long_row_of_numbers_is_masked_in_linear_time(
    monkeypatch: pytest.MonkeyPatch, number: str, kind: str
) -> None:
    """Each number hides the one before it until it is masked itself."""
    read = [0]
    replace = personal_data._replace

    def count(text: str, *arguments: object) -> tuple[str, int]:
        read[0] += len(text)
        return replace(text, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(personal_data, "_replace", count)
    characters = {}
    for numbers in (100, 200, 400):
        read[0] = 0
        masked, found = mask_text(number * numbers)
        assert masked == number.replace(number[:-1], f"[{kind}]") * numbers
        assert found == [kind] * numbers
        characters[numbers] = read[0]
    assert characters[400] <= 2.5 * characters[200] <= 6.25 * characters[100]


def test_a_text_longer_than_a_caption_is_masked_in_pieces() -> None:
    text = "Ask jean.dupont@example.fr, or (212) 736-5000, please. " * 1_000
    masked, found = mask_text(text)
    assert masked == "Ask [email_address], or [phone_number], please. " * 1_000
    assert len(found) == 2_000
    for text in ("4" * 30_000, "x" * 30_000, " " * 30_000):
        assert mask_text(text)[0] == text


@given(
    st.lists(
        st.sampled_from(["0", "030 12345678", "0171", "12", "1901234", "5550100" * 4, "+49", *" /.-(a"]), max_size=9
    ),
    st.sampled_from(["DE", "AT", "FR", "GB"]),
)
def test_a_country_whose_numbers_begin_with_zero_is_asked_where_one_can_begin(parts: list[str], region: str) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        found = list(phone_numbers.phone_numbers(text, region))
        patch.setattr(phone_numbers, "_ZERO", re.compile(""))
        assert found == list(phone_numbers.phone_numbers(text, region))


@given(
    st.lists(
        st.sampled_from(
            [
                "415",
                "(415) ",
                "555-2671",
                "5552671",
                "310 1234",
                "310-1234",
                "011 44 20 7946 0018",
                " ext. 5",
                *" -./+1",
            ]
        ),
        max_size=7,
    ),
    st.sampled_from(["US", "CA", "JM"]),
)
def test_north_america_is_asked_where_a_number_may_stand_in_groups(parts: list[str], region: str) -> None:
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        found = list(phone_numbers.phone_numbers(text, region))
        patch.setattr(phone_numbers, "_may_be_national", lambda *_: True)
        assert found == list(phone_numbers.phone_numbers(text, region))
