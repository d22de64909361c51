"""Lists of domains, each of which stands for its subdomains too."""

from __future__ import annotations

from functools import lru_cache

import can_ada
import pyarrow as pa
import pyarrow.compute as pc

from filters.lines import read_lines


@lru_cache(maxsize=4)
def read_domains(name: str) -> pa.Array:
    """The entries of a domain list: lower case, in ASCII as hosts are written in canonical URLs, without `*.`.

    name: a path or URL of a text file with one domain a line (`#` starts a comment line), or empty for none.

    Raises:
        FileNotFoundError, OSError, ValueError: the list cannot be read.
    """
    if not name:
        return pa.array([], pa.string())
    lines = pc.utf8_lower(read_lines(name))
    domains = pc.replace_substring_regex(lines.filter(pc.invert(pc.starts_with(lines, "#"))), r"^\*?\.|\.$", "")
    ascii_ = pc.string_is_ascii(domains)
    others = [_punycode(domain) for domain in domains.filter(pc.invert(ascii_)).to_pylist()]
    return pa.concat_arrays([domains.filter(ascii_), pa.array(others, pa.string())])


def _punycode(domain: str) -> str:
    try:
        return str(can_ada.parse(f"http://{domain}/").hostname)
    except ValueError:
        return domain
