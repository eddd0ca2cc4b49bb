"""One file of a capture: the interfaces in it, its packets, and the keys to read tunnels with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sims.capture import pcapng
from sims.capture.frames import encode
from sims.capture.relayed import relayed_tunnel_message
from sims.capture.wireguard_keys import DrawnKeys, ephemeral_key_log, static_keys_log
from sims.internet.packet import Packet
from wice.keys import PrivateKey

WRITTEN_AT_ONCE_BYTES: Final = 16_384
"""What waits in memory for each file: there may be thousands of them."""

APPLICATION: Final = "wice sim"
DROPPED: Final = "dropped"
"""The interface of packets that no other interface of the file has seen."""
RELAYED: Final = "relayed"
"""The interface of tunnels inside of TURN, each packet without what TURN put around it."""


class CaptureDisk:
    """What all files of a capture take together, never more packets than ``size_max_bytes``.

    failure: why they cannot be written; then nothing is any more. full_at_ns: when the first
    packet did not fit; from then on none is taken.
    """

    def __init__(self, size_max_bytes: int) -> None:
        self.size_max_bytes = size_max_bytes
        self.size_bytes = 0
        self.full_at_ns: int | None = None
        self.failure: OSError | None = None

    def has_room(self, size_bytes: int, at_ns: int) -> bool:
        if self.full_at_ns is None and self.size_bytes + size_bytes > self.size_max_bytes:
            self.full_at_ns = at_ns
        return self.full_at_ns is None

    def append(self, path: Path, data: bytes) -> None:
        """A file at a time is open: a process may not have as many as there are interfaces."""
        if self.failure is not None:
            return
        try:
            with path.open("ab") as file:
                file.write(data)
        except OSError as error:
            self.failure = error


@dataclass(frozen=True, slots=True)
class CaptureContext:
    """What the files of one run share.

    comment: on each file. names: by IP address, for who shows names.
    """

    disk: CaptureDisk
    comment: str
    names: Mapping[str, str]
    static_keys: Sequence[PrivateKey]
    drawn_keys: DrawnKeys


@dataclass(slots=True)
class _Interface:
    number: int
    packets: int = 0
    left_out: int = 0


@dataclass(slots=True)
class _Latest:
    """The packet that may turn out to be dropped where it was seen."""

    packet: Packet
    interface: _Interface
    at_ns: int
    is_outbound: bool


class CaptureFile:
    """``name`` is the interface that it is about, ``text`` says whose it is."""

    def __init__(self, path: Path, name: str, text: str, context: CaptureContext) -> None:
        self._path = path
        self._name = name
        self._text = text
        self._context = context
        self._disk = context.disk
        self._keys_told: dict[bytes, None] = {}
        self._waiting = bytearray()
        self._latest: _Latest | None = None
        self._interfaces: dict[str, _Interface] = {}
        self._write(pcapng.section_header(APPLICATION, context.comment))
        self._write(pcapng.name_resolution(context.names))
        self._interface = self._describe(name, text)
        self.flush()

    @property
    def packets(self) -> int:
        """How many are in the file."""
        return sum(one.packets - one.left_out for one in self._interfaces.values())

    def add(self, packet: Packet, at_ns: int, *, is_outbound: bool) -> None:
        """What passed the interface."""
        self._settle()
        self._latest = _Latest(packet, self._interface, at_ns, is_outbound)

    def add_encoded(self, packet: bytes, at_ns: int, *, is_outbound: bool) -> None:
        """What passed the interface, as it is on the wire."""
        self._settle()
        self._add_block(self._interface, packet, at_ns, is_outbound, "")

    def add_drop(self, packet: Packet, at_ns: int, reason: str) -> None:
        """A packet is no more: one that was just seen here, or one that was not."""
        latest = self._latest
        comment = f"dropped: {reason}"
        if latest is not None and latest.packet is packet and latest.at_ns == at_ns:
            self._settle(comment)
            return
        self._settle()
        interface = self._other_interface(DROPPED, f"not seen on {self._name}")
        self._latest = _Latest(packet, interface, at_ns, is_outbound=False)
        self._settle(comment)

    def finish(self, at_ns: int) -> None:
        """Nothing comes any more."""
        self._settle()
        for interface in self._interfaces.values():
            numbers = (interface.packets, interface.left_out)
            self._write(pcapng.interface_statistics(interface.number, at_ns, *numbers))
        self.flush()

    def flush(self) -> None:
        self._disk.append(self._path, bytes(self._waiting))
        self._waiting.clear()

    def _describe(self, name: str, text: str) -> _Interface:
        self._write(pcapng.interface_description(name, text))
        interface = self._interfaces[name] = _Interface(len(self._interfaces))
        return interface

    def _other_interface(self, name: str, text: str) -> _Interface:
        return self._interfaces.get(name) or self._describe(name, f"{self._text}, {text}")

    def _settle(self, comment: str = "") -> None:
        latest, self._latest = self._latest, None
        if latest is None:
            return
        packet = latest.packet
        passed = (latest.at_ns, latest.is_outbound, comment)
        if packet.tcp is None:
            self._tell_keys_of(packet.payload)
        self._add_block(latest.interface, encode(packet), *passed)
        inside = None if packet.tcp is not None else relayed_tunnel_message(packet.payload)
        if inside is not None:
            text = f"what TURN carried on {self._name}"
            interface = self._other_interface(RELAYED, text)
            self._tell_keys_of(inside)
            self._add_block(interface, encode(replace(packet, payload=inside)), *passed)

    def _add_block(
        self,
        interface: _Interface,
        data: bytes,
        at_ns: int,
        is_outbound: bool,
        comment: str,
    ) -> None:
        interface.packets += 1
        block = pcapng.enhanced_packet(
            interface.number, at_ns, data, is_outbound=is_outbound, comment=comment
        )
        if self._disk.has_room(len(block), at_ns):
            self._write(block)
        else:
            interface.left_out += 1

    def _tell_keys_of(self, datagram: bytes) -> None:
        """Before the datagram: who reads the file must have them when the handshake comes."""
        if self._disk.full_at_ns is not None:
            return
        key = self._context.drawn_keys.of_handshake(datagram)
        if key is None or bytes(key) in self._keys_told:
            return
        if not self._keys_told:
            self._write_secrets(static_keys_log(self._context.static_keys))
        self._keys_told[bytes(key)] = None
        self._write_secrets(ephemeral_key_log(key))

    def _write_secrets(self, lines: bytes) -> None:
        self._write(pcapng.decryption_secrets(pcapng.SECRETS_TYPE_WIREGUARD, lines))

    def _write(self, block: bytes) -> None:
        self._disk.size_bytes += len(block)
        self._waiting += block
        if len(self._waiting) >= WRITTEN_AT_ONCE_BYTES:
            self.flush()
