"""A port whose cable ends at TURN servers in memory, in virtual time."""

from collections.abc import Mapping
from itertools import count

import trio

from wice.datagram import Carrier, Datagram, Endpoint, Path
from wice.turn import OpenRelay, TurnServer

DELAY_S = 0.02


class Cable:
    """A ``DatagramPort``; every datagram takes DELAY_S to a server, its answer as long back."""

    def __init__(self, servers: Mapping[Endpoint, TurnServer]) -> None:
        self.carrier: Carrier | None = None
        self.port = 51_820
        self.client = Endpoint("198.51.100.7", 40_000)
        """Where the servers see us."""
        self.servers = dict(servers)
        self.to_servers: list[tuple[float, Endpoint, bytes]] = []
        self.at_peers: list[tuple[Endpoint, Endpoint, bytes]] = []
        """From a relayed address, to a peer, data."""
        self.came: list[tuple[bytes, Endpoint, str | None]] = []
        """What was handed up."""
        self._relays: dict[tuple[Endpoint, int], Endpoint] = {}
        self._ports = count(50_000)
        self._outgoing, self._sent = trio.open_memory_channel[tuple[float, Endpoint, bytes]](1_000)

    def send(self, data: bytes, path: Path) -> None:
        assert path.source is None
        self._outgoing.send_nowait((trio.current_time(), path.remote, data))

    def hand_up(self, data: bytes, source: Endpoint, destination: str | None) -> None:
        self.came.append((data, source, destination))

    async def receive(self) -> Datagram:
        raise AssertionError("what was handed up is in `came`")

    async def run(self) -> None:
        async for sent_at_s, remote, data in self._sent:
            await trio.sleep_until(sent_at_s + 2 * DELAY_S)
            self.to_servers.append((sent_at_s, remote, data))
            if remote in self.servers:
                self.servers[remote].receive(data, self.client, trio.current_time(), remote.host)
                self.drain(remote)

    def peer_sends(self, peer: Endpoint, relayed: Endpoint, data: bytes) -> None:
        for (server, relay), endpoint in list(self._relays.items()):
            if endpoint == relayed:
                self.servers[server].receive_relayed(relay, data, peer, trio.current_time())
                self.drain(server)

    def drain(self, endpoint: Endpoint) -> None:
        server = self.servers[endpoint]
        while (event := server.poll_event()) is not None:
            if isinstance(event, OpenRelay):
                host = endpoint.host if event.family == 1 else "2001:db8:1::1"
                relayed = self._relays[endpoint, event.relay] = Endpoint(host, next(self._ports))
                server.relay_opened(event.relay, relayed, trio.current_time())
            else:
                del self._relays[endpoint, event.relay]
        while (transmit := server.poll_transmit()) is not None:
            if transmit.relay is not None:
                relayed = self._relays[endpoint, transmit.relay]
                self.at_peers.append((relayed, transmit.remote, bytes(transmit.data)))
            elif transmit.remote == self.client:
                assert self.carrier is not None
                self.carrier.receive(bytes(transmit.data), endpoint)
