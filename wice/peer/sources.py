"""Where peers come from: every source says add, update and remove (DESIGN D15)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from wice.config import NamedPeer
from wice.keys import PublicKey


@dataclass(frozen=True, slots=True)
class PeerAdded:
    peer: NamedPeer


@dataclass(frozen=True, slots=True)
class PeerUpdated:
    """Same public key, other settings; what runs goes on."""

    peer: NamedPeer


@dataclass(frozen=True, slots=True)
class PeerRemoved:
    public_key: PublicKey


PeerChange = PeerAdded | PeerUpdated | PeerRemoved


class ConfigSource:
    """Peers of a configuration: each reading of it becomes the changes since the last."""

    def __init__(self) -> None:
        self._peers: dict[PublicKey, NamedPeer] = {}

    def changes_to(self, peers: Iterable[NamedPeer]) -> Iterator[PeerChange]:
        """Removals first, so that an address may move from one peer to another."""
        wanted = {peer.config.public_key: peer for peer in peers}
        before, self._peers = self._peers, wanted
        for public_key in before.keys() - wanted.keys():
            yield PeerRemoved(public_key)
        for public_key, peer in wanted.items():
            if public_key not in before:
                yield PeerAdded(peer)
            elif before[public_key] != peer:
                yield PeerUpdated(peer)
