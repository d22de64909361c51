r"""What stands where a caption would and is none: the interface's words, logos, avatars, stand-ins, credits, code, ads.

Most are known by the image's address, for publishing systems keep what belongs to a page's design in folders of its own
(`/wp-content/themes/`, `/skin/`, `/icons/`) and call things what they are (`logo-white.png`, `spacer.gif`), mostly in
English whatever the page's language. A text gives itself away by its form alone where it is short: a button's label,
"X logo", "© Y". Where an image of a short text stands speaks, too: in the page's footer, in a link to another site, no
larger than an icon, in an element that is called a logo. Where a file's name alone speaks, a longer text is trusted all
the same: "Arrow on target, vector" is of a shop that sells drawings of arrows.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from dataset.query import sql
from dataset.schema import PLACE

KINDS = ("stand_in", "interface", "avatar", "logo", "advertisement", "credit", "code")
"""What a text may be instead of a caption, in the order that counts where several apply."""
FOUND = pa.struct([("kind", pa.string()), ("found", pa.string())])
"""A kind, and what in the address or the text says so."""

_NETWORKS = (
    r"facebook|twitter|instagram|youtube|linkedin|pinterest|whatsapp|xing|telegram|tiktok|flickr|tumblr|reddit|snapchat"
    r"|google ?\+|rss"
)
"""RE2. Social networks, whose marks stand on every second page."""

_LABEL_LINES = """
    home; homepage; start; startseite; inicio; accueil
    menu; menü; navigation; navigationsmenü; search; suchen?; buscar; rechercher?
    close; schließen; cerrar; fermer; open; next; previous; prev; back; zurück; weiter; vor; forward
    up; down; top; nach oben
    log ?in; log ?out; sign in; sign up; register; registrieren; anmelden
    share; teilen; compartir; partager; condividi; tweet; like; print; drucken; imprimir; imprimer; e-?mail; mail
    newsletter; subscribe; abonnieren; download; play; pause; stop; mute; video; audio
    icon; logo; image; picture; photo; foto; bild; imagen; thumbnail; banner
    advertisement; advertising; ad; anzeige; werbung; publicidad; publicité
    loading; please wait; read more; more; mehr; mehr lesen; weiterlesen; leer más; lire la suite; click here
    zoom; enlarge; vergrößern; edit; delete; add; remove; settings; einstellungen; help; hilfe
    about; about us; über uns; contact; contact us; kontakt; contacto; impressum; datenschutz; privacy; faq
    shop; cart; warenkorb; wishlist; merkzettel; user; admin; avatar; profile; profil; default; untitled; unknown
    no image; image not available; kein bild; placeholder
"""
_LABELS = "|".join(label.strip() for line in _LABEL_LINES.strip().splitlines() for label in line.split(";"))
"""RE2. Labels of buttons, links and fields, in lower case; as whole texts they are no captions. General terms of user
interfaces, not of any one site; a word that often names what is in a picture (*map*, *bag*) is none of them."""

_IMAGE = r"\.(?:gif|png|jpe?g|webp|svg|avif|bmp)"


def _folder(*words: str) -> str:
    """RE2: one of some words as a folder of a path."""
    return rf"/(?:{'|'.join(words)})/"


def _part(*words: str) -> str:
    """RE2: one of some words as a part of a path, between slashes, hyphens, dots or digits."""
    return rf"(?:^|[/._=+-]|%20|\d)(?:{'|'.join(words)})(?:$|[/._=+-]|%20|\d)"


_ANY = 10_000
_TEN = 10  # a sentence about the picture of an interface, in a handbook's folder of menus, is a caption
_FEW = 4

_PATH: dict[str, list[tuple[int, str]]] = {
    "stand_in": [
        # a file that is called a stand-in, with a size or colour at most: blank.gif, pixel-1x1.png, no-image.jpg
        (
            _ANY,
            r"(?:^|/)(?:1x1|1px|blank|spacer|pixel|transparent|trans|clear|empty|dummy|leer|missing|placeholder|default"
            r"|fallback|lazy|lazyload|loading|loader|(?:no|default)[_-]?(?:image|img|photo|pic|picture|thumb|avatar|cover)s?"
            r"|(?:image|photo|img|picture)[_-]?(?:not[_-]?(?:available|found)|placeholder|missing))"
            r"(?:[_.-]?(?:\d+x\d+|\d+px|\d+|bg|white|grey|gray|black|pixel|image|img|gif|large|small|medium|default))*"
            rf"{_IMAGE}$",
        ),
        (_ANY, r"/(?:[a-z0-9_-]*-)?transparent[_-][^/]*$|/placeholders?/"),
    ],
    "interface": [
        (_TEN, _folder("(?:wp-content/|app/|_)?themes?", "app_themes", "skins?", "templates?", "gui", "layout")),
        (_ANY, _folder("(?:[a-z]*[_-])?icons?", "(?:status|social)icons?", "smil(?:ies|eys)", "emojis?", "emoticons?")),
        (
            _TEN,
            _folder("buttons?", "btns?", "navi?", "navigation", "toolbar", "sprites?", "bullets", "arrows"),
        ),
        (2, _folder("menus?")),  # which a handbook has pictures of, under sentences
        (_TEN, _folder("header", "footer", "widgets?", "captcha", "counters?", "flags")),
        (_ANY, r"\.(?:svgz?|ico)$|88x31|80x15"),
        (
            _FEW,
            _part("icons?", "favicon", "buttons?", "btn", "sprites?", "navi?", "toolbar", "arrow", "bullet", "spinner"),
        ),
        (3, _part("facebook", "twitter", "instagram", "youtube", "linkedin", "pinterest", "whatsapp", "xing", "rss")),
        # a drawing that is called by the interface's word and nothing else: rss.png, half_star.gif
        (
            _TEN,
            r"(?:^|/)(?:(?:half|no|full|empty)[_-]?)?(?:stars?|rating|rss|feed|pdf|e?mail|print(?:er)?|search|share|arrow|bullet"
            r"|dot|line|divider|separator|close|play|plus|minus|home|menu|up|down|left|right|next|prev|back)"
            r"(?:[_-]?(?:icon|small|on|off|\d+))?\.(?:gif|png)$",
        ),
        # shops sell icons, and call them so, but no `cookie-icon.png`
        (8, r"[a-z][_-]icons?(?:[_-]?(?:\d+|small|white|black))?\.(?:gif|png)$"),
        # a page's, not an article's: header.jpg, page-header-2.png
        (_FEW, rf"(?:^|/)(?:(?:site|page|main)[_-]?)?headers?(?:[_-]?(?:image|img|bg|logo|\d+))?{_IMAGE}$"),
        (_FEW, _part("captcha", "(?:hit)?counter", "zaehler", "ajax-loader", "smiley", "footer")),
    ],
    "avatar": [
        (8, _part("(?:custom|user|default)?[_-]?gr?avatars?", "(?:custom|user|default)?[_-]?avatars?", "userpics?")),
        (8, _part("user[_-]pic(?:ture)?s?", "profile[_-]?(?:pic|picture|photo|image)s?", "profilbild(?:er)?")),
        (8, _part("(?:account|entry|profile)[a-z-]*-picture")),
    ],
    "logo": [
        (6, _part("[a-z]*logos?", "logotyp(?:e|es|o|os)", "logomarcas?", "emblems?", "wappen", "crests?", "escudos?")),
        (6, _part("sponsor(?:s|en)?", "funders?[a-z-]*", "(?:trust|privacy)[_-]?seals?")),
    ],
    "advertisement": [
        (8, _part("adverts?", "advertis(?:ing|ement|ements)", "adserver", "werbung", "publicidade?s?")),
        (8, r"468x60|728x90|970x250|160x600|120x600"),
        (_FEW, _part("ads", "banners?") + rf"|[_-]ads?{_IMAGE}$"),
    ],
}
"""Patterns (RE2) of a path for each kind, and up to how many words a text may have to be judged by it."""

_PLACES: dict[str, list[str]] = {
    "interface": [
        "CASE WHEN page_part = 'footer' THEN 'footer' END",
        # a header may hold a menu with teasers, whose texts are longer
        f"CASE WHEN words <= {_FEW} AND page_part = 'header' THEN 'header' END",
        # no more than an icon, or a line; a picture of an icon's size in both directions
        "CASE WHEN least(tag_width, tag_height) <= 32 OR tag_width <= 64 AND tag_height <= 64 AND words <= 4"
        " THEN concat_ws('x', tag_width, tag_height) END",
    ],
    "avatar": ["CASE WHEN tag_role = 'avatar' THEN 'class' END"],
    "logo": ["CASE WHEN tag_role = 'logo' THEN 'class' END"],
    "advertisement": [
        "CASE WHEN tag_role = 'advertisement' THEN 'class' END",
        # in an article, such a link may lead to where the image is from, or to what is spoken of
        "CASE WHEN links_elsewhere AND page_part IS DISTINCT FROM 'content' THEN 'link to another site' END",
    ],
}
"""SQL for each kind over the columns of PLACE: what in the place of an image with a text of at most _MOST_WORDS words
speaks for it, else null."""
_MOST_WORDS = 6

_SIDE = "(?:[1-5][0-9]|6[0-4])"  # 16x9 is a ratio
_SMALL = (
    rf"[?&](?:resize|fit|size)={_SIDE}(?:,|x|%2[cC]){_SIDE}(?:&|$)|[?&](?:w|width)={_SIDE}&(?:h|height)={_SIDE}(?:&|$)"
    rf"|[/_-]{_SIDE}x{_SIDE}[/_.-]"
)
"""RE2. Addresses that ask for no more than 64 pixels a side, as pages do for their icons."""
_LABEL_WORDS = 10  # a longer text is no label, whatever it begins with
_AGENCIES = (
    "getty images|shutterstock|reuters|imago(?: images)?|dpa|afp|ap photo"
    "|i?stock(?:photo)?|adobe ?stock|pixabay|unsplash"
)
_TEXT: dict[str, list[str]] = {
    "interface": [
        rf"^(?:{_LABELS}|{_NETWORKS})[ .!:…»>-]*$",
        # what begins as a button does: Subscribe to X, Share on X, Free counters!
        r"^(?:subscribe|sign (?:up|in)|log ?in|click|tap|read more|learn more|view (?:all|more)|back to|skip to|toggle"
        r"|(?:content )?loading|previous|free counters?|follow (?:us|me)|like us|join us|find us|visit us|open in"
        r"|print this|share (?:on|this|via)|auf \S+ teilen|compartir en|partager sur|condividi su)\b.{0,30}$",
        # a mark of an account: Acme YouTube, Acme on Facebook
        rf"^(?:\S+ ){{1,2}}(?:on|auf|bei|sur|en|su) (?:{_NETWORKS})$",
        r"^\S+ (?:facebook|twitter|instagram|youtube|linkedin|xing)$",
        r"^(?:download|print|save)(?: (?:as|the|this))? (?:pdf|page|article|file|app)$",
        rf"^(?:\S+ ){{0,2}}(?:{_NETWORKS})[ -](?:share|foto|photo|page|account|button|link|(?:company )?profile|feed)$",
        r"^(?:\S+[ -]){0,3}(?:icons?|button)$",
        # nothing but a remark in brackets: (navigation image), [Note]
        r"^(?:\([^()]{1,30}\)|\[[^\[\]]{1,30}\])$",
        # a rating: 4.5 out of 5 stars, 3 von 5 Sternen
        r"^(?:rat(?:ed|ing):? )?\d+(?:[.,]\d+)? ?(?:out of|of|von|sur|de|/) ?\d+"
        r" (?:star|stern|étoile|estrella)\w*$",
        r"^(?:animated gif|(?:item|thumbnail|header|navigation|background|preview|cover) (?:image|picture|photo))$",
        r"^.{1,40} (?:ist|is) (?:offline|online)$",
    ],
    "avatar": [
        r"^(?:avatar|profile (?:picture|photo)|profilbild|benutzerbild|user ?pic|foto de perfil|photo de profil)"
        r"(?: |$).{0,40}$",
        r"^.{1,30}(?:['’]s (?:avatar|profile (?:picture|photo))|[ -]avatar)$",
    ],
    "logo": [
        r"^(?:\S+ ){0,4}(?:\S+-)?logos?$",
        # a licence's mark: by-nc, CC BY-SA 4.0, Creative Commons License, Public Domain
        r"^(?:cc[ -]?)?by(?:-nc)?(?:-(?:nd|sa))?(?:[ -]?\d\.\d)?$|^(?:cc0|public domain|(?:some|all) rights reserved)$"
        r"|^creative commons\b.{0,40}$"
        r"|^attribution[ -](?:non-?commercial|share-?alike|no[ -]?deriv).{0,50}$|^attribution\b.{0,20}\d\.\d.{0,15}$",
        # a site's name: example.org
        r"^(?:https?://)?(?:[a-z0-9-]+\.)+[a-z]{2,6}/?$",
        r"^(?:the |das |el |le |il )?logo(?:tipo|marca)?(?: (?:of|von|der|des|de|da|do|di)|:| -|,)? (?:\S+ ?){1,4}$",
    ],
    "credit": [
        r"^(?:©|\(c\)|copyright\b).{0,60}$",
        r"^(?:foto|photo|image|bild|picture|grafik|quelle|source|credit|fotocredit|bildquelle|crédito)s?"
        r"(?:[ -](?:credit|courtesy|by|von|de))?\s?:.{0,60}$",
        r"^(?:photo(?:graph)? (?:by|credit|courtesy)|foto von)\b.{0,60}$",
        rf"^(?:{_AGENCIES})(?:\s?[/|,-].{{0,40}})?$",
    ],
    "code": [
        # commands of LaTeX, which are an image's text where it shows a formula
        r"\\(?:displaystyle|textstyle|frac|begin|left|mathrm|mathbf|mathcal|langle|lambda|sum|int|sqrt|alpha|beta)\b",
        r"\{\{|\}\}|<\?php|<%|\$\{|%%\w+%%|\[object object\]|function ?\(|lorem ipsum",
        r"\[/?(?:caption|gallery|img|url)\b",
        r"^(?:null|undefined|nan|none|true|false|n/a|tbd|alt|alt text|title|image description)$",
    ],
}


def _match_sql(column: str, patterns: list[str]) -> str:
    """SQL: what a column holds of some patterns, else null."""
    return f"nullif(trim(regexp_extract({column}, $re${'|'.join(patterns)}$re$), ' /._=+-'), '')"


def _path_sql(kind: str) -> str:
    """SQL: what speaks for a kind in a path, else null."""
    patterns = _PATH[kind]
    cases = (
        f"CASE WHEN words <= {most} THEN {_match_sql('path', [p for m, p in patterns if m == most])} END"
        for most in sorted({m for m, _ in patterns})
    )
    kind_sql = f"coalesce({', '.join(cases)})"
    if kind == "stand_in":  # "a photo of blank paper" is what blank.jpg shows
        kind_sql = (
            f"CASE WHEN words <= 3 OR NOT contains(label, regexp_extract({kind_sql}, '[a-z]+')) THEN {kind_sql} END"
        )
    return f"CASE WHEN is_suspect THEN {kind_sql} END"


def _kind(kind: str) -> str:
    """SQL: a kind and what says so, null if nothing does."""
    sources = [
        *([_path_sql(kind)] if kind in _PATH else []),
        *(["of_size"] if kind == "interface" else []),
        # AcmeLogoWhite.png, whose words only capitals part
        *(
            ["CASE WHEN words <= 6 THEN nullif(regexp_extract(address, '[a-z0-9](Logo)(?:[A-Z0-9_.-])', 1), '') END"]
            if kind == "logo"
            else []
        ),
        *([f"text_{kind}"] if kind in _TEXT else []),
        *(f"CASE WHEN words <= {_MOST_WORDS} THEN {place} END" for place in _PLACES.get(kind, ())),
    ]
    return f"struct_pack(kind := '{kind}', found := coalesce({', '.join(sources)}))"


_OF_TEXTS = r"""
WITH counted AS (
    SELECT
        id, trim(lower(text)) AS label,
        -- Chinese and Japanese write no spaces between words, which have about two characters
        greatest(
            length(text) - length(replace(text, ' ', '')) + 1,
            CASE
                WHEN strlen(text) > length(text)
                    THEN length(regexp_replace(text, '[^\x{2e80}-\x{9fff}]+', '', 'g')) // 2
            END
        ) AS words
    FROM texts
)
SELECT label, words, @KINDS@
FROM counted
ORDER BY id
""".replace(
    "@KINDS@",
    ", ".join(
        f"CASE WHEN words <= {_LABEL_WORDS} THEN {_match_sql('label', patterns)} END AS text_{kind}"
        for kind, patterns in _TEXT.items()
    ),
)
_OF_ADDRESSES = (
    """
WITH paths AS (
    SELECT *,
        -- the address without scheme, host, query and fragment
        lower(regexp_replace(address, '^[A-Za-z][A-Za-z0-9+.-]*://[^/]*', '')) AS path
    FROM (SELECT *, split_part(split_part(coalesce(url, ''), '#', 1), '?', 1) AS address FROM rows)
), suspected AS (
    -- Most are none, which one pattern tells faster than many.
    SELECT *, regexp_matches(path, $re$@ANY@$re$) AS is_suspect,
        CASE WHEN words <= @FEW@ THEN nullif(trim(regexp_extract(url, '@SMALL@'), '?&/_.-'), '') END AS of_size
    FROM paths
)
SELECT list_filter([@KINDS@], lambda x: x.found IS NOT NULL) AS found
FROM suspected
ORDER BY row
""".replace("@KINDS@", ", ".join(map(_kind, KINDS)))
    .replace("@SMALL@", _SMALL)
    .replace("@FEW@", str(_FEW))
).replace("@ANY@", "|".join(f"(?:{pattern})" for patterns in _PATH.values() for _, pattern in patterns))


def not_captions(rows: pa.Table) -> pa.ChunkedArray:
    """Return what speaks against each candidate's text as a caption. list<FOUND> (n,), in the order of KINDS.

    rows: row, url, text, and the columns of PLACE, as far as they are known; ordered by row.
    """
    for field in PLACE:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    distinct = pc.fill_null(rows["text"].cast(pa.string()), "").combine_chunks().dictionary_encode()
    texts = pa.table({"id": pa.array(range(len(distinct.dictionary))), "text": distinct.dictionary})
    of_texts = sql.run(_OF_TEXTS, {"texts": texts}).take(distinct.indices)
    for name in of_texts.column_names:
        rows = rows.append_column(name, of_texts[name])
    return sql.run(_OF_ADDRESSES, {"rows": rows})["found"].cast(pa.list_(FOUND))
