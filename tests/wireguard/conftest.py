"""Two tunnels back to back in virtual time."""

import random
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, ip_network

import pytest

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.keys import PresharedKey, PrivateKey, PublicKey
from wice.wireguard.device import PeerConfig, PeerStatus
from wice.wireguard.shared import (
    HandshakeAbandoned,
    HandshakeCompleted,
    PathRoamed,
    Transmit,
    TunnelEvent,
)
from wice.wireguard.tunnel import Tunnel

WALL_TIME_AT_START_S = 1_700_000_000.0
STEPS_MAX = 100_000

A_ENDPOINT, B_ENDPOINT = Endpoint("192.0.2.1", 1001), Endpoint("192.0.2.2", 1002)
A_INSIDE, B_INSIDE = "10.0.0.1", "10.0.0.2"

Fate = Callable[[bytes], Iterable[float]]
"""The delays of the copies of a message that arrive; none for a lost one."""


def ipv4_packet(source: str, destination: str, payload: bytes = b"") -> bytes:
    length = 20 + len(payload)
    header = bytes([0x45, 0]) + length.to_bytes(2, "big") + bytes(5) + b"\x11" + bytes(2)
    return header + IPv4Address(source).packed + IPv4Address(destination).packed + payload


class Host:
    """One side: its tunnel, where it is, and what came out of it."""

    def __init__(self, pair: "Pair", endpoint: Endpoint, inside: str) -> None:
        self.pair = pair
        self.endpoint = endpoint
        self.inside = inside
        self.private_key = PrivateKey(pair.random.randbytes(32))
        self.public_key = self.private_key.public_key()
        self.fate: Fate = lambda _: (pair.delay_s,)
        self.is_under_load = False
        self.clock_offset_s = 0.0
        self.restart()

    def restart(self, tai64n_floor: bytes = b"") -> None:
        """A new tunnel with the same key, which remembers nothing."""
        self.tunnel = Tunnel(
            self.private_key,
            random_bytes=self.pair.random.randbytes,
            wall_time=lambda: WALL_TIME_AT_START_S + self.pair.now + self.clock_offset_s,
            is_under_load=lambda _: self.is_under_load,
            tai64n_floor=tai64n_floor,
        )
        self.packets: list[bytes] = []
        self.events: list[tuple[float, TunnelEvent]] = []
        self.sent: list[tuple[float, Transmit]] = []
        self.refused: list[str] = []

    def add_peer(self, other: "Host", preshared_key: PresharedKey | None = None) -> None:
        allowed = (ip_network(f"{other.inside}/32"),)
        self.tunnel.set_peer(PeerConfig(other.public_key, allowed, preshared_key))

    def set_path(self, other: "Host", persistent_keepalive_s: int = 0) -> None:
        path = Path(other.endpoint, self.endpoint.host)
        self.tunnel.set_path(other.public_key, path, persistent_keepalive_s, self.pair.now)
        self.pair.drain(self)

    def clear_path(self, other: "Host") -> None:
        self.tunnel.set_path(other.public_key, None, 0, self.pair.now)
        self.pair.drain(self)

    def send(self, other: "Host", payload: bytes = b"") -> bytes:
        """Send an IP packet to the other side's inner address; give it back."""
        packet = ipv4_packet(self.inside, other.inside, payload)
        self.tunnel.send(packet, self.pair.now)
        self.pair.drain(self)
        return packet

    def sent_of_type(self, kind: int) -> list[tuple[float, Transmit]]:
        return [(at_s, transmit) for at_s, transmit in self.sent if transmit.data[0] == kind]

    def completed(self) -> list[HandshakeCompleted]:
        return [event for _, event in self.events if isinstance(event, HandshakeCompleted)]

    def abandoned(self) -> list[float]:
        return [at_s for at_s, event in self.events if isinstance(event, HandshakeAbandoned)]

    def roamed(self) -> list[Path]:
        return [event.path for _, event in self.events if isinstance(event, PathRoamed)]

    def status(self, other: "Host") -> PeerStatus:
        return next(
            status for status in self.tunnel.statistics() if status.public_key == other.public_key
        )


class Pair:
    """Steps two hosts through virtual time; messages are lost and delayed as each ``fate`` says."""

    def __init__(self, seed: int = 1, delay_s: float = 0.02) -> None:
        self.random = random.Random(seed)
        self.now = 1_000.0
        self.delay_s = delay_s
        self.a = Host(self, A_ENDPOINT, A_INSIDE)
        self.b = Host(self, B_ENDPOINT, B_INSIDE)
        self._flying: list[tuple[float, int, Host, bytes, Endpoint, Endpoint]] = []
        self._count = 0

    def introduce(self, preshared_key: PresharedKey | None = None) -> "Pair":
        self.a.add_peer(self.b, preshared_key)
        self.b.add_peer(self.a, preshared_key)
        return self

    def connect(self, preshared_key: PresharedKey | None = None) -> "Pair":
        """Introduce them, and let a packet of A's make the handshake."""
        self.introduce(preshared_key)
        self.a.set_path(self.b)
        self.a.send(self.b, b"hello")
        self.run(1.0)
        assert len(self.b.packets) == 1 and self.a.completed() and self.b.completed()
        return self

    def drain(self, host: Host) -> None:
        while (transmit := host.tunnel.poll_transmit()) is not None:
            host.sent.append((self.now, transmit))
            target = next(
                (one for one in (self.a, self.b) if one.endpoint == transmit.path.remote), None
            )
            for delay_s in host.fate(transmit.data) if target else ():
                self._count += 1
                entry = (self.now + delay_s, self._count, target, transmit.data, host.endpoint)
                self._flying.append((*entry, target.endpoint))  # type: ignore[arg-type]
        while (packet := host.tunnel.poll_packet()) is not None:
            host.packets.append(packet)
        while (event := host.tunnel.poll_event()) is not None:
            host.events.append((self.now, event))

    def deliver(self, host: Host, data: bytes, source: Endpoint) -> str | None:
        """Hand ``host`` a datagram; give the reason where it was refused."""
        reason = None
        try:
            host.tunnel.receive(data, source, host.endpoint.host, self.now)
        except RemoteProtocolError as error:
            reason = str(error)
            host.refused.append(reason)
        self.drain(host)
        return reason

    def run(self, duration_s: float) -> None:
        """Let ``duration_s`` pass."""
        end_s = self.now + duration_s
        for _ in range(STEPS_MAX):
            deadlines = [host.tunnel.deadline() for host in (self.a, self.b)]
            flying_s = min((entry[0] for entry in self._flying), default=float("inf"))
            next_s = min(*deadlines, flying_s)
            if next_s > end_s:
                self.now = end_s
                return
            self.now = max(self.now, next_s)
            for host in (self.a, self.b):
                host.tunnel.handle_timeout(self.now)
                self.drain(host)
            due = sorted(entry for entry in self._flying if entry[0] <= self.now)
            self._flying = [entry for entry in self._flying if entry[0] > self.now]
            for _, _, target, data, source, destination in due:
                if target.endpoint == destination:
                    self.deliver(target, data, source)
        raise AssertionError("the tunnels never come to rest")


@pytest.fixture
def pair() -> Pair:
    return Pair().introduce()


@pytest.fixture
def connected() -> Pair:
    return Pair().connect()


def public_key_of(seed: int) -> PublicKey:
    return PrivateKey(random.Random(seed).randbytes(32)).public_key()
