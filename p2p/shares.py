"""Who holds how much of a table that strangers fill (sans-IO)."""

from typing import Generic, TypeVar

Key = TypeVar("Key")


class Shares(Generic[Key]):
    """The entries of a table by their source: an IPv4 address, or the /64 of an IPv6 address.

    When the table is full, the source that holds most gives up the entry that it touched longest
    ago: a flood from one place crowds out itself.
    """

    def __init__(self) -> None:
        self._sources: dict[Key, str] = {}
        self._held: dict[str, dict[Key, None]] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def count(self, source: str) -> int:
        return len(self._held.get(source, ()))

    def touch(self, key: Key, source: str) -> None:
        """Note that ``source`` holds ``key`` from now on, or goes on to."""
        self.remove(key)
        self._sources[key] = source
        self._held.setdefault(source, {})[key] = None

    def remove(self, key: Key) -> None:
        source = self._sources.pop(key, None)
        if source is None:
            return
        held = self._held[source]
        del held[key]
        if not held:
            del self._held[source]

    def victim(self) -> Key:
        """Whose turn it is to go; there must be one."""
        most = max(self._held, key=self.count)
        return next(iter(self._held[most]))
