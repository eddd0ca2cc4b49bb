"""Finds out what the NAT in front of this host does (RFC 5780 section 4), without I/O.

All tests run at once, each over sockets that no other test spoils: what one socket has sent to
decides what a NAT lets in to it. An answer that does not come is known by the time it took, so the
whole takes as long as the slowest test.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun.attributes import Attribute, unpack_address, unpack_error_code, unpack_xor_address
from wice.stun.behaviour import FilteringBehaviour, MappingBehaviour, compare_mappings
from wice.stun.message import TRANSACTION_ID_SIZE_BYTES, Class, Message, Method, encode, parse
from wice.stun.server import Change

SERVERS_MAX: Final = 16
FILTERING_SERVERS_MAX: Final = 8
"""Servers that are asked to answer from elsewhere; each has a socket of its own."""

HAIRPIN_SERVERS_MAX: Final = 4
"""Servers that tell the two ends of the hairpin where they are mapped."""

OTHER_ADDRESSES_MAX: Final = 4
"""Alternate addresses of servers that are asked, too."""

RTO_S: Final = 0.25
TRANSMISSIONS_MAX: Final = 4
LAST_WAIT_S: Final = 0.75
"""After the last transmission: a request is given up after 2.5 s."""

MAPPING_SOCKET: Final = 0
HAIRPIN_SOCKETS: Final = (1, 2)
_FIRST_FILTERING_SOCKET: Final = 3


def sockets_needed(server_count: int) -> int:
    """How many UDP sockets a probe of so many servers asks for."""
    return _FIRST_FILTERING_SOCKET + min(server_count, FILTERING_SERVERS_MAX)


class ProbeTransmit(NamedTuple):
    """Send ``data`` from the socket of that number."""

    socket: int
    data: bytes
    remote: Endpoint


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """What one server said. mapped: None where it said nothing, and ``why`` then tells. is_asked:
    whether this host could send to it.
    """

    server: Endpoint
    mapped: Endpoint | None
    rtt_s: float | None
    why: str
    is_asked: bool = True


@dataclass(frozen=True, slots=True)
class NatReport:
    """What is known of the NAT, or firewall, for one IP version.

    mapped: our public endpoints as servers saw them, each once. hairpinning: whether the NAT turns
    round what goes to its own public address; None where that is not known. preserves_port: whether
    each public port was the local one; None where no server answered. not_learned: what could not
    be found out, and why.
    """

    servers: tuple[ServerAnswer, ...]
    mapped: tuple[Endpoint, ...]
    mapping: MappingBehaviour
    filtering: FilteringBehaviour
    hairpinning: bool | None
    preserves_port: bool | None
    not_learned: tuple[str, ...]

    @property
    def is_reached(self) -> bool:
        """Whether any server answered."""
        return bool(self.mapped)


class _Kind(Enum):
    MAPPING = auto()
    FILTERING = auto()
    HAIRPIN_MAPPING = auto()
    HAIRPIN = auto()


@dataclass(slots=True, eq=False)
class _Query:
    """A request and what came of it. origin: who answered, None while nobody has."""

    kind: _Kind
    socket: int
    server: Endpoint
    change: Change
    transaction_id: bytes
    sent: int = 0
    sent_at_s: float = 0.0
    next_at_s: float = 0.0
    is_settled: bool = False
    origin: Endpoint | None = None
    mapped: Endpoint | None = None
    error_code: int = 0
    rtt_s: float | None = None
    says_origin: bool = False
    send_error: str = ""
    other: Endpoint | None = None


class NatProbe:
    """The tests of one IP version. Done when ``deadline`` is None."""

    def __init__(
        self,
        servers: Sequence[Endpoint],
        local_endpoints: Sequence[Collection[Endpoint]],
        random_bytes: Callable[[int], bytes],
        now: float,
    ) -> None:
        """local_endpoints: for each of ``sockets_needed`` sockets, every address of the host with
        the port that it is bound to. Of ``servers``, as many as ``SERVERS_MAX`` are asked.
        """
        self._servers = tuple(dict.fromkeys(servers))[:SERVERS_MAX]
        self._local_endpoints = local_endpoints
        self._random_bytes = random_bytes
        self._queries: dict[bytes, _Query] = {}
        self._transmits: deque[ProbeTransmit] = deque()
        self._others: list[Endpoint] = []
        self._is_hairpin_tried = False
        self._is_hairpinned = False
        for server in self._servers:
            self._ask(_Kind.MAPPING, MAPPING_SOCKET, server, now)
        for socket in HAIRPIN_SOCKETS:
            for server in self._servers[:HAIRPIN_SERVERS_MAX]:
                self._ask(_Kind.HAIRPIN_MAPPING, socket, server, now)
        for index, server in enumerate(self._servers[:FILTERING_SERVERS_MAX]):
            for change in (Change.NOTHING, Change.PORT, Change.ADDRESS | Change.PORT):
                socket = _FIRST_FILTERING_SOCKET + index
                self._ask(_Kind.FILTERING, socket, server, now, change)

    def receive(self, socket: int, data: bytes, source: Endpoint, now: float) -> None:
        """Take a datagram; raise RemoteProtocolError for one that is dropped."""
        message = parse(data)
        query = self._queries.get(message.transaction_id)
        if query is None or message.method is not Method.BINDING:
            raise RemoteProtocolError("a STUN message that belongs to no test")
        if message.message_class is Class.REQUEST:
            self._receive_hairpin(query, socket)
        elif query.socket != socket or query.is_settled or query.kind is _Kind.HAIRPIN:
            raise RemoteProtocolError("a STUN response that nobody awaits")
        else:
            self._receive_response(query, message, source, now)

    def send_failed(self, remote: Endpoint, why: str) -> None:
        """The host could not send to ``remote``: said of the server where nothing else is."""
        for query in self._queries.values():
            if query.server == remote:
                query.send_error = why

    def handle_timeout(self, now: float) -> None:
        for query in list(self._queries.values()):
            if query.is_settled or now < query.next_at_s:
                continue
            if query.sent >= TRANSMISSIONS_MAX:
                query.is_settled = True
            else:
                self._send(query, now)

    def deadline(self) -> float | None:
        waiting = (q.next_at_s for q in self._queries.values() if not q.is_settled)
        return min(waiting, default=None)

    def poll_transmit(self) -> ProbeTransmit | None:
        return self._transmits.popleft() if self._transmits else None

    def report(self) -> NatReport:
        """What is known now."""
        not_learned: list[str] = []
        seen = [(q.server, q.mapped) for q in self._of_kind(_Kind.MAPPING) if q.mapped is not None]
        mapping = self._mapping(seen, not_learned)
        filtering = self._filtering(not_learned) if seen else FilteringBehaviour.UNKNOWN
        return NatReport(
            servers=tuple(_answer(q) for q in self._asked()),
            mapped=tuple(dict.fromkeys(mapped for _, mapped in seen)),
            mapping=mapping,
            filtering=filtering,
            hairpinning=self._hairpinning(mapping, not_learned) if seen else None,
            preserves_port=self._preserves_port(),
            not_learned=tuple(not_learned),
        )

    def _ask(
        self,
        kind: _Kind,
        socket: int,
        server: Endpoint,
        now: float,
        change: Change = Change.NOTHING,
    ) -> None:
        transaction_id = self._random_bytes(TRANSACTION_ID_SIZE_BYTES)
        query = _Query(kind, socket, server, change, transaction_id)
        self._queries[transaction_id] = query
        self._send(query, now)

    def _send(self, query: _Query, now: float) -> None:
        attributes = []
        if query.change is not Change.NOTHING:
            attributes.append((int(Attribute.CHANGE_REQUEST), query.change.to_bytes(4, "big")))
        query.sent_at_s = now
        is_last = query.sent == TRANSMISSIONS_MAX - 1
        query.next_at_s = now + (LAST_WAIT_S if is_last else RTO_S * 2**query.sent)
        query.sent += 1
        data = encode(Method.BINDING, Class.REQUEST, query.transaction_id, attributes)
        self._transmits.append(ProbeTransmit(query.socket, data, query.server))

    def _receive_hairpin(self, query: _Query, socket: int) -> None:
        if query.kind is not _Kind.HAIRPIN or socket == query.socket:
            raise RemoteProtocolError("a STUN request that is not ours turned round")
        self._is_hairpinned = True
        for other in self._of_kind(_Kind.HAIRPIN):
            other.is_settled = True

    def _receive_response(
        self, query: _Query, message: Message, source: Endpoint, now: float
    ) -> None:
        if source != query.server and not query.change:
            raise RemoteProtocolError("a STUN response from somebody else than was asked")
        if message.message_class is Class.ERROR:
            query.error_code = unpack_error_code(message.require(Attribute.ERROR_CODE))
        else:
            value = message.require(Attribute.XOR_MAPPED_ADDRESS)
            query.mapped = unpack_xor_address(value, message.transaction_id)
            query.says_origin = Attribute.RESPONSE_ORIGIN in message.attributes
            query.other = _other_address(message, query.server)
        query.origin = source
        query.is_settled = True
        if query.sent == 1:
            query.rtt_s = now - query.sent_at_s
        if query.kind is _Kind.MAPPING and query.other is not None:
            self._ask_other(query.server, query.other, now)
        if query.kind is _Kind.HAIRPIN_MAPPING:
            self._try_hairpin(now)

    def _ask_other(self, server: Endpoint, other: Endpoint, now: float) -> None:
        """Tests II and III of RFC 5780 section 4.3."""
        known = [query.server for query in self._of_kind(_Kind.MAPPING)]
        for endpoint in (Endpoint(other.host, server.port), other):
            if endpoint not in known and len(self._others) < OTHER_ADDRESSES_MAX:
                self._others.append(endpoint)
                self._ask(_Kind.MAPPING, MAPPING_SOCKET, endpoint, now)

    def _try_hairpin(self, now: float) -> None:
        """Each end sends to where the other is mapped, so that a filter lets them in."""
        ends = [self._mapped_of(socket) for socket in HAIRPIN_SOCKETS]
        if self._is_hairpin_tried or ends[0] is None or ends[1] is None:
            return
        self._is_hairpin_tried = True
        if ends[0] in self._local_endpoints[HAIRPIN_SOCKETS[0]]:
            return
        self._ask(_Kind.HAIRPIN, HAIRPIN_SOCKETS[0], ends[1], now)
        self._ask(_Kind.HAIRPIN, HAIRPIN_SOCKETS[1], ends[0], now)

    def _mapped_of(self, socket: int) -> Endpoint | None:
        of_socket = (q for q in self._of_kind(_Kind.HAIRPIN_MAPPING) if q.socket == socket)
        return next((q.mapped for q in of_socket if q.mapped is not None), None)

    def _of_kind(self, kind: _Kind) -> list[_Query]:
        return [query for query in self._queries.values() if query.kind is kind]

    def _asked(self) -> Iterator[_Query]:
        """Queries of the servers that were named."""
        return (q for q in self._of_kind(_Kind.MAPPING) if q.server not in self._others)

    def _mapping(
        self, seen: list[tuple[Endpoint, Endpoint]], not_learned: list[str]
    ) -> MappingBehaviour:
        if not seen:
            return MappingBehaviour.UNREACHED
        if all(mapped in self._local_endpoints[MAPPING_SOCKET] for _, mapped in seen):
            return MappingBehaviour.NO_NAT
        mapping = compare_mappings(seen)
        if mapping is MappingBehaviour.UNKNOWN:
            not_learned.append("mapping: only one STUN server answered, two are compared")
        elif mapping is MappingBehaviour.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT:
            not_learned.append("mapping by address: STUN servers on one address only answered")
        return mapping

    def _filtering(self, not_learned: list[str]) -> FilteringBehaviour:
        tests = self._filtering_tests()
        if any(test.from_other_address is _Outcome.LET_IN for test in tests):
            return FilteringBehaviour.ENDPOINT_INDEPENDENT
        if any(test.from_other_port is _Outcome.LET_IN for test in tests):
            if any(test.from_other_address is _Outcome.KEPT_OUT for test in tests):
                return FilteringBehaviour.ADDRESS_DEPENDENT
            not_learned.append(
                "filtering by address: no STUN server that answered has another address"
            )
            return FilteringBehaviour.ENDPOINT_INDEPENDENT_OR_ADDRESS_DEPENDENT
        if any(test.from_other_port is _Outcome.KEPT_OUT for test in tests):
            return FilteringBehaviour.ADDRESS_AND_PORT_DEPENDENT
        not_learned.append(
            "filtering: no STUN server that answered answers from elsewhere, too (RFC 5780)"
        )
        return FilteringBehaviour.UNKNOWN

    def _filtering_tests(self) -> list["_FilteringTest"]:
        by_socket: dict[int, dict[Change, _Query]] = {}
        for query in self._of_kind(_Kind.FILTERING):
            by_socket.setdefault(query.socket, {})[query.change] = query
        answering = {q.server.host for q in self._of_kind(_Kind.MAPPING) if q.mapped is not None}
        tests = []
        for queries in by_socket.values():
            plain, port = queries[Change.NOTHING], queries[Change.PORT]
            both = queries[Change.ADDRESS | Change.PORT]
            has_other = plain.other is not None and plain.other.host in answering
            tests.append(
                _FilteringTest(
                    from_other_port=_outcome(port, can_answer=plain.says_origin or has_other),
                    from_other_address=_outcome(both, can_answer=has_other),
                )
            )
        return tests

    def _hairpinning(self, mapping: MappingBehaviour, not_learned: list[str]) -> bool | None:
        if mapping is MappingBehaviour.NO_NAT:
            return None
        if not self._is_hairpin_tried:
            not_learned.append("hairpinning: no STUN server told both ends where they are mapped")
            return None
        return self._is_hairpinned

    def _preserves_port(self) -> bool | None:
        kept = [
            any(query.mapped.port == local.port for local in self._local_endpoints[query.socket])
            for query in self._queries.values()
            if query.mapped is not None
        ]
        return all(kept) if kept else None


class _Outcome(Enum):
    """Of a test whether an answer from elsewhere is let in."""

    LET_IN = auto()
    KEPT_OUT = auto()
    NOT_TRIED = auto()


class _FilteringTest(NamedTuple):
    """Tests II and III of RFC 5780 section 4.4 with one server."""

    from_other_port: _Outcome
    from_other_address: _Outcome


def _outcome(query: _Query, *, can_answer: bool) -> _Outcome:
    """can_answer: silence means that the answer was kept out, not that none was sent."""
    origin, server = query.origin, query.server
    if origin is None:
        return _Outcome.KEPT_OUT if can_answer else _Outcome.NOT_TRIED
    is_from_other_host = origin.host != server.host
    is_as_asked = is_from_other_host == bool(query.change & Change.ADDRESS)
    if query.error_code or origin == server or not is_as_asked:
        return _Outcome.NOT_TRIED
    return _Outcome.LET_IN


def _other_address(message: Message, server: Endpoint) -> Endpoint | None:
    """OTHER-ADDRESS, where it is another address of the server's family."""
    value = message.attributes.get(Attribute.OTHER_ADDRESS)
    if value is None:
        return None
    other = unpack_address(value)
    is_other = other.is_ipv6 == server.is_ipv6 and other.host != server.host and other.port
    return other if is_other else None


def _answer(query: _Query) -> ServerAnswer:
    why = ""
    if query.mapped is None:
        why = query.send_error or "no answer"
        if query.error_code:
            why = f"error {query.error_code}"
    is_asked = query.mapped is not None or not query.send_error
    return ServerAnswer(query.server, query.mapped, query.rtt_s, why, is_asked)
