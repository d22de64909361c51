"""What is measured on texts and their addresses; `sql/decisions/text.sql` decides.

The defaults are the field's most careful ones: LAION-400M's five characters (Schuhmann et al. 2021, section 2.1), and
neither the paper's silence nor DataComp's three words (Gadre et al. 2023, "basic filtering") takes one-word captions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from filters.texts.blocklist import NAMES, blocked_terms
from filters.texts.domains import ENTRY, DomainIndex
from filters.texts.language import CODES, first_guess, guesses
from filters.texts.language_marks import MARKS, SURE, WORDS
from filters.texts.not_captions import KINDS
from filters.texts.profanity import profanity_probability


@dataclass(frozen=True)
class TextConfig:
    """Which texts, and which addresses, are kept."""

    min_characters: int = 5
    """The fewest characters (Unicode code points) that a text must have."""
    min_words: int = 1
    """The fewest words, separated by white space, that a text must have; 1 for scripts written without spaces."""
    max_characters: int = 1000
    """The most characters (Unicode code points) that a text may have."""
    languages: tuple[str, ...] = ("en",)
    """Allowed languages, as lid.176 codes them (mostly ISO 639-1); none given allows all."""
    language_min_probability: float = 0.4
    """The least probability at which the model's guess of a language counts; below it a text is undetermined. Without
    `language_context` the language that the page declares counts then, and a text whose page declares none stays: of
    1,280 alt texts on German news pages (lang="de") this keeps 152 as English, many of them names and brands, where
    trusting every guess keeps 249; of 281 on English pages it keeps 259 instead of 246."""
    language_context: bool = True
    """Whether what stands around a text counts beside the model's guess: the language that its page declares or names
    in its address, the page's other texts, the country's domain, and how common a language is on the web. A text that
    is a name, or has no letters, or whose language stays unsure (`language_min_probability`), is undetermined."""
    undetermined: Literal["keep", "page"] = "keep"
    """What becomes of a text in no language, such as a name: kept, or judged by the language of what is around it."""
    language_model: str = "builtin"
    """A fastText model file; `builtin` is lid.176.ftz. lid.176.bin is somewhat better and a hundred times larger."""
    not_captions: tuple[str, ...] = KINDS
    """Which texts are dropped because they are no captions, by their own form and that of the image's address:
    `stand_in` (spacers, placeholders), `interface` (labels, icons, a theme's pictures), `avatar`, `logo`,
    `advertisement`, `credit` (nothing but who made it), `code` (of templates). See `filters.texts.not_captions`."""
    max_texts_on_page: int = 2
    """How many texts of one source (alt, title, …) an image may have on a page; one with more is a stand-in that a
    script replaces, or an icon. 0 sets no limit."""
    drop_filenames: bool = True
    """Whether texts that are a file name, an address or a camera's counter are dropped."""
    decode_markup: bool = True
    """Whether character references and tags that were left in a text (`Tom &amp; Jerry`, `<b>old</b> bridge`) are
    decoded and taken out before it is judged. What extraction wrote stays in `candidates`."""
    slugs_to_words: bool = True
    """Whether a text that is a file's name and says something becomes words: `old-us41-bridge.jpg` is judged, and kept,
    as `old us41 bridge`. One that says nothing (`IMG_2034.jpg`) is left for `drop_filenames`."""
    cut_repeats: bool = True
    """Whether a phrase that begins or ends many captions of one site (`… | Site name`, `… - Buy online`) is cut off
    before they are judged. See `filters.texts.repeats`."""
    max_site_images_per_text: int = 20
    """The most of a site's images, of at most a thousand that are looked at, on which a text may stand before it is
    boilerplate and dropped. 0 sets no limit."""
    max_site_texts_per_image: int = 10
    """How many texts an image may have, each on another page of its site (of at most 300 pages that are looked
    at), before it is a stand-in that shows none of what they say. An editor gives a photograph to some articles, and a
    site in several languages a text in each: ten leaves room for both; the example picture that a manual's pages on
    filters share has 19. 0 sets no limit."""
    max_site_page_share: float = 0.5
    """The share of a site's pages on which an image may stand with the same text before both belong to the
    interface, as buttons and marks do, if the text is of at most four words; of at least ten pages, and of 300
    at most that are looked at. 1 sets no limit.
    """
    blocklist: str | tuple[str, ...] = ("builtin", "doubtful", "ldnoobw")
    """Lists of unsafe words and phrases: `builtin`, a short English one that counts in every language; `doubtful`,
    words of pornography that have an innocent sense too; `ldnoobw`, lists
    of 28 languages, of which that of the text counts, without words that are ordinary as well; `ldnoobw:all` with them;
    or text files with a term a line. One name or several; empty for none."""
    min_weak_terms: int = 2
    """How many terms of `doubtful` and `ldnoobw` a text must hold to be dropped: one is in names, news and art as well
    (*Bitch* is a magazine), two together are not. A term of any other list, a pattern, or an address that is unsafe
    itself needs no other."""
    drop_unsafe_addresses: bool = True
    """Whether words of the image's or the page's host or path drop a text: worldsex.example, /porn/. See
    `filters.texts.unsafe_addresses`."""
    blocked_patterns: tuple[str, ...] = ()
    """Regular expressions (RE2) that no text may contain a match of, e.g. `(?i)\\bcasino\\b`."""
    allowed_terms: tuple[str, ...] = ()
    """Entries of the lists above that block nothing, as the lists write them."""
    max_profanity_probability: float = 1.0
    """The highest probability of profanity that alt-profanity-check's classifier may give an English text; 1 does not
    ask it. It is poor at captions: see `filters.texts.profanity`."""
    blocked_domains: str | tuple[str, ...] = ()
    """Lists of domains (which stand for their subdomains) and of addresses (`example.org/adult`, for what is below):
    text files with an entry a line, or folders or tars of categories as UT1 has them: `adult/domains`, `adult/urls`.
    One name or several; empty for none."""
    blocked_categories: tuple[str, ...] = ()
    """The categories of these lists that block; none given: all. A file without a category always does."""
    respect_noai: bool = True
    """Whether pages are left out that say noai or noimageai."""
    respect_tdm: bool = True
    """Whether pages are left out that reserve text and data mining (W3C TDMRep: header or meta `tdm-reservation`)."""
    respect_content_signal: bool = True
    """Whether pages are left out whose header says `Content-Signal: ai-train=no`."""
    respect_content_usage: bool = True
    """Whether pages are left out whose header says `Content-Usage: train-ai=n` (AIPREF, an Internet-Draft)."""
    respect_rsl: bool = True
    """Whether pages are left out that hold an RSL license which prohibits training or asks for something in return; one
    that they name is asked for when their images are (`fetch.respect_rsl`)."""
    unreadable_policy: Literal["allow", "refuse"] = "allow"
    """Whether pages are left out whose `tdm-reservation`, Content-Signal or Content-Usage cannot be read; the audit
    `wishes` counts them anyway."""
    unreadable_license: Literal["allow", "refuse"] = "refuse"
    """Whether pages are kept or left out whose own RSL license cannot be read; of one that they only name, see
    `fetch.unreadable_license`."""
    drop_personal_data: bool = False
    """Whether texts are dropped in which personal data was masked (`extract.mask_personal_data` says which). If false
    they stay, masked."""

    def __post_init__(self) -> None:
        for key in ("min_characters", "min_words", "min_weak_terms"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        if self.max_characters < self.min_characters:
            raise ValueError(f"max_characters must be at least min_characters, not {self.max_characters}")
        for key in ("language_min_probability", "max_profanity_probability", "max_site_page_share"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must be from 0 to 1, not {getattr(self, key)}")
        for key in ("unreadable_policy", "unreadable_license"):
            if getattr(self, key) not in ("allow", "refuse"):
                raise ValueError(f"{key} must be allow or refuse, not {getattr(self, key)!r}")
        for key in ("max_texts_on_page", "max_site_images_per_text", "max_site_texts_per_image"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key} must be 0, for no limit, or more, not {getattr(self, key)}")
        if unknown := set(self.not_captions) - set(KINDS):
            raise ValueError(f"not_captions must be of {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
        for pattern in self.blocked_patterns:
            try:
                pc.match_substring_regex(pa.array([""]), pattern)
            except pa.ArrowInvalid as error:
                raise ValueError(f"blocked_patterns: {pattern!r} is no regular expression of RE2: {error}") from None
        for language in self.languages:
            if language not in CODES and self.language_model == "builtin":
                raise ValueError(f"languages must be codes of lid.176 such as [en, de], not {language!r}")
            if not re.fullmatch(r"\S+", language):
                raise ValueError(f"languages must be codes such as [en, de], not {language!r}")
        if not self.language_model:
            raise ValueError("language_model must be builtin or a file, not empty")


def as_names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return a key that takes one name or several as several; none for the empty name."""
    return tuple(name for name in ((names,) if isinstance(names, str) else names) if name)


def word_files(config: TextConfig) -> tuple[str, ...]:
    """Return the word lists of a config that are files."""
    return tuple(name for name in as_names(config.blocklist) if name not in NAMES)


EXTENSIONS = "jpe?g|jpe|jfif|png|gif|webp|avif|heic|heif|bmp|tiff?|svgz?|ico|psd|raw|nef|cr2|dng|mp4|mov"
"""RE2. What the names of images and films end in."""
_PATTERNS = (
    # a name with an image's extension: DSC00012.JPG, my_photo (2).png, 2ee84a1a.gif (460×155)
    rf"[^\s/\\]+( ?\(\d+\))?\.({EXTENSIONS})( ?\(\d+ ?[x×] ?\d+\))?",
    # what cameras, phones and screenshots call their files: IMG_2034, DSC 0012, Screenshot 2024-01-02 at 10.11
    r"(img|image|imgp|dsc|dscn?|dscf|dcim|pict?|photo|foto|bild|scan|mvi|mov|gopr|dji|pxl|fb_img|screen ?shot"
    r"|whatsapp image|file|untitled|unnamed|download|sam|cimg|kif|hpim|p|pa)?[\s_-]*[(#]?\d[\d\s_.:()-]*(at|x|am|pm)?"
    rf"[\d\s_.:()-]*(\.({EXTENSIONS}))?",
    # an address: https://example.org/a.jpg, //cdn.example.org/a, www.example.org/a, data:…, C:\Users\me\a.jpg
    r"(https?:|ftp:|file:|data:|blob:)?//\S+|(data|blob):\S+|www\.\S+|[a-z]:\\.+",
    # one word held together by underscores or by many hyphens: sunset_beach_02, buy-one-get-one-free-sale
    r"[^\s_]*[^\W_]_[^\W_]\S*|[^\s-]+(-[^\s-]+){4,}",
    # a hash or a UUID: 9f86d081884c7d659a2feaa0c55ad015
    r"[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
)
FILENAME = "(?i)^(?:" + "|".join(f"(?:{pattern})" for pattern in _PATTERNS) + ")$"
"""RE2. Texts that look like a file's name or address, whatever the image's address."""

_OF_TEXTS = (
    r"""
WITH named AS (
    SELECT id, coalesce(text, '') AS text, trim(lower(coalesce(text, ''))) AS lower_text,
        coalesce(language_guesses[1].probability < @SURE@, true) AS is_unsure
    FROM texts
),
spoken AS (
    -- a language for each of its function words that the text has
    SELECT id, list(language ORDER BY language) AS function_words
    FROM (
        SELECT id, unnest(list_distinct(string_split(regexp_replace(lower_text, '[^a-zß-ÿ]+', ' ', 'g'), ' '))) AS word
        FROM named WHERE is_unsure
    ) JOIN (VALUES @WORDS@) AS known(word, language) USING (word)
    GROUP BY id
)
SELECT
    length(text)::INTEGER AS characters,
    regexp_matches(lower_text, $filename$@FILENAME@$filename$) AS is_filename,
    @MARKS@,
    CASE WHEN is_unsure THEN coalesce(function_words, []) END AS function_words
FROM named LEFT JOIN spoken USING (id)
ORDER BY id
""".replace("@FILENAME@", FILENAME)
    .replace("@MARKS@", MARKS)
    .replace("@WORDS@", WORDS)
    .replace("@SURE@", str(SURE))
)
_OF_ADDRESSES = r"""
WITH segments AS (
    SELECT row, trim(lower(coalesce(text, ''))) AS lower_text,
        -- the last segment of the address's path, without its query
        lower(split_part(split_part(split_part(coalesce(url, ''), '#', 1), '?', 1), '/', -1)) AS segment
    FROM rows
), named AS (
    -- as a person would see it, unless what a stranger wrote cannot be decoded
    SELECT row, lower_text,
        CASE WHEN contains(segment, '%') THEN coalesce(TRY(url_decode(segment)), segment) ELSE segment END AS file
    FROM segments
)
SELECT
    -- A text that equals its image's file name is one only if it has the marks of a file name, as "sunset" has not.
    CASE WHEN lower_text[1] <> file[1] THEN false
        ELSE lower_text = file AND contains(file, '.')
            -- without the extension, and the size that a publishing system appends: photo-300x200.jpg, photo-scaled.jpg
            OR lower_text = regexp_replace(regexp_replace(file, '\.[a-z0-9]{2,5}$', ''), '(-\d+x\d+|-scaled|@2x)$', '')
                AND regexp_matches(lower_text, '^\S*[0-9_-]\S*$')
    END AS is_filename
FROM named
ORDER BY row
"""


def file_names() -> str:
    """Return SQL over `rows` (row, url, text): whether each text is the name of its image's file, in their order."""
    return _OF_ADDRESSES


def measure_text(
    rows: pa.Table, config: TextConfig, domains: DomainIndex | None = None, has_profanity: bool | None = None
) -> pa.Table:
    """Measure texts and their addresses.

    rows: row, url, text, page_url; ordered by row.
    domains: of config.blocked_domains; None for none.
    has_profanity: whether profanity_probability is measured; by default where max_profanity_probability is below 1.
    Returns: row, characters (code points), words, is_filename, those of filters.texts.language_marks, blocked_domains
    (list of filters.texts.domains.ENTRY), language_guesses (of filters.texts.language.GUESS), blocked_terms (of
    filters.texts.blocklist.TERM), profanity_probability (null if the text is not English, or it is not
    measured); ordered by row. What the surroundings add is for `filters.texts.context`.

    Raises:
        FileNotFoundError, OSError, ValueError: the model or a list cannot be read.
    """
    distinct = rows["text"].cast(pa.string()).combine_chunks().dictionary_encode("encode")
    texts = distinct.dictionary
    languages = guesses(texts, config.language_model)
    ids = pa.array(range(len(texts)))
    table = sql.run(_OF_TEXTS, {"texts": pa.table({"id": ids, "text": texts, "language_guesses": languages})})
    words = pc.count_substring_regex(pc.fill_null(texts, ""), r"\S+")
    terms = blocked_terms(texts, as_names(config.blocklist), config.blocked_patterns)
    is_asked = config.max_profanity_probability < 1 if has_profanity is None else has_profanity
    best = pc.struct_field(first_guess(languages), "language")
    profanity = profanity_probability(texts, best) if is_asked else pa.nulls(len(texts), pa.float32())
    columns = {
        "characters": table["characters"],
        "words": words.cast(pa.int32()),
        "is_filename": table["is_filename"],
        **{name: table[name] for name in table.column_names[2:]},
        "language_guesses": languages,
        "blocked_terms": terms,
        "profanity_probability": profanity,
    }
    measured = pa.table(columns).take(distinct.indices)
    of_addresses = sql.run(_OF_ADDRESSES, {"rows": rows})["is_filename"]
    column_index = measured.schema.get_field_index("is_filename")
    measured = measured.set_column(column_index, "is_filename", pc.or_(measured["is_filename"], of_addresses))
    blocked = pa.array([[]] * len(rows), pa.list_(ENTRY)) if domains is None else domains.find(rows)
    column_index = measured.schema.get_field_index("language_guesses")
    return measured.add_column(column_index, "blocked_domains", blocked).add_column(0, "row", rows["row"])
