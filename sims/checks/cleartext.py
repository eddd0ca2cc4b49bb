"""Nothing passes a wire in clear that must not: keys, names, and what tunnels carry."""

import base64
import ipaddress
import struct
from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Final

from sims.checks.check import Check
from sims.checks.findings import Findings
from sims.checks.quiet import Quiet
from sims.internet.packet import Packet
from sims.model.world import PING_MARKER, World
from wice.datagram import Endpoint

BLOCK_SIZE_BYTES: Final = 8
STRIDE_BYTES: Final = 4
"""Payloads are compared block by block at every fourth byte with all blocks of all secrets; a
secret of 11 bytes or more is found wherever it stands. Searching for each would take far longer."""

NEEDLE_SIZE_BYTES: Final = 24
"""Of a key in any of its forms so much is searched for: the rest of it, padding or none, is no
matter."""

TAIL_SIZE_BYTES: Final = 64
"""Of a TCP segment so much is searched again with the next: a secret may stand across two."""

FLOW_WHOLE_PACKETS: Final = 16
FLOW_SAMPLE: Final = 8
"""Of each flow the first packets are searched, then one in so many; which, the seed says, so that
many runs together search all."""

FLOWS_MAX: Final = 65_536
"""Flows that are told apart; then counting starts anew."""


class Cleartext(Check):
    """Searches what machines send."""

    name = "cleartext"

    def __init__(self, world: World, quiet: Quiet, findings: Findings) -> None:
        super().__init__(world, quiet, findings)
        self._secrets = dict(_secrets(world))
        self._blocks = {block for secret in self._secrets for block in _blocks_of(secret)}
        self._packets: dict[tuple[Endpoint, Endpoint], int] = {}
        self._tails: dict[tuple[Endpoint, Endpoint], bytes] = {}
        # Keys are made from the seed.
        public_keys = b"".join(bytes(key.public_key()) for key in world.private_keys.values())
        self._sampled = sum(public_keys) % FLOW_SAMPLE

    def is_due(self) -> bool:
        return True

    def sent(self, machine: str, packet: Packet) -> None:
        """``machine`` sends ``packet``."""
        payload = packet.payload
        if not payload:
            return
        flow = (packet.source, packet.destination)
        number = self._packets.get(flow, 0)
        self._packets[flow] = number + 1
        if len(self._packets) > FLOWS_MAX:
            self._packets.clear()
            self._tails.clear()
        if packet.tcp is not None:
            payload = self._tails.get(flow, b"") + payload
            self._tails[flow] = payload[-TAIL_SIZE_BYTES:]
        if number >= FLOW_WHOLE_PACKETS and number % FLOW_SAMPLE != self._sampled:
            return
        if len(payload) < BLOCK_SIZE_BYTES:
            return
        self.looked()
        even, odd = _layouts(len(payload))
        if self._blocks.isdisjoint(even.unpack(payload)) and self._blocks.isdisjoint(
            odd.unpack(payload)
        ):
            return
        for secret, what in self._secrets.items():
            if secret in payload:
                self.violation(
                    machine,
                    f"sent {what} in clear to {packet.destination} by "
                    f"{packet.protocol.name}; nobody on the way may read that",
                )


def _secrets(world: World) -> Iterator[tuple[bytes, str]]:
    for name, key in world.private_keys.items():
        public_key = bytes(key.public_key())
        for raw, what in (
            (base64.b64decode(key.reveal_base64()), f"the private key of {name}"),
            (public_key, f"the public key of {name}"),
        ):
            for form, how in (
                (raw, ""),
                (base64.urlsafe_b64encode(raw), " in base64url"),
                (base64.b64encode(raw), " in base64"),
                (raw.hex().encode(), " in hexadecimal"),
                (raw.hex().upper().encode(), " in hexadecimal"),
            ):
                yield form[:NEEDLE_SIZE_BYTES], f"{what}{how}"
    yield PING_MARKER, "a ping through the tunnel"
    yield world.community.encode(), "the name of the community"
    addresses = {
        name: [ipaddress.ip_address(address) for address in of_machine]
        for name, of_machine in world.tunnel_addresses.items()
    }
    # Of a thousand machines, all pairs would be a million.
    for one, other in world.scenario.pairs:
        for source, destination in product(addresses[one], addresses[other]):
            # As they stand side by side in an IP header: four bytes alone are nobody's.
            if source.version == destination.version:
                both = source.packed + destination.packed
                yield both, f"a packet from {source} to {destination}"


def _blocks_of(secret: bytes) -> Iterator[int]:
    if len(secret) < BLOCK_SIZE_BYTES:
        raise ValueError(f"{secret!r} is too short to be told from chance on a wire")
    for start in range(len(secret) - BLOCK_SIZE_BYTES + 1):
        yield int.from_bytes(secret[start : start + BLOCK_SIZE_BYTES], "little")


@cache
def _layouts(size_bytes: int) -> tuple[struct.Struct, struct.Struct]:
    """A payload as blocks from its first byte on, and from the fourth on."""

    def layout(skipped_bytes: int) -> struct.Struct:
        blocks, rest_bytes = divmod(size_bytes - skipped_bytes, BLOCK_SIZE_BYTES)
        return struct.Struct(f"<{skipped_bytes}x{blocks}Q{rest_bytes}x")

    return layout(0), layout(STRIDE_BYTES)
