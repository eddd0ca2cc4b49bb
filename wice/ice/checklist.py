"""The check list of one agent: which pairs there are, and which is next (RFC 8445 section 6.1.2).

Sockets are bound to the wildcard, so a server-reflexive local candidate and its base make one and
the same pair; pruning (section 6.1.2.4) is not to form the second.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate, base_of, endpoint_of, local_preference_of
from wice.ice.pair import Base, Pair, Remote, RemoteCandidate, State

PAIRS_MAX: Final = 100
"""Pairs in the list (RFC 8445 section 6.1.2.5); the worst give way."""

REMOTE_CANDIDATES_MAX: Final = 100
"""Remote candidates, peer-reflexive ones included."""


class CheckList:
    """Bases, remote candidates, and their pairs in the order of checking."""

    def __init__(self, controlling: bool) -> None:
        self._controlling = controlling
        self._bases: dict[str, Base] = {}
        self._local_types: dict[tuple[str, Endpoint], str] = {}
        self._candidates: dict[Endpoint, RemoteCandidate] = {}
        self._pairs: dict[tuple[str, Endpoint], Pair] = {}
        self._order: list[Pair] | None = None
        self._remote: Remote | None = None

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, pair: Pair) -> bool:
        return self._pairs.get((pair.base.address, pair.candidate.endpoint)) is pair

    @property
    def has_bases(self) -> bool:
        return bool(self._bases)

    def is_base(self, address: str) -> bool:
        return address in self._bases

    def default_base(self, remote: Endpoint) -> str | None:
        """The best base to reach ``remote`` from, for a port that cannot say where it received."""
        fitting = [base for base in self._bases.values() if _can_reach(base.address, remote)]
        return max(fitting, key=lambda base: base.priority).address if fitting else None

    def local_type(self, base: str, mapped: Endpoint) -> str:
        """The type of the local candidate that the remote sees as ``mapped``."""
        return self._local_types.get((base, mapped), "prflx")

    def set_controlling(self, controlling: bool) -> None:
        self._controlling = controlling
        self._order = None

    def set_remote(self, remote: Remote) -> None:
        """Pair with ``remote`` from now on; what belonged to another one goes."""
        if self._remote is not None:
            self._candidates.clear()
            self._pairs.clear()
        self._remote = remote
        self._form()

    def set_local(self, candidates: Sequence[Candidate]) -> None:
        """Have exactly these local candidates; pairs of bases that are gone go."""
        bases: dict[str, Base] = {}
        self._local_types = {}
        for candidate in candidates:
            # A relayed candidate's base is an allocation, not a local address: its own way out
            # of here comes with TURN.
            if candidate.type == "relay":
                continue
            address = base_of(candidate)
            self._local_types[address, endpoint_of(candidate)] = candidate.type
            base = bases.setdefault(address, self._bases.get(address) or Base(address, 0, 0))
            if candidate.type == "host" or not base.priority:
                base.priority = candidate.priority
                base.local_preference = local_preference_of(candidate.priority)
        self._bases = bases
        self._pairs = {key: pair for key, pair in self._pairs.items() if key[0] in bases}
        self._form()

    def add_remote(self, candidate: RemoteCandidate) -> bool:
        """Add a signalled candidate, or let it correct a peer-reflexive one.

        Give whether it was new; raise RemoteProtocolError when there are too many.
        """
        known = self._candidates.get(candidate.endpoint)
        if known is not None:
            if known.type == "prflx" or candidate.priority > known.priority:
                known.type, known.priority = candidate.type, candidate.priority
                self._order = None
            return False
        self._make_room()
        self._candidates[candidate.endpoint] = candidate
        self._form()
        return True

    def learn(self, base: str, source: Endpoint, priority: int) -> Pair | None:
        """The pair on which a check came in; an unknown source is a peer-reflexive candidate
        (RFC 8445 section 7.3.1.3). None when there is no room for it.
        """
        if source not in self._candidates:
            try:
                self.add_remote(RemoteCandidate(source, "prflx", priority))
            except RemoteProtocolError:
                return None
        pair = self._pairs.get((base, source))
        if pair is None:
            assert self._remote is not None
            candidate = self._candidates[source]
            pair = self._pairs[base, source] = Pair(self._bases[base], candidate, self._remote)
            self._trim(keep=pair)
        return pair

    def describe_failure(self) -> str:
        """Why there is no path, for a person."""
        if self._pairs:
            return f"none of {len(self._pairs)} candidate pairs answered"
        if not self._bases:
            return "no local address to send from"
        if not self._candidates:
            return "the peer has no candidates"
        return "no address family in common with the peer"

    def next_waiting(self) -> Pair | None:
        """The pair to check next.

        By priority, but the best pair of each kind (remote type and family) before the second of
        any: ten host addresses do not hold up the reflexive pair that will work.
        """
        if self._order is None:
            self._order = self._ranked()
        return next((pair for pair in self._order if pair.state is State.WAITING), None)

    def _ranked(self) -> list[Pair]:
        ranks: defaultdict[tuple[str, bool], int] = defaultdict(int)
        ranked = []
        for pair in self._by_priority():
            kind = (pair.candidate.type, pair.candidate.endpoint.is_ipv6)
            ranked.append((ranks[kind], pair))
            ranks[kind] += 1
        ranked.sort(key=lambda entry: entry[0])
        return [pair for _, pair in ranked]

    def _by_priority(self) -> list[Pair]:
        return sorted(self, key=lambda pair: pair.priority(self._controlling), reverse=True)

    def _form(self) -> None:
        """Pair every base with every remote candidate it can reach (RFC 8445 section 6.1.2.2)."""
        self._order = None
        if self._remote is None:
            return
        for base in self._bases.values():
            for endpoint, candidate in self._candidates.items():
                if (base.address, endpoint) not in self._pairs and _can_reach(
                    base.address, endpoint
                ):
                    self._pairs[base.address, endpoint] = Pair(base, candidate, self._remote)
        self._trim()

    def _trim(self, keep: Pair | None = None) -> None:
        """Drop the worst pairs beyond the bound, those that work and ``keep`` last."""
        self._order = None
        excess = len(self._pairs) - PAIRS_MAX
        if excess <= 0:
            return
        worst_first = self._by_priority()
        worst_first.reverse()
        worst_first.sort(key=lambda pair: (pair is keep, pair.state is State.SUCCEEDED))
        for pair in worst_first[:excess]:
            del self._pairs[pair.base.address, pair.candidate.endpoint]

    def _make_room(self) -> None:
        if len(self._candidates) < REMOTE_CANDIDATES_MAX:
            return
        in_use = {pair.candidate.endpoint for pair in self if pair.state is not State.FAILED}
        for endpoint, known in self._candidates.items():
            if known.type == "prflx" and endpoint not in in_use:
                self._forget(endpoint)
                return
        raise RemoteProtocolError("more remote candidates than are kept")

    def _forget(self, endpoint: Endpoint) -> None:
        del self._candidates[endpoint]
        self._pairs = {key: pair for key, pair in self._pairs.items() if key[1] != endpoint}
        self._order = None


def _can_reach(base: str, remote: Endpoint) -> bool:
    local = ipaddress.ip_address(base)
    other = ipaddress.ip_address(remote.host)
    return local.version == other.version and local.is_loopback == other.is_loopback
