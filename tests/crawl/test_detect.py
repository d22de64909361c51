from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.charset import to_utf8
from crawl.detect import guess

TEXTS = {
    "japanese": "これは日本の写真です。カメラで撮った富士山のある風景",
    "korean": "한국어로 된 사진 설명이 여기에 있습니다. 서울의 풍경",
    "simplified": "这是一张中国的照片，新闻中心的图片说明",
    "traditional": "這是一張台灣的照片，新聞中心的圖片說明",
    "russian": "Фотография города на берегу реки, описание находится здесь",
    "ukrainian": "Світлина міста на березі річки, опис знаходиться тут, і її автор",
    "french": "Photo d’été : forêt où la rivière gèle, déjà là, près de l’église à Noël",
    "german": "Schöne Grüße aus München, Äpfel und Öl für größere Straßen",
    "finnish": "Yö ääliö älä lyö, ööliä läikkyy järveen",
}


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        *(("japanese", codec) for codec in ("euc_jp", "cp932", "iso2022_jp", "utf-8")),
        ("korean", "cp949"),
        *(("simplified", codec) for codec in ("gb2312", "gb18030")),
        ("traditional", "big5"),
        *(("russian", codec) for codec in ("cp1251", "koi8_r", "iso8859_5", "cp866", "utf-8")),
        ("ukrainian", "cp1251"),
        *((text, "cp1252") for text in ("french", "german", "finnish")),
        ("french", "utf-8"),
    ],
)
def test_pages_that_do_not_say_their_encoding(text: str, codec: str) -> None:
    words = TEXTS[text]
    page = f'<html><title>A page</title><img src=a.png alt="{words}"><p>{words}</html>'.encode(codec)
    assert words in to_utf8(page).decode()


def test_utf8_with_damage_is_utf8() -> None:
    page = ("é" * 50).encode()
    assert guess(page[:31] + page[32:]) == "utf-8"  # an excerpt cut in the middle of a character
    assert guess(b"<p>caf\xe9 \xa9 2004") == "cp1252"
    assert guess(b"plain") == "utf-8"


@pytest.mark.parametrize(
    ("encoded", "label", "text"),
    [
        (b"\xad\xa1\xb2\xe8\xad\xea\xa1\xc1", "euc-jp", "①画㈱～"),  # NEC's row 13; the Encoding standard's wave
        (b"\x8e\xb1\xb2\xe8\xff", "euc-jp", "ｱ画\ufffd"),
        (b"\xb2\xe8\xb2", "x-euc-jp", "画\ufffd"),
        (b"\x1b$B\x32\x68\x2d\x21\x1b(I\x31\x1b(Ba", "iso-2022-jp", "画①ｱa"),
        (b"\x87\x40\x89\xe6\x81\x60", "shift_jis", "①画～"),
    ],
)
def test_japanese_as_browsers_read_it(encoded: bytes, label: str, text: str) -> None:
    assert to_utf8(encoded, label).decode() == text


@given(st.binary(max_size=200))
def test_any_bytes_become_utf8(page: bytes) -> None:
    for label in (None, "euc-jp", "iso-2022-jp", "big5"):
        to_utf8(page, label).decode("utf-8", "replace")
