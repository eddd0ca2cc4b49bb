"""Which backend carries envelopes: ``[overlay] backend``, an entry point (DESIGN D8)."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from wice.datagram import Endpoint
from wice.errors import ConfigError
from wice.section import suggest
from wice.signaling.transport import TransportFactory

TRANSPORTS: Final = "wice.backends"
CHECKS: Final = "wice.config_checks"
STUN_SERVERS: Final = "wice.stun_servers"


@cache
def load_backend(name: str) -> TransportFactory:
    """Import the backend, which takes most of the start; raise ConfigError where there is none."""
    factory: TransportFactory = _installed(name).load()
    return factory


def check_section(name: str, section: Mapping[str, Any], *, is_bootstrap: bool) -> None:
    """Let the backend check its own section, without loading it; raise ConfigError."""
    _installed(name)
    for entry in entry_points(group=CHECKS, name=name):
        entry.load()(section, is_bootstrap=is_bootstrap)


def stun_servers_of(name: str, section: Mapping[str, Any]) -> Sequence[Endpoint]:
    """The STUN servers that the backend's section names; raise ConfigError."""
    _installed(name)
    found = entry_points(group=STUN_SERVERS, name=name)
    return [server for entry in found for server in entry.load()(section)]


def _installed(name: str) -> EntryPoint:
    installed = {entry.name: entry for entry in entry_points(group=TRANSPORTS)}
    if name not in installed:
        remedy = suggest(name, sorted(installed), "backends")
        raise ConfigError("overlay.backend", f"{name!r} is not installed", remedy)
    return installed[name]
