"""What every read-only file of ours has in common that is no file of the system: a place in it."""

from __future__ import annotations

import io


class Seekable:
    """The part of `io.IOBase` that is about a place in a file; who inherits it sets `_size`, and reads from `_at`."""

    _size: int
    _at = 0
    closed = False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset; see `io.IOBase.seek`."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """Return where the next read begins."""
        return self._at

    def readable(self) -> bool:
        """Return True: the file is."""
        return True

    def seekable(self) -> bool:
        """Return True: the file is."""
        return True

    def writable(self) -> bool:
        """Return False: the file is not."""
        return False

    def flush(self) -> None:
        """Do nothing: nothing is written."""

    def close(self) -> None:
        """Read no more."""
        self.closed = True
