"""`wit submit`: a `wit` command as a Ray job, with its log and its exit status.

The working directory (the repo, unless another is named) is sent to the cluster, and the job runs in it. A job whose
driver finds itself on the machine that submitted it goes back to the submitter's folder, so that relative paths mean
there what they mean without a cluster. Anywhere else they mean what was sent, which is why `out` must be a URL
or an absolute path: what a job writes into its own copy is lost with it.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dataset.store.storage import is_local

DEFAULT_ADDRESS = "http://127.0.0.1:8265"  # where `ray start --head` puts the job server
HOME = "OPENWIT_SUBMITTED_FROM"  # "machine:folder" of the submitter
_POLL_SECONDS = 0.5
_STOP_SECONDS = 30.0  # how long a stopped job may take to let go of its dataset


def submit(words: Sequence[str], address: str | None = None, working_dir: str | None = None) -> int:
    """Run `wit …` on a cluster, show its log as it comes, and return its exit status.

    Ctrl-C stops the job.

    Args:
        words: the command, beginning with `wit`.
        address: the cluster's job server; RAY_API_SERVER_ADDRESS, RAY_ADDRESS or this machine's by default.
        working_dir: the folder, or zip at a URL, that the job runs in; the repo by default.

    Returns:
        The command's exit status; 1 if the job ended without one.

    Raises:
        ConfigError: no job server answers, or the working directory is not there.
    """
    from pipeline.config_errors import ConfigError
    from pipeline.engine.progress import working_dir as repo

    folder = working_dir or str(repo())
    if is_local(folder) and not Path(folder).is_dir():
        raise ConfigError(f"--working-dir {folder} is no folder")
    client = _connect(address)
    job = client.submit_job(entrypoint=_entrypoint(words), runtime_env=_runtime_env(folder))
    print(f"job {job}", file=sys.stderr, flush=True)
    try:
        asyncio.run(_follow(client, job, sys.stdout.write))
    except KeyboardInterrupt:
        print(f"stopping job {job}", file=sys.stderr, flush=True)
        client.stop_job(job)
        until = time.monotonic() + _STOP_SECONDS
        while not _has_ended(client, job) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        raise
    return _exit_status(client, job)


def go_home() -> None:
    """Heed Ctrl-C in a job; on the machine that submitted it, change to the folder that it was submitted from."""
    if HOME in os.environ:  # the job server stops us so, and one that a shell started in the background ignores it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    machine, _, folder = os.environ.get(HOME, "").partition(":")
    if machine == _machine() and Path(folder).is_dir():
        os.chdir(folder)


def check_out(out: str, name: str = "out") -> None:
    """Check that a job far from its submitter does not write into its own, passing copy of the working directory.

    Args:
        out: where it would write.
        name: the key or argument that says so.

    Raises:
        ConfigError: `out` is a relative path there.
    """
    if HOME not in os.environ or os.environ[HOME].partition(":")[0] == _machine():
        return
    from pipeline.config_errors import ConfigError

    if is_local(out) and not Path(out.removeprefix("file://")).expanduser().is_absolute():
        raise ConfigError(
            f"{name} is {out}, which would be lost with the job's copy of the working directory; "
            "give an s3:// URL, or an absolute path that all nodes share"
        )


def _machine() -> str:
    """This machine's name and hardware address: an ssh tunnel's end is not the submitter's machine."""
    return f"{socket.gethostname()}-{uuid.getnode():x}"


def _entrypoint(words: Sequence[str]) -> str:
    """The shell command of the job: this very Python where there is one at its path, else the cluster's own."""
    python = f"$(command -v {shlex.quote(sys.executable)} || command -v python3)"
    return f"exec {python} -m pipeline {shlex.join(words[1:])}"


def _runtime_env(folder: str) -> dict[str, Any]:
    from pipeline.workers.executor import EXCLUDES

    env = {
        HOME: f"{_machine()}:{Path.cwd()}",
        "RAY_JOB_STOP_SIGNAL": "SIGINT",  # as Ctrl-C would: the run lets go of its dataset
        "RAY_JOB_STOP_WAIT_TIME_S": "20",
    }
    return {"working_dir": folder, "excludes": EXCLUDES, "env_vars": env}


def _connect(address: str | None) -> Any:
    """A client of the job server. Raises ConfigError."""
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available as enable_token,
    )
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    from pipeline.config_errors import ConfigError

    named = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or DEFAULT_ADDRESS
    if address:
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray lets the environment win over what a caller says
    try:
        try:
            return JobSubmissionClient(named)
        except AuthenticationError:
            # `ray start` asks for this user's Ray token once there is one, and Ray's job client does not think of it.
            enable_token()
            return JobSubmissionClient(named)
    except AuthenticationError as error:
        raise ConfigError(
            f"the Ray job server at {named} asks for a token; put the cluster's into RAY_AUTH_TOKEN, "
            "with RAY_AUTH_MODE=token"
        ) from error
    except Exception as error:  # whatever a wrong address makes requests, gRPC or Ray raise
        raise ConfigError(
            f"no Ray job server answers at {named} ({type(error).__name__}); "
            "start a cluster with `ray start --head`, or give its address with --address http://HOST:8265"
        ) from error


async def _follow(client: Any, job: str, write: Callable[[str], Any]) -> None:
    """Write the job's log as it comes until the job has ended; a lost connection is made anew."""
    from aiohttp import ClientError

    shown = 0
    while True:
        ended = _has_ended(client, job)  # asked before the log is read, so that what was read then is all
        position = 0
        with suppress(RuntimeError, OSError, ClientError):
            async for text in _log(client, job):
                fresh = text[max(0, shown - position) :]
                position += len(text)
                shown = max(shown, position)
                write(fresh)
                sys.stdout.flush()
        if ended:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _log(client: Any, job: str) -> AsyncIterator[str]:
    """The log from its beginning: followed while the job runs, as a whole once it has ended."""
    if _has_ended(client, job):
        yield client.get_job_logs(job)
        return
    async for text in client.tail_job_logs(job):
        yield text


def _has_ended(client: Any, job: str) -> bool:
    return bool(client.get_job_status(job).is_terminal())


def _exit_status(client: Any, job: str) -> int:
    info = client.get_job_info(job)
    if info.driver_exit_code is not None:
        return int(info.driver_exit_code)
    print(f"job {job}: {info.status}: {info.message or 'no reason given'}", file=sys.stderr)
    return 0 if info.status == "SUCCEEDED" else 1
