"""A run told by hand, for checks to judge: two machines, ``laptop`` and ``nas``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sims.checks import Checks
from sims.internet.packet import Packet, PacketEvent, Protocol, TcpHeader
from sims.model.faults import Fault
from sims.model.link import LineModel, LinkModel
from sims.model.nat import PORT_RESTRICTED
from sims.model.scenario import Expectation, Machine, Scenario, Site
from sims.model.world import PING_MARKER, Load
from sims.runtime.clock import STARTS_AT_S
from wice.datagram import Endpoint
from wice.events import EnvelopeDelivered, PeerTransitioned
from wice.keys import PrivateKey, PublicKey

LAPTOP, NAS = "laptop", "nas"
ADDRESSES = {LAPTOP: "10.77.0.1", NAS: "10.77.0.2"}
TO_NAS = Endpoint("198.51.100.7", 51820)
ELSEWHERE = Endpoint("203.0.113.9", 40000)
INITIATION = bytes((1, 0, 0, 0)) + bytes(144)
STRANGER = PrivateKey(bytes([60]) * 31 + b"\x01").public_key()
KEEPALIVE = bytes((4, 0, 0, 0)) + bytes(28)
LOOK_EVERY_S = 5.0


def a_line(**changes: Any) -> LineModel:
    return LineModel(LinkModel(**changes), LinkModel(**changes))


def a_scenario(expect: Expectation, line: LineModel) -> Scenario:
    sites = tuple(
        Site(
            name=f"home-{name}", line=line, nats=(PORT_RESTRICTED,), machines=(Machine(name=name),)
        )
        for name in (LAPTOP, NAS)
    )
    return Scenario(name="a story", duration_s=600, sites=sites, expect=expect)


class Story:
    """A ``World`` whose every word is written by the test."""

    def __init__(
        self,
        *,
        faults: Sequence[Fault] = (),
        expect: Expectation | None = None,
        line: LineModel | None = None,
        keys_from: int = 40,
        has_relay: bool = False,
    ) -> None:
        told = a_scenario(expect or Expectation(), line or a_line())
        self.scenario = replace(told, has_relay=has_relay)
        self.now_s = 0.0
        self.faults = faults
        self.private_keys = {
            name: PrivateKey(bytes([keys_from + number]) * 31 + b"\x01")
            for number, name in enumerate(ADDRESSES)
        }
        self.tunnel_addresses: Mapping[str, Sequence[str]] = {
            name: (address,) for name, address in ADDRESSES.items()
        }
        self.community = "people-of-the-story"
        self.running_since: dict[str, float | None] = {LAPTOP: 0.0, NAS: 0.0}
        self.are_reachable = True
        self.are_direct = True
        self.load = Load(tasks=50, sockets=5, tcp_connections=2, queued_bytes=0)
        self.peers: dict[str, dict[str, Any]] = {name: self._peer(name) for name in ADDRESSES}
        self.counters: dict[str, int] = {}
        self._checks_sent = self._replies = 0
        self.checks = Checks(self)

    # World

    def running_since_s(self, machine: str) -> float | None:
        return self.running_since[machine]

    def site_of(self, machine: str) -> str:
        return f"home-{machine}"

    def is_reachable(self, _one: str, _other: str) -> bool:
        return self.are_reachable

    def can_be_direct(self, _one: str, _other: str) -> bool:
        return self.are_reachable and self.are_direct

    def load_of(self, _machine: str) -> Load:
        return self.load

    # What happens

    def transition(
        self,
        old: str,
        new: str,
        cause: str,
        detail: str = "",
        *,
        machine: str = LAPTOP,
        peer: PublicKey | None = None,
    ) -> None:
        self.checks.on_event(
            machine,
            PeerTransitioned(
                at_s=STARTS_AT_S + self.now_s,
                interface="wg0",
                peer=peer or self.private_keys[other_than(machine)].public_key(),
                old=old,
                new=new,
                cause=cause,
                detail=detail,
            ),
        )

    def delivered(self, machine: str = LAPTOP) -> None:
        key = self.private_keys[other_than(machine)].public_key()
        at_s = STARTS_AT_S + self.now_s
        self.checks.on_event(machine, EnvelopeDelivered(at_s=at_s, peer=key, way="anchor"))

    def sent(
        self, payload: bytes, destination: Endpoint = TO_NAS, tcp: TcpHeader | None = None
    ) -> None:
        protocol = Protocol.UDP if tcp is None else Protocol.TCP
        packet = Packet(protocol, Endpoint("192.168.1.2", 51820), destination, payload, tcp)
        self.checks.on_packet(PacketEvent(STARTS_AT_S + self.now_s, "sent", LAPTOP, packet))

    def received(self, source: Endpoint, payload: bytes = b"a check") -> None:
        packet = Packet(Protocol.UDP, source, Endpoint("192.168.1.2", 51820), payload)
        self.checks.on_packet(PacketEvent(STARTS_AT_S + self.now_s, "received", LAPTOP, packet))

    def proved(self, remote: Endpoint = TO_NAS, *, answered_from: Endpoint | None = None) -> None:
        """A check of the laptop's goes to ``remote`` and is answered, from there or elsewhere."""
        self._checks_sent += 1
        transaction = b"\x21\x12\xa4\x42" + self._checks_sent.to_bytes(12, "big")
        self.sent(b"\x00\x01\x00\x00" + transaction, remote)
        self.received(answered_from or remote, b"\x01\x01\x00\x00" + transaction)

    def reply(self) -> None:
        """Both sides' pings are answered."""
        self._replies += 1
        for name in ADDRESSES:
            payload = PING_MARKER + f"{name}>{other_than(name)}#{self._replies}".encode()
            self.checks.on_reply(name, ADDRESSES[other_than(name)], payload)

    def look(self) -> None:
        self.checks.look(
            {
                name: {
                    "uptime_s": self.now_s - since_s,
                    "overlay": {"joined": True},
                    "interfaces": [{"peers": [self.peers[name]]}],
                    "counters": self.counters,
                }
                for name, since_s in self.running_since.items()
                if since_s is not None
            }
        )

    def wait(self, seconds: float, *, is_answered: bool = True) -> None:
        """Time passes with looks and pings."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(self.now_s + LOOK_EVERY_S, until_s)
            if is_answered:
                self.received(TO_NAS)
                self.reply()
            self.look()

    def found(self, check: str) -> list[str]:
        """What ``check`` said, each with its subject."""
        return [
            f"{violation.subject}: {violation.detail}"
            for violation in self.checks.violations
            if violation.check == check
        ]

    def _peer(self, machine: str) -> dict[str, Any]:
        return {
            "name": other_than(machine),
            "state": "connected",
            "path": "direct",
            "endpoint": str(TO_NAS),
            "selected": str(TO_NAS),
            "reason": "",
            "signaling": {"settled": True, "sessions": 1, "messages": 4},
        }


def other_than(machine: str) -> str:
    return NAS if machine == LAPTOP else LAPTOP
