"""WireGuard's configuration format, as ``wg setconf`` reads and ``wg showconf`` prints it.

Keys that only ``wg-quick`` knows (Address, DNS, MTU, …) are refused, as ``wg`` refuses them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from wice.datagram import Endpoint
from wice.errors import ConfigError
from wice.keys import PresharedKey, PrivateKey, PublicKey
from wice.platform import IPNetwork
from wice.wireguard.device import DeviceConfig, PeerConfig

CONFIG_SIZE_MAX_BYTES = 16 << 20
KEEPALIVE_MAX_S = 65_535


@dataclass(frozen=True, slots=True)
class PeerSection:
    """A ``[Peer]`` section: the peer, and what the file says of the way to it."""

    peer: PeerConfig
    endpoint: Endpoint | None = None
    persistent_keepalive_s: int = 0


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole file. ``firewall_mark`` is 0 where there is none."""

    device: DeviceConfig
    firewall_mark: int = 0
    peers: tuple[PeerSection, ...] = field(default=())


def parse(text: str, name: str = "configuration") -> Configuration:
    """Read a file called ``name``; raise ConfigError with the line, never with a secret."""
    if len(text) > CONFIG_SIZE_MAX_BYTES:
        raise ConfigError(name, f"longer than {CONFIG_SIZE_MAX_BYTES} bytes")
    interface: dict[str, Any] = {}
    peers: list[dict[str, Any]] = []
    section: dict[str, Any] | None = None
    readers: Mapping[str, Callable[[str], Any]] = {}
    for number, line in _lines(text):
        where = f"{name}: line {number}"
        if line.lower() == "[interface]":
            section, readers = interface, _INTERFACE
        elif line.lower() == "[peer]":
            section, readers = {"where": where}, _PEER
            peers.append(section)
        elif section is None:
            raise ConfigError(where, "comes before any section", "begin with [Interface]")
        else:
            _read_setting(where, line, section, readers)
    if "privatekey" not in interface:
        raise ConfigError(f"{name}: [Interface]", "has no PrivateKey", "make one with wice genkey")
    device = DeviceConfig(interface["privatekey"], interface.get("listenport", 0))
    return Configuration(device, interface.get("fwmark", 0), tuple(map(_peer, peers)))


def format_configuration(configuration: Configuration) -> str:
    """Print what ``wg showconf`` would: secrets included, so for private files alone."""
    device = configuration.device
    lines = ["[Interface]"]
    if device.listen_port:
        lines.append(f"ListenPort = {device.listen_port}")
    if configuration.firewall_mark:
        lines.append(f"FwMark = {configuration.firewall_mark:#x}")
    lines.append(f"PrivateKey = {device.private_key.reveal_base64()}")
    for section in configuration.peers:
        peer = section.peer
        lines += ["", "[Peer]", f"PublicKey = {peer.public_key}"]
        if peer.preshared_key is not None:
            lines.append(f"PresharedKey = {peer.preshared_key.reveal_base64()}")
        if peer.allowed_ips:
            lines.append(f"AllowedIPs = {', '.join(map(str, peer.allowed_ips))}")
        if section.endpoint is not None:
            lines.append(f"Endpoint = {section.endpoint}")
        if section.persistent_keepalive_s:
            lines.append(f"PersistentKeepalive = {section.persistent_keepalive_s}")
    return "\n".join(lines) + "\n"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without comments and blanks."""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        if line:
            yield number, line


def _read_setting(
    where: str,
    line: str,
    section: dict[str, Any],
    readers: Mapping[str, Callable[[str], Any]],
) -> None:
    key, equals, value = (part.strip() for part in line.partition("="))
    reader = readers.get(key.lower())
    if not equals or reader is None:
        known = ", ".join(sorted(_NAMES[one] for one in readers))
        shown = key if equals else "a line without ="
        raise ConfigError(where, f"{shown} is not a setting here", f"known are {known}")
    try:
        read = reader(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {_NAMES[key.lower()]}", str(error)) from None
    if key.lower() == "allowedips":
        read = section.get("allowedips", ()) + read
    section[key.lower()] = read


def _peer(section: dict[str, Any]) -> PeerSection:
    if "publickey" not in section:
        raise ConfigError(section["where"], "a [Peer] without PublicKey")
    peer = PeerConfig(
        section["publickey"], section.get("allowedips", ()), section.get("presharedkey")
    )
    keepalive_s = section.get("persistentkeepalive", 0)
    return PeerSection(peer, section.get("endpoint"), keepalive_s)


def _number_up_to(limit: int, base: int = 10) -> Callable[[str], int]:
    def read(text: str) -> int:
        if text.lower() == "off":
            return 0
        try:
            number = int(text, base)
        except ValueError:
            raise ValueError(f"a number from 0 to {limit}, or off") from None
        if not 0 <= number <= limit:
            raise ValueError(f"a number from 0 to {limit}, or off")
        return number

    return read


def _networks(text: str) -> tuple[IPNetwork, ...]:
    parts = [part.strip() for part in text.split(",")]
    return tuple(ip_network(part, strict=False) for part in parts if part)


_INTERFACE: Mapping[str, Callable[[str], Any]] = {
    "privatekey": PrivateKey.from_base64,
    "listenport": _number_up_to(65_535),
    "fwmark": _number_up_to((1 << 32) - 1, base=0),
}
_PEER: Mapping[str, Callable[[str], Any]] = {
    "publickey": PublicKey.from_base64,
    "presharedkey": PresharedKey.from_base64,
    "allowedips": _networks,
    "endpoint": Endpoint.parse,
    "persistentkeepalive": _number_up_to(KEEPALIVE_MAX_S),
}
_NAMES = {
    "privatekey": "PrivateKey",
    "listenport": "ListenPort",
    "fwmark": "FwMark",
    "publickey": "PublicKey",
    "presharedkey": "PresharedKey",
    "allowedips": "AllowedIPs",
    "endpoint": "Endpoint",
    "persistentkeepalive": "PersistentKeepalive",
}
