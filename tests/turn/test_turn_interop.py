"""Our client at coturn's server, and coturn's client at ours, on loopback addresses."""

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import LongTermCredentials, StaticAccounts
from wice.turn import (
    Allocated,
    AllocationFailed,
    Budgets,
    ChannelBound,
    ClientEvent,
    CredentialsRefused,
    Family,
    PeerData,
    PeerPolicy,
    PermissionGranted,
    PermissionRefused,
    RestAccounts,
    State,
    TurnClient,
    TurnServer,
    rest_credentials,
)
from wice.turn.driver import serve_turn

TIMEOUT_S = 30
SECRET = b"north wind"
REALM = "wice.example"
LOOPBACK = {"127.0.0.1": Family.IPV4, "::1": Family.IPV6}

needs_coturn = pytest.mark.skipif(
    not (shutil.which("turnserver") and shutil.which("turnutils_uclient")),
    reason="needs the Debian package coturn",
)


def free_port() -> int:
    import socket

    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::", 0))
        port: int = probe.getsockname()[1]
        return port


class Run:
    """A client with a socket of its own."""

    def __init__(self, client: TurnClient, socket: trio.socket.SocketType) -> None:
        self.client = client
        self.events: list[ClientEvent] = []
        self.data: list[PeerData] = []
        self.dropped: list[str] = []
        self._socket = socket
        self._happened = trio.Event()

    async def drain(self) -> None:
        while (data := self.client.poll_transmit()) is not None:
            await self._socket.sendto(data, self.client.server)
        while (event := self.client.poll_event()) is not None:
            self.events.append(event)
        while (came := self.client.poll_data()) is not None:
            self.data.append(came)
        self._happened.set()
        self._happened = trio.Event()

    async def run(self) -> None:
        while True:
            await self.drain()
            deadline = self.client.deadline()
            with trio.move_on_at(float("inf") if deadline is None else deadline):
                data, source = await self._socket.recvfrom(70_000)
                try:
                    self.client.receive(data, Endpoint(*source[:2]), trio.current_time())
                except RemoteProtocolError as error:
                    self.dropped.append(str(error))
            self.client.handle_timeout(trio.current_time())

    async def until(self, kind: type[ClientEvent]) -> ClientEvent:
        while True:
            for event in self.events:
                if isinstance(event, kind):
                    return event
            await self._happened.wait()

    async def until_closed(self) -> None:
        while self.client.state is not State.CLOSED:
            await self._happened.wait()

    async def until_data(self, count: int) -> list[PeerData]:
        while len(self.data) < count:
            await self._happened.wait()
        return self.data


@asynccontextmanager
async def running(
    server: Endpoint, credentials: LongTermCredentials, families: Sequence[Family]
) -> AsyncIterator[Run]:
    family = trio.socket.AF_INET6 if server.is_ipv6 else trio.socket.AF_INET
    with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
        await socket.bind((server.host, 0))
        client = TurnClient(
            server,
            credentials,
            random_bytes=os.urandom,
            now=trio.current_time(),
            families=families,
        )
        run = Run(client, socket)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.run)
            yield run
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def coturn(tmp_path: Path, *options: str) -> AsyncIterator[int]:
    """coturn's server on the loopback addresses, ready; gives its port."""
    port = free_port()
    command = [
        *("turnserver", "-n", "--listening-port", str(port), "-L", "127.0.0.1", "-L", "::1"),
        *("-E", "127.0.0.1", "-E", "::1", "--allow-loopback-peers", "--realm", REALM),
        *("--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--fingerprint"),
        *("--log-file", str(tmp_path / "coturn.log"), "--simple-log", "--no-stdout-log"),
        *("--pidfile", str(tmp_path / "coturn.pid"), "--userdb", str(tmp_path / "turndb")),
        *options,
    ]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def echo(socket: trio.socket.SocketType) -> None:
    while True:
        data, source = await socket.recvfrom(70_000)
        await socket.sendto(b"echo " + data, source)


async def exchange(run: Run, host: str) -> None:
    """Allocate, and carry data both ways, first in indications and then on a channel."""
    client = run.client
    allocated = await run.until(Allocated)
    assert isinstance(allocated, Allocated)
    family = trio.socket.AF_INET6 if ":" in host else trio.socket.AF_INET
    async with trio.open_nursery() as nursery:
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as socket:
            await socket.bind((host, 0))
            peer = Endpoint(*socket.getsockname()[:2])
            nursery.start_soon(echo, socket)
            assert client.permit(host, trio.current_time())
            await run.drain()
            await run.until(PermissionGranted)
            assert client.send(b"in an indication", peer, trio.current_time())
            await run.drain()
            await run.until_data(1)
            client.bind_channel(peer, trio.current_time())
            await run.drain()
            await run.until(ChannelBound)
            assert client.send(b"on a channel" * 100, peer, trio.current_time())
            await run.drain()
            data = await run.until_data(2)
            assert data == [
                PeerData(b"echo in an indication", peer),
                PeerData(b"echo " + b"on a channel" * 100, peer),
            ]
            nursery.cancel_scope.cancel()
    # Answers to what was sent twice while the server was starting; nothing else.
    assert set(run.dropped) <= {"an answer to no request of ours"}
    client.close(trio.current_time())
    await run.drain()
    await run.until_closed()


@needs_coturn
@pytest.mark.parametrize("server_host", LOOPBACK)
@pytest.mark.parametrize("relay_host", LOOPBACK)
async def test_our_client_at_coturn_with_long_term_credentials(
    tmp_path: Path, server_host: str, relay_host: str
) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with (
            coturn(tmp_path, "--lt-cred-mech", "--user", "alice:wonderland") as port,
            running(
                Endpoint(server_host, port),
                LongTermCredentials("alice", "wonderland"),
                [LOOPBACK[relay_host]],
            ) as run,
        ):
            await exchange(run, relay_host)


@needs_coturn
async def test_our_client_gets_both_families_in_one_allocation_of_coturn(tmp_path: Path) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with (
            coturn(tmp_path, "--lt-cred-mech", "--user", "alice:wonderland") as port,
            running(
                Endpoint("127.0.0.1", port),
                LongTermCredentials("alice", "wonderland"),
                [Family.IPV4, Family.IPV6],
            ) as run,
        ):
            allocated = await run.until(Allocated)
            assert isinstance(allocated, Allocated)
            assert {endpoint.host for endpoint in allocated.relayed} == {"127.0.0.1", "::1"}
            await exchange(run, "::1")


@needs_coturn
async def test_our_client_at_coturn_with_credentials_that_expire(tmp_path: Path) -> None:
    credentials = rest_credentials(SECRET, "alice", time.time() + 600)
    with trio.fail_after(TIMEOUT_S):
        async with (
            coturn(
                tmp_path, "--use-auth-secret", f"--static-auth-secret={SECRET.decode()}"
            ) as port,
            running(Endpoint("127.0.0.1", port), credentials, [Family.IPV4]) as run,
        ):
            await exchange(run, "127.0.0.1")


@needs_coturn
async def test_our_client_says_that_coturn_refuses_its_credentials(tmp_path: Path) -> None:
    credentials = rest_credentials(b"another secret", "alice", time.time() + 600)
    with trio.fail_after(TIMEOUT_S):
        async with (
            coturn(
                tmp_path, "--use-auth-secret", f"--static-auth-secret={SECRET.decode()}"
            ) as port,
            running(Endpoint("127.0.0.1", port), credentials, [Family.IPV4]) as run,
        ):
            failed = await run.until(AllocationFailed)
            assert isinstance(failed, AllocationFailed) and failed.code == 401
            await run.until(CredentialsRefused)


@needs_coturn
async def test_an_allocation_left_behind_at_coturn_makes_room(tmp_path: Path) -> None:
    """The same address and port again, as after a restart of the daemon: 437, and then not."""
    with trio.fail_after(TIMEOUT_S):
        async with coturn(tmp_path, "--lt-cred-mech", "--user", "alice:wonderland") as port:
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
                await socket.bind(("127.0.0.1", 0))
                relayed = []
                for _ in range(2):
                    client = TurnClient(
                        Endpoint("127.0.0.1", port),
                        LongTermCredentials("alice", "wonderland"),
                        random_bytes=os.urandom,
                        now=trio.current_time(),
                    )
                    run = Run(client, socket)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(run.run)
                        allocated = await run.until(Allocated)
                        assert isinstance(allocated, Allocated)
                        relayed.append(allocated.relayed)
                        nursery.cancel_scope.cancel()
                assert relayed[0] != relayed[1]


@asynccontextmanager
async def our_server(**options: object) -> AsyncIterator[tuple[TurnServer, int]]:
    accounts = options.pop("accounts", None) or StaticAccounts({"alice": "wonderland"}, REALM)
    policy = PeerPolicy(
        own_addresses=["127.0.0.1", "::1"],
        allowed=[ip_network("127.0.0.0/8"), ip_network("::1/128")],
    )
    server = TurnServer(
        accounts,  # type: ignore[arg-type]
        realm=REALM,
        random_bytes=os.urandom,
        now=trio.current_time(),
        policy=options.pop("policy", policy),  # type: ignore[arg-type]
        budgets=Budgets(allocations_per_user=64),
    )
    async with trio.open_nursery() as nursery:
        bound = await nursery.start(
            partial(
                serve_turn,
                server,
                free_port(),
                hosts=("127.0.0.1", "::1"),
                relay_hosts=lambda: ("127.0.0.1", "::1"),
            )
        )
        yield server, bound[0].port
        nursery.cancel_scope.cancel()


async def uclient(port: int, *options: str, host: str = "127.0.0.1") -> str:
    """coturn's client at our server: four clients in pairs, ten messages each."""
    command = [
        *("turnutils_uclient", "-p", str(port), "-c", "-n", "10", "-m", "4", "-l", "300"),
        *("-z", "5", *options, host),
    ]
    ended = await trio.run_process(
        command, capture_stdout=True, stderr=subprocess.STDOUT, check=False
    )
    said: str = ended.stdout.decode()
    assert ended.returncode == 0, said
    return said


LONG_TERM = ("-u", "alice", "-w", "wonderland")


@needs_coturn
@pytest.mark.parametrize(
    "options",
    [
        ("-y", "-s", *LONG_TERM),
        ("-y", "-G", *LONG_TERM),
        ("-y", "-Z", *LONG_TERM),
    ],
    ids=["indications", "channels and more requests", "both families"],
)
async def test_coturns_client_at_our_server(options: Sequence[str]) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with our_server() as (server, port):
            said = await uclient(port, *options)
            assert "lost packets 0 (0.000000%)" in said, said
            assert server.counts["data relayed to clients"] >= 40
            assert server.counts["malformed"] == 0


@needs_coturn
async def test_coturns_client_at_our_server_over_ipv6() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with our_server() as (server, port):
            said = await uclient(port, "-y", "-x", *LONG_TERM, host="::1")
            assert "lost packets 0 (0.000000%)" in said, said
            assert server.counts["data relayed to clients"] >= 40
            assert server.counts["malformed"] == 0


@needs_coturn
async def test_coturns_client_reaches_a_peer_through_our_server() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with our_server() as (server, port), trio.open_nursery() as nursery:
            with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as socket:
                await socket.bind(("127.0.0.1", 0))

                async def reflect() -> None:
                    while True:
                        await socket.sendto(*await socket.recvfrom(70_000))

                nursery.start_soon(reflect)
                peer_port = socket.getsockname()[1]
                said = await uclient(port, *LONG_TERM, "-e", "127.0.0.1", "-r", str(peer_port))
                nursery.cancel_scope.cancel()
            assert "lost packets 0 (0.000000%)" in said, said
            assert server.counts["data relayed to peers"] >= 40


@needs_coturn
async def test_coturns_client_at_our_server_with_credentials_that_expire() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with our_server(accounts=RestAccounts(SECRET, time.time)) as (server, port):
            said = await uclient(port, "-y", "-u", "alice", "-W", SECRET.decode())
            assert "lost packets 0 (0.000000%)" in said, said
            assert server.counts["allocations made"] >= 4


@needs_coturn
async def test_coturns_client_with_a_wrong_password_gets_nothing() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with our_server() as (server, port):
            with pytest.raises(AssertionError, match="Cannot complete Allocation"):
                await uclient(port, "-y", "-u", "alice", "-w", "looking glass")
            assert server.counts["allocations made"] == 0


@pytest.mark.parametrize("server_host", LOOPBACK)
@pytest.mark.parametrize("relay_host", LOOPBACK)
async def test_our_client_at_our_server(server_host: str, relay_host: str) -> None:
    with trio.fail_after(TIMEOUT_S):
        async with (
            our_server() as (server, port),
            running(
                Endpoint(server_host, port),
                LongTermCredentials("alice", "wonderland"),
                [LOOPBACK[relay_host]],
            ) as run,
        ):
            await exchange(run, relay_host)
            assert server.allocations(trio.current_time()) == []


async def test_our_server_does_not_relay_to_loopback_by_default() -> None:
    with trio.fail_after(TIMEOUT_S):
        async with (
            our_server(policy=PeerPolicy()) as (_, port),
            running(
                Endpoint("127.0.0.1", port),
                LongTermCredentials("alice", "wonderland"),
                [Family.IPV4],
            ) as run,
        ):
            run.client.permit("127.0.0.2", trio.current_time())
            refused = await run.until(PermissionRefused)
            assert refused == PermissionRefused("127.0.0.2", 403)
