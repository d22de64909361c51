"""The names of the models that can be trained, without torch: a wrong one is told before it is imported."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

MODELS = Path(__file__).parent


def our_models() -> list[str]:
    """Return the names of the models in train/models."""
    return _names_in(MODELS)


def check_name(model: str, known: Collection[str] | None = None) -> None:
    """Raise ValueError, in a sentence, if there is no model of a name, or no file of a path in JSON.

    Args:
        model: as the config's key has it.
        known: the names that there are; those of open_clip's own models and of ours if not given.
    """
    if model.endswith(".json"):
        if not Path(model).is_file():
            raise ValueError(f"model must be a readable JSON file, not {model!r}: there is none")
        return
    if known is None:
        open_clip = find_spec("open_clip")
        if open_clip is None or open_clip.origin is None:
            return  # importing it says what is missing
        known = {*_names_in(Path(open_clip.origin).parent / "model_configs"), *our_models()}
    if model not in known:
        near = difflib.get_close_matches(model, known, 3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"model must be an open_clip model or one of {', '.join(our_models())}, not {model!r}{hint}")


def _names_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.json"))
