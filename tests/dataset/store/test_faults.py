"""Errors of the environment are told from errors of the input by class, and are waited out."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import botocore.exceptions
import duckdb
import pyarrow as pa
import pytest
import ray.exceptions
from PIL import Image

from dataset.query import sandbox
from dataset.store import faults, s3, scratch


def of_code(code: int) -> OSError:
    return OSError(code, "the system's words", "/out/a.parquet")


@pytest.mark.parametrize(
    "error",
    [
        *(of_code(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)),
        *(of_code(code) for code in (errno.ENODEV, errno.ENOTCONN, errno.ENETUNREACH, errno.EHOSTUNREACH)),
        OSError("[errno 28] error writing to file: No space left on device"),  # Arrow, where it sets no errno
        OSError("AWS Error SLOW_DOWN during PutObject operation: reduce your request rate"),
        OSError("AWS Error INTERNAL_FAILURE during GetObject operation"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        TimeoutError("timed out"),
        s3._refusal("s3://b/a", "b", {"Code": "SlowDown"}),
        s3._explain_no_answer(
            "s3://b/a", botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        ),
        botocore.exceptions.ClientError({"Error": {"Code": "SlowDown"}}, "PutObject"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        duckdb.IOException('IO Error: Could not write file "t": No space left on device'),
        ray.exceptions.WorkerCrashedError(),
        ray.exceptions.LocalRayletDiedError(),
        ray.exceptions.OutOfDiskError("disk"),
        faults.WorkerKilledError("the system ended a worker"),
    ],
    ids=lambda error: f"{type(error).__name__}-{str(error)[:30]}",
)
def test_what_may_pass_is_the_environments(error: Exception) -> None:
    found = faults.fault(error)
    assert found is not None and found.may_pass
    assert "\n" not in found.sentence and len(found.sentence) > 20


@pytest.mark.parametrize(
    "error",
    [
        of_code(errno.EROFS),
        of_code(errno.EACCES),
        of_code(errno.EFBIG),
        duckdb.IOException('IO Error: Failed to create directory "/t": Permission denied!'),
        botocore.exceptions.ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject"),
        botocore.exceptions.NoCredentialsError(),
        OSError("AWS Error ACCESS_DENIED during PutObject operation"),
        *(s3._refusal("s3://b/a", "b", {"Code": code, "Message": "no"}) for code in ("AccessDenied", "403", "Other")),
        s3._refusal("s3://b/a", "b", {"Code": "NoSuchBucket"}),
        s3._explain_no_answer("s3://b/a", botocore.exceptions.NoCredentialsError()),
        faults.ServiceError("https://a.example/b cannot be read (status 401)"),
        faults.WorkerStartError("the process that starts workers ended with exit status 1"),
    ],
    ids=str,
)
def test_what_stays_as_it_is_is_not_waited_for(error: Exception) -> None:
    found = faults.fault(error)
    assert found is not None and not found.may_pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        MemoryError(),
        RecursionError(),
        OSError("broken data stream when reading image file"),
        OSError(errno.EINVAL, "Invalid argument"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        pa.ArrowInvalid("not a Parquet file"),
        Image.DecompressionBombError("too large"),
        duckdb.ConversionException("no number"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_an_input_may_cause_is_not(error: Exception) -> None:
    assert faults.fault(error) is None


def test_the_sentence_names_the_file() -> None:
    assert str(faults.sentence(of_code(errno.ENOSPC))).startswith("/out/a.parquet: the disk is full")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            duckdb.OutOfMemoryException("failed to offload: the 'max_temp_directory_size' setting"),
            "TMPDIR names another",
        ),
        (duckdb.OutOfMemoryException("failed to pin block of size 256.0 KiB"), "run.pairs_per_partition"),
        (ray.exceptions.OutOfDiskError("full"), "Ray's temporary folder is full"),
    ],
    ids=["DuckDB's folder", "DuckDB's memory", "Ray's folder"],
)
def test_what_is_full_names_what_to_change(error: Exception, says: str) -> None:
    assert says in str(faults.sentence(error))


def test_what_does_not_fit_into_memory_is_spilled_where_nobody_else_can_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    connection = sandbox.connect(memory_limit="40MB")
    connection.execute("CREATE TABLE t AS SELECT md5(range::VARCHAR) AS a FROM range(2000000) ORDER BY a")
    (folder,) = tmp_path.iterdir()
    assert list(folder.rglob("*.tmp")) and folder.stat().st_mode & 0o077 == 0
    connection.close()
    assert not list(folder.rglob("*.tmp"))


def test_an_action_is_tried_again_while_the_environment_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(faults, "time", SimpleNamespace(sleep=waits.append))  # other threads sleep as before
    answers: list[Exception | None] = [of_code(errno.ENOSPC), ConnectionResetError(), None]

    def action() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert faults.patiently(action, who="s3://bucket") == "done"
    assert waits == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "s3://bucket fails for now (the system's words); tried again in 1 s, with patience for 60 s more",
        "s3://bucket fails for now (ConnectionResetError); tried again in 1 s, with patience for 59 s more",
    ]
    answers += [of_code(errno.EIO)] * 50
    with pytest.raises(OSError, match="the system's words"):
        faults.patiently(action, patience_s=100)
    assert sum(waits[2:]) == 100
    answers[:] = [ValueError("no")]
    with pytest.raises(ValueError, match="no"):
        faults.patiently(action)
