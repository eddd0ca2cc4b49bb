"""A STUN server for Binding requests (RFC 8489, RFC 5780), without I/O.

It tells a host the address and port that its datagrams come from, and on request answers from
another port or address of its own. It asks for no credentials, so it answers little, to the
source alone: a response is, with IP and UDP headers, less than twice its request, and a source
address gets only so many of them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import IntFlag
from typing import Final, NamedTuple

from wice.datagram import Endpoint
from wice.errors import RemoteProtocolError
from wice.stun.attributes import (
    Attribute,
    pack_address,
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

_IPV4_HEADERS_SIZE: Final = 28
_IPV6_HEADERS_SIZE: Final = 48
"""Of IP and UDP: what a response costs a victim of forged requests, and what they cost."""

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


class Change(IntFlag):
    """The flags of CHANGE-REQUEST (RFC 5780 section 7.2): what to answer from instead."""

    NOTHING = 0
    PORT = 2
    ADDRESS = 4


class Response(NamedTuple):
    """A response to send to where the request came from, from ``origin`` if that is known."""

    data: bytes
    origin: Endpoint | None


class Origins:
    """Where a server can answer from."""

    def __init__(
        self, other_ports: Mapping[int, int], other_hosts: Mapping[str, str] | None = None
    ) -> None:
        """other_ports: for a port that is asked, the one beside it, from which answers can leave,
        too. other_hosts: for an address that is asked, another public one of the host.
        """
        self._other_ports = other_ports
        self._other_hosts = other_hosts or {}

    def changed(self, asked: Endpoint, change: Change) -> Endpoint | None:
        """What ``change`` makes of the endpoint that was asked; None where there is no such."""
        host: str | None = asked.host
        port: int | None = asked.port
        if change & Change.ADDRESS:
            host = self._other_hosts.get(asked.host)
        if change & Change.PORT:
            port = self._other_ports.get(asked.port)
        return None if host is None or port is None else Endpoint(host, port)


class BindingServer:
    """Answers Binding requests. ``counts`` says how many, and why others were not answered."""

    def __init__(self, software: str = "") -> None:
        """software: the value of SOFTWARE in responses; empty leaves it out."""
        self.counts: Counter[str] = Counter()
        self._software = software.encode()
        self._limit = SourceRateLimit(SOURCE_BURST, SOURCE_RATE_PER_S)

    def respond(
        self,
        data: bytes,
        source: Endpoint,
        now: float,
        asked: Endpoint | None = None,
        origins: Origins | None = None,
    ) -> Response | None:
        """The response to send to ``source``, or None; never raises for what ``data`` holds.

        asked: our endpoint that ``data`` came to. origins: from where it can be answered besides;
        without either, CHANGE-REQUEST is refused with a 420.
        """
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
        return self._respond(request, source, asked, origins, len(data))

    def answer(self, request: Message, source: Endpoint) -> bytes:
        """The response to a Binding request, for a server that has read and limited it itself.

        CHANGE-REQUEST gets a 420: such a server answers from where it was asked.
        """
        return self._respond(request, source, None, None, 0).data

    def _respond(
        self,
        request: Message,
        source: Endpoint,
        asked: Endpoint | None,
        origins: Origins | None,
        request_size: int,
    ) -> Response:
        self.counts["answered"] += 1
        unknown = request.unknown_required(_UNDERSTOOD)
        origin = asked
        if Attribute.CHANGE_REQUEST in unknown and asked is not None and origins is not None:
            flags = int.from_bytes(request.attributes[Attribute.CHANGE_REQUEST], "big")
            changed = origins.changed(asked, Change(flags & (Change.ADDRESS | Change.PORT)))
            if changed is not None:
                origin = changed
                unknown.remove(Attribute.CHANGE_REQUEST)
        if unknown:
            # No reason phrase: an answer to a stranger is as short as it can be.
            listed = pack_unknown_attributes(unknown[:UNKNOWN_ATTRIBUTES_MAX])
            refusal = [
                (int(Attribute.ERROR_CODE), pack_error_code(420, "")),
                (int(Attribute.UNKNOWN_ATTRIBUTES), listed),
            ]
            return Response(self._encode(request, Class.ERROR, refusal), asked)
        mapped = pack_xor_address(source, request.transaction_id)
        attributes = [(int(Attribute.XOR_MAPPED_ADDRESS), mapped)]
        data = self._encode(request, Class.SUCCESS, attributes)
        if asked is None or origin is None:
            return Response(data, origin)
        headers_size = _IPV6_HEADERS_SIZE if source.is_ipv6 else _IPV4_HEADERS_SIZE
        room = 2 * (request_size + headers_size) - headers_size - len(data)
        for kind, endpoint in self._origin_attributes(asked, origin, origins):
            value = pack_address(endpoint)
            room -= 4 + len(value)
            if room <= 0:
                break
            attributes.append((kind, value))
        return Response(self._encode(request, Class.SUCCESS, attributes), origin)

    @staticmethod
    def _origin_attributes(
        asked: Endpoint, origin: Endpoint, origins: Origins | None
    ) -> Iterator[tuple[int, Endpoint]]:
        yield Attribute.RESPONSE_ORIGIN, origin
        other = None
        if origins is not None:
            other = origins.changed(asked, Change.ADDRESS | Change.PORT)
        if other is not None:
            yield Attribute.OTHER_ADDRESS, other

    def _encode(
        self, request: Message, message_class: Class, attributes: list[tuple[int, bytes]]
    ) -> bytes:
        if self._software:
            attributes = [*attributes, (int(Attribute.SOFTWARE), self._software)]
        return encode(
            Method.BINDING,
            message_class,
            request.transaction_id,
            attributes,
            fingerprint=request.has_fingerprint,
        )
