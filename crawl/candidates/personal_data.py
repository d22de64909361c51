"""Personal data in texts: found, and masked before a text is first written, so that the original survives nowhere.

What is found has a checksum or a written form of its own: e-mail addresses, telephone numbers (libphonenumber), IBANs,
credit cards and national identity numbers (python-stdnum), IP addresses. Names and postal addresses are not looked for.

One regular expression over the whole column finds the few texts that could hold any; only these reach Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from posixpath import commonprefix
from typing import Any

import numpy as np
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
from stdnum import iban, luhn

from crawl.candidates.phone_numbers import before_number, is_code, north_american, phone_numbers

Spans = Iterator[tuple[int, int]]

KINDS = ("email_address", "ip_address", "iban_code", "credit_card", "national_id", "phone_number")
"""What can be masked, by the names that Presidio gives them, in the order in which they are looked for. A mask is the
name in brackets: its underscore makes it a word that no query is."""

FOUND = pa.list_(pa.string())
"""The kinds of what was masked in a text, one for each place, in the order of KINDS."""

# Seven digits with at most four signs between two of them, which a telephone, card or identity number has at least; or
# one of another script than ours. RE2 is thirty times as slow over \p{Nd}.
_DIGITS = r"(?:[0-9][^0-9A-Za-z]{0,4}){6}[0-9]|[０-９٠-٩۰-۹]"
_SUSPECT = {  # RE2
    "email_address": r"[^\s]@[^\s]+\.|[\[({]\s?[aA][tT]\s?[\])}]",
    "ip_address": r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9a-fA-F]:[0-9a-fA-F:]*:",
    "iban_code": r"\b[A-Za-z]{2}\d{2}(?:[ -]?[0-9A-Za-z]{4}){2}",
    "credit_card": _DIGITS,
    "national_id": rf"{_DIGITS}|[A-Z]{{6}}[0-9]{{2}}[A-Z][0-9]{{2}}|[A-Z]{{4}}[0-9]{{6}}|[0-9]{{6}}A[0-9]{{3}}",
    "phone_number": _DIGITS,
}
_ROUNDS = 3  # in which a text is looked through, as long as there is something new
_NEAR = 128  # characters: more than twice those of any number
_PIECE_CHARS = 10_000  # what is looked through at once, as much as texts are cut to before
_BETWEEN_WORDS = re.compile(r"[^\W\d_]{2} (?=[^\W\d_]{2})")
_MASK = re.compile(rf"\[(?:{'|'.join(KINDS)})\]")

_EMAIL = re.compile(
    r"[\w.!#$%&'*+/=?^`{|}~-]{1,128}@(?:[^\W_](?:[\w-]{0,62})\.){1,8}(?P<top>xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w@])"
    r"|[\w.+-]{1,64}\s?[\[({]\s?at\s?[\])}]\s?"
    r"(?:[^\W_][\w-]{0,62}\s?(?:\.|[\[({]\s?(?:dot|punkt|\.)\s?[\])}])\s?){1,8}[^\W\d_]{2,24}",
    re.IGNORECASE,
)
_AT = re.compile(r"@|[\[({]\s?at\s?[\])}]", re.IGNORECASE)
_FILES = re.compile(r"png|jpe?g|gif|webp|svg|avif|bmp|tiff?|ico|heic|pdf|psd|mp4|mov|css|js|html?|php", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-f]{1,4}(?::[0-9a-f]{0,4}){2,7}(?![\w:])", re.IGNORECASE)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that is given to anyone (RFC 4291, section 2.4)
_VERSION = re.compile(
    r"(?:\bv|ver|version|firmware|release|build|software|driver|kernel|update|patch|ios|android|windows|macos)\W{0,3}$",
    re.IGNORECASE,
)
_IBAN = re.compile(r"(?<!\w)[a-z]{2}\d{2}(?:[ -]?[0-9a-z]{4}){2,7}(?:[ -]?[0-9a-z]{1,4})?", re.IGNORECASE)
# Issuers' prefixes and lengths (ISO/IEC 7812; 13 digits are left to articles), in one piece or grouped as on the card.
_CARD = re.compile(
    r"(?<![\w.#/-])(?:(?:4\d|5[1-5]|2[2-7]|35|6[0245])\d{2}([ -]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d{2}([ -]?)\d{6}\2\d{5}|3[0689]\d{2}([ -]?)\d{6}\3\d{4})(?!\w|[-./]\w| \d{3})"
)
# Identity numbers, by python-stdnum's module: only in a form, or with digits to check, that other numbers rarely have.
_IDS = {
    "ar.cuit": r"\d\d-\d{8}-\d",
    "at.vnr": r"\d{4} \d{6}",
    "be.nn": r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d",
    "br.cpf": r"\d{3}\.\d{3}\.\d{3}-\d\d",
    "ch.ssn": r"756\.\d{4}\.\d{4}\.\d\d",
    "cl.rut": r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]",
    "cn.ric": r"\d{17}[\dXx]",
    "cz.rc": r"\d{6}/\d{4}",
    "de.idnr": r"\d\d ?\d{3} ?\d{3} ?\d{3}",
    "dk.cpr": r"\d{6}-\d{4}",
    "ee.ik": r"[1-6]\d{10}",
    "es.dni": r"\d{8}[ -]?[A-Z]",
    "es.nie": r"[XYZ][ -]?\d{7}[ -]?[A-Z]",
    "fi.hetu": r"\d{6}[-+A]\d{3}[0-9A-Y]",
    "fr.nir": r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d",
    "gr.amka": r"\d{11}",
    "ie.pps": r"\d{7}[A-W][A-IW]?",
    "in_.aadhaar": r"[2-9]\d{3} \d{4} \d{4}",
    "is_.kennitala": r"\d{6}-\d{4}",
    "it.codicefiscale": r"[A-Z]{6}\d\d[A-EHLMPRST]\d\d[A-Z]\d{3}[A-Z]",
    "kr.rrn": r"\d{6}-[1-4]\d{6}",
    "lt.asmens": r"[1-6]\d{10}",
    "mx.curp": r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d",
    "my.nric": r"\d{6}-\d\d-\d{4}",
    "no.fodselsnummer": r"\d{6} ?\d{5}",
    "pl.pesel": r"\d{11}",
    "pt.cc": r"\d{8} ?\d ?[A-Z0-9]{2}\d",
    "ro.cnp": r"[1-8]\d{12}",
    "se.personnummer": r"(?:\d\d)?\d{6}[-+]\d{4}",
    "si.emso": r"\d{13}",
    "th.pin": r"\d-\d{4}-\d{5}-\d\d-\d",
    "tr.tckimlik": r"[1-9]\d{10}",
    "us.itin": r"9\d\d-\d\d-\d{4}",
    "us.ssn": r"\d{3}-\d\d-\d{4}",
    "za.idnr": r"\d{13}",
}
_COUNTRIES = {
    "bg": "BG", "ca": "ES", "cs": "CZ", "da": "DK", "de": "DE", "el": "GR", "es": "ES", "et": "EE", "fi": "FI",
    "fr": "FR", "he": "IL", "hr": "HR", "hu": "HU", "id": "ID", "it": "IT", "ja": "JP", "ko": "KR", "lt": "LT",
    "lv": "LV", "nb": "NO", "nl": "NL", "no": "NO", "pl": "PL", "pt": "PT", "ro": "RO", "ru": "RU", "sk": "SK",
    "sl": "SI", "sv": "SE", "th": "TH", "tr": "TR", "uk": "UA", "vi": "VN",
}  # fmt: skip
"""The country whose numbers are written without +, by the language that a page declares without a country. English is
missing: its numbers are North America's, which need no country, or those of a page that says en-GB."""


def mask_texts(
    texts: pa.Array, languages: pa.Array | None = None, kinds: Sequence[str] = KINDS
) -> tuple[pa.Array, pa.Array]:
    """Replace personal data by its kind in brackets: `[email_address]`.

    Args:
        texts: string (n,), without nulls.
        languages: string (n,), what each text's page declares (`de`, `de-AT`), null if nothing; None for all nulls.
        kinds: of KINDS.

    Returns:
        The texts, and FOUND (n,). Masking them again changes nothing and finds nothing.
    """
    nothing = pa.array([[]], FOUND).take(pa.array(np.zeros(len(texts), np.int64)))
    if not kinds or not len(texts):
        return texts, nothing
    suspect = pc.match_substring_regex(texts, "|".join(sorted({_SUSPECT[kind] for kind in kinds})))
    rows = np.flatnonzero(suspect.to_numpy(zero_copy_only=False))
    chosen = pa.array(rows)
    chosen_languages = [None] * len(rows) if languages is None else languages.take(chosen).to_pylist()
    masked = [
        mask_text(text, country(language), kinds)
        for text, language in zip(texts.take(chosen).to_pylist(), chosen_languages, strict=True)
    ]
    hit = [number for number, (_, kinds_found) in enumerate(masked) if kinds_found]
    if not hit:
        return texts, nothing
    changed = np.zeros(len(texts), bool)
    changed[rows[hit]] = True
    mask = pa.array(changed)
    return (
        pc.replace_with_mask(texts, mask, pa.array([masked[number][0] for number in hit], pa.string())),
        pa.chunked_array([nothing, pa.array([masked[number][1] for number in hit], FOUND)])
        .take(pa.array(np.where(changed, len(texts) + np.cumsum(changed) - 1, 0)))
        .combine_chunks(),
    )


def mask_column(table: pa.Table, kinds: Sequence[str]) -> pa.Table:
    """Return a table with `text` masked, by what `page_language` says, and a new last column `personal_data`, FOUND."""
    chunks = zip(table["text"].chunks, table["page_language"].chunks, strict=True)
    masked = [mask_texts(texts, languages, kinds) for texts, languages in chunks]
    texts = pa.chunked_array([texts for texts, _ in masked], pa.string())
    kinds_found = pa.chunked_array([kinds_found for _, kinds_found in masked], FOUND)
    return table.set_column(table.column_names.index("text"), "text", texts).append_column("personal_data", kinds_found)


def mask_text(text: str, region: str | None = None, kinds: Sequence[str] = KINDS) -> tuple[str, list[str]]:
    """Return one text, as `mask_texts` masks it, and the kinds of what was found. region: see `country`.

    A text of more than a caption's length is looked through in pieces, so that time grows with length alone.
    """
    kinds_found: list[str] = []
    parts = [_mask_piece(part, region, kinds, kinds_found) for part in _pieces(text)]
    return "".join(parts), sorted(kinds_found, key=KINDS.index)


def _pieces(text: str) -> Iterator[str]:
    """A text cut at spaces between words, where there are any, into pieces that take little time each."""
    start = 0
    while len(text) - start > _PIECE_CHARS:
        piece = text[start : start + _PIECE_CHARS]
        ends = [match.end() for match in _BETWEEN_WORDS.finditer(piece, _PIECE_CHARS // 2)] or [piece.rfind(" ") + 1]
        start += ends[-1] or len(piece)
        yield piece[: ends[-1] or len(piece)]
    yield text[start:]


def _mask_piece(text: str, region: str | None, kinds: Sequence[str], kinds_found: list[str]) -> str:
    """A piece of text with its personal data masked; the kinds are added to `found`.

    A mask can lay bare what a neighbour hid: the last card number of a row, then the one before it. So what is near a
    mask is looked at again, and the whole text, for telephone numbers, a few times: libphonenumber is slow.
    """
    for _ in range(_ROUNDS):
        before = text
        text = _mask_once(text, region, kinds, kinds_found)
        if text == before:
            break
        text = _mask_near_masks(text, kinds, kinds_found)
    return text


def _mask_once(text: str, region: str | None, kinds: Sequence[str], kinds_found: list[str]) -> str:
    for kind in KINDS:
        if kind in kinds:
            text, count = _replace(text, kind, _FINDERS[kind](text, region))
            kinds_found += [kind] * count
    return text


def _mask_near_masks(text: str, kinds: Sequence[str], kinds_found: list[str]) -> str:
    """Mask from the last mask to the first; where a new one is made, again from there."""
    end = len(text)
    while (begin := text.rfind("[", 0, end)) >= 0:
        end = begin
        if not (mask := _MASK.match(text, begin)):
            continue
        start, stop = max(0, begin - _NEAR), mask.end() + _NEAR
        window = masked = text[start:stop]
        first = _NEAR // 2 if start else 0  # what begins before is not seen with all that stands before it
        for kind, find in _FOUND_BY_FORM.items():
            if kind in kinds:
                masked, count = _replace(masked, kind, (span for span in find(masked, None) if span[0] >= first))
                kinds_found += [kind] * count
        if masked != window:
            text = f"{text[:start]}{masked}{text[stop:]}"
            end = start + len(masked) - len(commonprefix((masked[::-1], window[::-1])))
    return text


def country(language: str | None) -> str | None:
    """Return the country (ISO 3166) whose telephone numbers a page writes without +, by the language that it
    declares.
    """
    if not language:
        return None
    first, *rest = re.split(r"[-_]", language.strip())
    named = next((part.upper() for part in rest if len(part) == 2), None)
    return named if named in phonenumbers.SUPPORTED_REGIONS else _COUNTRIES.get(first.lower())


def _replace(text: str, kind: str, spans: Spans) -> tuple[str, int]:
    parts, end, count = [], 0, 0
    for start, stop in spans:
        if start >= end:
            parts += [text[end:start], f"[{kind}]"]
            end, count = stop, count + 1
    return "".join([*parts, text[end:]]), count


def _emails(text: str, region: str | None) -> Spans:
    if _AT.search(text) is None:  # a search for the whole form is slow
        return
    for match in _EMAIL.finditer(text):
        if not _FILES.fullmatch(match["top"] or ""):  # icon@2x.png
            yield match.span()


def _ips(text: str, region: str | None) -> Spans:
    """Addresses that are given to somebody. Four numbers with dots, two of them below 10, are more often a version, and
    one address in a hundred."""
    for match in _IPV4.finditer(text) if text.count(".") >= 3 else ():
        octets = match[0].split(".")
        if sum(len(octet) > 1 for octet in octets) < 3 or _VERSION.search(before_number(text, match.start())):
            continue
        if _is_somebodys(match[0]):
            yield match.span()
    for match in _IPV6.finditer(text) if text.count(":") >= 2 else ():
        if _is_somebodys(match[0]):
            yield match.span()


def _is_somebodys(written: str) -> bool:
    try:
        address: IPv4Address | IPv6Address = ip_address(written)
    except ValueError:
        return False
    return address.is_global and (address.version == 4 or address in _GLOBAL_UNICAST)


def _ibans(text: str, region: str | None) -> Spans:
    for match in _IBAN.finditer(text):
        for end in _ends(match[0]):  # a word may follow in capitals: BE68 5390 0754 7034 BIC
            if iban.is_valid(match[0][:end], check_country=False):
                yield match.start(), match.start() + end
                break


def _ends(written: str) -> list[int]:
    """Where a number written in groups may end, the last first."""
    return [len(written), *reversed([gap.start() for gap in re.finditer(r"[ -]", written)])]


def _cards(text: str, region: str | None) -> Spans:
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if len(set(digits)) > 1 and luhn.is_valid(digits) and not is_code(text, match.start()):
            yield match.span()


def _standing_alone(form: str) -> re.Pattern[str]:
    """An identity number of a form that is no part of a longer number, word or address."""
    return re.compile(rf"(?<![\w.#/+-])(?:{form})(?!\w|[-./]\w| \d)")


# One search instead of one for each country, of which few texts need any; each form begins with a digit or a capital.
_ANY_ID = _standing_alone(rf"(?=[\dA-Z])(?:{'|'.join(_IDS.values())})")


@lru_cache(maxsize=1)
def _id_forms() -> list[tuple[Any, re.Pattern[str]]]:
    return [(import_module(f"stdnum.{name}"), _standing_alone(form)) for name, form in _IDS.items()]


def _ids(text: str, region: str | None) -> Spans:
    if _ANY_ID.search(text) is None:
        return
    spans = set()
    for module, form in _id_forms():
        for match in form.finditer(text):
            if module.is_valid(match[0]) and not is_code(text, match.start()):
                spans.add(match.span())
    yield from sorted(spans)


_FINDERS: dict[str, Callable[[str, str | None], Spans]] = {
    "email_address": _emails,
    "ip_address": _ips,
    "iban_code": _ibans,
    "credit_card": _cards,
    "national_id": _ids,
    "phone_number": phone_numbers,
}
_FOUND_BY_FORM = {  # what a mask beside it can lay bare: numbers, by a form of their own
    **{kind: _FINDERS[kind] for kind in ("ip_address", "iban_code", "credit_card", "national_id")},
    "phone_number": north_american,
}
