"""Who may use what `serve` brings up: a login made once per installation, and proof at start that it is asked for."""

import base64
import http.client
import os
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from sweetspot.errors import ConfigError, EngineError

USER = "admin"
SHORTEST = 16
"""Characters of a password we keep; ours has 32."""
FOREIGN = "http://elsewhere.example"
TIMEOUT_S = 30


def login_file() -> Path:
    """Where the login of this installation is kept, readable by its owner alone."""
    return Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect") / "sweetspot-login"


def login() -> str:
    """`user:password` of the Prefect server: the one you set, else one made at random once and kept.

    Raises:
        ConfigError: the kept login can be read by others or is damaged, or what you set is no login.
    """
    if given := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        if not all(given.partition(":")):
            raise ConfigError("PREFECT_SERVER_API_AUTH_STRING: expected user:password")
        return given
    path = login_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _make_login(path)
    found = path.stat()
    if found.st_mode & 0o077 or found.st_uid != os.getuid():
        raise ConfigError(f"{path}: others can read the login; run `chmod 600 {path}`, or delete it for a new one")
    kept = path.read_text().strip()
    user, _, password = kept.partition(":")
    if not user or len(password) < SHORTEST:
        raise ConfigError(
            f"{path}: is no login (user:password, {SHORTEST} characters at least); delete it for a new one"
        )
    return kept


def _make_login(path: Path) -> None:
    """Make it whole or not at all; one that is there stays, also that of another who makes it at this moment."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(f"{USER}:{secrets.token_urlsafe(24)}")
    with suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()


def basic(login: str) -> dict[str, str]:
    """The header that logs a request in."""
    return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


def refuse_unguarded_server(address: str, login: str) -> None:
    """Ask the server itself: no answer without the login, no write without a CSRF token, no other site's page.

    Raises:
        EngineError: naming what it let through.
    """
    json = {"content-type": "application/json"}
    write, admin = ("POST", "/api/flow_runs/filter"), ("GET", "/api/admin/version")
    foreign = {**json, "origin": FOREIGN, "access-control-request-method": "POST"}
    for what, request, headers, expected in (
        ("a request without login", admin, {}, {401}),
        ("a request with a wrong login", admin, basic(f"{login}x"), {401}),
        ("a request with the login", admin, basic(login), {200}),
        ("a write without login", write, json, {401, 403}),
        ("a write without CSRF token", write, {**json, **basic(login)}, {403}),
        ("a page of another site", ("OPTIONS", write[1]), foreign, {400}),
    ):
        found = _status(address, *request, headers)
        if found not in expected:
            raise EngineError(
                f"the Prefect server answers {what} with {found}, expected {min(expected)}; it was stopped. Unset your "
                "own PREFECT_ settings, or start a server of your own"
            )


def refuse_unguarded_dashboard(address: str) -> None:
    """Ask the Ray head: no list of jobs and no new job without its token.

    Raises:
        EngineError: naming what it let through.
    """
    for method, headers in (("GET", {}), ("POST", {}), ("GET", {"authorization": "Bearer wrong"})):
        found = _status(address, method, "/api/jobs/", headers)
        if found not in (401, 403):
            raise EngineError(f"the Ray head answers {method} /api/jobs/ without its token with {found}, expected 401")


def _status(address: str, method: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"{address}{path}: no answer: {type(error).__name__}") from None
    finally:
        connection.close()
