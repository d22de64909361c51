"""Why a pair can be dropped: a closed vocabulary, each word with its stage and a sentence for people.

A config's own filters add their names to it for that dataset (see `pipeline.stages.custom_filters`).
"""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    # text
    "url_invalid": ("text", "the image's address cannot be parsed or is too long"),
    "url_scheme_not_allowed": ("text", "the image's address is neither http nor https"),
    "url_private": ("text", "the image's address names a private, loopback or link-local host"),
    "domain_blocked": ("text", "the image's or the page's host or address is on a list of domains"),
    "page_error": ("text", "the page's server did not answer with the page: its status is not 2xx"),
    "page_noai": ("text", "the page asks not to be used for machine learning (noai, noimageai)"),
    "page_tdm_reserved": ("text", "the page reserves text and data mining (W3C TDMRep)"),
    "page_content_signal": ("text", "the page's Content-Signal says ai-train=no"),
    "page_content_usage": ("text", "the page's Content-Usage says that it may not be trained on (AIPREF)"),
    "page_wish_unreadable": ("text", "what the page asks cannot be read, and the config takes that for a refusal"),
    "personal_data": ("text", "the text held personal data, which is masked wherever the text is written"),
    "text_too_short": ("text", "the text has fewer characters or words than the config asks for"),
    "text_too_long": ("text", "the text has more characters than the config allows"),
    "text_is_filename": ("text", "the text is the image's file name or address"),
    "language_not_allowed": ("text", "the text's language is not among those that the config allows"),
    "text_blocked": ("text", "the text holds a term or pattern of a blocklist"),
    "text_profane": ("text", "the classifier takes the text for profane"),
    # match
    "no_query_match": ("match", "the text contains none of the queries"),
    # dedup
    "text_spam": ("dedup", "the same text stands on more distinct images than the config allows"),
    "duplicate_pair": ("dedup", "the same image address with the same text occurs earlier"),
    "url_has_other_text": ("dedup", "another text of the same image address was chosen"),
    # prebalance and balance
    "query_full": ("prebalance, balance", "every query that the text matches has enough pairs without this one"),
    # fetch
    "not_in_archive": ("fetch", "no archive of the run holds the image, and the config does not fetch from the web"),
    "robots_disallowed": ("fetch", "the host's robots.txt disallows the address"),
    "robots_disallowed_others": (
        "fetch",
        "the host's robots.txt disallows the address to another crawler whose name the config heeds too",
    ),
    "content_signal_refused": (
        "fetch",
        "the response's Content-Signal, or that of the host's robots.txt, says ai-train=no",
    ),
    "content_usage_refused": (
        "fetch",
        "the response's Content-Usage, or that of the host's robots.txt, says that it may not be trained on (AIPREF)",
    ),
    "wish_unreadable": ("fetch", "what the owner asks cannot be read, and the config takes that for a refusal"),
    "robots_noai": ("fetch", "the response's X-Robots-Tag says noai, noimageai or noindex"),
    "tdm_reserved": ("fetch", "the response or the site's tdmrep.json reserves text and data mining (TDM-Rep)"),
    "domain_opted_out": ("fetch", "the host, or one that it redirects to, is on the config's opt-out list"),
    "address_private": ("fetch", "the host resolves to a private, loopback or link-local address"),
    "port_not_allowed": ("fetch", "the address, or one that it redirects to, names a port of another protocol"),
    "dns_failed": ("fetch", "the host's name does not resolve"),
    "connection_failed": ("fetch", "no connection, or it broke"),
    "timeout": ("fetch", "the server was too slow"),
    "too_many_redirects": ("fetch", "more redirects than the config allows, or a redirect to nowhere"),
    "http_client_error": ("fetch", "the server answered with a 4xx status"),
    "http_server_error": ("fetch", "the server answered with a 5xx status"),
    "body_too_large": ("fetch", "the body has more bytes than the config allows"),
    "not_an_image": ("fetch", "the body is not an image of an allowed type"),
    "image_truncated": ("fetch", "the image's bytes end too early or are damaged"),
    "image_too_many_pixels": ("fetch", "the image has more pixels than the config allows to be decoded"),
    "image_animated": ("fetch", "the image has more than one frame"),
    "hash_list_match": ("fetch", "the image's bytes or its look are on a hash list; nothing of it was written"),
    # image
    "image_too_small": ("image", "the image's shorter side is below the config's minimum"),
    "image_aspect": ("image", "the image is longer, against its shorter side, than the config allows"),
    "nsfw_image": ("image", "the image is less likely safe to look at than the config asks for"),
    "clip_score_low": ("image", "the image and the text agree less than the config asks for"),
    "image_has_face": ("image", "the image has a face, and the config asks for none"),
    "unlike_target_images": ("image", "no image of the target set is in the same cell of similar images"),
    # neardup
    "duplicate_image": ("neardup", "the same bytes or pixels as another kept image"),
    "near_duplicate_image": ("neardup", "looks like another kept image (perceptual hash)"),
    "semantic_duplicate": ("neardup", "shows what another kept image shows (embedding)"),
    # decontaminate
    "in_evaluation_set": ("decontaminate", "looks like an image of an evaluation set"),
    # any stage
    "processing_time_exceeded": ("any", "this row took more CPU time than run.record_cpu_s allows"),
    "processing_memory_exceeded": ("any", "this row took more memory than run.record_memory_bytes allows"),
    "quarantined": ("any", "measuring this row crashed or exhausted a worker, repeatedly"),
}
"""reason -> (stage, sentence)."""

TRANSIENT = frozenset({"dns_failed", "connection_failed", "timeout", "http_server_error"})
"""Fetch outcomes worth another attempt in a later run."""
