"""How images are got: the config section `fetch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from crawl import rsl
from crawl.web.address_guard import endpoint
from crawl.web.rules import robots
from crawl.wishes import CONTENT_SIGNAL, CONTENT_USAGE

ALSO_HEEDED = (
    "CCBot",
    "GPTBot",
    "Google-Extended",
    "Applebot-Extended",
    "ClaudeBot",
    "anthropic-ai",
    "Bytespider",
    "Amazonbot",
    "meta-externalagent",
    "FacebookBot",
    "cohere-training-data-crawler",
    "AI2Bot",
    "Diffbot",
    "img2dataset",
    "LAIONDownloader",
)


@dataclass(frozen=True)
class FetchConfig:
    """How images are fetched. Outcomes are recorded; a later run asks again only for those that `retry` names."""

    origins: tuple[Literal["archive", "http"], ...] = ("archive", "http")
    """Where image bytes may come from, in the order in which they are tried."""
    engine: Literal["openwit", "img2dataset"] = "openwit"
    """Which client asks the web: openwit's own, or img2dataset's downloader. The latter asks for no robots.txt and no
    tdmrep.json, limits no requests per host, makes no conditional requests, and sends no more of `user_agent` than the
    product token; it is refused together with a key that it cannot keep."""
    distributor: Literal["none", "ray"] = "none"
    """Where engine img2dataset asks for a partition's URLs: none, in the partition's own task; or ray, in tasks of a
    thousand URLs each, by img2dataset's Ray distributor. That needs Ray: not `run.workers: 0`."""
    adopt: tuple[str, ...] = ()
    """Parquet files (paths, globs or URLs) of img2dataset's webdataset output: images that they hold are taken from the
    tars beside them before any other origin is tried. Their download asked no robots.txt and no tdmrep.json, and what
    it did is not known: `origin` says `adopted`."""
    user_agent: str = "openwit/0.1 (+https://openwit.example/crawler; crawler@openwit.example)"
    """The User-Agent header: the product token that robots.txt may address, then where to complain. Nothing is asked of
    the web before it names a contact of your own, the address of a page or of mail; only loopback and hosts of
    `resolve` are excepted."""
    resolve: dict[str, str] = field(default_factory=dict)
    """host → `ip` or `ip:port` to connect to instead, like `curl --resolve`; such a host may be private."""
    respect_robots: bool = True
    """Whether robots.txt is asked for and obeyed."""
    also_heed: tuple[str, ...] = ALSO_HEEDED
    """Names of other crawlers: what robots.txt or X-Robots-Tag refuses to any of them is refused to us. Owners name the
    crawlers that they know; the default are those that collect for training, and for datasets like ours."""
    respect_content_signal: bool = True
    """Whether `Content-Signal: ai-train=no` refuses the image, in a header or in robots.txt, if that is asked for."""
    respect_content_usage: bool = True
    """Whether AIPREF's `Content-Usage: train-ai=n` refuses the image, in a header or in robots.txt, if that is asked
    for. Its vocabulary is an Internet-Draft without consensus as yet (draft-ietf-aipref-vocab)."""
    respect_rsl: bool = True
    """Whether a license by Really Simple Licensing refuses if it prohibits training or asks for something in return: an
    image by one that robots.txt or its own Link header names, a pair by one of its page. It is asked for over HTTP, if
    that is among `origins`."""
    respect_data_mining: bool = True
    """Whether an image is refused whose file prohibits data mining or training: IPTC's and PLUS's `plus:DataMining` in
    XMP, or C2PA's and CAWG's training and data mining assertion, which the extra `c2pa` reads."""
    mask_personal_data: tuple[str, ...] = ()
    """Which personal data is masked in what an image's file says of its maker (creator, credit, copyright notice, other
    constraints), by the kinds of `extract.mask_personal_data`; none by default: a maker wants to be named."""
    unreadable_policy: Literal["allow", "refuse"] = "allow"
    """Whether an image is allowed or refused whose owner's wish cannot be read; the audit `wishes` counts it anyway."""
    unreadable_license: Literal["allow", "refuse"] = "refuse"
    """Whether an image is allowed or refused whose license by Really Simple Licensing cannot be had or read: without it
    nothing is licensed (RSL 1.0, section 4.3)."""
    respect_noai: bool = True
    """Whether an `X-Robots-Tag` of noai, noimageai or noindex refuses the image."""
    respect_tdm: bool = True
    """Whether a reservation by the TDM Reservation Protocol refuses the image: the header `tdm-reservation: 1`, or the
    site's /.well-known/tdmrep.json, which is asked for once beside robots.txt."""
    ai_txt: Literal["named", "always", "never"] = "named"
    """Which sites' /ai.txt (Spawning) is asked for and obeyed: named, those whose robots.txt speaks of it; all, with
    one more request to each; or none."""
    opted_out_domains: str = ""
    """A text file with one domain a line, which stands for its subdomains too. Nothing is fetched from them, nor by a
    redirect to them, nor taken from an archive. Empty for none."""
    max_body_bytes: int = 20 * 2**20
    """The largest body that is read, in bytes after decompression."""
    max_redirects: int = 5
    """How many redirects are followed from one address."""
    timeout_s: float = 20.0
    """Seconds that one attempt at one address may take: its site's robots.txt and tdmrep.json, redirects with theirs,
    and the image, to the last byte. Seconds in which it waits for its turn do not count; meanwhile it keeps nobody
    waiting."""
    max_wait_s: float = 600.0
    """Seconds that an address may wait for its turn at a host to which a redirect led."""
    min_bytes_per_s: int = 1024
    """The fewest bytes a second that a body must bring, on average after its first seconds, so that no server may send
    a byte now and then for ever."""
    attempts: int = 2
    """How often one run tries an address whose failure may pass. With more than one attempt, sites that were left alone
    after many failures are asked once more when all others are done."""
    concurrency: int = 64
    """How many addresses are under way at once in one process; those that take longer than a second give their places
    to others, sixteen for each."""
    per_host_concurrency: int = 4
    """The most requests in flight to one host."""
    per_host_delay_s: float = 0.0
    """Seconds between the starts of two requests to one host; a longer Crawl-delay of its robots.txt wins."""
    retry: Literal["none", "transient"] = "none"
    """Which failures of earlier runs are tried again: none, or those that may have passed."""
    refresh_before: str = ""
    """A date, such as 2026-01-31: what was observed before it is asked for again, with the ETag and the date that came
    with it, so that an image that has not changed costs no download; empty for never."""

    def __post_init__(self) -> None:
        for origin in self.origins:
            if origin not in ("archive", "http"):
                raise ValueError(f"origins must be of archive and http, not {origin!r}")
        if not self.origins or len(set(self.origins)) != len(self.origins):
            raise ValueError(f"origins must name archive, http or both, once each, not {list(self.origins)}")
        if not robots.product_token(self.user_agent) or not self.user_agent.isprintable():
            raise ValueError(f"user_agent must begin with a name and be one line, not {self.user_agent!r}")
        for name in self.also_heed:
            if robots.product_token(name) != name.lower() or not name.isprintable() or not name:
                raise ValueError(f"also_heed must be names of crawlers, such as CCBot, not {name!r}")
        if self.ai_txt not in ("named", "always", "never"):
            raise ValueError(f"ai_txt must be named, always or never, not {self.ai_txt!r}")
        for key in ("unreadable_policy", "unreadable_license"):
            if getattr(self, key) not in ("allow", "refuse"):
                raise ValueError(f"{key} must be allow or refuse, not {getattr(self, key)!r}")
        for host, target in self.resolve.items():
            try:
                endpoint(target)
            except ValueError as error:
                raise ValueError(f"resolve must map {host} to ip or ip:port, not {target!r}") from error
        for key in ("max_body_bytes", "attempts", "concurrency", "per_host_concurrency"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, not {getattr(self, key)}")
        for key in ("max_redirects", "per_host_delay_s", "min_bytes_per_s"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be 0 or more, not {getattr(self, key)}")
        for key in ("timeout_s", "max_wait_s"):
            if not 0 < getattr(self, key) < float("inf"):
                raise ValueError(f"{key} must be above 0, not {getattr(self, key)}")
        if self.retry not in ("none", "transient"):
            raise ValueError(f"retry must be none or transient, not {self.retry!r}")
        if self.engine not in ("openwit", "img2dataset"):
            raise ValueError(f"engine must be openwit or img2dataset, not {self.engine!r}")
        if self.distributor not in ("none", "ray"):
            raise ValueError(f"distributor must be none or ray, not {self.distributor!r}")
        if self.distributor == "ray" and self.engine != "img2dataset":
            raise ValueError("distributor ray is img2dataset's; set engine to img2dataset, or leave it at none")
        if self.engine == "img2dataset":
            self._check_img2dataset()
        if self.refresh_before:
            try:
                date.fromisoformat(self.refresh_before)
            except ValueError:
                raise ValueError(
                    f"refresh_before must be a date such as 2026-01-31, not {self.refresh_before!r}"
                ) from None

    def heeds(self, signal: str) -> bool:
        """Return whether what an owner says by a signal of this name counts."""
        heeded = {
            CONTENT_SIGNAL: self.respect_content_signal,
            CONTENT_USAGE: self.respect_content_usage,
            rsl.SIGNAL: self.respect_rsl,
        }
        return heeded.get(signal, True)

    def _check_img2dataset(self) -> None:
        """Whether all that the config asks for can be kept by img2dataset."""
        wanted = {
            "respect_robots": (self.respect_robots, "false"),
            "respect_tdm": (self.respect_tdm, "false"),
            "ai_txt": (self.ai_txt == "always", "never"),
            "per_host_concurrency": (self.per_host_concurrency < self.concurrency, f"{self.concurrency} (concurrency)"),
            "per_host_delay_s": (self.per_host_delay_s > 0, "0"),
            "min_bytes_per_s": (self.min_bytes_per_s > 0, "0"),
            "refresh_before": (bool(self.refresh_before), "empty"),
        }
        changes = [f"{key} to {value}" for key, (is_wanted, value) in wanted.items() if is_wanted]
        if changes:
            raise ValueError(
                f"engine img2dataset cannot keep what the config asks for; set {', '.join(changes)}, "
                "or use engine openwit"
            )
