"""Lending a node's relay to members of its community (``/wice/relay/1``).

Who asks proves that it knows the community's secret, to this node alone and for about an hour. In
a community without a secret, whoever knows its name is a member.
"""

import hmac
from collections.abc import Callable
from typing import Final, TypeVar

import trio
from google.protobuf.message import Message

from p2p.frames import parse
from p2p.section import check_peer_id
from p2p.shares import Shares
from p2p.streams import FrameStream
from wice.errors import RemoteProtocolError
from wice.keys import CommunitySecret, length_prefixed
from wice.platform import Platform
from wice.proto.overlay_pb2 import RelayAnswer, RelayRequest
from wice.signaling.rate_limit import Rate, RateLimit
from wice.signaling.transport import RelayLender

RELAY_PROTOCOL: Final = "/wice/relay/1"
VERSION: Final = 1
PROOF_SIZE_BYTES: Final = 32
PROOF_PERIOD_S: Final = 3_600.0
PROOF_PERIODS_OFF_MAX: Final = 1
"""How many hours the two clocks may name differently."""
REQUEST_SIZE_MAX_BYTES: Final = 64
ANSWER_SIZE_MAX_BYTES: Final = 1_024

REQUEST_RATE: Final = Rate(burst=8, interval_s=300.0)
"""Of one borrower: twice an hour is usual, and once more whenever it connects anew."""
BORROWERS_MAX: Final = 4_096
BORROWERS_PER_SOURCE_MAX: Final = 64
"""From one IPv4 address, or the /64 of an IPv6 address. They know the secret: that they crowd out
nobody is left to the relay, which shares itself among networks."""
OPEN_BORROWERS_PER_SOURCE_MAX: Final = 16
"""The same without a secret: whoever is there may invent members, and by a relay's usual budgets
these take at most half of its allocations."""
BORROWER_REMEMBERED_S: Final = 3_600.0

_PROOF_LABEL: Final = b"wice relay proof v1"

CountFault = Callable[[str], None]
AnyMessage = TypeVar("AnyMessage", bound=Message)


class MembershipProof:
    """What a member of a community says to a relay, and to nobody else, to be known as one."""

    def __init__(self, community: CommunitySecret) -> None:
        self._key = community.derive_key(_PROOF_LABEL)

    def make(self, relay: str, borrower: str, hour: int) -> bytes:
        """HMAC-SHA-256 (RFC 2104) over label, both multihashes and u64 hour, length-prefixed."""
        fields = (_PROOF_LABEL, check_peer_id(relay), check_peer_id(borrower))
        message = length_prefixed(*fields, hour.to_bytes(8, "big"))
        return hmac.digest(self._key, message, "sha256")

    def is_valid(self, proof: bytes, relay: str, borrower: str, hour: int) -> bool:
        return hmac.compare_digest(proof, self.make(relay, borrower, hour))


class LoanServer:
    """Answers those who ask for the use of this node's relay."""

    def __init__(
        self,
        peer_id: str,
        community: CommunitySecret,
        lend_relay: RelayLender,
        platform: Platform,
        count_fault: CountFault,
        source_of: Callable[[str], str],
    ) -> None:
        """source_of: the network from which a peer is connected."""
        self._peer_id = peer_id
        self._proof = MembershipProof(community)
        self._lend_relay = lend_relay
        self._platform = platform
        self._count_fault = count_fault
        self._source_of = source_of
        self._per_source_max = (
            BORROWERS_PER_SOURCE_MAX if community.is_private else OPEN_BORROWERS_PER_SOURCE_MAX
        )
        self._borrowers: dict[str, _Borrower] = {}
        self._shares = Shares[str]()

    def __len__(self) -> int:
        """Members that borrowed within the last hour."""
        return len(self._borrowers)

    async def serve(self, stream: FrameStream) -> None:
        while True:
            request = decode_request(await stream.receive())
            await stream.send(encode(self._answer(request, stream.peer_id)))

    def drop_expired(self) -> None:
        """Forget those who have not borrowed for an hour."""
        since = trio.current_time() - BORROWER_REMEMBERED_S
        for name in [name for name, one in self._borrowers.items() if one.asked_at <= since]:
            self._forget(name)

    def _answer(self, request: RelayRequest, borrower: str) -> RelayAnswer:
        reason = self._reason_to_refuse(request, borrower)
        if reason:
            self._count_fault(f"{RELAY_PROTOCOL}: {reason}")
            return RelayAnswer(refused=RelayAnswer.Refused(reason=reason))
        loan = self._lend_relay(borrower)
        return RelayAnswer(
            loan=RelayAnswer.Loan(
                port=loan.port,
                username=loan.username,
                password=loan.password,
                lifetime_s=int(loan.lifetime_s),
            )
        )

    def _reason_to_refuse(self, request: RelayRequest, borrower: str) -> str:
        if abs(request.hour - hour_at(self._platform.wall_time())) > PROOF_PERIODS_OFF_MAX:
            return "a proof of another hour: one of the clocks is wrong"
        if not self._proof.is_valid(request.proof, self._peer_id, borrower, request.hour):
            return "not a member of the community"
        # Only now: whoever proves nothing takes no place in the table.
        return self._admit(borrower)

    def _admit(self, name: str) -> str:
        now = trio.current_time()
        source = self._source_of(name)
        if name not in self._borrowers:
            if self._shares.count(source) >= self._per_source_max:
                self.drop_expired()
            if self._shares.count(source) >= self._per_source_max:
                return "too many members from one network"
            if len(self._borrowers) >= BORROWERS_MAX:
                self._forget(self._shares.victim())
            self._borrowers[name] = _Borrower(now)
        borrower = self._borrowers[name]
        if not borrower.limit.take(now):
            return "too many requests"
        borrower.asked_at = now
        self._shares.touch(name, source)
        return ""

    def _forget(self, name: str) -> None:
        del self._borrowers[name]
        self._shares.remove(name)


class _Borrower:
    def __init__(self, now: float) -> None:
        self.limit = RateLimit(REQUEST_RATE)
        self.asked_at = now


def hour_at(wall_time: float) -> int:
    """The hour of ``wall_time``, in seconds since 1970; earlier times are hour 0."""
    return max(0, int(wall_time // PROOF_PERIOD_S))


def encode(message: RelayRequest | RelayAnswer) -> bytes:
    """A frame's payload: the version and ``message``."""
    return bytes([VERSION]) + message.SerializeToString()


def decode_request(payload: bytes) -> RelayRequest:
    """Raise RemoteProtocolError for what no member sends."""
    request = _decode(RelayRequest(), payload, REQUEST_SIZE_MAX_BYTES)
    if len(request.proof) != PROOF_SIZE_BYTES:
        raise RemoteProtocolError("a proof of the wrong size")
    return request


def decode_answer(payload: bytes) -> RelayAnswer:
    """Raise RemoteProtocolError for what no node sends."""
    return _decode(RelayAnswer(), payload, ANSWER_SIZE_MAX_BYTES)


def _decode(message: AnyMessage, payload: bytes, size_max_bytes: int) -> AnyMessage:
    if not payload or payload[0] != VERSION:
        raise RemoteProtocolError(f"a message of version {payload[0] if payload else 'none'}")
    if len(payload) > size_max_bytes:
        raise RemoteProtocolError(f"a message of {len(payload)} bytes, above {size_max_bytes}")
    parse(message, payload[1:])
    return message
