"""A STUN server for Binding requests (RFC 8489), without I/O.

It tells a host the address and port that its datagrams come from, and nothing else. It asks for
no credentials, so it answers little: a response is at most 60 bytes, and a source address gets
only so many of them.
"""

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun.attributes import (
    Attribute,
    pack_error_code,
    pack_unknown_attributes,
    pack_xor_address,
)
from wice.stun.message import Class, Message, Method, encode, parse

SOURCES_MAX: Final = 4_096
"""Source addresses whose rate is remembered; the one heard longest ago is forgotten first."""

SOURCE_BURST: Final = 50
"""Requests that one source address may send at once: a NAT may stand before many hosts."""

SOURCE_RATE_PER_S: Final = 20.0
"""Requests a second that one source address may send for ever."""

UNKNOWN_ATTRIBUTES_MAX: Final = 8
"""Types listed in a 420 response, so that it is never larger than the request."""

_UNDERSTOOD: Final = frozenset(
    {
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.USERHASH,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
        Attribute.PADDING,
    }
)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


class BindingServer:
    """Answers Binding requests. ``counts`` says how many, and why others were not answered."""

    def __init__(self, software: str = "") -> None:
        """software: the value of SOFTWARE in responses; empty leaves it out."""
        self.counts: Counter[str] = Counter()
        self._software = software.encode()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def respond(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """The response to send to ``source``, or None; never raises for what ``data`` holds."""
        if not self._may_answer(source.host, now):
            self.counts["rate limited"] += 1
            return None
        try:
            request = parse(data)
        except RemoteProtocolError:
            self.counts["malformed"] += 1
            return None
        if request.method is not Method.BINDING or request.message_class is not Class.REQUEST:
            self.counts["not a binding request"] += 1
            return None
        self.counts["answered"] += 1
        return self._respond(request, source)

    def _respond(self, request: Message, source: Endpoint) -> bytes:
        attributes: list[tuple[int, bytes]]
        unknown = request.unknown_required(_UNDERSTOOD)[:UNKNOWN_ATTRIBUTES_MAX]
        if unknown:
            message_class = Class.ERROR
            attributes = [
                (Attribute.ERROR_CODE, pack_error_code(420, "Unknown Attribute")),
                (Attribute.UNKNOWN_ATTRIBUTES, pack_unknown_attributes(unknown)),
            ]
        else:
            message_class = Class.SUCCESS
            mapped = pack_xor_address(source, request.transaction_id)
            attributes = [(Attribute.XOR_MAPPED_ADDRESS, mapped)]
        if self._software:
            attributes.append((Attribute.SOFTWARE, self._software))
        return encode(
            Method.BINDING,
            message_class,
            request.transaction_id,
            attributes,
            fingerprint=request.has_fingerprint,
        )

    def _may_answer(self, host: str, now: float) -> bool:
        source = _rate_key(host)
        bucket = self._buckets.get(source)
        if bucket is None:
            if len(self._buckets) >= SOURCES_MAX:
                self._buckets.popitem(last=False)
            bucket = self._buckets[source] = _Bucket(SOURCE_BURST, now)
        else:
            self._buckets.move_to_end(source)
            earned = (now - bucket.filled_at_s) * SOURCE_RATE_PER_S
            bucket.tokens = min(SOURCE_BURST, bucket.tokens + earned)
            bucket.filled_at_s = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _rate_key(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one: a host has the whole of it to itself."""
    if ":" not in host:
        return host
    return ipaddress.IPv6Address(host.partition("%")[0]).packed[:8].hex()
