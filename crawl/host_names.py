"""The addresses of names, asked of the system's resolver; a name server that is silent keeps nobody else waiting.

The system's resolver may hold a thread for half a minute over one name, and a page can name a thousand hosts whose name
servers never answer. So each question has a thread of its own; one that takes longer than a second gives its place to
another; who asked is told after some seconds, whatever the thread does; and nothing is asked twice at the same time.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from resource import RLIMIT_NOFILE, getrlimit
from threading import Thread

SLOW_S = 1.0
"""How long a question may take before it gives its place to another."""
ANSWER_S = 8.0
"""How long a name is waited for, so that a second name server is asked where the first is silent (5 s, resolv.conf(5)).
A question that is still under way when the name is wanted again is waited for as long again.
"""
AT_ONCE = 256
"""The most questions at a time, besides slow ones; fewer where few files may be open, of which each has one."""
SLOW_AT_ONCE = 1024
"""The most slow questions at a time."""
KEPT_S = 300.0
"""How long an answer is kept; that there is no such name, as long."""
FAILURE_KEPT_S = 5.0
"""How long a failure is kept that may pass."""

Addresses = list[str]


class _Question:
    """A name that is being asked for, or waits to be."""

    __slots__ = ("answer", "answered", "is_over_due", "is_slow")

    def __init__(self) -> None:
        self.answer: Addresses | OSError = []
        self.answered = asyncio.Event()  # or given up
        self.is_over_due = False  # slow, while there is no place among the slow
        self.is_slow = False


class Names:
    """What is known of names within one event loop.

    Args:
        look_up: host → its addresses; it blocks, and raises OSError, of which socket.gaierror is one.
    """

    def __init__(self, look_up: Callable[[str], Addresses]):
        self._look_up = look_up
        self._known: dict[str, tuple[float, Addresses | OSError]] = {}  # until when, and what
        self._waiting: deque[str] = deque()
        self._questions: dict[str, _Question] = {}  # waiting or under way
        files = getrlimit(RLIMIT_NOFILE)[0] // 8
        self._places, self._slow_places = min(AT_ONCE, files), min(SLOW_AT_ONCE, files)

    def is_known(self, host: str) -> bool:
        """Return whether an answer about a host is at hand, good or bad."""
        until, _ = self._known.get(host, (0.0, None))
        return until > asyncio.get_running_loop().time()

    def forget_failures(self) -> None:
        """Let names that may resolve another time be asked for again."""
        self._known = {host: known for host, known in self._known.items() if not _may_pass(known[1])}

    async def addresses(self, host: str) -> Addresses:
        """Return a host's addresses.

        Raises:
            socket.gaierror: the name does not resolve; EAI_AGAIN: no name server has answered in time.
            OSError: as `look_up` raises it.
        """
        if self.is_known(host):
            answer = self._known[host][1]
        else:
            if host not in self._questions:
                self._questions[host] = _Question()
                self._waiting.append(host)
                self._start()
            question = self._questions[host]
            if question.answered.is_set():  # given up before, and still under way
                question.answered.clear()
                self._give_up_later(host, question)
            await question.answered.wait()
            answer = question.answer
        if isinstance(answer, OSError):
            raise type(answer)(*answer.args)  # one object that is raised again and again grows by its tracebacks
        return answer

    def _start(self) -> None:
        while self._waiting and self._places > 0:
            self._places -= 1
            host = self._waiting.popleft()
            question, loop = self._questions[host], asyncio.get_running_loop()
            self._give_up_later(host, question)
            loop.call_later(SLOW_S, self._is_slow, host, question)
            Thread(target=self._ask, args=(loop, host), name="dns", daemon=True).start()  # no exit waits for it

    def _ask(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        """Ask for a name, in a thread."""
        answer: Addresses | OSError
        try:
            answer = self._look_up(host)
        except OSError as error:
            answer = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._answer, host, answer)

    def _answer(self, host: str, answer: Addresses | OSError) -> None:
        question = self._questions.pop(host)
        if question.is_slow:
            self._slow_places += 1
        else:
            self._places += 1
        self._tell(host, question, answer)
        for other in self._questions.values() if question.is_slow else ():
            if other.is_over_due:
                self._take_slow_place(other)
                break
        self._start()

    def _tell(self, host: str, question: _Question, answer: Addresses | OSError) -> None:
        kept_s = FAILURE_KEPT_S if _may_pass(answer) else KEPT_S
        self._known[host] = asyncio.get_running_loop().time() + kept_s, answer
        question.answer = answer
        question.answered.set()

    def _is_slow(self, host: str, question: _Question) -> None:
        if self._questions.get(host) is question:
            if self._slow_places > 0:
                self._take_slow_place(question)
                self._start()
            else:
                question.is_over_due = True

    def _take_slow_place(self, question: _Question) -> None:
        question.is_slow, question.is_over_due = True, False
        self._slow_places -= 1
        self._places += 1

    def _give_up_later(self, host: str, question: _Question) -> None:
        asyncio.get_running_loop().call_later(ANSWER_S, self._give_up, host, question)

    def _give_up(self, host: str, question: _Question) -> None:
        if self._questions.get(host) is question and not question.answered.is_set():
            words = f"no name server has answered in {ANSWER_S:g} s"
            self._tell(host, question, socket.gaierror(socket.EAI_AGAIN, words))


def _may_pass(answer: Addresses | OSError) -> bool:
    return isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN
