"""Image files that are not what they seem, and copies that look like another."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from PIL import Image

from demo.world import encode

PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80"><circle cx="40" cy="40" r="30"/></svg>'


def huge_png(side: int) -> bytes:
    """Return a few bytes that declare side × side pixels (PNG specification, chunks IHDR, IDAT, IEND)."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(4_000)))
        + chunk(b"IEND", b"")
    )


def animation(frames: list[Image.Image]) -> bytes:
    """Return a GIF that moves."""
    buffer = BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)
    return buffer.getvalue()


def resembling(image: Image.Image, number: int) -> tuple[str, bytes]:
    """Return a file that looks like the image: re-encoded, resized or brighter, by turns."""
    match number % 4:
        case 0:
            return "re-encoded copy", encode(image, "JPEG", 75)
        case 1:
            bigger = image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.BICUBIC)
            return "enlarged copy", encode(bigger, "JPEG", 88)
        case 2:
            smaller = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)
            return "reduced copy", encode(smaller, "JPEG", 88)
        case _:
            return "brightened copy", encode(image.point(lambda v: min(255, int(v * 1.05 + 4))), "JPEG", 88)


PROHIBITING = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:plus="http://ns.useplus.org/ldf/xmp/1.0/" plus:DataMining='
    b'"http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"/></rdf:RDF></x:xmpmeta>'
)
"""XMP of an image that must not be trained on."""
