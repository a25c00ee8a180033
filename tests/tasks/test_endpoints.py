"""Addresses that would turn this machine against its own network: refused before a byte is sent."""

import http.server
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.config import Cluster
from sweetspot.errors import ConfigError, StoreError
from tasks import _ray
from tasks._endpoints import ALLOWED, check_cluster_address, check_endpoint
from tasks._s3 import S3Bucket, open_bucket

METADATA = [
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "224.0.0.1",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::1]",
    "[::a9fe:a9fe]",
    "[2001:0:a9fe:a9fe::1]",
    "[2001:0:5db8:d822::5601:5601]",
]
ODD = [
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "127.1",
    "１６９.254.169.254",
    "metadata。internal",
    "exa mple.org",
    "a_b",
    "-x",
    "[::ffff:a9fe:a9fe]",
]


@pytest.fixture(autouse=True)
def names(monkeypatch):
    """A resolver of our own for names, the real one for addresses; nothing is asked of the network."""
    real = socket.getaddrinfo
    known = {"inside.example": "10.1.2.3", "rebound.example": "169.254.169.254", "public.example": "93.184.216.34"}

    def resolve(host, *rest, **options):
        if host in known:
            return real(known[host], *rest, **options)
        if host == "localhost" or not any(letter in host for letter in "ghijklmnopqrstuvwyz"):
            return real(host, *rest, **options)
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.delenv(ALLOWED, raising=False)


@pytest.mark.parametrize("host", METADATA)
def test_metadata_is_never_allowed_not_even_when_listed(host, monkeypatch):
    monkeypatch.setenv(ALLOWED, f"{host},{host.strip('[]')},::ffff:169.254.169.254")
    with pytest.raises(ConfigError, match=r"is never allowed|in its usual spelling"):
        check_endpoint(f"https://{host}", what="AWS_ENDPOINT_URL")
    with pytest.raises(ConfigError, match=r"is never allowed|in its usual spelling|expected `local`"):
        check_cluster_address(f"{host}:6379")


def test_a_name_that_leads_to_metadata_is_refused_even_when_listed(monkeypatch):
    monkeypatch.setenv(ALLOWED, "rebound.example")
    with pytest.raises(ConfigError, match=r"rebound\.example leads to 169\.254\.169\.254"):
        check_endpoint("https://rebound.example", what="AWS_ENDPOINT_URL")
    with pytest.raises(ConfigError, match=r"rebound\.example leads to 169\.254\.169\.254"):
        check_cluster_address("rebound.example:6379")


@pytest.mark.parametrize("host", ODD)
def test_an_address_in_disguise_is_refused(host):
    with pytest.raises(ConfigError, match=r"neither a plain name nor an address|is never allowed|inside this network"):
        check_endpoint(f"https://{host}:9000", what="AWS_ENDPOINT_URL")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://inside.example", "leads to 10.1.2.3, inside this network; list it in SWEETSPOT_ALLOWED_HOSTS"),
        ("https://192.168.0.1:9000", "inside this network"),
        ("https://[64:ff9b::a01:203]", "leads to 10.1.2.3, inside this network"),
        ("https://[2002:c0a8:1::1]", "leads to 192.168.0.1, inside this network"),
        ("https://[2002:7f00:1::1]", "leads to 127.0.0.1, inside this network"),
        ("https://[::127.0.0.1]", "in its usual spelling|inside this network"),
        ("http://public.example", "is asked without TLS"),
        ("https://user:secret@public.example", "expected https://host"),
        ("https://public.example/path", "expected https://host"),
        ("ftp://public.example", "expected https://host"),
        ("public.example:9000", "expected https://host"),
        ("https://unknown.example", "cannot be resolved"),
        ("https://", "neither a plain name"),
    ],
)
def test_an_endpoint_that_leads_elsewhere_is_refused(url, reason):
    with pytest.raises(ConfigError, match=reason) as refused:
        check_endpoint(url, what="AWS_ENDPOINT_URL")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["https://public.example", "http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:1"]
)
def test_a_public_store_with_tls_and_one_on_this_machine_are_fine(url):
    check_endpoint(url, what="AWS_ENDPOINT_URL")


def test_what_the_deployment_lists_is_fine(monkeypatch):
    monkeypatch.setenv(ALLOWED, " inside.example , Other ")
    check_endpoint("http://INSIDE.example:9000", what="AWS_ENDPOINT_URL")
    check_cluster_address("inside.example:6379")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:6379",
        "[::1]:6379",
        "evil.example:6379",
        "ray://evil.example:10001",
        "auto",
        "",
        "a@public.example:1",
        "2130706433:1",
    ],
)
def test_a_cluster_that_the_deployment_does_not_list_is_refused(address):
    with pytest.raises(ConfigError, match=r"cluster.address: "), _ray.cluster(Cluster(address=address)):
        pytest.fail("connected")


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=40))
def test_any_text_is_refused_or_fine_and_nothing_else(text):
    for check in (check_cluster_address, lambda url: check_endpoint(url, what="x"), _endpoint_of):
        try:
            check(text)
        except ConfigError:
            continue


def _endpoint_of(host):
    check_endpoint(f"https://{host}", what="x")


def test_the_store_refuses_such_an_endpoint_before_it_connects(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://169.254.169.254")
    with pytest.raises(ConfigError, match=r"AWS_ENDPOINT_URL_S3: 169.254.169.254 leads to"):
        open_bucket("bucket/prefix")


def test_a_redirect_is_not_followed(monkeypatch):
    """A store that sends us elsewhere is a store that failed: the other server never hears from us."""
    asked = []

    class Elsewhere(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_PUT = do_HEAD = do_GET

        def log_message(self, format, *args):
            pass

    class Redirects(Elsewhere):
        def do_GET(self):
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{elsewhere.server_port}{self.path}")
            self.send_header("content-length", "0")
            self.end_headers()

        do_PUT = do_HEAD = do_GET

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Elsewhere, Redirects)]
    elsewhere, redirects = servers
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{redirects.server_port}",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = S3Bucket("bucket/prefix", deadline_s=2)
    for act in (lambda: bucket.read("a"), lambda: bucket.create("a", b"x")):
        with pytest.raises(StoreError, match="the store redirects, which is not followed"):
            act()
    assert asked == []
    for server in servers:
        server.shutdown()
        server.server_close()
