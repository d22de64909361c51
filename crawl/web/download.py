"""One file from the web, with the manners of the fetcher: robots.txt, no private address, bounded in size and time."""

from __future__ import annotations

import asyncio

from crawl.web.client import Client
from crawl.web.config import FetchConfig
from crawl.web.response import Refused, Response
from crawl.web.visit import visit


def download(url: str, config: FetchConfig) -> bytes:
    """Return the body at a canonical address, at most `config.max_body_bytes` of it.

    Raises:
        OSError: there was none, and why, in a sentence.
        NoContactError: `config.user_agent` names no contact.
    """
    answer = asyncio.run(_download(url, config))
    if isinstance(answer, Refused):
        raise OSError(f"{url} could not be fetched: {answer.outcome}, {answer.detail}")
    return answer.body


async def _download(url: str, config: FetchConfig) -> Response | Refused:
    answers: list[Response | Refused] = []

    async def take(_: str, answer: Response | Refused, __: int) -> None:
        answers.append(answer)

    async with Client(config, "*/*") as client:
        await visit(client, [url], lambda headers: None, take)
    return answers[0]
