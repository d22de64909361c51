"""Which texts of a page, and which rows of a table, become candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crawl.candidates.personal_data import KINDS
from crawl.pages.html import TEXT_SOURCES
from crawl.tables.columns import Columns, names_both
from dataset.ids import hash64


@dataclass(frozen=True)
class ExtractConfig:
    """Which texts of a page become candidates."""

    text_sources: tuple[str, ...] = ("alt", "title", "figcaption", "microdata", "json-ld")
    """Where an image's text may come from, the best first: alt, title, figcaption, microdata (the caption of the
    ImageObject that it stands in), aria-label, data-image-title; json-ld (a page's ImageObjects with their captions),
    og (its og:image with its og:image:alt, else its og:title) and link (an <a> to an image file, with its text) are
    images of their own. Of a WAT file only alt, title, og and link are known: its producer writes no others."""
    texts_per_image: Literal["first", "all"] = "first"
    """Whether an image gives one candidate, with its first usable text, or one for each distinct text."""
    sample: float = 1.0
    """The share of pages (of a table's rows), chosen by a hash of their URL, that a trial takes; 0.001 is 0.1 %."""
    url_columns: tuple[str, ...] = ("url", "image_url")
    """What the column of image URLs is called in a table; the first that the table has. Case does not matter."""
    text_columns: tuple[str, ...] = ("text", "caption", "alt")
    """What the column of texts is called in a table; the first that the table has."""
    columns: tuple[str, ...] = ()
    """The names of the columns, in their order, of CSV and TSV files without a header line: [text, url] for CC3M,
    [url, text] for CC12M. Columns that are neither of url_columns nor of text_columns are passed over."""
    quoted_tsv: bool = False
    """Whether values of tab-separated files may stand in quotation marks, as those of CSV may. By default a line is a
    row and a quotation mark is a part of its text, as in the tables of this field."""
    mask_personal_data: tuple[str, ...] = KINDS
    """Which personal data is replaced by its kind, `[email_address]`, before a text is first written; none is possible.
    `text.drop_personal_data` drops such texts altogether."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.text_sources if name not in TEXT_SOURCES]
        if unknown or not self.text_sources or len(set(self.text_sources)) < len(self.text_sources):
            raise ValueError(
                f"text_sources must be one or more of {', '.join(TEXT_SOURCES)}, not {list(self.text_sources)}"
            )
        if self.texts_per_image not in ("first", "all"):
            raise ValueError(f"texts_per_image must be first or all, not {self.texts_per_image!r}")
        for key in ("url_columns", "text_columns"):
            if not getattr(self, key):
                raise ValueError(f"{key} must name at least one column")
        if self.columns and not names_both(self.columns, Columns(self.url_columns, self.text_columns)):
            raise ValueError(
                f"columns must name a column of url_columns and one of text_columns, not {list(self.columns)}"
            )
        if set(self.mask_personal_data) - set(KINDS):
            raise ValueError(f"mask_personal_data must be of {', '.join(KINDS)}, not {list(self.mask_personal_data)}")
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be a share above 0 and at most 1, not {self.sample}")


def in_sample(url: str, share: float) -> bool:
    """Return whether a trial of a share takes what stands at a URL. A larger share takes all that a smaller one
    takes.
    """
    return share >= 1 or hash64(url) < share * 2**64
