"""The check list of one agent: which pairs there are, and which is next (RFC 8445 section 6.1.2).

Sockets are bound to the wildcard, so a server-reflexive local candidate and its base make one and
the same pair; pruning (section 6.1.2.4) is not to form the second.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.ice.candidate import Candidate, base_of, endpoint_of, local_preference_of
from wice.ice.pair import Base, Pair, Remote, RemoteCandidate, State
from wice.ice.policy import (
    ADDRESSES_REMEMBERED_MAX,
    CandidatePolicy,
    is_private,
    usable_candidates,
)

PAIRS_MAX: Final = 100
"""Pairs in the list (RFC 8445 section 6.1.2.5); the worst give way."""

REMOTE_CANDIDATES_MAX: Final = 100
"""Remote candidates, peer-reflexive ones included."""

REMOTE_CANDIDATES_PER_HOST_MAX: Final = 16
"""Of one address: bounds what a remote can make us send to somebody else's."""

TOLD_PER_HOST_KEPT: Final = 8
"""Of them, those that the remote told of and no check displaces: who sees one can send it again
from any port."""


class CheckList:
    """Bases, remote candidates, and their pairs in the order of checking."""

    def __init__(self, controlling: bool, *, is_by_the_rfc: bool = False) -> None:
        """is_by_the_rfc: the order is by priority alone, and a frozen pair waits until no pair of
        its foundation is being checked; otherwise it is only the last to be taken.
        """
        self._controlling = controlling
        self._is_by_the_rfc = is_by_the_rfc
        self._bases: dict[str, Base] = {}
        self._policy = CandidatePolicy.ALL
        self._local_types: dict[tuple[str, Endpoint], str] = {}
        self._candidates: dict[Endpoint, RemoteCandidate] = {}
        self._pairs: dict[tuple[str, Endpoint], Pair] = {}
        self._order: list[Pair] | None = None
        self._remote: Remote | None = None
        # An ordered set: a pair is queued once (RFC 8445 section 6.1.4.1).
        self._triggered: dict[Pair, None] = {}

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs.values())

    def __len__(self) -> int:
        return len(self._pairs)

    def __contains__(self, pair: Pair) -> bool:
        return self._pairs.get((pair.base.address, pair.candidate.endpoint)) is pair

    @property
    def controlling(self) -> bool:
        return self._controlling

    @property
    def remote(self) -> Remote | None:
        """Whose candidates the pairs are with now."""
        return self._remote

    @property
    def has_bases(self) -> bool:
        return bool(self._bases)

    def is_base(self, address: str) -> bool:
        return address in self._bases

    def may_answer_from(self, address: str | None) -> bool:
        """Whether a check that came to ``address`` is answered. Until there are candidates all
        are, unless relays alone may tell of us.
        """
        if address is None or not self._bases:
            return self._policy is not CandidatePolicy.RELAY
        return self.is_base(address)

    def default_base(self, remote: Endpoint) -> str | None:
        """The best base to reach ``remote`` from, for a port that cannot say where it received."""
        fitting = [
            base
            for base in self._bases.values()
            if base.relayed is None and _can_reach(base, remote)
        ]
        return max(fitting, key=lambda base: base.priority).address if fitting else None

    def local_type(self, base: str, mapped: Endpoint) -> str:
        """The type of the local candidate that the remote sees as ``mapped``."""
        is_relayed = base in self._bases and self._bases[base].relayed is not None
        return self._local_types.get((base, mapped), "relay" if is_relayed else "prflx")

    def set_controlling(self, controlling: bool) -> None:
        self._controlling = controlling
        self._order = None

    def set_remote(self, remote: Remote) -> None:
        """Pair with ``remote`` from now on; what belonged to another one goes."""
        if self._remote is not None:
            self._candidates.clear()
            self._pairs.clear()
        self._triggered.clear()
        self._remote = remote
        self._form()

    def set_local(
        self, candidates: Sequence[Candidate], policy: CandidatePolicy = CandidatePolicy.ALL
    ) -> None:
        """Have exactly these local candidates; pairs of bases that are gone go."""
        bases: dict[str, Base] = {}
        self._policy = policy
        self._local_types = {}
        for candidate in usable_candidates(candidates, policy):
            address = base_of(candidate)
            self._local_types[address, endpoint_of(candidate)] = candidate.type
            base = bases.get(address)
            if base is None:
                base = bases[address] = self._bases.get(address) or Base(address)
                base.priority = 0
            if candidate.type != "srflx" or not base.priority:
                base.priority = candidate.priority
                base.local_preference = local_preference_of(candidate.priority)
                base.foundation = candidate.foundation
            if candidate.type == "relay":
                base.relayed = endpoint_of(candidate)
            else:
                base.is_told = policy is CandidatePolicy.ALL or not is_private(address)
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
                known.foundation = candidate.foundation
                self._form()
            return False
        self._make_room(candidate)
        self._candidates[candidate.endpoint] = candidate
        self._form()
        return True

    def retain_remote(self, endpoints: Collection[Endpoint], now: float) -> list[Pair]:
        """Forget signalled candidates that are not among ``endpoints``; give the pairs of such
        candidates that still work, and stay.
        """
        gone = [
            endpoint
            for endpoint, known in self._candidates.items()
            if known.type != "prflx" and endpoint not in endpoints
        ]
        working = []
        for endpoint in gone:
            valid = [p for p in self if p.candidate.endpoint == endpoint and p.is_valid(now)]
            working += valid
            if not valid:
                self._forget(endpoint)
        return working

    def learn(self, base: str, source: Endpoint, priority: int) -> Pair | None:
        """The pair on which a check came in; an unknown source is a peer-reflexive candidate
        (RFC 8445 section 7.3.1.3). None when there is no room for it.
        """
        if source not in self._candidates:
            try:
                # Of a foundation that no other candidate has (RFC 8445 section 7.3.1.3).
                self.add_remote(RemoteCandidate(source, "prflx", priority, f"prflx {source}"))
            except RemoteProtocolError:
                return None
        pair = self._pairs.get((base, source))
        if pair is None:
            assert self._remote is not None
            candidate = self._candidates[source]
            pair = self._pairs[base, source] = Pair(self._bases[base], candidate, self._remote)
            self._trim(keep=pair)
        return pair

    def trigger(self, pair: Pair) -> None:
        """Queue a triggered check of ``pair``."""
        self._triggered[pair] = None

    def untrigger(self, pair: Pair) -> None:
        """``pair`` is being checked, for whatever reason."""
        self._triggered.pop(pair, None)

    @property
    def has_triggered(self) -> bool:
        return bool(self._triggered)

    def next_triggered(self) -> Pair | None:
        """The pair that was triggered first; those that are gone are forgotten."""
        while self._triggered:
            pair = next(iter(self._triggered))
            if pair in self:
                return pair
            del self._triggered[pair]
        return None

    def describe_failure(self) -> str:
        """Why there is no path, for a person."""
        if self._pairs:
            return f"none of {len(self._pairs)} candidate pairs answered"
        if not self._bases:
            return "no local address to send from"
        if not self._candidates:
            return "the peer has no candidates"
        return "no address family in common with the peer"

    def next_ordinary(self) -> Pair | None:
        """The pair to check next; a frozen one only where none is waiting (RFC 8445 section
        6.1.4.2).

        By priority, but the best pair of each kind (remote type and family) before the second of
        any: ten host addresses do not hold up the reflexive pair that will work.
        """
        if self._order is None:
            self._order = self._by_priority() if self._is_by_the_rfc else self._ranked()
        # Asked after every datagram, and mostly for nothing: lists are searched quickly.
        order = self._order
        states = [pair.state for pair in order]
        if State.WAITING in states:
            return order[states.index(State.WAITING)]
        if State.FROZEN not in states:
            return None
        frozen = (pair for pair in order if pair.state is State.FROZEN)
        return next(filter(self._may_thaw, frozen), None)

    def thaw(self, foundation: tuple[str, str]) -> None:
        """A pair of ``foundation`` works: others of it will (RFC 8445 section 7.2.5.3.3)."""
        for pair in self:
            if pair.state is State.FROZEN and pair.foundation == foundation:
                pair.state = State.WAITING

    @property
    def load(self) -> int:
        """Pairs that wait or are being checked (RFC 8445 section 14.3)."""
        return sum(pair.state in (State.WAITING, State.IN_PROGRESS) for pair in self)

    def _may_thaw(self, frozen: Pair) -> bool:
        return not self._is_by_the_rfc or not any(
            pair.state is State.IN_PROGRESS and pair.foundation == frozen.foundation
            for pair in self
        )

    def _ranked(self) -> list[Pair]:
        ranks: defaultdict[tuple[str, bool], int] = defaultdict(int)
        ranked = []
        for pair in self._by_priority():
            ranked.append((ranks[pair.kind], pair))
            ranks[pair.kind] += 1
        ranked.sort(key=lambda entry: entry[0])
        return [pair for _, pair in ranked]

    def _by_priority(self) -> list[Pair]:
        return sorted(self, key=lambda pair: pair.priority(self._controlling), reverse=True)

    def _form(self) -> None:
        """Pair every base with every remote candidate it can reach (RFC 8445 section 6.1.2.2)."""
        self._order = None
        if self._remote is None:
            return
        formed = []
        for base in self._bases.values():
            for endpoint, candidate in self._candidates.items():
                # RFC 8445 section 7.3.1.3: where its checks came to is a pair, and no other is.
                is_new = (base.address, endpoint) not in self._pairs and candidate.type != "prflx"
                if is_new and _can_reach(base, endpoint):
                    pair = Pair(base, candidate, self._remote)
                    self._pairs[base.address, endpoint] = pair
                    formed.append(pair)
        self._freeze(formed)
        self._trim()

    def _freeze(self, formed: list[Pair]) -> None:
        """Let the best new pair of each foundation wait, unless one is on its way already; a
        foundation that works freezes nothing (RFC 8445 section 6.1.2.6, RFC 8838).
        """
        if not formed:
            return
        states: defaultdict[tuple[str, str], set[State]] = defaultdict(set)
        new = set(formed)
        for pair in self:
            if pair not in new:
                states[pair.foundation].add(pair.state)
        formed.sort(key=lambda pair: pair.priority(self._controlling), reverse=True)
        for pair in formed:
            known = states[pair.foundation]
            if State.SUCCEEDED in known:
                continue
            if State.WAITING in known or State.IN_PROGRESS in known:
                pair.state = State.FROZEN
            known.add(pair.state)

    def _trim(self, keep: Pair | None = None) -> None:
        """Drop the worst pairs beyond the bound; last go the best of each kind, from here and
        through a relay, those that a check came in on, those that work, and ``keep``.
        """
        self._order = None
        excess = len(self._pairs) - PAIRS_MAX
        if excess <= 0:
            return
        worst_first = self._by_priority()
        worst_first.reverse()
        best = {(pair.kind, pair.base.relayed is None): pair for pair in worst_first}
        worst_first.sort(
            key=lambda pair: (
                pair is keep,
                pair.state is State.SUCCEEDED,
                pair.history.checks_received > 0 and pair.state is not State.FAILED,
                best[pair.kind, pair.base.relayed is None] is pair,
            )
        )
        for pair in worst_first[:excess]:
            del self._pairs[pair.base.address, pair.candidate.endpoint]

    def _make_room(self, candidate: RemoteCandidate) -> None:
        """A peer-reflexive one that failed gives way to any. To one that a check came from, also
        the worst of many of its address that the remote only told of: nominations from there would
        never be heard.
        """
        host = candidate.endpoint.host
        of_host = [known for known in self._candidates.values() if known.endpoint.host == host]
        is_host_full = len(of_host) >= REMOTE_CANDIDATES_PER_HOST_MAX
        if len(self._candidates) < REMOTE_CANDIDATES_MAX and not is_host_full:
            return
        rivals = of_host if is_host_full else list(self._candidates.values())
        in_use = {pair.candidate.endpoint for pair in self if pair.state is not State.FAILED}
        failed = [r for r in rivals if r.type == "prflx" and r.endpoint not in in_use]
        if not failed and candidate.type == "prflx" and is_host_full:
            heard = {pair.candidate.endpoint for pair in self if pair.was_heard}
            told = [r for r in rivals if r.type != "prflx" and r.endpoint not in heard]
            told.sort(key=lambda r: (r.endpoint in in_use, r.priority))
            failed = told[: max(0, len(told) - TOLD_PER_HOST_KEPT)]
        if not failed:
            raise RemoteProtocolError("more remote candidates than are kept")
        self._forget(failed[0].endpoint)

    def _forget(self, endpoint: Endpoint) -> None:
        del self._candidates[endpoint]
        self._pairs = {key: pair for key, pair in self._pairs.items() if key[1] != endpoint}
        self._order = None


def _can_reach(base: Base, remote: Endpoint) -> bool:
    if _version_and_loopback(base.host) != _version_and_loopback(remote.host):
        return False
    if not is_private(remote.host):
        return True
    if base.relayed is not None:
        # A public relay refuses to send there, and it would mean somebody else's network.
        return is_private(base.host)
    # A private remote would see the private address that it is not told; a NAT hides it from a
    # public one.
    return base.is_told


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _version_and_loopback(host: str) -> tuple[int, bool]:
    """Addresses that differ in either do not reach one another."""
    address = ipaddress.ip_address(host)
    return address.version, address.is_loopback
