"""Candidates: their SDP form, priorities and foundations (RFC 8445 section 5.1, RFC 8839).

``Candidate`` is aioice's, which reads and writes the SDP form; it takes what it is given, so what
came from the network passes ``parse_candidate`` here.
"""

import ipaddress
import re
import zlib
from typing import Final

from aioice.candidate import Candidate as Candidate
from aioice.candidate import candidate_priority

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError

COMPONENT: Final = 1
"""WireGuard's datagrams are the only component."""

CANDIDATE_SIZE_MAX_BYTES: Final = 512
"""The longest SDP form that is looked at."""

LOCAL_PREFERENCE_MAX: Final = 65_535
TYPES: Final = ("host", "srflx", "prflx", "relay")

# RFC 8839 section 5.1: the order of the fields is fixed; extensions, which we ignore, come last.
_FORM: Final = re.compile(
    r"(?:candidate:)?(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>\d{1,3})"
    r" (?P<transport>[A-Za-z]{3}) (?P<priority>\d{1,10}) (?P<host>[0-9A-Fa-f.:]{2,45})"
    r" (?P<port>\d{1,5}) typ (?P<type>[a-z]{4,5})"
    r"(?: raddr (?P<related_host>[0-9A-Fa-f.:]{2,45}) rport (?P<related_port>\d{1,5}))?"
    r"(?: [!-~]+ [!-~]+)*",
    re.ASCII,
)


def parse_candidate(text: str) -> Candidate:
    """Read a remote candidate such as ``1 1 udp 2130706431 192.0.2.1 51820 typ host``.

    Component 1, UDP, an IP address that one host can have, a port and a priority within their
    bounds, a known type; extension attributes are ignored. Raise RemoteProtocolError.
    """
    if len(text) > CANDIDATE_SIZE_MAX_BYTES:
        raise RemoteProtocolError("a candidate that is too long")
    match = _FORM.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("a candidate that is not in the form of RFC 8839")
    if int(match["component"]) != COMPONENT:
        raise RemoteProtocolError(f"a candidate for component {match['component']}")
    if match["transport"].lower() != "udp":
        raise RemoteProtocolError(f"a candidate over {match['transport']}")
    if not 0 < int(match["priority"]) < 2**31:
        raise RemoteProtocolError(f"a candidate of priority {match['priority']}")
    if match["type"] not in TYPES:
        raise RemoteProtocolError(f"a candidate of type {match['type']}")
    endpoint = _endpoint(match["host"], match["port"])
    related = match["related_host"] is not None
    return Candidate(
        foundation=match["foundation"],
        component=COMPONENT,
        transport="udp",
        priority=int(match["priority"]),
        host=endpoint.host,
        port=endpoint.port,
        type=match["type"],
        related_address=_address(match["related_host"]) if related else None,
        related_port=_port(match["related_port"], 0) if related else None,
    )


def format_candidate(candidate: Candidate) -> str:
    """The SDP form of RFC 8839 without ``candidate:`` before it."""
    text: str = candidate.to_sdp()
    return text


def endpoint_of(candidate: Candidate) -> Endpoint:
    return Endpoint(candidate.host, candidate.port)


def base_of(candidate: Candidate) -> str:
    """Where datagrams of a local candidate leave from: its local address, or, of a relayed one,
    the relayed endpoint as text, which no local address equals.
    """
    if candidate.type == "relay":
        return str(endpoint_of(candidate))
    base: str = candidate.host if candidate.type == "host" else candidate.related_address
    return base


def host_candidate(endpoint: Endpoint, local_preference: int) -> Candidate:
    return Candidate(
        foundation=foundation("host", endpoint.host),
        component=COMPONENT,
        transport="udp",
        priority=priority_of("host", local_preference),
        host=endpoint.host,
        port=endpoint.port,
        type="host",
    )


def server_reflexive_candidate(
    mapped: Endpoint, base: Endpoint, server: Endpoint, local_preference: int
) -> Candidate:
    return Candidate(
        foundation=foundation("srflx", base.host, server.host),
        component=COMPONENT,
        transport="udp",
        priority=priority_of("srflx", local_preference),
        host=mapped.host,
        port=mapped.port,
        type="srflx",
        related_address=base.host,
        related_port=base.port,
    )


def relayed_candidate(
    relayed: Endpoint, mapped: Endpoint, server: Endpoint, local_preference: int
) -> Candidate:
    """A candidate that is an allocation on ``server``, which sees us as ``mapped``."""
    return Candidate(
        foundation=foundation("relay", relayed.host, server.host),
        component=COMPONENT,
        transport="udp",
        priority=priority_of("relay", local_preference),
        host=relayed.host,
        port=relayed.port,
        type="relay",
        related_address=mapped.host,
        related_port=mapped.port,
    )


def priority_of(kind: str, local_preference: int) -> int:
    """RFC 8445 section 5.1.2.1, type preferences as recommended in its section 5.1.2.2."""
    priority: int = candidate_priority(COMPONENT, kind, local_preference)
    return priority


def local_preference_of(priority: int) -> int:
    """The local preference inside a priority that ``priority_of`` made."""
    return (priority >> 8) & LOCAL_PREFERENCE_MAX


def foundation(kind: str, base: str, server: str = "") -> str:
    """Equal for candidates of one type, base and server (RFC 8445 section 5.1.1.3)."""
    return f"{zlib.crc32(f'{kind} udp {base} {server}'.encode()):08x}"


def pair_priority(controlling: int, controlled: int) -> int:
    """RFC 8445 section 6.1.2.3, from the priorities of the two sides' candidates."""
    low, high = sorted((controlling, controlled))
    return (low << 32) + 2 * high + (controlling > controlled)


def is_usable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a host can have the address, and another reach it without naming a link."""
    if isinstance(address, ipaddress.IPv6Address):
        embeds_ipv4 = address.ipv4_mapped is not None or 1 < int(address) < 2**32
        if embeds_ipv4 or address.is_link_local or address.scope_id is not None:
            return False
    is_broadcast = str(address) == "255.255.255.255"
    return not (address.is_multicast or address.is_unspecified or is_broadcast)


def _endpoint(host: str, port: str) -> Endpoint:
    address = ipaddress.ip_address(_address(host))
    if not is_usable(address):
        raise RemoteProtocolError(f"a candidate with the address {address}")
    return Endpoint(str(address), _port(port, 1))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise RemoteProtocolError("a candidate without an IP address") from None


def _port(text: str, least: int) -> int:
    if not least <= int(text) < 65_536:
        raise RemoteProtocolError(f"a candidate with port {text}")
    return int(text)
