"""The pages of the demo's web."""

from __future__ import annotations

from demo import markup
from demo.web import REFUSING, RSL, Answer, Planted
from demo.world import generator


def front(host: str, pages: int) -> Answer:
    """Return a host's first page, which leads to all its others."""
    links = "\n".join(f'<li><a href="/{number}.html">Page {number + 1}</a></li>' for number in range(pages))
    return Answer(markup.html(host, f"Welcome to {host}", f"<ol>\n{links}\n</ol>").encode())


def page(seed: int, host: str, number: int, pages: int, items: list[Planted]) -> Answer:
    """Return one of a host's pages, with what is planted on it."""
    rng = generator(seed, "page", host, number)
    blocks = [
        markup.STYLES.get(host, markup.row)(
            rng, markup.relative(item.url, host), item.written or item.with_phrase or item.text
        )
        for item in items
    ]
    blocks.insert(len(blocks) // 2, '<p>An advertisement <img src="/spacer.gif" width="1" height="1" alt=""></p>')
    navigation = (
        f'<nav><a href="/"><img src="/icon.png" alt="{markup.icon_text(host)}"></a> '
        f'<a href="/{(number + 1) % pages}.html">Next page</a></nav>'
    )
    head, headers = "", {}
    if host in REFUSING:
        _, meta, header, value = REFUSING[host]
        if meta == RSL:
            head = f'<script type="{RSL}">{value}</script>'
        elif meta == "link":
            head = f'<link rel="license" type="{RSL}" href="{value}">'
        elif meta and number % 2:
            head = f'<meta name="{meta}" content="{value}">'
        else:
            headers = {header: value}
    body = markup.html(f"Page {number + 1} of {host}", "", "\n".join([navigation, *blocks]), head)
    return Answer(body.encode(), headers=headers)
