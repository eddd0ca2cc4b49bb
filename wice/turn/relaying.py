"""The server's way of data, to peers and back (RFC 8656 sections 11 and 12): every datagram is
one that a permission lets through and a budget pays for.
"""

from collections import Counter, deque
from collections.abc import Callable

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Class,
    Method,
    encode,
    pack_xor_address,
    parse,
    unpack_xor_address,
)
from wice.turn.allocation import Allocation, ClientPath, Relay
from wice.turn.allocation_table import AllocationTable
from wice.turn.budgets import Ledger
from wice.turn.messages import (
    CHANNEL_HEADER_SIZE_BYTES,
    DATA_SIZE_MAX_BYTES,
    UNDERSTOOD,
    family_of,
    pack_channel_header,
    unpack_channel_header,
)
from wice.turn.peer_policy import PeerPolicy
from wice.turn.server_events import ServerTransmit


class Relaying:
    """Datagrams in, at most one datagram out for each."""

    def __init__(
        self,
        table: AllocationTable,
        ledger: Ledger,
        policy: PeerPolicy,
        random_bytes: Callable[[int], bytes],
        transmits: deque[ServerTransmit],
        counts: Counter[str],
    ) -> None:
        self._table = table
        self._ledger = ledger
        self._policy = policy
        self._random_bytes = random_bytes
        self._transmits = transmits
        self._counts = counts

    def receive_channel_data(self, data: bytes, path: ClientPath, now: float) -> None:
        """Take a datagram that ``is_channel_data``; it may be padded (RFC 8656 section 12.5)."""
        allocation = self._table.by_path.get(path)
        if allocation is None:
            self._counts["data without an allocation"] += 1
            return
        allocation.heard_at_s = now
        number, size_bytes = unpack_channel_header(data)
        end = CHANNEL_HEADER_SIZE_BYTES + size_bytes
        if end > len(data):
            self._counts["malformed"] += 1
            return
        channel = allocation.channel(number, now)
        if channel is None:
            self._counts["data on no channel"] += 1
            return
        payload = data[CHANNEL_HEADER_SIZE_BYTES:end]
        self._to_peer(allocation, channel.relay, channel.peer, payload, now)

    def receive_send(self, data: bytes, path: ClientPath, now: float) -> None:
        """Take a Send indication."""
        allocation = self._table.by_path.get(path)
        if allocation is None:
            self._counts["data without an allocation"] += 1
            return
        allocation.heard_at_s = now
        try:
            message = parse(data)
            if message.unknown_required(UNDERSTOOD):
                raise RemoteProtocolError("a Send indication that is not understood")
            payload = message.require(Attribute.DATA)
            value = message.require(Attribute.XOR_PEER_ADDRESS)
            peer = unpack_xor_address(value, message.transaction_id)
        except RemoteProtocolError:
            self._counts["malformed"] += 1
            return
        relay = allocation.relays.get(family_of(peer.host))
        if relay is None or not peer.port:
            self._counts["data that no relay can send"] += 1
            return
        self._to_peer(allocation, relay, peer, payload, now)

    def receive_relayed(self, relay_id: int, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram from a relay socket."""
        relay = self._table.relays.get(relay_id)
        if relay is not None:
            self._to_client(relay.allocation, source, data, now)

    def _to_peer(
        self, allocation: Allocation, relay: Relay, peer: Endpoint, data: bytes, now: float
    ) -> None:
        local = relay.endpoint
        if local is None:
            self._counts["data that no relay can send"] += 1
            return
        if not allocation.has_permission(peer.host, now):
            self._counts["data without a permission"] += 1
            return
        if not self._spend(allocation, data, now):
            return
        table = self._table
        target = table.relays_by_endpoint.get(peer)
        if target is not None:
            # From one relay of ours to another: it need not leave the process.
            self._to_client(target.allocation, local, data, now)
        elif peer.host in table.relay_hosts and not self._policy.is_exempt(peer.host):
            self._counts["data to an address of ours that is no relay"] += 1
        else:
            self._counts["data relayed to peers"] += 1
            self._transmits.append(ServerTransmit(data, peer, None, relay.id))

    def _to_client(self, allocation: Allocation, source: Endpoint, data: bytes, now: float) -> None:
        if not allocation.has_permission(source.host, now):
            self._counts["data of a peer without a permission"] += 1
            return
        if len(data) > DATA_SIZE_MAX_BYTES:
            self._counts["data too long to relay"] += 1
            return
        if not self._spend(allocation, data, now):
            return
        self._counts["data relayed to clients"] += 1
        channel = allocation.channel_to(source, now)
        if channel is not None:
            message = pack_channel_header(channel.number, len(data)) + data
        else:
            message = self._data_indication(source, data)
        path = allocation.path
        self._transmits.append(ServerTransmit(message, path.client, path.local, None))

    def _data_indication(self, source: Endpoint, data: bytes) -> bytes:
        transaction_id = self._random_bytes(12)
        attributes = (
            (Attribute.XOR_PEER_ADDRESS, pack_xor_address(source, transaction_id)),
            (Attribute.DATA, data),
        )
        return encode(Method.DATA, Class.INDICATION, transaction_id, attributes, fingerprint=False)

    def _spend(self, allocation: Allocation, data: bytes, now: float) -> bool:
        refused = self._ledger.spend(allocation.usage, len(data), now)
        if refused:
            self._counts[refused] += 1
        return not refused
