"""A host has one spelling wherever it is compared."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.hosts import canonical_host, hostname, site_of


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("Example.ORG", "example.org"),
        ("example.org.", "example.org"),
        ("example.org.:8080", "example.org"),
        ("ex\u200bample\u3002org", "example.org"),
        ("\uff45xample.org", "example.org"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("b\u0075\u0308cher.example", "xn--bcher-kva.example"),
        ("%62%C3%BCcher.example", "xn--bcher-kva.example"),
        ("XN--bcher-KVA.example", "xn--bcher-kva.example"),
        ("fa\u1e9e.de", "xn--fa-hia.de"),
        ("fa\u00df.de", "xn--fa-hia.de"),
        ("\u10a0\u2132\u04c0.de", "xn--s5a307lv6h.de"),  # capitals that UTS 46 maps since Unicode 15.1
        ("me@b\u00fccher.example:80", "xn--bcher-kva.example"),
        ("b\u00fccher.example\uff0fx", "b\u00fccher.example\uff0fx"),  # no host: its slash would be one
        ("b\u00fccher.example\uff1a80", "b\u00fccher.example\uff1a80"),
        ("127.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("::1", "[::1]"),
        ("[0:0::1]:80", "[::1]"),
        ("::ffff:127.0.0.1", "[::ffff:7f00:1]"),
        ("not a host", "not a host"),
        ("", ""),
        (".", ""),
    ],
)
def test_the_spelling_of_a_host(written: str, host: str) -> None:
    assert canonical_host(written) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    ("url", "host", "site"),
    [
        ("http://h.example/a?b=http://c/", "h.example", "http://h.example"),
        ("https://h.example.:444/", "h.example", "https://h.example:444"),
        ("http://me:pass@h.example:80/", "h.example", "http://h.example"),
        ("https://[::1]:8/", "[::1]", "https://[::1]:8"),
    ],
)
def test_the_host_and_the_site_of_an_address(url: str, host: str, site: str) -> None:
    assert (hostname(url), site_of(url)) == (host, site)


@pytest.mark.parametrize("url", ["mailto:a@b", "ftp://h.example/", "http://[", "//h.example/", ""])
def test_other_addresses_have_no_host(url: str) -> None:
    assert hostname(url) == ""


@settings(max_examples=50)
@given(st.text(max_size=20))
def test_a_canonical_spelling_is_its_own(name: str) -> None:
    once = canonical_host(name)
    assert canonical_host(once) == once
