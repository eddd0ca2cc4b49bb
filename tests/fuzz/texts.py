"""What people and local programs write: the configuration, the control socket, addresses, keys."""

import base64
import socket
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import trio
import trio.testing

from p2p.section import NodeAddress, Section, TcpAddress, check_peer_id, peer_id_text
from sims.files.scenario_file import find_scenario, load_scenario
from tests.fuzz.mutation import TEXT, VALUES
from tests.fuzz.target import Case, Target
from wice.cli.commands import _control_socket
from wice.cli.status import format_status
from wice.cli.why import format_why
from wice.config import load_config
from wice.daemon.control import _receive_line
from wice.daemon.control_protocol import _read_line, decode_line, decode_request, encode_line
from wice.datagram import Endpoint
from wice.errors import ConfigError, RemoteProtocolError
from wice.keys import PrivateKey
from wice.stun.uri import parse_stun_uri

OURS = PrivateKey(bytes(range(32)))
THEIRS = PrivateKey(bytes(range(1, 33))).public_key()
OTHER = PrivateKey(bytes(range(2, 34))).public_key()
PEER_ID = peer_id_text(bytes.fromhex("002408011220") + bytes(range(32)))
NODE = f"/ip4/203.0.113.10/tcp/4001/p2p/{PEER_ID}"

HOME = f"""
state_dir = "state"
control_socket = "wice.sock"

[overlay]
community = "harbour"
bootstrap = ["{NODE}"]
listen = ["/ip4/0.0.0.0/tcp/4001"]
secret_file = "secret"

[ice]
stun = ["stun:198.51.100.7:3478", "stun:[2001:db8::1]"]

[interfaces.wg0]
private_key_file = "wg0.key"
listen_port = 51820
addresses = ["10.77.0.1/24", "fd00::1/64"]
mtu = 1420

[[interfaces.wg0.peers]]
public_key = "{THEIRS}"
allowed_ips = ["10.77.0.2/32", "fd00::2/128"]
preshared_key_file = "psk"
name = "bob"

[[interfaces.wg0.peers]]
public_key = "{OTHER}"
"""
BOOTSTRAP = """
[overlay]
community = "harbour"
announce = ["/ip4/203.0.113.10/tcp/4001"]
[stun_server]
ports = [3478, 3479]
"""
TOML_TOKENS = (
    b"= 1\n",
    b'= "~nosuchuser/x"\n',
    b'= "a\\u0000b"\n',
    b'= "~"\n',
    b'= ["~nosuchuser/x", "\\u0000"]\n',
    b'= "/"\n',
    b'= "wice.toml/x"\n',
    b'= "' + b"x" * 300 + b'"\n',
    b"= [" + b"{},".join((b"",) * 99) + b"]\n",
    b'= [""]\n',
    b"= 9223372036854775808\n",
    b"= -1\n",
    b'= ""\n',
    b"= [" + b"[" * 2_000,
    b"= " + b"9" * 5_000 + b"\n",
    b"= -9223372036854775809\n",
    b"= 1e400\n",
    b"= nan\n",
    b"= 1979-05-27T07:32:00Z\n",
    b"= { a = 1 }\n",
    b"= [1, true]\n",
    b'"',
    b"'",
    b"[",
    b"[interfaces.wg1]\n",
    b'"../wg0".x',
    b"a." * 800,
    b"~",
    b"\x00",
    b"\\u0000",
    b"\\ud800",
    "ı".encode(),
    b"/0",
    b"%eth0",
    b"secret_file",
    b"private_key_file",
)


def configuration(directory: Path) -> Case:
    """The whole file, through the backend's check of its section, up to a configuration."""
    for name in ("wg0.key", "psk", "secret"):
        key_file = directory / name
        key_file.touch(mode=0o600)
        key_file.write_text(OURS.reveal_base64() + "\n")
    path = directory / "wice.toml"

    def load(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(ConfigError):
            _control_socket(path)
        config = load_config(path)
        for is_bootstrap in (False, True):
            Section.parse(config.overlay, is_bootstrap=is_bootstrap).read_secret()

    return Case([HOME.encode(), BOOTSTRAP.encode()], load)


def section(_: Path) -> Case:
    """The overlay's table with any types in it, as TOML gives them."""

    def read(data: bytes) -> None:
        try:
            table = tomllib.loads(data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return
        Section.parse(table)

    text = f"""
community = "harbour"
bootstrap = ["{NODE}"]
listen = ["/ip6/::/tcp/0"]
announce = ["/ip4/203.0.113.10/tcp/4001"]
secret_file = "secret"
"""
    return Case([text.encode()], read)


def scenario_file(directory: Path) -> Case:
    path = directory / "story.toml"

    def load(data: bytes) -> None:
        path.write_bytes(data)
        load_scenario(path)

    names = ("swarm", "cgnat", "lossy-satellite", "roaming-phone")
    return Case([find_scenario(name).read_bytes() for name in names], load)


SCENARIO_TOKENS = (
    b"= inf\n",
    b"= 1e308\n",
    b"count = 1000\n",
    b'behind = "home"\n',
    b'target = ["home", "home"]\n',
    b'up = "none"\n',
    b"latencies_ms = [1, 2]\n",
    b"\n[[faults]]\n",
    b"\n[sites.x]\n",
    b'"""\n',
    b"'''",
    b"{ ",
    b"#",
)


REQUESTS = (
    encode_line({"verb": "status"}),
    encode_line({"verb": "why", "peer": "bob", "since": "1"}),
)
JSON_TOKENS = (
    b'"',
    b"{",
    b"[" * 3_000,
    b"9" * 5_000,
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"\\ud800",
    b"\n",
    b'"version":1,',
    b'"verb":{},',
    b'"error":',
    b"{}",
    b'"x"',
    b"-1",
    b"null,",
)


def control_request(_: Path) -> Case:
    """As the daemon hears it: from a stream that a client may end anywhere."""

    async def hear(data: bytes) -> None:
        ours, theirs = trio.testing.memory_stream_one_way_pair()
        await ours.send_all(data)
        await ours.aclose()
        decode_request(await _receive_line(theirs))  # type: ignore[arg-type]

    return Case(REQUESTS, lambda data: trio.run(hear, data))


STATUS = {
    "uptime_s": 1.5,
    "overlay": {
        "joined": True,
        "joined_s": None,
        "peer_id": PEER_ID,
        "connections": [],
        "unreachable": {PEER_ID: "no answer"},
    },
    "relay": {"port": 3478, "allocations": [{"member": "12D3KooW", "relayed": "192.0.2.9:50000"}]},
    "interfaces": [
        {
            "name": "wg0",
            "public_key": str(THEIRS),
            "listen_port": 51_820,
            "relays": [
                {
                    "server": "192.0.2.9:3478",
                    "state": "allocated",
                    "relayed": ["192.0.2.9:50000"],
                    "reason": "",
                }
            ],
            "addresses": ["10.77.0.1/24"],
            "device": "embedded",
            "peers": [
                {
                    "name": "bob",
                    "public_key": str(OTHER),
                    "state": "connected",
                    "path": "direct",
                    "endpoint": "192.0.2.1:51820",
                    "selected": "192.0.2.1:51820",
                    "reason": "",
                    "rtt_ms": 1.5,
                    "latest_handshake_age_s": 61.0,
                    "rx_bytes": 4_096,
                    "tx_bytes": 1 << 40,
                    "stages": {"found": 1.0, "described": None},
                }
            ],
        }
    ],
    "counters": {},
}


def status(_: Path) -> Case:
    """As ``wice status`` shows it to a person."""

    def show(data: bytes) -> None:
        assert format_status(decode_line(data)).endswith("\n")

    return Case([encode_line(STATUS)], show)


WHY = {
    "interface": "wg0",
    "peer": "bob",
    "public_key": str(OTHER),
    "state": "connected",
    "path": "relayed",
    "finding": "relayed",
    "sentence": "relayed: both NATs map per destination",
    "hints": ["opening UDP 51820 at bob would make it direct", "IPv6 would"],
    "nat": {"here": "endpoint-independent", "there": "unknown"},
    "pairs": [
        {
            "from": "192.168.1.2",
            "from_type": "host",
            "to": "198.51.100.11:51820",
            "to_type": "srflx",
            "state": "failed",
            "is_selected": False,
            "rtt_ms": 1.5,
            "checks_sent": 9,
            "last_sent_age_s": 61.0,
            "last_answer_age_s": 0.5,
            "attempts": [{"age_s": 61.0, "outcome": "no answer"}],
            "remark": "it is late",
        }
    ],
}


def why(_: Path) -> Case:
    """As ``wice why`` shows it to a person."""

    def show(data: bytes) -> None:
        assert format_why(decode_line(data)).endswith("\n")

    return Case([encode_line(WHY)], show)


def control_answer(_: Path) -> Case:
    """As ``wice status`` hears it from whatever is behind the socket."""

    def hear(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(data)
            ours.close()
            decode_line(_read_line(theirs, time.monotonic() + 5.0))

    return Case([encode_line(STATUS), encode_line({"error": "unknown verb"})], hear)


def addresses(_: Path) -> Case:
    """Each text form of an address, and the binary one of libp2p."""
    tcp = TcpAddress("203.0.113.10", 4001), TcpAddress("2001:db8::1", 4001)
    readers = (
        TcpAddress.parse,
        NodeAddress.parse,
        check_peer_id,
        Endpoint.parse,
        parse_stun_uri,
    )

    def read(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        refusals = []
        for reader in readers:
            try:
                str(reader(text))
            except ValueError as error:
                refusals.append(error)
        for reader_of_bytes in (TcpAddress.from_bytes, peer_id_text):
            try:
                str(reader_of_bytes(data))
            except ValueError as error:
                refusals.append(error)
        if len(refusals) == len(readers) + 2:
            raise refusals[0]

    texts = (NODE, *map(str, tcp), PEER_ID, "192.0.2.1:7", "[2001:db8::1]:7", "stun:[::1]:3478")
    return Case(
        [
            *(text.encode() for text in texts),
            *(address.to_bytes() for address in tcp),
            check_peer_id(PEER_ID),
        ],
        read,
    )


def keys(_: Path) -> Case:
    def read(data: bytes) -> None:
        PrivateKey.from_base64(data.decode("utf-8", "replace"))

    return Case([OURS.reveal_base64().encode(), base64.b64encode(bytes(32))], read)


ADDRESS_TOKENS = (b"/", b"ip4", b"/tcp/", b"/p2p/", b"::", b"%1", b"0", b"65536", b"l", b"\x00")

TARGETS = (
    Target(
        "configuration file, other values",
        configuration,
        errors=(ConfigError,),
        changes=VALUES,
        tokens=TOML_TOKENS,
    ),
    Target(
        "configuration file", configuration, errors=(ConfigError,), changes=TEXT, tokens=TOML_TOKENS
    ),
    Target(
        "scenario file, other values",
        scenario_file,
        errors=(ConfigError,),
        changes=VALUES,
        tokens=(*TOML_TOKENS, *SCENARIO_TOKENS),
    ),
    Target(
        "scenario file",
        scenario_file,
        errors=(ConfigError,),
        changes=TEXT,
        tokens=(*TOML_TOKENS, *SCENARIO_TOKENS),
    ),
    Target("overlay section", section, errors=(ConfigError,), changes=TEXT, tokens=TOML_TOKENS),
    Target("control socket, request", control_request, changes=TEXT, tokens=JSON_TOKENS),
    Target(
        "control socket, answer",
        control_answer,
        errors=(RemoteProtocolError, ConnectionResetError),
        changes=TEXT,
        tokens=JSON_TOKENS,
    ),
    Target("status for people", status, changes=TEXT, tokens=JSON_TOKENS),
    Target("why for people", why, changes=TEXT, tokens=JSON_TOKENS),
    Target("addresses", addresses, errors=(ValueError,), changes=TEXT, tokens=ADDRESS_TOKENS),
    Target(
        "key in base64", keys, errors=(ValueError,), changes=TEXT, tokens=(b"=", b"_", b"\n", b" ")
    ),
)
