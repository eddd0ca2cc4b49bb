"""What the host refuses is one line and exit code 1; everything happens in own namespaces."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wice.keys import PrivateKey

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for own namespaces"),
    pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs util-linux"),
]

HANG_S = 300.0
PORT = 51820
HOLD_PORT = (
    "import socket, subprocess, sys;"
    f"s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', {PORT}));"
    "sys.exit(subprocess.run(sys.argv[1:]).returncode)"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    key_file = tmp_path / "wg0.key"
    key_file.touch(0o600)
    key_file.write_text(PrivateKey(bytes(range(32))).reveal_base64())
    path = tmp_path / "wice.toml"
    path.write_text(
        f"""
state_dir = "state"
control_socket = "wice.sock"
[overlay]
community = "harbour"
bootstrap = ["/ip4/203.0.113.10/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"]
[interfaces.wgtest0]
private_key_file = "wg0.key"
listen_port = {PORT}
addresses = ["10.77.0.1/24"]
"""
    )
    return path


def assert_refused(command: list[str], *parts: str) -> None:
    run = subprocess.run(
        ["unshare", "--net", *command], capture_output=True, text=True, timeout=HANG_S
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr
    for part in parts:
        assert part in run.stderr


def up(config: Path) -> list[str]:
    return [sys.executable, "-m", "wice", "up", str(config)]


def test_a_port_in_use(config: Path) -> None:
    command = [sys.executable, "-c", HOLD_PORT, *up(config)]
    assert_refused(command, str(PORT), "in use", "listen_port")


def test_no_tun(config: Path) -> None:
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    assert_refused(["unshare", "--mount", "sh", "-c", hide, "sh", *up(config)], "/dev/net/tun")


def test_no_privileges(config: Path) -> None:
    drop = ["setpriv", "--bounding-set", "-net_admin,-net_raw"]
    assert_refused([*drop, *up(config)], "CAP_NET_ADMIN")


def test_an_interface_that_is_there_already(config: Path) -> None:
    occupy = 'ip link add wgtest0 type bridge && exec "$@"'
    assert_refused(["sh", "-c", occupy, "sh", *up(config)], "wgtest0")


def test_a_control_socket_that_cannot_be(config: Path) -> None:
    config.write_text(config.read_text().replace('"wice.sock"', '"wg0.key"'))
    assert_refused(up(config), "wg0.key", "control socket")
