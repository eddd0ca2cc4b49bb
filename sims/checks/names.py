"""Whose key is whose."""

from sims.model.world import World
from wice.keys import PublicKey


class Names:
    """Machines by their WireGuard public keys."""

    def __init__(self, world: World) -> None:
        self._names = {key.public_key(): name for name, key in world.private_keys.items()}

    def of(self, key: PublicKey) -> str:
        """A machine's name; for a stranger's key its text."""
        return self._names.get(key, str(key))
