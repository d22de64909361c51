"""Credentials in an address: used where the address is asked, never written and never printed.

What is left of the address without them is its name everywhere: it stays the same when a signature is renewed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET = frozenset(
    (
        # signed addresses of Google's, Amazon's (the older kind, and CloudFront) and Azure's stores
        *("googleaccessid", "awsaccesskeyid", "signature", "expires", "key-pair-id", "policy"),
        *("sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "srt", "ss", "skoid", "sktid", "skt", "ske", "sks", "skv"),
        # what servers call a word that opens them
        *("token", "access_token", "accesstoken", "auth", "auth_token", "authtoken", "authorization", "bearer", "jwt"),
        *("apikey", "api_key", "api-key", "access_key", "accesskey", "secret", "client_secret", "secret_key"),
        *("password", "passwd", "pwd", "pass", "hmac", "credential", "credentials", "session", "sessionid"),
        *("jsessionid", "phpsessid", "subscription-key", "ticket", "hdnea", "hdnts", "hdntl", "__gda__"),
    )
)
_PERHAPS = frozenset(("key", "code", "hash", "s", "k", "h", "sign", "mac", "md5", "sid", "pin", "otp", "psk"))
"""What may open an address, or tell which file is meant: a digest of its value stands in its place."""
_DIGEST = re.compile(r"~[0-9a-f]{8}")
_FILE = re.compile(
    r"[^?&#]+\.(?:w?arc|wat|wet|wacz|cdxj?|parquet|arrow|csv|tsv|jsonl?|ndjson|txt|html?|xml|tar|zip|[gx]z|bz2|zst|pt|onnx)",
    re.IGNORECASE,
)
"""A value that names a file is no secret."""
_SHORT = 6  # characters; such a value stands in many a message by chance
_MOST_SECRETS = 200  # of one address; signed ones have about 30
_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "q-sign-")
_SUFFIXES = ("token", "secret", "password", "signature", "apikey", "api_key", "api-key", "credential")
_GOOGLE_KEY = re.compile(r"key=AIza[0-9A-Za-z_-]{35}", re.IGNORECASE)
_PART = re.compile(r"([?&;#])([^&;#]*)")
_CHAINED = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*:)")  # fsspec's, as `simplecache::https://…`
_USERINFO = re.compile(r"(?<=://)[^/?#&@\s]*@")  # of an address that stands in another


def public(url: str) -> str:
    """Return an address without user, password and signature; a text that is none as it is.

    `https://me:pw@host/a?file=1&token=x` is `https://host/a?file=1`, and `?code=x` is `?code=~2d711642`.
    """
    return "::".join(map(_public, _CHAINED.split(url)))


def _public(url: str) -> str:
    if not _URL.match(url):
        return url
    scheme, rest = url.split("://", 1)
    end = min((offset for offset in (rest.find(char) for char in "/?#") if offset >= 0), default=len(rest))
    authority, path = rest[:end].rpartition("@")[2], rest[end:]
    if any(mark in path for mark in "?#;"):
        path = _strip_secrets(path)
    return f"{scheme}://{authority}{_USERINFO.sub('', path)}"


def _strip_secrets(path: str) -> str:
    whole = re.split(r"[?#]", path, maxsplit=1)[0]
    head = re.sub(r";([^/;]*)", lambda part: "" if _is_secret(part[1]) else part[0], whole)
    kept = [(mark, _digest_secret(part)) for mark, part in _PART.findall(path[len(whole) :]) if not _is_secret(part)]
    fragment = False
    answer = head
    for place, (mark, part) in enumerate(kept):
        if mark == "#":
            fragment = True
        elif not fragment:
            mark = "?" if place == 0 else "&" if mark == "?" else mark
        answer += mark + part
    return answer


def _is_secret(part: str) -> bool:
    name, equals, _ = part.partition("=")
    name = unquote(name).strip().lower().rstrip("]")
    is_named = name in _SECRET or name.startswith(_PREFIXES) or name.endswith(_SUFFIXES)
    return bool(equals) and (is_named or _GOOGLE_KEY.fullmatch(part) is not None)


def _may_be_secret(part: str) -> bool:
    name, _, value = part.partition("=")
    known = not value or _DIGEST.fullmatch(value) or _FILE.fullmatch(unquote(value))
    return not known and unquote(name).strip().lower() in _PERHAPS


def _digest_secret(part: str) -> str:
    """A parameter as it is, or with a digest in the place of what may be a secret."""
    if not _may_be_secret(part):
        return part
    name, _, value = part.partition("=")
    return f"{name}=~{hashlib.sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def without(text: str, url: str) -> str:
    """Return a message about an address, whoever worded it, without the address's secrets.

    Each secret is one look through the message; where they are more than in any address, nothing of it is told.
    """
    secrets: set[str] = set()
    for secret in _secrets(url):
        secrets.add(secret)
        if len(secrets) > _MOST_SECRETS:
            return "…"
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _secrets(url: str) -> Iterator[str]:
    for part in _CHAINED.split(url):
        yield from _secrets_of(part)


def _secrets_of(url: str) -> Iterator[str]:
    if not _URL.match(url):
        return
    yield from _USERINFO.findall(url)
    rest = url.split("://", 1)[1]
    userinfo, separator, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    if separator:
        yield from (f"{userinfo}@", *(part for part in userinfo.split(":", 1) if part))
    for _, part in _PART.findall(rest):
        if _is_secret(part):
            value = part.partition("=")[2]
            yield from (word for word in (part, value, unquote(value)) if word)
        elif _may_be_secret(part):
            value = part.partition("=")[2]
            yield from (word for word in (part, value, unquote(value)) if len(word) >= _SHORT)


def authorization(url: str) -> dict[str, str]:
    """Return the header that carries an address's user and password; none if it has neither."""
    import base64

    userinfo, separator, _ = urlsplit(url).netloc.rpartition("@")
    if not separator:
        return {}
    user, _, password = userinfo.partition(":")
    word = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


def public_values(value: Any) -> Any:
    """Return a config's value with every address in it `public`."""
    if isinstance(value, dict):
        return {key: public_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [public_values(item) for item in value]
    return public(value) if isinstance(value, str) else value
