"""One session's counters, and the three sessions of a peer."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.wireguard.conftest import Pair
from wice.errors import RemoteProtocolError
from wice.wireguard import messages
from wice.wireguard.keypair import Keypair, Keypairs
from wice.wireguard.noise import TransportKeys
from wice.wireguard.timers import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME_S

SEND, RECEIVE = b"\x01" * 32, b"\x02" * 32
SESSIONS_MAX = 4
"""Current, previous, next, and an initiation under way."""


def keypair(index: int = 1, *, is_initiator: bool = True) -> Keypair:
    keys = TransportKeys(SEND, RECEIVE)
    return Keypair(keys, is_initiator=is_initiator, local_index=index, remote_index=2, now=100.0)


def sealed(counter: int, content: bytes = b"content") -> bytes:
    nonce = bytes(4) + counter.to_bytes(8, "little")
    header = b"\x04\0\0\0" + (1).to_bytes(4, "little") + counter.to_bytes(8, "little")
    return header + ChaCha20Poly1305(RECEIVE).encrypt(nonce, content, None)


def test_counters_count_up_from_zero() -> None:
    session = keypair()
    headers = [session.seal(b"")[:16] for _ in range(3)]
    assert headers == [
        b"\x04\0\0\0" + (2).to_bytes(4, "little") + counter.to_bytes(8, "little")
        for counter in range(3)
    ]


@pytest.mark.parametrize("counter", [0, 5, REJECT_AFTER_MESSAGES - 1])
def test_every_counter_below_the_limit_opens(counter: int) -> None:
    assert keypair().open(sealed(counter), 100.0) == b"content"


@pytest.mark.parametrize("counter", [REJECT_AFTER_MESSAGES, (1 << 64) - 1])
def test_no_counter_from_the_limit_on_opens(counter: int) -> None:
    with pytest.raises(RemoteProtocolError, match="session that is over"):
        keypair().open(sealed(counter), 100.0)


def test_a_session_opens_nothing_once_its_time_is_over() -> None:
    session = keypair()
    assert session.open(sealed(0), 99.9 + REJECT_AFTER_TIME_S) == b"content"
    with pytest.raises(RemoteProtocolError, match="session that is over"):
        session.open(sealed(1), 100.0 + REJECT_AFTER_TIME_S)


def test_the_responders_session_becomes_current_once_confirmed() -> None:
    forgotten: list[int] = []
    keypairs = Keypairs(forgotten.append)
    first, second, third = keypair(1), keypair(2, is_initiator=False), keypair(3)
    keypairs.add_as_initiator(first)
    keypairs.add_as_responder(second)
    assert (keypairs.current, keypairs.next) == (first, second)
    assert not keypairs.confirm(first)
    assert keypairs.confirm(second) and not keypairs.confirm(second)
    assert (keypairs.current, keypairs.previous, keypairs.next) == (second, first, None)
    keypairs.add_as_initiator(third)
    assert (keypairs.current, keypairs.previous) == (third, second)
    assert forgotten == [1]
    keypairs.clear()
    assert sorted(forgotten) == [1, 2, 3]


def test_crossed_handshakes_keep_both_sessions() -> None:
    forgotten: list[int] = []
    keypairs = Keypairs(forgotten.append)
    theirs, ours = keypair(1, is_initiator=False), keypair(2)
    keypairs.add_as_responder(theirs)
    keypairs.add_as_initiator(ours)
    assert (keypairs.current, keypairs.previous, keypairs.next) == (ours, theirs, None)
    assert forgotten == []


def test_an_unconfirmed_session_gives_way_to_a_newer_one() -> None:
    forgotten: list[int] = []
    keypairs = Keypairs(forgotten.append)
    keypairs.add_as_responder(keypair(1))
    keypairs.add_as_responder(second := keypair(2))
    assert keypairs.next is second and forgotten == [1]


def test_many_handshakes_leave_no_index_behind(connected: Pair) -> None:
    for _ in range(12):
        for host, other in ((connected.a, connected.b), (connected.b, connected.a)):
            for _ in range(125):
                host.send(other)
                connected.run(1.0)
        for host in (connected.a, connected.b):
            assert len(host.tunnel._shared.indices) <= SESSIONS_MAX
    assert len(connected.a.sent_of_type(messages.INITIATION)) > 5


def test_initiations_that_are_never_confirmed_leave_no_index_behind(pair: Pair) -> None:
    pair.b.fate = lambda _: ()
    pair.a.set_path(pair.b)
    for _ in range(10):
        pair.a.send(pair.b)
        pair.run(10.0)
    assert len(pair.b.sent_of_type(messages.RESPONSE)) > 5
    for host in (pair.a, pair.b):
        assert len(host.tunnel._shared.indices) <= SESSIONS_MAX
