"""`wit run` whose storage fails, or whose processes are killed, at a chosen operation on the dataset's files.

    OPENWIT_FAULT='{"kind": "kill", "operation": 9, "at": "half", "counter": "F"}' \\
        python -m bench.faults.interrupt CONFIG

An operation is a file that is put in its place or taken away, in any of the run's processes; logs and the lease are
none. `at` says where within it: before it, with half of the bytes written, with all of them and the file not yet in its
place, or after it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataset.store import local_files

VARIABLE = "OPENWIT_FAULT"
KINDS = ("kill", "full")
AT = ("before", "half", "whole", "after")
PASSED_OVER = ("log/", "lease.json")


@dataclass(frozen=True)
class Fault:
    """What happens at which operation. `kill` ends the process group; `full` is a disk that stays full from then on."""

    kind: str
    operation: int  # the first is 1; none at 0, when operations are counted alone
    at: str
    counter: str  # a file that grows by a line for each operation

    def set(self) -> dict[str, str]:
        """Return the environment of a process that meets it."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Fault:
        """Return what `set` has set."""
        return cls(**json.loads(environment[VARIABLE]))


def install(fault: Fault, end: Callable[[], None]) -> None:
    """Let this process, and what it forks, meet the fault from now on.

    end: how a process is killed.
    """
    place, remove = local_files.place, local_files.remove

    def count(name: str) -> int:
        with Path(fault.counter).open("a") as file:  # appended at once and whole, whichever process does it
            file.write(f"{name}\n")
            file.flush()
            return Path(fault.counter).read_bytes().count(b"\n")

    def fail(name: str) -> None:
        if fault.kind == "kill":
            end()
        raise OSError(errno.ENOSPC, "No space left on device", name)

    def counted(target: Path, root: str) -> tuple[str, bool]:
        name = str(target).removeprefix(f"{root}/")
        if name.startswith(PASSED_OVER) or ".tmp-" in name or not fault.counter:
            return name, False
        number = count(name)
        full = fault.kind == "full" and 0 < fault.operation < number
        return name, number == fault.operation or full

    def placing(
        target: Path, data: Any, move: Callable[[Path, Path], object], root: str, fence: local_files.Fence | None
    ) -> None:
        name, is_met = counted(target, root)
        if not is_met:
            place(target, data, move, root, fence)
        elif fault.at == "before":
            fail(name)
        elif fault.at in ("half", "whole"):
            bytes_ = memoryview(data)
            part = bytes_[: len(bytes_) // 2] if fault.at == "half" else bytes_
            place(target, part, lambda *_: fail(name), root, fence)
        else:
            place(target, data, move, root, fence)
            fail(name)

    def removing(path: Path, root: str, fence: local_files.Fence) -> None:
        name, is_met = counted(path, root)
        if is_met and fault.kind == "kill" and fault.at in ("before", "half"):
            fail(name)
        remove(path, root, fence)
        if is_met and fault.kind == "kill":
            fail(name)

    local_files.place, local_files.remove = placing, removing


def kill_group() -> None:
    """End this process, and all of its group."""
    os.killpg(0, signal.SIGKILL)


if VARIABLE in os.environ and "pytest" not in sys.modules:
    install(Fault.of(os.environ), kill_group)  # in the driver, and in what forks its children


def main() -> int:
    """Run the config that the command line names; children meet the fault, too."""
    from pipeline.cli import main as wit
    from pipeline.workers import local

    child = local.Child
    local.Child = lambda modules, limits: child([*modules, "bench.faults.interrupt"], limits)  # type: ignore[assignment,misc]
    return wit(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
