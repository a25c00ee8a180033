"""A bucket that speaks S3: one request per write, one layer of retries, no doubtful outcome left open.

A write whose reply was lost may or may not have happened. It is sent again under the same condition; if the
condition then fails, what lies there is read back and compared, so the answer is about the object and
never about the reply.

Every operation ends by its deadline, however the server behaves. A request, and the body of its answer, has a third
of that: a server that accepts and says nothing, sends a byte at a time or stops reading costs one try. The limits
grow with the body.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, TypeVar

import fsspec
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import ClientError

from sweetspot.errors import StoreError
from tasks._endpoints import check_endpoint
from tasks._s3_answers import CONDITION_FAILED, code_of, is_free, is_transient, next_step, reason, status_of

ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
DEADLINE_S = 60.0
TRY_S = 20.0
"""For one request, or the body of its answer, if that is short."""
CONNECT_TIMEOUT_S = 5
SLOWEST_BYTES_PER_S = 1 << 20
"""A body has so much more time; a store that is slower is no use for a night."""
LONGEST_PAUSE_S = 5.0
MOST_BYTES = 5 << 30
"""Of one put, by the S3 API."""

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


class Clock:
    """What is left of an operation's time.

    Args:
        deadline_s: of the operation, with empty bodies.
        body_bytes: that it sends.
    """

    def __init__(self, deadline_s: float, body_bytes: int = 0) -> None:
        self.deadline_s, self.started, self.stretch = deadline_s, time.monotonic(), 1.0
        self.grow(body_bytes)

    def grow(self, body_bytes: int) -> None:
        """Allow for a body of so many bytes."""
        self.stretch = max(self.stretch, 1 + min(body_bytes, MOST_BYTES) / (SLOWEST_BYTES_PER_S * TRY_S))

    @property
    def in_all_s(self) -> float:
        """What the whole operation may take."""
        return self.deadline_s * self.stretch

    @property
    def left_s(self) -> float:
        """Until the operation has to end."""
        return max(self.started + self.in_all_s - time.monotonic(), 0.0)

    @property
    def try_s(self) -> float:
        """What the next request may take."""
        return min(TRY_S * self.stretch, self.left_s)


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
                "retries": {"total_max_attempts": 1},  # the loop in `_until_clear` is the only one
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": TRY_S,
                "http_session_cls": _StaysHere,
                "connector_args": {"socket_factory": _impatient_socket},
            },
        )

    def read(self, key: str) -> bytes | None:
        """The whole object, or None if the name is free."""
        return self._until_clear("read", key, lambda clock: self._look(clock, key)[1])

    def read_range(self, key: str, start: int, count: int, tag: str = "") -> tuple[str, bytes] | None:
        """The object's tag and up to `count` of its bytes from `start`; None if the name is free.

        Args:
            key: of the object.
            start: first byte.
            count: bytes at most; fewer come where the object ends.
            tag: that it must still have; empty asks for none.

        Raises:
            StoreError: it has another tag by now.
        """
        wanted: dict[str, str] = {"Range": f"bytes={start}-{start + count - 1}", **({"IfMatch": tag} if tag else {})}

        def part(clock: Clock) -> tuple[str, bytes] | None:
            try:
                found, data = self._look(clock, key, **wanted)
            except ClientError as error:
                if code_of(error) == "InvalidRange":  # it ends where the range begins
                    return tag, b""
                if status_of(error) == CONDITION_FAILED:
                    raise StoreError(f"{self._where(key)}: changed while it was read; start again") from None
                raise
            return None if found is None or data is None else (found, data)

        return self._until_clear("read", key, part)

    def create(self, key: str, data: bytes) -> bool:
        """Put a new object; True if it holds `data` afterwards, False if it holds anything else."""

        def put(clock: Clock) -> bool:
            return self._put(clock, key, data, IfNoneMatch="*") or self._look(clock, key)[1] == data

        return self._until_clear("write", key, put, body=data)

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Put over `expected`, and only over that; True if the object holds `data` afterwards.

        Raises:
            StoreError: the store refuses a write over the very version it has just shown.
        """
        if expected is None:
            return self.create(key, data)

        def exchange(clock: Clock) -> bool:
            tag, found = self._look(clock, key)
            if found == data or found != expected or tag is None:
                return found == data
            # Some servers (Ceph) want the tag without the quotes they show it in.
            forms = (tag, tag.strip('"'))
            return any(self._put(clock, key, data, IfMatch=form) for form in forms) or self._lost_race(clock, key, tag)

        return self._until_clear("move", key, exchange, body=data)

    def listing(self, prefix: str) -> list[tuple[str, int, datetime]]:
        """Key, bytes and time of every object below a prefix; every page of it is an operation of its own."""
        found, after, cut = list[tuple[str, int, datetime]](), dict[str, str](), len(self._name(""))
        while True:
            page = self._until_clear(
                "list",
                prefix,
                lambda clock, after=after: self._ask(
                    clock, "list_objects_v2", Prefix=f"{self._name(prefix)}/", **after
                ),
            )
            found += [(item["Key"][cut:], item["Size"], item["LastModified"]) for item in page.get("Contents", ())]
            if not page.get("IsTruncated"):
                return found
            after = {"ContinuationToken": page["NextContinuationToken"]}

    def remove(self, key: str) -> None:
        """Delete an object."""
        self._until_clear("delete", key, lambda clock: self._ask(clock, "delete_object", Key=self._name(key)))

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _where(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._name(key)}"

    def _look(self, clock: Clock, key: str, **wanted: str) -> tuple[str | None, bytes | None]:
        """Tag and bytes of an object, of one and the same version; two None if the name is free."""
        try:
            answer = self._ask(clock, "get_object", Key=self._name(key), **wanted)
        except ClientError as error:
            if not is_free(error):
                raise
            return None, None
        return answer["ETag"], answer["Body"]

    def _put(self, clock: Clock, key: str, data: bytes, **condition: str) -> bool:
        """One conditional put; False if its condition did not hold."""
        try:
            self._ask(clock, "put_object", Key=self._name(key), Body=data, **condition)
        except ClientError as error:
            gone = "IfMatch" in condition and is_free(error)  # there is nothing any more that could match
            if status_of(error) != CONDITION_FAILED and not gone:
                raise
            return False
        return True

    def _lost_race(self, clock: Clock, key: str, tag: str) -> bool:
        """After a refused swap: our own earlier write shows as a new tag, and is found by trying again."""
        if self._look(clock, key)[0] == tag:
            raise StoreError(
                f"{self._where(key)}: the store refuses If-Match with its own ETag {tag}, so its pointers cannot be "
                "moved. Use a store that honours it"
            )
        raise _TryAgainError

    def _until_clear(self, action: str, key: str, attempt: Callable[[Clock], T], *, body: bytes = b"") -> T:
        """Repeat until the store gives a clear answer, with growing pauses, up to the deadline."""
        if len(body) > MOST_BYTES:
            raise StoreError(
                f"{self._where(key)}: cannot {action}: {len(body):,} bytes, and a store takes {MOST_BYTES:,} at once. "
                "Make chunks smaller (cluster.chunk_prompts)"
            )
        clock, tries = Clock(self.deadline_s, len(body)), 0
        while True:
            try:
                return attempt(clock)
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not is_transient(error):
                    raise StoreError(
                        f"{self._where(key)}: cannot {action}: {reason(error)}: {next_step(error)}"
                    ) from None
                pause_s = min(0.1 * 2 ** (tries - 1), LONGEST_PAUSE_S)
                if pause_s >= clock.left_s:
                    raise StoreError(
                        f"{self._where(key)}: no clear answer to a {action} in {clock.in_all_s:.0f} s, {tries} tries, "
                        f"last {reason(error)}. Whether it happened is found out when the run is started again"
                    ) from None
                time.sleep(pause_s)

    def _ask(self, clock: Clock, method: str, **arguments: Any) -> Any:
        """One request and its whole answer, in the time of one try."""
        asked = asyncio.run_coroutine_threadsafe(self._answer(clock, method, arguments), self.fs.loop)
        try:
            return asked.result()
        finally:
            asked.cancel()

    async def _answer(self, clock: Clock, method: str, arguments: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(clock.left_s):
                client = await self.fs.set_session()  # the first time it reads files and may ask for credentials
            async with asyncio.timeout(clock.try_s) as limit:
                answer = await getattr(client, method)(Bucket=self.bucket, **arguments)
                if "Body" in answer:
                    clock.grow(answer["ContentLength"])
                    limit.reschedule(loop.time() + clock.try_s)
                    answer["Body"] = await _whole(answer["Body"])
        except TimeoutError:
            raise TimeoutError(f"no whole answer in {loop.time() - started:.1f} s: the connection stalls") from None
        return answer


async def _whole(body: Any) -> bytes:
    """All of a body; one that is given up lets its connection go, of which a client has few."""
    try:
        return await body.read()
    finally:
        body.close()


def _impatient_socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that the system closes when its peer takes no bytes: a request that was given up would wait for ever."""
    made = socket.socket(*address[:3])
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * TRY_S))
    return made


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
