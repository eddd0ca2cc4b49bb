"""Encode and decode of STUN requests and responses, ours beside ``aioice.stun``, in one run.

Run as ``python tests/bench/bench_stun.py [--json]``. Best of several rounds, the two codecs taken
in turns, so that a busy machine slows both.
"""

import argparse
import json
import sys
import timeit
from collections.abc import Callable

from aioice import stun as theirs

from wice.datagram import Endpoint
from wice.stun import Attribute, Class, IntegrityKey, Method, encode, pack_xor_address, parse

KEY = b"a password of 24 letters"
OUR_KEY = IntegrityKey(KEY)
TRANSACTION_ID = bytes(range(12))
USERNAME = "remoteuf:localufr"
ROUNDS = 15
REPEATS = 4_000


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


def measure() -> dict[str, dict[str, float]]:
    """Microseconds a call of ours and of theirs, and their ratio, for each task."""
    request = our_request()
    assert request == their_request()
    tasks: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "request encode": (our_request, their_request),
        "request decode+verify": (lambda: our_read(request), lambda: their_read(request)),
    }
    for family, host in (("v4", "203.0.113.7"), ("v6", "2001:db8::7")):
        response = our_response(host)
        assert response == their_response(host)
        tasks[f"response {family} encode"] = (
            lambda host=host: our_response(host),
            lambda host=host: their_response(host),
        )
    results = {}
    for name, pair in tasks.items():
        best = [float("inf"), float("inf")]
        for _ in range(ROUNDS):
            for which, task in enumerate(pair):
                best[which] = min(best[which], timeit.timeit(task, number=REPEATS) / REPEATS)
        ours_us, theirs_us = best[0] * 1e6, best[1] * 1e6
        results[name] = {"ours_us": ours_us, "aioice_us": theirs_us, "ratio": theirs_us / ours_us}
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    results = measure()
    if parser.parse_args().json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for name, row in results.items():
        sys.stdout.write(
            f"stun {name:24} {row['ours_us']:6.2f} us   aioice {row['aioice_us']:6.2f} us   "
            f"x{row['ratio']:.1f}\n"
        )


if __name__ == "__main__":
    main()
