"""fetch: image bytes from the run's archives, from others' downloads, or over HTTP."""

from __future__ import annotations

from dataset.schema import IMAGES
from dataset.stages import Stage, Table

FETCH = Stage(
    name="fetch",
    code=f"{__name__}.stage",
    phases=(
        "fetch.domains",
        "fetch.adopt",
        "fetch.leads",
        "fetch.hop1",
        "fetch.hop2",
        "fetch.hop3",
        "fetch.hop4",
        "fetch.hop5",
        "fetch.named",
        "fetch.licenses",
        "fetch.get",
        "fetch.decide",
    ),
    judges="pairs",
    passed="the image was got and accepted",
    sections=("fetch", "store", "hashlists"),
    reasons={
        "not_in_archive": "no archive of the run holds the image, and the config does not fetch from the web",
        "robots_disallowed": "the host's robots.txt disallows the address",
        "robots_disallowed_others": "the host's robots.txt disallows the address to another crawler whose name the "
        "config heeds too",
        "content_signal_refused": "the response's Content-Signal, or that of the host's robots.txt, says ai-train=no",
        "content_usage_refused": "the response's Content-Usage, or that of the host's robots.txt, says that it may not "
        "be trained on (AIPREF)",
        "rsl_prohibited": "an RSL license of the site, the response or the page does not permit training",
        "rsl_payment_required": "an RSL license of the site, the response or the page asks for payment, a token of its "
        "server or reports in return",
        "rsl_unreadable": "an RSL license cannot be had or read, and the config takes that for a refusal",
        "data_mining_prohibited": "the image's own XMP prohibits data mining or training (IPTC, PLUS)",
        "c2pa_training_refused": "a C2PA manifest in the image does not allow training or data mining",
        "wish_unreadable": "what the owner asks cannot be read, and the config takes that for a refusal",
        "robots_noai": "the response's X-Robots-Tag says noai, noimageai or noindex",
        "ai_txt_disallowed": "the site's ai.txt disallows the address",
        "tdm_reserved": "the response or the site's tdmrep.json reserves text and data mining (TDM-Rep)",
        "domain_opted_out": "the host, or one that it redirects to, is on the config's opt-out list",
        "address_private": "the host resolves to a private, loopback or link-local address",
        "port_not_allowed": "the address, or one that it redirects to, names a port of another protocol",
        "dns_failed": "the host's name does not resolve",
        "connection_failed": "no connection, or it broke",
        "timeout": "the server was too slow",
        "too_many_redirects": "more redirects than the config allows, or a redirect to nowhere",
        "http_client_error": "the server answered with a 4xx status",
        "http_server_error": "the server answered with a 5xx status",
        "body_too_large": "the body has more bytes than the config allows",
        "not_an_image": "the body is not an image of an allowed type",
        "image_truncated": "the image's bytes end too early, are damaged, or are in more parts than are read",
        "image_too_many_pixels": "the image has more pixels than the config allows to be decoded",
        "image_animated": "the image has more than one frame",
        "hash_list_match": "the image's bytes or its look are on a hash list; nothing of it was written",
    },
    tables=(Table("images", "fetch.get", "images", IMAGES),),
    views=("views/images",),
)
