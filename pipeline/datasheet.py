from typing import Any


def write(storage: Any, config: Any) -> None:
    storage.write("datasheet.md", b"")
