"""What a response's headers ask: X-Robots-Tag, TDM-Rep, Content-Signal, Content-Usage, and by which RSL licenses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from multidict import CIMultiDictProxy

from crawl import rsl
from crawl.web.config import FetchConfig
from crawl.web.response import wish_refusal
from crawl.web.rules import robots, tdm
from crawl.wishes import (
    CONTENT_SIGNAL,
    CONTENT_USAGE,
    UNREADABLE,
    Wish,
    content_signal,
    content_usage,
    is_unreadable,
    refuses,
    tdm_reservation,
)

PLACE = "header"
_OF_TRAINING = (
    (CONTENT_SIGNAL, content_signal, "content_signal_refused"),
    (CONTENT_USAGE, content_usage, "content_usage_refused"),
)


def permission(config: FetchConfig) -> Callable[[CIMultiDictProxy[str]], Wish | None]:
    """Return a check of the headers of an answer, see `crawl.web.client.Check`; the client itself asks for licenses."""
    return lambda headers: check(config, lambda name: headers.getall(name, ()))


def check(config: FetchConfig, values: Callable[[str], Sequence[str]]) -> Wish | None:
    """Return what the headers ask, if that cannot be read and is not refused for it; None if all can be.

    Args:
        values: of a header by its name, in any case.

    Raises:
        Refused: they ask not to be used.
    """
    if config.respect_noai:
        directive = robots.refusal(values("X-Robots-Tag"), config.user_agent, config.also_heed)
        if directive is not None:
            raise wish_refusal("robots_noai", Wish("X-Robots-Tag", directive, PLACE))
    unread: Wish | None = None
    if config.respect_tdm:
        is_reserved, odd = tdm_reservation(values(tdm.HEADER))
        if is_reserved:
            raise wish_refusal("tdm_reserved", Wish(tdm.HEADER, "1", PLACE))
        if odd is not None:
            unread = Wish(tdm.HEADER, f"{UNREADABLE}{odd}", PLACE)
    for signal, read, outcome in _OF_TRAINING:
        if not config.heeds(signal) or not (lines := values(signal)):
            continue
        said = read(lines)
        if refuses(said):
            raise wish_refusal(outcome, Wish(signal, str(said), PLACE))
        if is_unreadable(said):
            unread = unread or Wish(signal, str(said), PLACE)
    if unread is not None and config.unreadable_policy == "refuse":
        raise wish_refusal("wish_unreadable", unread)
    return unread


def licenses(config: FetchConfig, values: Callable[[str], Sequence[str]], url: str) -> list[tuple[str, str]]:
    """Return the RSL licenses that the headers of a response name, and where they are named.

    url: of the response.
    """
    lines = values("Link") if config.respect_rsl else ()
    return [(where, PLACE) for where in rsl.licenses_of_links(lines, url)] if lines else []
