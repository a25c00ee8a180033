"""An object of a bucket as a file: read by ranges, each with the store's retries and deadline."""

import io
from typing import BinaryIO, cast

from tasks._s3 import S3Bucket, open_bucket

PIECE_BYTES = 8 << 20


def open_object(path: str) -> BinaryIO:
    """Open `bucket/key` for reading from start to end.

    Raises:
        FileNotFoundError: nothing lies there.
        StoreError: object storage failed, or (while it is read) the object was replaced.
    """
    folder, _, name = path.rpartition("/")
    return cast(BinaryIO, io.BufferedReader(_Ranges(open_bucket(folder), name), PIECE_BYTES))


class _Ranges(io.RawIOBase):
    """The bytes of one version of an object, in pieces."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key, self._at = bucket, key, 0
        first = bucket.read_range(key, 0, PIECE_BYTES)
        if first is None:
            raise FileNotFoundError(key)
        self._tag, self._first = first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        piece = self._piece(min(len(buffer), PIECE_BYTES))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def _piece(self, count: int) -> bytes:
        if self._at < len(self._first):
            return self._first[self._at : self._at + count]
        if len(self._first) < PIECE_BYTES:  # the object ended there
            return b""
        found = self._bucket.read_range(self._key, self._at, count, self._tag)
        return b"" if found is None else found[1]
