"""What stands at a site's line whatever its NAT does: RFC 6092, and ruder ones."""

from typing import Final

from sims.connections import TcpConnection, may_begin
from sims.drops import Drop
from sims.expiry import has_room
from sims.nat import Firewall
from sims.packet import Packet, Protocol
from wice.datagram import Endpoint

UDP_FLOW_S: Final = 300.0
"""How long answers may come after the last packet out (RFC 6092 REC-14 recommends 5 minutes)."""
FLOWS_MAX: Final = 16_384
"""Of each protocol."""
HTTPS_PORT: Final = 443

_Flow = tuple[Endpoint, Endpoint]
"""The socket inside, and the one outside."""


class PacketFilter:
    """A ``Firewall`` at work. Packets are seen as they are inside of it."""

    def __init__(self, firewall: Firewall) -> None:
        self._is_stateful = firewall is not Firewall.NONE
        self._blocks_udp = firewall in (Firewall.UDP_BLOCKED, Firewall.TCP_443_ONLY)
        self._is_https_only = firewall is Firewall.TCP_443_ONLY
        self._udp_flows: dict[_Flow, float] = {}
        self._tcp_flows: dict[_Flow, TcpConnection] = {}

    def forget(self) -> None:
        """Lose all flows, as in a reboot."""
        self._udp_flows.clear()
        self._tcp_flows.clear()

    def outbound(self, packet: Packet, now_s: float, *, is_translated: bool) -> Drop | None:
        """Why ``packet`` may not leave, if so.

        is_translated: by a NAT, which follows its flows instead.
        """
        if packet.protocol is Protocol.UDP:
            if self._blocks_udp:
                return Drop.FORBIDDEN
            if not self._is_stateful or is_translated:
                return None
            return self._note_udp((packet.source, packet.destination), now_s)
        if self._is_https_only and packet.destination.port != HTTPS_PORT:
            return Drop.FORBIDDEN
        if not self._is_stateful or is_translated:
            return None
        return self._note_tcp(packet, now_s)

    def inbound(self, packet: Packet, now_s: float, *, is_translated: bool) -> Drop | None:
        """Why ``packet`` may not come in, if so."""
        if packet.protocol is Protocol.UDP:
            if self._blocks_udp:
                return Drop.FORBIDDEN
            if not self._is_stateful or is_translated:
                return None
            expires_at_s = self._udp_flows.get((packet.destination, packet.source), 0.0)
            return None if expires_at_s > now_s else Drop.NO_FLOW
        if not self._is_stateful or is_translated:
            return None
        assert packet.tcp is not None
        connection = self._tcp_flows.get((packet.destination, packet.source))
        if connection is None or connection.expires_at_s <= now_s:
            return Drop.NO_FLOW
        connection.note(packet.tcp.flags, is_outbound=False, now_s=now_s)
        return None

    def _note_udp(self, flow: _Flow, now_s: float) -> Drop | None:
        flows = self._udp_flows
        if flow not in flows and not has_room(flows, FLOWS_MAX, float, now_s):
            return Drop.FIREWALL_FULL
        flows[flow] = now_s + UDP_FLOW_S
        return None

    def _note_tcp(self, packet: Packet, now_s: float) -> Drop | None:
        assert packet.tcp is not None
        flow, flags = (packet.source, packet.destination), packet.tcp.flags
        flows = self._tcp_flows
        connection = flows.get(flow)
        if connection is None or connection.expires_at_s <= now_s:
            if not may_begin(flags):
                return Drop.NO_FLOW
            if not has_room(flows, FLOWS_MAX, TcpConnection.expiry_s, now_s):
                return Drop.FIREWALL_FULL
            connection = flows[flow] = TcpConnection()
        connection.note(flags, is_outbound=True, now_s=now_s)
        return None
