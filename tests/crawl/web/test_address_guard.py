import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.web.address_guard import Guard, PrivateAddressError, endpoint, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # the metadata service of most clouds
        "100.100.100.200",  # Alibaba's, in carrier-grade NAT space
        "168.63.129.16",  # Azure's WireServer
        "192.0.0.192",  # Oracle's
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2001:0:53aa:64c::1",
        "2001:db8::1",
        "example.com",
        "127.1",
        "",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "2002:808:808::1"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_embedded_address_is_as_public_as_itself(address) -> None:
    embedded = f"{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"
    assert is_public(f"::ffff:{embedded}") == is_public(f"64:ff9b::{embedded}") == is_public(str(address))


@given(st.text(max_size=40))
def test_any_text_is_answered(text: str) -> None:
    assert is_public(text) in (True, False)


def test_endpoints() -> None:
    assert endpoint("127.0.0.1") == ("127.0.0.1", None)
    assert endpoint("127.0.0.1:80") == ("127.0.0.1", 80)
    assert endpoint("::1") == ("::1", None)
    assert endpoint("[::1]:8080") == ("::1", 8080)
    for wrong in ("", "host", "host:80", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", "[::1"):
        with pytest.raises(ValueError):
            endpoint(wrong)


def resolve(guard: Guard, host: str, port: int = 80) -> list[tuple[str, int]]:
    async def run() -> list[tuple[str, int]]:
        try:
            return [(answer["host"], answer["port"]) for answer in await guard.resolve(host, port)]
        finally:
            await guard.close()

    return asyncio.run(run())


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)


def test_private_answers_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.0.1", "93.184.216.34", "10.0.0.1")
    assert resolve(Guard({}), "mixed.example") == [("93.184.216.34", 80)]


def test_a_name_with_private_answers_only_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "127.0.0.1", "169.254.169.254")
    with pytest.raises(PrivateAddressError, match=r"inside\.example resolves to 127\.0\.0\.1, 169\.254\.169\.254"):
        resolve(Guard({}), "inside.example")


def test_a_host_that_the_config_names_may_be_private() -> None:
    guard = Guard({"Demo.example": "127.0.0.1:8080", "other.example": "10.0.0.1"})
    assert resolve(guard, "demo.example") == [("127.0.0.1", 8080)]
    assert resolve(Guard({"other.example": "10.0.0.1"}), "OTHER.example.", 81) == [("10.0.0.1", 81)]


def test_names_that_are_none_do_not_resolve() -> None:
    for host in ("a..b", "a" * 64 + ".example"):
        with pytest.raises(socket.gaierror):
            resolve(Guard({}), host)


def test_no_socket_is_opened_to_a_private_address() -> None:
    guard = Guard({"demo.example": "127.0.0.2:80"})
    with pytest.raises(PrivateAddressError):
        guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))
    guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 80))).close()
    guard.socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))).close()


def test_literal_addresses_are_checked_as_hosts() -> None:
    guard = Guard({"demo.example": "127.0.0.1:80"})
    guard.check("demo.example")
    guard.check("93.184.216.34")
    for host in ("127.0.0.1", "::1", "[::1]", "::ffff:7f00:1"):
        with pytest.raises(PrivateAddressError):
            guard.check(host)


@pytest.mark.parametrize("named", ["Images.Test.", "IMAGES\u3002test", "images.test:80"])
def test_the_config_names_a_host_in_any_spelling(named: str) -> None:
    for host in ("images.test", "images.test."):
        assert resolve(Guard({named: "127.0.0.1:81"}), host) == [("127.0.0.1", 81)]
