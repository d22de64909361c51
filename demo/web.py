"""What the demo's web is made of: its hosts, what they answer, what is planted in it, and the truth about that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from dataset.ids import checksum
from demo.world import COLOURS, SHAPE_WORDS, Scene

KEEP = "keep"
TRUTH = pa.schema(
    [
        ("url", pa.string()),
        ("text", pa.string()),
        ("kind", pa.string()),  # what was planted, in words
        ("expected", pa.string()),  # a reason of dataset.reasons, or "keep"
        ("occurrences", pa.int32()),  # how many times pages carry the (url, text)
        ("copy_of", pa.string()),  # of a group of look-alikes one is to be kept, whichever; null outside groups
        ("colour", pa.string()),  # of the picture's subject; null where there is none
        ("shape", pa.string()),
        ("with_phrase", pa.string()),  # the text as its site writes it, with a phrase to be cut off; null where none is
    ]
)

PAGE_HOSTS = ("gallery.example", "shapes.example", "blog.example", "shop.example", "photos.example")
IMAGE_HOSTS = ("cdn.example", "img.example", "static.example")
RSL = "application/rsl+xml"


def licensed(path: str, terms: str) -> str:
    """Return an RSL license of what is below a path."""
    return f'<rsl xmlns="https://rslstandard.org/rsl"><content url="{path}"><license>{terms}</license></content></rsl>'


NO_LICENSE = f"http://{IMAGE_HOSTS[0]}/no.xml"
NOAI_HOST, RESERVED_HOST = "atelier.example", "publisher.example"
REFUSING = {
    NOAI_HOST: ("page_noai", "robots", "X-Robots-Tag", "noai, noimageai"),
    RESERVED_HOST: ("page_tdm_reserved", "tdm-reservation", "TDM-Reservation", "1"),
    "signals.example": ("page_content_signal", "", "Content-Signal", "search=yes, ai-train=no"),
    "preferences.example": ("page_content_usage", "", "Content-Usage", "train-ai=n"),
    "licensed.example": ("page_rsl_prohibited", RSL, "", licensed("", '<prohibits type="usage">ai-train</prohibits>')),
    "priced.example": (
        *("page_rsl_payment_required", RSL, ""),
        licensed("", '<permits type="usage">all</permits><payment type="crawl"/>'),
    ),
    "garbled.example": ("page_rsl_unreadable", RSL, "", licensed("", "<permit>all</permit>")),
    "naming.example": ("rsl_prohibited", "link", "", NO_LICENSE),
    "misspelt.example": ("page_wish_unreadable", "", "Content-Usage", "train-ai=perhaps"),
}
"""Hosts that refuse the use of their pages: the reason, by which meta tag (if there is one) or header, or license
in the page or that it links to, the value."""
ASKING_FILES = {
    "/rsl.xml": (licensed("/licensed/", '<permits type="usage">search</permits>'), RSL),
    "/price.xml": (licensed("/", '<permits type="usage">all</permits><payment type="crawl"/>'), RSL),
    "/no.xml": (licensed("", '<prohibits type="usage">ai-all</prohibits>'), RSL),
    "/ai.txt": ("User-Agent: *\nDisallow: /untrained/\n", "text/plain"),
    "/.well-known/tdmrep.json": ('[{"location": "/reserved/", "tdm-reservation": 1}]', "application/json"),
}
"""The signals by which the first host of images asks: its robots.txt, headers and pages name the licenses."""
ASKING_ROBOTS = f"""\
# What may be trained on stands in /ai.txt, too.
License: http://{IMAGE_HOSTS[0]}/rsl.xml

Content-Signal: /signals/ ai-train=no
Content-Usage: /preferences/ train-ai=n

""".encode()
"""What its robots.txt begins with."""
REFUSED_FOLDERS = {
    "collection": ("robots_disallowed_others", "forbidden to another crawler"),
    "licensed": ("rsl_prohibited", "under an RSL license that robots.txt names"),
    "untrained": ("ai_txt_disallowed", "forbidden by ai.txt"),
    "reserved": ("tdm_reserved", "reserved by tdmrep.json"),
    "signals": ("content_signal_refused", "Content-Signal in robots.txt"),
    "preferences": ("content_usage_refused", "Content-Usage in robots.txt"),
}
"""Its folders that it refuses: the reason, and by what."""
ROBOTS = b"User-agent: *\nDisallow: /private/\n\nUser-agent: CCBot\nUser-agent: GPTBot\nDisallow: /collection/\n"
BLOCKED_HOST = "popups.example"
"""Its images are listed in demo/blocked_domains.txt."""
OPTED_OUT_HOST = "album.optedout.example"
"""Its domain is listed in demo/opted_out_domains.txt."""
PHRASES = {
    "posters.example": "{} | Posters of Shapes",
    "bargains.example": "{} - Buy online",
    "daily.example": "Shape of the day: {}",
}
"""Hosts that put the same phrase to each of their captions; cut off, it leaves a good one."""
BOILERPLATE_HOST, BOILERPLATE = "bargains.example", "The picture of this article will be here as soon as we have one"
"""A host that has one text under many of its images, and the text."""
NO_CAPTIONS = (
    ("stand-in", "image_is_stand_in", "placeholders", None),
    ("icon of the interface", "text_is_interface", "icons", None),
    ("avatar", "image_is_avatar", "avatars", "a member of the forum"),
    ("logo", "image_is_logo", "logos", "The Example Company"),
    ("advertisement", "image_is_advertisement", "728x90", "the best offers of the week"),
    ("credit as alt", "text_is_credit", "i", "Photo: Jane Doe"),
    ("code as alt", "text_is_code", "i", "Lorem ipsum dolor sit amet"),
    ("address that calls itself unsafe", "address_unsafe", "porn", None),
)
"""What is no caption: its kind, its reason, the folder of the image's address, the text (else a good caption)."""
SLOW_HOST, RESET_HOST, NO_HOST = "slow.example", "broken.example", "nowhere.invalid"
IMAGES_PER_PAGE = 14
LISTS = ("pdq", "md5", "sha256")
"""The kinds of hash lists that some images are put on."""

CLASS_NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPE_WORDS)
"""The 120 answers that zero-shot chooses from."""
GOOD = 6_000
"""Good pictures at full scale; the amounts of dirt in `_plant` are for this scale as well."""
EVALUATION_PER_CLASS = 20

Behaviour = Literal["answer", "wait", "reset", "endless"]


@dataclass(frozen=True)
class Answer:
    """What a server does with a request."""

    body: bytes = b""
    media_type: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    behaviour: Behaviour = "answer"


@dataclass(frozen=True)
class Planted:
    """One image of the web, to be put on one or more pages."""

    url: str
    text: str
    kind: str
    expected: str = KEEP
    occurrences: int = 1
    copy_of: str | None = None
    view: Scene | None = None
    written: str | None = None  # what the page says, if a dataset may not say it: `text` is then masked
    with_phrase: str | None = None  # what the page says, with a phrase of its site that `text` is without


@dataclass(frozen=True)
class Web:
    """Everything the servers serve, and the truth about it."""

    answers: dict[tuple[str, str], Answer]
    truth: pa.Table
    seeds: tuple[str, ...]
    pages: int
    images: int
    listed: dict[str, list[bytes]]  # kind of hash list -> bodies that are on it, by PDQ those that are looked like
    evaluation: dict[str, bytes]

    @property
    def checksum(self) -> str:
        """The checksum of everything that is served."""
        parts = [(key, self.answers[key].body) for key in sorted(self.answers)]
        return checksum(b"".join("\t".join(key).encode() + body for key, body in parts))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that a server must answer for."""
        return tuple(sorted({host for host, _ in self.answers}))
