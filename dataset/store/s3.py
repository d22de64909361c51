"""How S3 is reached: one client of each kind a process, patient with a server that says it is busy.

AWS_ENDPOINT_URL names another server than Amazon's; OPENWIT_S3_ANONYMOUS=1 reads public buckets without credentials.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from dataset.store import waits
from dataset.store.faults import ServiceError
from dataset.usage import KEYS_PER_REQUEST

ATTEMPTS = 10
"""How often a request is made that is answered 500, 503 SlowDown or not at all, later and later: about a minute."""
_CREDENTIALS = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
_BUSY = frozenset(
    {"SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling",
     "ThrottlingException", "TooManyRequests", "RequestLimitExceeded", "429", "500", "502", "503", "504"}
)  # fmt: skip
_CONNECTIONS = 32  # kept open: as many as ask at once
_CONFLICTS = 5  # times that a create is tried while another create of the same file is under way


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _anonymous() -> bool:
    return os.environ.get("OPENWIT_S3_ANONYMOUS", "") not in ("", "0")


def client() -> Any:
    """Return this process's boto3 client, which honours AWS_ENDPOINT_URL, so that any S3-compatible server works."""
    return _client(os.getpid())


@lru_cache(maxsize=4)
def _client(pid: int) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    # Adaptive: when the server asks for patience, all later requests of this process are slowed down, too.
    retries = {"mode": "adaptive", "total_max_attempts": ATTEMPTS}
    options: dict[str, Any] = {"retries": retries, "max_pool_connections": _CONNECTIONS}
    config = Config(signature_version=UNSIGNED, **options) if _anonymous() else Config(**options)
    client = boto3.client("s3", endpoint_url=_endpoint(), config=config)
    client.meta.events.register("needs-retry.s3", _note_try)
    return client


def _note_try(response: Any = None, caught_exception: Any = None, attempts: int = 0, **_: Any) -> None:
    """boto3 has had an answer, or none, and is about to say whether it asks again."""
    status, answer = (response[0].status_code, response[1]) if response else (0, {})
    if caught_exception is not None or status == 429 or status >= 500:
        why = answer.get("Error", {}).get("Code") or caught_exception or status
        waits.note_failure(f"{why}, try {attempts} of {ATTEMPTS}")


def filesystem() -> fs.FileSystem:
    """Return a new Arrow filesystem of S3."""
    options: dict[str, Any] = {
        "retry_strategy": fs.AwsDefaultS3RetryStrategy(max_attempts=ATTEMPTS),
        "allow_delayed_open": True,  # what is small is one PUT, not two POSTs and a PUT; AWS charges for each
    }
    if endpoint := _endpoint():
        parts = urlsplit(endpoint)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        options["region"] = region
    if _anonymous():
        options["anonymous"] = True
    return fs.S3FileSystem(**options)


def create(url: str, bucket: str, key: str, data: bytes) -> bool:
    """Write an object if it is absent; False, with nothing changed, if it is there already.

    url: the storage's, for messages.

    Raises:
        OSError: the server refuses, or cannot be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for attempt in range(_CONFLICTS):
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            return True
        except ClientError as error:
            meta = error.response["ResponseMetadata"]
            if meta["HTTPStatusCode"] == 412:
                # The file may be this very request's, sent again by boto3 because the first answer was lost.
                return bool(meta.get("RetryAttempts")) and _read(bucket, key) == data
            if meta["HTTPStatusCode"] != 409:  # another create is under way, and may yet fail
                raise _refusal(url, bucket, error.response["Error"]) from error
            time.sleep(0.1 * 2**attempt)
        except BotoCoreError as error:
            raise _explain_no_answer(url, error) from error
    return False


def replace(url: str, bucket: str, key: str, old: bytes, new: bytes) -> bool:
    """Write an object if it is still what was read; False, with nothing changed, if it is another by now, or gone.

    A server that does not know the condition is told apart by its answer; there the object is read just before.

    Raises:
        OSError: the server refuses, or cannot be reached.
    """
    for attempt in range(_CONFLICTS):
        current = _get_with_tag(url, bucket, key)
        if current is None or current[0] != old:
            return False
        status, retried = _conditionally(
            url, lambda **condition: client().put_object(Bucket=bucket, Key=key, Body=new, **condition), current[1]
        )
        if status == 409:  # another write is under way, and may yet fail
            time.sleep(0.1 * 2**attempt)
            continue
        if status in (404, 412):
            # The file may be this very request's, sent again by boto3 because the first answer was lost.
            return retried and (_get_with_tag(url, bucket, key) or (b"",))[0] == new
        return True
    return False


def delete(url: str, bucket: str, keys: Sequence[str]) -> None:
    """Delete objects; those that are gone already are no error.

    Raises:
        OSError: the server refuses some of them, or cannot be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    for first in range(0, len(keys), KEYS_PER_REQUEST):
        batch = [{"Key": key} for key in keys[first : first + KEYS_PER_REQUEST]]
        try:
            answer = client().delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        except ClientError as error:
            raise _refusal(url, bucket, error.response["Error"], "changed") from error
        except BotoCoreError as error:
            raise _explain_no_answer(url, error) from error
        # The request itself succeeds all the same; some servers name what was gone already, too.
        left = [refused for refused in answer.get("Errors", ()) if refused.get("Code") not in ("NoSuchKey", "404")]
        for refused in left[:1]:
            raise _refusal(f"s3://{bucket}/{refused.get('Key', '')}", bucket, {"Code": "", **refused}, "deleted")


def delete_same(url: str, bucket: str, key: str, old: bytes) -> None:
    """Delete an object if it is still what was read.

    Raises:
        OSError: the server refuses, or cannot be reached.
    """
    current = _get_with_tag(url, bucket, key)
    if current is not None and current[0] == old:
        _conditionally(url, lambda **condition: client().delete_object(Bucket=bucket, Key=key, **condition), current[1])


def _conditionally(url: str, request: Callable[..., Any], tag: str) -> tuple[int, bool]:
    """Make a request on the condition that an object has a tag: the answer's status, and whether boto3 asked twice."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        try:
            meta = request(IfMatch=tag)["ResponseMetadata"]
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 501:
                raise
            meta = request()["ResponseMetadata"]
    except ClientError as error:
        meta = error.response["ResponseMetadata"]
        if meta["HTTPStatusCode"] not in (404, 409, 412) or error.response["Error"]["Code"] == "NoSuchBucket":
            raise _refusal(url, urlsplit(url).netloc, error.response["Error"]) from error
    except BotoCoreError as error:
        raise _explain_no_answer(url, error) from error
    return int(meta["HTTPStatusCode"]), bool(meta.get("RetryAttempts"))


def _get_with_tag(url: str, bucket: str, key: str) -> tuple[bytes, str] | None:
    """An object and its tag; None if there is none. Raises OSError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = client().get_object(Bucket=bucket, Key=key)
        return answer["Body"].read(), str(answer["ETag"])
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise _refusal(url, bucket, error.response["Error"], "read") from error
    except BotoCoreError as error:
        raise _explain_no_answer(url, error) from error


def version(url: str, bucket: str, key: str) -> str:
    """Return the ETag of an object, which changes with its content. Raises OSError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        with waits.announce_wait(url):
            return str(client().head_object(Bucket=bucket, Key=key)["ETag"]).strip('"')
    except ClientError as error:
        raise _refusal(url, bucket, error.response["Error"], "read") from error
    except BotoCoreError as error:
        raise _explain_no_answer(url, error) from error


def get(url: str, bucket: str, key: str) -> bytes | None:
    """Return a whole object, by one request; None if there is none. Raises OSError."""
    tagged = _get_with_tag(url, bucket, key)
    return None if tagged is None else tagged[0]


def _read(bucket: str, key: str) -> bytes:
    body: bytes = client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


class RefusedError(ServiceError, PermissionError):
    """What was asked of an S3 server is not allowed."""


class NoBucketError(ServiceError, FileNotFoundError):
    """An S3 server has no bucket of that name."""


def _refusal(url: str, bucket: str, error: dict[str, str], done: str = "written") -> OSError:
    """What an S3 server's refusal means to a person."""
    if error["Code"] == "NoSuchBucket":
        return NoBucketError(f"there is no bucket {bucket} for {url}; make it first")
    if error["Code"] in _BUSY:
        return ConnectionError(f"{url}: its server is still busy ({error['Code']}) after {ATTEMPTS} tries; try later")
    return RefusedError(
        f"{url} cannot be {done} ({error['Code']}: {error.get('Message', '')}); {_CREDENTIALS}, and what they allow"
    )


def _explain_no_answer(url: str, error: Exception) -> OSError:
    """What it means to a person that boto3 has no answer."""
    if type(error).__name__ in (
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "TokenRetrievalError",
    ):
        return RefusedError(f"{url}: {error}; {_CREDENTIALS}, or set OPENWIT_S3_ANONYMOUS=1 for a public bucket")
    return ConnectionError(f"{url} cannot be reached: {error}")
