"""Watches: a storing node tells when a record appears or changes (``/wice/watch/1``).

Without them a peer that is not there yet would have to be asked for again and again. A watch is
bounded in number and in time and shows the node no more than a GET_VALUE does.
"""

from collections.abc import Callable, Iterable, Sequence

import trio

from p2p.frames import parse
from p2p.host import Host
from p2p.kad import RecordStore
from p2p.records import VerifiedRecord, verify_record
from p2p.shares import Shares
from p2p.streams import FrameStream, StreamClosedError
from wice.errors import RemoteProtocolError
from wice.platform import Platform
from wice.proto.overlay_pb2 import KadRecord, WatchEvent, WatchRequest

WATCH_PROTOCOL = "/wice/watch/1"
WATCH_LIFETIME_S = 600
WATCH_RENEW_S = 240.0
"""Well before the lifetime ends, twice."""
WATCHES_PER_STREAM_MAX = 1_024
WATCHES_PER_REQUEST_MAX = 256
"""Keys of at most ``KEY_SIZE_MAX_BYTES`` that fit in one frame."""
WATCHES_MAX = 65_536
WATCHES_PER_SOURCE_MAX = WATCHES_MAX // 2
"""From one IPv4 address, or the /64 of an IPv6 address."""
KEY_SIZE_MAX_BYTES = 64

CountFault = Callable[[str], None]


class _Watcher:
    """One inbound stream: what it watches, until when, and what it has not been told yet."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.expires_at: dict[bytes, float] = {}
        self.news: dict[bytes, VerifiedRecord] = {}
        self.has_news = trio.Event()

    def tell(self, key: bytes, record: VerifiedRecord) -> None:
        # A later record of a key takes the place of an earlier one: slowness costs no memory.
        self.news[key] = record
        self.has_news.set()


class WatchServer:
    """Keeps the watches of a node in server role."""

    def __init__(
        self,
        store: RecordStore,
        platform: Platform,
        count_fault: CountFault,
        source_of: Callable[[str], str] = lambda peer_id: peer_id,
    ) -> None:
        """source_of: the network from which a peer is connected."""
        self._store = store
        self._platform = platform
        self._count_fault = count_fault
        self._source_of = source_of
        self._watchers: dict[bytes, dict[_Watcher, None]] = {}
        self._shares = Shares[tuple[_Watcher, bytes]]()

    def __len__(self) -> int:
        return len(self._shares)

    def drop_expired(self) -> None:
        """Forget the watches that nobody renewed."""
        for watcher in {watcher for watchers in self._watchers.values() for watcher in watchers}:
            self._drop_expired(watcher)

    def stored(self, key: bytes, record: VerifiedRecord) -> None:
        """Tell everybody who watches ``key``."""
        now = trio.current_time()
        for watcher in tuple(self._watchers.get(key, ())):
            if watcher.expires_at[key] > now:
                watcher.tell(key, record)
            else:
                self._remove(watcher, key)

    async def serve(self, stream: FrameStream) -> None:
        watcher = _Watcher(self._source_of(stream.peer_id))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tell, watcher, stream)
                try:
                    await self._listen(watcher, stream)
                except (StreamClosedError, RemoteProtocolError) as error:
                    if isinstance(error, RemoteProtocolError):
                        self._count_fault(f"{WATCH_PROTOCOL}: {error}")
                    nursery.cancel_scope.cancel()
        finally:
            for key in tuple(watcher.expires_at):
                self._remove(watcher, key)

    async def _listen(self, watcher: _Watcher, stream: FrameStream) -> None:
        while True:
            request = WatchRequest()
            parse(request, await stream.receive())
            for watch in request.watches:
                self._watch(watcher, watch.key, watch.lifetime_s)

    async def _tell(self, watcher: _Watcher, stream: FrameStream) -> None:
        while True:
            await watcher.has_news.wait()
            watcher.has_news = trio.Event()
            while watcher.news:
                key, record = watcher.news.popitem()
                event = WatchEvent(record=KadRecord(key=key, value=record.raw))
                try:
                    await stream.send(event.SerializeToString())
                except StreamClosedError:
                    return

    def _watch(self, watcher: _Watcher, key: bytes, lifetime_s: int) -> None:
        if len(key) > KEY_SIZE_MAX_BYTES:
            raise RemoteProtocolError("a key that is too long")
        is_new = key not in watcher.expires_at
        if lifetime_s == 0:
            self._remove(watcher, key)
            return
        if is_new and not self._has_room(watcher):
            self._count_fault("too many watches")
            return
        watcher.expires_at[key] = trio.current_time() + min(lifetime_s, WATCH_LIFETIME_S)
        self._shares.touch((watcher, key), watcher.source)
        if is_new:
            self._watchers.setdefault(key, {})[watcher] = None
            record = self._store.get(key, self._platform.wall_time())
            if record is not None:
                watcher.tell(key, record)

    def _has_room(self, watcher: _Watcher) -> bool:
        """Whether one more may be watched; takes from whoever holds most if nothing is free."""
        if len(watcher.expires_at) >= WATCHES_PER_STREAM_MAX:
            self._drop_expired(watcher)
        if (
            len(watcher.expires_at) >= WATCHES_PER_STREAM_MAX
            or self._shares.count(watcher.source) >= WATCHES_PER_SOURCE_MAX
        ):
            return False
        if len(self._shares) >= WATCHES_MAX:
            self._count_fault("ended a watch to make room")
            self._remove(*self._shares.victim())
        return True

    def _drop_expired(self, watcher: _Watcher) -> None:
        now = trio.current_time()
        for key in [key for key, at in watcher.expires_at.items() if at <= now]:
            self._remove(watcher, key)

    def _remove(self, watcher: _Watcher, key: bytes) -> None:
        if watcher.expires_at.pop(key, None) is None:
            return
        self._shares.remove((watcher, key))
        watcher.news.pop(key, None)
        watchers = self._watchers[key]
        del watchers[watcher]
        if not watchers:
            del self._watchers[key]


class WatchClient:
    """Watches keys on other nodes; ``on_record`` hears of every genuine record."""

    def __init__(
        self,
        host: Host,
        nursery: trio.Nursery,
        platform: Platform,
        on_record: Callable[[bytes, VerifiedRecord], None],
        count_fault: CountFault,
    ) -> None:
        self._host = host
        self._nursery = nursery
        self._platform = platform
        self._on_record = on_record
        self._count_fault = count_fault
        self._streams: dict[str, FrameStream] = {}
        self._watched: dict[str, dict[bytes, float]] = {}

    def renew(self) -> None:
        """Ask for every watch again with the next ``watch``: the nodes may have forgotten them."""
        now = trio.current_time()
        for watched in self._watched.values():
            watched.update(dict.fromkeys(watched, now))

    async def watch(self, peer_id: str, keys: Iterable[bytes]) -> None:
        """Have ``keys`` watched at a connected node, or go on; raise StreamClosedError."""
        watched = self._watched.setdefault(peer_id, {})
        now = trio.current_time()
        for key in [key for key, renew_at in watched.items() if renew_at + WATCH_RENEW_S < now]:
            del watched[key]  # nobody renewed it: the node has forgotten it by now, or soon
        due = [key for key in keys if watched.get(key, 0.0) <= now]
        again = [key for key in due if key in watched]
        new = [key for key in due if key not in watched]
        room = max(WATCHES_PER_STREAM_MAX - len(watched), 0)
        if len(new) > room:
            self._count_fault("more keys to watch than one node keeps")
        due = again + new[:room]
        watched.update((key, now + WATCH_RENEW_S) for key in due)
        try:
            for start in range(0, len(due), WATCHES_PER_REQUEST_MAX):
                await self._request(peer_id, due[start : start + WATCHES_PER_REQUEST_MAX])
        except BaseException:
            # Cancelled or refused, the node may know none of them: the next call asks for all.
            self._watched.pop(peer_id, None)
            raise

    async def _request(self, peer_id: str, keys: Sequence[bytes]) -> None:
        watches = [WatchRequest.Watch(key=key, lifetime_s=WATCH_LIFETIME_S) for key in keys]
        stream = await self._stream(peer_id)
        await stream.send(WatchRequest(watches=watches).SerializeToString())

    async def _stream(self, peer_id: str) -> FrameStream:
        stream = self._streams.get(peer_id)
        if stream is None:
            stream = await self._host.open_stream(peer_id, WATCH_PROTOCOL)
            other = self._streams.setdefault(peer_id, stream)
            if other is not stream:
                await stream.aclose()
                return other
            self._nursery.start_soon(self._read, peer_id, stream)
        return stream

    async def _read(self, peer_id: str, stream: FrameStream) -> None:
        try:
            while True:
                event = WatchEvent()
                parse(event, await stream.receive())
                key, raw = event.record.key, event.record.value
                if key not in self._watched.get(peer_id, ()):
                    raise RemoteProtocolError("news that nobody asked for")
                self._on_record(key, verify_record(key, raw, self._platform.wall_time()))
        except StreamClosedError:
            return
        except RemoteProtocolError as error:
            self._count_fault(f"{WATCH_PROTOCOL}: {error}")
        finally:
            del self._streams[peer_id]
            self._watched.pop(peer_id, None)
            await stream.aclose()
