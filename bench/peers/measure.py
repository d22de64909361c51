"""A peer in a virtual environment of its own, as its users have it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

VENVS = Path(__file__).resolve().parents[2] / "build" / "peers"


def venv(name: str, *requirements: str) -> Path:
    """Return the Python of the peer's environment, made at the first use."""
    python = VENVS / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENVS / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
    return python


def measure(python: Path, script: Path, *arguments: str) -> dict[str, Any]:
    """Run a peer's script; the JSON object on its last line."""
    done = subprocess.run([str(python), str(script), *arguments], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
