import pytest

from crawl.images.observations import RefusedBody
from crawl.web.address_guard import Guard
from crawl.web.config import FetchConfig
from crawl.web.contact import Contact, NoContactError, is_own
from crawl.web.fetch import fetch
from tests.crawl.hostile_server import running


@pytest.mark.parametrize(
    "user_agent",
    [
        "mybot/1.0 (+https://example.org/bot; me@example.org)",
        "mybot (+http://bots.example.org)",
        "mybot/1 me@example.org",
    ],
)
def test_a_page_or_a_mail_address_is_a_contact(user_agent: str) -> None:
    assert is_own(user_agent)


@pytest.mark.parametrize(
    "user_agent", [FetchConfig().user_agent, "mybot/1.0", "mybot/1.0 (+https://)", "mybot (x@openwit.example)", "a@b"]
)
def test_the_default_and_none_are_no_contact(user_agent: str) -> None:
    assert not is_own(user_agent)


def test_loopback_and_the_hosts_of_resolve_are_asked_by_anybody() -> None:
    contact = Contact("mybot/1.0", Guard({"images.test": "127.0.0.1:8000"}))
    urls = [
        "http://images.test/a",
        "http://IMAGES.test.:80/",
        "http://127.0.0.1:8/",
        "http://localhost/",
        "http://[::1]/",
    ]
    contact.check_all([*urls, "http://10.0.0.1/refused-anyway", "nonsense"])
    with pytest.raises(NoContactError, match=r"fetch\.user_agent .* example\.net is not asked"):
        contact.check_all([*urls, "https://example.net/a.jpg"])
    Contact("mybot/1.0 (me@example.org)", Guard({})).check_all(["https://example.net/a.jpg"])


def test_a_redirect_leads_nowhere_where_the_address_itself_would_not() -> None:
    with running() as server:
        urls = ["http://images.test/to/image"]
        resolve = {"images.test": f"127.0.0.1:{server.port}"}
        with pytest.raises(NoContactError, match="other"):
            fetch(urls, FetchConfig(resolve=resolve, attempts=1), lambda body: RefusedBody("taken", ""))
        assert not any(path.startswith("other.test") for path in server.hits)
