"""Ray on this machine for one run alone: on loopback, with a token of its own, its files where nobody else can look."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any

from dataset.store.faults import RAY_FULL, WorkerStartError
from dataset.store.scratch import own_folder

_TOKEN = secrets.token_hex(32)  # of this process: Ray remembers the first that it has seen
_PATH_BYTES = 29
"""The longest path of Ray's folder: a Unix socket's has 107 at most, of which Ray's own names take the rest."""
_PREFIX = "ray-"
_LEAST_BYTES = 16 * 2**20
"""The bytes of room for logs and sockets without which Ray's processes do not start, and do not say why."""


class PrivateRay:
    """What `ray.init` and the environment must say; made before Ray starts, closed after it has stopped.

    Raises:
        OSError: its folder is another user's, or cannot be made.
        WorkerStartError: there is no room in it.
    """

    def __init__(self) -> None:
        ours = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": _TOKEN,
            # Ray's own switch for machines that never join others: every server of it then listens on loopback alone.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        self._folder = _folder()
        free = shutil.disk_usage(self._folder.parent).free
        if free < _LEAST_BYTES:
            raise WorkerStartError(RAY_FULL % f"{self._folder.parent} has {free / 1e6:,.1f} MB left")
        self._before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        _reread(is_cluster=False)

    @property
    def options(self) -> dict[str, Any]:
        """The options that `ray.init` is called with."""
        # A laptop's run needs no dashboard, and must not join a cluster that the environment happens to name.
        return {"address": "local", "include_dashboard": False, "_temp_dir": str(self._folder)}

    def close(self) -> None:
        """Leave nothing behind, and let the process join another Ray."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _reread(is_cluster=True)


def _folder() -> Path:
    """A folder for this process, in one that others cannot enter: Ray opens its own to all. Those of dead runs go."""
    parent = own_folder()
    if len(os.fsencode(parent)) > _PATH_BYTES:
        parent = Path("/tmp") / parent.name  # noqa: S108  made and checked as `own_folder` does it
        parent.mkdir(mode=0o700, exist_ok=True)
        if parent.is_symlink() or parent.stat().st_uid != os.getuid():
            raise OSError(f"{parent} is another user's; set TMPDIR to a folder of your own with a short path")
    parent.chmod(0o700)
    for old in parent.glob(f"{_PREFIX}*"):
        pid = old.name.removeprefix(_PREFIX)
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return parent / f"{_PREFIX}{os.getpid()}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _reread(*, is_cluster: bool) -> None:
    """Have a Ray that was imported before heed the environment as it is now."""
    if "ray" not in sys.modules:
        return
    with contextlib.suppress(Exception):  # another version keeps it elsewhere, and reads the environment when it starts
        from ray._private import ray_constants
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

        ray_constants.ENABLE_RAY_CLUSTER = is_cluster and sys.platform not in ("darwin", "win32")
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
