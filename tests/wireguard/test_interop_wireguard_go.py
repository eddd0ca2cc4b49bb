"""Our tunnel and Debian's wireguard-go, each in a network namespace, joined by a veth pair."""

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from wice.keys import PresharedKey, PrivateKey
from wice.wireguard.conf import format_configuration, parse

pytestmark = pytest.mark.root

NODE = Path(__file__).with_name("interop_node.py")
PACKAGES = {
    "wireguard-go": "wireguard-go",
    "wg": "wireguard-tools",
    "ip": "iproute2",
    "ping": "iputils-ping",
    "unshare": "util-linux",
}
RELAY = NODE.with_name("delay_relay.py")
FLOOD = NODE.with_name("handshake_flood.py")
START_TIMEOUT_S = 60.0
STALL_MS = 4_000.0
"""A stalled handshake takes a rekey timeout, 5 s; one that is not, a few hundred ms here."""

OURS_OUTSIDE, THEIRS_OUTSIDE = "198.51.100.1", "198.51.100.2"
OURS_OUTSIDE_6, THEIRS_OUTSIDE_6 = "2001:db8::1", "2001:db8::2"
OURS_INSIDE, THEIRS_INSIDE = "10.77.0.1", "10.77.0.2"
OURS_PORT, THEIRS_PORT = 51_820, 51_821


def command(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def require_what_the_test_needs() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    for program, package in PACKAGES.items():
        if shutil.which(program) is None:
            pytest.skip(f"needs the Debian package {package}")


class Rig:
    """Two namespaces with a veth pair between them, and what runs in them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.ours, self.theirs = f"wice-ours-{os.getpid()}", f"wice-theirs-{os.getpid()}"
        self._node: subprocess.Popen[str] | None = None
        self._go: subprocess.Popen[bytes] | None = None
        for name in (self.ours, self.theirs):
            command("ip", "netns", "add", name)
            stack.callback(command, "ip", "netns", "delete", name)
        veth = ("eth0", "netns", self.ours, "type", "veth", "peer", "name", "eth0")
        command("ip", "link", "add", *veth, "netns", self.theirs)
        for name, address, address_6 in (
            (self.ours, OURS_OUTSIDE, OURS_OUTSIDE_6),
            (self.theirs, THEIRS_OUTSIDE, THEIRS_OUTSIDE_6),
        ):
            command("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            options = ("dev", "eth0", "nodad")
            command("ip", "-n", name, "address", "add", f"{address_6}/64", *options)
            command("ip", "-n", name, "link", "set", "lo", "up")
            command("ip", "-n", name, "link", "set", "eth0", "up")

    def start_ours(self, settings: dict[str, Any]) -> None:
        node = subprocess.Popen(
            ["ip", "netns", "exec", self.ours, sys.executable, str(NODE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._node = node
        self._stack.callback(self._stop_ours, node)
        self._say(json.dumps(settings))
        assert self._hear() == "ready"

    def start_theirs(self, config: str) -> None:
        Path("/run/wireguard").mkdir(exist_ok=True)
        script = "mount -t tmpfs none /run/wireguard && exec wireguard-go -f wg0"
        go = subprocess.Popen(
            ["ip", "netns", "exec", self.theirs, "unshare", "-m", "sh", "-c", script],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._go = go
        self._stack.callback(_stop, go)
        control = Path(f"/proc/{go.pid}/root/run/wireguard/wg0.sock")
        _wait_for(lambda: _listens(control), "wireguard-go's control socket")
        self.wg("setconf", "wg0", "/dev/stdin", stdin=config)
        command("ip", "-n", self.theirs, "address", "add", f"{THEIRS_INSIDE}/24", "dev", "wg0")
        command("ip", "-n", self.theirs, "link", "set", "wg0", "up", "mtu", "1420")

    def start_relay(self, address: tuple[str, int], delay_s: float) -> None:
        """Between us and them, in their namespace."""
        ends = (address, (OURS_OUTSIDE, OURS_PORT), (THEIRS_OUTSIDE, THEIRS_PORT))
        words = [str(word) for end in ends for word in end]
        relay = subprocess.Popen(
            ["ip", "netns", "exec", self.theirs, sys.executable, RELAY, *words, str(delay_s)],
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_stop, relay)
        assert relay.stdout is not None and relay.stdout.readline() == b"ready\n"

    def start_flood(self, namespace: str, host: str, port: int, key: str, rate_per_s: int) -> None:
        """Of initiations that bring the receiver under load."""
        words = (FLOOD, host, port, key, rate_per_s)
        flood = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, *map(str, words)],
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_stop, flood)
        assert flood.stdout is not None and flood.stdout.readline() == b"ready\n"

    def wg(self, *arguments: str, stdin: str = "") -> str:
        assert self._go is not None
        inside = ("nsenter", "-t", str(self._go.pid), "-m", "-n")
        return command(*inside, "wg", *arguments, stdin=stdin)

    def statistics(self) -> dict[str, Any]:
        self._say("statistics")
        answer: dict[str, Any] = json.loads(self._hear())
        return answer

    def _say(self, line: str) -> None:
        assert self._node is not None and self._node.stdin is not None
        self._node.stdin.write(line + "\n")
        self._node.stdin.flush()

    def _hear(self) -> str:
        assert self._node is not None and self._node.stdout is not None
        return self._node.stdout.readline().strip()

    def _stop_ours(self, node: subprocess.Popen[str]) -> None:
        node.communicate(timeout=START_TIMEOUT_S)
        assert node.returncode == 0


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=START_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()


def _listens(path: Path) -> bool:
    """A socket's file is there a moment before anybody listens."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def _wait_for(condition: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S) -> None:
    give_up_at_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at_s, f"{what} did not appear"
        time.sleep(0.01)


@pytest.fixture
def rig() -> Iterator[Rig]:
    require_what_the_test_needs()
    with contextlib.ExitStack() as stack:
        yield Rig(stack)


def ping(namespace: str, address: str, *options: str, count: int = 5) -> None:
    """Every one must come back."""
    options = ("-q", "-c", str(count), "-W", "5", *(options or ("-i", "0.1")))
    output = command("ip", "netns", "exec", namespace, "ping", *options, address)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    assert found is not None and found.groups() == (str(count), str(count)), output


def start(
    rig: Rig,
    *,
    we_initiate: bool,
    with_preshared_key: bool = False,
    ours_outside: str = OURS_OUTSIDE,
    theirs_outside: str = THEIRS_OUTSIDE,
    source: str | None = None,
    theirs_port: int = THEIRS_PORT,
) -> None:
    generator = random.Random(repr((we_initiate, with_preshared_key, ours_outside)))
    ours, theirs = PrivateKey(generator.randbytes(32)), PrivateKey(generator.randbytes(32))
    preshared = PresharedKey(generator.randbytes(32)).reveal_base64()
    config = f"[Interface]\nPrivateKey = {theirs.reveal_base64()}\nListenPort = {THEIRS_PORT}\n"
    config += f"[Peer]\nPublicKey = {ours.public_key()}\nAllowedIPs = {OURS_INSIDE}/32\n"
    peer: dict[str, Any] = {
        "public_key": str(theirs.public_key()),
        "allowed_ips": [f"{THEIRS_INSIDE}/32"],
        "source": source,
    }
    if with_preshared_key:
        config += f"PresharedKey = {preshared}\n"
        peer["preshared_key"] = preshared
    if we_initiate:
        peer["endpoint"] = f"{theirs_outside}:{theirs_port}"
    else:
        config += f"Endpoint = {ours_outside}:{OURS_PORT}\n"
    rig.start_theirs(config)
    rig.start_ours(
        {
            "private_key": ours.reveal_base64(),
            "listen_port": OURS_PORT,
            "address": f"{OURS_INSIDE}/24",
            "peer": peer,
        }
    )


@pytest.mark.parametrize("with_preshared_key", [False, True], ids=["no-psk", "psk"])
def test_we_initiate(rig: Rig, with_preshared_key: bool) -> None:
    start(rig, we_initiate=True, with_preshared_key=with_preshared_key)
    ping(rig.ours, THEIRS_INSIDE)
    ping(rig.theirs, OURS_INSIDE)
    statistics = rig.statistics()
    assert statistics["rx_bytes"] > 0 and statistics["latest_handshake_at_s"] is not None
    assert statistics["dropped"] == {}
    assert not any(name.startswith("Dropped") for name in statistics["events"])


@pytest.mark.parametrize("with_preshared_key", [False, True], ids=["no-psk", "psk"])
def test_they_initiate(rig: Rig, with_preshared_key: bool) -> None:
    start(rig, we_initiate=False, with_preshared_key=with_preshared_key)
    ping(rig.theirs, OURS_INSIDE)
    ping(rig.ours, THEIRS_INSIDE)
    assert rig.statistics()["path"] == f"{THEIRS_OUTSIDE}:{THEIRS_PORT}"


@pytest.mark.parametrize("we_initiate", [True, False], ids=["we-initiate", "they-initiate"])
def test_ipv6_outside(rig: Rig, we_initiate: bool) -> None:
    start(
        rig,
        we_initiate=we_initiate,
        ours_outside=f"[{OURS_OUTSIDE_6}]",
        theirs_outside=f"[{THEIRS_OUTSIDE_6}]",
        source=OURS_OUTSIDE_6,
    )
    ping(rig.ours if we_initiate else rig.theirs, THEIRS_INSIDE if we_initiate else OURS_INSIDE)
    assert rig.statistics()["path"] == f"[{THEIRS_OUTSIDE_6}]:{THEIRS_PORT}"


def test_packets_as_long_as_the_mtu_pass(rig: Rig) -> None:
    start(rig, we_initiate=True)
    for payload in (1420 - 28, 1419 - 28, 1409 - 28, 0):
        ping(rig.ours, THEIRS_INSIDE, "-i", "0.1", "-M", "do", "-s", str(payload), count=2)


def test_both_sides_initiate_at_once(rig: Rig) -> None:
    """No stall of a rekey timeout (FIELD-NOTES section 9): we finish both handshakes."""
    relay = (THEIRS_OUTSIDE, 6_000)
    start(rig, we_initiate=True, theirs_outside=THEIRS_OUTSIDE, theirs_port=relay[1])
    rig.start_relay(relay, delay_s=0.1)
    us = rig.wg("show", "wg0", "peers").strip()
    rig.wg("set", "wg0", "peer", us, "endpoint", f"{relay[0]}:{relay[1]}")
    both = [
        subprocess.Popen(
            ["ip", "netns", "exec", namespace, "ping", "-q", "-c", "3", "-i", "0.2", address],
            stdout=subprocess.PIPE,
            text=True,
        )
        for namespace, address in ((rig.ours, THEIRS_INSIDE), (rig.theirs, OURS_INSIDE))
    ]
    for one in both:
        output, _ = one.communicate(timeout=60)
        found = re.search(r"= [\d.]+/[\d.]+/([\d.]+)/", output)
        assert "3 received" in output and found is not None, output
        assert float(found.group(1)) < STALL_MS, output


def test_wg_and_we_read_each_others_configuration(rig: Rig) -> None:
    rig.start_theirs(
        "[Interface]\nPrivateKey = " + PrivateKey(bytes(32)).reveal_base64() + "\n"
        "ListenPort = 5000\n[Peer]\nPublicKey = " + str(PrivateKey(b"1" * 32).public_key()) + "\n"
        "PresharedKey = " + PresharedKey(b"2" * 32).reveal_base64() + "\n"
        "AllowedIPs = 10.0.0.0/8, fd00::/8\nEndpoint = [2001:db8::9]:9\nPersistentKeepalive = 25\n"
    )
    shown = rig.wg("showconf", "wg0")
    rig.wg("setconf", "wg0", "/dev/stdin", stdin=format_configuration(parse(shown)))
    assert rig.wg("showconf", "wg0") == shown
    assert len(parse(shown).peers) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("we_initiate", [True, False], ids=["we-initiate", "they-initiate"])
def test_pings_run_through_a_rekey(rig: Rig, we_initiate: bool) -> None:
    start(rig, we_initiate=we_initiate)
    namespace = rig.ours if we_initiate else rig.theirs
    address = THEIRS_INSIDE if we_initiate else OURS_INSIDE
    ping(namespace, address)
    first = rig.statistics()["latest_handshake_at_s"]
    ping(namespace, address, "-i", "0.25", count=4 * 185)
    assert rig.statistics()["latest_handshake_at_s"] - first >= 120


@pytest.mark.nightly
def test_they_bring_our_cookie_when_we_are_under_load(rig: Rig) -> None:
    start(rig, we_initiate=False)
    us = rig.wg("show", "wg0", "peers").strip()
    rig.start_flood(rig.theirs, OURS_OUTSIDE, OURS_PORT, us, rate_per_s=1_000)
    _wait_for(lambda: rig.statistics()["cookies"].get("asked for", 0) > 0, "load")
    # wireguard-go tries again after its rekey timeout, with the cookie.
    ping(rig.theirs, OURS_INSIDE, "-i", "1", "-W", "30", count=2)
    assert rig.statistics()["cookies"]["accepted"] >= 1


@pytest.mark.nightly
def test_we_bring_their_cookie_when_they_are_under_load(rig: Rig) -> None:
    """In a flood that may drown any one message, so the host keeps asking."""
    start(rig, we_initiate=True)
    them = rig.wg("show", "wg0", "public-key").strip()
    rig.start_flood(rig.ours, THEIRS_OUTSIDE, THEIRS_PORT, them, rate_per_s=0)
    endless = subprocess.Popen(
        ["ip", "netns", "exec", rig.ours, "ping", "-q", "-i", "0.5", THEIRS_INSIDE],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for(
            lambda: (
                rig.statistics()["cookies"].get("received", 0) > 0
                and rig.statistics()["latest_handshake_at_s"] is not None
            ),
            "a handshake by cookie",
            timeout_s=60.0,
        )
    finally:
        endless.terminate()
        endless.wait()
