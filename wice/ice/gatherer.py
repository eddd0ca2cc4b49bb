"""Gathers an interface's candidates, without I/O (RFC 8445 section 5.1.1, DESIGN D12).

Port and mappings belong to the interface: every peer's agent shares them, and they are there
before any peer is known. Every server is asked at once and nothing waits for one; what is known
at a moment are the candidates of that moment.
"""

import ipaddress
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint, Path
from wice.errors import RemoteProtocolError
from wice.ice.candidate import (
    LOCAL_PREFERENCE_MAX,
    Candidate,
    host_candidate,
    is_usable,
    server_reflexive_candidate,
)
from wice.ice.events import Mapping, Transmit
from wice.stun import (
    TRANSACTION_ID_SIZE_BYTES,
    Attribute,
    Class,
    Message,
    Method,
    encode,
    unpack_xor_address,
)

HOST_ADDRESSES_MAX: Final = 16
"""Local addresses that become host candidates."""

STUN_SERVERS_MAX: Final = 16
"""Servers that are asked."""

REFLEXIVE_PER_ADDRESS_MAX: Final = 2
"""Server-reflexive candidates of one base at one address. A NAT that maps per destination shows
each server another port; a peer sees none of them, and each costs it checks from all its bases."""

RTO_S: Final = 0.25
"""Wait before the first retransmission; it doubles. RFC 8489 section 6.2.1 says 0.5 s, which is
felt where the first datagram is lost."""

TRANSMISSIONS_MAX: Final = 5
"""Sendings of one request: a server is given up, for now, after 7.75 s."""

REFRESH_S: Final = 25.0
"""Between two requests to a server: a NAT may forget a mapping after 30 s (RFC 4787 REQ-5 asks
for two minutes, many keep less)."""

MAPPING_AGE_MAX_S: Final = 120.0
"""How long a mapping is believed in that its server no longer confirms."""


@dataclass(slots=True, eq=False)
class _Query:
    """What goes on with one server. transaction_id: empty while no answer is awaited."""

    server: Endpoint
    transaction_id: bytes = b""
    sent: int = 0
    next_at_s: float = 0.0
    rto_s: float = 0.0
    is_settled: bool = False
    mapping: Mapping | None = None
    mapped_since_s: float = 0.0
    confirmed_at_s: float = 0.0


class Gatherer:
    """Host and server-reflexive candidates of one UDP port."""

    def __init__(
        self,
        port: int,
        random_bytes: Callable[[int], bytes],
        *,
        allow_loopback: bool = False,
    ) -> None:
        """allow_loopback: use loopback addresses beside others, not only for want of others."""
        self._port = port
        self._random_bytes = random_bytes
        self._allow_loopback = allow_loopback
        self._addresses: list[str] = []
        self._queries: dict[Endpoint, _Query] = {}
        self._transmits: deque[Transmit] = deque()

    def set_local_addresses(self, addresses: Sequence[str], now: float) -> None:
        """Have these addresses of the host; where they changed, every server is asked anew."""
        chosen = choose_addresses(addresses, allow_loopback=self._allow_loopback)
        if chosen == self._addresses:
            return
        self._addresses = chosen
        for query in self._queries.values():
            if query.mapping is not None and query.mapping.base.host not in chosen:
                query.mapping = None
            self._ask(query, now)

    def set_stun_servers(self, servers: Sequence[Endpoint], now: float) -> None:
        """Ask these servers and no others; what is known from those that stay, stays."""
        known = self._queries
        self._queries = {}
        for server in dict.fromkeys(servers):
            if len(self._queries) == STUN_SERVERS_MAX:
                break
            query = known.get(server)
            if query is None:
                query = _Query(server)
                self._ask(query, now)
            self._queries[server] = query

    def query_again(self, now: float) -> None:
        """Ask every server that is not being asked: the NAT may have changed its mind."""
        for query in self._queries.values():
            if not query.transaction_id:
                self._ask(query, now)

    def awaits(self, transaction_id: bytes) -> bool:
        """Whether a response belongs here."""
        return any(query.transaction_id == transaction_id for query in self._queries.values())

    def receive_message(
        self, message: Message, source: Endpoint, destination: str | None, now: float
    ) -> Mapping | None:
        """Take a response and give what it says; raise RemoteProtocolError for one that is
        dropped.
        """
        query = self._queries.get(source)
        if query is None or message.transaction_id != query.transaction_id:
            raise RemoteProtocolError("an answer of a STUN server that was not asked")
        if message.message_class is Class.ERROR:
            self._settle(query, now)
            return None
        value = message.require(Attribute.XOR_MAPPED_ADDRESS)
        mapped = unpack_xor_address(value, message.transaction_id)
        base = destination or self._default_base(source)
        if base not in self._addresses:
            raise RemoteProtocolError("an answer of a STUN server to an address not ours")
        is_same_family = mapped.is_ipv6 == source.is_ipv6
        if (
            not is_same_family
            or not is_usable(ipaddress.ip_address(mapped.host))
            or not mapped.port
        ):
            raise RemoteProtocolError("a STUN server that sees us at no address")
        mapping = Mapping(Endpoint(base, self._port), source, mapped)
        if mapping != query.mapping:
            query.mapping, query.mapped_since_s = mapping, now
        query.confirmed_at_s = now
        self._settle(query, now)
        return mapping

    def handle_timeout(self, now: float) -> None:
        for query in self._queries.values():
            if now < query.next_at_s:
                continue
            if not query.transaction_id:
                self._ask(query, now)
            elif query.sent >= TRANSMISSIONS_MAX:
                self._settle(query, now)
                if now - query.confirmed_at_s > MAPPING_AGE_MAX_S:
                    query.mapping = None
            else:
                query.rto_s *= 2
                self._send(query, now)

    def deadline(self) -> float | None:
        return min((query.next_at_s for query in self._queries.values()), default=None)

    def poll_transmit(self) -> Transmit | None:
        return self._transmits.popleft() if self._transmits else None

    @property
    def is_complete(self) -> bool:
        """Every server answered, or was given up once."""
        return all(query.is_settled for query in self._queries.values())

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """What each server saw last: two of one base tell how the NAT maps (RFC 5780)."""
        return tuple(q.mapping for q in self._queries.values() if q.mapping is not None)

    def candidates(self) -> tuple[Candidate, ...]:
        """Host candidates, then server-reflexive ones; each address once.

        Where the NAT maps per destination, no server sees a port that a person forwards to us:
        our own port, at the address that servers see, is a candidate then, too.
        """
        preferences = {
            address: LOCAL_PREFERENCE_MAX - index for index, address in enumerate(self._addresses)
        }
        found = [
            host_candidate(Endpoint(address, self._port), preference)
            for address, preference in preferences.items()
        ]
        reflexive = self._reflexive()
        for mapping in reflexive:
            found.append(_reflexive_candidate(mapping, preferences))
        seen = {(mapping.base, mapping.mapped) for mapping in reflexive}
        for base, server, mapped in reflexive:
            forwarded = Endpoint(mapped.host, base.port)
            sibling_ports = {m.port for b, m in seen if b == base and m.host == mapped.host}
            if len(sibling_ports) > 1 and (base, forwarded) not in seen:
                seen.add((base, forwarded))
                mapping = Mapping(base, server, forwarded)
                found.append(_reflexive_candidate(mapping, preferences))
        return tuple(found)

    def _reflexive(self) -> list[Mapping]:
        """Each mapping once, and of those at one address what most servers see: a few that lie, or
        answer no more, displace none. Then the oldest: they stay candidates when slower servers
        answer.
        """
        by_age = sorted(self._queries.values(), key=lambda query: query.mapped_since_s)
        mappings = [query.mapping for query in by_age if query.mapping is not None]
        seen_by = Counter((mapping.base, mapping.mapped) for mapping in mappings)
        mappings.sort(key=lambda mapping: -seen_by[mapping.base, mapping.mapped])
        ports: defaultdict[tuple[Endpoint, str], dict[int, Mapping]] = defaultdict(dict)
        for mapping in mappings:
            if mapping.mapped == mapping.base:
                continue
            at_address = ports[mapping.base, mapping.mapped.host]
            if len(at_address) < REFLEXIVE_PER_ADDRESS_MAX:
                at_address.setdefault(mapping.mapped.port, mapping)
        return [mapping for at_address in ports.values() for mapping in at_address.values()]

    def _ask(self, query: _Query, now: float) -> None:
        """Begin a transaction. The kernel chooses the source: it knows the route to the server."""
        if self._default_base(query.server) is None:
            self._settle(query, now)
            return
        query.transaction_id = self._random_bytes(TRANSACTION_ID_SIZE_BYTES)
        query.sent, query.rto_s = 0, RTO_S
        self._send(query, now)

    def _send(self, query: _Query, now: float) -> None:
        query.sent += 1
        query.next_at_s = now + query.rto_s
        data = encode(Method.BINDING, Class.REQUEST, query.transaction_id)
        self._transmits.append(Transmit(data, Path(query.server)))

    def _settle(self, query: _Query, now: float) -> None:
        query.transaction_id = b""
        query.is_settled = True
        query.next_at_s = now + REFRESH_S

    def _default_base(self, server: Endpoint) -> str | None:
        return next((a for a in self._addresses if (":" in a) == server.is_ipv6), None)


def _reflexive_candidate(mapping: Mapping, preferences: dict[str, int]) -> Candidate:
    base, server, mapped = mapping
    return server_reflexive_candidate(mapped, base, server, preferences[base.host])


def choose_addresses(addresses: Sequence[str], *, allow_loopback: bool = False) -> list[str]:
    """Which of a host's addresses become candidates, best first.

    IPv6 before IPv4 (RFC 8421); loopback and link-local IPv4 only for want of others; never
    link-local IPv6, whose zone means nothing to the remote, and what no one can send to.
    """
    usable = [address for text in addresses if is_usable(address := ipaddress.ip_address(text))]
    usable.sort(key=lambda address: -address.version)
    plain = [a for a in usable if not a.is_link_local and not a.is_loopback]
    if allow_loopback:
        plain += [a for a in usable if a.is_loopback]
    chosen = plain or [a for a in usable if a.is_link_local] or usable
    return list(dict.fromkeys(str(address) for address in chosen))[:HOST_ADDRESSES_MAX]
