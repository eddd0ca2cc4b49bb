"""What stands at a site's line whatever its NAT does: RFC 6092, and ruder ones."""

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from sims.internet.connections import (
    MidStream,
    TcpConnection,
    UdpFlow,
    follow,
)
from sims.internet.drops import Drop
from sims.internet.expiry import has_room
from sims.internet.packet import Packet, Protocol
from sims.model.nat import UDP_REPLIED_S, UDP_UNREPLIED_S, Firewall
from wice.datagram import Endpoint

FLOWS_MAX: Final = 16_384
"""Of each protocol."""
HTTPS_PORT: Final = 443
IP_VERSIONS: Final = (4, 6)

_Flow = tuple[Endpoint, Endpoint]
"""The socket inside, and the one outside."""


class PacketFilter:
    """A ``Firewall`` at work. Packets are seen as they are inside of it."""

    def __init__(self, firewall: Firewall, mid_stream: MidStream = MidStream.TAKEN_UP) -> None:
        self._is_stateful = firewall is not Firewall.NONE
        self._blocks_udp = firewall in (Firewall.UDP_BLOCKED, Firewall.TCP_443_ONLY)
        self._is_https_only = firewall is Firewall.TCP_443_ONLY
        self._mid_stream = mid_stream
        self._udp_flows: dict[_Flow, UdpFlow] = {}
        self._tcp_flows: dict[_Flow, TcpConnection] = {}

    def forget(self, ip_versions: Collection[int] = IP_VERSIONS) -> None:
        """Lose all flows of these, as in a reboot."""
        self._udp_flows = _without(self._udp_flows, ip_versions)
        self._tcp_flows = _without(self._tcp_flows, ip_versions)

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
            flow = self._udp_flows.get((packet.destination, packet.source))
            if flow is None or flow.expires_at_s <= now_s:
                return Drop.NO_FLOW
            if not flow.is_replied:
                flow.replied(UDP_UNREPLIED_S, UDP_REPLIED_S)
            return None
        if not self._is_stateful or is_translated:
            return None
        assert packet.tcp is not None
        connection = self._tcp_flows.get((packet.destination, packet.source))
        if connection is None or connection.expires_at_s <= now_s:
            return Drop.NO_FLOW
        connection.note(packet.tcp.flags, is_outbound=False, now_s=now_s)
        return None

    def _note_udp(self, key: _Flow, now_s: float) -> Drop | None:
        flow = self._udp_flows.get(key)
        if flow is None:
            if not has_room(self._udp_flows, FLOWS_MAX, UdpFlow.expiry_s, now_s):
                return Drop.FIREWALL_FULL
            flow = self._udp_flows[key] = UdpFlow()
        flow.sent(now_s, UDP_UNREPLIED_S, UDP_REPLIED_S)
        return None

    def _note_tcp(self, packet: Packet, now_s: float) -> Drop | None:
        assert packet.tcp is not None
        followed = follow(
            self._tcp_flows,
            (packet.source, packet.destination),
            packet.tcp.flags,
            is_outbound=True,
            mid_stream=self._mid_stream,
            now_s=now_s,
            size_max=FLOWS_MAX,
            unknown=Drop.NO_FLOW,
            full=Drop.FIREWALL_FULL,
        )
        return followed if isinstance(followed, Drop) else None


_State = TypeVar("_State")


def _without(flows: Mapping[_Flow, _State], ip_versions: Collection[int]) -> dict[_Flow, _State]:
    return {
        flow: state
        for flow, state in flows.items()
        if (6 if flow[0].is_ipv6 else 4) not in ip_versions
    }
