"""Pages as different sites write them."""

from __future__ import annotations

from html import escape

import numpy as np


def icon_text(host: str) -> str:
    """Return what the alt text of a host's icon says."""
    return f"Back to the home page of {host.removesuffix('.example')}"


def relative(url: str, host: str) -> str:
    """Return a URL as a page of the host writes it."""
    return url.removeprefix(f"http://{host}")


def html(title: str, heading: str, body: str, head: str = "") -> str:
    """Return a whole page around a body."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>{head}</head>\n'
        f"<body>\n<h1>{escape(heading or title)}</h1>\n{body}\n<footer>Made for a demonstration.</footer>\n"
        "</body>\n</html>\n"
    )


def figure(rng: np.random.Generator, src: str, text: str) -> str:
    """Return an image with a caption, which may be all the text there is."""
    if rng.random() < 0.4:  # the caption is all there is
        return f'<figure><img src="{escape(src)}"><figcaption>{escape(text)}</figcaption></figure>'
    return (
        f'<figure><img src="{escape(src)}" alt="{escape(text)}"><figcaption>From the collection</figcaption></figure>'
    )


def product(rng: np.random.Generator, src: str, text: str) -> str:
    """Return an image on a shop's card, in HTML that does not validate."""
    price = f"{int(rng.integers(2, 60))}.{int(rng.integers(100)):02}"
    return (
        f'<div class="card"><img class=product alt="{escape(text)}" src={escape(src)}><b>€ {price}</b><button>Add</div>'
    )


def lazy(rng: np.random.Generator, src: str, text: str) -> str:
    """Return an image that a script loads, or one in capitals as in 1998."""
    if rng.random() < 0.5:
        placeholder = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
        return f'<p>Today: <img loading=lazy src="{placeholder}" data-src="{escape(src)}" alt="{escape(text)}"></p>'
    return f"<p>Yesterday we saw this.<br><IMG SRC='{escape(src)}' ALT=\"{escape(text)}\"></p>"


def linked(rng: np.random.Generator, src: str, text: str) -> str:
    """Return an image in a link, its text in `title` or broken over lines."""
    if rng.random() < 0.3:
        return f'<a href="/"><img src="{escape(src)}" title="{escape(text)}"></a>'
    return f'<a href="/"><img\n  src="{escape(src)}"\n  alt="\n    {escape(text)}\n  "></a>'


def row(rng: np.random.Generator, src: str, text: str) -> str:
    """Return an image in a table."""
    cells = f'<td><img src="{escape(src)}" alt="{escape(text)}"/></td><td>{int(rng.integers(9_999))}</td>'
    return f"<table><tr>{cells}</tr></table>"


STYLES = {"gallery.example": figure, "shop.example": product, "blog.example": lazy, "photos.example": linked}
"""How a host's pages write an image; the others write `row`."""
