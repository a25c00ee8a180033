"""Servers that answer whom they should not are noticed at start; logins and floors."""

import http.server
import re
import stat
import threading

import pytest

import flows._floors
from flows._floors import FLOORS, refuse_old_versions
from flows._guard import basic, login, login_file, refuse_unguarded_dashboard, refuse_unguarded_server
from sweetspot.errors import ConfigError, EngineError

LOGIN = "admin:secret"


class Answers(http.server.BaseHTTPRequestHandler):
    """Guards like Prefect, but for the holes the test asks for."""

    holes: frozenset[str] = frozenset()

    def do_GET(self):
        known = self.headers["authorization"] == basic(LOGIN)["authorization"]
        self.answer(200 if known or "read" in self.holes else 401)

    def do_POST(self):
        known = self.headers["authorization"] == basic(LOGIN)["authorization"]
        token = self.headers["prefect-csrf-token"]
        self.answer(200 if (known or "write" in self.holes) and (token or "csrf" in self.holes) else 403)

    def do_OPTIONS(self):
        self.answer(200 if "cors" in self.holes else 400)

    def answer(self, status):
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format, *args):
        pass


@pytest.fixture
def serve():
    servers = []

    def start(*holes):
        handler = type("Handler", (Answers,), {"holes": frozenset(holes)})
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_guarded_server_passes(serve):
    refuse_unguarded_server(serve(), LOGIN)


@pytest.mark.parametrize(
    ("holes", "what"),
    [
        (("read",), "a request without login with 200"),
        (("write", "csrf"), "a write without login with 200"),
        (("csrf",), "a write without CSRF token with 200"),
        (("cors",), "a page of another site with 200"),
    ],
)
def test_every_hole_is_named(serve, holes, what):
    with pytest.raises(EngineError, match=f"the Prefect server answers {what}, expected"):
        refuse_unguarded_server(serve(*holes), LOGIN)


def test_a_server_that_does_not_know_the_login_is_refused(serve):
    with pytest.raises(EngineError, match="a request with the login with 401"):
        refuse_unguarded_server(serve(), "admin:other")


def test_a_dashboard_without_token_is_refused(serve):
    refuse_unguarded_dashboard(serve())
    with pytest.raises(EngineError, match="answers GET /api/jobs/ without its token with 200"):
        refuse_unguarded_dashboard(serve("read"))
    with pytest.raises(EngineError, match="answers POST /api/jobs/ without its token with 200"):
        refuse_unguarded_dashboard(serve("write", "csrf"))


def test_no_answer_is_no_pass():
    with pytest.raises(EngineError, match="no answer: ConnectionRefusedError"):
        refuse_unguarded_server("http://127.0.0.1:9", LOGIN)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.delenv("PREFECT_SERVER_API_AUTH_STRING", raising=False)
    return tmp_path / "prefect"


def test_the_login_is_random_kept_and_private(home, tmp_path, monkeypatch):
    first = login()
    assert first.startswith("admin:")
    assert len(first) > 30
    assert login() == first
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "another"))
    assert login() != first


def test_a_login_that_others_can_read_is_refused(home):
    login()
    login_file().chmod(0o644)
    with pytest.raises(ConfigError, match="others can read the login; run `chmod 600"):
        login()


@pytest.mark.parametrize("kept", ["", "admin:", "admin", ":secretsecretsecret", "admin:short"])
def test_a_damaged_login_is_refused_and_not_served_with(home, kept):
    login()
    login_file().write_text(kept)
    with pytest.raises(ConfigError, match=r"is no login .*; delete it for a new one"):
        login()
    login_file().unlink()
    assert login().startswith("admin:")
    assert [path.name for path in home.iterdir()] == ["sweetspot-login"]


def test_your_own_login_is_taken(home, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "me:mine")
    assert login() == "me:mine"
    assert not login_file().is_file()
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "no colon")
    with pytest.raises(ConfigError, match="expected user:password"):
        login()


def test_what_is_installed_is_above_the_floors():
    refuse_old_versions()


@pytest.mark.parametrize("name", FLOORS)
def test_below_a_floor_is_refused_with_its_reason(name, monkeypatch):
    floor, reason = FLOORS[name]
    parts = [int(part) for part in floor.split(".")]
    below = f"{parts[0]}.{parts[1] - 1}.99" if parts[2] == 0 else f"{parts[0]}.{parts[1]}.{parts[2] - 1}"
    for installed, too_old in ((below, True), (floor, False), (f"{floor}rc1", True), (f"{floor}+cpu", False)):
        monkeypatch.setattr(flows._floors, "installed", {name: installed}.get)
        if too_old:
            with pytest.raises(ConfigError, match=re.escape(f"{name} {installed} is older than {floor}: {reason}")):
                refuse_old_versions()
        else:
            refuse_old_versions()
