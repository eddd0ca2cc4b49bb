"""The role of a public node: it stores records, keeps watches, is an anchor and gossips.

One that relays lends its relay to members.
"""

from functools import partial
from random import Random

import trio

from p2p.anchors import ANCHOR_PROTOCOL, AnchorServer
from p2p.dht import KAD_PROTOCOL, CountFault, KadClient, KadServer
from p2p.gossip import Gossip
from p2p.host import Host, source_of
from p2p.kad import RecordStore, RoutingTable
from p2p.records import VerifiedRecord
from p2p.relay_loans import RELAY_PROTOCOL, LoanServer
from p2p.signal import Signal
from p2p.topics import TOPIC_PROTOCOL
from p2p.watches import WATCH_PROTOCOL, WatchServer
from wice.keys import CommunitySecret
from wice.platform import Platform
from wice.signaling.transport import RelayLender

REFRESH_S = 600.0
"""How often a server looks for the servers near it, and tells them of itself."""
EXPIRE_S = 600.0


class BootstrapRole:
    """What a node serves to others. ``store`` outlives the host."""

    def __init__(
        self,
        host: Host,
        table: RoutingTable,
        store: RecordStore,
        dht: KadClient,
        platform: Platform,
        nursery: trio.Nursery,
        random: Random,
        count_fault: CountFault,
        community: CommunitySecret,
        lend_relay: RelayLender | None,
    ) -> None:
        source = partial(source_of, host)
        self.anchor = AnchorServer(host.peer_id, platform, count_fault, source)
        self.watches = WatchServer(store, platform, count_fault, source)
        self.gossip = Gossip(host, table, dht, self.anchor, nursery, random, count_fault)
        self._dht = dht
        self._store = store
        self._platform = platform
        self._kad = KadServer(host, table, store, platform, self._stored, count_fault)
        host.serve(KAD_PROTOCOL, self._kad.serve)
        host.serve(WATCH_PROTOCOL, self.watches.serve)
        host.serve(ANCHOR_PROTOCOL, self.anchor.serve)
        host.serve(TOPIC_PROTOCOL, self.gossip.serve)
        self.loans: LoanServer | None = None
        if lend_relay is not None:
            self.loans = LoanServer(
                host.peer_id, community, lend_relay, platform, count_fault, source
            )
            host.serve(RELAY_PROTOCOL, self.loans.serve)

    def is_valuable(self, peer_id: str) -> bool:
        """Whether a peer has its envelopes handed to it here, or passes on those of others."""
        return self.anchor.has_subscriber(peer_id) or peer_id in self.gossip.neighbours

    async def run(self, connected: Signal) -> None:
        """Keep the table of servers and the store; ``connected``: a known server is there."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kad.run)
            nursery.start_soon(self._expire)
            nursery.start_soon(self.gossip.run, connected)
            while True:
                seen = connected.count
                await self._dht.refresh()
                with trio.move_on_after(REFRESH_S):
                    await connected.wait_beyond(seen)

    async def _expire(self) -> None:
        while True:
            await trio.sleep(EXPIRE_S)
            self._store.drop_expired(self._platform.wall_time())
            self.anchor.drop_expired()
            self.watches.drop_expired()
            if self.loans is not None:
                self.loans.drop_expired()

    def _stored(self, key: bytes, record: VerifiedRecord) -> None:
        self.watches.stored(key, record)
