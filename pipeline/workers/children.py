"""Child processes that do tasks, each watched: what exceeds the budget of a record is ended, with the record's name."""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

from dataset import heartbeat
from dataset.store.faults import WorkerKilledError, WorkerStartError
from pipeline.workers.failures import Failure, Working
from pipeline.workers.record_limits import RecordLimits
from pipeline.workers.zygote import FORK, NUMBER, STATUS, Job, Raised

POLL_S = 0.05
"""Between two looks at a child. In this time a process can take some 200 MB from the system."""
_SETTLED_S = 0.5  # a unit that is younger is not asked for its CPU time
_RANGE_FACTOR = 3  # what a slice of many records may take, in budgets of one
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GROWN_BYTES = 64 * 2**20
"""What a child may keep of jobs of one kind (models, lists, freed memory that it holds) when it turns to another: more
than that costs a machine with many children more than to fork one anew, which takes some 20 ms."""
_KILLS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGBUS}  # the last: a file that failed


class RecordTooSlowError(RuntimeError):
    """A record took more CPU time than `run.record_cpu_s`."""


class RecordTooLargeError(RuntimeError):
    """A record took more memory than `run.record_memory_bytes`."""


class WorkerCrashedError(RuntimeError):
    """A worker process ended by itself: a crash of native code."""


class Zygote:
    """This process's zygote; see `pipeline.workers.zygote`."""

    def __init__(self, modules: Sequence[str]):
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        with theirs:
            self._process = self._start_process(theirs.fileno(), modules)

    def _start_process(self, descriptor: int, modules: Sequence[str]) -> subprocess.Popen[bytes]:
        """The process, which answers at a socket."""
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        begin = f"import sys; sys.path[:] = {_import_path()!a}; from pipeline.workers import zygote; zygote.main()"
        command = [sys.executable, "-P", "-c", begin, str(descriptor), *modules]
        return subprocess.Popen(command, pass_fds=[descriptor], env=environment)  # noqa: S603  ours

    def fork(self, jobs: int, shared: int) -> int:
        """Return a child that takes jobs from a socket; its process id. Raises OSError if the system makes none now."""
        with self._lock:
            pid = self._answer(lambda: socket.send_fds(self._ours, [FORK + bytes(NUMBER.size)], [jobs, shared]))
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def status(self, pid: int) -> int:
        """Return how a child has ended: negative is minus the signal that ended it."""
        with self._lock:
            return os.waitstatus_to_exitcode(self._answer(lambda: self._ours.sendall(STATUS + NUMBER.pack(pid))))

    def _answer(self, ask: Callable[[], object]) -> int:
        data = b""
        with contextlib.suppress(ConnectionError):  # it has ended
            ask()
            data = self._ours.recv(NUMBER.size, socket.MSG_WAITALL)
        if len(data) == NUMBER.size:
            return int(NUMBER.unpack(data)[0])
        status = self._process.wait()
        if status > 0:
            said = f"the process that starts workers ended with exit status {status}, and says above why"
            raise WorkerStartError(f"{said}; run `wit` with a Python that has all that openwit needs")
        raise WorkerKilledError("the process that starts workers has been ended")

    @property
    def resident_bytes(self) -> int:
        """What it holds; 0 where the system does not say."""
        return _resident(self._process.pid)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it, and the children with it."""
        self._ours.close()
        self._process.kill()
        self._process.wait()


def _import_path() -> list[str]:
    """Where children look for modules: where this process does, and in the standard library first. For a script's own
    folder may hold a file that is called as one of its modules is (`types.py`)."""
    ours = [entry or str(Path.cwd()) for entry in sys.path]
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(ours, key=lambda entry: Path(entry) not in (library, library / "lib-dynload"))  # else as they are


_zygotes: dict[tuple[str, ...], Zygote] = {}
_zygotes_lock = threading.Lock()


def zygote(modules: Sequence[str]) -> Zygote:
    """Return this process's zygote that has imported some modules, started when it is first asked for."""
    with _zygotes_lock:
        key = tuple(modules)
        if key not in _zygotes or not _zygotes[key].is_alive:
            _zygotes[key] = Zygote(modules)
        return _zygotes[key]


@atexit.register
def _close_zygotes() -> None:
    for child in _zygotes.values():
        child.close()


class Child:
    """One child process, which does one job after the other.

    modules: what it will need, imported once for all children.
    """

    def __init__(self, modules: Sequence[str], limits: RecordLimits):
        self._modules = modules
        self.limits = limits
        self._jobs: Connection | None = None
        self._pid = 0
        self._unstarted: WorkerStartError | None = None
        self._seen: dict[int, _Seen] = {}  # thread -> what it was at when it was looked at
        self._doing = ("", 0.0)  # what it does that is about no unit, and since when
        self._resident = self._peak = 0
        self._kind = ""

    def turn_to(self, kind: str) -> None:
        """The next jobs are of a kind, such as a phase. A child that has grown over others is ended, and begun anew."""
        if kind != self._kind and self._jobs is not None and self._grown_bytes() > _GROWN_BYTES:
            self.close()
        self._kind = kind

    def _grown_bytes(self) -> int:
        """What it holds beyond what it has of its zygote."""
        return _resident(self._pid) - self._zygote.resident_bytes

    def begin(self, function: Any, *arguments: Any) -> None:
        """Have it do a job."""
        # One thread a worker, as Ray has it: tasks are what fills the CPUs. Where a user says otherwise, it counts.
        job = Job(function, arguments, str(Path.cwd()), {"OMP_NUM_THREADS": "1", **os.environ})
        for _ in range(2):
            try:
                jobs = self._jobs or self._start()
                jobs.send_bytes(pickle.dumps(job))
                break
            except (OSError, WorkerKilledError):  # ended while it had nothing to do, or not started: `poll` says it
                self._forget()
            except WorkerStartError as error:
                self._unstarted = error
                self._forget()
                break
        self._peak = 0
        self._seen.clear()

    def _start(self) -> Connection:
        self._memory_file = _shared_file(heartbeat.SIZE)
        self._memory = mmap.mmap(self._memory_file.fileno(), heartbeat.SIZE)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            self._zygote = zygote(self._modules)
            self._pid = self._zygote.fork(theirs.fileno(), self._memory_file.fileno())
            self._jobs = Connection(ours.detach())
        return self._jobs

    @property
    def waits_on(self) -> Connection | None:
        """What becomes readable when the job is done, for `multiprocessing.connection.wait`; None if it never began."""
        return self._jobs

    def wait(self, seconds: float) -> None:
        """Wait until the job is done, so many seconds at most."""
        if self._jobs is not None:
            self._jobs.poll(seconds)

    def poll(self) -> Any:
        """Return the job's answer, a Failure, or None while it is at work."""
        if self._jobs is None and self._unstarted is not None:
            return Failure(self._unstarted, "died")
        if self._jobs is None:
            said = "a worker process could not be started: this machine may have no memory or no process left for it"
            return Failure(WorkerKilledError(f"{said}; use fewer workers (--workers N)"), "died")
        try:
            if self._jobs.poll():
                answer = pickle.loads(self._jobs.recv_bytes())  # noqa: S301  our own child's
                if isinstance(answer, Raised):
                    return Failure(answer.error, "raised", *_suspects(answer.pulse), peak_bytes=self._peak)
                return answer
        except (EOFError, OSError):
            return self._failure_of_ended_child()
        return self._exceeds()

    def describe_work(self, partition: int) -> Working:
        """Return what it is at, for people."""
        pulse = heartbeat.read(self._memory)
        now, oldest = time.monotonic(), None
        for unit in pulse.at:
            seen = self._seen.get(unit.thread)
            since = seen.since if seen is not None and seen.beat == unit.beat else now
            if oldest is None or since < oldest[0]:
                oldest = (since, unit.place)
        if pulse.doing != self._doing[0]:
            self._doing = (pulse.doing, now)
        since, place = oldest or (self._doing[1] if pulse.doing else now, pulse.doing)
        return Working(partition, pulse.done, pulse.total, place, now - since)

    def close(self) -> None:
        """End it."""
        if self._jobs is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._reap()
            self._forget()

    def _forget(self) -> None:
        if self._jobs is not None:
            self._jobs.close()
            self._memory.close()
            self._memory_file.close()
            self._jobs = None

    def _reap(self) -> int:
        try:
            return self._zygote.status(self._pid)
        except (OSError, WorkerKilledError, WorkerStartError):  # the zygote is gone, and its children with it
            return -int(signal.SIGKILL)

    def _failure_of_ended_child(self) -> Failure:
        """The child has ended in the middle of a job."""
        pulse = heartbeat.read(self._memory)
        status = self._reap()
        self._forget()
        suspects, place = _suspects(pulse)
        error: Exception
        if -status in _KILLS:
            error = WorkerKilledError(
                f"the system or a person ended a worker ({_signal(status)}) that had {self._peak / 1e6:,.0f} MB of "
                f"memory{f' at {place}' if place else ''}; if the machine is short of memory, use fewer workers "
                "(--workers N) or smaller partitions (run.piece_bytes, run.pairs_per_partition)"
            )
        else:
            error = WorkerCrashedError(f"its worker ended with {_signal(status)}{f' at {place}' if place else ''}")
        return Failure(error, "died", suspects, place, peak_bytes=self._peak)

    def _exceeds(self) -> Failure | None:
        """Look at what the child has used; end it if a record has exceeded its budget."""
        before, self._resident = self._resident, _resident(self._pid)
        self._peak = max(self._peak, self._resident)
        now = time.monotonic()
        pulse = heartbeat.read(self._memory)
        guarded = [place for place in pulse.at if place.is_guarded]
        too_large = []
        for place in guarded:
            seen = self._seen.get(place.thread)
            if seen is None or seen.beat != place.beat:
                floor = min(before or self._resident, self._resident)
                self._seen[place.thread] = _Seen(place.beat, now, _cpu_s(self._pid, place.thread), floor)
                continue
            limit = self.limits.seconds * (_RANGE_FACTOR if place.last - place.first > 1 else 1)
            if now - seen.since > max(_SETTLED_S, limit / 2):
                used = _cpu_s(self._pid, place.thread) - seen.cpu_s
                if used <= limit and len(guarded) == 1:
                    used = seen.used_elsewhere(_cpu_elsewhere(self._pid, pulse.threads), _RANGE_FACTOR * limit)
                if used > limit:
                    error: Exception = RecordTooSlowError(
                        f"{place.place or 'a record'} took more than {limit:g} s of CPU"
                    )
                    return self._stop(
                        Failure(error, "time", ((place.first, place.last),), place.place, used, limit, self._peak)
                    )
            if self._resident - seen.resident > self.limits.memory_bytes:
                too_large.append((place, self._resident - seen.resident))
        if not too_large:
            return None
        (place, used), limit = too_large[0], self.limits.memory_bytes
        error = RecordTooLargeError(
            f"{place.place or 'a record'} took more than {self.limits.memory_bytes:,} bytes of memory"
        )
        suspects = tuple((item.first, item.last) for item, _ in too_large)
        return self._stop(Failure(error, "memory", suspects, place.place, used, limit, self._peak))

    def _stop(self, failure: Failure) -> Failure:
        self.close()
        return failure


class _Seen:
    """A thread at some units, when it was first looked at."""

    __slots__ = ("beat", "cpu_s", "elsewhere_s", "resident", "since")

    def __init__(self, beat: int, since: float, cpu_s: float, resident: int):
        self.beat, self.since, self.cpu_s, self.resident = beat, since, cpu_s, resident
        self.elsewhere_s: float | None = None

    def used_elsewhere(self, cpu_s: float | None, least: float) -> float:
        """The CPU time, since this was asked first, of threads that a library has begun for the unit (libheif does); 0
        as long as it is not more than what the process itself may have used meanwhile."""
        if cpu_s is None or self.elsewhere_s is None:
            self.elsewhere_s = cpu_s
            return 0.0
        used = cpu_s - self.elsewhere_s
        return used if used > least else 0.0


def _shared_file(size: int) -> IO[bytes]:
    """A file of so many zeros that two processes map. Where it lies on a disk its room is taken at once: on one that is
    full, a process that writes into it later would be killed by SIGBUS."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("openwit-heartbeat"), "r+b")
        file.truncate(size)
        return file
    file = tempfile.TemporaryFile()  # noqa: SIM115  as long as the child
    file.write(bytes(size))
    file.flush()
    return file


def _suspects(pulse: heartbeat.Pulse) -> tuple[tuple[tuple[int, int], ...], str]:
    """The units that a process was at, and what they are."""
    return tuple((place.first, place.last) for place in pulse.at), pulse.at[0].place if pulse.at else ""


def _resident(pid: int) -> int:
    """A process's resident bytes; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _cpu_s(pid: int, thread: int) -> float:
    """The CPU time of a thread; the time of day where the system does not say it."""
    try:
        fields = Path(f"/proc/{pid}/task/{thread}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK
    except (OSError, IndexError):
        return time.monotonic()


def _cpu_elsewhere(pid: int, threads: Sequence[int]) -> float | None:
    """The CPU time of a process's other threads; None where the system does not say it, or one of these has ended."""
    try:
        places = [f"/proc/{pid}/stat", *(f"/proc/{pid}/task/{thread}/stat" for thread in threads)]
        fields = [Path(place).read_bytes().rpartition(b")")[2].split() for place in places]
        whole, *known = (int(one[11]) + int(one[12]) for one in fields)
    except (OSError, IndexError):
        return None
    return (whole - sum(known)) / _TICK


def _signal(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
