"""Which relays a host uses: those of its configuration, then those that it is granted."""

from collections.abc import Callable, Sequence
from typing import Final

import trio

from wice.errors import NameNotResolvedError
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
    ) -> None:
        self._configured = configured
        self._lookup = lookup
        self._random_bytes = random_bytes
        self._on_changed = on_changed
        self._found: dict[TurnServerConfig, RelayServer] = {}
        self._granted: Sequence[RelayServer] = ()

    def grant(self, servers: Sequence[RelayServer]) -> None:
        """Use ``servers`` beside the configured ones, and no longer those granted before."""
        self._granted = servers
        self._tell()

    async def resolve(self) -> None:
        """Find the configured servers; a dead name delays no other and is tried again."""
        async with trio.open_nursery() as nursery:
            for config in self._configured:
                nursery.start_soon(self._resolve, config)

    async def _resolve(self, config: TurnServerConfig) -> None:
        wait_s = RETRY_MIN_S
        while True:
            try:
                found = await resolve_turn(config.uri, self._lookup, self._random_bytes)
            except NameNotResolvedError:
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                continue
            # The other addresses of one name are mostly the same relay, and its quota.
            self._found[config] = RelayServer(found[0].endpoint, config.credentials)
            self._tell()
            return

    def _tell(self) -> None:
        own = [self._found[config] for config in self._configured if config in self._found]
        self._on_changed([*own, *self._granted])
