"""One operation on a store that stalls, refuses or hides: it ends in time, with the right verdict and the next step."""

import os
import time
from pathlib import Path

import pytest

from sweetspot.errors import StoreError
from tasks import _s3
from tasks._s3 import S3Bucket
from tasks._s3_file import PIECE_BYTES, open_object
from tasks._store import Store

STALLS = ("delay", "timed_out", "drip", "trickle", "stall_upload")
TRY_S, HURRIED_S, PATIENT_S = 0.4, 2.0, 8.0
BODY = {"stall_upload": b"x" * 4_000_000}
"""More than the kernel takes before a server reads; any other stall shows with a few bytes."""


@pytest.fixture
def bucket(proxy, request):
    """Below a prefix of its own, with the limits of a night."""
    proxy.plan("", -1)
    return S3Bucket(f"{proxy.bucket}/{abs(hash(request.node.name))}")


@pytest.fixture
def hurried(bucket, proxy, monkeypatch):
    """Its requests may take less than half a second; the proxy is slower."""
    monkeypatch.setattr(_s3, "TRY_S", TRY_S)
    monkeypatch.setattr(proxy, "patience_s", TRY_S)
    monkeypatch.setattr(_s3, "SLOWEST_BYTES_PER_S", 1 << 30)
    return S3Bucket(f"{bucket.bucket}/{bucket.prefix}", deadline_s=PATIENT_S)


@pytest.mark.parametrize("kind", STALLS)
def test_a_stalled_request_costs_one_try_and_the_verdict_is_right(hurried, proxy, kind):
    taken, body = b"taken" * 100, BODY.get(kind, b"x" * 1000)
    hurried.create("taken", taken)
    for at, act, verdict in (
        (0, lambda: hurried.read("taken"), taken),
        (0, lambda: hurried.read("free"), None),
        (0, lambda: hurried.create("new", body), True),
        (1, lambda: hurried.create("taken", body), False),
        (0, lambda: hurried.swap("taken", b"another", b"no"), False),
        (1, lambda: hurried.swap("taken", taken, b"moved" * 100), True),
        (0, lambda: hurried.listing("nothing"), []),
    ):
        proxy.plan(kind, at)
        assert act() == verdict, proxy.seen
    proxy.plan("", -1)
    assert hurried.read("taken") == b"moved" * 100
    assert hurried.read("new") == body


@pytest.mark.parametrize("kind", STALLS)
def test_a_store_that_stalls_for_ever_is_given_up_at_the_deadline(hurried, proxy, kind, monkeypatch):
    hurried.create("there", b"y" * 1000)
    monkeypatch.setattr(hurried, "deadline_s", HURRIED_S)
    monkeypatch.setattr(proxy, "next_fault", lambda *_: kind)
    body = BODY.get(kind, b"z")
    acts = [lambda: hurried.read("there"), lambda: hurried.create("other", body)]
    for act in acts[: 1 if kind == "trickle" else 2]:  # the answer to a write has no body that could trickle
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"no clear answer to a (read|write) in 2 s, [2-9] tries, last"):
            act()
        assert HURRIED_S / 2 < time.monotonic() - started < HURRIED_S + 1


def test_an_upload_that_was_given_up_holds_no_connection(hurried, proxy, monkeypatch):
    monkeypatch.setattr(hurried, "deadline_s", HURRIED_S)
    monkeypatch.setattr(proxy, "next_fault", lambda *_: "stall_upload")
    with pytest.raises(StoreError, match="no clear answer to a write"):
        hurried.create("stalled", BODY["stall_upload"])
    deadline = time.monotonic() + 20
    while unsent(os.environ["AWS_ENDPOINT_URL"]):
        assert time.monotonic() < deadline, "the body is still held for a server that does not take it"
        time.sleep(0.1)


def test_answers_that_were_given_up_hold_no_connection(hurried, proxy):
    """A client has ten; each trickling body that kept its own would leave one less."""
    hurried.create("there", b"y" * 1000)
    for _ in range(12):
        proxy.plan("trickle", 0)
        assert hurried.read("there") == b"y" * 1000


def unsent(address: str) -> int:
    """Connections to the address that hold bytes their peer does not take, by the kernel's table."""
    port = f":{int(address.rsplit(':', 1)[1]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and int(row[4].split(":")[0], 16) > 0 for row in rows)


def test_a_long_body_has_more_time(monkeypatch):
    clock = _s3.Clock(60.0, 40 << 20)
    assert clock.in_all_s == pytest.approx(180)
    assert clock.try_s == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "AccessDenied", r"this identity lacks s3:GetObject on it; or nothing lies there, which .* s3:ListBucket"),
        (400, "ExpiredToken", "the credentials have expired; get new ones and start the run again"),
        (400, "InvalidToken", "the session token is not one of this store"),
        (403, "InvalidAccessKeyId", "mend AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "mend AWS_SECRET_ACCESS_KEY"),
        (403, "RequestTimeTooSkewed", "this machine's clock is more than 15 minutes off"),
        (404, "NoSuchBucket", "create the bucket, or mend its name"),
        (400, "EntityTooLarge", "make chunks smaller"),
        (507, "InsufficientStorage", "the store is full; make room"),
        (418, "Teapot", "check endpoint, rights and credentials"),
    ],
)
def test_a_clear_refusal_is_asked_once_and_says_what_to_do(bucket, proxy, monkeypatch, status, code, said):
    monkeypatch.setitem(proxy.answers, "refused", (status, code))
    proxy.plan("refused", 0)
    with pytest.raises(StoreError, match=rf"s3://bucket/\S+/key: cannot read: HTTP {status} {code}: .*{said}"):
        bucket.read("key")
    assert len(proxy.seen) == 1
    assert bucket.read("key") is None, "mended, it goes on"


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (400, "RequestTimeout"), (400, "BadDigest")])
def test_an_answer_about_the_moment_is_asked_again(bucket, proxy, monkeypatch, status, code):
    monkeypatch.setitem(proxy.answers, "passing", (status, code))
    proxy.plan("passing", 0)
    assert bucket.create("key", b"1")
    assert len(proxy.seen) == 2


def test_a_missing_right_to_write_names_it(bucket, proxy):
    proxy.plan("403", 0)
    with pytest.raises(
        StoreError, match=r"cannot write: HTTP 403 AccessDenied: this identity lacks s3:PutObject on it\."
    ):
        bucket.create("key", b"1")


def test_credentials_that_expire_half_way_fail_at_once_and_new_ones_go_on(bucket, proxy):
    proxy.plan("expired", 1)
    assert bucket.create("first", b"1")
    with pytest.raises(StoreError, match="cannot write: HTTP 400 ExpiredToken: the credentials have expired"):
        bucket.create("second", b"2")
    assert len(proxy.seen) == 2
    assert bucket.create("second", b"2")


def test_a_store_that_hides_what_is_absent_is_never_taken_for_one_that_lacks_it(bucket, proxy):
    proxy.plan("hidden", -1)
    with pytest.raises(StoreError, match=r"nothing lies there, which a store tells only to who has s3:ListBucket"):
        bucket.read("absent")
    with pytest.raises(StoreError, match=r"cannot be written: .*s3:ListBucket"):
        Store("s3://bucket/hidden").probe()


def test_a_bucket_that_is_not_there_is_not_an_empty_one(bucket):
    with pytest.raises(StoreError, match="HTTP 404 NoSuchBucket: create the bucket"):
        S3Bucket("no-such-bucket/x").read("key")


def test_a_body_beyond_what_a_store_takes_is_refused_before_it_is_sent(bucket, proxy, monkeypatch):
    monkeypatch.setattr(_s3, "MOST_BYTES", 100)
    with pytest.raises(StoreError, match=r"cannot write: 101 bytes, and a store takes 100 at once"):
        bucket.create("key", b"x" * 101)
    assert proxy.seen == []


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 7])
def test_an_object_is_read_as_a_file_in_pieces(bucket, proxy, size):
    data = bytes(range(256)) * (size // 256 + 1)
    bucket.create("file", data[:size])
    proxy.plan("truncated", 1)
    with open_object(f"bucket/{bucket.prefix}/file") as file:
        assert file.read(10) + file.read() == data[:size]


def test_an_object_that_is_replaced_while_it_is_read_is_noticed(bucket):
    data = b"1" * (PIECE_BYTES + 5)
    bucket.create("file", data)
    with open_object(f"bucket/{bucket.prefix}/file") as file:
        bucket.swap("file", data, b"2" * (PIECE_BYTES + 5))
        with pytest.raises(StoreError, match="changed while it was read"):
            file.read()
