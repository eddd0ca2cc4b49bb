"""Our agent behind the lab's NATs, against aioice and libnice behind theirs, each in a namespace.

coturn on the bootstrap node is everybody's STUN server, and the others' relay.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path as FilePath

import pytest
import trio

from sims.lab.grid import can_be_direct
from sims.lab.lab import Lab, open_lab
from sims.lab.nat import NAT_KINDS
from sims.lab.registry import LEASH
from sims.lab.requirements import missing
from sims.lab.topology import IpVersions, Site, Topology
from tests.ice.interop import AIOICE, OtherAgent, Selected, SocketPort
from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.events import EventStream
from wice.ice import Agent, Credentials, IceDriver, format_candidate, parse_candidate
from wice.stun import Class, Method, encode
from wice.turn import rest_credentials

pytestmark = pytest.mark.root

KINDS = {
    IpVersions.V4: (
        *("none", "full-cone", "address-restricted"),
        *("port-restricted", "symmetric", "cgnat"),
    ),
    IpVersions.V6: ("none", "port-restricted", "cgnat"),
}
"""Of each, one home for our agent and one for the other."""
AGENTS = ("aioice", "libnice")
SECRET = b"north wind"
STUN_PORT = 3478
TIMEOUT_S = 60.0
START_POLL_S = 0.05
SEND_INTERVAL_S = 0.1
LIBNICE_SOURCE = FilePath(__file__).with_name("libnice_peer.c")


@dataclass(frozen=True)
class Case:
    """ours, theirs: kinds of NAT. trickles: ours always can, aioice cannot send it.

    has_relay: the other has an allocation at coturn. nominates_regularly: only libnice can do
    otherwise.
    """

    agent: str
    ours: str
    theirs: str
    is_controlling: bool = True
    ip: IpVersions = IpVersions.V4
    trickles: bool = True
    has_relay: bool = False
    nominates_regularly: bool = True

    @property
    def is_direct(self) -> bool:
        """Whether the two can do without a relay."""
        return can_be_direct(NAT_KINDS[self.ours], NAT_KINDS[self.theirs], self.ip)

    def __str__(self) -> str:
        words = (
            self.agent,
            f"IPv{self.ip}",
            f"{self.ours}-{self.theirs}",
            "controlling" if self.is_controlling else "controlled",
            "trickle" if self.trickles else "full",
            *(["relay"] if self.has_relay else []),
            *([] if self.nominates_regularly else ["aggressive"]),
        )
        return " ".join(words)


def home(side: str, kind: str) -> str:
    """The name of a side's home behind a kind of NAT."""
    return side + kind.replace("-", "")[:5]


@dataclass
class Place:
    """A lab with coturn in it."""

    lab: Lab
    coturn: Endpoint

    def public_address(self, side: str, kind: str) -> str:
        return str(self.lab.nodes[home(side, kind)].public_address)

    def inside(self, node: str, command: Sequence[str]) -> list[str]:
        return ["nsenter", f"--net={self.lab[node].path}", *command]


@pytest.fixture(scope="module")
def libnice(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The peer made of libnice, compiled."""
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "nice"], capture_output=True, text=True
    )
    if found.returncode or not shutil.which("cc"):
        pytest.skip("needs the Debian packages libnice-dev and gcc")
    program = tmp_path_factory.mktemp("libnice") / "libnice_peer"
    flags = found.stdout.split()
    subprocess.run(["cc", "-Wall", "-o", program, LIBNICE_SOURCE, *flags], check=True)
    return str(program)


@contextmanager
def open_place(ip: IpVersions, directory: FilePath) -> Iterator[Place]:
    sites = [
        Site(home(side, kind), NAT_KINDS[kind])
        for side, kind in product(("ours", "their"), KINDS[ip])
    ]
    with ExitStack() as stack:
        lab = stack.enter_context(open_lab(Topology(tuple(sites), ip=ip), directory / "labs"))
        place = Place(lab, Endpoint(str(lab.nodes["bootstrap"].address), STUN_PORT))
        command = [
            *("turnserver", "-n", "--listening-port", str(STUN_PORT), "-L", place.coturn.host),
            *("-E", place.coturn.host, "--use-auth-secret"),
            *(f"--static-auth-secret={SECRET.decode()}", "--realm", "wice.example"),
            *("--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--fingerprint"),
            *("--log-file", str(directory / "coturn.log"), "--simple-log", "--no-stdout-log"),
            *("--pidfile", str(directory / "coturn.pid"), "--userdb", str(directory / "turndb")),
        ]
        coturn = subprocess.Popen(
            [*LEASH, *place.inside("bootstrap", command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(coturn.wait)
        stack.callback(coturn.kill)
        _wait_for_coturn(place)
        yield place


def _wait_for_coturn(place: Place) -> None:
    family = socket.AF_INET6 if place.coturn.is_ipv6 else socket.AF_INET
    with place.lab["bootstrap"].entered():
        probe = socket.socket(family, socket.SOCK_DGRAM)
    with probe:
        probe.settimeout(START_POLL_S)
        request = encode(Method.BINDING, Class.REQUEST, os.urandom(12))
        for _ in range(round(TIMEOUT_S / START_POLL_S)):
            probe.sendto(request, place.coturn)
            try:
                probe.recv(2_000)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(START_POLL_S)
                continue
            return
    raise AssertionError("coturn does not answer")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[IpVersions, Place]]:
    if lacking := missing():
        pytest.skip(lacking)
    if not shutil.which("turnserver"):
        pytest.skip("needs the Debian package coturn")
    with ExitStack() as stack:
        yield {
            ip: stack.enter_context(open_place(ip, tmp_path_factory.mktemp(f"ip{ip}")))
            for ip in KINDS
        }


@dataclass
class Meeting:
    """Our agent and the other, who are told of each other as signaling would."""

    case: Case
    place: Place
    port: SocketPort
    driver: IceDriver
    agent: Agent
    other: OtherAgent
    selected: Selected | None = None
    received: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def tell(self) -> None:
        """Tell the other our side: all at once, or each candidate when it is there."""
        changed = trio.Event()

        def note_change() -> None:
            changed.set()

        self.driver.on_candidates_changed = note_change
        self.driver.set_stun_servers([self.place.coturn])
        while not (self.case.trickles or self.driver.candidates_complete):
            await changed.wait()
            changed = trio.Event()
        local = self.agent.local
        await self.other.tell("credentials", local.ufrag, local.password)
        if self.case.trickles:
            await self.other.tell("connect")
        while True:
            # Those of one moment: while they are told, more come, and perhaps the last.
            candidates, are_all = self.driver.candidates, self.driver.candidates_complete
            for text in map(format_candidate, candidates):
                if text not in self.told:
                    self.told.append(text)
                    await self.other.tell("candidate", text)
            if are_all:
                break
            await changed.wait()
            changed = trio.Event()
        if not self.case.trickles:
            await self.other.tell("connect")
        await self.other.tell("end-of-candidates")

    async def hear(self) -> None:
        """Take what the other says, until cancelled."""
        while True:
            word, rest = await self.other.hear_any()
            now = trio.current_time()
            match word:
                case "credentials":
                    self.agent.set_remote(Credentials(*rest.split(" ")), now)
                case "candidate":
                    try:
                        self.agent.add_remote_candidate(parse_candidate(rest), now)
                    except RemoteProtocolError:
                        continue  # Link-local, which means nothing to another host.
                case "end-of-candidates":
                    self.agent.end_of_candidates(now)
                case "selected":
                    self.selected = Selected.read(rest)
                case "received":
                    self.received.append(rest)
            self.driver.wake(self.agent)

    async def talk(self) -> None:
        """Say something both ways, until what the other says along the pair that it selected came
        along ours, and what we say along ours reached the other.
        """
        heard_on = None
        while True:
            await trio.sleep(SEND_INTERVAL_S)
            selected = self.agent.selected
            if selected is None or self.selected is None:
                continue
            if heard_on != (selected, self.selected):
                heard_on = (selected, self.selected)
                self.port.data.clear()
                self.received.clear()
            self.port.send(b"hello from wice", selected.path)
            await self.other.tell("send", f"hello from {self.case.agent}")
            await trio.sleep(SEND_INTERVAL_S)
            data = (f"hello from {self.case.agent}".encode(), selected.path.remote)
            if data in self.port.data and "hello from wice" in self.received:
                return

    def state(self) -> str:
        """Where it stands, for a person."""
        pairs = "\n".join(map(str, self.agent.pair_reports()))
        told = "\n".join(self.told)
        return f"ours: {self.agent.selected}\nthe other: {self.selected}\n{told}\n{pairs}"


@asynccontextmanager
async def meeting(case: Case, place: Place, libnice: str) -> AsyncIterator[Meeting]:
    ours, theirs = home("ours", case.ours), home("their", case.theirs)
    family = trio.socket.AF_INET6 if case.ip is IpVersions.V6 else trio.socket.AF_INET
    with place.lab[ours].entered():
        udp = trio.socket.socket(family, trio.socket.SOCK_DGRAM)
    command = list(AIOICE) if case.agent == "aioice" else [libnice]
    command += ["controlled" if case.is_controlling else "controlling"]
    command += ["--stun", place.coturn.host, str(place.coturn.port)]
    if case.has_relay:
        credentials = rest_credentials(SECRET, "other", time.time() + 600)
        server = (place.coturn.host, str(place.coturn.port))
        command += ["--turn", *server, credentials.username, credentials.password]
    if case.agent == "libnice":
        command += ["--trickle"] * case.trickles + ["--regular"] * case.nominates_regularly
    with udp:
        await udp.bind((str(place.lab.nodes[ours].address), 0))
        port = SocketPort(udp)
        driver = IceDriver(port, lambda: [port.address], os.urandom, EventStream())
        agent = Agent(
            controlling=case.is_controlling,
            local=Credentials.generate(os.urandom),
            random_bytes=os.urandom,
            now=trio.current_time(),
        )
        driver.register(agent, lambda _: None)
        other = await OtherAgent.start(place.inside(theirs, command))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run)
                yield Meeting(case, place, port, driver, agent, other)
                nursery.cancel_scope.cancel()
        finally:
            await other.aclose()


async def connect(case: Case, places: dict[IpVersions, Place], libnice: str) -> None:
    """Meet, talk, and see that both mean the same pair."""
    place = places[case.ip]
    async with meeting(case, place, libnice) as met, trio.open_nursery() as nursery:
        nursery.start_soon(met.hear)
        nursery.start_soon(met.tell)
        with trio.move_on_after(TIMEOUT_S) as timeout:
            await met.talk()
        nursery.cancel_scope.cancel()
    assert not timeout.cancelled_caught, met.state()
    ours, theirs = met.agent.selected, met.selected
    assert ours is not None and theirs is not None
    assert theirs.role == ("controlled" if case.is_controlling else "controlling")
    assert met.agent.controlling is case.is_controlling
    if not case.is_direct:
        assert ours.path.remote == theirs.local and theirs.local_type == "relay"
        assert ours.path.remote.host == place.coturn.host
        return
    assert ours.path.remote.host == place.public_address("their", case.theirs)
    assert theirs.remote.host == place.public_address("ours", case.ours)
    # The port that such a NAT showed the STUN server is not the one that a peer sees.
    if case.theirs == "symmetric":
        assert ours.remote_type == "prflx"
    if case.ours == "symmetric":
        assert theirs.remote_type == "prflx"


TELLING = (
    Case("libnice", "port-restricted", "port-restricted"),
    Case("libnice", "cgnat", "port-restricted", False, trickles=False, nominates_regularly=False),
    Case("libnice", "symmetric", "address-restricted", trickles=False),
    Case("libnice", "address-restricted", "symmetric", False),
    Case("libnice", "port-restricted", "port-restricted", has_relay=True),
    Case("libnice", "symmetric", "symmetric", has_relay=True),
    Case("libnice", "symmetric", "port-restricted", False, trickles=False, has_relay=True),
    Case("libnice", "port-restricted", "cgnat", True, IpVersions.V6),
    Case("libnice", "cgnat", "none", False, IpVersions.V6, trickles=False),
    Case("aioice", "port-restricted", "port-restricted", trickles=False),
    Case("aioice", "cgnat", "full-cone", False),
    Case("aioice", "symmetric", "address-restricted", False, trickles=False),
    Case("aioice", "address-restricted", "symmetric"),
    Case("aioice", "port-restricted", "port-restricted", has_relay=True),
    Case("aioice", "symmetric", "symmetric", has_relay=True),
    Case("aioice", "port-restricted", "symmetric", False, trickles=False, has_relay=True),
    Case("aioice", "port-restricted", "cgnat", True, IpVersions.V6, trickles=False),
    Case("aioice", "cgnat", "none", False, IpVersions.V6),
)


@pytest.mark.parametrize("case", TELLING, ids=str)
async def test_connects_behind_nats(
    case: Case, places: dict[IpVersions, Place], libnice: str
) -> None:
    await connect(case, places, libnice)


def matrix() -> Iterator[Case]:
    """Every pair of kinds, in every way that the other can; with a relay where it takes one."""
    for agent, (ip, kinds) in product(AGENTS, KINDS.items()):
        ways = product(kinds, kinds, (True, False), (True, False), (True, False))
        for ours, theirs, is_controlling, trickles, is_regular in ways:
            if not is_regular and (agent == "aioice" or is_controlling):
                continue
            case = Case(
                agent,
                ours,
                theirs,
                is_controlling,
                ip,
                trickles,
                nominates_regularly=is_regular,
            )
            yield case if case.is_direct else replace(case, has_relay=True)


@pytest.mark.nightly
@pytest.mark.parametrize("case", list(matrix()), ids=str)
async def test_connects_behind_every_pair_of_nats(
    case: Case, places: dict[IpVersions, Place], libnice: str
) -> None:
    await connect(case, places, libnice)
