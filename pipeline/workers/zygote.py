"""A process that has imported what tasks need, and forks a child for whoever asks: in milliseconds, not seconds.

Its process has the arguments `FD MODULE…`, where FD is a Unix socket. It runs no thread and no task itself,
so that to fork it is safe. A message of a byte and two file descriptors asks for a child, and is answered by its
process id, or by minus the error's number where none can be made; a process id is answered by the child's exit status
once it has ended. The zygote ends with the socket, and the children end with the zygote.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from dataset import heartbeat, usage
from dataset.query import arrow_alone

NUMBER = struct.Struct("<q")
FORK, STATUS = b"f", b"s"
_PR_SET_PDEATHSIG = 1


@dataclass
class Job:
    """What a child is asked to do, where and with which variables of the environment."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    folder: str
    environment: dict[str, str]


@dataclass
class Raised:
    """A job's exception; its trace as text is among its notes."""

    error: Exception
    pulse: heartbeat.Pulse


def main() -> None:
    """Import the modules, then fork children until the socket ends."""
    descriptor, *modules = sys.argv[1:]
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal; who asked for children ends them
    arrow_alone.leave_pandas_out()  # its children make their first array each
    for module in modules:
        with contextlib.suppress(Exception):  # the child that needs it says what is wrong with it
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # else a child's first collection writes into each page of what was imported, and has its own copy
    with socket.socket(fileno=int(descriptor)) as asked:
        while True:
            message, descriptors, _, _ = socket.recv_fds(asked, 1 + NUMBER.size, 2)
            if not message:
                return
            if message[:1] == FORK:
                asked.sendall(NUMBER.pack(_fork(asked, *descriptors)))
            else:
                (pid,) = NUMBER.unpack(message[1:])
                asked.sendall(NUMBER.pack(os.waitpid(pid, 0)[1]))


def _fork(asked: socket.socket, *descriptors: int) -> int:
    """The child's process id; minus the error's number if the system makes none now, which is no reason to end all."""
    zygote = os.getpid()
    try:
        pid = os.fork() if len(descriptors) == 2 else -errno.EMFILE  # what there was no room for was not received
    except OSError as error:
        pid = -(error.errno or errno.EAGAIN)
    if pid == 0:
        status = 1
        try:
            _end_with_parent()
            asked.close()
            if os.getppid() == zygote:
                jobs, shared = descriptors
                _serve(Connection(jobs), mmap.mmap(shared, heartbeat.SIZE))
            status = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    for descriptor in descriptors:
        os.close(descriptor)
    return pid


def _end_with_parent() -> None:
    """Have the system end this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(jobs: Connection, memory: mmap.mmap) -> None:
    """Do one job after the other, until there are no more."""
    beats = heartbeat.attach(memory)
    assert beats is not None
    while True:
        try:
            job: Job = pickle.loads(jobs.recv_bytes())  # noqa: S301  our own parent's
        except (EOFError, OSError):
            return
        except Exception as error:
            jobs.send(Raised(_sendable(error), heartbeat.Pulse()))
            continue
        beats.clear()
        try:
            os.chdir(job.folder)
            if os.environ != job.environment:
                os.environ.clear()
                os.environ.update(job.environment)
                tempfile.tempdir = None  # it is asked anew
            answer = job.function(*job.arguments)
        except Exception as error:
            answer = Raised(_sendable(error), heartbeat.read(memory))
        jobs.send(answer)
        del job, answer
        usage.give_back_memory()


def _sendable(error: Exception) -> Exception:
    """The exception, or one that says the same where it cannot be pickled."""
    trace = "".join(traceback.format_exception(error))
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
        if type(copy) is not type(error) or str(copy) != str(error):
            raise TypeError("it does not survive")
    except Exception:
        copy = RuntimeError(f"{type(error).__name__}: {error}")
    copy.add_note(trace)
    return copy
