from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawl.encodings import LABELS
from crawl.pages.charset import to_utf8
from crawl.pages.charset_guess import guess

WESTERN = {
    "english": "It’s “the castle” – a café’s view, £5 (€ 6), 20°C, © 2004 Zoë§§, naïve®",
    "french": "Photo d’été : forêt où la rivière gèle, déjà là, près de l’église à Noël",
    "german": "Schöne Grüße aus München, Äpfel und Öl für größere Straßen",
    "spanish": "Todos los seres humanos nacen libres e iguales en dignidad y, dotados como están de razón… ¿Y él?",
    "portuguese": "Dotados de razão e de consciência, devem agir uns para com os outros em espírito de fraternidade.",
    "italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti. Perché? È così, più o meno",
    "dutch": "De coördinatie van één idee: ‘België’, zeeën en reünies",
    "icelandic": "Hver maður er borinn frjáls og jafn öðrum að virðingu og réttindum. Menn eru gæddir vitsmunum",
    "swedish": "Alla människor är födda fria och lika i värde och rättigheter. De är utrustade med förnuft",
    "finnish": "Yö ääliö älä lyö, ööliä läikkyy järveen",
}
TEXTS = {  # Article 1 of the Universal Declaration of Human Rights, or captions
    "japanese": "これは日本の写真です。カメラで撮った富士山のある風景",
    "korean": "한국어로 된 사진 설명이 여기에 있습니다. 서울의 풍경",
    "simplified": "这是一张中国的照片，新闻中心的图片说明",
    "traditional": "這是一張台灣的照片，新聞中心的圖片說明",
    "russian": "Фотография города на берегу реки, описание находится здесь",
    "ukrainian": "Світлина міста на березі річки, опис знаходиться тут, і її автор",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "hebrew": "כל בני אדם נולדו בני חורין ושווים בערכם ובזכויותיהם. כולם חוננו בתבונה ובמצפון",
    "arabic": "يولد جميع الناس أحراراً متساوين في الكرامة والحقوق، وقد وهبوا عقلاً وضميراً",
    "persian": "تمام افراد بشر آزاد بدنيا ميايند و از لحاظ حيثيت و حقوق با هم برابرند",
    "thai": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม",
    "turkish": "İnsanlar hür ve eşit doğarlar. Akıl ve vicdana sahiptirler, birbirlerine karşı kardeşlik zihniyeti ile",
    "polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "czech": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv. Jsou nadáni rozumem a svědomím",
    **WESTERN,
}


def page_of(text: str, codec: str) -> bytes:
    return f'<html><title>A page</title><img src=a.png alt="{text}"><p>{text}</html>'.encode(codec)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        *(("japanese", codec) for codec in ("euc_jp", "cp932", "iso2022_jp", "utf-8")),
        ("korean", "cp949"),
        *(("simplified", codec) for codec in ("gb2312", "gb18030")),
        ("traditional", "big5"),
        *(("russian", codec) for codec in ("cp1251", "koi8_r", "iso8859_5", "cp866", "utf-8")),
        ("ukrainian", "cp1251"),
        *(("greek", codec) for codec in ("cp1253", "iso8859_7")),
        *(("hebrew", codec) for codec in ("cp1255", "iso8859_8")),
        *(("arabic", codec) for codec in ("cp1256", "iso8859_6")),
        ("persian", "cp1256"),
        *(("thai", codec) for codec in ("cp874", "tis_620", "utf-8")),
        ("turkish", "cp1254"),
        *((text, codec) for text in ("polish", "czech") for codec in ("cp1250", "iso8859_2")),
        *((text, "cp1252") for text in WESTERN),
        ("french", "utf-8"),
    ],
)
def test_pages_that_do_not_say_their_encoding(text: str, codec: str) -> None:
    assert TEXTS[text] in to_utf8(page_of(TEXTS[text], codec)).html.decode()


@pytest.mark.parametrize(
    "sign", ["© 2004", "©Getty", "£5", "it’s", "20°C", "§§12", "a\xa0b", "Name™ ®", "„“", "1 – 2", "a—b", "«mot»", "½"]
)
def test_signs_in_english_do_not_tell_another_alphabet(sign: str) -> None:
    assert guess(f"<p>All human beings are {sign} born free".encode("cp1252")) == "windows-1252"


def test_the_top_level_domain_weighs_where_bytes_leave_a_choice() -> None:
    page = "<p>Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar".encode("cp1254")
    assert guess(page) == guess(page, "http://tr.example.com:8080/tr") != "windows-1254"
    assert guess(page, "HTTPS://User@www.Example.TR:8080?page") == guess(page, "http://example.tr") == "windows-1254"


@given(
    st.sampled_from(["", "http://", "https://a.", "http://a.xn--"]),
    st.text(max_size=20),
    st.binary(min_size=1, max_size=40),
)
def test_any_url_is_looked_at(start: str, rest: str, page: bytes) -> None:
    assert guess(page + b"\xe9", start + rest) in LABELS


def test_bytes_far_down_a_page_are_looked_at() -> None:
    page = b"<p>plain " * 20_000 + TEXTS["greek"].encode("cp1253")
    assert guess(page) == "windows-1253"


def test_utf8_with_damage_is_utf8() -> None:
    page = ("é" * 50).encode()
    assert guess(page[:31] + page[32:]) == "utf-8"  # an excerpt cut in the middle of a character
    assert guess(b"<p>caf\xe9 \xa9 2004") == "windows-1252"
    assert guess(b"plain") == "utf-8"


@given(st.binary(max_size=200))
def test_any_bytes_become_utf8(page: bytes) -> None:
    for label in (None, "euc-jp", "iso-2022-jp", "big5"):
        to_utf8(page, label).html.decode("utf-8", "replace")
