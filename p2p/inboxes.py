"""Our own keys on the overlay: who signs for them, and where their envelopes go."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from p2p.signal import Signal
from wice.errors import LocalProtocolError, RemoteProtocolError, SignalingClosedError
from wice.keys import (
    BlindedKey,
    CommunitySecret,
    EpochSigner,
    KeyHolder,
    PublicKey,
    epochs_to_publish,
    epochs_to_read,
)
from wice.platform import Platform
from wice.signaling.transport import ENVELOPE_SIZE_MAX_BYTES

INBOX_MAX = 256
"""Envelopes that wait in one subscription; while it is full, senders are told so."""
KEYS_MAX = 64
"""Keys of ours: interfaces of one daemon."""
CHANNELS_PER_KEY_MAX = 16
ENVELOPE_ID_SIZE_BYTES = 16
ENVELOPE_IDS_MAX = 4_096
"""Envelopes whose second copy is known as such."""


class Inboxes:
    """The keys that are subscribed to. ``changed`` tells when there are more or fewer."""

    def __init__(self, community: CommunitySecret, platform: Platform) -> None:
        self.changed = Signal()
        self._community = community
        self._platform = platform
        self._keys: dict[PublicKey, _Inbox] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._keys)

    @contextmanager
    def subscribe(self, key_holder: KeyHolder) -> Iterator[trio.MemoryReceiveChannel[bytes]]:
        """Raise SignalingClosedError; ValueError for a public key that is no identity."""
        if self._is_closed:
            raise SignalingClosedError("the overlay is closed")
        inbox = self._keys.get(key_holder.public_key)
        if inbox is None:
            if len(self._keys) >= KEYS_MAX:
                raise LocalProtocolError(f"at most {KEYS_MAX} keys subscribe")
            inbox = _Inbox(key_holder)
            self._refresh(inbox)
            self._keys[key_holder.public_key] = inbox
            self.changed.notify()
        if len(inbox.channels) >= CHANNELS_PER_KEY_MAX:
            raise LocalProtocolError(f"a key has at most {CHANNELS_PER_KEY_MAX} subscriptions")
        send_channel, receive_channel = trio.open_memory_channel[bytes](INBOX_MAX)
        inbox.channels.append(send_channel)
        try:
            with send_channel, receive_channel:
                yield receive_channel
        finally:
            inbox.channels.remove(send_channel)
            if not inbox.channels:
                del self._keys[key_holder.public_key]
                self.changed.notify()

    def signers_to_publish(self) -> list[EpochSigner]:
        """Who signs our records: each key, for this epoch and the next."""
        epochs = epochs_to_publish(self._platform.wall_time())
        return [signer for signer in self.signers_to_receive() if signer.epoch in epochs]

    def signers_to_receive(self) -> list[EpochSigner]:
        """Who signs our subscriptions: also for the last epoch, if we were there in it."""
        for inbox in self._keys.values():
            self._refresh(inbox)
        return [signer for inbox in self._keys.values() for signer in inbox.signers.values()]

    def is_ours(self, public_key: PublicKey) -> bool:
        return public_key in self._keys

    def deliver(self, blinded_key: BlindedKey, envelope_id: bytes, envelope: bytes) -> bool | None:
        """Whether the envelope was taken, now or before; None where the key is not ours."""
        for inbox in self._keys.values():
            if any(signer.blinded_key == blinded_key for signer in inbox.signers.values()):
                return self._deliver(inbox, envelope_id, envelope)
        return None

    def deliver_to(self, recipient: PublicKey, envelope_id: bytes, envelope: bytes) -> bool:
        """Hand over an envelope that never left this node."""
        return self._deliver(self._keys[recipient], envelope_id, envelope)

    def close(self) -> None:
        """End every subscription's channel."""
        self._is_closed = True
        for inbox in self._keys.values():
            for channel in inbox.channels:
                channel.close()

    def _deliver(self, inbox: "_Inbox", envelope_id: bytes, envelope: bytes) -> bool:
        if envelope_id in self._seen:
            return True
        # Every channel gets it: any() on a generator would stop at the first.
        if sum([_put(channel, envelope) for channel in inbox.channels]) == 0:
            return False
        self._seen[envelope_id] = None
        if len(self._seen) > ENVELOPE_IDS_MAX:
            self._seen.popitem(last=False)
        return True

    def _refresh(self, inbox: "_Inbox") -> None:
        now_wall = self._platform.wall_time()
        to_read = epochs_to_read(now_wall)
        for epoch in [epoch for epoch in inbox.signers if epoch not in to_read]:
            del inbox.signers[epoch]
        for epoch in epochs_to_publish(now_wall):
            if epoch not in inbox.signers:
                inbox.signers[epoch] = EpochSigner(
                    inbox.key_holder, self._community, epoch, self._platform.random_bytes
                )


class _Inbox:
    def __init__(self, key_holder: KeyHolder) -> None:
        self.key_holder = key_holder
        self.channels: list[trio.MemorySendChannel[bytes]] = []
        self.signers: dict[int, EpochSigner] = {}


def check_envelope(envelope_id: bytes, envelope: bytes) -> None:
    """Raise RemoteProtocolError for what no sender of ours sends, whoever hands it over."""
    if len(envelope_id) != ENVELOPE_ID_SIZE_BYTES:
        raise RemoteProtocolError("an envelope id of the wrong size")
    if len(envelope) > ENVELOPE_SIZE_MAX_BYTES:
        raise RemoteProtocolError("an envelope that is too long")


def _put(channel: trio.MemorySendChannel[bytes], envelope: bytes) -> bool:
    try:
        channel.send_nowait(envelope)
    except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True
