"""text: length, language, file names, blocklists, and the config's own text filters."""

from __future__ import annotations

from dataset.schema import CAPTIONS, TEXT_MEASURES
from dataset.stages import Stage, Table

TEXT = Stage(
    name="text",
    code=f"{__name__}.stage",
    phases=(
        "text.samples",
        "text.repeats",
        "text.captions",
        "text.domains",
        "text.measure",
        "text.context",
        "text.custom",
        "text.decide",
    ),
    judges="candidates",
    passed="the text and its addresses pass",
    sections=("text", "filters"),
    reasons={
        "url_invalid": "the image's address cannot be parsed or is too long",
        "url_scheme_not_allowed": "the image's address is neither http nor https",
        "url_private": "the image's address names a private, loopback or link-local host",
        "domain_blocked": "the image's or the page's host or address is on a list of domains",
        "address_unsafe": "words of the image's or the page's host or path call it pornography",
        "page_error": "the page's server did not answer with the page: its status is not 2xx",
        "page_noai": "the page asks not to be used for machine learning (noai, noimageai)",
        "page_tdm_reserved": "the page reserves text and data mining (W3C TDMRep)",
        "page_content_signal": "the page's Content-Signal says ai-train=no",
        "page_content_usage": "the page's Content-Usage says that it may not be trained on (AIPREF)",
        "page_rsl_prohibited": "an RSL license in the page does not permit training",
        "page_rsl_payment_required": "an RSL license in the page asks for payment, a token of its server or reports in "
        "return",
        "page_rsl_unreadable": "an RSL license in the page cannot be read, and the config takes that for a refusal",
        "page_wish_unreadable": "what the page asks cannot be read, and the config takes that for a refusal",
        "personal_data": "the text held personal data, which is masked wherever the text is written",
        "text_too_short": "the text has fewer characters or words than the config asks for",
        "text_too_long": "the text has more characters than the config allows",
        "text_repeats_on_site": "the text stands on many images of its site, and says the same of each",
        "text_is_filename": "the text is the image's file name or address",
        "image_is_stand_in": "the image stands in for others: it is called so, or has too many texts on its page or "
        "its site",
        "text_is_interface": "the text or the image belongs to the interface: a label, an icon, a footer, or both are "
        "on most of the site's pages",
        "image_is_avatar": "the image stands for a user: its address, its class or its text calls it an avatar",
        "image_is_logo": "the image is a logo or another mark: its address, its class or its text calls it one",
        "image_is_advertisement": "the image is an advertisement: its address or class says so, or it links elsewhere",
        "text_is_credit": "the text says who made the image, and nothing else",
        "text_is_code": "the text is code or a template's mark that nobody filled in",
        "language_not_allowed": "the text's language is not among those that the config allows",
        "text_blocked": "the text holds a term or pattern of a blocklist",
        "text_profane": "the classifier takes the text for profane",
    },
    tables=(
        Table("texts", "text.measure", "measures", TEXT_MEASURES),  # as older versions have it
        Table("texts", "text.context", "measures", TEXT_MEASURES, measured_on="row"),
        Table("text_custom", "text.custom", "measures", is_view=False, measured_on="row"),
        Table("captions", "text.captions", "captions", CAPTIONS, measured_on="row"),
    ),
)
