"""The configuration file: read, checked, and every mistake named in one line."""

import base64
import hashlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network
from itertools import combinations
from pathlib import Path as FilePath
from typing import Any, Literal, TypeVar

import msgspec

from wice.errors import ConfigError
from wice.ice import CandidatePolicy
from wice.keys import PresharedKey, PrivateKey, PublicKey, is_valid_identity
from wice.overlay_choice import BACKEND_DEFAULT, split_overlay
from wice.platform import IPInterface, IPNetwork
from wice.relay_config import RelayConfig, read_relay
from wice.section import Place, StructT, convert_section, place_text
from wice.stun.uri import StunURI, parse_stun_uri
from wice.toml_mistake import toml_mistake
from wice.turn_config import StandIn, TurnServerConfig, is_readable_file, read_turn_servers
from wice.wireguard.device import PeerConfig

PEERS_MAX = 10_000
"""Peers of one interface."""

INTERFACE_NAME = re.compile(r"[A-Za-z0-9_=+.-]{1,15}")
"""What Linux takes as an interface name and ``wg-quick`` too."""

INTERFACE_PATTERN = re.compile(r"[^\s/]{1,64}")
"""Of names as Linux has them, with ``*``, ``?`` and ``[…]``."""

CONFIG_SIZE_MAX_BYTES = 16 * 1024 * 1024

MTU_DEFAULT_BYTES = 1408
"""1492, which PPPoE leaves of Ethernet, less IPv6, UDP, a relay's channel and WireGuard: every path
carries a full packet in one piece, and whoever moves from one to another loses none."""

SecretT = TypeVar("SecretT", PrivateKey, PresharedKey)


class _PeerSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    public_key: str
    allowed_ips: list[str] = []
    preshared_key_file: str | None = None
    name: str = ""


class _InterfaceSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    private_key_file: str
    listen_port: int = 0
    addresses: list[str] = []
    device: Literal["auto", "embedded"] = "auto"
    mtu: int = MTU_DEFAULT_BYTES
    peers: list[dict[str, Any]] = []


class _IceSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    stun: list[str] = []
    candidates: Literal["all", "public", "relay"] = "all"
    interfaces: list[str] = []
    exclude_interfaces: list[str] = []
    relays: bool = True
    turn: list[dict[str, Any]] = []


class _StunServerSection(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    ports: list[int] = msgspec.field(default_factory=lambda: [3478, 3479])


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    state_dir: str = "/var/lib/wice"
    control_socket: str = "/run/wice/wice.sock"
    overlay: dict[str, Any]
    ice: dict[str, Any] = {}
    stun_server: dict[str, Any] = {}
    relay: dict[str, Any] = {}
    interfaces: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class NamedPeer:
    """A peer as configured: what WireGuard needs, and a name for people."""

    config: PeerConfig
    name: str


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """One ``[interfaces.NAME]``."""

    name: str
    private_key: PrivateKey
    listen_port: int
    addresses: tuple[IPInterface, ...]
    device: Literal["auto", "embedded"]
    mtu_bytes: int
    peers: tuple[NamedPeer, ...]


@dataclass(frozen=True, slots=True)
class IceConfig:
    """``[ice]`` but its servers. candidates: what peers are told. interfaces: patterns (``eth*``)
    of those whose addresses become candidates, none for all, less those of exclude_interfaces.
    relays: whether the community's relays are used. turn: relays that are used besides.
    """

    candidates: CandidatePolicy = CandidatePolicy.ALL
    interfaces: tuple[str, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    relays: bool = True
    turn: tuple[TurnServerConfig, ...] = ()

    def uses(self, interface: str) -> bool:
        """Whether the addresses of ``interface`` become candidates."""
        is_included = not self.interfaces or _matches(interface, self.interfaces)
        return is_included and not _matches(interface, self.exclude_interfaces)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file.

    backend: the entry point in ``wice.backends`` that carries envelopes. ``overlay`` is the rest of
    its table, and the backend's to read; only its paths, the keys that end in ``_file``, are made
    relative to the file like all others.
    """

    path: FilePath
    state_dir: FilePath
    control_socket: FilePath
    overlay: Mapping[str, Any]
    stun: tuple[StunURI, ...]
    stun_server_ports: tuple[int, ...]
    interfaces: tuple[InterfaceConfig, ...]
    ice: IceConfig = IceConfig()
    relay: RelayConfig = field(default_factory=RelayConfig)
    backend: str = BACKEND_DEFAULT


def load_config(path: FilePath, *, stand_in: StandIn | None = None) -> Config:
    """Read and check ``path`` and the key files it names; raise ConfigError.

    stand_in: for who has the file and not its secrets: what a file of keys or passwords that
    cannot be read here holds. None refuses it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_SIZE_MAX_BYTES + 1)
        if len(data) > CONFIG_SIZE_MAX_BYTES:
            raise ConfigError(
                str(path),
                f"is larger than {CONFIG_SIZE_MAX_BYTES >> 20} MiB",
                "is it the right file?",
            )
        text = data.decode()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", "is not UTF-8", "save the file as UTF-8") from None
    except ValueError as error:
        # A null character in the path.
        raise ConfigError(str(path), f"is no path: {error}") from None
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise toml_mistake(path, text, error) from None
    return _Reader(path, stand_in).read(table)


def stand_in_by_path(path: FilePath) -> str:
    """A secret that anybody could know, of the length of a key: another one for each path."""
    return base64.b64encode(hashlib.sha256(os.fsencode(path)).digest()).decode()


class _Reader:
    """Turns the table of one file into a Config; knows how to name a place in it."""

    def __init__(self, path: FilePath, stand_in: StandIn | None) -> None:
        self._path = path
        self._stand_in = stand_in

    def read(self, table: dict[str, Any]) -> Config:
        top = self._convert(table, _File, "")
        backend, overlay = split_overlay(top.overlay, partial(self._error_in, "overlay"))
        ice = self._convert(top.ice, _IceSection, "ice")
        candidate_policy = CandidatePolicy(ice.candidates)
        stun_server = self._convert(top.stun_server, _StunServerSection, "stun_server")
        for index, port in enumerate(stun_server.ports):
            self._check_port(port, f"stun_server.ports[{index}]", lowest=1)
        interfaces = tuple(
            self._interface(name, section) for name, section in top.interfaces.items()
        )
        self._check_interfaces(interfaces)
        relay = read_relay(top.relay, partial(self._error_in, "relay"))
        if relay.is_enabled and interfaces:
            raise self._error(
                "relay.enabled",
                "a daemon with interfaces does not relay",
                "put [relay] into the file of a bootstrap node",
            )
        if candidate_policy is CandidatePolicy.RELAY and not (ice.relays or ice.turn):
            raise self._error(
                "ice.relays",
                'without relays there is nothing to tell peers, as candidates = "relay" says',
                "remove one of the two",
            )
        return Config(
            path=self._path,
            state_dir=self._file(top.state_dir, "state_dir"),
            control_socket=self._file(top.control_socket, "control_socket"),
            overlay={
                key: str(self._file(value, f"overlay.{key}"))
                if key.endswith("_file") and isinstance(value, str)
                else value
                for key, value in overlay.items()
            },
            stun=tuple(self._stun(text, index) for index, text in enumerate(ice.stun)),
            stun_server_ports=tuple(stun_server.ports),
            interfaces=interfaces,
            ice=IceConfig(
                candidates=candidate_policy,
                interfaces=self._patterns(ice.interfaces, "ice.interfaces"),
                exclude_interfaces=self._patterns(ice.exclude_interfaces, "ice.exclude_interfaces"),
                relays=ice.relays,
                turn=read_turn_servers(
                    ice.turn, self._file, partial(self._error_in, "ice.turn"), self._stand_in
                ),
            ),
            relay=relay,
            backend=backend,
        )

    def _patterns(self, patterns: list[str], place: str) -> tuple[str, ...]:
        for index, pattern in enumerate(patterns):
            if not INTERFACE_PATTERN.fullmatch(pattern):
                raise self._error(
                    f"{place}[{index}]",
                    f"{pattern!r} matches no interface name",
                    "write a name or a pattern, as eth0, eth* or wlan?",
                )
        return tuple(patterns)

    def _error(self, place: str, why: str, hint: str = "") -> ConfigError:
        return ConfigError(f"{self._path}: {place}" if place else str(self._path), why, hint)

    def _file(self, text: str, place: str) -> FilePath:
        """A path in the file is relative to the file."""
        if "\0" in text:
            raise self._error(place, "is no path: it has a null character in it")
        try:
            return self._path.parent / FilePath(text).expanduser()
        except RuntimeError:
            raise self._error(place, f"{text!r} names the home of no user here") from None

    def _convert(self, table: Any, kind: type[StructT], place: str) -> StructT:
        return convert_section(table, kind, partial(self._error_in, place))

    def _error_in(self, place: str, within: Place, why: str, hint: str) -> ConfigError:
        return self._error(place_text((place, *within) if place else within), why, hint)

    def _check_port(self, port: int, place: str, *, lowest: int) -> None:
        if not lowest <= port <= 65_535:
            raise self._error(place, f"{port} is no port", f"use {lowest} to 65535")

    def _stun(self, text: str, index: int) -> StunURI:
        try:
            uri = parse_stun_uri(text)
        except ValueError as error:
            raise self._error(f"ice.stun[{index}]", str(error)) from None
        if uri.is_secure:
            raise self._error(
                f"ice.stun[{index}]", f"{text!r}: STUN over TLS is not supported", "use stun:"
            )
        return uri

    def _interface(self, name: str, table: Any) -> InterfaceConfig:
        place = f"interfaces.{name}"
        if not INTERFACE_NAME.fullmatch(name) or name in (".", ".."):
            raise self._error(
                place, "is no interface name", "use 1 to 15 letters, digits and _=+.-"
            )
        section = self._convert(table, _InterfaceSection, place)
        self._check_port(section.listen_port, f"{place}.listen_port", lowest=0)
        if not 1280 <= section.mtu <= 65_535:
            raise self._error(f"{place}.mtu", f"{section.mtu} is out of range", "use 1280 to 65535")
        if len(section.peers) > PEERS_MAX:
            raise self._error(f"{place}.peers", f"has more than {PEERS_MAX} peers")
        private_key = self._secret(
            section.private_key_file, f"{place}.private_key_file", PrivateKey, "wice genkey"
        )
        peers = tuple(
            self._peer(peer, f"{place}.peers[{index}]") for index, peer in enumerate(section.peers)
        )
        self._check_peers(peers, private_key.public_key(), place)
        return InterfaceConfig(
            name=name,
            private_key=private_key,
            listen_port=section.listen_port,
            addresses=tuple(
                self._ip(text, f"{place}.addresses[{index}]", (IPv4Interface, IPv6Interface))
                for index, text in enumerate(section.addresses)
            ),
            device=section.device,
            mtu_bytes=section.mtu,
            peers=peers,
        )

    def _peer(self, table: Any, place: str) -> NamedPeer:
        section = self._convert(table, _PeerSection, place)
        try:
            public_key = PublicKey.from_base64(section.public_key)
        except ValueError as error:
            raise self._error(
                f"{place}.public_key", str(error), "copy what `wice pubkey` prints"
            ) from None
        if not is_valid_identity(public_key):
            raise self._error(
                f"{place}.public_key",
                "is not the public key of any private key",
                "copy what `wice pubkey` prints on the peer",
            )
        preshared_key = None
        if section.preshared_key_file is not None:
            preshared_key = self._secret(
                section.preshared_key_file,
                f"{place}.preshared_key_file",
                PresharedKey,
                "wice genpsk",
            )
        allowed_ips: tuple[IPNetwork, ...] = tuple(
            self._ip(text, f"{place}.allowed_ips[{index}]", (IPv4Network, IPv6Network))
            for index, text in enumerate(section.allowed_ips)
        )
        return NamedPeer(PeerConfig(public_key, allowed_ips, preshared_key), section.name)

    def _ip(self, text: str, place: str, kinds: tuple[type[Any], type[Any]]) -> Any:
        kind = kinds[1] if ":" in text else kinds[0]
        try:
            return kind(text)
        except ValueError as error:
            hint = "write ADDRESS/LENGTH, as 10.77.0.2/32 or fd00::2/128"
            raise self._error(place, f"{text!r}: {error}", hint) from None

    def _secret(self, text: str, place: str, kind: type[SecretT], maker: str) -> SecretT:
        path = self._file(text, place)
        if self._stand_in is not None and not is_readable_file(path):
            return kind.from_base64(self._stand_in(path))
        try:
            mode = path.stat().st_mode
            content = path.read_text("ascii").strip()
        except FileNotFoundError:
            raise self._error(
                place,
                f"{path} does not exist",
                f"make it: (umask 077; {maker} > {path})",
            ) from None
        except OSError as error:
            raise self._error(place, f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._error(place, f"{path} holds no {kind.kind}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise self._error(place, f"{path} is readable by others", f"chmod 600 {path}")
        try:
            return kind.from_base64(content)
        except ValueError as error:
            raise self._error(place, f"{path}: {error}") from None

    def _check_peers(self, peers: tuple[NamedPeer, ...], ours: PublicKey, place: str) -> None:
        seen: dict[PublicKey, int] = {}
        for index, peer in enumerate(peers):
            key = peer.config.public_key
            at = f"{place}.peers[{index}].public_key"
            if key == ours:
                raise self._error(at, "is this interface's own key", "remove this peer")
            if key in seen:
                raise self._error(at, f"is the key of peers[{seen[key]}] too", "remove one")
            seen[key] = index
        self._check_overlaps(peers, place)

    def _check_overlaps(self, peers: tuple[NamedPeer, ...], place: str) -> None:
        for version in (4, 6):
            # Sorted by first address, an overlapping network stands next to one it overlaps.
            networks = sorted(
                (int(network.network_address), network.prefixlen, index, network)
                for index, peer in enumerate(peers)
                for network in peer.config.allowed_ips
                if network.version == version
            )
            widest = None
            for _, _, index, network in networks:
                if widest is not None and network.overlaps(widest[1]):
                    if widest[0] != index:
                        raise self._error(
                            f"{place}.peers[{index}].allowed_ips",
                            f"{network} overlaps {widest[1]} of peers[{widest[0]}]",
                            "an address belongs to one peer",
                        )
                else:
                    widest = (index, network)

    def _check_interfaces(self, interfaces: tuple[InterfaceConfig, ...]) -> None:
        for first, second in combinations(interfaces, 2):
            place = f"interfaces.{second.name}"
            if first.listen_port == second.listen_port != 0:
                raise self._error(
                    f"{place}.listen_port",
                    f"{second.listen_port} is the port of {first.name} too",
                    "give each interface its own",
                )
            if first.private_key == second.private_key:
                raise self._error(
                    f"{place}.private_key_file",
                    f"holds the key of {first.name} too",
                    "give each interface its own: wice genkey",
                )
