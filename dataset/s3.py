"""How S3 is reached: one client of each kind a process, patient with a server that says it is busy.

AWS_ENDPOINT_URL names another server than Amazon's; OPENWIT_S3_ANONYMOUS=1 reads public buckets without credentials.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

ATTEMPTS = 10
"""How often a request is made that is answered 500, 503 SlowDown or not at all, later and later: about a minute."""
_CONFLICTS = 5  # times that a create is tried while another create of the same file is under way


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _anonymous() -> bool:
    return os.environ.get("OPENWIT_S3_ANONYMOUS", "") not in ("", "0")


def client() -> Any:
    """This process's boto3 client, which honours AWS_ENDPOINT_URL, so that any S3-compatible server works."""
    return _client(os.getpid())


@lru_cache(maxsize=4)
def _client(pid: int) -> Any:
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
    config = Config(retries=retries, signature_version=UNSIGNED) if _anonymous() else Config(retries=retries)
    return boto3.client("s3", endpoint_url=_endpoint(), config=config)


def filesystem() -> fs.FileSystem:
    """A new Arrow filesystem of S3."""
    options: dict[str, Any] = {"retry_strategy": fs.AwsDefaultS3RetryStrategy(max_attempts=ATTEMPTS)}
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
            raise ConnectionError(f"{url} cannot be reached: {error}") from error
    return False


def version(url: str, bucket: str, key: str) -> str:
    """The ETag of an object, which changes with its content. Raises OSError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(client().head_object(Bucket=bucket, Key=key)["ETag"]).strip('"')
    except ClientError as error:
        raise _refusal(url, bucket, error.response["Error"], "read") from error
    except BotoCoreError as error:
        raise ConnectionError(f"{url} cannot be reached: {error}") from error


def _read(bucket: str, key: str) -> bytes:
    body: bytes = client().get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def _refusal(url: str, bucket: str, error: dict[str, str], done: str = "written") -> OSError:
    """What an S3 server's refusal means to a person."""
    if error["Code"] == "NoSuchBucket":
        return FileNotFoundError(f"there is no bucket {bucket} for {url}; make it first")
    if error["Code"] in ("SlowDown", "ServiceUnavailable", "InternalError", "503", "500"):
        return ConnectionError(f"{url}: its server is still busy ({error['Code']}) after {ATTEMPTS} tries; try later")
    return PermissionError(
        f"{url} cannot be {done} ({error['Code']}: {error.get('Message', '')}); "
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
    )
