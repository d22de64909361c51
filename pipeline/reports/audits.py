"""The named queries of sql/audits; each begins with a comment that says in one sentence what it answers."""

from __future__ import annotations

import difflib

from dataset import sql
from pipeline.config_errors import ConfigError

FOLDER = sql.FOLDER / "audits"


def available() -> dict[str, str]:
    """Every audit's name and its sentence, by name."""
    return {path.stem: _sentence(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.sql"))}


def load(name: str) -> str:
    """The text of an audit.

    Raises:
        ConfigError: there is no audit of that name.
    """
    known = [path.stem for path in sorted(FOLDER.glob("*.sql"))]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"there is no audit {name}; {hint}")
    return sql.load(f"audits/{name}")


def _sentence(text: str) -> str:
    return text.split("\n", 1)[0].removeprefix("--").strip()
