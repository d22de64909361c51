"""Serves the test to people: a page that works by keyboard, by touch and without scripts.

A person is a random cookie. An answer is on the disk before its page is answered, and a page always asks the first
question without one, so nothing depends on what this process remembers: it may die at any time. Whoever can reach it
may answer, so requests are small and strict, and those of other sites' pages are refused, also where such a page has
its own name lead here.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from aiohttp import web

from pipeline.human.answers import UNKNOWN, Answer, Answers, person_of
from pipeline.human.questions import SHOTS, Questions
from pipeline.reports.html import environment

COOKIE = "openwit_person"
MOST_BYTES = 4096
"""The longest body of a request that is read, in bytes."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_NUMBER = re.compile(r"-?[0-9]{1,6}")
_SECONDS = re.compile(r"[0-9]{1,7}(\.[0-9]{1,3})?")
_YEAR = 365 * 24 * 3600
_QUESTIONS, _ANSWERS = web.AppKey("questions", Questions), web.AppKey("answers", Answers)
_PAGE = web.AppKey("page", jinja2.Template)
_NAMES = web.AppKey("names", frozenset)


def application(questions: Questions, answers: Answers, names: Iterable[str] = ()) -> web.Application:
    """Return the server's application; `answers` stays its caller's.

    names: by which it is reached, besides addresses, `localhost` and this machine's own name.
    """
    app = web.Application(client_max_size=MOST_BYTES, middlewares=[_refuse_foreign_requests])
    app[_QUESTIONS], app[_ANSWERS] = questions, answers
    app[_PAGE] = environment(Path(__file__).parent).get_template("page.html")
    hostname = socket.gethostname()
    app[_NAMES] = frozenset(name.lower() for name in ("localhost", hostname, f"{hostname}.local", *names))
    app.add_routes(
        [
            web.get("/", _show),
            web.post("/begin", _begin),
            web.post("/answer", _answer),
            web.get("/image/{number:[0-9]{1,6}}", _image),
            web.get("/example/{label:[0-9]{1,6}}/{place:[0-9]}", _example),
        ]
    )
    app.on_response_prepare.append(_add_security_headers)
    return app


async def _add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """No other site shows or reads what is answered, errors too."""
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Server"] = "openwit"  # and no versions


@web.middleware
async def _refuse_foreign_requests(request: web.Request, handler: Any) -> web.StreamResponse:
    """Refuses what another site's page sends, and what comes by a name that is not this server's: another site's page
    may have its own name lead here, and would then be taken for this one's (DNS rebinding)."""
    names: frozenset[str] = request.app[_NAMES]
    if not _is_own(request.host, names):
        raise web.HTTPForbidden(text="this server is not reached by that name; wit human --name adds one")
    origin, fetched = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "same-origin")
    own_origins = {f"http://{request.host}", f"https://{request.host}"}
    is_foreign = (origin is not None and origin not in own_origins) or fetched not in ("same-origin", "none")
    if request.method == "POST" and is_foreign:
        raise web.HTTPForbidden(text="this was sent by another site")
    response: web.StreamResponse = await handler(request)
    return response


def _is_own(host: str, names: Collection[str]) -> bool:
    """Whether a Host header has an address, which no other site can have as its name, or a name of this server."""
    name = (urlsplit(f"//{host}").hostname or "").lower() if _HOST.fullmatch(host) else ""
    try:
        return bool(name in names or ipaddress.ip_address(name))
    except ValueError:
        return False


def _token(request: web.Request) -> str | None:
    """The cookie of a person who has begun here."""
    token = request.cookies.get(COOKIE, "")
    return token if _TOKEN.fullmatch(token) and request.app[_ANSWERS].is_known(token) else None


def csrf(token: str) -> str:
    """Return what a page of this person's has in its form, and no other site can know."""
    return hmac.new(token.encode(), b"answer", hashlib.sha256).hexdigest()


def _next_question(request: web.Request, token: str) -> tuple[int, int] | None:
    """(shots, image's number) of the first question that a person has not answered."""
    questions, person = request.app[_QUESTIONS], person_of(token)
    answered = request.app[_ANSWERS].answered_by(person)
    return next(
        (
            (shot, number)
            for shot in SHOTS
            for number in questions.order(person, shot)
            if (shot, questions.names[number]) not in answered
        ),
        None,
    )


async def _show(request: web.Request) -> web.Response:
    questions, token = request.app[_QUESTIONS], _token(request)
    asked = None if token is None else _next_question(request, token)
    nonce = secrets.token_urlsafe(16)
    shown: dict[str, Any] = {"questions": questions, "nonce": nonce, "state": "new" if token is None else "done"}
    if token is not None and asked is not None:
        shot, number = asked
        done = len(request.app[_ANSWERS].answered_by(person_of(token)))
        shown |= {"state": "asked", "shot": shot, "number": number, "csrf": csrf(token)}
        shown |= {"done": done, "total": len(SHOTS) * len(questions.names)}
    policy = (
        f"default-src 'none'; img-src 'self'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return web.Response(text=request.app[_PAGE].render(shown), content_type="text/html", headers=headers)


async def _begin(request: web.Request) -> web.Response:
    response = web.Response(status=303, headers={"Location": "/"})
    if _token(request) is None:
        token = secrets.token_urlsafe(32)
        if not request.app[_ANSWERS].add_person(token):
            raise web.HTTPServiceUnavailable(text="too many people have begun")
        response.set_cookie(
            COOKIE, token, max_age=_YEAR, httponly=True, samesite="Strict", secure=request.secure, path="/"
        )
    return response


async def _answer(request: web.Request) -> web.Response:
    token = _token(request)
    if token is None:
        raise web.HTTPSeeOther("/")
    form = await request.post()
    fields = {name: value for name, value in form.items() if isinstance(value, str)}
    if not hmac.compare_digest(fields.get("csrf", "").encode(), csrf(token).encode()):
        raise web.HTTPForbidden(text="this was not sent by the page that asks")
    questions, numbers = request.app[_QUESTIONS], []
    for name, least, most in (
        ("shot", 0, len(SHOTS) - 1),
        ("number", 0, len(questions.names) - 1),
        ("answer", UNKNOWN, len(questions.classes) - 1),
    ):
        text = fields.get(name, "")
        if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise web.HTTPBadRequest(text=f"{name} must be a number from {least} to {most}")
        numbers.append(int(text))
    shot, number, answer = numbers
    seconds = fields.get("seconds", "0")
    if not _SECONDS.fullmatch(seconds):
        raise web.HTTPBadRequest(text="seconds must be a number")
    # Only the question that is due is taken: nobody answers ahead, or again after having seen examples.
    if _next_question(request, token) == (shot, number):
        recorded = Answer(person_of(token), shot, questions.names[number], questions.labels[number], answer)
        request.app[_ANSWERS].add(recorded, float(seconds))
    raise web.HTTPSeeOther("/")


async def _image(request: web.Request) -> web.Response:
    images = request.app[_QUESTIONS].images
    number = int(request.match_info["number"])
    if number >= len(images):
        raise web.HTTPNotFound
    return _jpeg(images[number])


async def _example(request: web.Request) -> web.Response:
    examples = request.app[_QUESTIONS].examples
    label, place = int(request.match_info["label"]), int(request.match_info["place"])
    if label >= len(examples) or place >= len(examples[label]):
        raise web.HTTPNotFound
    return _jpeg(examples[label][place])


def _jpeg(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})
