"""STUN URIs as people write them in a configuration (RFC 7064)."""

import ipaddress
from dataclasses import dataclass
from typing import Final

PORT_DEFAULT: Final = 3478


@dataclass(frozen=True, slots=True)
class StunURI:
    """A STUN server over UDP. ``host`` is an IP address or a name still to be resolved."""

    host: str
    port: int = PORT_DEFAULT

    def __str__(self) -> str:
        return (
            f"stun:[{self.host}]:{self.port}"
            if ":" in self.host
            else (f"stun:{self.host}:{self.port}")
        )


def parse_stun_uri(text: str) -> StunURI:
    """Read ``stun:HOST[:PORT]``, an IPv6 address in brackets; raise ValueError with the reason."""
    scheme, colon, rest = text.partition(":")
    if scheme.lower() == "stuns":
        raise ValueError(f"stuns: (STUN over TLS) is not supported, use stun: in {text!r}")
    if not colon or scheme.lower() != "stun":
        raise ValueError(f"a STUN server is stun:HOST[:PORT], not {text!r}")
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError(f"an IPv6 STUN server is stun:[ADDRESS]:PORT, not {text!r}")
        return StunURI(_ipv6(host, text), _port(tail[1:] if tail else None, text))
    host, colon, port = rest.partition(":")
    if ":" in port:
        raise ValueError(f"an IPv6 address stands in brackets: {text!r}")
    return StunURI(_name(host, text), _port(port if colon else None, text))


def _port(text: str | None, uri: str) -> int:
    if text is None:
        return PORT_DEFAULT
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 0 < int(text) < 65_536:
        raise ValueError(f"{text!r} is not a port from 1 to 65535 in {uri!r}")
    return int(text)


def _ipv6(host: str, uri: str) -> str:
    try:
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
