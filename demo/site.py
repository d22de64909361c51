"""A web of pages on several hosts, with pictures worth having and a known amount of every kind of dirt.

`build` lays it out in memory; `Web.truth` says of every planted (image address, text) what should become of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from itertools import chain
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from PIL import Image

from demo import captions, files, markup, pages
from demo.web import (
    ASKING_FILES,
    ASKING_ROBOTS,
    BLOCKED_HOST,
    BOILERPLATE,
    BOILERPLATE_HOST,
    EVALUATION_PER_CLASS,
    GOOD,
    IMAGE_HOSTS,
    IMAGES_PER_PAGE,
    KEEP,
    LISTS,
    NO_CAPTIONS,
    NO_HOST,
    NOAI_HOST,
    OPTED_OUT_HOST,
    PAGE_HOSTS,
    PHRASES,
    REFUSED_FOLDERS,
    REFUSING,
    RESERVED_HOST,
    RESET_HOST,
    ROBOTS,
    RSL,
    SLOW_HOST,
    TRUTH,
    Answer,
    Planted,
    Web,
)
from demo.world import HELD_OUT, Scene, encode, generator, one_of, render, scene


def build(seed: int = 0, scale: float = 1.0) -> Web:
    """Lay out the web; the same for the same (seed, scale)."""
    return _Builder(seed, scale).build()


class _Builder:
    def __init__(self, seed: int, scale: float):
        self.seed = seed
        self.scale = scale
        self.rng = generator(seed, "site")
        self.answers: dict[tuple[str, str], Answer] = {}
        self.planted: list[Planted] = []
        self.apart: dict[str, list[Planted]] = {host: [] for host in (*REFUSING, *PHRASES)}
        self.listed: dict[str, list[bytes]] = {kind: [] for kind in LISTS}
        self.evaluation: dict[str, bytes] = {}

    def build(self) -> Web:
        self._evaluation_set()
        self._plant_good()
        self._plant_bad_texts()
        self._plant_no_captions()
        self._plant_bad_addresses()
        self._plant_bad_answers()
        self._plant_bad_images()
        self._plant_copies()
        self._plant_repeats()
        count = self._pages()
        rows = [
            {
                **{name: getattr(item, name) for name in TRUTH.names if hasattr(item, name)},
                "colour": item.view.colour if item.view else None,
                "shape": item.view.shape if item.view else None,
            }
            for item in [*self.planted, *chain(*self.apart.values())]
        ]
        truth = pa.Table.from_pylist(rows, TRUTH)
        seeds = tuple(f"http://{host}/" for host in (*PAGE_HOSTS, *self.apart))
        images = sum(answer.media_type.startswith("image/") and bool(answer.body) for answer in self.answers.values())
        return Web(self.answers, truth, seeds, count, images, self.listed, self.evaluation)

    # --- Pictures --------------------------------------------------------------------------------------------------

    def _dirt_amount(self, count: int) -> range:
        """An amount of dirt at this scale: at least two of everything."""
        return range(max(2, round(count * self.scale)))

    def _serve(self, url: str, answer: Answer) -> str:
        parts = urlsplit(url)
        self.answers[parts.netloc, parts.path] = answer
        return url

    def _address(self, suffix: str = "jpg", host: str | None = None, folder: str = "i") -> str:
        """A fresh image address."""
        name = f"{int(self.rng.integers(16**10)):010x}"
        return f"http://{host or one_of(self.rng, (*IMAGE_HOSTS, *PAGE_HOSTS))}/{folder}/{name[:2]}/{name}.{suffix}"

    def _picture(
        self, identity: str, host: str | None = None, folder: str = "i", headers: dict[str, str] | None = None
    ) -> tuple[str, Scene]:
        """A scene of its own, drawn and served."""
        view = scene(self.seed, identity)
        form = one_of(self.rng, ("JPEG", "JPEG", "JPEG", "JPEG", "PNG", "WEBP"))
        body = encode(render(self.seed, view), form)
        url = self._address({"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[form], host, folder)
        return self._serve(url, Answer(body, f"image/{form.lower()}", headers=headers or {})), view

    def _caption(self, view: Scene) -> str:
        return captions.describe(self.rng, view)

    def _unseen(self, kind: str, number: int) -> tuple[Scene, str]:
        """A scene that is described but never drawn, for addresses that give no picture."""
        view = scene(self.seed, f"{kind} {number}")
        return view, self._caption(view)

    def _body(self, url: str) -> Answer:
        parts = urlsplit(url)
        return self.answers[parts.netloc, parts.path]

    def _evaluation_set(self) -> None:
        """Zero-shot images of the held-out combinations; some of them get onto the web, as they do on the real one."""
        per_class = max(4, round(EVALUATION_PER_CLASS * min(1.0, self.scale * 2)))
        for colour, shape in sorted(HELD_OUT):
            for k in range(per_class):
                view = scene(self.seed, f"evaluation {colour} {shape} {k}", (colour, shape))
                self.evaluation[f"{colour} {shape}/{k:03}.png"] = encode(render(self.seed, view), "PNG")
        names = list(self.evaluation)
        for k in self._dirt_amount(60):
            name = names[(k * 7) % len(names)]
            body, media_type, suffix = self.evaluation[name], "image/png", "png"
            kind = "evaluation image"
            if k % 2:
                kind = "evaluation image, re-encoded"
                body, media_type, suffix = encode(Image.open(BytesIO(body)), "JPEG", 85), "image/jpeg", "jpg"
            url = self._serve(self._address(suffix), Answer(body, media_type))
            self.planted.append(Planted(url, one_of(self.rng, captions.UNNAMED), kind, "in_evaluation_set"))

    def _plant_good(self) -> None:
        for k in range(round(GOOD * self.scale)):
            url, view = self._picture(f"good {k}")
            self.planted.append(Planted(url, self._caption(view), "good", view=view))
        for k in self._dirt_amount(40):
            target, view = self._picture(f"moved {k}")
            url = self._serve(self._address(), Answer(status=(301, 302, 307, 308)[k % 4], headers={"Location": target}))
            self.planted.append(Planted(url, self._caption(view), "redirect to a good picture", view=view))

    # --- Dirt ------------------------------------------------------------------------------------------------------

    def _plant_bad_texts(self) -> None:
        def plant(kind: str, expected: str, count: int) -> Iterator[tuple[Scene, list[str]]]:
            for k in self._dirt_amount(count):
                url, view = self._picture(f"{kind} {k}")
                text: list[str] = []
                yield view, text
                self.planted.append(Planted(url, text[0], kind, expected, view=view))

        for _, text in plant("file name as alt", "text_is_filename", 150):
            text.append(captions.file_name(self.rng))
        for _, text in plant("one or two letters as alt", "text_too_short", 60):
            text.append(one_of(self.rng, ("ok", "x", "1", "a", "go", "no", "->")))
        for view, text in plant("essay as alt", "text_too_long", 20):
            text.append(captions.essay(self.rng, view))
        for _, text in plant("another language", "language_not_allowed", 400):
            language = one_of(self.rng, list(captions.OTHER_LANGUAGES))
            text.append(one_of(self.rng, captions.OTHER_LANGUAGES[language]))
        for view, text in plant("unsafe word", "text_blocked", 40):
            text.append(f"{self._caption(view)} {one_of(self.rng, captions.UNSAFE)}")
        for _, text in plant("part number as alt", "no_query_match", 30):
            text.append(captions.part_number(self.rng))
        for _, text in plant("spam: one text on images of many sites", "text_spam", 100):
            text.append(captions.SPAM)
        for k in self._dirt_amount(40):
            url, view = self._picture(f"personal data {k}")
            kind, secret = captions.PERSONAL[k % len(captions.PERSONAL)]
            masked = f"{self._caption(view)}, ask [{kind}]"
            said = masked.replace(f"[{kind}]", secret)
            self.planted.append(Planted(url, masked, "personal data", "personal_data", view=view, written=said))

    def _plant_no_captions(self) -> None:
        for kind, expected, folder, text in NO_CAPTIONS:
            for k in self._dirt_amount(20):
                url, view = self._picture(f"{kind} {k}", folder=folder)
                said = self._caption(view)
                self.planted.append(Planted(url, text or said, kind, expected, view=view))

    def _plant_bad_addresses(self) -> None:
        for kind, expected, count, prefix in (
            ("ftp: address", "url_scheme_not_allowed", 12, "ftp://cdn.example/"),
            ("private address", "url_private", 6, "http://192.168.1.20/"),
            ("loopback address", "url_private", 6, "http://localhost/"),
            ("address without a host", "url_invalid", 10, "http://["),
        ):
            for k in self._dirt_amount(count):
                view, text = self._unseen(kind, k)
                self.planted.append(Planted(f"{prefix}{k}.jpg", text, kind, expected, view=view))
        for k in self._dirt_amount(40):
            url, view = self._picture(f"blocked {k}", BLOCKED_HOST)
            self.planted.append(Planted(url, self._caption(view), "blocked domain", "domain_blocked", view=view))
        for k in self._dirt_amount(60):
            url, view = self._picture(f"noai {k}", NOAI_HOST)
            kind = "page that says noai"
            self.apart[NOAI_HOST].append(Planted(url, self._caption(view), kind, "page_noai", view=view))
        for k in self._dirt_amount(40):
            url, view = self._picture(f"reserved {k}", RESERVED_HOST)
            kind = "page that reserves text and data mining"
            self.apart[RESERVED_HOST].append(Planted(url, self._caption(view), kind, "page_tdm_reserved", view=view))
        for host, (reason, meta, header, value) in REFUSING.items():
            for k in () if meta and header else self._dirt_amount(20):
                url, view = self._picture(f"{reason} {k}", host)
                kind = f"page with {header or 'an RSL license'}: {reason if meta else value}"
                self.apart[host].append(Planted(url, self._caption(view), kind, reason, view=view))

    def _plant_bad_answers(self) -> None:
        def plant(kind: str, expected: str, count: int, answer: Answer | None, host: str | None = None) -> None:
            for k in self._dirt_amount(count):
                view, text = self._unseen(kind, k)
                url = self._address("jpg", host)
                if answer is not None:
                    self._serve(url, answer)
                self.planted.append(Planted(url, text, kind, expected, view=view))

        plant("404 Not Found", "http_client_error", 60, Answer(b"<h1>Not Found</h1>", status=404))
        plant("403 Forbidden", "http_client_error", 15, Answer(b"<h1>Forbidden</h1>", status=403))
        plant("410 Gone", "http_client_error", 15, Answer(b"<h1>Gone</h1>", status=410))
        plant("500 Internal Server Error", "http_server_error", 10, Answer(b"<h1>Oops</h1>", status=500))
        plant("host that does not resolve", "dns_failed", 8, None, NO_HOST)
        plant("connection reset", "connection_failed", 6, Answer(behaviour="reset"), RESET_HOST)
        plant("server that never answers", "timeout", 4, Answer(behaviour="wait"), SLOW_HOST)
        plant("endless body", "body_too_large", 4, Answer(media_type="image/jpeg", behaviour="endless"))
        metadata = {"Location": "http://169.254.169.254/latest/meta-data/"}
        plant("redirect to a private address", "address_private", 8, Answer(status=302, headers=metadata))
        foreign = {"Location": f"http://{IMAGE_HOSTS[0]}:6379/a.jpg"}
        plant("redirect to another protocol's port", "port_not_allowed", 4, Answer(status=302, headers=foreign))
        plant("page served as .jpg", "not_an_image", 20, Answer(b"<!doctype html><title>Sign in</title>" + b" " * 900))
        plant("SVG", "not_an_image", 12, Answer(files.SVG, "image/svg+xml"))
        for k in self._dirt_amount(10):
            view, text = self._unseen("loop", k)
            url = self._address()
            self._serve(url, Answer(status=302, headers={"Location": url}))
            self.planted.append(Planted(url, text, "redirect loop", "too_many_redirects", view=view))
        for k in self._dirt_amount(40):
            url, view = self._picture(f"robots {k}", IMAGE_HOSTS[0], "private")
            text = self._caption(view)
            self.planted.append(Planted(url, text, "forbidden by robots.txt", "robots_disallowed", view=view))
        for k in self._dirt_amount(40):
            url, view = self._picture(f"header {k}", headers={"X-Robots-Tag": "noai, noimageai"})
            text = self._caption(view)
            self.planted.append(Planted(url, text, "X-Robots-Tag: noai", "robots_noai", view=view))
        for k in self._dirt_amount(20):
            url, view = self._picture(f"reserved {k}", headers={"TDM-Reservation": "1"})
            self.planted.append(Planted(url, self._caption(view), "TDM-Reservation: 1", "tdm_reserved", view=view))
        for reason, header, value in (
            ("content_signal_refused", "Content-Signal", "search=yes, ai-train=no"),
            ("content_usage_refused", "Content-Usage", "train-ai=n"),
            ("wish_unreadable", "Content-Usage", "train-ai=perhaps"),
            ("rsl_payment_required", "Link", f'<http://{IMAGE_HOSTS[0]}/price.xml>; rel="license"; type="{RSL}"'),
            ("rsl_unreadable", "Link", f'<http://{IMAGE_HOSTS[0]}/lost.xml>; rel="license"; type="{RSL}"'),
        ):
            for k in self._dirt_amount(20):
                url, view = self._picture(f"{reason} {k}", headers={header: value})
                self.planted.append(Planted(url, self._caption(view), f"{header}: {value}", reason, view=view))
        for k in self._dirt_amount(20):
            view = scene(self.seed, f"mined {k}")
            sink = BytesIO()
            render(self.seed, view).save(sink, "JPEG", quality=90, xmp=files.PROHIBITING)
            url = self._serve(self._address(), Answer(sink.getvalue(), "image/jpeg"))
            kind = "XMP that prohibits data mining"
            self.planted.append(Planted(url, self._caption(view), kind, "data_mining_prohibited", view=view))
        for folder, (reason, kind) in REFUSED_FOLDERS.items():
            for k in self._dirt_amount(20):
                url, view = self._picture(f"{folder} {k}", IMAGE_HOSTS[0], folder)
                self.planted.append(Planted(url, self._caption(view), kind, reason, view=view))
        for k in self._dirt_amount(10):
            url, view = self._picture(f"opted out {k}", OPTED_OUT_HOST)
            self.planted.append(Planted(url, self._caption(view), "opted-out host", "domain_opted_out", view=view))

    def _plant_bad_images(self) -> None:
        def plant(kind: str, expected: str, count: int, suffix: str, media_type: str) -> Iterator[list[bytes]]:
            for k in self._dirt_amount(count):
                view, text = self._unseen(kind, k)
                body: list[bytes] = []
                yield body
                url = self._serve(self._address(suffix), Answer(body[0], media_type))
                self.planted.append(Planted(url, text, kind, expected, view=view))

        rng = self.rng
        for body in plant("random bytes as .jpg", "not_an_image", 12, "jpg", "image/jpeg"):
            body.append(rng.bytes(2_000))
        for k, body in enumerate(plant("truncated JPEG", "image_truncated", 30, "jpg", "image/jpeg")):
            whole = encode(render(self.seed, scene(self.seed, f"whole {k}")), "JPEG")
            body.append(whole[: int(len(whole) * rng.uniform(0.3, 0.8))])
        for body in plant("PNG of 60,000 × 60,000 pixels", "image_too_many_pixels", 6, "png", "image/png"):
            body.append(files.huge_png(60_000 + int(rng.integers(99))))
        for k, body in enumerate(plant("animated GIF", "image_animated", 15, "gif", "image/gif")):
            body.append(files.animation([render(self.seed, scene(self.seed, f"frame {k} {f}")) for f in range(2)]))
        for body in plant("tracking pixel, 1 × 1", "image_too_small", 60, "gif", "image/gif"):
            body.append(files.PIXEL)
        for body in plant("banner, 468 × 60", "image_aspect", 40, "png", "image/png"):
            stripes = rng.integers(0, 255, (1, 13, 3), dtype=np.uint8)
            body.append(encode(Image.fromarray(stripes).resize((468, 60)), "PNG"))
        for k in self._dirt_amount(9):
            url, view = self._picture(f"listed {k}")
            listed = LISTS[k % len(LISTS)]
            self.listed[listed].append(self._body(url).body)
            if listed == "pdq":  # the web has another file, which looks like the one on the list
                original = Image.open(BytesIO(self._body(url).body)).convert("RGB")
                url = self._serve(self._address(), Answer(files.resembling(original, k)[1], "image/jpeg"))
            kind = f"on a list of {listed}"
            self.planted.append(Planted(url, self._caption(view), kind, "hash_list_match", view=view))

    def _plant_copies(self) -> None:
        for k in self._dirt_amount(150):
            url, view = self._picture(f"repeated {k}")
            pages, text = int(self.rng.integers(2, 5)), self._caption(view)
            self.planted.append(Planted(url, text, "same pair on several pages", occurrences=pages, view=view))
        for k in self._dirt_amount(60):
            url, view = self._picture(f"texts {k}")
            short, long = f"A {view.shape}", f"{self._caption(view)} And a few words more"
            self.planted.append(Planted(url, long, "image with two texts", view=view))
            self.planted.append(Planted(url, short, "second text of an image", "url_has_other_text", view=view))
        for k in self._dirt_amount(150):
            url, view = self._picture(f"original {k}")
            original = self._body(url)
            self._copies(url, view, original, "copy under another address", "duplicate_image", original)
        for k in self._dirt_amount(200):
            url, view = self._picture(f"near {k}")
            original = self._body(url)
            kind, body = files.resembling(Image.open(BytesIO(original.body)).convert("RGB"), k)
            self._copies(url, view, original, kind, "near_duplicate_image", Answer(body, "image/jpeg"))

    def _plant_repeats(self) -> None:
        """What single sites repeat: a phrase in all captions, and a text that stands under many images."""
        for host, form in PHRASES.items():
            for k in self._dirt_amount(240):
                url, view = self._picture(f"{host} {k}")
                text = ""
                while len(text.split()) < 4:  # enough to be left when the phrase is cut off
                    text = self._caption(view)
                said = form.format(text)
                self.apart[host].append(Planted(url, text, "phrase of its site", view=view, with_phrase=said))
        for k in self._dirt_amount(160):
            url, view = self._picture(f"boilerplate {k}")
            item = Planted(url, BOILERPLATE, "one text all over a site", "text_repeats_on_site", view=view)
            self.apart[BOILERPLATE_HOST].append(item)

    def _copies(self, url: str, view: Scene, original: Answer, kind: str, expected: str, copy: Answer) -> None:
        group = url
        self.planted.append(Planted(url, self._caption(view), f"{kind}: the original", KEEP, copy_of=group, view=view))
        suffix = "jpg" if copy.media_type == "image/jpeg" else url.rsplit(".", 1)[1]
        copy_url = self._serve(self._address(suffix), copy)
        self.planted.append(Planted(copy_url, self._caption(view), kind, expected, copy_of=group, view=view))

    # --- Pages -----------------------------------------------------------------------------------------------------

    def _pages(self) -> int:
        """Put what was planted on pages, in a shuffled order; answers how many there are."""
        occurrences = [item for item in self.planted for _ in range(item.occurrences)]
        order = self.rng.permutation(len(occurrences))
        count = -(-len(occurrences) // IMAGES_PER_PAGE)
        numbers: dict[str, int] = dict.fromkeys(PAGE_HOSTS, 0)
        shares: list[tuple[str, int, list[Planted]]] = []
        for page in range(count):
            host = PAGE_HOSTS[page % len(PAGE_HOSTS)]
            shares.append((host, numbers[host], [occurrences[i] for i in order[page::count]]))
            numbers[host] += 1
        for host, number, items in shares:
            self.answers[host, f"/{number}.html"] = pages.page(self.seed, host, number, numbers[host], items)
        for host, items in self.apart.items():
            numbers[host] = max(3, len(items) // 8)
            for number in range(numbers[host]):
                here = items[number :: numbers[host]]
                self.answers[host, f"/{number}.html"] = pages.page(self.seed, host, number, numbers[host], here)
        for host, count in numbers.items():
            self.answers[host, "/"] = pages.front(host, count)
            self._icon(host, count)
        for host in (*numbers, *IMAGE_HOSTS):
            self.answers[host, "/robots.txt"] = Answer(ROBOTS, "text/plain")
        first = IMAGE_HOSTS[0]
        self.answers[first, "/robots.txt"] = Answer(ASKING_ROBOTS + ROBOTS, "text/plain")
        for path, (text, media_type) in ASKING_FILES.items():
            self.answers[first, path] = Answer(text.encode(), media_type)
        return sum(numbers.values()) + len(numbers)

    def _icon(self, host: str, pages: int) -> None:
        """Every page of a host carries the same small icon, whose text is of the interface."""
        body = encode(Image.new("RGB", (16, 16), tuple(int(v) for v in self.rng.integers(0, 255, 3))), "PNG")
        url = self._serve(f"http://{host}/icon.png", Answer(body, "image/png"))
        reason = REFUSING.get(host, ("",))[0]  # of its pages, before their texts are looked at; or of fetch
        expected = reason if reason.startswith("page_") else "text_is_interface"
        self.planted.append(Planted(url, markup.icon_text(host), "icon on every page", expected, pages))
