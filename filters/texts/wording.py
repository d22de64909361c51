"""Texts as a reader would want them: markup that was left in decoded, and file names that say something as words."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from filters.texts.text import EXTENSIONS, FILENAME, TextConfig, file_names

MARKUP, SLUG = "markup", "slug"
"""What is changed in a text."""

_REFERENCE = "&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
_TAG = (
    "</?(?:a|b|i|u|s|em|strong|br|p|div|span|img|font|h[1-6]|li|ul|ol|sup|sub|small|center|td|tr|table|blockquote|cite|q"
    "|code|pre|hr)(?:[ ][^<>]*)?/?>"
)
"""Tags of HTML that hold text: of `a <b and c> d` nothing is one."""
_MARKUP = f"{_REFERENCE}|(?i:{_TAG})"
_TAGS = re.compile(_TAG, re.IGNORECASE)
_ROUNDS = 3  # `&amp;amp;` was encoded twice

_ENDING = re.compile(rf"\.(?:{EXTENSIONS})$", re.IGNORECASE)
_SIZE = re.compile(r"(?:[-_]\d+x\d+(?:px)?|[-_]scaled|@[23]x)+$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s_.,+~()\[\]-]+")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_WORDS_OF_FILES = """
    img image images imgp dsc dscn dscf dcim pic pics pict picture photo foto bild scan mvi mov gopr dji pxl screenshot
    thumb thumbs thumbnail untitled unnamed download copy file files final edit edited small medium large big web www
    jpg jpeg png gif webp px crop cropped resized resize scaled original orig full hd hq lq csm
"""
_OF_FILES = frozenset(_WORDS_OF_FILES.split())
"""Words that say of a file what it is, and nothing of what it shows."""
_OF_PAGES = re.compile(
    r"(?:^|[\W_])(?:logo|icon|banner|button|header|footer|avatar|teaser|dropdown)s?(?:$|[\W_])", re.IGNORECASE
)
"""Words of names that say what an image is on its page."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_VOWEL = re.compile("[aeiouyáàâäãåæéèêëíìîïóòôöõøœúùûüý]", re.IGNORECASE)
_CONSONANTS = re.compile("[bcdfghjklmnpqrstvwxz]{6,}", re.IGNORECASE)
_LEAST_WORDS, _LEAST_LETTERS = 3, 10
"""Two words are as often a name for a place in a page (`menu-left`) as what is in a picture …"""
_PHOTO = re.compile(r"\.(?:jpe?g|webp)$", re.IGNORECASE)
_QUERY = re.compile(r"[?#].*$", re.DOTALL)
_LEAST_OF_TWO = 5
"""… but for a photograph's file, whose words have so many letters each: `koala-rescue.jpg`. Of one word 17 of 46 said
what was shown: `mourinho.jpg`, but `hires.jpg`, `performance.jpg`, `screen-1.png`."""


def reword(rows: pa.Table, config: TextConfig) -> tuple[pa.Array, pa.Array]:
    """Return texts without markup, and with words instead of file names, as the config asks for.

    rows: row, url, text; ordered by row.
    Returns: the texts, string (n,), and what was changed in each, of MARKUP and SLUG, list<string> (n,). A text of
    which nothing would be left stays as it is.
    """
    texts = pc.fill_null(rows["text"].cast(pa.string()), "").combine_chunks()
    changes: list[list[str]] = [[] for _ in range(len(texts))]
    if config.decode_markup:
        has_markup = pc.match_substring_regex(texts, _MARKUP)
        texts = _change_texts(rows, texts, has_markup, lambda text, _: _strip_markup(text), MARKUP, changes)
    if config.slugs_to_words:
        texts = _change_texts(rows, texts, _are_slugs(rows, texts), words_of, SLUG, changes)
    return texts, pa.array(changes, pa.list_(pa.string()))


def _are_slugs(rows: pa.Table, texts: pa.Array) -> pa.Array:
    """Which texts are file names of one piece, of some file or of their image's, and no addresses; bool (n,)."""
    places = pc.indices_nonzero(pc.invert(pc.match_substring_regex(texts, "[ \\\\]|^[a-z]+:|//|^www[.]")))
    some = texts.take(places)
    named = rows.select(["row", "url", "text"]).take(places)
    of_images = sql.run(file_names(), {"rows": named})["is_filename"].combine_chunks()
    is_name = pc.or_(pc.match_substring_regex(some, FILENAME), of_images)
    return pc.is_in(pa.array(range(len(texts)), pa.uint64()), value_set=places.filter(is_name))


def _change_texts(
    rows: pa.Table,
    texts: pa.Array,
    chosen: pa.Array,
    change: Callable[[str, str], str],
    name: str,
    changes: list[list[str]],
) -> pa.Array:
    """Texts with some of them changed (by text and image address), noted in `changes`; these are few."""
    places = pc.indices_nonzero(chosen).to_pylist()
    if not places:
        return texts
    values, urls = (column.take(pa.array(places)).to_pylist() for column in (texts, rows["url"]))
    answers = [change(value, url or "") or value for value, url in zip(values, urls, strict=True)]
    for place, value, answer in zip(places, values, answers, strict=True):
        if answer != value:
            changes[place].append(name)
    return pc.replace_with_mask(texts, chosen, pa.array(answers, pa.string()))


def _strip_markup(text: str) -> str:
    """One text, its character references decoded and its tags taken out; clean as extraction leaves texts."""
    for _ in range(_ROUNDS):
        before, text = text, html.unescape(_TAGS.sub(" ", text))
        if text == before:
            break
    visible = "".join(
        char for char in text if unicodedata.category(char) not in ("Cf", "Cs", "Cn") or char in "\u200c\u200d"
    )
    words = "".join(" " if unicodedata.category(char) == "Cc" else char for char in visible)
    return " ".join(unicodedata.normalize("NFC", words).split())


def words_of(name: str, url: str = "") -> str:
    """Return the words that a file's name is made of; empty if it says nothing of what it shows.

    url: the image's address, whose ending counts if the name has none.
    `old-us41-bridge.jpg` says `old us41 bridge`; IMG_2034.jpg, a hash and `menu-left.gif` say nothing.
    """
    name = name.strip()
    stem = _SIZE.sub("", _ENDING.sub("", unquote(name.rpartition("/")[2], errors="replace")))
    parts = [part for part in _BETWEEN.split(stem) if part and part.lower() not in _OF_FILES]
    if _OF_PAGES.search(stem):
        return ""
    last = len(parts) - 1
    parts = [
        part
        for index, part in enumerate(parts)
        if _says_something(part) or (part.isdigit() and len(part) < 3 and 0 < index < last)
    ]
    words = [part for part in parts if _WORD.fullmatch(part)]
    letters = sum(char.isalpha() for char in "".join(parts))
    is_two = len(parts) == len(words) == 2 and min(map(len, words)) >= _LEAST_OF_TWO
    is_two = is_two and _PHOTO.search(name if _ENDING.search(name) else _QUERY.sub("", url)) is not None
    is_said = (len(parts) >= _LEAST_WORDS or is_two) and len(words) > len(parts) // 2 and letters >= _LEAST_LETTERS
    return " ".join(parts) if is_said else ""


def _says_something(part: str) -> bool:
    """Whether a part of a name is a word, a short mark (us41) or a year: no counter, hash or code."""
    if part.isdigit():
        return _YEAR.fullmatch(part) is not None
    if part.isalpha():
        return (
            not part.isascii() or (_VOWEL.search(part) is not None and not _CONSONANTS.search(part)) or len(part) <= 3
        )
    return len(part) <= 4 and part[0].isalpha() and part.isascii()
