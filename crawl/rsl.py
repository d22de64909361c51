"""What a license by Really Simple Licensing says of training (RSL 1.0, December 2025, with its errata to August 2026,
rslstandard.org/rsl).

A license is an XML file that robots.txt, a Link header or a page names, or that a page or an image holds. It lists
contents by path, and for each the licenses that are offered; an alternate of a content has its terms. A use that is
both permitted and prohibited is not licensed, a narrower path comes before a wider one that also speaks of training,
who permits some uses permits no others, and in doubt nothing is permitted (sections 3.1.1, 3.5, 3.6 and 3.14). So
`permits ai-train` beside `prohibits all` permits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from crawl.path_patterns import matches, normalize_path, path_of
from crawl.urls import canonical_url
from crawl.wishes import MAX_CHARS, UNREADABLE
from dataset.hosts import hostname

SIGNAL = "RSL"
MEDIA_TYPE = "application/rsl+xml"
MAX_BYTES = 256 * 1024
"""How large a license is read; the largest that sites publish have some kilobytes."""
MAX_LICENSES = 4
"""How many licenses a site, a response or a page may name; of more, what the others say is unreadable."""
PROHIBITED, PAYMENT, PERMITTED, NAMED = "prohibited: ", "payment: ", "permitted: ", "license: "
"""How what a license says of training begins; NAMED: where it is, which was not asked for."""

_NAMESPACE = re.compile(r"https?://(?:www\.)?rslstandard\.org/rsl\b")
# Of section 3.4.1.1, and of the draft before it (0.9).
_TRAINING = frozenset({"all", "ai-all", "ai-train", "train-ai", "train-genai"})
_PERMITS_TRAINING = _TRAINING - {"train-genai"}
# RSL's elements by the one that they stand in; another of its namespace makes a license unreadable (section 3).
_KNOWN = {
    "rsl": frozenset({"content"}),
    "content": frozenset({"license", "alternate", "schema", "copyright", "terms"}),
    "license": frozenset({"permits", "prohibits", "payment", "reporting", "legal"})
    | {"copyright", "terms", "schema", "alternate", "standard", "custom", "amount", "accepts"},  # misplaced
    "payment": frozenset({"standard", "custom", "amount", "accepts"}),
}
_UNPAID = frozenset({"", "free", "attribution"})  # every sample keeps where its image and its page are
_TOKENS = re.compile(r"[\s,]+")
_LINK = re.compile(r'<([^<>]*)>((?:[^,"<]|"(?:[^"\\]|\\.)*"?)*)', re.DOTALL)
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))')
_SHOWN_CHARS = 100
_WHOLE = 2**31  # the length of a pattern that stands for what the license came with: none is narrower


class UnreadableError(ValueError):
    """A license cannot be read; it says why."""


class _Term(NamedTuple):
    """What one content's licenses say of training."""

    host: bytes  # a pattern; empty: whichever names the license
    pattern: bytes  # normal
    said: str


@dataclass(frozen=True, slots=True)
class License:
    """What a license says of training, the narrowest path first; of equal ones what refuses."""

    terms: tuple[_Term, ...]

    def terms_for(self, url: str) -> str | None:
        """Return what it says of an absolute URL: PROHIBITED, PAYMENT or PERMITTED with why; None: nothing of
        training.
        """
        host, path = hostname(url).encode("utf-8", "replace"), path_of(url)
        return next(
            (
                term.said
                for term in self.terms
                if (not term.host or matches(term.host + b"$", host)) and matches(term.pattern, path)
            ),
            None,
        )

    def of_all(self) -> str | None:
        """Return what it says of what it stands in, whatever address it gives that."""
        return _first_of_kind([term.said for term in self.terms], (PROHIBITED, PAYMENT, PERMITTED))

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 200 + sum(300 + len(term.pattern) + len(term.said) for term in self.terms)


def refuses(said: str | None) -> bool:
    """Return whether what a license says of training refuses it."""
    return said is not None and said.startswith((PROHIBITED, PAYMENT))


def strictest(said: Iterable[str | None]) -> str | None:
    """Return what counts where several licenses speak: the first that refuses, else the first that is unreadable, else
    any.
    """
    there = [one for one in said if one is not None]
    odd = (one for one in there if one.startswith(UNREADABLE))
    return next((one for one in there if refuses(one)), None) or next(odd, None) or next(iter(there), None)


def outcome_of(said: str) -> str:
    """Return the fetch stage's reason for dropping what a license refuses, given what it says."""
    return "rsl_prohibited" if said.startswith(PROHIBITED) else "rsl_payment_required"


def parse(body: bytes | str) -> License:
    """Read a license.

    Raises:
        UnreadableError: it is too long, is no XML, declares a document type, or is no license; nothing else.
    """
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    if len(body) > MAX_BYTES:
        raise UnreadableError(f"more than {MAX_BYTES:,} bytes")
    try:
        root = fromstring(body.strip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError) as error:
        raise UnreadableError(f"no XML: {' '.join(str(error).split())[:_SHOWN_CHARS]}") from None
    return read(root)


def read(root: Any) -> License:
    """Return the license that an XML element `rsl` is. Raises UnreadableError."""
    if _name(root) != "rsl":
        raise UnreadableError(f"its root is {str(root.tag)[:_SHOWN_CHARS]}")
    contents = [child for child in root if _name(child) == "content"]
    if not contents:
        raise UnreadableError("it has no content")
    terms: list[_Term] = []
    odd = _find_unknown(root)
    for content in contents:
        try:
            said = _license_terms(content)
        except UnreadableError as error:
            odd = odd or str(error)
            continue
        if said is not None:
            alternates = [(child.text or "").strip() for child in content if _name(child) == "alternate"]
            for url in (content.get("url") or "", *(f"{url}$" for url in alternates if url)):
                terms.append(_Term(*_scope(url), said[:_SHOWN_CHARS]))
    if odd and not any(refuses(term.said) for term in terms):
        raise UnreadableError(odd)
    terms.sort(key=lambda term: (-len(term.pattern) if term.pattern else -_WHOLE, not refuses(term.said), term))
    return License(tuple(terms))


def _name(element: Any) -> str:
    """An element's name if it is RSL's; RSL is also taken for what has no namespace at all."""
    tag = element.tag
    if not isinstance(tag, str):  # a comment
        return ""
    namespace, _, name = tag.rpartition("}")
    return name if not namespace or _NAMESPACE.match(namespace[1:]) else ""


def _find_unknown(element: Any) -> str:
    """What in an element is no element of RSL though it says so; empty: nothing."""
    known = _KNOWN[_name(element)]
    unknown = next((name for child in element if (name := _name(child)) and name not in known), "")
    return f"an element {unknown[:_SHOWN_CHARS]}" if unknown else ""


def _scope(url: str) -> tuple[bytes, bytes]:
    """The host and the path that a content's `url` names, as patterns; a scheme is not looked at."""
    url = url.strip()
    match = re.match(r"(?:[a-z][a-z0-9+.-]*:)?//([^/?#]*)(.*)", url, re.IGNORECASE | re.DOTALL)
    host, path = (match[1], match[2] or "/") if match else ("", url)
    host = host.rpartition("@")[2].lower()
    host = re.sub(r":\d*$", "", host).rstrip(".")
    if path and path[0] not in "/*":
        path = f"/{path}"
    return host.encode("utf-8", "replace"), normalize_path(path.partition("#")[0].encode("utf-8", "replace"))


def _license_terms(content: Any) -> str | None:
    """What the licenses of a content say of training. Raises UnreadableError: they cannot be read, and none refuses."""
    licenses = [child for child in content if _name(child) == "license"]
    if not licenses:
        raise UnreadableError("a content without a license")
    odd = _find_unknown(content)
    offered: list[str] = []
    for one in licenses:
        try:
            said = _training_terms(one)
        except UnreadableError as error:
            odd = odd or str(error)
            continue
        if said is not None and said.removeprefix(PROHIBITED) in _TRAINING:
            return said  # whatever else is offered
        if said is not None:
            offered.append(said)
    if (content.get("server") or "").strip():
        offered = [
            PAYMENT + "a token of its license server" if said.startswith(PERMITTED) else said for said in offered
        ]
    if odd and not any(map(refuses, offered)):
        raise UnreadableError(odd)
    return _first_of_kind(offered, (PERMITTED, PAYMENT, PROHIBITED))


def _first_of_kind(said: Sequence[str], kinds: Sequence[str]) -> str | None:
    """The first of the first kind that there is."""
    return next((one for kind in kinds for one in said if one.startswith(kind)), None)


def _training_terms(license_: Any) -> str | None:
    """What one license says of training; None: it speaks of other uses only."""
    permits: dict[str, set[str]] = {}
    prohibits: dict[str, set[str]] = {}
    payments, odd, reports = [], _find_unknown(license_), False
    for child in license_:
        name = _name(child)
        if name in ("permits", "prohibits"):
            words = {word for word in _TOKENS.split((child.text or "").lower()) if word}
            kind = (child.get("type") or "usage").strip().lower()
            (permits if name == "permits" else prohibits).setdefault(kind, set()).update(words)
        elif name == "payment":
            payments.append(child)
            odd = odd or _find_unknown(child)
        elif name == "reporting":
            reports = True
    if prohibited := prohibits.get("usage", set()) & _TRAINING:
        return f"{PROHIBITED}{min(prohibited)}"
    if odd:
        raise UnreadableError(odd)
    permitted = permits.get("usage")
    if permitted is None and "usage" in prohibits:
        return None
    if permitted is not None and not permitted & _PERMITS_TRAINING:
        return f"{PROHIBITED}permits {' '.join(sorted(permitted))} alone"
    # A dataset goes to whoever trains on it, wherever that is.
    limits = sorted({*permits, *prohibits} & {"user", "geo"})
    if limits:
        kind = limits[0]
        listed = " ".join(sorted(permits.get(kind) or prohibits.get(kind, set())))
        return f"{PROHIBITED}{'permits' if kind in permits else 'not for'} {kind} {listed}"
    for payment in payments:
        asked = _payment(payment)
        if asked:
            return f"{PAYMENT}{asked}"
    if reports:
        return f"{PAYMENT}reports on the use"
    return f"{PERMITTED}{min(permitted & _PERMITS_TRAINING) if permitted is not None else 'all'}"


def _payment(payment: Any) -> str:
    """What a `payment` asks for; empty: nothing (sections 3.7 to 3.11)."""
    kind = (payment.get("type") or "").strip().lower()
    parts = {_name(child): child for child in payment}
    if kind not in _UNPAID:
        return kind
    for name in ("amount", "accepts", "custom"):
        text = ((parts[name].text or "") if name in parts else "").strip()
        if name in parts and not (name == "amount" and re.fullmatch(r"0+(\.0*)?", text)):
            return f"{name} {' '.join(text.split())}".strip()
    if not kind and "standard" in parts:
        return f"by {' '.join((parts['standard'].text or '').split())}"
    return ""


def licenses_of_links(values: Iterable[str], url: str) -> list[str]:
    """Return where the licenses are that Link headers name (RFC 8288; RSL, section 4.5), distinct, as canonical URLs.

    values: of all its lines; url: of the response.
    """
    urls: dict[str, None] = {}
    for target, parameters in _LINK.findall(",".join(values)[:MAX_CHARS]):
        named = {name.lower(): (quoted or plain) for name, quoted, plain in _PARAMETER.findall(parameters)}
        if is_license(named.get("rel", ""), named.get("type", "")) and (where := canonical_url(target.strip(), url)):
            urls[where] = None
    return list(urls)


def is_license(rel: str, media_type: str) -> bool:
    """Return whether a link of these attributes leads to an RSL license; others lead to pages for people."""
    return media_type.partition(";")[0].strip().lower() == MEDIA_TYPE and "license" in rel.lower().split()


def of_page(inline: Iterable[str], links: Iterable[str]) -> str | None:
    """Return what a page says of training by RSL: by the licenses that it holds, and where those are that it names.

    Any that refuses stands alone; else one that cannot be read comes first, then NAMED and those that are named, blank
    between their URLs, so that none hides another. What is permitted counts if there is nothing else.
    """
    said: list[str | None] = []
    for text in _limit_texts(inline):
        try:
            said.append(parse(text).of_all())
        except UnreadableError as error:
            said.append(f"{UNREADABLE}{error}")
    named = list(dict.fromkeys(links))
    if len(named) > MAX_LICENSES:
        said.append(f"{UNREADABLE}more than {MAX_LICENSES} licenses")
    first = strictest(said)
    if not named or refuses(first):
        return first
    places = NAMED + " ".join(named[:MAX_LICENSES])
    return f"{first}; {places}" if first is not None and first.startswith(UNREADABLE) else places


def named_by(page_rsl: str) -> list[str]:
    """Return where the licenses are that an answer of `of_page` names."""
    return re.split(rf"(?:^|; ){NAMED}", page_rsl)[-1].split() if NAMED in page_rsl else []


def _limit_texts(texts: Iterable[str]) -> Iterator[str]:
    """Some of the texts, and an unreadable one for all others."""
    for number, text in enumerate(texts):
        if number == MAX_LICENSES:
            yield ""
            return
        yield text
