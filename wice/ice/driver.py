"""Runs gathering and every peer's agent of one interface over its port (trio, DESIGN D11, D12)."""

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from wice.datagram import Datagram, DatagramPort, Endpoint
from wice.errors import RemoteProtocolError
from wice.events import Dropped, EventSink
from wice.ice.agent import Agent
from wice.ice.candidate import Candidate, format_candidate
from wice.ice.events import AgentEvent, Mapping, Transmit
from wice.ice.gatherer import Gatherer
from wice.ice.mapping import MappingBehaviour, mapping_behaviour
from wice.ice.messages import request_ufrag
from wice.ice.policy import CandidatePolicy, told_candidates
from wice.stun import Class, Method, parse

ROUTES_MAX: Final = 8_192
"""Transactions whose answers find their agent; the oldest are forgotten first."""

_BINDING_REQUEST: Final = b"\x00\x01"


@dataclass(slots=True, eq=False)
class _Registration:
    agent: Agent
    on_event: Callable[[AgentEvent], None]
    deadline: float | None = None
    is_draining: bool = False


class IceDriver:
    """Owns what ICE receives on ``port``, the candidates of the interface, and the timers.

    Made, it knows the host candidates; ``run`` it in a nursery. ``on_candidates_changed`` is
    called after every change of ``candidates`` or ``candidates_complete``, when the agents know
    it already.
    """

    def __init__(
        self,
        port: DatagramPort,
        local_addresses: Callable[[], Sequence[str]],
        random_bytes: Callable[[int], bytes],
        events: EventSink,
        *,
        allow_loopback: bool = False,
        policy: CandidatePolicy = CandidatePolicy.ALL,
    ) -> None:
        """local_addresses: the host's addresses now, without those of tunnels. policy: what peers
        are told of them.
        """
        self.on_candidates_changed: Callable[[], None] = lambda: None
        self.on_mapped: Callable[[Mapping], None] = lambda _: None
        """Is told what each answer of a STUN server says, be it news or not."""
        self._port = port
        self._local_addresses = local_addresses
        self._events = events
        self._gatherer = Gatherer(port.port, random_bytes, allow_loopback=allow_loopback)
        self._policy = policy
        self._relayed: tuple[Candidate, ...] = ()
        self._candidates: tuple[Candidate, ...] = ()
        self._said: tuple[object, ...] = ()
        self._by_ufrag: dict[str, _Registration] = {}
        self._routes: OrderedDict[bytes, _Registration] = OrderedDict()
        self._deadlines: list[tuple[float, int, _Registration]] = []
        self._order = itertools.count()
        self._moved = trio.Event()
        self.refresh()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The interface's candidates so far, best first of each type."""
        return self._candidates

    @property
    def told_candidates(self) -> tuple[Candidate, ...]:
        """Those of ``candidates`` that a peer is told, as it is told them."""
        return told_candidates(self._candidates, self._policy)

    @property
    def candidates_complete(self) -> bool:
        """Every STUN server answered, or was given up once."""
        return self._gatherer.is_complete

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """What each STUN server sees of this port."""
        return self._gatherer.mappings

    @property
    def mapping_behaviour(self) -> MappingBehaviour:
        """How the NAT in front of this port maps, as far as the servers' answers tell."""
        return mapping_behaviour(self.mappings, is_complete=self.candidates_complete)

    async def run(self) -> None:
        """Receive and keep time until cancelled or the port is closed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            while True:
                try:
                    datagram = await self._port.receive()
                except trio.ClosedResourceError:
                    break
                self._receive(datagram)
            nursery.cancel_scope.cancel()

    def register(self, agent: Agent, on_event: Callable[[AgentEvent], None]) -> None:
        """Give ``agent`` the candidates and what comes in for its ufrag, until unregistered."""
        assert agent.local.ufrag not in self._by_ufrag
        self._by_ufrag[agent.local.ufrag] = _Registration(agent, on_event)
        agent.set_local_candidates(self._candidates, trio.current_time(), self._policy)
        self.wake(agent)

    def unregister(self, agent: Agent) -> None:
        """Forget ``agent``; one that is unknown is ignored."""
        registration = self._by_ufrag.get(agent.local.ufrag)
        if registration is not None and registration.agent is agent:
            del self._by_ufrag[agent.local.ufrag]

    def wake(self, agent: Agent) -> None:
        """Send what ``agent`` has to send after it was changed from outside, hand out its events.

        An agent that is not registered is ignored.
        """
        registration = self._by_ufrag.get(agent.local.ufrag)
        if registration is not None and registration.agent is agent:
            self._drain(registration)

    def refresh(self) -> None:
        """Look at the host's addresses again: the network changed."""
        self._gatherer.set_local_addresses(self._local_addresses(), trio.current_time())
        self._drain_gatherer()

    def network_changed(self) -> None:
        """``refresh``, and have every path checked at once, also where no address is another."""
        self.refresh()
        now = trio.current_time()
        for registration in list(self._by_ufrag.values()):
            registration.agent.network_changed(now)
            self._drain(registration)

    def query_mappings(self) -> None:
        """Ask the STUN servers again: a path stopped answering, perhaps since the NAT moved us."""
        self._gatherer.query_again(trio.current_time())
        self._drain_gatherer()

    def set_stun_servers(self, servers: Sequence[Endpoint]) -> None:
        """Ask these servers and no others from now on."""
        self._gatherer.set_stun_servers(servers, trio.current_time())
        self._drain_gatherer()

    def set_relayed_candidates(self, candidates: Sequence[Candidate]) -> None:
        """Have these allocations (``relayed_candidate``). The port sends what has their ``base_of``
        as source through them, and hands up what came through them with it as destination.
        """
        self._relayed = tuple(candidates)
        self._drain_gatherer()

    def _receive(self, datagram: Datagram) -> None:
        try:
            self._route(datagram)
        except RemoteProtocolError as error:
            self._events.emit(Dropped(room="ice", reason=str(error)))

    def _route(self, datagram: Datagram) -> None:
        """Requests by ufrag, answers by transaction: the owner then looks at the addresses."""
        message = parse(datagram.data)
        if message.method is not Method.BINDING:
            raise RemoteProtocolError(f"a {message.method.name} on an ICE port")
        now = trio.current_time()
        _, source, destination = datagram
        if message.message_class is Class.INDICATION:
            return  # RFC 8445 section 11: a keepalive, which asks for nothing.
        if message.message_class is Class.REQUEST:
            registration = self._by_ufrag.get(request_ufrag(message))
            if registration is None:
                raise RemoteProtocolError("a check for no ufrag of ours")
        elif self._gatherer.awaits(message.transaction_id):
            mapping = self._gatherer.receive_message(message, source, destination, now)
            self._drain_gatherer()
            if mapping is not None:
                self.on_mapped(mapping)
            return
        else:
            registration = self._routes.get(message.transaction_id)
            if registration is None or not self._is_registered(registration):
                raise RemoteProtocolError("an answer to no request of ours")
        try:
            registration.agent.receive_message(message, source, destination, now)
        finally:
            self._drain(registration)

    def _drain(self, registration: _Registration) -> None:
        """One change, one drain. A wake from inside a listener is served by the loop around it."""
        if registration.is_draining:
            return
        registration.is_draining = True
        try:
            while self._is_registered(registration):
                while (transmit := registration.agent.poll_transmit()) is not None:
                    self._send(transmit, registration)
                event = registration.agent.poll_event()
                if event is None:
                    break
                registration.on_event(event)
        finally:
            registration.is_draining = False
        self._schedule(registration)

    def _send(self, transmit: Transmit, registration: _Registration) -> None:
        if transmit.data.startswith(_BINDING_REQUEST):
            self._routes[transmit.data[8:20]] = registration
            if len(self._routes) > ROUTES_MAX:
                self._routes.popitem(last=False)
        self._port.send(transmit.data, transmit.path)

    def _drain_gatherer(self) -> None:
        while (transmit := self._gatherer.poll_transmit()) is not None:
            self._port.send(transmit.data, transmit.path)
        self._moved.set()
        candidates = (*self._gatherer.candidates(), *self._relayed)
        said = (tuple(map(format_candidate, candidates)), self._gatherer.is_complete)
        if said == self._said:
            return
        self._said = said
        self._candidates = candidates
        now = trio.current_time()
        for registration in list(self._by_ufrag.values()):
            registration.agent.set_local_candidates(candidates, now, self._policy)
            self._drain(registration)
        self.on_candidates_changed()

    def _is_registered(self, registration: _Registration) -> bool:
        return self._by_ufrag.get(registration.agent.local.ufrag) is registration

    def _schedule(self, registration: _Registration) -> None:
        deadline = registration.agent.deadline()
        if deadline == registration.deadline:
            return
        registration.deadline = deadline
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, next(self._order), registration))
            if self._deadlines[0][2] is registration:
                self._moved.set()

    async def _keep_time(self) -> None:
        while True:
            self._moved = trio.Event()
            with trio.move_on_at(self._next_deadline()):
                await self._moved.wait()
            now = trio.current_time()
            gathering = self._gatherer.deadline()
            if gathering is not None and now >= gathering:
                self._gatherer.handle_timeout(now)
                self._drain_gatherer()
            for registration in self._pop_due(now):
                registration.agent.handle_timeout(now)
                self._drain(registration)

    def _pop_due(self, now: float) -> list[_Registration]:
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, registration = heapq.heappop(self._deadlines)
            if registration.deadline == deadline and self._is_registered(registration):
                registration.deadline = None
                due.append(registration)
        return due

    def _next_deadline(self) -> float:
        """The earliest deadline of anyone; those that were overtaken are dropped on the way."""
        while self._deadlines:
            deadline, _, registration = self._deadlines[0]
            if registration.deadline == deadline and self._is_registered(registration):
                break
            heapq.heappop(self._deadlines)
        agents = self._deadlines[0][0] if self._deadlines else float("inf")
        gathering = self._gatherer.deadline()
        return agents if gathering is None else min(agents, gathering)
