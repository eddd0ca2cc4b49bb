"""The overlay as a transport of envelopes: the entry point ``libp2p`` of ``wice.backends``."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from random import Random
from typing import Any

import trio

from p2p.identity import hold, load_or_create
from p2p.inboxes import ENVELOPE_ID_SIZE_BYTES, Inboxes
from p2p.node import OverlayNode, State, run_node
from p2p.relay_grants import RelayGrants
from p2p.rendezvous import Directory
from p2p.section import Section
from p2p.signal import Signal
from wice.datagram import Endpoint
from wice.errors import (
    LocalProtocolError,
    SignalingClosedError,
    SignalingError,
    SignalingUnavailableError,
)
from wice.events import EnvelopeDelivered, EventSink, OverlayLost
from wice.keys import CommunitySecret, KeyHolder, PublicKey
from wice.platform import Platform
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES, RelayGrant, RelayLender, Transport

JOIN_WAIT_S = 2.0
"""How long a sender waits for the first connection, which is usually on its way."""
ATTEMPTS_MAX = 3
"""To hand over one envelope, each to a recipient that was found anew."""
RESTARTS_MAX = 5
RESTART_WINDOW_S = 600.0
"""A host that dies more often than that is restarted after ``RESTART_BACKOFF_S``. One that never
lived, and that of a bootstrap node, is given up: there, a service manager knows better."""
RESTART_WAIT_S = 0.5
RESTART_BACKOFF_S = 60.0
LAST_DEATH_SIZE_MAX = 200
"""Characters of the reason that the status gives."""


class OverlayTransport(Transport):
    """Envelopes over py-libp2p: records in the DHT, streams by way of anchors, gossip.

    One supervisor runs the host, and starts it again should the library take it down.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._node: OverlayNode | None = None
        self._node_changed = Signal()
        self._is_closed = False
        self._scope = trio.CancelScope()
        self.restarts = 0
        self.last_death = ""

    @property
    def node(self) -> OverlayNode | None:
        """What runs on the host now; None while the host starts again."""
        return self._node

    async def send(self, recipient: PublicKey, envelope: bytes) -> None:
        """Return when the recipient has acknowledged ``envelope``.

        Raise SignalingUnavailableError, SignalingClosedError; LocalProtocolError for an envelope
        that is too long; ValueError for a public key that is no identity.
        """
        if len(envelope) > ENVELOPE_SIZE_MAX_BYTES:
            raise LocalProtocolError(f"an envelope has at most {ENVELOPE_SIZE_MAX_BYTES} bytes")
        self._check_open()
        envelope_id = self._state.platform.random_bytes(ENVELOPE_ID_SIZE_BYTES)
        if self._state.inboxes.is_ours(recipient):
            if not self._state.inboxes.deliver_to(recipient, envelope_id, envelope):
                raise SignalingUnavailableError("the recipient's queue is full")
            await trio.lowlevel.checkpoint()
            return
        self._state.directory.want(recipient)
        try:
            way = await self._send(await self._connected_node(), recipient, envelope_id, envelope)
        except SignalingUnavailableError:
            self._check_open()
            raise
        self._state.events.emit(EnvelopeDelivered(peer=recipient, way=way))

    @asynccontextmanager
    async def subscribe(
        self, key_holder: KeyHolder
    ) -> AsyncIterator[trio.MemoryReceiveChannel[bytes]]:
        """Be reachable as ``key_holder.public_key`` and get the envelopes addressed to it."""
        if self._state.is_bootstrap:
            raise LocalProtocolError("a bootstrap node has no peers of its own")
        with self._state.inboxes.subscribe(key_holder) as channel:
            yield channel

    def stun_servers(self) -> Sequence[Endpoint]:
        """The bootstrap nodes' STUN servers, two ports each."""
        return self._state.section.stun_servers()

    async def relay_grants(self, known: Sequence[RelayGrant]) -> Sequence[RelayGrant]:
        """Wait until we are granted other relays than ``known``, and say which."""
        return await self._state.grants.wait_other(known)

    def relay_refused(self, grant: RelayGrant) -> None:
        """Have the node that granted it asked for another."""
        self._state.grants.refuse(grant)

    def status(self) -> Mapping[str, Any]:
        state, node = self._state, self._node
        status: dict[str, Any] = {
            "kind": "libp2p",
            "role": "bootstrap" if state.is_bootstrap else "peer",
            "peer_id": state.identity.peer_id,
            "joined": False,
            "listen": [],
            "connections": [],
            "unreachable": {},
            "anchors": [],
            "published": {},
            "recipients": len(state.directory),
            "records": len(state.store),
            "subscriptions": 0,
            "watches": 0,
            "neighbours": [],
            "relays": state.grants.status(),
            "borrowers": 0,
            "dropped": dict(state.dropped),
            "restarts": self.restarts,
            "last_death": self.last_death,
        }
        if node is not None:
            status |= {
                "joined": state.is_bootstrap or bool(node.connections.connected),
                "listen": [f"{a}/p2p/{state.identity.peer_id}" for a in node.listening],
                "connections": list(node.host.connected_peers()),
                "unreachable": node.connections.last_errors(),
                "anchors": list(node.anchors.anchors),
                "published": {str(e): n for e, n in node.publisher.published.items()},
            }
            if node.bootstrap is not None:
                status["subscriptions"] = len(node.bootstrap.anchor)
                status["watches"] = len(node.bootstrap.watches)
                status["neighbours"] = list(node.bootstrap.gossip.neighbours)
                status["borrowers"] = len(node.bootstrap.loans or ())
        return status

    async def aclose(self) -> None:
        """End every subscription and stop the host. More than once is fine."""
        self._is_closed = True
        self._state.inboxes.close()
        self._scope.cancel()
        await trio.lowlevel.checkpoint()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Supervise the host until closed; ``task_status`` is told when the first one runs."""
        deaths: deque[float] = deque()
        is_started = False

        def use(node: OverlayNode) -> None:
            nonlocal is_started
            self._set_node(node)
            if not is_started:
                is_started = True
                task_status.started()

        with self._scope:
            while True:
                own_errors: list[BaseException] = []
                try:
                    await run_node(self._state, use, own_errors)
                except SignalingError as error:
                    if not is_started:
                        raise
                    self._count_death(error, deaths)  # somebody took our port meanwhile
                except Exception as error:
                    # The library's swarm ends with whatever got past the guards, and with it the
                    # host; what our own tasks raised is a bug and goes on.
                    if own_errors:
                        raise own_errors[0] from None
                    self._count_death(error, deaths)
                    if len(deaths) > RESTARTS_MAX and (not is_started or self._state.is_bootstrap):
                        raise SignalingError("the libp2p host keeps dying") from error
                finally:
                    self._set_node(None)
                is_often = len(deaths) > RESTARTS_MAX
                await trio.sleep(RESTART_BACKOFF_S if is_often else RESTART_WAIT_S)
                self.restarts += 1

    async def _send(
        self, node: OverlayNode, recipient: PublicKey, envelope_id: bytes, envelope: bytes
    ) -> str:
        directory = self._state.directory
        found = await node.resolver.resolve(recipient)
        if found is None:
            raise SignalingUnavailableError(f"no presence record of {recipient} was found")
        for _ in range(ATTEMPTS_MAX):
            way = None
            # Who was found anew has left where it was, and nobody there would say so for seconds.
            with directory.until_found_anew(recipient, found):
                way = await node.deliver(found, envelope_id, envelope)
            if way is not None:
                return way
            newer = directory.found(recipient)
            if newer == found:
                newer = await node.resolver.resolve(recipient, afresh=True)
            if newer is None or newer == found:
                break
            found = newer
        raise SignalingUnavailableError(f"{recipient} does not answer on any way")

    async def _connected_node(self) -> OverlayNode:
        with trio.move_on_after(JOIN_WAIT_S):
            while self._node is None:
                await self._node_changed.wait_beyond(self._node_changed.count)
            await self._node.connections.wait_connected()
        if self._node is None or not self._node.connections.connected:
            raise SignalingUnavailableError("no bootstrap node is connected")
        return self._node

    def _set_node(self, node: OverlayNode | None) -> None:
        was_connected = self._node is not None and self._node.connections.connected
        if was_connected and node is None and not self._is_closed:
            self._state.events.emit(OverlayLost())
        self._node = node
        self._node_changed.notify()

    def _count_death(self, error: Exception, deaths: deque[float]) -> None:
        leaf = _leaf(error)
        self.last_death = f"{type(leaf).__name__}: {leaf}"[:LAST_DEATH_SIZE_MAX]
        self._state.count_fault(f"the host died: {type(leaf).__name__}")
        now = trio.current_time()
        deaths.append(now)
        while deaths[0] < now - RESTART_WINDOW_S:
            deaths.popleft()

    def _check_open(self) -> None:
        if self._is_closed:
            raise SignalingClosedError("the overlay is closed")


@asynccontextmanager
async def open_transport(
    section: Mapping[str, Any],
    *,
    platform: Platform,
    state_directory: FilePath,
    events: EventSink,
    is_bootstrap: bool,
    lend_relay: RelayLender | None = None,
) -> AsyncIterator[OverlayTransport]:
    """Run the overlay while the context lasts (``wice.signaling.transport.TransportFactory``).

    Raise ConfigError with a ``where`` that begins with ``overlay``; SignalingError where a
    listening port is not to be had. Not being connected is no error.
    """
    parsed = Section.parse(section, is_bootstrap=is_bootstrap)
    if not is_bootstrap:
        parsed.check_bootstrap()
    secret = parsed.read_secret()
    if secret is None:
        community = CommunitySecret.from_name(parsed.community)
    else:
        community = CommunitySecret.from_passphrase(parsed.community, secret)
    directory = platform.state_directory(state_directory)
    identity = load_or_create(directory, platform.random_bytes)
    transport = OverlayTransport(
        State(
            section=parsed,
            identity=identity,
            platform=platform,
            events=events,
            is_bootstrap=is_bootstrap,
            lend_relay=lend_relay,
            community=community,
            inboxes=Inboxes(community, platform),
            directory=Directory(community, platform, events),
            grants=RelayGrants(tuple(parsed.bootstrap_addresses()), platform),
            random=Random(platform.random_bytes(16)),
        )
    )
    with hold(directory):
        if not is_bootstrap:
            parsed.check_bootstrap(identity.peer_id)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(transport.run)
                try:
                    yield transport
                finally:
                    await transport.aclose()
        except BaseExceptionGroup as group:
            # One error, of the caller's body or of ours, is to be caught as itself.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
