"""A whole file of a bucket by one request: Arrow asks S3 for a file's length first.

It takes boto3, and twice the time of the processor; so this is for the few files of a question about one row.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from dataset import usage
from dataset.store import s3, waits
from dataset.store.secrets import public
from dataset.store.storage import Storage


def read_in_one_request(storage: Storage, name: str) -> bytes:
    """Return a whole file. Raises FileNotFoundError, OSError."""
    if urlsplit(storage.url).scheme not in ("s3", "s3a"):
        return storage.read(name)
    bucket, key = storage.path(name).split("/", 1)
    with waits.announce_wait(public(storage.url)):
        data = s3.get(storage.url, bucket, key)
    if data is None:
        raise FileNotFoundError(storage.url_of(name))
    return usage.count_received(data)
