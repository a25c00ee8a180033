"""Where this machine may connect to: what the deployment lists, never what a run's form says.

`SWEETSPOT_ALLOWED_HOSTS` (comma-separated host names or addresses) is read from the environment of the worker. A
listed host may be private and may be asked without TLS; addresses that clouds use for their metadata never may be.
"""

import ipaddress
import os
import re
import socket
from urllib.parse import SplitResult, urlsplit

from sweetspot.errors import ConfigError

ALLOWED = "SWEETSPOT_ALLOWED_HOSTS"
METADATA = frozenset({"169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"})
"""Addresses at which clouds hand out credentials to whoever asks."""
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_LAST_32_BITS = [ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]
"""NAT64 and addresses that are IPv4 but for their spelling."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def allowed_hosts() -> frozenset[str]:
    """What the deployment lists, in lower case."""
    return frozenset(host.strip().lower() for host in os.environ.get(ALLOWED, "").split(",") if host.strip())


def check_endpoint(url: str, *, what: str) -> None:
    """Refuse an endpoint of object storage that leads anywhere but to a store meant for us.

    Args:
        url: http(s)://host[:port], from the environment of the deployment.
        what: name of the setting, for messages.

    Raises:
        ConfigError: no such URL, credentials or a path in it, plain http to another machine that is not listed, or a
            host that is, or resolves to, an address inside that is not listed.
    """
    parts = _split(url)
    if (
        parts is None
        or parts.scheme not in ("http", "https")
        or "@" in parts.netloc
        or parts.path not in ("", "/")
        or parts.query
    ):
        raise ConfigError(f"{what}: got {_shown(url)}, expected https://host[:port] and nothing else")
    host = _plain_host(parts.hostname or "", what)
    found = _resolved(host, what)
    _refuse_metadata(host, found, what)
    if host in allowed_hosts() or (all(address.is_loopback for address in found) and _is_spelled_loopback(host)):
        return
    inside = [str(address) for address in found if not address.is_global]
    if inside:
        raise ConfigError(
            f"{what}: {host} leads to {inside[0]}, inside this network; list it in {ALLOWED} if it is meant"
        )
    if parts.scheme == "http":
        raise ConfigError(f"{what}: {host} is asked without TLS; use https, or list it in {ALLOWED}")


def check_cluster_address(address: str) -> None:
    """Refuse a Ray cluster that the deployment does not list: who runs it runs code here.

    Args:
        address: `host:port`, as a form may say it.

    Raises:
        ConfigError: not of that form, or its host is not listed.
    """
    parts = None if "/" in address or "@" in address else _split(f"//{address}")
    host = _plain_host(parts.hostname or "", "cluster.address") if parts else ""
    if host not in allowed_hosts():
        raise ConfigError(
            f"cluster.address: got {_shown(address)}, expected `local` or host:port of a host that the worker's "
            f"{ALLOWED} lists"
        )
    _refuse_metadata(host, _resolved(host, "cluster.address"), "cluster.address")


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # a bracket without its partner
        return None


def _plain_host(host: str, what: str) -> str:
    """A host name of ASCII letters, digits, dots and hyphens, or a literal address in its usual spelling."""
    lowered = host.lower().rstrip(".")
    literal = _literal(lowered)
    if literal is not None and str(literal) == lowered:
        return lowered
    last = lowered.rsplit(".", 1)[-1]
    # 2852039166, 0xA9FEA9FE and 0251.0376.0251.0376 are 169.254.169.254 to a resolver.
    if literal is not None or not _HOST.fullmatch(lowered) or last.isdigit() or last.startswith("0x"):
        raise ConfigError(f"{what}: host {_shown(host)} is neither a plain name nor an address in its usual spelling")
    return lowered


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _resolved(host: str, what: str) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except OSError:
        raise ConfigError(f"{what}: host {_shown(host)} cannot be resolved") from None
    addresses = [ipaddress.ip_address(str(entry[4][0]).split("%")[0]) for entry in found]
    return [each for address in addresses for each in (*_carried(address), address) if not _is_mapped(each)]


def _is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def _carried(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address leads to: mapped, compatible, 6to4, Teredo or through NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _LAST_32_BITS) and int(address) > 1:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _refuse_metadata(host: str, addresses: list[Address], what: str) -> None:
    for address in addresses:
        if str(address) in METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
            raise ConfigError(f"{what}: {host} leads to {address}, which is no server of ours; it is never allowed")


def _is_spelled_loopback(host: str) -> bool:
    """Loopback must be meant: a name that happens to lead there is not."""
    literal = _literal(host)
    return host == "localhost" or (literal is not None and literal.is_loopback)


def _shown(text: str) -> str:
    return repr(text.rpartition("@")[2][:80])
