"""When pings through tunnels were answered."""

from sims.model.world import World


class Replies:
    """By ordered pair: who pinged, and whom."""

    def __init__(self, world: World) -> None:
        self.first_at_s: dict[tuple[str, str], float] = {}
        self.last_at_s: dict[tuple[str, str], float] = {}
        self._world = world
        self._names = {
            address: name
            for name, addresses in world.tunnel_addresses.items()
            for address in addresses
        }

    def came(self, machine: str, source: str) -> None:
        """An answer from the tunnel address ``source`` came out of the tunnel of ``machine``."""
        pair = (machine, self._names.get(source, source))
        self.first_at_s.setdefault(pair, self._world.now_s)
        self.last_at_s[pair] = self._world.now_s
