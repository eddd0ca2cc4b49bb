"""A libp2p host behind the guards: own dialling, one flight per stream, named limits."""

import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import trio
from libp2p.abc import IMultiselectCommunicator, INetConn, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import (
    MultiselectClientError,
    MultiselectCommunicatorError,
)
from libp2p.protocol_muxer.multiselect import MULTISELECT_PROTOCOL_ID
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL_ID
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from p2p.guards import CountFault, GuardedSwarm, network_of
from p2p.identity import Identity
from p2p.section import PEER_IDS_CACHED_MAX, TcpAddress
from p2p.streams import (
    STREAM_ERRORS,
    FrameHandler,
    FrameStream,
    StreamClosedError,
    open_frame_stream,
)
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError, SignalingError, SignalingUnavailableError

DIAL_TIMEOUT_S = 10.0
"""For one peer, over all its addresses, from the first SYN to the muxed connection."""
DIAL_STAGGER_S = 0.25
"""Between the starts of dials to the addresses of one peer (RFC 8305, connection attempt delay)."""
DIAL_ADDRESSES_MAX = 8
STREAM_OPEN_TIMEOUT_S = 5.0
NEGOTIATE_TIMEOUT_S = 10
"""For an inbound stream to name its protocol, and for a connection to be secured and muxed."""
CLOSE_TIMEOUT_S = 3.0
"""For all connections and listeners of a host that ends."""
SLACK_CONNECTIONS = 16
"""Connections beyond the budget that may exist for the moment it takes to close others."""

logging.getLogger("libp2p").addHandler(logging.NullHandler())  # or Python prints its warnings


class Host:
    """A running libp2p host. Its tasks belong to whoever entered ``open_host``."""

    def __init__(self, swarm: GuardedSwarm, host: BasicHost, peer_id: str, fault: CountFault):
        self.peer_id = peer_id
        self.libp2p = host
        self._swarm = swarm
        self._count_fault = fault
        self._dialling: dict[str, trio.Event] = {}

    def addresses(self) -> tuple[str, ...]:
        """Where this host listens, as full multiaddrs with ``/p2p/``, wildcards as they are."""
        return tuple(
            f"{address}/p2p/{self.peer_id}" for address in self.libp2p.get_transport_addrs()
        )

    def connected_peers(self) -> tuple[str, ...]:
        return tuple(
            str(peer_id) for peer_id in self._swarm.connections if self._live(str(peer_id))
        )

    def is_connected(self, peer_id: str) -> bool:
        return bool(self._live(peer_id))

    def remote_hosts(self, peer_id: str) -> frozenset[str]:
        """The IP addresses from which ``peer_id`` is connected to us."""
        remotes = (conn.muxed_conn.get_remote_address() for conn in self._live(peer_id))
        return frozenset(str(remote[0]) for remote in remotes if remote)

    async def connect(self, peer_id: str, addresses: Sequence[TcpAddress]) -> None:
        """Be connected to ``peer_id``, over the first of ``addresses`` at which it answers.

        Raise SignalingUnavailableError with a reason for each address that was tried.
        """
        while not self.is_connected(peer_id):
            running = self._dialling.get(peer_id)
            if running is None:
                await self._dial(peer_id, addresses[:DIAL_ADDRESSES_MAX])
                return
            await running.wait()
            if not self.is_connected(peer_id):
                raise SignalingUnavailableError(f"{peer_id} did not answer")

    async def verify_address(self, peer_id: str, address: TcpAddress) -> bool:
        """Whether ``peer_id`` answers at ``address``, asked by a connection of its own."""
        with trio.move_on_after(DIAL_TIMEOUT_S) as scope:
            try:
                connection = await self._dial_address(peer_id, address)
            except SignalingUnavailableError:
                return False
            if len(self._live(peer_id)) > 1:
                await connection.close()
        return not scope.cancelled_caught

    async def disconnect(self, peer_id: str) -> None:
        await self._swarm.close_peer(ID.from_base58(peer_id))

    async def wait_disconnected(self, peer_id: str) -> None:
        """Wait until no connection to ``peer_id`` is left."""
        while connections := self._live(peer_id):
            await connections[0].event_closed.wait()

    async def open_stream(self, peer_id: str, protocol: str) -> FrameStream:
        """Open a stream on a connection that stands; raise StreamClosedError.

        Takes no round trip: that the other side does not serve ``protocol`` shows on receiving.
        """
        if not self.is_connected(peer_id):
            raise StreamClosedError(f"no connection to {peer_id}")
        with trio.move_on_after(STREAM_OPEN_TIMEOUT_S):
            try:
                stream = await self._swarm.new_stream(_id(peer_id))
            except STREAM_ERRORS as error:
                raise StreamClosedError(f"no stream to {peer_id}") from error
            return await open_frame_stream(stream, peer_id, protocol)
        raise StreamClosedError(f"{peer_id} takes no new stream")

    def serve(self, protocol: str, handler: FrameHandler) -> None:
        """Let ``handler`` serve every inbound stream of ``protocol``, each in its own task."""

        async def serve_stream(stream: INetStream) -> None:
            framed = FrameStream(stream, str(stream.muxed_conn.peer_id))
            try:
                await handler(framed)
            except StreamClosedError:
                pass
            except RemoteProtocolError as error:
                self._count_fault(f"{protocol}: {error}")
            finally:
                await framed.aclose()

        self.libp2p.set_stream_handler(protocol, serve_stream)

    def _live(self, peer_id: str) -> list[INetConn]:
        connections = self._swarm.get_connections(_id(peer_id))
        return [connection for connection in connections if not connection.is_closed]

    async def _dial(self, peer_id: str, addresses: Sequence[TcpAddress]) -> None:
        """Start on the next address when one fails or is slow; the first to answer wins."""
        if not addresses:
            raise SignalingUnavailableError(f"no address of {peer_id} is known")
        reasons: list[str] = []
        done = self._dialling[peer_id] = trio.Event()

        async def attempt(address: TcpAddress, failed: trio.Event) -> None:
            try:
                await self._dial_address(peer_id, address)
            except SignalingUnavailableError as error:
                reasons.append(str(error))
                failed.set()
            else:
                nursery.cancel_scope.cancel()

        try:
            with trio.move_on_after(DIAL_TIMEOUT_S) as scope:
                async with trio.open_nursery() as nursery:
                    for address in addresses:
                        failed = trio.Event()
                        nursery.start_soon(attempt, address, failed)
                        with trio.move_on_after(DIAL_STAGGER_S):
                            await failed.wait()
            if scope.cancelled_caught:
                silent = ", ".join(map(_endpoint, addresses))
                reasons.append(f"{silent}: no answer over TCP within {DIAL_TIMEOUT_S:g} s")
        finally:
            del self._dialling[peer_id]
            done.set()
        if not self.is_connected(peer_id):
            raise SignalingUnavailableError("; ".join(reasons))

    async def _dial_address(self, peer_id: str, address: TcpAddress) -> INetConn:
        try:
            return await self._swarm.dial_addr(Multiaddr(str(address)), ID.from_base58(peer_id))
        except SwarmException as error:
            refusal = _refusal_of_the_network(error)
            reason = f" ({os.strerror(refusal.errno)})" if refusal and refusal.errno else ""
            said = f"{_endpoint(address)} does not answer over TCP{reason}"
            if refusal is None:
                said = f"{_endpoint(address)}: {error.__cause__ or error}"
            raise SignalingUnavailableError(said) from error


def _endpoint(address: TcpAddress) -> str:
    return str(Endpoint(address.host, address.port))


def _refusal_of_the_network(error: BaseException) -> OSError | None:
    """The innermost: trio's own around it tells of all attempts, and not why they failed."""
    refusal, cause = None, error.__cause__
    while cause is not None:
        if isinstance(cause, OSError):
            refusal = cause
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__
    return refusal


@lru_cache(maxsize=PEER_IDS_CACHED_MAX)
def _id(peer_id: str) -> ID:
    # Asked several times for each message, and slow to parse.
    return ID.from_base58(peer_id)


def source_of(host: Host, peer_id: str) -> str:
    """Where what ``peer_id`` sends comes from: an IPv4 address, or the /64 of an IPv6 address."""
    return min(map(network_of, host.remote_hosts(peer_id)), default="")


@asynccontextmanager
async def open_host(
    identity: Identity,
    listen: Sequence[TcpAddress],
    *,
    connections_max: int,
    is_valuable: Callable[[str], bool],
    count_fault: CountFault,
) -> AsyncIterator[Host]:
    """Run a host that listens on ``listen``; raise SignalingError where it cannot.

    connections_max: at that number the least valuable connections are closed.
    is_valuable: whether connections to a peer are in use, and go last.
    An error of the library that gets past the guards ends the context with an exception group.
    """
    for address in listen:
        await _check_free(address)
    swarm = _new_swarm(identity, connections_max, is_valuable, count_fault)
    host = _PlainHost(network=swarm, disable_identify_address_discovery=True)
    assert str(host.get_id()) == identity.peer_id
    started, stopping = trio.Event(), trio.Event()
    failed: list[TcpAddress] = []
    async with trio.open_nursery() as nursery:
        # Not nursery.start: cancelled, it would wait for a shielded task that waits for stopping.
        nursery.start_soon(_run_host, swarm, host, listen, started, stopping)
        try:
            await started.wait()
            failed += [address for address in listen if str(address) not in swarm.listeners]
            if not failed:
                yield Host(swarm, host, identity.peer_id, count_fault)
        finally:
            stopping.set()
    if failed:  # the library only logs it
        raise SignalingError(f"cannot listen on {failed[0]}")


async def _run_host(
    swarm: GuardedSwarm,
    host: BasicHost,
    listen: Sequence[TcpAddress],
    started: trio.Event,
    stopping: trio.Event,
) -> None:
    """Run ``host`` until ``stopping``, then close it in order within ``CLOSE_TIMEOUT_S``.

    Shielded, because a cancelled swarm leaves its sockets open: closing a connection marks it
    closed first and is then cut short, and listeners live in system tasks.
    """
    with trio.CancelScope() as scope:
        scope.shield = True
        try:
            async with host.run([Multiaddr(str(address)) for address in listen]):
                started.set()
                await stopping.wait()
                scope.deadline = trio.current_time() + CLOSE_TIMEOUT_S
                # All at once: the library sleeps at each.
                async with trio.open_nursery() as nursery:
                    for connection in swarm.get_connections():
                        nursery.start_soon(connection.close)
                await host.close()
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S) as last:
                last.shield = True
                await swarm.release()


def _new_swarm(
    identity: Identity,
    connections_max: int,
    is_valuable: Callable[[str], bool],
    count_fault: CountFault,
) -> GuardedSwarm:
    key_pair = create_new_key_pair(identity.seed)
    peer_id = ID.from_pubkey(key_pair.public_key)
    # The stock set of security transports offers plaintext to whoever asks for it.
    noise = NoiseTransport(key_pair, noise_privkey=create_noise_key_pair().private_key)
    upgrader = TransportUpgrader(
        secure_transports_by_protocol={NOISE_PROTOCOL_ID: noise},
        muxer_transports_by_protocol={YAMUX_PROTOCOL_ID: Yamux},
        negotiate_timeout=NEGOTIATE_TIMEOUT_S,
    )
    hard_max = connections_max + SLACK_CONNECTIONS
    for stage in (upgrader.security_multistream, upgrader.muxer_multistream):
        stage._selector.multiselect_client = _OneFlightSelect()
    # A full peer store would drop our own key first.
    peerstore = PeerStore(max_peers=2 * hard_max, max_records=2 * hard_max)
    peerstore.add_key_pair(peer_id, key_pair)
    return GuardedSwarm(
        peer_id,
        peerstore,
        upgrader,
        transports=[TCP()],
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            # The library's own connector and pruner stay out of it.
            auto_connect_interval=float("inf"),
            min_connections=0,
            low_watermark=0,
            high_watermark=hard_max,
            max_connections=hard_max,
            max_connections_per_peer=4,
            inbound_upgrade_timeout=NEGOTIATE_TIMEOUT_S,
            outbound_upgrade_timeout=NEGOTIATE_TIMEOUT_S,
            inbound_stream_protocol_negotiation_timeout=NEGOTIATE_TIMEOUT_S,
            outbound_stream_protocol_negotiation_timeout=NEGOTIATE_TIMEOUT_S,
        ),
        connections_max=connections_max,
        is_valuable=lambda peer_id: is_valuable(str(peer_id)),
        count_fault=count_fault,
    )


class _PlainHost(BasicHost):  # type: ignore[misc]  # mypy does not follow libp2p.
    """Serves and uses no protocol but those it is given.

    Stock: identify tells whoever connects, and asks them, for addresses and protocols, which are
    configured or known here; ping is answered for any number of strangers.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.get_mux().handlers.clear()

    def _should_identify_peer(self, _peer_id: ID) -> bool:
        return False

    async def _push_identify_to_all_peers(self) -> None:
        return


class _OneFlightSelect(MultiselectClient):  # type: ignore[misc]  # mypy does not follow libp2p.
    """Names the one protocol we speak together with the handshake: one round trip, not two."""

    async def select_one_of(
        self,
        protocols: Sequence[str],
        communicator: IMultiselectCommunicator,
        negotiate_timeout: int = NEGOTIATE_TIMEOUT_S,
    ) -> str:
        (protocol,) = protocols
        answers: tuple[str, ...] = ()
        with trio.move_on_after(negotiate_timeout):
            try:
                await communicator.write(MULTISELECT_PROTOCOL_ID)
                await communicator.write(protocol)
                answers = (await communicator.read(), await communicator.read())
            except MultiselectCommunicatorError as error:
                raise MultiselectClientError(f"{protocol}: {error}") from error
        if answers != (MULTISELECT_PROTOCOL_ID, protocol):
            raise MultiselectClientError(f"the other side does not speak {protocol}")
        return protocol


async def _check_free(address: TcpAddress) -> None:
    """Raise SignalingError where the port is taken.

    The library listens with SO_REUSEPORT: two nodes of one user would share a port and each get
    half of the connections.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with trio.socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            await probe.bind((address.host, address.port))
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, "?")
            raise SignalingError(
                f"cannot listen on {address}: {error.strerror} ({reason}); "
                "stop who uses the port, or set another in overlay.listen"
            ) from error
