"""What files of images say beside their pixels, as a test wants it: XMP, and signed C2PA manifests."""

from __future__ import annotations

import datetime
import io
import json
from typing import Any

import pytest

from tests.crawl.hostile_server import picture

TERMS = "http://ns.useplus.org/ldf/vocab"


def xmp(properties: str = "", attributes: str = "") -> bytes:
    """An XMP packet as Photoshop and exiftool write them."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/"'
        ' xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
        f" {attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()


def mining(term: str) -> bytes:
    return xmp(f"<plus:DataMining>{TERMS}/{term}</plus:DataMining>")


def signed(entries: dict[str, dict[str, str]], remote: str = "") -> bytes:
    """A JPEG with a manifest, signed by a certificate that nobody knows.

    remote: where the manifest is instead, if that is in its XMP alone.
    """
    library = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    start = datetime.datetime(2025, 1, 1)

    def certificate(subject: str, key: Any, issuer_key: Any, *, is_root: bool) -> x509.Certificate:
        name, issuer = (x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, n)]) for n in (subject, "root"))
        usage = [True, False, False, False, False, is_root, is_root, False, False]
        made = (
            x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), start)
            .not_valid_after(start + datetime.timedelta(days=9_000))
            .add_extension(x509.BasicConstraints(is_root, None), True)
            .add_extension(x509.KeyUsage(*usage), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        if not is_root:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return made.sign(issuer_key, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = certificate("leaf", key, root_key, is_root=False), certificate("root", root_key, root_key, is_root=True)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    signer = library.Signer.from_info(
        library.C2paSignerInfo(b"es256", b"".join(one.public_bytes(pem) for one in chain), private, None)
    )
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCreation"
    manifest = {
        "claim_generator_info": [{"name": "test", "version": "1"}],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}},
            {"label": "cawg.training-mining", "data": {"entries": entries}},
        ],
    }
    out = io.BytesIO()
    builder = library.Builder(json.dumps(manifest))
    if remote:
        builder.set_remote_url(remote)
        builder.set_no_embed()
    builder.sign(signer, "image/jpeg", io.BytesIO(picture()), out)
    return out.getvalue()
