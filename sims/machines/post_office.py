"""Envelopes of a mesh whose overlay is not simulated, as far as the network would let them pass.

Bootstrap nodes are branches, and each machine keeps a connection to some of them. Nothing of this
is packets: whether an envelope passes, and how long it takes, is asked of the lines that its
packets would have passed.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from random import Random
from typing import Final, Protocol

import trio

from sims.internet.network import Attachment, Network
from sims.machines.machine_files import OVERLAY_PORT
from sims.model.link import LinkModel
from sims.runtime.clock import TICKS_S, VirtualClock, tick_at
from sims.runtime.entropy import Entropy
from sims.stack.host import Host
from wice.keys import PublicKey
from wice.signaling.transport import RelayLender

GIVES_UP_AFTER_S: Final = 8.0
"""Nobody waits longer for an envelope to be acknowledged."""
WAYS_MAX: Final = 4
WAY_STAGGER_S: Final = 0.5
"""After which the next way is tried beside one on which nothing was acknowledged."""
RETRANSMISSION_MIN_S: Final = 0.2
"""Then doubling, as TCP does (RFC 6298)."""
ACKNOWLEDGEMENT_SIZE_BYTES: Final = 100
HANDED_OVER_AGAIN_MAX: Final = 256
"""Envelopes that wait at one branch to be delivered again."""


class Letterbox(Protocol):
    """A machine that gets envelopes."""

    @property
    def host(self) -> Host: ...

    @property
    def connections(self) -> "dict[Branch, Connection]":
        """Those that stand as far as it knows, the longest-standing first."""
        ...

    def hand_over(self, recipient: PublicKey, envelope: bytes) -> bool:
        """Whether it takes the envelope."""
        ...

    def found(self, peer: PublicKey, announcement: int) -> None:
        """Hear that ``peer`` can be written to, by which of its announcements."""
        ...


class Branch:
    """A bootstrap node that is up. slow: delays envelopes by up to so long. repeats: hands each
    over again so much later, and up to so much more.
    """

    def __init__(self, host: Host, peer_id: str, lend_relay: RelayLender | None) -> None:
        self.host = host
        self.peer_id = peer_id
        self.lend_relay = lend_relay
        self.slow: tuple[Random, float] | None = None
        self.repeats: tuple[Random, float, float] | None = None
        self.repeating = 0


class Connection:
    """What a TCP connection between two hosts stands for: it lasts as long as their addresses."""

    def __init__(self, network: Network, random: Random, dialler: Host, listener: Host) -> None:
        """Raise ValueError where one of them is in no network."""
        self._network = network
        self._random = random
        self._ends = (dialler, listener)
        self._addresses = (self._addresses_of(dialler), self._addresses_of(listener))
        if not all(self._addresses):
            raise ValueError("who is in no network has no connection")

    @property
    def stands(self) -> bool:
        """Whether both hosts still have the addresses it was made between."""
        dialler, listener = self._ends
        return self._addresses == (self._addresses_of(dialler), self._addresses_of(listener))

    def passes(self) -> bool:
        """Whether anything gets through at all, in both directions as TCP needs it."""
        return self._links(self._ends[0]) is not None

    @property
    def round_trip_s(self) -> float:
        """Without jitter; infinite where nothing passes."""
        ways = [self._links(host) for host in self._ends]
        return math.fsum(
            math.inf if links is None else math.fsum(_mean_s(link) for link in links)
            for links in ways
        )

    def other_end(self, host: Host) -> Host:
        dialler, listener = self._ends
        return listener if host is dialler else dialler

    def crossing_s(self, source: Host, size_bytes: int) -> float | None:
        """How long so many bytes sent now take from ``source``; None if they are lost."""
        if source.is_frozen or not self.stands:
            return None
        links = self._links(source)
        if links is None or any(self._loses(link) for link in links):
            return None
        return math.fsum(self._latency_s(link, size_bytes) for link in links)

    def _links(self, source: Host) -> tuple[LinkModel, ...] | None:
        sites = [_site_of(host) for host in self._ends]
        dialler, listener = sites
        if dialler is None or listener is None:
            return None
        if not self._network.lets_out_tcp(dialler, OVERLAY_PORT):
            return None
        there = self._network.links_between(dialler, listener)
        back = self._network.links_between(listener, dialler)
        if there is None or back is None:
            return None
        return there if source is self._ends[0] else back

    def _addresses_of(self, host: Host) -> tuple[str, ...]:
        attachment, site = host.ethernet.attachment, _site_of(host)
        if attachment is None or site is None:
            return ()
        own = tuple(str(address.ip) for address in attachment.addresses)
        return (site, *own, *self._network.public_addresses(site))

    def _loses(self, link: LinkModel) -> bool:
        share = _lost_share(link)
        return share > 0 and self._random.random() < share

    def _latency_s(self, link: LinkModel, size_bytes: int) -> float:
        latency_s = link.latency_s
        if link.latencies_s:
            latency_s = self._random.choice(link.latencies_s)
        elif link.jitter_s:
            latency_s = max(0.0, self._random.gauss(latency_s, link.jitter_s))
        return latency_s + (8 * size_bytes / link.rate_bits_s if link.rate_bits_s else 0.0)


class PostOffice:
    """Who can be written to, and by way of which branches. One of a run."""

    def __init__(self, network: Network, clock: VirtualClock, entropy: Entropy) -> None:
        self.clock = clock
        self._network = network
        self._entropy = entropy
        self._randoms: dict[str, Random] = {}
        self._branches: dict[str, Branch] = {}
        self._owners: dict[PublicKey, Letterbox] = {}
        self._announcements: dict[PublicKey, int] = {}
        self._watchers: dict[PublicKey, dict[Letterbox, None]] = {}
        self._between: dict[tuple[Branch, Branch], Connection] = {}

    # Bootstrap nodes

    def open_branch(self, branch: Branch) -> None:
        self._branches[branch.peer_id] = branch

    def close_branch(self, branch: Branch) -> None:
        """Harmless when another boot of the node has opened."""
        if self._branches.get(branch.peer_id) is branch:
            del self._branches[branch.peer_id]
        self._between = {
            pair: connection for pair, connection in self._between.items() if branch not in pair
        }

    def branch(self, peer_id: str) -> Branch | None:
        return self._branches.get(peer_id)

    def dial(self, host: Host, branch: Branch) -> Connection | None:
        """A connection, where one can be made now."""
        try:
            connection = Connection(self._network, self._random(host), host, branch.host)
        except ValueError:
            return None
        return connection if connection.passes() and not branch.host.is_frozen else None

    # Who is where

    def announce(self, key: PublicKey, owner: Letterbox) -> None:
        """Have envelopes to ``key`` come to ``owner``, and tell those who watch it."""
        self._owners[key] = owner
        self._announcements[key] = self._announcements.get(key, 0) + 1
        for watcher in self._watchers.get(key, ()):
            self.tell(watcher, key)

    def withdraw(self, key: PublicKey, owner: Letterbox) -> None:
        """Harmless when it is another's by now."""
        if self._owners.get(key) is owner:
            del self._owners[key]

    def announcement(self, key: PublicKey) -> int | None:
        """The number of the one that counts, None where nobody is ``key``."""
        return self._announcements[key] if key in self._owners else None

    def watch(self, key: PublicKey, watcher: Letterbox) -> None:
        """Tell ``watcher`` each time that ``key`` is announced."""
        self._watchers.setdefault(key, {})[watcher] = None

    def end_watches(self, keys: Iterable[PublicKey], watcher: Letterbox) -> None:
        for key in keys:
            self._watchers.get(key, {}).pop(watcher, None)

    def tell(self, watcher: Letterbox, key: PublicKey) -> None:
        """Have ``watcher`` hear of ``key``, where that gets through."""
        for branch, connection in watcher.connections.items():
            crossing_s = connection.crossing_s(branch.host, ACKNOWLEDGEMENT_SIZE_BYTES)
            if crossing_s is not None:
                self.clock.call_at(
                    _on_grid_s(self.clock, crossing_s), partial(self._told, watcher, key)
                )
                return

    # Envelopes

    def send(self, sender: Letterbox, recipient: PublicKey, envelope: bytes) -> "Delivery | None":
        """Put an envelope on its way; None where there is nobody to send it to, or no way."""
        owner = self._owners.get(recipient)
        if owner is None:
            return None
        ways = self._ways(sender, owner)
        if not ways:
            return None
        delivery = Delivery(self, sender, owner, recipient, envelope)
        delivery.start(ways)
        return delivery

    def _ways(self, sender: Letterbox, owner: Letterbox) -> "list[tuple[Branch, ...]]":
        """By a branch that both are connected to, else by one of each."""
        shared = [(branch,) for branch in sender.connections if branch in owner.connections]
        pairs = [
            (first, last)
            for first, last in product(sender.connections, owner.connections)
            if first is not last
        ]
        return [*shared, *pairs][:WAYS_MAX]

    def connection_between(self, first: Branch, last: Branch) -> Connection | None:
        """Branches keep one to each other."""
        connection = self._between.get((first, last))
        if connection is None or not connection.stands:
            made = self.dial(first.host, last)
            if made is None:
                return None
            connection = self._between[first, last] = made
        return connection

    def _told(self, watcher: Letterbox, key: PublicKey) -> None:
        announcement = self.announcement(key)
        if is_awake(watcher.host) and announcement is not None:
            watcher.found(key, announcement)

    def _random(self, host: Host) -> Random:
        if host.name not in self._randoms:
            self._randoms[host.name] = self._entropy.random("envelopes", host.name)
        return self._randoms[host.name]


class Delivery:
    """An envelope under way. ``done`` is set when the sender knows that it was taken or refused."""

    def __init__(
        self,
        office: PostOffice,
        sender: Letterbox,
        owner: Letterbox,
        recipient: PublicKey,
        envelope: bytes,
    ) -> None:
        self.done = trio.Event()
        self.is_taken = False
        self._office = office
        self._clock = office.clock
        self._sender = sender
        self._owner = owner
        self._recipient = recipient
        self._envelope = envelope
        self._is_handed_over: bool | None = None
        self.gives_up_at_s = self._clock.now_s + GIVES_UP_AFTER_S

    def start(self, ways: list[tuple[Branch, ...]]) -> None:
        """Try ``ways``, each by one branch or two; those after the first wait for their turn."""
        for place, way in enumerate(ways):
            self._clock.call_later(place * WAY_STAGGER_S, partial(self._set_out, way))

    def _set_out(self, way: tuple[Branch, ...]) -> None:
        if not self.done.is_set():
            self._go_on(way, 0)

    def _go_on(self, way: tuple[Branch, ...], passed: int) -> None:
        """From the sender, or from the branch that was passed last, to whoever is next."""
        source = self._sender.host if passed == 0 else way[passed - 1].host
        connection = self._connection(way, passed)
        if connection is None:
            return
        size_bytes = len(self._envelope)
        if passed == len(way):
            self._cross(connection, source, size_bytes, partial(self._arrive, way))
        else:
            self._cross(connection, source, size_bytes, partial(self._pass, way, passed))

    def _pass(self, way: tuple[Branch, ...], passed: int) -> None:
        """At a branch; the last one is the one that hands over."""
        branch, is_last = way[passed], passed + 1 == len(way)
        wait_s = 0.0
        if is_last and branch.slow is not None:
            random, up_to_s = branch.slow
            wait_s = random.uniform(0.0, up_to_s)
        if is_last and branch.repeats is not None:
            random, after_s, spread_s = branch.repeats
            self._repeat(branch, after_s + random.uniform(0.0, spread_s))
        self._clock.call_later(wait_s, partial(self._go_on, way, passed + 1))

    def _arrive(self, way: tuple[Branch, ...]) -> None:
        if self._is_handed_over is None:
            self._is_handed_over = self._owner.hand_over(self._recipient, self._envelope)
        self._answer(way, len(way))

    def _answer(self, way: tuple[Branch, ...], left: int) -> None:
        """The acknowledgement's way back."""
        source = self._owner.host if left == len(way) else way[left].host
        connection = self._connection(way, left)
        if connection is None:
            return
        then = self._finish if left == 0 else partial(self._answer, way, left - 1)
        self._cross(connection, source, ACKNOWLEDGEMENT_SIZE_BYTES, then)

    def _finish(self) -> None:
        self.is_taken = bool(self._is_handed_over)
        self.done.set()

    def _repeat(self, branch: Branch, after_s: float) -> None:
        if branch.repeating >= HANDED_OVER_AGAIN_MAX:
            return
        branch.repeating += 1

        def again() -> None:
            branch.repeating -= 1
            copy = Delivery(
                self._office, self._sender, self._owner, self._recipient, self._envelope
            )
            copy._go_on((branch,), 1)

        self._clock.call_later(after_s, again)

    def _connection(self, way: tuple[Branch, ...], place: int) -> Connection | None:
        """Of the sender's end, between branches, or of the recipient's end."""
        if place == 0:
            return self._sender.connections.get(way[0])
        if place == len(way):
            return self._owner.connections.get(way[-1])
        return self._office.connection_between(way[place - 1], way[place])

    def _cross(
        self,
        connection: Connection,
        source: Host,
        size_bytes: int,
        then: Callable[[], None],
        wait_s: float = RETRANSMISSION_MIN_S,
    ) -> None:
        """Call ``then`` at the other end; try again, ever later, while nothing gets there."""
        if self.done.is_set() or self._clock.now_s >= self.gives_up_at_s:
            return
        again = partial(self._cross, connection, source, size_bytes, then, 2 * wait_s)
        crossing_s = connection.crossing_s(source, size_bytes)
        if crossing_s is None:
            self._clock.call_later(wait_s, again)
            return

        def arrive() -> None:
            if is_awake(connection.other_end(source)) and connection.stands:
                then()
            else:
                self._clock.call_later(wait_s, again)

        self._clock.call_at(_on_grid_s(self._clock, crossing_s), arrive)


def is_awake(host: Host) -> bool:
    """Whether it is in a network and takes what comes."""
    return host.ethernet.attachment is not None and not host.is_frozen


def _on_grid_s(clock: VirtualClock, wait_s: float) -> float:
    """When what takes so long arrives: on the grid that packets arrive on."""
    return tick_at(clock.now_s + wait_s) / TICKS_S


def _site_of(host: Host) -> str | None:
    attachment = host.ethernet.attachment
    return attachment.site if isinstance(attachment, Attachment) else None


def _mean_s(link: LinkModel) -> float:
    table = link.latencies_s
    return math.fsum(table) / len(table) if table else link.latency_s


def _lost_share(link: LinkModel) -> float:
    """In the long run; of TCP, what is corrupted is lost as well."""
    arrives = (1 - link.loss) * (1 - link.corrupt)
    burst = link.burst_loss
    if burst is not None and burst.enters:
        bad = burst.enters / (burst.enters + burst.leaves)
        arrives *= 1 - bad * burst.loss_bad - (1 - bad) * burst.loss_good
    return 1 - arrives
