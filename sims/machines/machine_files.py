"""The files of a machine: its configuration, its keys, its state; of others only public keys.

No address of one machine stands in any file of another: that is what meshes have to find out.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from pathlib import Path
from typing import Final

from sims.internet.addresses import BENCHMARK_NETWORK
from wice.keys import PrivateKey, PublicKey
from wice.overlay_choice import BACKEND_DEFAULT

WIREGUARD_PORT: Final = 51_820
OVERLAY_PORT: Final = 4_001
COMMUNITY: Final = "harbour-neighbourhood"
INTERFACE: Final = "wg0"
RELAY_ALLOCATIONS: Final = 4_096


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """Where the files of machine ``name`` are."""

    name: str
    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "wice.toml"

    @property
    def control_socket(self) -> Path:
        return self.directory / "wice.sock"

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def state(self) -> Path:
        return self.directory / "state"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a machine lets in, by which address inside of the tunnel."""

    name: str
    public_key: PublicKey
    tunnel_address: IPv4Address | IPv6Address


def bootstrap_config(
    files: MachineFiles,
    listen: Sequence[str],
    *,
    has_relay: bool = False,
    backend: str = BACKEND_DEFAULT,
) -> str:
    """The configuration of a bootstrap node that listens on multiaddrs ``listen``."""
    relay = _relay() if has_relay else ""
    return _top(files) + _overlay(backend, listen, ()) + relay


def home_config(
    files: MachineFiles,
    versions: Sequence[int],
    bootstrap: Sequence[str],
    tunnel: IPv4Interface | IPv6Interface,
    peers: Sequence[Peer],
    *,
    backend: str = BACKEND_DEFAULT,
) -> str:
    """The configuration of a machine with a tunnel, whose key is in ``INTERFACE``.key.

    versions: of IP, to listen on. bootstrap: multiaddrs with peer ids.
    """
    anywhere = {4: "/ip4/0.0.0.0", 6: "/ip6/::"}
    listen = [f"{anywhere[version]}/tcp/{OVERLAY_PORT}" for version in versions]
    return _top(files) + _overlay(backend, listen, bootstrap) + _interface(tunnel, peers)


def overlay_multiaddr(address: IPv4Address | IPv6Address) -> str:
    """Where the overlay node at ``address`` listens."""
    return f"/ip{address.version}/{address}/tcp/{OVERLAY_PORT}"


def write_private_key(files: MachineFiles, private_key: PrivateKey) -> None:
    """Write the key of the tunnel as only its owner may read it."""
    path = files.directory / f"{INTERFACE}.key"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(private_key.reveal_base64() + "\n")


def _top(files: MachineFiles) -> str:
    return f"""\
state_dir = "{files.state}"
control_socket = "{files.control_socket}"
"""


def _overlay(backend: str, listen: Sequence[str], bootstrap: Sequence[str]) -> str:
    return f"""
[overlay]
backend = "{backend}"
community = "{COMMUNITY}"
bootstrap = [{_quoted(bootstrap)}]
listen = [{_quoted(listen)}]
"""


def _relay() -> str:
    """With room for many machines, and leave to send where they get their addresses."""
    return f"""
[relay]
enabled = true
allocations = {RELAY_ALLOCATIONS}
allowed_networks = ["{BENCHMARK_NETWORK}"]
"""


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(f'"{text}"' for text in texts)


def _interface(tunnel: IPv4Interface | IPv6Interface, peers: Sequence[Peer]) -> str:
    sections = "".join(
        f"""
[[interfaces.{INTERFACE}.peers]]
name = "{peer.name}"
public_key = "{peer.public_key}"
allowed_ips = ["{peer.tunnel_address}/{peer.tunnel_address.max_prefixlen}"]
"""
        for peer in peers
    )
    return f"""
[interfaces.{INTERFACE}]
private_key_file = "{INTERFACE}.key"
listen_port = {WIREGUARD_PORT}
addresses = ["{tunnel}"]
device = "auto"
{sections}"""
