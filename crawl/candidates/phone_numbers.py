"""Telephone numbers in texts, by libphonenumber: where they begin and end."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import Leniency, PhoneNumberMatcher

Spans = Iterator[tuple[int, int]]

_MAX_TRIES = 200  # of libphonenumber in one text: a page can be all digits
# North America writes numbers in a form of its own, which is read on any page; elsewhere the page's country is needed.
_NANP = re.compile(
    r"(?<![\w.+/-])(?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}(?:[-.]| (?=\d{3}[-. ])))\d{3}[-. ]?\d{4}(?!\w|[-./]\w)"
)
_DATE = re.compile(
    r"(?<!\d)\d{1,2}([./-])\d{1,2}\1(?:(?:19|20)\d\d(?!\d)|\d\d(?![./-]?\d))"
)  # not the French 01.02.03.04.05
_ADDRESS = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")  # of IPv4
_INTERNATIONAL = re.compile(r"[+＋]\s?\(?\d")
_LABEL = re.compile(
    r"(?:tel|tel[eé]fono?n?e?|phone|call|dial|text|fax|mob|mobile?|cell|handy|fon|whats ?app|hotline|ruf\w*|t|m|☎|📞)"
    r"[\s.:,;#(\[-]*(?:(?:nr|no|num\w*|us|at|is|on|now)[\s.:]*)?$",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?:isbn|issn|ean|upc|gtin|sku|mls|asin|art|artikel|item|model|part|ref|order|code|serial|id|nr|no|№|#|lot|stock|photo"
    r"|image|listing|bestell\w*)[\s.:#№(-]*(?:(?:nr|no|num\w*|id|code)[\s.:#-]*)?$",
    re.IGNORECASE,
)
_BEFORE = 24  # characters
# Where a number may begin that is written with its 0; a row of digits is cut where libphonenumber has enough of it.
_ZERO = re.compile(r"(?<![0-9])0|[0-9]{18}")
# How every number in North America's plan ends that is written in groups: 555-1234. It has the country code 1.
_NANP_GROUPS = re.compile(r"[0-9]{3}[^0-9]+[0-9]{4}")
_NANP_CODE = 1


def north_american(text: str, region: str | None) -> Spans:
    """Yield numbers in the form that North America writes them in, valid there; the region does not matter."""
    for match in _NANP.finditer(text):
        if _is_valid_there(match[0]) and not is_code(text, match.start()):
            yield match.span()


def phone_numbers(text: str, region: str | None) -> Spans:
    """Yield telephone numbers: North America's, international ones, and those of a region if one is given."""
    numbers = set(north_american(text, None))
    if _INTERNATIONAL.search(text):
        for number in PhoneNumberMatcher(text, None, Leniency.VALID, _MAX_TRIES):
            if number.raw_string.lstrip("( ").startswith(("+", "＋")):
                numbers.add(_span(number))
    if region is not None and _may_be_national(text, region):
        for number in PhoneNumberMatcher(text, region, Leniency.VALID, _MAX_TRIES):
            if _is_national(number.raw_string, region) and not is_code(text, number.start):
                numbers.add(_span(number))
    yield from sorted(numbers, key=lambda span: (span[0], -span[1]))


def _span(number: phonenumbers.PhoneNumberMatch) -> tuple[int, int]:
    """Return a span without a bracket that is opened before the number and closed behind it."""
    opened = number.raw_string.startswith("(") and ")" not in number.raw_string
    return number.start + opened, number.end


def _is_valid_there(written: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(written, "US"))
    except phonenumbers.NumberParseException:
        return False


def _is_national(written: str, region: str) -> bool:
    """Whether a number is written as a telephone number is: in groups, with the 0 where the country has one."""
    if _ADDRESS.fullmatch(written) or _DATE.search(written) or (written.isdigit() and written[0] != "0"):
        return False
    if _begins_with_zero(region):
        return written.lstrip("([ ").startswith("0")
    number = phonenumbers.parse(written, region)
    groups = re.findall(r"\d+", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL))
    return re.findall(r"\d+", written) == groups


def _may_be_national(text: str, region: str) -> bool:
    """Whether a text may hold what `_is_national` takes, for libphonenumber is slow."""
    if phonenumbers.country_code_for_region(region) == _NANP_CODE:
        return _NANP_GROUPS.search(text) is not None
    return not _begins_with_zero(region) or _ZERO.search(text) is not None


def _begins_with_zero(region: str) -> bool:
    """Whether a country's numbers are dialled there with a 0 before them."""
    plan = phonenumbers.PhoneMetadata.metadata_for_region(region)
    return plan is not None and plan.national_prefix == "0"


def is_code(text: str, start: int) -> bool:
    """Return whether the words before a number say that it counts articles or pictures, and none that it is to be
    called.
    """
    before = before_number(text, start)
    return _CODE.search(before) is not None and _LABEL.search(before) is None


def before_number(text: str, start: int) -> str:
    """Return the characters in which a label or a word such as ISBN stands before a number."""
    return text[max(0, start - _BEFORE) : start]
