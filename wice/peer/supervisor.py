"""One WireGuard interface at work: the trio driver of its peer machines.

Owns every task of the interface: the port's ICE driver, the timers, the messages in and out, the
device's news.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from wice.errors import SignalingClosedError, SignalingUnavailableError
from wice.events import EventStream, PeerFound
from wice.ice import Agent, AgentEvent, IceDriver
from wice.keys import ANY, KeyPair, PublicKey
from wice.peer.effects import (
    AskServers,
    Emit,
    Gathered,
    Publish,
    RegisterAgent,
    SetPath,
    UnregisterAgent,
    WakeAgent,
)
from wice.peer.machine import PeerMachine
from wice.peer.sources import PeerAdded, PeerChange, PeerRemoved, PeerUpdated
from wice.platform import Platform
from wice.signaling.backend import Backend
from wice.wireguard.device import Device, PeerStatus

GATHERING_WAIT_S = 0.1
"""How long the first descriptions wait for STUN servers: all that know them is our addresses."""

TRAFFIC_POLL_S = 5.0
"""How often the device's statistics are read for signs of life."""


@dataclass(slots=True)
class _Peer:
    """outgoing: what waits for signaling. Descriptions are idempotent, so the newest replaces it.

    is_found_anew: the overlay found the peer while a message to it was on its way.
    """

    machine: PeerMachine
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    outgoing: bytes | None = None
    has_outgoing: trio.Event = field(default_factory=trio.Event)
    is_publishing: bool = False
    is_found_anew: bool = False
    received_at_s: float | None = None
    handshake_at_s: float | None = None


class InterfaceSupervisor:
    """Runs the peers of one interface over one device, one ICE driver and one backend."""

    def __init__(
        self,
        *,
        public_key: PublicKey,
        device: Device,
        ice: IceDriver,
        backend: Backend,
        platform: Platform,
        events: EventStream,
        probe_relays: Callable[[], None],
    ) -> None:
        """probe_relays: make sure of the interface's allocations, where that is not too often."""
        self.public_key = public_key
        self.device = device
        self._ice = ice
        self._backend = backend
        self._platform = platform
        self._events = events
        self._probe_relays = probe_relays
        self._peers: dict[PublicKey, _Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._deadline_moved = trio.Event()
        self._has_gathered = trio.Event()

    @property
    def machines(self) -> Iterable[PeerMachine]:
        return [peer.machine for peer in self._peers.values()]

    def device_status(self) -> dict[PublicKey, PeerStatus]:
        return {status.public_key: status for status in self.device.statistics()}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled. Once started, ``apply`` may be called."""
        self._ice.on_candidates_changed = self._candidates_changed
        async with (
            trio.open_nursery() as nursery,
            self._backend.subscribe(KeyPair(self.public_key, ANY)) as messages,
        ):
            self._nursery = nursery
            nursery.start_soon(self._ice.run)
            nursery.start_soon(self._wait_gathered)
            nursery.start_soon(self._watch_device)
            nursery.start_soon(self._watch_traffic)
            nursery.start_soon(self._watch_overlay)
            nursery.start_soon(self._run_timers)
            task_status.started()
            async for received in messages:
                peer = self._peers.get(received.key_pair.theirs)
                # Only members of the configuration get an answer; who else knows our key does not.
                if peer is not None:
                    peer.machine.receive_message(received.message, trio.current_time())
                    self._drain(peer)

    def apply(self, change: PeerChange) -> None:
        """Carry out a change of a peer source."""
        match change:
            case PeerAdded(peer=peer):
                self.device.set_peer(peer.config)
                self._add(peer.config.public_key)
            case PeerUpdated(peer=peer):
                self.device.set_peer(peer.config)
            case PeerRemoved(public_key=public_key):
                removed = self._peers.pop(public_key)
                removed.machine.remove(trio.current_time())
                self._drain(removed)
                removed.scope.cancel()
                self.device.remove_peer(public_key)

    def _add(self, public_key: PublicKey) -> None:
        assert self._nursery is not None, "run first"
        machine = PeerMachine(
            interface=self.device.name,
            public_key=public_key,
            controlling=self.public_key < public_key,
            random_bytes=self._platform.random_bytes,
            wall_time=self._platform.wall_time,
            gathered=self._gathered(),
            now=trio.current_time(),
        )
        peer = _Peer(machine)
        self._peers[public_key] = peer
        self._nursery.start_soon(self._publish, peer)
        self._drain(peer)

    def _gathered(self) -> Gathered:
        ice = self._ice
        return Gathered(ice.told_candidates, ice.candidates_complete, ice.mapping_behaviour)

    def _drain(self, peer: _Peer) -> None:
        while (effect := peer.machine.poll_effect()) is not None:
            match effect:
                case Publish(message=message):
                    self._enqueue(peer, message)
                case RegisterAgent(agent=agent):
                    self._ice.register(agent, self._listener(peer, agent))
                case UnregisterAgent(agent=agent):
                    self._ice.unregister(agent)
                case WakeAgent(agent=agent):
                    self._ice.wake(agent)
                case AskServers():
                    self._ice.query_mappings()
                    self._probe_relays()
                case SetPath(path=path, persistent_keepalive_s=keepalive_s):
                    self.device.set_path(peer.machine.public_key, path, keepalive_s)
                case Emit(event=event):
                    self._events.emit(event)
        self._deadline_moved.set()

    def _listener(self, peer: _Peer, agent: Agent) -> Callable[[AgentEvent], None]:
        def listen(event: AgentEvent) -> None:
            peer.machine.agent_event(agent, event, trio.current_time())
            self._drain(peer)

        return listen

    def _enqueue(self, peer: _Peer, message: bytes) -> None:
        peer.outgoing = message
        peer.has_outgoing.set()

    async def _wait_gathered(self) -> None:
        with trio.move_on_after(GATHERING_WAIT_S):
            await self._has_gathered.wait()
        self._has_gathered.set()

    async def _publish(self, peer: _Peer) -> None:
        key_pair = KeyPair(self.public_key, peer.machine.public_key)
        with peer.scope:
            # Half a description first would cost every peer a message more.
            await self._has_gathered.wait()
            while True:
                while peer.outgoing is None:
                    peer.has_outgoing = trio.Event()
                    await peer.has_outgoing.wait()
                message, peer.outgoing = peer.outgoing, None
                peer.is_publishing, peer.is_found_anew = True, False
                try:
                    await self._backend.publish(key_pair, message)
                    peer.machine.message_delivered(trio.current_time())
                except SignalingUnavailableError:
                    # The session repeats until it is acknowledged.
                    self._events.counts["publish_unavailable"] += 1
                    peer.is_publishing = False
                    if peer.is_found_anew:
                        self._presence_changed(peer)
                except SignalingClosedError:
                    return
                peer.is_publishing = False

    def _presence_changed(self, peer: _Peer) -> None:
        now = trio.current_time()
        peer.machine.presence_changed(now, is_message_on_way=peer.is_publishing)
        self._drain(peer)

    def _candidates_changed(self) -> None:
        now = trio.current_time()
        if self._ice.candidates_complete:
            self._has_gathered.set()
        for peer in self._peers.values():
            peer.machine.gathered_changed(self._gathered(), now)
            self._drain(peer)

    async def _watch_overlay(self) -> None:
        with self._events.subscribe() as events:
            async for event in events:
                if isinstance(event, PeerFound) and event.peer in self._peers:
                    peer = self._peers[event.peer]
                    peer.is_found_anew = True
                    self._presence_changed(peer)

    async def _watch_device(self) -> None:
        while True:
            await self.device.wait_changed()
            self._read_device()

    async def _watch_traffic(self) -> None:
        """WireGuard announces no traffic: its statistics are read."""
        while True:
            await trio.sleep(TRAFFIC_POLL_S)
            self._read_device()

    def _read_device(self) -> None:
        now = trio.current_time()
        for status in self.device.statistics():
            peer = self._peers.get(status.public_key)
            if peer is None:
                continue
            received_at_s = status.received_at_s
            if received_at_s is not None and received_at_s != peer.received_at_s:
                peer.received_at_s = received_at_s
                peer.machine.traffic_received(received_at_s, now)
            if status.latest_handshake_at_s not in (None, peer.handshake_at_s):
                peer.handshake_at_s = status.latest_handshake_at_s
                peer.machine.handshake_completed(status.path, now)
            peer.machine.wireguard_uses(status.path, now)
            self._drain(peer)

    async def _run_timers(self) -> None:
        while True:
            self._deadline_moved = trio.Event()
            deadlines = [peer.machine.deadline() for peer in self._peers.values()]
            next_s = min((at for at in deadlines if at is not None), default=float("inf"))
            with trio.move_on_at(next_s):
                await self._deadline_moved.wait()
            now = trio.current_time()
            for peer in list(self._peers.values()):
                deadline = peer.machine.deadline()
                if deadline is not None and deadline <= now:
                    peer.machine.handle_timeout(now)
                    self._drain(peer)
