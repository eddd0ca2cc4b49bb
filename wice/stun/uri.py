"""URIs of STUN and TURN servers, as strict as RFC 7064 and RFC 7065 have them."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PORT_DEFAULT: Final = 3478
SECURE_PORT_DEFAULT: Final = 5349


class Transport(StrEnum):
    """What STUN and TURN run over; secured, that is TLS over TCP and DTLS over UDP."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class StunURI:
    """``stun:`` or ``stuns:`` (is_secure). host: an IP address, or a name still to be resolved.

    port: None leaves it to DNS, and then to the default.
    """

    host: str
    port: int | None = None
    is_secure: bool = False

    def __str__(self) -> str:
        return f"{'stuns' if self.is_secure else 'stun'}:{_authority(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class TurnURI:
    """``turn:`` or ``turns:``; as ``StunURI``. transport: None leaves it to DNS, too."""

    host: str
    port: int | None = None
    is_secure: bool = False
    transport: Transport | None = None

    def __str__(self) -> str:
        scheme = "turns" if self.is_secure else "turn"
        query = "" if self.transport is None else f"?transport={self.transport}"
        return f"{scheme}:{_authority(self.host, self.port)}{query}"


def parse_stun_uri(text: str) -> StunURI:
    """Read ``stun:HOST[:PORT]`` or ``stuns:``; raise ValueError with the reason."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("stun", "stuns"):
        raise ValueError(f"a STUN server is stun:HOST[:PORT], not {text!r}")
    if "?" in rest:
        raise ValueError(f"a STUN server has no ?transport=, as {text!r} has")
    host, port = _host_and_port(rest, text)
    return StunURI(host, port, is_secure=scheme.lower() == "stuns")


def parse_turn_uri(text: str) -> TurnURI:
    """Read ``turn:HOST[:PORT][?transport=udp|tcp]`` or ``turns:``; raise ValueError."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() not in ("turn", "turns"):
        raise ValueError(f"a TURN server is turn:HOST[:PORT][?transport=udp], not {text!r}")
    authority, question, query = rest.partition("?")
    transport = None
    if question:
        key, _, value = query.partition("=")
        if key.lower() != "transport" or value.lower() not in ("udp", "tcp"):
            raise ValueError(f"only ?transport=udp or ?transport=tcp may follow in {text!r}")
        transport = Transport(value.lower())
    host, port = _host_and_port(authority, text)
    return TurnURI(host, port, scheme.lower() == "turns", transport)


def is_ip_literal(host: str) -> bool:
    """Whether the host of a URI is an address and not a name."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _authority(host: str, port: int | None) -> str:
    written = f"[{host}]" if ":" in host else host
    return written if port is None else f"{written}:{port}"


def _host_and_port(authority: str, uri: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"an IPv6 address is written [ADDRESS]:PORT, not as in {uri!r}")
        return _ipv6(host, uri), _port(tail[1:] if tail else None, uri)
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise ValueError(f"an IPv6 address stands in brackets: {uri!r}")
    return _name(host, uri), _port(port if colon else None, uri)


def _port(text: str | None, uri: str) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65_536:
        raise ValueError(f"{text!r} is not a port from 1 to 65535 in {uri!r}")
    return int(text)


def _ipv6(host: str, uri: str) -> str:
    try:
        # A zone is for the host that it was written on, and RFC 3986 has none here.
        if "%" in host:
            raise ValueError
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{host!r} is not an IPv6 address in {uri!r}") from None


def _name(host: str, uri: str) -> str:
    labels = host.removesuffix(".").split(".")
    plain = host.isascii() and all(
        0 < len(label) < 64 and label.replace("-", "").replace("_", "").isalnum()
        for label in labels
    )
    if not plain or len(host) > 253:
        raise ValueError(f"{host!r} is not a host name or IPv4 address in {uri!r}")
    if labels[-1].isdigit():
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{host!r} is not an IPv4 address in {uri!r}") from None
    return host
