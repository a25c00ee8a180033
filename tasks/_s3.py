"""A bucket that speaks S3: one request per write, one layer of retries, no doubtful outcome left open.

A write whose reply was lost may or may not have happened. It is sent again under the same condition; if the
condition then fails, what lies there is read back and compared, so the answer is about the object and
never about the reply.
"""

import os
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, TypeVar

import fsspec
from aiobotocore.httpsession import AIOHTTPSession

from sweetspot.errors import StoreError
from tasks._endpoints import check_endpoint

ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
DEADLINE_S = 60.0
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 20
LONGEST_PAUSE_S = 5.0
NOT_FOUND, CONDITION_FAILED = 404, 412
TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}

T = TypeVar("T")


def open_bucket(path: str) -> "S3Bucket":
    """The bucket at `bucket/prefix`, with one client per process and endpoint: making one takes a third of a second."""
    for name in ENDPOINTS:
        if endpoint := os.environ.get(name):
            check_endpoint(endpoint, what=name)
    return _opened(path, os.environ.get("AWS_ENDPOINT_URL", ""), os.getpid())


@lru_cache(maxsize=16)
def _opened(path: str, endpoint: str, process: int) -> "S3Bucket":
    return S3Bucket(path)


class S3Bucket:
    """Objects below `bucket/prefix`.

    Args:
        path: `bucket/prefix`.
        deadline_s: after this long without a clear answer an operation gives up.
    """

    def __init__(self, path: str, *, deadline_s: float = DEADLINE_S) -> None:
        self.bucket, _, self.prefix = path.rstrip("/").partition("/")
        self.deadline_s = deadline_s
        self.fs: Any = fsspec.filesystem(
            "s3",
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "retries": {"total_max_attempts": 1},
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": READ_TIMEOUT_S,
                "http_session_cls": _StaysHere,
            },
        )
        self.fs.retries = 1  # the loop in `_until_clear` is the only one

    def read(self, key: str) -> bytes | None:
        """The whole object, or None if the name is free."""
        return self._until_clear("read", key, lambda: self._get(key))

    def create(self, key: str, data: bytes) -> bool:
        """Put a new object; True if it holds `data` afterwards, False if it holds anything else."""

        def put() -> bool:
            return self._put(key, data, IfNoneMatch="*") or self._get(key) == data

        return self._until_clear("write", key, put)

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Put over `expected`, and only over that; True if the object holds `data` afterwards.

        Raises:
            StoreError: the store refuses a write over the very version it has just shown.
        """
        if expected is None:
            return self.create(key, data)

        def exchange() -> bool:
            tag = self._tag(key)
            found = self._get(key)
            if found == data or found != expected or tag is None:
                return found == data
            # Some servers (Ceph) want the tag without the quotes they show it in.
            return any(self._put(key, data, IfMatch=form) for form in (tag, tag.strip('"'))) or self._lost_race(
                key, tag
            )

        return self._until_clear("move", key, exchange)

    def listing(self, prefix: str) -> list[tuple[str, int, datetime]]:
        """Key, bytes and time of every object below a prefix."""
        cut = len(f"{self.bucket}/{self._name('')}")
        found = self._until_clear(
            "list", prefix, lambda: self.fs.find(f"{self.bucket}/{self._name(prefix)}", detail=True)
        )
        return [(path[cut:], info["size"], info["LastModified"]) for path, info in found.items()]

    def remove(self, key: str) -> None:
        """Delete an object."""
        self._until_clear("delete", key, lambda: self.fs.rm_file(f"{self.bucket}/{self._name(key)}"))

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _get(self, key: str) -> bytes | None:
        try:
            return self.fs.cat_file(f"{self.bucket}/{self._name(key)}", max_concurrency=1)
        except FileNotFoundError:
            return None

    def _put(self, key: str, data: bytes, **condition: str) -> bool:
        """One conditional put; False if its condition did not hold."""
        try:
            self.fs.call_s3("put_object", Bucket=self.bucket, Key=self._name(key), Body=data, **condition)
        except Exception as error:
            if _status(error) != CONDITION_FAILED:
                raise
            return False
        return True

    def _tag(self, key: str) -> str | None:
        try:
            return self.fs.call_s3("head_object", Bucket=self.bucket, Key=self._name(key))["ETag"]
        except FileNotFoundError:
            return None

    def _lost_race(self, key: str, tag: str) -> bool:
        """After a refused swap: our own earlier write shows as a new tag, and is found by trying again."""
        if self._tag(key) == tag:
            raise StoreError(
                f"s3://{self.bucket}/{self._name(key)}: the store refuses If-Match with its own ETag {tag}, so its "
                "pointers cannot be moved. Use a store that honours it."
            )
        raise _TryAgainError

    def _until_clear(self, action: str, key: str, attempt: Callable[[], T]) -> T:
        """Repeat until the store gives a clear answer, with growing pauses, up to the deadline."""
        started, tries = time.monotonic(), 0
        while True:
            try:
                return attempt()
            except StoreError:
                raise
            except Exception as error:
                where = f"s3://{self.bucket}/{self._name(key)}"
                if not _is_transient(error):
                    raise StoreError(
                        f"{where}: cannot {action}: {_reason(error)}. Check rights and credentials"
                    ) from None
                pause_s = min(0.1 * 2**tries, LONGEST_PAUSE_S)
                if time.monotonic() + pause_s - started > self.deadline_s:
                    raise StoreError(
                        f"{where}: no clear answer to a {action} in {self.deadline_s:g} s, {tries + 1} tries, last "
                        f"{_reason(error)}. Whether it happened is found out when the run is started again"
                    ) from None
                time.sleep(pause_s)
                tries += 1


class _StaysHere(AIOHTTPSession):
    """Follows no redirect: by itself the client would send a signed request wherever a server points."""

    async def _get_session(self, proxy_url: str | None) -> Any:
        session = await super()._get_session(proxy_url)
        return SimpleNamespace(request=partial(session.request, allow_redirects=False))

    async def send(self, request: Any) -> Any:
        response = await super().send(request)
        # Without an address it is S3's way to name a bucket's region, which botocore understands.
        if 300 <= response.status_code < 400 and "location" in response.headers:
            raise StoreError(
                f"{request.url.split('?')[0]}: the store redirects, which is not followed; mend the endpoint"
            )
        return response


class _TryAgainError(Exception):
    """Somebody moved the pointer between our look and our write."""


def _status(error: BaseException) -> int | None:
    """HTTP status behind an error of s3fs; None where no answer came."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return None


def _is_transient(error: Exception) -> bool:
    status = _status(error)
    if status is not None:
        return status in TRANSIENT
    # No HTTP answer: connection, time-out or a body cut short. What a client cannot even send is permanent.
    return not isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError) and not type(
        error
    ).__name__.startswith(("NoCredentials", "ParamValidation", "Partial", "Unknown"))


def _reason(error: Exception) -> str:
    status = _status(error)
    return f"HTTP {status}" if status is not None else f"{type(error).__name__} {str(error)[:120]}".strip()
