"""The reader of manifests without the settings that forbid it to ask, for a test of what confines it beside them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from crawl.images import c2pa_child

c2pa_child._SETTINGS = {}  # type: ignore[assignment]
c2pa_child.main()
