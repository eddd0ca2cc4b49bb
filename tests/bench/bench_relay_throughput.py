"""Data through a TURN server on loopback, ours beside coturn's, from the same client program.

Run as ``python -m tests.bench relay-throughput``. One client with one channel to one peer, both in
this process; so many datagrams are on their way at once that the server is always busy and its
socket buffers never full. The servers take turns.
"""

import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import trio

from tests.bench.report import Row
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun import LongTermCredentials, StaticAccounts
from wice.turn import Budgets, Family, PeerPolicy, State, TurnClient, TurnServer
from wice.turn.driver import serve_turn
from wice.udp_sockets import UdpSocketFactory

GROUP = "relay"
ROUNDS = 5
WARM_UP_S = 0.3
RUN_S = 1.5
DATAGRAMS_ON_THE_WAY = 64
STARTING_TIMEOUT_S = 10.0
LOST_AFTER_S = 0.25
SIZES_BYTES = (1_400, 200)

HOST = "127.0.0.1"
RELAY_HOST = "127.0.0.2"
"""Not the peer's: addresses of relays are looked at twice."""
CREDENTIALS = LongTermCredentials("alice", "wonderland")
REALM = "wice"


@dataclass(frozen=True, slots=True)
class Measured:
    """What passed in one run. cpu_s: of the server's process."""

    datagrams: int
    size_bytes: int
    seconds: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.datagrams / self.seconds

    @property
    def megabits_per_s(self) -> float:
        return self.per_s * self.size_bytes * 8 / 1e6

    @property
    def cpu_s_per_gigabyte(self) -> float:
        return self.cpu_s / (self.datagrams * self.size_bytes) * 1e9

    @property
    def cpu_us(self) -> float:
        """For one datagram."""
        return self.cpu_s / self.datagrams * 1e6

    @property
    def cpu_share(self) -> float:
        return self.cpu_s / self.seconds


def rows() -> Iterator[Row]:
    if shutil.which("turnserver") is None:
        yield Row(GROUP, "through a relay", "", skipped="coturn's turnserver is not installed")
        return
    with _ours() as our_server, _coturn() as their_server:
        servers = {"ours": our_server, "coturn": their_server}
        for size_bytes in SIZES_BYTES:
            for is_outward in (True, False):
                yield from _compare(servers, size_bytes, is_outward)


def _compare(servers: dict[str, "_Server"], size_bytes: int, is_outward: bool) -> Iterator[Row]:
    runs: dict[str, list[Measured]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            with _Client(server.endpoint) as client:
                runs[name].append(client.measure(server.pid, size_bytes, is_outward))
    way = "client to peer" if is_outward else "peer to client"
    what = f"{size_bytes:,} bytes, {way}"
    for name, found in runs.items():
        share = sorted(run.cpu_share for run in found)[len(found) // 2]
        note = f"the server has {share:.0%} of a core"
        if size_bytes == max(SIZES_BYTES):
            rate = [m.megabits_per_s for m in found]
            yield Row(GROUP, f"{what}: {name}", "Mbit/s", rate, note=note)
            yield Row(GROUP, f"{what}: {name}", "CPU-s/GB", [m.cpu_s_per_gigabyte for m in found])
        else:
            yield Row(GROUP, f"{what}: {name}", "1/s", [m.per_s for m in found], note=note)
            yield Row(GROUP, f"{what}: {name}", "CPU-µs", [m.cpu_us for m in found])
    pairs = list(zip(*runs.values(), strict=True))
    rates = [ours.per_s / coturn.per_s for ours, coturn in pairs]
    costs = [ours.cpu_us / coturn.cpu_us for ours, coturn in pairs]
    yield Row(GROUP, f"{what}: rate, ours / coturn", "×", rates)
    yield Row(GROUP, f"{what}: CPU, ours / coturn", "×", costs)


class _Client:
    """A client that has a channel to a peer; plain sockets, for they cost least."""

    def __init__(self, server: Endpoint) -> None:
        self._client = socket.socket(type=socket.SOCK_DGRAM)
        self._peer = socket.socket(type=socket.SOCK_DGRAM)
        self._peer.bind((HOST, 0))
        self._client.connect(server)
        self._turn = TurnClient(server, CREDENTIALS, random_bytes=os.urandom, now=time.monotonic())
        self._peer_endpoint = Endpoint(*self._peer.getsockname())
        self._turn.bind_channel(self._peer_endpoint, time.monotonic())
        self._client.settimeout(STARTING_TIMEOUT_S)
        self._exchange()
        while (data := self._encapsulate(b"")) is None or data[0] != 0x40:
            self._exchange(waits=True)
        self._client.setblocking(False)
        self._peer.setblocking(False)

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.setblocking(True)
        self._turn.close(time.monotonic())
        while self._turn.state is not State.CLOSED:
            self._exchange(waits=True)
        self._client.close()
        self._peer.close()

    def _encapsulate(self, data: bytes) -> bytes | None:
        return self._turn.encapsulate(data, self._peer_endpoint, time.monotonic())

    def _exchange(self, *, waits: bool = False) -> None:
        while (data := self._turn.poll_transmit()) is not None:
            self._client.send(data)
        if waits:
            data = self._client.recv(65_535)
            # Data may still be on its way when the allocation ends.
            with suppress(RemoteProtocolError):
                self._turn.receive(data, self._turn.server, time.monotonic())

    def measure(self, pid: int, size_bytes: int, is_outward: bool) -> Measured:
        payload = bytes(size_bytes)
        if is_outward:
            channel_data = self._encapsulate(payload)
            assert channel_data is not None
            send = partial(self._client.send, channel_data)
            receiving = self._peer
        else:
            send = partial(self._peer.sendto, payload, self._turn.relayed[Family.IPV4])
            receiving = self._client
        self._pump(send, receiving, WARM_UP_S)
        cpu_before_s = _cpu_s(pid)
        began_at_s = time.perf_counter()
        datagrams = self._pump(send, receiving, RUN_S)
        seconds = time.perf_counter() - began_at_s
        return Measured(datagrams, size_bytes, seconds, _cpu_s(pid) - cpu_before_s)

    def _pump(self, send: "partial[int]", receiving: socket.socket, run_s: float) -> int:
        """Keep datagrams on their way for so long; give how many arrived."""
        received = on_the_way = 0
        until_s = time.perf_counter() + run_s
        with selectors.DefaultSelector() as selector:
            selector.register(receiving, selectors.EVENT_READ)
            while time.perf_counter() < until_s:
                for _ in range(DATAGRAMS_ON_THE_WAY - on_the_way):
                    send()
                on_the_way = DATAGRAMS_ON_THE_WAY
                if not selector.select(LOST_AFTER_S):
                    on_the_way = 0
                try:
                    while True:
                        receiving.recv(2_048)
                        received += 1
                        on_the_way -= 1
                except BlockingIOError:
                    pass
                on_the_way = max(on_the_way, 0)
        return received


@dataclass(frozen=True, slots=True)
class _Server:
    endpoint: Endpoint
    pid: int


def _cpu_s(pid: int) -> float:
    """CPU time of all threads of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def _ours() -> Iterator[_Server]:
    command = [sys.executable, "-m", "tests.bench.bench_relay_throughput"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield _Server(Endpoint(HOST, int(process.stdout.readline())), process.pid)
        finally:
            process.kill()


@contextmanager
def _coturn() -> Iterator[_Server]:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        command = [
            *("turnserver", "-n", "-a", "--realm", REALM, "--listening-port", str(port)),
            *("--user", f"{CREDENTIALS.username}:{CREDENTIALS.password}"),
            *("-L", HOST, "-E", RELAY_HOST, "--allow-loopback-peers"),
            *("--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-stdout-log", "--simple-log"),
            *("--log-file", f"{directory}/log", "--pidfile", f"{directory}/pid"),
            *("--userdb", f"{directory}/userdb"),
        ]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_until_bound(port)
                yield _Server(Endpoint(HOST, port), process.pid)
            finally:
                process.kill()


def _wait_until_bound(port: int) -> None:
    until_s = time.monotonic() + STARTING_TIMEOUT_S
    while time.monotonic() < until_s:
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                return
        time.sleep(0.05)
    raise TimeoutError("coturn did not start")


async def _serve() -> None:
    # As ``wice bootstrap`` does.
    trio.socket.set_custom_socket_factory(UdpSocketFactory())
    server = TurnServer(
        StaticAccounts({CREDENTIALS.username: CREDENTIALS.password}),
        realm=REALM,
        random_bytes=os.urandom,
        now=trio.current_time(),
        budgets=Budgets(
            allocations_per_user=64,
            bytes_per_s=1e12,
            bytes_per_s_per_user=1e12,
            bytes_per_day=10**15,
            bytes_per_day_per_user=10**15,
        ),
        policy=PeerPolicy(allowed=[ip_network("127.0.0.0/8")]),
    )
    async with trio.open_nursery() as nursery:
        serve = partial(serve_turn, server, 0, hosts=(HOST,), relay_hosts=lambda: (RELAY_HOST,))
        bound = await nursery.start(serve)
        sys.stdout.write(f"{bound[0].port}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_serve)
