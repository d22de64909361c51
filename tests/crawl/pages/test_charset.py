"""The encoding that a page declares is found as the HTML standard finds it: the cases of html5lib's suite, our way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawl.pages.charset import own_declaration, to_utf8

NONE = "windows-1252"  # what the suite expects where nothing is declared
PRAGMA = 'http-equiv="Content-Type"'


@pytest.mark.parametrize(
    ("page", "encoding"),
    [
        # a charset attribute, in any spelling
        ("<meta charset=iso8859-2>", "iso-8859-2"),
        ("<meta charset='iso8859-2'>", "iso-8859-2"),
        ('<meta charset="iso8859-2">', "iso-8859-2"),
        ("<META CHARSET = ISO8859-2 />", "iso-8859-2"),
        ("<meta\ncharset\n=\niso8859-2\n>", "iso-8859-2"),
        ('<meta charset="\niso8859-2\n">', "iso-8859-2"),
        ("<meta/charset=iso8859-2>", "iso-8859-2"),
        ("<meta charset=iso8859-2/>", NONE),  # the slash is the label's
        ("<meta charset=ISO-8859-1>", "windows-1252"),
        ("<meta <meta charset=euc-jp>", "euc-jp"),
        ("<meta/charset=a charset=euc-jp>", NONE),  # the first of equal names counts
        ("<meta charset=a><meta charset=euc-jp>", "euc-jp"),  # an unknown label ends nothing
        ("<metacharset=iso8859-2>", NONE),
        ("</meta charset=iso8859-2>", NONE),
        ("<meta =charset=iso8859-2>", NONE),
        ("<meta charset\u00a0=iso8859-2>", NONE),
        # in other attributes, or inside of values, it says nothing
        ('<meta name=description content="set charset=koi8-r"><meta charset=utf-8>', "utf-8"),
        ('<meta data-x="charset=shift_jis" charset=utf-8>', "utf-8"),
        ("<meta x=charset=koi8-r>", NONE),
        ('<p title="<meta charset=koi8-r>"><meta charset=utf-8>', "utf-8"),
        ("<p title='><meta charset=koi8-r>'><meta charset=utf-8>", "utf-8"),
        ("<a b=<meta charset=koi8-r>", NONE),
        ("<html a=\u00f1><meta charset=utf-8>", "utf-8"),
        ("<html \u00f1>\u00f1<meta charset=utf-8>", "utf-8"),
        # a pragma needs both of its attributes
        (f"<meta {PRAGMA} content='text/html; charset=iso8859-2'>", "iso-8859-2"),
        (f"<meta content='text/html; charset=iso8859-2' {PRAGMA}>", "iso-8859-2"),
        (f"<meta {PRAGMA} content='text/html; charset = \"iso8859-2\" ; x'>", "iso-8859-2"),
        (f"<meta {PRAGMA} content='charset charset=iso8859-2;koi8-r'>", "iso-8859-2"),
        (f'<meta {PRAGMA} content="text/html;\ncharset=iso8859-2\n">', "iso-8859-2"),
        (f"<meta {PRAGMA} content=text/html;charset=iso8859-2>", "iso-8859-2"),
        (f"<meta {PRAGMA} content=text/html; charset=iso8859-2>", "iso-8859-2"),
        (f'<meta {PRAGMA} content="charset=\'utf-8">', NONE),
        (f"<meta {PRAGMA} content='charset'>", NONE),
        ("<meta content='text/html; charset=iso8859-2'>", NONE),
        ("<meta name=Content-Type content='text/html; charset=iso8859-2'>", NONE),
        ("<meta http-equiv='Content-Type ' content='text/html; charset=iso8859-2'>", NONE),
        ("<meta http-equiv=Content-Style-Type content='text/html; charset=iso8859-2'>", NONE),
        ("<meta http-equiv='Content-Type content='text/html; charset=iso8859-2'>", NONE),
        ("<meta http-equiv='Content-Type<meta charset=utf-8>", NONE),
        (f"<meta {PRAGMA} content='charset=koi8-r' charset=utf-8>", "utf-8"),
        (f"<meta {PRAGMA} content='charset=koi8-r' charset=unknown>", NONE),
        # comments and what else is passed over
        ("<!-- <meta charset=koi8-r> --><meta charset=utf-8>", "utf-8"),
        ("<!--><meta charset=utf-8>", "utf-8"),
        ("<!---><meta charset=utf-8>", "utf-8"),
        ("<!-- > -- ><meta charset=koi8-r>", NONE),
        ("<!x <meta charset=koi8-r>", NONE),
        ("<?x <meta charset=koi8-r>", NONE),
        ("</ <meta charset=koi8-r>", NONE),
        ("<!x><?y></ z><meta charset=utf-8>", "utf-8"),
        ("< meta charset=koi8-r>", NONE),
        ("<script>x = '<meta charset=koi8-r>'</script>", "koi8-r"),  # the prescan knows no scripts
        # bytes that end before the tag does
        ("<", NONE),
        ("<!", NONE),
        ("<meta", NONE),
        ("<meta charset = ", NONE),
        ("<meta charset=utf-8", NONE),
        ("<meta charset=utf-8 ", NONE),
        ('<meta charset="utf-8', NONE),
        ('<meta charset="utf-8"', NONE),
        ("<p title='<meta charset=utf-8>", NONE),
        # what could be read as ASCII is not UTF-16; nobody's own characters are those of a page
        ("<meta charset=utf-16>", "utf-8"),
        ("<meta charset=UTF-16BE>", "utf-8"),
        ("<meta charset=x-user-defined>", "windows-1252"),
        # XML
        ('<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
        ("<?xml encoding = 'utf-16'?>", "utf-8"),
        ('<?xml encoding="koi8-r"?><meta charset=euc-jp>', "euc-jp"),
        ("<?xml encoding='koi8-r\"?>", NONE),
        ("<?xml encoding='ko i8-r'?>", NONE),
        ("<?xml encoding?encoding='koi8-r'?>", NONE),
        (" <?xml encoding='koi8-r'?>", NONE),
        # after the first 1,024 bytes what a parser meets counts
        (f"<meta {' ' * 1500} charset=euc-jp>", "euc-jp"),
        (f"<p>{'x' * 1500}<meta charset=euc-jp>", "euc-jp"),
        (f"<p>{'x' * 1500}<title><meta charset=koi8-r></title><meta charset=euc-jp>", "euc-jp"),
        (f"<p>{'x' * 1500}<script><meta charset=koi8-r></script><meta charset=euc-jp>", "euc-jp"),
        (f"<p>{'x' * 1500}<!--<meta charset=koi8-r>--><script>", NONE),
        ("<meta charset=koi8-r>" + "x" * 1500 + "<meta charset=euc-jp>", "koi8-r"),
    ],
)
def test_what_a_page_declares(page: str, encoding: str) -> None:
    assert (own_declaration(page.encode()) or NONE) == encoding


@pytest.mark.parametrize(
    ("page", "declared", "encoding"),
    [
        (b"\xef\xbb\xbf<meta charset=koi8-r>", "euc-jp", "utf-8"),
        (b"\xff\xfea\x00", "euc-jp", "utf-16le"),
        (b"\xfe\xff\x00a", "euc-jp", "utf-16be"),
        ("<?xml version".encode("utf-16-le"), None, "utf-16le"),
        ("<?xml version".encode("utf-16-be"), None, "utf-16be"),
        (b"<meta charset=koi8-r>", "euc-jp", "euc-jp"),
        (b"<meta charset=koi8-r>", "unknown", "koi8-r"),
        (b"<meta charset=koi8-r>", None, "koi8-r"),
        (b"<p>plain", "unknown", "utf-8"),
        ("<p>Übergrößenträger".encode("cp1252"), None, "windows-1252"),
    ],
)
def test_what_comes_before_what(page: bytes, declared: str | None, encoding: str) -> None:
    assert to_utf8(page, declared).encoding == encoding


def test_no_mark_is_left() -> None:
    assert to_utf8(b"\xef\xbb\xbf\xc3\xa9").html == to_utf8(b"\xff\xfe\xe9\x00").html == "é".encode()


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["<meta", "<p", "charset", "=", "utf-8", "koi8-r", *"><'/ x\"", "<!--", "-->", "<?xml"]))
)
def test_any_declaration_has_a_meaning_or_none(parts: list[str]) -> None:
    assert own_declaration("".join(parts).encode()) in (None, "utf-8", "koi8-r")
