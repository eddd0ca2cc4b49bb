"""A client's requests and their answers, under long-term credentials (RFC 8489 section 9.2)."""

from collections import deque
from collections.abc import Callable
from typing import Final

from wice.errors import RemoteProtocolError
from wice.stun import (
    Attribute,
    Challenge,
    ClientAuthentication,
    LongTermCredentials,
    Message,
    Method,
)
from wice.turn.messages import ErrorCode
from wice.turn.requests import Answer, Build, Check, Request, Requests
from wice.turn.timing import Timing

TRANSMITS_MAX: Final = 512
ATTEMPTS_MAX: Final = 4
"""Transactions of one request: the first, and those that challenges ask for."""

UNDERSTOOD: Final = frozenset(
    {
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.ERROR_CODE,
        Attribute.UNKNOWN_ATTRIBUTES,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.USERNAME,
        Attribute.USERHASH,
        Attribute.PASSWORD_ALGORITHM,
        Attribute.MAPPED_ADDRESS,
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.XOR_RELAYED_ADDRESS,
        Attribute.XOR_PEER_ADDRESS,
        Attribute.CHANNEL_NUMBER,
        Attribute.LIFETIME,
        Attribute.DATA,
        Attribute.RESERVATION_TOKEN,
    }
)


class Exchange:
    """Asks; retransmits, answers challenges, and hands each request's answer to who asked."""

    def __init__(
        self,
        credentials: LongTermCredentials,
        timing: Timing,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.transmits: deque[bytes] = deque(maxlen=TRANSMITS_MAX)
        self._credentials = credentials
        self._authentication = ClientAuthentication(credentials)
        self._requests = Requests(timing, random_bytes)

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def challenge(self) -> Challenge | None:
        """What the next request answers; None before the server's first."""
        return self._authentication.challenge

    @property
    def is_full(self) -> bool:
        """Whether what else there is to ask has to wait for answers."""
        return self._requests.is_full

    def deadline(self) -> float | None:
        return self._requests.deadline()

    def set_credentials(self, credentials: LongTermCredentials) -> bool:
        """Have these at hand for when the old are refused; give whether they are others."""
        is_new = credentials != self._credentials
        self._credentials = credentials
        return is_new

    def begin(self) -> None:
        """Start over with the newest credentials, wanting no answers any more."""
        self.clear()
        self._authentication.renew(self._credentials)

    def begin_elsewhere(self) -> None:
        """Start over at another server, which has challenges of its own."""
        self.clear()
        self._authentication = ClientAuthentication(self._credentials)

    def clear(self) -> None:
        """Want no answers any more."""
        self._requests.clear()

    def ask(
        self,
        method: Method,
        build: Build,
        done: Callable[[Request, Answer], None],
        now: float,
        check: Check | None = None,
    ) -> None:
        """Send a request. check: raises RemoteProtocolError for a success that is none."""
        self._send(Request(method, build, done, check), now)

    def receive(self, message: Message, now: float) -> None:
        """Take a response; raise RemoteProtocolError for one that answers nothing of ours."""
        request = self._requests.get(message.transaction_id)
        if request is None or message.method is not request.method:
            raise RemoteProtocolError("an answer to no request of ours")
        code = self._authentication.check_response(message, request.challenge)
        if message.unknown_required(UNDERSTOOD):
            raise RemoteProtocolError("an answer with attributes that are not understood")
        if code in (ErrorCode.UNAUTHENTICATED, ErrorCode.STALE_NONCE):
            may_retry = self._learn(message, code, request.challenge)
            self._requests.close(request, now)
            if may_retry and request.attempts < ATTEMPTS_MAX:
                self._send(request, now)
                return
            code = ErrorCode.UNAUTHENTICATED
        else:
            if code == 0 and request.check is not None:
                request.check(message)
            self._requests.close(request, now)
        relayed = tuple(message.values(Attribute.XOR_RELAYED_ADDRESS))
        request.done(
            request, Answer(code, now, message.attributes, relayed, message.transaction_id)
        )

    def handle_timeout(self, now: float) -> None:
        again, failed = self._requests.time_out(now)
        self.transmits.extend(again)
        for request in failed:
            request.done(request, Answer(None, now))

    def _send(self, request: Request, now: float) -> None:
        self.transmits.append(self._requests.send(request, self.challenge, now))

    def _learn(self, message: Message, code: int, sent_with: Challenge | None) -> bool:
        authentication = self._authentication
        if authentication.take_challenge(message, code, sent_with):
            return True
        if self._credentials == authentication.credentials:
            return False
        authentication.renew(self._credentials)
        return True
