"""What can be seen of a text's language without a model: its script, its function words, whether it is but a name.

For short texts these say more than the model: "Absinthe products of the Artemisia distillery" is German to lid.176.
"""

from __future__ import annotations

_FUNCTION_WORDS = {
    "en": "in|the|of|and|with|from|for|by|is|are|was|at|this|that|your|how|to|on|its|into|his|her|their|who|has|have"
    "|during|near",
    "de": "in|der|das|und|mit|von|für|auf|ist|im|zu|zum|zur|ein|eine|einer|bei|nicht|wie|nach",
    "fr": "le|les|des|du|et|avec|pour|dans|sur|une|est|au|aux",
    "es": "el|los|las|del|y|con|por|una|al|es",
    "it": "in|il|gli|della|di|del|dei|delle|con|per|una|nel|che",
    "pt": "o|os|do|da|dos|das|em|com|uma|para|não|ao",
    "nl": "in|het|een|van|met|voor|op|niet|naar",
}
"""The words that hold sentences together, of the languages whose captions are most often confused; a word that several
have counts for each."""

# Unicode's own classes (\pL, \p{Lu}) take DuckDB ten milliseconds each to compile, for every slice of texts.
_LATIN = "A-Za-zÀ-ɏ"
_OTHER = r"\x{370}-\x{1fff}\x{2c00}-\x{d7ff}\x{f900}-\x{fdff}\x{ff66}-\x{ffdc}"  # Greek, Cyrillic and all behind
_CAPITAL = "A-ZÀ-ÞĀ-ſЀ-Я"
_WORD = rf"[{_LATIN}{_OTHER}'’.-]*"
_ARTICLE = rf"(?:\(?[{_CAPITAL}\d]\S*|vs\.?|[^{_LATIN}{_OTHER}\d\s]+)\s+"
_NAME = (
    # one word: Monserrat, david
    rf"[{_LATIN}{_OTHER}'’.]+"
    # two or three that begin with a capital, with what stands between the parts of names: Olivier Véran, Mel B
    rf"|[{_CAPITAL}]{_WORD}(?:\s+(?:(?:de|del|della|di|da|du|la|le|van|von|der|den|bin|al|el|ter|zu)\s+)*"
    rf"[{_CAPITAL}]{_WORD}){{1,2}}"
    # words of which each has a capital or a digit, and two have digits: Contura 766 EF (2021)
    rf"|(?:{_ARTICLE})*\S*\d\S*\s+(?:{_ARTICLE})*\S*\d\S*"
)
"""RE2. What a name may look like; so may any word, which is why the model must be unsure as well."""

SURE = 0.9
"""A guess of the model that needs no marks beside it."""


WORDS = ", ".join(
    f"('{word}', '{language}')" for language, words in _FUNCTION_WORDS.items() for word in words.split("|")
)
"""SQL, rows of VALUES: word, language."""


def _count(letters: str) -> str:
    return f"length(regexp_replace(text, '[^{letters}]+', '', 'g'))"


MARKS = rf"""
    CASE WHEN is_unsure THEN regexp_matches(text, '[{_LATIN}{_OTHER}]') END AS has_letters,
    -- at least as many letters of the Latin script as others
    CASE
        WHEN NOT regexp_matches(text, '[{_OTHER}]') THEN true
        ELSE {_count(_LATIN)} >= {_count(_OTHER)}
    END AS is_latin,
    -- letters beyond a to z: 1 of Western Europe, which English names have too; 2 of others, which they hardly have
    CASE
        WHEN regexp_matches(lower_text, '[āăąćčďđēęěğīįłńňőřśşšţťūůűźżž]') THEN 2
        WHEN NOT is_unsure THEN NULL
        WHEN regexp_matches(lower_text, '[à-öø-ÿœß]') THEN 1
        ELSE 0
    END AS accents,
    CASE WHEN is_unsure THEN regexp_matches(text, $name$^\s*(?:{_NAME})\s*$$name$) END AS is_name_like
""".strip()
"""SQL, columns over `text`, `lower_text` and `is_unsure`; where the model is sure all are null but the script, and the
letters that English hardly has."""
