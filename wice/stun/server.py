"""A STUN server for Binding requests (RFC 8489), without I/O.

It tells a host the address and port that its datagrams come from, and nothing else. It asks for
no credentials, so it answers little: a response is at most 60 bytes, and a source address gets
only so many of them.
"""

from collections import Counter
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
from wice.stun.rate_limit import SourceRateLimit

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


class BindingServer:
    """Answers Binding requests. ``counts`` says how many, and why others were not answered."""

    def __init__(self, software: str = "") -> None:
        """software: the value of SOFTWARE in responses; empty leaves it out."""
        self.counts: Counter[str] = Counter()
        self._software = software.encode()
        self._limit = SourceRateLimit(SOURCE_BURST, SOURCE_RATE_PER_S)

    def respond(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """The response to send to ``source``, or None; never raises for what ``data`` holds."""
        if not self._limit.allows(source.host, now):
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
        return self.answer(request, source)

    def answer(self, request: Message, source: Endpoint) -> bytes:
        """The response to a Binding request, for a server that has read and limited it itself."""
        self.counts["answered"] += 1
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
