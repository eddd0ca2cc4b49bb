"""Which relays a host uses: those of its configuration, then those that it is granted."""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from wice.datagram import Endpoint
from wice.errors import NameNotResolvedError
from wice.ice.policy import is_private
from wice.stun.resolve import Lookup, resolve_turn
from wice.turn.relays import RelayServer
from wice.turn_config import TurnServerConfig

RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 300.0


class RelayServers:
    """``on_changed`` is told the whole list whenever it changes."""

    def __init__(
        self,
        configured: Sequence[TurnServerConfig],
        lookup: Lookup,
        random_bytes: Callable[[int], bytes],
        on_changed: Callable[[Sequence[RelayServer]], None],
        own_addresses: Callable[[], Sequence[str]],
    ) -> None:
        """own_addresses: of this host, which tell the families that it can send in."""
        self._configured = configured
        self._lookup = lookup
        self._random_bytes = random_bytes
        self._on_changed = on_changed
        self._own_addresses = own_addresses
        self._found: dict[TurnServerConfig, RelayServer] = {}
        self._granted: Sequence[RelayServer] = ()
        self._silent = {config: trio.Event() for config in configured}
        self._moved = trio.Event()

    def grant(self, servers: Sequence[RelayServer]) -> None:
        """Use ``servers`` beside the configured ones, and no longer those granted before."""
        self._granted = servers
        self._tell()

    def set_silent(self, server: RelayServer) -> None:
        """Use the next address of a configured server that gives no answer."""
        for config, found in self._found.items():
            if found == server:
                self._silent[config].set()

    def network_changed(self) -> None:
        """Look again at once for those that are not found, or gave no answer."""
        self._moved.set()
        self._moved = trio.Event()

    async def run(self) -> None:
        """Find the configured servers; a dead name delays no other and is tried again."""
        async with trio.open_nursery() as nursery:
            for config in self._configured:
                nursery.start_soon(self._follow, config)

    async def _follow(self, config: TurnServerConfig) -> None:
        """Use one address after the other: those of one name are mostly the same relay."""
        wait_s = RETRY_MIN_S
        while True:
            moved, began_at_s = self._moved, trio.current_time()
            for endpoint in await self._addresses(config):
                self._silent[config] = trio.Event()
                self._found[config] = RelayServer(endpoint, config.credentials)
                self._tell()
                await self._silent[config].wait()
            if trio.current_time() - began_at_s >= RETRY_MAX_S:
                wait_s = RETRY_MIN_S
            with trio.move_on_after(wait_s):
                await moved.wait()
                wait_s = RETRY_MIN_S
                continue
            wait_s = min(2 * wait_s, RETRY_MAX_S)

    async def _addresses(self, config: TurnServerConfig) -> list[Endpoint]:
        """Those of a family that the host can send in come first; none where nobody tells."""
        try:
            found = await resolve_turn(config.uri, self._lookup, self._random_bytes)
        except NameNotResolvedError:
            return []
        own = self._own_addresses()
        return sorted(
            (server.endpoint for server in found), key=lambda endpoint: not _reaches(own, endpoint)
        )

    def _tell(self) -> None:
        own = [self._found[config] for config in self._configured if config in self._found]
        self._on_changed([*own, *self._granted])


def _reaches(own: Sequence[str], endpoint: Endpoint) -> bool:
    """Whether a host with the addresses ``own`` is likely to have a way to ``endpoint``."""
    if is_private(endpoint.host):
        return True
    if endpoint.is_ipv6:
        return any(":" in host and not is_private(host) for host in own)
    return any(":" not in host and not host.startswith("127.") for host in own)
