"""What people write beside a picture: good captions of scenes, and texts that a filter should drop."""

from __future__ import annotations

import numpy as np

from demo.world import BACKGROUNDS, COLOUR_WORDS, NUMBERS, PATTERNS, PLACES, PLURALS, SHAPE_WORDS, SIZES, Scene, one_of

_TEMPLATES: tuple[tuple[float, str], ...] = (
    (7, "{np}"),
    (7, "{np} {bg}"),
    (3, "{np} {bg}, {place}"),
    (2, "photo of {np} {bg}"),
    (2, "a picture of {np} {bg}"),
    (1, "this is {np} {bg}"),
    (1, "look at {np} {place} of the picture"),
    (1, "drawing of {np} by my daughter"),
    (1, "here you can see {np} {bg}"),
    (1, "we painted {np} {bg}"),
    (1, "{bare} {bg} - free stock image"),
    (1, "{bare} clip art, free to download"),
    (1, "{bare} wallpaper for your desktop"),
    (1, "buy this {bare} sticker in our shop"),
    (1, "how to draw {np}, step by step"),
    (1, "{bare} | The Book of Shapes"),
)

SPAM = "Click here to download the best free wallpapers and screensavers for your computer now"

PROMPTS = (
    "a {}",
    "A {} on paper.",
    "photo of a {} on the grass",
    "a picture of a {} in the sky",
    "A {} on wood",
    "{} clip art",
)
"""Prompt templates for zero-shot, in the way of the web's captions."""

UNSAFE = ("balderdash", "egads", "gadzooks", "zounds")
"""The words of demo/unsafe_words.txt."""

PERSONAL = (
    ("email_address", "maker@pictures.example"),
    ("phone_number", "(212) 736-5000"),
    ("iban_code", "DE89 3704 0044 0532 0130 00"),
    ("credit_card", "4111 1111 1111 1111"),
    ("national_id", "RSSMRA85T10A562S"),
    ("ip_address", "188.102.128.236"),
)
"""Personal data of nobody, by its kind."""

OTHER_LANGUAGES: dict[str, tuple[str, ...]] = {
    "de": (
        "Ein roter Stern liegt auf der Wiese hinter unserem Haus",
        "Zwei blaue Kreise vor einer alten Backsteinmauer",
        "Das gelbe Herz, das meine Tochter gestern gemalt hat",
        "Hier sehen Sie einen grünen Pfeil auf weißem Papier",
        "Kostenloses Bild von einem kleinen schwarzen Fisch im Wasser",
    ),
    "fr": (
        "Une étoile rouge posée sur l'herbe devant la maison",
        "Deux cercles bleus devant un vieux mur de briques",
        "Le cœur jaune que ma fille a dessiné hier après-midi",
        "Vous pouvez voir ici une flèche verte sur une feuille de papier",
        "Image gratuite d'un petit poisson noir dans l'eau",
    ),
    "es": (
        "Una estrella roja sobre la hierba delante de nuestra casa",
        "Dos círculos azules frente a una vieja pared de ladrillos",
        "El corazón amarillo que mi hija dibujó ayer por la tarde",
        "Aquí puede ver una flecha verde sobre una hoja de papel",
        "Imagen gratuita de un pequeño pez negro en el agua",
    ),
    "it": (
        "Una stella rossa sull'erba davanti alla nostra casa",
        "Due cerchi blu davanti a un vecchio muro di mattoni",
        "Il cuore giallo che mia figlia ha disegnato ieri pomeriggio",
        "Qui potete vedere una freccia verde su un foglio di carta",
        "Immagine gratuita di un piccolo pesce nero nell'acqua",
    ),
    "ru": (
        "Красная звезда лежит на траве перед нашим домом",
        "Два синих круга на фоне старой кирпичной стены",
        "Жёлтое сердце, которое вчера нарисовала моя дочь",
        "Здесь вы видите зелёную стрелку на листе бумаги",
    ),
    "ja": (
        "家の前の芝生に置かれた赤い星",
        "古いレンガの壁の前にある二つの青い円",
        "娘が昨日描いた黄色いハートの絵",
        "水の中の小さな黒い魚の無料画像",
    ),
    "pl": (
        "Czerwona gwiazda leży na trawie przed naszym domem",
        "Dwa niebieskie koła na tle starego ceglanego muru",
        "Żółte serce, które wczoraj narysowała moja córka",
    ),
}
"""Sentences in languages that the demo's config does not allow."""

UNNAMED = (
    "something nice that I found yesterday on my way home",
    "our favourite picture of the whole summer",
    "one more picture from the album of my grandmother",
    "the best picture of the day, what do you think of it",
    "a lovely little thing for the wall of your kitchen",
    "you asked for more pictures, so here is another one",
    "the picture that everybody at school was talking about",
    "do you know what this is? write it in the comments",
)
"""English that says nothing of what the picture shows."""


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _plural(word: str) -> str:
    return PLURALS.get(word, f"{word}s")


def _word(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Mostly the first, now and then a synonym."""
    return options[0] if len(options) == 1 or rng.random() < 0.85 else one_of(rng, options[1:])


def describe(rng: np.random.Generator, scene: Scene) -> str:
    """Return a caption of the scene, as one of many people would write it; not every attribute is mentioned."""
    colour, shape = _word(rng, COLOUR_WORDS[scene.colour]), _word(rng, SHAPE_WORDS[scene.shape])
    if rng.random() < 0.15:
        colour = ""
    elif rng.random() < 0.03:
        shape = "thing"
    size = one_of(rng, SIZES[scene.size]) if rng.random() < 0.45 else ""
    pattern = one_of(rng, PATTERNS[scene.pattern]) if rng.random() < 0.7 else ""
    bare = " ".join(word for word in (size, pattern, colour, shape) if word)
    if scene.number > 1:
        noun = _plural(shape)
        bare = f"{bare.removesuffix(shape)}{noun}"
        phrase = f"{NUMBERS[scene.number - 1]} {bare}" if rng.random() < 0.85 else f"some {bare}"
    else:
        phrase = _article(bare) if rng.random() < 0.85 else f"the {bare}"
    template = one_of(rng, [text for _, text in _TEMPLATES], [weight for weight, _ in _TEMPLATES])
    if scene.number > 1:
        template = template.replace("{place}", "side by side").replace("buy this", "buy these")
    text = template.format(
        np=phrase, bare=bare, bg=one_of(rng, BACKGROUNDS[scene.background][1]), place=one_of(rng, PLACES[scene.place])
    )
    return _vary_typing(rng, text)


def _vary_typing(rng: np.random.Generator, text: str) -> str:
    """Casing and punctuation as different people use them."""
    style = rng.random()
    if style < 0.45:
        text = text[0].upper() + text[1:]
    elif style < 0.52:
        text = text.title()
    elif style < 0.55:
        text = text.upper()
    ending = rng.random()
    if ending < 0.2:
        text += "."
    elif ending < 0.25:
        text += "!"
    return text


def file_name(rng: np.random.Generator) -> str:
    """Return the name that a camera or a person gave a file, taken for an alt text."""
    number = int(rng.integers(1000, 9999))
    return one_of(
        rng, (f"IMG_{number}.JPG", f"DSC0{number}", f"DSCN{number}.jpg", f"picture-{number}.png", f"image{number}.jpeg")
    )


def essay(rng: np.random.Generator, scene: Scene) -> str:
    """Return an alt text of thousands of characters."""
    return " ".join(f"{describe(rng, scene)} And that is not all that there is to say about it." for _ in range(40))


def part_number(rng: np.random.Generator) -> str:
    """Return what a shop's database writes where nobody wrote an alt text: no word of any language."""
    return f"{int(rng.integers(10**8, 10**9))} / {int(rng.integers(10**5, 10**6))}"
