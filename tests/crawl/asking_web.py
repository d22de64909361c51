"""A loopback web on which every signal stands in every place: right, malformed, contradictory, huge and slow.

Each asker is a host of its own with two images, one that it asks something of and one that it does not.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from crawl.web.config import ALSO_HEEDED
from crawl.web.rules import robots, tdm
from tests.crawl.hostile_images import picture
from tests.crawl.hostile_server import in_a_thread
from tests.crawl.hostile_wishes import license_of
from tests.crawl.notes import mining, xmp

ASKED, FREE = "/asked/a.jpg", "/free/b.jpg"
LICENSES = "licenses.test"
RSL = "application/rsl+xml"
NO = license_of(("", '<prohibits type="usage">ai-train</prohibits>'))
YES = license_of(("", '<permits type="usage">all</permits>'))
PAID = license_of(("", '<permits type="usage">all</permits><payment type="crawl"/>'))
BOTH = license_of(("", '<permits type="usage">ai-train</permits><prohibits type="usage">all</prohibits>'))
FILLER = 600_000


@dataclass(frozen=True)
class Asker:
    """What one host asks, and what becomes of its images."""

    outcome: str = "ok"  # of the image that it asks something of
    unread: str = ""  # the signal that is counted as unreadable, though the image is admitted
    free: str = "ok"  # of the other
    robots: bytes | None = None
    status: int = 200  # of robots.txt
    ai_txt: bytes | None = None
    tdmrep: bytes | None = None
    headers: Sequence[tuple[str, str]] = ()
    xmp: bytes = b""
    license: str | None = None  # served at LICENSES by the host's name
    slow: Sequence[str] = ()  # paths that answer after a minute


def _for_all(lines: str) -> bytes:
    return f"User-agent: *\n{lines}\n".encode()


def _named(host: str) -> str:
    return f"http://{LICENSES}/{host}.xml"


def _link(host: str) -> tuple[str, str]:
    return ("Link", f'<{_named(host)}>; rel="license"; type="{RSL}"')


OTHERS, OURS = "robots_disallowed_others", "robots_disallowed"
SIGNAL, USAGE = "content_signal_refused", "content_usage_refused"
MANY = ", ".join(f"k{n}=y" for n in range(2_000))  # longer than a field is read
IMAGES: dict[str, Asker] = {
    # robots.txt
    "robots": Asker(OURS, robots=_for_all("Disallow: /asked/")),
    "robots-ours": Asker(OURS, robots=b"User-agent: openwit\nDisallow: /asked/\n"),
    **{f"robots-{name.lower()}": Asker(OTHERS, robots=f"User-agent: {name}\nDisallow: /asked/\n".encode())
       for name in ALSO_HEEDED},
    "robots-another": Asker(robots=b"User-agent: Googlebot\nDisallow: /\n"),
    "robots-malformed": Asker(OURS, robots=b"\xef\xbb\xbf\xff\nuser agent *\n dissallow : /asked/#\n"),
    "robots-binary": Asker(robots=bytes(range(256)) * 8),
    "robots-contradictory": Asker(robots=_for_all("Disallow: /asked/\nAllow: /asked/")),  # the kinder of equals counts
    "robots-contradicting-another": Asker(
        OTHERS, robots=b"User-agent: openwit\nAllow: /\n\nUser-agent: CCBot\nDisallow: /asked/"
    ),
    "robots-huge": Asker(OURS, robots=_for_all("Disallow: /asked/") + b"#" * FILLER),
    "robots-slow": Asker("timeout", free="timeout", slow=["/robots.txt"]),
    "robots-failing": Asker(OURS, free=OURS, status=503),
    "robots-forbidden": Asker(status=403),
    # Content-Signal
    "signal-robots": Asker(SIGNAL, robots=_for_all("Content-Signal: /asked/ search=yes, ai-train=no")),
    "signal-site": Asker(SIGNAL, free=SIGNAL, robots=_for_all("Content-Signal: search=yes,ai-train=no\nAllow: /")),
    "signal-robots-malformed": Asker(unread="Content-Signal", robots=_for_all("Content-Signal: /asked/ ai-train=?")),
    "signal-robots-contradictory": Asker(SIGNAL, robots=_for_all("Content-Signal: /asked/ ai-train=yes, ai-train=no")),
    "signal-robots-huge": Asker(SIGNAL, robots=_for_all(f"Content-Signal: /asked/ {MANY}, ai-train=no")),
    "signal": Asker(SIGNAL, headers=[("Content-Signal", "search=yes, ai-train=no")]),
    "signal-malformed": Asker(unread="Content-Signal", headers=[("Content-Signal", "ai-train=, ;;")]),
    "signal-contradictory": Asker(
        SIGNAL, headers=[("Content-Signal", "ai-train=no"), ("Content-Signal", "ai-train=yes")]
    ),
    "signal-huge": Asker(SIGNAL, headers=[("Content-Signal", f"{MANY}, ai-train=no")]),
    # Content-Usage
    "usage-robots": Asker(USAGE, robots=_for_all("Content-Usage: /asked/ train-ai=n")),
    "usage-robots-malformed": Asker(unread="Content-Usage", robots=_for_all("Content-Usage: /asked/ train-ai=?")),
    "usage-robots-contradictory": Asker(
        USAGE, robots=_for_all("Content-Usage: /asked/ train-ai=y\nContent-Usage: /asked/ train-ai=n")
    ),
    "usage-robots-huge": Asker(USAGE, robots=_for_all("Content-Usage: /asked/ train-ai=n") + b"#" * FILLER),
    "usage": Asker(USAGE, headers=[("Content-Usage", "train-ai=n")]),
    "usage-malformed": Asker(unread="Content-Usage", headers=[("Content-Usage", 'train-ai="n')]),
    "usage-contradictory": Asker(USAGE, headers=[("Content-Usage", "train-ai=y, bots=n")]),
    "usage-huge": Asker(USAGE, headers=[("Content-Usage", f"{MANY}, train-ai=n")]),
    # RSL
    **{
        f"license-{place}-{manner}": Asker(
            outcome,
            free=outcome if place == "robots" else "ok",
            robots=f"License: {_named(f'license-{place}-{manner}')}\n".encode() if place == "robots" else None,
            headers=[_link(f"license-{place}-{manner}")] if place == "header" else [],
            license=text,
            slow=[f"/license-{place}-{manner}.xml"] if manner == "slow" else [],
        )
        for place in ("robots", "header")
        for manner, text, outcome in (
            ("no", NO, "rsl_prohibited"),
            ("paid", PAID, "rsl_payment_required"),
            ("yes", YES, "ok"),
            ("malformed", NO[:-9], "rsl_unreadable"),
            ("misspelt", NO.replace("prohibits", "prohibit"), "rsl_unreadable"),
            ("contradictory", BOTH, "rsl_prohibited"),
            ("huge", NO + " " * FILLER, "rsl_unreadable"),
            ("slow", NO, "rsl_unreadable"),
            ("lost", None, "rsl_unreadable"),
        )
    },
    "license-xmp": Asker("rsl_prohibited", xmp=xmp(NO)),
    "license-xmp-paid": Asker("rsl_payment_required", xmp=xmp(PAID)),
    "license-xmp-malformed": Asker("rsl_unreadable", xmp=xmp(NO.replace("prohibits", "prohibit"))),
    "license-xmp-contradictory": Asker("rsl_prohibited", xmp=xmp(NO + YES)),
    # X-Robots-Tag
    "noai": Asker("robots_noai", headers=[("X-Robots-Tag", "noai")]),
    "noai-for-another": Asker("robots_noai", headers=[("X-Robots-Tag", "CCBot: noimageai")]),
    "noai-malformed": Asker(headers=[("X-Robots-Tag", ";;: ,,no ai")]),
    "noai-contradictory": Asker("robots_noai", headers=[("X-Robots-Tag", "all, index, noai")]),
    "noai-huge": Asker("robots_noai", headers=[("X-Robots-Tag", f"{MANY}, noai")]),
    # TDM-Rep
    "tdm": Asker("tdm_reserved", headers=[("TDM-Reservation", "1")]),
    "tdm-malformed": Asker(unread=tdm.HEADER, headers=[("TDM-Reservation", "yes")]),
    "tdm-contradictory": Asker("tdm_reserved", headers=[("TDM-Reservation", "0"), ("TDM-Reservation", "1")]),
    "tdmrep": Asker("tdm_reserved", tdmrep=b'[{"location": "/asked/*", "tdm-reservation": 1}]'),
    "tdmrep-malformed": Asker(unread=tdm.HEADER, tdmrep=b'[{"location": "/asked/"'),
    "tdmrep-contradictory": Asker(  # the first that matches counts
        tdmrep=b'[{"location": "/asked/", "tdm-reservation": 0}, {"location": "/asked/*", "tdm-reservation": 1}]'
    ),
    "tdmrep-huge": Asker("tdm_reserved", tdmrep=b'[{"location": "/asked/*", "tdm-reservation": 1}]' + b" " * 200_000),
    "tdmrep-slow": Asker(slow=[tdm.PATH]),  # what cannot be had reserves nothing; the header still can
    # ai.txt
    "ai-txt": Asker("ai_txt_disallowed", robots=b"# see /ai.txt\n", ai_txt=_for_all("Disallow: /asked/")),
    "ai-txt-malformed": Asker(robots=b"# see /ai.txt\n", ai_txt=b"<html>Disallow everything"),
    "ai-txt-lost": Asker(robots=b"# see /ai.txt\n"),
    # in the file
    "mined": Asker("data_mining_prohibited", xmp=mining("DMI-PROHIBITED-AIMLTRAINING")),
    "mined-malformed": Asker("data_mining_prohibited", xmp=mining("DMI-PROHIBITED")[:-40]),
    "mined-unknown": Asker(unread="plus:DataMining", xmp=mining("perhaps")),
    "mined-contradictory": Asker(
        "data_mining_prohibited",
        xmp=xmp("<plus:DataMining>DMI-ALLOWED</plus:DataMining><plus:DataMining>DMI-PROHIBITED</plus:DataMining>"),
    ),
    "mined-huge": Asker(
        "data_mining_prohibited", xmp=mining("DMI-PROHIBITED").replace(b"<x:", b" " * 60_000 + b"<x:", 1)
    ),
    # nothing
    "silent": Asker(),
    "permitting": Asker(
        robots=_for_all("Allow: /\nContent-Signal: ai-train=yes\nContent-Usage: train-ai=y"),
        tdmrep=b'[{"location": "/", "tdm-reservation": 0}]',
        headers=[("X-Robots-Tag", "all"), ("TDM-Reservation", "0"), ("Content-Usage", "train-ai=y"), _link("free")],
        xmp=mining("DMI-ALLOWED"),
    ),
    "free": Asker(license=YES),  # the one before names its license
    # of pages
    **{
        f"page-{place}-{name}": Asker(license=text, slow=[f"/page-{place}-{name}.xml"] if name == "slow" else [])
        for place in ("http", "link")
        for name, text in (("no", NO), ("paid", PAID), ("yes", YES), ("slow", NO), ("lost", None))
    },
}  # fmt: skip
"""Askers by the names of their hosts, without `.test`."""


@dataclass
class AskingWeb:
    """Where it listens, and what was asked of it."""

    askers: Mapping[str, Asker]
    port: int = 0
    hits: Counter[str] = field(default_factory=Counter)  # host/path -> requests

    @property
    def resolve(self) -> dict[str, str]:
        """The value of `fetch.resolve`."""
        return {f"{name}.test": f"127.0.0.1:{self.port}" for name in (*self.askers, "licenses", "plain")}

    async def handle(self, request: web.BaseRequest) -> web.Response:
        name, path = request.host.split(":")[0].removesuffix(".test"), request.path
        self.hits[f"{name}{path}"] += 1
        owner = path.strip("/").removesuffix(".xml") if name == "licenses" else name
        asker = self.askers.get(owner, Asker())
        if path in asker.slow:
            await asyncio.sleep(60)
        files = {"/robots.txt": asker.robots, robots.AI_TXT: asker.ai_txt, tdm.PATH: asker.tdmrep}
        if name == "licenses":
            text = asker.license
            return web.Response(text=text, content_type=RSL) if text else web.Response(status=404)
        if path in files:
            body = files[path]
            status = asker.status if path == "/robots.txt" else 200
            return web.Response(body=body or b"", status=status if body is not None or status != 200 else 404)
        if path == ASKED:
            body = picture(xmp=asker.xmp) if asker.xmp else picture()
            answer = web.Response(body=body, content_type="image/jpeg")
            for key, value in asker.headers:
                answer.headers.add(key, value)
            return answer
        return web.Response(body=picture(), content_type="image/jpeg")


@contextmanager
def asking(askers: Mapping[str, Asker]) -> Iterator[AskingWeb]:
    """The web of some askers, on a loop of its own in a thread."""
    made, kept = AskingWeb(askers), []

    async def start() -> None:
        server = web.Server(made.handle, access_log=None)
        kept.append(await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0))
        made.port = kept[0].sockets[0].getsockname()[1]

    with in_a_thread(start):
        yield made
