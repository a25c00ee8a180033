"""What an S3 server answered: whether asking again may help, and in one sentence what to do.

Only the code of an answer is shown: the text beside it may hold access keys and what was signed.
Codes: Amazon S3 API Reference, "Error responses".
"""

import re

from botocore.exceptions import ClientError

TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
TRANSIENT_CODES = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
"""Answered with 400, but about the way the bytes took and not about the request."""
CONDITION_FAILED = 412
_RIGHTS = {"ListObjectsV2": "s3:ListBucket", "ListMultipartUploads": "s3:ListBucketMultipartUploads"}
_AGAIN = "start the run again, which goes on where it was"
_STEPS = {
    "NoSuchBucket": "create the bucket, or mend its name in `store`",
    "ExpiredToken": f"the credentials have expired; get new ones and {_AGAIN}",
    "InvalidToken": f"the session token is not one of this store; get new credentials and {_AGAIN}",
    "TokenRefreshRequired": f"the credentials have expired; get new ones and {_AGAIN}",
    "InvalidAccessKeyId": "the store does not know this access key; mend AWS_ACCESS_KEY_ID or the endpoint",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key; mend AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": f"this machine's clock is more than 15 minutes off; set it and {_AGAIN}",
    "SlowDown": "the store is asked too often; use fewer workers, or wait and start again",
    "EntityTooLarge": "the object is larger than the store takes at once; make chunks smaller (cluster.chunk_prompts)",
    "PermanentRedirect": "the bucket lies in another region; set AWS_DEFAULT_REGION to it",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; set AWS_DEFAULT_REGION to it",
    "QuotaExceeded": f"the store's quota is used up; make room and {_AGAIN}",
    "InvalidObjectState": "the object is archived; restore it first",
}
_STATUS_STEPS = {507: f"the store is full; make room and {_AGAIN}"}


def status_of(error: BaseException) -> int | None:
    """HTTP status of an answer; None where no answer came."""
    if not isinstance(error, ClientError):
        return None
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def code_of(error: BaseException) -> str:
    """S3's name for what went wrong; empty where no answer came, or one without a name."""
    code = str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
    return code if re.fullmatch(r"[A-Za-z][A-Za-z0-9.]{0,63}", code, re.ASCII) else ""


def is_free(error: BaseException) -> bool:
    """Whether the answer says that nothing lies under the name. A missing bucket is something else."""
    return status_of(error) == 404 and code_of(error) != "NoSuchBucket"


def is_transient(error: Exception) -> bool:
    """Whether the same request may be answered otherwise a moment later."""
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUS or code_of(error) in TRANSIENT_CODES
    # No HTTP answer: connection, time-out or a body cut short. What a client cannot even send is permanent.
    return not isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError) and not type(
        error
    ).__name__.startswith(("NoCredentials", "ParamValidation", "Partial", "Unknown"))


def reason(error: Exception) -> str:
    """What came back, in a few words."""
    status = status_of(error)
    if status is not None:
        return f"HTTP {status} {code_of(error)}".strip()
    if isinstance(error, TimeoutError):
        return str(error) or "no whole answer in time"
    return f"{type(error).__name__} {str(error)[:120]}".strip()


def next_step(error: Exception) -> str:
    """What a person can do about it."""
    known = _STEPS.get(code_of(error)) or _STATUS_STEPS.get(status_of(error) or 0)
    if known is None and isinstance(error, ClientError) and status_of(error) == 403:
        return _missing_right(error.operation_name)
    return known or "check endpoint, rights and credentials"


def _missing_right(operation: str) -> str:
    right = _RIGHTS.get(operation, f"s3:{operation}")
    hidden = (
        "; or nothing lies there, which a store tells only to who has s3:ListBucket on the bucket"
        if operation == "GetObject"
        else ""
    )
    return f"this identity lacks {right} on it{hidden}. Grant it as in infra/policies and {_AGAIN}"
