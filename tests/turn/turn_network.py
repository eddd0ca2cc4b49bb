"""A scripted clock and a network in which TURN clients, a server and peers meet."""

import heapq
from collections.abc import Sequence
from itertools import count
from random import Random

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import Accounts, LongTermCredentials, StaticAccounts
from wice.turn import (
    Budgets,
    ClientEvent,
    Family,
    OpenRelay,
    PeerData,
    PeerPolicy,
    Timing,
    TurnClient,
    TurnServer,
)

SERVER = Endpoint("203.0.113.1", 3478)
SERVER_IPV6 = "2001:db8:1::1"
CLIENT = Endpoint("198.51.100.7", 40_000)
PEER = Endpoint("192.0.2.9", 51_820)
PEER_IPV6 = Endpoint("2001:db8:2::9", 51_820)
ALICE = LongTermCredentials("alice", "correct horse")
REALM = "wice"
DELAY_S = 0.02


class Network:
    """One server; clients and peers by their endpoints. Every datagram takes DELAY_S.

    loss, doubling, jitter_s: of datagrams between clients and the server.
    """

    def __init__(
        self,
        *,
        accounts: Accounts | None = None,
        budgets: Budgets | None = None,
        policy: PeerPolicy | None = None,
        families: Sequence[Family] = (Family.IPV4, Family.IPV6),
        alternates: Sequence[Endpoint] = (),
        seed: int = 1,
        loss: float = 0.0,
        doubling: float = 0.0,
        jitter_s: float = 0.0,
    ) -> None:
        self.now = 1_000.0
        self.random = Random(seed)
        self.loss, self.doubling, self.jitter_s = loss, doubling, jitter_s
        self.accounts = accounts or StaticAccounts({"alice": "correct horse", "bob": "battery"})
        self.budgets, self.policy, self.families = budgets, policy, families
        self.alternates = alternates
        self.clients: dict[Endpoint, TurnClient] = {}
        self.events: dict[Endpoint, list[tuple[float, ClientEvent]]] = {}
        self.received: dict[Endpoint, list[PeerData]] = {}
        self.at_peers: list[tuple[Endpoint, Endpoint, bytes]] = []
        """What reached peers: from, to, data."""
        self.to_server: list[tuple[float, bytes]] = []
        self.to_clients: list[tuple[float, Endpoint, bytes]] = []
        self.dropped: list[str] = []
        self.mute = False
        """The server hears nothing."""
        self.can_open = True
        self.relays: dict[int, Endpoint] = {}
        self._ports = count(50_000)
        self._order = count()
        self._flying: list[tuple[float, int, Endpoint, Endpoint, bytes]] = []
        self.server = self.new_server()

    def new_server(self) -> TurnServer:
        self.relays = {}
        self.server = TurnServer(
            self.accounts,
            realm=REALM,
            random_bytes=self.random.randbytes,
            now=self.now,
            budgets=self.budgets,
            policy=self.policy or PeerPolicy(own_addresses=[SERVER.host, SERVER_IPV6]),
            families=self.families,
            alternates=self.alternates,
        )
        return self.server

    def client(
        self,
        endpoint: Endpoint = CLIENT,
        credentials: LongTermCredentials = ALICE,
        families: Sequence[Family] = (Family.IPV4,),
        timing: Timing | None = None,
    ) -> TurnClient:
        client = self.clients[endpoint] = TurnClient(
            SERVER,
            credentials,
            random_bytes=self.random.randbytes,
            now=self.now,
            families=families,
            timing=timing,
        )
        self.events[endpoint], self.received[endpoint] = [], []
        return client

    def peer_sends(self, peer: Endpoint, relayed: Endpoint, data: bytes) -> None:
        self._fly(peer, relayed, data)

    def run(self, seconds: float) -> None:
        """Let time pass, from one thing that happens to the next."""
        until = self.now + seconds
        for _ in range(200_000):
            self._drain()
            next_at = min(
                (
                    at
                    for at in (
                        self._flying[0][0] if self._flying else None,
                        self.server.deadline(),
                        *(client.deadline() for client in self.clients.values()),
                    )
                    if at is not None
                ),
                default=float("inf"),
            )
            if next_at > until:
                self.now = until
                return
            self.now = max(self.now, next_at)
            self._step()
        raise AssertionError("time stands still")

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, source, destination, data = heapq.heappop(self._flying)
            self._arrive(source, destination, data)
            self._drain()
        self.server.handle_timeout(self.now)
        for client in self.clients.values():
            deadline = client.deadline()
            if deadline is not None and deadline <= self.now:
                client.handle_timeout(self.now)

    def _arrive(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        relay = next((i for i, e in self.relays.items() if e == destination), None)
        if destination in self.clients:
            self.to_clients.append((self.now, destination, data))
            try:
                self.clients[destination].receive(data, source, self.now)
            except RemoteProtocolError as error:
                self.dropped.append(str(error))
        elif destination == SERVER:
            self.to_server.append((self.now, data))
            if not self.mute:
                self.server.receive(data, source, self.now, SERVER.host)
        elif relay is not None:
            self.server.receive_relayed(relay, data, source, self.now)
        elif destination.host not in (SERVER.host, SERVER_IPV6):
            self.at_peers.append((source, destination, data))

    def _drain(self) -> None:
        while (event := self.server.poll_event()) is not None:
            if not isinstance(event, OpenRelay):
                self.relays.pop(event.relay, None)
            elif self.can_open:
                host = SERVER.host if event.family is Family.IPV4 else SERVER_IPV6
                self.relays[event.relay] = Endpoint(host, next(self._ports))
                self.server.relay_opened(event.relay, self.relays[event.relay], self.now)
            else:
                self.server.relay_failed(event.relay, self.now)
        while (transmit := self.server.poll_transmit()) is not None:
            source = SERVER if transmit.relay is None else self.relays[transmit.relay]
            assert (transmit.local == SERVER.host) == (transmit.relay is None)
            self._fly(source, transmit.remote, transmit.data)
        for endpoint, client in self.clients.items():
            while (data := client.poll_transmit()) is not None:
                self._fly(endpoint, client.server, data)
            while (said := client.poll_event()) is not None:
                self.events[endpoint].append((self.now, said))
            while (came := client.poll_data()) is not None:
                self.received[endpoint].append(came)

    def _fly(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        between = SERVER in (source, destination)
        copies = 1
        if between and self.random.random() < self.loss:
            copies = 0
        elif between and self.random.random() < self.doubling:
            copies = 2
        for _ in range(copies):
            jitter_s = self.random.random() * self.jitter_s if between else 0.0
            at = self.now + DELAY_S + jitter_s
            heapq.heappush(self._flying, (at, next(self._order), source, destination, data))

    def said(self, kind: type[ClientEvent], endpoint: Endpoint = CLIENT) -> list[ClientEvent]:
        return [event for _, event in self.events[endpoint] if isinstance(event, kind)]
