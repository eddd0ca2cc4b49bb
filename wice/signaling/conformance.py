"""What every Backend must do, as checks that anyone can run on an implementation.

Hand ``check_backend`` a function that opens a backend for one key holder on a network that all
backends it opened share::

    async def test_conforms(autojump_clock):
        network = InProcessNetwork()

        def open_backend(holder):
            return SealedBackend.open(network.open_transport(), [holder], os.urandom, events)

        await check_backend(open_backend)

The contract, also in docs/reference/signaling.md:

- *reliable*: when ``publish`` returns, the recipient's side took the message. When it raises
  SignalingUnavailableError, the message may still arrive; it is not tried again.
- each message published arrives at most once at each subscription, whatever the network doubles;
- order is not kept;
- only the recipient opens it, and the sender is proved;
- *stateless*: a message to nobody is refused, not kept.

A failed check raises AssertionError, in an ExceptionGroup where ``open_backend`` has a nursery; a
backend that hangs, ``trio.TooSlowError``.
"""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import trio

from wice.errors import SignalingClosedError, SignalingUnavailableError
from wice.keys import ANY, KeyHolder, KeyPair, LocalKeyHolder, PrivateKey, PublicKey
from wice.keys import KEY_SIZE as _KEY_SIZE
from wice.signaling.backend import Backend, Received

OpenBackend: TypeAlias = Callable[[KeyHolder], AbstractAsyncContextManager[Backend]]
"""Opens a backend that holds one key, on the network common to all."""

TIMEOUT_S = 60.0
"""For each check; a network that needs longer to become reachable may give more."""

QUIET_S = 1.0
"""How long a check listens for what must not arrive."""

RETRY_S = 0.2
"""Between two attempts to reach a recipient that may not be reachable yet."""

PEERS = 5
MESSAGES_PER_PAIR = 4


@dataclass(frozen=True)
class _Peer:
    public_key: PublicKey
    backend: Backend

    def to(self, other: "_Peer") -> KeyPair:
        return KeyPair(self.public_key, other.public_key)

    def from_any(self) -> KeyPair:
        return KeyPair(self.public_key, ANY)


async def check_backend(
    open_backend: OpenBackend, *, peers: int = PEERS, timeout_s: float = TIMEOUT_S
) -> None:
    """Run every check, each on fresh keys."""
    with trio.fail_after(timeout_s):
        await check_every_pair(open_backend, peers=peers)
    for check in (
        check_wildcard_sender,
        check_several_subscriptions,
        check_only_the_recipient,
        check_unavailable,
        check_stateless,
        check_closed,
    ):
        with trio.fail_after(timeout_s):
            await check(open_backend)


async def check_every_pair(
    open_backend: OpenBackend, *, peers: int = PEERS, messages: int = MESSAGES_PER_PAIR
) -> None:
    """Between every ordered pair, all at once, each message arrives exactly once."""
    async with _open_peers(open_backend, peers) as opened, AsyncExitStack() as stack:
        pairs = [(a, b) for a in opened for b in opened if a is not b]
        inboxes = {
            (a.public_key, b.public_key): await stack.enter_async_context(
                b.backend.subscribe(b.to(a))
            )
            for a, b in pairs
        }
        taken: Counter[Received] = Counter()
        tried: set[Received] = set()

        async def publish_all(sender: _Peer, recipient: _Peer) -> None:
            for number in range(messages):
                message = await _publish(sender, recipient, b"message %d" % number, tried)
                taken[Received(recipient.to(sender), message)] += 1

        async with trio.open_nursery() as nursery:
            for sender, recipient in pairs:
                nursery.start_soon(publish_all, sender, recipient)
        got: Counter[Received] = Counter()
        for a, b in pairs:
            inbox = inboxes[a.public_key, b.public_key]
            while not all(got[key] for key in taken if key.key_pair == b.to(a)):
                got[await inbox.receive()] += 1
        for inbox in inboxes.values():
            for received in await _listen(inbox):
                got[received] += 1
        assert set(got) <= tried, "a message arrived that nobody sent"
        assert set(got.values()) <= {1}, "a message arrived more than once"


async def check_wildcard_sender(open_backend: OpenBackend) -> None:
    """``theirs=ANY`` gets the messages of every sender, and names each."""
    async with (
        _open_peers(open_backend, 4) as (recipient, *senders),
        recipient.backend.subscribe(recipient.from_any()) as inbox,
    ):
        for sender in senders:
            message = await _publish(sender, recipient, b"from anyone")
            await _receive(inbox, recipient.to(sender), message)


async def check_several_subscriptions(open_backend: OpenBackend) -> None:
    """Every matching subscription gets each message; one for another sender gets none."""
    async with _open_peers(open_backend, 3) as (recipient, sender, other):
        backend = recipient.backend
        async with (
            backend.subscribe(recipient.to(sender)) as exact,
            backend.subscribe(recipient.to(sender)) as again,
            backend.subscribe(recipient.from_any()) as any_sender,
            backend.subscribe(recipient.to(other)) as elsewhere,
        ):
            message = await _publish(sender, recipient, b"to all of them")
            for inbox in (exact, again, any_sender):
                await _receive(inbox, recipient.to(sender), message)
            assert not await _listen(elsewhere), "a message of another sender"
        async with backend.subscribe(recipient.from_any()) as later:
            message = await _publish(sender, recipient, b"after all were gone")
            await _receive(later, recipient.to(sender), message)


async def check_only_the_recipient(open_backend: OpenBackend) -> None:
    """Others on the network neither get nor open a message, the sender included."""
    async with (
        _open_peers(open_backend, 3) as (recipient, sender, other),
        recipient.backend.subscribe(recipient.from_any()) as inbox,
        other.backend.subscribe(other.from_any()) as others,
        sender.backend.subscribe(sender.from_any()) as senders,
    ):
        message = await _publish(sender, recipient, b"between us")
        await _receive(inbox, recipient.to(sender), message)
        assert not await _listen(others), "a message for someone else"
        assert not await _listen(senders), "a message came back to its sender"


async def check_unavailable(open_backend: OpenBackend) -> None:
    """A recipient who is nowhere is SignalingUnavailableError, and the backend lives on."""
    async with _open_peers(open_backend, 2) as (recipient, sender):
        nowhere = KeyPair(sender.public_key, _key_holder().public_key)
        assert not await _is_published(sender.backend, nowhere, b"to nobody")
        async with recipient.backend.subscribe(recipient.to(sender)) as inbox:
            message = await _publish(sender, recipient, b"to somebody")
            await _receive(inbox, recipient.to(sender), message)


async def check_stateless(open_backend: OpenBackend) -> None:
    """What was refused is not delivered later."""
    async with _open_peers(open_backend, 2) as (recipient, sender):
        assert not await _is_published(sender.backend, sender.to(recipient), b"too early")
        async with recipient.backend.subscribe(recipient.from_any()) as inbox:
            message = await _publish(sender, recipient, b"in time")
            first = await inbox.receive()
            assert first.message.startswith(b"in time"), "a message was kept"
            if first.message != message:
                await _receive(inbox, recipient.to(sender), message)
            assert all(late.message.startswith(b"in time") for late in await _listen(inbox))


async def check_closed(open_backend: OpenBackend) -> None:
    """Closing ends subscriptions; afterwards everything is SignalingClosedError."""
    async with _open_peers(open_backend, 2) as (recipient, sender):
        async with sender.backend.subscribe(sender.from_any()) as inbox:
            await sender.backend.aclose()
            assert [received async for received in inbox] == []
        await sender.backend.aclose()
        try:
            await sender.backend.publish(sender.to(recipient), b"too late")
        except SignalingClosedError:
            pass
        else:
            raise AssertionError("published on a closed backend")
        try:
            async with sender.backend.subscribe(sender.from_any()):
                raise AssertionError("subscribed to a closed backend")
        except SignalingClosedError:
            pass


@asynccontextmanager
async def _open_peers(open_backend: OpenBackend, count: int) -> AsyncIterator[Sequence[_Peer]]:
    async with AsyncExitStack() as stack:
        peers = []
        for _ in range(count):
            holder = _key_holder()
            backend = await stack.enter_async_context(open_backend(holder))
            peers.append(_Peer(holder.public_key, backend))
        yield peers


def _key_holder() -> KeyHolder:
    return LocalKeyHolder(PrivateKey(secrets.token_bytes(_KEY_SIZE)), secrets.token_bytes)


async def _publish(
    sender: _Peer,
    recipient: _Peer,
    message: bytes,
    tried: set[Received] | None = None,
) -> bytes:
    """Publish until it is taken, numbering the attempts; give the bytes that were taken."""
    attempt = 0
    while True:
        numbered = b"%s, attempt %d" % (message, attempt)
        if tried is not None:
            tried.add(Received(recipient.to(sender), numbered))
        if await _is_published(sender.backend, sender.to(recipient), numbered):
            return numbered
        attempt += 1
        await trio.sleep(RETRY_S)


async def _is_published(backend: Backend, key_pair: KeyPair, message: bytes) -> bool:
    try:
        await backend.publish(key_pair, message)
    except SignalingUnavailableError:
        return False
    return True


async def _receive(
    inbox: trio.MemoryReceiveChannel[Received], key_pair: KeyPair, message: bytes
) -> None:
    """Wait for ``message``; attempts before it that were refused may have arrived all the same."""
    async for received in inbox:
        assert received.key_pair == key_pair, "a message of another relation"
        if received.message == message:
            return
    raise AssertionError("the subscription ended")


async def _listen(inbox: trio.MemoryReceiveChannel[Received]) -> Sequence[Received]:
    """What arrives within QUIET_S."""
    arrived: list[Received] = []
    with trio.move_on_after(QUIET_S):
        async for received in inbox:
            arrived.append(received)
    return arrived
