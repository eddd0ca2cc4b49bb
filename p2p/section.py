"""The ``[overlay]`` table of the configuration, checked without importing libp2p."""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path as FilePath
from typing import Any, Self, TypeVar

import base58

from wice.datagram import Endpoint
from wice.errors import ConfigError

STUN_PORTS = (3478, 3479)
"""UDP ports on which every bootstrap node answers STUN (RFC 8489); two, so that a NAT whose
mapping depends on the destination port shows itself."""

COMMUNITY_SIZE_MAX_BYTES = 255
BOOTSTRAP_MAX = 64
"""Bootstrap addresses in one configuration."""
ADDRESSES_MAX = 16
"""Entries of ``listen`` and of ``announce``."""
SECRET_SIZE_MAX_BYTES = 4_096
"""Bytes in the file that ``secret_file`` names."""
PEER_IDS_CACHED_MAX = 4_096
"""Peer ids whose other form is remembered: base58 takes long, and each message names some."""

BOOTSTRAP_LISTEN = ("/ip4/0.0.0.0/tcp/4001",)
"""Where a bootstrap node listens if the section does not say."""

_KNOWN_KEYS = frozenset({"community", "secret_file", "bootstrap", "listen", "announce"})
_ADDRESS_FORM = "/ip4/203.0.113.10/tcp/4001"
_EXAMPLE = {
    "bootstrap": f"{_ADDRESS_FORM}/p2p/12D3KooW...",
    "listen": "/ip4/0.0.0.0/tcp/4001",
    "announce": _ADDRESS_FORM,
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """An IP address in canonical text form and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``/ip4/192.0.2.1/tcp/4001`` or the ``ip6`` form; raise ValueError."""
        parts = text.split("/")
        if len(parts) != 5 or parts[0] or parts[1] not in {"ip4", "ip6"} or parts[3] != "tcp":
            raise ValueError(f"an address looks like {_ADDRESS_FORM}, not {text!r}")
        address = ip_address(parts[2])
        if isinstance(address, IPv6Address) != (parts[1] == "ip6"):
            raise ValueError(f"{parts[2]!r} is not an {parts[1]} address")
        port = parts[4]
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65_536):
            raise ValueError(f"{port!r} is not a TCP port")
        return cls(str(address), int(port))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the binary multiaddr (ip4 = 4, ip6 = 41, tcp = 6); raise ValueError."""
        for code, size in ((4, 4), (41, 16)):
            if len(raw) == size + 4 and raw[0] == code and raw[size + 1] == 6:
                return cls(
                    str(ip_address(raw[1 : size + 1])), int.from_bytes(raw[size + 2 :], "big")
                )
        raise ValueError("not a multiaddr of IP and TCP")

    def to_bytes(self) -> bytes:
        address = ip_address(self.host)
        code = b"\x29" if address.version == 6 else b"\x04"
        return code + address.packed + b"\x06" + self.port.to_bytes(2, "big")

    @property
    def is_specific(self) -> bool:
        """Whether others can dial it: neither the wildcard address nor port 0."""
        return self.port != 0 and not ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"/{'ip6' if ':' in self.host else 'ip4'}/{self.host}/tcp/{self.port}"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node of the overlay is, and who must answer there: its base58 peer id."""

    address: TcpAddress
    peer_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW...``; raise ValueError."""
        address, separator, peer_id = text.partition("/p2p/")
        if not separator:
            raise ValueError(f"there is no /p2p/ peer id at the end of {text!r}")
        check_peer_id(peer_id)
        return cls(TcpAddress.parse(address), peer_id)

    def __str__(self) -> str:
        return f"{self.address}/p2p/{self.peer_id}"


@lru_cache(maxsize=PEER_IDS_CACHED_MAX)
def check_peer_id(text: str) -> bytes:
    """The multihash behind a base58 peer id (libp2p specs, peer-ids); raise ValueError."""
    if not 40 <= len(text) <= 64:
        raise ValueError(f"{text!r} is not a peer id such as 12D3KooW...")
    try:
        raw = base58.b58decode(text)
    except ValueError:
        raise ValueError(f"{text!r} is not base58, as a peer id is") from None
    peer_id_text(raw)
    return raw


@lru_cache(maxsize=PEER_IDS_CACHED_MAX)
def peer_id_text(raw: bytes) -> str:
    """The base58 form of a peer id's multihash; raise ValueError."""
    # An Ed25519 key stands in the identity multihash itself, others are SHA-256 hashes.
    is_ed25519 = len(raw) == 38 and raw.startswith(bytes.fromhex("002408011220"))
    is_hash = len(raw) == 34 and raw.startswith(bytes.fromhex("1220"))
    if not (is_ed25519 or is_hash):
        raise ValueError("not a peer id such as 12D3KooW...")
    return base58.b58encode(raw).decode()


@dataclass(frozen=True, slots=True)
class Section:
    """``[overlay]``, checked."""

    community: str
    secret_file: FilePath | None
    bootstrap: tuple[NodeAddress, ...]
    listen: tuple[TcpAddress, ...]
    announce: tuple[TcpAddress, ...]

    @classmethod
    def parse(cls, section: Mapping[str, Any], *, is_bootstrap: bool = False) -> Self:
        """Check every key; raise ConfigError with a place such as ``overlay.bootstrap[0]``."""
        for key in section:
            if key not in _KNOWN_KEYS:
                known = ", ".join(sorted(_KNOWN_KEYS))
                raise ConfigError(f"overlay.{key}", "unknown key", f"known here: {known}")
        listen = _addresses(section, "listen", TcpAddress.parse)
        if is_bootstrap and not listen:
            listen = tuple(TcpAddress.parse(text) for text in BOOTSTRAP_LISTEN)
        announce = _addresses(section, "announce", TcpAddress.parse)
        for index, address in enumerate(announce):
            if not address.is_specific:
                raise ConfigError(
                    f"overlay.announce[{index}]",
                    f"nobody can dial {address}",
                    "announce the address and port that others reach",
                )
        bootstrap = _addresses(section, "bootstrap", NodeAddress.parse, BOOTSTRAP_MAX)
        for index, node in enumerate(bootstrap):
            if not node.address.is_specific:
                raise ConfigError(
                    f"overlay.bootstrap[{index}]",
                    f"nobody can dial {node.address}",
                    "use the node's public address",
                )
        return cls(
            community=_community(section),
            secret_file=_secret_file(section),
            bootstrap=bootstrap,
            listen=listen,
            announce=announce,
        )

    def check_bootstrap(self, own_peer_id: str = "") -> None:
        """Raise ConfigError where a peer has nobody to turn to."""
        if self.bootstrap and all(node.peer_id == own_peer_id for node in self.bootstrap):
            raise ConfigError(
                "overlay.bootstrap",
                "it names only this node itself",
                "give this daemon a state_dir of its own, or name another node",
            )
        if not self.bootstrap:
            raise ConfigError(
                "overlay.bootstrap",
                "it is empty",
                "name at least one node that runs wice bootstrap",
            )

    def bootstrap_addresses(self) -> dict[str, tuple[TcpAddress, ...]]:
        """The addresses of each bootstrap node, by peer id, in the order of the list."""
        known: dict[str, tuple[TcpAddress, ...]] = {}
        for node in self.bootstrap:
            known[node.peer_id] = (*known.get(node.peer_id, ()), node.address)
        return known

    def stun_servers(self) -> tuple[Endpoint, ...]:
        """The STUN servers that the bootstrap nodes run, without doubles."""
        hosts = dict.fromkeys(node.address.host for node in self.bootstrap)
        return tuple(Endpoint(host, port) for host in hosts for port in STUN_PORTS)

    def read_secret(self) -> bytes | None:
        """What ``secret_file`` holds, without the line's end; None where none is set.

        Raise ConfigError when the file cannot be read, or by others too, or is empty or too long.
        """
        if self.secret_file is None:
            return None
        where = "overlay.secret_file"
        try:
            with self.secret_file.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                secret = file.read(SECRET_SIZE_MAX_BYTES + 1).strip()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigError(where, f"cannot read {self.secret_file}: {reason}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise ConfigError(
                where,
                f"{self.secret_file} is readable by others",
                f"chmod 600 {self.secret_file}",
            )
        if not secret or len(secret) > SECRET_SIZE_MAX_BYTES:
            raise ConfigError(
                where,
                f"{self.secret_file} must hold 1 to {SECRET_SIZE_MAX_BYTES} bytes",
                "for example: wice genpsk > FILE",
            )
        return secret


def validate(section: Mapping[str, Any], *, is_bootstrap: bool = False) -> None:
    """What ``wice config check`` asks: raise ConfigError for what would not start."""
    parsed = Section.parse(section, is_bootstrap=is_bootstrap)
    if not is_bootstrap:
        parsed.check_bootstrap()
    parsed.read_secret()


def stun_servers(section: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """The STUN servers of the bootstrap nodes that a section names; raise ConfigError."""
    return Section.parse(section).stun_servers()


def _community(section: Mapping[str, Any]) -> str:
    community = section.get("community")
    if community is None:
        raise ConfigError(
            "overlay.community",
            "it is missing",
            'name your mesh, as in: community = "harbour"',
        )
    if not isinstance(community, str) or not community:
        raise ConfigError("overlay.community", "it is not a name", 'as in: community = "harbour"')
    if len(community.encode()) > COMMUNITY_SIZE_MAX_BYTES:
        raise ConfigError(
            "overlay.community", f"it is longer than {COMMUNITY_SIZE_MAX_BYTES} bytes"
        )
    return community


def _secret_file(section: Mapping[str, Any]) -> FilePath | None:
    value = section.get("secret_file")
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ConfigError("overlay.secret_file", "it is not the path of a file")
    return FilePath(value)


def _addresses(
    section: Mapping[str, Any],
    key: str,
    parse: Callable[[str], _T],
    count_max: int = ADDRESSES_MAX,
) -> tuple[_T, ...]:
    value = section.get(key, ())
    where = f"overlay.{key}"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(where, "it is not a list", f'as in: {key} = ["{_EXAMPLE[key]}"]')
    if len(value) > count_max:
        raise ConfigError(where, f"it has more than {count_max} entries")
    parsed = []
    for index, text in enumerate(value):
        try:
            if not isinstance(text, str):
                raise ValueError("it is not a text")
            parsed.append(parse(text))
        except ValueError as error:
            raise ConfigError(f"{where}[{index}]", str(error), f"as in: {_EXAMPLE[key]}") from None
    return tuple(parsed)
