"""The robots.txt and licenses by which a hostile server says what it wishes."""

from __future__ import annotations

WISHES = """\
User-agent: *
Content-Signal: search=yes
Content-Signal: /ok/signal/ ai-train=no
Content-Usage: /ok/usage/ train-ai=n
Content-Usage: /ok/usage/open/ train-ai=y
Content-Usage: /ok/odd/ train-ai=perhaps

User-agent: CCBot
User-agent: img2dataset
Disallow: /ok/others/

# What may be trained on stands in /ai.txt.
"""
"""robots.txt of wishes.test."""


AI_TXT = "User-Agent: *\nDisallow: *.gif\nDisallow: /ok/untrained/\nAllow: /\n"
"""ai.txt of wishes.test, which its robots.txt names, and of others."""


LICENSED = """\
License: http://licenses.test/rsl.xml
User-agent: *
Disallow:
"""
"""robots.txt of licensed.test."""


def license_of(*contents: tuple[str, str]) -> str:
    """An RSL license: what stands in its licenses, by path."""
    parts = (f'<content url="{url}"><license>{terms}</license></content>' for url, terms in contents)
    return f'<rsl xmlns="https://rslstandard.org/rsl">{"".join(parts)}</rsl>'


LICENSES = {
    "/rsl.xml": license_of(
        ("/", '<permits type="usage">all</permits>'),
        ("/ok/no/", '<prohibits type="usage">ai-train</prohibits>'),
        ("/ok/paid/*.jpg", '<permits type="usage">ai-all</permits><payment type="crawl"/>'),
        ("http://other.test/", '<prohibits type="usage">ai-all</prohibits>'),
    ),
    "/no.xml": license_of(("", '<prohibits type="usage">all</prohibits>')),
    "/paid.xml": license_of(("/", '<payment type="use"/>')),
    "/yes.xml": license_of(("/", '<permits type="usage">ai-train search</permits><payment type="attribution"/>')),
    "/damaged.xml": "<rsl",
    "/bomb.xml": '<!DOCTYPE l [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]><rsl>&b;</rsl>',
    "/page.xml": "<html><body>not found</body></html>",
    "/huge.xml": license_of(("/", '<prohibits type="usage">all</prohibits>')) + " " * 2**20,
}
"""The licenses that licenses.test serves."""
