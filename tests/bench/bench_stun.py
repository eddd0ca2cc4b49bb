"""Encode and decode of STUN requests and responses, ours beside ``aioice.stun``, in one run.

Run as ``python -m tests.bench stun``. The two codecs take turns, so that a busy machine slows both,
and each round gives one ratio.
"""

import time
import timeit
from collections.abc import Callable, Iterator

from aioice import stun as theirs

from tests.bench.report import Goal, Row
from wice.datagram import Endpoint
from wice.stun import Attribute, Class, IntegrityKey, Method, encode, pack_xor_address, parse

KEY = b"a password of 24 letters"
OUR_KEY = IntegrityKey(KEY)
TRANSACTION_ID = bytes(range(12))
USERNAME = "remoteuf:localufr"
ROUNDS = 15
REPEATS = 2_000
ENCODE_GOAL = Goal(3.0, is_least=True)
DECODE_GOAL = Goal(1.7, is_least=True)


def our_request() -> bytes:
    return encode(
        Method.BINDING,
        Class.REQUEST,
        TRANSACTION_ID,
        (
            (Attribute.USERNAME, USERNAME.encode()),
            (Attribute.PRIORITY, (1_862_270_975).to_bytes(4, "big")),
            (Attribute.ICE_CONTROLLING, (1 << 63).to_bytes(8, "big")),
            (Attribute.USE_CANDIDATE, b""),
        ),
        key=OUR_KEY,
    )


def their_request() -> bytes:
    message = theirs.Message(theirs.Method.BINDING, theirs.Class.REQUEST, TRANSACTION_ID)
    message.attributes["USERNAME"] = USERNAME
    message.attributes["PRIORITY"] = 1_862_270_975
    message.attributes["ICE-CONTROLLING"] = 1 << 63
    message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(KEY)
    return bytes(message)


def our_response(host: str) -> bytes:
    mapped = pack_xor_address(Endpoint(host, 51_820), TRANSACTION_ID)
    attributes = ((Attribute.XOR_MAPPED_ADDRESS, mapped),)
    return encode(Method.BINDING, Class.SUCCESS, TRANSACTION_ID, attributes, key=OUR_KEY)


def their_response(host: str) -> bytes:
    message = theirs.Message(theirs.Method.BINDING, theirs.Class.RESPONSE, TRANSACTION_ID)
    message.attributes["XOR-MAPPED-ADDRESS"] = (host, 51_820)
    message.add_message_integrity(KEY)
    return bytes(message)


def our_read(data: bytes) -> None:
    parse(data).verify_integrity(OUR_KEY)


def their_read(data: bytes) -> None:
    assert theirs.parse_message(data).check_message_integrity(KEY)


def tasks() -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Ours and theirs, by what both do."""
    request = our_request()
    assert request == their_request()
    found: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "request encode": (our_request, their_request),
        "request decode and verify": (lambda: our_read(request), lambda: their_read(request)),
    }
    for family, host in (("IPv4", "203.0.113.7"), ("IPv6", "2001:db8::7")):
        response = our_response(host)
        assert response == their_response(host)
        found[f"response encode, {family}"] = (
            lambda host=host: our_response(host),
            lambda host=host: their_response(host),
        )
    return found


def rows() -> Iterator[Row]:
    for name, pair in tasks().items():
        ours_us, theirs_us = [], []
        for _ in range(ROUNDS):
            for task, found in zip(pair, (ours_us, theirs_us), strict=True):
                found.append(_seconds(task) / REPEATS * 1e6)
        yield Row("stun", f"{name}: ours", "µs", ours_us)
        yield Row("stun", f"{name}: aioice", "µs", theirs_us)
        ratios = [theirs / ours for ours, theirs in zip(ours_us, theirs_us, strict=True)]
        goal = DECODE_GOAL if "decode" in name else ENCODE_GOAL
        yield Row("stun", f"{name}: aioice / ours", "×", ratios, goal)


def _seconds(task: Callable[[], object]) -> float:
    # CPU time: that somebody else had the core is no property of a codec.
    return timeit.timeit(task, timer=time.process_time, number=REPEATS)
