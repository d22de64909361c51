"""When a site is left alone, and when not: what fails, how often, of which kinds, and when it is asked again."""

import pytest

from crawl.web.config import FetchConfig
from crawl.web.politeness import FAILURES, KINDS, LAST_FAILURES, PAUSE_S, SILENT_SITES, Host, Site, kind_of
from crawl.web.response import Refused

CLOSED = Refused("connection_failed", "refused", site_failed=True, at_connection=True)
RESET = Refused("connection_failed", "reset", site_failed=True)
LATE = Refused("timeout", "late", site_failed=True)


def site(url: str = "http://a.test", host: Host | None = None) -> Site:
    return Site(url, host or Host("a.test", FetchConfig()))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://a.test/x/y.jpg", "http://a.test/x/.jpg"),
        ("http://a.test/x/z.JPG?v=1.2#a/b.c", "http://a.test/x/.jpg"),
        ("http://a.test/x/", "http://a.test/x/"),
        ("http://a.test/", "http://a.test/"),
        ("http://a.test/img.php?u=/a/b.png", "http://a.test/.php"),
        ("http://a.test/x/y", "http://a.test/x/"),
    ],
)
def test_a_kind_is_a_folder_and_an_ending(url: str, kind: str) -> None:
    assert kind_of(url) == kind


def test_a_site_without_a_connection_rests_whatever_was_asked_for() -> None:
    one = site()
    for number in range(FAILURES):
        assert one.resting("http://a.test/x/other.jpg") is None
        one.fails(f"http://a.test/x/{number}.jpg", CLOSED, 0.0)
    assert one.resting("http://a.test/") is not None
    assert one.given_up("http://a.test/") is None


@pytest.mark.parametrize("failure", [RESET, LATE])
def test_failures_of_one_folder_are_the_folder_s(failure: Refused) -> None:
    one = site()
    for number in range(3 * FAILURES):
        one.fails(f"http://a.test/slow/{number}.php", failure, 0.0)
    assert one.resting("http://a.test/slow/x.php") is not None
    assert one.resting("http://a.test/slow/x.jpg") is None
    assert one.resting("http://a.test/x.php") is None


def test_failures_of_several_kinds_are_the_site_s() -> None:
    one = site()
    for number in range(FAILURES):
        assert one.resting("http://a.test/") is None
        one.fails(f"http://a.test/{number % KINDS}/x.jpg", LATE, 0.0)
    assert one.resting("http://a.test/") is not None


def test_an_answer_ends_the_row() -> None:
    one = site()
    for number in range(10 * FAILURES):
        one.fails(f"http://a.test/{number % KINDS}/{number}.jpg", LATE if number % 2 else CLOSED, 0.0)
        if number % (FAILURES - 1) == 0:
            for kind in range(KINDS):
                one.answers(f"http://a.test/{kind}/robots.jpg")
    assert one.resting("http://a.test/") is None


def test_failures_come_later_and_later() -> None:
    one = site()
    pauses = []
    for _ in range(FAILURES - 1):
        one.fails("http://a.test/x.jpg", CLOSED, 100.0)
        pauses.append(max(0.0, one.pause_ends - 100.0))
    assert pauses == [PAUSE_S * factor for factor in (0, 0, 1, 2, 4, 8, 8, 8, 8)]


def test_what_rests_is_asked_once_more_and_then_given_up() -> None:
    one = site()
    one.rest(RESET)
    assert one.once_more()
    assert one.resting("http://a.test/") is one.given_up("http://a.test/") is None
    for number in range(LAST_FAILURES):
        assert one.given_up("http://a.test/") is None
        one.fails(f"http://a.test/{number}.jpg", CLOSED, 0.0)
    assert one.given_up("http://a.test/") is not None
    assert not one.once_more()


def test_ports_of_a_host_that_are_silent_say_nothing_of_one_that_answers() -> None:
    host = Host("a.test", FetchConfig())
    good = site("http://a.test", host)
    good.answers("http://a.test/x.jpg")
    for port in range(81, 81 + SILENT_SITES):
        other = site(f"http://a.test:{port}", host)
        assert other.resting(f"http://a.test:{port}/") is None
        other.fails(f"http://a.test:{port}/", LATE, 0.0)
    assert site("http://a.test:99", host).resting("http://a.test:99/") is not None
    assert good.resting("http://a.test/y.jpg") is None


def test_ports_of_a_host_that_are_closed_cost_nothing_and_are_all_tried() -> None:
    host = Host("a.test", FetchConfig())
    for port in range(81, 181):
        other = site(f"http://a.test:{port}", host)
        other.fails(f"http://a.test:{port}/", CLOSED, 0.0)
        assert other.resting(f"http://a.test:{port}/") is None
