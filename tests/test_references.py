"""What prose names is there: modules and functions in docstrings, comments and pages; files of the repo in pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("bench", "crawl", "dataset", "demo", "filters", "openwit", "pipeline", "train")
_DOTTED = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.(?!warc\b)[A-Za-z_]\w*)+)`")  # not of `crawl.warc.gz`
_FILE = re.compile(rf"(?<![\w/.])((?:tests/)?(?:{'|'.join(ROOMS)}|sql)(?:/[\w.-]+)+\.(?:py|sql))\b")


def texts() -> Iterator[tuple[str, str]]:
    for room in (*ROOMS, "sql", "docs", "configs", "tests"):
        for file in (ROOT / room).rglob("*"):
            if file.suffix in (".py", ".sql", ".md", ".yaml") and file != Path(__file__):
                yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")
    yield "README.md", (ROOT / "README.md").read_text(encoding="utf-8")


def is_there(name: str) -> bool:
    """Whether a dotted name leads to a package, a module, or words of one."""
    path, parts = ROOT, name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    module = path / f"{parts[0]}.py" if parts else path / "__init__.py"
    if parts and module.exists():
        parts.pop(0)
    else:
        module = path / "__init__.py"
    source = module.read_text(encoding="utf-8") if module.exists() else ""
    return module.exists() and all(re.search(rf"\b{part}\b", source) for part in parts)


def test_what_a_sentence_refers_to_is_there() -> None:
    found = [(file, name) for file, text in texts() for name in _DOTTED.findall(text)]
    assert len(found) > 100
    assert [(file, name) for file, name in found if not is_there(name)] == []


def test_files_that_pages_name_are_there() -> None:
    found = [(file, name) for file, text in texts() if file.endswith(".md") for name in _FILE.findall(text)]
    assert len(found) > 10
    assert [(file, name) for file, name in found if not (ROOT / name).exists()] == []
